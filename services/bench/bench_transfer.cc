#include "services/bench/bench_transfer.h"

#include <algorithm>
#include <memory>
#include <random>
#include <span>

#include "absl/strings/str_cat.h"

#include "gpu/base/clock.h"
#include "gpu/base/status.h"
#include "services/bench/bench_context.h"
#include "services/bench/bench_machine.h"
#include "services/bench/bench_role.h"
#include "services/common/remote_store.h"
#include "services/common/stage_timer.h"
#include "services/common/units.h"

namespace winnow {
namespace {

constexpr absl::Duration kStartTimeout = absl::Minutes(1);
constexpr size_t kSpareStoreBytes = size_t{64} << 20;

// Random bytes, so that nothing on the way can be better than it is.
std::vector<std::byte> RandomBytes(size_t count) {
  std::vector<std::byte> bytes(count);
  std::mt19937_64 random(1);
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(random());
  }
  return bytes;
}

// One way to the store, and its roof.
struct Path {
  SocketKind socket;
  std::unique_ptr<RawSender> raw;
  std::unique_ptr<RemoteStore> store;
};

// What the repeats of one figure gave.
struct Samples {
  std::vector<double> raw, checked_raw, write, pull;
  std::vector<double> write_share, pull_share, pull_checked_share;
};

template <typename Body>
absl::StatusOr<double> Rate(size_t bytes, const Body& body) {
  absl::Duration time;
  {
    const StageTimer timer(Clock::Real(), time);
    WINNOW_RETURN_IF_ERROR(body());
  }
  return static_cast<double>(bytes) /
         std::max(absl::ToDoubleSeconds(time), 1e-9);
}

absl::Status Sample(const Path& path, std::span<const std::byte> source,
                    std::span<std::byte> buffer, BenchContext& context,
                    Samples& samples) {
  const auto to = buffer.first(context.bytes());
  WINNOW_ASSIGN_OR_RETURN(const double raw, path.raw->Receive(to, false));
  WINNOW_ASSIGN_OR_RETURN(const double write, Rate(context.bytes(), [&] {
                            return context.Write(*path.store, source);
                          }));
  WINNOW_ASSIGN_OR_RETURN(const double pull, Rate(context.bytes(), [&] {
                            return context.Pull(*path.store);
                          }));
  WINNOW_ASSIGN_OR_RETURN(const double checked, path.raw->Receive(to, true));
  WINNOW_RETURN_IF_ERROR(context.Remove(*path.store));
  samples.raw.push_back(raw);
  samples.checked_raw.push_back(checked);
  samples.write.push_back(write);
  samples.pull.push_back(pull);
  samples.write_share.push_back(write / raw);
  samples.pull_share.push_back(pull / raw);
  samples.pull_checked_share.push_back(pull / checked);
  return absl::OkStatus();
}

TransferFigures FiguresOf(const Path& path, const BenchContext& context,
                          const Samples& samples) {
  return {.socket = path.socket,
          .context_bytes = context.bytes(),
          .context_segments = context.segments(),
          .raw_bytes_per_s = SpreadOf(samples.raw),
          .checked_raw_bytes_per_s = SpreadOf(samples.checked_raw),
          .write_bytes_per_s = SpreadOf(samples.write),
          .pull_bytes_per_s = SpreadOf(samples.pull),
          .write_raw_share = SpreadOf(samples.write_share),
          .pull_raw_share = SpreadOf(samples.pull_share),
          .pull_checked_raw_share = SpreadOf(samples.pull_checked_share)};
}

// All figures of one size.  The first round takes new pages from the system,
// and shows that the bytes are the same; it does not count.
absl::Status MeasureSize(const TransferBenchOptions& options, size_t bytes,
                         std::span<const Path> paths,
                         std::span<const std::byte> source,
                         TransferReport& report) {
  BenchContext context(bytes);
  std::vector<std::byte> buffer(context.bytes());
  for (const Path& path : paths) {
    WINNOW_RETURN_IF_ERROR(path.raw->Receive(buffer, false).status());
    WINNOW_RETURN_IF_ERROR(context.Write(*path.store, source));
    WINNOW_RETURN_IF_ERROR(context.PullAndCompare(*path.store, source));
    WINNOW_RETURN_IF_ERROR(context.Remove(*path.store));
    report.pulled_bytes_compared += context.bytes();
  }
  std::vector<Samples> samples(paths.size());
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    WaitUntilQuiet(kQuietCores, options.wait_quiet);
    for (size_t i = 0; i < paths.size(); ++i) {
      WINNOW_RETURN_IF_ERROR(
          Sample(paths[i], source, buffer, context, samples[i]));
    }
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    report.figures.push_back(FiguresOf(paths[i], context, samples[i]));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TransferReport> BenchTransfer(
    const TransferBenchOptions& options) {
  const size_t most = std::ranges::max(options.context_bytes);
  const std::vector<std::byte> source = RandomBytes(most);
  std::vector<Path> paths;
  for (const SocketKind kind : {SocketKind::kUnix, SocketKind::kTcp}) {
    WINNOW_ASSIGN_OR_RETURN(auto raw, RawSender::Start(kind, source));
    paths.push_back({.socket = kind, .raw = std::move(raw), .store = nullptr});
  }
  WINNOW_ASSIGN_OR_RETURN(const auto folder, SocketFolder::Create());
  WINNOW_ASSIGN_OR_RETURN(
      const auto role,
      RunningRole::Start(
          {"store", "--listen", folder->Address("store"), "--listen",
           "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--store-size",
           FormatByteSize(most + kSpareStoreBytes)},
          kStartTimeout));
  if (role->addresses().size() != paths.size()) {
    return absl::InternalError("the store does not say where it listens");
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    paths[i].store = std::make_unique<RemoteStore>(role->addresses()[i]);
  }
  TransferReport report = {.figures = {}, .repeats = options.repeats};
  const LoadMeter load([&paths, &role] {
    absl::Duration time = role->CpuTime();
    for (const Path& path : paths) {
      time += path.raw->CpuTime();
    }
    return time;
  });
  for (const size_t bytes : options.context_bytes) {
    WINNOW_RETURN_IF_ERROR(MeasureSize(options, bytes, paths, source, report));
  }
  report.other_cores = load.OtherCores();
  return report;
}

}  // namespace winnow
