#include "planner/model/sql_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgbackfill::planner {
namespace {

using testing::ElementsAre;
using testing::UnorderedElementsAre;

std::vector<std::string> names_of(std::vector<TableName> const& names) {
  std::vector<std::string> texts;
  for (auto const& name : names) texts.push_back(shown(name));
  return texts;
}

TEST(SqlFacts, NamesFunctionsAndOperatorsAsWritten) {
  auto const facts = facts_of_expressions({"app.total(a) + lower(b)::int", "t.full_name"});
  EXPECT_TRUE(facts.is_read);
  EXPECT_THAT(names_of(facts.functions), UnorderedElementsAre("app.total", "lower"));
  EXPECT_THAT(names_of(facts.operators), ElementsAre("+"));
  EXPECT_THAT(names_of(facts.fields), ElementsAre("full_name"));
}

TEST(SqlFacts, KnowsAColumnThatIsNoMoreThanThat) {
  EXPECT_TRUE(facts_of_expressions({"id"}).is_one_column);
  EXPECT_TRUE(facts_of_expressions({"t.\"Odd\""}).is_one_column);
  for (auto const* more : {"id + 1", "id::bigint", "(SELECT id)", "coalesce(id)", "1"}) {
    EXPECT_FALSE(facts_of_expressions({more}).is_one_column) << more;
  }
  EXPECT_FALSE(facts_of_expressions({"a", "b"}).is_one_column);
}

TEST(SqlFacts, SeesTimesOfTheServersOwn) {
  for (auto const* clock :
       {"CURRENT_TIMESTAMP", "current_date", "'now'::timestamptz", "' Today '::date", "localtime"}) {
    EXPECT_TRUE(facts_of_expressions({clock}).reads_clock) << clock;
  }
  EXPECT_FALSE(facts_of_expressions({"current_user || 'nowhere'"}).reads_clock);
}

TEST(SqlFacts, TellsTheTablesOfTheSubqueryThatAColumnStandsIn) {
  auto const facts = facts_of_expressions({"(SELECT region FROM app.customers c WHERE c.id = o.customer_id) || city"});
  ASSERT_EQ(facts.columns.size(), 4U);
  for (auto const& use : facts.columns) {
    EXPECT_EQ(use.scope.empty(), use.name == "city") << use.name;
  }
}

TEST(SqlFacts, FindsWhatAStatementAssignsWhereverItStands) {
  auto const facts = facts_of_statement(
      "WITH moved AS (UPDATE s.p SET (a, b) = (SELECT 1, 2) WHERE true RETURNING id) INSERT INTO q (id) SELECT id FROM "
      "moved ON CONFLICT (id) DO UPDATE SET c = 3");
  std::vector<std::string> assigned;
  for (auto const& one : facts.assigned) assigned.push_back(shown(one.relation) + "." + one.column);
  EXPECT_THAT(assigned, UnorderedElementsAre("s.p.a", "s.p.b", "q.c"));
  EXPECT_EQ(facts.updated_alias, "");
  EXPECT_EQ(facts_of_statement("UPDATE ONLY p AS x SET a = 1").updated_alias, "x");
}

TEST(SqlFacts, TellsOnlyFromATableWithItsChildren) {
  EXPECT_TRUE(facts_of_statement("UPDATE ONLY p SET a = 1").relations.front().is_only);
  EXPECT_FALSE(facts_of_statement("UPDATE p SET a = 1").relations.front().is_only);
}

TEST(SqlFacts, SaysNothingOfWhatItCannotRead) {
  EXPECT_FALSE(facts_of_expressions({"a +"}).is_read);
  EXPECT_FALSE(facts_of_statement("SELECT 1; SELECT 2").is_read);
}

bool is_joined(std::string const& sql) {
  return !unjoined_table(sql, "c").has_value();
}

TEST(UnjoinedTable, IsFoundWhereNoConditionHoldsBoth) {
  EXPECT_EQ(unjoined_table("UPDATE app.orders o SET x = 1 FROM customers c WHERE c.pgbackfill_batch IS NULL", "c"),
            "\"app\".\"orders\"");
  EXPECT_FALSE(is_joined("UPDATE o SET x = c.y FROM c WHERE c.pgbackfill_batch IS NULL AND o.kind = 1"));
  EXPECT_FALSE(is_joined("UPDATE o SET x = 1 WHERE EXISTS (SELECT 1 FROM c WHERE c.pgbackfill_batch IS NULL)"));
  EXPECT_FALSE(is_joined("DELETE FROM o USING c WHERE c.pgbackfill_batch IS NULL AND kind = 'x'"));
  EXPECT_FALSE(is_joined("UPDATE t a SET x = 1 FROM t c WHERE c.pgbackfill_batch IS NULL"));
}

TEST(UnjoinedTable, IsNoneWhereAConditionHoldsBoth) {
  EXPECT_TRUE(is_joined("UPDATE o SET x = 1 FROM c WHERE c.id = o.c AND c.pgbackfill_batch IS NULL"));
  EXPECT_TRUE(is_joined("UPDATE o SET x = 1 FROM c WHERE c.id = customer AND c.pgbackfill_batch IS NULL"));
  EXPECT_TRUE(
      is_joined("UPDATE o SET x = 1 FROM m JOIN c ON c.id = m.c WHERE m.o = o.id AND c.pgbackfill_batch IS NULL"));
  EXPECT_TRUE(is_joined("UPDATE o SET x = 1 FROM m JOIN c USING (k) WHERE m.o = o.id AND c.pgbackfill_batch IS NULL"));
  EXPECT_TRUE(is_joined("UPDATE o SET x = 1 WHERE o.c IN (SELECT c.id FROM c WHERE c.pgbackfill_batch IS NULL)"));
  EXPECT_TRUE(
      is_joined("UPDATE o SET x = 1 FROM (SELECT * FROM c WHERE c.pgbackfill_batch IS NULL) s WHERE s.id = o.c"));
  EXPECT_TRUE(
      is_joined("WITH b AS (SELECT id FROM c WHERE c.pgbackfill_batch IS NULL) UPDATE o SET x = 1 FROM b k WHERE "
                "k.id = o.c"));
  EXPECT_TRUE(is_joined("UPDATE c SET x = 1 WHERE c.pgbackfill_batch IS NULL"));
}

// --- what several batches would change again ------------------------------------------------------------------------

std::string repeats(std::string const& set, std::string const& rest) {
  auto const found = repeated_change("UPDATE c SET " + set + " FROM " + rest + " AND o.pgbackfill_batch IS NULL", "o");
  if (!found) return "";
  std::string text = found->column + ":";
  for (auto const& column : found->joined_by) text += " " + column;
  return text;
}

TEST(RepeatedChange, IsWhatAColumnOfAnotherTableAddsToItself) {
  EXPECT_EQ(repeats("n = n + 1", "o WHERE o.cid = c.id"), "n: cid");
  EXPECT_EQ(repeats("m = 1, n = coalesce(c.n, 0) + o.n", "o WHERE c.id = o.cid AND o.kind = 'x'"), "n: cid kind");
  EXPECT_EQ(repeats("n = c.n + 1", "x JOIN o ON o.a = x.a AND o.b = x.b WHERE x.id = c.id"), "n: a b");
  EXPECT_EQ(repeats("n = c.n + 1", "x LEFT JOIN o ON o.a = x.a WHERE x.id = c.id"), "n:") << "it fixes nothing";
  EXPECT_EQ(repeats("n = c.n + 1", "o WHERE (o.cid = c.id OR c.all_of_them)"), "n:");
  EXPECT_EQ(repeats("n = o.n + 1", "o WHERE o.cid = c.id"), "") << "the value does not depend on how often";
  EXPECT_EQ(repeats("n = c.m + 1", "o WHERE o.cid = c.id"), "");
  EXPECT_FALSE(repeated_change("UPDATE o SET n = n + 1 FROM c WHERE o.pgbackfill_batch IS NULL", "o"));
  EXPECT_FALSE(repeated_change("DELETE FROM c USING o WHERE o.pgbackfill_batch IS NULL", "o"));
}

// --- what gathers rows of a batch -----------------------------------------------------------------------------------

std::string gathers(std::string const& query) {
  auto const gathering = gathering_of("UPDATE c SET x = q.s FROM (" + query + ") q WHERE q.k = c.k", "o", {"a", "b"});
  std::string text = gathering.clause;
  for (auto const& function : gathering.functions) text += '?' + function.name;
  return text;
}

TEST(GatheringOf, IsFoundWhereverRowsOfTheBatchMeet) {
  std::string const batch = "WHERE o.pgbackfill_batch IS NULL";
  EXPECT_EQ(gathers("SELECT k, sum(n) s FROM o " + batch + " GROUP BY k"), "GROUP BY");
  EXPECT_EQ(gathers("SELECT k, sum(n) s FROM o " + batch + " GROUP BY o.a, 1"), "GROUP BY") << "a part of the key";
  EXPECT_EQ(gathers("SELECT sum(n) s FROM o " + batch), "?sum");
  EXPECT_EQ(gathers("SELECT count(*) s FROM o " + batch), "count()");
  EXPECT_EQ(gathers("SELECT max(n) FILTER (WHERE n > 1) s FROM o " + batch), "max()");
  EXPECT_EQ(gathers("SELECT k, rank() OVER (ORDER BY n) s FROM o " + batch), "rank() OVER");
  EXPECT_EQ(gathers("SELECT k, rank() OVER (w ORDER BY n) s FROM o " + batch + " WINDOW w AS (PARTITION BY a)"),
            "rank() OVER");
  EXPECT_EQ(gathers("SELECT DISTINCT ON (k) k, n s FROM o " + batch + " ORDER BY k, n"), "DISTINCT ON");
  EXPECT_EQ(gathers("SELECT k, n s FROM o " + batch + " ORDER BY n LIMIT 3"), "LIMIT or OFFSET");
  EXPECT_EQ(gathers("SELECT k, n s FROM o " + batch + " OFFSET 3"), "LIMIT or OFFSET");
  EXPECT_EQ(gathers("SELECT k, sum(n) s FROM (SELECT k, n FROM o " + batch + ") i GROUP BY k"), "GROUP BY");
  EXPECT_EQ(gathers("(SELECT k, n s FROM o " + batch + ") UNION (SELECT k, n s FROM z) LIMIT 3"), "LIMIT or OFFSET");
  EXPECT_EQ(gathers("WITH w AS (SELECT k, n FROM o " + batch + ") SELECT k, sum(n) s FROM w GROUP BY k"), "GROUP BY");
  EXPECT_EQ(gathers("SELECT z.k, sum(n) s FROM z JOIN o ON z.k = o.k " + batch + " GROUP BY z.k"), "GROUP BY");
  EXPECT_EQ(gathers("SELECT z.a, sum(n) s FROM z JOIN o ON z.k = o.k " + batch + " GROUP BY z.a, z.b"), "GROUP BY");
  EXPECT_EQ(gathers("SELECT k, sum(n) s FROM o JOIN z ON o.pgbackfill_batch IS NULL GROUP BY k"), "GROUP BY");
  auto const inside = gathering_of(
      "DELETE FROM c WHERE EXISTS (SELECT 1 FROM o WHERE o.k = c.k AND o.pgbackfill_batch IS NULL GROUP BY o.k HAVING "
      "count(*) > 2)",
      "o", {"a"});
  EXPECT_EQ(inside.clause, "GROUP BY");
}

TEST(GatheringOf, IsNoneWhereEachRowStaysByItself) {
  std::string const batch = "WHERE o.pgbackfill_batch IS NULL";
  EXPECT_EQ(gathers("SELECT o.b, a, sum(n) s FROM o " + batch + " GROUP BY 1, o.a"), "");
  EXPECT_EQ(gathers("SELECT k, rank() OVER (w ORDER BY n) s FROM o " + batch + " WINDOW w AS (PARTITION BY a, b)"), "");
  EXPECT_EQ(gathers("SELECT k, rank() OVER w s FROM o " + batch + " WINDOW w AS (PARTITION BY o.b, o.a)"), "");
  EXPECT_EQ(gathers("SELECT DISTINCT k, n s FROM o " + batch), "");
  EXPECT_EQ(gathers("SELECT DISTINCT ON (a, b) k, n s FROM o " + batch), "");
  EXPECT_EQ(gathers("SELECT k, n s FROM o " + batch + " LIMIT ALL"), "");
  EXPECT_EQ(gathers("SELECT z.a, sum(n) s FROM z JOIN o USING (a, b) " + batch + " GROUP BY z.a, z.b"), "");
  EXPECT_EQ(gathers("SELECT z.p, sum(n) s FROM z, o " + batch + " AND z.p = o.a AND o.b = z.q GROUP BY p, z.p, z.q"),
            "");
  EXPECT_EQ(gathers("SELECT k, (SELECT sum(n) FROM z WHERE z.a = o.a) s FROM o " + batch), "");
  EXPECT_EQ(gathers("SELECT k, s FROM o, LATERAL (SELECT n s FROM z WHERE z.a = o.a ORDER BY n LIMIT 1) l " + batch),
            "");
  EXPECT_EQ(gathers("SELECT z.k, sum(z.n) s FROM z WHERE z.k IN (SELECT o.k FROM o " + batch + ") GROUP BY z.k"), "")
      << "only rows of another table meet";
  auto const asked = gathering_of(
      "DELETE FROM c WHERE EXISTS (SELECT 1 FROM o WHERE o.k = c.k AND o.pgbackfill_batch IS NULL LIMIT 1)", "o",
      {"a"});
  EXPECT_EQ(asked.clause, "");
}

std::string gathers_gone(std::string const& statement) {
  auto const gathering =
      gathering_of("WITH gone AS (DELETE FROM o WHERE o.pgbackfill_batch IS NULL RETURNING *)" + statement, "o", {"a"});
  std::string text = gathering.clause;
  for (auto const& function : gathering.functions) text += '?' + function.name;
  return text;
}

TEST(GatheringOf, FollowsRowsThatAChangeReturns) {
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT count(*) FROM gone"), "count()");
  EXPECT_EQ(gathers_gone(" INSERT INTO z VALUES ((SELECT count(*) FROM gone))"), "count()");
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT k, sum(n) FROM gone GROUP BY k"), "GROUP BY");
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT DISTINCT k FROM gone"), "DISTINCT");
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT * FROM gone ORDER BY a LIMIT 5"), "LIMIT or OFFSET");
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT rank() OVER (ORDER BY a) FROM gone"), "rank() OVER");
  EXPECT_EQ(gathers_gone(", ins AS (INSERT INTO z SELECT * FROM gone RETURNING *) INSERT INTO y SELECT count(*) FROM "
                         "ins"),
            "count()");
}

TEST(GatheringOf, IsNoneWhereReturnedRowsStayByThemselvesOrAreMerged) {
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT * FROM gone"), "");
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT a, count(*) FROM gone GROUP BY a"), "");
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT DISTINCT a, k FROM gone"), "");
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT DISTINCT k FROM gone ON CONFLICT DO NOTHING"), "");
  EXPECT_EQ(gathers_gone(" INSERT INTO z SELECT k, count(*) FROM gone GROUP BY k ON CONFLICT (k) DO UPDATE SET n = z.n "
                         "+ excluded.n"),
            "");
  EXPECT_EQ(gathers_gone(", ins AS (INSERT INTO z SELECT * FROM gone RETURNING 1) SELECT count(*) FROM ins"), "");
}

// --- names of pg_catalog ---------------------------------------------------------------------------------------------

std::string catalog_named(std::string const& expression) {
  return with_catalog_schema(expression).value_or("not read");
}

TEST(CatalogNames, GetTheSchemaThatPostgresLeavesOut) {
  EXPECT_EQ(catalog_named("upper(name)"), "pg_catalog.upper(name)");
  EXPECT_EQ(catalog_named("((part IS NOT NULL) AND (part = ANY (ARRAY[1, 2])))"),
            "((part IS NOT NULL) AND (part OPERATOR(pg_catalog.=) ANY (ARRAY[1, 2])))");
  EXPECT_EQ(catalog_named("((region)::text < 'a>b'::text)"),
            "((region)::pg_catalog.text OPERATOR(pg_catalog.<) 'a>b'::pg_catalog.text)");
  EXPECT_EQ(catalog_named("(- \"left\"(a, 2))"), "(OPERATOR(pg_catalog.-) pg_catalog.\"left\"(a, 2))");
  EXPECT_EQ(catalog_named("(a COLLATE \"C\")"), "(a COLLATE pg_catalog.\"C\")");
  EXPECT_EQ(catalog_named("('{}'::text[] || ARRAY['é'::\"char\"])"),
            "('{}'::pg_catalog.text[] OPERATOR(pg_catalog.||) ARRAY['é'::pg_catalog.\"char\"])");
  EXPECT_EQ(catalog_named("( SELECT max(s.setting) AS max FROM pg_settings s WHERE (s.name ~~ 'a%'::text))"),
            "( SELECT pg_catalog.max(s.setting) AS max FROM pg_catalog.pg_settings s WHERE (s.name "
            "OPERATOR(pg_catalog.~~) 'a%'::pg_catalog.text))");
}

TEST(CatalogNames, LeaveWhatHasASchemaOrNeedsNone) {
  for (auto const* text : {"app.total(a OPERATOR(ext.=) b)", "CASE WHEN a THEN COALESCE(b, c) ELSE NULL::integer END",
                           "(a)::numeric(10,2)", "(at AT TIME ZONE b)", "CURRENT_DATE", "a.b", "-1", "(a)::app.mood",
                           "( WITH x AS ( SELECT 1 AS one) SELECT x.one FROM x)", "(a COLLATE ext.\"de\")",
                           "(a)::timestamp with time zone"}) {
    EXPECT_EQ(catalog_named(text), text);
  }
  EXPECT_EQ(with_catalog_schema("a +"), std::nullopt);
}

}  // namespace
}  // namespace pgbackfill::planner
