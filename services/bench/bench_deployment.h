#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "services/bench/bench_role.h"

namespace winnow {

// Processes that answer text together, on UNIX sockets.
class Deployment {
 public:
  // `winnow serve`: everything in one process.  `settings` are further flags.
  static absl::StatusOr<std::unique_ptr<Deployment>> StartOne(
      const std::string& model, const SocketFolder& folder,
      const std::vector<std::string>& settings);
  // A store of `store_size`, prefill, decode, and the gateway that meets them.
  static absl::StatusOr<std::unique_ptr<Deployment>> StartSplit(
      const std::string& model, const SocketFolder& folder,
      const std::string& store_size);

  // Of the gateway.
  const std::string& address() const { return roles_.back()->addresses()[0]; }

  // Of all processes together.  Unavailable if one has ended.
  absl::StatusOr<uint64_t> ResidentBytes() const;
  absl::Duration CpuTime() const;

 private:
  Deployment() = default;
  absl::Status Add(const std::string& role, const SocketFolder& folder,
                   const std::vector<std::string>& settings);
  const std::string& AddressOf(size_t role) const {
    return roles_[role]->addresses()[0];
  }

  std::vector<std::unique_ptr<RunningRole>> roles_;
};

}  // namespace winnow
