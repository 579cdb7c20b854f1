// How --help looks: CLI11's, with the variable of each option, and for a command with the options that all have.
#pragma once

#include <memory>
#include <string>

namespace CLI {
class App;
class FormatterBase;
}  // namespace CLI

namespace pgbackfill::engine {

std::shared_ptr<CLI::FormatterBase> help_formatter();

// The text of a command, or of the program.
std::string help_of(CLI::App const& app);

}  // namespace pgbackfill::engine
