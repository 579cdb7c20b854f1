// Probes that run while a test waits for what they see. Their event loop turns in until() alone, in the caller's
// thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "engine/probes/probes.h"

namespace pgbackfill::tests {

class ProbesRun {
 public:
  // Starts them.
  explicit ProbesRun(std::string const& dsn, std::vector<engine::UserProbe> user_probes = {});
  ~ProbesRun();
  ProbesRun(ProbesRun const&) = delete;
  ProbesRun& operator=(ProbesRun const&) = delete;

  // Whether the condition on the reading held before the time was over.
  bool until(std::function<bool(throttle::Reading const&)> const& condition,
             std::chrono::milliseconds timeout = std::chrono::seconds(60));
  // Lets the probes run until each has been asked again; the questions of a moment ago may still tell of before.
  bool look_again();
  // The event loop alone, for so long.
  void turn(std::chrono::milliseconds duration);

  throttle::Reading const& reading() const { return probes_.reading(); }
  engine::Probes& probes() { return probes_; }
  // The standby or slot of that name; one with an empty name when there is none.
  throttle::ReplicaReading replica(std::string const& name) const;

 private:
  boost::asio::io_context io_{1};
  boost::asio::thread_pool blocking_{engine::kBlockingThreads};
  engine::Probes probes_;
};

throttle::ReplicaReading find_replica(throttle::Reading const& reading, std::string const& name);

}  // namespace pgbackfill::tests
