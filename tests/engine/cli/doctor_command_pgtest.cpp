// What doctor finds on a server where something is wrong: each test makes one thing wrong.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/pg_bouncer.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;

constexpr int kDone = 0;
constexpr int kUsage = 2;
constexpr int kCheckFailed = 3;

struct Finding {
  std::string result;
  std::string text;
  std::string advice;
};

struct Report {
  int exit_code = -1;
  boost::json::array checks;

  // The first check of that name whose text has the word.
  std::optional<Finding> find(std::string const& name, std::string const& word = "") const {
    for (auto const& check : checks) {
      std::string const text(check.at("text").as_string());
      if (check.at("name").as_string() != name || text.find(word) == std::string::npos) continue;
      return Finding{std::string(check.at("result").as_string()), text, std::string(check.at("advice").as_string())};
    }
    return std::nullopt;
  }
  std::string result(std::string const& name, std::string const& word = "") const {
    auto const found = find(name, word);
    return found ? found->result : "no such check: " + name;
  }
};

bool contains(std::string const& text, std::string const& part) {
  return text.find(part) != std::string::npos;
}

class DoctorCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "doctor";
    options.replicas = 1;
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    // Both have to be there for a while before they are worth a warning.
    idle_ = std::make_unique<PgClient>(cluster_->dsn() + " application_name=forgotten");
    idle_->exec("BEGIN; SELECT txid_current()");
    PgClient(cluster_->dsn()).exec("BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'left over'");
  }
  static void TearDownTestSuite() {
    idle_.reset();
    cluster_.reset();
  }

  static Report examine(std::string const& dsn, std::vector<std::string> const& arguments = {}) {
    std::vector<std::string> all = {PGBACKFILL_PROGRAM, "doctor", "--format", "json", "--dsn", dsn};
    all.insert(all.end(), arguments.begin(), arguments.end());
    auto const result = run_program(all, 20s);
    Report report;
    report.exit_code = result.exit_code;
    boost::system::error_code error;
    auto const document = boost::json::parse(result.out, error);
    EXPECT_FALSE(error) << result.out << result.err;
    if (!error) report.checks = document.at("checks").as_array();
    return report;
  }
  static Report examine() { return examine(cluster_->dsn()); }

  // In a file that goes with the test.
  std::string file_with(std::string const& text) {
    file_ = cluster_->dir() / "migration.yaml";
    std::ofstream(file_) << text;
    return file_;
  }

  static std::unique_ptr<LocalCluster> cluster_;
  static std::unique_ptr<PgClient> idle_;
  PgClient client_{cluster_->dsn()};
  std::filesystem::path file_;
};

std::unique_ptr<LocalCluster> DoctorCommand::cluster_;
std::unique_ptr<PgClient> DoctorCommand::idle_;

TEST_F(DoctorCommand, FindsNoFaultWithAHealthyServer) {
  auto const report = examine();
  EXPECT_EQ(report.exit_code, kDone);
  for (auto const* name : {"server", "writable", "connection", "pooler", "state", "sight", "replica", "slots",
                           "archiver", "locks", "wraparound", "connections", "autovacuum", "checkpoints", "indexes"}) {
    EXPECT_EQ(report.result(name), "pass") << name;
  }
  auto const text = run_program({PGBACKFILL_PROGRAM, "doctor", "--dsn", cluster_->dsn()}, 20s);
  EXPECT_EQ(text.exit_code, kDone);
  EXPECT_TRUE(contains(text.out, "0 fail")) << text.out;
}

TEST_F(DoctorCommand, SaysThatAStandbyAcceptsNoChanges) {
  auto const report = examine(cluster_->replica_dsn(0));
  EXPECT_EQ(report.exit_code, kCheckFailed);
  EXPECT_EQ(report.result("writable"), "fail");
  EXPECT_EQ(report.result("server"), "pass");
}

TEST_F(DoctorCommand, SaysWhereItCannotConnect) {
  auto const report = examine("host=127.0.0.1 port=1 user=nobody dbname=nowhere");
  EXPECT_EQ(report.exit_code, kCheckFailed);
  EXPECT_EQ(report.result("connection"), "fail");
}

TEST_F(DoctorCommand, WorksForARoleWithoutRightsAndSaysWhatItCannotSee) {
  client_.exec("CREATE ROLE plain LOGIN; REVOKE CREATE ON DATABASE postgres FROM PUBLIC");
  auto const report =
      examine("user=plain " + cluster_->dsn().substr(0, cluster_->dsn().find(" user=")) + " dbname=postgres");
  EXPECT_EQ(report.exit_code, kCheckFailed);
  EXPECT_EQ(report.result("state", "may not create"), "fail");
  EXPECT_EQ(report.result("sight"), "warn");
  EXPECT_EQ(report.result("replica", "does not see"), "warn");
  EXPECT_TRUE(contains(report.find("state")->advice, "GRANT CREATE ON DATABASE \"postgres\" TO \"plain\""));
  EXPECT_TRUE(contains(report.find("transactions")->text, "not visible"));
  for (auto const& check : report.checks) {
    EXPECT_FALSE(contains(std::string(check.at("text").as_string()), "could not be looked at")) << check.at("text");
  }
}

