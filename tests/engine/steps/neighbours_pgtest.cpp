// What a migration shares a table and a server with: other migrations, subscribers of logical replication, standbys.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class Neighbours : public DatabaseTest {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.is_fsync_on = false;
    options.wal_level = "logical";
    options.replicas = 1;
    cluster_ = std::make_unique<engine::LocalCluster>(options);
    cluster_->start();
  }

  void TearDown() override {
    client_->exec(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_type = 'logical' AND database "
        "= current_database()");
    DatabaseTest::TearDown();
  }

  void make_t() const {
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, a text, n int); INSERT INTO t SELECT g, 'a' || g FROM "
        "generate_series(1, 200) g");
  }
  // A subscriber that stops nobody: its slot is there.
  void subscribe(std::string const& publication) const {
    client_->exec(publication);
    client_->exec("SELECT pg_create_logical_replication_slot('s_' || left(current_database(), 50), 'pgoutput')");
  }
  ProgramResult run_file(std::string const& name, std::string const& text) const {
    write(name, text);
    return run({"run", name});
  }
};

std::string filling(std::string const& name, std::string const& column, std::string const& expression) {
  return fmt::format(
      "name: {0}\ntable: t\nexpand:\n  - add_column: {{name: {1}, type: text}}\nsync: {{set: {{{1}: \"{2}\"}}}}\n"
      "backfill: {{set: {{{1}: \"{2}\"}}, where: {1} IS NULL}}\nthrottle: {{mode: off}}\n",
      name, column, expression);
}

// --- other migrations -----------------------------------------------------------------------------------------------

TEST_F(Neighbours, SyncsFireInTheOrderOfWhatTheyReadWhateverTheirNames) {
  make_t();
  ASSERT_EQ(run_file("b.yaml", filling("z_first", "b", "upper(a)")).exit_code, kDone);
  ASSERT_EQ(run_file("c.yaml", filling("a_second", "c", "b || '!'")).exit_code, kDone);
  ASSERT_EQ(run_file("d.yaml", filling("b_third", "d", "c || '?'")).exit_code, kDone);
  client_->exec("UPDATE t SET a = 'new' WHERE id = 1; INSERT INTO t (id, a) VALUES (1000, 'fresh')");
  EXPECT_EQ(client_->value("SELECT string_agg(b || c || d, ' ' ORDER BY id) FROM t WHERE id IN (1, 1000)"),
            "NEWNEW!NEW!? FRESHFRESH!FRESH!?");
  EXPECT_EQ(run({"gate", "a_second"}).exit_code, kDone);
  // They are taken away whatever they are called.
  for (char const* name : {"b_third", "a_second", "z_first"}) {
    EXPECT_EQ(run({"complete", name, "--yes"}).exit_code, kDone) << name;
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~pgbackfill%'"), "0");
}

TEST_F(Neighbours, ASyncThatAnotherOneReadsFiresBeforeIt) {
  make_t();
  client_->exec("ALTER TABLE t ADD b text, ADD c text");
  ASSERT_EQ(run_file("c.yaml", "name: a_reader\ntable: t\nsync: {set: {c: \"b || '!'\"}}\n").exit_code, kDone);
  ASSERT_EQ(run_file("b.yaml", "name: z_writer\ntable: t\nsync: {set: {b: \"upper(a)\"}}\n").exit_code, kDone);
  client_->exec("UPDATE t SET a = 'new' WHERE id = 1");
  EXPECT_EQ(client_->value("SELECT b || c FROM t WHERE id = 1"), "NEWNEW!");
}

TEST_F(Neighbours, SyncsThatReadEachOtherAreRefusedByName) {
  make_t();
  client_->exec("ALTER TABLE t ADD b text, ADD c text");
  ASSERT_EQ(run_file("one.yaml", "name: one\ntable: t\nsync: {set: {b: c}}\n").exit_code, kDone);
  auto const refused = run_file("two.yaml", "name: two\ntable: t\nsync: {set: {c: b}}\n");
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("two.yaml:3:1: sync: "), HasSubstr("migration one")));
}

