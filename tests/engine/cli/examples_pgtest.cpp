// Each file of examples/ as a reader would use it: plan, run, gate, and complete or rollback where it has steps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"
#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

using testing::HasSubstr;

// Runs of a batch or several, with ids that begin elsewhere than at 1.
constexpr char kIds[] = "generate_series(11, 3010) AS i";

std::filesystem::path examples_dir() {
  return std::filesystem::path(PGBACKFILL_SOURCE_DIR) / "examples";
}

class ExamplesTest : public DatabaseTest {
 protected:
  static std::string path_of(std::string const& file) { return (examples_dir() / file).string(); }

  void expect_exit(int code, std::vector<std::string> const& words) const {
    auto const result = run(words);
    EXPECT_EQ(result.exit_code, code) << testing::PrintToString(words) << '\n' << result.out << result.err;
  }
  // As the README goes through a migration.
  void plan_run_and_pass_the_gate(std::string const& file, std::string const& name) const {
    expect_exit(kDone, {"plan", path_of(file)});
    expect_exit(kDone, {"run", path_of(file)});
    expect_exit(kDone, {"gate", name});
  }

  void make_users() const {
    client_->exec(std::string("CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL); INSERT INTO users "
                              "SELECT i, 'name ' || i FROM ") +
                  kIds);
  }
  void make_accounts() const {
    client_->exec(
        std::string("CREATE TABLE accounts (id serial PRIMARY KEY, email text NOT NULL, cents bigint NOT NULL); "
                    "INSERT INTO accounts SELECT i, 'User' || i || '@Example.org', i * 7 FROM ") +
        kIds);
  }
  void make_orders() const {
    client_->exec(
        std::string("CREATE TABLE customers (id int PRIMARY KEY, region text NOT NULL); INSERT INTO customers SELECT "
                    "i, 'region ' || i % 9 FROM generate_series(0, 99) AS i; CREATE TABLE orders (id uuid PRIMARY KEY "
                    "DEFAULT gen_random_uuid(), customer_id int); INSERT INTO orders (customer_id) SELECT CASE WHEN i "
                    "% 50 <> 0 THEN i % 100 END FROM ") +
        kIds);
  }
  // Two of the readings are colder than anything can be.
  void make_readings() const {
    client_->exec(std::string("CREATE TABLE readings (tenant uuid, day date, sensor int, fahrenheit numeric NOT NULL, "
                              "PRIMARY KEY (tenant, day, sensor)); INSERT INTO readings SELECT md5((i % "
                              "4)::text)::uuid, date '2024-01-01' + i % 60, i, CASE WHEN i IN (1500, 2500) THEN -1000 "
                              "ELSE i % 120 END FROM ") +
                  kIds);
  }

  std::string columns_of(std::string const& table) const {
    return client_->value("SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '" +
                          table + "'::regclass AND attnum > 0 AND NOT attisdropped");
  }
  template <typename Write>
  void complete_beside(std::string const& file, std::string const& name, Write write) const;
  void expect_count(std::string const& number, std::string const& from) const {
    EXPECT_EQ(client_->value("SELECT count(*) FROM " + from), number) << from;
  }
};

TEST_F(ExamplesTest, EveryFileHasATestHere) {
  std::set<std::string> files;
  for (auto const& entry : std::filesystem::recursive_directory_iterator(examples_dir())) {
    if (entry.path().extension() == ".yaml") files.insert(entry.path().filename().string());
  }
  EXPECT_THAT(files, testing::UnorderedElementsAre(
                         "1-copy.yaml", "1-orders.yaml", "2-drop.yaml", "2-order-items.yaml",
                         "add-not-null-column.yaml", "composite-key.yaml", "copy-to-new-table.yaml", "embeddings.yaml",
                         "expand-contract.yaml", "join-backfill.yaml", "low-traffic-window.yaml",
                         "partition-existing-table.yaml", "purge-old-rows.yaml", "quickstart.yaml",
                         "rename-column.yaml", "tell-somebody.yaml", "text-to-jsonb.yaml", "users-display-name.yaml"))
      << "a new example needs a test: here, in example_traffic_pgtest.cpp, embeddings_pgtest.cpp or tests/beside_tools";
}

