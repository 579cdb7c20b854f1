// Each file of examples/ through the whole of its life, with an application that writes all the time: rolled back; and
// run, completed, recorded again by `stamp` in a database that has lost the state. No write fails, and what is left of
// a rollback is what was there.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/app_traffic.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"
#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

constexpr int kRows = 2000;

// What the application writes, before `complete` begins and from then on.
struct Application {
  AppTraffic::Change before;
  AppTraffic::Change after;
};

struct Example {
  std::string file;
  std::string name;
  std::string tables;  // {0}: the number of rows
  Application application;
  std::string wrong = "";        // count of rows that are not as they should be, once it is complete
  std::string comes_first = "";  // another example, which has to be complete
  std::string comes_first_name = "";
};

void PrintTo(Example const& example, std::ostream* out) {
  *out << example.file;
}

// SQL with {0}: a key that may be there; {1}: a text. Every fifth change is of the second kind.
AppTraffic::Change change(std::string often, std::string seldom) {
  return [often, seldom](std::mt19937_64& random) {
    auto const id = between(random, 1, kRows * 5 / 4);
    auto const text = fmt::format("'{:x}'", random());
    bool const is_often = seldom.empty() || between(random, 0, 4) > 0;
    return fmt::format(fmt::runtime(is_often ? often : seldom), id, text);
  };
}

Application application(std::string const& often, std::string const& seldom = "") {
  return {change(often, seldom), change(often, seldom)};
}

constexpr char kUsers[] =
    "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO users SELECT i, 'n' || i FROM "
    "generate_series(1, {0}) i";
constexpr char kWriteUser[] =
    "INSERT INTO users (id, name) VALUES ({0}, {1}) ON CONFLICT (id) DO UPDATE SET name = excluded.name";
constexpr char kDeleteUser[] = "DELETE FROM users WHERE id = {0}";
constexpr char kUpdateUser[] = "UPDATE users SET name = {1} WHERE id = {0}";
// Once the trigger is gone, whoever writes fills both.
constexpr char kWriteBoth[] =
    "INSERT INTO users (id, name, display_name) VALUES ({0}, {1}, upper({1})) ON CONFLICT (id) DO UPDATE SET name = "
    "excluded.name, display_name = excluded.display_name";
constexpr char kDisplayName[] = "users WHERE display_name IS DISTINCT FROM upper(name)";

constexpr char kOrders[] =
    "CREATE TABLE orders (id serial PRIMARY KEY, note text); INSERT INTO orders (note) SELECT 'n' FROM "
    "generate_series(1, {0}); CREATE TABLE order_items (id serial PRIMARY KEY, order_id int NOT NULL REFERENCES "
    "orders, n int); CREATE INDEX order_items_order_id_idx ON order_items (order_id); INSERT INTO order_items "
    "(order_id, n) SELECT i, 1 FROM generate_series(1, {0}) i";
constexpr char kWriteOrder[] =
    "WITH o AS (INSERT INTO orders (note) VALUES ({1}) RETURNING id) SELECT id FROM o; INSERT INTO order_items "
    "(order_id, n) SELECT id, 1 FROM orders WHERE id = {0} FOR KEY SHARE";
constexpr char kUpdateOrder[] = "UPDATE orders SET note = {1} WHERE id = {0}";

constexpr char kAddresses[] =
    "CREATE TABLE users (id bigint PRIMARY KEY, name text, street text, city text); INSERT INTO users SELECT i, 'n', "
    "CASE WHEN i % 3 > 0 THEN 's' || i END, CASE WHEN i % 3 > 0 THEN 'Rome' END FROM generate_series(1, {0}) i";

