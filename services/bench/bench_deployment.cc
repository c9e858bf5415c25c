#include "services/bench/bench_deployment.h"

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

// Loading is a matter of the disk.
constexpr absl::Duration kStartTimeout = absl::Minutes(3);

}  // namespace

absl::Status Deployment::Add(const std::string& role,
                             const SocketFolder& folder,
                             const std::vector<std::string>& settings) {
  std::vector<std::string> arguments = {role, "--listen", folder.Address(role),
                                        "--metrics-listen", "127.0.0.1:0"};
  arguments.insert(arguments.end(), settings.begin(), settings.end());
  WINNOW_ASSIGN_OR_RETURN(auto running,
                          RunningRole::Start(arguments, kStartTimeout));
  roles_.push_back(std::move(running));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Deployment>> Deployment::StartOne(
    const std::string& model, const SocketFolder& folder,
    const std::vector<std::string>& settings) {
  auto deployment = std::unique_ptr<Deployment>(new Deployment);
  std::vector<std::string> all = {"--model", model};
  all.insert(all.end(), settings.begin(), settings.end());
  WINNOW_RETURN_IF_ERROR(deployment->Add("serve", folder, all));
  return deployment;
}

absl::StatusOr<std::unique_ptr<Deployment>> Deployment::StartSplit(
    const std::string& model, const SocketFolder& folder,
    const std::string& store_size) {
  auto deployment = std::unique_ptr<Deployment>(new Deployment);
  WINNOW_RETURN_IF_ERROR(
      deployment->Add("store", folder, {"--store-size", store_size}));
  const std::vector<std::string> common = {"--model", model, "--store",
                                           deployment->AddressOf(0)};
  WINNOW_RETURN_IF_ERROR(deployment->Add("prefill", folder, common));
  WINNOW_RETURN_IF_ERROR(deployment->Add("decode", folder, common));
  std::vector<std::string> gateway = common;
  gateway.insert(gateway.end(), {"--prefill", deployment->AddressOf(1),
                                 "--decode", deployment->AddressOf(2)});
  WINNOW_RETURN_IF_ERROR(deployment->Add("gateway", folder, gateway));
  return deployment;
}

absl::StatusOr<uint64_t> Deployment::ResidentBytes() const {
  uint64_t total = 0;
  for (const auto& role : roles_) {
    WINNOW_ASSIGN_OR_RETURN(const uint64_t bytes, role->ResidentBytes());
    total += bytes;
  }
  return total;
}

absl::Duration Deployment::CpuTime() const {
  absl::Duration total;
  for (const auto& role : roles_) {
    total += role->CpuTime();
  }
  return total;
}

}  // namespace winnow
