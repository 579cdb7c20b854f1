// Every shape of table and every kind of work through the real program, and the refusals that name a remedy.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "engine/state/state_store.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using testing::HasSubstr;
using testing::Not;

constexpr int kUsage = 2;
constexpr char const* kSmallBatches = "  workers: 3\n  batch: {target: 50ms, min_rows: 10, max_rows: 113}\n";

std::string enclosed(std::string const& text, char quote) {
  std::string result(1, quote);
  for (char const letter : text) result += letter == quote ? std::string(2, quote) : std::string(1, letter);
  return result + quote;
}

std::string identifier(std::string const& name) {
  return enclosed(name, '"');
}

class TableShapesTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.is_fsync_on = false;
    options.primary_settings = {"autovacuum = off"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    run_program({PGBACKFILL_PROGRAM, "init", "--dsn", cluster_->dsn()});
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  static std::string dsn(std::string const& role = "postgres") { return cluster_->dsn() + " user=" + role; }

  // `backfill` holds the lines of that section without batch and workers.
  static std::unique_ptr<MigrationRun> make_run(std::string const& table, std::string const& backfill,
                                                std::string const& more = "") {
    return std::make_unique<MigrationRun>(name_of_test(), dsn(),
                                          "table: " + table + "\n" + more + "backfill:\n" + backfill + kSmallBatches);
  }
  static std::unique_ptr<MigrationRun> count_run(std::string const& table = name_of_test()) {
    return make_run(table, "  set: {n: \"n + 1\"}\n");
  }

  static ProgramResult result_of(MigrationRun& run) { return run.start().wait(60s); }

  // Expects a refusal that says all of this, and that nothing was made of the file.
  static void refuses(MigrationRun& run, std::vector<std::string> const& words) {
    auto const result = result_of(run);
    EXPECT_EQ(result.exit_code, kUsage) << result.err;
    for (auto const& word : words) EXPECT_THAT(result.err, HasSubstr(word));
    EXPECT_EQ(PgClient(dsn()).value("SELECT count(*) FROM pgbackfill.migrations WHERE name = '" + run.name() + "'"),
              "0");
  }

  static void expect_counts(std::string const& expected, std::string const& table = name_of_test()) {
    EXPECT_EQ(counts(dsn(), table), expected);
  }

  // The server takes a small table for a large one, so that it is cut into many ranges.
  void pretend_rows(std::string const& table, std::string const& rows = "1000000") {
    client_.exec("UPDATE pg_class SET reltuples = " + rows +
                 ", relpages = pg_relation_size(oid) / 8192 WHERE oid = " + enclosed(table, '\'') + "::regclass");
  }

  static std::unique_ptr<LocalCluster> cluster_;
  PgClient client_{dsn()};
};

std::unique_ptr<LocalCluster> TableShapesTest::cluster_;

// --- partitions and inheritance --------------------------------------------------------------------------------------

constexpr char const* kLevels = R"(
  CREATE TABLE levels (id bigint NOT NULL, region text NOT NULL, day date NOT NULL, n int NOT NULL DEFAULT 0,
                       PRIMARY KEY (id, region, day)) PARTITION BY LIST (region);
  CREATE TABLE levels_eu PARTITION OF levels FOR VALUES IN ('eu') PARTITION BY RANGE (day);
  CREATE TABLE levels_eu_old PARTITION OF levels_eu FOR VALUES FROM (MINVALUE) TO ('2024-01-01');
  CREATE TABLE levels_eu_new (n int NOT NULL DEFAULT 0, gone text, day date NOT NULL, region text NOT NULL,
                              gone2 int, id bigint NOT NULL);
  ALTER TABLE levels_eu_new DROP gone, DROP gone2;
  ALTER TABLE levels_eu ATTACH PARTITION levels_eu_new FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
  CREATE TABLE levels_us PARTITION OF levels FOR VALUES IN ('us') PARTITION BY HASH (id);
  CREATE TABLE levels_us_0 PARTITION OF levels_us FOR VALUES WITH (MODULUS 2, REMAINDER 0);
  CREATE TABLE levels_us_1 PARTITION OF levels_us FOR VALUES WITH (MODULUS 2, REMAINDER 1);
  CREATE TABLE levels_empty PARTITION OF levels FOR VALUES IN ('nobody');
  CREATE TABLE levels_rest PARTITION OF levels DEFAULT;
  INSERT INTO levels SELECT g, (ARRAY['eu', 'us', 'asia', 'mars'])[g % 4 + 1], '2023-06-01'::date + g % 400
    FROM generate_series(1, 8000) g;
  ANALYZE levels;)";

