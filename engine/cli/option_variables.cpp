#include "engine/cli/option_variables.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

namespace pgbackfill::engine {

namespace {

// Beginnings of names; the whole of most.
constexpr std::array<std::string_view, 13> kWithout = {"abort",     "accept-", "help",  "phase", "release",
                                                       "repair",    "restart", "retry", "skip-", "subscribers-ready",
                                                       "terminate", "version", "yes"};
// `rollback --to`, values of one file; and the two that are read where they are used, because they are known beyond the
// command line.
constexpr std::array<std::string_view, 4> kWithoutWhole = {"to", "param", "dsn", "pg-bin"};

bool has_variable(std::string_view name) {
  auto const begins = [name](std::string_view start) { return name.starts_with(start); };
  bool const is_without = std::any_of(kWithout.begin(), kWithout.end(), begins);
  return !is_without && std::find(kWithoutWhole.begin(), kWithoutWhole.end(), name) == kWithoutWhole.end();
}

std::string variable_of(std::string const& name) {
  std::string variable = "PGBACKFILL_";
  for (char const letter : name) {
    variable += letter == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  }
  return variable;
}

// A slice of a run is asked for by whoever looks at it, and never by what stands in the environment for `log`.
bool is_of_slice(CLI::App const& app, std::string_view name) {
  return app.get_name() == "run" && (name == "limit" || name == "dry-run");
}

}  // namespace

void add_variables(CLI::App& app) {
  for (auto* option : app.get_options()) {
    if (option->get_lnames().empty()) continue;
    auto const& name = option->get_lnames().front();
    if (!has_variable(name) || is_of_slice(app, name)) continue;
    // Words that other commands would refuse: PGBACKFILL_LINT_FORMAT=sarif.
    bool const is_shadowing =
        app.get_parent() != nullptr && app.get_parent()->get_option_no_throw("--" + name) != nullptr;
    option->envname(variable_of(is_shadowing ? app.get_name() + "-" + name : name));
  }
}

std::string variable_in_use(CLI::Option const& option, std::vector<std::string> const& words) {
  auto const variable = option.get_envname();
  char const* const value = variable.empty() ? nullptr : std::getenv(variable.c_str());
  if (value == nullptr || *value == '\0') return "";
  for (auto const& name : option.get_lnames()) {
    bool const is_given = std::any_of(words.begin(), words.end(), [&](std::string const& word) {
      return word == "--" + name || word.starts_with("--" + name + "=");
    });
    if (is_given) return "";
  }
  return variable;
}

}  // namespace pgbackfill::engine
