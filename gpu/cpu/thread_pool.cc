#include "gpu/cpu/thread_pool.h"

#include <atomic>
#include <cassert>
#include <chrono>
#include <thread>
#include <vector>

#include <immintrin.h>
#include <omp.h>

namespace winnow {
namespace {

// How long a thread polls before it blocks: longer than the gap between two
// loops of one layer, far shorter than a scheduler's time slice.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kPollsPerClockRead = 64;

// The word that workers wait on: [generation:19][open:1][active:12].
//
// A loop is open while it may still be joined.  Workers join by adding one to
// `active`; the caller never waits for a worker that has not joined, so a
// blocked or descheduled worker delays nobody.
constexpr uint32_t kActiveOne = 1;
constexpr uint32_t kActiveMask = (1u << 12) - 1;
constexpr uint32_t kOpen = 1u << 12;
constexpr uint32_t kGenerationOne = 1u << 13;
constexpr uint32_t kGenerationMask = ~(kGenerationOne - 1);

// Returns the first value for which `ready` holds: polls, then blocks.  Every
// wake-up polls anew: a thread that woke too late for a short loop must be
// there for the next one.
template <typename Ready>
uint32_t Await(const std::atomic<uint32_t>& word, Ready ready) {
  while (true) {
    const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    uint32_t value = word.load(std::memory_order_acquire);
    while (!ready(value) && std::chrono::steady_clock::now() < deadline) {
      for (int i = 0; i < kPollsPerClockRead && !ready(value); ++i) {
        _mm_pause();
        value = word.load(std::memory_order_acquire);
      }
    }
    if (ready(value)) {
      return value;
    }
    word.wait(value, std::memory_order_acquire);
  }
}

}  // namespace

struct ThreadPool::State {
  alignas(64) std::atomic<uint32_t> word{0};
  alignas(64) std::atomic<int64_t> next{0};
  std::atomic<bool> stopping{false};
  // The current loop; written while no loop is open and no worker active.
  int64_t count = 0;
  const absl::FunctionRef<void(int64_t, int)>* body = nullptr;
  std::vector<std::thread> workers;

  void RunPieces(int thread) {
    for (int64_t index = next.fetch_add(1, std::memory_order_relaxed);
         index < count; index = next.fetch_add(1, std::memory_order_relaxed)) {
      (*body)(index, thread);
    }
  }

  void Work(int thread);
};

void ThreadPool::State::Work(int thread) {
  omp_set_num_threads(1);
  uint32_t last_generation = 0;
  while (true) {
    uint32_t seen = Await(word, [&](uint32_t value) {
      return (value & kOpen) != 0 &&
             (value & kGenerationMask) != last_generation;
    });
    last_generation = seen & kGenerationMask;
    // Joining fails, by another generation or a closed loop, only if the
    // caller has finished this loop without us.
    bool joined = false;
    while (!joined && (seen & kOpen) != 0 &&
           (seen & kGenerationMask) == last_generation) {
      joined = word.compare_exchange_weak(seen, seen + kActiveOne,
                                          std::memory_order_acq_rel);
    }
    if (!joined) {
      continue;
    }
    const bool stop = stopping.load(std::memory_order_relaxed);
    if (!stop) {
      RunPieces(thread);
    }
    const uint32_t before =
        word.fetch_sub(kActiveOne, std::memory_order_acq_rel);
    if ((before & kOpen) == 0 && (before & kActiveMask) == 1) {
      word.notify_all();  // the caller may have blocked on the last of us
    }
    if (stop) {
      return;
    }
  }
}

ThreadPool::ThreadPool(int num_threads)
    : num_threads_(num_threads), state_(std::make_unique<State>()) {
  assert(num_threads >= 1 && num_threads <= static_cast<int>(kActiveMask));
  for (int thread = 1; thread < num_threads; ++thread) {
    state_->workers.emplace_back([this, thread] { state_->Work(thread); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stopping.store(true, std::memory_order_relaxed);
  // A loop that stays open until every worker has seen it.
  state_->word.fetch_add(kGenerationOne | kOpen, std::memory_order_release);
  state_->word.notify_all();
  for (std::thread& worker : state_->workers) {
    worker.join();
  }
}

void ThreadPool::ParallelFor(
    int64_t count, absl::FunctionRef<void(int64_t index, int thread)> body) {
  omp_set_num_threads(1);
  if (num_threads_ == 1 || count <= 1) {
    for (int64_t index = 0; index < count; ++index) {
      body(index, 0);
    }
    return;
  }
  State& state = *state_;
  state.count = count;
  state.body = &body;
  state.next.store(0, std::memory_order_relaxed);
  state.word.fetch_add(kGenerationOne + kOpen, std::memory_order_release);
  state.word.notify_all();
  state.RunPieces(0);
  state.word.fetch_sub(kOpen, std::memory_order_acq_rel);
  Await(state.word, [](uint32_t value) { return (value & kActiveMask) == 0; });
}

}  // namespace winnow
