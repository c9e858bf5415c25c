#include "services/common/settings.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "cache_store/store/arena.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "services/common/nearest_word.h"
#include "services/common/setting_value.h"
#include "services/common/settings_yaml.h"

namespace winnow {
namespace {

constexpr size_t kMaxName = 64;  // bytes of a name in a message
constexpr std::string_view kPrefix = "WINNOW_";
constexpr std::string_view kDefaultOrigin = "default";
constexpr std::string_view kConfigVariable = "WINNOW_CONFIG";

// Variables that are no settings: of the program, its scripts and its tests.
constexpr std::array<std::string_view, 12> kOtherVariables = {
    kConfigVariable,       "WINNOW_CACHE_DIR", "WINNOW_TEST_MODEL",
    "WINNOW_BINARY",       "WINNOW_BUILD",     "WINNOW_VERSION",
    "WINNOW_GOLDEN_DIR",   "WINNOW_BENCH",     "WINNOW_TIDY_BUILD",
    "WINNOW_TIDY_SECONDS", "WINNOW_TIDY_END",  "WINNOW_PYTHON_STUBS"};

// What one source says about one setting.
struct Candidate {
  std::vector<std::string> texts;
  std::string origin;
  std::string where;  // starts a message: "--lease-ttl", "FILE:3: lease-ttl"
};

using Candidates = std::map<std::string_view, Candidate>;  // by SettingSpec

absl::Status Unknown(std::string_view where, std::string_view name,
                     const std::vector<std::string>& known) {
  const std::string_view word = name.substr(0, kMaxName);
  const std::string nearest = NearestWord(word, known);
  return absl::InvalidArgumentError(absl::StrCat(
      Absl(where), absl::CHexEscape(Absl(word)), " is not a setting; ",
      nearest.empty() ? "remove it, or see `winnow config print` for all"
                      : absl::StrCat("did you mean ", nearest, "?")));
}

std::vector<std::string> KnownNames(Role role, std::string_view dashes) {
  std::vector<std::string> names;
  for (const SettingSpec& spec : SettingRegistry()) {
    if (dashes.empty() || spec.AppliesTo(role)) {
      names.push_back(absl::StrCat(Absl(dashes), Absl(spec.name)));
    }
  }
  return names;
}

bool IsList(const SettingSpec& spec) {
  return std::holds_alternative<std::vector<std::string> ServiceSettings::*>(
      spec.member);
}

std::vector<std::string> SplitList(const SettingSpec& spec,
                                   const std::vector<std::string>& texts) {
  if (!IsList(spec)) {
    return texts;
  }
  std::vector<std::string> parts;
  for (const std::string& text : texts) {
    for (const absl::string_view part : absl::StrSplit(text, ',')) {
      parts.emplace_back(part);
    }
  }
  return parts;
}

absl::Status AddFile(const SettingSources& sources, Candidates& candidates) {
  if (!sources.file_text) {
    return absl::OkStatus();
  }
  WINNOW_ASSIGN_OR_RETURN(
      auto lines, ParseSettingsYaml(sources.file_path, *sources.file_text));
  for (auto& [name, line] : lines) {
    const std::string place = absl::StrCat(sources.file_path, ":", line.line);
    const SettingSpec* spec = FindSetting(name);
    if (spec == nullptr) {
      return Unknown(place + ": ", name, KnownNames(Role::kServe, ""));
    }
    candidates[spec->name] = {.texts = std::move(line.texts),
                              .origin = "file " + place,
                              .where = absl::StrCat(place, ": ", name)};
  }
  return absl::OkStatus();
}

absl::Status AddEnvironment(const SettingSources& sources,
                            Candidates& candidates) {
  std::map<std::string, const SettingSpec*> known;
  std::vector<std::string> names;
  for (const SettingSpec& spec : SettingRegistry()) {
    names.push_back(EnvironmentName(spec.name));
    known[names.back()] = &spec;
  }
  names.emplace_back(kConfigVariable);
  for (const auto& [variable, value] : sources.environment) {
    if (!variable.starts_with(kPrefix) ||
        std::ranges::find(kOtherVariables, variable) != kOtherVariables.end()) {
      continue;
    }
    const auto found = known.find(variable);
    if (found == known.end()) {
      return Unknown("environment: ", variable, names);
    }
    candidates[found->second->name] = {
        .texts = SplitList(*found->second, {value}),
        .origin = "environment " + variable,
        .where = variable};
  }
  return absl::OkStatus();
}

absl::Status AddFlags(Role role, const SettingSources& sources,
                      Candidates& candidates) {
  for (const auto& [name, texts] : sources.flags) {
    const SettingSpec* spec = FindSetting(name);
    if (spec == nullptr) {
      return Unknown("", "--" + name, KnownNames(role, "--"));
    }
    if (!spec->AppliesTo(role)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--", name, " is not a setting of the role ", Absl(RoleName(role)),
          "; it belongs to ", RolesOf(*spec)));
    }
    candidates[spec->name] = {.texts = SplitList(*spec, texts),
                              .origin = "flag",
                              .where = "--" + name};
  }
  return absl::OkStatus();
}

