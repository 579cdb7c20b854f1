// Guarantees 2, 7 and 8, and live control: what others hold, break and ask for while a migration runs.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

constexpr std::int64_t kRows = 60'000;
constexpr char kOurs[] = "application_name = 'pgbackfill'";

bool says(Program const& process, std::string const& text) {
  return process.err().find(text) != std::string::npos;
}

class Trouble : public CountedTableTest {
 protected:
  static void SetUpTestSuite() { start_cluster("trouble"); }
  void SetUp() override { make_table(kRows); }

  static std::unique_ptr<PgClient> client_named(std::string const& name) {
    return std::make_unique<PgClient>(cluster_->dsn() + " application_name=" + name);
  }

  std::unique_ptr<MigrationRun> migration(CountUp const& options = {}) const {
    return migration_from(cluster_->dsn(), options);
  }
  std::string deferred(MigrationRun const& run) const {
    return run.state("SELECT count(*) FROM pgbackfill.deferred WHERE job_id = {job}");
  }
  bool waits_for_deferred(MigrationRun const& run, std::string const& rows) const {
    return run.waits_for_rows(1) && poll_until([&] { return deferred(run) == rows; }, 20s);
  }
  void make_trigger(std::string const& when, std::string const& body) {
    client_->exec(
        fmt::format("CREATE FUNCTION {0}_hurdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {2} RETURN "
                    "NEW; END $$; CREATE TRIGGER hurdle BEFORE UPDATE ON {0} FOR EACH ROW WHEN ({1}) EXECUTE "
                    "FUNCTION {0}_hurdle()",
                    table_, when, body));
  }
};

// --- rows that others hold -------------------------------------------------------------------------------------------

class HeldRows : public Trouble {
 protected:
  // Everything else is done, the wait is bounded, and the operator hears who it was.
  void expect_rows_held(MigrationRun& run, PgClient& holder, std::string const& name, std::int64_t held) {
    auto& process = run.start({"--wait-for-rows", "2s"});
    EXPECT_TRUE(run.ends(process, kResumable, 60s));
    EXPECT_TRUE(says(process, fmt::format("pid {}", holder.pid()))) << run.story();
    EXPECT_TRUE(says(process, name)) << run.story();
    EXPECT_EQ(counts_now(), fmt::format("0: {}, 1: {}", held, kRows - held)) << run.story();
    EXPECT_EQ(run.command("gate").exit_code, kGateClosed);
    holder.exec("COMMIT");
    EXPECT_TRUE(run.runs(kDone));
    EXPECT_EQ(counts_now(), all_once()) << run.story();
    EXPECT_EQ(run.command("gate").exit_code, kDone);
  }
};

TEST_F(HeldRows, OneForTheWholeRunIsNamedAndDoneLater) {
  auto holder = client_named("forgotten_psql");
  holder->exec("BEGIN");
  holder->exec(fmt::format("UPDATE {} SET name = 'held' WHERE id = 30000", table_));
  auto run = migration();
  expect_rows_held(*run, *holder, "forgotten_psql", 1);
}

TEST_F(HeldRows, SeveralAreAllDoneLater) {
  auto holder = client_named("long_report");
  holder->exec("BEGIN");
  holder->exec(fmt::format("SELECT id FROM {} WHERE id % 30000 < 9 AND id > 8 FOR UPDATE", table_));
  auto const held = client_->value(fmt::format("SELECT count(*) FROM {} WHERE id % 30000 < 9 AND id > 8", table_));
  auto run = migration();
  expect_rows_held(*run, *holder, "long_report", std::stoll(held));
}

TEST_F(HeldRows, ByForShareAreHeldToo) {
  auto holder = client_named("sharer");
  holder->exec("BEGIN");
  holder->exec(fmt::format("SELECT id FROM {} WHERE id = 3 FOR SHARE", table_));
  auto run = migration();
  expect_rows_held(*run, *holder, "sharer", 1);
}

