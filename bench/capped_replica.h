// A replica of known capacity: it replays so many bytes of WAL a second and no more, however fast the machine is.
//
// Its startup process is stopped and let go by signals (SIGSTOP, SIGCONT), by what it has replayed so far: a duty cycle
// of some milliseconds. Receiving goes on, and the primary hears from the replica as always. What it could have
// replayed while there was nothing to replay is not made up for.
//
// Threads: one of its own; the object belongs to one thread. The destructor lets the replica go on, and comes before
// the replica is stopped.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "engine/sandbox/local_cluster.h"

namespace pgbackfill::bench {

class CappedReplica {
 public:
  CappedReplica(engine::LocalCluster const& cluster, int replica, double bytes_per_second);
  ~CappedReplica();
  CappedReplica(CappedReplica const&) = delete;
  CappedReplica& operator=(CappedReplica const&) = delete;

  // 0: it stands still.
  void set_capacity(double bytes_per_second) { capacity_ = bytes_per_second; }

 private:
  void keep_pace(std::stop_token const& stop, std::string const& dsn) const;

  pid_t startup_pid_ = 0;
  std::atomic<double> capacity_;
  std::jthread keeper_;
};

// Writes WAL while the replica stands still, and measures how fast it then replays: bytes a second. At the end the
// replica has caught up.
double measured_capacity(engine::LocalCluster const& cluster, int replica, CappedReplica& capped,
                         double bytes_per_second);

}  // namespace pgbackfill::bench
