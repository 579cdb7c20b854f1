// Examples with the old and the new version of an application writing through all of their phases. Each change is made
// to the table and, as what it means, to a twin; at the end both agree, no change failed, and no statement of expand or
// contract was noticed otherwise.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

#include "tests/support/app_traffic.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

constexpr int kRows = 20'000;

class ExampleTraffic : public DatabaseTest {
 protected:
  static std::string path_of(std::string const& file) {
    return std::string(PGBACKFILL_SOURCE_DIR) + "/examples/" + file;
  }
  void expect_done(std::vector<std::string> const& words) const {
    auto const result = run(words);
    ASSERT_EQ(result.exit_code, kDone) << testing::PrintToString(words) << '\n' << result.out << result.err;
  }
  void expect_changes(AppTraffic const& traffic, int more = 200) const {
    int const before = traffic.changes();
    EXPECT_TRUE(poll_until([&] { return traffic.changes() > before + more; }));
  }
  void expect_agreement(std::string const& difference) const {
    EXPECT_EQ(client_->value("SELECT count(*) FROM " + difference), "0")
        << "PGBACKFILL_SEED=" << seed_of_tests() << " " << difference;
  }
  static void expect_peace(AppTraffic& traffic) {
    EXPECT_GT(traffic.stop(), 0);
    EXPECT_EQ(traffic.failures(), "") << "PGBACKFILL_SEED=" << seed_of_tests();
  }
  std::string type_of(std::string const& table, std::string const& column) const {
    return client_->value(
        fmt::format("SELECT coalesce((SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE "
                    "attrelid = '{}'::regclass AND attname = '{}' AND NOT attisdropped), 'none')",
                    table, column));
  }
};

// --- rename a column ------------------------------------------------------------------------------------------------

// A writer of the version that knows the column by this name alone.
AppTraffic::Change name_writer(std::string column) {
  return [column](std::mt19937_64& random) {
    auto const id = between(random, 1, kRows * 5 / 4);
    auto const name = fmt::format("'{:x}'", random());
    switch (between(random, 0, 5)) {
      case 0:
        return fmt::format("DELETE FROM users WHERE id = {0}; DELETE FROM twin WHERE id = {0}", id);
      case 1:
      case 2:
        return fmt::format(
            "INSERT INTO users (id, {0}) VALUES ({1}, {2}) ON CONFLICT (id) DO UPDATE SET {0} = excluded.{0}; INSERT "
            "INTO "
            "twin VALUES ({1}, {2}) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
            column, id, name);
      default:
        return fmt::format("UPDATE users SET {0} = {2} WHERE id = {1}; UPDATE twin SET name = {2} WHERE id = {1}",
                           column, id, name);
    }
  };
}

TEST_F(ExampleTraffic, RenameAColumn) {
  client_->exec(
      fmt::format("CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); INSERT INTO users SELECT i, 'n' || "
                  "i FROM generate_series(1, {}) i; CREATE TABLE twin AS TABLE users; ALTER TABLE twin ADD "
                  "PRIMARY KEY (id); ANALYZE users",
                  kRows));
  AppTraffic old_version(dsn(), name_writer("name"), 1);
  expect_done({"run", path_of("rename-column.yaml")});
  AppTraffic new_version(dsn(), name_writer("full_name"), 2);
  expect_changes(new_version);
  expect_done({"gate", "users_full_name"});
  expect_peace(old_version);
  expect_agreement("users u FULL JOIN twin t USING (id) WHERE u.name IS DISTINCT FROM u.full_name");
  expect_done({"approve", "users_full_name"});
  expect_done({"complete", "users_full_name"});
  expect_changes(new_version, 20);
  expect_peace(new_version);
  expect_agreement("users u FULL JOIN twin t USING (id) WHERE u.full_name IS DISTINCT FROM t.name");
  EXPECT_EQ(type_of("users", "name"), "none");
}

