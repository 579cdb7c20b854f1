// `sql:` with queries in its WITH that change rows: archive, move, split. Each batch is what the one statement would do
// to its rows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

class WholeStatementTest : public DatabaseTest {
 protected:
  void write_sql(std::string const& table, std::string const& sql, std::string const& more = "") const {
    write("m.yaml", "name: m\ntable: " + table + "\nbackfill:\n  sql: \"" + sql + "\"\n" + more);
  }
  std::string value(std::string const& sql) { return client_->value(sql); }
};

constexpr char kArchive[] =
    "WITH gone AS (DELETE FROM orders o WHERE o.is_old AND {batch:o} RETURNING *) INSERT INTO archive SELECT * FROM "
    "gone";

void make_orders(PgClient& client, int rows) {
  client.exec(
      "CREATE TABLE orders (id int PRIMARY KEY, is_old boolean, note text); CREATE TABLE archive (LIKE orders); INSERT "
      "INTO orders SELECT g, g % 2 = 0, 'note ' || g FROM generate_series(1, " +
      std::to_string(rows) + ") g; ANALYZE orders; CREATE TABLE before AS TABLE orders");
}

TEST_F(WholeStatementTest, ArchivesWhatItDeletes) {
  make_orders(*client_, 5'000);
  write_sql("orders", kArchive, "  batch: {max_rows: 300}\n");
  auto const plan = run({"plan", "m.yaml", "--sample"});
  ASSERT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("INSERT INTO archive SELECT * FROM gone"));
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("2,500 rows changed"));
  EXPECT_EQ(value("SELECT count(*) FROM orders WHERE is_old"), "0");
  EXPECT_EQ(value("SELECT count(*) FROM (TABLE archive UNION ALL TABLE orders EXCEPT ALL TABLE before) d"), "0");
  EXPECT_EQ(value("SELECT count(*) FROM (TABLE archive UNION ALL TABLE orders) d"), "5000");
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kDone);
}

TEST_F(WholeStatementTest, ComesBackToARowThatSomebodyHolds) {
  make_orders(*client_, 1'000);
  write_sql("orders", kArchive);
  PgClient holder(dsn());
  holder.exec("BEGIN; UPDATE orders SET note = 'held' WHERE id IN (100, 101)");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", "m.yaml"}, options);
  ASSERT_TRUE(poll_until([&] { return value("SELECT count(*) FROM archive") == "499"; })) << program.err();
  holder.exec("COMMIT");
  auto const result = program.wait();
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) || ' ' || min(note) FROM archive WHERE id = 100"), "1 held");
  EXPECT_EQ(value("SELECT count(*) FROM archive"), "500");
  EXPECT_EQ(value("SELECT count(*) FROM orders"), "500");
}

TEST_F(WholeStatementTest, WritesTheKeysOfNewRowsBack) {
  client_->exec(
      "CREATE TABLE users (id int PRIMARY KEY, street text, address_id bigint); CREATE TABLE addresses (id bigint "
      "GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int, street text); INSERT INTO users (id, street) SELECT g, "
      "'street ' || g FROM generate_series(1, 3000) g; ANALYZE users");
  write_sql("users",
            "WITH made AS (INSERT INTO addresses (user_id, street) SELECT u.id, u.street FROM users u WHERE "
            "u.address_id IS NULL AND {batch:u} RETURNING id, user_id) UPDATE users SET address_id = made.id FROM made "
            "WHERE users.id = made.user_id",
            "  batch: {max_rows: 500}\n");
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM users u JOIN addresses a ON a.id = u.address_id AND a.user_id = u.id AND "
                  "a.street = u.street"),
            "3000");
  EXPECT_EQ(value("SELECT count(*) FROM addresses"), "3000");
}

TEST_F(WholeStatementTest, SetsABadRowAside) {
  make_orders(*client_, 800);
  client_->exec("ALTER TABLE archive ADD CHECK (id <> 300)");
  write_sql("orders", kArchive, "  on_bad_row: {quarantine: 1}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(value("SELECT string_agg(key[1] || ' ' || sqlstate, ',') FROM pgbackfill.quarantine"), "300 23514")
      << result.err;
  EXPECT_EQ(value("SELECT count(*) FROM archive"), "399");
  EXPECT_EQ(value("SELECT count(*) FROM orders"), "401");
}

TEST_F(WholeStatementTest, WorksOnPartitions) {
  client_->exec(
      "CREATE TABLE orders (id int PRIMARY KEY, is_old boolean, note text) PARTITION BY RANGE (id); CREATE TABLE "
      "orders_1 PARTITION OF orders FOR VALUES FROM (1) TO (500); CREATE TABLE orders_2 PARTITION OF orders FOR VALUES "
      "FROM (500) TO (1001); CREATE TABLE archive (LIKE orders); INSERT INTO orders SELECT g, g % 2 = 0, 'note' FROM "
      "generate_series(1, 1000) g; ANALYZE orders");
  write_sql("orders", kArchive);
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(value("SELECT count(*) || ' ' || count(DISTINCT id) FROM archive"), "500 500");
  EXPECT_EQ(value("SELECT count(*) FROM orders"), "500");
}

TEST_F(WholeStatementTest, APartThatTheBatchDoesNotBoundIsRefused) {
  make_orders(*client_, 10);
  client_->exec("CREATE TABLE counters (n int); INSERT INTO counters VALUES (0)");
  for (std::string const sql :
       {"WITH gone AS (DELETE FROM orders o WHERE {batch:o} RETURNING *), c AS (UPDATE counters SET n = n + 1) INSERT "
        "INTO archive SELECT * FROM gone",
        "WITH gone AS (DELETE FROM orders o WHERE {batch:o} RETURNING *) UPDATE counters SET n = n + 1"}) {
    write_sql("orders", sql);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << sql;
    EXPECT_THAT(result.err, HasSubstr("nothing joins")) << sql;
  }
  // It reads rows of the batch, and yet changes the same row with each.
  for (std::string const sql :
       {"UPDATE counters SET n = n + 1 FROM gone", "UPDATE counters SET n = n + 1 WHERE EXISTS (SELECT FROM gone)"}) {
    write_sql("orders", "WITH gone AS (DELETE FROM orders o WHERE {batch:o} RETURNING *) " + sql);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << sql;
    EXPECT_THAT(result.err, HasSubstr("nothing joins")) << sql;
  }
  EXPECT_EQ(value("SELECT n FROM counters"), "0");
}

TEST_F(WholeStatementTest, WhatGathersRowsThatABatchReturnsIsRefused) {
  make_orders(*client_, 10);
  write_sql("orders",
            "WITH gone AS (DELETE FROM orders o WHERE {batch:o} RETURNING *) INSERT INTO archive (note) SELECT "
            "max(note) FROM gone");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kUsage) << result.err;
  EXPECT_THAT(result.err, HasSubstr("max() would see only the rows"));
}

}  // namespace
}  // namespace pgbackfill::tests
