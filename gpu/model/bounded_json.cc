#include "gpu/model/bounded_json.h"

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace winnow {
namespace {

using Json = nlohmann::json;

// Builds the tree out of the parser's events.
class TreeBuilder final : public nlohmann::json_sax<Json> {
 public:
  explicit TreeBuilder(int max_depth) : max_depth_(max_depth) {}

  Json TakeTree() { return std::move(tree_); }
  const std::string& error() const { return error_; }

  bool null() override { return Add(nullptr) != nullptr; }
  bool boolean(bool value) override { return Add(value) != nullptr; }
  bool number_integer(number_integer_t value) override {
    return Add(value) != nullptr;
  }
  bool number_unsigned(number_unsigned_t value) override {
    return Add(value) != nullptr;
  }
  bool number_float(number_float_t value, const string_t& /*text*/) override {
    return Add(value) != nullptr;
  }
  bool string(string_t& value) override {
    return Add(std::move(value)) != nullptr;
  }
  bool binary(binary_t& /*value*/) override { return false; }
  bool start_object(size_t /*elements*/) override {
    return Open(Json::object());
  }
  bool start_array(size_t /*elements*/) override { return Open(Json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    const auto [member, added] = open_.back()->emplace(name, nullptr);
    if (!added) {
      error_ = absl::StrCat("key \"", absl::CHexEscape(name.substr(0, 100)),
                            "\" comes twice");
      return false;
    }
    member_ = &*member;
    return true;
  }

  bool parse_error(size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    // Quotes the text, which can be long and is not trusted.
    error_ = absl::CHexEscape(absl::string_view(error.what()).substr(0, 200));
    return false;
  }

 private:
  // Puts `value` where the parser is and returns its place.
  Json* Add(Json value) {
    if (open_.empty()) {
      tree_ = std::move(value);
      return &tree_;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *member_ = std::move(value);
    return member_;
  }

  bool Open(Json value) {
    if (open_.size() == static_cast<size_t>(max_depth_)) {
      error_ = absl::StrCat("nested deeper than ", max_depth_, " levels");
      return false;
    }
    open_.push_back(Add(std::move(value)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  const int max_depth_;
  Json tree_;
  std::vector<Json*> open_;  // arrays and objects around the next value
  Json* member_ = nullptr;   // of the innermost object
  std::string error_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseBoundedJson(std::span<const std::byte> text,
                                                absl::string_view name,
                                                const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " is ", text.size(), " bytes long, over ", limits.max_bytes));
  }
  TreeBuilder builder(limits.max_depth);
  const auto* start = reinterpret_cast<const char*>(text.data());
  if (!Json::sax_parse(start, start + text.size(), &builder)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": ", builder.error()));
  }
  return builder.TakeTree();
}

const nlohmann::json* FindMember(const nlohmann::json& object,
                                 absl::string_view key) {
  if (!object.is_object()) {
    return nullptr;
  }
  const auto member = object.find(key);
  return member == object.end() || member->is_null() ? nullptr : &*member;
}

const std::string* FindString(const nlohmann::json& object,
                              absl::string_view key) {
  const nlohmann::json* member = FindMember(object, key);
  return member == nullptr ? nullptr : member->get_ptr<const std::string*>();
}

bool IsTrue(const nlohmann::json& object, absl::string_view key) {
  const nlohmann::json* member = FindMember(object, key);
  const bool* value =
      member == nullptr ? nullptr : member->get_ptr<const bool*>();
  return value != nullptr && *value;
}

}  // namespace winnow
