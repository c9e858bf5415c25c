#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <grpcpp/impl/service_type.h>

#include "absl/status/status.h"

#include "cache_store/store/kv_store.h"
#include "gpu/backend.h"
#include "services/cli/served_model.h"
#include "services/common/compute_gate.h"
#include "services/common/metrics.h"
#include "services/common/prefiller.h"
#include "services/common/role.h"
#include "services/common/rpc.h"
#include "services/common/rpc_metrics.h"
#include "services/common/server.h"
#include "services/common/service_settings.h"
#include "services/decode/decode_metrics.h"
#include "services/decode/decode_pipeline.h"
#include "services/gateway/gateway_metrics.h"
#include "services/gateway/generation.h"
#include "services/prefill/prefill_metrics.h"
#include "services/prefill/prefill_pipeline.h"
#include "services/store/store_metrics.h"

namespace winnow {

// What a node is made of, in the order in which it is built; it is taken down
// the other way round, so that everything outlives what borrows it.
//
// Each Add* builds one role into this process; Serve comes last.
class NodeParts {
 public:
  NodeParts(Role role, const ServiceSettings& settings);

  absl::Status LoadModel();
  absl::Status AddLocalStore();   // with CacheStoreService
  absl::Status AddRemoteStore();  // a client of settings.store
  absl::Status AddPrefill();      // on the store that was added
  absl::Status AddDecode();
  absl::Status AddGateway();  // over what was added, else over settings
  absl::Status Serve();

  const ServiceSettings& settings() const { return settings_; }
  Role role() const { return role_; }
  const std::string& model_name() const { return model_.name; }
  int num_threads() const;
  Server& server() { return *server_; }
  const MetricsServer* metrics_server() const { return metrics_server_.get(); }

 private:
  absl::Status AddBackend();
  absl::Status NeedAddress(const std::string& address, const char* setting,
                           const char* whose) const;
  int MaxMessageBytes() const;
  template <typename Service, typename... Arguments>
  void AddService(Arguments&&... arguments);

  const Role role_;
  const ServiceSettings settings_;
  Metrics metrics_;
  RpcMetrics rpc_metrics_;
  RpcFrame frame_;

  std::unique_ptr<Backend> backend_;
  ServedModel model_;  // its weights are the backend's, where there is one
  ComputeGate gate_;   // of the backend
  std::unique_ptr<StoreMetrics> store_metrics_;
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<PrefillPipeline> prefill_pipeline_;
  std::unique_ptr<PrefillMetrics> prefill_metrics_;
  std::unique_ptr<Prefiller> prefiller_;  // metered, or remote
  std::unique_ptr<DecodePipeline> decode_pipeline_;
  std::unique_ptr<DecodeMetrics> decode_metrics_;
  std::unique_ptr<Decoder> decoder_;  // metered, or remote
  std::unique_ptr<GatewayMetrics> gateway_metrics_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<MetricsServer> metrics_server_;
};

}  // namespace winnow
