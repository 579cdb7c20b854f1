// `sync: {mirror: ...}` on a real server: while batches copy a table, an application inserts, updates, moves and
// deletes its rows, and in the end the copy is what `columns:` make of the table, row by row.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr char kMirror[] = R"yaml(name: m
table: t
sync:
  mirror: [id]
backfill:
  copy_to: t_new
  columns: {id: id, a: "upper(a)", doubled: "n * 2", state: "'copied'"}
  where: n >= 0
)yaml";

constexpr char kMakeCopy[] =
    "CREATE TYPE state AS ENUM ('copied', 'other'); CREATE TABLE t_new (id bigint PRIMARY KEY, a text, doubled bigint "
    "CHECK (doubled % 2 = 0), state state NOT NULL, extra int DEFAULT 7)";

// What the copy has and should not have, and the other way round.
constexpr char kDifferences[] =
    "SELECT count(*) FROM (SELECT id::bigint AS id, upper(a) AS a, n::bigint * 2 AS doubled FROM t WHERE n >= 0) "
    "expected FULL JOIN t_new c USING (id) WHERE expected.* IS NULL OR c.* IS NULL OR (expected.a, expected.doubled) "
    "IS "
    "DISTINCT FROM (c.a, c.doubled)";

class MirrorTest : public DatabaseTest {
 protected:
  void make_tables(int rows, std::string const& partitioned = "") const {
    client_->exec(fmt::format("CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, a text) {}", partitioned));
    if (!partitioned.empty()) {
      client_->exec(
          "CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (MINVALUE) TO (1000); CREATE TABLE t_mid (a text, n int "
          "NOT "
          "NULL, gone int, id int NOT NULL); ALTER TABLE t_mid DROP COLUMN gone; ALTER TABLE t ATTACH PARTITION t_mid "
          "FOR VALUES FROM (1000) TO (2000); CREATE TABLE t_high PARTITION OF t DEFAULT");
    }
    client_->exec(fmt::format(
        "INSERT INTO t SELECT g, (g + 10) % 50 - 2, 'row ' || g FROM generate_series(1, {}) g; ANALYZE t", rows));
    client_->exec(kMakeCopy);
  }
  void install_only() const {
    write("m.yaml", kMirror);
    auto const result = run({"run", "m.yaml"});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
  }
  std::unique_ptr<Program> start(std::string const& backfill, std::string const& throttle = "  mode: off\n") const {
    write("m.yaml", std::string(kMirror) + backfill + "throttle:\n" + throttle);
    ProgramOptions options;
    options.working_dir = dir();
    return std::make_unique<Program>(std::vector<std::string>{PGBACKFILL_PROGRAM, "run", "m.yaml", "--dsn", dsn()},
                                     options);
  }
  bool is_blocked(PgClient const& client) const {
    return client_->value(fmt::format("SELECT cardinality(pg_blocking_pids({})) > 0", client.pid())) == "t";
  }
  bool waits_for(PgClient const& client) const {
    return client_->value(fmt::format("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {} = ANY "
                                      "(pg_blocking_pids(pid)))",
                                      client.pid())) == "t";
  }
  void expect_equal() const {
    EXPECT_EQ(client_->value(kDifferences), "0") << client_->value(
        "SELECT string_agg(format('%s: %s, copied %s', id, t, c), E'\n') FROM t FULL JOIN t_new c USING (id) WHERE "
        "(t.n < 0 AND c.id IS NOT NULL) OR (t.n >= 0 AND (c.id IS NULL OR upper(t.a) <> c.a OR t.n * 2 <> "
        "c.doubled)) OR t.id IS NULL");
  }
};

// --- the races, one interleaving each -------------------------------------------------------------------------------

// Stops the batch when it is about to insert row 50, so that it has read that row and the rows before it.
constexpr char kStopAtRow50[] =
    "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id = 50 AND "
    "current_setting('application_name') = 'pgbackfill' THEN PERFORM pg_advisory_xact_lock_shared(43); WHILE NOT "
    "pg_try_advisory_xact_lock(42) LOOP PERFORM pg_sleep(0.005); END LOOP; END IF; RETURN NEW; END $$; CREATE TRIGGER "
    "stop BEFORE INSERT ON t_new FOR EACH ROW EXECUTE FUNCTION stop()";

