// The table that a backfill copies to: which key tells a row that is there already, and its sequences.
//
// Reads only; what moves sequences is a statement for the transaction that completes the job.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/model/migration.h"
#include "planner/model/table_facts.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

struct CopyKey {
  std::vector<std::string> columns;      // of the copy; empty: it has no such key
  std::vector<std::string> sources;      // the columns of the table that they are plain copies of
  std::vector<std::string> types;        // of the copy's columns: SQL
  std::vector<std::string> operators{};  // schema.operator of the index for equal values
};

// A valid unique index of the copy, not deferrable, over columns that cannot be NULL twice, which are plain copies of
// just the columns that the table is paged by. By that a repeat of a row is known, and nothing else is taken for one.
asio::awaitable<Result<CopyKey>> read_copy_key(PgConnection& connection, planner::Backfill backfill,
                                               std::vector<planner::Key> keys);

struct CopySequence {
  std::string oid;
  std::string name;    // quoted, qualified
  std::string column;  // of the copy
  bool is_rising = true;
  bool may_be_set = true;  // by this role
  std::string relation{};  // the copy, quoted and qualified
};

// That belong to a copied column, or that its default draws from.
asio::awaitable<Result<std::vector<CopySequence>>> read_copy_sequences(PgConnection& connection,
                                                                       planner::Backfill backfill);

// One statement for each sequence that is not past the values of its column.
asio::awaitable<Result<std::vector<std::string>>> sequence_moves(PgConnection& connection, planner::Backfill backfill);

}  // namespace pgbackfill::engine