std::vector<Example> examples() {
  std::vector<Example> all = {
      {"add-not-null-column.yaml",
       "users_display_name",
       kUsers,
       {change(kWriteUser, kDeleteUser), change(kWriteBoth, kDeleteUser)},
       kDisplayName},
      {"rename-column.yaml",
       "users_full_name",
       kUsers,
       {change(kWriteUser, kDeleteUser),
        change("INSERT INTO users (id, full_name) VALUES ({0}, {1}) ON CONFLICT (id) DO UPDATE SET full_name = "
               "excluded.full_name",
               kDeleteUser)},
       "users WHERE full_name IS NULL"},
      {"quickstart.yaml", "quickstart",
       std::string(kUsers) + "; ALTER TABLE users ADD n int NOT NULL DEFAULT 0, ADD "
                             "display_name text",
       application(kUpdateUser), "users WHERE n <> 1"},
      {"tell-somebody.yaml", "users_display_name_told", kUsers, application(kUpdateUser),
       "users WHERE display_name IS NULL"},
      {"expand-contract.yaml",
       "accounts_email_lower",
       "CREATE TABLE accounts (id serial PRIMARY KEY, email text NOT NULL); INSERT INTO accounts SELECT i, 'U' || i "
       "FROM generate_series(1, {0}) i",
       {change("INSERT INTO accounts (id, email) VALUES ({0}, {1}) ON CONFLICT (id) DO UPDATE SET email = "
               "excluded.email",
               "DELETE FROM accounts WHERE id = {0}"),
        change("UPDATE accounts SET email_lower = {1} WHERE id = {0}", "")},
       "accounts WHERE email_lower IS NULL"},
      {"text-to-jsonb.yaml", "documents_body_jsonb",
       "CREATE TABLE documents (id int PRIMARY KEY, body text NOT NULL); INSERT INTO documents SELECT i, '{{\"n\": "
       "1}}' "
       "FROM generate_series(1, {0}) i",
       application("INSERT INTO documents (id, body) VALUES ({0}, '{{\"n\": {0}}}') ON CONFLICT (id) DO UPDATE SET "
                   "body = excluded.body",
                   "DELETE FROM documents WHERE id = {0}"),
       "documents WHERE body ->> 'n' IS NULL"},
      {"int-to-bigint-key/1-orders.yaml", "orders_id_bigint", kOrders, application(kWriteOrder, kUpdateOrder),
       "order_items i LEFT JOIN orders o ON o.id = i.order_id WHERE o.id IS NULL"},
      {"int-to-bigint-key/2-order-items.yaml", "order_items_order_id_bigint", kOrders,
       application(kWriteOrder, kUpdateOrder),
       "order_items i LEFT JOIN orders o ON o.id = i.order_id WHERE o.id IS NULL", "int-to-bigint-key/1-orders.yaml",
       "orders_id_bigint"},
      {"copy-to-new-table.yaml", "accounts_v2",
       "CREATE TABLE accounts (id serial PRIMARY KEY, email text NOT NULL, cents int NOT NULL DEFAULT 0); INSERT INTO "
       "accounts (email) SELECT 'U' || i FROM generate_series(1, {0}) i",
       application("UPDATE accounts SET email = {1} WHERE id = {0}", "DELETE FROM accounts WHERE id = {0}"),
       "accounts WHERE email <> lower(email)"},
      {"partition-existing-table.yaml", "partition_measurements",
       "CREATE TABLE measurements (id bigserial PRIMARY KEY, taken_at timestamptz NOT NULL DEFAULT now(), value "
       "numeric); INSERT INTO measurements (taken_at, value) SELECT timestamptz '2024-01-02' + i * interval '7 hours', "
       "i FROM generate_series(1, {0}) i",
       application("INSERT INTO measurements (value) VALUES ({0})",
                   "UPDATE measurements SET taken_at = taken_at + interval '90 days' WHERE id = {0}"),
       "measurements WHERE value IS NULL"},
      {"split-table/1-copy.yaml", "users_addresses", kAddresses,
       application("INSERT INTO users (id, street, city) VALUES ({0}, {1}, 'Oslo') ON CONFLICT (id) DO UPDATE SET "
                   "street = excluded.street",
                   kDeleteUser),
       "addresses a LEFT JOIN users u ON u.id = a.user_id WHERE u.id IS NULL"},
      {"split-table/2-drop.yaml", "users_drop_address", kAddresses, application(kWriteUser, kDeleteUser), "",
       "split-table/1-copy.yaml", "users_addresses"},
      {"join-backfill.yaml",
       "orders_region",
       "CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL); INSERT INTO customers SELECT i, 'r' || i "
       "FROM generate_series(0, 99) i; CREATE TABLE orders (id int PRIMARY KEY, customer_id int); INSERT INTO orders "
       "SELECT i, i % 100 FROM generate_series(1, {0}) i",
       {change(
            "INSERT INTO orders (id, customer_id) VALUES ({0}, {0} % 100) ON CONFLICT (id) DO UPDATE SET customer_id = "
            "excluded.customer_id",
            "DELETE FROM orders WHERE id = {0}"),
        change("DELETE FROM orders WHERE id = {0}", "")},
       "orders o JOIN customers c ON c.id = o.customer_id WHERE o.region IS DISTINCT FROM c.region"},
      {"composite-key.yaml", "readings_celsius",
       "CREATE TABLE readings (tenant uuid, day date, sensor int, fahrenheit numeric NOT NULL, PRIMARY KEY (tenant, "
       "day, sensor)); INSERT INTO readings SELECT md5((i % 4)::text)::uuid, date '2024-01-01' + i % 60, i, i % 120 "
       "FROM generate_series(1, {0}) i",
       application("UPDATE readings SET fahrenheit = {0} % 100 WHERE sensor = {0}"), "readings WHERE celsius IS NULL"},
      {"low-traffic-window.yaml", "invoices_total",
       "CREATE TABLE invoices (id bigint PRIMARY KEY, net int NOT NULL, tax int NOT NULL, total int, note text); "
       "INSERT INTO invoices SELECT i, i, i / 5 FROM generate_series(1, {0}) i",
       application("UPDATE invoices SET note = {1} WHERE id = {0}"), "invoices WHERE total IS DISTINCT FROM net + tax"},
      {"purge-old-rows.yaml", "purge_events_before_2024",
       "CREATE TABLE events (id int PRIMARY KEY, created_at timestamptz NOT NULL); INSERT INTO events SELECT i, "
       "timestamptz '2023-01-01' + i * interval '12 hours' FROM generate_series(1, {0}) i",
       application("INSERT INTO events VALUES ({0}, now()) ON CONFLICT DO NOTHING"),
       "events WHERE created_at < '2024-01-01'"}};
  // Those that other tools deploy. Django makes the column itself.
  for (std::string const tool : {"alembic", "dbmate", "django", "node-pg-migrate", "rails"}) {
    std::string const tables =
        kUsers + std::string(tool == "django" ? "; ALTER TABLE users ADD display_name text" : "");
    all.push_back({tool + "/users-display-name.yaml",
                   "users_display_name",
                   tables,
                   {change(kWriteUser, kDeleteUser), change(kWriteBoth, kDeleteUser)},
                   kDisplayName});
  }
  return all;
}