TEST_F(ExampleTraffic, RenameAColumnAndBack) {
  client_->exec(
      fmt::format("CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); INSERT INTO users SELECT i, 'n' || "
                  "i FROM generate_series(1, {}) i; CREATE TABLE twin AS TABLE users; ALTER TABLE twin ADD "
                  "PRIMARY KEY (id)",
                  kRows));
  AppTraffic old_version(dsn(), name_writer("name"), 1);
  expect_done({"run", path_of("rename-column.yaml")});
  AppTraffic new_version(dsn(), name_writer("full_name"), 2);
  expect_changes(new_version);
  // The new version is rolled back, and nothing that it wrote is lost.
  expect_peace(new_version);
  expect_done({"rollback", "users_full_name", "--yes"});
  expect_changes(old_version, 20);
  expect_peace(old_version);
  expect_agreement("users u FULL JOIN twin t USING (id) WHERE u.name IS DISTINCT FROM t.name");
}

// --- int to bigint --------------------------------------------------------------------------------------------------

// One application, before and after: it knows `id` and `order_id`.
std::string order_change(std::mt19937_64& random) {
  auto const note = fmt::format("'{:x}'", random());
  auto const id = between(random, 1, kRows * 11 / 10);
  switch (between(random, 0, 5)) {
    case 0:
      return fmt::format(
          "SELECT FROM orders WHERE id = {0} FOR UPDATE; DELETE FROM order_items WHERE order_id = {0}; DELETE FROM "
          "orders WHERE id = {0}; DELETE FROM items_twin WHERE "
          "order_id = {0}; DELETE FROM orders_twin WHERE id = {0}",
          id);
    case 1:
    case 2:
      return fmt::format(
          "WITH o AS (INSERT INTO orders (note) VALUES ({0}) RETURNING id, note) INSERT INTO orders_twin SELECT id, "
          "note FROM "
          "o; WITH i AS (INSERT INTO order_items (order_id, n) SELECT max(id), 7 FROM orders_twin WHERE note = {0} "
          "RETURNING "
          "id, order_id) INSERT INTO items_twin SELECT id, order_id FROM i",
          note);
    case 3:
      return fmt::format(
          "WITH i AS (INSERT INTO order_items (order_id, n) SELECT id, 1 FROM orders WHERE id = {} FOR KEY SHARE "
          "RETURNING id, "
          "order_id) INSERT INTO items_twin SELECT id, order_id FROM i",
          id);
    default:
      return fmt::format(
          "UPDATE orders SET note = {1} WHERE id = {0}; UPDATE orders_twin SET note = {1} WHERE id = {0}", id, note);
  }
}

TEST_F(ExampleTraffic, IntToBigintPrimaryKeyReferencedByAForeignKey) {
  client_->exec(fmt::format(
      "CREATE TABLE orders (id serial PRIMARY KEY, note text); INSERT INTO orders (note) SELECT 'n' || i FROM "
      "generate_series(1, {0}) i; CREATE TABLE order_items (id serial PRIMARY KEY, order_id int NOT NULL REFERENCES "
      "orders, n "
      "int); CREATE INDEX order_items_order_id_idx ON order_items (order_id); INSERT INTO order_items (order_id, n) "
      "SELECT i, "
      "1 FROM generate_series(1, {0}) i; CREATE TABLE orders_twin (id bigint PRIMARY KEY, note text); INSERT INTO "
      "orders_twin "
      "TABLE orders; CREATE TABLE items_twin (id bigint PRIMARY KEY, order_id bigint); INSERT INTO items_twin SELECT "
      "id, "
      "order_id FROM order_items; CREATE INDEX ON items_twin (order_id); CREATE INDEX ON orders_twin (note); ANALYZE",
      kRows));
  AppTraffic traffic(dsn(), order_change, 1);
  for (std::string const file : {"1-orders.yaml", "2-order-items.yaml"}) {
    std::string const name = file.front() == '1' ? "orders_id_bigint" : "order_items_order_id_bigint";
    expect_done({"run", path_of("int-to-bigint-key/" + file)});
    expect_done({"gate", name});
    expect_done({"approve", name});
    expect_done({"complete", name});
    expect_changes(traffic, 50);
  }
  expect_peace(traffic);
  expect_agreement("orders o FULL JOIN orders_twin t USING (id) WHERE o.note IS DISTINCT FROM t.note");
  expect_agreement("order_items o FULL JOIN items_twin t USING (id) WHERE o.order_id IS DISTINCT FROM t.order_id");
  EXPECT_EQ(type_of("orders", "id") + " " + type_of("order_items", "order_id"), "bigint bigint");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated AND conrelid = "
                           "'order_items'::regclass"),
            "1");
  // Beyond what an integer can hold, and still referred to.
  client_->exec(
      "SELECT setval(pg_get_serial_sequence('orders', 'id'), 3000000000); INSERT INTO orders (note) VALUES ('big'); "
      "INSERT INTO order_items (order_id, n) VALUES (3000000001, 1)");
  EXPECT_EQ(client_->try_exec("INSERT INTO order_items (order_id, n) VALUES (3000000002, 1)"), "23503");
}

