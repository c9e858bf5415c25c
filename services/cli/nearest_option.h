#pragma once

#include <string>
#include <vector>

#include <CLI/App.hpp>

namespace winnow {

// One line about a command line that did not parse: `message`, the parser's;
// "Did you mean --policy?" for the first option or subcommand that `app` does
// not know, if another is near; and whose --help to read.
std::string ExplainUsage(const CLI::App& app, const std::string& message,
                         const std::vector<std::string>& arguments);

}  // namespace winnow