TEST_F(MirrorTest, WhoWritesARowThatABatchHasReadComesAfterIt) {
  make_tables(100);
  client_->exec(kStopAtRow50);
  PgClient holder(dsn());
  holder.exec("SELECT pg_advisory_lock(42)");
  // A batch of all rows, with time to wait.
  auto const program = start("  workers: 1\n  batch: {target: 20s}\n", "  mode: off\n  lock_wait: 30s\n");
  ASSERT_TRUE(poll_until([&] {
    return client_->value("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 43)") == "t";
  })) << program->err();
  std::vector<std::string> const writes = {
      "DELETE FROM t WHERE id = 50",           "DELETE FROM t WHERE id = 49",
      "UPDATE t SET a = 'late' WHERE id = 48", "UPDATE t SET id = 1047 WHERE id = 47",
      "UPDATE t SET n = -1 WHERE id = 46",     "DELETE FROM t WHERE id = 45; INSERT INTO t VALUES (45, 3, 'again')",
      "UPDATE t SET n = 5 WHERE id = 40"};
  std::vector<std::unique_ptr<PgClient>> writers;
  for (auto const& sql : writes) {
    writers.push_back(std::make_unique<PgClient>(dsn()));
    writers.back()->send(sql);
  }
  // All of them wait for the batch, but for the last: its row is not one that is copied.
  for (std::size_t number = 0; number + 1 < writers.size(); ++number) {
    EXPECT_TRUE(poll_until([&] { return is_blocked(*writers[number]) || writers[number]->has_answer(); }));
    EXPECT_FALSE(writers[number]->has_answer()) << writes[number] << " did not wait";
  }
  writers.back()->receive();
  holder.exec("SELECT pg_advisory_unlock(42)");
  for (std::size_t number = 0; number + 1 < writers.size(); ++number) writers[number]->receive();
  EXPECT_EQ(program->wait(90s).exit_code, kDone);
  expect_equal();
  EXPECT_EQ(
      client_->value("SELECT string_agg(id || ' ' || a, ', ' ORDER BY id) FROM t_new WHERE id IN (40, 45, 46, 47, "
                     "48, 49, 50, 1047)"),
      "40 ROW 40, 45 AGAIN, 48 LATE, 1047 ROW 47");
}

// The other order: a batch that waits for a writer copies what he leaves, not what its snapshot shows.
TEST_F(MirrorTest, ABatchThatWaitsForAWriterCopiesWhatHeLeaves) {
  make_tables(100);
  PgClient writer(dsn());
  write("m.yaml", kMirror);
  // The trigger is there before the writer, and the copy is empty.
  client_->exec("CREATE TABLE kept AS SELECT * FROM t; TRUNCATE t");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("DELETE FROM pgbackfill.jobs; INSERT INTO t SELECT * FROM kept; DELETE FROM t_new");
  writer.exec(
      "BEGIN; DELETE FROM t WHERE id = 50; UPDATE t SET a = 'late' WHERE id = 49; UPDATE t SET id = 1048 WHERE id = "
      "48; "
      "UPDATE t SET n = -1 WHERE id = 47; UPDATE t SET n = 9 WHERE id = 1");
  auto const program = start("  workers: 1\n  batch: {target: 20s}\n", "  mode: off\n  lock_wait: 30s\n");
  EXPECT_TRUE(poll_until([&] { return waits_for(writer); }));
  writer.exec("COMMIT");
  EXPECT_EQ(program->wait(90s).exit_code, kDone);
  expect_equal();
}