// What one source says replaces what was there.  Every value is checked, also
// of other roles and where another source replaces it.
absl::Status Apply(Role role, const Candidates& candidates,
                   ServiceSettings& values,
                   std::map<std::string_view, std::string>& origins) {
  ServiceSettings ignored;
  for (const auto& [name, candidate] : candidates) {
    const SettingSpec& spec = *FindSetting(name);
    const bool is_taken =
        spec.AppliesTo(role) || candidate.origin == kDefaultOrigin;
    const absl::Status status =
        ParseSetting(spec, candidate.texts, is_taken ? values : ignored);
    if (!status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(candidate.where, ": ", status.message()));
    }
    origins[name] = candidate.origin;
  }
  return absl::OkStatus();
}

absl::Status CheckTogether(const ServiceSettings& values) {
  if (values.default_deadline > values.max_deadline) {
    return absl::InvalidArgumentError(absl::StrCat(
        "default-deadline is ", absl::FormatDuration(values.default_deadline),
        ", longer than max-deadline, ",
        absl::FormatDuration(values.max_deadline), "; change one of them"));
  }
  if (values.yield_chunk > values.prefill_chunk) {
    return absl::InvalidArgumentError(absl::StrCat(
        "yield-chunk is ", values.yield_chunk, ", more than prefill-chunk, ",
        values.prefill_chunk, "; change one of them"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Settings> ResolveSettings(Role role,
                                         const SettingSources& sources) {
  Settings settings;
  std::map<std::string_view, std::string> origins;
  Candidates defaults;
  for (const SettingSpec& spec : SettingRegistry()) {
    defaults[spec.name] = {
        .texts = {DefaultText(spec, role, sources.memory_bytes)},
        .origin = std::string(kDefaultOrigin),
        .where = absl::StrCat("default of ", Absl(spec.name))};
  }
  WINNOW_RETURN_IF_ERROR(Apply(role, defaults, settings.values, origins));
  Candidates file;
  WINNOW_RETURN_IF_ERROR(AddFile(sources, file));
  WINNOW_RETURN_IF_ERROR(Apply(role, file, settings.values, origins));
  Candidates environment;
  WINNOW_RETURN_IF_ERROR(AddEnvironment(sources, environment));
  WINNOW_RETURN_IF_ERROR(Apply(role, environment, settings.values, origins));
  Candidates flags;
  WINNOW_RETURN_IF_ERROR(AddFlags(role, sources, flags));
  WINNOW_RETURN_IF_ERROR(Apply(role, flags, settings.values, origins));
  WINNOW_RETURN_IF_ERROR(CheckTogether(settings.values));

  settings.values.store_size -= settings.values.store_size % kArenaAlignment;
  for (const SettingSpec& spec : SettingRegistry()) {
    if (spec.AppliesTo(role)) {
      settings.resolved.push_back(
          {.spec = &spec,
           .texts = FormatSetting(spec, settings.values),
           .origin = std::move(origins[spec.name])});
    }
  }
  return settings;
}

std::string SettingsPath(
    const std::string& flag,
    const std::map<std::string, std::string>& environment) {
  if (!flag.empty()) {
    return flag;
  }
  const auto found = environment.find(std::string(kConfigVariable));
  return found == environment.end() ? "" : found->second;
}

}  // namespace winnow
