// Replication slots that may keep little WAL, beside a job that could write more of it than that between two readings.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/migration_run.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class Slots : public CountedTableTest {
 protected:
  static constexpr std::int64_t kRows = 150'000;

  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "slots";
    options.is_fsync_on = false;
    options.wal_level = "logical";
    // A slot is lost at a checkpoint, so they come often.
    options.primary_settings = {"max_slot_wal_keep_size = '64MB'", "wal_keep_size = 0", "min_wal_size = '32MB'",
                                "max_wal_size = '48MB'"};
    cluster_ = std::make_unique<engine::LocalCluster>(options);
    cluster_->start();
  }

  // About 60 MB of rows, and more than 100 MB of WAL to change them all.
  void SetUp() override {
    make_table(kRows);
    client_->exec(fmt::format("ALTER TABLE {0} ADD COLUMN pad text; UPDATE {0} SET pad = repeat('x', 380)", table_));
    client_->exec("VACUUM ANALYZE " + table_);
    client_->exec("CHECKPOINT");
  }

  void TearDown() override {
    client_->exec("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
    client_->exec("ALTER SYSTEM RESET max_slot_wal_keep_size");
    client_->exec("SELECT pg_reload_conf()");
  }

  std::unique_ptr<MigrationRun> job(std::string const& mode, std::string const& ceiling = "") const {
    CountUp options;
    options.workers = 4;
    options.max_rows = 20'000;
    options.throttling = "  bloat: 1000%\n  mode: " + mode + "\n" + ceiling;
    return migration_from(cluster_->dsn(), options);
  }

  std::string slot_status() const { return client_->value("SELECT min(wal_status) FROM pg_replication_slots"); }
  // Status gives each cause a line. A busy machine may have others, which slow the job for their own reasons.
  static bool is_held_by_the_slot(std::string const& page) {
    std::istringstream lines(page);
    for (std::string line; std::getline(lines, line);) {
      bool const is_slower = line.find("of WAL meanwhile") != std::string::npos;
      if (line.find("more of WAL (stop at") != std::string::npos && !is_slower) return true;
    }
    return false;
  }
  static bool waits_to_be_held(MigrationRun& migration) {
    return poll_until([&] { return is_held_by_the_slot(migration.command("status").out); }, 120s, 200ms);
  }
  // Reads the slot as a consumer would, until the process ends.
  testing::AssertionResult ends_while_it_is_read(MigrationRun& migration, Program& process) {
    poll_until(
        [&] {
          EXPECT_NE(slot_status(), "lost");
          client_->exec("CHECKPOINT");
          client_->exec(
              "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_flush_lsn()) FROM pg_replication_slots "
              "WHERE wal_status <> 'lost'");
          return !process.is_running();
        },
        90s, 200ms);
    return migration.ends(process, kDone);
  }
};

TEST_F(Slots, ASlotThatNobodyReadsOutlivesAJobWithoutThrottle) {
  client_->exec("SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')");
  auto const migration = job("off");
  auto& process = migration->start();
  ASSERT_TRUE(waits_to_be_held(*migration)) << migration->story();
  std::string const page = migration->command("status").out;
  EXPECT_THAT(page, HasSubstr("slot cdc may keep only"));
  EXPECT_THAT(page, HasSubstr("nobody reads it now"));
  EXPECT_NE(slot_status(), "lost");
  EXPECT_NE(counts_now(), all_once());
  EXPECT_TRUE(process.is_running());
  EXPECT_TRUE(ends_while_it_is_read(*migration, process)) << migration->story();
  EXPECT_EQ(counts_now(), all_once());
}

TEST_F(Slots, APhysicalSlotThatComesWhileItRunsAndGetsABoundThenIsKept) {
  client_->exec("ALTER SYSTEM SET max_slot_wal_keep_size = -1");
  client_->exec("SELECT pg_reload_conf()");
  // Else a fast machine is through before the slot has its bound.
  auto const migration = job("on", "  max_rows_per_second: 15000\n");
  auto& process = migration->start();
  ASSERT_TRUE(migration->waits_for_rows(1'000)) << migration->story();
  client_->exec("SELECT pg_create_physical_replication_slot('archive', true)");
  client_->exec("ALTER SYSTEM RESET max_slot_wal_keep_size");
  client_->exec("SELECT pg_reload_conf()");
  ASSERT_TRUE(waits_to_be_held(*migration)) << migration->story();
  EXPECT_THAT(migration->command("status").out, HasSubstr("slot archive may keep only"));
  EXPECT_TRUE(ends_while_it_is_read(*migration, process)) << migration->story();
  EXPECT_EQ(counts_now(), all_once());
}

}  // namespace
}  // namespace pgbackfill::tests
