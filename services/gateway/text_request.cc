#include "services/gateway/text_request.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"
#include "services/gateway/text_stream.h"

namespace winnow {
namespace {

absl::Status CheckStops(const std::vector<std::string>& stops) {
  if (stops.size() > kMaxStops) {
    return absl::InvalidArgumentError(absl::StrCat(
        "stop has ", stops.size(), " texts; the limit is ", kMaxStops));
  }
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty() || stops[i].size() > kMaxStopBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("stop[", i, "] has ", stops[i].size(),
                       " bytes; it must have 1 to ", kMaxStopBytes));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCount(const char* field, int64_t count, int64_t limit) {
  if (count >= 1 && count <= limit) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", count, "; it must be at least 1",
                   limit == std::numeric_limits<int64_t>::max()
                       ? ""
                       : absl::StrCat(" and at most ", limit)));
}

absl::Status CheckForced(const TextRequest& request, const TextLimits& limits) {
  if (!request.forced_ids.empty() && !request.forced_text.empty()) {
    return absl::InvalidArgumentError(
        "forced_ids and forced_text are both given; give one of them");
  }
  if (request.max_tokens.has_value() || !request.stop.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        request.max_tokens.has_value() ? "max_tokens" : "stop",
        " goes with a free answer, not with forced_ids or forced_text; leave "
        "one out"));
  }
  if (!request.forced_ids.empty()) {
    return CheckCount("the number of forced_ids",
                      std::ssize(request.forced_ids), limits.max_tokens);
  }
  return absl::OkStatus();
}

absl::Status CheckVocabulary(const std::vector<int32_t>& ids,
                             int32_t vocabulary) {
  const auto bad = std::ranges::find_if(
      ids, [&](int32_t id) { return id < 0 || id >= vocabulary; });
  if (bad == ids.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "forced_ids[", bad - ids.begin(), "] is ", *bad,
      "; it must be at least 0 and below ", vocabulary, ", the vocabulary"));
}

absl::StatusOr<std::vector<int32_t>> ForcedTokens(const Tokenizer& tokenizer,
                                                  const TextRequest& request,
                                                  const TextLimits& limits) {
  if (request.forced_text.empty()) {
    return request.forced_ids;
  }
  WINNOW_ASSIGN_OR_RETURN(
      TokenizedText answer,
      tokenizer.Encode(request.forced_text, request.text.raw
                                                ? SpecialTokens::kParse
                                                : SpecialTokens::kAsText));
  WINNOW_RETURN_IF_ERROR(CheckCount("the number of tokens of forced_text",
                                    std::ssize(answer.ids), limits.max_tokens));
  return std::move(answer.ids);
}

}  // namespace

absl::Status CheckTextRequest(const TextRequest& request,
                              const TextLimits& limits) {
  const uint64_t bytes = PromptBytes(request.text) + request.forced_text.size();
  if (bytes > limits.max_prompt_bytes) {
    return absl::OutOfRangeError(absl::StrCat(
        "the request's texts have ", bytes, " bytes; the limit is ",
        limits.max_prompt_bytes, "; shorten them"));
  }
  WINNOW_RETURN_IF_ERROR(ValidateSampling(request.sampling));
  WINNOW_RETURN_IF_ERROR(CheckStops(request.stop));
  if (!request.forced_ids.empty() || !request.forced_text.empty()) {
    return CheckForced(request, limits);
  }
  return CheckCount("max_tokens", request.max_tokens.value_or(1),
                    limits.max_tokens);
}

absl::StatusOr<GenerationRequest> TokenizeRequest(const Model& model,
                                                  const Tokenizer& tokenizer,
                                                  const TextRequest& request,
                                                  const TextLimits& limits) {
  GenerationRequest tokens = {
      .prompt = {},
      .policy = request.policy.value_or(limits.default_policy),
      .sampling = request.sampling,
      .max_tokens = request.max_tokens.value_or(
          std::min(kDefaultMaxTokens, limits.max_tokens)),
      .ignore_eos = request.ignore_eos,
      .forced = {}};
  WINNOW_RETURN_IF_ERROR(
      CheckVocabulary(request.forced_ids, model.config().vocabulary));
  WINNOW_ASSIGN_OR_RETURN(
      tokens.prompt,
      TokenizePrompt(model, tokenizer, request.text, limits.max_prompt_bytes));
  WINNOW_ASSIGN_OR_RETURN(tokens.forced,
                          ForcedTokens(tokenizer, request, limits));
  if (!tokens.forced.empty()) {
    tokens.max_tokens = std::ssize(tokens.forced);
  }
  WINNOW_RETURN_IF_ERROR(CheckLength(tokens, model.config()));
  return tokens;
}

}  // namespace winnow
