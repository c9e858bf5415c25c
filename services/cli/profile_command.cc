#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"

#include "cache_store/plan/head_profile.h"
#include "gpu/base/status.h"
#include "gpu/cpu/cpu_backend.h"
#include "gpu/model/head_scoring.h"
#include "services/cli/commands.h"
#include "services/cli/engine.h"
#include "services/cli/ids_file.h"
#include "services/cli/options.h"
#include "services/cli/progress.h"

namespace winnow {
namespace {

struct ProfileFlags {
  std::string model;
  std::string out;
  std::string ids_file;
  int block = 0;
  int repeats = kDefaultCalibrationRepeats;
  uint64_t seed = 0;
  int threads = 0;
  HeadSelectionRule rule;
};

absl::StatusOr<CalibrationText> ReadCalibrationText(const Model& model,
                                                    const ProfileFlags& flags) {
  const int block = flags.block > 0
                        ? flags.block
                        : DefaultCalibrationBlock(model.config().context_limit);
  if (flags.ids_file.empty()) {
    return MakeCalibrationText(model, block, flags.repeats, flags.seed);
  }
  CalibrationText text{.ids = {}, .block = block, .repeats = flags.repeats};
  WINNOW_ASSIGN_OR_RETURN(text.ids, ReadIdsFile(flags.ids_file));
  return text;
}

absl::StatusOr<HeadProfile> MakeProfile(const Model& model,
                                        const CalibrationText& text,
                                        const HeadScoreTable& scores,
                                        const ProfileFlags& flags) {
  const ModelConfig& config = model.config();
  HeadProfile profile;
  WINNOW_ASSIGN_OR_RETURN(profile.model_digest, model.Digest());
  profile.model_name = config.name;
  profile.num_layers = config.num_layers;
  profile.num_heads = config.num_heads;
  profile.num_kv_heads = config.num_kv_heads;
  for (size_t i = 0; i < scores.echo.size(); ++i) {
    profile.scores.push_back(
        {.echo = scores.echo[i], .induction = scores.induction[i]});
  }
  profile.rule = flags.rule;
  profile.retrieval =
      SelectRetrievalHeads(profile.scores, config.num_layers, config.num_heads,
                           config.num_kv_heads, profile.rule);
  profile.weights.assign(profile.retrieval.size(), 1.0f);
  profile.calibration_block = text.block;
  profile.calibration_repeats = text.repeats;
  profile.calibration_ids = text.ids;
  profile.calibration_seed = flags.seed;
  return profile;
}

absl::Status WriteTextFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  return file ? absl::OkStatus()
              : absl::NotFoundError(absl::StrCat("cannot write ", path));
}

// Scoring takes a while; a folder that is not there is told before.
absl::Status CheckFolderOf(const std::string& path) {
  const auto folder = std::filesystem::absolute(path).parent_path();
  std::error_code error;
  if (std::filesystem::is_directory(folder, error)) {
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("cannot write ", path,
                                          ": there is no folder ",
                                          folder.string(), "; make it first"));
}

absl::Status RunProfile(const ProfileFlags& flags) {
  WINNOW_RETURN_IF_ERROR(CheckFolderOf(flags.out));
  WINNOW_ASSIGN_OR_RETURN(const auto model, OpenModel(flags.model));
  WINNOW_ASSIGN_OR_RETURN(const CalibrationText text,
                          ReadCalibrationText(*model, flags));
  WINNOW_ASSIGN_OR_RETURN(const auto backend,
                          CreateCpuBackend({.numerics = Numerics::kFloat32,
                                            .num_threads = flags.threads}));
  Progress progress;
  progress.Show(
      absl::StrCat("Scoring heads on ", text.ids.size(), " tokens ..."));
  WINNOW_ASSIGN_OR_RETURN(const HeadScoreTable scores,
                          ScoreHeads(*backend, *model, text));
  WINNOW_ASSIGN_OR_RETURN(const HeadProfile profile,
                          MakeProfile(*model, text, scores, flags));
  WINNOW_RETURN_IF_ERROR(WriteTextFile(flags.out, FormatHeadProfile(profile)));
  progress.Clear();
  std::cout << std::ranges::count(profile.retrieval, true) << " of "
            << profile.retrieval.size() << " KV heads are retrieval heads; "
            << "written to " << flags.out << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddProfileCommand(CLI::App& app, absl::Status& status) {
  auto* command = app.add_subcommand(
      "profile", "Find the retrieval heads of a model (float32)");
  const auto flags = std::make_shared<ProfileFlags>();
  command->add_option("--model", flags->model, "GGUF file or folder")
      ->required()
      ->type_name("PATH");
  command->add_option("--out", flags->out, "where the profile goes")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--block", flags->block,
                   "distinct random tokens; default 500, or 2500 for "
                   "contexts beyond 16,384")
      ->check(CLI::Range(2, 1 << 20));
  command->add_option("--repeats", flags->repeats)->capture_default_str();
  command->add_option("--seed", flags->seed)->capture_default_str();
  command
      ->add_option("--ids-file", flags->ids_file,
                   "calibration ids instead: a JSON array, or an object with "
                   "the member \"ids\"")
      ->type_name("FILE");
  command->add_option("--induction-share", flags->rule.induction_share)
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--echo-share", flags->rule.echo_share)
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--echo-min", flags->rule.echo_min)
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  command->add_option("--threads", flags->threads)->check(CLI::Range(0, 1024));
  command->footer(
      "Example:\n"
      "  winnow profile --model M.gguf --out M.profile.json\n"
      "  winnow generate --model M.gguf --profile M.profile.json --prompt Hi");
  command->callback([flags, &status] { status = RunProfile(*flags); });
}

}  // namespace winnow
