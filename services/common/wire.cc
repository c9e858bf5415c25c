#include "services/common/wire.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"

namespace winnow {
namespace {

using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

// Ours -> wire; the wire's 0 is "unspecified" in every enumeration.
constexpr std::array<std::pair<SegmentKind, v1::SegmentKind>, 5> kKinds = {{
    {SegmentKind::kRetrieval, v1::SEGMENT_KIND_RETRIEVAL},
    {SegmentKind::kWindow, v1::SEGMENT_KIND_WINDOW},
    {SegmentKind::kAnchor, v1::SEGMENT_KIND_ANCHOR},
    {SegmentKind::kTail, v1::SEGMENT_KIND_TAIL},
    {SegmentKind::kTokens, v1::SEGMENT_KIND_TOKENS},
}};

// "razor" for POLICY_KIND_RAZOR.
std::string WordOf(const EnumDescriptor& type, int number,
                   absl::string_view prefix) {
  const auto* value = type.FindValueByNumber(number);
  return value == nullptr
             ? absl::StrCat(number)
             : absl::AsciiStrToLower(value->name().substr(prefix.size()));
}

// The number of COMPENSATION_OFF for "off".
int NumberOf(const EnumDescriptor& type, absl::string_view prefix,
             absl::string_view word) {
  return type
      .FindValueByName(absl::StrCat(prefix, absl::AsciiStrToUpper(word)))
      ->number();
}

constexpr absl::string_view kKindPrefix = "POLICY_KIND_";
constexpr absl::string_view kCompensationPrefix = "COMPENSATION_";

std::string Shortest(double number) {
  std::array<char, 32> text;
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), number);
  return {text.data(), end};
}

// A parameter of a policy as ParsePolicy reads it.
std::string ParameterText(const v1::Policy& wire,
                          const FieldDescriptor& field) {
  const auto& reflection = *wire.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(wire, &field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(reflection.GetUInt64(wire, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Shortest(reflection.GetDouble(wire, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(wire, &field) ? "on" : "off";
    default:
      return WordOf(*field.enum_type(), reflection.GetEnumValue(wire, &field),
                    kCompensationPrefix);
  }
}

// `text` is what PolicyParameters wrote.
void SetParameter(const std::string& name, const std::string& text,
                  v1::Policy* wire) {
  const FieldDescriptor& field = *wire->GetDescriptor()->FindFieldByName(name);
  const auto& reflection = *wire->GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      int32_t number = 0;
      (void)absl::SimpleAtoi(text, &number);
      return reflection.SetInt32(wire, &field, number);
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      uint64_t number = 0;
      (void)absl::SimpleAtoi(text, &number);
      return reflection.SetUInt64(wire, &field, number);
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      double number = 0;
      (void)absl::SimpleAtod(text, &number);
      return reflection.SetDouble(wire, &field, number);
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.SetBool(wire, &field, text == "on");
    default:
      return reflection.SetEnumValue(
          wire, &field,
          NumberOf(*field.enum_type(), kCompensationPrefix, text));
  }
}

}  // namespace

void ToWire(absl::Duration duration, google::protobuf::Duration* wire) {
  const int64_t seconds =
      absl::IDivDuration(duration, absl::Seconds(1), &duration);
  wire->set_seconds(seconds);
  wire->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
}

absl::Duration FromWire(const google::protobuf::Duration& wire) {
  return absl::Seconds(wire.seconds()) + absl::Nanoseconds(wire.nanos());
}

void ToWire(const Lease& lease, v1::Lease* wire) {
  wire->set_id(lease.id);
  ToWire(lease.ttl, wire->mutable_ttl());
}

Lease FromWire(const v1::Lease& wire) {
  return {.id = wire.id(), .ttl = FromWire(wire.ttl())};
}

v1::SegmentKind ToWire(SegmentKind kind) {
  return std::ranges::find(kKinds, kind,
                           &std::pair<SegmentKind, v1::SegmentKind>::first)
      ->second;
}

absl::StatusOr<SegmentKind> FromWire(v1::SegmentKind wire) {
  const auto* const known = std::ranges::find(
      kKinds, wire, &std::pair<SegmentKind, v1::SegmentKind>::second);
  if (known == kKinds.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment kind ", static_cast<int>(wire),
                     " is not one of winnow.v1.SegmentKind"));
  }
  return known->first;
}

absl::StatusOr<SegmentKey> SegmentKeyFromWire(const std::string& wire) {
  SegmentKey key;
  if (wire.size() != key.bytes.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a segment key has ", wire.size(), " bytes; it must have 32"));
  }
  std::ranges::copy(wire, key.bytes.begin());
  return key;
}

void ToWire(const Policy& policy, v1::Policy* wire) {
  wire->Clear();
  const std::string kind(PolicyName(policy.kind));
  wire->set_kind(static_cast<v1::PolicyKind>(
      NumberOf(*v1::PolicyKind_descriptor(), kKindPrefix, kind)));
  for (const auto& [name, text] : PolicyParameters(policy)) {
    SetParameter(name, text, wire);
  }
}

absl::StatusOr<Policy> FromWire(const v1::Policy& wire) {
  if (wire.kind() == v1::POLICY_KIND_UNSPECIFIED) {
    return absl::InvalidArgumentError(
        "policy.kind is not given; give full, razor or streaming");
  }
  std::string text =
      WordOf(*v1::PolicyKind_descriptor(), wire.kind(), kKindPrefix);
  std::vector<const FieldDescriptor*> fields;
  wire.GetReflection()->ListFields(wire, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->name() != "kind") {
      absl::StrAppend(&text, ",", field->name(), "=",
                      ParameterText(wire, *field));
    }
  }
  return ParsePolicy(text);
}

void ToWire(const SamplingParameters& sampling, v1::SamplingParameters* wire) {
  wire->set_temperature(sampling.temperature);
  wire->set_top_k(sampling.top_k);
  wire->set_top_p(sampling.top_p);
  wire->set_min_p(sampling.min_p);
  wire->set_repetition_penalty(sampling.repetition_penalty);
  wire->set_seed(sampling.seed);
}

absl::StatusOr<SamplingParameters> FromWire(
    const v1::SamplingParameters& wire) {
  SamplingParameters sampling;
  sampling.temperature = wire.temperature();
  sampling.top_k = wire.top_k();
  sampling.top_p = wire.has_top_p() ? wire.top_p() : sampling.top_p;
  sampling.min_p = wire.min_p();
  sampling.repetition_penalty = wire.has_repetition_penalty()
                                    ? wire.repetition_penalty()
                                    : sampling.repetition_penalty;
  sampling.seed = wire.seed();
  WINNOW_RETURN_IF_ERROR(ValidateSampling(sampling));
  return sampling;
}

void ToWire(const TokenChoice& token, v1::ChosenToken* wire) {
  wire->set_id(token.id);
  wire->set_log_probability(token.log_probability);
  wire->set_greedy(token.greedy);
}

TokenChoice FromWire(const v1::ChosenToken& wire) {
  return {.id = wire.id(),
          .log_probability = wire.log_probability(),
          .greedy = wire.greedy()};
}

}  // namespace winnow
