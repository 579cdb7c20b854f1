// Approvals of contract steps: reading the latest one, and refusing what nobody agreed to.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/pg_connection.h"
#include "engine/state_store.h"
#include "planner/step_order.h"

namespace pgbackfill::engine {

struct Approval {
  bool holds = false;  // it is of the plan that was asked about
  std::string plan;
  std::string plan_hash;
  std::string reason;
  std::string who;  // "role (user@host)"
  std::string at;   // UTC
};

// The latest approval of a migration, seen from the plan that its steps have now.
asio::awaitable<Result<std::optional<Approval>>> read_approval(PgConnection& connection, std::string migration,
                                                               std::string plan);

// Of steps that need somebody's agreement and are not recorded as done: "contract step 2: why", one each.
asio::awaitable<std::vector<std::string>> destructive_steps(PgConnection& connection, std::string migration,
                                                            std::vector<planner::PlacedStep> steps);

// Throws CommandError with exit code 3 unless each step that needs agreement has it, from `yes` or an approval. Whose
// it was is recorded.
asio::awaitable<void> require_agreement(PgConnection& connection, std::string migration,
                                        std::vector<planner::PlacedStep> steps, bool yes, Owner owner);

// "by role (user@host) at ..., reason", for people.
std::string approval_text(Approval const& approval);

}  // namespace pgbackfill::engine
