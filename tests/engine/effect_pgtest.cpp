// What the server itself says of the user's own SQL steps, before anything is touched.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class EffectTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE t (id int PRIMARY KEY, n int, name text); INSERT INTO t SELECT g, g, 'x' FROM "
        "generate_series(1, 100) g");
  }
};

TEST_F(EffectTest, SqlThatTheServerCannotReadIsRefusedBeforeAnythingIsTouched) {
  for (std::string const broken :
       {"expand:\n  - add_column: {name: a, type: int}\n  - sql: ALTER TABLE t ADD COLUMN b in t\n",
        "expand:\n  - add_column: {name: a, type: int}\n  - sql: SELECT 1\n    down: DROP TABEL t\n",
        "expand:\n  - add_column: {name: a, type: int}\ncontract:\n  - sql: SELECT 1; ALTR TABLE t\n"}) {
    write("m.yaml", "name: m\ntable: t\n" + broken);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << broken << result.err;
    EXPECT_THAT(result.err,
                AllOf(HasSubstr("m.yaml:"), HasSubstr("the server cannot read this SQL: syntax error at or near"),
                      HasSubstr("42601")));
    EXPECT_EQ(client_->value("SELECT to_regnamespace('pgbackfill')"), "NULL");
    EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'a'"),
              "0");
  }
}

TEST_F(EffectTest, SqlOverWhatEarlierStepsMakeIsNoMistake) {
  write("m.yaml",
        "name: m\ntable: t\nexpand:\n  - create_table: {table: made, columns: id int}\n  - sql: |\n      INSERT INTO "
        "made SELECT id FROM t; -- a comment\n      DO $$ BEGIN PERFORM 1; END $$\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM made"), "100");
}

}  // namespace
}  // namespace pgbackfill::tests