TEST_F(TableShapesTest, PartitionsOfAllKindsAndLevels) {
  client_.exec(kLevels);
  pretend_rows("levels_us_1");
  auto const run = count_run("levels");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 8000", "levels");
  EXPECT_EQ(run->state("SELECT count(*) FROM pgbackfill.leaves WHERE job_id = {job}"), "6");
  EXPECT_EQ(run->rows_done(), "8000");
}

TEST_F(TableShapesTest, SqlOnPartitionsKeepsToItsLeaf) {
  client_.exec(
      "CREATE TABLE parts (id int PRIMARY KEY, customer int, n int NOT NULL DEFAULT 0, region text) PARTITION BY HASH "
      "(id); CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 3, REMAINDER 0); CREATE TABLE parts_1 "
      "(region text, n int NOT NULL DEFAULT 0, customer int, id int NOT NULL); ALTER TABLE parts ATTACH PARTITION "
      "parts_1 FOR VALUES WITH (MODULUS 3, REMAINDER 1); CREATE TABLE parts_2 PARTITION OF parts FOR VALUES WITH "
      "(MODULUS 3, REMAINDER 2); CREATE TABLE buyers (id int PRIMARY KEY, region text); INSERT INTO buyers SELECT g, "
      "'r' || g FROM generate_series(0, 9) g; INSERT INTO parts SELECT g, g % 10 FROM generate_series(1, 6000) g; "
      "ANALYZE parts, buyers");
  for (char const* leaf : {"parts_0", "parts_1", "parts_2"}) pretend_rows(leaf, "300000");
  auto const run = make_run("parts",
                            "  sql: \"UPDATE parts o SET region = b.region, n = n + 1 FROM buyers b WHERE b.id = "
                            "o.customer AND {batch:o}\"\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 6000", "parts");
  EXPECT_EQ(client_.value("SELECT count(*) FROM parts WHERE region <> 'r' || customer"), "0");
}

TEST_F(TableShapesTest, LeafThatIsAttachedDuringTheRunIsDoneToo) {
  client_.exec(
      "CREATE TABLE grows (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) PARTITION BY RANGE (id); CREATE TABLE grows_1 "
      "PARTITION OF grows FOR VALUES FROM (0) TO (10000); INSERT INTO grows SELECT g FROM generate_series(1, 6000) g; "
      "CREATE TABLE grows_2 (n int NOT NULL DEFAULT 0, id int PRIMARY KEY); INSERT INTO grows_2 SELECT 0, g FROM "
      "generate_series(10000, 12999) g; ANALYZE grows, grows_2");
  auto const run = make_run("grows", "  set: {n: \"n + 1\"}\n", "throttle: {max_rows_per_second: 3000}\n");
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(500));
  client_.exec("ALTER TABLE grows ATTACH PARTITION grows_2 FOR VALUES FROM (10000) TO (20000)");
  EXPECT_TRUE(run->ends(process, kDone));
  expect_counts("1: 9000", "grows");
}

TEST_F(TableShapesTest, RefusesAForeignPartition) {
  client_.exec(
      "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing; CREATE TABLE mixed (id "
      "int, n int) PARTITION BY RANGE (id); CREATE TABLE mixed_1 PARTITION OF mixed (PRIMARY KEY (id)) FOR VALUES FROM "
      "(0) TO (10); CREATE FOREIGN TABLE mixed_2 PARTITION OF mixed FOR VALUES FROM (10) TO (20) SERVER nowhere");
  auto const run = count_run("mixed");
  refuses(*run, {"partition \"public\".\"mixed_2\" is a foreign table"});
}

TEST_F(TableShapesTest, TablesThatInheritAreLeftAlone) {
  client_.exec(
      "CREATE TABLE parent (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); CREATE TABLE child (more text) INHERITS "
      "(parent); INSERT INTO parent SELECT g FROM generate_series(1, 3000) g; INSERT INTO child SELECT g FROM "
      "generate_series(1, 500) g; ANALYZE parent, child");
  auto const run = count_run("parent");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("0: 500, 1: 3000", "parent");
  expect_counts("0: 500", "child");
}

