#include "services/common/server.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include <grpc/grpc.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/impl/server_initializer.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>
#if __has_include(<google/protobuf/stubs/logging.h>)
#include <google/protobuf/stubs/logging.h>
#endif

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"

#include "gpu/base/status.h"
#include "services/common/listen_address.h"
#include "services/common/log.h"
#include "services/common/socket_buffers.h"

namespace winnow {
namespace {

// For answers on their way when the last handler has returned.
constexpr absl::Duration kFlushTime = absl::Milliseconds(200);
constexpr absl::Duration kHandshakeTimeout = absl::Seconds(10);
constexpr int kMaxMetadataBytes = 16 << 10;  // of one request

// Learns the names of the services, which gRPC tells to plugins alone.
class NamesPlugin final : public grpc::ServerBuilderPlugin {
 public:
  explicit NamesPlugin(std::vector<std::string>& names) : names_(names) {}
  std::string name() override { return "winnow_service_names"; }
  void InitServer(grpc::ServerInitializer* /*server*/) override {}
  void Finish(grpc::ServerInitializer* server) override {
    names_ = *server->GetServiceList();
  }
  void ChangeArguments(const std::string& /*name*/, void* /*value*/) override {}

 private:
  std::vector<std::string>& names_;
};

class NamesOption final : public grpc::ServerBuilderOption {
 public:
  explicit NamesOption(std::vector<std::string>& names) : names_(names) {}
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*
                         plugins) override {
    plugins->push_back(std::make_unique<NamesPlugin>(names_));
  }

 private:
  std::vector<std::string>& names_;
};

// Of connections that it accepts.
class BuffersOption final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* arguments) override {
    EnlargeSocketBuffers(*arguments);
  }
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>*
                     /*plugins*/) override {}
};

// Files made in its scope belong to this user alone, sockets included.  The
// mask is the process's: other threads' files are private meanwhile, too.
class PrivateFiles {
 public:
  PrivateFiles() : before_(::umask(0177)) {}
  ~PrivateFiles() { ::umask(before_); }
  PrivateFiles(const PrivateFiles&) = delete;
  PrivateFiles& operator=(const PrivateFiles&) = delete;

 private:
  const mode_t before_;
};

absl::StatusOr<std::vector<ListenAddress>> CheckAddresses(
    const ServerOptions& options) {
  if (options.listen.empty()) {
    return absl::InvalidArgumentError(
        "no address to listen on; give --listen, such as 127.0.0.1:7700");
  }
  std::vector<ListenAddress> addresses;
  for (const std::string& text : options.listen) {
    WINNOW_ASSIGN_OR_RETURN(addresses.emplace_back(), ParseListenAddress(text));
    WINNOW_RETURN_IF_ERROR(
        CheckExposure(addresses.back(), options.insecure_listen));
  }
  for (const ListenAddress& address : addresses) {
    WINNOW_RETURN_IF_ERROR(ClaimSocketPath(address));
    WINNOW_RETURN_IF_ERROR(ProbeBind(address));
  }
  return addresses;
}

void Configure(const ServerOptions& options, grpc::ServerBuilder& builder) {
  ForEachTransportArgument(options.keepalive,
                           [&builder](const std::string& name, int value) {
                             builder.AddChannelArgument(name, value);
                           });
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             options.max_concurrent_streams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder.AddChannelArgument(
      GRPC_ARG_MAX_CONNECTION_IDLE_MS,
      static_cast<int>(absl::ToInt64Milliseconds(options.max_connection_idle)));
  builder.AddChannelArgument(
      GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS,
      static_cast<int>(absl::ToInt64Milliseconds(kHandshakeTimeout)));
  builder.SetMaxReceiveMessageSize(options.max_message_bytes);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  grpc::ResourceQuota quota("winnow");
  quota.Resize(options.memory_bytes).SetMaxThreads(options.max_threads);
  builder.SetResourceQuota(quota);
}

#if __has_include(<google/protobuf/stubs/logging.h>)
// Protobuf would write lines of its own to stderr, one for each message of a
// caller that is no UTF-8.  Later versions log through Abseil.
void LogProtobuf(google::protobuf::LogLevel level, const char* /*file*/,
                 int /*line*/, const std::string& message) {
  const LogField field = {"text", message};
  Log(level == google::protobuf::LOGLEVEL_FATAL ? LogLevel::kError
                                                : LogLevel::kDebug,
      "protobuf", {&field, 1});
}
#endif

// gRPC takes plugins for the next builder of the process, once for all.
void EnablePlugins() {
  static const bool kDone = [] {
#if __has_include(<google/protobuf/stubs/logging.h>)
    google::protobuf::SetLogHandler(&LogProtobuf);
#endif
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)kDone;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const ServerOptions& options, std::span<grpc::Service* const> services) {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<ListenAddress> addresses,
                          CheckAddresses(options));
  EnablePlugins();
  std::unique_ptr<Server> server(new Server(options));
  grpc::ServerBuilder builder;
  Configure(options, builder);
  std::vector<std::string> names;
  builder.SetOption(std::make_unique<NamesOption>(names));
  builder.SetOption(std::make_unique<BuffersOption>());
  for (grpc::Service* service : services) {
    builder.RegisterService(service);
  }
  server->ports_.resize(addresses.size());
  for (size_t i = 0; i < addresses.size(); ++i) {
    builder.AddListeningPort(addresses[i].ToString(),
                             grpc::InsecureServerCredentials(),
                             &server->ports_[i]);
  }
  {
    const PrivateFiles private_files;
    server->server_ = builder.BuildAndStart();
  }
  if (server->server_ == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot listen on ", absl::StrJoin(options.listen, ", "),
                     "; choose other addresses for --listen"));
  }
  for (size_t i = 0; i < addresses.size(); ++i) {
    ListenAddress bound = addresses[i];
    server->ports_[i] = bound.is_unix() ? 0 : server->ports_[i];
    bound.port = server->ports_[i];
    server->addresses_.push_back(bound.ToString());
  }
  std::ranges::copy_if(
      names, std::back_inserter(server->names_),
      [](const std::string& name) { return !name.starts_with("grpc."); });
  server->SetServing(true);
  return server;
}

Server::~Server() {
  if (server_ != nullptr) {
    Drain(absl::ZeroDuration()).IgnoreError();
  }
}

void Server::SetServing(bool serving) {
  grpc::HealthCheckServiceInterface* health = server_->GetHealthCheckService();
  health->SetServingStatus("", serving);
  for (const std::string& name : names_) {
    health->SetServingStatus(name, serving);
  }
}

absl::Status Server::Drain(absl::Duration timeout) {
  MutexLock lock(mutex_);
  if (std::exchange(drained_, true)) {
    return absl::OkStatus();
  }
  SetServing(false);
  if (timeout > absl::ZeroDuration()) {
    absl::SleepFor(options_.drain_notice);
  }
  const absl::Time end = absl::Now() + timeout;
  for (RpcFrame* frame : options_.frames) {
    frame->Drain();
  }
  bool idle = true;
  for (RpcFrame* frame : options_.frames) {
    idle = frame->WaitIdle(end - absl::Now()) && idle;
  }
  // Not earlier: watchers of the health service stay until they are cancelled.
  server_->Shutdown(
      std::chrono::system_clock::now() +
      absl::ToChronoNanoseconds(idle ? kFlushTime : absl::ZeroDuration()));
  return idle ? absl::OkStatus()
              : absl::DeadlineExceededError(
                    "requests were still running at the end of the drain "
                    "timeout and have been cancelled; give --drain-timeout "
                    "more time");
}

}  // namespace winnow
