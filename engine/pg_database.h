// The Database on PostgreSQL: sessions that run batches on connections of their own.
//
// Thread rule: everything on the engine's one thread, except what PgConnection does on the blocking pool.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/database.h"
#include "engine/pg_connection.h"
#include "engine/state_store.h"
#include "planner/table_facts.h"
#include "planner/work_sql.h"

namespace pgbackfill::engine {

// All that sessions of one job share. Leaves grow when a later pass finds new partitions.
struct PgJob {
  Job job;
  std::vector<planner::WorkTarget> targets;  // by leaf number
  planner::TableFacts table;
  bool sweeps = false;
  bool copy_overrides_identity = false;
};

// Rebuilds what the sessions need from the stored job; the table's facts must have been read already.
asio::awaitable<Result<PgJob>> load_pg_job(PgConnection& connection, std::int64_t job_id, std::string name,
                                           planner::Backfill backfill, planner::TableFacts table, bool sweeps,
                                           bool copy_overrides_identity = false);

class PgDatabase : public Database {
 public:
  PgDatabase(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target, PgJob job, Owner owner);

  std::unique_ptr<Session> make_session(int worker) override;
  void spawn(asio::awaitable<void> coroutine) override;
  asio::awaitable<void> sleep(std::chrono::milliseconds duration) override;
  std::chrono::steady_clock::time_point now() const override;
  std::chrono::system_clock::time_point wall_now() const override;
  double random() override;

  PgJob& job() { return job_; }
  Owner const& owner() const { return owner_; }
  ConnectTarget const& target() const { return target_; }
  asio::thread_pool& blocking() { return blocking_; }

 private:
  asio::any_io_executor executor_;
  asio::thread_pool& blocking_;
  ConnectTarget target_;
  PgJob job_;
  Owner owner_;
  std::mt19937_64 random_;
};

}  // namespace pgbackfill::engine