TEST_F(MirrorTest, RowsThatSomebodyHoldsAreCopiedLater) {
  make_tables(1000);
  PgClient writer(dsn());
  writer.exec("BEGIN; SELECT FROM t WHERE id = 1");
  install_only();
  writer.exec("COMMIT");
  client_->exec("DELETE FROM pgbackfill.jobs; DELETE FROM t_new");
  writer.exec(
      "BEGIN; DELETE FROM t WHERE id = 50; UPDATE t SET a = 'late' WHERE id = 49; UPDATE t SET id = 1048 WHERE id = "
      "48; "
      "SELECT FROM t WHERE id = 45 FOR UPDATE; UPDATE t SET n = -1 WHERE id = 44; DELETE FROM t WHERE id = 43; INSERT "
      "INTO t VALUES (43, 8, 'again')");
  // As a foreign key's check does, which is in nobody's way.
  writer.exec("SELECT FROM t WHERE id = 42 FOR KEY SHARE");
  auto const program = start("  workers: 2\n", "  mode: off\n  lock_wait: 20ms\n");
  EXPECT_TRUE(poll_until([&] {
    return client_->value("SELECT count(*) FROM pgbackfill.deferred") == "6" &&
           client_->value("SELECT count(*) FROM t_new") == client_->value("SELECT count(*) - 6 FROM t WHERE n >= 0");
  })) << client_->value("SELECT string_agg(key::text, ' ') FROM pgbackfill.deferred");
  writer.exec("ROLLBACK; BEGIN; UPDATE t SET a = 'later' WHERE id = 49; DELETE FROM t WHERE id = 50; COMMIT");
  EXPECT_EQ(program->wait(90s).exit_code, kDone);
  expect_equal();
}

TEST_F(MirrorTest, AnOldSnapshotFailsRatherThanMissesTheCopy) {
  make_tables(100);
  std::vector<std::string> const writes = {"DELETE FROM t WHERE id = 50", "UPDATE t SET a = 'late' WHERE id = 49",
                                           "UPDATE t SET id = 1048 WHERE id = 48", "UPDATE t SET n = -1 WHERE id = 47"};
  for (char const* level : {"REPEATABLE READ", "SERIALIZABLE"}) {
    SCOPED_TRACE(level);
    client_->exec("TRUNCATE t_new");
    if (client_->value("SELECT to_regclass('pgbackfill.jobs') IS NOT NULL") == "t") {
      client_->exec("DELETE FROM pgbackfill.jobs");
    }
    std::vector<std::unique_ptr<PgClient>> writers;
    for (std::size_t number = 0; number < writes.size(); ++number) {
      writers.push_back(std::make_unique<PgClient>(dsn()));
      writers.back()->exec(fmt::format("BEGIN ISOLATION LEVEL {}; SELECT 1", level));
    }
    install_only();
    for (std::size_t number = 0; number < writes.size(); ++number) {
      EXPECT_EQ(writers[number]->try_exec(writes[number]), "40001") << writes[number];
      writers[number]->exec("ROLLBACK");
    }
    expect_equal();
    // What was not copied, and what is copied and seen, goes its way.
    PgClient again(dsn());
    again.exec(fmt::format("BEGIN ISOLATION LEVEL {}; SELECT 1; DELETE FROM t WHERE n < 0 AND id > 60", level));
    again.exec("INSERT INTO t VALUES (2000, 4, 'new'); DELETE FROM t WHERE id IN (2000, 90); COMMIT");
    expect_equal();
    client_->exec("INSERT INTO t VALUES (90, 2, 'x')");
  }
}

// Such a snapshot also shows a row that somebody else deleted or moved since, beside the one that now has its key.
TEST_F(MirrorTest, AnOldSnapshotDoesNotCopyARowThatIsGone) {
  for (bool const is_partitioned : {false, true}) {
    SCOPED_TRACE(is_partitioned);
    client_->exec("DROP TABLE IF EXISTS t, t_new; DROP TYPE IF EXISTS state; DROP SCHEMA IF EXISTS pgbackfill CASCADE");
    make_tables(100, is_partitioned ? "PARTITION BY RANGE (id)" : "");
    install_only();
    for (char const* level : {"REPEATABLE READ", "SERIALIZABLE"}) {
      for (char const* removal : {"DELETE FROM t WHERE id = 50", "UPDATE t SET id = 5050 WHERE id = 50",
                                  "UPDATE t SET a = 'late' WHERE id = 50; DELETE FROM t WHERE id = 50"}) {
        for (char const* write : {
                 "INSERT INTO t VALUES (50, 4, 'new')",
                 "INSERT INTO t VALUES (50, -4, 'new')",
                 "UPDATE t SET id = 50 WHERE id = 60",
                 "INSERT INTO t VALUES (50, 4, 'new'); DELETE FROM t WHERE id = 50",
                 "INSERT INTO t VALUES (50, 4, 'new'); UPDATE t SET id = 51 WHERE id = 50",
             }) {
          SCOPED_TRACE(fmt::format("{}: {}; {}", level, removal, write));
          client_->exec("TRUNCATE t");
          client_->exec("INSERT INTO t VALUES (50, 2, 'old'), (60, 6, 'other')");
          PgClient writer(dsn());
          writer.exec(fmt::format("BEGIN ISOLATION LEVEL {}; SELECT count(*) FROM t", level));
          client_->exec(removal);
          EXPECT_EQ(writer.try_exec(write), "40001");
          writer.exec("ROLLBACK");
          expect_equal();
          // What is there again when the snapshot is taken goes its way, twice in one transaction as well.
          client_->exec("DELETE FROM t WHERE id = 50");
          writer.exec(
              fmt::format("BEGIN ISOLATION LEVEL {}; {}; UPDATE t SET n = n WHERE id = 50; COMMIT", level, write));
          expect_equal();
        }
      }
    }
  }
}

