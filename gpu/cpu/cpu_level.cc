#include <cstdint>

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gpu/cpu/cpu_backend.h"

namespace winnow {
namespace {

struct CpuidLeaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidLeaf Cpuid(uint32_t leaf, uint32_t subleaf) {
  CpuidLeaf result;
  // Zero for leaves beyond the highest.
  __get_cpuid_count(leaf, subleaf, &result.eax, &result.ebx, &result.ecx,
                    &result.edx);
  return result;
}

constexpr bool HasAll(uint32_t word, uint32_t bits) {
  return (word & bits) == bits;
}

// Register state that the operating system saves: XCR0.
uint64_t EnabledState() {
  uint32_t low = 0;
  uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t{high} << 32 | low;
}

// Asks Linux to save the tiles of this process' threads; using them without is
// an illegal instruction.  Refused below Linux 5.16, and where a thread's
// alternate signal stack has no room for them.
bool RequestTiles() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // its bit in XCR0
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool HasAmx(const CpuidLeaf& extended, uint64_t state) {
  constexpr uint32_t kBf16Tile = 1u << 22 | 1u << 24;
  constexpr uint64_t kTileState = 0x60000;  // configuration and data
  return HasAll(extended.edx, kBf16Tile) &&
         (state & kTileState) == kTileState && RequestTiles();
}

}  // namespace

// kAvx2:       AVX2, FMA, F16C: Haswell, Zen.
// kAvx512:     also F, BW, DQ, VL and VNNI: Cascade Lake, Ice Lake, Zen 4.
//              Without VNNI (Skylake-X) the byte products of kAvx2 are as fast
//              as anything, at higher clocks.
// kAvx512Bf16: also AVX512_BF16: Cooper Lake, Zen 4.
// kAmx:        also AMX with bfloat16: Sapphire Rapids.
absl::StatusOr<CpuLevel> DetectCpuLevel() {
  const CpuidLeaf basic = Cpuid(1, 0);
  const CpuidLeaf extended = Cpuid(7, 0);
  const CpuidLeaf extended1 = Cpuid(7, 1);
  const uint64_t state = (basic.ecx & bit_OSXSAVE) != 0 ? EnabledState() : 0;
  constexpr uint64_t kYmmState = 0x6;   // XMM, upper halves of YMM
  constexpr uint64_t kZmmState = 0xe6;  // and masks, upper ZMM, ZMM 16 to 31

  if (!HasAll(basic.ecx, bit_AVX | bit_FMA | bit_F16C) ||
      !HasAll(extended.ebx, bit_AVX2) || (state & kYmmState) != kYmmState) {
    return absl::FailedPreconditionError(
        "this CPU, or its operating system, lacks AVX2, FMA or F16C; Winnow "
        "needs a Haswell, a Zen or later");
  }
  if (!HasAll(extended.ebx,
              bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL) ||
      !HasAll(extended.ecx, bit_AVX512VNNI) ||
      (state & kZmmState) != kZmmState) {
    return CpuLevel::kAvx2;
  }
  constexpr uint32_t kAvx512Bf16Bit = 1u << 5;
  if (!HasAll(extended1.eax, kAvx512Bf16Bit)) {
    return CpuLevel::kAvx512;
  }
  return HasAmx(extended, state) ? CpuLevel::kAmx : CpuLevel::kAvx512Bf16;
}

}  // namespace winnow
