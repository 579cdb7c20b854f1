// Writes the past of a job while it runs: a row now and then, outside of batches, and fewer of them with age.
//
// Nothing waits for it and nothing fails by it: where a row cannot be written, the run goes on and it is told once.
// What is in a row is sampler.h's, and which rows become one base/thinning.h's. Thread rule: the engine's one thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <optional>
#include <string>

#include "engine/run/database.h"
#include "engine/run/sampler.h"

namespace pgbackfill::engine {

class KeptPast {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit KeptPast(bool is_on) : is_on_(is_on) {}

  Sampler& sampler() { return sampler_; }
  // A warning for people, the first time that it fails.
  asio::awaitable<std::optional<std::string>> keep_if_due(Session& session, RunPhase phase, TimePoint now);

 private:
  std::optional<std::string> heed(Failure const& failure, TimePoint now);

  bool is_on_;
  Sampler sampler_;
  std::optional<TimePoint> failed_at_;
  bool is_failure_told_ = false;
};

}  // namespace pgbackfill::engine