// --- many writers at once -------------------------------------------------------------------------------------------

class Writer {
 public:
  Writer(std::string const& dsn, unsigned seed) : client_(dsn), random_(seed) {}

  // A transaction of one to three statements. What collides with another writer is rolled back.
  void write_once() {
    bool const is_strict = pick(1, 10) == 1;
    client_.exec(is_strict ? "BEGIN ISOLATION LEVEL REPEATABLE READ" : "BEGIN");
    bool is_sound = true;
    for (int left = pick(1, 3); is_sound && left > 0; --left) {
      auto const sql = statement();
      auto const state = client_.try_exec(sql);
      is_sound = state == "00000";
      bool const is_expected = is_sound || state == "23505" || state == "40001" || state == "40P01";
      EXPECT_TRUE(is_expected) << state << " of " << sql;
    }
    client_.exec(is_sound && pick(1, 8) != 1 ? "COMMIT" : "ROLLBACK");
  }

 private:
  int pick(int least, int most) { return std::uniform_int_distribution<int>(least, most)(random_); }

  std::string statement() {
    int const id = pick(1, 3000);
    int const other = pick(1, 3000);
    int const n = pick(-3, 60);
    switch (pick(0, 9)) {
      case 0:
        return fmt::format("DELETE FROM t WHERE id = {}", id);
      case 1:
        return fmt::format(
            "INSERT INTO t VALUES ({}, {}, 'in {}') ON CONFLICT (id) DO UPDATE SET n = excluded.n, a = "
            "excluded.a",
            id, n, n);
      case 2:
        return fmt::format("INSERT INTO t VALUES ({}, {}, 'in') ON CONFLICT DO NOTHING", id, n);
      case 3:
        return fmt::format("UPDATE t SET id = {} WHERE id = {}", other, id);
      case 4:
        // A save of the whole row.
        return fmt::format("UPDATE t SET id = id, n = n, a = 'saved {}' WHERE id = {}", n, id);
      case 5:
        return fmt::format("UPDATE t SET n = {} WHERE id BETWEEN {} AND {}", n, id, id + 20);
      case 6:
        return fmt::format("COPY t (id, n, a) FROM PROGRAM 'printf \"{}\\t{}\\tcopied\\n\"'", id, n);
      case 7:
        // Two rows change places, by way of a third key.
        return fmt::format(
            "UPDATE t SET id = -{0} WHERE id = {0}; UPDATE t SET id = {0} WHERE id = {1}; UPDATE t SET "
            "id = {1} WHERE id = -{0}",
            id, other);
      case 8:
        return fmt::format(
            "WITH gone AS (DELETE FROM t WHERE id = {} RETURNING n, a) INSERT INTO t SELECT {}, n, a "
            "FROM gone",
            id, other);
      default:
        return fmt::format("UPDATE t SET n = -n, a = a || '.' WHERE id = {}", id);
    }
  }

  PgClient client_;
  std::mt19937 random_;
};

