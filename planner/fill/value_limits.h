// What a check or the bound of a partition allows of one column, as far as it can be read from the server's own text.
//
// Reads lists of constants and comparisons with one constant; anything else says nothing here, and rows show later
// whether they satisfy it. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/fill/table_profile.h"

namespace pgbackfill::planner {

struct ValueLimits {
  std::vector<std::string> allowed;  // these alone; empty: any
  std::optional<double> lowest;      // a number, or seconds since 1970
  std::optional<double> beyond;
};

// Of a check about one column.
ValueLimits limits_of_check(std::string const& definition, ColumnProfile const& column);

// Of FOR VALUES ... of a partition by one column.
ValueLimits limits_of_bound(std::string const& bound, ColumnProfile const& column);

// RANGE (created_at): the column; empty: it is several, or an expression.
std::string column_of_key(std::string const& partition_key);

}  // namespace pgbackfill::planner
