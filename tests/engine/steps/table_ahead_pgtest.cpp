// A step is asked of the table as it will be at its turn, after the steps of the file before it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct Case {
  std::string phase;
  std::vector<std::string> steps;  // the last one is refused
  std::string message;
};

class TableAheadTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE o (id int PRIMARY KEY, a int DEFAULT 5 NOT NULL, b text, CONSTRAINT o_check CHECK (a > 0)); "
        "CREATE UNIQUE INDEX o_a ON o (a); CREATE INDEX o_b ON o (b); INSERT INTO o SELECT g, g, g FROM "
        "generate_series(1, 50) g; CREATE TABLE ri (id int NOT NULL DEFAULT 1); CREATE UNIQUE INDEX ri_id ON ri (id); "
        "ALTER TABLE ri REPLICA IDENTITY USING INDEX ri_id; CREATE TABLE ct (id int PRIMARY KEY, v varchar(4), n int); "
        "CREATE TABLE n2 (x int); CREATE TABLE child (id int PRIMARY KEY, o int CONSTRAINT child_o REFERENCES o)");
  }
  void write_steps(std::string const& phase, std::vector<std::string> const& steps) {
    std::string text = "name: m\ntable: public.o\n" + phase + ":\n";
    for (auto const& step : steps) text += "  - " + step + "\n";
    write("m.yaml", text);
  }
  // Plan and run name the last step at its place in the file, and nothing has been touched.
  void expect_refusal(Case const& one) {
    write_steps(one.phase, one.steps);
    auto const number = std::to_string(one.steps.size());
    auto const line = std::to_string(one.steps.size() + 3);
    auto const plan = run({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << one.steps.back() << plan.out;
    EXPECT_THAT(plan.err,
                AllOf(HasSubstr("m.yaml:" + line + ":5: " + one.phase + " step " + number + ": "),
                      HasSubstr(one.message), Not(HasSubstr("\"pgbackfill_ahead\"")), Not(HasSubstr("pg_temp"))))
        << one.steps.back();
    EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kUsage) << one.steps.back();
    EXPECT_EQ(client_->value("SELECT to_regclass('pgbackfill.steps') IS NULL"), "t") << one.steps.back();
  }
  // And they run.
  void expect_done(std::string const& phase, std::vector<std::string> const& steps) {
    write_steps(phase, steps);
    auto const plan = run({"plan", "m.yaml"});
    ASSERT_EQ(plan.exit_code, kDone) << steps.front() << plan.err;
    auto const ran = run({"run", "m.yaml"});
    ASSERT_EQ(ran.exit_code, kDone) << steps.front() << ran.err;
    if (phase != "contract") return;
    auto const completed = run({"complete", "m", "--yes"});
    ASSERT_EQ(completed.exit_code, kDone) << steps.front() << completed.err;
  }
};

TEST_F(TableAheadTest, WhatTheServerWillRefuseAfterTheStepsBeforeIsRefusedByPlan) {
  std::vector<Case> const cases = {
      {"expand",
       {"set_default: {table: public.ri, column: id, value: \"6\"}", "drop_not_null: {table: public.ri, column: id}"},
       "column id of public.ri is in the primary key or the index of the replica identity"},
      {"contract", {"drop_default: a", "set_default: {column: a, value: \"now()\"}"}, "is of type integer"},
      {"contract", {"set_not_null: id", "drop_not_null: id"}, "column id of public.o is in the primary key"},
      {"expand",
       {"add_column: {name: c, type: int}", "set_default: {column: c, value: \"now()\"}"},
       "column \"c\" is of type integer but default expression is of type timestamp"},
      {"expand",
       {"add_column: {name: c, type: int}", "add_check: {name: c_ck, check: \"c > now()\"}"},
       "operator does not exist: integer > timestamp"},
      {"expand",
       {"add_column: {name: c, type: point}", "create_index: {name: o_c, columns: [c]}"},
       "data type point has no default operator class"},
      {"expand",
       {"add_column: {name: c, type: text}",
        "add_foreign_key: {name: c_fk, columns: [c], references: public.o, to: [id]}"},
       "incompatible types: text and integer"},
      {"expand",
       {"add_column: {name: c, type: text}", "change_type: {column: c, type: int}"},
       "column \"c\" cannot be cast automatically to type integer"},
      {"expand", {"add_column: {name: c, type: text}", "rename_column: {name: c, to: b}"}, "column b is there already"},
      {"expand",
       {"create_table: {table: public.n, columns: \"id int, x int\"}",
        "set_default: {table: public.n, column: idx, value: \"1\"}"},
       "there is no column idx in public.n (did you mean 'id'?)"},
      {"expand",
       {"create_table: {table: public.n, columns: \"id int, x point\"}",
        "add_foreign_key: {name: n_fk, columns: [a], references: public.n}"},
       "there is no primary key for referenced table \"n\""},
      {"expand",
       {"rename_column: {name: a, to: a9}", "create_index: {name: o_a2, columns: [a]}"},
       "there is no column a in public.o by then: expand step 1 renames it to a9"},
      {"contract",
       {"change_type: {table: public.ct, column: v, type: varchar(8)}",
        "change_type: {table: public.ct, column: n, type: bigint}"},
       "this would write every row"},
      {"contract",
       {"drop_column: b", "create_index: {name: o_b2, columns: [b]}"},
       "there is no column b in public.o by then: contract step 1 drops it"},
      {"contract",
       {"rename_table: {table: public.n2, to: n22}", "create_index: {table: public.n2, name: n2_x, columns: [x]}"},
       "there is no table public.n2 by then: contract step 1 renames it to n22"},
      {"expand",
       {"create_table: {table: public.n, columns: \"id int, x int\"}",
        "add_primary_key: {table: public.n, name: n_pk, columns: [idd]}"},
       "there is no column idd in public.n (did you mean 'id'?)"},
  };
  for (auto const& one : cases) expect_refusal(one);
}

