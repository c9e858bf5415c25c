#include "gpu/model/tokenizer.h"

#include <cstddef>
#include <limits>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "gpu/base/utf8.h"
#include "gpu/model/byte_level.h"
#include "gpu/model/byte_pair_merger.h"
#include "gpu/model/marker_finder.h"
#include "gpu/model/pre_tokenizer.h"
#include "gpu/model/text_digest.h"

namespace winnow {
namespace {

// Positions inside a piece are int32_t.
constexpr size_t kMaxTextBytes = std::numeric_limits<int32_t>::max();
constexpr size_t kMaxTokens = std::numeric_limits<int32_t>::max();

struct Token {
  std::string bytes;
  TokenKind kind;
};

class ByteLevelTokenizer final : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(std::unique_ptr<const PreTokenizer> pre_tokenizer)
      : pre_tokenizer_(std::move(pre_tokenizer)) {}

  // Fills the tables; called once, before the object is shared.
  absl::Status Init(const TokenizerSource& source);

  absl::StatusOr<TokenizedText> Encode(std::string_view text,
                                       SpecialTokens special) const override;
  std::string_view TokenBytes(int32_t id, bool with_special) const override;
  std::string Decode(std::span<const int32_t> ids,
                     bool with_special) const override;
  absl::StatusOr<int32_t> SpecialId(std::string_view marker) const override;

  int32_t vocabulary_size() const override {
    return static_cast<int32_t>(tokens_.size());
  }
  const std::array<uint8_t, 32>& digest() const override { return digest_; }

 private:
  // Buffers of one call of Encode.
  struct Scratch {
    std::vector<size_t> ends;
    BytePairMerger::Scratch merger;
  };

  absl::Status AddToken(std::string_view spelling, TokenKind kind);
  absl::Status AddMerge(std::string_view left, std::string_view right);
  // The id of a normal token of these bytes that merges can reach; -1: none.
  int32_t ReachableId(std::string_view bytes) const;
  // Whether a token that is not for user text is spelled so.
  bool IsSetApart(std::string_view spelling) const;
  absl::Status EncodePlain(std::string_view text, Scratch& scratch,
                           TokenizedText& result) const;

  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  std::vector<Token> tokens_;                              // by id
  absl::flat_hash_map<std::string, int32_t> reachable_;    // by bytes
  absl::flat_hash_map<std::string, TokenKind> set_apart_;  // by spelling
  absl::flat_hash_map<std::string, int32_t> special_;      // by marker
  MarkerFinder markers_;
  BytePairMerger merger_;
  std::array<uint8_t, 32> digest_{};
};

std::array<uint8_t, 32> DigestOf(const TokenizerSource& source,
                                 const PreTokenizer& pre_tokenizer) {
  TextDigest digest;
  digest.AddText("winnow tokenizer 1");
  digest.AddText(source.model);
  digest.AddText(pre_tokenizer.description());
  digest.AddNumber(source.tokens.size());
  for (size_t id = 0; id < source.tokens.size(); ++id) {
    digest.AddText(source.tokens[id]);
    digest.AddNumber(static_cast<uint64_t>(source.kinds[id]));
  }
  digest.AddNumber(source.merges.size());
  for (const auto& [left, right] : source.merges) {
    digest.AddText(left);
    digest.AddText(right);
  }
  return digest.Finish();
}

// For messages: no control characters, and not the whole of a long text.
std::string Quoted(std::string_view text) {
  constexpr size_t kShown = 40;
  return absl::StrCat("\"",
                      absl::CHexEscape(std::string(text.substr(0, kShown))),
                      text.size() > kShown ? "...\"" : "\"");
}

absl::Status ByteLevelTokenizer::Init(const TokenizerSource& source) {
  tokens_.reserve(source.tokens.size());
  reachable_.reserve(source.tokens.size());
  for (size_t id = 0; id < source.tokens.size(); ++id) {
    WINNOW_RETURN_IF_ERROR(AddToken(source.tokens[id], source.kinds[id]));
  }
  for (int byte = 0; byte < 256; ++byte) {
    const char character = static_cast<char>(byte);
    merger_.SetByte(static_cast<uint8_t>(byte),
                    ReachableId(std::string_view(&character, 1)));
  }
  for (const auto& [left, right] : source.merges) {
    WINNOW_RETURN_IF_ERROR(AddMerge(left, right));
  }
  digest_ = DigestOf(source, *pre_tokenizer_);
  return absl::OkStatus();
}

absl::Status ByteLevelTokenizer::AddToken(std::string_view spelling,
                                          TokenKind kind) {
  const auto id = static_cast<int32_t>(tokens_.size());
  if (kind != TokenKind::kNormal) {
    tokens_.push_back({std::string(spelling), kind});
    set_apart_.emplace(Absl(spelling), kind);
    if (kind == TokenKind::kUnused) {
      return absl::OkStatus();
    }
    // Text is cut at markers, and the parts must stay UTF-8.
    if (ValidateUtf8(spelling) != std::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat(
          "special token ", id, " ", Quoted(spelling), " is not UTF-8"));
    }
    if (!markers_.Add(spelling, id)) {
      return absl::InvalidArgumentError(
          absl::StrCat("special token ", id, " ", Quoted(spelling),
                       " is empty or there twice"));
    }
    special_.emplace(Absl(spelling), id);
    return absl::OkStatus();
  }
  std::optional<std::string> bytes = BytesOfSpelling(spelling);
  if (!bytes.has_value()) {
    // Some files list added tokens as normal ones: they decode as they are
    // spelled, and no merge of bytes can reach them.
    tokens_.push_back({std::string(spelling), kind});
    return absl::OkStatus();
  }
  if (!reachable_.emplace(*bytes, id).second) {
    return absl::InvalidArgumentError(
        absl::StrCat("token ", id, " ", Quoted(spelling), " is there twice"));
  }
  tokens_.push_back({*std::move(bytes), kind});
  return absl::OkStatus();
}

