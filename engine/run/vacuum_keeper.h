// Keeps the tables of a job from growing: watches their size, and runs VACUUM between the parts of the backfill.
//
// Two sessions of its own: one looks a few times a second, one vacuums, for VACUUM can be in no transaction and no
// pipeline. When to do what is throttle/vacuum_debt's; here it is done. Of several processes of one job each watches;
// the lock of VACUUM itself lets one of them at a time, and the others see in the server's statistics that it is done.
// It never fails a run: what goes wrong is told, and the run goes on without it. Thread rule: one io_context thread,
// which has to outlive this.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "engine/base/events.h"
#include "engine/pg/pg_connection.h"
#include "engine/run/database.h"
#include "engine/run/growth.h"

namespace pgbackfill::engine {

class VacuumKeeper final : public Growth {
 public:
  VacuumKeeper(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target, Job const& job,
               EventSink& sink);
  ~VacuumKeeper() override;
  VacuumKeeper(VacuumKeeper const&) = delete;
  VacuumKeeper& operator=(VacuumKeeper const&) = delete;

  void start() override;
  asio::awaitable<void> stop() override;
  void set_limits(throttle::Limits const& limits) override;
  void set_wal_limit(double bytes_per_second) override;
  void set_beside_others(bool is_beside_others) override;
  void set_working(bool is_working) override;
  void set_processes(int processes) override;
  throttle::GrowthHold hold() const override;
  double rows_left(int leaf) override;
  void batch_started(int leaf, std::int64_t rows) override;
  void batch_ended(int leaf, std::int64_t rows, std::int64_t changed) override;

 private:
  class Watch;
  std::shared_ptr<Watch> watch_;  // shared with the coroutines, which may outlive this by the end of a question
};

}  // namespace pgbackfill::engine
