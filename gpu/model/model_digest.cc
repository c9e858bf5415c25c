#include "gpu/model/model_digest.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/sha256.h"
#include "gpu/base/status.h"
#include "gpu/model/cache_folder.h"
#include "gpu/model/text_digest.h"

// An entry of the cache is one line:
//
//   entry := "winnow-digest-1 " device inode size mtime_ns digest check "\n"
//
// separated by blanks, numbers decimal, digest and check hexadecimal; check is
// the SHA-256 of all before it.

namespace winnow {
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;
// A file younger than this may change again without its mtime telling, which
// the kernel counts in ticks: it is not remembered yet.
constexpr int64_t kSettledNs = 2'000'000'000;

std::string EntryOf(const FileIdentity& identity, const Sha256Digest& digest) {
  const std::string head = absl::StrCat(
      "winnow-digest-1 ", identity.device, " ", identity.inode, " ",
      identity.size, " ", identity.modified_ns, " ", ToHex(digest), " ");
  return absl::StrCat(head, ToHex(Sha256(head)), "\n");
}

// The digest in `entry`, if the entry is whole and of `identity`.
std::optional<Sha256Digest> ParseEntry(absl::string_view entry,
                                       const FileIdentity& identity) {
  const size_t blank = entry.rfind(' ');
  constexpr size_t kHexDigits = 64;
  if (blank == absl::string_view::npos || blank < kHexDigits) {
    return std::nullopt;
  }
  const absl::string_view hex = entry.substr(blank - kHexDigits, kHexDigits);
  if (!std::ranges::all_of(hex, [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
      })) {
    return std::nullopt;
  }
  Sha256Digest digest;
  std::ranges::copy(absl::HexStringToBytes(hex),
                    reinterpret_cast<char*>(digest.data()));
  return EntryOf(identity, digest) == entry ? std::optional(digest)
                                            : std::nullopt;
}

// Up to `limit` bytes of the file at `path`; empty if it cannot be read.
std::string ReadSmallFile(const std::string& path, size_t limit) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(
      std::fopen(path.c_str(), "rbe"), &std::fclose);
  std::string text;
  if (file != nullptr) {
    text.resize(limit);
    text.resize(std::fread(text.data(), 1, limit, file.get()));
  }
  return text;
}

bool WriteAll(int descriptor, absl::string_view text) {
  return write(descriptor, text.data(), text.size()) ==
         static_cast<ssize_t>(text.size());
}

absl::StatusOr<Sha256Digest> HashContents(const MappedFile& file,
                                          uint64_t size) {
  Sha256Hash hash;
  std::vector<std::byte> buffer(kReadBytes);
  uint64_t offset = 0;
  while (true) {
    WINNOW_ASSIGN_OR_RETURN(const size_t count, file.ReadAt(offset, buffer));
    if (count == 0) {
      break;
    }
    hash.Add(std::span(buffer).first(count));
    offset += count;
  }
  if (offset != size) {
    return absl::FailedPreconditionError(
        absl::StrCat(file.path(), " changed while it was read"));
  }
  return hash.Finish();
}

int64_t WallClockNs() {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

std::string DigestCache::DefaultFolder() {
  const std::string folder = CacheFolder();
  return folder.empty() ? "" : folder + "/digests";
}

std::string DigestCache::PathOf(const FileIdentity& identity) const {
  return absl::StrCat(folder_, "/", absl::Hex(identity.device), "-",
                      absl::Hex(identity.inode));
}

std::optional<Sha256Digest> DigestCache::Find(
    const FileIdentity& identity) const {
  if (folder_.empty()) {
    return std::nullopt;
  }
  constexpr size_t kMaxEntryBytes = 512;
  return ParseEntry(ReadSmallFile(PathOf(identity), kMaxEntryBytes), identity);
}

void DigestCache::Remember(const FileIdentity& identity,
                           const Sha256Digest& digest) const {
  if (folder_.empty()) {
    return;
  }
  std::error_code error;  // whatever fails, the digest is computed again
  std::filesystem::create_directories(folder_, error);
  const std::string path = PathOf(identity);
  std::string draft = path + ".XXXXXX";
  const int descriptor = mkostemp(draft.data(), O_CLOEXEC);
  if (descriptor < 0) {
    return;
  }
  const bool written = WriteAll(descriptor, EntryOf(identity, digest));
  const bool closed = close(descriptor) == 0;
  if (!written || !closed || std::rename(draft.c_str(), path.c_str()) != 0) {
    std::remove(draft.c_str());
  }
}

absl::StatusOr<Sha256Digest> DigestFile(const MappedFile& file,
                                        const DigestCache& cache) {
  WINNOW_ASSIGN_OR_RETURN(const FileIdentity before, file.Identity());
  if (const std::optional<Sha256Digest> known = cache.Find(before)) {
    return *known;
  }
  WINNOW_ASSIGN_OR_RETURN(const Sha256Digest digest,
                          HashContents(file, before.size));
  WINNOW_ASSIGN_OR_RETURN(const FileIdentity after, file.Identity());
  if (before != after) {
    return absl::FailedPreconditionError(
        absl::StrCat(file.path(), " changed while it was read"));
  }
  if (WallClockNs() - after.modified_ns > kSettledNs) {
    cache.Remember(after, digest);
  }
  return digest;
}

absl::StatusOr<Sha256Digest> DigestFiles(
    std::span<const MappedFile* const> files, const DigestCache& cache) {
  if (files.size() == 1) {
    return DigestFile(*files.front(), cache);
  }
  TextDigest all;
  for (const MappedFile* file : files) {
    WINNOW_ASSIGN_OR_RETURN(const Sha256Digest digest,
                            DigestFile(*file, cache));
    all.AddText(std::filesystem::path(file->path()).filename().string());
    all.AddText({reinterpret_cast<const char*>(digest.data()), digest.size()});
  }
  return all.Finish();
}

}  // namespace winnow
