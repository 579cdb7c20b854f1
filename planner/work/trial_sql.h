// The SQL of a first slice: what shows how rows are before the work and behind it, in one transaction, and what keeps
// a batch to a number of rows.
//
// Pure text. The statements run under the settings of the file, as the work between them does
// (planner/work/work_sql.h), so that the text of a key is the same in both; what is ours in them names its schemas.
// What the first reads stays in a setting of the transaction, so that no right to make temporary tables is needed.
#pragma once

#include <cstdint>
#include <string>

#include "planner/model/key.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::planner {

inline constexpr int kMostRowsWatched = 100;

// Whether rows of the table itself may be others behind the work: not of a copy.
bool changes_its_rows(WorkTarget const& target);

// Keeps the first rows of the interval that the work is about.
std::string watch_rows_sql(WorkTarget const& target, Interval const& interval);

// Of those that are others now, at most `most`: key, and the columns that differ as JSON before and behind; the last is
// NULL where the row is gone.
std::string changed_rows_sql(WorkTarget const& target, Interval const& interval, int most);

// Of a copy: key, NULL, and what is written of the row, as JSON.
std::string copied_rows_sql(WorkTarget const& target, Interval const& interval, int most);

// Behind the work of a batch: fails with this SQLSTATE when it has changed more rows. Ours.
std::string unless_too_many(std::int64_t rows, std::string const& sqlstate);

}  // namespace pgbackfill::planner
