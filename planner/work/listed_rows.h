// Rows that a CSV file lists: values for the batches to read, or the keys of the rows that alone are to be worked.
//
// Pure values and text. They go to the server as one parameter, a JSON text in a setting of the transaction, as
// variables of the environment do (planner/model/params.h): no statement has them in its text. The setting is named by
// what it holds, so that a file with other rows is another definition.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "planner/model/csv.h"
#include "planner/model/key.h"
#include "planner/model/params.h"
#include "planner/model/source_position.h"

namespace pgbackfill::planner {

struct ListedColumn {
  std::string name;
  ParamType type = ParamType::kText;
  std::string sql_type{};   // SQL; empty: that of `type`
  std::string collation{};  // SQL; empty: that of the type
};

// What is expected of a file.
struct ListedTerms {
  std::string file;
  std::vector<ListedColumn> columns;
  bool has_header = false;       // its first line names its columns, in any order, and may name others
  std::vector<std::string> key;  // never NULL
  bool is_unique = false;        // and each value of the key is there once
};

struct ListedRows {
  std::int64_t count = 0;
  std::string json;      // [{"id":"1"},...]
  std::string variable;  // of what it is the value; see sql_of_variable()
};
std::variant<ListedRows, std::vector<Problem>> read_listed_rows(CsvFile const& file, ListedTerms const& terms);

// What a query stands for while nobody has read the file.
inline constexpr char kUnreadFile[] = "file_unread";

// Gives the rows of the variable. `distinct`: each once.
std::string listed_rows_sql(std::vector<ListedColumn> const& columns, std::string const& variable, bool distinct);

// A job of the rows with these keys alone.
struct OnlyKeys {
  std::string file;
  CsvFile keys;
  std::string identity;  // "120:5a0c...": how many there are, and which; the same in any order
};
OnlyKeys only_keys_of(CsvFile keys, std::string file);

// Under which name the table of the keys is kept among results of `prepare`.
inline constexpr char kOnlyKeysName[] = "only-keys";

// The columns of such a file, or why keys of this kind cannot be listed in one.
std::variant<std::vector<ListedColumn>, std::string> columns_of_key(Key const& key);

}  // namespace pgbackfill::planner
