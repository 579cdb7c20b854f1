#include "tests/support/fault_proxy.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;

class FaultProxyTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient(cluster_->dsn()).exec("CREATE TABLE counted (n int); INSERT INTO counted VALUES (0)");
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  static int count() { return std::stoi(PgClient(cluster_->dsn()).value("SELECT n FROM counted")); }

  static std::unique_ptr<LocalCluster> cluster_;
  FaultProxy proxy_{cluster_->port()};
};

std::unique_ptr<LocalCluster> FaultProxyTest::cluster_;

constexpr char const* kAddOne = "UPDATE counted SET n = n + 1";

TEST_F(FaultProxyTest, ForwardsEveryByte) {
  PgClient client(proxy_.dsn());
  auto const text = client.value("SELECT repeat('x', 5000000)");
  EXPECT_EQ(text.size(), 5000000U);
  EXPECT_EQ(client.exec("SELECT generate_series(1, 100000)").size(), 100000U);
  EXPECT_EQ(client.value("SELECT length('" + text + "')"), "5000000");
  proxy_.drop_next_answer("COMMIT");
  EXPECT_EQ(client.exec("SELECT generate_series(1, 100000)").size(), 100000U) << "held back, then handed over";
}

TEST_F(FaultProxyTest, DeclinesEncryptionForTheServer) {
  PgClient client("host=127.0.0.1 user=postgres dbname=postgres sslmode=prefer port=" + std::to_string(proxy_.port()));
  EXPECT_EQ(client.value("SELECT 1"), "1");
}

TEST_F(FaultProxyTest, DropsTheAnswerAfterTheCommit) {
  PgClient client(proxy_.dsn());
  auto const before = count();
  proxy_.drop_next_answer();
  EXPECT_EQ(client.try_exec(kAddOne), "08006");
  EXPECT_EQ(count(), before + 1);
  EXPECT_EQ(proxy_.dropped_answers(), 1);
  PgClient next(proxy_.dsn());
  EXPECT_EQ(next.try_exec(kAddOne), "00000") << "once only";
}

TEST_F(FaultProxyTest, WaitsForTheAnswerWithTheTag) {
  PgClient client(proxy_.dsn());
  auto const before = count();
  proxy_.drop_next_answer("COMMIT");
  EXPECT_EQ(client.value("SELECT 1"), "1");
  EXPECT_EQ(client.try_exec("BEGIN"), "00000");
  EXPECT_EQ(client.try_exec(kAddOne), "00000");
  EXPECT_EQ(client.try_exec("COMMIT"), "08006");
  EXPECT_EQ(count(), before + 1);
}

TEST_F(FaultProxyTest, DropsByChanceWithoutLosingWhatWasCommitted) {
  auto const before = count();
  proxy_.drop_answers_with_probability(0.3, 7);
  int unknown = 0;
  for (int turn = 0; turn < 100; ++turn) {
    if (PgClient(proxy_.dsn()).try_exec(kAddOne) != "00000") ++unknown;
  }
  EXPECT_EQ(count(), before + 100);
  EXPECT_EQ(proxy_.dropped_answers(), unknown);
  EXPECT_GT(unknown, 10);
  EXPECT_LT(unknown, 60);
}

TEST_F(FaultProxyTest, DropsRequestsBeforeTheServerSeesThem) {
  auto const before = count();
  proxy_.drop_requests_with_probability(0.3, 7);
  int done = 0;
  for (int turn = 0; turn < 100; ++turn) {
    if (PgClient(proxy_.dsn()).try_exec(kAddOne) == "00000") ++done;
  }
  EXPECT_EQ(count(), before + done);
  EXPECT_EQ(proxy_.dropped_requests(), 100 - done);
  EXPECT_LT(done, 90);
}

TEST_F(FaultProxyTest, HandsOverNotificationsWhileItHoldsAnswers) {
  PgClient listener(proxy_.dsn());
  proxy_.drop_next_answer("COMMIT");
  listener.exec("LISTEN news");
  PgClient(cluster_->dsn()).exec("NOTIFY news, 'rain'");
  EXPECT_EQ(listener.notification(5s), "rain");
}

