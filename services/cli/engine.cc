#include "services/cli/engine.h"

#include "cache_store/store/local_store.h"
#include "gpu/base/status.h"

namespace winnow {

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine);
  WINNOW_ASSIGN_OR_RETURN(
      engine->served_,
      LoadServedModel(options.model_path, options.profile_path));
  WINNOW_ASSIGN_OR_RETURN(engine->backend_,
                          CreateCpuBackend({.numerics = options.numerics,
                                            .num_threads = options.num_threads,
                                            .max_level = options.cpu_level}));
  WINNOW_RETURN_IF_ERROR(engine->served_.MakeResident(*engine->backend_));
  WINNOW_ASSIGN_OR_RETURN(
      engine->store_, LocalStore::Create({.capacity_bytes = options.store_bytes,
                                          .capacity_name = "--store-size"}));
  WINNOW_RETURN_IF_ERROR(engine->CreatePipelines(options));
  return engine;
}

absl::Status Engine::CreatePipelines(const EngineOptions& options) {
  WINNOW_ASSIGN_OR_RETURN(const CacheIdentity identity,
                          served_.Identity(options.dtype));
  WINNOW_ASSIGN_OR_RETURN(
      prefill_, PrefillPipeline::Create(
                    *backend_,
                    {.model = served_.model.get(),
                     .profile = served_.profile_or_null(),
                     .identity = identity},
                    *store_, {.dtype = options.dtype, .gate = &gate_}));
  WINNOW_ASSIGN_OR_RETURN(
      decode_, DecodePipeline::Create(*backend_, model(), identity, *store_,
                                      {.gate = &gate_}));
  return absl::OkStatus();
}

}  // namespace winnow
