#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

#include "cache_store/store/kv_store.h"
#include "gpu/model/model_config.h"
#include "services/common/decoder.h"
#include "services/common/prefiller.h"
#include "services/gateway/prompt.h"

namespace winnow {

// Times that a request may lose its cache between prefill and decode before it
// fails.
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
  // Where the lease of a prefill is ended that decode never took over.
  KvStore& store;
  const ModelConfig& config;
};

// Bytes of a context's cache, for people.
struct KvBytes {
  uint64_t full = 0;    // all tokens of the manifest x bytes a token
  uint64_t stored = 0;  // segments that the manifest names, with headers
  uint64_t pulled = 0;  // segments that decode acquired
};

struct GenerationResult {
  std::vector<TokenChoice> tokens;
  FinishReason finish_reason = FinishReason::kLength;
  Plan plan;
  KvBytes kv;
  int64_t context_tokens = 0;
  int64_t prompt_tokens = 0;  // context and prompt
  PrefillTimes prefill;
  absl::Duration time_to_first_token;
  absl::Duration decode;  // all steps after the first token
};

// Prefill, store, decode, meeting only in segments and manifest.  If the store
// loses the cache in between, prefill runs again, kMaxPrefills times at most.
// `sink` gets every token, the first included.
absl::StatusOr<GenerationResult> Generate(const GenerationRoles& roles,
                                          const GenerationRequest& request,
                                          const Call& call, TokenSink sink);

}  // namespace winnow
