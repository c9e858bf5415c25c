#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "gpu/base/clock.h"
#include "gpu/base/mutex.h"
#include "gpu/model/sampler.h"
#include "gpu/model/transformer.h"
#include "services/common/call.h"
#include "services/common/compute_gate.h"
#include "services/decode/sequence_steps.h"

namespace winnow {

// Tokens of one sequence that may wait for their reader.
inline constexpr int kMaxQueuedTokens = 64;

// Steps many sequences in one batch: continuous batching.
//
// One thread makes one forward pass after the other, each over one token of
// every sequence that is not done and whose queue of tokens has room.
// Sequences join and leave between any two steps; a slow reader makes its own
// sequence wait, nobody else's.  A failure that belongs to one sequence ends
// that one alone.  Without sequences the thread blocks.
//
// Memory: activations and logits of `max_sequences` tokens.
// Thread-safe; backend, model and gate outlive it.
class StepBatcher {
 public:
  class Member;
  struct Counts {
    int members = 0;
    int batch_size = 0;        // of the last step
    uint64_t steps = 0;        // since the start
    uint64_t step_tokens = 0;  // sum of the steps' batch sizes
  };

  static absl::StatusOr<std::unique_ptr<StepBatcher>> Create(
      const SharedBackend& compute, const Model& model, int max_sequences);
  // All members have left.
  ~StepBatcher();

  StepBatcher(const StepBatcher&) = delete;
  StepBatcher& operator=(const StepBatcher&) = delete;

  // Takes part in every step from now until the member is destroyed.  `steps`
  // and its sequence belong to the batch as long.  ResourceExhausted if
  // max_sequences have joined.
  absl::StatusOr<std::unique_ptr<Member>> Join(SequenceSteps& steps)
      ABSL_LOCKS_EXCLUDED(mutex_);

  Counts Snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // A member in the step that is being made.
  struct Part {
    Member* member = nullptr;
    absl::StatusOr<TokenChoice> choice;
  };

  StepBatcher(const SharedBackend& compute, int max_sequences)
      : compute_(compute), max_sequences_(max_sequences) {}

  // The stepping thread.
  void Loop();
  bool AwaitWork() ABSL_LOCKS_EXCLUDED(mutex_);
  void Collect() ABSL_LOCKS_EXCLUDED(mutex_);
  void Step();
  absl::Status Forward();
  void Deliver() ABSL_LOCKS_EXCLUDED(mutex_);
  static bool CanStep(const Member& member);

  absl::StatusOr<std::optional<TokenChoice>> Next(Member& member,
                                                  const Call& call,
                                                  const Clock& clock)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave(Member& member) ABSL_LOCKS_EXCLUDED(mutex_);

  const SharedBackend compute_;
  const int max_sequences_;

  mutable Mutex mutex_;
  CondVar work_;  // something may be there to step, or to stop for
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::list<Member*> members_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);

  // Used by the stepping thread alone.
  std::unique_ptr<Transformer> transformer_;
  std::vector<float> logits_;  // [max_sequences, vocabulary]
  std::vector<Part> parts_;
  std::vector<SequenceChunk> chunks_;

  std::thread thread_;
};

// One sequence's place in the batch; leaves it on destruction, which waits for
// the step in flight if the sequence is in it.  The batcher outlives it.
class StepBatcher::Member {
 public:
  Member(StepBatcher& batcher, SequenceSteps& steps)
      : batcher_(batcher), steps_(steps), done_(steps.done()) {}
  ~Member() { batcher_.Leave(*this); }

  Member(const Member&) = delete;
  Member& operator=(const Member&) = delete;

  // Waits for the next token; nothing once the sequence is done.  Errors:
  // what ended the sequence, or what the call says, within 20 ms.
  absl::StatusOr<std::optional<TokenChoice>> Next(const Call& call,
                                                  const Clock& clock) {
    return batcher_.Next(*this, call, clock);
  }

 private:
  friend class StepBatcher;

  StepBatcher& batcher_;
  SequenceSteps& steps_;  // the stepping thread's while `stepping_`
  // Guarded by the batcher's mutex.
  std::deque<TokenChoice> tokens_;
  absl::Status status_;
  bool done_;
  bool stepping_ = false;
  bool leaving_ = false;
  CondVar changed_;  // a token, the end, or the end of a step
};

}  // namespace winnow
