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

// As in a copy of the database that was made without the state: all is done as the file says.
TEST_F(StampTest, RecordsWhatTheCompleteOfEveryExampleLeft) {
  struct Example {
    std::string file;
    std::string name;
    std::string tables;
  };
  std::string const users =
      "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); INSERT INTO users SELECT g, 'n' || g "
      "FROM generate_series(1, 300) g";
  std::vector<Example> const examples = {
      {"add-not-null-column.yaml", "users_display_name", users},
      {"rename-column.yaml", "users_full_name", users},
      {"quickstart.yaml", "quickstart",
       users + "; ALTER TABLE users ADD n int NOT NULL DEFAULT 0, ADD display_name text"},
      {"expand-contract.yaml", "accounts_email_lower",
       "CREATE TABLE accounts (id int PRIMARY KEY, email text NOT NULL); INSERT INTO accounts SELECT g, 'n' || g FROM "
       "generate_series(1, 300) g"},
      {"text-to-jsonb.yaml", "documents_body_jsonb",
       "CREATE TABLE documents (id int PRIMARY KEY, body text NOT NULL); INSERT INTO documents SELECT g, '{}' FROM "
       "generate_series(1, 300) g"},
      {"int-to-bigint-key/1-orders.yaml", "orders_id_bigint",
       "CREATE TABLE orders (id serial PRIMARY KEY, n int); INSERT INTO orders (n) SELECT generate_series(1, 300); "
       "CREATE TABLE "
       "order_items (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders); INSERT INTO order_items SELECT g, g "
       "FROM "
       "generate_series(1, 300) g; CREATE INDEX order_items_order_id_idx ON order_items (order_id)"},
      {"int-to-bigint-key/2-order-items.yaml", "order_items_order_id_bigint", ""},
      {"copy-to-new-table.yaml", "accounts_v2",
       "CREATE TABLE accounts (id serial PRIMARY KEY, email text NOT NULL, cents int NOT NULL DEFAULT 0); INSERT INTO "
       "accounts "
       "(email) SELECT g || '@example.com' FROM generate_series(1, 300) g"},
      {"partition-existing-table.yaml", "partition_measurements",
       "CREATE TABLE measurements (id bigserial PRIMARY KEY, taken_at timestamptz NOT NULL DEFAULT now(), value "
       "numeric); INSERT "
       "INTO measurements (value) SELECT generate_series(1, 300)"},
      {"split-table/1-copy.yaml", "users_addresses",
       "CREATE TABLE users (id bigint PRIMARY KEY, street text, city text); INSERT INTO users SELECT g, 'n' || g, 'c' "
       "FROM "
       "generate_series(1, 300) g"},
      {"split-table/2-drop.yaml", "users_drop_address", ""},
      {"purge-old-rows.yaml", "purge_events_before_2024",
       "CREATE TABLE events (id int PRIMARY KEY, created_at timestamptz NOT NULL); INSERT INTO events SELECT g, "
       "'2023-01-01'::timestamptz + g * interval '2 days' FROM generate_series(1, 300) g"},
      {"join-backfill.yaml", "orders_region",
       "CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL); INSERT INTO customers SELECT i, 'r' FROM "
       "generate_series(0, 9) i; CREATE TABLE orders (id int PRIMARY KEY, customer_id int); INSERT INTO orders SELECT "
       "i, i % 10 "
       "FROM generate_series(1, 300) i"},
      {"composite-key.yaml", "readings_celsius",
       "CREATE TABLE readings (tenant uuid, day date, sensor int, fahrenheit numeric NOT NULL, PRIMARY KEY (tenant, "
       "day, "
       "sensor)); INSERT INTO readings SELECT md5((i % 4)::text)::uuid, date '2024-01-01' + i % 60, i, i % 120 FROM "
       "generate_series(1, 300) i"},
  };
  for (auto const& one : examples) {
    SCOPED_TRACE(one.file);
    std::string const file = std::string(PGBACKFILL_SOURCE_DIR) + "/examples/" + one.file;
    client_->exec("SET client_min_messages = warning; DROP SCHEMA IF EXISTS pgbackfill CASCADE");
    if (!one.tables.empty()) {
      client_->exec("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO PUBLIC; " +
                    one.tables);
    }
    auto const ran = run({"run", file});
    ASSERT_EQ(ran.exit_code, kDone) << ran.err;
    auto const done = run({"complete", one.name, "--yes"});
    ASSERT_EQ(done.exit_code, kDone) << done.err;
    client_->exec("DROP SCHEMA pgbackfill CASCADE");
    auto const stamped = run({"stamp", file, "--phase", "complete", "--yes"});
    EXPECT_EQ(stamped.exit_code, kDone) << stamped.err;
    EXPECT_EQ(run({"complete", one.name, "--yes"}).exit_code, kDone);
  }
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
