// What lint has found, as people and programs read it: text, JSON, SARIF 2.1.0, Markdown.
//
// Pure rendering. Texts come from other people's files, so control characters in them are shown, not obeyed. Thread
// rule: none; all functions are pure.
#pragma once

#include <array>
#include <boost/json/object.hpp>
#include <cstddef>
#include <string>
#include <vector>

#include "engine/view/progress_view.h"
#include "planner/lint/lint.h"

namespace pgbackfill::engine {

struct LintedSource {
  std::string file;
  std::string text;
  planner::lint::LintedFile linted;
};

struct LintReport {
  std::vector<LintedSource> sources;
  planner::lint::Risk fail_on = planner::lint::Risk::kHigh;
  int pg_major = 15;

  std::array<std::size_t, 4> counts() const;  // by risk
  bool is_failed() const;
};

std::string lint_text(LintReport const& report, ViewOptions const& view);
boost::json::object lint_json(LintReport const& report);
boost::json::object lint_sarif(LintReport const& report, std::string const& version);
// For a comment on a pull request.
std::string lint_markdown(LintReport const& report);

}  // namespace pgbackfill::engine
