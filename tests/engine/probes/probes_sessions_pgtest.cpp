// What the probes see of sessions, locks, vacuum and WAL, and what they say when the role may not see it.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/pg_bouncer.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/probes_run.h"
#include "throttle/decision.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using throttle::Reading;
using throttle::Sight;

bool contains(std::string const& text, std::string const& part) {
  return text.find(part) != std::string::npos;
}

class ProbesSessions : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "probes-sessions";
    options.replicas = 1;
    options.is_fsync_on = false;
    options.primary_settings = {"autovacuum_naptime = 1s", "archive_mode = on", "archive_command = 'false'"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient(cluster_->dsn())
        .exec(
            "CREATE TABLE people (id int PRIMARY KEY, n int) WITH (autovacuum_enabled = off);"
            "INSERT INTO people SELECT g, 0 FROM generate_series(1, 10) g; GRANT ALL ON people TO PUBLIC");
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  static std::string hold(int id) { return fmt::format("UPDATE people SET n = n + 1 WHERE id = {}", id); }
  static std::uint32_t oid_of(std::string const& table) {
    PgClient client(cluster_->dsn());
    return static_cast<std::uint32_t>(std::stoul(client.value(fmt::format("SELECT '{}'::regclass::oid", table))));
  }
  bool waits(PgClient& waiter) {
    return poll_until([&] {
      return client_.value(fmt::format("SELECT wait_event_type FROM pg_stat_activity WHERE pid = {}", waiter.pid())) ==
             "Lock";
    });
  }

  static std::unique_ptr<LocalCluster> cluster_;
  PgClient client_{cluster_->dsn()};
};

std::unique_ptr<LocalCluster> ProbesSessions::cluster_;

TEST_F(ProbesSessions, NamesTheSessionThatABatchOfOursKeepsWaiting) {
  ProbesRun probes(cluster_->dsn());
  PgClient ours(cluster_->dsn());
  PgClient waiter(cluster_->dsn() + " application_name=shop");
  probes.probes().set_own_sessions({ours.pid()});
  probes.probes().set_batches_running(true);
  ours.exec("BEGIN; " + hold(1));
  waiter.send(hold(1));
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.waiters.value.waiters == 1; }));
  auto const& seen = probes.reading().waiters.value;
  EXPECT_EQ(seen.our_pid, ours.pid());
  EXPECT_GE(seen.longest, 50ms);
  EXPECT_TRUE(contains(seen.who, fmt::format("pid {} (shop, postgres)", waiter.pid()))) << seen.who;
  EXPECT_TRUE(contains(seen.who, "UPDATE people")) << seen.who;
  ours.exec("COMMIT");
  waiter.receive();
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.waiters.value.waiters == 0; }));
}

TEST_F(ProbesSessions, CountsTheWholeQueueAtAHotRow) {
  ProbesRun probes(cluster_->dsn());
  PgClient ours(cluster_->dsn());
  PgClient first(cluster_->dsn());
  PgClient second(cluster_->dsn());
  PgClient third(cluster_->dsn());
  probes.probes().set_own_sessions({ours.pid()});
  probes.probes().set_batches_running(true);
  ours.exec("BEGIN; " + hold(2));
  for (auto* waiter : {&first, &second, &third}) {
    waiter->send(hold(2));
    ASSERT_TRUE(waits(*waiter));
  }
  // Only the first waits for us; the others wait for it.
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.waiters.value.waiters == 3; }));
  EXPECT_EQ(probes.reading().waiters.value.our_pid, ours.pid());
  ours.exec("ROLLBACK");
  for (auto* waiter : {&first, &second, &third}) waiter->receive();
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.waiters.value.waiters == 0; }));
}