// --- tables without a key --------------------------------------------------------------------------------------------

TEST_F(TableShapesTest, PagesByBlocksWhereTheConditionBecomesFalse) {
  client_.exec(
      "CREATE TABLE keyless (a int, n int NOT NULL DEFAULT 0, filler text) WITH (fillfactor = 60); INSERT INTO keyless "
      "SELECT g, 0, repeat('x', 100) FROM generate_series(1, 9000) g; ANALYZE keyless");
  pretend_rows("keyless");
  auto const run = make_run("keyless", "  set: {n: \"n + 1\"}\n  where: \"n = 0\"\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 9000", "keyless");
}

TEST_F(TableShapesTest, DeletesByBlocks) {
  client_.exec("CREATE TABLE heap (a int, n int); INSERT INTO heap SELECT g, g % 3 FROM generate_series(1, 9000) g");
  auto const run = make_run("heap", "  delete: true\n  where: \"n = 0\"\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 3000, 2: 3000", "heap");
}

TEST_F(TableShapesTest, RefusesBlocksWhereTheConditionStaysTrue) {
  client_.exec(
      "CREATE TABLE stays (a int, n int NOT NULL DEFAULT 0); INSERT INTO stays SELECT g FROM "
      "generate_series(1, 3000) g");
  auto const run = make_run("stays", "  set: {n: \"n + 1\"}\n  where: \"a > 0\"\n");
  auto const result = result_of(*run);
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("a changed row still satisfies `where`"));
  EXPECT_THAT(result.err, HasSubstr("primary key"));
  expect_counts("0: 3000", "stays");
}

TEST_F(TableShapesTest, GoesOnceOverRowsThatSatisfyTheConditionForEver) {
  client_.exec(
      "CREATE TABLE ever (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO ever SELECT g FROM "
      "generate_series(1, 2000) g");
  auto const run = make_run("ever", "  set: {n: \"n + 1\"}\n  where: \"id <= 5000\"\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 2000", "ever");
  auto const gate = run_program({PGBACKFILL_PROGRAM, "gate", run->name(), "--dsn", dsn()}, 20s);
  EXPECT_EQ(gate.exit_code, kDone);
  EXPECT_THAT(gate.out, HasSubstr("changed rows still satisfy `where`"));
}

TEST_F(TableShapesTest, RefusesATableWithoutKeyAndCondition) {
  client_.exec("CREATE TABLE bare (a int, n int NOT NULL DEFAULT 0)");
  auto const run = count_run("bare");
  refuses(*run,
          {":3:1: ", "no primary key and no unique index", "CREATE UNIQUE INDEX CONCURRENTLY ON \"public\".\"bare\""});
}

// --- sizes and storage -----------------------------------------------------------------------------------------------

TEST_F(TableShapesTest, EmptyTableAndOneRow) {
  client_.exec(
      "CREATE TABLE nobody (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); CREATE TABLE single (LIKE nobody "
      "INCLUDING ALL); INSERT INTO single VALUES (-5)");
  for (std::string const table : {"nobody", "single"}) {
    MigrationRun run(table, dsn(), "table: " + table + "\nbackfill:\n  set: {n: \"n + 1\"}\n");
    EXPECT_TRUE(run.runs(kDone));
    EXPECT_TRUE(run.runs(kDone));
    EXPECT_EQ(run.status(), "complete");
  }
  expect_counts("1: 1", "single");
}

TEST_F(TableShapesTest, ToastedWideRows) {
  client_.exec(
      "CREATE TABLE wide (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, body text); ALTER TABLE wide ALTER body SET "
      "STORAGE EXTERNAL; INSERT INTO wide SELECT g, 0, repeat(md5(g::text), 300) FROM generate_series(1, 1500) g");
  auto const run = make_run("wide", "  set: {n: \"n + 1\", body: \"body || '!'\"}\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 1500", "wide");
  EXPECT_EQ(client_.value("SELECT count(*) FROM wide WHERE body <> repeat(md5(id::text), 300) || '!'"), "0");
}

