// What the server says of the work of a backfill: what it reads beside its own row, and what it changes.
//
// Reads only: plans of the work are explained, never run, and names in its text are looked up.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/model/sql_facts.h"
#include "planner/model/table_facts.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

// Of the statement of `sql:`; of other work, all its expressions and its condition.
planner::SqlFacts sql_facts_of(planner::WorkTarget const& target);

struct WorkFacts {
  planner::SqlFacts sql;
  // Qualified names of relations that are read beside the batch's own rows, and functions (with "()") that are neither
  // IMMUTABLE nor of pg_catalog, since they may read any.
  std::vector<std::string> other_relations;
  // Quoted names of tables that are changed and of which other rows are read.
  std::vector<std::string> changed_and_read;
  // A copy goes to the table that it reads, or to a partition of it, perhaps through a view.
  bool writes_its_source = false;
  // Of an update: asked again of the same row in the same state of the database, each expression gives the same value,
  // and none starts from what another one, or it itself, has assigned.
  bool is_repeatable = false;
};

// What in the expression may give another value each time it is asked: a function, with its schema and "()", or the
// clock; empty: nothing.
asio::awaitable<Result<std::string>> changing_call(PgConnection& connection, std::string expression);

// Functions among those in the SQL whose code writes rows: "\"public\".\"tag_id\"(), which writes tags". Of a code that
// cannot be read, or that calls others, nothing is known.
asio::awaitable<Result<std::vector<std::string>>> writing_calls(PgConnection& connection, planner::SqlFacts sql);

// Expects texts that the server has accepted.
asio::awaitable<Result<WorkFacts>> read_work_facts(PgConnection& connection, planner::WorkTarget target,
                                                   planner::TableFacts table);

}  // namespace pgbackfill::engine