TEST_F(ExamplesTest, TellSomebodyTellsTheChannel) {
  make_users();
  Receiver channel("200");
  ProgramOptions options;
  options.environment = {{"SLACK_WEBHOOK", channel.url("/services/T1")}, {"PD_KEY", "none"}};
  auto const result = run_program({PGBACKFILL_PROGRAM, "--dsn", dsn(), "run", path_of("tell-somebody.yaml")},
                                  std::chrono::seconds(60), options);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  ASSERT_EQ(channel.requests().size(), 1U);
  EXPECT_THAT(std::string(channel.documents()[0].at("text").as_string()),
              HasSubstr("users_display_name_told is complete"));
}

TEST_F(ExamplesTest, AddNotNullColumnEndsWithTheConstraint) {
  make_users();
  plan_run_and_pass_the_gate("add-not-null-column.yaml", "users_display_name");
  EXPECT_THAT(run({"run", path_of("add-not-null-column.yaml")}).err,
              HasSubstr("then `pgbackfill complete users_display_name`"));
  expect_count("3000", "users WHERE display_name = upper(name)");
  client_->exec("INSERT INTO users VALUES (1, 'late'); UPDATE users SET name = 'renamed' WHERE id = 11");
  EXPECT_EQ(client_->value("SELECT string_agg(display_name, ' ' ORDER BY id) FROM users WHERE id < 12"),
            "LATE RENAMED");
  // It only tightens: nobody has to agree first.
  expect_exit(kDone, {"complete", "users_display_name"});
  EXPECT_EQ(client_->value("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = "
                           "'display_name'"),
            "t");
  expect_count("0", "pg_constraint WHERE conname = 'users_display_name_set'");
}

TEST_F(ExamplesTest, AddNotNullColumnCanBeRolledBack) {
  make_users();
  plan_run_and_pass_the_gate("add-not-null-column.yaml", "users_display_name");
  expect_exit(kDone, {"rollback", "users_display_name", "--yes"});
  EXPECT_THAT(run({"status", "users_display_name"}).out, HasSubstr("users_display_name  rolled back"));
  EXPECT_THAT(run({"rollback", "users_display_name", "--yes"}).out, HasSubstr("there is nothing left to undo"));
  EXPECT_EQ(columns_of("users"), "id name");
  expect_count("0", "pg_trigger WHERE tgrelid = 'users'::regclass");
  expect_count("0", "pg_proc WHERE proname LIKE 'sync%'");
  plan_run_and_pass_the_gate("add-not-null-column.yaml", "users_display_name");
  expect_count("3000", "users WHERE display_name = upper(name)");
}

TEST_F(ExamplesTest, CompositeKeySetsBadRowsAsideUntilTheyAreMended) {
  make_readings();
  expect_exit(kDone, {"plan", path_of("composite-key.yaml")});
  expect_exit(kDone, {"run", path_of("composite-key.yaml")});
  expect_exit(kGateClosed, {"gate", "readings_celsius"});
  expect_count("2", "pgbackfill.quarantine WHERE sqlstate = '23514'");
  expect_count("2998", "readings WHERE celsius = round((fahrenheit - 32) * 5 / 9, 2) AND is_frost = (fahrenheit < 32)");
  client_->exec("UPDATE readings SET fahrenheit = 50 WHERE fahrenheit = -1000");
  expect_exit(kDone, {"resume", "readings_celsius", "--retry-quarantine"});
  expect_exit(kDone, {"run", path_of("composite-key.yaml")});
  expect_exit(kDone, {"gate", "readings_celsius"});
  expect_count("3000", "readings WHERE celsius = round((fahrenheit - 32) * 5 / 9, 2) AND is_frost = (fahrenheit < 32)");
  expect_exit(kDone, {"rollback", "readings_celsius", "--yes"});
  EXPECT_EQ(columns_of("readings"), "tenant day sensor fahrenheit");
}