TEST_F(TableShapesTest, StatisticsOfRowsThatAreGone) {
  client_.exec(
      "CREATE TABLE shrunk (id text PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO shrunk SELECT 'k' || g FROM "
      "generate_series(1, 20000) g; ANALYZE shrunk; DELETE FROM shrunk WHERE id > 'k2'");
  pretend_rows("shrunk");
  auto const left = client_.value("SELECT count(*) FROM shrunk");
  auto const run = count_run("shrunk");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: " + left, "shrunk");
}

TEST_F(TableShapesTest, StatisticsOfATableThatGrewSince) {
  client_.exec(
      "CREATE TABLE grown (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO grown SELECT g FROM "
      "generate_series(1, 2000) g; ANALYZE grown; INSERT INTO grown SELECT g FROM generate_series(2001, 20000) g");
  auto const run = count_run("grown");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 20000", "grown");
}

TEST_F(TableShapesTest, UnloggedTable) {
  client_.exec(
      "CREATE UNLOGGED TABLE quick (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO quick SELECT g "
      "FROM generate_series(1, 3000) g");
  auto const run = count_run("quick");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 3000", "quick");
}

// --- columns and names -----------------------------------------------------------------------------------------------

TEST_F(TableShapesTest, GeneratedAndIdentityColumnsMayStandBeside) {
  client_.exec(
      "CREATE TABLE made (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, serial int GENERATED BY DEFAULT AS "
      "IDENTITY, n int NOT NULL DEFAULT 0, twice int GENERATED ALWAYS AS (n * 2) STORED); INSERT INTO made (n) SELECT "
      "0 FROM generate_series(1, 3000)");
  auto const run = make_run("made", "  set: {n: \"n + 1\", serial: \"serial * 10\"}\n");
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(client_.value("SELECT string_agg(DISTINCT twice::text, ' ') || ' ' || max(serial) FROM made"), "2 30000");
}

TEST_F(TableShapesTest, RefusesToAssignWhatTheServerComputes) {
  client_.exec(
      "CREATE TABLE computed (id int PRIMARY KEY, always int GENERATED ALWAYS AS IDENTITY, n int, twice int GENERATED "
      "ALWAYS AS (n * 2) STORED)");
  auto const run = make_run("computed", "  set:\n    twice: \"n\"\n    always: \"n\"\n    id: \"n\"\n    twise: 1\n");
  refuses(*run, {":5:12: column 'twice' is generated", ":6:13: column 'always' is GENERATED ALWAYS AS IDENTITY",
                 ":7:9: column 'id' is part of the key", ":8:12: table \"public\".\"computed\" has no column 'twise'",
                 "did you mean 'twice'"});
}

TEST_F(TableShapesTest, RefusesToMoveRowsBetweenPartitions) {
  client_.exec(
      "CREATE TABLE by_region (id int, region text) PARTITION BY LIST (region); CREATE TABLE by_region_1 "
      "PARTITION OF by_region (PRIMARY KEY (id)) FOR VALUES IN ('a')");
  auto const run = make_run("by_region", "  set: {region: \"'b'\"}\n");
  refuses(*run, {"column 'region' decides the partition of a row"});
}

std::string yaml_text(std::string const& text) {
  std::string quoted = "\"";
  for (char const letter : text) {
    if (letter == '"' || letter == '\\') quoted += '\\';
    quoted += letter;
  }
  return quoted + "\"";
}

TEST_F(TableShapesTest, HostileNamesEverywhere) {
  int number = 0;
  for (auto const& name :
       {std::string("sel\"ect"), std::string("a.b c"), std::string("user"), std::string("😀 table"),
        std::string(63, 'x'), std::string("it's; DROP TABLE x --"), std::string("back\\slash"), std::string("{batch}"),
        std::string("$1 %s"), std::string("UPPER"), std::string("pgbackfill_work")}) {
    std::string const quoted = identifier(name);
    std::string const table = quoted + "." + quoted;
    client_.exec("CREATE SCHEMA " + quoted + "; CREATE TABLE " + table + " (" + identifier("k" + name) +
                 " text NOT NULL, " + quoted + " int NOT NULL DEFAULT 0); CREATE UNIQUE INDEX " +
                 identifier("i" + name) + " ON " + table + " (" + identifier("k" + name) + "); INSERT INTO " + table +
                 " SELECT g || 'k' FROM generate_series(1, 500) g; ANALYZE " + table);
    pretend_rows(table);
    MigrationRun run("hostile_" + std::to_string(++number), dsn(),
                     "table: {schema: " + yaml_text(name) + ", name: " + yaml_text(name) + "}\nbackfill:\n  set: {" +
                         yaml_text(name) + ": " + yaml_text(quoted + " + 1") +
                         "}\n  where: " + yaml_text(quoted + " = 0") + "\n" + kSmallBatches);
    EXPECT_TRUE(run.runs(kDone)) << name;
    EXPECT_EQ(client_.value("SELECT count(*) FROM " + table + " WHERE " + quoted + " = 1"), "500") << name;
    EXPECT_EQ(run.command("gate").exit_code, kDone) << name;
  }
}

