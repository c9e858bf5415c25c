#include "gpu/model/hf_tokenizer.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"
#include "gpu/base/utf8.h"
#include "gpu/model/bounded_json.h"
#include "gpu/model/hf_splitting_rule.h"

namespace winnow {
namespace {

using Json = nlohmann::json;

constexpr JsonLimits kTokenizerLimits = {.max_bytes = size_t{128} << 20,
                                         .max_depth = 12};
// Ids may have holes, but a single entry must not ask for a huge vocabulary.
constexpr uint64_t kMaxHoles = 4096;

absl::Status Invalid(absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("tokenizer.json: ", message));
}

// Vocabulary entries by id; the JSON orders them by text.
class TokenTable {
 public:
  TokenTable(size_t entries, TokenizerSource& source)
      : limit_(entries + kMaxHoles), source_(source) {}

  // A later entry with the same id must be the same token: added tokens
  // repeat some of the vocabulary.
  absl::Status Add(absl::string_view token, const Json* id, TokenKind kind) {
    const auto* number =
        id == nullptr ? nullptr : id->get_ptr<const Json::number_unsigned_t*>();
    if (number == nullptr || *number >= limit_) {
      return Invalid(absl::StrCat("token \"",
                                  absl::CHexEscape(token.substr(0, 100)),
                                  "\" has no id in range"));
    }
    const size_t index = *number;
    if (index >= source_.tokens.size()) {
      source_.tokens.resize(index + 1);
      source_.kinds.resize(index + 1, TokenKind::kUnused);
      taken_.resize(index + 1, false);
    }
    if (taken_[index] && source_.tokens[index] != token) {
      return Invalid(absl::StrCat("id ", index, " belongs to two tokens"));
    }
    taken_[index] = true;
    source_.tokens[index] = std::string(token);
    source_.kinds[index] = kind;
    return absl::OkStatus();
  }

