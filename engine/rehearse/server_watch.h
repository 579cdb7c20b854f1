// Looks at a server a few times a second while a migration is rehearsed there: WAL, disk, replicas, who waits for
// locks.
//
// On a thread and a connection of its own, so that what is looked at is not held up. Whoever made it stops it, and then
// asks; nothing that goes wrong in it ends the rehearsal.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pgbackfill::engine {

struct ServerSight {
  std::chrono::steady_clock::time_point at;
  std::int64_t wal_bytes = 0;  // written since the server was made
  std::int64_t database_bytes = 0;
  std::int64_t lag_ms = 0;        // of the replica that is furthest behind
  std::int64_t lock_wait_ms = 0;  // of who waits longest
  std::string waiting;            // his application, and what he runs
};

class ServerWatch {
 public:
  explicit ServerWatch(std::string conninfo);
  ~ServerWatch();
  ServerWatch(ServerWatch const&) = delete;
  ServerWatch& operator=(ServerWatch const&) = delete;

  // In their order; the first call ends the looking.
  std::vector<ServerSight> const& stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace pgbackfill::engine
