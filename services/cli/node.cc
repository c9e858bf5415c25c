#include "services/cli/node.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/cli/node_parts.h"
#include "services/common/units.h"

namespace winnow {
namespace {

// What each role is made of.
absl::Status Build(NodeParts& parts) {
  switch (parts.role()) {
    case Role::kServe:
      WINNOW_RETURN_IF_ERROR(parts.LoadModel());
      WINNOW_RETURN_IF_ERROR(parts.AddLocalStore());
      WINNOW_RETURN_IF_ERROR(parts.AddPrefill());
      WINNOW_RETURN_IF_ERROR(parts.AddDecode());
      return parts.AddGateway();
    case Role::kGateway:
      WINNOW_RETURN_IF_ERROR(parts.LoadModel());
      return parts.AddGateway();
    case Role::kPrefill:
      WINNOW_RETURN_IF_ERROR(parts.AddRemoteStore());
      WINNOW_RETURN_IF_ERROR(parts.LoadModel());
      return parts.AddPrefill();
    case Role::kStore:
      return parts.AddLocalStore();
    case Role::kDecode:
      WINNOW_RETURN_IF_ERROR(parts.AddRemoteStore());
      WINNOW_RETURN_IF_ERROR(parts.LoadModel());
      return parts.AddDecode();
  }
  return absl::InternalError("a role that is none");
}

}  // namespace

Node::Node(std::unique_ptr<NodeParts> parts) : parts_(std::move(parts)) {}
Node::~Node() = default;

absl::StatusOr<std::unique_ptr<Node>> Node::Start(
    Role role, const ServiceSettings& settings) {
  auto parts = std::make_unique<NodeParts>(role, settings);
  WINNOW_RETURN_IF_ERROR(Build(*parts));
  WINNOW_RETURN_IF_ERROR(parts->Serve());
  return std::unique_ptr<Node>(new Node(std::move(parts)));
}

const std::vector<std::string>& Node::addresses() const {
  return parts_->server().addresses();
}

std::string Node::metrics_address() const {
  const MetricsServer* const server = parts_->metrics_server();
  return server == nullptr ? "" : server->address();
}

std::string Node::Describe() const {
  const ServiceSettings& settings = parts_->settings();
  const Role role = parts_->role();
  std::string line = absl::StrCat(
      "winnow ", Absl(RoleName(role)), " ready: grpc ",
      absl::StrJoin(addresses(), ", "), "; metrics ",
      metrics_address().empty()
          ? "off"
          : absl::StrCat("http://", metrics_address(), "/metrics"));
  if (role != Role::kStore) {
    absl::StrAppend(&line, "; model ", parts_->model_name());
  }
  if (parts_->num_threads() > 0) {
    absl::StrAppend(&line, "; threads ", parts_->num_threads());
  }
  if (role == Role::kServe || role == Role::kStore) {
    absl::StrAppend(&line, "; store ", FormatByteSize(settings.store_size));
  }
  if (role == Role::kServe || role == Role::kDecode) {
    absl::StrAppend(&line, "; sequences ", settings.max_sequences,
                    "; decode memory ", FormatByteSize(settings.decode_memory));
  }
  absl::StrAppend(&line, "; streams ", settings.max_streams, "; deadline ",
                  absl::FormatDuration(settings.default_deadline), ", at most ",
                  absl::FormatDuration(settings.max_deadline));
  return line;
}

absl::Status Node::Drain() {
  return parts_->server().Drain(parts_->settings().drain_timeout);
}

}  // namespace winnow
