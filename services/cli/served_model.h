#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"

#include "cache_store/format/block_chain.h"
#include "cache_store/plan/head_profile.h"
#include "gpu/backend.h"
#include "gpu/model/model.h"
#include "gpu/model/tokenizer.h"

namespace winnow {

// LoadModel, whose errors name `path` and say what to do.
absl::StatusOr<std::unique_ptr<Model>> OpenModel(const std::string& path);

// A model with what belongs to it.
struct ServedModel {
  std::string name;  // of its file or folder, without ".gguf"
  std::unique_ptr<Model> model;
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<HeadProfile> profile;

  const HeadProfile* profile_or_null() const {
    return profile.has_value() ? &*profile : nullptr;
  }
  // Lays the weights out as `backend`, which outlives this, wants them.
  absl::Status MakeResident(Backend& backend);
  // Of the caches that it makes.
  absl::StatusOr<CacheIdentity> Identity(KvDtype dtype) const;
};

// Opens a model with its tokenizer and the head profile at `profile_path`;
// where that is empty, the built-in one for the model, if there is any.
//
// Errors of OpenModel and LoadHeadProfile; NotFound if the model has no
// tokenizer; FailedPrecondition if the profile is of another model.
absl::StatusOr<ServedModel> LoadServedModel(const std::string& path,
                                            const std::string& profile_path);

}  // namespace winnow
