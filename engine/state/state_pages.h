// What the pages of a migration read beside what `report` does: ranges, rows that are deferred or set aside, and the
// hash of a plan that somebody is about to approve.
//
// Pure text, and the structs of its rows for rows_as().
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace pgbackfill::engine::state {

struct RangeRow {
  static constexpr char kFrom[] = "pgbackfill.ranges";

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

struct QuarantineRow {
  static constexpr char kFrom[] = "pgbackfill.quarantine";

  std::int64_t id = 0;
  std::string table;
  std::string sqlstate;
  std::string at;
  std::string key;      // as the server prints a text[]
  std::string message;  // may hold values of the row
};
std::string list_quarantine(std::string const& migration, std::int64_t limit);

struct DeferredRows {  // of one table
  static constexpr char kFrom[] = "pgbackfill.deferred";

  std::string table;
  std::int64_t rows = 0;
  std::string since;  // of the one that waits longest
  std::int64_t visits = 0;
};
std::string deferred_by_table(std::string const& migration);

// One row: the hash that an approval of this plan has.
std::string plan_hash(std::string const& plan);

}  // namespace pgbackfill::engine::state
