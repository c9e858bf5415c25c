#include "gpu/model/mapped_file.h"

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

absl::Status ErrnoOf(int error, const std::string& path) {
  return absl::ErrnoToStatus(error, path);
}

}  // namespace

absl::StatusOr<std::unique_ptr<MappedFile>> MappedFile::Open(
    const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    return ErrnoOf(errno, path);
  }
  std::unique_ptr<MappedFile> file(new MappedFile(path, descriptor));
  struct stat status;
  if (fstat(descriptor, &status) != 0) {
    return ErrnoOf(errno, path);
  }
  if (!S_ISREG(status.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not a regular file"));
  }
  if (status.st_size == 0) {
    return file;  // there are no mappings of length 0
  }
  const size_t size = static_cast<size_t>(status.st_size);
  void* address =
      mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, /*offset=*/0);
  if (address == MAP_FAILED) {
    return ErrnoOf(errno, path);
  }
  file->bytes_ = {static_cast<const std::byte*>(address), size};
  return file;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
  close(descriptor_);
}

void MappedFile::DropPages() const {
  if (!bytes_.empty()) {
    madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(),
            MADV_DONTNEED);
  }
}

absl::StatusOr<FileIdentity> MappedFile::Identity() const {
  struct stat status;
  if (fstat(descriptor_, &status) != 0) {
    return ErrnoOf(errno, path_);
  }
  return FileIdentity{
      .device = static_cast<uint64_t>(status.st_dev),
      .inode = static_cast<uint64_t>(status.st_ino),
      .size = static_cast<uint64_t>(status.st_size),
      .modified_ns = int64_t{status.st_mtim.tv_sec} * 1'000'000'000 +
                     status.st_mtim.tv_nsec};
}

absl::StatusOr<size_t> MappedFile::ReadAt(uint64_t offset,
                                          std::span<std::byte> buffer) const {
  while (true) {
    const ssize_t count = pread(descriptor_, buffer.data(), buffer.size(),
                                static_cast<off_t>(offset));
    if (count >= 0) {
      return static_cast<size_t>(count);
    }
    if (errno != EINTR) {
      return ErrnoOf(errno, path_);
    }
  }
}

}  // namespace winnow
