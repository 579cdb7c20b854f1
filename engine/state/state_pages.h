// What the pages of a migration read beside what `report` does: ranges, rows that are deferred or set aside, and the
// hash of a plan that somebody is about to approve.
//
// Pure text, and the decoding of its rows, as in state_store.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::engine::state {

struct RangeRow {
  std::int64_t leaf = 0;
  std::string table;
  std::int64_t range = 0;
  std::optional<std::string> lo;  // as the server prints a text[]; none: the beginning
  std::optional<std::string> hi;
  std::int64_t rows_estimated = 0;
  std::int64_t rows_done = 0;
  bool is_done = false;
  bool is_held = false;  // by a lease that has not run out
  std::string host;
  std::int64_t pid = 0;
};
// Of the pass that is worked on, by leaf and range.
std::string list_ranges(std::string const& migration, std::int64_t limit);
RangeRow range_row_of(std::vector<std::optional<std::string>> const& row);

struct QuarantineRow {
  std::int64_t id = 0;
  std::string table;
  std::string sqlstate;
  std::string at;
  std::string key;      // as the server prints a text[]
  std::string message;  // may hold values of the row
};
std::string list_quarantine(std::string const& migration, std::int64_t limit);
QuarantineRow quarantine_row_of(std::vector<std::optional<std::string>> const& row);

struct DeferredRows {  // of one table
  std::string table;
  std::int64_t rows = 0;
  std::string since;  // of the one that waits longest
  std::int64_t visits = 0;
};
std::string deferred_by_table(std::string const& migration);
DeferredRows deferred_rows_of(std::vector<std::optional<std::string>> const& row);

// One row: the hash that an approval of this plan has.
std::string plan_hash(std::string const& plan);

}  // namespace pgbackfill::engine::state
