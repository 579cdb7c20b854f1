#include "planner/work/work_sql.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/plain_sql.h"

// What the statements do is asked of a real server: see work_sql_pgtest.cpp.
namespace pgbackfill::planner {
namespace {

using tests::plain;

Key const kKey = {"pkey", {{"id", "bigint", "", "", false, false}}};
Interval const kInterval = {KeyValue{"1"}, KeyValue{"9"}};

WorkTarget target_of(Backfill const& backfill, Key const& key = kKey, char kind = 'r') {
  TableFacts table;
  table.schema = "s";
  table.name = "t";
  table.kind = kind;
  table.server_version = 150004;
  LeafFacts leaf;
  leaf.schema = "s";
  leaf.name = "leaf";
  leaf.oid = 77;
  return make_work_target(backfill, table, leaf, key);
}

Backfill update() {
  Backfill backfill;
  backfill.assignments = {{{"f.yaml", 3, 5}, "a", "b + 1"}, {{"f.yaml", 4, 5}, "c", "d"}};
  backfill.where = "a IS NULL";
  backfill.where_position = {"f.yaml", 5, 5};
  return backfill;
}

Backfill sql(std::string const& text) {
  Backfill backfill;
  backfill.kind = WorkKind::kSql;
  backfill.sql = text;
  return backfill;
}

bool has(std::string const& text, std::string const& part) {
  return text.find(part) != std::string::npos;
}

TEST(WorkSql, APlainUpdateIsTheRangeAndNothingElse) {
  auto const batch = batch_work(target_of(update()), kInterval, BatchMode::kPlain);
  EXPECT_EQ(plain(batch.work),
            "WITH pgbackfill_work AS (UPDATE ONLY \"s\".\"leaf\" AS \"t\" SET \"a\" = (b + 1\n), \"c\" = (d\n) WHERE "
            "\"t\".\"id\" > '1'::bigint AND \"t\".\"id\" <= '9'::bigint AND (a IS NULL\n) RETURNING (a IS NULL\n) AS "
            "again) SELECT pg_catalog.set_config('pgbackfill.changed', (pg_catalog.count(*))::pg_catalog.text, true), "
            "pg_catalog.set_config('pgbackfill.again', (pg_catalog.count(*) FILTER (WHERE again))::pg_catalog.text, "
            "true) FROM pgbackfill_work");
  EXPECT_EQ(batch.lock, "");
  EXPECT_TRUE(batch.has_work);
  EXPECT_FALSE(batch.has_left);
  EXPECT_FALSE(batch.can_repeat);
  EXPECT_TRUE(batch.knows_again);
}

TEST(WorkSql, AnUpdateOfAllRowsIsCountedByTheServer) {
  auto backfill = update();
  backfill.where = "";
  auto const batch = batch_work(target_of(backfill), kInterval, BatchMode::kPlain);
  EXPECT_TRUE(has(batch.work, "pgbackfill.work('UPDATE ONLY ")) << batch.work;
  EXPECT_FALSE(has(batch.work, "RETURNING")) << batch.work;
}

// A statement sees what was committed before it began: what was counted up while it waited for a row is not in what it
// reads of other tables.
TEST(WorkSql, RowsAreLockedBeforeWorkThatReadsOtherTables) {
  auto target = target_of(update());
  target.traits.reads_elsewhere = true;
  auto const batch = batch_work(target, kInterval, BatchMode::kPlain);
  EXPECT_TRUE(has(batch.lock, "FOR NO KEY UPDATE OF \"t\"")) << batch.lock;
  EXPECT_FALSE(has(batch.lock, "SKIP LOCKED")) << batch.lock;
}

TEST(WorkSql, TheLockIsTheOneThatTheWorkTakes) {
  EXPECT_TRUE(has(batch_work(target_of(update()), kInterval, BatchMode::kSkipLocked).lock,
                  "FOR NO KEY UPDATE OF \"t\" SKIP LOCKED"));
  EXPECT_TRUE(has(batch_work(target_of(sql("DELETE FROM s.t WHERE {batch}")), kInterval, BatchMode::kSkipLocked).lock,
                  "FOR UPDATE OF \"t\" SKIP LOCKED"));
}

TEST(WorkSql, ACopyHasNoRowsToSkip) {
  Backfill backfill;
  backfill.kind = WorkKind::kCopy;
  backfill.copy_to = {"s", "copy"};
  backfill.assignments = {{{}, "a", "a"}};
  auto const batch = batch_work(target_of(backfill), kInterval, BatchMode::kSkipLocked);
  EXPECT_FALSE(batch.has_left);
  EXPECT_EQ(batch.lock, "");
}

TEST(WorkSql, ACopyTakesARowForDoneByItsKeyAlone) {
  Backfill backfill;
  backfill.kind = WorkKind::kCopy;
  backfill.copy_to = {"s", "copy"};
  backfill.assignments = {{{}, "a", "a"}};
  auto target = target_of(backfill);
  EXPECT_FALSE(has(batch_work(target, kInterval, BatchMode::kPlain).work, "ON CONFLICT"));
  target.traits.copy_key = {"a", "b"};
  EXPECT_TRUE(has(batch_work(target, kInterval, BatchMode::kPlain).work, " ON CONFLICT (\"a\", \"b\") DO NOTHING"));
  target.backfill.on_conflict = ConflictMode::kCount;
  EXPECT_TRUE(has(batch_work(target, kInterval, BatchMode::kPlain).work, " ON CONFLICT DO NOTHING"));
  target.traits.copy_key_sources = {"a", "b"};
  target.traits.copy_key_types = {"bigint", "text"};
  target.traits.copy_key_operators = {"pg_catalog.=", "ext.="};
  EXPECT_TRUE(has(uncopied_sql(target, kInterval),
                  "pgbackfill_copy.\"b\" OPERATOR(ext.=) CAST(\"t\".\"b\" AS "
                  "pg_catalog.text)"));
}

TEST(WorkSql, ALaterPassLeavesAloneWhatWouldGetTheSameValue) {
  auto target = target_of(update());
  target.traits.is_repeatable = true;
  target.traits.assigned_types = {{"integer"}, {"character varying(9)"}};
  std::string const would_change =
      "(ROW(\"t\".\"a\", \"t\".\"c\")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(CAST((b + 1\n) AS integer), "
      "CAST((SELECT CASE WHEN pg_catalog.rtrim(pg_catalog.substr(v.text, 9 OPERATOR(pg_catalog.+) 1)) "
      "OPERATOR(pg_catalog.<>) '' THEN v.text ELSE pg_catalog.substr(v.text, 1, 9) END FROM (SELECT CAST((d\n) AS "
      "pg_catalog.text) AS text OFFSET 0) AS v) AS pg_catalog.\"varchar\"))::pg_catalog.record)";
  auto const first = batch_work(target, kInterval, BatchMode::kPlain).work;
  EXPECT_FALSE(has(first, " AND " + would_change)) << first;
  EXPECT_TRUE(has(first, "RETURNING CASE WHEN (a IS NULL\n) THEN " + would_change + " ELSE false END AS again"))
      << first;
  EXPECT_TRUE(has(batch_work(target, kInterval, BatchMode::kPlain, true).work, " AND " + would_change));
  EXPECT_TRUE(has(remaining_sql(target, kInterval), " AND " + would_change));
  EXPECT_FALSE(has(remaining_by_where_sql(target, kInterval), would_change));
  EXPECT_FALSE(has(batch_work(target, kInterval, BatchMode::kSetAside, true).work, would_change))
      << "it may fail there";
}

TEST(WorkSql, WatchesKeysWhereSomethingElseMayChangeThem) {
  auto backfill = update();
  backfill.where = "";
  auto target = target_of(backfill);
  target.traits.may_move_keys = true;
  auto const batch = batch_work(target, kInterval, BatchMode::kPlain);
  EXPECT_TRUE(batch.knows_moved);
  EXPECT_TRUE(has(batch.work, "THEN (ARRAY[\"t\".\"id\"::pg_catalog.text])::pg_catalog.text END AS moved"))
      << batch.work;
}

TEST(WorkSql, APartitionMayBeWorkedByStatementsOnItsParent) {
  auto target = target_of(update(), kKey, 'p');
  target.partition_condition = "(id IS NOT NULL)";
  target.traits.works_through_parent = true;
  std::string const of_leaf = " AND \"t\".tableoid OPERATOR(pg_catalog.=) 77::pg_catalog.oid AND ((id IS NOT NULL))";
  auto const work = batch_work(target, kInterval, BatchMode::kPlain).work;
  EXPECT_TRUE(has(work, "UPDATE \"s\".\"t\" SET")) << work;
  EXPECT_TRUE(has(work, of_leaf)) << work;
  EXPECT_TRUE(has(look_ahead_sql(target, kInterval, 10), "FROM ONLY \"s\".\"leaf\" AS \"t\""));
  target.traits.reads_through_parent = true;
  for (auto const& text :
       {look_ahead_sql(target, kInterval, 10), last_key_sql(target), remaining_sql(target, kInterval)}) {
    EXPECT_FALSE(has(text, "\"leaf\"")) << text;
    EXPECT_TRUE(has(text, of_leaf)) << text;
  }
}

TEST(WorkSql, ATableThatIsItsOwnAliasMayBeNamedWithItsSchema) {
  auto target = target_of(update());
  target.relation = "\"s\".\"t\"";
  EXPECT_TRUE(has(batch_work(target, kInterval, BatchMode::kPlain).work, "UPDATE ONLY \"s\".\"t\" SET"));
}

TEST(WorkSql, AMirroredCopyLocksWhatItReadsAndKnowsItsKey) {
  Backfill backfill;
  backfill.kind = WorkKind::kCopy;
  backfill.copy_to = {"s", "copy"};
  backfill.assignments = {{{}, "a", "a"}};
  backfill.mirror_key = {"a", "b"};
  auto const plain = batch_work(target_of(backfill), kInterval, BatchMode::kPlain).work;
  EXPECT_TRUE(has(plain, "ORDER BY \"t\".\"id\" FOR SHARE OF \"t\" ON CONFLICT (\"a\", \"b\") DO NOTHING")) << plain;
  auto const batch = batch_work(target_of(backfill), kInterval, BatchMode::kSkipLocked);
  EXPECT_TRUE(batch.has_left);
  EXPECT_TRUE(has(batch.lock, "FOR SHARE OF \"t\" SKIP LOCKED"));
  EXPECT_TRUE(has(visit_work(target_of(backfill)).lock, "FOR SHARE OF \"t\" SKIP LOCKED"));
}

TEST(WorkSql, SettingAsideChangesNothing) {
  auto const batch = batch_work(target_of(update()), kInterval, BatchMode::kSetAside);
  EXPECT_FALSE(batch.has_work);
  EXPECT_FALSE(has(batch.work, "UPDATE"));
}

TEST(WorkSql, OnlyAnUpdateByBlockCanRepeatItself) {
  Interval const blocks{KeyValue{"0"}, KeyValue{"9"}};
  auto const batch = batch_work(target_of(update(), Key{}), blocks, BatchMode::kPlain);
  EXPECT_TRUE(batch.can_repeat);
  EXPECT_TRUE(has(batch.work, "RETURNING (a IS NULL\n) AS again"));
}

TEST(WorkSql, TheAliasIsReadFromTheStatement) {
  std::vector<std::pair<std::string, std::string>> const statements = {
      {"UPDATE orders SET a = 1 WHERE {batch}", "\"orders\""},
      {"UPDATE s.Orders o SET a = 1 WHERE {batch}", "\"o\""},
      {"UPDATE ONLY (\"S\".\"O r\") AS \"x.y\" SET a = 1 WHERE {batch}", "\"x.y\""},
      {"delete from only s.t using u where {batch}", "\"t\""},
      {"/* a /* b */ */ -- c\n DELETE FROM t * AS x WHERE {batch}", "\"x\""},
      {"WITH u AS (SELECT 1) UPDATE s.t AS y SET a = 1 WHERE {batch:Y}", "\"y\""},
      {"UPDATE t SET a = 1 FROM v WHERE {batch:v}", "\"v\""},
      {"UPDATE", "\"t\""},
      {"UPDATE \"unfinished", "\"t\""},
      {"/* unfinished", "\"t\""},
      {"", "\"t\""},
  };
  for (auto const& [text, alias] : statements) EXPECT_EQ(target_of(sql(text)).alias, alias) << text;
}

TEST(WorkSql, APartitionedStatementIsHeldToItsLeaf) {
  auto const text = plain(batch_work(target_of(sql("UPDATE s.t AS x SET a = 1 WHERE {batch} OR false"), kKey, 'p'),
                                     kInterval, BatchMode::kPlain)
                              .work);
  EXPECT_TRUE(has(text,
                  "WHERE (\"x\".\"id\" > '1'::bigint AND \"x\".\"id\" <= '9'::bigint AND \"x\".tableoid = "
                  "77::pg_catalog.oid) OR"))
      << text;
}

TEST(WorkSql, AsksForTheColumnThatTellsWhereARowIs) {
  auto target = target_of(update(), kKey, 'p');
  auto const count = probes(target).size();
  target.traits.works_through_parent = true;
  auto const found = probes(target);
  ASSERT_EQ(found.size(), count + 1);
  EXPECT_TRUE(has(found[count - 1].sql, "SELECT 1 FROM \"s\".\"t\" WHERE true AND \"t\".tableoid"));
}

TEST(WorkSql, ProbesPointAtThePartsOfTheFile) {
  auto const found = probes(target_of(update()));
  std::vector<int> lines;
  for (auto const& probe : found) lines.push_back(probe.position.line);
  lines.pop_back();
  EXPECT_EQ(lines, (std::vector<int>{5, 5, 3, 3, 4, 4}));
  // Between other words than parentheses: text that closes one and opens another does not fit.
  EXPECT_TRUE(has(found[1].sql, "SELECT CASE WHEN true THEN "));
  EXPECT_TRUE(has(found.back().sql, "WITH pgbackfill_work AS"));
}

TEST(WorkSql, TheLookAheadSearchesFromTheCursorAlone) {
  auto const text = plain(look_ahead_sql(target_of(update()), kInterval, 100));
  EXPECT_TRUE(has(text, "WHERE \"t\".\"id\" > '1'::bigint ORDER BY \"t\".\"id\" LIMIT 1 OFFSET 99)"));
  EXPECT_TRUE(has(text, "AS \"t\" WHERE \"t\".\"id\" <= '9'::bigint"));
}

}  // namespace
}  // namespace pgbackfill::planner
