#include "services/cli/nearest_option.h"

#include <algorithm>
#include <string_view>

#include "absl/strings/str_cat.h"

#include "gpu/base/edit_distance.h"

namespace winnow {
namespace {

std::vector<std::string> OptionNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back(absl::StrCat("--", name));
    }
  }
  return names;
}

std::string Nearest(std::string_view word,
                    const std::vector<std::string>& names) {
  size_t best = std::max<size_t>(2, word.size() / 3) + 1;
  std::string nearest;
  for (const std::string& name : names) {
    const size_t distance = EditDistance(word, name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace

std::string SuggestNearest(const CLI::App& app,
                           const std::vector<std::string>& arguments) {
  const CLI::App* command = &app;
  std::vector<std::string> commands;
  for (const CLI::App* subcommand : app.get_subcommands({})) {
    commands.push_back(subcommand->get_name());
  }
  for (const std::string& argument : arguments) {
    const bool is_option = argument.starts_with("--");
    if (!is_option && command == &app) {
      if (std::ranges::find(commands, argument) == commands.end()) {
        const std::string nearest = Nearest(argument, commands);
        return nearest.empty() ? ""
                               : absl::StrCat(". Did you mean ", nearest, "?");
      }
      command = app.get_subcommand(argument);
      continue;
    }
    const std::string name = argument.substr(0, argument.find('='));
    const std::vector<std::string> known = OptionNames(*command);
    if (is_option && std::ranges::find(known, name) == known.end()) {
      const std::string nearest = Nearest(name, known);
      return nearest.empty() ? ""
                             : absl::StrCat(". Did you mean ", nearest, "?");
    }
  }
  return "";
}

}  // namespace winnow
