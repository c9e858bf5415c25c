#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"

#include "cache_store/store/kv_store.h"
#include "gpu/cpu/cpu_backend.h"
#include "services/cli/served_model.h"
#include "services/common/compute_gate.h"
#include "services/decode/decode_pipeline.h"
#include "services/gateway/generation.h"
#include "services/prefill/prefill_pipeline.h"

namespace winnow {

// What the program runs on, as the command line gives it.
struct EngineOptions {
  std::string model_path;
  std::string profile_path;  // empty: the built-in one for the model, if any
  Numerics numerics = Numerics::kFast;
  CpuLevel cpu_level = CpuLevel::kAmx;  // the highest to use
  KvDtype dtype = KvDtype::kBfloat16;
  int num_threads = 0;  // 0: the cores this process may use
  uint64_t store_bytes = uint64_t{1} << 30;  // ceiling of the embedded store
};

// Model, backend, store and pipelines of one process: the composition root of
// the embedded mode.  Prefill and decode share the backend, by turns, and the
// store.
class Engine {
 public:
  // Errors of LoadServedModel and of the store.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      const EngineOptions& options);

  const Model& model() const { return *served_.model; }
  const Tokenizer& tokenizer() const { return *served_.tokenizer; }
  Backend& backend() { return *backend_; }
  KvStore& store() { return *store_; }
  PrefillPipeline& prefill() { return *prefill_; }
  DecodePipeline& decode() { return *decode_; }
  GenerationRoles roles() {
    return {.prefiller = *prefill_,
            .decoder = *decode_,
            .store = store_.get(),
            .config = model().config()};
  }

 private:
  Engine() = default;
  absl::Status CreatePipelines(const EngineOptions& options);

  std::unique_ptr<Backend> backend_;
  ServedModel served_;  // its weights are the backend's
  std::unique_ptr<KvStore> store_;
  ComputeGate gate_;  // of the backend
  std::unique_ptr<PrefillPipeline> prefill_;
  std::unique_ptr<DecodePipeline> decode_;
};

}  // namespace winnow
