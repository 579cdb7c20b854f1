// A replica that receives but does not replay, as one whose replay is held by a long query or slow storage: its startup
// process is stopped by a signal. Sessions on the replica and the stream from the primary go on.
//
// Threads: none of its own; belongs to one thread. The destructor lets the replica go on.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>

#include "engine/sandbox/local_cluster.h"

namespace pgbackfill::tests {

class SlowReplica {
 public:
  explicit SlowReplica(engine::LocalCluster const& cluster, int replica = 0);
  ~SlowReplica();
  SlowReplica(SlowReplica const&) = delete;
  SlowReplica& operator=(SlowReplica const&) = delete;

  void freeze();
  void thaw();

 private:
  pid_t startup_pid_ = 0;
};

// One of a server's own processes, by the title that `ps` shows of it: "startup", "walreceiver". Throws when there is
// none.
pid_t server_process(pid_t postmaster, std::string const& title);

// Waits until the replica has replayed all that the primary has written by now.
bool wait_until_replayed(engine::LocalCluster const& cluster, int replica = 0,
                         std::chrono::milliseconds timeout = std::chrono::seconds(30));

}  // namespace pgbackfill::tests
