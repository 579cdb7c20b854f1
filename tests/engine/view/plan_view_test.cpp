// How a plan is shown, and what is said first of it: values in, texts out.
#include "engine/view/plan_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <sstream>
#include <string>
#include <vector>

#include "engine/view/markdown.h"
#include "engine/view/plan_verdict.h"

namespace pgbackfill::engine {
namespace {

using planner::LockMode;
using planner::Risk;
using planner::lint::Work;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

PlannedStep step_of(std::string phase, std::size_t number, Risk risk) {
  PlannedStep step;
  step.phase = std::move(phase);
  step.number = number;
  step.text = "step: {a: b}";
  step.title = "a title";
  step.risk = risk;
  step.reason = "a reason";
  PlannedStatement statement;
  statement.sql = "ALTER TABLE t";
  statement.locks = {{"\"t\"", LockMode::kAccessExclusive}};
  step.statements = {statement};
  return step;
}

PlanReport report_of(std::vector<PlannedStep> expand, std::vector<PlannedStep> contract = {}) {
  PlanReport report;
  report.migration = "m";
  report.file = "m.yaml";
  report.expand = std::move(expand);
  report.contract = std::move(contract);
  return report;
}

// How many cells GitHub's table reader sees in a line: it splits at bars before it reads anything else, and takes a
// backslash together with the punctuation after it.
std::size_t cells_in(std::string const& line) {
  std::size_t bars = 0;
  for (std::size_t at = 0; at < line.size(); ++at) {
    if (line[at] == '\\' && at + 1 < line.size() && std::ispunct(static_cast<unsigned char>(line[at + 1])) != 0) {
      ++at;
    } else if (line[at] == '|') {
      ++bars;
    }
  }
  return bars - 1;
}

std::vector<std::string> table_lines_of(std::string const& markdown) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < markdown.size();) {
    auto const end = std::min(markdown.find('\n', begin), markdown.size());
    if (markdown[begin] == '|') lines.push_back(markdown.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

TEST(PlanVerdict, IsThatOfTheWorstStepThatIsStillToBeRun) {
  auto done = step_of("expand", 2, Risk::kHigh);
  done.is_recorded = true;
  auto const report =
      report_of({step_of("expand", 1, Risk::kMedium), done}, {step_of("contract", 1, Risk::kDestructive)});
  auto const verdict = verdict_of(report);
  EXPECT_EQ(verdict.run, Risk::kMedium);
  EXPECT_EQ(verdict.complete, Risk::kDestructive);
  EXPECT_EQ(verdict_text(verdict), "run: medium risk; complete: destructive");
  EXPECT_EQ(verdict_text(verdict_of(report_of({}))), "run: low risk");
}

TEST(PlanVerdict, NamesWhatStopsOthersForLong) {
  auto brief = step_of("expand", 1, Risk::kLow);
  auto scan = step_of("expand", 2, Risk::kLow);
  scan.statements[0].work = Work::kScan;
  scan.statements[0].duration = planner::DurationClass::kMinutes;
  auto beside = scan;
  beside.number = 3;
  beside.statements[0].locks[0].mode = LockMode::kShareUpdateExclusive;
  EXPECT_THAT(verdict_of(report_of({brief, scan, beside})).blocking,
              ElementsAre("expand step 2: ACCESS EXCLUSIVE on \"t\", which stops reads and writes, for minutes"));
  EXPECT_THAT(verdict_of(report_of({brief, beside})).blocking, IsEmpty());
}

TEST(PlanVerdict, NamesWhatCompleteDestroys) {
  auto step = step_of("contract", 2, Risk::kDestructive);
  step.destroys = "all values are lost";
  EXPECT_THAT(verdict_of(report_of({}, {step})).destroyed, ElementsAre("contract step 2: all values are lost"));
  step.is_recorded = true;
  EXPECT_THAT(verdict_of(report_of({}, {step})).destroyed, IsEmpty()) << "it is gone already";
}

TEST(PlanText, FoldsSentencesAndLeavesSqlInOnePiece) {
  auto step = step_of("expand", 1, Risk::kLow);
  step.reason = "a reason that is so long that no terminal of sixty columns could ever show it on one line";
  step.statements[0].sql = "ALTER TABLE t ADD COLUMN a_column_with_a_name_that_is_long text DEFAULT 'one  two'";
  step.no_way_back = step.reason;
  auto report = report_of({step});
  report.notes = {step.reason};
  auto const text = plan_text(report, 60);
  EXPECT_THAT(text, HasSubstr("\n             - " + step.statements[0].sql + "\n"));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find("ALTER") == std::string::npos) {
      EXPECT_LE(line.size(), 60U) << line;
    }
  }
  EXPECT_THAT(plan_text(report, 100'000), HasSubstr("note: " + step.reason + "\n"));
}

TEST(PlanMarkdown, KeepsItsTableWhateverTheNamesAre) {
  auto step = step_of("expand", 1, Risk::kLow);
  std::string const hostile = "a|b`c\\|d\n# e <script> **f** ```\n</details>";
  step.text = hostile;
  step.reason = hostile;
  step.others = {{"\"" + hostile + "\"", "refers to it by foreign key " + hostile}};
  step.statements[0].locks[0].relation = hostile;
  step.statements[0].sql = "ALTER TABLE \"" + hostile + "\"";
  step.no_way_back = hostile;
  auto report = report_of({step}, {});
  report.migration = "m_x";
  report.notes = {hostile};
  auto const text = plan_markdown(report);
  auto const lines = table_lines_of(text);
  ASSERT_EQ(lines.size(), 3U) << text;
  for (auto const& line : lines) EXPECT_EQ(cells_in(line), 8U) << line;
  EXPECT_THAT(text.substr(0, text.find("```")), Not(HasSubstr("<script>")));
  EXPECT_THAT(text.substr(0, text.find("````sql")), Not(HasSubstr("\n# e")));
  // The fence is longer than what could end it.
  EXPECT_THAT(text, HasSubstr("\n````sql\n"));
  EXPECT_THAT(text, HasSubstr("\n````\n\n</details>\n"));
}

TEST(PlanMarkdown, BeginsWithTheVerdict) {
  auto const text = plan_markdown(report_of({step_of("expand", 1, Risk::kLow)}));
  EXPECT_THAT(text, testing::StartsWith("### pgbackfill plan of m: run: low risk\n"));
  EXPECT_THAT(text, HasSubstr("Nothing stops reads or writes for longer than milliseconds"));
  EXPECT_THAT(text, HasSubstr("-- expand step 1: a title\nALTER TABLE t;\n"));
}

TEST(Markdown, ShowsPlainNamesPlainly) {
  EXPECT_EQ(markdown_text("display_name of public.users"), "display_name of public.users");
  EXPECT_EQ(markdown_code("drop_column: name"), "`drop_column: name`");
  EXPECT_EQ(markdown_text("_a_"), "\\_a\\_");
  EXPECT_EQ(markdown_text("a|b\nc"), "a\\|b c");
  EXPECT_EQ(markdown_text("\x1b[31m"), "&#92;x1b\\[31m");
}

}  // namespace
}  // namespace pgbackfill::engine
