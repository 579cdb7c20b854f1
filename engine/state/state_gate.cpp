// What was measured of each migration's gate, for those who cannot measure it themselves.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

std::string record_gate(std::string const& migration, bool has_backfill, std::vector<std::string> const& reasons,
                        std::chrono::milliseconds age) {
  return fmt::format(
      "INSERT INTO pgbackfill.gate_readings (migration, is_open, has_backfill, reasons, measured_at) VALUES ({}, {}, "
      "{}, {}, clock_timestamp() - {}) ON CONFLICT (migration) DO UPDATE SET is_open = excluded.is_open, has_backfill "
      "= excluded.has_backfill, reasons = excluded.reasons, measured_at = excluded.measured_at, measured_by = "
      "session_user",
      quote_literal(migration), reasons.empty(), has_backfill, planner::text_array(reasons), interval_text(age));
}

}  // namespace pgbackfill::engine::state
