// Applications beside a rehearsal: paced statements on connections and a thread of their own, and how long each took.
//
// A statement is due whether or not the ones before it have ended, and its latency counts from when it was due, so that
// a stall shows in all that waited for it. What fails is counted; nothing that goes wrong ends the rehearsal.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/view/rehearsal_report.h"
#include "planner/fill/fill_plan.h"

namespace pgbackfill::engine {

// What one machine can do beside the migration; more would measure the machine.
inline constexpr double kMostTraffic = 400;  // statements a second

class Traffic {
 public:
  // Begins at once.
  Traffic(std::string conninfo, std::vector<planner::TrafficStatement> statements);
  ~Traffic();
  Traffic(Traffic const&) = delete;
  Traffic& operator=(Traffic const&) = delete;

  // What is due from now on belongs to this part: "before", "during", "after".
  void begin_part(std::string const& name);
  // Of each part, in their order; the first call ends it.
  std::vector<TrafficPart> stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace pgbackfill::engine
