// A run that is watched and steered in a real browser, by clicks: tests/browser/steer_by_clicks.mjs. Skipped where
// there is no Chromium. PGBACKFILL_SHOTS names a folder for screenshots.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/served_site.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

constexpr int kNoBrowser = 77;

class BrowserTest : public DatabaseTest {};

TEST_F(BrowserTest, ARunIsWatchedPausedResumedTriedAgainAndApproved) {
  std::string const source = PGBACKFILL_SOURCE_DIR;
  auto const fetched = run_program({source + "/tools/fetch-browser-tools"}, 300s);
  if (fetched.exit_code == kNoBrowser) GTEST_SKIP() << fetched.err;
  ASSERT_EQ(fetched.exit_code, 0) << fetched.err;
  client_->exec(
      "CREATE TABLE numbers (id int PRIMARY KEY, n int, note text NOT NULL); INSERT INTO numbers SELECT g, NULL, CASE "
      "WHEN g = 7 THEN 'not a number' ELSE g::text END FROM generate_series(1, 20000) g; ANALYZE numbers");
  write("numbers.yaml",
        "name: numbers\ntable: numbers\nexpand:\n  - add_column: {name: m, type: int}\nbackfill:\n  set: {n: "
        "\"note::int\"}\n  where: n IS NULL\n  batch: {min_rows: 10, max_rows: 50}\n  on_bad_row: {quarantine: "
        "5}\nthrottle:\n  max_rows_per_second: 200\ncontract:\n  - set_not_null: n\n  - drop_column: note\n");
  write("tokens", kTokenLine);
  ServedSite const site({"--dsn", dsn(), "--allow-control", "--token-file", (dir() / "tokens").string()});
  char const* const shots = std::getenv("PGBACKFILL_SHOTS");
  ProgramOptions options;
  options.environment = {{"TOOLS", fetched.out.substr(0, fetched.out.find('\n'))},
                         {"ORIGIN", site.origin()},
                         {"TOKEN", kToken},
                         {"PROGRAM", PGBACKFILL_PROGRAM},
                         {"FILE", (dir() / "numbers.yaml").string()},
                         {"DSN", dsn()},
                         {"NAME", "numbers"},
                         {"PSQL", (engine::find_postgres_binaries() / "psql").string()},
                         {"SHOTS", shots == nullptr ? "" : shots}};
  auto const result = run_program({"node", source + "/tests/browser/steer_by_clicks.mjs"}, 600s, options);
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_EQ(client_->value("SELECT string_agg(DISTINCT kind, ', ' ORDER BY kind) FROM pgbackfill.events WHERE os_user "
                           "= 'alice'"),
            "approved, paused, resumed, set");
}

}  // namespace
}  // namespace pgbackfill::tests
