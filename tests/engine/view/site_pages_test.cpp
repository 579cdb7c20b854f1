// The pages of `serve`: values in, markup out that nobody can break out of, and nothing of a row in it.
#include "engine/view/site_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <string>

#include "engine/view/course.h"
#include "engine/view/fewer_samples.h"
#include "engine/view/range_map.h"
#include "engine/view/site_json.h"
#include "engine/view/site_parts.h"
#include "tests/support/html_check.h"

namespace pgbackfill::engine {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using tests::html_trouble;
using tests::html_words;
using tests::PageKind;

constexpr char kHostile[] = "\"><script>alert(1)</script><img src=x onerror=y>\x1b[31m\x01'&";

StatusOverview overview(std::string const& name) {
  StatusOverview one;
  one.name = name;
  one.file = name + ".yaml";
  one.job = 7;
  one.schema = "public";
  one.table = "users";
  one.status = "running";
  one.definition = "table users\nset n\n";
  one.rows_estimated = 1'000;
  one.rows_done = 450;
  one.rows_changed = 400;
  one.ranges_total = 4;
  one.ranges_open = 2;
  one.workers = 2;
  one.processes = 1;
  one.batches = 9;
  one.began = "2026-01-31T02:00:00Z";
  one.elapsed_ms = 60'000;
  return one;
}

MigrationSeen seen_of(std::string const& name) {
  MigrationSeen seen;
  seen.label = "shop";
  seen.report.database = "shop";
  seen.report.server_version = "17.2";
  seen.report.status.overview = overview(name);
  StatusPace pace;
  pace.rows_per_second = 100;
  pace.eta = Eta{std::chrono::minutes(4), std::chrono::minutes(6), std::chrono::minutes(9)};
  seen.pace = pace;
  seen.leases.push_back({"ab12", "host-1", 4711, 2, 20'000, true, ""});
  seen.quarantine.push_back({31, "public.users", "22P02", "2026-01-31T02:00:30Z", "{secret_key}", "secret_message"});
  seen.report.set_aside.push_back({"public.users", "22P02", 1});
  seen.report.steps.push_back({"expand", 1, "add_column: {name: n, type: int}", "2026-01-31T01:59:00Z", 120, 4, ""});
  return seen;
}

SiteFrame reader() {
  SiteFrame frame;
  frame.program = "pgbackfill 0.1.0";
  return frame;
}

SiteFrame operator_frame() {
  auto frame = reader();
  frame.allows_control = true;
  frame.has_login = true;
  frame.who = "alice";
  return frame;
}

std::string page_of(MigrationSeen const& seen, SiteFrame const& frame) {
  return migration_page(seen, migration_sections(seen, frame), frame, "/live/x?database=shop&since=1");
}

TEST(SitePages, ShowWhereAMigrationIs) {
  auto const page = page_of(seen_of("upper_names"), reader());
  EXPECT_EQ(html_trouble(page, PageKind::kServed), "");
  EXPECT_THAT(html_words(page),
              AllOf(HasSubstr("45.0 %"), HasSubstr("about 6 min 00 s left (4 min 00 s to 9 min 00 s)"),
                    HasSubstr("host-1"), HasSubstr("add_column: {name: n, type: int}")));
  EXPECT_THAT(page, AllOf(HasSubstr("aria-valuenow=\"45.0\""), HasSubstr("<caption"), Not(HasSubstr("<form"))));
}

TEST(SitePages, HaveNoWayOutForANameOrAText) {
  auto seen = seen_of(kHostile);
  auto& one = seen.report.status.overview;
  one.reason = kHostile;
  one.table = kHostile;
  one.source = kHostile;
  one.step_failure = kHostile;
  seen.label = kHostile;
  seen.leases.front().process = kHostile;
  seen.report.notes.emplace_back(kHostile);
  seen.report.status.runners.push_back({kHostile, 1, {}, "on", false, 0, {}, 1, {}, {{"lag", "stops", kHostile, {}}}});
  seen.settings.push_back({kHostile, kHostile, "file", kHostile, kHostile});
  state::RangeRow range;
  range.table = kHostile;
  range.rows_estimated = 10;
  seen.ranges.push_back(range);
  auto frame = operator_frame();
  frame.has_databases = true;
  frame.who = kHostile;
  frame.notice = kHostile;
  auto const page = page_of(seen, frame);
  EXPECT_EQ(html_trouble(page, PageKind::kServed), "");
  EXPECT_EQ(page.find("<script>"), std::string::npos);
  EXPECT_EQ(page.find('\x1b'), std::string::npos);
  // The control of a hostile name is no place for a secret.
  auto const forms = page.find("name=\"csrf\" value=\"\x01\"");
  EXPECT_NE(forms, std::string::npos);
  auto const places = static_cast<std::size_t>(std::count(page.begin(), page.end(), kSecretPlace));
  std::size_t named = 0;
  for (auto at = page.find("value=\"\x01\""); at != std::string::npos; at = page.find("value=\"\x01\"", at + 1))
    ++named;
  EXPECT_EQ(places, named);

  DatabaseSeen database;
  database.label = kHostile;
  database.trouble.text = kHostile;
  database.migrations.push_back(one);
  auto const all = overview_page(overview_sections({database}, frame), frame, "/live");
  EXPECT_EQ(html_trouble(all, PageKind::kServed), "");
  EXPECT_EQ(html_trouble(trouble_page(frame, kHostile, kHostile), PageKind::kServed), "");
  EXPECT_EQ(html_trouble(login_page(frame, "/", kHostile), PageKind::kServed), "");
  ContractSeen const contract{kHostile, kHostile, kHostile, "ab", {kHostile}};
  EXPECT_EQ(html_trouble(approval_page(contract, frame), PageKind::kServed), "");
}

TEST(SitePages, ShowNoValueOfARowUnlessTheyAreAllowedTo) {
  auto seen = seen_of("m");
  seen.report.status.overview.reason = "row data at key 7 of t: \"secret_value\" (22P02)";
  for (auto const& frame : {reader(), operator_frame()}) {
    EXPECT_THAT(page_of(seen, frame), AllOf(Not(HasSubstr("secret_")), HasSubstr("22P02"), HasSubstr(">31<")));
  }
  auto const status = boost::json::serialize(status_json(seen, false));
  EXPECT_THAT(status, AllOf(Not(HasSubstr("secret_")), HasSubstr("\"key\":null")));
  auto open = reader();
  open.shows_values = true;
  EXPECT_THAT(page_of(seen, open), AllOf(HasSubstr("secret_key"), HasSubstr("secret_message")));
}

TEST(SitePages, HaveFormsForWhoeverMayControlAlone) {
  auto const seen = seen_of("a/b c");
  auto stranger = operator_frame();
  stranger.who = "";
  EXPECT_THAT(page_of(seen, stranger), AllOf(Not(HasSubstr("/pause")), HasSubstr("href=\"/login\"")));
  auto const page = page_of(seen, operator_frame());
  EXPECT_THAT(page, AllOf(HasSubstr("action=\"/migrations/a%2Fb%20c/pause\""), HasSubstr("/retry-quarantine\""),
                          HasSubstr("/release-leases\""), Not(HasSubstr("/resume\""))));
}

TEST(SitePages, SayWhichDatabaseWhereThereAreSeveral) {
  auto frame = reader();
  EXPECT_EQ(migration_path("m", "shop", frame), "/migrations/m");
  frame.has_databases = true;
  EXPECT_EQ(migration_path("m", "a&b", frame, "pause"), "/migrations/m/pause?database=a%26b");
}

TEST(SitePages, ShowTheOthersBesideADatabaseThatIsAway) {
  DatabaseSeen shop;
  shop.label = "shop";
  shop.migrations = {overview("first"), overview("second")};
  DatabaseSeen stock;
  stock.label = "stock";
  stock.trouble.text = "cannot connect to stock";
  auto frame = reader();
  frame.has_databases = true;
  auto const words = html_words(overview_page(overview_sections({shop, stock}, frame), frame, ""));
  EXPECT_THAT(words, AllOf(HasSubstr("cannot connect to stock"), HasSubstr("first"), HasSubstr("second")));
  EXPECT_LT(words.find("second"), words.find("first")) << "the latest one comes first";
}

TEST(SitePages, AreSmall) {
  EXPECT_LT(site_script().size(), 10'000U);
  auto seen = seen_of("m");
  for (int second = 0; second < 2'000; ++second) {
    StoredSample sample;
    sample.at_ms = 1'700'000'000'000 + second * 5'000;
    sample.took = std::chrono::seconds(5);
    sample.phase = "backfill";
    sample.rows_done = second * 1'000 + (second * 7919) % 997;
    sample.batch_rows = 400 + (second * 31) % 200;
    sample.batch_duration = std::chrono::milliseconds(60 + (second * 17) % 80);
    sample.wal_per_second = 1'000'000 + (second * 7'919) % 500'000;
    sample.lag_ms = {{"db-2", (second * 37) % 900}};
    sample.table_bytes = 50'000'000 + second * 1'000;
    seen.report.samples.push_back(sample);
  }
  for (int number = 0; number < 4'000; ++number) {
    state::RangeRow range;
    range.table = "public.users";
    range.range = number;
    range.rows_estimated = 100;
    range.rows_done = number % 3 == 0 ? 100 : 30;
    range.lo = "{" + std::to_string(number) + "}";
    range.hi = "{" + std::to_string(number + 1) + "}";
    seen.ranges.push_back(range);
  }
  EXPECT_LT(page_of(seen, operator_frame()).size(), 260'000U);
}

TEST(FewerSamples, KeepWhatWasDoneAndWhatWasFelt) {
  std::vector<StoredSample> samples;
  for (int number = 0; number <= 1'000; ++number) {
    StoredSample sample;
    sample.at_ms = 1'000'000 + number * 5'000 + (number > 500 ? 600'000 : 0);  // nobody was there for ten minutes
    sample.took = std::chrono::seconds(5);
    sample.phase = number >= 700 && number < 720 ? "paused" : "backfill";
    sample.rows_done = number * 10;
    sample.lag_ms = {{"db-2", number == 333 ? 9'000 : 10}};
    sample.held_ms = {{"row_rate", 1'000}};
    samples.push_back(sample);
  }
  auto const fewer = fewer_samples(samples, 100);
  EXPECT_GE(fewer.size(), 90U);
  EXPECT_LE(fewer.size(), 110U);
  auto const all = summary_of(samples);
  auto const less = summary_of(fewer);
  EXPECT_EQ(less.rows, all.rows);
  EXPECT_EQ(less.covered, all.covered);
  EXPECT_EQ(less.at_work, all.at_work);
  EXPECT_EQ(less.held_ms, all.held_ms);
  bool const has_worst =
      std::any_of(fewer.begin(), fewer.end(), [](auto const& one) { return one.lag_ms.at("db-2") == 9'000; });
  EXPECT_TRUE(has_worst);
  EXPECT_EQ(fewer_samples(samples, 2'000).size(), samples.size());
}

// --- ranges ----------------------------------------------------------------------------------------------------------

state::RangeRow range(std::int64_t number, std::optional<std::string> lo, std::optional<std::string> hi) {
  state::RangeRow row;
  row.table = "public.t";
  row.range = number;
  row.lo = std::move(lo);
  row.hi = std::move(hi);
  row.rows_estimated = 100;
  return row;
}

TEST(RangeMap, PutsARangeThatWasCutOffBehindItsOther) {
  auto const ordered = in_key_order({range(1, std::nullopt, "{10}"), range(2, "{20}", std::nullopt),
                                     range(3, "{15}", "{20}"), range(4, "{10}", "{15}")});
  std::vector<std::int64_t> numbers;
  for (auto const& one : ordered) numbers.push_back(one.range);
  EXPECT_THAT(numbers, testing::ElementsAre(1, 4, 3, 2));
}

TEST(RangeMap, LosesNoneWhateverIsInTheTable) {
  auto const ordered = in_key_order({range(1, "{1}", "{1}"), range(2, "{5}", "{4}"), range(3, "{4}", "{5}")});
  EXPECT_EQ(ordered.size(), 3U);
}

TEST(RangeMap, SaysInWordsWhatIsDone) {
  auto done = range(1, std::nullopt, "{10}");
  done.is_done = true;
  auto held = range(2, "{10}", std::nullopt);
  held.is_held = true;
  auto const html = range_map_html({done, held}, true);
  EXPECT_THAT(html, AllOf(HasSubstr("public.t: 1 of 2 ranges done, 1 worked on"), Not(HasSubstr("{10}"))));
  EXPECT_EQ(range_map_html({}, true), "");
}

// --- the API ---------------------------------------------------------------------------------------------------------

TEST(SiteJson, DescribesNoChangeWhereThereIsNone) {
  auto const read_only = boost::json::serialize(openapi_json("pgbackfill 0.1.0", false));
  EXPECT_THAT(read_only, AllOf(HasSubstr("\"openapi\":\"3.1.0\""), HasSubstr("\"/api/v1/migrations/{name}/report\":{"),
                               Not(HasSubstr("\"post\""))));
  auto const control = boost::json::serialize(openapi_json("pgbackfill 0.1.0", true));
  EXPECT_THAT(control, AllOf(HasSubstr("\"/api/v1/migrations/{name}/pause\":{\"post\":{"), HasSubstr("\"bearer\"")));
}

TEST(SiteJson, SaysOfWhichDatabaseAMigrationIs) {
  DatabaseSeen shop;
  shop.label = "shop";
  shop.migrations = {overview("m")};
  auto const json = boost::json::serialize(migrations_json({shop}));
  EXPECT_THAT(json, AllOf(HasSubstr("\"migration\":\"m\""), HasSubstr("\"database\":\"shop\""),
                          HasSubstr("\"rows_per_second\":null"), HasSubstr("\"error\":null")));
}

}  // namespace
}  // namespace pgbackfill::engine