// --- split a table --------------------------------------------------------------------------------------------------

enum class AddressVersion { kUsersAlone, kBoth, kAddressesAlone };

// The twin has one row a user that has an address.
AppTraffic::Change address_writer(AddressVersion version) {
  return [version](std::mt19937_64& random) {
    auto const id = between(random, 1, kRows * 5 / 4);
    auto const street = fmt::format("'{:x}'", random());
    std::string const city = between(random, 0, 1) == 0 ? "'Rome'" : "'Oslo'";
    if (between(random, 0, 4) == 0) {
      // The copy follows, later the foreign key does; version 2 says it itself as well.
      std::string const own =
          version == AddressVersion::kUsersAlone ? "" : fmt::format("DELETE FROM addresses WHERE user_id = {}; ", id);
      return own + fmt::format("DELETE FROM users WHERE id = {0}; DELETE FROM twin WHERE id = {0}", id);
    }
    std::string sql = fmt::format(
        "INSERT INTO users (id, name) VALUES ({}, 'n') ON CONFLICT (id) DO UPDATE SET name = users.name || 'x'; ", id);
    if (version != AddressVersion::kAddressesAlone) {
      sql += fmt::format("UPDATE users SET street = {}, city = {} WHERE id = {}; ", street, city, id);
    }
    if (version != AddressVersion::kUsersAlone) {
      sql += fmt::format(
          "INSERT INTO addresses VALUES ({}, {}, {}) ON CONFLICT (user_id) DO UPDATE SET street = excluded.street, "
          "city = "
          "excluded.city; ",
          id, street, city);
    }
    return sql + fmt::format(
                     "INSERT INTO twin VALUES ({}, {}, {}) ON CONFLICT (id) DO UPDATE SET street = excluded.street, "
                     "city = excluded.city",
                     id, street, city);
  };
}

TEST_F(ExampleTraffic, SplitATable) {
  client_->exec(
      fmt::format("CREATE TABLE users (id bigint PRIMARY KEY, name text, street text, city text); INSERT INTO users "
                  "SELECT i, 'n', CASE "
                  "WHEN i % 3 > 0 THEN 's' || i END, CASE WHEN i % 3 > 0 THEN 'Rome' END FROM generate_series(1, {}) "
                  "i; CREATE TABLE twin "
                  "AS SELECT id, street, city FROM users WHERE street IS NOT NULL; ALTER TABLE twin ADD PRIMARY KEY "
                  "(id); ANALYZE users",
                  kRows));
  std::string const difference =
      "addresses a FULL JOIN twin t ON t.id = a.user_id WHERE (a.street, a.city) IS DISTINCT FROM (t.street, t.city)";
  AppTraffic first(dsn(), address_writer(AddressVersion::kUsersAlone), 1);
  expect_done({"run", path_of("split-table/1-copy.yaml")});
  AppTraffic second(dsn(), address_writer(AddressVersion::kBoth), 2);
  expect_changes(second);
  expect_done({"gate", "users_addresses"});
  expect_peace(first);
  expect_done({"complete", "users_addresses"});
  expect_changes(second, 50);
  expect_peace(second);
  expect_agreement(difference);
  AppTraffic third(dsn(), address_writer(AddressVersion::kAddressesAlone), 3);
  expect_done({"run", path_of("split-table/2-drop.yaml")});
  expect_done({"approve", "users_drop_address"});
  expect_done({"complete", "users_drop_address"});
  expect_changes(third, 50);
  expect_peace(third);
  expect_agreement(difference);
  EXPECT_EQ(type_of("users", "street"), "none");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal"),
            "0");
}

// --- text to jsonb --------------------------------------------------------------------------------------------------