// As many steps apart as may be.
TEST_F(TableAheadTest, NamesAreFollowedThroughSeveralSteps) {
  std::vector<Case> const cases = {
      {"expand",
       {"rename_table: {table: public.n2, to: n3}", "rename_column: {table: public.n3, name: x, to: y}",
        "rename_table: {table: public.n3, to: n4}", "set_not_null: {table: public.n4, column: x}"},
       "there is no column x in public.n4 by then: expand step 2 renames it to y"},
      {"expand",
       {"create_table: {table: public.n, like: public.o}", "drop_column: {table: public.n, name: b}",
        "add_foreign_key: {name: f, columns: [b], references: public.n, to: [b]}"},
       "there is no column b in public.n by then: expand step 2 drops it"},
      {"contract",
       {"drop_table: {table: public.n2}", "drop_column: {table: public.n2, name: x}"},
       "there is no table public.n2 by then: contract step 1 drops it"},
      {"contract", {"drop_column: b", "drop_index: o_b"}, "there is no index o_b of public.o"},
      {"contract", {"drop_constraint: o_check", "drop_column: a", "drop_default: a"}, "contract step 2 drops it"},
      {"expand",
       {"add_column: {name: c, type: int}", "add_primary_key: {name: second, columns: [c]}"},
       "has another primary key already"},
      {"expand",
       {"add_column: {name: c, type: int}", "add_column: {name: c, type: text}"},
       "column c is there already, as integer; the step wants text"},
      {"expand",
       {"create_index: {name: o_new, columns: [b]}", "drop_index: o_new", "drop_index: o_new"},
       "there is no index o_new of public.o"},
  };
  for (auto const& one : cases) expect_refusal(one);
}

TEST_F(TableAheadTest, WhatIsRightAfterTheStepsBeforeIsDone) {
  expect_done("expand", {"add_column: {name: c, type: int}", "set_default: {column: c, value: \"7\"}",
                         "add_check: {name: c_ck, check: \"c > 0\"}", "create_index: {name: o_c, columns: [c]}",
                         "add_unique: {name: o_c_key, columns: [c]}",
                         "add_foreign_key: {name: c_fk, columns: [c], references: public.o, to: [id]}",
                         "drop_default: c", "drop_constraint: c_fk", "drop_index: o_c", "drop_constraint: o_c_key"});
}

TEST_F(TableAheadTest, AColumnIsUsedUnderItsNewName) {
  expect_done("expand",
              {"rename_column: {name: a, to: a9}", "create_index: {name: o_a9, columns: [a9]}", "drop_not_null: a9",
               "set_default: {column: a9, value: \"8\"}", "add_check: {name: a9_ck, check: \"a9 > 0\"}",
               "add_column: {name: a, type: text}", "set_default: {column: a, value: \"'x'\"}", "set_not_null: a9"});
}

TEST_F(TableAheadTest, AConstraintIsAddedAnewUnderItsName) {
  expect_done("contract", {"drop_constraint: o_check", "add_check: {name: o_check, check: \"a > -1\"}",
                           "drop_constraint: {table: public.child, name: child_o}",
                           "change_type: {table: public.child, column: o, type: oid}"});
}

TEST_F(TableAheadTest, AnIndexIsCreatedAnewUnderItsName) {
  expect_done("contract", {"drop_index: o_b", "create_index: {name: o_b, columns: [b, a]}", "drop_index: o_a",
                           "create_index: {name: o_a, columns: [a]}", "reindex: o_a"});
}