TEST_F(TableShapesTest, CopiesBetweenHostileNames) {
  client_.exec(
      "CREATE SCHEMA \"t.o\"; CREATE TABLE \"fr\"\"om\" (\"i d\" int PRIMARY KEY, \"va.l\" text); INSERT INTO "
      "\"fr\"\"om\" SELECT g, 'v' || g FROM generate_series(1, 1000) g; CREATE TABLE \"t.o\".\"t\"\"o\" (\"i\"\"d\" "
      "int PRIMARY KEY, \"select\" text)");
  auto const run = make_run("'\"fr\"\"om\"'",
                            "  copy_to: {schema: t.o, name: 't\"o'}\n  columns: {'i\"d': '\"i d\"', select: "
                            "'upper(\"va.l\")'}\n");
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(client_.value("SELECT count(*) FROM \"t.o\".\"t\"\"o\" WHERE \"select\" = 'V' || \"i\"\"d\""), "1000");
}

// --- what is no table, and who may not -------------------------------------------------------------------------------

TEST_F(TableShapesTest, RefusesWhatHoldsNoRowsOfItsOwn) {
  client_.exec(
      "CREATE TABLE base (id int PRIMARY KEY, n int); CREATE VIEW a_view AS SELECT * FROM base; CREATE MATERIALIZED "
      "VIEW a_matview AS SELECT * FROM base; CREATE SEQUENCE a_sequence; CREATE FOREIGN DATA WRAPPER none; CREATE "
      "SERVER none FOREIGN DATA WRAPPER none; CREATE FOREIGN TABLE a_foreign (id int, n int) SERVER none");
  std::pair<char const*, char const*> const shapes[] = {{"a_view", "is a view; backfill the table under it"},
                                                        {"a_matview", "is a materialized view; refresh it instead"},
                                                        {"a_sequence", "is a sequence"},
                                                        {"base_pkey", "is an index"},
                                                        {"a_foreign", "is a foreign table"}};
  for (auto const& [table, words] : shapes) {
    auto const run = count_run(table);
    refuses(*run, {std::string("\"public\".\"") + table + "\" " + words});
  }
}

TEST_F(TableShapesTest, MissingTableSuggestsTheOneThatWasMeant) {
  client_.exec("CREATE TABLE customers (id int PRIMARY KEY, n int)");
  auto const run = count_run("custmers");
  refuses(*run, {":3:1: table \"custmers\" does not exist", "did you mean 'customers'"});
  auto const elsewhere = count_run("nowhere.customers");
  refuses(*elsewhere, {"table \"nowhere\".\"customers\" does not exist"});
}

TEST_F(TableShapesTest, RoleWithoutRightsIsToldWhatToGrant) {
  client_.exec(
      "CREATE TABLE secrets (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO secrets VALUES (1); CREATE "
      "ROLE \"odd role\" LOGIN");
  client_.exec(engine::state::grants_to("\"odd role\""));
  MigrationRun run(name_of_test(), dsn("'odd role'"), "table: secrets\nbackfill:\n  set: {n: \"n + 1\"}\n");
  refuses(run, {"role \"odd role\" may not UPDATE on \"public\".\"secrets\"",
                "GRANT UPDATE ON \"public\".\"secrets\" TO \"odd role\"",
                "GRANT SELECT ON \"public\".\"secrets\" TO \"odd role\""});
  client_.exec("GRANT SELECT, UPDATE ON secrets TO \"odd role\"");
  EXPECT_TRUE(run.runs(kDone));
  expect_counts("1: 1", "secrets");
}

