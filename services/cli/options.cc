#include "services/cli/options.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/str_cat.h"

#include "cache_store/store/arena.h"
#include "gpu/base/absl_string.h"
#include "gpu/base/status.h"
#include "gpu/base/utf8.h"
#include "services/common/units.h"
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

namespace winnow {
namespace {

absl::Status CheckText(std::string_view name, std::string_view text) {
  const size_t invalid = ValidateUtf8(text);
  if (invalid == std::string_view::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(Absl(name), " is not valid UTF-8 at byte ", invalid,
                   "; convert it to UTF-8"));
}

std::vector<std::string> CpuLevelNames() {
  std::vector<std::string> names;
  for (const CpuLevel level : kCpuLevels) {
    names.emplace_back(CpuLevelName(level));
  }
  return names;
}

// Of a name that was checked; the highest for none.
CpuLevel CpuLevelOf(std::string_view name) {
  const auto* const found = std::ranges::find(kCpuLevels, name, CpuLevelName);
  return found != std::end(kCpuLevels) ? *found : CpuLevel::kAmx;
}

}  // namespace

void ModelFlags::AddTo(CLI::App& command) {
  command.add_option("--model", model, "GGUF file or Hugging Face folder")
      ->required()
      ->type_name("PATH");
  command
      .add_option("--profile", profile,
                  "head profile; default: the built-in one of the model")
      ->type_name("FILE");
  command
      .add_option("--numerics", numerics,
                  "fast (bfloat16 and 15-bit integer products) or float32")
      ->check(CLI::IsMember({"fast", "float32"}))
      ->capture_default_str();
  command
      .add_option("--cpu-level", cpu_level,
                  "highest instruction set to use; default: this CPU's best")
      ->check(CLI::IsMember(CpuLevelNames()));
  command.add_option("--kv-dtype", kv_dtype, "type of the cache: bf16 or f32")
      ->check(CLI::IsMember({"bf16", "f32"}))
      ->capture_default_str();
  command
      .add_option("--threads", threads,
                  "compute threads; default: the cores this process may use")
      ->check(CLI::Range(0, 1024))
      ->type_name("N");
  command
      .add_option("--store-size", store_size,
                  "ceiling of the embedded store's memory")
      ->capture_default_str()
      ->type_name("SIZE");
}

absl::StatusOr<EngineOptions> ModelFlags::Parse() const {
  WINNOW_ASSIGN_OR_RETURN(uint64_t bytes, ParseByteSize(store_size));
  bytes -= bytes % kArenaAlignment;
  if (bytes == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--store-size ", store_size, " is less than ",
                     kArenaAlignment, " bytes; give a size such as 1GiB"));
  }
  return EngineOptions{
      .model_path = model,
      .profile_path = profile,
      .numerics = numerics == "float32" ? Numerics::kFloat32 : Numerics::kFast,
      .cpu_level = CpuLevelOf(cpu_level),
      .dtype = kv_dtype == "f32" ? KvDtype::kFloat32 : KvDtype::kBfloat16,
      .num_threads = threads,
      .store_bytes = bytes};
}

void PromptFlags::AddTo(CLI::App& command) {
  command.add_option("--system", system, "system message")->type_name("TEXT");
  command
      .add_option("--context-file", context_file,
                  "document before the prompt; its cache is made before the "
                  "prompt is known")
      ->type_name("FILE");
  auto* text = command.add_option("--prompt", prompt, "prompt or question")
                   ->type_name("TEXT");
  command.add_option("--prompt-file", prompt_file, "prompt from a file")
      ->type_name("FILE")
      ->excludes(text);
  command.add_flag("--raw", raw,
                   "no chat template; markers in the text are special tokens");
  command
      .add_option("--policy", policy,
                  "full, razor or streaming, with parameters: "
                  "razor,window=256,echo=off")
      ->capture_default_str()
      ->type_name("POLICY");
}

absl::StatusOr<PromptText> PromptFlags::ReadText() const {
  PromptText text{.system = system,
                  .context = "",
                  .prompt = prompt,
                  .messages = {},
                  .raw = raw};
  if (!context_file.empty()) {
    WINNOW_ASSIGN_OR_RETURN(text.context,
                            ReadTextFile(context_file, kMaxPromptBytes));
  }
  if (!prompt_file.empty()) {
    WINNOW_ASSIGN_OR_RETURN(text.prompt,
                            ReadTextFile(prompt_file, kMaxPromptBytes));
  }
  WINNOW_RETURN_IF_ERROR(CheckText("--system", text.system));
  WINNOW_RETURN_IF_ERROR(CheckText(
      context_file.empty() ? "the context" : context_file, text.context));
  WINNOW_RETURN_IF_ERROR(
      CheckText(prompt_file.empty() ? "--prompt" : prompt_file, text.prompt));
  return text;
}

void SamplingFlags::AddTo(CLI::App& command) {
  command.add_option("--max-tokens", max_tokens, "most tokens to generate")
      ->capture_default_str()
      ->type_name("N");
  command
      .add_option("--temperature", parameters.temperature,
                  "0: always the likeliest token")
      ->capture_default_str();
  command.add_option("--top-k", parameters.top_k, "0: all")
      ->capture_default_str();
  command.add_option("--top-p", parameters.top_p)->capture_default_str();
  command.add_option("--min-p", parameters.min_p)->capture_default_str();
  command.add_option("--repetition-penalty", parameters.repetition_penalty)
      ->capture_default_str();
  command.add_option("--seed", parameters.seed)->capture_default_str();
  command.add_flag("--ignore-eos", ignore_eos,
                   "go on after the end-of-text token");
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path,
                                         size_t limit) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is a folder; give a file"));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        absl::StrCat("cannot read ", path, "; see whether it is there"));
  }
  std::string text;
  char buffer[65536];
  while (file.read(buffer, sizeof(buffer)) || file.gcount() > 0) {
    text.append(buffer, file.gcount());
    if (text.size() > limit) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is larger than the limit of ", limit, " bytes"));
    }
  }
  return text;
}

}  // namespace winnow
