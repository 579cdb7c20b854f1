#include "engine/state/stored_overview.h"

#include "engine/state/row_fields.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

StoredOverview stored_overview_of(std::vector<std::optional<std::string>> const& row) {
  RowFields fields(row);
  StoredOverview one;
  one.name = fields.text();
  one.file = fields.text();
  one.job = fields.maybe_number();
  one.schema = fields.text();
  one.table = fields.text();
  one.status = fields.text();
  one.reason = fields.text();
  one.definition = fields.text();
  one.pass = fields.number();
  one.workers = fields.number();
  one.batch_target_ms = fields.number();
  one.live = live_settings(fields.maybe_text());
  one.rows_estimated = fields.number();
  one.rows_done = fields.number();
  one.rows_passed = fields.number();
  one.pass_done = fields.number();
  one.pass_estimated = fields.number();
  one.rows_changed = fields.number();
  one.batches = fields.number();
  one.ranges_open = fields.number();
  one.ranges_total = fields.number();
  one.deferred = fields.number();
  one.quarantined = fields.number();
  one.processes = fields.number();
  one.began = fields.text();
  one.completed = fields.maybe_text();
  one.last_batch_ms = fields.maybe_number();
  one.elapsed_ms = fields.number();
  one.expand_done = fields.number();
  one.contract_done = fields.number();
  one.source = fields.maybe_text();
  one.paused_until = fields.text();
  one.pause_left_ms = fields.number();
  one.step_failure = fields.text();
  return one;
}

}  // namespace pgbackfill::engine::state