TEST_F(ProbesSessions, LeavesAloneWhoWaitsForSomebodyElseOrIsOurs) {
  ProbesRun probes(cluster_->dsn());
  PgClient ours(cluster_->dsn());
  PgClient also_ours(cluster_->dsn());
  PgClient stranger(cluster_->dsn());
  PgClient waiter(cluster_->dsn());
  PgClient proof(cluster_->dsn());
  probes.probes().set_own_sessions({ours.pid(), also_ours.pid()});
  probes.probes().set_batches_running(true);
  ours.exec("BEGIN; " + hold(3));
  stranger.exec("BEGIN; " + hold(4));
  also_ours.send(hold(3));
  waiter.send(hold(4));
  ASSERT_TRUE(waits(also_ours));
  ASSERT_TRUE(waits(waiter));
  ASSERT_TRUE(probes.look_again());
  EXPECT_EQ(probes.reading().waiters.value.waiters, 0);
  // That they would be seen by now is sure once a later waiter is.
  proof.send(hold(3));
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.waiters.value.waiters > 0; }));
  EXPECT_EQ(probes.reading().waiters.value.waiters, 1);
  stranger.exec("COMMIT");
  ours.exec("COMMIT");
  for (auto* each : {&also_ours, &waiter, &proof}) each->receive();
}

TEST_F(ProbesSessions, AsksNobodyWhileNoBatchRuns) {
  ProbesRun probes(cluster_->dsn());
  PgClient ours(cluster_->dsn());
  PgClient waiter(cluster_->dsn());
  probes.probes().set_own_sessions({ours.pid()});
  ours.exec("BEGIN; " + hold(5));
  waiter.send(hold(5));
  ASSERT_TRUE(waits(waiter));
  ASSERT_TRUE(probes.look_again());
  EXPECT_TRUE(probes.reading().waiters.is_seen());
  EXPECT_EQ(probes.reading().waiters.value.waiters, 0);
  probes.probes().set_batches_running(true);
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.waiters.value.waiters == 1; }));
  ours.exec("COMMIT");
  waiter.receive();
}

TEST_F(ProbesSessions, KnowsOurSessionsByNameBehindAPooler) {
  PgBouncer bouncer(*cluster_);
  ProbesRun probes(bouncer.dsn());
  PgClient ours(bouncer.dsn() + " application_name=pgbackfill");
  PgClient waiter(cluster_->dsn());
  // The pooler's numbers, as a worker would report them.
  probes.probes().set_own_sessions({ours.pid()});
  probes.probes().set_batches_running(true);
  ours.exec("BEGIN");
  auto const real_pid = ours.value("SELECT pg_backend_pid()");
  ASSERT_NE(real_pid, std::to_string(ours.pid()));
  ours.exec(hold(6));
  waiter.send(hold(6));
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.waiters.value.waiters == 1; }));
  EXPECT_EQ(std::to_string(probes.reading().waiters.value.our_pid), real_pid);
  ours.exec("COMMIT");
  waiter.receive();
}

TEST_F(ProbesSessions, CountsWhoWorksButNotOurselves) {
  ProbesRun probes(cluster_->dsn());
  PgClient ours(cluster_->dsn());
  PgClient named(cluster_->dsn() + " application_name=pgbackfill");
  PgClient idle(cluster_->dsn());
  probes.probes().set_own_sessions({ours.pid()});
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.activity.is_seen(); }));
  EXPECT_EQ(probes.reading().activity.value.active, 0);
  PgClient first(cluster_->dsn());
  PgClient second(cluster_->dsn());
  for (auto* each : {&ours, &named, &first, &second}) each->send("SELECT pg_sleep(60)");
  int const reserved = cluster_->major_version() >= 16 ? std::stoi(client_.value("SHOW reserved_connections")) : 0;
  auto const free = [&] {
    return client_.value(
        fmt::format("SELECT 100 - 3 - {} - count(*) FROM pg_stat_activity WHERE backend_type = 'client "
                    "backend'",
                    reserved));
  };
  EXPECT_TRUE(probes.until([&](Reading const& reading) {
    return reading.activity.value.active == 2 && std::to_string(reading.activity.value.connections_free) == free();
  }));
  for (auto* each : {&ours, &named, &first, &second}) each->cancel();
}

TEST_F(ProbesSessions, NamesWhoHoldsTheOldestSnapshot) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.activity.is_seen(); }));
  PgClient reader(cluster_->dsn() + " application_name=report");
  reader.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM people");
  auto const is_named = [](Reading const& reading, PgClient const& holder) {
    auto const& activity = reading.activity.value;
    return activity.oldest_xmin_age.value_or(0s) >= 2s &&
           contains(activity.oldest_xmin_holder, fmt::format("pid {}", holder.pid()));
  };
  EXPECT_TRUE(probes.until([&](Reading const& reading) { return is_named(reading, reader); }));
  EXPECT_TRUE(contains(probes.reading().activity.value.oldest_xmin_holder, "report"));
  reader.exec("COMMIT");
  // Who has changed something and shows no snapshot holds vacuum back as well.
  PgClient writer(cluster_->dsn());
  writer.exec("BEGIN; " + hold(7));
  EXPECT_TRUE(probes.until([&](Reading const& reading) { return is_named(reading, writer); }));
  writer.exec("ROLLBACK");
  EXPECT_TRUE(
      probes.until([](Reading const& reading) { return reading.activity.value.oldest_xmin_age.value_or(0s) < 2s; }));
}

