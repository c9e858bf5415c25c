#include "services/cli/served_model.h"

#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

#include "cache_store/plan/builtin_profiles.h"
#include "gpu/base/status.h"
#include "gpu/model/resident_model.h"

namespace winnow {
namespace {

absl::StatusOr<std::optional<HeadProfile>> FindProfile(
    const Model& model, const std::string& model_path,
    const std::string& profile_path) {
  WINNOW_ASSIGN_OR_RETURN(const Sha256Digest digest, model.Digest());
  if (profile_path.empty()) {
    auto built_in = FindBuiltInProfile(digest);
    if (built_in.ok()) {
      return *std::move(built_in);
    }
    return std::nullopt;  // policies that need one will say so
  }
  WINNOW_ASSIGN_OR_RETURN(HeadProfile profile, LoadHeadProfile(profile_path));
  if (profile.model_digest != digest) {
    return absl::FailedPreconditionError(
        absl::StrCat("the head profile ", profile_path,
                     " was made for another model (", profile.model_name,
                     "); make one for this model with `winnow profile --model ",
                     model_path, " --out FILE`"));
  }
  return profile;
}

std::string NameOf(const std::string& path) {
  std::filesystem::path file = path;
  if (!file.has_filename()) {
    file = file.parent_path();  // "folder/"
  }
  const std::string name = file.filename().string();
  return std::string(absl::StripSuffix(name, ".gguf"));
}

}  // namespace

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

absl::Status ServedModel::MakeResident(Backend& backend) {
  WINNOW_ASSIGN_OR_RETURN(model,
                          winnow::MakeResident(backend, std::move(model)));
  return absl::OkStatus();
}

absl::StatusOr<CacheIdentity> ServedModel::Identity(KvDtype dtype) const {
  WINNOW_ASSIGN_OR_RETURN(const Sha256Digest digest, model->Digest());
  return CacheIdentity{.model_digest = digest,
                       .tokenizer_digest = tokenizer->digest(),
                       .dtype = dtype,
                       .rotary = model->config().rotary_description,
                       .tenant_salt = ""};
}

absl::StatusOr<ServedModel> LoadServedModel(const std::string& path,
                                            const std::string& profile_path) {
  ServedModel loaded;
  loaded.name = NameOf(path);
  WINNOW_ASSIGN_OR_RETURN(loaded.model, OpenModel(path));
  const TokenizerSource& source = loaded.model->tokenizer_source();
  if (source.tokens.empty()) {
    return absl::NotFoundError(
        absl::StrCat(path,
                     " has no tokenizer; put the model's tokenizer.json beside "
                     "its config.json"));
  }
  WINNOW_ASSIGN_OR_RETURN(loaded.tokenizer, Tokenizer::Create(source));
  WINNOW_ASSIGN_OR_RETURN(loaded.profile,
                          FindProfile(*loaded.model, path, profile_path));
  return loaded;
}

}  // namespace winnow