// Then the row has no single holder: PostgreSQL keeps the list elsewhere.
TEST_F(HeldRows, BySeveralAtOnceAreNamedWithEachOfThem) {
  auto first = client_named("first_sharer");
  auto second = client_named("second_sharer");
  auto third = client_named("referrer");
  for (auto* holder : {first.get(), second.get(), third.get()}) {
    char const* const lock = holder == third.get() ? "FOR KEY SHARE" : "FOR SHARE";
    holder->exec("BEGIN");
    holder->exec(fmt::format("SELECT id FROM {} WHERE id = 3 {}", table_, lock));
  }
  ASSERT_EQ(client_->value(fmt::format("SELECT count(*) FROM {}, pg_get_multixact_members(xmax) WHERE id = 3", table_)),
            "3");
  auto run = migration();
  auto& process = run->start({"--wait-for-rows", "2s"});
  EXPECT_TRUE(run->ends(process, kResumable, 60s));
  EXPECT_TRUE(says(process, fmt::format("pid {} (first_sharer", first->pid()))) << run->story();
  EXPECT_TRUE(says(process, fmt::format("pid {} (second_sharer", second->pid()))) << run->story();
  EXPECT_FALSE(says(process, "referrer")) << "is not in the way" << run->story();
  first->exec("COMMIT");
  second->exec("COMMIT");
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(HeldRows, ByForeignKeysAreInNobodysWay) {
  auto holder = client_named("referrer");
  holder->exec("BEGIN");
  holder->exec(fmt::format("SELECT id FROM {} WHERE id IN (3, 30000, 179997) FOR KEY SHARE", table_));
  auto run = migration();
  EXPECT_TRUE(run->runs(kDone, {"--wait-for-rows", "2s"}));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(HeldRows, ReleasedDuringTheRunAreDoneByIt) {
  auto holder = client_named("slow_writer");
  holder->exec("BEGIN");
  holder->exec(fmt::format("UPDATE {} SET name = 'written' WHERE id IN (3, 6, 90000, 180000)", table_));
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(waits_for_deferred(*run, "4")) << run->story();
  holder->exec("COMMIT");
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  EXPECT_EQ(client_->value(fmt::format("SELECT count(*) FROM {} WHERE name = 'written'", table_)), "4");
}

TEST_F(HeldRows, ThatTheirHolderDeletesAreNotWaitedFor) {
  auto holder = client_named("deleter");
  holder->exec("BEGIN");
  holder->exec(fmt::format("DELETE FROM {} WHERE id IN (3, 90000)", table_));
  auto run = migration();
  auto& process = run->start();
  ASSERT_TRUE(waits_for_deferred(*run, "2")) << run->story();
  holder->exec("COMMIT");
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_EQ(counts_now(), "1: " + std::to_string(kRows - 2)) << run->story();
}

// --- rows that fail by themselves ------------------------------------------------------------------------------------

struct Poison {
  std::string name;
  std::string expression;
  std::string sqlstate;
};

void PrintTo(Poison const& poison, std::ostream* out) {
  *out << poison.expression;
}

class PoisonRows : public Trouble, public testing::WithParamInterface<Poison> {
 protected:
  std::unique_ptr<MigrationRun> poisoned(std::string const& ids, std::string const& more = "") {
    client_->exec(
        fmt::format("ALTER TABLE {0} ADD v text DEFAULT '7', ADD w int, ADD CONSTRAINT w_check CHECK (w < "
                    "100); UPDATE {0} SET v = 'poison' WHERE id IN ({1})",
                    table_, ids));
    if (GetParam().sqlstate == "P0001") make_trigger("NEW.v = 'poison'", "RAISE EXCEPTION 'not this one';");
    return std::make_unique<MigrationRun>(
        table_, cluster_->dsn(),
        fmt::format("table: {}\nbackfill:\n  set: {{n: \"n + 1\", w: \"{}\"}}\n  batch: {{target: 50ms, max_rows: "
                    "2000}}\n{}",
                    table_, GetParam().expression, more));
  }
  void fix_rows() { client_->exec(fmt::format("UPDATE {} SET v = '8' WHERE v = 'poison'", table_)); }
};

TEST_P(PoisonRows, StopTheRunWithTheirKeyAndTheWayOn) {
  auto run = poisoned("90000");
  auto& process = run->start();
  EXPECT_TRUE(run->ends(process, kFailed, 60s));
  EXPECT_TRUE(says(process, "90000")) << "names no key" << run->story();
  EXPECT_TRUE(says(process, GetParam().sqlstate)) << run->story();
  EXPECT_TRUE(says(process, "on_bad_row: {quarantine: ")) << run->story();
  EXPECT_TRUE(says(process, "pgbackfill run ")) << run->story();
  EXPECT_EQ(client_->value(fmt::format("SELECT max(n) || ' ' || bool_or(n = 0) FROM {}", table_)), "1 true");
  fix_rows();
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_P(PoisonRows, GoToQuarantineWithinTheBudget) {
  auto run = poisoned("3, 90000, 180000", "  on_bad_row: {quarantine: 3}\n");
  auto& process = run->start();
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_TRUE(says(process, "3 row(s) are set aside")) << run->story();
  EXPECT_EQ(run->state("SELECT string_agg(key[1] || ' ' || sqlstate, ', ' ORDER BY key[1]::int) FROM "
                       "pgbackfill.quarantine WHERE job_id = {job}"),
            fmt::format("3 {0}, 90000 {0}, 180000 {0}", GetParam().sqlstate))
      << run->story();
  EXPECT_EQ(counts_now(), fmt::format("0: 3, 1: {}", kRows - 3)) << run->story();
  auto const gate = run->command("gate");
  EXPECT_EQ(gate.exit_code, kGateClosed);
  EXPECT_NE(gate.out.find("3 row(s) are quarantined"), std::string::npos) << gate.out << gate.err;
  fix_rows();
  auto const resumed = run->command("resume", {"--retry-quarantine"});
  EXPECT_EQ(resumed.exit_code, kDone) << resumed.out << resumed.err;
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  EXPECT_EQ(run->command("gate").exit_code, kDone);
}

TEST_P(PoisonRows, StopTheRunBeyondTheBudget) {
  auto run = poisoned("3, 90000, 120000, 180000", "  on_bad_row: {quarantine: 3}\n");
  auto& process = run->start();
  EXPECT_TRUE(run->ends(process, kFailed, 60s));
  EXPECT_TRUE(says(process, "more than the 3 that on_bad_row allows")) << run->story();
  EXPECT_EQ(run->state("SELECT count(*) FROM pgbackfill.quarantine WHERE job_id = {job}"), "3");
  fix_rows();
  EXPECT_EQ(run->command("resume", {"--retry-quarantine"}).exit_code, kDone);
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

INSTANTIATE_TEST_SUITE_P(Of, PoisonRows,
                         testing::Values(Poison{"ACast", "v::int", "22P02"},
                                         Poison{"ADivision", "7 / (CASE WHEN v = 'poison' THEN 0 ELSE 1 END)", "22012"},
                                         Poison{"ACheck", "CASE WHEN v = 'poison' THEN 100 ELSE 1 END", "23514"},
                                         Poison{"ATrigger", "7", "P0001"}),
                         [](auto const& instance) { return instance.param.name; });

// --- rows that cannot be set aside as others are ---------------------------------------------------------------------

class HardRows : public DatabaseTest {
 protected:
  void write_file(std::string const& set, std::string const& more = "") const {
    write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {" + set + "}\n" + more);
  }
  void make_rows(int count) const {
    client_->exec(
        fmt::format("CREATE TABLE t (id int PRIMARY KEY, raw text, n int NOT NULL DEFAULT 0); INSERT INTO t "
                    "SELECT g, g::text FROM generate_series(1, {}) g",
                    count));
  }
  void make_trigger(std::string const& level, std::string const& body) const {
    client_->exec(
        fmt::format("CREATE FUNCTION hurdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {1} RETURN NEW; END $$; "
                    "CREATE TRIGGER hurdle BEFORE UPDATE ON t FOR EACH {0} EXECUTE FUNCTION hurdle()",
                    level, body));
  }
  std::string set_aside() const {
    return client_->value(
        "SELECT coalesce(string_agg(key[1] || ' ' || sqlstate, ', ' ORDER BY id), '') FROM pgbackfill.quarantine");
  }
  std::string counts_of() const { return counts(dsn(), "t"); }
  // Of 2.7 kB, which is beyond what fits into an index row together with other columns.
  void make_long_keys() const {
    client_->exec(
        "CREATE TABLE t (url text PRIMARY KEY, raw text, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT "
        "left(string_agg(md5(g || ' ' || k), ''), 2680), g::text FROM generate_series(1, 200) g, generate_series(1, "
        "84) k GROUP BY g");
  }
};

TEST_F(HardRows, WithALongKeyAreSetAside) {
  make_long_keys();
  client_->exec("UPDATE t SET raw = 'x' WHERE url = (SELECT url FROM t ORDER BY url OFFSET 50 LIMIT 1)");
  write_file("n: raw::int * 0 + n + 1", "  on_bad_row: {quarantine: 3}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT count(*) || ' ' || min(sqlstate) FROM pgbackfill.quarantine"), "1 22P02");
  EXPECT_EQ(counts_of(), "0: 1, 1: 199");
}

TEST_F(HardRows, WithALongKeyAreDeferred) {
  make_long_keys();
  PgClient holder(dsn());
  holder.exec("BEGIN; UPDATE t SET n = n WHERE url = (SELECT url FROM t ORDER BY url OFFSET 50 LIMIT 1)");
  write_file("n: n + 1");
  auto const held = run({"run", "m.yaml", "--wait-for-rows", "1s"});
  EXPECT_EQ(held.exit_code, kResumable) << held.err;
  EXPECT_EQ(counts_of(), "0: 1, 1: 199");
  holder.exec("COMMIT");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(counts_of(), "1: 200");
}

TEST_F(HardRows, OnWhichWhereFailsAreSetAside) {
  make_rows(2'000);
  client_->exec("UPDATE t SET raw = 'n/a' WHERE id = 777");
  write_file("n: n + 1", "  where: raw::int > 10 AND n = 0\n  on_bad_row: {quarantine: 3}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(set_aside(), "777 22P02");
  EXPECT_EQ(counts_of(), "0: 11, 1: 1989");
  auto const gate = run({"gate", "m"});
  EXPECT_EQ(gate.exit_code, kGateClosed) << gate.out << gate.err;
  EXPECT_NE(gate.out.find("1 row(s) are quarantined"), std::string::npos) << gate.out << gate.err;
}

TEST_F(HardRows, WithCodesOfTheUsersOwnAreSetAside) {
  make_rows(2'000);
  make_trigger("ROW",
               "IF NEW.id = 5 THEN RAISE EXCEPTION 'archived' USING ERRCODE = 'APP01'; END IF; IF NEW.id = 900 THEN "
               "RAISE EXCEPTION 'not yours' USING ERRCODE = '42501'; END IF; IF NEW.id = 1500 THEN EXECUTE 'INSERT "
               "INTO log_of_2019 SELECT 1'; END IF; IF NEW.id = 2000 THEN RAISE EXCEPTION 'internal' USING ERRCODE = "
               "'XX000'; END IF;");
  write_file("n: n + 1", "  on_bad_row: {quarantine: 4}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT string_agg(key[1] || ' ' || sqlstate, ', ' ORDER BY key[1]::int) FROM "
                           "pgbackfill.quarantine"),
            "5 APP01, 900 42501, 1500 42P01, 2000 XX000");
  EXPECT_EQ(counts_of(), "0: 4, 1: 1996");
}

// 27000, as long as both rows are in one batch.
TEST_F(HardRows, ThatATriggerOfAnotherRowChangesAreDoneInSmallerBatches) {
  make_rows(1'000);
  client_->exec("ALTER TABLE t ADD touched int NOT NULL DEFAULT 0");
  make_trigger("ROW",
               "IF NEW.n <> OLD.n AND NEW.id % 100 = 50 THEN UPDATE t SET touched = touched + 1 WHERE id = NEW.id + "
               "1; END IF;");
  write_file("n: n + 1");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(counts_of(), "1: 1000");
  EXPECT_EQ(client_->value("SELECT sum(touched) FROM t"), "10");
  EXPECT_NE(
      result.err.find("trigger \"hurdle\" changes rows of \"public\".\"t\" itself. Where those are other rows than "
                      "the one that fires it, batches leave another result than one statement, which fails where "
                      "it comes to such a row later (27000)"),
      std::string::npos)
      << result.err;
}

TEST_F(HardRows, ThatATriggerDeletesOrChangesAreToldBeforeAnythingIsTouched) {
  make_rows(100);
  client_->exec(
      "CREATE FUNCTION prune() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.t WHERE id = OLD.id + "
      "50; RETURN NULL; END $$; CREATE TRIGGER prune AFTER UPDATE OF n ON t FOR EACH ROW EXECUTE FUNCTION prune(); "
      "CREATE TRIGGER of_another AFTER UPDATE OF id ON t FOR EACH ROW EXECUTE FUNCTION prune(); CREATE TABLE log (n "
      "int); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE log SET n = n + 1; RETURN "
      "NULL; END $$; CREATE TRIGGER note AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION note()");
  write_file("n: n + 1");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_NE((plan.out + plan.err).find("trigger \"prune\" changes rows of"), std::string::npos) << plan.out << plan.err;
  EXPECT_NE((plan.out + plan.err).find("which fires it after its last row"), std::string::npos) << plan.out;
  EXPECT_EQ((plan.out + plan.err).find("trigger \"note\" changes"), std::string::npos) << plan.out << plan.err;
  EXPECT_EQ((plan.out + plan.err).find("trigger \"of_another\" changes"), std::string::npos) << plan.out << plan.err;
  write_file("n: n + 1", "  triggers: skip\n");
  auto const skipping = run({"plan", "m.yaml"});
  EXPECT_EQ((skipping.out + skipping.err).find("trigger \"prune\" changes"), std::string::npos)
      << skipping.out << skipping.err;
}

TEST_F(HardRows, AnErrorOfEveryStatementEndsTheRunAndSetsNothingAside) {
  make_rows(1'000);
  write_file("n: n + limit_of(id)", "  on_bad_row: {quarantine: 500}\n");
  client_->exec("CREATE FUNCTION limit_of(int) RETURNS int LANGUAGE sql AS 'SELECT 1'");
  make_trigger("ROW", "IF NEW.id = 300 THEN DROP FUNCTION IF EXISTS limit_of(int); END IF;");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kFailed);
  EXPECT_EQ(set_aside(), "");
}

TEST_F(HardRows, ATriggerThatRefusesEveryStatementEndsTheRun) {
  make_rows(100);
  client_->exec("DELETE FROM t WHERE id < 100");
  make_trigger("STATEMENT", "RAISE EXCEPTION 'closed';");
  write_file("n: n + 1", "  on_bad_row: {quarantine: 5}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kFailed) << result.err;
  EXPECT_FALSE(result.is_timed_out);
}

// Not our connection, but one that the work makes.
TEST_F(HardRows, AServerThatTheWorkAsksAndThatIsAwayIsNotALostConnection) {
  make_rows(100);
  make_trigger("ROW", "RAISE EXCEPTION 'could not connect to server \"archive\"' USING ERRCODE = '08001';");
  write_file("n: n + 1");
  Program process({PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--dsn", dsn()});
  EXPECT_TRUE(process.wait_for_output("server is short of resources", 20s));
  std::this_thread::sleep_for(2s);
  EXPECT_LT(std::stoi(client_->value("SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()")),
            100);
  client_->exec("DROP TRIGGER hurdle ON t");
  EXPECT_EQ(process.wait(30s).exit_code, kDone) << process.err();
  EXPECT_EQ(counts_of(), "1: 100");
}

// --- time and order --------------------------------------------------------------------------------------------------

// Takes a row a little ahead of the batches, then one that a batch passed on its way there.
void cross_the_batches(std::string const& dsn, std::string const& table, std::atomic<bool> const& is_over) {
  std::mt19937_64 random(seed_of_tests());
  PgClient client(dsn);
  // Ours is the one that notices.
  client.exec("SET deadlock_timeout = '10s'");
  while (!is_over) {
    auto const cursors = client.exec(
        "SELECT cursor[1] FROM pgbackfill.ranges WHERE NOT done AND owner IS NOT NULL AND cursor IS NOT NULL");
    if (cursors.empty()) continue;
    auto const low = std::stoll(*cursors.front().front()) + 3 * between(random, 1, 600);
    client.try_exec(fmt::format(
        "BEGIN; UPDATE {0} SET name = 'a' WHERE id = {2}; SELECT pg_sleep(0.03); UPDATE {0} SET name = 'b' WHERE id = "
        "{1}; COMMIT",
        table, low, low + 90));
    client.try_exec("ROLLBACK");
  }
}

TEST_F(Trouble, DeadlocksWithForegroundTrafficAreRetried) {
  auto const deadlocks = [&] {
    return std::stoll(client_->value("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'"));
  };
  client_->exec("ALTER SYSTEM SET deadlock_timeout = '60ms'");
  client_->exec("SELECT pg_reload_conf()");
  auto const deadlocks_before = deadlocks();
  // Locks are waited for long enough that the server finds the circle.
  MigrationRun run(table_, cluster_->dsn(),
                   fmt::format("table: {}\nbackfill:\n  set: {{n: \"n + 1\"}}\n  batch: {{target: 200ms, max_rows: "
                               "300}}\nthrottle:\n  lock_wait: 500ms\n  max_rows_per_second: 15000\n",
                               table_));
  auto& process = run.start();
  ASSERT_TRUE(run.waits_for_rows(1)) << run.story();
  std::atomic<bool> is_over{false};
  std::thread traffic([&] { cross_the_batches(cluster_->dsn(), table_, is_over); });
  auto const ended = run.ends(process, kDone);
  is_over = true;
  traffic.join();
  EXPECT_TRUE(ended);
  EXPECT_EQ(counts_now(), all_once()) << run.story();
  EXPECT_TRUE(poll_until([&] { return deadlocks() > deadlocks_before; }, 30s)) << "none happened" << run.story();
  client_->exec("ALTER SYSTEM RESET deadlock_timeout");
  client_->exec("SELECT pg_reload_conf()");
}

TEST_F(Trouble, ASlowRowTimesOutUntilItIsAlone) {
  make_trigger("OLD.id = 90000", "PERFORM pg_sleep(0.3);");
  auto run = migration();
  auto& process = run->start();
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_TRUE(says(process, "statement timeout")) << run->story();
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(Trouble, RowsTooSlowForTheSmallestBatchAreToldOnce) {
  client_->exec(fmt::format("DELETE FROM {} WHERE id > 3000", table_));
  make_trigger("true", "PERFORM pg_sleep(0.001);");
  MigrationRun run(table_, cluster_->dsn(),
                   fmt::format("table: {}\nbackfill:\n  set: {{n: \"n + 1\"}}\n  batch: {{target: 30ms, min_rows: "
                               "50}}\n",
                               table_));
  auto& process = run.start();
  EXPECT_TRUE(run.ends(process, kDone, 60s));
  auto const told = process.err();
  auto const first = told.find("batch size is at its minimum, 50 rows");
  EXPECT_NE(first, std::string::npos) << run.story();
  EXPECT_EQ(told.find("batch size is at its minimum", first + 1), std::string::npos) << run.story();
}

TEST_F(Trouble, ATableLockInTheMiddleIsWaitedForWithoutQueueing) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 20000\n";
  auto run = migration(options);
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows / 4)) << run->story();
  client_->exec("BEGIN");
  auto const asked_at = std::chrono::steady_clock::now();
  client_->exec(fmt::format("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", table_));
  EXPECT_LT(std::chrono::steady_clock::now() - asked_at, 1s) << "a batch was in the way";
  std::this_thread::sleep_for(2s);
  EXPECT_TRUE(process.is_running()) << run->story();
  client_->exec("COMMIT");
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(Trouble, DdlInTheMiddleChangesNothing) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 20000\n";
  auto run = migration(options);
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows / 4)) << run->story();
  client_->exec(
      fmt::format("BEGIN; ALTER TABLE {0} ADD extra int DEFAULT 5; ALTER TABLE {0} ALTER name TYPE "
                  "varchar(9); SELECT pg_sleep(3); COMMIT",
                  table_));
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(Trouble, NoTransactionOfOursGrowsOldOrIdle) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 20000\n";
  auto run = migration(options);
  auto& process = run->start();
  double oldest = 0;
  int idle = 0;
  int samples = 0;
  while (process.is_running()) {
    auto const row = client_
                         ->exec(fmt::format("SELECT coalesce(extract(epoch FROM max(clock_timestamp() - "
                                            "xact_start)), 0), count(*) FILTER (WHERE state LIKE 'idle in "
                                            "transaction%') FROM pg_stat_activity WHERE {}",
                                            kOurs))
                         .front();
    oldest = std::max(oldest, std::stod(*row[0]));
    idle += std::stoi(*row[1]);
    ++samples;
    std::this_thread::sleep_for(5ms);
  }
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_GT(samples, 50);
  EXPECT_LT(oldest, 2.0) << run->story();
  EXPECT_EQ(idle, 0) << run->story();
}

// --- live control ----------------------------------------------------------------------------------------------------

class LiveControl : public Trouble {
 protected:
  void obey(MigrationRun& run, std::string const& word, std::vector<std::string> const& arguments = {}) {
    auto const result = run.command(word, arguments);
    EXPECT_EQ(result.exit_code, kDone) << result.out << result.err;
  }
  std::string sum() { return client_->value(fmt::format("SELECT sum(n) FROM {}", table_)); }
  std::string open_transactions() {
    return client_->value(
        fmt::format("SELECT count(*) FROM pg_stat_activity WHERE {} AND xact_start < now() - interval '0.2 s'", kOurs));
  }
  bool waits_for_connections(int count) {
    auto const query = fmt::format("SELECT count(*) FROM pg_stat_activity WHERE {}", kOurs);
    return poll_until([&] { return client_->value(query) == std::to_string(count); }, 10s);
  }
  // The control session and the one that prepared the run are there besides the workers.
  static constexpr int kOtherConnections = 2;
};

TEST_F(LiveControl, PausesAndResumes) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 20000\n";
  auto run = migration(options);
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows / 6)) << run->story();
  obey(*run, "pause", {"--reason", "lunch"});
  std::this_thread::sleep_for(2s);
  auto const before = sum();
  EXPECT_EQ(open_transactions(), "0");
  std::this_thread::sleep_for(1s);
  EXPECT_EQ(sum(), before) << "still at work" << run->story();
  EXPECT_TRUE(process.is_running()) << run->story();
  EXPECT_NE(before, std::to_string(kRows));
  obey(*run, "resume");
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  EXPECT_EQ(run->state("SELECT string_agg(kind || ' ' || (os_user <> '' AND host <> '' AND pid > 0)::text, ', ' ORDER "
                       "BY id) FROM pgbackfill.events WHERE job_id = {job} AND kind IN ('paused', 'resumed')"),
            "paused true, resumed true");
  EXPECT_EQ(run->state("SELECT count(*) FROM pgbackfill.events WHERE job_id = {job} AND detail LIKE '%lunch%'"), "1");
}

TEST_F(LiveControl, ChangesWorkersAndBatchTarget) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 12000\n";
  auto run = migration(options);
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(1)) << run->story();
  obey(*run, "set", {"workers=4"});
  EXPECT_TRUE(waits_for_connections(4 + kOtherConnections)) << run->story();
  obey(*run, "set", {"workers=1", "batch.target=40ms"});
  EXPECT_TRUE(waits_for_connections(1 + kOtherConnections)) << run->story();
  EXPECT_EQ(run->state("SELECT batch_target_ms FROM pgbackfill.jobs WHERE id = {job}"), "40");
  obey(*run, "set", {"throttle.max_rows_per_second=none"});
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
  EXPECT_EQ(run->state("SELECT count(*) FROM pgbackfill.events WHERE job_id = {job} AND kind = 'set'"), "4");
}