TEST_F(ProbesSessions, NamesAPreparedTransactionAndAReplicaThatHoldTheHorizon) {
  ProbesRun probes(cluster_->dsn());
  client_.exec("BEGIN; " + hold(8) + "; PREPARE TRANSACTION 'forgotten'");
  auto const holder_has = [](std::string const& text) {
    return [text](Reading const& reading) { return contains(reading.activity.value.oldest_xmin_holder, text); };
  };
  EXPECT_TRUE(probes.until(holder_has("prepared transaction forgotten")));
  client_.exec("ROLLBACK PREPARED 'forgotten'");
  PgClient replica(cluster_->replica_dsn(0));
  replica.exec("ALTER SYSTEM SET hot_standby_feedback = on");
  replica.exec("ALTER SYSTEM SET wal_receiver_status_interval = '1s'");
  replica.exec("SELECT pg_reload_conf()");
  replica.exec("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM people");
  // It has no time of its own: its age counts from when it was seen.
  EXPECT_TRUE(probes.until([&](Reading const& reading) {
    return holder_has("replica replica-0")(reading) && reading.activity.value.oldest_xmin_age.value_or(0s) >= 2s;
  }));
  replica.exec("COMMIT");
  replica.exec("ALTER SYSTEM RESET ALL");
  replica.exec("SELECT pg_reload_conf()");
}

TEST_F(ProbesSessions, SeesAutovacuumAtWorkOnTheTable) {
  client_.exec(
      "CREATE TABLE busy (id int, text text) WITH (autovacuum_vacuum_cost_delay = 100, "
      "autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 10, autovacuum_vacuum_scale_factor = 0, "
      "autovacuum_vacuum_insert_threshold = -1, "
      "autovacuum_analyze_threshold = 2000000000);"
      "INSERT INTO busy SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g");
  ProbesRun probes(cluster_->dsn());
  probes.probes().set_tables({oid_of("people")});
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.health.value.vacuum.is_seen(); }));
  client_.exec("DELETE FROM busy WHERE id % 2 = 0");
  ASSERT_TRUE(poll_until(
      [&] {
        return client_.value("SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'busy'::regclass") == "1";
      },
      60s));
  ASSERT_TRUE(probes.look_again());
  EXPECT_FALSE(probes.reading().health.value.vacuum.value.autovacuum_runs) << "of another table";
  probes.probes().set_tables({oid_of("people"), oid_of("busy")});
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.health.value.vacuum.value.autovacuum_runs; }));
  auto const& vacuum = probes.reading().health.value.vacuum.value;
  EXPECT_FALSE(vacuum.for_wraparound);
  EXPECT_GT(vacuum.rows_dead, 0);
  EXPECT_GT(vacuum.heap_bytes, 10U << 20);
  EXPECT_GE(vacuum.table_bytes, vacuum.heap_bytes);
  client_.exec("DROP TABLE busy");
  // A lock that keeps out everybody must not make the numbers of the other table zero.
  EXPECT_TRUE(probes.until([](Reading const& reading) { return !reading.health.value.vacuum.value.autovacuum_runs; }));
}

TEST_F(ProbesSessions, CountsWalAndCheckpointsAndWhatTheArchiverOwes) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.look_again());
  auto const before = probes.reading();
  EXPECT_TRUE(before.wal.is_seen());
  EXPECT_EQ(before.wal.value.max_wal_size, 2ULL << 30);
  EXPECT_EQ(before.wal.value.checkpoint_timeout, 300s);
  ASSERT_TRUE(before.health.value.archive.is_seen());
  EXPECT_TRUE(before.health.value.archive.value.is_on);
  for (int each = 0; each < 3; ++each) client_.exec("SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()");
  client_.exec("CHECKPOINT");
  EXPECT_TRUE(probes.until([&](Reading const& reading) {
    return reading.wal.value.inserted > before.wal.value.inserted + (3ULL << 24) - (1ULL << 24) &&
           reading.wal.value.checkpoints_requested > before.wal.value.checkpoints_requested &&
           reading.health.value.archive.value.segments_waiting >=
               before.health.value.archive.value.segments_waiting + 3;
  }));
  if (cluster_->major_version() < 14) {
    EXPECT_FALSE(probes.reading().wal.value.records.has_value()) << "13 does not count them";
  } else {
    EXPECT_GT(probes.reading().wal.value.records.value_or(0), before.wal.value.records.value_or(0));
  }
}