TEST_F(TableShapesTest, OwnerBehindRowLevelSecurity) {
  client_.exec(
      "CREATE ROLE landlord LOGIN; CREATE TABLE flats (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO "
      "flats SELECT g FROM generate_series(1, 1000) g; ALTER TABLE flats OWNER TO landlord; ALTER TABLE flats ENABLE "
      "ROW LEVEL SECURITY");
  client_.exec(engine::state::grants_to("landlord"));
  MigrationRun run(name_of_test(), dsn("landlord"), "table: flats\nbackfill:\n  set: {n: \"n + 1\"}\n");
  EXPECT_TRUE(run.runs(kDone));
  expect_counts("1: 1000", "flats");
}

TEST_F(TableShapesTest, RefusesToWorkOnlyTheRowsThatAPolicyShows) {
  client_.exec(
      "CREATE ROLE tenant LOGIN; CREATE TABLE rooms (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO rooms "
      "SELECT g FROM generate_series(1, 1000) g; ALTER TABLE rooms ENABLE ROW LEVEL SECURITY; CREATE POLICY half ON "
      "rooms USING (id % 2 = 0); GRANT SELECT, UPDATE ON rooms TO tenant");
  client_.exec(engine::state::grants_to("tenant"));
  MigrationRun run(name_of_test(), dsn("tenant"), "table: rooms\nbackfill:\n  set: {n: \"n + 1\"}\n");
  refuses(run, {"row-level security of \"public\".\"rooms\" binds role", "BYPASSRLS"});
  expect_counts("0: 1000", "rooms");
  client_.exec(
      "CREATE TABLE halls (id int PRIMARY KEY, n int); INSERT INTO halls SELECT g, g FROM generate_series(1, 9) g; "
      "GRANT "
      "SELECT ON halls TO tenant; GRANT INSERT ON rooms TO tenant");
  MigrationRun copy(name_of_test() + "_copy", dsn("tenant"),
                    "table: halls\nbackfill:\n  copy_to: rooms\n  columns: {id: id + 2000, n: n}\n");
  refuses(copy, {"row-level security of \"public\".\"rooms\" binds role"});
}

// --- kinds of work ---------------------------------------------------------------------------------------------------

TEST_F(TableShapesTest, UpdatesSeveralColumnsInOnePass) {
  client_.exec(
      "CREATE TABLE people (id int PRIMARY KEY, a int NOT NULL DEFAULT 0, b text, \"C\" int); INSERT INTO "
      "people SELECT g FROM generate_series(1, 3000) g");
  auto const run =
      make_run("people", "  set: {a: \"a + 1\", b: \"'b' || id\", C: 7}\n  where: \"a = 0 -- a comment\"\n");
  EXPECT_TRUE(run->runs(kDone));
  EXPECT_EQ(client_.value("SELECT count(*) FROM people WHERE a = 1 AND b = 'b' || id AND \"C\" = 7"), "3000");
}

TEST_F(TableShapesTest, SqlJoinsWithoutAnAlias) {
  client_.exec(
      "CREATE TABLE orders (id int PRIMARY KEY, customer int, n int NOT NULL DEFAULT 0, region text); CREATE TABLE "
      "clients (id int PRIMARY KEY, region text); INSERT INTO clients SELECT g, 'r' || g FROM generate_series(0, 9) g; "
      "INSERT INTO orders SELECT g, g % 10 FROM generate_series(1, 4000) g; ANALYZE orders, clients");
  pretend_rows("orders");
  auto const run = make_run("orders",
                            "  sql: \"UPDATE orders SET region = c.region, n = n + 1 FROM clients c WHERE c.id = "
                            "orders.customer AND {batch}\"\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 4000", "orders");
  EXPECT_EQ(client_.value("SELECT count(*) FROM orders WHERE region = 'r' || customer"), "4000");
}

TEST_F(TableShapesTest, SqlMayDelete) {
  client_.exec(
      "CREATE TABLE sessions (id int PRIMARY KEY, n int); INSERT INTO sessions SELECT g, g % 2 FROM "
      "generate_series(1, 3000) g");
  auto const run = make_run("sessions", "  sql: \"DELETE FROM sessions AS s WHERE s.n = 0 AND {batch}\"\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 1500", "sessions");
}

