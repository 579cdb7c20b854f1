// lint: what migrations would do to a live database, from their text alone.

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "engine/base/command_error.h"
#include "engine/cli/commands.h"
#include "engine/process/config_search.h"
#include "engine/view/console.h"
#include "engine/view/lint_report.h"
#include "engine/view/safe_output.h"
#include "planner/file/file_order.h"
#include "planner/file/migration_file.h"
#include "planner/sql/sql_script.h"

namespace pgbackfill::engine {

namespace {

namespace fs = std::filesystem;
namespace lint = planner::lint;

constexpr std::size_t kMaxFiles = 20'000;
constexpr char kStandardInput[] = "-";

bool is_yaml(fs::path const& path) {
  return path.extension() == ".yaml" || path.extension() == ".yml";
}

// The ways back that other tools keep beside their migrations are not run: 7_a.down.sql, 7_a/down.sql, U7__a.sql.
bool is_way_back(std::string const& name) {
  bool const is_undo_of_flyway =
      name.size() > 1 && name[0] == 'U' && name[1] >= '0' && name[1] <= '9' && name.find("__") != std::string::npos;
  return name == "down.sql" || name.ends_with(".down.sql") || name.ends_with("_down.sql") ||
         name.ends_with(".undo.sql") || is_undo_of_flyway;
}

bool is_migration(fs::path const& path) {
  auto const name = path.filename().string();
  if (name.starts_with('.')) return false;
  return (is_yaml(path) && !is_config_name(name)) || (path.extension() == ".sql" && !is_way_back(name));
}

[[noreturn]] void refuse(std::string const& text) {
  throw CommandError{kExitUsage, text};
}

std::vector<std::string> files_in(fs::path const& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    if (at->path().filename().string().starts_with('.') && at->is_directory()) {
      at.disable_recursion_pending();
      continue;
    }
    if (at->is_regular_file() && is_migration(at->path())) files.push_back(at->path().lexically_normal().string());
    if (files.size() > kMaxFiles)
      refuse(folder.string() + ": more than " + std::to_string(kMaxFiles) + " files; name its parts");
  }
  if (error) refuse(folder.string() + ": cannot be read (" + error.message() + ")");
  if (files.empty()) refuse(folder.string() + ": there are no .sql and no .yaml files in it");
  std::sort(files.begin(), files.end(), planner::is_earlier_file);
  return files;
}

std::vector<std::string> files_of(std::vector<std::string> const& paths) {
  std::vector<std::string> files;
  for (auto const& path : paths) {
    std::error_code error;
    if (path == kStandardInput) {
      files.push_back(path);
    } else if (fs::is_directory(path, error)) {
      auto const found = files_in(path);
      files.insert(files.end(), found.begin(), found.end());
    } else if (fs::exists(path, error)) {
      if (!is_yaml(path) && fs::path(path).extension() != ".sql") {
        refuse(path + ": neither a migration file (.yaml) nor SQL (.sql)");
      }
      files.push_back(path);
    } else {
      refuse(path + ": there is no such file or folder");
    }
  }
  return files;
}

std::string text_of(std::string const& file) {
  std::ifstream opened;
  if (file != kStandardInput) opened.open(file, std::ios::binary);
  std::istream& stream = file == kStandardInput ? std::cin : opened;
  std::string text;
  // Piece by piece: room for the largest file, made for each of thousands, takes longer than all of their statements.
  std::array<char, 64 * 1024> piece{};
  while (stream && text.size() <= lint::kMaxScriptBytes) {
    stream.read(piece.data(), piece.size());
    text.append(piece.data(), static_cast<std::size_t>(stream.gcount()));
  }
  if (stream.bad() || (text.empty() && !stream.eof())) refuse(file + ": cannot be read");
  return text;
}

void print(LintReport const& report, LintFormat format) {
  switch (format) {
    case LintFormat::kText:
      std::cout << for_people(lint_text(report, standard_output().view), standard_output().view.color);
      break;
    case LintFormat::kJson:
      std::cout << boost::json::serialize(lint_json(report)) << '\n';
      break;
    case LintFormat::kSarif:
      std::cout << boost::json::serialize(lint_sarif(report, PGBACKFILL_VERSION)) << '\n';
      break;
    case LintFormat::kMarkdown:
      std::cout << for_people(lint_markdown(report));
      break;
  }
  if (!std::cout.flush()) throw CommandError{kExitFailed, "the report cannot be written to standard output"};
}

}  // namespace

int lint_command(CommandContext& context, LintCommandOptions const& options) {
  auto const format = options.format.value_or(context.is_json() ? LintFormat::kJson : LintFormat::kText);
  LintReport report;
  report.fail_on = options.fail_on;
  report.pg_major = options.pg_major;
  lint::Linter linter({options.pg_major, options.is_in_transaction});
  for (auto const& file : options.schemas) linter.learn(text_of(file));
  std::vector<planner::Problem> problems;
  for (auto const& file : files_of(options.paths)) {
    std::string const name = file == kStandardInput ? "stdin" : file;
    LintedSource source{name, text_of(file), {}};
    source.linted = is_yaml(file) ? linter.lint_migration(source.text, name) : linter.lint_sql(source.text, name);
    problems.insert(problems.end(), source.linted.problems.begin(), source.linted.problems.end());
    report.sources.push_back(std::move(source));
  }
  print(report, format);
  // What can be said is said, but a file that cannot be read is never passed over.
  if (!problems.empty()) {
    auto text = planner::to_lines(problems);
    while (text.ends_with('\n')) text.pop_back();
    throw CommandError{kExitUsage, text};
  }
  return report.is_failed() ? kExitGateClosed : kExitDone;
}

}  // namespace pgbackfill::engine