 private:
  const uint64_t limit_;
  TokenizerSource& source_;
  std::vector<bool> taken_;
};

absl::Status ReadTokens(const Json& tokenizer, const Json& vocabulary,
                        TokenizerSource& source) {
  const Json* added = FindMember(tokenizer, "added_tokens");
  if (added != nullptr && !added->is_array()) {
    return Invalid("\"added_tokens\" is not an array");
  }
  TokenTable table(vocabulary.size() + (added == nullptr ? 0 : added->size()),
                   source);
  for (const auto& [token, id] : vocabulary.items()) {
    WINNOW_RETURN_IF_ERROR(table.Add(token, &id, TokenKind::kNormal));
  }
  if (added == nullptr) {
    return absl::OkStatus();
  }
  for (const Json& entry : *added) {
    const std::string* content = FindString(entry, "content");
    if (content == nullptr) {
      return Invalid("an added token has no \"content\"");
    }
    WINNOW_RETURN_IF_ERROR(
        table.Add(*content, FindMember(entry, "id"), TokenKind::kSpecial));
  }
  return absl::OkStatus();
}

// "a b" or ["a", "b"].
std::optional<std::pair<std::string, std::string>> MergeOf(const Json& merge) {
  if (const auto* text = merge.get_ptr<const std::string*>()) {
    const size_t blank = text->find(' ');
    if (blank == 0 || blank == std::string::npos || blank + 1 == text->size() ||
        text->find(' ', blank + 1) != std::string::npos) {
      return std::nullopt;
    }
    return std::pair(text->substr(0, blank), text->substr(blank + 1));
  }
  if (!merge.is_array() || merge.size() != 2) {
    return std::nullopt;
  }
  const auto* first = merge[0].get_ptr<const std::string*>();
  const auto* second = merge[1].get_ptr<const std::string*>();
  if (first == nullptr || second == nullptr) {
    return std::nullopt;
  }
  return std::pair(*first, *second);
}

absl::Status ReadMerges(const Json& model, TokenizerSource& source) {
  const Json* merges = FindMember(model, "merges");
  if (merges == nullptr || !merges->is_array()) {
    return Invalid("the model has no array \"merges\"");
  }
  source.merges.reserve(merges->size());
  for (const Json& merge : *merges) {
    std::optional<std::pair<std::string, std::string>> pair = MergeOf(merge);
    if (!pair) {
      return Invalid(absl::StrCat("merge ", source.merges.size(),
                                  " is not a pair of tokens"));
    }
    source.merges.push_back(*std::move(pair));
  }
  return absl::OkStatus();
}

// "bpe" for byte-level BPE, which leaves no byte for a fallback and marks no
// ends of words; otherwise what it is.
std::string ModelName(const Json& model) {
  const std::string* type = FindString(model, "type");
  if (type != nullptr && *type != "BPE") {
    return absl::AsciiStrToLower(type->substr(0, 100));
  }
  if (IsTrue(model, "byte_fallback")) {
    return "bpe with byte fallback";
  }
  for (const char* field :
       {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::string* mark = FindString(model, field);
    if (mark != nullptr && !mark->empty()) {
      return absl::StrCat("bpe with ", field);
    }
  }
  return "bpe";
}

// A text, or {"content": text}.
const std::string* TextOf(const Json* value) {
  if (value == nullptr) {
    return nullptr;
  }
  const auto* text = value->get_ptr<const std::string*>();
  return text != nullptr ? text : FindString(*value, "content");
}

// The id of the first token that the post-processor puts before a text.
std::optional<std::string> FirstOfTemplate(const Json& processor) {
  if (const Json* parts = FindMember(processor, "processors")) {
    for (const Json& part : *parts) {
      const Json* single = FindMember(part, "single");
      if (single != nullptr) {
        return FirstOfTemplate(part);
      }
    }
    return std::nullopt;
  }
  const Json* single = FindMember(processor, "single");
  if (single == nullptr || !single->is_array() || single->empty()) {
    return std::nullopt;
  }
  const Json* special = FindMember(single->front(), "SpecialToken");
  const std::string* id =
      special == nullptr ? nullptr : FindString(*special, "id");
  return id == nullptr ? std::nullopt : std::optional(*id);
}

void ReadBeginningOfText(const Json& tokenizer, const Json& config,
                         TokenizerSource& source) {
  const Json* processor = FindMember(tokenizer, "post_processor");
  const std::optional<std::string> first =
      processor == nullptr ? std::nullopt : FirstOfTemplate(*processor);
  const std::string* marker = TextOf(FindMember(config, "bos_token"));
  if (marker == nullptr && first) {
    marker = &*first;
  }
  if (marker == nullptr) {
    return;
  }
  const auto found = std::ranges::find(source.tokens, *marker);
  if (found == source.tokens.end()) {
    return;
  }
  source.beginning_of_text =
      static_cast<int32_t>(found - source.tokens.begin());
  source.add_beginning_of_text = FindMember(config, "add_bos_token") != nullptr
                                     ? IsTrue(config, "add_bos_token")
                                     : first == *marker;
}

// "chat_template": a text, or [{"name": ..., "template": text}].
std::string ChatTemplateOf(const Json& config) {
  const Json* field = FindMember(config, "chat_template");
  if (field == nullptr) {
    return "";
  }
  if (const auto* text = field->get_ptr<const std::string*>()) {
    return *text;
  }
  if (field->is_array()) {
    for (const Json& entry : *field) {
      const std::string* name = FindString(entry, "name");
      const std::string* text = FindString(entry, "template");
      if (name != nullptr && *name == "default" && text != nullptr) {
        return *text;
      }
    }
  }
  return "";
}

absl::Status ReadTokenizerJson(const Json& tokenizer, TokenizerSource& source) {
  const Json* model = FindMember(tokenizer, "model");
  if (model == nullptr) {
    return Invalid("there is no \"model\"");
  }
  source.model = ModelName(*model);
  source.pre_tokenizer = RecogniseSplittingRule(tokenizer);
  if (source.model != "bpe") {
    return absl::OkStatus();  // its vocabulary has other rules
  }
  const Json* vocabulary = FindMember(*model, "vocab");
  if (vocabulary == nullptr || !vocabulary->is_object()) {
    return Invalid("the model has no object \"vocab\"");
  }
  WINNOW_RETURN_IF_ERROR(ReadTokens(tokenizer, *vocabulary, source));
  return ReadMerges(*model, source);
}

}  // namespace

absl::StatusOr<TokenizerSource> ReadHfTokenizer(const HfTokenizerFiles& files) {
  TokenizerSource source;
  if (files.tokenizer.empty()) {
    return source;
  }
  WINNOW_ASSIGN_OR_RETURN(
      const Json tokenizer,
      ParseBoundedJson(files.tokenizer, "tokenizer.json", kTokenizerLimits));
  WINNOW_RETURN_IF_ERROR(ReadTokenizerJson(tokenizer, source));
  Json config;
  if (!files.tokenizer_config.empty()) {
    WINNOW_ASSIGN_OR_RETURN(
        config, ParseBoundedJson(files.tokenizer_config,
                                 "tokenizer_config.json", kTokenizerLimits));
  }
  ReadBeginningOfText(tokenizer, config, source);
  if (ValidateUtf8({files.chat_template.data(), files.chat_template.size()}) !=
      std::string_view::npos) {
    return absl::InvalidArgumentError("chat_template.jinja is not UTF-8");
  }
  source.chat_template = files.chat_template.empty()
                             ? ChatTemplateOf(config)
                             : std::string(files.chat_template);
  return source;
}

}  // namespace winnow