TEST_F(FaultProxyTest, CutsAllConnectionsNow) {
  PgClient client(proxy_.dsn());
  EXPECT_EQ(client.value("SELECT 1"), "1");
  EXPECT_EQ(proxy_.connections(), 1);
  proxy_.cut_all();
  EXPECT_EQ(client.try_exec("SELECT 1"), "08006");
  EXPECT_EQ(PgClient(proxy_.dsn()).value("SELECT 1"), "1");
}

TEST_F(FaultProxyTest, RefusesNewConnections) {
  PgClient old(proxy_.dsn());
  proxy_.refuse_new(true);
  EXPECT_THROW(PgClient{proxy_.dsn()}, PgClientError);
  EXPECT_EQ(old.value("SELECT 1"), "1");
  proxy_.refuse_new(false);
  EXPECT_EQ(PgClient(proxy_.dsn()).value("SELECT 1"), "1");
}

TEST_F(FaultProxyTest, StallsWithoutCutting) {
  PgClient client(proxy_.dsn());
  proxy_.stall(true);
  client.send("SELECT 1");
  EXPECT_FALSE(client.has_answer(100ms));
  proxy_.stall(false);
  EXPECT_TRUE(client.has_answer(5s));
  EXPECT_EQ(client.receive().size(), 1U);
}

TEST_F(FaultProxyTest, DelaysEachWay) {
  PgClient client(proxy_.dsn());
  client.value("SELECT 1");
  proxy_.set_delay(50ms);
  auto const begin = std::chrono::steady_clock::now();
  client.value("SELECT 1");
  auto const taken = std::chrono::steady_clock::now() - begin;
  EXPECT_GE(taken, 100ms);
  EXPECT_LT(taken, 300ms);
}

TEST_F(FaultProxyTest, EndsTheClientWhenTheServerEnds) {
  PgClient client(proxy_.dsn());
  PgClient(cluster_->dsn()).exec("SELECT pg_terminate_backend(" + std::to_string(client.pid()) + ")");
  EXPECT_EQ(client.try_exec("SELECT 1"), "57P01") << "the server's last words arrive";
  EXPECT_TRUE(poll_until([&] { return proxy_.connections() == 0; }));
}

TEST(Program, TellsOutputAndExit) {
  ProgramOptions options;
  options.environment = {{"COLOUR", "blue"}};
  auto const result = run_program({"sh", "-c", "echo $COLOUR; echo bad >&2; exit 3"}, 10s, options);
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_EQ(result.out, "blue\n");
  EXPECT_EQ(result.err, "bad\n");
  EXPECT_EQ(run_program({"no-such-program"}).exit_code, 127);
}

TEST(Program, IsKilledWhenItTakesTooLong) {
  auto const result = run_program({"sleep", "60"}, 50ms);
  EXPECT_TRUE(result.is_timed_out);
  EXPECT_EQ(result.exit_code, 137);
}

TEST(Program, GetsSignals) {
  Program program({"sh", "-c", "trap 'echo caught; exit 4' INT; echo ready; while :; do sleep 0.01; done"});
  ASSERT_TRUE(program.wait_for_output("ready"));
  program.signal(2);
  auto const result = program.wait(60s);
  EXPECT_EQ(result.exit_code, 4);
  EXPECT_EQ(result.out, "ready\ncaught\n");
}

TEST(Program, RunsOnATerminalOfItsOwn) {
  ProgramOptions options;
  options.terminal_columns = 77;
  Program program({"sh", "-c", "test -t 1 && stty size; echo ready; exec cat"}, options);
  ASSERT_TRUE(program.wait_for_output("24 77"));
  ASSERT_TRUE(program.wait_for_output("ready")) << "else the key may reach the program that has just printed";
  program.type("\x03");
  EXPECT_EQ(program.wait(60s).exit_code, 130);
}

}  // namespace
}  // namespace pgbackfill::tests
