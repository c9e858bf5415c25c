#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "cache_store/format/manifest.h"
#include "cache_store/store/kv_store.h"
#include "gpu/base/clock.h"
#include "gpu/model/model.h"
#include "services/common/admission.h"
#include "services/common/compute_gate.h"
#include "services/common/decoder.h"
#include "services/common/sequence_loader.h"
#include "services/decode/step_batcher.h"

namespace winnow {

struct DecodeOptions {
  int max_sequences = 8;      // that decode at once, 1 to 1,024
  uint64_t memory_bytes = 0;  // of all of them (sequence_memory.h); 0: no limit
  int max_queue = 64;         // requests that may wait for either
  absl::Duration queue_timeout = absl::Seconds(30);
  absl::Duration stall_timeout = absl::Seconds(30);  // of a sink, per token
  absl::Duration lease_ttl = absl::Minutes(2);  // where a lease is taken anew
  ComputeGate* gate = nullptr;  // of the backend; null: nobody else uses it
  const Clock* clock = &Clock::Real();
};

struct DecodeCounts {
  int running = 0;  // sequences admitted
  int queued = 0;
  uint64_t reserved_bytes = 0;
  int batch_size = 0;        // of the last step
  uint64_t steps = 0;        // since the start
  uint64_t step_tokens = 0;  // sum of the steps' batch sizes
};

// Generates tokens from caches that a store holds, many sequences in one batch
// (step_batcher.h); a sequence gets what it would get alone.
//
// Takes over the lease of the manifest, or a new one if that has ended; reads
// tiles in place; the lease ends with the call, whatever comes of it.  A sink
// that keeps a token for longer than the stall timeout ends its sequence with
// DEADLINE_EXCEEDED once it returns; the others go on meanwhile.
// Memory: reserved at admission, see DecodeMemoryBytes; beside it activations
// and logits of max_sequences tokens.
// Thread-safe; backend, model, store and gate outlive it, and all calls end
// before it does.
class DecodePipeline final : public Decoder {
 public:
  // `identity` is that of the caches this pipeline may read.
  static absl::StatusOr<std::unique_ptr<DecodePipeline>> Create(
      Backend& backend, const Model& model, const CacheIdentity& identity,
      KvStore& store, const DecodeOptions& options);

  absl::StatusOr<DecodeResult> Run(const DecodeRequest& request,
                                   const Call& call, TokenSink sink) override;

  DecodeCounts Snapshot() const;

 private:
  DecodePipeline(Backend& backend, const Model& model,
                 const CacheIdentity& identity, KvStore& store,
                 const DecodeOptions& options);
  absl::Status Check(const DecodeRequest& request) const;
  absl::StatusOr<LeaseHandle> TakeLease(const Manifest& manifest);
  absl::StatusOr<Admission::Ticket> Admit(const DecodeRequest& request,
                                          const Call& call,
                                          DecodeResult& result);
  absl::StatusOr<LoadedSequence> Load(const DecodeRequest& request,
                                      LeaseId lease, DecodeResult& result);
  absl::Status Generate(const DecodeRequest& request, const Call& call,
                        KvSequence& sequence, TokenSink sink,
                        DecodeResult& result);
  absl::StatusOr<bool> Pass(const TokenChoice& choice, TokenSink sink) const;

  const Model& model_;
  const CacheIdentity identity_;
  KvStore& store_;
  const DecodeOptions options_;
  ComputeGate own_gate_;  // used where the options name none
  const SharedBackend compute_;
  Admission admission_;
  std::unique_ptr<StepBatcher> batcher_;
};

}  // namespace winnow
