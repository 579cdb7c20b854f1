#include "bench/capped_replica.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;
using tests::PgClient;
using Clock = std::chrono::steady_clock;

constexpr char kReplayedSql[] = "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint";
constexpr auto kTick = 2ms;
// A process may be stopped while it holds what the question needs.
constexpr auto kAnswerPatience = 50ms;
// What is not replayed for want of WAL is lost, up to this much time of it.
constexpr double kSavedSeconds = 0.02;
// How much is prepared to measure the capacity by.
constexpr double kBacklogSeconds = 6;
constexpr auto kBacklogPatience = 120s;

double bytes_of(PgClient& client) {
  return std::stod(client.value(kReplayedSql));
}

}  // namespace

CappedReplica::CappedReplica(engine::LocalCluster const& cluster, int replica, double bytes_per_second)
    : startup_pid_(tests::server_process(cluster.replica_postmaster_pid(replica), "startup")),
      capacity_(bytes_per_second) {
  keeper_ = std::jthread([this, dsn = cluster.replica_dsn(replica)](std::stop_token const& stop) {
    keep_pace(stop, dsn);
    kill(startup_pid_, SIGCONT);
  });
}

CappedReplica::~CappedReplica() {
  keeper_.request_stop();
  keeper_.join();
}

void CappedReplica::keep_pace(std::stop_token const& stop, std::string const& dsn) const {
  PgClient client(dsn);
  double replayed = bytes_of(client);
  auto asked_at = Clock::now();
  double allowance = 0;
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(kTick);
    client.send(kReplayedSql);
    while (!client.has_answer(kAnswerPatience)) kill(startup_pid_, SIGCONT);
    double const now_replayed = std::stod(client.receive()[0][0].value());
    auto const now = Clock::now();
    double const capacity = capacity_;
    allowance += capacity * std::chrono::duration<double>(now - asked_at).count() - (now_replayed - replayed);
    allowance = std::min(allowance, capacity * kSavedSeconds);
    replayed = now_replayed;
    asked_at = now;
    kill(startup_pid_, capacity > 0 && allowance > 0 ? SIGCONT : SIGSTOP);
  }
}

double measured_capacity(engine::LocalCluster const& cluster, int replica, CappedReplica& capped,
                         double bytes_per_second) {
  capped.set_capacity(0);
  PgClient primary(cluster.dsn());
  // A row of the wide table, and so many of them that the backlog lasts.
  auto const rows = static_cast<std::int64_t>(bytes_per_second * kBacklogSeconds / 250);
  primary.exec(
      fmt::format("DROP TABLE IF EXISTS backlog; CREATE TABLE backlog AS SELECT i, repeat(md5(i::text), 6) "
                  "AS text FROM generate_series(1, {}) AS i",
                  rows));
  double const written = std::stod(primary.value("SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint"));
  PgClient client(cluster.replica_dsn(replica));
  double const before = bytes_of(client);
  auto const wait_for = [&](double share) {
    double const position = before + share * (written - before);
    double replayed = 0;
    bool const is_there =
        tests::poll_until([&] { return (replayed = bytes_of(client)) >= position; }, kBacklogPatience);
    if (!is_there) throw std::runtime_error("the replica does not catch up");
    return std::pair(replayed, Clock::now());
  };
  capped.set_capacity(bytes_per_second);
  // The middle of it: how it starts and ends is another matter.
  auto const [from, began] = wait_for(0.1);
  auto const [to, ended] = wait_for(0.8);
  wait_for(1);
  return (to - from) / std::chrono::duration<double>(ended - began).count();
}

}  // namespace pgbackfill::bench
