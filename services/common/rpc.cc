#include "services/common/rpc.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

#include "services/common/grpc_status.h"
#include "services/common/log.h"
#include "services/common/request_id.h"
#include "services/common/retry_hint.h"

namespace winnow {
namespace {

// A handler that looks at the clock ends by itself in this time, and with a
// better message than the watchdog has.
constexpr absl::Duration kGrace = absl::Milliseconds(100);
constexpr absl::Duration kLongestWait = absl::Hours(1);

// What Call::cancelled borrows: a copy of a Call may outlive the RPC.
class LiveContext {
 public:
  explicit LiveContext(const grpc::ServerContextBase& context)
      : context_(&context) {}

  bool IsCancelled() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    return context_ == nullptr || context_->IsCancelled();
  }
  void End() ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(mutex_);
    context_ = nullptr;
  }

 private:
  Mutex mutex_;
  const grpc::ServerContextBase* context_ ABSL_GUARDED_BY(mutex_);
};

std::string ChooseRequestId(const grpc::ServerContextBase& context) {
  const auto& metadata = context.client_metadata();
  const auto entry = metadata.find(kRequestIdKey);
  return entry == metadata.end()
             ? NewRequestId()
             : RequestIdOr({entry->second.data(), entry->second.size()});
}

LogLevel LevelOf(absl::StatusCode code, RpcLoad load) {
  switch (code) {
    case absl::StatusCode::kOk:
      return load == RpcLoad::kShort ? LogLevel::kDebug : LogLevel::kInfo;
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kDataLoss:
      return LogLevel::kError;
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kUnavailable:
      return LogLevel::kWarning;
    default:
      return LogLevel::kInfo;  // the caller's business
  }
}

void LogDone(const Call& call, std::string_view method, RpcLoad load,
             absl::Duration took, const absl::Status& status) {
  const LogLevel level = LevelOf(status.code(), load);
  if (!IsLogged(level)) {
    return;
  }
  const std::string milliseconds =
      absl::StrCat(absl::ToInt64Milliseconds(took));
  const LogField fields[] = {
      {"method", method},
      {"request_id", call.request_id},
      {"code", StatusCodeName(status.code())},
      {"ms", milliseconds},
      {"error", {status.message().data(), status.message().size()}}};
  Log(level, "request done", std::span(fields).first(status.ok() ? 4 : 5));
}

}  // namespace

struct RpcFrame::Scope::State {
  RpcFrame* frame = nullptr;
  grpc::ServerContextBase* context = nullptr;
  std::string_view method;  // a constant
  RpcLoad load = RpcLoad::kStream;
  RpcMetrics::Method* counts = nullptr;
  absl::Duration started;
  Call call;
  std::shared_ptr<LiveContext> live;
  absl::Status admitted;
  Watchdog::Guard overdue;
};

RpcFrame::RpcFrame(const RpcOptions& options, RpcMetrics& metrics,
                   const Clock& clock)
    : options_(options), metrics_(metrics), clock_(clock), watchdog_(clock) {}

RpcFrame::~RpcFrame() = default;

grpc::Status RpcFrame::Run(grpc::ServerContext& context,
                           std::string_view method,
                           absl::FunctionRef<absl::Status(const Call&)> body,
                           RpcLoad load) {
  Scope scope(Open(context, method, load));
  return scope.Finish(scope.admitted().ok() ? body(scope.call())
                                            : scope.admitted());
}

RpcFrame::Scope RpcFrame::Begin(grpc::CallbackServerContext& context,
                                std::string_view method, RpcLoad load) {
  return Scope(Open(context, method, load));
}

std::unique_ptr<RpcFrame::Scope::State> RpcFrame::Open(
    grpc::ServerContextBase& context, std::string_view method, RpcLoad load) {
  auto state = std::make_unique<Scope::State>();
  state->frame = this;
  state->context = &context;
  state->method = method;
  state->load = load;
  state->counts = &metrics_.ForMethod(method);
  state->started = clock_.Monotonic();
  state->live = std::make_shared<LiveContext>(context);
  state->call = {
      .request_id = ChooseRequestId(context),
      .deadline = Deadline(context),
      .cancelled = [live = state->live] { return live->IsCancelled(); }};
  context.AddInitialMetadata(kRequestIdKey, state->call.request_id);
  state->counts->Started();
  state->admitted = Admit(load);
  state->overdue = watchdog_.Watch(state->call.deadline + kGrace, [&context] {
    CancelOverdue(context, "the deadline has passed; give more time");
  });
  return state;
}

