#include "services/decode/step_batcher.h"

#include <algorithm>
#include <cassert>

#include "absl/strings/str_cat.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

// How long a reader that has gone may keep its sequence in the batch.
constexpr absl::Duration kPollInterval = absl::Milliseconds(20);

}  // namespace

absl::StatusOr<std::unique_ptr<StepBatcher>> StepBatcher::Create(
    const SharedBackend& compute, const Model& model, int max_sequences) {
  std::unique_ptr<StepBatcher> batcher(new StepBatcher(compute, max_sequences));
  WINNOW_ASSIGN_OR_RETURN(
      batcher->transformer_,
      Transformer::Create(compute.backend, model, max_sequences));
  batcher->logits_.resize(static_cast<size_t>(max_sequences) *
                          model.config().vocabulary);
  batcher->thread_ = std::thread([raw = batcher.get()] { raw->Loop(); });
  return batcher;
}

StepBatcher::~StepBatcher() {
  {
    const MutexLock lock(mutex_);
    assert(members_.empty());
    stopping_ = true;
    work_.NotifyOne();
  }
  if (thread_.joinable()) {
    thread_.join();
  }
}

absl::StatusOr<std::unique_ptr<StepBatcher::Member>> StepBatcher::Join(
    SequenceSteps& steps) {
  const MutexLock lock(mutex_);
  if (std::ssize(members_) >= max_sequences_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", max_sequences_,
                     " places of the batch are taken; retry when one is free"));
  }
  auto member = std::make_unique<Member>(*this, steps);
  members_.push_back(member.get());
  compute_.gate.BeginDecode();
  work_.NotifyOne();
  return member;
}

StepBatcher::Counts StepBatcher::Snapshot() const {
  const MutexLock lock(mutex_);
  Counts counts = counts_;
  counts.members = static_cast<int>(members_.size());
  return counts;
}

void StepBatcher::Loop() {
  while (AwaitWork()) {
    const ComputeGate::Turn turn = compute_.Enter();
    // Only now: while the turn was awaited some joined and others left.
    Collect();
    if (!parts_.empty()) {
      Step();
      Deliver();
    }
  }
}

bool StepBatcher::AwaitWork() {
  const MutexLock lock(mutex_);
  while (!stopping_ && std::ranges::none_of(members_, [](const Member* member) {
    return CanStep(*member);
  })) {
    work_.Wait(mutex_);
  }
  return !stopping_;
}

bool StepBatcher::CanStep(const Member& member) {
  return !member.done_ && !member.leaving_ &&
         std::ssize(member.tokens_) < kMaxQueuedTokens;
}

void StepBatcher::Collect() {
  const MutexLock lock(mutex_);
  parts_.clear();
  for (Member* member : members_) {
    if (CanStep(*member)) {
      member->stepping_ = true;
      parts_.push_back({.member = member, .choice = TokenChoice{}});
    }
  }
}

void StepBatcher::Step() {
  chunks_.clear();
  for (Part& part : parts_) {
    const absl::Status reserved = part.member->steps_.Reserve();
    if (reserved.ok()) {
      chunks_.push_back(part.member->steps_.NextChunk());
    } else {
      part.choice = reserved;
    }
  }
  const absl::Status forward = Forward();
  const size_t vocabulary = transformer_->config().vocabulary;
  std::span<const float> logits(logits_);
  for (Part& part : parts_) {
    if (!part.choice.ok()) {
      continue;
    }
    if (!forward.ok()) {
      part.choice = forward;
      continue;
    }
    part.choice = part.member->steps_.Choose(logits.first(vocabulary));
    logits = logits.subspan(vocabulary);
  }
}

absl::Status StepBatcher::Forward() {
  if (chunks_.empty()) {
    return absl::OkStatus();
  }
  WINNOW_RETURN_IF_ERROR(transformer_->Forward(chunks_));
  return transformer_->Logits(0, static_cast<int>(chunks_.size()),
                              logits_.data());
}

void StepBatcher::Deliver() {
  const MutexLock lock(mutex_);
  for (const Part& part : parts_) {
    Member& member = *part.member;
    member.stepping_ = false;
    if (part.choice.ok()) {
      member.tokens_.push_back(*part.choice);
      member.done_ = member.steps_.done();
    } else {
      member.status_ = part.choice.status();
      member.done_ = true;
    }
    member.changed_.NotifyOne();
  }
  ++counts_.steps;
  counts_.step_tokens += parts_.size();
  counts_.batch_size = static_cast<int>(parts_.size());
}

absl::StatusOr<std::optional<TokenChoice>> StepBatcher::Next(
    Member& member, const Call& call, const Clock& clock) {
  while (true) {
    WINNOW_RETURN_IF_ERROR(call.Check(clock));
    const MutexLock lock(mutex_);
    if (!member.tokens_.empty()) {
      const TokenChoice choice = member.tokens_.front();
      member.tokens_.pop_front();
      if (std::ssize(member.tokens_) == kMaxQueuedTokens - 1) {
        work_.NotifyOne();  // it had no room
      }
      return choice;
    }
    if (member.done_) {
      WINNOW_RETURN_IF_ERROR(member.status_);
      return std::nullopt;
    }
    member.changed_.WaitFor(mutex_, kPollInterval);
  }
}

void StepBatcher::Leave(Member& member) {
  const MutexLock lock(mutex_);
  member.leaving_ = true;
  while (member.stepping_) {
    member.changed_.Wait(mutex_);
  }
  members_.remove(&member);
  compute_.gate.EndDecode();
}

}  // namespace winnow
