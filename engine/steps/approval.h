// Approvals of contract steps: reading the latest one, and refusing what nobody agreed to.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/approval.h"
#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"
#include "engine/state/state_store.h"
#include "planner/model/migration.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

// The latest approval of a migration, seen from the plan that its steps have now.
asio::awaitable<Result<std::optional<Approval>>> read_approval(PgConnection& connection, std::string migration,
                                                               std::string plan);

// Of steps that need somebody's agreement and are not recorded as done: "contract step 2: why", one each.
asio::awaitable<std::vector<std::string>> destructive_steps(PgConnection& connection, std::string migration,
                                                            std::vector<planner::PlacedStep> steps);

// What `complete` would take away, as text: the steps, and of those that are open what goes with them.
asio::awaitable<Result<std::string>> read_contract_plan(PgConnection& connection, planner::Migration migration);

// Throws CommandError with exit code 3 unless each step that needs agreement has it, from `yes` or an approval. Whose
// it was is recorded.
asio::awaitable<void> require_agreement(PgConnection& connection, std::string migration,
                                        std::vector<planner::PlacedStep> steps, std::vector<std::string> companions,
                                        bool yes, Owner owner);

}  // namespace pgbackfill::engine
