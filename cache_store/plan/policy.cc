// A policy as text:
//
//   policy    := kind *("," name "=" value)
//   kind      := "full" | "razor" | "streaming"
//
// Which parameters a kind has, their ranges and their order are the table
// below.  Numbers are decimal, without sign, blank or trailing text.
#include "cache_store/plan/policy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/edit_distance.h"
#include "gpu/base/status.h"
#include "gpu/kv_tile.h"

namespace winnow {
namespace {

constexpr int kMaxSinks = kBlockTokens;
constexpr int kMaxWindow = 1 << 24;  // tokens; also of slack and min_length
constexpr int kMaxWindowDivisor = 64;
constexpr size_t kMaxPolicyText = 1024;

constexpr std::array<std::string_view, 3> kKinds = {"full", "razor",
                                                    "streaming"};
// Of the design, but not of this version.
constexpr std::array<std::string_view, 8> kLaterKinds = {
    "local",     "scattered", "h2o",   "snapkv",
    "pyramidkv", "tova",      "adakv", "sentinel"};

std::string_view Nearest(std::string_view name,
                         std::span<const std::string_view> names) {
  return *std::ranges::min_element(names, {}, [&](std::string_view candidate) {
    return EditDistance(name, candidate);
  });
}

absl::Status BadValue(std::string_view name, std::string_view value,
                      std::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat("policy parameter ",
                                                 Absl(name), "=", Absl(value),
                                                 " must be ", Absl(wanted)));
}

// Reads all of `text` as a number: no sign, blank, NaN or trailing text.
template <typename T>
bool ParseAll(std::string_view text, T& number) {
  if (text.empty() || text.front() < '0' || text.front() > '9') {
    return false;
  }
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  const auto [parsed, error] = std::from_chars(begin, end, number);
  return error == std::errc() && parsed == end;
}

template <typename T>
std::string Shortest(T number) {
  std::array<char, 32> text;
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), number);
  return {text.data(), end};
}

// One parameter: how it is read and written.  Set takes text; Get gives
// nothing where the parameter is absent.
struct Parameter {
  std::string_view name;
  bool razor;      // razor has it
  bool streaming;  // streaming has it
  absl::Status (*set)(std::string_view name, std::string_view text,
                      Policy& policy);
  std::optional<std::string> (*get)(const Policy& policy);
};

absl::StatusOr<int> ParseInt(std::string_view name, std::string_view text,
                             int low, int high) {
  int value = 0;
  if (!ParseAll(text, value) || value < low || value > high) {
    return BadValue(name, text,
                    absl::StrCat("a whole number from ", low, " to ", high));
  }
  return value;
}

// Tokens in whole blocks.
absl::StatusOr<int> ParseBlocks(std::string_view name, std::string_view text,
                                int low) {
  int value = 0;
  if (!ParseAll(text, value) || value < low || value > kMaxWindow ||
      value % kBlockTokens != 0) {
    return BadValue(name, text,
                    absl::StrCat("a multiple of ", kBlockTokens, " from ", low,
                                 " to ", kMaxWindow));
  }
  return value;
}

absl::StatusOr<double> ParseShare(std::string_view name,
                                  std::string_view text) {
  double value = 0;
  if (!ParseAll(text, value) || value > 1) {
    return BadValue(name, text, "a number from 0 to 1");
  }
  return value;
}

template <int Policy::* member, int low, int high>
absl::Status SetInt(std::string_view name, std::string_view text,
                    Policy& policy) {
  WINNOW_ASSIGN_OR_RETURN(policy.*member, ParseInt(name, text, low, high));
  return absl::OkStatus();
}

template <std::optional<double> Policy::* member>
absl::Status SetShare(std::string_view name, std::string_view text,
                      Policy& policy) {
  WINNOW_ASSIGN_OR_RETURN(policy.*member, ParseShare(name, text));
  return absl::OkStatus();
}

absl::Status SetWindow(std::string_view name, std::string_view text,
                       Policy& policy) {
  WINNOW_ASSIGN_OR_RETURN(policy.window, ParseBlocks(name, text, kBlockTokens));
  return absl::OkStatus();
}

absl::Status SetSlack(std::string_view name, std::string_view text,
                      Policy& policy) {
  WINNOW_ASSIGN_OR_RETURN(policy.slack, ParseBlocks(name, text, 0));
  return absl::OkStatus();
}

absl::Status SetEcho(std::string_view name, std::string_view text,
                     Policy& policy) {
  if (text != "on" && text != "off") {
    return BadValue(name, text, "on or off");
  }
  policy.echo = text == "on";
  return absl::OkStatus();
}

absl::Status SetCompensation(std::string_view name, std::string_view text,
                             Policy& policy) {
  if (text == "profile") {
    policy.compensation = Compensation::kProfile;
  } else if (text == "on") {
    policy.compensation = Compensation::kOn;
  } else if (text == "off") {
    policy.compensation = Compensation::kOff;
  } else {
    return BadValue(name, text, "profile, on or off");
  }
  return absl::OkStatus();
}

absl::Status SetRandomHeads(std::string_view name, std::string_view text,
                            Policy& policy) {
  uint64_t seed = 0;
  if (!ParseAll(text, seed)) {
    return BadValue(name, text,
                    absl::StrCat("a whole number from 0 to ",
                                 std::numeric_limits<uint64_t>::max()));
  }
  policy.random_heads = seed;
  return absl::OkStatus();
}

template <auto member>
std::optional<std::string> Get(const Policy& policy) {
  return Shortest(policy.*member);
}