TEST_F(Neighbours, WhatAnotherMigrationNeedsIsNotTakenAway) {
  make_t();
  ASSERT_EQ(run_file("fill.yaml", filling("fill_b", "b", "upper(a)")).exit_code, kDone);
  for (char const* step : {"drop_column: a", "rename_column: {name: a, to: x}", "rename_table: {to: u}",
                           "sql: ALTER TABLE public.t DROP COLUMN a"}) {
    write("m.yaml", fmt::format("name: cleanup\ntable: public.t\ncontract:\n  - {}\n", step));
    EXPECT_THAT(run({"plan", "m.yaml", "--format", "json"}).out, HasSubstr("migration fill_b needs")) << step;
    ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone) << step;
    auto const refused = run({"complete", "m.yaml", "--yes"});
    EXPECT_EQ(refused.exit_code, kGateClosed) << step;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("m.yaml:4:"), HasSubstr("contract step 1 ("),
                                   HasSubstr("migration fill_b needs"), HasSubstr("its sync trigger")))
        << step;
  }
  client_->exec("UPDATE t SET a = 'still' WHERE id = 1");
  // Another column may go; and this one once nobody reads it.
  write("m.yaml", "name: other\ntable: t\ncontract:\n  - drop_column: n\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"complete", "other", "--yes"}).exit_code, kDone);
  ASSERT_EQ(run({"complete", "fill_b", "--yes"}).exit_code, kDone);
  write("m.yaml", "name: last\ntable: t\ncontract:\n  - drop_column: a\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const done = run({"complete", "last", "--yes"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
}

// Nothing would count what differs then, and the swap would bring it into use.
TEST_F(Neighbours, NobodyElseChangesTheRowsOfACopyThatATriggerKeeps) {
  make_t();
  client_->exec("CREATE TABLE t_new (id int PRIMARY KEY, a text, n int, own int)");
  std::string const keeping =
      "name: keeping\ntable: t\nsync:\n  mirror: [id]\nbackfill:\n  copy_to: t_new\n  columns: {id: id, a: a, n: n}\n";
  auto const of_copy = [](std::string const& name, std::string const& work) {
    return "name: " + name + "\ntable: t_new\nbackfill:\n  " + work + "\n";
  };
  auto const kept = run_file("keeping.yaml", keeping);
  ASSERT_EQ(kept.exit_code, kDone) << kept.err;
  for (std::string const work :
       {"set: {n: n + 1}", "delete: true\n  where: n > 5", "sql: UPDATE t_new SET a = 'x' WHERE {batch}"}) {
    auto const other = run_file("other.yaml", of_copy("other", work));
    EXPECT_EQ(other.exit_code, kGateClosed) << work << other.out << other.err;
    EXPECT_THAT(other.err, HasSubstr("the sync trigger of migration keeping keeps t_new as a copy")) << work;
  }
  EXPECT_THAT(run({"plan", "other.yaml"}).out, HasSubstr("in the way: "));
  // What the trigger does not fill is nobody's.
  auto const own = run_file("own.yaml", of_copy("own", "set: {own: id}"));
  EXPECT_EQ(own.exit_code, kDone) << own.err;
  // The other way round, while a job is open.
  client_->exec(
      "DROP TABLE t_new; CREATE TABLE t_new (id int PRIMARY KEY, a text, n int); INSERT INTO t_new VALUES (1)");
  auto const rolled_back = run({"rollback", "keeping", "--yes"});
  ASSERT_EQ(rolled_back.exit_code, kDone) << rolled_back.err;
  auto const open = run_file("open.yaml", of_copy("open", "set: {a: \"'y' || (1 / (id - 1))\"}"));
  ASSERT_NE(open.exit_code, kDone);
  auto const late = run_file("keeping.yaml", keeping);
  EXPECT_EQ(late.exit_code, kGateClosed) << late.err;
  EXPECT_THAT(late.err, HasSubstr("backfill of migration open"));
}

// Without the one every write to the table would fail, and without the other two rows would be one in the copy.
TEST_F(Neighbours, TheKeysThatAMirrorGoesByStay) {
  struct Taking {
    std::string key_of_copy;
    std::string step;
  };
  std::vector<Taking> const takings = {
      {"ALTER TABLE t_new ADD PRIMARY KEY (no)", "drop_constraint: {table: t_new, name: t_new_pkey}"},
      {"CREATE UNIQUE INDEX t_no ON t_new (no)", "drop_index: {table: t_new, name: t_no}"},
      {"ALTER TABLE t_new ADD PRIMARY KEY (no)", "swap_primary_key: {table: t_new, name: t_new_pkey, columns: [a]}"},
      {"ALTER TABLE t_new ADD PRIMARY KEY (no)", "drop_constraint: {table: t, name: t_pkey}"},
  };
  for (auto const& one : takings) {
    client_->exec("DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP TABLE IF EXISTS t, t_new");
    make_t();
    client_->exec("CREATE TABLE t_new (no int NOT NULL, a text NOT NULL); " + one.key_of_copy);
    auto const kept = run_file(
        "keeping.yaml",
        "name: keeping\ntable: t\nsync:\n  mirror: [no]\nbackfill:\n  copy_to: t_new\n  columns: {no: id, a: a}\n");
    ASSERT_EQ(kept.exit_code, kDone) << kept.err;
    auto const taken = run_file("taking.yaml", "name: taking\nexpand:\n  - " + one.step + "\n");
    EXPECT_EQ(taken.exit_code, kGateClosed) << one.step << taken.out << taken.err;
    EXPECT_THAT(taken.err, HasSubstr("migration keeping needs")) << one.step;
    client_->exec("INSERT INTO t VALUES (1000, 'a')");
  }
}

TEST_F(Neighbours, RollbackDoesNotTakeAwayWhatAnotherSyncReads) {
  make_t();
  ASSERT_EQ(run_file("b.yaml", filling("one", "b", "upper(a)")).exit_code, kDone);
  ASSERT_EQ(run_file("c.yaml", filling("two", "c", "lower(b)")).exit_code, kDone);
  auto const refused = run({"rollback", "one", "--yes"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("column b"), HasSubstr("migration two needs")));
  ASSERT_EQ(run({"rollback", "two", "--yes"}).exit_code, kDone);
  EXPECT_EQ(run({"rollback", "one", "--yes"}).exit_code, kDone);
}

TEST_F(Neighbours, WhatAnOpenContractStepIsAboutStays) {
  make_t();
  ASSERT_EQ(run_file("one.yaml",
                     "name: one\ntable: t\nexpand:\n  - add_column: {name: b, type: text}\ncontract:\n  - "
                     "set_not_null: a\n")
                .exit_code,
            kDone);
  ASSERT_EQ(run_file("two.yaml", "name: two\ntable: t\ncontract:\n  - drop_column: a\n").exit_code, kDone);
  auto const refused = run({"complete", "two", "--yes"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, HasSubstr("its contract step 1 (set_not_null"));
}

// A job that rests: what it reads beside its table, the index it goes by, and what its checks will ask.
TEST_F(Neighbours, WhatARestingJobGoesByIsNotTakenAway) {
  struct Case {
    char const* work;
    char const* table;  // of the step
    char const* step;
    char const* needed;
  };
  constexpr char kSet[] = "backfill: {set: {n: n + 1}, batch: {min_rows: 1, max_rows: 5}}\n";
  constexpr char kMove[] = "backfill: {move_to: d, where: id > 3, batch: {min_rows: 1, max_rows: 5}}\n";
  std::string const checked = kSet;
  std::string const orphans = checked + "verify: [{no_orphans: {columns: [id], references: l, to: [k]}}]\n";
  std::string const counted = checked + "verify: [{row_count: l}]\n";
  std::string const zero = checked + "verify: [{zero: SELECT count(*) FROM l WHERE k < 0}]\n";
  std::vector<Case> const cases = {
      {kMove, "d", "drop_table: d", "table d"},
      {kMove, "d", "rename_table: {to: dd}", "table d"},
      {kMove, "d", "drop_column: a", "column a of d"},
      {orphans.c_str(), "l", "drop_table: l", "its check"},
      {counted.c_str(), "l", "drop_table: l", "its check"},
      {zero.c_str(), "l", "drop_table: l", "its check"},
      {kSet, "t", "swap_primary_key: {name: t_other, columns: [w]}", "the primary key of t"},
      {kSet, "t", "drop_constraint: t_pkey", "index t_pkey"},
      {kSet, "t", "sql: DROP TABLE t", "table t"},
      {"backfill: {dedupe: {by: [a], keep: ORDER BY id}, batch: {min_rows: 1, max_rows: 5}}\n", "t", "drop_index: t_a",
       "index t_a"},
  };
  for (auto const& one : cases) {
    SCOPED_TRACE(fmt::format("{}{}", one.work, one.step));
    client_->exec(
        "DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP TABLE IF EXISTS t, d, l; CREATE TABLE t (id int PRIMARY KEY, a "
        "text, "
        "n int, w int NOT NULL); INSERT INTO t SELECT g, 'a' || g / 2, g, g FROM generate_series(1, 60) g; CREATE "
        "INDEX t_a ON t "
        "(a); CREATE TABLE d (LIKE t INCLUDING ALL); CREATE TABLE l (k int PRIMARY KEY); INSERT INTO l SELECT "
        "generate_series(1, 60)");
    write("job.yaml", fmt::format("name: job\ntable: t\n{}throttle: {{mode: off}}\n", one.work));
    auto const job = run({"run", "job.yaml", "--limit", "10"});
    ASSERT_EQ(job.exit_code, kResumable) << job.err;
    write("m.yaml", fmt::format("name: cleanup\ntable: {}\ncontract:\n  - {}\n", one.table, one.step));
    run({"run", "m.yaml"});
    auto const refused = run({"complete", "m.yaml", "--yes"});
    EXPECT_EQ(refused.exit_code, kGateClosed);
    EXPECT_THAT(refused.err, AllOf(HasSubstr("migration job needs"), HasSubstr(one.needed)));
    ASSERT_EQ(run({"run", "job.yaml"}).exit_code, kDone);
  }
}

// --- subscribers ----------------------------------------------------------------------------------------------------

TEST_F(Neighbours, ASubscriberThatWouldStopHasToBeAgreedTo) {
  make_t();
  subscribe("CREATE PUBLICATION everything FOR ALL TABLES");
  std::string const text = "name: m\ntable: t\nbackfill: {set: {n: \"1\"}, where: n IS NULL}\nthrottle: {mode: off}\n";
  write("m.yaml", text);
  auto const names_both = AllOf(HasSubstr("schema pgbackfill"), HasSubstr("everything (FOR ALL TABLES)"),
                                HasSubstr("slot s_db_"), HasSubstr("--subscribers-ready"));
  EXPECT_THAT(run({"plan", "m.yaml", "--format", "json"}).out, HasSubstr("everything (FOR ALL TABLES)"));
  EXPECT_THAT(run({"doctor", "m.yaml", "--format", "json"}).out, HasSubstr("everything (FOR ALL TABLES)"));
  for (auto const& words : std::vector<std::vector<std::string>>{{"run", "m.yaml"}, {"init"}}) {
    auto const refused = run(words);
    EXPECT_EQ(refused.exit_code, kGateClosed);
    EXPECT_THAT(refused.err, names_both);
  }
  EXPECT_EQ(client_->value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
  EXPECT_EQ(run({"run", "m.yaml", "--subscribers-ready"}).exit_code, kDone);
  // The state is there now, and nothing new is made.
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
}

TEST_F(Neighbours, ANewColumnOfAPublishedTableHasToBeAgreedToInTheFile) {
  make_t();
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  subscribe("CREATE PUBLICATION p FOR TABLE t");
  std::string const text = "name: m\ntable: t\nexpand:\n  - add_column: {name: b, type: text}\n";
  auto const refused = run_file("m.yaml", text);
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("column b of t, published by p"), Not(HasSubstr("schema pgbackfill, "))));
  EXPECT_EQ(run_file("m.yaml", text + "subscribers_ready: true\n").exit_code, kDone);
}

TEST_F(Neighbours, WhatSqlMakesOfAPublishedTableHasToBeAgreedToAsWell) {
  make_t();
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  subscribe("CREATE PUBLICATION p FOR TABLE t");
  std::pair<char const*, char const*> const cases[] = {
      {"ALTER TABLE public.t ADD COLUMN b text, ADD c int", "column c of public.t, published by p"},
      {"ALTER TABLE t RENAME a TO b", "column b of t, published by p"},
      {"ALTER TABLE t RENAME TO u", "table u, published by p"}};
  for (auto const& [sql, text] : cases) {
    auto const refused = run_file("m.yaml", fmt::format("name: m\ntable: t\nexpand:\n  - sql: {}\n", sql));
    EXPECT_EQ(refused.exit_code, kGateClosed) << sql;
    EXPECT_THAT(refused.err, HasSubstr(text)) << sql;
  }
  EXPECT_EQ(client_->value("SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = "
                           "'t'::regclass AND attnum > 0"),
            "id a n");
  EXPECT_EQ(
      run_file("m.yaml", "name: m\ntable: t\nexpand:\n  - sql: ALTER TABLE t ADD CHECK (n > 0) NOT VALID\n").exit_code,
      kDone);
}

TEST_F(Neighbours, PublicationsWithoutASubscriberHoldUpNobody) {
  make_t();
  client_->exec("CREATE PUBLICATION everything FOR ALL TABLES");
  auto const done =
      run_file("m.yaml", "name: m\ntable: t\nexpand:\n  - add_column: {name: b, type: text}\nthrottle: {mode: off}\n");
  EXPECT_EQ(done.exit_code, kDone) << done.err;
}

// The remedy that the message names, with a subscriber in another database of the server.
TEST_F(Neighbours, ASubscriberWithTheSchemaGoesOn) {
  make_t();
  std::string const other = database_ + "_s";
  client_->exec("CREATE DATABASE " + other);
  PgClient subscriber(cluster_->dsn() + " dbname=" + other);
  subscriber.exec("CREATE TABLE t (id int PRIMARY KEY, a text, n int)");
  subscribe("CREATE PUBLICATION everything FOR ALL TABLES");
  std::string const slot =
      client_->value("SELECT slot_name FROM pg_replication_slots WHERE database = current_database()");
  subscriber.exec(
      fmt::format("CREATE SUBSCRIPTION {0} CONNECTION '{1}' PUBLICATION everything WITH (create_slot = "
                  "false, slot_name = '{0}')",
                  slot, dsn()));
  auto const count = [&](std::string const& where) {
    return subscriber.value("SELECT count(*) FROM t WHERE " + where);
  };
  ASSERT_TRUE(poll_until([&] { return count("true") == "200"; }));
  ASSERT_EQ(run_program({PGBACKFILL_PROGRAM, "init", "--dsn", cluster_->dsn() + " dbname=" + other}).exit_code, 0);
  write("m.yaml", "name: m\ntable: t\nbackfill: {set: {n: \"1\"}, where: n IS NULL}\nthrottle: {mode: off}\n");
  ASSERT_EQ(run({"run", "m.yaml", "--subscribers-ready"}).exit_code, kDone);
  client_->exec("INSERT INTO t VALUES (1000, 'later', 7)");
  EXPECT_TRUE(poll_until([&] { return count("n = 1") == "200" && count("id = 1000") == "1"; }));
  subscriber.exec(fmt::format("ALTER SUBSCRIPTION {} DISABLE", slot));
  subscriber.exec(fmt::format("ALTER SUBSCRIPTION {} SET (slot_name = NONE)", slot));
  subscriber.exec(fmt::format("DROP SUBSCRIPTION {}", slot));
  ASSERT_TRUE(poll_until([&] {
    return client_->value("SELECT count(*) FROM pg_replication_slots WHERE active AND slot_type = 'logical'") == "0";
  }));
}

TEST_F(Neighbours, ACopyThatIsPublishedNeedsAReplicaIdentity) {
  make_t();
  client_->exec("CREATE TABLE b (id int NOT NULL UNIQUE, a text); CREATE PUBLICATION everything FOR ALL TABLES");
  for (char const* sync : {"sync: {mirror: [id]}\n", ""}) {
    auto const refused = run_file(
        "m.yaml", fmt::format("name: m\ntable: t\n{}backfill: {{copy_to: b, columns: {{id: id, a: a}}}}\n", sync));
    EXPECT_EQ(refused.exit_code, kUsage) << sync;
    EXPECT_THAT(refused.err, AllOf(HasSubstr("publication everything"), HasSubstr("no replica identity"))) << sync;
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~pgbackfill%'"), "0");
  client_->exec("ALTER TABLE b REPLICA IDENTITY USING INDEX b_id_key");
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
}

TEST_F(Neighbours, WhatTellsSubscribersWhichRowItIsStays) {
  client_->exec(
      "CREATE TABLE t (a int NOT NULL, n int); CREATE UNIQUE INDEX t_a ON t (a); ALTER TABLE t REPLICA IDENTITY USING "
      "INDEX t_a; CREATE TABLE u (id int PRIMARY KEY, n int); CREATE PUBLICATION p FOR TABLE t, u");
  std::pair<char const*, char const*> const cases[] = {
      {"t", "drop_index: t_a"}, {"t", "drop_column: a"}, {"u", "drop_constraint: u_pkey"}, {"u", "drop_column: id"}};
  int number = 0;
  for (auto const& [table, step] : cases) {
    auto const refused =
        run_file("m.yaml", fmt::format("name: m{}\ntable: {}\nexpand:\n  - {}\n", ++number, table, step));
    EXPECT_EQ(refused.exit_code, kUsage) << step;
    EXPECT_THAT(refused.err, HasSubstr("replica identity of the table")) << step;
  }
  client_->exec("UPDATE t SET n = 1; UPDATE u SET n = 1");
}

// --- standbys -------------------------------------------------------------------------------------------------------

TEST_F(Neighbours, ReplayedLocksAreNamed) {
  make_t();
  std::string const text = "name: m\ntable: t\nexpand:\n  - add_column: {name: b, type: text}\n";
  write("m.yaml", text);
  EXPECT_THAT(
      run({"plan", "m.yaml", "--format", "json"}).out,
      AllOf(HasSubstr("it replays the ACCESS EXCLUSIVE lock of expand step 1"), HasSubstr("prepared statement")));
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone);
  EXPECT_THAT(done.err, AllOf(HasSubstr("is replayed on 1 standby(s)"), HasSubstr("--standby CONNINFO")));
}

TEST_F(Neighbours, AReaderOnAStandbyIsWaitedFor) {
  make_t();
  ASSERT_TRUE(wait_until_replayed(*cluster_));
  std::string const standby = cluster_->replica_dsn(0) + " dbname=" + database_;
  PgClient reader(standby);
  reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  reader.exec("SELECT count(*) FROM t");
  std::this_thread::sleep_for(2s);
  for (char const* step : {"add_column: {name: b, type: text}", "sql: ALTER TABLE t ADD b text",
                           "sql: TRUNCATE t; ALTER TABLE t ADD b text"}) {
    write("m.yaml", fmt::format("name: m\ntable: t\nexpand:\n  - {}\n", step));
    auto const gave_up = run({"run", "m.yaml", "--standby", standby, "--lock-patience", "1s"});
    EXPECT_EQ(gave_up.exit_code, kResumable) << step;
    EXPECT_THAT(gave_up.err,
                AllOf(HasSubstr("the replay of its lock would wait for pid"), HasSubstr("on standby host=")))
        << step;
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'b'"), "0");
  reader.exec("COMMIT");
  auto const done = run({"run", "m.yaml", "--standby", standby});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_THAT(done.err, Not(HasSubstr("is replayed on")));
}

// --- what depends on the row -----------------------------------------------------------------------------------------

TEST_F(Neighbours, WhatTakesRowsAsAWholeIsNamed) {
  make_t();
  client_->exec(
      "CREATE TABLE t_log (LIKE t); CREATE FUNCTION t_audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO "
      "t_log SELECT NEW.*; RETURN NULL; END'; CREATE TRIGGER t_audit AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION "
      "t_audit(); CREATE FUNCTION t_many() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO t_log SELECT * FROM "
      "arrived; RETURN NULL; END'; CREATE TRIGGER t_many AFTER INSERT ON t REFERENCING NEW TABLE AS arrived FOR EACH "
      "STATEMENT EXECUTE FUNCTION t_many(); CREATE FUNCTION t_plain() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
      "NEW.n := 1; RETURN NEW; END'; CREATE TRIGGER t_plain BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION "
      "t_plain(); CREATE FUNCTION find_t(int) RETURNS SETOF t LANGUAGE sql AS 'SELECT id, a, n FROM t WHERE id = $1'");
  write("m.yaml", "name: m\ntable: t\nexpand:\n  - add_column: {name: b, type: text}\n");
  auto const plan = run({"plan", "m.yaml", "--format", "json"});
  EXPECT_THAT(plan.out, AllOf(HasSubstr("has trigger t_audit"), HasSubstr("has trigger t_many"),
                              HasSubstr("find_t(integer)"), Not(HasSubstr("has trigger t_plain"))));
  write("m.yaml", "name: m\ntable: t\nexpand:\n  - rename_column: {name: n, to: m}\n");
  EXPECT_THAT(run({"plan", "m.yaml", "--format", "json"}).out, HasSubstr("has trigger t_plain"));
}

}  // namespace
}  // namespace pgbackfill::tests