TEST_F(TableAheadTest, ANewTableTakesEveryStep) {
  expect_done(
      "expand",
      {"create_table: {table: public.n, columns: \"id int, x int CHECK (x > 0), u int UNIQUE, -- u\\n"
       "o int\"}",
       "add_primary_key: {table: public.n, name: n_pk, columns: [id]}",
       "add_column: {table: public.n, name: y, type: text}",
       "create_index: {table: public.n, name: n_y, columns: [y], include: [x]}",
       "set_not_null: {table: public.n, column: y}", "set_default: {table: public.n, column: y, value: \"'y'\"}",
       "add_foreign_key: {table: public.n, name: n_o, columns: [o], references: public.o, to: [id]}",
       "add_foreign_key: {table: public.child, name: c_n, columns: [o], references: public.n}",
       "drop_constraint: {table: public.n, name: n_x_check}", "drop_constraint: {table: public.n, name: n_u_key}",
       "rename_column: {table: public.n, name: y, to: z}", "rename_table: {table: public.n, to: named}",
       "drop_not_null: {table: public.named, column: z}"});
}

TEST_F(TableAheadTest, ADefaultIsDroppedAndSet) {
  expect_done("expand", {"drop_default: a", "set_default: {column: a, value: \"5\"}", "drop_not_null: a",
                         "set_not_null: a", "drop_not_null: a"});
  EXPECT_EQ(client_->value("SELECT column_default || is_nullable FROM information_schema.columns WHERE table_name = "
                           "'o' AND column_name = 'a'"),
            "5YES");
}

TEST_F(TableAheadTest, ATypeIsChangedAndIndexed) {
  expect_done("contract", {"change_type: {table: public.ct, column: v, type: text}",
                           "create_index: {table: public.ct, name: ct_v, columns: [v]}",
                           "set_default: {table: public.ct, column: v, value: \"'more than four'\"}",
                           "add_check: {table: public.ct, name: v_ck, check: \"v <> ''\"}"});
}

TEST_F(TableAheadTest, AKeyIsDroppedAndAnotherOneAdded) {
  expect_done("contract", {"drop_constraint: {table: public.child, name: child_o}", "drop_constraint: o_pkey",
                           "add_primary_key: {name: o_pkey, columns: [a]}", "drop_not_null: id", "drop_column: id"});
}

TEST_F(TableAheadTest, ATableThatTakesAnothersNameIsMeant) {
  expect_done("expand", {"rename_table: {table: public.n2, to: n_old}",
                         "create_table: {table: public.n2, columns: \"id int, y int\"}",
                         "create_index: {table: public.n2, name: n2_y, columns: [y]}",
                         "create_index: {table: public.n_old, name: n_old_x, columns: [x]}"});
}

TEST_F(TableAheadTest, OfSqlNothingIsKnown) {
  expect_done("expand",
              {"sql: ALTER TABLE o RENAME b TO text; ALTER TABLE o ADD b int", "set_default: {column: b, value: \"5\"}",
               "create_index: {name: o_text, columns: [text]}", "sql: CREATE TABLE made (m int)",
               "set_not_null: {table: public.made, column: m}", "rename_table: {table: public.made, to: m2}",
               "sql: CREATE TABLE made (k int)", "set_not_null: {table: public.made, column: k}"});
}

TEST_F(TableAheadTest, ASwapOfColumnsLeavesItsColumns) {
  client_->exec("ALTER TABLE ct ADD n8 bigint");
  write("m.yaml",
        "name: m\ntable: public.ct\ncontract:\n  - swap_column: {column: n, with: n8}\n  - drop_default: n\n"
        "  - drop_not_null: n\n  - drop_column: n_old\n");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  write("m.yaml",
        "name: m\ntable: public.ct\ncontract:\n  - swap_column: {column: n, with: n8}\n  - drop_column: n8\n");
  auto const refused = run({"plan", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kUsage) << refused.out;
  EXPECT_THAT(refused.err, HasSubstr("there is no column n8 in public.ct by then: contract step 1 renames it to n"));
}

TEST_F(TableAheadTest, ARoleThatMayMakeNoCopyIsToldNothing) {
  std::string const role = "ahead_" + database_;
  client_->exec("CREATE ROLE " + role + " LOGIN; REVOKE TEMP ON DATABASE " + database_ +
                " FROM PUBLIC; GRANT CREATE ON DATABASE " + database_ + " TO " + role +
                "; GRANT CREATE ON SCHEMA public TO " + role + "; ALTER TABLE o OWNER TO " + role);
  write_steps("expand", {"rename_column: {name: a, to: a9}", "drop_not_null: a9", "set_not_null: a9"});
  auto const plan = run({"plan", "m.yaml", "--dsn", dsn(role)}, false);
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  client_->exec("DROP OWNED BY " + role + " CASCADE; DROP ROLE " + role);
}

}  // namespace
}  // namespace pgbackfill::tests