template <auto member>
std::optional<std::string> GetOptional(const Policy& policy) {
  const auto& value = policy.*member;
  if (!value.has_value()) {
    return std::nullopt;
  }
  return Shortest(*value);
}

std::optional<std::string> GetEcho(const Policy& policy) {
  return policy.echo ? "on" : "off";
}

std::optional<std::string> GetCompensation(const Policy& policy) {
  switch (policy.compensation) {
    case Compensation::kProfile:
      return "profile";
    case Compensation::kOn:
      return "on";
    case Compensation::kOff:
      break;
  }
  return "off";
}

constexpr std::array<Parameter, 11> kParameters = {{
    {"sinks", true, true, SetInt<&Policy::sinks, 0, kMaxSinks>,
     Get<&Policy::sinks>},
    {"window", true, true, SetWindow, GetOptional<&Policy::window>},
    {"window_divisor", true, false,
     SetInt<&Policy::window_divisor, 0, kMaxWindowDivisor>,
     Get<&Policy::window_divisor>},
    {"induction_share", true, false, SetShare<&Policy::induction_share>,
     GetOptional<&Policy::induction_share>},
    {"echo_share", true, false, SetShare<&Policy::echo_share>,
     GetOptional<&Policy::echo_share>},
    {"echo_min", true, false, SetShare<&Policy::echo_min>,
     GetOptional<&Policy::echo_min>},
    {"echo", true, false, SetEcho, GetEcho},
    {"compensation", true, false, SetCompensation, GetCompensation},
    {"slack", true, false, SetSlack, Get<&Policy::slack>},
    {"min_length", true, true, SetInt<&Policy::min_length, 0, kMaxWindow>,
     Get<&Policy::min_length>},
    {"random_heads", true, false, SetRandomHeads,
     GetOptional<&Policy::random_heads>},
}};

bool Has(PolicyKind kind, const Parameter& parameter) {
  return (kind == PolicyKind::kRazor && parameter.razor) ||
         (kind == PolicyKind::kStreaming && parameter.streaming);
}

absl::StatusOr<PolicyKind> ParseKind(std::string_view name) {
  for (size_t kind = 0; kind < kKinds.size(); ++kind) {
    if (kKinds[kind] == name) {
      return static_cast<PolicyKind>(kind);
    }
  }
  if (std::ranges::find(kLaterKinds, name) != kLaterKinds.end()) {
    return absl::UnimplementedError(
        absl::StrCat("policy ", Absl(name),
                     " is not in this version; it has full, razor and "
                     "streaming"));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "unknown policy \"", Absl(name.substr(0, 64)), "\"; the nearest is ",
      Absl(Nearest(name.substr(0, 64), kKinds))));
}

absl::StatusOr<const Parameter*> FindParameter(PolicyKind kind,
                                               std::string_view name) {
  std::vector<std::string_view> names;
  for (const Parameter& parameter : kParameters) {
    if (Has(kind, parameter)) {
      if (parameter.name == name) {
        return &parameter;
      }
      names.push_back(parameter.name);
    } else if (parameter.name == name) {
      return absl::InvalidArgumentError(absl::StrCat(
          "policy ", Absl(PolicyName(kind)), " has no parameter ", Absl(name)));
    }
  }
  const std::string nearest =
      names.empty() ? "this policy has none"
                    : absl::StrCat("the nearest is ",
                                   Absl(Nearest(name.substr(0, 64), names)));
  return absl::InvalidArgumentError(absl::StrCat("unknown policy parameter \"",
                                                 Absl(name.substr(0, 64)),
                                                 "\"; ", nearest));
}

}  // namespace

absl::StatusOr<Policy> ParsePolicy(std::string_view text) {
  if (text.size() > kMaxPolicyText) {
    return absl::InvalidArgumentError(absl::StrCat(
        "policy is ", text.size(), " bytes long, at most ", kMaxPolicyText));
  }
  Policy policy;
  std::string_view rest = text;
  const auto next = [&rest] {
    const size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view part = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    return part;
  };
  // A trailing comma would vanish in `rest`.
  if (text.ends_with(',')) {
    return absl::InvalidArgumentError("policy ends with a comma");
  }
  WINNOW_ASSIGN_OR_RETURN(policy.kind, ParseKind(next()));
  std::vector<const Parameter*> given;
  while (!rest.empty()) {
    const std::string_view part = next();
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("policy parameter \"", Absl(part.substr(0, 64)),
                       "\" must be written name=value"));
    }
    const std::string_view name = part.substr(0, equals);
    WINNOW_ASSIGN_OR_RETURN(const Parameter* parameter,
                            FindParameter(policy.kind, name));
    if (std::ranges::find(given, parameter) != given.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("policy parameter ", Absl(name), " is given twice"));
    }
    given.push_back(parameter);
    WINNOW_RETURN_IF_ERROR(
        parameter->set(name, part.substr(equals + 1), policy));
  }
  return policy;
}

std::vector<std::pair<std::string, std::string>> PolicyParameters(
    const Policy& policy) {
  std::vector<std::pair<std::string, std::string>> parameters;
  for (const Parameter& parameter : kParameters) {
    if (Has(policy.kind, parameter)) {
      if (std::optional<std::string> value = parameter.get(policy)) {
        parameters.emplace_back(parameter.name, *std::move(value));
      }
    }
  }
  return parameters;
}

std::string_view PolicyName(PolicyKind kind) {
  return kKinds[static_cast<size_t>(kind)];
}

std::string FormatPolicy(const Policy& policy) {
  std::string text(PolicyName(policy.kind));
  for (const auto& [name, value] : PolicyParameters(policy)) {
    absl::StrAppend(&text, ",", name, "=", value);
  }
  return text;
}

}  // namespace winnow
