// Manifests from outside: nothing crashes, and one that is accepted arrives
// again as it was.
#include <cstdint>
#include <cstdlib>

#include "services/common/manifest_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  winnow::v1::Manifest wire;
  if (!wire.ParseFromArray(bytes, static_cast<int>(size))) {
    return 0;
  }
  const auto manifest = winnow::FromWire(wire, "");
  if (manifest.ok()) {
    winnow::v1::Manifest again;
    winnow::ToWire(*manifest, &again);
    if (!winnow::FromWire(again, "").ok()) {
      std::abort();
    }
  }
  return 0;
}
