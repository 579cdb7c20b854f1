// The values that a batch is made of: what is asked of the database, and what comes back.
//
// Pure values, shared by the walk over a range (planner), the session that runs batches (engine) and the simulation.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "planner/model/key.h"
#include "planner/model/trouble.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::planner {

// A range as its holder knows it. The database lets a batch commit only while epoch, sequence and cursor agree with
// what it has itself.
struct Lease {
  std::int64_t range_id = 0;
  int leaf = 0;
  int pass = 0;
  std::int64_t epoch = 0;
  std::int64_t sequence = 0;
  Bound cursor;  // everything up to here is done; absent: nothing yet
  Bound hi;      // absent: to the end of the table

  bool operator==(Lease const&) const = default;
};

// The next keys after a cursor. Without `last` the page is all that is left of the range.
struct Page {
  std::int64_t rows = 0;
  Bound last;
};

// What happens to the keys of a batch that changes nothing.
enum class SetAside { kNothing, kDefer, kQuarantine };

struct BatchRequest {
  Lease lease;
  Interval interval;  // (cursor, boundary]
  bool ends_range = false;
  std::int64_t rows = 0;  // keys on the page, for counting progress
  BatchMode mode = BatchMode::kPlain;
  SetAside set_aside = SetAside::kNothing;
  std::string sqlstate;  // why the row is quarantined
  std::string message;
  std::int64_t look_ahead_rows = 0;
  std::chrono::milliseconds statement_timeout{0};
  std::chrono::milliseconds lock_timeout{0};
};

struct BatchDone {
  std::int64_t rows_changed = 0;
  std::int64_t rows_left = 0;  // deferred, or skipped when paging by block
  std::optional<Page> next;    // absent: nobody looked
  // The batch was ended before its boundary, at this key; absent: it was not.
  Bound reached{};
  std::chrono::microseconds duration{0};
};

struct Failure {
  Trouble trouble = Trouble::kFatal;
  std::string sqlstate;
  std::string message;  // with DETAIL and HINT of the server, if any
  std::chrono::milliseconds elapsed{0};
};

}  // namespace pgbackfill::planner
