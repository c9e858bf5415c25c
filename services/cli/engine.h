#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "cache_store/plan/head_profile.h"
#include "cache_store/store/kv_store.h"
#include "gpu/cpu/cpu_backend.h"
#include "gpu/model/model.h"
#include "gpu/model/tokenizer.h"
#include "services/decode/decode_pipeline.h"
#include "services/gateway/generation.h"
#include "services/prefill/prefill_pipeline.h"

namespace winnow {

// What the program runs on, as the command line gives it.
struct EngineOptions {
  std::string model_path;
  std::string profile_path;  // empty: the built-in one for the model, if any
  Numerics numerics = Numerics::kFast;
  KvDtype dtype = KvDtype::kBfloat16;
  int num_threads = 0;  // 0: the cores this process may use
  uint64_t store_bytes = uint64_t{1} << 30;  // ceiling of the embedded store
};

// LoadModel, whose errors name `path` and say what to do.
absl::StatusOr<std::unique_ptr<Model>> OpenModel(const std::string& path);

// Model, backend, store and pipelines of one process: the composition root of
// the embedded mode.  Prefill and decode share nothing but the store.
class Engine {
 public:
  // Errors of OpenModel, LoadHeadProfile and the store; NotFound if the model
  // has no tokenizer; FailedPrecondition if the profile is of another model.
  static absl::StatusOr<std::unique_ptr<Engine>> Create(
      const EngineOptions& options);

  const Model& model() const { return *model_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }
  const HeadProfile* profile() const {
    return profile_.has_value() ? &*profile_ : nullptr;
  }
  Backend& backend() { return *backend_; }
  KvStore& store() { return *store_; }
  PrefillPipeline& prefill() { return *prefill_; }
  DecodePipeline& decode() { return *decode_; }
  GenerationRoles roles() {
    return {.prefiller = *prefill_,
            .decoder = *decode_,
            .store = *store_,
            .config = model_->config()};
  }

 private:
  Engine() = default;
  absl::Status LoadProfile(const EngineOptions& options);
  absl::Status CreatePipelines(const EngineOptions& options);

  std::unique_ptr<Model> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::optional<HeadProfile> profile_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<PrefillPipeline> prefill_;
  std::unique_ptr<DecodePipeline> decode_;
};

}  // namespace winnow
