#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

namespace winnow {

// Runs loops on a fixed number of threads, the caller being one of them.
//
// Workers wait for the next loop by spinning for some microseconds and then
// block, so idle pools cost nothing.  Each worker sets its OpenMP team to one
// thread: oneDNN's own teams would fight over the cores.
//
// One loop at a time: ParallelFor is not reentrant, and a body must not call
// it, nor throw.  Not thread-safe besides.
class ThreadPool {
 public:
  // `num_threads` >= 1, the caller included.
  explicit ThreadPool(int num_threads);
  ~ThreadPool();

  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls body(index, thread) for every index in [0, count), thread in
  // [0, num_threads()); returns when all are done.  Indices are handed out one
  // by one in ascending order, so put the largest pieces first.
  void ParallelFor(int64_t count,
                   absl::FunctionRef<void(int64_t index, int thread)> body);

 private:
  struct State;
  const int num_threads_;
  std::unique_ptr<State> state_;
};

}  // namespace winnow
