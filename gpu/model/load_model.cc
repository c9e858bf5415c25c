#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include <sys/stat.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "gpu/model/gguf_model.h"
#include "gpu/model/hf_model.h"
#include "gpu/model/loaded_model.h"
#include "gpu/model/model.h"
#include "gpu/model/model_digest.h"

namespace winnow {

absl::StatusOr<Sha256Digest> LoadedModel::Digest() const {
  // Held over the reading: a second caller waits for the first one's result.
  const MutexLock lock(mutex_);
  if (!digest_) {
    std::vector<const MappedFile*> files;
    files.reserve(parts_.files.size());
    for (const auto& file : parts_.files) {
      files.push_back(file.get());
    }
    WINNOW_ASSIGN_OR_RETURN(
        digest_, DigestFiles(files, DigestCache(DigestCache::DefaultFolder())));
  }
  return *digest_;
}

void LoadedModel::DropPages() const {
  for (const auto& file : parts_.files) {
    file->DropPages();
  }
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path) {
  struct stat status;
  if (stat(path.c_str(), &status) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("model ", path));
  }
  WINNOW_ASSIGN_OR_RETURN(ModelParts parts, S_ISDIR(status.st_mode)
                                                ? LoadHfFolder(path)
                                                : LoadGgufFile(path));
  return std::make_unique<LoadedModel>(std::move(parts));
}

}  // namespace winnow
