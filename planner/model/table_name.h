// Table names as people paste them from SQL.
//
// Reads by PostgreSQL's rules: a part without quotes is folded to lower case (ASCII letters only), a part in double
// quotes is taken literally, with "" for a quote. Never truncates a long name. Pure function, safe from any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace pgbackfill::planner {

// A table as the file names it. An empty schema means: found through search_path.
struct TableName {
  std::string schema;
  std::string name;

  bool operator==(TableName const&) const = default;
};

// For people: public.users. Not SQL, which is quote_qualified()'s.
std::string shown(TableName const& table);

// What PostgreSQL keeps of an identifier, in bytes (NAMEDATALEN - 1).
inline constexpr std::size_t kMaxIdentifierBytes = 63;

struct ParsedTableName {
  TableName table;
  std::string problem;  // empty if `table` is good
};

// "users", "public.users", "\"My.Schema\".\"odd name\"".
ParsedTableName parse_table_name(std::string_view text);

// True for a word that SQL reads as an identifier without quotes, whatever its case.
bool is_plain_identifier(std::string_view text);

}  // namespace pgbackfill::planner
