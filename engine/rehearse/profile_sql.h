// What a profile asks of the catalog and the statistics, and the rows that come back. Pure text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/fill/table_profile.h"
#include "planner/model/table_name.h"

namespace pgbackfill::engine {

using Oids = std::vector<std::uint32_t>;

// One column: the relations that are there and are tables.
std::string named_oids_sql(std::vector<planner::TableName> const& names);
// Tables that refer to these by a foreign key.
std::string referring_oids_sql(Oids const& tables);
// These, their partitions and parents, and what their foreign keys refer to.
std::string grown_oids_sql(Oids const& tables);

struct TableRow {
  std::uint32_t oid = 0;
  std::string schema;
  std::string name;
  std::string kind;
  std::string parent_schema;
  std::string parent_name;
  std::string partition_bound;
  std::string partition_key;
  std::int64_t rows = 0;
  std::int64_t heap_bytes = 0;
  std::int64_t index_bytes = 0;
  std::int64_t toast_bytes = 0;
  std::int64_t fillfactor = 0;
  std::int64_t dead_rows = 0;
  bool may_read = false;
};
std::string tables_sql(Oids const& tables);

struct ColumnRow {
  std::uint32_t table = 0;
  std::string name;
  std::string type;
  std::string plain;
  bool is_array = false;
  bool is_not_null = false;
  bool is_generated = false;
  std::vector<std::string> labels;
  std::int64_t max_length = 0;
  std::int64_t max_digits = 0;
  bool is_analyzed = false;
  double null_share = 0;
  double width = 0;
  double distinct = 0;
  double correlation = 0;
  double elements = 0;
  std::vector<std::string> common_shares;
  std::vector<std::string> common_values;
  std::vector<std::string> bounds;
};
std::string columns_of_tables_sql(Oids const& tables);

struct KeyRow {
  std::uint32_t table = 0;
  std::vector<std::string> columns;
};
std::string unique_keys_sql(Oids const& tables);

struct ForeignKeyRow {
  std::uint32_t table = 0;
  std::string name;
  std::vector<std::string> columns;
  std::string parent_schema;
  std::string parent_name;
  std::vector<std::string> parent_columns;
};
std::string foreign_keys_sql(Oids const& tables);

struct CheckRow {
  std::uint32_t table = 0;
  std::string name;
  std::string definition;
  std::vector<std::string> columns;
};
std::string checks_sql(Oids const& tables);

struct WritesRow {
  std::uint32_t table = 0;
  std::int64_t inserted = 0;
  std::int64_t updated = 0;
  std::int64_t deleted = 0;
};
std::string writes_sql(Oids const& tables);

struct SettingRow {
  std::string name;
  std::string value;
};
std::string profiled_settings_sql();

// Of the columns whose values have no fixed length, one row each: tenths of their lengths, and how much of that is
// stored, from at most so many rows of a block sample.
struct WidthRow {
  std::string column;
  std::vector<std::string> widths;
  double stored_share = 1;
};
std::string widths_sql(planner::TableProfile const& table);

}  // namespace pgbackfill::engine
