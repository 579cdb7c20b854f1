// The Database on PostgreSQL: sessions that run batches on connections of their own.
//
// Thread rule: everything on the engine's one thread, except what PgConnection does on the blocking pool.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/compute/programs.h"
#include "engine/pg/pg_connection.h"
#include "engine/run/database.h"
#include "engine/run/prepared_results.h"
#include "engine/state/state_store.h"
#include "planner/model/table_facts.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

// All that sessions of one job share. Leaves grow when a later pass finds new partitions.
struct PgJob {
  Job job;
  std::vector<planner::WorkTarget> targets;  // by leaf number
  planner::TableFacts table;
  bool sweeps = false;
  planner::WorkTraits traits;
  int pass = 0;  // when the leaves were read
};

// Rebuilds what the sessions need from the stored job; the table's facts must have been read already.
asio::awaitable<Result<PgJob>> load_pg_job(PgConnection& connection, std::int64_t job_id, std::string name,
                                           planner::Backfill backfill, planner::TableFacts table, bool sweeps,
                                           planner::WorkTraits traits);

class PgDatabase : public Database {
 public:
  PgDatabase(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target, PgJob job, Owner owner);

  std::unique_ptr<Session> make_session(int worker) override;
  void spawn(asio::awaitable<void> coroutine) override;
  asio::awaitable<void> sleep(std::chrono::milliseconds duration) override;
  std::chrono::steady_clock::time_point now() const override;
  std::chrono::system_clock::time_point wall_now() const override;
  double random() override;
  std::vector<std::string> take_notes() override { return std::exchange(notes_, {}); }

  // For a job whose values programs compute; they outlive this.
  void set_programs(Programs* programs) { programs_ = programs; }
  Programs* programs() { return programs_; }
  // For a job that reads results of `prepare`; they outlive this.
  void set_prepared(PreparedResults* prepared) { prepared_ = prepared; }
  PreparedResults* prepared() { return prepared_; }
  void wind_down() override {
    if (programs_ != nullptr) programs_->wind_down();
  }
  std::optional<std::int64_t> rows_computed_in(std::chrono::milliseconds time) const override {
    if (programs_ == nullptr) return std::nullopt;
    return programs_->requests_in(time) * programs_->compute().rows;
  }
  void set_compute_settings(std::map<std::string, std::string> const& live) override;
  std::string held_back() const override { return programs_ == nullptr ? "" : programs_->held_back(); }
  asio::any_io_executor const& executor() const { return executor_; }

  void note(std::string text) { notes_.push_back(std::move(text)); }
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
  std::vector<std::string> notes_;
  Programs* programs_ = nullptr;
  PreparedResults* prepared_ = nullptr;
};

}  // namespace pgbackfill::engine
