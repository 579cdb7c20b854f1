// The seam through which the worker pool hears what the growth of its tables allows.
//
// Implementation: VacuumKeeper (PostgreSQL, engine/run/vacuum_keeper.h). Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>

#include "throttle/growth_guard.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

class Growth {
 public:
  virtual ~Growth() = default;

  virtual void start() = 0;
  // Returns when nothing of it runs any more, on the server either.
  virtual boost::asio::awaitable<void> stop() = 0;

  virtual void set_limits(throttle::Limits const& limits) = 0;
  // Bytes that a vacuum which begins from now on may write to the WAL per second; infinity: as many as it can.
  virtual void set_wal_limit(double bytes_per_second) = 0;
  // Somebody else works on the server: a vacuum goes slowly, and one that was begun fast begins again.
  virtual void set_beside_others(bool is_beside_others) = 0;
  // Whether the job works now. While it is paused or its window is closed nothing is vacuumed.
  virtual void set_working(bool is_working) = 0;
  // That change rows of this job; what a reading leaves room for is divided among them.
  virtual void set_processes(int processes) = 0;
  virtual throttle::GrowthHold hold() const = 0;

  // Rows of a leaf that the next batch may change before its growth is read again; infinity: as many as one likes. Less
  // than one asks for that reading.
  virtual double rows_left(int leaf) = 0;
  virtual void batch_started(int leaf, std::int64_t rows) = 0;
  // changed: of its rows; all of them where that is not known.
  virtual void batch_ended(int leaf, std::int64_t rows, std::int64_t changed) = 0;
};

}  // namespace pgbackfill::engine