std::filesystem::path examples_dir() {
  return std::filesystem::path(PGBACKFILL_SOURCE_DIR) / "examples";
}

std::string text_of(std::filesystem::path const& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(ExampleFiles, EachOneThatIsAMigrationHasItsLifeHere) {
  std::set<std::string> files;
  for (auto const& entry : std::filesystem::recursive_directory_iterator(examples_dir())) {
    bool const is_yaml = entry.path().extension() == ".yaml" || entry.path().extension() == ".yml";
    if (!is_yaml) continue;
    auto const text = "\n" + text_of(entry.path());
    bool const is_migration = text.find("\nname: ") != std::string::npos && text.find("\ntable: ") != std::string::npos;
    if (is_migration) files.insert(std::filesystem::relative(entry.path(), examples_dir()).generic_string());
  }
  std::set<std::string> known;
  for (auto const& one : examples()) known.insert(one.file);
  known.insert("embeddings/embeddings.yaml");  // needs a model: embeddings_pgtest.cpp
  EXPECT_EQ(files, known);
}

class ExampleLife : public DatabaseTest, public testing::WithParamInterface<Example> {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    if (GetParam().file == "tell-somebody.yaml") channel_.emplace("200");
  }
  void make_tables() const {
    auto const& example = GetParam();
    client_->exec(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP SCHEMA public CASCADE; "
        "CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO PUBLIC");
    client_->exec(fmt::format(fmt::runtime(example.tables), kRows) + "; ANALYZE");
    if (example.comes_first.empty()) return;
    expect_done({"run", (examples_dir() / example.comes_first).string()});
    expect_done({"complete", example.comes_first_name, "--yes"});
  }
  // As it stands there, but for a window that is open.
  std::string file() const {
    auto const path = examples_dir() / GetParam().file;
    auto text = text_of(path);
    auto const windows = text.find("\nwindows:");
    if (windows == std::string::npos) return path.string();
    write("open.yaml", text.substr(0, windows) + "\nwindows:\n  - Mon-Sun\n");
    return (dir() / "open.yaml").string();
  }
  void expect_done(std::vector<std::string> words) const {
    words.insert(words.begin(), {PGBACKFILL_PROGRAM, "--dsn", dsn()});
    ProgramOptions options;
    options.working_dir = dir();
    if (channel_) options.environment = {{"SLACK_WEBHOOK", channel_->url("/services/T1")}, {"PD_KEY", "none"}};
    auto const result = run_program(words, std::chrono::seconds(120), options);
    ASSERT_EQ(result.exit_code, kDone) << testing::PrintToString(words) << '\n' << result.out << result.err;
  }
  static void expect_changes(AppTraffic const& traffic) {
    int const before = traffic.changes();
    EXPECT_TRUE(poll_until([&] { return traffic.changes() > before + 20; }));
  }
  static void expect_peace(AppTraffic& traffic) {
    EXPECT_GT(traffic.stop(), 0);
    EXPECT_EQ(traffic.failures(), "") << "PGBACKFILL_SEED=" << seed_of_tests();
  }
  std::string schema() const {
    return client_->value(
        "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (SELECT format('%s.%s %s %s %s', c.relname, a.attname, "
        "format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid)) FROM pg_class c JOIN "
        "pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON "
        "d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relnamespace = 'public'::regnamespace AND c.relkind <> 'i' "
        "UNION ALL SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM "
        "pg_constraint WHERE connamespace = 'public'::regnamespace UNION ALL SELECT pg_get_indexdef(i.indexrelid) FROM "
        "pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace UNION ALL "
        "SELECT pg_get_triggerdef(g.oid) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid WHERE NOT "
        "g.tgisinternal "
        "AND c.relnamespace = 'public'::regnamespace UNION ALL SELECT oid::regprocedure::text "
        "FROM pg_proc WHERE pronamespace = 'public'::regnamespace) l (line)");
  }

  std::optional<Receiver> channel_;
};