class MirrorTwinTest : public MirrorTest {
 protected:
  void writers_and_batches_agree(std::string const& backfill) const {
    std::atomic<bool> is_over{false};
    std::atomic<int> writes{0};
    auto const go = [&](unsigned seed) {
      Writer writer(dsn(), seed);
      while (!is_over) {
        writer.write_once();
        ++writes;
      }
    };
    auto const seed = static_cast<unsigned>(seed_of_tests());
    SCOPED_TRACE(fmt::format("PGBACKFILL_SEED={}", seed));
    std::vector<std::thread> threads;
    for (unsigned number = 0; number < 4; ++number) threads.emplace_back(go, seed + number);
    // Several times, so that the copy meets the writers in all of its states.
    for (int round = 0; round < 4; ++round) {
      auto const program = start(backfill, "  mode: off\n  lock_wait: 20ms\n");
      auto const result = program->wait(120s);
      EXPECT_EQ(result.exit_code, kDone) << result.err;
      EXPECT_EQ(client_->value("SELECT status || ' ' || sweeps FROM pgbackfill.jobs"), "complete false");
      int const before = writes;
      EXPECT_TRUE(poll_until([&] { return writes > before + 100; }, 60s));
      if (round < 3)
        client_->exec("BEGIN; DELETE FROM pgbackfill.jobs; LOCK TABLE t; DELETE FROM t_new WHERE id % 3 <> 0; COMMIT");
    }
    is_over = true;
    for (auto& thread : threads) thread.join();
    expect_equal();
  }
};

TEST_F(MirrorTwinTest, WritersAndBatchesAgree) {
  make_tables(2500);
  writers_and_batches_agree("  workers: 3\n  batch: {min_rows: 1, max_rows: 40}\n");
}

TEST_F(MirrorTwinTest, WritersAndBatchesAgreeOverPartitions) {
  make_tables(2500, "PARTITION BY RANGE (id)");
  writers_and_batches_agree("  workers: 3\n  batch: {min_rows: 1, max_rows: 40}\n");
}

// --- one statement at a time ----------------------------------------------------------------------------------------

