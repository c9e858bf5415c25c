#include "gpu/model/byte_pair_merger.h"

#include <algorithm>
#include <cstddef>
#include <functional>

namespace winnow {
namespace {

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 |
         static_cast<uint32_t>(right);
}

}  // namespace

bool BytePairMerger::AddMerge(int32_t left, int32_t right, int32_t joined) {
  const auto rank = static_cast<uint32_t>(merges_.size());
  return merges_.try_emplace(PairKey(left, right), Joined{rank, joined}).second;
}

const BytePairMerger::Joined* BytePairMerger::Find(const Scratch& scratch,
                                                   int32_t position) const {
  const auto& symbols = scratch.symbols_;
  const Scratch::Symbol& left = symbols[static_cast<size_t>(position)];
  if (left.id < 0 || left.next < 0) {
    return nullptr;
  }
  const int32_t right = symbols[static_cast<size_t>(left.next)].id;
  const auto merge = merges_.find(PairKey(left.id, right));
  return merge == merges_.end() ? nullptr : &merge->second;
}

void BytePairMerger::Push(Scratch& scratch, int32_t position) const {
  if (const Joined* const joined = Find(scratch, position)) {
    scratch.queue_.push_back(uint64_t{joined->rank} << 32 |
                             static_cast<uint32_t>(position));
    std::ranges::push_heap(scratch.queue_, std::greater<>());
  }
}

void BytePairMerger::JoinWithNext(Scratch& scratch, int32_t position,
                                  int32_t id) {
  auto& symbols = scratch.symbols_;
  Scratch::Symbol& left = symbols[static_cast<size_t>(position)];
  Scratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
  left.id = id;
  left.next = right.next;
  right.id = -1;
  if (left.next >= 0) {
    symbols[static_cast<size_t>(left.next)].previous = position;
  }
}

int64_t BytePairMerger::Merge(std::string_view piece, Scratch& scratch,
                              std::vector<int32_t>& ids) const {
  auto& symbols = scratch.symbols_;
  symbols.clear();
  for (const char byte : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(byte)];
    if (id >= 0) {
      const auto position = static_cast<int32_t>(symbols.size());
      symbols.push_back({id, position - 1, position + 1});
    }
  }
  const auto dropped = static_cast<int64_t>(piece.size() - symbols.size());
  if (symbols.empty()) {
    return dropped;
  }
  symbols.back().next = -1;

  auto& queue = scratch.queue_;
  queue.clear();
  for (int32_t i = 0; i < static_cast<int32_t>(symbols.size()); ++i) {
    Push(scratch, i);
  }
  while (!queue.empty()) {
    std::ranges::pop_heap(queue, std::greater<>());
    const uint64_t entry = queue.back();
    queue.pop_back();
    const auto position = static_cast<int32_t>(entry & 0xFFFFFFFF);
    // A rank names one pair, so an entry whose pair has changed shows here.
    const Joined* const joined = Find(scratch, position);
    if (joined == nullptr || joined->rank != entry >> 32) {
      continue;
    }
    JoinWithNext(scratch, position, joined->id);
    Push(scratch, position);
    const int32_t previous = symbols[static_cast<size_t>(position)].previous;
    if (previous >= 0) {
      Push(scratch, previous);
    }
  }
  for (int32_t i = 0; i >= 0; i = symbols[static_cast<size_t>(i)].next) {
    ids.push_back(symbols[static_cast<size_t>(i)].id);
  }
  return dropped;
}

}  // namespace winnow
