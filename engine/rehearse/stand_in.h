// Builds the stand-in of production: the schema of a profile on an empty server, and made-up rows in it.
//
// Rows are made before indexes, constraints and triggers. Before that, some rows of every table are tried and taken
// back, so that what cannot be made is said before the long part begins. Throws CommandError. Belongs to the engine's
// thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/process/command_context.h"
#include "engine/rehearse/profile.h"
#include "planner/fill/fill_plan.h"

namespace pgbackfill::engine {

struct StandInTerms {
  int sessions = 2;
  std::function<void(std::string const&)> tell;  // what is being done, for people; may be empty
};

struct StandIn {
  std::int64_t rows = 0;
  std::chrono::milliseconds fill_time{0};
  std::chrono::milliseconds build_time{0};  // all of it
  std::vector<std::string> notes;           // what is otherwise than in production
};

asio::awaitable<StandIn> build_stand_in(CommandContext& context, Profile const& profile, planner::FillPlan plan,
                                        StandInTerms terms);

}  // namespace pgbackfill::engine
