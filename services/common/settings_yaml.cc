#include "services/common/settings_yaml.h"

#include <exception>
#include <sstream>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/utf8.h"

namespace winnow {
namespace {

constexpr size_t kMaxQuoted = 64;    // bytes of a name in a message
constexpr size_t kMaxYamlList = 64;  // entries; the settings allow fewer

// Takes yaml-cpp's events instead of its tree: nesting, aliases and tags are
// refused where they begin, before anything grows or recurses.  The parser
// passes the exceptions through.
class SettingsReader final : public YAML::EventHandler {
 public:
  std::map<std::string, YamlSetting> Take() { return std::move(settings_); }

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (depth_ == 0 && anchor == YAML::NullAnchor) {
      return;  // an empty document
    }
    if (name_.empty()) {
      Refuse(mark, "a setting's name is expected");
    }
    // `mark` may be where the next line begins.
    Refuse(name_mark_, absl::StrCat(name_, " has no value; give one, or \"\""));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    Refuse(mark, "aliases are not allowed; write the value out");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag,
                YAML::anchor_t anchor, const std::string& value) override {
    CheckPlain(mark, tag, anchor);
    if (depth_ == 0) {
      Refuse(mark, "a map is expected; write lines such as `lease-ttl: 2m`");
    }
    if (name_.empty()) {
      Begin(mark, value);
      return;
    }
    YamlSetting& setting = settings_[name_];
    setting.texts.push_back(value);
    if (!in_list_) {
      name_.clear();
    } else if (setting.texts.size() > kMaxYamlList) {
      Refuse(mark, absl::StrCat("the list of ", name_, " has more than ",
                                kMaxYamlList, " entries"));
    }
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag,
                       YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    CheckPlain(mark, tag, anchor);
    if (depth_ != 1 || name_.empty()) {
      Refuse(mark, "a list is not allowed here");
    }
    ++depth_;
    in_list_ = true;
  }

  void OnSequenceEnd() override {
    --depth_;
    in_list_ = false;
    name_.clear();
  }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag,
                  YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    CheckPlain(mark, tag, anchor);
    if (depth_ != 0) {
      Refuse(mark, "a map is not allowed here; settings are not nested");
    }
    ++depth_;
  }

  void OnMapEnd() override { --depth_; }

 private:
  [[noreturn]] static void Refuse(const YAML::Mark& mark,
                                  const std::string& message) {
    throw YAML::ParserException(mark, message);
  }

  static void CheckPlain(const YAML::Mark& mark, const std::string& tag,
                         YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) {
      Refuse(mark, "anchors are not allowed; write the value out");
    }
    if (!tag.empty() && tag != "?" && tag != "!") {
      Refuse(mark, "tags are not allowed; write the value alone");
    }
  }

  void Begin(const YAML::Mark& mark, const std::string& value) {
    const std::string shown = absl::CHexEscape(value.substr(0, kMaxQuoted));
    if (value.empty() || value.size() > kMaxQuoted) {
      Refuse(mark, absl::StrCat("'", shown, "' is not a setting's name"));
    }
    const auto [known, is_new] = settings_.emplace(
        value, YamlSetting{.texts = {}, .line = mark.line + 1});
    if (!is_new) {
      Refuse(mark, absl::StrCat(shown, " is here again; line ",
                                known->second.line, " has it already"));
    }
    name_ = value;
    name_mark_ = mark;
  }

  std::map<std::string, YamlSetting> settings_;
  std::string name_;  // whose value comes next; empty: a name comes next
  YAML::Mark name_mark_;
  int depth_ = 0;  // 1: in the map, 2: in a list
  bool in_list_ = false;
};

absl::Status Wrong(std::string_view path, int line, std::string_view message) {
  return absl::InvalidArgumentError(
      absl::StrCat(Absl(path), ":", line, ": ", Absl(message)));
}

}  // namespace

absl::StatusOr<std::map<std::string, YamlSetting>> ParseSettingsYaml(
    std::string_view path, std::string_view text) {
  if (text.size() > kMaxSettingsFile) {
    return absl::InvalidArgumentError(absl::StrCat(
        Absl(path), " is larger than the limit of ", kMaxSettingsFile,
        " bytes; it is meant for settings only"));
  }
  const size_t invalid = ValidateUtf8(text);
  if (invalid != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(Absl(path), " is not valid UTF-8 at byte ", invalid,
                     "; convert it to UTF-8"));
  }
  // Ends early for yaml-cpp, which reads its stream in its own way.
  if (absl::StrContains(Absl(text), '\0')) {
    return absl::InvalidArgumentError(
        absl::StrCat(Absl(path), " has a zero byte; give a text file"));
  }
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    SettingsReader reader;
    if (parser.HandleNextDocument(reader)) {
      SettingsReader rest;
      if (parser.HandleNextDocument(rest)) {
        return absl::InvalidArgumentError(absl::StrCat(
            Absl(path), " has a second document; remove the line `---`"));
      }
    }
    return reader.Take();
  } catch (const YAML::Exception& error) {
    return Wrong(path, error.mark.line + 1, error.msg);
  } catch (const std::exception& error) {
    return Wrong(path, 1, error.what());
  }
}

}  // namespace winnow
