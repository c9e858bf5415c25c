#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/lease.h"
#include "cache_store/format/segment_key.h"
#include "cache_store/plan/policy.h"
#include "gpu/model/sampler.h"
#include "winnow/v1/manifest.pb.h"
#include "winnow/v1/policy.pb.h"
#include "winnow/v1/sampling.pb.h"

namespace winnow {

// Between the types of the wire (winnow.v1) and ours.  What comes from the
// wire is checked; errors are INVALID_ARGUMENT and name the field.

void ToWire(absl::Duration duration, google::protobuf::Duration* wire);
// Saturates; never an error.
absl::Duration FromWire(const google::protobuf::Duration& wire);

void ToWire(const Lease& lease, v1::Lease* wire);
Lease FromWire(const v1::Lease& wire);

v1::SegmentKind ToWire(SegmentKind kind);
absl::StatusOr<SegmentKind> FromWire(v1::SegmentKind wire);
absl::StatusOr<SegmentKey> SegmentKeyFromWire(const std::string& wire);

void ToWire(const Policy& policy, v1::Policy* wire);
// FromWire also refuses parameters that the kind does not have.
absl::StatusOr<Policy> FromWire(const v1::Policy& wire);

void ToWire(const SamplingParameters& sampling, v1::SamplingParameters* wire);
absl::StatusOr<SamplingParameters> FromWire(const v1::SamplingParameters& wire);

void ToWire(const TokenChoice& token, v1::ChosenToken* wire);
TokenChoice FromWire(const v1::ChosenToken& wire);

}  // namespace winnow
