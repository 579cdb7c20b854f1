// Every question of the probes on this version of the server, for a superuser, for a role with pg_monitor, and for one
// without any right.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/probes/probe_sql.h"
#include "engine/sandbox/local_cluster.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
namespace sql = engine::probe_sql;

struct Question {
  std::string name;
  std::string text;
  std::size_t columns = 0;
  bool may_be_empty = false;
};

class ProbesSql : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "probes-sql";
    options.replicas = 1;
    options.wal_level = "logical";
    options.is_fsync_on = false;
    options.primary_settings = {"archive_mode = on", "archive_command = 'true'"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient(cluster_->dsn())
        .exec(
            "CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE ROLE plain LOGIN;"
            "CREATE TABLE t (id int PRIMARY KEY, text text); INSERT INTO t VALUES (1, 'x'); ANALYZE t");
    PgClient(cluster_->dsn()).exec("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')");
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  static std::vector<Question> questions(int version, bool may_list, std::vector<std::uint32_t> const& tables) {
    std::vector<Question> all = {
        {"canary", sql::canary(), 1},
        {"server", sql::server(), 6},
        {"replication", sql::replication(), 12},
        {"may_somebody_wait", sql::may_somebody_wait(), 1},
        {"slots", sql::slots(), 6},
        {"archive", sql::archive(may_list), 6},
        {"vacuum", sql::vacuum(tables), 7},
        {"horizon", sql::horizon_holders(5), 4, true},
        {"wraparound", sql::wraparound_ages(1), 2},
        {"limits", sql::limits_of_user_sql(500ms), 3},
    };
    sql::OwnSessions own;
    for (bool const is_pooled : {false, true}) {
      own.is_pooled = is_pooled;
      all.push_back({"waiters", sql::waiters(version, own, 50ms, {{4711, 70ms}}), 8});
      all.push_back({"activity", sql::activity(version, own), 6});
      all.push_back({"wal", sql::wal(version, own), 8});
      own.workers = {4711, 4712};
      own.probes = {4713};
    }
    return all;
  }

  static std::unique_ptr<LocalCluster> cluster_;
};

std::unique_ptr<LocalCluster> ProbesSql::cluster_;

TEST_F(ProbesSql, AnswersEveryQuestionWithItsColumnsToWhoeverAsks) {
  for (std::string const role : {"postgres", "watcher", "plain"}) {
    PgClient client(cluster_->dsn() + " user=" + role);
    int const version = std::stoi(client.value("SHOW server_version_num"));
    auto const table = static_cast<std::uint32_t>(std::stoul(client.value("SELECT 't'::regclass::oid")));
    for (auto const& question : questions(version, role != "plain", {table})) {
      SCOPED_TRACE(role + ", " + question.name + ": " + question.text);
      Rows rows;
      EXPECT_NO_THROW(rows = client.exec(question.text));
      if (question.may_be_empty && rows.empty()) continue;
      ASSERT_FALSE(rows.empty());
      EXPECT_EQ(rows.front().size(), question.columns);
    }
  }
}

TEST_F(ProbesSql, KnowsAnAutovacuumWorkerFromOthersByWhatEverybodySees) {
  // The question relies on it: of processes of the server itself, a role without rights sees no user.
  PgClient plain(cluster_->dsn() + " user=plain");
  EXPECT_EQ(
      plain.value("SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE backend_type IS NULL AND usesysid IS NULL "
                  "AND datid <> 0"),
      "0");
  EXPECT_NE(
      plain.value("SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE backend_type IS NULL AND usesysid IS NULL"),
      "0");
}

}  // namespace
}  // namespace pgbackfill::tests
