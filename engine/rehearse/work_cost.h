// What `plan` says of the work, and what a batch of it costs: the median of some, since one alone may meet a cold page
// or a busy moment. Throws CommandError. Changes nothing: batches are rolled back.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>

#include "engine/process/command_context.h"
#include "engine/rehearse/profile.h"
#include "engine/view/plan_report.h"

namespace pgbackfill::engine {

struct WorkCost {
  PlanReport plan;
  std::optional<BatchCost> batch;
  // Of the table's rows, those that the server expects `where` to hold for; nothing where it cannot say.
  std::optional<double> matching_share;
};

asio::awaitable<WorkCost> measure_work(PgConnection& connection, LoadedMigration loaded, bool with_sample);

}  // namespace pgbackfill::engine