absl::Duration RpcFrame::Deadline(
    const grpc::ServerContextBase& context) const {
  const std::chrono::system_clock::time_point asked = context.deadline();
  absl::Duration left = options_.default_deadline;
  if (asked != std::chrono::system_clock::time_point::max()) {
    left = absl::FromChrono(asked) - absl::Now();
  }
  return clock_.Monotonic() + std::min(left, options_.max_deadline);
}

absl::Status RpcFrame::Admit(RpcLoad load) {
  MutexLock lock(mutex_);
  ++in_flight_;
  streams_ += load == RpcLoad::kStream ? 1 : 0;
  absl::Status status;
  if (draining_) {
    status = absl::UnavailableError("draining; ask another server");
  } else if (load == RpcLoad::kStream && streams_ > options_.max_streams) {
    status = absl::ResourceExhaustedError(
        absl::StrCat("the server has ", options_.max_streams,
                     " requests in flight, its maximum; try again later"));
  }
  if (!status.ok()) {
    SetRetryHint(status, options_.retry_hint);
  }
  return status;
}

absl::Status RpcFrame::Close(Scope::State& state, absl::Status status) {
  state.overdue.Reset();
  state.live->End();
  const absl::Duration now = clock_.Monotonic();
  // Whoever was cancelled by its deadline reports that it was cancelled.
  const bool late = absl::IsCancelled(status) && now >= state.call.deadline;
  if (late || state.overdue.fired()) {
    status = absl::DeadlineExceededError(
        "the deadline has passed; ask for less or give more time");
  }
  AddRetryTrailer(*state.context, status);
  state.counts->Ended(status.code(), now - state.started);
  LogDone(state.call, state.method, state.load, now - state.started, status);
  Leave(state.load);
  return status;
}

void RpcFrame::Leave(RpcLoad load) {
  MutexLock lock(mutex_);
  streams_ -= load == RpcLoad::kStream ? 1 : 0;
  if (--in_flight_ == 0) {
    idle_.NotifyAll();
  }
}

absl::Status RpcFrame::WriteStatus(bool written, bool stalled) {
  if (stalled) {
    return absl::DeadlineExceededError(
        "the caller read too slowly; read faster");
  }
  return written ? absl::OkStatus()
                 : absl::CancelledError("the caller has gone");
}

void RpcFrame::Drain() {
  MutexLock lock(mutex_);
  draining_ = true;
}

bool RpcFrame::WaitIdle(absl::Duration timeout) {
  const Clock& real = Clock::Real();  // CondVar knows no other
  const absl::Duration end = real.Monotonic() + timeout;
  MutexLock lock(mutex_);
  while (in_flight_ > 0) {
    const absl::Duration left = end - real.Monotonic();
    if (left <= absl::ZeroDuration()) {
      return false;
    }
    idle_.WaitFor(mutex_, std::min(left, kLongestWait));
  }
  return true;
}

int RpcFrame::in_flight() const {
  MutexLock lock(mutex_);
  return in_flight_;
}

RpcFrame::Scope::Scope() = default;
RpcFrame::Scope::Scope(std::unique_ptr<State> state)
    : state_(std::move(state)) {}
RpcFrame::Scope::Scope(Scope&& other) noexcept = default;

RpcFrame::Scope& RpcFrame::Scope::operator=(Scope&& other) noexcept {
  Scope moved(std::move(other));
  std::swap(state_, moved.state_);
  return *this;
}

RpcFrame::Scope::~Scope() {
  if (state_ != nullptr) {
    Finish(absl::CancelledError("the caller has gone"));
  }
}

const absl::Status& RpcFrame::Scope::admitted() const {
  return state_->admitted;
}

const Call& RpcFrame::Scope::call() const { return state_->call; }

grpc::Status RpcFrame::Scope::Finish(const absl::Status& status) {
  const std::unique_ptr<State> state = std::move(state_);
  return ToGrpcStatus(state->frame->Close(*state, status));
}

}  // namespace winnow