TEST_F(TableShapesTest, CopyKeepsIdentitiesAndSweepsWhatCameMeanwhile) {
  client_.exec(
      "CREATE TABLE old_events (id bigint PRIMARY KEY, body text); CREATE TABLE new_events (id bigint GENERATED ALWAYS "
      "AS IDENTITY PRIMARY KEY, body text NOT NULL, copies int NOT NULL DEFAULT 1); INSERT INTO old_events SELECT g * "
      "2, 'b' || g FROM generate_series(1, 4000) g; ANALYZE old_events; INSERT INTO new_events OVERRIDING SYSTEM VALUE "
      "VALUES (2, 'was here')");
  auto const run = make_run("old_events", "  copy_to: new_events\n  columns: {id: id, body: \"upper(body)\"}\n",
                            "throttle: {max_rows_per_second: 3000}\n");
  auto& process = run->start();
  ASSERT_TRUE(run->waits_for_rows(1000)) << run->story();
  client_.exec("INSERT INTO old_events VALUES (1, 'late'), (8001, 'later')");
  EXPECT_TRUE(run->ends(process, kDone));
  EXPECT_EQ(client_.value("SELECT count(*) FROM new_events"), "4002");
  EXPECT_EQ(client_.value("SELECT string_agg(body, ' ' ORDER BY id) FROM new_events WHERE id IN (1, 2, 4, 8001)"),
            "LATE was here B2 LATER");
}

TEST_F(TableShapesTest, CopyRefusesAMissingTargetAndItsColumns) {
  client_.exec(
      "CREATE TABLE source (id int PRIMARY KEY); CREATE TABLE target (id int PRIMARY KEY, twice int GENERATED "
      "ALWAYS AS (id * 2) STORED)");
  auto const missing = make_run("source", "  copy_to: targt\n  columns: {id: id}\n");
  refuses(*missing, {"table \"targt\" (copy_to) does not exist"});
  auto const columns = make_run("source", "  copy_to: target\n  columns: {idd: id, twice: id}\n");
  refuses(*columns, {"has no column 'idd'", "did you mean 'id'", "'twice' of the target is generated"});
}

TEST_F(TableShapesTest, DeletesWhatTheConditionPicks) {
  client_.exec(
      "CREATE TABLE old_logs (id int PRIMARY KEY, n int); INSERT INTO old_logs SELECT g, g % 4 FROM "
      "generate_series(1, 8000) g; ANALYZE old_logs");
  pretend_rows("old_logs");
  auto const run = make_run("old_logs", "  delete: true\n  where: \"n < 3\"\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("3: 2000", "old_logs");
  EXPECT_EQ(run->command("gate").exit_code, kDone);
}

TEST_F(TableShapesTest, TriggersFireOrAreSkipped) {
  client_.exec(
      "CREATE TABLE watched (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, seen int NOT NULL DEFAULT 0); INSERT INTO "
      "watched SELECT g FROM generate_series(1, 1000) g; CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS "
      "'BEGIN NEW.seen := NEW.seen + 1; RETURN NEW; END'; CREATE TRIGGER see BEFORE UPDATE ON watched FOR EACH ROW "
      "EXECUTE FUNCTION see()");
  MigrationRun fire("watched_fire", dsn(), "table: watched\nbackfill:\n  set: {n: \"n + 1\"}\n");
  EXPECT_TRUE(fire.runs(kDone));
  EXPECT_EQ(client_.value("SELECT sum(n) || ' ' || sum(seen) FROM watched"), "1000 1000");
  MigrationRun skip("watched_skip", dsn(), "table: watched\nbackfill:\n  set: {n: \"n + 1\"}\n  triggers: skip\n");
  EXPECT_TRUE(skip.runs(kDone));
  EXPECT_EQ(client_.value("SELECT sum(n) || ' ' || sum(seen) FROM watched"), "2000 1000");
  client_.exec("CREATE ROLE clerk LOGIN; GRANT SELECT, UPDATE ON watched TO clerk");
  client_.exec(engine::state::grants_to("clerk"));
  MigrationRun may_not(name_of_test(), dsn("clerk"),
                       "table: watched\nbackfill:\n  set: {n: \"n + 1\"}\n  triggers: skip\n");
  refuses(may_not, {"`triggers: skip` needs the right to set session_replication_role"});
}

TEST_F(TableShapesTest, TriggerThatFailsNamesTheRow) {
  client_.exec(
      "CREATE TABLE guarded (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO guarded SELECT g FROM "
      "generate_series(1, 500) g; CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.id = 321 "
      "THEN RAISE EXCEPTION ''not this one''; END IF; RETURN NEW; END'; CREATE TRIGGER guard BEFORE UPDATE ON guarded "
      "FOR EACH ROW EXECUTE FUNCTION guard()");
  auto const run = count_run("guarded");
  auto const result = result_of(*run);
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("not this one"));
  EXPECT_THAT(result.err, HasSubstr("321"));
  client_.exec("ALTER TABLE guarded DISABLE TRIGGER guard");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 500", "guarded");
}

