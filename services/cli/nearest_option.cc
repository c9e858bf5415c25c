#include "services/cli/nearest_option.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "services/common/nearest_word.h"

namespace winnow {
namespace {

constexpr size_t kMaxWord = 64;  // of a word that is quoted

std::vector<std::string> OptionNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      names.push_back(absl::StrCat("--", name));
    }
  }
  return names;
}

std::vector<std::string> CommandNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* subcommand : command.get_subcommands({})) {
    names.push_back(subcommand->get_name());
  }
  return names;
}

// Words that lead to `command`, each with a space after it.
std::string CommandPath(const CLI::App& command) {
  const CLI::App* parent = command.get_parent();
  return parent == nullptr
             ? ""
             : absl::StrCat(CommandPath(*parent), command.get_name(), " ");
}

// What stands in the way: the subcommand that was meant, and the first word
// that is not known there.
struct UnknownWord {
  const CLI::App* command;
  std::string word;  // empty: all are known
  std::vector<std::string> known;
};

UnknownWord FindUnknownWord(const CLI::App& app,
                            const std::vector<std::string>& arguments) {
  const CLI::App* command = &app;
  for (const std::string& argument : arguments) {
    const bool is_option = argument.starts_with("--");
    std::vector<std::string> commands = CommandNames(*command);
    if (!is_option && !commands.empty()) {
      if (std::ranges::find(commands, argument) == commands.end()) {
        return {command, argument, std::move(commands)};
      }
      command = command->get_subcommand(argument);
      continue;
    }
    const std::string name = argument.substr(0, argument.find('='));
    std::vector<std::string> known = OptionNames(*command);
    if (is_option && std::ranges::find(known, name) == known.end()) {
      return {command, name, std::move(known)};
    }
  }
  return {command, "", {}};
}

}  // namespace

std::string ExplainUsage(const CLI::App& app, const std::string& message,
                         const std::vector<std::string>& arguments) {
  const UnknownWord unknown = FindUnknownWord(app, arguments);
  const std::string& word = unknown.word;
  std::string line = message;
  if (!word.empty()) {
    // The parser names what it did not expect in no helpful order, or not at
    // all.
    line = absl::StrCat(
        word.starts_with("--") ? "unknown option " : "unknown command ",
        absl::CHexEscape(word.substr(0, kMaxWord)));
    const std::string nearest = NearestWord(word, unknown.known);
    if (!nearest.empty()) {
      absl::StrAppend(&line, ". Did you mean ", nearest, "?");
    }
  }
  std::ranges::replace(line, '\n', ' ');
  return absl::StrCat(line,
                      line.ends_with('?') ? " See `winnow " : "; see `winnow ",
                      CommandPath(*unknown.command), "--help`");
}

}  // namespace winnow
