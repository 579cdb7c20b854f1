// What a person sees, line by line; all of it pure.
#include "engine/view/progress_view.h"
#include "engine/base/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Progress users_progress() {
  Progress progress;
  progress.migration = "users_display_name";
  progress.table = "public.users";
  progress.phase = RunPhase::kBackfilling;
  progress.rows_done = 1'356'000;
  progress.rows_estimated = 3'000'000;
  progress.rows_changed = 1'300'000;
  progress.ranges_open = 12;
  progress.ranges_total = 64;
  progress.workers = 2;
  progress.rows_per_second = 281'000;
  progress.batch_rows = 20'000;
  progress.batch_duration = 71ms;
  progress.batch_target = 100ms;
  progress.elapsed = 4'800ms;
  return progress;
}

Outlook good_outlook() {
  Outlook outlook;
  outlook.eta = Eta{5s, 6s, 9s};
  return outlook;
}

Progress troubled_progress() {
  auto progress = users_progress();
  progress.deferred = 1'200;
  progress.quarantined = 1;
  progress.retries = 3;
  progress.elapsed = 3h + 5min;
  progress.held_back = "replica standby-2 is 1.4 s behind (limit 1 s), so the pace is cut to 30 % for now.";
  return progress;
}

std::vector<std::string> block(Progress const& progress, Outlook const& outlook, int columns) {
  return render_block(progress, outlook, {columns, false, true});
}

TEST(ProgressView, FillsEightyColumns) {
  EXPECT_THAT(
      block(users_progress(), good_outlook(), 80),
      ElementsAre("users_display_name  public.users  backfilling",
                  "━━━━━━━━━━━━━━━━━━╸──────────────────────   45.2 %  1,356,000 of ~3,000,000 rows",
                  "281 k rows/s        batch 20,000 rows in 71 ms (target 100 ms)    2 workers",
                  "elapsed 4 s         ETA 6 s (5 s to 9 s)                          52/64 ranges", "not held back"));
}

TEST(ProgressView, PutsAllFiguresOnOneLineOfTwoHundredColumns) {
  auto const lines = block(users_progress(), good_outlook(), 200);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0], "users_display_name  public.users  backfilling");
  EXPECT_THAT(lines[1], testing::EndsWith("  45.2 %  1,356,000 of ~3,000,000 rows"));
  EXPECT_EQ(display_width(lines[1]), 160);
  EXPECT_EQ(lines[2],
            "281 k rows/s        batch 20,000 rows in 71 ms (target 100 ms)    ETA 6 s (5 s to 9 s)                  "
            "        elapsed 4 s         2 workers     52/64 ranges");
  EXPECT_EQ(lines[3], "not held back");
}

TEST(ProgressView, KeepsWhatMattersMostInTwentyColumns) {
  EXPECT_THAT(block(troubled_progress(), good_outlook(), 20),
              ElementsAre("users_display_name", "━━━━╸──────   45.2 %", "281 k rows/s", "ETA 6 s", "1 quarantined",
                          "held back: replica …"));
}

TEST(ProgressView, SaysWhatIsSetAsideAndWhyItIsSlow) {
  Outlook outlook;
  outlook.eta = Eta{58min, 64min, 80min};
  auto const lines = block(troubled_progress(), outlook, 80);
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[3], "elapsed 3 h 05 min  ETA 1 h 04 min (58 min to 1 h 20 min)         52/64 ranges");
  EXPECT_EQ(lines[4], "1,200 deferred  1 quarantined  3 retries");
  EXPECT_EQ(lines[5], "held back: replica standby-2 is 1.4 s behind (limit 1 s), so the pace is cut to…");
}

