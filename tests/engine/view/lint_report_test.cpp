// The forms in which lint reports: what people see at 80 columns, and what programs rely on.
#include "engine/view/lint_report.h"
#include "engine/base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/value.hpp>
#include <sstream>
#include <string>

#include "planner/lint/lint_rules.h"

namespace pgbackfill::engine {
namespace {

using planner::Risk;
using testing::HasSubstr;
using testing::Not;

LintReport report_of(std::string const& sql, std::string const& file = "a b.sql") {
  planner::lint::Linter linter({});
  LintReport report;
  report.sources.push_back({file, sql, linter.lint_sql(sql, file)});
  return report;
}

std::string const kDropping = "SET lock_timeout = '1s';\n/* \xC3\xA9 */ DROP TABLE users;\n";

TEST(LintReport, FailsAtTheRiskThatIsAskedFor) {
  auto report = report_of("SET lock_timeout = '1s'; CREATE INDEX ON users (name)");
  for (auto const& [fail_on, is_failed] : {std::pair(Risk::kLow, true), std::pair(Risk::kMedium, true),
                                           std::pair(Risk::kHigh, true), std::pair(Risk::kDestructive, false)}) {
    report.fail_on = fail_on;
    EXPECT_EQ(report.is_failed(), is_failed) << risk_word(fail_on);
  }
}

TEST(LintReport, FitsATerminalOf80Columns) {
  auto const report = report_of(kDropping + "ALTER TABLE users ALTER name SET NOT NULL; CREATE INDEX ON users (name);");
  std::istringstream lines(lint_text(report, {80, false, true}));
  for (std::string line; std::getline(lines, line);) {
    // What stands between backticks stays in one piece.
    EXPECT_LE(display_width(line), line.find('`') == std::string::npos ? 80 : 110) << line;
  }
}

TEST(LintReport, SaysWhereWhatAndWhatInstead) {
  auto const text = lint_text(report_of(kDropping), {80, false, true});
  EXPECT_THAT(text, HasSubstr("a b.sql:2:10: destructive drop-table\n"));
  EXPECT_THAT(text, HasSubstr("  lock     ACCESS EXCLUSIVE on users: reads and writes wait\n"));
  EXPECT_THAT(text, HasSubstr("  instead  step `drop_table`"));
  EXPECT_THAT(text, HasSubstr("1 file, 2 statements: 1 destructive\n"));
  EXPECT_THAT(lint_text(report_of("SELECT 1"), {80, false, true}), HasSubstr("nothing found"));
}

TEST(LintReport, ShowsControlCharactersOfFilesAndDoesNotObeyThem) {
  auto const report = report_of("SET lock_timeout = 1; DROP TABLE \"a\x1b[31mb|c<d>\"", "x\x1b.sql");
  EXPECT_THAT(lint_text(report, {80, false, true}), Not(HasSubstr("\x1b")));
  EXPECT_THAT(lint_markdown(report), Not(HasSubstr("\x1b")));
  EXPECT_THAT(lint_markdown(report), HasSubstr("b\\|c\\<d>"));
}

TEST(LintReport, IsJsonWithOneObjectAFinding) {
  auto const document = lint_json(report_of(kDropping));
  EXPECT_TRUE(document.at("failed").as_bool());
  auto const& finding = document.at("findings").as_array().at(0).as_object();
  EXPECT_EQ(finding.at("file").as_string(), "a b.sql");
  EXPECT_EQ(finding.at("line").as_int64(), 2);
  EXPECT_EQ(finding.at("column").as_int64(), 10);
  EXPECT_EQ(finding.at("rule").as_string(), "drop-table");
  EXPECT_EQ(finding.at("risk").as_string(), "destructive");
  EXPECT_EQ(finding.at("lock").as_string(), "ACCESS EXCLUSIVE");
  EXPECT_EQ(finding.at("work").as_string(), "none");
}

// What SARIF 2.1.0 (OASIS, sections 3.13 to 3.30) requires of a log, a run, a tool, a rule, a result and its place.
TEST(LintReport, IsSarifWithAllThatTheStandardRequires) {
  auto const log = lint_sarif(report_of(kDropping), "1.2.3");
  EXPECT_EQ(log.at("version").as_string(), "2.1.0");
  ASSERT_EQ(log.at("runs").as_array().size(), 1U);
  auto const& run = log.at("runs").as_array()[0].as_object();
  auto const& driver = run.at("tool").as_object().at("driver").as_object();
  EXPECT_EQ(driver.at("name").as_string(), "pgbackfill");
  EXPECT_EQ(driver.at("version").as_string(), "1.2.3");
  auto const& rules = driver.at("rules").as_array();
  EXPECT_EQ(rules.size(), planner::lint::lint_rules().size());
  for (auto const& rule : rules) {
    EXPECT_FALSE(rule.as_object().at("id").as_string().empty());
    EXPECT_FALSE(rule.as_object().at("shortDescription").as_object().at("text").as_string().empty());
  }
  auto const& results = run.at("results").as_array();
  ASSERT_EQ(results.size(), 1U);
  auto const& result = results[0].as_object();
  EXPECT_FALSE(result.at("message").as_object().at("text").as_string().empty());
  EXPECT_EQ(result.at("level").as_string(), "error");
  auto const index = static_cast<std::size_t>(result.at("ruleIndex").as_int64());
  EXPECT_EQ(rules.at(index).as_object().at("id"), result.at("ruleId"));
  auto const& place = result.at("locations").as_array().at(0).as_object().at("physicalLocation").as_object();
  EXPECT_EQ(place.at("artifactLocation").as_object().at("uri").as_string(), "a%20b.sql");
  EXPECT_EQ(place.at("region").as_object().at("startLine").as_int64(), 2);
  // In characters, as columnKind says, and not in bytes.
  EXPECT_EQ(run.at("columnKind").as_string(), "unicodeCodePoints");
  EXPECT_EQ(place.at("region").as_object().at("startColumn").as_int64(), 9);
}

TEST(LintReport, IsMarkdownWithARowAFinding) {
  auto const text = lint_markdown(report_of(kDropping));
  EXPECT_THAT(text, HasSubstr("### pgbackfill lint: failed\n"));
  EXPECT_THAT(text, HasSubstr("| a b.sql:2:10 | destructive | `drop-table` | ACCESS EXCLUSIVE on users"));
  EXPECT_THAT(lint_markdown(report_of("SELECT 1")), HasSubstr("passed"));
}

}  // namespace
}  // namespace pgbackfill::engine
