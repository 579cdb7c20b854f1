// The statements that do the work, on a real server: what they change, what they leave out and what they list.
#include "planner/work/work_sql.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "engine/state/state_store.h"
#include "planner/model/sql_text.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::tests {
namespace {

using engine::LocalCluster;
using engine::LocalClusterOptions;
using planner::Backfill;
using planner::BatchMode;
using planner::BatchWork;
using planner::Interval;
using planner::Key;
using planner::KeyValue;
using planner::LeafFacts;
using planner::TableFacts;
using planner::WorkKind;
using planner::WorkTarget;

Key int_key(std::string const& column) {
  return {"pkey", {{column, "integer", "", "", false, false}}};
}

Interval between(std::string const& lo, std::string const& hi) {
  return {KeyValue{lo}, KeyValue{hi}};
}

Backfill update_of(std::string const& column, std::string const& expression, std::string const& where = "") {
  Backfill backfill;
  backfill.assignments = {{{}, column, expression}};
  backfill.where = where;
  return backfill;
}

Backfill sql_of(std::string const& sql) {
  Backfill backfill;
  backfill.kind = WorkKind::kSql;
  backfill.sql = sql;
  return backfill;
}

class WorkSqlTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    LocalClusterOptions options;
    options.name = "work";
    options.is_fsync_on = false;
    options.primary_settings = {"autovacuum = off"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient client(cluster_->dsn());
    for (auto const& script : engine::state::upgrades(0)) client.exec(script);
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void SetUp() override {
    client_ = std::make_unique<PgClient>(cluster_->dsn());
    other_ = std::make_unique<PgClient>(cluster_->dsn());
    client_->exec("SET lock_timeout = '2s'; DROP SCHEMA IF EXISTS app CASCADE; CREATE SCHEMA app");
  }

  // app.orders: ids 1 to 100, n = 0.
  void create_orders(std::string const& key = "id") {
    client_->exec(fmt::format(
        "CREATE TABLE app.orders ({0} int PRIMARY KEY, n int NOT NULL DEFAULT 0, note text) WITH (fillfactor = 50); "
        "INSERT INTO app.orders SELECT g FROM generate_series(1, 100) g",
        key));
  }

  WorkTarget target_of(Backfill const& backfill, Key const& key, std::string const& leaf_name = "orders",
                       std::string const& table_name = "orders") {
    TableFacts table;
    table.schema = "app";
    table.name = table_name;
    table.kind =
        client_->value(fmt::format("SELECT relkind FROM pg_class WHERE oid = 'app.{}'::regclass", table_name))[0];
    table.server_version = std::stoi(client_->value("SHOW server_version_num"));
    LeafFacts leaf;
    leaf.schema = "app";
    leaf.name = leaf_name;
    leaf.oid = static_cast<std::uint32_t>(
        std::stoul(client_->value(fmt::format("SELECT 'app.{}'::regclass::oid::bigint", leaf_name))));
    return planner::make_work_target(backfill, table, leaf, key);
  }

  // In a transaction as a batch's; then what it told.
  std::vector<std::string> told(BatchWork const& batch, std::string const& question, std::string const& before = "") {
    client_->exec("BEGIN; " + before);
    if (!batch.lock.empty()) client_->exec(batch.lock);
    client_->exec(batch.work);
    auto answer = column(question);
    client_->exec("COMMIT");
    return answer;
  }
  std::string work(WorkTarget const& target, Interval const& interval, BatchMode mode = BatchMode::kPlain) {
    return told(planner::batch_work(target, interval, mode), "SELECT current_setting('pgbackfill.changed')").front();
  }

  // What the batch left out, as texts of keys.
  std::vector<std::string> left(WorkTarget const& target, Interval const& interval, BatchMode mode) {
    return told(planner::batch_work(target, interval, mode),
                "SELECT (SELECT string_agg(t, '|' ORDER BY p) FROM jsonb_array_elements_text(k) WITH ORDINALITY x (t, "
                "p)) FROM jsonb_array_elements(current_setting('pgbackfill.left')::jsonb) k ORDER BY k ->> 0");
  }

  // The ids of the deferred keys that a visit settled. `due` is JSON.
  std::string visited(WorkTarget const& target, std::string const& due) {
    return planner::join(
        told(planner::visit_work(target),
             "SELECT k FROM jsonb_array_elements_text(current_setting('pgbackfill.settled')::jsonb) k ORDER BY k::int",
             "SELECT set_config('pgbackfill.due', " + planner::quote_literal(due) + ", true)"),
        " ");
  }

  std::vector<std::string> column(std::string const& sql) {
    std::vector<std::string> values;
    for (auto const& row : client_->exec(sql)) values.push_back(row[0].value_or("NULL"));
    return values;
  }

  // Each bound is after the one before it and before `upper`, by the server's own comparison.
  void check_bounds(WorkTarget const& target, std::string const& sql, KeyValue const& upper, std::size_t wanted) {
    auto const rows = client_->exec(sql);
    EXPECT_GE(rows.size(), wanted) << sql;
    planner::Bound last;
    std::string within = "true";
    for (auto const& row : rows) {
      KeyValue bound;
      for (auto const& field : row) bound.push_back(field.value_or("NULL"));
      // A bound without rows between it and the last repeats it or is out of order.
      within += " AND EXISTS (SELECT FROM " + target.relation + " AS " + target.alias + " WHERE " +
                planner::interval_condition(target.key, {last, bound}, target.alias) + ")";
      last = bound;
    }
    EXPECT_EQ(client_->value("SELECT " + within), "t") << sql;
    if (!last) return;
    EXPECT_NE(client_->value("SELECT count(*) FROM " + target.relation + " AS " + target.alias + " WHERE " +
                             planner::interval_condition(target.key, {last, upper}, target.alias)),
              "0")
        << sql;
  }

  std::string list(std::string const& sql) { return planner::join(column(sql), " "); }

  static std::unique_ptr<LocalCluster> cluster_;
  std::unique_ptr<PgClient> client_;
  std::unique_ptr<PgClient> other_;
};

std::unique_ptr<LocalCluster> WorkSqlTest::cluster_;

TEST_F(WorkSqlTest, APlainBatchChangesItsIntervalOnly) {
  create_orders();
  auto const target = target_of(update_of("n", "n + 1 -- once", "id % 2 = 0 OR id = 11 -- some"), int_key("id"));
  EXPECT_EQ(work(target, between("10", "20")), "6");
  EXPECT_EQ(list("SELECT id FROM app.orders WHERE n = 1 ORDER BY id"), "11 12 14 16 18 20");
}

TEST_F(WorkSqlTest, HeldRowsAreLeftAndTheOthersChanged) {
  create_orders();
  auto const target = target_of(update_of("n", "n + 1", "id <> 17"), int_key("id"));
  other_->exec("BEGIN; SELECT 1 FROM app.orders WHERE id IN (12, 15, 17, 30) FOR UPDATE");
  EXPECT_EQ(left(target, between("10", "20"), BatchMode::kSkipLocked), (std::vector<std::string>{"12", "15"}));
  EXPECT_EQ(list("SELECT id FROM app.orders WHERE n = 1 ORDER BY id"), "11 13 14 16 18 19 20");
  other_->exec("ROLLBACK");
}

// By the statistics no row satisfies `where`, as where a column was full when they were made: a join of the rows of a
// batch and the keys that are free would compare each with each.
TEST_F(WorkSqlTest, ABatchKeepsItsKeysInAHashTableWhateverItsStatisticsSay) {
  create_orders();
  client_->exec("UPDATE app.orders SET note = 'x'; ANALYZE app.orders; UPDATE app.orders SET note = NULL");
  auto const target = target_of(update_of("n", "n + 1", "note IS NULL"), int_key("id"));
  auto const batch = planner::batch_work(target, between("10", "20"), BatchMode::kSkipLocked);
  client_->exec("BEGIN; " + batch.lock);
  auto const plan = planner::join(column("EXPLAIN " + batch.work), "\n");
  client_->exec("ROLLBACK");
  EXPECT_THAT(plan, testing::HasSubstr("hashed SubPlan"));
  EXPECT_THAT(plan, testing::Not(testing::HasSubstr("Anti Join")));
  EXPECT_THAT(plan, testing::Not(testing::HasSubstr("Semi Join")));
}

TEST_F(WorkSqlTest, ShareLocksOfForeignKeysDoNotHoldAnUpdate) {
  create_orders();
  auto const target = target_of(update_of("n", "n + 1"), int_key("id"));
  other_->exec("BEGIN; SELECT 1 FROM app.orders WHERE id = 12 FOR KEY SHARE");
  EXPECT_TRUE(left(target, between("10", "20"), BatchMode::kSkipLocked).empty());
  EXPECT_EQ(client_->value("SELECT sum(n) FROM app.orders"), "10");
  other_->exec("ROLLBACK");
}

TEST_F(WorkSqlTest, DeleteAndSqlWorkAroundHeldRows) {
  create_orders();
  Backfill purge;
  purge.kind = WorkKind::kDelete;
  purge.where = "id % 2 = 1";
  other_->exec("BEGIN; SELECT 1 FROM app.orders WHERE id IN (13, 14) FOR KEY SHARE");
  EXPECT_EQ(left(target_of(purge, int_key("id")), between("10", "20"), BatchMode::kSkipLocked),
            std::vector<std::string>{"13"});
  EXPECT_EQ(list("SELECT id FROM app.orders WHERE id > 10 AND id <= 20 ORDER BY id"), "12 13 14 16 18 20");
  auto const join =
      target_of(sql_of("UPDATE app.orders o SET n = v.n FROM (VALUES (7)) v(n) WHERE {batch}"), int_key("id"));
  EXPECT_EQ(left(join, between("12", "18"), BatchMode::kSkipLocked), (std::vector<std::string>{"13", "14"}));
  EXPECT_EQ(list("SELECT id FROM app.orders WHERE n = 7 ORDER BY id"), "16 18");
  other_->exec("ROLLBACK");
}

TEST_F(WorkSqlTest, SettingAsideListsAndChangesNothing) {
  create_orders();
  auto const target = target_of(update_of("n", "n + 1", "id <> 12"), int_key("id"));
  EXPECT_EQ(left(target, between("10", "13"), BatchMode::kSetAside), (std::vector<std::string>{"11", "12", "13"}));
  EXPECT_EQ(client_->value("SELECT sum(n) FROM app.orders"), "0");
}

// The names of the statement's own columns are the names of users' columns as well.
class WorkSqlNamesTest : public WorkSqlTest, public testing::WithParamInterface<char const*> {};

TEST_P(WorkSqlNamesTest, VisitsSettleWhatIsDoneOrGoneAndKeepWhatIsHeld) {
  std::string const name = GetParam();
  create_orders(planner::quote_identifier(name));
  auto const target = target_of(update_of("n", "n + 1", "note IS NULL"), int_key(name));
  client_->exec(fmt::format("DELETE FROM app.orders WHERE {0} = 3; UPDATE app.orders SET note = 'done' WHERE {0} = 4",
                            planner::quote_identifier(name)));
  other_->exec(fmt::format("BEGIN; SELECT 1 FROM app.orders WHERE {} = 2 FOR UPDATE", planner::quote_identifier(name)));
  EXPECT_EQ(visited(target,
                    R"([{"id": 101, "key": ["1"]}, {"id": 102, "key": ["2"]}, {"id": 103, "key": ["3"]},
              {"id": 104, "key": ["4"]}])"),
            "101 103 104");
  other_->exec("ROLLBACK");
  EXPECT_EQ(list(fmt::format("SELECT {0} FROM app.orders WHERE n = 1 ORDER BY {0}", planner::quote_identifier(name))),
            "1");
}

