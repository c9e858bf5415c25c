#include "services/cli/engine.h"

#include "absl/strings/str_cat.h"

#include "cache_store/store/local_store.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"

namespace winnow {

absl::StatusOr<std::unique_ptr<Model>> OpenModel(const std::string& path) {
  auto model = LoadModel(path);
  if (model.ok()) {
    return model;
  }
  const std::string message(model.status().message());
  const bool names_path = message.find(path) != std::string::npos;
  return absl::Status(
      model.status().code(),
      absl::StrCat(
          names_path ? "" : absl::StrCat(path, ": "), message,
          absl::IsUnimplemented(model.status())
              ? ""
              : "; give an intact GGUF file or a Hugging Face folder"));
}

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(
    const EngineOptions& options) {
  std::unique_ptr<Engine> engine(new Engine);
  WINNOW_ASSIGN_OR_RETURN(engine->model_, OpenModel(options.model_path));
  if (engine->model_->tokenizer_source().tokens.empty()) {
    return absl::NotFoundError(
        absl::StrCat(options.model_path,
                     " has no tokenizer; put the model's tokenizer.json beside "
                     "its config.json"));
  }
  WINNOW_ASSIGN_OR_RETURN(
      engine->tokenizer_,
      Tokenizer::Create(engine->model_->tokenizer_source()));
  WINNOW_RETURN_IF_ERROR(engine->LoadProfile(options));
  WINNOW_ASSIGN_OR_RETURN(
      engine->backend_, CreateCpuBackend({.numerics = options.numerics,
                                          .num_threads = options.num_threads}));
  WINNOW_ASSIGN_OR_RETURN(
      engine->store_,
      LocalStore::Create({.capacity_bytes = options.store_bytes}));
  WINNOW_RETURN_IF_ERROR(engine->CreatePipelines(options));
  return engine;
}

absl::Status Engine::LoadProfile(const EngineOptions& options) {
  WINNOW_ASSIGN_OR_RETURN(const Sha256Digest digest, model_->Digest());
  if (options.profile_path.empty()) {
    auto built_in = FindBuiltInProfile(digest);
    if (built_in.ok()) {
      profile_ = *std::move(built_in);
    }
    return absl::OkStatus();  // policies that need one will say so
  }
  WINNOW_ASSIGN_OR_RETURN(profile_, LoadHeadProfile(options.profile_path));
  if (profile_->model_digest != digest) {
    return absl::FailedPreconditionError(
        absl::StrCat("the head profile ", options.profile_path,
                     " was made for another model (", profile_->model_name,
                     "); make one for this model with `winnow profile --model ",
                     options.model_path, " --out FILE`"));
  }
  return absl::OkStatus();
}

absl::Status Engine::CreatePipelines(const EngineOptions& options) {
  WINNOW_ASSIGN_OR_RETURN(const Sha256Digest model_digest, model_->Digest());
  const CacheIdentity identity = {.model_digest = model_digest,
                                  .tokenizer_digest = tokenizer_->digest(),
                                  .dtype = options.dtype,
                                  .rotary = model_->config().rotary_description,
                                  .tenant_salt = ""};
  WINNOW_ASSIGN_OR_RETURN(
      prefill_,
      PrefillPipeline::Create(
          *backend_,
          {.model = model_.get(), .profile = profile(), .identity = identity},
          *store_, {.dtype = options.dtype}));
  WINNOW_ASSIGN_OR_RETURN(
      decode_,
      DecodePipeline::Create(*backend_, *model_, identity, *store_, {}));
  return absl::OkStatus();
}

}  // namespace winnow
