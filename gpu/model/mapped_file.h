#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace winnow {

// What tells one state of a file from another without reading it.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t modified_ns = 0;  // since the epoch

  auto operator<=>(const FileIdentity&) const = default;
};

// A regular file, opened and mapped read-only for as long as this lives.
//
// Pages are read when they are first touched and can be dropped again by the
// kernel.  Whoever cuts the file short while it is mapped kills the process:
// model files are replaced by renaming, never rewritten.
//
// Immutable, so thread-safe.
class MappedFile {
 public:
  // NotFound if there is no such file, PermissionDenied if it cannot be read,
  // InvalidArgument if it is not a regular file.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(
      const std::string& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  // Valid for the life of this object; page-aligned.
  std::span<const std::byte> bytes() const { return bytes_; }

  // Gives the resident pages back; they are read again when they are touched.
  void DropPages() const;

  // The file's identity now, which may differ from that at Open.
  absl::StatusOr<FileIdentity> Identity() const;

  // Reads up to buffer.size() bytes at `offset` through the descriptor, so
  // without making mapped pages resident.  Returns how many were read; 0 at
  // the end of the file.
  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                std::span<std::byte> buffer) const;

 private:
  MappedFile(std::string path, int descriptor)
      : path_(std::move(path)), descriptor_(descriptor) {}

  const std::string path_;
  const int descriptor_;
  std::span<const std::byte> bytes_;
};

}  // namespace winnow
