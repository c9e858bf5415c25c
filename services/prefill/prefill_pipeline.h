#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/manifest.h"
#include "cache_store/format/miss_reason.h"
#include "cache_store/plan/head_profile.h"
#include "cache_store/store/kv_store.h"
#include "gpu/base/clock.h"
#include "gpu/model/sampler.h"
#include "gpu/model/transformer.h"
#include "services/common/admission.h"
#include "services/common/compute_gate.h"
#include "services/common/prefiller.h"

namespace winnow {

// What a prefill needs to know about one model.  Borrowed by the pipeline.
struct PrefillModel {
  const Model* model = nullptr;
  const HeadProfile* profile = nullptr;  // null: no policy that needs one
  CacheIdentity identity;
};

struct PrefillOptions {
  KvDtype dtype = KvDtype::kBfloat16;
  int chunk_tokens = 512;        // tokens of one forward pass
  int yield_chunk_tokens = 128;  // while sequences decode on the same backend
  int64_t max_tokens = 0;  // longest context and prompt; 0: the model's limit
  int max_queue = 64;      // requests that may wait for the one that computes
  absl::Duration queue_timeout = absl::Seconds(30);
  absl::Duration lease_ttl = absl::Minutes(2);
  // Told why a start that the store said to have was computed again.  Called
  // from the threads of Run; empty: nobody is told.
  std::function<void(MissReason)> on_reuse_miss = nullptr;
  ComputeGate* gate = nullptr;  // of the backend; null: nobody else uses it
  const Clock* clock = &Clock::Real();
};

// Builds the cache of a context, compacts it, writes it into a store, and
// samples the first token.  What the store has of the context already is read
// from there instead (prefix_reuse.h).
//
// One request computes at a time, the others wait in line; nothing is reserved
// or allocated for them before their turn.  A request whose caller has gone
// ends before the next chunk or segment.
// Memory: the KV of one context in full (max_tokens x bytes a token of the
// dtype), the activations of one chunk, and one row of logits.
// Thread-safe; backend, model, store and gate outlive it, and all calls end
// before it does.
class PrefillPipeline final : public Prefiller {
 public:
  static absl::StatusOr<std::unique_ptr<PrefillPipeline>> Create(
      Backend& backend, const PrefillModel& model, KvStore& store,
      const PrefillOptions& options);

  absl::StatusOr<PrefillResult> Run(const PrefillRequest& request,
                                    const Call& call) override;

  // Running and queued requests.
  Admission::Counts Snapshot() const { return admission_.Snapshot(); }

 private:
  struct Job;

  PrefillPipeline(Backend& backend, const PrefillModel& model, KvStore& store,
                  const PrefillOptions& options);
  absl::Status Check(const PrefillRequest& request) const;
  absl::StatusOr<Job> Plan(const PrefillRequest& request,
                           const Call& call) const;
  absl::Status Admit(Job& job);
  absl::Status Reserve(Job& job);
  absl::Status Reuse(Job& job);
  absl::Status ReadContext(Job& job);
  absl::Status CompactContext(Job& job) const;
  absl::Status WriteContext(Job& job);
  absl::Status ReadPrompt(Job& job);
  absl::Status WritePrompt(Job& job);
  absl::StatusOr<PrefillResult> HandOver(Job& job);

  absl::Status ReadTokens(Job& job, std::span<const int32_t> ids);
  absl::StatusOr<size_t> ReadChunk(Job& job, std::span<const int32_t> ids);
  absl::Status WriteSegments(Job& job, size_t begin, size_t end);
  absl::StatusOr<TokenChoice> ChooseFirst(const Job& job);

  const PrefillModel model_;
  KvStore& store_;
  const PrefillOptions options_;
  ComputeGate own_gate_;  // used where the options name none
  const SharedBackend compute_;
  Admission admission_;
  // Of the request that computes.
  std::unique_ptr<Transformer> transformer_;
  std::vector<float> logits_;  // [vocabulary], of the last token read
};

}  // namespace winnow