TEST_F(ProbesSessions, CountsTheWalOfOurSessionsWhereTheServerDoes) {
  ProbesRun probes(cluster_->dsn());
  auto ours = std::make_unique<PgClient>(cluster_->dsn());
  probes.probes().set_own_sessions({ours->pid()});
  ASSERT_TRUE(probes.look_again());
  if (cluster_->major_version() < 18) {
    EXPECT_FALSE(probes.reading().wal.value.own_bytes.has_value());
    return;
  }
  ASSERT_TRUE(probes.reading().wal.value.own_bytes.has_value());
  auto const begin = *probes.reading().wal.value.own_bytes;
  ours->exec("CREATE TABLE own AS SELECT repeat('x', 500) FROM generate_series(1, 4000)");
  EXPECT_TRUE(probes.until([&](Reading const& reading) { return *reading.wal.value.own_bytes > begin + (1 << 20); }));
  auto const before = *probes.reading().wal.value.own_bytes;
  // Another session begins its count at nothing; the sum does not fall.
  ours = std::make_unique<PgClient>(cluster_->dsn());
  probes.probes().set_own_sessions({ours->pid()});
  ASSERT_TRUE(probes.look_again());
  EXPECT_GE(*probes.reading().wal.value.own_bytes, before);
  ours->exec("DROP TABLE own");
}

TEST_F(ProbesSessions, SaysWhatARoleWithoutRightsMayNotSee) {
  client_.exec("CREATE ROLE \"the app\" LOGIN");
  PgClient other(cluster_->dsn());
  other.send("SELECT pg_sleep(60)");
  ProbesRun probes(cluster_->dsn() + " user='the app'");
  probes.probes().set_tables({oid_of("people")});
  ASSERT_TRUE(probes.look_again());
  Reading const& reading = probes.reading();
  EXPECT_EQ(reading.activity.sight, Sight::kNoPrivilege);
  EXPECT_EQ(reading.activity.why, "role the app may not see other roles' sessions: GRANT pg_monitor TO \"the app\"");
  ASSERT_TRUE(reading.replication.is_seen());
  auto const replica = probes.replica("replica-0");
  EXPECT_EQ(replica.replayed.sight, Sight::kNoPrivilege);
  EXPECT_TRUE(contains(replica.replayed.why, "GRANT pg_monitor TO \"the app\"")) << replica.replayed.why;
  EXPECT_EQ(replica.reply_age.sight, Sight::kNoPrivilege);
  EXPECT_EQ(reading.health.value.archive.sight, Sight::kNoPrivilege);
  EXPECT_TRUE(contains(reading.health.value.archive.why, "GRANT pg_monitor")) << reading.health.value.archive.why;
  // What needs no right is seen all the same.
  EXPECT_TRUE(reading.canary.is_seen());
  EXPECT_TRUE(reading.wal.is_seen());
  EXPECT_TRUE(reading.slots.is_seen());
  EXPECT_TRUE(reading.health.value.vacuum.is_seen());
  EXPECT_GT(reading.health.value.vacuum.value.table_bytes, 0U);
  EXPECT_GT(reading.health.value.wraparound_age.value, 0);
  // And a right that is given counts without a restart.
  client_.exec("GRANT pg_monitor TO \"the app\"");
  EXPECT_TRUE(probes.until([](Reading const& now) {
    return now.activity.is_seen() && now.activity.value.active == 1 && now.health.value.archive.is_seen() &&
           find_replica(now, "replica-0").replayed.is_seen();
  }));
  other.cancel();
}

