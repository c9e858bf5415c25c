#include "gpu/model/pre_tokenizer.h"

#include <array>
#include <cstdint>
#include <optional>
#include <utility>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "gpu/base/status.h"

namespace winnow {
namespace {

// Unicode's White_Space.  PCRE2's own \s with UCP also has U+180E, which
// Hugging Face's tokenizers do not.
#define WINNOW_SPACE_EXCEPT_NEWLINE                                       \
  "\\t\\x0B\\x0C\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}" \
  "\\x{2029}\\x{202F}\\x{205F}\\x{3000}"
#define WINNOW_SPACE WINNOW_SPACE_EXCEPT_NEWLINE "\\r\\n"

// The expressions as published, but written so that every alternative runs
// over its text once: possessive where giving back cannot help, and
// \s*[\r\n]+ as runs that each end in a newline.
//
// smollm: Hugging Face splits single digits off first and gives the rest to
// GPT-2's expression.  In one expression a digit therefore counts as the end
// of the text to the spaces before it.
constexpr char kSmolLm[] =
    "'(?:[stmd]|re|ve|ll)|\\p{N}|\\x20?\\p{L}++"
    "|\\x20?[^" WINNOW_SPACE
    "\\p{L}\\p{N}]++"
    "|[" WINNOW_SPACE "]+(?![^" WINNOW_SPACE "\\p{N}])|[" WINNOW_SPACE "]++";

constexpr char kGpt2[] =
    "'(?:[stmd]|re|ve|ll)|\\x20?\\p{L}++|\\x20?\\p{N}++"
    "|\\x20?[^" WINNOW_SPACE
    "\\p{L}\\p{N}]++"
    "|[" WINNOW_SPACE "]+(?![^" WINNOW_SPACE "])|[" WINNOW_SPACE "]++";

#define WINNOW_NEWLINES_AND_SPACES    \
  "|\\x20?[^" WINNOW_SPACE            \
  "\\p{L}\\p{N}]++[\\r\\n]*+"         \
  "|(?:[" WINNOW_SPACE_EXCEPT_NEWLINE \
  "]*+[\\r\\n]++)++"                  \
  "|[" WINNOW_SPACE "]+(?![^" WINNOW_SPACE "])|[" WINNOW_SPACE "]++"

constexpr char kLlama3[] =
    "(?i:'(?:[stmd]|re|ve|ll))|[^\\r\\n\\p{L}\\p{N}]?\\p{L}++"
    "|\\p{N}{1,3}+" WINNOW_NEWLINES_AND_SPACES;

constexpr char kQwen2[] =
    "(?i:'(?:[stmd]|re|ve|ll))|[^\\r\\n\\p{L}\\p{N}]?\\p{L}++"
    "|\\p{N}" WINNOW_NEWLINES_AND_SPACES;

#undef WINNOW_NEWLINES_AND_SPACES
#undef WINNOW_SPACE
#undef WINNOW_SPACE_EXCEPT_NEWLINE

struct Rule {
  const char* name;      // as GGUF has it
  const char* identity;  // equal for names of the same rule
  const char* expression;
  bool whole_piece_first;
};

constexpr std::array kRules = {
    Rule{"smollm", "smollm", kSmolLm, false},
    Rule{"gpt-2", "gpt-2", kGpt2, false},
    Rule{"default", "gpt-2", kGpt2, false},
    Rule{"llama-bpe", "llama-bpe", kLlama3, true},
    Rule{"qwen2", "qwen2", kQwen2, false},
};

// The expressions are linear, so one match of a text of the largest size
// stays far below these; they bound a mistake, not a text.
constexpr uint32_t kMatchLimit = 0x7FFFFFFF;
constexpr uint32_t kDepthLimit = 1000;
constexpr uint32_t kHeapLimitKib = 1024;

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* pointer) const {
    kFree(pointer);
  }
};
using Code = std::unique_ptr<pcre2_code, Freer<pcre2_code_free>>;
using MatchData =
    std::unique_ptr<pcre2_match_data, Freer<pcre2_match_data_free>>;
