#pragma once

#include <string>

#include "absl/status/statusor.h"

#include "cache_store/format/manifest.h"
#include "winnow/v1/manifest.pb.h"

namespace winnow {

// A manifest on the wire.  The tenant's salt stays at home: each side takes it
// from the authentication of its caller.
void ToWire(const Manifest& manifest, v1::Manifest* wire);

// Reads a manifest from outside: sizes and enumerations are checked here, what
// the plan says it must be by ValidateManifest, which this calls.
// INVALID_ARGUMENT names the member.
absl::StatusOr<Manifest> FromWire(const v1::Manifest& wire,
                                  const std::string& tenant_salt);

}  // namespace winnow