std::string document_change(std::mt19937_64& random) {
  auto const id = between(random, 1, kRows * 5 / 4);
  // One of ten is no JSON.
  auto const body = between(random, 0, 9) == 0 ? fmt::format("'not json {:x}'", random())
                                               : fmt::format("'{{\"n\": {}}}'", between(random, 0, 1'000'000));
  // Whatever the type is: what is no JSON has to be written as a string once it is jsonb.
  auto const value = fmt::format(
      "(CASE pg_typeof((SELECT d.body FROM documents d LIMIT 1))::text WHEN 'jsonb' THEN as_json({0})::text ELSE {0} "
      "END)",
      body);
  std::string const twin = fmt::format("as_json({})", body);
  auto const write = [&](std::string const& target, std::string const& written) {
    return fmt::format(
        "INSERT INTO {0} (id, body) VALUES ({1}, {2}) ON CONFLICT (id) DO UPDATE SET body = excluded.body", target, id,
        written);
  };
  if (between(random, 0, 4) == 0) {
    return fmt::format("DELETE FROM documents WHERE id = {0}; DELETE FROM twin WHERE id = {0}", id);
  }
  return "SELECT write_document(" + std::to_string(id) + ", " + value + "); " + write("twin", twin);
}

TEST_F(ExampleTraffic, TextToJsonb) {
  client_->exec(
      fmt::format("CREATE FUNCTION as_json(text) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RETURN $1::jsonb; "
                  "EXCEPTION WHEN OTHERS THEN "
                  "RETURN to_jsonb($1); END $$; CREATE TABLE documents (id int PRIMARY KEY, body text NOT NULL); "
                  "INSERT INTO documents "
                  "SELECT i, CASE WHEN i % 10 = 0 THEN 'no json ' || i ELSE '{{\"n\": ' || i || '}}' END FROM "
                  "generate_series(1, {}) i; "
                  "CREATE TABLE twin (id int PRIMARY KEY, body jsonb); INSERT INTO twin SELECT id, as_json(body) FROM "
                  "documents; CREATE "
                  // A client that sends its values as literals, which suit both types.
                  "FUNCTION write_document(int, text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('INSERT "
                  "INTO documents "
                  "(id, body) VALUES (%s, %L) ON CONFLICT (id) DO UPDATE SET body = excluded.body', $1, $2); END $$; "
                  "ANALYZE documents",
                  kRows));
  AppTraffic traffic(dsn(), document_change, 1);
  expect_done({"run", path_of("text-to-jsonb.yaml")});
  expect_done({"gate", "documents_body_jsonb"});
  // The type changes under the application's hands: between its look at the type and its write, one may be refused.
  expect_peace(traffic);
  expect_agreement("documents d FULL JOIN twin t USING (id) WHERE d.body_jsonb IS DISTINCT FROM t.body");
  AppTraffic new_version(
      dsn(),
      [](std::mt19937_64& random) {
        auto const id = between(random, 1, kRows * 5 / 4);
        auto const number = between(random, 0, 1'000'000);
        return fmt::format(
            "INSERT INTO documents (id, body) VALUES ({0}, '{{\"n\": {1}}}') ON CONFLICT (id) DO UPDATE SET body = "
            "excluded.body; INSERT INTO twin (id, body) VALUES ({0}, '{{\"n\": {1}}}') ON CONFLICT (id) DO UPDATE SET "
            "body = "
            "excluded.body",
            id, number);
      },
      2);
  expect_done({"approve", "documents_body_jsonb"});
  expect_done({"complete", "documents_body_jsonb"});
  expect_changes(new_version, 50);
  expect_peace(new_version);
  expect_agreement("documents d FULL JOIN twin t USING (id) WHERE d.body IS DISTINCT FROM t.body");
  EXPECT_EQ(type_of("documents", "body"), "jsonb");
  EXPECT_EQ(client_->value("SELECT to_regprocedure('jsonb_or_string(text)')"), "NULL");
}

// --- NOT NULL with a derived default --------------------------------------------------------------------------------

AppTraffic::Change derived_writer(bool fills) {
  return [fills](std::mt19937_64& random) {
    auto const id = between(random, 1, kRows * 5 / 4);
    auto const name = fmt::format("'{:x}'", random());
    std::string const columns = fills ? "(id, name, display_name)" : "(id, name)";
    std::string const more = fills ? ", upper(" + name + ")" : "";
    std::string const set = fills ? ", display_name = excluded.display_name" : "";
    return fmt::format(
        "INSERT INTO users {0} VALUES ({1}, {2}{3}) ON CONFLICT (id) DO UPDATE SET name = excluded.name{4}; INSERT "
        "INTO twin "
        "VALUES ({1}, {2}) ON CONFLICT (id) DO UPDATE SET name = excluded.name",
        columns, id, name, more, set);
  };
}

