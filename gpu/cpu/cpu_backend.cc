#include "gpu/cpu/cpu_backend.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "gpu/cpu/attention.h"
#include "gpu/cpu/cpu_count.h"
#include "gpu/cpu/elementwise.h"
#include "gpu/cpu/host_memory.h"
#include "gpu/cpu/linear.h"
#include "gpu/cpu/packing.h"
#include "gpu/cpu/sampling.h"
#include "gpu/cpu/thread_pool.h"

namespace winnow {
namespace {

// More threads than any machine of one memory has cores.
constexpr int kMaxThreads = 1024;

// Float32 mode rounds nothing: not to bfloat16 either, which the kernels of the
// highest level do with queries and probabilities over bfloat16 tiles.
CpuLevel AttentionLevel(CpuLevel level, Numerics numerics) {
  return numerics == Numerics::kFloat32 ? std::min(level, CpuLevel::kAvx512)
                                        : level;
}

std::string BackendName(CpuLevel level, Numerics numerics) {
  return absl::StrCat("cpu-", Absl(CpuLevelName(level)),
                      numerics == Numerics::kFloat32 ? "-float32" : "");
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(CpuLevel level, Numerics numerics, int num_threads)
      : name_(BackendName(level, numerics)),
        pool_(num_threads),
        linear_(pool_, level, numerics),
        elementwise_(pool_),
        attention_(pool_, AttentionLevel(level, numerics)),
        packing_(pool_) {}

  std::string_view name() const override { return name_; }

  absl::StatusOr<DeviceBuffer> Allocate(size_t bytes) override {
    WINNOW_ASSIGN_OR_RETURN(void* address, AllocateHostMemory(bytes));
    return DeviceBuffer(*this, address, bytes);
  }

  size_t ResidentBytes(const WeightView& weight) const override {
    return linear_.ResidentBytes(weight);
  }
  WeightView MakeResident(const WeightView& weight,
                          std::byte* memory) override {
    return linear_.MakeResident(weight, memory);
  }
  absl::Status LinearAll(std::span<const LinearArgs> products) override {
    return linear_.LinearAll(products);
  }
  absl::Status Embed(const EmbedArgs& args) override {
    return linear_.Embed(args);
  }
  absl::Status RmsNorm(const RmsNormArgs& args) override {
    return elementwise_.RmsNorm(args);
  }
  absl::Status Rotary(const RotaryArgs& args) override {
    return elementwise_.Rotary(args);
  }
  absl::Status SiluMul(const SiluMulArgs& args) override {
    return elementwise_.SiluMul(args);
  }
  absl::Status Attention(const AttentionArgs& args) override {
    return attention_.Attention(args);
  }
  absl::Status AttentionMass(const AttentionMassArgs& args) override {
    return attention_.AttentionMass(args);
  }
  absl::Status Pack(std::span<const PackArgs> heads) override {
    return packing_.Pack(heads);
  }
  absl::Status Fold(std::span<const FoldArgs> heads) override {
    return packing_.Fold(heads);
  }
  absl::Status CopySlots(std::span<const CopySlotsArgs> copies) override {
    return packing_.CopySlots(copies);
  }
  absl::Status TopLogits(const TopLogitsArgs& args) override {
    return sampling_.TopLogits(args);
  }

 private:
  void Free(void* address, size_t bytes) override {
    FreeHostMemory(address, bytes);
  }

  const std::string name_;
  ThreadPool pool_;  // outlives those that run on it
  CpuLinear linear_;
  CpuElementwise elementwise_;
  CpuAttention attention_;
  CpuPacking packing_;
  CpuSampling sampling_;
};

}  // namespace

std::string_view CpuLevelName(CpuLevel level) {
  switch (level) {
    case CpuLevel::kAvx2:
      return "avx2";
    case CpuLevel::kAvx512:
      return "avx512";
    case CpuLevel::kAvx512Bf16:
      return "avx512_bf16";
    case CpuLevel::kAmx:
      return "amx";
  }
  return "";  // no level has another value
}

absl::StatusOr<std::unique_ptr<Backend>> CreateCpuBackend(
    const CpuOptions& options) {
  if (options.num_threads < 0 || options.num_threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("num_threads is ", options.num_threads,
                     ", must be between 0 and ", kMaxThreads));
  }
  WINNOW_ASSIGN_OR_RETURN(const CpuLevel detected, DetectCpuLevel());
  const int num_threads = options.num_threads > 0
                              ? options.num_threads
                              : std::min(UsableCpuCount(), kMaxThreads);
  return std::make_unique<CpuBackend>(std::min(detected, options.max_level),
                                      options.numerics, num_threads);
}

}  // namespace winnow
