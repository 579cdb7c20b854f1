#include "engine/cli/help_text.h"

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kHelpColumns = 80;

class HelpFormatter : public CLI::Formatter {
 public:
  // What comes behind a command's own options.
  std::string make_subcommands(CLI::App const* app, CLI::AppFormatMode mode) const override {
    std::string text = CLI::Formatter::make_subcommands(app, mode);
    auto const* const program = app->get_parent();
    if (program == nullptr || mode != CLI::AppFormatMode::Normal) return text;
    auto const options = program->get_options([app](CLI::Option const* option) {
      auto const& names = option->get_lnames();
      // A command may have an option of the same name, which then counts.
      return !names.empty() && app->get_option_no_throw("--" + names.front()) == nullptr && names.front() != "version";
    });
    return text + make_group("Options of all commands", false, options);
  }

  std::string make_option_opts(CLI::Option const* option) const override {
    // The variable stands behind the description.
    std::string text = CLI::Formatter::make_option_opts(option);
    std::string const variable = " (" + get_label("Env") + ":" + option->get_envname() + ")";
    auto const at = text.find(variable);
    if (at != std::string::npos) text.erase(at, variable.size());
    return text;
  }

  std::string make_option_desc(CLI::Option const* option) const override {
    std::string const text = option->get_description();
    if (option->get_envname().empty()) return text;
    std::string const variable = "[" + option->get_envname() + "]";
    bool const has_room = get_column_width() + text.size() + 1 + variable.size() <= kHelpColumns;
    return text + (has_room ? " " : "\n") + variable;
  }
};

}  // namespace

std::shared_ptr<CLI::FormatterBase> help_formatter() {
  return std::make_shared<HelpFormatter>();
}

std::string help_of(CLI::App const& app) {
  auto const* const program = app.get_parent();
  std::string const name = program == nullptr ? app.get_name() : program->get_name() + " " + app.get_name();
  return app.get_formatter()->make_help(&app, name, CLI::AppFormatMode::Normal);
}

}  // namespace pgbackfill::engine
