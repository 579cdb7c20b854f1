// Looks on hot standbys for sessions that would hold up the replay of an ACCESS EXCLUSIVE lock.
//
// The lock is replayed as soon as it is written, whoever reads the table on the standby: a query that is under way
// there holds up the replay, for as long as max_standby_streaming_delay says, and all that read the table later wait
// behind the replay. Connections are made when first needed. Only reads. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::engine {

class StandbyWatch {
 public:
  // Each conninfo names one standby, or the primary, which is passed over.
  StandbyWatch(std::vector<std::string> conninfos, asio::thread_pool& blocking);

  // Sessions there that have held locks on one of the tables for longer than `age`, in words.
  asio::awaitable<std::vector<std::string>> readers(std::vector<planner::TableLock> locks,
                                                    std::chrono::milliseconds age);
  // How many standbys answered at the last look.
  std::size_t seen() const { return seen_; }
  // Why others did not.
  std::vector<std::string> const& troubles() const { return troubles_; }

 private:
  struct Standby {
    std::string conninfo;
    std::shared_ptr<PgConnection> connection;
    bool is_primary = false;
    std::string trouble = {};  // it could not be reached: not tried again, since that may take seconds for each lock
  };

  asio::awaitable<bool> connect(Standby& standby);

  std::vector<Standby> standbys_;
  asio::thread_pool& blocking_;
  std::size_t seen_ = 0;
  std::vector<std::string> troubles_;
};

// Whether a lock is among them that standbys replay.
bool is_replayed(std::vector<planner::TableLock> const& locks);

}  // namespace pgbackfill::engine
