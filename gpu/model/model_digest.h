#pragma once

#include <optional>
#include <span>
#include <string>

#include "absl/status/statusor.h"

#include "gpu/model/mapped_file.h"
#include "gpu/model/model.h"

namespace winnow {

// Remembers digests of files by (device, inode, size, mtime), one small file
// each in a folder of the user's cache.  A folder that is missing is made; one
// that cannot be written to, and an entry that is damaged, only cost the work
// of digesting again.  Safe to use from several threads and processes.
class DigestCache {
 public:
  // `folder` empty: remembers nothing.
  explicit DigestCache(std::string folder) : folder_(std::move(folder)) {}

  // ${WINNOW_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/winnow}/digests, or
  // empty if none of these is set.
  static std::string DefaultFolder();

  std::optional<Sha256Digest> Find(const FileIdentity& identity) const;
  void Remember(const FileIdentity& identity, const Sha256Digest& digest) const;

 private:
  std::string PathOf(const FileIdentity& identity) const;

  const std::string folder_;
};

// SHA-256 of the bytes of `file`, streamed through a small buffer.
// FailedPrecondition if the file changes meanwhile.
absl::StatusOr<Sha256Digest> DigestFile(const MappedFile& file,
                                        const DigestCache& cache);

// SHA-256 over the names (without folder) and digests of `files`, in the order
// given; of a single file, its own digest.
absl::StatusOr<Sha256Digest> DigestFiles(
    std::span<const MappedFile* const> files, const DigestCache& cache);

}  // namespace winnow