TEST_F(MirrorTest, EachKindOfWriteIsCarried) {
  make_tables(30);
  install_only();
  client_->exec(
      "CREATE TABLE log (id int); CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.a = "
      "'first' THEN UPDATE t SET a = 'second' WHERE id BETWEEN NEW.id AND NEW.id + 3; ELSIF NEW.a = 'doomed' THEN "
      "DELETE "
      "FROM t WHERE id = NEW.id; END IF; RETURN NULL; END $$; CREATE TRIGGER zz_again AFTER INSERT OR UPDATE ON t FOR "
      "EACH ROW EXECUTE FUNCTION again(); CREATE TRIGGER \"AA again\" AFTER UPDATE ON t FOR EACH ROW WHEN (NEW.n = 33) "
      "EXECUTE FUNCTION again()");
  for (char const* sql : {
           "INSERT INTO t VALUES (100, 1, 'x'), (101, -1, 'y')",
           "UPDATE t SET id = id + 1000 WHERE id > 20",
           "UPDATE t SET n = -5 WHERE id = 3; UPDATE t SET n = 5 WHERE id = 101",
           "DELETE FROM t WHERE id = 4",
           // Other triggers write the same row again, before ours and after it.
           "UPDATE t SET a = 'first' WHERE id IN (7, 8, 9)",
           "UPDATE t SET a = 'first', n = 33 WHERE id IN (9, 10, 11)",
           "UPDATE t SET a = 'doomed' WHERE id = 12",
           "INSERT INTO t VALUES (201, 1, 'doomed'), (202, 1, 'first')",
           "INSERT INTO t VALUES (5, 1, 'z') ON CONFLICT DO NOTHING",
           "INSERT INTO t VALUES (5, 1, 'z') ON CONFLICT (id) DO UPDATE SET a = excluded.a",
           "COPY t FROM PROGRAM 'printf \"300\\t4\\tcopied\\n\"'",
           "SET session_replication_role = replica; UPDATE t SET a = 'replica' WHERE id = 6; RESET "
           "session_replication_role",
           "SET search_path = ''; UPDATE public.t SET a = 'path' WHERE id = 13; RESET search_path",
           "UPDATE t SET id = -id; UPDATE t SET id = -id - 1",
           "WITH d AS (DELETE FROM t WHERE id BETWEEN 1 AND 9 RETURNING *) INSERT INTO t SELECT -id, n, a FROM d",
           "TRUNCATE t",
           "INSERT INTO t VALUES (1, 1, 'after')",
       }) {
    client_->exec(sql);
    ASSERT_EQ(client_->value(kDifferences), "0") << sql;
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM t_new"), "1");
}

// What the index calls equal may be written in two ways.
TEST_F(MirrorTest, AKeyThatIsWrittenInAnotherWayIsCarried) {
  for (char const* type : {"numeric", "float8"}) {
    SCOPED_TRACE(type);
    client_->exec(
        fmt::format("DROP TABLE IF EXISTS t, t_new; DROP SCHEMA IF EXISTS pgbackfill CASCADE; CREATE TABLE t (id {0}, "
                    "sub int, n int, "
                    "PRIMARY KEY (id, sub)); INSERT INTO t SELECT g, 0, g FROM generate_series(0, 20) g; CREATE TABLE "
                    "t_new (id {0}, "
                    "sub int, n int, PRIMARY KEY (id, sub))",
                    type));
    write("m.yaml",
          "name: m\ntable: t\nsync: {mirror: [id, sub]}\nbackfill: {copy_to: t_new, columns: {id: id, sub: sub, n: "
          "n}}\n");
    ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
    for (char const* sql : {"UPDATE t SET id = '1.00', n = 100 WHERE id = 1", "UPDATE t SET id = '-0' WHERE id = 0",
                            "UPDATE t SET id = id * '1.0'", "UPDATE t SET id = -id, sub = sub + 1",
                            "UPDATE t SET id = '2.000' WHERE id = -2; UPDATE t SET id = '2.0' WHERE id = 2",
                            "DELETE FROM t WHERE id = -3; INSERT INTO t VALUES ('-3.0', 1, 7)",
                            "BEGIN ISOLATION LEVEL SERIALIZABLE; UPDATE t SET id = '-4.0' WHERE id = -4; COMMIT"}) {
      client_->exec(sql);
      EXPECT_EQ(
          client_->value("SELECT count(*) FROM (SELECT id::text, sub, n FROM t EXCEPT ALL SELECT id::text, sub, n "
                         "FROM t_new) d"),
          "0")
          << sql;
      EXPECT_EQ(client_->value("SELECT (SELECT count(*) FROM t) - (SELECT count(*) FROM t_new)"), "0") << sql;
    }
  }
}

TEST_F(MirrorTest, WhoWritesTheTableNeedNotKnowTheCopy) {
  make_tables(10);
  install_only();
  client_->exec(
      "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mirror_writer') THEN CREATE ROLE mirror_writer "
      "LOGIN; END IF; END $$; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO mirror_writer; CREATE SCHEMA "
      "evil; "
      "GRANT USAGE ON SCHEMA evil TO mirror_writer; CREATE FUNCTION evil.upper(text) RETURNS text LANGUAGE sql AS "
      "$$SELECT 'evil'$$");
  PgClient writer(dsn("mirror_writer"));
  writer.exec(
      "SET search_path = evil, public, pg_catalog; UPDATE t SET a = 'b' WHERE id = 5; DELETE FROM t WHERE id = "
      "6; INSERT INTO t VALUES (11, 1, 'c')");
  EXPECT_EQ(writer.try_exec("SELECT FROM t_new"), "42501");
  expect_equal();
  writer.exec("TRUNCATE t");
  expect_equal();
}

TEST_F(MirrorTest, BatchesOfAnotherMigrationAreCarried) {
  make_tables(500);
  install_only();
  write("other.yaml", "name: other\ntable: t\nbackfill:\n  set: {a: \"a || '!'\"}\nthrottle: {mode: off}\n");
  ASSERT_EQ(run({"run", "other.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT bool_and(a LIKE '%!') FROM t_new"), "t");
  expect_equal();
}

// A row that the copy refuses by another of its unique indexes is not lost without a word.
TEST_F(MirrorTest, AnotherUniqueIndexOfTheCopyDoesNotSwallowRows) {
  make_tables(100);
  client_->exec("UPDATE t SET a = 'same' WHERE id IN (60, 70); CREATE UNIQUE INDEX ON t_new (a)");
  write("m.yaml", kMirror);
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("23505"));
}

TEST_F(MirrorTest, GateAndRunNoticeThatTheTriggersWereGone) {
  make_tables(10);
  install_only();
  ASSERT_EQ(run({"gate", "m"}).exit_code, kDone);
  for (char const* trigger : {"~pgbackfill_m", "~pgbackfill~truncate_m"}) {
    client_->exec(
        fmt::format("ALTER TABLE t DISABLE TRIGGER \"{0}\"; ALTER TABLE t ENABLE ALWAYS TRIGGER \"{0}\"", trigger));
    auto const gate = run({"gate", "m"});
    EXPECT_EQ(gate.exit_code, kGateClosed) << trigger;
    EXPECT_THAT(gate.out + gate.err, HasSubstr("the sync trigger was dropped, disabled or replaced"));
  }
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~pgbackfill%'"), "0");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_proc WHERE proname LIKE 'sync\\_%'"), "0");
}

// Nobody counts the rows of a copy: the table has to be the one that they went to, with the files that it had.
TEST_F(MirrorTest, GateSeesACopyThatWasReplacedOrEmptied) {
  make_tables(100);
  install_only();
  ASSERT_EQ(run({"gate", "m"}).exit_code, kDone);
  client_->exec("VACUUM FULL t_new");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone) << "written anew, with all of its rows";
  client_->exec("ALTER TABLE t_new RENAME TO t_kept; CREATE TABLE t_new (LIKE t_kept INCLUDING ALL)");
  auto const other = run({"gate", "m"});
  EXPECT_EQ(other.exit_code, kGateClosed);
  EXPECT_THAT(other.out, HasSubstr("the table of copy_to is not the one that rows were copied to"));
  client_->exec("DROP TABLE t_new; ALTER TABLE t_kept RENAME TO t_new");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  client_->exec("TRUNCATE t_new");
  auto const empty = run({"gate", "m"});
  EXPECT_EQ(empty.exit_code, kGateClosed);
  EXPECT_THAT(empty.out, HasSubstr("row(s) are not in the copy, which was emptied or written anew"));
}

