#include "services/cli/node_parts.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "cache_store/store/local_store.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/cpu_count.h"
#include "services/common/channel.h"
#include "services/common/remote_decoder.h"
#include "services/common/remote_prefiller.h"
#include "services/common/remote_store.h"
#include "services/common/store_wire.h"
#include "services/decode/decode_service.h"
#include "services/decode/metered_decoder.h"
#include "services/gateway/generation_service.h"
#include "services/prefill/metered_prefiller.h"
#include "services/prefill/prefill_service.h"
#include "services/store/metered_store.h"
#include "services/store/store_service.h"

namespace winnow {
namespace {

// Beside text and token ids: the rest of a request.
constexpr int kRequestBytes = 1 << 20;
// A token id, or a segment of a manifest for each 64 of them, on the wire.
constexpr int kBytesPerToken = 8;

RpcOptions ToRpcOptions(const ServiceSettings& settings) {
  return {.default_deadline = settings.default_deadline,
          .max_deadline = settings.max_deadline,
          .max_streams = settings.max_streams,
          .write_stall_timeout = settings.stream_stall_timeout};
}

Keepalive ToKeepalive(const ServiceSettings& settings) {
  return {.time = settings.keepalive_time};
}

}  // namespace

NodeParts::NodeParts(Role role, const ServiceSettings& settings)
    : role_(role),
      settings_(settings),
      metrics_(WINNOW_VERSION, RoleName(role)),
      rpc_metrics_(metrics_.registry()),
      frame_(ToRpcOptions(settings), rpc_metrics_) {}

int NodeParts::num_threads() const {
  if (backend_ == nullptr) {
    return 0;
  }
  return settings_.threads > 0 ? settings_.threads : UsableCpuCount();
}

template <typename Service, typename... Arguments>
void NodeParts::AddService(Arguments&&... arguments) {
  services_.push_back(
      std::make_unique<Service>(std::forward<Arguments>(arguments)...));
}

absl::Status NodeParts::LoadModel() {
  if (settings_.model.empty()) {
    return absl::InvalidArgumentError(
        "no model is given; give --model FILE (`deploy/fetch-model` fetches "
        "one and prints where it is)");
  }
  WINNOW_ASSIGN_OR_RETURN(model_,
                          LoadServedModel(settings_.model, settings_.profile));
  return absl::OkStatus();
}

absl::Status NodeParts::AddBackend() {
  if (backend_ != nullptr) {
    return absl::OkStatus();
  }
  WINNOW_ASSIGN_OR_RETURN(backend_,
                          CreateCpuBackend({.numerics = settings_.numerics,
                                            .num_threads = settings_.threads}));
  return model_.MakeResident(*backend_);
}

absl::Status NodeParts::AddLocalStore() {
  const LocalStoreOptions options = {.capacity_bytes = settings_.store_size,
                                     .capacity_name = "--store-size"};
  WINNOW_ASSIGN_OR_RETURN(auto store, LocalStore::Create(options));
  store_metrics_ = std::make_unique<StoreMetrics>(metrics_, *store);
  store_ = std::make_unique<MeteredStore>(std::move(store), *store_metrics_);
  StoreServiceOptions service_options;
  service_options.max_lease_ttl = options.max_lease;
  service_options.metrics = store_metrics_.get();
  AddService<StoreService>(*store_, frame_, service_options);
  return absl::OkStatus();
}

absl::Status NodeParts::AddRemoteStore() {
  RemoteStoreOptions options;
  options.timeout = settings_.store_deadline;
  options.channel.keepalive = ToKeepalive(settings_);
  store_ = std::make_unique<RemoteStore>(settings_.store, options);
  return absl::OkStatus();
}

absl::Status NodeParts::AddPrefill() {
  WINNOW_RETURN_IF_ERROR(AddBackend());
  WINNOW_ASSIGN_OR_RETURN(const CacheIdentity identity,
                          model_.Identity(settings_.kv_dtype));
  WINNOW_ASSIGN_OR_RETURN(
      prefill_pipeline_,
      PrefillPipeline::Create(*backend_,
                              {.model = model_.model.get(),
                               .profile = model_.profile_or_null(),
                               .identity = identity},
                              *store_,
                              {.dtype = settings_.kv_dtype,
                               .chunk_tokens = settings_.prefill_chunk,
                               .yield_chunk_tokens = settings_.yield_chunk,
                               .max_queue = settings_.max_queue,
                               .queue_timeout = settings_.queue_timeout,
                               .lease_ttl = settings_.lease_ttl,
                               .on_reuse_miss =
                                   [this](MissReason reason) {
                                     prefill_metrics_->CountMiss(reason);
                                   },
                               .gate = &gate_}));
  prefill_metrics_ = std::make_unique<PrefillMetrics>(
      metrics_, [this] { return prefill_pipeline_->Snapshot(); });
  prefiller_ = std::make_unique<MeteredPrefiller>(
      *prefill_pipeline_, model_.model->config(), *prefill_metrics_);
  AddService<PrefillServiceImpl>(*prefiller_, frame_);
  return absl::OkStatus();
}

absl::Status NodeParts::AddDecode() {
  WINNOW_RETURN_IF_ERROR(AddBackend());
  WINNOW_ASSIGN_OR_RETURN(const CacheIdentity identity,
                          model_.Identity(settings_.kv_dtype));
  WINNOW_ASSIGN_OR_RETURN(
      decode_pipeline_,
      DecodePipeline::Create(*backend_, *model_.model, identity, *store_,
                             {.max_sequences = settings_.max_sequences,
                              .memory_bytes = settings_.decode_memory,
                              .max_queue = settings_.max_queue,
                              .queue_timeout = settings_.queue_timeout,
                              .stall_timeout = settings_.stream_stall_timeout,
                              .lease_ttl = settings_.lease_ttl,
                              .gate = &gate_}));
  decode_metrics_ = std::make_unique<DecodeMetrics>(
      metrics_, [this] { return decode_pipeline_->Snapshot(); });
  decoder_ =
      std::make_unique<MeteredDecoder>(*decode_pipeline_, *decode_metrics_);
  AddService<DecodeServiceImpl>(*decoder_, frame_);
  return absl::OkStatus();
}

absl::Status NodeParts::AddGateway() {
  const ChannelOptions options = {.keepalive = ToKeepalive(settings_)};
  if (prefiller_ == nullptr) {
    prefiller_ = std::make_unique<RemotePrefiller>(
        MakeChannel(settings_.prefill, options), settings_.prefill);
    decoder_ = std::make_unique<RemoteDecoder>(
        MakeChannel(settings_.decode, options), settings_.decode);
    WINNOW_RETURN_IF_ERROR(AddRemoteStore());
  }
  Policy default_policy;
  default_policy.kind =
      model_.profile.has_value() ? PolicyKind::kRazor : PolicyKind::kFull;
  gateway_metrics_ = std::make_unique<GatewayMetrics>(metrics_);
  AddService<GenerationServiceImpl>(
      GatewayParts{.roles = {.prefiller = *prefiller_,
                             .decoder = *decoder_,
                             .store = store_.get(),
                             .config = model_.model->config()},
                   .model = *model_.model,
                   .tokenizer = *model_.tokenizer,
                   .model_name = model_.name,
                   .frame = frame_,
                   .metrics = gateway_metrics_.get()},
      TextLimits{.max_prompt_bytes = settings_.max_prompt_bytes,
                 .max_tokens = settings_.max_tokens_limit,
                 .default_policy = default_policy});
  return absl::OkStatus();
}

int NodeParts::MaxMessageBytes() const {
  if (role_ == Role::kStore) {
    return kMaxStoreMessageBytes;
  }
  const int64_t tokens = model_.model->config().context_limit;
  int64_t bytes = kRequestBytes + tokens * kBytesPerToken;
  if (role_ == Role::kServe || role_ == Role::kGateway) {
    bytes = std::max(bytes, static_cast<int64_t>(settings_.max_prompt_bytes) +
                                kRequestBytes);
  }
  return static_cast<int>(
      std::clamp<int64_t>(bytes, kMaxStoreMessageBytes, 1 << 30));
}

absl::Status NodeParts::Serve() {
  // A thread for each call that is served, and some for short ones.
  constexpr int kShortCalls = 32;
  const ServerOptions options = {
      .listen = settings_.listen,
      .insecure_listen = settings_.insecure_listen,
      .max_message_bytes = MaxMessageBytes(),
      .max_concurrent_streams = settings_.max_streams,
      .max_threads = settings_.max_streams + kShortCalls,
      .keepalive = ToKeepalive(settings_),
      .frames = {&frame_}};
  std::vector<grpc::Service*> services;
  services.reserve(services_.size());
  for (const auto& service : services_) {
    services.push_back(service.get());
  }
  if (!settings_.metrics_listen.empty()) {
    WINNOW_ASSIGN_OR_RETURN(
        metrics_server_,
        MetricsServer::Start(settings_.metrics_listen,
                             settings_.insecure_listen, metrics_));
  }
  WINNOW_ASSIGN_OR_RETURN(server_, Server::Start(options, services));
  return absl::OkStatus();
}

}  // namespace winnow
