#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

#include "services/cli/engine.h"
#include "services/gateway/generation.h"
#include <CLI/App.hpp>

namespace winnow {

// Options that several subcommands share, as they stand on the command line.

struct ModelFlags {
  std::string model;
  std::string profile;
  std::string numerics = "fast";
  std::string cpu_level;
  std::string kv_dtype = "bf16";
  int threads = 0;
  std::string store_size = "1GiB";

  void AddTo(CLI::App& command);
  absl::StatusOr<EngineOptions> Parse() const;
};

struct PromptFlags {
  std::string system;
  std::string context_file;
  std::string prompt;
  std::string prompt_file;
  bool raw = false;
  std::string policy = "razor";

  void AddTo(CLI::App& command);
  // Reads the files; each at most kMaxPromptBytes.  InvalidArgument says which
  // text is not UTF-8, and where.
  absl::StatusOr<PromptText> ReadText() const;
};

struct SamplingFlags {
  SamplingParameters parameters;
  int64_t max_tokens = 256;
  bool ignore_eos = false;

  void AddTo(CLI::App& command);
};

// A whole file, at most `limit` bytes.  NotFound, or InvalidArgument if it is
// larger or a folder.
absl::StatusOr<std::string> ReadTextFile(const std::string& path, size_t limit);

}  // namespace winnow