TEST_F(ExamplesTest, ExpandContractEndsWithTheNewColumnAlone) {
  make_accounts();
  plan_run_and_pass_the_gate("expand-contract.yaml", "accounts_email_lower");
  client_->exec("INSERT INTO accounts VALUES (1, 'Late@Example.org', 1)");
  expect_count("3001", "accounts WHERE email_lower = lower(email)");
  expect_exit(kDone, {"approve", "accounts_email_lower"});
  expect_exit(kDone, {"complete", "accounts_email_lower"});
  EXPECT_EQ(columns_of("accounts"), "id cents email_lower");
  expect_count("1", "pg_constraint WHERE conname = 'accounts_email_lower_key' AND contype = 'u'");
  expect_count("0", "pg_trigger WHERE tgrelid = 'accounts'::regclass");
  EXPECT_EQ(client_->try_exec("INSERT INTO accounts VALUES (2, 1, 'late@example.org')"), "23505");
  EXPECT_EQ(client_->try_exec("INSERT INTO accounts VALUES (2, 1, NULL)"), "23502");
  // A pipeline may go through all of it again.
  EXPECT_THAT(run({"plan", path_of("expand-contract.yaml")}).out, HasSubstr("contract steps took away what it names"));
  expect_exit(kDone, {"run", path_of("expand-contract.yaml")});
  auto const gate = run({"gate", "accounts_email_lower"});
  EXPECT_EQ(gate.exit_code, kDone) << gate.err;
  EXPECT_THAT(gate.out, HasSubstr("is past `complete`"));
  auto const again = run({"complete", "accounts_email_lower"});
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_THAT(again.out, HasSubstr("there is nothing left to do"));
}

TEST_F(ExamplesTest, ExpandContractLeavesNothingWhenTwoAccountsShareAnAddress) {
  make_accounts();
  plan_run_and_pass_the_gate("expand-contract.yaml", "accounts_email_lower");
  client_->exec("INSERT INTO accounts VALUES (1, 'USER11@example.org', 1)");
  auto const failed = run({"complete", "accounts_email_lower", "--yes"});
  EXPECT_EQ(failed.exit_code, kFailed);
  EXPECT_THAT(failed.err, HasSubstr("23505"));
  EXPECT_THAT(failed.err, HasSubstr("(user11@example.org)"));
  expect_count("0", "pg_class WHERE relname = 'accounts_email_lower_key'");
  expect_exit(kDone, {"rollback", "accounts_email_lower", "--yes"});
  EXPECT_EQ(columns_of("accounts"), "id email cents");
}

// Runs and completes the example while `write` is called again and again, until some time after it.
template <typename Write>
void ExamplesTest::complete_beside(std::string const& file, std::string const& name, Write write) const {
  std::atomic<bool> is_over{false};
  std::atomic<int> writes{0};
  auto const seed = static_cast<unsigned>(seed_of_tests());
  SCOPED_TRACE("PGBACKFILL_SEED=" + std::to_string(seed));
  std::vector<std::thread> threads;
  for (unsigned number = 0; number < 2; ++number) {
    threads.emplace_back([&, number] {
      PgClient writer(dsn());
      std::mt19937 random(seed + number);
      while (!is_over) {
        write(writer, random);
        ++writes;
      }
    });
  }
  plan_run_and_pass_the_gate(file, name);
  expect_exit(kGateClosed, {"complete", name});
  expect_exit(kDone, {"complete", name, "--yes"});
  int const before = writes;
  EXPECT_TRUE(poll_until([&] { return writes > before + 50; }));
  is_over = true;
  for (auto& thread : threads) thread.join();
}

// Writers that delete any row have deleted them all before the end.
bool may_go(unsigned long row) {
  return row % 4 == 0;
}

