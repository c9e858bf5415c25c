// What a prefill does where the store does not give what it said to have.

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "tests/services/tiny_serving.h"

namespace winnow {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class PrefillReuseTest : public TinyServing {
 protected:
  PrefillReuseTest() {
    UsePrefill({.on_reuse_miss = [this](MissReason reason) {
      told_.push_back(reason);
    }});
  }

  // Flips one bit of a stored segment, as failing memory does.
  void Damage(const ManifestSegment& segment) {
    const auto acquired =
        store_->Acquire({&segment.key, 1}, absl::Minutes(1)).value();
    const LeaseHandle lease(*store_, acquired.lease.id);
    const ReadResult read = store_->Read(lease.id(), segment.key).value();
    ASSERT_EQ(read.miss, MissReason::kNone);
    const_cast<std::byte&>(read.view.bytes.back()) ^= std::byte{0x10};
  }

  std::vector<MissReason> told_;
};

TEST_F(PrefillReuseTest, ADamagedStartIsComputedAgainAndTold) {
  for (const char* policy : {"full", "razor,window=64,slack=64,min_length=0"}) {
    told_.clear();
    const PrefillRequest request = PrefillOf(RandomIds(330, 1), policy, 300);
    const PrefillResult first = Prefill(request);
    ASSERT_TRUE(store_->Release(first.manifest.lease.id).ok());
    EXPECT_THAT(told_, IsEmpty()) << "nothing was there";
    Damage(first.manifest.segments.front());
    // The store drops the segment, so that this write of it has no end.
    EXPECT_EQ(node_->prefill->Run(request, {}).status().code(),
              absl::StatusCode::kAborted);
    EXPECT_THAT(told_, ElementsAre(MissReason::kCorrupt));
    const PrefillResult again = Prefill(request);
    EXPECT_EQ(again.reused_tokens, 0);
    EXPECT_THAT(told_, ElementsAre(MissReason::kCorrupt))
        << "it was known to be gone";
    ExpectSameTokens({again.first}, {first.first});
    ASSERT_TRUE(store_->Release(again.manifest.lease.id).ok());
    const PrefillResult reused = Prefill(request);
    EXPECT_GT(reused.reused_tokens, 0);
    EXPECT_EQ(told_.size(), 1) << policy;
    ASSERT_TRUE(store_->Release(reused.manifest.lease.id).ok());
    ExpectNothingLeftBehind();
    RemoveAll();
  }
}

}  // namespace
}  // namespace winnow
