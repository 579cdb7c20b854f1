// Each file of examples/ that begins with production as it is, rehearsed from a profile of a small production.
//
// The second files of a folder begin where the first ones have ended, and are not here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <filesystem>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/pg_dump.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

struct Example {
  std::string name;
  std::string file;
  std::string tables;  // SQL
};

void PrintTo(Example const& example, std::ostream* stream) {
  *stream << example.file;
}

constexpr char kUsers[] =
    "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO users SELECT i, 'name ' || i FROM "
    "generate_series(1, 3000) i";
constexpr char kAccounts[] =
    "CREATE TABLE accounts (id serial PRIMARY KEY, email text NOT NULL, cents bigint NOT NULL); INSERT INTO accounts "
    "SELECT i, 'User' || i || '@Example.org', i * 7 FROM generate_series(1, 3000) i";

class RehearseExamplesTest : public DatabaseTest, public testing::WithParamInterface<Example> {};

TEST_P(RehearseExamplesTest, ComesToItsEndOnAStandIn) {
  if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
  client_->exec(GetParam().tables);
  client_->exec("ANALYZE");
  auto const file = (std::filesystem::path(PGBACKFILL_SOURCE_DIR) / "examples" / GetParam().file).string();
  ProgramOptions options;
  options.working_dir = dir();
  auto const profile = run_program(
      {PGBACKFILL_PROGRAM, "profile", file, "--dsn", dsn(), "--values", "statistics", "--output", "profile.json"}, 300s,
      options);
  ASSERT_EQ(profile.exit_code, kDone) << profile.out << profile.err;
  auto const result = run_program(
      {PGBACKFILL_PROGRAM, "rehearse", file, "--profile", "profile.json", "--format", "json"}, 300s, options);
  ASSERT_EQ(result.exit_code, kDone) << result.out << result.err;
  auto const report = boost::json::parse(result.out);
  EXPECT_TRUE(report.at("is_complete").as_bool());
  EXPECT_GT(report.at("rows_changed").as_int64(), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Files, RehearseExamplesTest,
    testing::Values(
        Example{"AddNotNullColumn", "add-not-null-column.yaml", kUsers},
        Example{"TellSomebody", "tell-somebody.yaml", kUsers},
        Example{
            "RenameColumn", "rename-column.yaml",
            "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); INSERT INTO users SELECT i, 'n' || i FROM "
            "generate_series(1, 3000) i"},
        Example{"Quickstart", "quickstart.yaml",
                std::string(kUsers) + "; ALTER TABLE users ADD n int NOT NULL DEFAULT 0, ADD display_name text"},
        Example{"ExpandContract", "expand-contract.yaml", kAccounts},
        Example{"CopyToNewTable", "copy-to-new-table.yaml", kAccounts},
        Example{
            "JoinBackfill", "join-backfill.yaml",
            "CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL); INSERT INTO customers SELECT i, "
            "'region ' || i % 9 FROM generate_series(0, 99) i; CREATE TABLE orders (id uuid PRIMARY KEY DEFAULT "
            "gen_random_uuid(), customer_id int); INSERT INTO orders (customer_id) SELECT CASE WHEN i % 50 <> 0 THEN "
            "i % 100 END FROM generate_series(1, 3000) i"},
        Example{
            "CompositeKey", "composite-key.yaml",
            "CREATE TABLE readings (tenant uuid, day date, sensor int, fahrenheit numeric NOT NULL, PRIMARY KEY "
            "(tenant, day, sensor)); INSERT INTO readings SELECT md5((i % 4)::text)::uuid, date '2024-01-01' + i % 60, "
            "i, i % 120 FROM generate_series(1, 3000) i"},
        Example{
            "LowTrafficWindow", "low-traffic-window.yaml",
            "CREATE TABLE invoices (id bigint PRIMARY KEY, net int NOT NULL, tax int NOT NULL, total int); INSERT INTO "
            "invoices SELECT i, i, i / 5 FROM generate_series(1, 3000) i"},
        Example{"PurgeOldRows", "purge-old-rows.yaml",
                "CREATE TABLE events (id bigint PRIMARY KEY, created_at timestamptz NOT NULL); INSERT INTO events "
                "SELECT i, "
                "timestamptz '2023-01-01' + i * interval '6 hours' FROM generate_series(1, 3000) i"},
        Example{
            "PartitionExistingTable", "partition-existing-table.yaml",
            "CREATE TABLE measurements (id bigint PRIMARY KEY, taken_at timestamptz NOT NULL, value numeric); INSERT "
            "INTO measurements SELECT i, timestamptz '2024-01-15' + i * interval '20 min', i FROM generate_series(1, "
            "3000) i"},
        Example{
            "TextToJsonb", "text-to-jsonb.yaml",
            "CREATE TABLE documents (id int PRIMARY KEY, body text NOT NULL); INSERT INTO documents SELECT i, '{\"n\": "
            "' || i || '}' FROM generate_series(1, 3000) i"},
        Example{
            "SplitTable", "split-table/1-copy.yaml",
            "CREATE TABLE users (id bigint PRIMARY KEY, name text, street text, city text); INSERT INTO users SELECT "
            "i, "
            "'n', CASE WHEN i % 3 > 0 THEN 's' || i END, CASE WHEN i % 3 > 0 THEN 'Rome' END FROM generate_series(1, "
            "3000) i"},
        Example{
            "IntToBigintKey", "int-to-bigint-key/1-orders.yaml",
            "CREATE TABLE orders (id serial PRIMARY KEY, note text); INSERT INTO orders (note) SELECT 'n' || i FROM "
            "generate_series(1, 3000) i; CREATE TABLE order_items (id serial PRIMARY KEY, order_id int NOT NULL "
            "REFERENCES orders, n int); CREATE INDEX order_items_order_id_idx ON order_items (order_id); INSERT INTO "
            "order_items (order_id, n) SELECT i, 1 FROM generate_series(1, 3000) i"}),
    [](auto const& instance) { return instance.param.name; });

}  // namespace
}  // namespace pgbackfill::tests
