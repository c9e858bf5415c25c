#include "services/cli/output.h"

#include <charconv>
#include <iostream>

namespace winnow {
namespace {

// A policy's parameter as the JSON type that its text is.
Json ParameterJson(const std::string& text) {
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [parsed, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || parsed != end) {
    return text;
  }
  const auto whole = static_cast<int64_t>(number);
  return static_cast<double>(whole) == number ? Json(whole) : Json(number);
}

double PerSecond(int64_t count, absl::Duration time) {
  return static_cast<double>(count) / absl::ToDoubleSeconds(time);
}

}  // namespace

Json PolicyJson(const PolicyUse& use) {
  Json json;
  json["name"] = PolicyName(use.policy.kind);
  for (const auto& [name, value] : PolicyParameters(use.policy)) {
    json[name] = ParameterJson(value);
  }
  json["retrieval_heads"] = use.retrieval_heads;
  json["kv_heads"] = use.kv_heads;
  return json;
}

Json PolicyJson(const Plan& plan) { return PolicyJson(UseOf(plan)); }

Json KvJson(const KvBytes& kv) {
  return {
      {"full_bytes", kv.full},
      {"stored_bytes", kv.stored},
      {"pulled_bytes", kv.pulled},
      {"ratio", static_cast<double>(kv.full) / static_cast<double>(kv.stored)}};
}

Json TimingsJson(const GenerationResult& result) {
  const int64_t steps = std::ssize(result.tokens) - 1;
  return {{"ttft_ms", absl::ToDoubleMilliseconds(result.time_to_first_token)},
          {"prefill_tokens_per_s",
           PerSecond(result.prompt_tokens, result.prefill.total)},
          {"decode_tokens_per_s",
           steps > 0 ? Json(PerSecond(steps, result.decode)) : Json(nullptr)}};
}

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void NoteDroppedBytes(int64_t dropped_bytes) {
  if (dropped_bytes > 0) {
    std::cerr << "winnow: note: " << dropped_bytes
              << " bytes of the text have no token in this vocabulary and "
                 "were dropped\n";
  }
}

}  // namespace winnow