TEST_F(ExamplesTest, CopyToNewTableSwitchesOverBesideItsApplication) {
  make_accounts();
  client_->exec(
      "CREATE TABLE twin AS SELECT id, lower(email) AS email FROM accounts; ALTER TABLE twin ADD PRIMARY KEY "
      "(id)");
  // An application that is ready for both tables writes what both have.
  complete_beside("copy-to-new-table.yaml", "accounts_v2", [](PgClient& writer, std::mt19937& random) {
    auto const row = random() % 3000;
    auto const id = std::to_string(11 + row);
    auto const email = "'n" + std::to_string(random()) + "@example.org'";
    std::string const update = " SET email = " + email + " WHERE id = " + id;
    std::string const remove = " WHERE id = " + id;
    EXPECT_EQ(writer.try_exec(may_go(row) && random() % 2 == 0
                                  ? "BEGIN; DELETE FROM accounts" + remove + "; DELETE FROM twin" + remove + "; COMMIT"
                                  : "BEGIN; UPDATE accounts" + update + "; UPDATE twin" + update + "; COMMIT"),
              "00000");
  });
  EXPECT_EQ(columns_of("accounts"), "id email balance");
  EXPECT_EQ(columns_of("accounts_v1"), "id email cents");
  expect_count("0", "accounts a FULL JOIN twin t USING (id) WHERE a.email IS DISTINCT FROM t.email");
  expect_count("0", "accounts a JOIN accounts_v1 o USING (id) WHERE a.balance <> o.cents / 100.0");
  expect_count("0", "pg_trigger WHERE tgname LIKE '~pgbackfill%'");
  expect_exit(kFailed, {"rollback", "accounts_v2", "--yes"});
  client_->exec("SELECT setval('accounts_id_seq', 9000)");
  EXPECT_EQ(client_->value("INSERT INTO accounts (email, balance) VALUES ('x', 0) RETURNING id"), "9001");
}

TEST_F(ExamplesTest, PartitionExistingTableGoesOnBesideItsApplication) {
  client_->exec(
      std::string("CREATE TABLE measurements (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, taken_at "
                  "timestamptz NOT NULL DEFAULT now(), value numeric); INSERT INTO measurements SELECT i, timestamptz "
                  "'2024-01-02' + i * interval '7 "
                  "hours', i FROM ") +
      kIds + "; CREATE TABLE twin (LIKE measurements INCLUDING ALL); INSERT INTO twin TABLE measurements");
  complete_beside(
      "partition-existing-table.yaml", "partition_measurements", [](PgClient& writer, std::mt19937& random) {
        auto const row = random() % 3000;
        auto const id = std::to_string(11 + row);
        std::string const day = "timestamptz '2024-01-01' + interval '" + std::to_string(random() % 1200) + " days'";
        std::string sql = "DELETE FROM measurements WHERE id = " + id;
        // To another partition, as a rule.
        if (!may_go(row) || random() % 2 == 0) sql = "UPDATE measurements SET taken_at = " + day + " WHERE id = " + id;
        std::string twin = sql;
        twin.replace(twin.find("measurements"), 12, "twin");
        EXPECT_EQ(writer.try_exec("BEGIN; " + twin + "; " + sql + "; COMMIT"), "00000");
      });
  expect_count("0",
               "measurements m FULL JOIN twin t USING (id) WHERE (m.taken_at, m.value) IS DISTINCT FROM (t.taken_at, "
               "t.value)");
  EXPECT_EQ(client_->value("SELECT count(DISTINCT tableoid) FROM measurements"), "3");
  expect_count("2250", "measurements WHERE (id - 11) % 4 <> 0");
  EXPECT_EQ(client_->value("SELECT relkind FROM pg_class WHERE oid = 'measurements'::regclass"), "p");
  client_->exec("SELECT setval('measurements_id_seq', 9000)");
  EXPECT_EQ(client_->value("INSERT INTO measurements (value) VALUES (1) RETURNING id || ' ' || (taken_at = now())"),
            "9001 true");
}

TEST_F(ExamplesTest, PartitionExistingTableCanBeRolledBack) {
  client_->exec(
      "CREATE TABLE measurements (id bigint PRIMARY KEY, taken_at timestamptz NOT NULL, value numeric); INSERT "
      "INTO measurements VALUES (1, '2024-03-01', 1)");
  plan_run_and_pass_the_gate("partition-existing-table.yaml", "partition_measurements");
  expect_count("1", "measurements_2024");
  expect_exit(kDone, {"rollback", "partition_measurements", "--yes"});
  EXPECT_EQ(client_->value("SELECT to_regclass('measurements_parts')"), "NULL");
  client_->exec("INSERT INTO measurements VALUES (2, '2024-03-02', 1)");
}

