// What a profile knows of a table: its size, its keys, and how the values of each column are distributed.
//
// Pure values: engine/rehearse/profile_reader.h reads them from a server, fill_plan.h makes rows by them. Names are
// plain text, unquoted; types are SQL. Shares are of all rows, from 0 to 1.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/model/table_name.h"

namespace pgbackfill::planner {

// Tenths of the lengths of a column's values, from the shortest to the longest.
inline constexpr std::size_t kWidthTenths = 11;

struct ColumnProfile {
  std::string name;
  std::string type;   // as the column is declared: character varying(20), public.mood
  std::string plain;  // what it is below domains, and what the elements of an array are: int8, text, enum
  bool is_array = false;
  bool is_not_null = false;
  bool is_generated = false;  // the server computes it
  std::vector<std::string> labels;
  std::int64_t max_length = 0;  // of a text; 0: none
  std::int64_t max_digits = 0;  // of a numeric, before the point; 0: none
  bool is_analyzed = false;
  double null_share = 0;
  double width = 0;        // bytes, on average
  double distinct = 0;     // as pg_stats has it: negative is a share of the rows
  double correlation = 0;  // of the order of values with that of rows
  double elements = 0;     // of an array, on average
  std::vector<double> common_shares;
  std::vector<std::string> common_values;  // empty: not kept
  std::vector<std::string> bounds;         // of a histogram of the other values; empty: not kept
  // What stands for values that are not kept.
  std::int64_t digits = 0;    // of numbers, before the point
  std::int64_t decimals = 0;  // and behind it
  bool has_negative = false;
  double span_days = 0;              // from the first to the last moment
  double age_days = 0;               // of the last one; negative: to come
  std::vector<std::int64_t> widths;  // kWidthTenths of them, or none
  double stored_share = 1;           // of a value's bytes, once it is compressed
};

struct ForeignKeyProfile {
  std::string name;
  std::vector<std::string> columns;
  TableName parent;
  std::vector<std::string> parent_columns;
};

struct CheckProfile {
  std::string name;
  std::string definition;  // pg_get_constraintdef
  std::vector<std::string> columns;
};

struct TableProfile {
  TableName table;
  std::string kind;             // of pg_class: r, or p for a table that is partitioned
  TableName parent;             // of a partition
  std::string partition_bound;  // FOR VALUES ...
  std::string partition_key;    // RANGE (created_at); of a partitioned table
  bool is_touched = false;      // by the migration; else it is there for foreign keys
  std::int64_t rows = 0;
  std::int64_t heap_bytes = 0;
  std::int64_t index_bytes = 0;
  std::int64_t toast_bytes = 0;
  std::int64_t fillfactor = 100;
  std::int64_t dead_rows = 0;
  double inserts_per_second = 0;
  double updates_per_second = 0;
  double deletes_per_second = 0;
  std::vector<ColumnProfile> columns;
  std::vector<std::vector<std::string>> unique_keys;  // columns of each
  std::vector<ForeignKeyProfile> foreign_keys;
  std::vector<CheckProfile> checks;
};

// The same without any value of a row: with --values none. Labels of enums and truth values stay, being the schema's.
TableProfile without_values(TableProfile table);

// Sets what stands for values that are not kept, from the values that are. `taken_at`: seconds since 1970.
void measure_values(ColumnProfile& column, double taken_at);

// Of a date or a timestamp as PostgreSQL writes it in ISO form: seconds since 1970 in UTC; false: it is none.
bool seconds_of(std::string const& text, double& seconds);

}  // namespace pgbackfill::planner
