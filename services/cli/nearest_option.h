#pragma once

#include <string>
#include <vector>

#include <CLI/App.hpp>

namespace winnow {

// For a command line that did not parse: " Did you mean --policy?" for the
// first option or subcommand that `app` does not know, or nothing.
std::string SuggestNearest(const CLI::App& app,
                           const std::vector<std::string>& arguments);

}  // namespace winnow
