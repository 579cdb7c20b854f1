// How the tables of a profile are filled with made-up rows: which get how many, and the SQL that makes them.
//
// Every value is a function of its row's number, so that several sessions fill a table at once, keys are unique, and
// what refers to a key meets it. A table is filled before its indexes, constraints and triggers are made. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "planner/fill/table_profile.h"

namespace pgbackfill::planner {

struct FillTerms {
  double scale = 1;  // of the rows of every table
  double now = 0;    // seconds since 1970
  // SQL for a column, over `n`, the number of the row from 0: by schema.table.column.
  std::map<std::string, std::string> given;
};

struct TableFill {
  TableName table;
  std::int64_t rows = 0;
  std::string columns;  // SQL; empty: all are the server's
  std::string values;   // SQL, over n
};

struct FillPlan {
  std::vector<TableFill> tables;
  std::vector<std::string> refused;  // what cannot be made
  std::vector<std::string> notes;    // what is made otherwise than it is
};

FillPlan plan_fill(std::vector<TableProfile> const& tables, FillTerms const& terms);

// Rows `first` to `beyond - 1`.
std::string insert_sql(TableFill const& fill, std::int64_t first, std::int64_t beyond);

// At most `most` rows from all over the table.
std::string trial_sql(TableFill const& fill, std::int64_t most);

// What applications do to a table, paced.
enum class TrafficKind { kRead, kUpdate, kInsert };
struct TrafficStatement {
  TrafficKind kind = TrafficKind::kRead;
  TableName table;
  std::string sql;  // over {n}, the number of a row
  std::int64_t rows = 0;
  double per_second = 0;
};

// Writes as often as the profile saw them, and some reads to each; of tables whose rows can be found by a key.
std::vector<TrafficStatement> plan_traffic(std::vector<TableProfile> const& tables, FillTerms const& terms);

std::string traffic_sql(TrafficStatement const& statement, std::int64_t number);

// schema.table.column, as people write it.
std::string shown_column(TableName const& table, std::string const& column);

}  // namespace pgbackfill::planner
