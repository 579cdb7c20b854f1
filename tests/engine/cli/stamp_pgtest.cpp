// stamp on a real server: only what holds is recorded, and what is recorded is what run, gate and complete go by.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr char kFile[] = R"yaml(name: m
table: users
expand:
  - add_column: {name: display, type: text}
  - create_index: {name: by_display, columns: [display]}
backfill:
  set: {display: "upper(name)"}
  where: display IS NULL
verify:
  - zero: "SELECT count(*) FROM users WHERE display <> upper(name)"
contract:
  - set_not_null: display
  - drop_column: name
)yaml";

class StampTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT g, 'name ' || g FROM "
        "generate_series(1, 50) g");
    write("m.yaml", kFile);
  }
  void backfill_by_hand() {
    client_->exec(
        "ALTER TABLE users ADD COLUMN display text; CREATE INDEX by_display ON users (display); UPDATE users SET "
        "display = upper(name)");
  }
  ProgramResult stamp(std::string const& phase, bool yes = true) const {
    std::vector<std::string> words = {"stamp", "m.yaml", "--phase", phase};
    if (yes) words.emplace_back("--yes");
    return run(words);
  }
  void expect_nothing_recorded() {
    EXPECT_EQ(client_->value("SELECT (SELECT count(*) FROM pgbackfill.migrations) + (SELECT count(*) FROM "
                             "pgbackfill.jobs) + (SELECT count(*) FROM pgbackfill.steps)"),
              "0");
  }
};

TEST_F(StampTest, RecordsWhatHoldsAndTheRestGoesByIt) {
  backfill_by_hand();
  auto const asked = stamp("backfilled", false);
  EXPECT_EQ(asked.exit_code, kGateClosed);
  EXPECT_THAT(asked.err, HasSubstr("--yes records it"));
  expect_nothing_recorded();
  std::string const versions =
      client_->value("SELECT string_agg(xmin::text || ctid::text, ' ' ORDER BY id) FROM users");
  auto const stamped = stamp("backfilled");
  EXPECT_EQ(stamped.exit_code, kDone) << stamped.err;
  EXPECT_THAT(stamped.out, HasSubstr("m is recorded as backfilled"));
  EXPECT_EQ(client_->value("SELECT string_agg(xmin::text || ctid::text, ' ' ORDER BY id) FROM users"), versions);
  auto const again = run({"run", "m.yaml"});
  EXPECT_EQ(again.exit_code, kDone);
  EXPECT_THAT(again.err + again.out, HasSubstr("m is complete already"));
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  EXPECT_THAT(run({"log", "m"}).out, AllOf(HasSubstr("stamped"), HasSubstr("as backfilled")));
  EXPECT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = "
                           "'users'::regclass AND attnum > 0 AND NOT attisdropped"),
            "id display");
}

TEST_F(StampTest, RefusesWhatDoesNotHold) {
  struct {
    char const* undo;
    char const* message;
    char const* redo;
  } const cases[] = {
      {"DROP INDEX by_display", "m.yaml:5:5: expand step 2: ", "CREATE INDEX by_display ON users (display)"},
      {"UPDATE users SET display = NULL WHERE id = 7", "1 row(s) still satisfy `where`",
       "UPDATE users SET display = upper(name)"},
      {"UPDATE users SET display = 'x' WHERE id = 7", "SELECT count(*) FROM users",
       "UPDATE users SET display = "
       "upper(name)"},
  };
  backfill_by_hand();
  for (auto const& one : cases) {
    client_->exec(one.undo);
    auto const refused = stamp("backfilled");
    EXPECT_EQ(refused.exit_code, kGateClosed) << one.undo;
    EXPECT_THAT(refused.err,
                AllOf(HasSubstr("m is not backfilled here; nothing was recorded"), HasSubstr(one.message)));
    expect_nothing_recorded();
    client_->exec(one.redo);
  }
  auto const too_far = stamp("complete");
  EXPECT_EQ(too_far.exit_code, kGateClosed);
  EXPECT_THAT(too_far.err, AllOf(HasSubstr("contract step 1: "), HasSubstr("contract step 2: ")));
  expect_nothing_recorded();
  EXPECT_EQ(stamp("backfilled").exit_code, kDone);
}

TEST_F(StampTest, RecordsAContractThatWasDoneByHand) {
  backfill_by_hand();
  client_->exec("ALTER TABLE users ALTER display SET NOT NULL; ALTER TABLE users DROP COLUMN name");
  auto const stamped = stamp("complete");
  EXPECT_EQ(stamped.exit_code, kDone) << stamped.err;
  EXPECT_THAT(run({"rollback", "m", "--yes"}).err, HasSubstr("m has begun `complete`"));
  EXPECT_THAT(run({"run", "m.yaml"}).exit_code, kDone);
}

TEST_F(StampTest, RefusesWhatRanAlreadyAndWhatCannotBeMeasured) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const known = stamp("backfilled");
  EXPECT_EQ(known.exit_code, kGateClosed);
  EXPECT_THAT(known.err, HasSubstr("m ran in this database"));
  write("m.yaml", "name: blind\ntable: users\nbackfill:\n  set: {name: \"name || 'x'\"}\n");
  auto const blind = stamp("backfilled");
  EXPECT_EQ(blind.exit_code, kGateClosed);
  EXPECT_THAT(blind.err, HasSubstr("without a `where` that says what is left nothing can be measured"));
  EXPECT_EQ(run({"stamp", "m.yaml", "--phase", "half", "--yes"}).exit_code, kUsage);
}

// Nothing can be asked about SQL of the user's: it is recorded as taken on trust, by name.
TEST_F(StampTest, SaysWhatItTakesOnTrust) {
  write("m.yaml", "name: m\ntable: users\nexpand:\n  - {sql: CREATE TABLE extra (id int), down: DROP TABLE extra}\n");
  auto const asked = stamp("backfilled", false);
  EXPECT_THAT(asked.err, AllOf(HasSubstr("what cannot be asked about:"), HasSubstr("expand step 1")));
  EXPECT_EQ(stamp("backfilled").exit_code, kDone);
  EXPECT_THAT(run({"log", "m"}).out, HasSubstr("on trust: m.yaml:4:11: expand step 1"));
}

// What was not done is seen also where a later step has renamed what it made.
TEST_F(StampTest, LooksAtStepsAsTheLaterOnesLeftThem) {
  write("m.yaml",
        "name: m\ntable: users\ncontract:\n  - set_not_null: name\n  - create_index: {name: by_name, columns: "
        "[name]}\n  - "
        "rename_column: {name: name, to: title}\n  - rename_table: {to: people}\n");
  client_->exec(
      "CREATE INDEX by_name ON users (name); ALTER TABLE users RENAME name TO title; ALTER TABLE users RENAME TO "
      "people");
  auto const refused = stamp("complete");
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("contract step 1: "), testing::Not(HasSubstr("contract step 2: "))));
  client_->exec("ALTER TABLE people ALTER title SET NOT NULL");
  auto const stamped = stamp("complete");
  EXPECT_EQ(stamped.exit_code, kDone) << stamped.err;
}

}  // namespace
}  // namespace pgbackfill::tests