TEST_P(ExampleLife, IsRolledBack) {
  auto const& example = GetParam();
  make_tables();
  auto const before = schema();
  AppTraffic traffic(dsn(), example.application.before, 1);
  expect_done({"run", file()});
  expect_changes(traffic);
  expect_done({"rollback", example.name, "--yes"});
  expect_changes(traffic);
  expect_peace(traffic);
  EXPECT_EQ(schema(), before);
}

TEST_P(ExampleLife, IsCompleted) {
  auto const& example = GetParam();
  make_tables();
  AppTraffic traffic(dsn(), example.application.before, 1);
  expect_done({"run", file()});
  expect_done({"gate", example.name});
  expect_peace(traffic);
  AppTraffic later(dsn(), example.application.after, 2);
  expect_changes(later);
  expect_done({"complete", example.name, "--yes"});
  expect_changes(later);
  client_->exec("DROP SCHEMA pgbackfill CASCADE");
  expect_done({"stamp", file(), "--phase", "complete", "--yes"});
  expect_done({"complete", example.name, "--yes"});
  expect_changes(later);
  expect_peace(later);
  if (example.wrong.empty()) return;
  EXPECT_EQ(client_->value("SELECT count(*) FROM " + example.wrong), "0") << example.wrong;
}

std::string name_of(testing::TestParamInfo<Example> const& example) {
  std::string name;
  for (char const c : example.param.file) {
    bool const is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    name += is_plain ? c : '_';
  }
  return name;
}

INSTANTIATE_TEST_SUITE_P(Examples, ExampleLife, testing::ValuesIn(examples()), name_of);

}  // namespace
}  // namespace pgbackfill::tests
