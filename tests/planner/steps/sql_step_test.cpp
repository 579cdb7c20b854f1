#include "planner/steps/sql_step.h"

#include <gtest/gtest.h>

#include <string>

namespace pgbackfill::planner {
namespace {

std::string text_of(TableName const& table) {
  return (table.schema.empty() ? "" : table.schema + '.') + table.name;
}

std::string locked(std::string const& sql) {
  std::string text;
  for (auto const& table : locked_exclusively(sql)) text += text_of(table) + ' ';
  return text;
}

std::string made(std::string const& sql) {
  std::string text;
  for (auto const& name : new_names(sql)) {
    text += text_of(name.table) + (name.column.empty() ? " is " + name.renamed : " has " + name.column) + "; ";
  }
  return text;
}

TEST(SqlStep, LocksWhatItAlters) {
  EXPECT_EQ(locked("ALTER TABLE t ADD COLUMN a int; ALTER TABLE ONLY app.u ALTER b TYPE bigint, SET (fillfactor = 90)"),
            "t app.u ");
  EXPECT_EQ(locked("ALTER TABLE a.t RENAME COLUMN x TO y; ALTER TABLE t RENAME TO u; ALTER TABLE v SET SCHEMA app"),
            "a.t t v ");
  EXPECT_EQ(
      locked("DROP TABLE a, b.c; DROP INDEX i; DROP TRIGGER g ON s.t; TRUNCATE x, y; LOCK TABLE z; CREATE POLICY p "
             "ON w"),
      "a b.c i s.t x y z w ");
}

TEST(SqlStep, DoesNotCountWeakerLocks) {
  EXPECT_EQ(
      locked("ALTER TABLE t VALIDATE CONSTRAINT c, ALTER a SET STATISTICS 9; ALTER TABLE t ADD CONSTRAINT f FOREIGN "
             "KEY (a) REFERENCES u NOT VALID; ALTER TABLE t DISABLE TRIGGER g; CREATE INDEX i ON t (a); DROP INDEX "
             "CONCURRENTLY i; LOCK TABLE t IN SHARE MODE; COMMENT ON TABLE t IS 'x'"),
      "");
  EXPECT_EQ(locked("ALTER TABLE t ATTACH PARTITION t_1 FOR VALUES IN (1)"), "t_1 ");
}

TEST(SqlStep, MakesColumnsAndTables) {
  EXPECT_EQ(
      made("ALTER TABLE app.t ADD a int, ADD COLUMN IF NOT EXISTS b text; ALTER TABLE t RENAME x TO y; ALTER TABLE "
           "t RENAME TO u; CREATE TABLE w (id int); CREATE TEMP TABLE gone (id int); ALTER TABLE t DROP a"),
      "app.t has a; app.t has b; t has y; t is u; w is w; ");
}

TEST(SqlStep, SaysNothingOfWhatItCannotRead) {
  EXPECT_EQ(locked("ALTER TABLE t ADD COLUMN"), "");
  EXPECT_EQ(made("this is not SQL; ALTER TABLE t ADD a int"), "t has a; ");
}

}  // namespace
}  // namespace pgbackfill::planner
