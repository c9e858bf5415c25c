#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/status/statusor.h"

#include "gpu/backend.h"

namespace winnow {

// How the fast CPU backend may round.
enum class Numerics : uint8_t {
  kFast,     // bfloat16 GEMM, integer dot products for few tokens
  kFloat32,  // float32 GEMM, unquantised activations
};

// Instruction sets, each including those before it.  Where the machine has AMX,
// oneDNN uses it at kAvx512Bf16 too.
enum class CpuLevel : uint8_t { kAvx2, kAvx512, kAvx512Bf16, kAmx };
inline constexpr CpuLevel kCpuLevels[] = {
    CpuLevel::kAvx2, CpuLevel::kAvx512, CpuLevel::kAvx512Bf16, CpuLevel::kAmx};

// "avx2", "avx512", "avx512_bf16" or "amx".
std::string_view CpuLevelName(CpuLevel level);

// The best level of this machine.  FailedPrecondition below AVX2 with FMA.
absl::StatusOr<CpuLevel> DetectCpuLevel();

struct CpuOptions {
  Numerics numerics = Numerics::kFast;
  int num_threads = 0;  // 0: the cores that the process may use (affinity and
                        // cgroup quota)
  CpuLevel max_level = CpuLevel::kAmx;  // lower it to test older paths
};

// The plain loops: one thread, float32 inside, written to be read.
std::unique_ptr<Backend> CreateReferenceBackend();

// Optimised kernels over one thread pool, chosen at run time.
absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(
    const CpuOptions& options);

}  // namespace winnow
