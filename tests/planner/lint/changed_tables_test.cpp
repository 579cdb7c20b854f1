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

TEST(ChangedTables, OfCodeThatCannotBeReadAreNone) {
  EXPECT_EQ(changed_by("this is no code"), "");
  EXPECT_TRUE(tables_changed_by("CREATE FUNCTION f() RETURNS trigger LANGUAGE c AS 'a', 'b'").empty());
  EXPECT_TRUE(tables_changed_by("").empty());
}

}  // namespace
}  // namespace pgbackfill::planner::lint
