// The seam through which the worker pool sees the server's health: a reading that somebody keeps fresh.
//
// Implementations: Probes (PostgreSQL, engine/probes/probes.h), and what tests and simulations make up. Nothing here
// waits and nothing fails: what could not be seen is a named Sight in the reading, with its `why`. Thread rule: the
// engine's one thread, as everything of Database.
//
// Of a Sample, `at` says when it was asked for last. When a question fails, the sample's value stays what it was, with
// its own older `at`; `sight` and `why` say that it is not fresh.
#pragma once

#include <vector>

#include "throttle/limits.h"
#include "throttle/reading.h"

namespace pgbackfill::engine {

class Health {
 public:
  virtual ~Health() = default;

  // Begins to look, until stop(); both may be called twice, and start() again after stop().
  virtual void start() = 0;
  virtual void stop() = 0;

  // The latest of everything. The reference stays good for the object's life; what it shows changes between awaits.
  virtual throttle::Reading const& reading() const = 0;

  // Backend pids of this process's sessions, as their connections know them: no foreground work, and the ones to
  // name when somebody waits. To be told anew whenever one connects. (Behind a pooler these numbers mean nothing on
  // the server; then sessions are known by their application_name.)
  virtual void set_own_sessions(std::vector<int> pids) = 0;
  // Who waits for us is asked only while batches run: without one, nobody does.
  virtual void set_batches_running(bool are_running) = 0;
  // While no batch runs so that commits can be measured, they are measured in quick succession.
  virtual void set_listening(bool is_listening) = 0;
  // How closely to look depends on some limits (replica_lag, lock_wait); they may change while it runs.
  virtual void set_limits(throttle::Limits const& limits) = 0;
  // What jobs in other databases of the server shall hear of this one (throttle/announcement.h); the latest counts.
  virtual void announce(throttle::NeighbourReading const& self) = 0;
};

}  // namespace pgbackfill::engine
