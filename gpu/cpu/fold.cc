#include "gpu/cpu/fold.h"

#include <algorithm>
#include <cstdint>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "gpu/cpu/fold.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
// foreach_target.h comes first.
#include "hwy/highway.h"

// Sums lie along dimensions, so that each takes its tokens in their order.  Of
// keys, dimensions are neighbours in a tile; of values, tokens are, and a word
// is gathered from each dimension: two tokens in bfloat16, one in float32.

HWY_BEFORE_NAMESPACE();
namespace winnow {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Divides every head_dim.
using Floats = hn::CappedTag<float, 16>;
using Words = hn::RebindToUnsigned<Floats>;
using Vector = hn::Vec<Floats>;

constexpr uint32_t kUpperHalf = 0xffff0000u;

Vector LoadKeys(const float* keys) { return hn::LoadU(Floats(), keys); }

Vector LoadKeys(const uint16_t* keys) {
  const hn::Rebind<uint16_t, Floats> narrow;
  const auto words = hn::PromoteTo(Words(), hn::LoadU(narrow, keys));
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(words));
}

template <typename Stored>
void AddKeys(const FoldArgs& head, const Stored* tile) {
  const Floats d;
  const int head_dim = head.shape.head_dim;
  for (int dim = 0; dim < head_dim; dim += static_cast<int>(hn::Lanes(d))) {
    auto sum = hn::LoadU(d, head.key_sum + dim);
    const Stored* key = tile + head.shape.KeyIndex(head.begin, dim);
    for (int slot = head.begin; slot < head.end; ++slot) {
      sum = hn::Add(sum, LoadKeys(key));
      key += head_dim;
    }
    hn::StoreU(sum, d, head.key_sum + dim);
  }
}

// A word from each dimension's values.
template <typename Stored>
hn::Vec<Words> GatherWords(const Stored* values) {
  constexpr int kWordsApart = kValueGroupTokens * sizeof(Stored) / 4;
  const hn::RebindToSigned<Floats> indices;
  const auto index =
      hn::Mul(hn::Iota(indices, 0), hn::Set(indices, kWordsApart));
  return hn::GatherIndex(Words(), reinterpret_cast<const uint32_t*>(values),
                         index);
}

// Adds slots [first, first + count) of the word at `values`.
Vector AddSlots(const float* values, int /*first*/, int /*count*/, Vector sum) {
  return hn::Add(sum, hn::BitCast(Floats(), GatherWords(values)));
}

Vector AddSlots(const uint16_t* values, int first, int count, Vector sum) {
  const auto words = GatherWords(values);
  if (first == 0) {
    sum = hn::Add(sum, hn::BitCast(Floats(), hn::ShiftLeft<16>(words)));
  }
  if (first + count > 1) {
    sum = hn::Add(
        sum,
        hn::BitCast(Floats(), hn::And(words, hn::Set(Words(), kUpperHalf))));
  }
  return sum;
}

template <typename Stored>
void AddValues(const FoldArgs& head, const Stored* tile) {
  constexpr int kWordSlots = 4 / sizeof(Stored);
  const Floats d;
  for (int dim = 0; dim < head.shape.head_dim;
       dim += static_cast<int>(hn::Lanes(d))) {
    auto sum = hn::LoadU(d, head.value_sum + dim);
    for (int slot = head.begin; slot < head.end;) {
      const int first = slot % kWordSlots;
      const int count = std::min(kWordSlots - first, head.end - slot);
      sum = AddSlots(tile + head.shape.ValueIndex(slot - first, dim), first,
                     count, sum);
      slot += count;
    }
    hn::StoreU(sum, d, head.value_sum + dim);
  }
}

template <typename Stored>
void FoldStored(const FoldArgs& head) {
  const auto* tile = static_cast<const Stored*>(head.tile);
  AddKeys(head, tile);
  AddValues(head, tile);
}

void Fold(const FoldArgs& head) {
  if (head.shape.dtype == KvDtype::kFloat32) {
    FoldStored<float>(head);
  } else {
    FoldStored<uint16_t>(head);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace winnow
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace winnow {

HWY_EXPORT(Fold);

void FoldHead(const FoldArgs& head) { HWY_DYNAMIC_DISPATCH(Fold)(head); }

}  // namespace winnow
#endif  // HWY_ONCE
