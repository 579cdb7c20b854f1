// A check of `verify:`: what has to hold before contract, the query that asks, and what its answer means.
//
// Pure values and text. Names are data and quoted; `zero`, `where` and the expressions of `agrees` are SQL and kept
// byte for byte. An answer that is not exactly what the query gives when all is well is a failure, never a pass.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "planner/model/assignment.h"
#include "planner/model/source_position.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner {

// A query that gives 0.
struct ZeroCheck {
  std::string sql;
};

// As many rows as another table has.
struct RowCountCheck {
  TableName table;
  TableName same_as;
  std::string where;  // SQL, of `table` alone; empty: all rows
};

// As a foreign key without it: a row with a NULL in its columns refers to nothing.
struct NoOrphansCheck {
  TableName table;
  std::vector<std::string> columns;
  TableName references;
  std::vector<std::string> to;
  std::vector<std::string> equalities{};  // schema.operator of each pair, as equalities_sql() found it
  bool is_of_table_alone = false;         // without tables that inherit from it, as a foreign key is
};

// As a unique index: NULL is like nothing else.
struct NoDuplicatesCheck {
  TableName table;
  std::vector<std::string> columns;
  std::string where;  // SQL; empty: all rows
};

// Every constraint is validated and every index valid, of the table and its partitions.
struct ConstraintsValidCheck {
  TableName table;
};

// Each column is what the expression over the other ones gives, or what the program of the backfill says of the row.
struct AgreesCheck {
  TableName table;
  std::vector<Assignment> set;  // empty: the program is asked
  std::string where;            // SQL; empty: all rows
  SourcePosition where_position;
  // Of the program: how many rows it is asked about, spread over the table; absent: all of them.
  std::optional<std::int64_t> sample{};
  // The check comes from the state of the database, which others may write to: no program is started for it.
  bool is_stored = false;

  bool asks_program() const { return set.empty(); }
};

struct Check {
  SourcePosition position;
  std::variant<ZeroCheck, RowCountCheck, NoOrphansCheck, NoDuplicatesCheck, ConstraintsValidCheck, AgreesCheck> kind;
  std::chrono::milliseconds timeout{60'000};  // of each of its statements
};

inline constexpr std::size_t kMaxChecks = 100;

// The check in one line, for people.
std::string check_text(Check const& check);

// The query. Empty for `agrees`, which is counted range by range.
std::string check_sql(Check const& check);

// Ours, of the catalog: one row for each pair of columns of `no_orphans`, with the operator that compares them; NULL:
// PostgreSQL's own. Empty for the other checks. What `=` means is else a question of the file's search_path.
std::string equalities_sql(Check const& check);

using CheckAnswer = std::vector<std::vector<std::optional<std::string>>>;

struct CheckVerdict {
  bool holds = false;
  std::string text;  // what was found
};
CheckVerdict judge(Check const& check, CheckAnswer const& answer);

}  // namespace pgbackfill::planner
