#include "planner/lint/lint.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "planner/lint/linter_state.h"
#include "planner/lint/script_linter.h"
#include "planner/lint/tool_script.h"

namespace pgbackfill::planner::lint {
namespace {

void sort_by_place(std::vector<Finding>& findings) {
  std::stable_sort(findings.begin(), findings.end(), [](Finding const& a, Finding const& b) {
    return std::tie(a.position.line, a.position.column) < std::tie(b.position.line, b.position.column);
  });
}

// What no SQL file holds: the parser's texts end at a NUL.
std::vector<Problem> problems_of_text(std::string_view text, std::string const& file) {
  if (text.size() > kMaxScriptBytes) {
    return {{{file, 0, 0}, "the file is larger than " + std::to_string(kMaxScriptBytes) + " bytes; lint its parts"}};
  }
  auto const nul = text.find('\0');
  if (nul == std::string_view::npos) return {};
  auto const place = LineIndex(text.substr(0, nul + 1)).place_of(nul);
  return {{{file, place.line, place.column}, "a NUL character: this is no text of SQL"}};
}

}  // namespace

Linter::Linter(LintOptions options) : state_(std::make_unique<State>(State{options, {}})) {}
Linter::~Linter() = default;

void Linter::learn(std::string_view sql) {
  lint_sql(sql, "");
  state_->facts.begin_file();
}

LintedFile Linter::lint_sql(std::string_view sql, std::string_view file) {
  LintedFile linted;
  std::string const name(file);
  linted.problems = problems_of_text(sql, name);
  if (!linted.problems.empty()) return linted;
  state_->facts.begin_file();
  LineIndex const lines(sql);
  ScriptLinter script(state_->facts, {state_->options.pg_major, state_->options.is_in_transaction, false, true});
  auto const text = templates_as_names(sql);
  script.run(text, [&](std::size_t offset) {
    auto const place = lines.place_of(offset);
    return SourcePosition{name, place.line, place.column};
  });
  linted.findings = script.take_findings();
  linted.effects = script.take_effects();
  sort_by_place(linted.findings);
  return linted;
}

}  // namespace pgbackfill::planner::lint
