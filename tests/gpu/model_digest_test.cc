#include "gpu/model/model_digest.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"

#include "tests/golden.h"

namespace winnow {
namespace {

namespace fs = std::filesystem;

void WriteFile(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

// Makes `path` look as if it had not changed for a while.
void Settle(const fs::path& path, int hours = 1) {
  fs::last_write_time(
      path, fs::file_time_type::clock::now() - std::chrono::hours(hours));
}

class ModelDigestTest : public testing::Test {
 protected:
  ModelDigestTest() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    WriteFile(file_, "abc");
    Settle(file_);
  }
  ~ModelDigestTest() override { fs::remove_all(folder_); }

  std::string DigestNow(const DigestCache& cache) const {
    const auto file = *MappedFile::Open(file_.string());
    return Hex(*DigestFile(*file, cache));
  }
  // Makes the cache's only entry claim another digest, or damages it.
  fs::path EntryPath() const {
    return fs::directory_iterator(folder_ / "cache")->path();
  }
  size_t CountEntries() const {
    return fs::exists(folder_ / "cache")
               ? std::distance(fs::directory_iterator(folder_ / "cache"), {})
               : 0;
  }

  // SHA-256 of "abc" (FIPS 180-2, appendix B.1).
  const std::string abc_ =
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  const fs::path folder_ =
      fs::path(testing::TempDir()) /
      testing::UnitTest::GetInstance()->current_test_info()->name();
  const fs::path file_ = folder_ / "model.gguf";
  const DigestCache cache_{(folder_ / "cache").string()};
};

TEST_F(ModelDigestTest, IsTheSha256OfTheFile) {
  EXPECT_EQ(DigestNow(DigestCache("")), abc_);
  EXPECT_EQ(DigestNow(cache_), abc_);
}

TEST_F(ModelDigestTest, IsRememberedInsteadOfReadAgain) {
  const auto file = *MappedFile::Open(file_.string());
  const Sha256Digest other = {1, 2, 3};
  cache_.Remember(*file->Identity(), other);
  EXPECT_EQ(*DigestFile(*file, cache_), other);
}

TEST_F(ModelDigestTest, IsComputedAgainWhenTheFileChanges) {
  EXPECT_EQ(DigestNow(cache_), abc_);
  WriteFile(file_, "abd");
  Settle(file_, 2);
  EXPECT_NE(DigestNow(cache_), abc_);
  WriteFile(file_, "abc");
  Settle(file_, 3);
  EXPECT_EQ(DigestNow(cache_), abc_);
  EXPECT_EQ(CountEntries(), 1u);
}

TEST_F(ModelDigestTest, IsNotRememberedWhileTheFileMayStillChange) {
  WriteFile(file_, "abc");
  EXPECT_EQ(DigestNow(cache_), abc_);
  EXPECT_EQ(CountEntries(), 0u);
}

TEST_F(ModelDigestTest, IgnoresDamagedEntries) {
  EXPECT_EQ(DigestNow(cache_), abc_);
  std::ifstream stream(EntryPath(), std::ios::binary);
  const std::string entry(std::istreambuf_iterator<char>(stream), {});
  ASSERT_FALSE(entry.empty());
  for (size_t at = 0; at < entry.size(); ++at) {
    std::string damaged = entry;
    damaged[at] ^= 1;
    WriteFile(EntryPath(), damaged);
    ASSERT_EQ(DigestNow(cache_), abc_) << "byte " << at;
  }
  for (const std::string& wrong : {std::string(), entry.substr(0, 100),
                                   entry + "x", std::string(5000, ' ')}) {
    WriteFile(EntryPath(), wrong);
    ASSERT_EQ(DigestNow(cache_), abc_);
  }
}

TEST_F(ModelDigestTest, WorksWithoutAWritableCache) {
  EXPECT_EQ(DigestNow(DigestCache("/proc/nowhere/digests")), abc_);
  WriteFile(folder_ / "plain", "x");
  EXPECT_EQ(DigestNow(DigestCache((folder_ / "plain" / "digests").string())),
            abc_);
}

TEST_F(ModelDigestTest, OfAFolderDependsOnNamesOrderAndContents) {
  WriteFile(folder_ / "a", "abc");
  WriteFile(folder_ / "b", "abd");
  const auto a = *MappedFile::Open((folder_ / "a").string());
  const auto b = *MappedFile::Open((folder_ / "b").string());
  const std::vector<const MappedFile*> both = {a.get(), b.get()};
  const std::vector<const MappedFile*> turned = {b.get(), a.get()};
  const DigestCache none("");
  EXPECT_EQ(*DigestFiles(both, none), *DigestFiles(both, none));
  EXPECT_NE(*DigestFiles(both, none), *DigestFiles(turned, none));
  const std::vector<const MappedFile*> single = {a.get()};
  EXPECT_EQ(Hex(*DigestFiles(single, none)), abc_);
}

}  // namespace
}  // namespace winnow
