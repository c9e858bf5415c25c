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

HWY_PUSH_ATTRIBUTES("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")
namespace winnow {
namespace {

void Store(__m512 values, float* output) { _mm512_storeu_ps(output, values); }

}  // namespace
}  // namespace winnow
#include "gpu/cpu/weight_panels_expand-inl.h"

namespace winnow {

void ExpandPanelsToFloat(const WeightView& panels, int64_t first, int64_t last,
                         int64_t stride, float* output) {
  ExpandAnyPanels(panels, first, last, stride, output);
}

}  // namespace winnow
HWY_POP_ATTRIBUTES
