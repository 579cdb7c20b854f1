// A row of overviews(): how far one migration is, as the state tables say.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::engine::state {

struct StoredOverview {
  std::string name;
  std::string file;
  std::optional<std::int64_t> job;  // none: no backfill has begun
  std::string schema;
  std::string table;
  std::string status;
  std::string reason;
  std::string definition;
  std::int64_t pass = 0;
  std::int64_t workers = 0;
  std::int64_t batch_target_ms = 0;
  std::map<std::string, std::string> live;  // settings of the throttle that were set live
  std::int64_t rows_estimated = 0;
  std::int64_t rows_done = 0;    // of the rows that were there at the start
  std::int64_t rows_passed = 0;  // in all passes: what the rate is measured by
  std::int64_t pass_done = 0;
  std::int64_t pass_estimated = 0;
  std::int64_t rows_changed = 0;
  std::int64_t batches = 0;
  std::int64_t ranges_open = 0;
  std::int64_t ranges_total = 0;
  std::int64_t deferred = 0;
  std::int64_t quarantined = 0;
  std::int64_t processes = 0;
  std::string began;
  std::optional<std::string> completed;
  std::optional<std::int64_t> last_batch_ms;
  std::int64_t elapsed_ms = 0;
  std::int64_t expand_done = 0;
  std::int64_t contract_done = 0;
  std::optional<std::string> source;
  std::string paused_until;
  std::int64_t pause_left_ms = 0;
  std::string step_failure;  // of the latest step, unless something was done since
};

// Throws BrokenState for what cannot be there.
StoredOverview stored_overview_of(std::vector<std::optional<std::string>> const& row);

}  // namespace pgbackfill::engine::state
