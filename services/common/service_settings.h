#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "gpu/cpu/cpu_backend.h"
#include "gpu/kv_tile.h"
#include "services/common/log_line.h"

namespace winnow {

// What a role was told, one member for each entry of setting_registry.cc,
// which has the defaults, the ranges and the meaning of every one.
//
// ResolveSettings fills it: every number is in its range, every address has a
// valid form, every text is UTF-8 without control characters.  A setting that
// the role does not take has its default.
struct ServiceSettings {
  std::string model;    // empty: none was given
  std::string profile;  // empty: the model's own
  Numerics numerics = Numerics::kFast;
  KvDtype kv_dtype = KvDtype::kBfloat16;
  int threads = 0;             // 0: the cores that the process may use
  uint64_t store_size = 0;     // bytes, a multiple of kArenaAlignment
  uint64_t decode_memory = 0;  // bytes

  // "HOST:PORT", "[IPV6]:PORT" or "unix:/PATH".  Port 0 only to listen on.
  std::vector<std::string> listen;  // at least one
  std::string metrics_listen;       // empty: no metrics
  bool insecure_listen = false;
  std::string store;
  std::string prefill;
  std::string decode;

  absl::Duration lease_ttl;
  absl::Duration default_deadline;  // at most max_deadline
  absl::Duration max_deadline;
  absl::Duration store_deadline;
  absl::Duration queue_timeout;
  absl::Duration stream_stall_timeout;
  absl::Duration drain_timeout;
  absl::Duration keepalive_time;

  int max_sequences = 0;
  int max_queue = 0;  // 0: nothing waits
  uint64_t max_prompt_bytes = 0;
  int max_tokens_limit = 0;
  int max_streams = 0;
  int prefill_chunk = 0;  // tokens
  int yield_chunk = 0;    // tokens, at most prefill_chunk

  LogLevel log_level = LogLevel::kInfo;
  LogFormat log_format = LogFormat::kText;
};

}  // namespace winnow