using MatchContext =
    std::unique_ptr<pcre2_match_context, Freer<pcre2_match_context_free>>;

std::string Pcre2Message(int code) {
  std::array<PCRE2_UCHAR, 256> buffer{};
  pcre2_get_error_message(code, buffer.data(), buffer.size());
  return reinterpret_cast<const char*>(buffer.data());
}

std::string UnicodeVersion() {
  std::array<char, 64> version{};
  pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, version.data());
  return version.data();
}

class Pcre2PreTokenizer final : public PreTokenizer {
 public:
  Pcre2PreTokenizer(const Rule& rule, Code code, MatchContext context)
      : rule_(rule), code_(std::move(code)), context_(std::move(context)) {}

  absl::Status Split(std::string_view text,
                     std::vector<size_t>& ends) const override {
    const MatchData match(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    if (match == nullptr) {
      return absl::ResourceExhaustedError("no memory to split text");
    }
    const auto* const subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    const size_t* const span = pcre2_get_ovector_pointer(match.get());
    for (size_t at = 0; at < text.size();) {
      const int found =
          pcre2_match(code_.get(), subject, text.size(), at, PCRE2_NO_UTF_CHECK,
                      match.get(), context_.get());
      // Each character begins some alternative, so a match begins at `at`.
      if (found < 0 || span[0] != at || span[1] <= at) {
        return absl::InternalError(absl::StrCat("pre-tokenizer \"", rule_.name,
                                                "\" stopped at byte ", at, ": ",
                                                Pcre2Message(found)));
      }
      at = span[1];
      ends.push_back(at);
    }
    return absl::OkStatus();
  }

  bool whole_piece_first() const override { return rule_.whole_piece_first; }
  std::string description() const override {
    return absl::StrCat(rule_.identity, " unicode=", UnicodeVersion());
  }

 private:
  const Rule& rule_;
  const Code code_;
  const MatchContext context_;
};

absl::StatusOr<Code> Compile(const Rule& rule) {
  int error = 0;
  size_t offset = 0;
  // Anchored is an option of the expression here: as one of pcre2_match it
  // would bypass the JIT.
  Code code(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(rule.expression), PCRE2_ZERO_TERMINATED,
      PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &offset, nullptr));
  if (code == nullptr) {
    return absl::InternalError(absl::StrCat("pre-tokenizer \"", rule.name,
                                            "\" at ", offset, ": ",
                                            Pcre2Message(error)));
  }
  // Where the JIT is missing or forbidden the interpreter gives the same
  // matches, so that is no error.
  (void)pcre2_jit_compile(code.get(), PCRE2_JIT_COMPLETE);
  return code;
}

}  // namespace

absl::StatusOr<std::unique_ptr<const PreTokenizer>> PreTokenizer::Create(
    std::string_view name) {
  for (const Rule& rule : kRules) {
    if (name != rule.name) {
      continue;
    }
    WINNOW_ASSIGN_OR_RETURN(Code code, Compile(rule));
    MatchContext context(pcre2_match_context_create(nullptr));
    if (context == nullptr) {
      return absl::ResourceExhaustedError("no memory for a pre-tokenizer");
    }
    pcre2_set_match_limit(context.get(), kMatchLimit);
    pcre2_set_depth_limit(context.get(), kDepthLimit);
    pcre2_set_heap_limit(context.get(), kHeapLimitKib);
    return std::make_unique<const Pcre2PreTokenizer>(rule, std::move(code),
                                                     std::move(context));
  }
  return absl::UnimplementedError(absl::StrCat(
      "pre-tokenizer \"", std::string(name), "\" is not known; known are ",
      absl::StrJoin(kRules, ", ", [](std::string* out, const Rule& rule) {
        absl::StrAppend(out, "\"", rule.name, "\"");
      })));
}

}  // namespace winnow
