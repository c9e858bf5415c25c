#include <filesystem>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"

#include "cache_store/plan/head_profile.h"
#include "gpu/base/sha256.h"
#include "gpu/base/status.h"
#include "gpu/model/cache_folder.h"
#include "gpu/model/model.h"
#include "services/cli/commands.h"
#include "services/cli/engine.h"
#include "services/cli/output.h"

namespace winnow {
namespace {

struct ModelsFlags {
  std::vector<std::string> paths;
  bool json = false;
};

std::string_view FamilyName(ModelFamily family) {
  switch (family) {
    case ModelFamily::kLlama:
      return "llama";
    case ModelFamily::kQwen2:
      return "qwen2";
    case ModelFamily::kQwen3:
      return "qwen3";
  }
  return "unknown";
}

// Model files below a folder, or the path itself.
std::vector<std::string> FindModels(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  const bool is_folder = fs::is_directory(path, error);
  if (!is_folder || fs::exists(fs::path(path) / "config.json", error)) {
    return {path};
  }
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    const bool is_model = entry.path().extension() == ".gguf" ||
                          fs::exists(entry.path() / "config.json", error);
    if (is_model) {
      found.push_back(entry.path().string());
    }
  }
  std::ranges::sort(found);
  return found;
}

absl::StatusOr<Json> DescribeModel(const std::string& path) {
  WINNOW_ASSIGN_OR_RETURN(const auto model, OpenModel(path));
  WINNOW_ASSIGN_OR_RETURN(const Sha256Digest digest, model->Digest());
  const ModelConfig& config = model->config();
  Json json;
  json["path"] = path;
  json["name"] = config.name;
  json["family"] = FamilyName(config.family);
  json["layers"] = config.num_layers;
  json["query_heads"] = config.num_heads;
  json["kv_heads"] = config.num_kv_heads;
  json["head_dim"] = config.head_dim;
  json["vocabulary"] = config.vocabulary;
  json["context_limit"] = config.context_limit;
  json["kv_bytes_per_token"] = config.KvBytesPerToken(KvDtype::kBfloat16);
  json["profile"] = FindBuiltInProfile(digest).ok() ? "built-in" : "none";
  json["digest"] = ToHex(digest);
  return json;
}

void PrintModel(const Json& json) {
  std::cout << json["path"].get<std::string>() << "\n  "
            << json["name"].get<std::string>() << " ("
            << json["family"].get<std::string>() << "), " << json["layers"]
            << " layers, " << json["query_heads"] << " query and "
            << json["kv_heads"] << " KV heads of " << json["head_dim"]
            << ", context " << json["context_limit"] << ", "
            << json["kv_bytes_per_token"] << " KV bytes a token, head profile: "
            << json["profile"].get<std::string>() << "\n";
}

absl::Status RunModels(const ModelsFlags& flags) {
  std::vector<std::string> paths = flags.paths;
  if (paths.empty()) {
    paths.push_back(CacheFolder() + "/models");
  }
  Json all = Json::array();
  for (const std::string& path : paths) {
    for (const std::string& file : FindModels(path)) {
      auto json = DescribeModel(file);
      if (json.ok()) {
        all.push_back(*std::move(json));
      } else if (file == path) {
        return json.status();
      } else {  // one damaged file does not hide the others of its folder
        std::cerr << "winnow: note: skipped " << json.status().message()
                  << "\n";
      }
    }
  }
  if (flags.json) {
    std::cout << Dump(all) << "\n";
    return absl::OkStatus();
  }
  for (const Json& json : all) {
    PrintModel(json);
  }
  if (all.empty()) {
    std::cout << "No models found; give a GGUF file or a folder.\n";
  }
  return absl::OkStatus();
}

}  // namespace

void AddModelsCommand(CLI::App& app, absl::Status& status) {
  auto* command = app.add_subcommand(
      "models", "Describe model files (default: the cache folder's)");
  const auto flags = std::make_shared<ModelsFlags>();
  command->add_option("paths", flags->paths, "GGUF files or folders");
  command->add_flag("--json", flags->json, "print a JSON array");
  command->footer(
      "Examples:\n"
      "  winnow models\n"
      "  winnow models M.gguf --json");
  command->callback([flags, &status] { status = RunModels(*flags); });
}

}  // namespace winnow