TEST_F(ProbesSessions, SeesWaitersOfOtherRolesWithoutRights) {
  client_.exec("CREATE ROLE plain LOGIN");
  ProbesRun probes(cluster_->dsn() + " user=plain");
  PgClient ours(cluster_->dsn() + " user=plain");
  PgClient waiter(cluster_->dsn());
  probes.probes().set_own_sessions({ours.pid()});
  probes.probes().set_batches_running(true);
  ours.exec("BEGIN; " + hold(9));
  waiter.send(hold(9));
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.waiters.value.waiters == 1; }));
  EXPECT_EQ(probes.reading().waiters.value.our_pid, ours.pid());
  ours.exec("COMMIT");
  waiter.receive();
}

TEST_F(ProbesSessions, TellsOfASlowCommitWhileItLasts) {
  ProbesRun probes(cluster_->dsn() + " options='-c synchronous_commit=remote_apply'");
  ASSERT_TRUE(probes.until([](Reading const& reading) { return reading.canary.is_seen(); }));
  EXPECT_FALSE(probes.reading().canaries.empty());
  // Nobody of that name is there to confirm a commit.
  client_.exec("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
  client_.exec("SELECT pg_reload_conf()");
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.canary.value.latency > 1s; }));
  EXPECT_LT(probes.reading().canary.value.latency, 4s) << "known before the server gives up";
  client_.exec("ALTER SYSTEM RESET synchronous_standby_names");
  client_.exec("SELECT pg_reload_conf()");
  EXPECT_TRUE(probes.until([](Reading const& reading) { return reading.canary.value.latency < 200ms; }));
}

throttle::NeighbourReading prices_job() {
  throttle::NeighbourReading job;
  job.name = "prices";
  job.weight = 0.5;
  job.wal_per_second = 12'000;
  job.wal_wanted = throttle::kUnlimited;
  job.workers = 1;
  job.workers_wanted = 2;
  return job;
}

TEST_F(ProbesSessions, TellJobsInOtherDatabasesAndHearOfThem) {
  client_.exec("CREATE DATABASE shop");
  client_.exec("CREATE ROLE passer_by LOGIN");
  ProbesRun here(cluster_->dsn() + " user=passer_by");
  EXPECT_TRUE(here.until([](Reading const& reading) { return reading.elsewhere.is_seen(); }));
  EXPECT_TRUE(here.reading().elsewhere.value.empty());
  {
    // Whatever the user's own conninfo calls its sessions.
    ProbesRun there(cluster_->dsn() + " dbname=shop application_name=nightly");
    ProbesRun also_here(cluster_->dsn());
    there.probes().announce(prices_job());
    also_here.probes().announce(prices_job());
    auto const announced =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
        "'pgbackfill w=0.5 wal=12/* b=1/2 prices'";
    ASSERT_TRUE(there.until([&](Reading const&) { return client_.value(announced) == "1"; }));
    ASSERT_TRUE(also_here.until([&](Reading const&) { return client_.value(announced) == "2"; }));
    ASSERT_TRUE(here.until([](Reading const& reading) { return !reading.elsewhere.value.empty(); }));
    ASSERT_EQ(here.reading().elsewhere.value.size(), 1U) << "those of this database tell of themselves elsewhere";
    auto const& heard = here.reading().elsewhere.value.front();
    EXPECT_EQ(heard.database, "shop");
    EXPECT_EQ(heard.name, "prices");
    EXPECT_DOUBLE_EQ(heard.weight, 0.5);
    EXPECT_EQ(heard.wal_wanted, throttle::kUnlimited);
    // A session that comes back says it again.
    client_.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgbackfill w=%'");
    EXPECT_TRUE(there.until([&](Reading const&) { return client_.value(announced) == "1"; }));
  }
  EXPECT_TRUE(here.until([](Reading const& reading) { return reading.elsewhere.value.empty(); }));
  client_.exec("DROP DATABASE shop WITH (FORCE)");
}

TEST_F(ProbesSessions, LeaveNoNameInASessionOfAPooler) {
  client_.exec("CREATE DATABASE shop");
  {
    PgBouncer bouncer(*cluster_);
    ProbesRun pooled(bouncer.dsn());
    ProbesRun there(cluster_->dsn() + " dbname=shop");
    pooled.probes().announce(prices_job());
    there.probes().announce(prices_job());
    auto const announced =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgbackfill w=%' AND "
        "datname = ";
    ASSERT_TRUE(pooled.look_again());
    ASSERT_TRUE(pooled.look_again());
    EXPECT_EQ(client_.value(announced + std::string("'postgres'")), "0");
    // It hears of others nevertheless.
    ASSERT_TRUE(there.until([&](Reading const&) { return client_.value(announced + std::string("'shop'")) == "1"; }));
    EXPECT_TRUE(pooled.until([](Reading const& reading) { return !reading.elsewhere.value.empty(); }));
  }
  client_.exec("DROP DATABASE shop WITH (FORCE)");
}

