#include "planner/lint/changed_tables.h"

#include <gtest/gtest.h>

#include <string>

namespace pgbackfill::planner::lint {
namespace {

std::string changed_by(std::string const& body) {
  std::string text;
  for (auto const& table : tables_changed_by("CREATE OR REPLACE FUNCTION public.f()\n RETURNS trigger\n LANGUAGE "
                                             "plpgsql\nAS $function$ " +
                                             body + " $function$\n")) {
    text += (table.schema.empty() ? "" : table.schema + '.') + table.name + ' ';
  }
  return text;
}

TEST(ChangedTables, AreThoseOfUpdateAndDelete) {
  EXPECT_EQ(changed_by("BEGIN IF NEW.a THEN UPDATE t SET b = 1; END IF; DELETE FROM app.u WHERE x = NEW.x; INSERT INTO "
                       "log SELECT FROM v; RETURN NEW; END"),
            "t app.u ");
  EXPECT_EQ(changed_by("BEGIN WITH gone AS (DELETE FROM t RETURNING id) INSERT INTO u SELECT id FROM gone; RETURN NEW; "
                       "END"),
            "t ");
}

TEST(ChangedTables, AreSeenInTextsThatAreWrittenOut) {
  EXPECT_EQ(changed_by("BEGIN EXECUTE format('UPDATE %I SET b = 1', 't'); RETURN NEW; END"), "t ");
}

TEST(ChangedTables, AndThoseThatGetRows) {
  auto const written = tables_written_by(
      "CREATE FUNCTION f(a text) RETURNS int LANGUAGE plpgsql AS $$DECLARE x int; BEGIN SELECT id INTO x FROM r; IF x "
      "IS NULL THEN INSERT INTO app.t (n) VALUES (a) RETURNING id INTO x; END IF; UPDATE u SET n = 1; RETURN x; END$$");
  ASSERT_EQ(written.size(), 2U);
  EXPECT_EQ(shown(written.at(0)) + " " + shown(written.at(1)), "app.t u");
}

TEST(ChangedTables, AndThoseThatGetRowsByInsertAlone) {
  auto const tables = tables_inserted_into_by(
      "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE u SET n = 1; INSERT INTO app.t (n) "
      "VALUES "
      "(OLD.n); RETURN NULL; END$$");
  ASSERT_EQ(tables.size(), 1U);
  EXPECT_EQ(shown(tables.front()), "app.t");
}

TEST(ChangedTables, OfCodeThatCannotBeReadAreNone) {
  EXPECT_EQ(changed_by("this is no code"), "");
  EXPECT_TRUE(tables_changed_by("CREATE FUNCTION f() RETURNS trigger LANGUAGE c AS 'a', 'b'").empty());
  EXPECT_TRUE(tables_changed_by("").empty());
}

}  // namespace
}  // namespace pgbackfill::planner::lint