TEST_F(ExampleTraffic, AddNotNullWithADerivedDefault) {
  client_->exec(
      fmt::format("CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO users SELECT i, 'n' "
                  "|| i FROM generate_series(1, {}) i; CREATE TABLE twin AS TABLE users; ALTER TABLE twin ADD "
                  "PRIMARY KEY (id); ANALYZE users",
                  kRows));
  AppTraffic old_version(dsn(), derived_writer(false), 1);
  expect_done({"run", path_of("add-not-null-column.yaml")});
  AppTraffic new_version(dsn(), derived_writer(true), 2);
  expect_changes(new_version);
  expect_done({"gate", "users_display_name"});
  expect_peace(old_version);
  expect_done({"complete", "users_display_name"});
  expect_changes(new_version, 20);
  expect_peace(new_version);
  expect_agreement(
      "users u FULL JOIN twin t USING (id) WHERE u.name IS DISTINCT FROM t.name OR u.display_name IS DISTINCT FROM "
      "upper(t.name)");
}

// --- join backfill --------------------------------------------------------------------------------------------------

TEST_F(ExampleTraffic, JoinBackfillAcrossTwoTables) {
  client_->exec(
      fmt::format("CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL); INSERT INTO customers SELECT i, "
                  "'region ' || i % 9 FROM generate_series(0, 99) i; CREATE TABLE orders (id int PRIMARY KEY, "
                  "customer_id int); INSERT INTO orders SELECT i, nullif(i % 101, 100) FROM generate_series(1, {}) "
                  "i; ANALYZE",
                  kRows));
  AppTraffic traffic(
      dsn(),
      [](std::mt19937_64& random) {
        auto const id = between(random, 1, kRows * 5 / 4);
        auto const customer = between(random, 0, 99);
        if (between(random, 0, 3) == 0) return fmt::format("DELETE FROM orders WHERE id = {}", id);
        return fmt::format(
            "INSERT INTO orders (id, customer_id) VALUES ({}, {}) ON CONFLICT (id) DO UPDATE SET customer_id = "
            "excluded.customer_id",
            id, customer);
      },
      1);
  expect_done({"run", path_of("join-backfill.yaml")});
  expect_done({"gate", "orders_region"});
  expect_changes(traffic, 50);
  expect_peace(traffic);
  expect_agreement("orders o LEFT JOIN customers c ON c.id = o.customer_id WHERE o.region IS DISTINCT FROM c.region");
}

// --- purge ----------------------------------------------------------------------------------------------------------

TEST_F(ExampleTraffic, PurgeOldRows) {
  client_->exec(
      fmt::format("CREATE TABLE events (id int PRIMARY KEY, created_at timestamptz NOT NULL, n int NOT NULL DEFAULT "
                  "0); INSERT INTO events SELECT i, timestamptz '2023-06-01' + i * interval '30 minutes' FROM "
                  "generate_series(1, {}) i; CREATE TABLE twin AS SELECT id, n FROM events WHERE created_at >= "
                  "'2024-01-01'; ALTER TABLE twin ADD PRIMARY KEY (id); ANALYZE events",
                  kRows));
  AppTraffic traffic(
      dsn(),
      [](std::mt19937_64& random) {
        auto const id = between(random, 1, kRows * 5 / 4);
        return fmt::format(
            "WITH changed AS (UPDATE events SET n = n + 1 WHERE id = {0} AND created_at >= '2024-01-01' RETURNING id) "
            "UPDATE "
            "twin t SET n = t.n + 1 FROM changed WHERE t.id = changed.id; WITH made AS (INSERT INTO events VALUES "
            "({0}, now()) "
            "ON CONFLICT DO NOTHING RETURNING id, n) INSERT INTO twin SELECT id, n FROM made",
            id);
      },
      1);
  expect_done({"run", path_of("purge-old-rows.yaml")});
  expect_done({"gate", "purge_events_before_2024"});
  expect_changes(traffic, 20);
  expect_peace(traffic);
  expect_agreement("events e FULL JOIN twin t USING (id) WHERE e.n IS DISTINCT FROM t.n");
}

}  // namespace
}  // namespace pgbackfill::tests
