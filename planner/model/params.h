// Parameters of a migration file: what `params:` declares, and the values that a job is given.
//
// Pure values and text. Each set of values makes a migration of its own, whose name says them: orders[from=1,to=5000].
// So all that is kept of it is kept apart, and its name alone tells what its file was given. A value is read by a
// grammar of its type that no setting of a session changes, is written in one way only, and stands in SQL as a typed
// constant. So there is no 'today' that is another day in each batch.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "planner/model/source_position.h"

namespace pgbackfill::planner {

enum class ParamType {
  kSmallint,
  kInteger,
  kBigint,
  kNumeric,
  kBoolean,
  kText,
  kUuid,
  kDate,
  kTimestamp,
  kTimestamptz,
};

inline constexpr std::array<std::string_view, 10> kParamTypeWords{
    "smallint", "integer", "bigint", "numeric", "boolean", "text", "uuid", "date", "timestamp", "timestamptz"};
std::string_view word_of(ParamType type);

// Name and value, as somebody gives them or as they are kept.
struct ParamText {
  std::string name;
  std::string text;

  bool operator==(ParamText const&) const = default;
};

// What a file is given, from outside of it.
struct GivenParams {
  std::vector<ParamText> values;
  // Whoever only reads the file needs no values: what has none is NULL, and the migration has its own name.
  bool may_lack = false;
  // Which rows of the table alone, see planner/work/listed_rows.h; empty: all.
  std::string only_keys{};
};

struct Param {
  SourcePosition position;
  std::string name;
  ParamType type = ParamType::kText;
  std::optional<std::string> value;  // in the one way that its type is written; absent: see may_lack
  bool is_default = false;
};

inline constexpr std::size_t kMaxParams = 20;
inline constexpr std::size_t kMaxParamName = 40;
// Of a job with values in it: it stands in tables, logs and metrics.
inline constexpr std::size_t kMaxNameWithParams = 200;

bool is_param_name(std::string_view name);

struct WrongValue {
  std::string text;  // "is no date; write 2026-01-31"
};
// The value as it is kept and written, the same for all texts that mean the same.
std::variant<std::string, WrongValue> read_param(ParamType type, std::string_view text);

// pg_catalog.int8
std::string sql_of(ParamType type);
// ('5000'::pg_catalog.int8)
std::string sql_of(Param const& param);

// orders[from=1,to=5000]; without values the name alone. What is no letter, digit or one of _-.:+ is %XX. Of a job of
// some keys: orders[from=1,only-keys=120:5a0c...], which no parameter can be called.
std::string name_with(std::string_view base, std::vector<ParamText> values, std::string const& only_keys = "");
struct NameWithParams {
  std::string base;
  std::vector<ParamText> values;
  std::string only_keys{};
};
// The way back; of a name without values there are none.
NameWithParams parts_of_name(std::string_view name);
// What the file of this name was given.
GivenParams given_of_name(std::string_view name);

// from=1 as on a command line; nothing without a name and a '='.
std::optional<ParamText> param_of_argument(std::string_view argument);

// What stands behind `pgbackfill run` to come to this name: "orders.yaml --param from=1", quoted for a shell. Which
// file a job of some keys was given, the name does not say.
std::string arguments_of(std::string_view file, std::string_view name);

// A variable of the environment that SQL of the file names as ${NAME}.
struct EnvironmentName {
  SourcePosition position;  // where it is named first
  std::string name;
};

// The setting of a transaction that holds its value, so that no statement has it in its text.
std::string setting_of_variable(std::string_view name);
std::string sql_of_variable(std::string_view name);
// The names of those that a statement reads so.
std::vector<std::string> variables_in_sql(std::string_view sql);

}  // namespace pgbackfill::planner
