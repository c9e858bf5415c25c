#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/plan/plan.h"
#include "cache_store/store/kv_store.h"
#include "gpu/base/clock.h"
#include "gpu/model/model_config.h"
#include "services/common/decoder.h"
#include "services/common/prefiller.h"
#include "services/gateway/prompt.h"

namespace winnow {

// Times that the cache of one request is built at most, the first included.
inline constexpr int kMaxPrefills = 2;

struct GenerationRequest {
  PromptTokens prompt;
  Policy policy;
  SamplingParameters sampling;
  int64_t max_tokens = 0;  // >= 1
  bool ignore_eos = false;
  std::vector<int32_t> forced;  // scored instead of choices
};

// Whom a generation meets.  All outlive it.
struct GenerationRoles {
  Prefiller& prefiller;
  Decoder& decoder;
  // Where the lease of a prefill is ended that decode never took over; null:
  // it runs out by itself.
  KvStore* store = nullptr;
  const ModelConfig& config;
  const Clock* clock = &Clock::Real();
  // Called when the cache was lost and is about to be built again; thread-safe;
  // empty: nobody wants to know.
  // NOLINTNEXTLINE(readability-redundant-member-init): GCC wants it named else.
  std::function<void()> on_rebuild = {};
};

// Bytes of a context's cache, for people.
struct KvBytes {
  uint64_t full = 0;    // all tokens of the manifest x bytes a token
  uint64_t stored = 0;  // segments that the manifest names, with headers
  uint64_t pulled = 0;  // segments that decode acquired
};

// How a context was kept, for people.
struct PolicyUse {
  Policy policy;  // kFull where the context was too short; the window as used
  int retrieval_heads = 0;  // KV heads kept whole
  int kv_heads = 0;
};
PolicyUse UseOf(const Plan& plan);

struct GenerationResult {
  std::vector<TokenChoice> tokens;
  FinishReason finish_reason = FinishReason::kLength;
  Plan plan;  // empty where a server answered
  PolicyUse policy;
  KvBytes kv;
  int64_t context_tokens = 0;
  int64_t prompt_tokens = 0;  // context and prompt
  int64_t reused_tokens = 0;  // of the context, found in the store
  int prefills = 0;           // 1, or more where the store lost the cache
  PrefillTimes prefill;       // of the last one
  absl::Duration queue;       // of prefill and decode
  absl::Duration tokenize;    // zero where the caller brought tokens
  absl::Duration pull;
  absl::Duration decode;  // all steps after the first token
  absl::Duration time_to_first_token;
  absl::Duration total;
};

// Whether a request fits the model.  InvalidArgument for max_tokens below 1,
// OutOfRange where prompt and answer are too long; says limit and lengths.
absl::Status CheckLength(const GenerationRequest& request,
                         const ModelConfig& config);

// Prefill, store, decode, meeting only in segments and manifest.  `sink` gets
// every token once, the first included; false ends the generation (kCancelled).
//
// If the cache or decode is lost after prefill (ABORTED, UNAVAILABLE), in
// mid-answer too, all is done again, kMaxPrefills times at most and while the
// call allows it.  Tokens do not depend on the attempt, so those that the sink
// had are passed over.
//
// Errors: those of CheckLength, Prefiller and Decoder; ABORTED too if a second
// attempt gave another token than the first.
absl::StatusOr<GenerationResult> Generate(const GenerationRoles& roles,
                                          const GenerationRequest& request,
                                          const Call& call, TokenSink sink);

}  // namespace winnow
