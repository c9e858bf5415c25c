#include "gpu/model/marker_finder.h"

namespace winnow {
namespace {

uint64_t ChildKey(uint32_t parent, char byte) {
  return uint64_t{parent} << 8 | static_cast<uint8_t>(byte);
}

}  // namespace

bool MarkerFinder::Add(std::string_view marker, int32_t id) {
  if (marker.empty()) {
    return false;
  }
  Node* node = nullptr;
  uint32_t parent = 0;
  for (const char byte : marker) {
    const auto next = static_cast<uint32_t>(children_.size() + 1);
    node = &children_.try_emplace(ChildKey(parent, byte), Node{next})
                .first->second;
    parent = node->index;
  }
  if (node->id >= 0) {
    return false;
  }
  node->id = id;
  begins_marker_[static_cast<uint8_t>(marker.front())] = true;
  return true;
}

MarkerFinder::Found MarkerFinder::LongestAt(std::string_view text,
                                            size_t begin) const {
  Found longest{std::string_view::npos, 0, -1};
  uint32_t parent = 0;
  for (size_t end = begin; end < text.size(); ++end) {
    const auto child = children_.find(ChildKey(parent, text[end]));
    if (child == children_.end()) {
      break;
    }
    if (child->second.id >= 0) {
      longest = {begin, end + 1 - begin, child->second.id};
    }
    parent = child->second.index;
  }
  return longest;
}

MarkerFinder::Found MarkerFinder::Find(std::string_view text,
                                       size_t from) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    if (!begins_marker_[static_cast<uint8_t>(text[begin])]) {
      continue;
    }
    const Found found = LongestAt(text, begin);
    if (found.begin != std::string_view::npos) {
      return found;
    }
  }
  return {std::string_view::npos, 0, -1};
}

}  // namespace winnow
