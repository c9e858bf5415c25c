#include <utility>

#include "gpu/base/status.h"
#include "gpu/cpu/cpu_backend.h"
#include "gpu/cpu/host_memory.h"
#include "gpu/cpu/reference/attention.h"
#include "gpu/cpu/reference/elementwise.h"
#include "gpu/cpu/reference/linear.h"
#include "gpu/cpu/reference/packing.h"
#include "gpu/cpu/reference/sampling.h"

namespace winnow {
namespace {

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const override { return "cpu-reference"; }

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

  ReferenceLinear linear_;
  ReferenceElementwise elementwise_;
  ReferenceAttention attention_;
  ReferencePacking packing_;
  ReferenceSampling sampling_;
};

}  // namespace

std::unique_ptr<Backend> CreateReferenceBackend() {
  return std::make_unique<ReferenceBackend>();
}

}  // namespace winnow
