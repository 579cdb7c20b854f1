#include "tests/support/slow_replica.h"

#include <fmt/format.h>
#include <signal.h>

#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>

#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
// By the kernel's list of children, because some of them serve no SQL that would tell.
pid_t server_process(pid_t postmaster, std::string const& title) {
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", postmaster));
  for (pid_t pid = 0; children >> pid;) {
    std::ifstream file(fmt::format("/proc/{}/cmdline", pid));
    std::string const text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    if (text.find(": " + title) != std::string::npos) return pid;
  }
  throw std::runtime_error(fmt::format("process {} has no {} process: it is no running replica", postmaster, title));
}

SlowReplica::SlowReplica(engine::LocalCluster const& cluster, int replica)
    : startup_pid_(server_process(cluster.replica_postmaster_pid(replica), "startup")) {}

SlowReplica::~SlowReplica() {
  thaw();
}

void SlowReplica::freeze() {
  kill(startup_pid_, SIGSTOP);
}

void SlowReplica::thaw() {
  kill(startup_pid_, SIGCONT);
}

bool wait_until_replayed(engine::LocalCluster const& cluster, int replica, std::chrono::milliseconds timeout) {
  auto const written = PgClient(cluster.dsn()).value("SELECT pg_current_wal_lsn()");
  PgClient client(cluster.replica_dsn(replica));
  auto const sql = fmt::format("SELECT coalesce(pg_last_wal_replay_lsn() >= '{}', false)", written);
  return poll_until([&] { return client.value(sql) == "t"; }, timeout);
}

}  // namespace pgbackfill::tests
