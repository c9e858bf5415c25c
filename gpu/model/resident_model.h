#pragma once

#include <memory>

#include "absl/status/statusor.h"

#include "gpu/backend.h"
#include "gpu/model/model.h"

namespace winnow {

// `model` with its matrices in the form that `backend` is fastest with: it
// computes what `model` computes, on this backend.  Only that form stays in
// memory; the file's pages are given back.  Matrices that the backend uses as
// they are stay in the file.
//
// `backend` outlives the result.  ResourceExhausted if there is no memory.
absl::StatusOr<std::unique_ptr<Model>> MakeResident(
    Backend& backend, std::unique_ptr<Model> model);

}  // namespace winnow