TEST_F(DoctorCommand, NamesAnInactiveSlotAndHowToDropIt) {
  client_.exec("SELECT pg_create_physical_replication_slot('old_standby', true)");
  auto const report = examine();
  EXPECT_EQ(report.result("slot", "old_standby"), "warn");
  EXPECT_TRUE(contains(report.find("slot", "old_standby")->advice, "pg_drop_replication_slot('old_standby')"));
  EXPECT_EQ(report.result("slots", "max_slot_wal_keep_size"), "warn");
  client_.exec("SELECT pg_drop_replication_slot('old_standby')");
}

TEST_F(DoctorCommand, NamesTransactionsThatAreLeftOpen) {
  Report report;
  ASSERT_TRUE(poll_until(
      [&] {
        report = examine();
        return report.find("transaction", "forgotten").has_value();
      },
      15s, 500ms));
  auto const found = report.find("transaction", "forgotten");
  EXPECT_EQ(found->result, "warn");
  EXPECT_TRUE(contains(found->text, "idle in transaction")) << found->text;
  EXPECT_TRUE(contains(found->advice, "pg_terminate_backend(" + std::to_string(idle_->pid()) + ")"));
}

TEST_F(DoctorCommand, NamesAnInvalidIndex) {
  client_.exec("CREATE TABLE twice (id int); INSERT INTO twice VALUES (1), (1)");
  EXPECT_EQ(client_.try_exec("CREATE UNIQUE INDEX CONCURRENTLY twice_idx ON twice (id)"), "23505");
  auto const report = examine();
  EXPECT_EQ(report.result("index", "twice_idx"), "warn");
  EXPECT_TRUE(contains(report.find("index", "twice_idx")->advice, "DROP INDEX CONCURRENTLY \"public\".\"twice_idx\""));
  client_.exec("DROP TABLE twice");
}

TEST_F(DoctorCommand, NamesWhoHoldsALockThatOthersWaitFor) {
  client_.exec("CREATE TABLE wanted (id int)");
  PgClient holder(cluster_->dsn() + " application_name=holder");
  holder.exec("BEGIN; LOCK TABLE wanted");
  PgClient waiter(cluster_->dsn());
  waiter.send("SELECT * FROM wanted");
  ASSERT_TRUE(poll_until([&] { return client_.value("SELECT count(*) FROM pg_locks WHERE NOT granted") == "1"; }));
  auto const report = examine();
  auto const found = report.find("lock", "wanted");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->result, "warn");
  EXPECT_TRUE(contains(found->text, "pid " + std::to_string(holder.pid()) + " (holder")) << found->text;
  holder.exec("ROLLBACK");
  waiter.receive();
  client_.exec("DROP TABLE wanted");
}

TEST_F(DoctorCommand, NamesAPreparedTransactionThatWasLeftOver) {
  Report report;
  EXPECT_TRUE(poll_until(
      [&] {
        report = examine();
        return report.result("prepared", "left over") == "warn";
      },
      15s, 500ms));
  client_.exec("ROLLBACK PREPARED 'left over'");
}

TEST_F(DoctorCommand, SeesAPoolerInFront) {
  PgBouncer const pooler(*cluster_);
  auto const report = examine(pooler.dsn());
  EXPECT_EQ(report.exit_code, kDone);
  EXPECT_TRUE(report.find("pooler", "PgBouncer is in front"));
}

TEST_F(DoctorCommand, ExaminesTheTableOfAFile) {
  client_.exec(
      "CREATE TABLE people (id bigint PRIMARY KEY, name text, shout text) WITH (autovacuum_enabled = off);"
      "INSERT INTO people SELECT g, 'n' || g FROM generate_series(1, 1000) g; ANALYZE people;"
      "CREATE INDEX people_shout_idx ON people (lower(shout));"
      "CREATE FUNCTION noop() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';"
      "CREATE TRIGGER people_audit BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION noop()");
  auto const file = file_with("name: shout\ntable: public.people\nbackfill:\n  set: {shout: \"upper(name)\"}\n");
  auto const report = examine(cluster_->dsn(), {file});
  EXPECT_EQ(report.exit_code, kDone);
  EXPECT_EQ(report.result("table", "1,000 rows"), "pass");
  EXPECT_EQ(report.result("growth"), "pass");
  EXPECT_EQ(report.result("disk"), "unseen") << "nobody has looked at it";
  EXPECT_EQ(report.result("key", "people_pkey"), "pass");
  EXPECT_EQ(report.result("triggers", "people_audit"), "warn");
  EXPECT_EQ(report.result("updates", "people_shout_idx"), "warn");
  EXPECT_EQ(report.result("autovacuum", "off for the table"), "warn");
  client_.exec("DROP TABLE people; DROP FUNCTION noop");
}

TEST_F(DoctorCommand, FailsOnAFileThatDoesNotFitTheDatabase) {
  auto const file = file_with("name: lost\ntable: public.nowhere\nbackfill:\n  set: {a: \"1\"}\n");
  auto const report = examine(cluster_->dsn(), {file});
  EXPECT_EQ(report.exit_code, kCheckFailed);
  EXPECT_EQ(report.result("file", "does not exist"), "fail");
  auto const wrong = file_with("name: lost\nbackfil: {}\n");
  EXPECT_EQ(run_program({PGBACKFILL_PROGRAM, "doctor", wrong, "--dsn", cluster_->dsn()}, 20s).exit_code, kUsage);
}

}  // namespace
}  // namespace pgbackfill::tests
