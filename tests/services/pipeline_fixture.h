#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache_store/store/local_store.h"
#include "gpu/cpu/cpu_backend.h"
#include "gpu/model/model.h"
#include "gpu/model/resident_model.h"
#include "services/common/cache_sequence.h"
#include "services/decode/decode_pipeline.h"
#include "services/prefill/prefill_pipeline.h"

namespace winnow {

// A head profile with the given classes and weight 1 everywhere.
inline HeadProfile ProfileOf(const ModelConfig& config,
                             std::vector<bool> retrieval) {
  HeadProfile profile;
  profile.num_layers = config.num_layers;
  profile.num_heads = config.num_heads;
  profile.num_kv_heads = config.num_kv_heads;
  profile.scores.resize(static_cast<size_t>(config.num_layers) *
                        config.num_heads);
  profile.weights.assign(retrieval.size(), 1.0f);
  profile.retrieval = std::move(retrieval);
  return profile;
}

inline std::unique_ptr<KvStore> MakeStore(size_t capacity_bytes) {
  return LocalStore::Create({.capacity_bytes = capacity_bytes}).value();
}

// Model, backend and pipelines of one process; the store is the test's.
struct Node {
  Node(const std::string& model_path, KvStore& store, HeadProfile head_profile,
       Numerics numerics, KvDtype dtype, int64_t max_tokens = 0)
      : backend(CreateCpuBackend({.numerics = numerics}).value()),
        model(MakeResident(*backend, LoadModel(model_path).value()).value()),
        profile(std::move(head_profile)),
        identity({.model_digest = model->Digest().value(),
                  .tokenizer_digest = {},
                  .dtype = dtype,
                  .rotary = model->config().rotary_description,
                  .tenant_salt = ""}) {
    prefill =
        PrefillPipeline::Create(
            *backend,
            {.model = model.get(), .profile = &profile, .identity = identity},
            store, {.dtype = dtype, .max_tokens = max_tokens, .gate = &gate})
            .value();
    decode = DecodePipeline::Create(*backend, *model, identity, store,
                                    {.gate = &gate})
                 .value();
  }

  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  HeadProfile profile;
  CacheIdentity identity;
  ComputeGate gate;  // of the backend
  std::unique_ptr<PrefillPipeline> prefill;
  std::unique_ptr<DecodePipeline> decode;
};

}  // namespace winnow