TEST_F(MirrorTest, ARestingJobDoesNotGoOnWithAnotherCopy) {
  make_tables(1000);
  write("m.yaml", "name: m\ntable: t\nbackfill: {copy_to: t_new, columns: {id: id, a: a, state: \"'copied'\"}}\n");
  ASSERT_EQ(run({"run", "m.yaml", "--limit", "300"}).exit_code, kResumable);
  client_->exec("ALTER TABLE t_new RENAME TO t_kept; CREATE TABLE t_new (LIKE t_kept INCLUDING ALL)");
  auto const refused = run({"run", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, HasSubstr("table \"public\".\"t_new\" is another one"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM t_new"), "0");
  client_->exec("DROP TABLE t_new; ALTER TABLE t_kept RENAME TO t_new");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT count(*) FROM t_new"), "1000");
}

TEST_F(MirrorTest, ACopyThatACrashWouldEmptyIsRefused) {
  make_tables(10);
  client_->exec("ALTER TABLE t_new SET UNLOGGED");
  write("m.yaml", kMirror);
  for (char const* command : {"plan", "run"}) {
    auto const refused = run({command, "m.yaml"});
    EXPECT_EQ(refused.exit_code, kUsage) << command;
    EXPECT_THAT(refused.out + refused.err, HasSubstr("\"t_new\" is UNLOGGED: a crash of the server would empty it"));
  }
  client_->exec("ALTER TABLE t SET UNLOGGED");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone) << "a crash would empty both";
}

TEST_F(MirrorTest, ACopyOnAnotherServerIsRefused) {
  make_tables(10);
  client_->exec(
      "CREATE FOREIGN DATA WRAPPER none; CREATE SERVER none FOREIGN DATA WRAPPER none; CREATE FOREIGN TABLE far (id "
      "int, n "
      "int) SERVER none; CREATE TABLE near (id int, n int) PARTITION BY RANGE (id); CREATE FOREIGN TABLE near_1 "
      "PARTITION OF "
      "near DEFAULT SERVER none");
  for (char const* copy : {"far", "near"}) {
    write("m.yaml", fmt::format("name: m\ntable: t\nbackfill: {{copy_to: {}, columns: {{id: id, n: n}}}}\n", copy));
    auto const refused = run({"run", "m.yaml"});
    EXPECT_EQ(refused.exit_code, kUsage) << copy << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("is a foreign table or has a foreign partition")) << copy;
  }
}

// No trigger fires for the rows of a partition that is attached, detached or dropped.
TEST_F(MirrorTest, GateSeesPartitionsThatCameOrWentWithTheirRows) {
  make_tables(2500, "PARTITION BY RANGE (id)");
  client_->exec(
      "ALTER TABLE t DETACH PARTITION t_high; CREATE TABLE t_late (LIKE t_high INCLUDING ALL); INSERT INTO t_late "
      "SELECT g, "
      "5, 'late' FROM generate_series(5001, 5010) g; ALTER TABLE t ATTACH PARTITION t_high FOR VALUES FROM (2000) TO "
      "(5000)");
  write("m.yaml", kMirror);
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"gate", "m"}).exit_code, kDone);
  // One that is made empty gets its rows by way of the trigger.
  client_->exec(
      "CREATE TABLE t_daily PARTITION OF t FOR VALUES FROM (6000) TO (7000); INSERT INTO t VALUES (6001, 1, 'daily')");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);

  client_->exec("ALTER TABLE t ATTACH PARTITION t_late FOR VALUES FROM (5000) TO (6000)");
  auto const came = run({"gate", "m"});
  EXPECT_EQ(came.exit_code, kGateClosed);
  EXPECT_THAT(came.out, HasSubstr("partition \"public\".\"t_late\" was attached with rows that no trigger saw"));
  client_->exec("UPDATE t SET id = id WHERE tableoid = 't_late'::regclass");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  expect_equal();

  for (char const* removal : {"ALTER TABLE t DETACH PARTITION t_mid", "DROP TABLE t_daily"}) {
    client_->exec(removal);
    auto const went = run({"gate", "m"});
    EXPECT_EQ(went.exit_code, kGateClosed) << removal;
    EXPECT_THAT(went.out, HasSubstr("rows of the copy are not in the table any more"));
    client_->exec("DELETE FROM t_new c WHERE NOT EXISTS (SELECT FROM t WHERE t.id = c.id)");
    EXPECT_EQ(run({"gate", "m"}).exit_code, kDone) << removal;
    expect_equal();
  }
}

