#include "gpu/model/hf_splitting_rule.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/sha256.h"
#include "gpu/model/bounded_json.h"

namespace winnow {
namespace {

using Json = nlohmann::json;

// The expressions of Llama 3 and Qwen2 differ in the run of digits alone.
constexpr absl::string_view kLlama3Expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr absl::string_view kQwen2Expression =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})"
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

bool HasType(const Json& step, absl::string_view type) {
  const std::string* name = FindString(step, "type");
  return name != nullptr && *name == type;
}

// The byte-level step, with GPT-2's expression of its own or without.
bool IsByteLevel(const Json& step, bool use_regex) {
  if (!HasType(step, "ByteLevel") || IsTrue(step, "add_prefix_space")) {
    return false;
  }
  // Files from before the field existed mean true.
  const bool given = FindMember(step, "use_regex") != nullptr;
  return (given ? IsTrue(step, "use_regex") : true) == use_regex;
}

bool IsSplit(const Json& step, absl::string_view expression) {
  const Json* pattern = FindMember(step, "pattern");
  const std::string* regex =
      pattern == nullptr ? nullptr : FindString(*pattern, "Regex");
  const std::string* behavior = FindString(step, "behavior");
  return HasType(step, "Split") && regex != nullptr && *regex == expression &&
         behavior != nullptr && *behavior == "Isolated" &&
         !IsTrue(step, "invert");
}

// The rule of a sequence of two steps.
std::optional<std::string> RuleOfPair(const Json& first, const Json& second) {
  if (HasType(first, "Digits") && IsTrue(first, "individual_digits") &&
      IsByteLevel(second, /*use_regex=*/true)) {
    return "smollm";
  }
  if (!IsByteLevel(second, /*use_regex=*/false)) {
    return std::nullopt;
  }
  if (IsSplit(first, kLlama3Expression)) {
    return "llama-bpe";
  }
  if (IsSplit(first, kQwen2Expression)) {
    return "qwen2";
  }
  return std::nullopt;
}

std::optional<std::string> RuleOf(const Json& pre_tokenizer) {
  if (IsByteLevel(pre_tokenizer, /*use_regex=*/true)) {
    return "gpt-2";
  }
  const Json* steps = FindMember(pre_tokenizer, "pretokenizers");
  if (!HasType(pre_tokenizer, "Sequence") || steps == nullptr ||
      !steps->is_array() || steps->size() != 2) {
    return std::nullopt;
  }
  return RuleOfPair((*steps)[0], (*steps)[1]);
}

}  // namespace

std::string RecogniseSplittingRule(const Json& tokenizer) {
  static const Json* const kNothing = new Json();
  const auto member = [](const Json& object, absl::string_view key) {
    const Json* found = FindMember(object, key);
    return found == nullptr ? kNothing : found;
  };
  const Json& normalizer = *member(tokenizer, "normalizer");
  const Json& splitting = *member(tokenizer, "pre_tokenizer");
  const bool whole_piece_first =
      IsTrue(*member(tokenizer, "model"), "ignore_merges");
  const std::optional<std::string> rule = RuleOf(splitting);
  const bool plain =
      normalizer.is_null() || (rule == "qwen2" && HasType(normalizer, "NFC"));
  if (rule && plain && whole_piece_first == (rule == "llama-bpe")) {
    return *rule;
  }
  const Json all = {normalizer, splitting, whole_piece_first};
  return absl::StrCat("sha256:", ToHex(Sha256(all.dump())));
}

}  // namespace winnow
