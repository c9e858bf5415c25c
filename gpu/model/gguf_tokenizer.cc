#include "gpu/model/gguf_tokenizer.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/status.h"
#include "gpu/base/utf8.h"

namespace winnow {
namespace {

constexpr absl::string_view kTokens = "tokenizer.ggml.tokens";
constexpr absl::string_view kTypes = "tokenizer.ggml.token_type";
constexpr absl::string_view kMerges = "tokenizer.ggml.merges";

// tokenizer.ggml.token_type: normal 1, unknown 2, control 3, user-defined 4,
// unused 5, byte 6.
TokenKind KindOf(int32_t type) {
  switch (type) {
    case 3:
    case 4:
      return TokenKind::kSpecial;
    case 2:
    case 5:
      return TokenKind::kUnused;
    default:
      return TokenKind::kNormal;
  }
}

absl::Status CheckUtf8(absl::string_view key, size_t index,
                       absl::string_view text) {
  if (ValidateUtf8({text.data(), text.size()}) == std::string_view::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("GGUF: ", key, "[", index, "] is not UTF-8"));
}

absl::StatusOr<std::string> StringOr(const GgufContents& contents,
                                     absl::string_view key,
                                     absl::string_view otherwise) {
  if (contents.Find(key) == nullptr) {
    return std::string(otherwise);
  }
  WINNOW_ASSIGN_OR_RETURN(const absl::string_view text, contents.String(key));
  return std::string(text);
}

absl::Status ReadTokens(const GgufContents& contents, int vocabulary,
                        TokenizerSource& source) {
  WINNOW_ASSIGN_OR_RETURN(const std::vector<absl::string_view> tokens,
                          contents.Strings(kTokens));
  if (tokens.size() > static_cast<size_t>(vocabulary)) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF: ", kTokens, " has ", tokens.size(),
                     " elements, but the embedding ", vocabulary, " rows"));
  }
  for (size_t i = 0; i < tokens.size(); ++i) {
    WINNOW_RETURN_IF_ERROR(CheckUtf8(kTokens, i, tokens[i]));
  }
  for (const absl::string_view token : tokens) {
    source.tokens.emplace_back(token);
  }
  if (contents.Find(kTypes) == nullptr) {
    source.kinds.assign(tokens.size(), TokenKind::kNormal);
    return absl::OkStatus();
  }
  WINNOW_ASSIGN_OR_RETURN(const std::vector<int32_t> types,
                          contents.Integers(kTypes));
  if (types.size() != tokens.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF: ", kTypes, " has ", types.size(), " elements, but ",
                     kTokens, " has ", tokens.size()));
  }
  std::ranges::transform(types, std::back_inserter(source.kinds), KindOf);
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufContents& contents, TokenizerSource& source) {
  if (contents.Find(kMerges) == nullptr) {
    return absl::OkStatus();
  }
  WINNOW_ASSIGN_OR_RETURN(const std::vector<absl::string_view> merges,
                          contents.Strings(kMerges));
  for (size_t i = 0; i < merges.size(); ++i) {
    const absl::string_view merge = merges[i];
    WINNOW_RETURN_IF_ERROR(CheckUtf8(kMerges, i, merge));
    // Searched from the second byte: the first half is never empty.
    const size_t blank = merge.find(' ', 1);
    if (blank == absl::string_view::npos || blank + 1 == merge.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "GGUF: ", kMerges, "[", i, "] is not two tokens and a blank"));
    }
    source.merges.emplace_back(merge.substr(0, blank), merge.substr(blank + 1));
  }
  return absl::OkStatus();
}

absl::StatusOr<int32_t> TokenId(const GgufContents& contents,
                                absl::string_view key, int vocabulary) {
  WINNOW_ASSIGN_OR_RETURN(const int64_t id,
                          contents.Integer(key, 0, vocabulary - 1));
  return static_cast<int32_t>(id);
}

absl::Status ReadBeginningOfText(const GgufContents& contents, int vocabulary,
                                 TokenizerSource& source) {
  constexpr absl::string_view kId = "tokenizer.ggml.bos_token_id";
  constexpr absl::string_view kAdd = "tokenizer.ggml.add_bos_token";
  if (contents.Find(kId) != nullptr) {
    WINNOW_ASSIGN_OR_RETURN(source.beginning_of_text,
                            TokenId(contents, kId, vocabulary));
  }
  if (contents.Find(kAdd) != nullptr) {
    WINNOW_ASSIGN_OR_RETURN(source.add_beginning_of_text, contents.Bool(kAdd));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSource> ReadGgufTokenizer(const GgufContents& contents,
                                                  int vocabulary) {
  TokenizerSource source;
  if (contents.Find("tokenizer.ggml.model") == nullptr) {
    return source;
  }
  WINNOW_ASSIGN_OR_RETURN(const absl::string_view model,
                          contents.String("tokenizer.ggml.model"));
  source.model = model == "gpt2" ? "bpe" : std::string(model);
  WINNOW_ASSIGN_OR_RETURN(source.pre_tokenizer,
                          StringOr(contents, "tokenizer.ggml.pre", "default"));
  WINNOW_ASSIGN_OR_RETURN(source.chat_template,
                          StringOr(contents, "tokenizer.chat_template", ""));
  WINNOW_RETURN_IF_ERROR(CheckUtf8("tokenizer.ggml.model", 0, source.model));
  WINNOW_RETURN_IF_ERROR(
      CheckUtf8("tokenizer.ggml.pre", 0, source.pre_tokenizer));
  WINNOW_RETURN_IF_ERROR(
      CheckUtf8("tokenizer.chat_template", 0, source.chat_template));
  WINNOW_RETURN_IF_ERROR(ReadTokens(contents, vocabulary, source));
  WINNOW_RETURN_IF_ERROR(ReadMerges(contents, source));
  WINNOW_RETURN_IF_ERROR(ReadBeginningOfText(contents, vocabulary, source));
  return source;
}

absl::StatusOr<std::vector<int32_t>> ReadGgufEndOfText(
    const GgufContents& contents, int vocabulary) {
  std::vector<int32_t> ids;
  for (const absl::string_view key :
       {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
        "tokenizer.ggml.eom_token_id"}) {
    if (contents.Find(key) != nullptr) {
      WINNOW_ASSIGN_OR_RETURN(const int32_t id,
                              TokenId(contents, key, vocabulary));
      ids.push_back(id);
    }
  }
  std::ranges::sort(ids);
  const auto repeated = std::ranges::unique(ids);
  ids.erase(repeated.begin(), repeated.end());
  return ids;
}

}  // namespace winnow
