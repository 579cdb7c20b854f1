// What is computed once, before the batches, and read by them: the entries of `prepare:`.
//
// Pure values and text. While the job runs, each is an unlogged table in schema pgbackfill, with a unique index over
// its key. {prepare:name} in the SQL of the backfill is its query, between parentheses, wherever there is no such
// table: in plans, in a dry run, at the gate. A run puts the name of the table in that place. What is recorded of the
// table is its comment, which goes with it and outlives a crash of the server; its rows do not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/migration.h"
#include "planner/model/source_position.h"
#include "planner/work/listed_rows.h"

namespace pgbackfill::planner {

// Where rows come from that no query gives.
struct FromFile {
  SourcePosition position;
  std::string csv;  // as the migration file names it
  std::vector<ListedColumn> columns;
};

struct Prepared {
  SourcePosition position;
  std::string name;
  std::string query;  // SQL
  SourcePosition query_position;
  std::vector<std::string> key;  // its columns; there is one row for each value
  SourcePosition key_position;
  std::optional<FromFile> from;
  // Of a file: its rows are the same in each pass.
  bool is_of_file() const { return from || name == kOnlyKeysName; }
};

inline constexpr std::size_t kMaxPrepared = 20;
inline constexpr std::size_t kMaxPreparedName = 30;

// Its rows are gone: the server crashed, or another one took over.
inline constexpr char kPreparedLostState[] = "BF009";

// (/* prepare: name */ SELECT ...)
std::string in_place_of(Prepared const& prepared);

// pgbackfill."prepared_..."
std::string table_of(Prepared const& prepared, std::string_view migration);

// The backfill, whose SQL reads one result, with this in the place of that.
Backfill with_query(Backfill backfill, Prepared const& before, Prepared const& after);
// The keys of a job, once it is known of which columns they are: columns of columns_of_key().
Prepared prepared_keys(std::vector<ListedColumn> const& columns, ListedRows const& rows);

// The backfill that reads the tables.
Backfill with_tables(Backfill backfill, std::vector<Prepared> const& prepared, std::string_view migration);

// What is recorded of a table.
struct PreparedRecord {
  std::string migration;
  std::string name;
  std::string definition;  // query and key
  std::int64_t rows = 0;
  int pass = 0;  // the first one that it is for
};

std::string definition_of(Prepared const& prepared);
// The comment, which SQL makes of this and of the time by the server's clock.
std::string record_sql(Prepared const& prepared, PreparedRecord const& record);
// Of one table: NULL, or migration, name, definition, rows, pass as columns.
std::string read_record_sql(Prepared const& prepared, std::string_view migration);

// To be explained: whether the query has the columns of the key.
std::string key_probe_sql(Prepared const& prepared);

// Statements that make the table, beside the one that is there; the first is the file's SQL.
struct PreparedStatements {
  std::string create;  // says how many rows there are
  std::vector<std::string> finish;
};
PreparedStatements make_prepared(Prepared const& prepared, std::string_view migration);
std::string drop_prepared(Prepared const& prepared, std::string_view migration);

// Waits for whoever computes the results of this migration.
std::string lock_prepared_sql(std::string_view migration);
// Whether the table has a row.
std::string has_rows_sql(Prepared const& prepared, std::string_view migration);
// In the transaction of a batch: fails with kPreparedLostState when one of these tables has no row. Empty: there is
// none to be looked at.
std::string prepared_guard_sql(std::vector<std::string> const& tables);

// Of a whole state: migration, name, rows, seconds since it was computed, pass, bytes.
std::string list_prepared_sql(std::string_view migration);

}  // namespace pgbackfill::planner