absl::Status ByteLevelTokenizer::AddMerge(std::string_view left,
                                          std::string_view right) {
  const std::string joined = absl::StrCat(Absl(left), Absl(right));
  int32_t ids[3] = {-1, -1, -1};
  int i = 0;
  for (const std::string_view spelling :
       {left, right, std::string_view(joined)}) {
    const std::optional<std::string> bytes = BytesOfSpelling(spelling);
    ids[i] = bytes.has_value() ? ReachableId(*bytes) : -1;
    if (ids[i] < 0 && !IsSetApart(spelling)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "merge of ", Quoted(left), " and ", Quoted(right), " needs a token ",
          Quoted(spelling), " that the vocabulary does not have"));
    }
    ++i;
  }
  if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0) {
    // A merge from or to a special token: plain text must not take it.
    return absl::OkStatus();
  }
  if (!merger_.AddMerge(ids[0], ids[1], ids[2])) {
    return absl::InvalidArgumentError(absl::StrCat(
        "merge of ", Quoted(left), " and ", Quoted(right), " is there twice"));
  }
  return absl::OkStatus();
}

int32_t ByteLevelTokenizer::ReachableId(std::string_view bytes) const {
  const auto found = reachable_.find(Absl(bytes));
  return found == reachable_.end() ? -1 : found->second;
}

bool ByteLevelTokenizer::IsSetApart(std::string_view spelling) const {
  return set_apart_.contains(Absl(spelling));
}

absl::StatusOr<TokenizedText> ByteLevelTokenizer::Encode(
    std::string_view text, SpecialTokens special) const {
  if (text.size() > kMaxTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("text has ", text.size(), " bytes; at most ",
                     kMaxTextBytes, " can be tokenised at once"));
  }
  const size_t invalid = ValidateUtf8(text);
  if (invalid != std::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("text is not valid UTF-8 at byte ", invalid));
  }
  TokenizedText result;
  Scratch scratch;
  if (special == SpecialTokens::kAsText) {
    WINNOW_RETURN_IF_ERROR(EncodePlain(text, scratch, result));
    return result;
  }
  for (size_t at = 0; at < text.size();) {
    const MarkerFinder::Found marker = markers_.Find(text, at);
    if (marker.begin == std::string_view::npos) {
      WINNOW_RETURN_IF_ERROR(EncodePlain(text.substr(at), scratch, result));
      break;
    }
    WINNOW_RETURN_IF_ERROR(
        EncodePlain(text.substr(at, marker.begin - at), scratch, result));
    result.ids.push_back(marker.id);
    at = marker.begin + marker.length;
  }
  return result;
}

absl::Status ByteLevelTokenizer::EncodePlain(std::string_view text,
                                             Scratch& scratch,
                                             TokenizedText& result) const {
  scratch.ends.clear();
  WINNOW_RETURN_IF_ERROR(pre_tokenizer_->Split(text, scratch.ends));
  size_t begin = 0;
  for (const size_t end : scratch.ends) {
    const std::string_view piece = text.substr(begin, end - begin);
    begin = end;
    if (pre_tokenizer_->whole_piece_first()) {
      if (const int32_t id = ReachableId(piece); id >= 0) {
        result.ids.push_back(id);
        continue;
      }
    }
    result.dropped_bytes += merger_.Merge(piece, scratch.merger, result.ids);
  }
  return absl::OkStatus();
}

std::string_view ByteLevelTokenizer::TokenBytes(int32_t id,
                                                bool with_special) const {
  if (id < 0 || id >= vocabulary_size()) {
    return {};
  }
  const Token& token = tokens_[static_cast<size_t>(id)];
  if (token.kind != TokenKind::kNormal && !with_special) {
    return {};
  }
  return token.bytes;
}

std::string ByteLevelTokenizer::Decode(std::span<const int32_t> ids,
                                       bool with_special) const {
  std::string text;
  for (const int32_t id : ids) {
    text.append(TokenBytes(id, with_special));
  }
  return text;
}

absl::StatusOr<int32_t> ByteLevelTokenizer::SpecialId(
    std::string_view marker) const {
  const auto found = special_.find(Absl(marker));
  if (found == special_.end()) {
    return absl::NotFoundError(
        absl::StrCat("the vocabulary has no special token ", Quoted(marker)));
  }
  return found->second;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Create(
    const TokenizerSource& source) {
  if (source.model != "bpe") {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer model ", Quoted(source.model),
                     " is not known; known is \"bpe\" (byte-level BPE)"));
  }
  if (source.tokens.empty() || source.tokens.size() > kMaxTokens ||
      source.kinds.size() != source.tokens.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocabulary of ", source.tokens.size(), " tokens and ",
                     source.kinds.size(), " token kinds"));
  }
  WINNOW_ASSIGN_OR_RETURN(auto pre_tokenizer,
                          PreTokenizer::Create(source.pre_tokenizer));
  auto tokenizer =
      std::make_unique<ByteLevelTokenizer>(std::move(pre_tokenizer));
  WINNOW_RETURN_IF_ERROR(tokenizer->Init(source));
  return tokenizer;
}

}  // namespace winnow