TEST_F(ExamplesTest, CopyToNewTableCanBeRolledBack) {
  make_accounts();
  plan_run_and_pass_the_gate("copy-to-new-table.yaml", "accounts_v2");
  expect_exit(kDone, {"rollback", "accounts_v2", "--yes"});
  EXPECT_EQ(client_->value("SELECT to_regclass('accounts_v2')"), "NULL");
  expect_count("0", "pg_trigger WHERE tgrelid = 'accounts'::regclass");
  client_->exec("DELETE FROM accounts WHERE id = 11");
  expect_count("2999", "accounts");
}

TEST_F(ExamplesTest, JoinBackfillLeavesRowsWithoutAPartnerAlone) {
  make_orders();
  plan_run_and_pass_the_gate("join-backfill.yaml", "orders_region");
  expect_count("2940", "orders o JOIN customers c ON c.id = o.customer_id WHERE o.region = c.region");
  expect_count("60", "orders WHERE customer_id IS NULL AND region IS NULL");
  expect_exit(kDone, {"rollback", "orders_region", "--yes"});
  EXPECT_EQ(columns_of("orders"), "id customer_id");
}

// Whether its window is open depends on when the test runs; outside of it nothing happens, and the rest is done by the
// same file with a window that is always open.
TEST_F(ExamplesTest, LowTrafficWindowRunsInsideItsWindowOnly) {
  client_->exec(std::string("CREATE TABLE invoices (id bigint PRIMARY KEY, net int NOT NULL, tax int NOT NULL, total "
                            "int); INSERT INTO invoices SELECT i, i, i / 5 FROM ") +
                kIds);
  std::string const file = path_of("low-traffic-window.yaml");
  expect_exit(kDone, {"plan", file});
  auto const result = run({"run", file, "--exit-outside-window"});
  if (result.exit_code != kDone) {
    EXPECT_EQ(result.exit_code, kResumable) << result.err;
    EXPECT_THAT(result.err, HasSubstr("the window is closed"));
    expect_exit(kGateClosed, {"gate", "invoices_total"});
    std::ostringstream text;
    text << std::ifstream(file).rdbuf();
    std::string const windows = "\nwindows:";
    auto const begin = text.str().find(windows);
    ASSERT_NE(begin, std::string::npos);
    write("open.yaml", text.str().substr(0, begin) + windows + "\n  - Mon-Sun\n");
    expect_exit(kDone, {"run", "open.yaml"});
  }
  expect_exit(kDone, {"gate", "invoices_total"});
  expect_count("3000", "invoices WHERE total = net + tax");
}

TEST_F(ExamplesTest, PurgeOldRowsKeepsTheNewOnes) {
  client_->exec(std::string("CREATE TABLE events (id bigint PRIMARY KEY, created_at timestamptz NOT NULL); INSERT INTO "
                            "events SELECT i, timestamptz '2023-01-01' + i * interval '6 hours' FROM ") +
                kIds);
  auto const kept = client_->value("SELECT count(*) FROM events WHERE created_at >= '2024-01-01'");
  ASSERT_NE(kept, "0");
  plan_run_and_pass_the_gate("purge-old-rows.yaml", "purge_events_before_2024");
  expect_count(kept, "events");
  expect_count("0", "events WHERE created_at < '2024-01-01'");
}

TEST_F(ExamplesTest, QuickstartCountsEveryRowOnce) {
  make_users();
  client_->exec("ALTER TABLE users ADD n int NOT NULL DEFAULT 0, ADD display_name text");
  plan_run_and_pass_the_gate("quickstart.yaml", "quickstart");
  expect_count("3000", "users WHERE n = 1 AND display_name = upper(name)");
}

}  // namespace
}  // namespace pgbackfill::tests
