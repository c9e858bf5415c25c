#include <cstddef>
#include <cstdint>
#include <cstring>

#include <immintrin.h>

#include "gpu/cpu/weight_panels.h"
#include "hwy/base.h"

#if defined(__GNUC__) && !defined(__clang__)
// GCC 12's own AVX-512 intrinsics start from undefined registers (PR105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

HWY_PUSH_ATTRIBUTES(
    "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace winnow {
namespace {

void Store(__m512 values, uint16_t* output) {
  const __m256bh rounded = _mm512_cvtneps_pbh(values);
  std::memcpy(output, &rounded, sizeof(rounded));
}

}  // namespace
}  // namespace winnow
#include "gpu/cpu/weight_panels_expand-inl.h"

namespace winnow {

void ExpandPanelsToBfloat16(const WeightView& panels, int64_t first,
                            int64_t last, int64_t stride, uint16_t* output) {
  ExpandAnyPanels(panels, first, last, stride, output);
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
