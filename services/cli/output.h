#pragma once

#include <cstdint>
#include <string>

#include "services/gateway/generation.h"
#include <nlohmann/json.hpp>

namespace winnow {

// The parts of the JSON that generate and score print, in a fixed order.
using Json = nlohmann::ordered_json;

// {"name": "razor", "sinks": 4, ..., "retrieval_heads": 23, "kv_heads": 90}
Json PolicyJson(const PolicyUse& use);
Json PolicyJson(const Plan& plan);
// {"full_bytes", "stored_bytes", "pulled_bytes", "ratio": full / stored}
Json KvJson(const KvBytes& kv);
// {"ttft_ms", "prefill_tokens_per_s", "decode_tokens_per_s"}; decode is null
// where no step was run.
Json TimingsJson(const GenerationResult& result);

// One line of text; bytes that are no UTF-8 become U+FFFD.
std::string Dump(const Json& json);

// Says on standard error that bytes without a token were dropped, if any were.
void NoteDroppedBytes(int64_t dropped_bytes);

}  // namespace winnow