TEST_F(ProbesSessions, ComesBackAfterItsSessionsWereEnded) {
  ProbesRun probes(cluster_->dsn());
  ASSERT_TRUE(probes.look_again());
  client_.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbackfill probes'");
  EXPECT_TRUE(probes.look_again());
  EXPECT_TRUE(probes.reading().canary.is_seen());
  EXPECT_TRUE(probes.until([](Reading const& reading) {
    return reading.replication.is_seen() && reading.activity.is_seen() && reading.health.is_seen();
  }));
}

TEST_F(ProbesSessions, LeavesNoSessionBehind) {
  auto const sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackfill probes'";
  {
    ProbesRun probes(cluster_->dsn());
    ASSERT_TRUE(probes.look_again());
    EXPECT_EQ(client_.value(sessions), "3");
    EXPECT_EQ(client_.value("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackfill probes' AND "
                            "state LIKE 'idle in%'"),
              "0");
    probes.probes().stop();
    EXPECT_TRUE(probes.until([&](Reading const&) { return client_.value(sessions) == "0"; }));
    probes.probes().start();
    EXPECT_TRUE(probes.look_again());
  }
  EXPECT_TRUE(poll_until([&] { return client_.value(sessions) == "0"; }));
}

// Time that a process, or this thread, has been on a processor.
double processor_seconds(std::string const& process) {
  std::ifstream file("/proc/" + process + "/schedstat");
  double nanoseconds = 0;
  file >> nanoseconds;
  return nanoseconds / 1e9;
}

// What the probes have cost by now.
struct Cost {
  std::chrono::steady_clock::time_point at = std::chrono::steady_clock::now();
  double transactions = 0;
  double wal_bytes = 0;
  double client_seconds = 0;
  double server_seconds = 0;
};

Cost cost_now(PgClient& client) {
  Cost cost;
  cost.transactions = std::stod(client.value("SELECT sum(xact_commit + xact_rollback) FROM pg_stat_database"));
  cost.wal_bytes = std::stod(client.value("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')"));
  for (auto const& row : client.exec("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbackfill probes'")) {
    cost.server_seconds += processor_seconds(*row[0]);
  }
  cost.client_seconds = processor_seconds("thread-self");
  return cost;
}

TEST_F(ProbesSessions, CostLittle) {
  // Its transactions count as well.
  client_.exec("ALTER SYSTEM SET autovacuum = off");
  client_.exec("SELECT pg_reload_conf()");
  std::vector<std::unique_ptr<PgClient>> sessions;
  for (int each = 0; each < 80; ++each) sessions.push_back(std::make_unique<PgClient>(cluster_->dsn()));
  ProbesRun probes(cluster_->dsn());
  probes.probes().set_tables({oid_of("people")});
  probes.probes().set_batches_running(true);
  ASSERT_TRUE(probes.look_again());
  auto const before = cost_now(client_);
  probes.turn(20s);
  auto const after = cost_now(client_);
  double const seconds = std::chrono::duration<double>(after.at - before.at).count();
  double const asked = (after.transactions - before.transactions) / seconds;
  double const written = (after.wal_bytes - before.wal_bytes) / seconds;
  // The server's own work is in it, so this is more than the probes'; a slow machine makes it less.
  EXPECT_LT(asked, 45);
  EXPECT_GT(asked, 1);
  EXPECT_LT(written, 3072);
  fmt::print(
      "probes: {:.1f} transactions/s, {:.0f} bytes of WAL/s, {:.2f} % of a processor here, {:.2f} % of one in "
      "their backends\n",
      asked, written, 100 * (after.client_seconds - before.client_seconds) / seconds,
      100 * (after.server_seconds - before.server_seconds) / seconds);
  client_.exec("ALTER SYSTEM RESET autovacuum");
  client_.exec("SELECT pg_reload_conf()");
}

}  // namespace
}  // namespace pgbackfill::tests
