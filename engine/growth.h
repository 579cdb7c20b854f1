// The seam through which the worker pool hears what the growth of its tables allows.
//
// Implementation: VacuumKeeper (PostgreSQL, engine/vacuum_keeper.h). Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>

#include "throttle/decision.h"
#include "throttle/limits.h"

namespace pgbackfill::engine {

struct GrowthHold {
  double share = 1;  // of the workers that may go on
  throttle::CauseKind kind = throttle::CauseKind::kBloat;
  std::string text;  // why; empty if there is nothing to say
};

class Growth {
 public:
  virtual ~Growth() = default;

  virtual void start() = 0;
  // Returns when nothing of it runs any more, on the server either.
  virtual boost::asio::awaitable<void> stop() = 0;

  virtual void set_limits(throttle::Limits const& limits) = 0;
  // Whether the job works now. While it is paused or its window is closed nothing is vacuumed.
  virtual void set_working(bool is_working) = 0;
  virtual GrowthHold hold() const = 0;
};

}  // namespace pgbackfill::engine
