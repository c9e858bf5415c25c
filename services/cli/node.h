#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "services/common/role.h"
#include "services/common/service_settings.h"

namespace winnow {

class NodeParts;

// One process of the system, running: `winnow serve`, or one of its roles.
//
// serve has everything in it: gateway, prefill and decode meet by pointers, and
// share a backend and a store.  A role alone has what it needs, and meets the
// others over gRPC.
class Node {
 public:
  // Loads, listens and serves.
  //
  // Errors of LoadServedModel, of the store, of Server::Start and of
  // MetricsServer::Start; InvalidArgument names a setting that is missing.
  static absl::StatusOr<std::unique_ptr<Node>> Start(
      Role role, const ServiceSettings& settings);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const std::vector<std::string>& addresses() const;
  // "127.0.0.1:7710"; empty where there are no metrics.
  std::string metrics_address() const;
  // One line for people: what it serves, where, and its limits.
  std::string Describe() const;

  // Ends service, health first; see Server::Drain.
  absl::Status Drain();

 private:
  explicit Node(std::unique_ptr<NodeParts> parts);
  std::unique_ptr<NodeParts> parts_;
};

}  // namespace winnow