TEST_F(LiveControl, KeepsToARateThatIsSetLater) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 4000\n";
  auto run = migration(options);
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(1'000)) << run->story();
  obey(*run, "set", {"throttle.max_rows_per_second=8000"});
  // The order is heard within a second.
  std::this_thread::sleep_for(1'500ms);
  auto const measure = [&] { return std::pair(std::chrono::steady_clock::now(), std::stod(run->rows_done())); };
  auto const [from, rows_before] = measure();
  std::this_thread::sleep_for(3s);
  auto const [to, rows_after] = measure();
  auto const rate = (rows_after - rows_before) / std::chrono::duration<double>(to - from).count();
  EXPECT_NEAR(rate, 8'000, 1'600) << run->story();
  obey(*run, "set", {"throttle.max_rows_per_second=none"});
  EXPECT_TRUE(run->ends(process, kDone, 60s));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

TEST_F(LiveControl, CancelsUntilItIsResumed) {
  CountUp options;
  options.throttling = "  max_rows_per_second: 12000\n";
  auto run = migration(options);
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(kRows / 6)) << run->story();
  obey(*run, "cancel", {"--reason", "wrong day"});
  EXPECT_TRUE(run->ends(process, kHalted, 60s));
  EXPECT_TRUE(says(process, "wrong day")) << run->story();
  EXPECT_EQ(run->state("SELECT count(*) FROM pgbackfill.ranges WHERE job_id = {job} AND owner IS NOT NULL"), "0");
  EXPECT_TRUE(run->runs(kHalted)) << "a cancelled job must be resumed first";
  obey(*run, "resume");
  obey(*run, "set", {"throttle.max_rows_per_second=none"});
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(counts_now(), all_once()) << run->story();
}

}  // namespace
}  // namespace pgbackfill::tests