TEST(ProgressView, NeverExceedsItsColumns) {
  auto progress = troubled_progress();
  for (auto const* name : {"t", "表格移行表格移行表格移行表格移行表格移行", "🙂🙂🙂🙂🙂🙂🙂🙂🙂🙂",
                           "\x1b[2J\x1b[1;1H\n\xff", "a\xcc\x81\xcc\x81\xcc\x81\xcc\x81 zalgo",
                           "a_very_long_name_of_sixty_three_bytes_that_goes_on_and_on"}) {
    progress.migration = name;
    progress.table = name;
    progress.held_back = name;
    for (auto const phase : {RunPhase::kExpanding, RunPhase::kBackfilling, RunPhase::kPaused, RunPhase::kEnded})
      for (std::int64_t const done : {0L, 1'356'000L, 123'456'789'012L})
        for (int columns = 1; columns <= 220; ++columns)
          for (bool const unicode : {true, false}) {
            progress.phase = phase;
            progress.rows_done = done;
            for (auto const& line : render_block(progress, good_outlook(), {columns, true, unicode}))
              ASSERT_LE(display_width(line), columns) << line << "\nname: " << name;
          }
  }
}

TEST(ProgressView, ShowsControlsInNamesInsteadOfObeyingThem) {
  auto progress = users_progress();
  progress.migration = "\x1b[31mred\x07";
  progress.table = "right\xe2\x80\xaeleft\xc2\x9b\xff";
  auto const lines = block(progress, good_outlook(), 80);
  EXPECT_EQ(lines[0], "\\x1b[31mred\\x07  right\\u202eleft\\u009b\\xff  backfilling");
  EXPECT_THAT(lines, Each(Not(HasSubstr("\x1b"))));
  EXPECT_THAT(render_line(progress, good_outlook()), testing::StartsWith("\\x1b[31mred\\x07: 45.2 %"));
}

TEST(ProgressView, CutsWideCharactersAtWholeColumns) {
  EXPECT_EQ(fitted("表格移行", 8), "表格移行");
  EXPECT_EQ(fitted("表格移行", 7), "表格移…");
  EXPECT_EQ(fitted("表格移行", 6), "表格…");
  EXPECT_EQ(fitted("表格移行", 6, false), "表...");
  EXPECT_EQ(fitted("abc", 1), ".");
  EXPECT_EQ(fitted("abc", 0), "");
}

TEST(ProgressView, MeasuresWhatATerminalWouldShow) {
  EXPECT_EQ(display_width("abc"), 3);
  EXPECT_EQ(display_width("é"), 1);
  EXPECT_EQ(display_width("e\xcc\x81"), 1);
  EXPECT_EQ(display_width("表🙂"), 4);
  EXPECT_EQ(display_width("\x1b[31mred\x1b[0m"), 3);
  EXPECT_EQ(display_width("\x1b["), 0);
}

TEST(ProgressView, NeutralisesBrokenUtf8) {
  EXPECT_EQ(neutralised("\xc0\xaf"), "\\xc0\\xaf");
  EXPECT_EQ(neutralised("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(neutralised("\xe8\xa1"), "\\xe8\\xa1");
  EXPECT_EQ(neutralised("a\r\n\tb"), "a b");
  EXPECT_EQ(neutralised("👩\xe2\x80\x8d💻"), "👩💻");
  EXPECT_EQ(neutralised("表é", false), "??");
  EXPECT_EQ(valid_utf8("a\xff\n表"), "a\xef\xbf\xbd\n表");
}

TEST(ProgressView, IsPlainAsciiWhenAskedTo) {
  auto progress = troubled_progress();
  progress.migration = "表";
  for (auto const& line : render_block(progress, good_outlook(), {60, true, false}))
    for (char const c : line) ASSERT_GE(c, 0) << line;
  EXPECT_THAT(render_block(users_progress(), good_outlook(), {30, false, false})[1], "#########------------   45.2 %");
}

TEST(ProgressView, UsesColourOnlyWhenAskedTo) {
  EXPECT_THAT(block(troubled_progress(), good_outlook(), 80), Each(Not(HasSubstr("\x1b"))));
  auto const lines = render_block(troubled_progress(), good_outlook(), {80, true, true});
  EXPECT_THAT(lines[4], HasSubstr("\x1b[31m1 quarantined\x1b[0m"));
}

TEST(ProgressView, AdmitsMoreRowsThanEstimated) {
  auto progress = users_progress();
  progress.rows_done = 3'100'000;
  EXPECT_EQ(block(progress, {}, 80)[1],
            "━━━━━━━━━━━━━━━━━━━  > 100 %  3,100,000 rows, more than the ~3,000,000 estimated");
  EXPECT_THAT(render_line(progress, {}), HasSubstr("> 100 % 3,100,000 rows, more than the ~3,000,000 estimated"));
}

TEST(ProgressView, MakesNoPercentageOfAnUnknownTotal) {
  auto progress = users_progress();
  progress.rows_estimated = 0;
  EXPECT_THAT(block(progress, {}, 80)[1], testing::EndsWith("  1,356,000 rows, total not known"));
  EXPECT_THAT(render_line(progress, {}),
              testing::StartsWith("users_display_name: 1,356,000 rows, total not known, 281,000 rows/s"));
}

TEST(ProgressView, KeepsItsHeightWhileReasonsComeAndGo) {
  auto progress = users_progress();
  auto const height = block(progress, {}, 80).size();
  progress.held_back = "a lock is in the way.";
  EXPECT_EQ(block(progress, {}, 80).size(), height);
  progress.held_back.clear();
  progress.phase = RunPhase::kPaused;
  EXPECT_EQ(block(progress, {}, 80).size(), height);
}

TEST(ProgressView, NamesASilentEngine) {
  auto outlook = good_outlook();
  outlook.silent_for = 12s;
  auto const lines = block(users_progress(), outlook, 80);
  EXPECT_EQ(lines.back(), "no news from the engine for 12 s");
  EXPECT_EQ(lines[3], "elapsed 16 s        ETA unknown                                   52/64 ranges");
  EXPECT_THAT(render_line(users_progress(), outlook), testing::EndsWith("no news from the engine for 12 s"));
}

TEST(ProgressView, GivesNoEtaWhilePausedOrStopping) {
  auto progress = users_progress();
  progress.phase = RunPhase::kPaused;
  EXPECT_THAT(block(progress, good_outlook(), 80)[3], HasSubstr("no ETA while paused"));
  progress.phase = RunPhase::kDraining;
  EXPECT_THAT(block(progress, good_outlook(), 80)[3], HasSubstr("stops after the batches in flight"));
}

TEST(ProgressView, SaysWhenTheBadCaseHasNoEnd) {
  Outlook outlook;
  outlook.eta = Eta{5s, 6s, std::nullopt};
  EXPECT_THAT(block(users_progress(), outlook, 80)[3], HasSubstr("ETA 6 s (5 s or much more)"));
}

TEST(ProgressView, ShowsNoFiguresBeforeTheBackfill) {
  auto progress = users_progress();
  progress.phase = RunPhase::kExpanding;
  progress.held_back = "waiting for a lock on public.users.";
  EXPECT_THAT(block(progress, {}, 80), ElementsAre("users_display_name  public.users  expanding", "elapsed 4 s",
                                                   "held back: waiting for a lock on public.users."));
  EXPECT_EQ(render_line(progress, {}),
            "users_display_name (expanding): elapsed 4 s, held back: waiting for a lock on public.users.");
}

TEST(ProgressView, TellsALogEverythingInOneLine) {
  EXPECT_EQ(render_line(users_progress(), good_outlook()),
            "users_display_name: 45.2 % 1,356,000 of ~3,000,000 rows, 281,000 rows/s, batch 20,000 rows in 71 ms, 2 "
            "workers, ETA 6 s");
  EXPECT_EQ(render_line(troubled_progress(), {}),
            "users_display_name: 45.2 % 1,356,000 of ~3,000,000 rows, 281,000 rows/s, batch 20,000 rows in 71 ms, 2 "
            "workers, ETA unknown, 1,200 deferred, 1 quarantined, 3 retries, held back: replica standby-2 is 1.4 s "
            "behind (limit 1 s), so the pace is cut to 30 % for now.");
}

TEST(ProgressView, SumsUpWithWhatToDoNext) {
  Summary summary;
  summary.last = troubled_progress();
  summary.last.elapsed = 11'200ms;
  summary.batches = 150;
  summary.exit_code = 4;
  summary.headline = "users_display_name is paused at 45.2 %.";
  summary.notes = {"Nothing is lost; `pgbackfill run examples/users_display_name.yaml` goes on from here."};
  EXPECT_THAT(
      render_summary(summary, {60, false, true}),
      ElementsAre("users_display_name is paused at 45.2 %.",
                  "  150 batches in 11.2 s, 1,200 deferred, 1 quarantined, 3", "  retries", "  - Nothing is lost;",
                  "    `pgbackfill run examples/users_display_name.yaml` goes", "    on from here."));
}

TEST(ProgressView, WritesNumbersForPeople) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(1'000), "1,000");
  EXPECT_EQ(human_count(-123'456), "-123,456");
  EXPECT_EQ(human_count(INT64_MAX), "9,223,372,036,854,775,807");
  EXPECT_EQ(human_rate(0), "0 rows/s");
  EXPECT_EQ(human_rate(4.24), "4.2 rows/s");
  EXPECT_EQ(human_rate(9'120), "9,120 rows/s");
  EXPECT_EQ(human_rate(28'140), "28.1 k rows/s");
  EXPECT_EQ(human_rate(281'000), "281 k rows/s");
  EXPECT_EQ(human_rate(999'900), "1.00 M rows/s");
  EXPECT_EQ(human_rate(std::numeric_limits<double>::quiet_NaN()), "0 rows/s");
}

TEST(ProgressView, NeverRoundsUpToAHundredPercent) {
  EXPECT_EQ(human_percent(2'999'999, 3'000'000), "99.9 %");
  EXPECT_EQ(human_percent(3'000'000, 3'000'000), "100.0 %");
  EXPECT_EQ(human_percent(3'000'001, 3'000'000), "> 100 %");
  EXPECT_EQ(human_percent(INT64_MAX - 1, INT64_MAX), "100.0 %");
  EXPECT_EQ(human_percent(5, 0), "");
}

TEST(ProgressView, WritesTimesForPeople) {
  EXPECT_EQ(human_duration(71ms), "71 ms");
  EXPECT_EQ(human_duration(12'300ms), "12.3 s");
  EXPECT_EQ(human_duration(59'960ms), "1 min 00 s");
  EXPECT_EQ(human_duration(245s), "4 min 05 s");
  EXPECT_EQ(human_duration(64min), "1 h 04 min");
  EXPECT_EQ(human_duration(52h), "2 d 04 h");
  EXPECT_EQ(human_wait(0ms), "0 s");
  EXPECT_EQ(human_wait(5'100ms), "6 s");
  EXPECT_EQ(human_wait(242s), "4 min 05 s");
  EXPECT_EQ(human_wait(13min + 1s), "14 min");
  EXPECT_EQ(human_wait(63min + 10s), "1 h 04 min");
  EXPECT_EQ(human_wait(5h + 1min), "5 h 05 min");
}

}  // namespace
}  // namespace pgbackfill::engine