INSTANTIATE_TEST_SUITE_P(Names, WorkSqlNamesTest, testing::Values("id", "key", "pgbackfill_keys", "a\"b", "Order"));

TEST_F(WorkSqlTest, VisitsKnowCompositeKeys) {
  client_->exec(
      "CREATE TABLE app.lines (\"order\" bigint, code char(4), n int DEFAULT 0, PRIMARY KEY (\"order\", code)); INSERT "
      "INTO app.lines SELECT g, c FROM generate_series(1, 3) g, unnest(ARRAY['a', 'b''', E'c\\\\']) c");
  Key const key{"pkey", {{"order", "bigint", "", "", false, false}, {"code", "bpchar", "", "", true, true}}};
  auto const target = target_of(update_of("n", "n + 1"), key, "lines", "lines");
  other_->exec("BEGIN; SELECT 1 FROM app.lines WHERE \"order\" = 2 AND code = 'a' FOR UPDATE");
  EXPECT_EQ(visited(target,
                    R"([{"id": 1, "key": ["1", "b'"]}, {"id": 2, "key": ["2", "a"]}, {"id": 3, "key": ["3", "c\\"]}])"),
            "1 3");
  other_->exec("ROLLBACK");
  EXPECT_EQ(client_->value("SELECT sum(n) FROM app.lines"), "2");
}

// The index tells 'a' from 'A', the column's own collation does not.
TEST_F(WorkSqlTest, TheIndexsCollationDecidesWhichRowIsMeant) {
  if (client_->value("SELECT count(*) > 0 FROM pg_collation WHERE collname = 'und-x-icu'") != "t") {
    GTEST_SKIP() << "this server has no ICU";
  }
  client_->exec(
      "CREATE COLLATION app.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE TABLE "
      "app.words (word text COLLATE app.any_case NOT NULL, n int DEFAULT 0); CREATE UNIQUE INDEX ON app.words (word "
      "COLLATE \"C\"); INSERT INTO app.words VALUES ('a'), ('A'), ('b')");
  Key const key{"words_word_idx", {{"word", "text", "pg_catalog.\"C\"", "pg_catalog.\"C\"", false, false}}};
  auto const target = target_of(update_of("n", "n + 1"), key, "words", "words");
  other_->exec("BEGIN; SELECT 1 FROM app.words WHERE word COLLATE \"C\" = 'A' FOR UPDATE");
  EXPECT_EQ(left(target, {}, BatchMode::kSkipLocked), std::vector<std::string>{"A"});
  EXPECT_EQ(visited(target, R"([{"id": 1, "key": ["A"]}])"), "");
  other_->exec("ROLLBACK");
  EXPECT_EQ(visited(target, R"([{"id": 1, "key": ["A"]}])"), "1");
  EXPECT_EQ(list("SELECT word || n FROM app.words ORDER BY word COLLATE \"C\""), "A1 a1 b1");
}

TEST_F(WorkSqlTest, ACopyIsMadeOnceWhateverIsThereAlready) {
  create_orders();
  client_->exec(
      "CREATE TABLE app.copied (num bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \"the note\" text); INSERT INTO "
      "app.copied OVERRIDING SYSTEM VALUE VALUES (12, 'mine')");
  Backfill backfill;
  backfill.kind = WorkKind::kCopy;
  backfill.copy_to = {"app", "copied"};
  backfill.assignments = {{{}, "num", "id"}, {{}, "the note", "'n' || n -- text"}};
  backfill.where = "id < 15";
  auto target = target_of(backfill, int_key("id"));
  target.traits.copy_overrides_identity = true;
  target.traits.copy_key = {"num"};
  EXPECT_EQ(work(target, between("10", "20")), "3");
  EXPECT_EQ(work(target, between("10", "20"), BatchMode::kSkipLocked), "0");
  EXPECT_EQ(list("SELECT num || ':' || \"the note\" FROM app.copied ORDER BY num"), "11:n0 12:mine 13:n0 14:n0");
}

TEST_F(WorkSqlTest, TheStatementOfTheFileKnowsItsTableByItsAlias) {
  create_orders();
  client_->exec(
      "CREATE TABLE app.regions (id int PRIMARY KEY, n int); INSERT INTO app.regions VALUES (11, 5), (12, 6)");
  std::vector<std::pair<std::string, std::string>> const statements = {
      {"UPDATE app.orders AS o SET n = r.n FROM app.regions r WHERE r.id = o.id AND {batch}", "2"},
      {"UPDATE app.orders o SET n = r.n FROM app.regions r WHERE r.id = o.id AND {batch}", "2"},
      {"update only app.orders set n = 1 where {batch}", "10"},
      {"UPDATE app.orders * SET n = 1 WHERE {batch}", "10"},
      {"UPDATE \"app\" . \"orders\" AS \"O's \"\"o\"\"\" SET n = 1 WHERE {batch}", "10"},
      {"WITH r AS (SELECT * FROM app.regions) UPDATE app.orders AS o SET n = r.n FROM r WHERE r.id = o.id AND "
       "{batch:o}",
       "2"},
      {"-- why\n/* by /* nested */ hand */ UPDATE app.orders AS o SET n = 1 WHERE {batch}", "10"},
      {"UPDATE ONLY (app.orders) AS o SET n = 1 WHERE {batch}", "10"},
      {"UPDATE app.orders O SET n = 1 WHERE id > 0 AND {batch:O} -- end", "10"},
      {"DELETE FROM app.orders USING app.regions r WHERE r.id = orders.id AND {batch}", "2"},
      {"DELETE FROM ONLY app.orders AS x WHERE {batch}", "8"},
  };
  for (auto const& [sql, rows] : statements) {
    SCOPED_TRACE(sql);
    EXPECT_EQ(work(target_of(sql_of(sql), int_key("id")), between("10", "20")), rows);
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM app.orders"), "90");
}

TEST_F(WorkSqlTest, ALeafIsWorkedAloneWhateverTheOrderOfItsColumns) {
  client_->exec(
      "CREATE TABLE app.events (id int, at date, n int DEFAULT 0, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); "
      "CREATE "
      "TABLE app.events_1 PARTITION OF app.events FOR VALUES FROM ('2020-01-01') TO ('2021-01-01'); CREATE TABLE "
      "app.events_2 (n int DEFAULT 0, gone text, at date NOT NULL, id int NOT NULL); ALTER TABLE app.events_2 DROP "
      "COLUMN gone; ALTER TABLE app.events ATTACH PARTITION app.events_2 FOR VALUES FROM ('2021-01-01') TO "
      "('2022-01-01'); INSERT INTO app.events SELECT g, d FROM generate_series(1, 20) g, unnest('{2020-05-05, "
      "2021-05-05}'::date[]) d");
  Key const key{"pkey", {{"id", "integer", "", "", false, false}, {"at", "date", "", "", false, false}}};
  Interval const interval{KeyValue{"5"}, KeyValue{"10", "2022-01-01"}};
  EXPECT_EQ(work(target_of(update_of("n", "n + 1"), key, "events_2", "events"), interval), "5");
  EXPECT_EQ(list("SELECT DISTINCT tableoid::regclass FROM app.events WHERE n = 1"), "app.events_2");
  EXPECT_EQ(
      work(target_of(sql_of("UPDATE app.events e SET n = 2 WHERE {batch} OR e.id = -1"), key, "events_1", "events"),
           interval),
      "5");
  EXPECT_EQ(list("SELECT DISTINCT tableoid::regclass FROM app.events WHERE n = 2"), "app.events_1");
}

TEST_F(WorkSqlTest, BlocksAreWorkedRangeByRangeWithoutGapOrOverlap) {
  client_->exec(
      "CREATE TABLE app.heap (v int, filler text DEFAULT repeat('x', 500), n int) WITH (fillfactor = 100); INSERT INTO "
      "app.heap SELECT g FROM generate_series(1, 150) g; DELETE FROM app.heap WHERE v % 7 = 0");
  auto const blocks = std::stoi(client_->value("SELECT pg_relation_size('app.heap') / 8192"));
  ASSERT_GT(blocks, 6);
  for (int const server_major : {13, cluster_->major_version()}) {
    Backfill purge;
    purge.kind = WorkKind::kDelete;
    purge.where = "true";
    auto target = target_of(purge, Key{}, "heap", "heap");
    target.server_major = server_major;
    std::vector<std::string> seen;
    planner::Bound lo;
    for (int hi = 2; hi < blocks + 3; hi += 3) {
      auto const part = left(target, {lo, KeyValue{std::to_string(hi)}}, BatchMode::kSetAside);
      seen.insert(seen.end(), part.begin(), part.end());
      lo = KeyValue{std::to_string(hi)};
    }
    std::sort(seen.begin(), seen.end());
    EXPECT_EQ(seen, column("SELECT ctid::text FROM app.heap ORDER BY ctid::text COLLATE \"C\""));
    EXPECT_EQ(std::unique(seen.begin(), seen.end()), seen.end());
    // Of a small table the server reads all for the form of 13.
    if (server_major == 13) continue;
    auto const plan = column("EXPLAIN " + planner::remaining_sql(target, {KeyValue{"1"}, KeyValue{"3"}}));
    EXPECT_NE(planner::join(plan, "\n").find("Tid"), std::string::npos) << planner::join(plan, "\n");
  }
}

TEST_F(WorkSqlTest, BlocksTellARowThatWouldBeChangedAgain) {
  client_->exec("CREATE TABLE app.heap (v int, n int); INSERT INTO app.heap SELECT g FROM generate_series(1, 50) g");
  Interval const all{std::nullopt, KeyValue{"100"}};
  auto const again = [&](Backfill const& backfill) {
    auto const batch = planner::batch_work(target_of(backfill, Key{}, "heap", "heap"), all, BatchMode::kPlain);
    EXPECT_TRUE(batch.can_repeat);
    return told(batch, "SELECT current_setting('pgbackfill.changed') || ' ' || current_setting('pgbackfill.again')")
        .front();
  };
  EXPECT_EQ(again(update_of("n", "1", "n IS NULL")), "50 0");
  EXPECT_EQ(again(update_of("n", "n + 1", "n > 0")), "50 50");
}

TEST_F(WorkSqlTest, BlocksAreWorkedAroundHeldRows) {
  client_->exec("CREATE TABLE app.heap (v int, n int); INSERT INTO app.heap SELECT g FROM generate_series(1, 50) g");
  other_->exec("BEGIN; SELECT 1 FROM app.heap WHERE v IN (7, 9) FOR UPDATE");
  auto const target = target_of(update_of("n", "1", "n IS NULL"), Key{}, "heap", "heap");
  EXPECT_EQ(left(target, {std::nullopt, KeyValue{"100"}}, BatchMode::kSkipLocked),
            (std::vector<std::string>{"(0,7)", "(0,9)"}));
  EXPECT_EQ(list("SELECT v FROM app.heap WHERE n IS NULL ORDER BY v"), "7 9");
  other_->exec("ROLLBACK");
}

TEST_F(WorkSqlTest, BoundsAreSortedInKeyOrderAndBeforeTheUpperKey) {
  client_->exec("CREATE TYPE app.mood AS ENUM ('z', 'm', 'a')");
  struct Case {
    std::string type;
    std::string collation;
    std::string expression;
    bool descending;
  };
  std::vector<Case> const cases = {
      {"integer", "", "g", false},
      {"integer", "", "g", true},
      {"text", "", "md5(g::text)", false},
      {"text", "pg_catalog.\"C\"", "chr(65 + g % 58) || g", true},
      {"numeric", "", "CASE WHEN g % 100 = 0 THEN 'NaN' ELSE (g - 10000)::numeric / 7 END", false},
      {"timestamp with time zone", "", "now() - g * interval '1 hour'", true},
      {"uuid", "", "md5(g::text)::uuid", false},
      {"app.mood", "", "(enum_range(NULL::app.mood))[1 + g % 3]", false},
      {"bytea", "", "decode(md5(g::text), 'hex')", false},
  };
  for (auto const& [type, collation, expression, descending] : cases) {
    SCOPED_TRACE(type);
    std::string const collate = collation.empty() ? "" : " COLLATE " + collation;
    std::string const order = fmt::format("k{0} {1}, g {1}", collate, descending ? "DESC" : "ASC");
    client_->exec(
        fmt::format("DROP TABLE IF EXISTS app.many; CREATE TABLE app.many (k {} NOT NULL, g int NOT NULL, n "
                    "int); INSERT INTO app.many SELECT {}, g FROM generate_series(1, 20000) g; CREATE UNIQUE "
                    "INDEX ON app.many ({}); ANALYZE app.many",
                    type, expression, order));
    bool const sorts_text = type == "text";
    Key const key{"many_idx",
                  {{"k", type, collation, sorts_text ? (collation.empty() ? "pg_catalog.\"default\"" : collation) : "",
                    descending, descending},
                   {"g", "integer", "", "", descending, descending}}};
    auto const target = target_of(update_of("n", "1"), key, "many", "many");
    LeafFacts leaf;
    leaf.schema = "app";
    leaf.name = "many";
    auto const middle =
        client_
            ->exec(fmt::format("SELECT k::text, g::text FROM app.many t ORDER BY {} LIMIT 1 OFFSET 9999", "t." + order))
            .at(0);
    KeyValue const upper{*middle[0], *middle[1]};
    check_bounds(target, planner::statistics_bounds_sql(target, leaf, upper), upper, type == "app.mood" ? 1 : 30);
    check_bounds(target, planner::sample_bounds_sql(target, 100, 64, upper), upper, 50);
    check_bounds(target, planner::sample_bounds_sql(target, 20, 1000, upper), upper, 500);
  }
}

}  // namespace
}  // namespace pgbackfill::tests
