// What the SQL of a backfill names, read from its syntax tree: functions, columns, and what a statement assigns.
//
// Pure; the server is not asked, so that names are as written and may mean one thing or another. SQL that the parser
// does not know (a later version's) has `is_read` false and says nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/model/table_name.h"

namespace pgbackfill::planner {

struct AssignedColumn {
  TableName relation;
  std::string column;
};

struct RelationUse {
  TableName relation;
  std::string alias;
  bool is_only = false;
};

struct ColumnUse {
  std::string table;             // as written before the name: a table or an alias; empty: nothing is
  std::string name;              // of a whole row the one of its table
  std::vector<TableName> scope;  // tables of the subquery that it stands in, and of those around it
};

struct SqlFacts {
  bool is_read = false;
  std::vector<TableName> functions;  // called by name; the schema is empty where none is written
  std::vector<TableName> operators;
  std::vector<TableName> fields;  // name of x.name, which is a column or a function of the row
  bool is_one_column = false;     // of expressions: there is one, and it is no more than a column
  std::vector<ColumnUse> columns;
  bool has_schema_in_column = false;  // schema.table.column
  bool takes_all_columns = false;     // x.*
  bool reads_clock = false;           // CURRENT_TIMESTAMP and its like, 'now'::timestamptz
  std::string reads_writer;           // session_user, pg_backend_pid() and their like: another for each session
  std::vector<AssignedColumn> assigned;
  std::vector<RelationUse> relations;  // of UPDATE, DELETE, FROM, USING: all that are named
  std::string updated_alias;           // of an UPDATE that is no part of WITH
};

// Several expressions are read as one.
SqlFacts facts_of_expressions(std::vector<std::string> const& expressions);
SqlFacts facts_of_statement(std::string const& sql);

// An expression as PostgreSQL spells it (pg_get_viewdef, pg_get_expr) while search_path is pg_catalog, pg_temp: names
// without a schema mean pg_catalog there, and get it written, so that they mean the same under any other search_path.
// IS DISTINCT FROM, NULLIF, IN and CASE x WHEN have no place for a schema and stay. Nothing: the parser does not know
// the SQL.
std::optional<std::string> with_catalog_schema(std::string const& expression);

// Of an UPDATE or DELETE, or of a query in WITH that changes rows: its table, if nothing joins it to the table that
// stands as `alias` in a condition alias.pgbackfill_batch, so that each batch would change all its rows. Nothing where
// that cannot be seen.
std::optional<std::string> unjoined_table(std::string const& sql, std::string const& alias);

// Whether a query of its WITH changes rows: the server takes such a statement by itself alone, not as a part of
// another.
bool changes_in_with(std::string const& sql);

// What a statement computes over several rows of a batch at once. Where a batch ends is for the throttle to say, so
// that this would come out otherwise with each size of a batch.
struct Gathering {
  std::string clause;                // what gathers, for people; empty: none that the text alone tells
  std::vector<TableName> functions;  // called where aggregates would gather all rows of the batch
};

// Of a statement in which the table that stands as `alias` is bounded by the condition alias.pgbackfill_batch: what
// gathers rows of that table, in a subquery or a WITH query, other than by each value of its key.
Gathering gathering_of(std::string const& sql, std::string const& alias, std::vector<std::string> const& key_columns);

// An UPDATE of another table, joined to the one of the batch, that computes a column from its own value: a row that
// several rows join would be changed once by one statement, and once by each batch that has one of them.
struct RepeatedChange {
  std::string column;
  std::vector<std::string> joined_by;  // columns of the batch's table of which each changed row fixes the value
};

// Of a statement in which the table that stands as `alias` is the batch's.
std::optional<RepeatedChange> repeated_change(std::string const& sql, std::string const& alias);

// The name of the column that stands for {batch} in unjoined_table() and gathering_of().
inline constexpr char kBatchColumn[] = "pgbackfill_batch";

}  // namespace pgbackfill::planner
