#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

#include "gpu/attention.h"
#include "gpu/elementwise.h"
#include "gpu/linear.h"
#include "gpu/packing.h"
#include "gpu/sampling.h"

namespace winnow {

class Backend;

// Memory of a backend, 64-byte aligned, zeroed.  Move-only; the backend
// outlives it.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Backend& backend, void* address, size_t bytes)
      : backend_(&backend), address_(address), bytes_(bytes) {}
  ~DeviceBuffer();

  DeviceBuffer(DeviceBuffer&& other) noexcept { Swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    DeviceBuffer moved(std::move(other));
    Swap(moved);
    return *this;
  }

  void* address() const { return address_; }
  size_t bytes() const { return bytes_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(address_);
  }

 private:
  void Swap(DeviceBuffer& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(address_, other.address_);
    std::swap(bytes_, other.bytes_);
  }

  Backend* backend_ = nullptr;
  void* address_ = nullptr;
  size_t bytes_ = 0;
};

// The compute seam: everything that the model runs on.
//
// The plain CPU loops (gpu/cpu/reference) are the definition of every
// operation; the parity suites tests/contract/*_parity_test.cc run on
// every backend that the machine can make, and each further one joins by
// passing it.
//
// Operations validate their arguments' shapes (InvalidArgument), run to their
// end before they return, and allocate nothing that outlives the call.  One
// caller at a time; the backend spreads the work over its own threads.  Only
// Allocate and the end of a buffer may come from any thread at any time.
class Backend : public LinearOps,
                public ElementwiseOps,
                public AttentionOps,
                public PackingOps,
                public SamplingOps {
 public:
  ~Backend() override = default;

  // "cpu-reference", "cpu-avx512_bf16", ...
  virtual std::string_view name() const = 0;

  // ResourceExhausted if the memory is not to be had.
  virtual absl::StatusOr<DeviceBuffer> Allocate(size_t bytes) = 0;

 private:
  friend class DeviceBuffer;
  virtual void Free(void* address, size_t bytes) = 0;
};

inline DeviceBuffer::~DeviceBuffer() {
  if (backend_ != nullptr) {
    backend_->Free(address_, bytes_);
  }
}

}  // namespace winnow
