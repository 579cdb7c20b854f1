// The report in its forms: values in, texts out, nothing of a row in any of them, and markup nobody can break out of.
#include "engine/view/report_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <string>

#include "engine/view/html.h"
#include "engine/view/report_parts.h"
#include "tests/support/html_check.h"

namespace pgbackfill::engine {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t kStart = 1'700'000'000'000;  // 2023-11-14 22:13:20 UTC

StoredSample sample(std::int64_t second, std::int64_t rows, std::int64_t took_s = 5) {
  StoredSample one;
  one.at_ms = kStart + second * 1'000;
  one.took = milliseconds(took_s * 1'000);
  one.phase = "backfill";
  one.rows_done = rows;
  one.batch_rows = 500;
  one.batch_duration = milliseconds(80);
  one.wal_per_second = 1'000'000;
  one.lag_ms = {{"db-2", 100 + second}};
  one.latency_ratio = 1.2;
  one.table_bytes = 50'000'000;
  return one;
}

// A run that is paused at 15 s, killed after 75 s and taken up again at 120 s.
JobReport killed_run() {
  JobReport report;
  report.program = "pgbackfill 0.1.0";
  report.database = "shop";
  report.server_version = "17.2";
  report.read_at = "2023-11-14T22:20:00Z";
  report.read_at_ms = kStart + 400'000;
  report.began_ms = kStart;
  report.completed_ms = kStart + 125'000;
  auto& one = report.status.overview;
  one.name = "upper_names";
  one.file = "upper_names.yaml";
  one.job = 7;
  one.schema = "public";
  one.table = "users";
  one.status = "complete";
  one.definition = "table \"users\"\nupdate\n\"name\" = upper(name)\n";
  one.rows_estimated = 4'000;
  one.rows_done = 4'400;
  one.rows_changed = 4'400;
  one.batches = 9;
  one.workers = 2;
  one.batch_target_ms = 100;
  one.settings = {{"replica_lag", "1s", "default"}, {"latency_ratio", "1.15", "default"}};
  JobCosts costs;
  costs.estimated_time = milliseconds(100'000);
  costs.estimated_wal_bytes = 200 << 20;
  costs.wal_bytes = 210 << 20;
  costs.time = milliseconds(125'000);
  costs.bytes_at_start = 40 << 20;
  costs.bytes = 44 << 20;
  costs.is_over = true;
  report.status.costs = costs;
  report.samples = {sample(0, 0, 0), sample(5, 1'000), sample(10, 2'000), sample(15, 2'500)};
  report.samples[2].held_ms = {{"replica_lag", 2'500}};
  auto paused = sample(75, 2'500, 60);
  paused.phase = "paused";
  report.samples.push_back(paused);
  report.samples.push_back(sample(120, 2'600, 0));
  report.samples.push_back(sample(125, 4'400));
  report.events = {{kStart, "started", "2 worker(s)", "ann@web-1", "web-1", 11},
                   {kStart + 15'000, "paused", "lunch", "ann@web-1", "web-1", 12},
                   {kStart + 75'000, "resumed", "", "ann@web-1", "web-1", 13},
                   {kStart + 120'000, "started", "2 worker(s)", "ann@web-1", "web-1", 14},
                   {kStart + 125'000, "complete", "", "ann@web-1", "web-1", 14},
                   {kStart + 125'000, "stopped", "exit 0", "ann@web-1", "web-1", 14}};
  report.steps = {{"expand", 1, "add_column: {name: a, type: text}", "2023-11-14T22:13:10Z", 1'234, 1'000,
                   "pid 4 bob/psql, idle in transaction for 3 s"},
                  {"contract", 1, "set_not_null: a", "", {}, {}, ""}};
  report.checks = {"zero: SELECT count(*) FROM users WHERE a IS NULL"};
  report.hooks = {{"before backfill", "command: ./notify.sh", "told", "2023-11-14T22:13:12Z"}};
  report.approvals = {
      {true, "contract step 1: set_not_null: a", "abc", "it is Friday", "ann (ann@web-1)", "2023-11-14T22:19:00Z"}};
  report.gate = ReportedGate{false, {"1 row is deferred"}, "2023-11-14T22:18:00Z", "ann"};
  report.set_aside = {{"public.users", "23514", 3}};
  return report;
}

TEST(Report, SaysInTextWhatHappened) {
  ViewOptions view;
  view.columns = 100;
  EXPECT_EQ(report_text(killed_run(), view), R"(upper_names  complete
  table        public.users
  does         update "name" = upper(name)
  file         upper_names.yaml
  began        2023-11-14 22:13:20 UTC
  completed    2023-11-14 22:15:25 UTC
  work         9 batches, 2 workers, batches of 100 ms
  course       35 rows/s in the mean of 2 min 05 s; it stood 1 min 45 s: paused 1 min 00 s, no
               process 45.0 s
  costs        time: 2 min 05 s, estimated 1 min 40 s (+25 %)
               WAL: 210 MB, by the whole server, estimated 200 MB (+5 %)
               heap: 44 MB, from 40 MB, no estimate
               rows: 4,400 passed, 4,400 changed, estimated about 4,000 (+10 %)
               lag: 225 ms at worst, 1s allowed
  rate         ▅▅▅▅▄▃▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁···················███ at most 360 rows/s
  lag          ▄▄▄▄▅▅▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆▆···················███ at most 225 ms
  stood        2023-11-14 22:13:35 UTC, for 1 min 00 s: paused
               2023-11-14 22:14:35 UTC, for 45.0 s: no process
  happened     2023-11-14 22:13:20 UTC a process started (pid 11): 2 worker(s)
               2023-11-14 22:13:35 UTC paused: lunch
               2023-11-14 22:14:35 UTC a process was gone without a word (pid 11): killed, or its
               host was lost
               2023-11-14 22:14:35 UTC resumed
               2023-11-14 22:15:20 UTC a process started (pid 14): 2 worker(s)
               2023-11-14 22:15:25 UTC complete
               2023-11-14 22:15:25 UTC a process stopped (pid 14): exit 0
  steps        expand 1: add_column: {name: a, type: text}; done 2023-11-14 22:13:10 UTC, took 1.2
               s, of it 1.0 s for its locks, for pid 4 bob/psql, idle in transaction for 3 s
               contract 1: set_not_null: a; not done
  gate         measured closed at 2023-11-14 22:18:00 UTC, by ann
  checks       zero: SELECT count(*) FROM users WHERE a IS NULL
  approved     by ann (ann@web-1) at 2023-11-14T22:19:00Z: it is Friday
  hooks        before backfill: command: ./notify.sh at 2023-11-14 22:13:12 UTC: told
  set aside    3 rows of public.users, SQLSTATE 23514
  left         the gate is closed: 1 row is deferred
               next: nothing is left to do; `pgbackfill run upper_names.yaml` would find it complete
)");
}

TEST(Report, KnowsThatAProcessWasKilled) {
  auto const marks = marks_of(killed_run());
  std::vector<std::string> kinds;
  for (auto const& mark : marks) kinds.emplace_back(name_of(mark.kind));
  EXPECT_THAT(kinds, testing::ElementsAre("started", "paused", "gone", "resumed", "started", "complete", "stopped"));
  EXPECT_EQ(marks[2].at_ms, kStart + 75'000);
  EXPECT_THAT(marks[2].text, HasSubstr("pid 11"));
}

TEST(Report, AProcessThatIsAtWorkWasNotKilled) {
  auto report = killed_run();
  report.events.resize(4);
  report.status.holders = {{"web-1", 14, 2, 20'000, false}};
  auto const marks = marks_of(report);
  EXPECT_EQ(std::count_if(marks.begin(), marks.end(), [](Mark const& one) { return one.kind == MarkKind::kGone; }), 1);
  report.status.holders.clear();
  auto const without = marks_of(report);
  EXPECT_EQ(std::count_if(without.begin(), without.end(), [](Mark const& one) { return one.kind == MarkKind::kGone; }),
            2);
}

TEST(Report, TwoProcessesSideBySideAreBothAlive) {
  auto report = killed_run();
  report.events = {{kStart, "started", "", "ann@web-1", "web-1", 11},
                   {kStart + 5'000, "started", "", "ann@web-2", "web-2", 11},
                   {kStart + 9'000, "stopped", "", "ann@web-1", "web-1", 11},
                   {kStart + 10'000, "stopped", "", "ann@web-2", "web-2", 11}};
  for (auto const& mark : marks_of(report)) EXPECT_NE(mark.kind, MarkKind::kGone) << mark.text;
}

// Neither stopped, and the second began while the first was at work: the first did not go then.
TEST(Report, AProcessBesideAnotherIsNotTakenForItsSuccessor) {
  auto report = killed_run();
  report.events = {{kStart, "started", "", "ann@web-1", "web-1", 11},
                   {kStart + 5'000, "started", "", "ann@web-2", "web-2", 12}};
  report.samples = {sample(0, 0, 0), sample(5, 100), sample(10, 200), sample(20, 300, 10), sample(40, 400, 20)};
  for (auto& each : report.samples) each.processes = 2;
  report.status.holders = {{"web-2", 12, 2, 20'000, false}};
  std::vector<Mark> gone;
  for (auto const& mark : marks_of(report)) {
    if (mark.kind == MarkKind::kGone) gone.push_back(mark);
  }
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_THAT(gone[0].text, HasSubstr("pid 11"));
  EXPECT_EQ(gone[0].at_ms, kStart + 40'000);
}

TEST(Report, DrawsPausesAndGapsAsBands) {
  auto const bands = bands_of(killed_run());
  ASSERT_EQ(bands.size(), 2U);
  EXPECT_EQ(bands[0].cause, "paused");
  EXPECT_EQ(bands[0].to_ms - bands[0].from_ms, 60'000);
  EXPECT_EQ(bands[1].cause, "no process");
  EXPECT_EQ(bands[1].to_ms - bands[1].from_ms, 45'000);
}

TEST(Report, IsAWholePageThatAsksNobody) {
  auto const html = report_html(killed_run());
  EXPECT_EQ(tests::html_trouble(html), "");
  EXPECT_THAT(html, AllOf(HasSubstr("<rect class=\"band paused\""), HasSubstr("<rect class=\"band gone\""),
                          HasSubstr("class=\"mark gone\""), HasSubstr("rows per second"), HasSubstr("lag of db-2"),
                          HasSubstr("what held it back")));
  auto const words = tests::html_words(html);
  EXPECT_THAT(
      words, AllOf(HasSubstr("killed, or its host was lost"), HasSubstr("paused: lunch"), HasSubstr("it is Friday"),
                   HasSubstr("./notify.sh"), HasSubstr("1 row is deferred"), HasSubstr("idle in transaction for 3 s")));
  EXPECT_LT(html.size(), 100'000U);
}

TEST(Report, IsNoLargerForALongJob) {
  auto report = killed_run();
  report.samples.clear();
  for (int number = 0; number < 2'000; ++number)
    report.samples.push_back(sample(number * 5, number * 1'000 + number % 7 * 300));
  auto const html = report_html(report);
  EXPECT_EQ(tests::html_trouble(html), "");
  EXPECT_LT(html.size(), 1'500'000U);
}

// Whoever may name a table, end a session or write an error may put this into it.
constexpr char kHostile[] = "\"><script>alert('&')</script>\x1b[31m\xff | `x` --> <img src=x onerror=y>";

TEST(Report, NobodyBreaksOutOfIt) {
  auto report = killed_run();
  auto& one = report.status.overview;
  for (auto* text : {&one.name, &one.file, &one.schema, &one.table, &one.reason, &one.definition, &one.step_failure}) {
    *text = kHostile;
  }
  one.source = std::string("name: x\n") + kHostile + "\n";
  for (auto& event : report.events) event.detail = event.who = event.host = kHostile;
  for (auto& each : report.samples) {
    each.lag_ms = {{kHostile, 4}, {"db-2", 3}};
    each.held_ms = {{kHostile, 4'000}};
    each.held_by = each.phase = kHostile;
  }
  report.steps[0].text = report.steps[0].waited_for = report.steps[0].phase = kHostile;
  report.hooks[0] = {kHostile, kHostile, kHostile, kHostile};
  report.approvals[0].plan = report.approvals[0].who = report.approvals[0].reason = kHostile;
  report.gate = ReportedGate{false, {kHostile}, kHostile, kHostile};
  report.set_aside = {{kHostile, kHostile, 1}};
  report.checks = report.notes = {kHostile};
  report.database = report.server_version = kHostile;
  auto const html = report_html(report);
  EXPECT_EQ(tests::html_trouble(html), "");
  EXPECT_THAT(html,
              AllOf(Not(HasSubstr("<script")), Not(HasSubstr("<img")), Not(HasSubstr("\x1b")), Not(HasSubstr("\xff"))));
  auto const markdown = report_markdown(report);
  EXPECT_THAT(markdown.substr(0, markdown.find("<details>")), Not(HasSubstr("<script")));
  EXPECT_THAT(markdown, Not(HasSubstr("\x1b")));
  EXPECT_THAT(report_text(report, {}), Not(HasSubstr("\x1b[31m")));
  EXPECT_THAT(boost::json::serialize(report_json(report)), Not(HasSubstr("\x1b")));
}

TEST(Report, PasswordsAreMaskedBeforeThereIsMarkup) {
  EXPECT_THAT(html_text("psql postgres://ann:hunter2@db/shop"), AllOf(HasSubstr("***"), Not(HasSubstr("hunter2"))));
  EXPECT_EQ(html_text("a\nb & c", true), "a\nb &amp; c");
  EXPECT_EQ(html_text("a\nb"), "a b");
  EXPECT_EQ(sentence_html("run `a <b>`, then `c`"), "run <code>a &lt;b&gt;</code>, then <code>c</code>");
  EXPECT_EQ(sentence_html("one ` alone"), "one ` alone");
  EXPECT_EQ(sentence_html("`a` and ` alone"), "<code>a</code> and ` alone");
  EXPECT_EQ(sentence_html(""), "");
}

TEST(Report, AnErrorThatMayQuoteARowIsLeftOut) {
  for (std::string const text :
       {"row data at key 42 of \"t\": invalid input syntax for type integer: \"secret\" (22P02)",
        "the connection was lost 12 times in a row in the batch after key secret of t", "secret (P0001)",
        "duplicate key (23505)"}) {
    EXPECT_THAT(without_values(text, "m"), AllOf(Not(HasSubstr("secret")), HasSubstr("`pgbackfill log m` has it")));
  }
  EXPECT_EQ(without_values("no lock on t within 30 min", "m"), "no lock on t within 30 min");
}

TEST(Report, WhereThereIsNoCourseItSaysSo) {
  auto report = killed_run();
  report.samples.clear();
  auto const html = report_html(report);
  EXPECT_EQ(tests::html_trouble(html), "");
  EXPECT_THAT(tests::html_words(html), HasSubstr("Too little was kept to draw"));
  EXPECT_THAT(boost::json::serialize(report_json(report)), HasSubstr("\"course\":null"));
}

TEST(Report, AMigrationOfStepsAloneHasNoChartsAndNoCosts) {
  JobReport report;
  report.status.overview.name = "steps";
  report.steps = {{"expand", 1, "sql: SELECT 1", "2023-11-14T22:13:10Z", 12, 0, ""}};
  auto const html = report_html(report);
  EXPECT_EQ(tests::html_trouble(html), "");
  EXPECT_THAT(html, AllOf(Not(HasSubstr("<svg")), Not(HasSubstr("Too little")), HasSubstr("<h2>Steps</h2>")));
}

TEST(Report, MarkdownHasTheTablesOfAPullRequest) {
  auto const markdown = report_markdown(killed_run());
  EXPECT_THAT(markdown, AllOf(HasSubstr("### pgbackfill report of upper_names: complete\n"),
                              HasSubstr("| time | 1 min 40 s | 2 min 05 s | +25 % |\n"),
                              HasSubstr("| 2023-11-14 22:13:35 UTC | 1 min 00 s | paused |  |\n"),
                              HasSubstr("| contract 1 | `set_not_null: a` | not done |  |  |\n"),
                              HasSubstr("killed, or its host was lost")));
}

}  // namespace
}  // namespace pgbackfill::engine
