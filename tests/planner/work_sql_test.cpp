#include "planner/work_sql.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

// What the statements do is asked of a real server: see work_sql_pgtest.cpp.
namespace pgbackfill::planner {
namespace {

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
  auto const ctes = work_ctes(target_of(update()), kInterval, BatchMode::kPlain);
  EXPECT_EQ(ctes.text,
            "pgbackfill_work AS (UPDATE ONLY \"s\".\"leaf\" AS \"t\" SET \"a\" = (b + 1\n), \"c\" = (d\n) WHERE "
            "\"t\".\"id\" > '1'::bigint AND \"t\".\"id\" <= '9'::bigint AND (a IS NULL\n) RETURNING (a IS NULL\n) AS "
            "again)");
  EXPECT_TRUE(ctes.has_work);
  EXPECT_FALSE(ctes.has_left);
  EXPECT_FALSE(ctes.can_repeat);
  EXPECT_TRUE(ctes.knows_again);
  EXPECT_EQ(ctes.statement, "");
}

TEST(WorkSql, TheLockIsTheOneThatTheWorkTakes) {
  EXPECT_TRUE(has(work_ctes(target_of(update()), kInterval, BatchMode::kSkipLocked).text,
                  "FOR NO KEY UPDATE OF \"t\" SKIP LOCKED"));
  EXPECT_TRUE(has(work_ctes(target_of(sql("DELETE FROM s.t WHERE {batch}")), kInterval, BatchMode::kSkipLocked).text,
                  "FOR UPDATE OF \"t\" SKIP LOCKED"));
}

TEST(WorkSql, ACopyHasNoRowsToSkip) {
  Backfill backfill;
  backfill.kind = WorkKind::kCopy;
  backfill.copy_to = {"s", "copy"};
  backfill.assignments = {{{}, "a", "a"}};
  auto const ctes = work_ctes(target_of(backfill), kInterval, BatchMode::kSkipLocked);
  EXPECT_FALSE(ctes.has_left);
  EXPECT_TRUE(has(ctes.statement, "ON CONFLICT DO NOTHING"));
}

TEST(WorkSql, AMirroredCopyLocksWhatItReadsAndKnowsItsKey) {
  Backfill backfill;
  backfill.kind = WorkKind::kCopy;
  backfill.copy_to = {"s", "copy"};
  backfill.assignments = {{{}, "a", "a"}};
  backfill.mirror_key = {"a", "b"};
  auto const plain = work_ctes(target_of(backfill), kInterval, BatchMode::kPlain).statement;
  EXPECT_TRUE(has(plain, "ORDER BY \"t\".\"id\" FOR SHARE OF \"t\" ON CONFLICT (\"a\", \"b\") DO NOTHING")) << plain;
  auto const ctes = work_ctes(target_of(backfill), kInterval, BatchMode::kSkipLocked);
  EXPECT_TRUE(ctes.has_left);
  EXPECT_TRUE(has(ctes.text, "FOR SHARE OF \"t\" SKIP LOCKED"));
  EXPECT_TRUE(has(visit_ctes(target_of(backfill)).text, "FOR SHARE OF \"t\" SKIP LOCKED"));
}

TEST(WorkSql, SettingAsideChangesNothing) {
  auto const ctes = work_ctes(target_of(update()), kInterval, BatchMode::kSetAside);
  EXPECT_FALSE(ctes.has_work);
  EXPECT_FALSE(has(ctes.text, "UPDATE"));
}

TEST(WorkSql, OnlyAnUpdateByBlockCanRepeatItself) {
  Interval const blocks{KeyValue{"0"}, KeyValue{"9"}};
  auto const ctes = work_ctes(target_of(update(), Key{}), blocks, BatchMode::kPlain);
  EXPECT_TRUE(ctes.can_repeat);
  EXPECT_TRUE(has(ctes.text, "RETURNING (a IS NULL\n) AS again"));
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
  auto const text = work_ctes(target_of(sql("UPDATE s.t AS x SET a = 1 WHERE {batch} OR false"), kKey, 'p'), kInterval,
                              BatchMode::kPlain)
                        .text;
  EXPECT_TRUE(
      has(text, "WHERE (\"x\".\"id\" > '1'::bigint AND \"x\".\"id\" <= '9'::bigint AND \"x\".tableoid = 77) OR"));
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
  auto const text = look_ahead_sql(target_of(update()), kInterval, 100);
  EXPECT_TRUE(has(text, "WHERE \"t\".\"id\" > '1'::bigint ORDER BY \"t\".\"id\" LIMIT 1 OFFSET 99)"));
  EXPECT_TRUE(has(text, "AS \"t\" WHERE \"t\".\"id\" <= '9'::bigint"));
}

}  // namespace
}  // namespace pgbackfill::planner
