// The file of a profile, there and back, and files that are none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <variant>

#include "engine/rehearse/forecast.h"
#include "engine/rehearse/profile_file.h"
#include "planner/model/replace_all.h"

namespace pgbackfill::engine {
namespace {

using testing::HasSubstr;

Profile small_profile() {
  Profile profile;
  profile.program = "pgbackfill 0.1.0";
  profile.migration = "users_display_name";
  profile.taken_at_seconds = 1796116533.912823;
  profile.settings["shared_buffers"] = "128MB";
  profile.batch = BatchCost{1'000, 21.5, 4'096, false};
  planner::TableProfile table;
  table.table = {"public", "users"};
  table.kind = "r";
  table.rows = 12;
  planner::ColumnProfile column;
  column.name = "na\"me";
  column.null_share = 0.1;
  column.common_shares = {0.25, 0.125};
  column.widths = {1, 2, 3};
  table.columns = {column};
  table.unique_keys = {{"id"}, {"a", "b"}};
  table.foreign_keys = {{"fk", {"a"}, {"public", "teams"}, {"id"}}};
  profile.tables = {table};
  return profile;
}

std::string wrong(std::string const& text) {
  auto const read = read_profile_text(text);
  auto const* problem = std::get_if<std::string>(&read);
  return problem == nullptr ? "nothing" : *problem;
}

TEST(ProfileFile, ComesBackAsItWas) {
  auto const text = profile_text(small_profile());
  auto const read = read_profile_text(text);
  ASSERT_TRUE(std::holds_alternative<Profile>(read)) << std::get<std::string>(read);
  EXPECT_EQ(profile_text(std::get<Profile>(read)), text);
  auto const& profile = std::get<Profile>(read);
  EXPECT_EQ(profile.taken_at_seconds, 1796116533.912823);
  EXPECT_EQ(profile.tables.at(0).columns.at(0).common_shares.at(1), 0.125);
  EXPECT_EQ(profile.tables.at(0).foreign_keys.at(0).parent.name, "teams");
}

TEST(ProfileFile, RefusesOneThatWasEdited) {
  auto text = profile_text(small_profile());
  planner::replace_all(text, "\"rows\": 12", "\"rows\": 13");
  EXPECT_THAT(wrong(text), HasSubstr("it was changed since it was written"));
}

TEST(ProfileFile, RefusesOneOfANewerProgram) {
  auto text = profile_text(small_profile());
  planner::replace_all(text, "\"version\": 1", "\"version\": 9");
  EXPECT_THAT(wrong(text), HasSubstr("it has version 9, and this program reads up to 1"));
}

TEST(ProfileFile, RefusesWhatIsNone) {
  EXPECT_THAT(wrong(""), HasSubstr("it is no JSON"));
  EXPECT_THAT(wrong("[1]"), HasSubstr("it is no profile"));
  EXPECT_THAT(wrong("{\"format\": \"pg_dump\"}"), HasSubstr("it is no profile"));
  auto const text = profile_text(small_profile());
  EXPECT_THAT(wrong(text.substr(0, text.size() / 2)), HasSubstr("it is no JSON"));
}

TEST(Forecast, GrowsWithTheRowsButForWhatIsFixed) {
  auto const forecast = forecast_ms(1'100, 100, {10, 2.0});
  EXPECT_DOUBLE_EQ(forecast.expected, 100 + 1'000 * 10 * 2);
  EXPECT_LT(forecast.low, forecast.expected);
  EXPECT_GT(forecast.high, forecast.expected);
}

TEST(Forecast, IsWideWhereNothingIsKnownOfTheHardware) {
  auto const known = forecast_ms(1'000, 0, {5, 1.0});
  auto const unknown = forecast_ms(1'000, 0, {5, std::nullopt});
  EXPECT_EQ(known.expected, unknown.expected);
  EXPECT_GT(unknown.high, 2 * known.high);
  EXPECT_LT(unknown.low, known.low / 2);
}

TEST(Forecast, ComparesBatchesOfTheSameKindAlone) {
  BatchCost const there{1'000, 40, 0, false};
  BatchCost const here{500, 10, 0, false};
  BatchCost const of_copy{500, 10, 0, true};
  EXPECT_DOUBLE_EQ(hardware_ratio(there, here).value(), 2);
  EXPECT_FALSE(hardware_ratio(there, of_copy));
  EXPECT_FALSE(hardware_ratio(std::nullopt, here));
}

TEST(Forecast, TellsTheStartFromThePace) {
  auto const pace = pace_of({{1'000, 0}, {2'000, 1'000}, {3'000, 2'000}, {4'000, 3'000}});
  EXPECT_DOUBLE_EQ(pace.rows_per_second, 1'000);
  EXPECT_DOUBLE_EQ(pace.start_ms, 1'000);
  EXPECT_EQ(pace_of({}).rows_per_second, 0);
}

TEST(Forecast, HoldsAMigrationToItsLimits) {
  planner::RehearsalLimits limits;
  limits.max_time = std::chrono::seconds(10);
  limits.max_lock_wait = std::chrono::seconds(1);
  limits.max_growth = 0.3;
  RehearsalReport report;
  report.total_ms = {5'000, 9'000, 15'000};
  report.lock_wait_ms = 1'500;
  report.growth = 0.2;
  auto const judged = judge_limits(limits, report);
  ASSERT_EQ(judged.size(), 3U);
  EXPECT_EQ(judged[0].verdict, LimitVerdict::kDoubtful);
  EXPECT_EQ(judged[1].verdict, LimitVerdict::kBroken);
  EXPECT_EQ(judged[2].verdict, LimitVerdict::kKept);
}

}  // namespace
}  // namespace pgbackfill::engine