TEST_F(MirrorTest, RefusesWhatCannotBeKeptEqual) {
  make_tables(10);
  struct Case {
    std::string change;
    std::string file;
    std::string message;
  };
  auto const file = [](std::string const& key, std::string const& columns) {
    return "name: m\ntable: t\nsync: {mirror: " + key + "}\nbackfill: {copy_to: c, columns: " + columns + "}\n";
  };
  std::string const plain = "{id: id, a: a}";
  std::vector<Case> const cases = {
      {"CREATE TABLE c (id int PRIMARY KEY, a text)", file("[id]", "{id: id + 0, a: a}"), "copied as it is"},
      {"CREATE TABLE c (id int, a text)", file("[id]", plain), "no unique or exclusion constraint"},
      {"CREATE TABLE c (id int PRIMARY KEY DEFERRABLE, a text)", file("[id]", plain), "deferrable"},
      {"CREATE TABLE c (id smallint PRIMARY KEY, a text)", file("[id]", plain), "has to be of the same type"},
      {"CREATE TABLE c (id int, a text PRIMARY KEY)", file("[a]", plain), "lies within the columns"},
      {"CREATE TABLE c (id int, a text, UNIQUE (id, a))", file("[id, a]", plain), "NOT NULL there"},
      {"CREATE TABLE c (id int PRIMARY KEY, a int GENERATED ALWAYS AS IDENTITY)", file("[id]", "{id: id, a: n}"),
       "which no update can set"},
      {"CREATE TABLE c (id int PRIMARY KEY, a int)", file("[id]", plain), "of type integer"},
      {"CREATE TABLE c (id int PRIMARY KEY, a text)", file("[b]", plain), "column 'b' is not in 'columns'"},
      {"CREATE TABLE c (id int PRIMARY KEY, a text)",
       "name: m\ntable: t\nsync: {mirror: [id]}\nbackfill: {set: {a: upper(a)}}\n", "needs 'copy_to'"},
  };
  for (auto const& one : cases) {
    client_->exec("DROP TABLE IF EXISTS c; " + one.change);
    write("m.yaml", one.file);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << one.file << result.err;
    EXPECT_THAT(result.err, HasSubstr(one.message)) << one.file;
    EXPECT_EQ(client_->value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~pgbackfill%'"), "0");
  }
}

}  // namespace
}  // namespace pgbackfill::tests