TEST_F(TableShapesTest, SynchronousCommits) {
  client_.exec(
      "CREATE TABLE durable (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO durable SELECT g FROM "
      "generate_series(1, 2000) g");
  auto const run = make_run("durable", "  set: {n: \"n + 1\"}\n  commit: sync\n");
  EXPECT_TRUE(run->runs(kDone));
  expect_counts("1: 2000", "durable");
}

TEST_F(TableShapesTest, RoleWhoseTransactionsAreSerializableAndReadOnly) {
  client_.exec(
      "CREATE ROLE careful SUPERUSER LOGIN; ALTER ROLE careful SET default_transaction_isolation = 'serializable'; "
      "ALTER ROLE careful SET default_transaction_read_only = on; ALTER ROLE careful SET "
      "default_transaction_deferrable "
      "= on; CREATE TABLE calm (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO calm SELECT g FROM "
      "generate_series(1, 3000) g; ANALYZE calm");
  pretend_rows("calm", "400000");
  MigrationRun run(name_of_test(), dsn("careful"),
                   std::string("table: calm\nexpand:\n  - sql: ALTER TABLE calm ADD m int\nbackfill:\n  set: {n: "
                               "\"n + 1\", m: \"1\"}\n") +
                       kSmallBatches + "contract:\n  - sql: ALTER TABLE calm DROP COLUMN m\n");
  EXPECT_TRUE(run.runs(kDone));
  expect_counts("1: 3000", "calm");
  auto const complete = run.command("complete", {"--yes"});
  EXPECT_EQ(complete.exit_code, kDone) << complete.err;
}

// The operators of an enum's index are those of anyenum.
TEST_F(TableShapesTest, ATypeWhoseCastsLeaveItsOperatorsOpenIsRefusedBeforeAnythingIsTouched) {
  client_.exec(
      "CREATE TYPE torn AS ENUM ('a', 'b', 'c'); CREATE FUNCTION torn_text(torn) RETURNS text LANGUAGE plpgsql "
      "IMMUTABLE "
      "AS $$ BEGIN RETURN 'x'; END $$; CREATE FUNCTION torn_json(torn) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$ "
      "BEGIN RETURN '{}'; END $$; CREATE CAST (torn AS text) WITH FUNCTION torn_text(torn) AS IMPLICIT; CREATE CAST "
      "(torn AS json) WITH FUNCTION torn_json(torn) AS IMPLICIT");
  client_.exec("CREATE TABLE torn_keys (id torn, x int, n int NOT NULL DEFAULT 0, PRIMARY KEY (id, x))");
  client_.exec(
      "INSERT INTO torn_keys SELECT (enum_range(NULL::torn))[1 + g % 3], g FROM "
      "generate_series(1, 300) g");
  auto run = count_run("torn_keys");
  refuses(*run, {".yaml:",
                 "column \"id\" of the key is of type public.torn, which has IMPLICIT casts that leave open how "
                 "two of its values are compared",
                 "(42725)"});
  client_.exec(
      "DROP CAST (torn AS text); CREATE CAST (torn AS text) WITH FUNCTION torn_text(torn) AS ASSIGNMENT; DROP "
      "CAST (torn AS json); CREATE CAST (torn AS json) WITH FUNCTION torn_json(torn) AS ASSIGNMENT");
  EXPECT_EQ(result_of(*run).exit_code, kDone);
}

}  // namespace
}  // namespace pgbackfill::tests
