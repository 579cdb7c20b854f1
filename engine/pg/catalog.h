// Reads the catalog into planner facts. Only ever reads; every query is bounded by the caller's timeouts.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/checks/drift.h"
#include "planner/model/migration.h"
#include "planner/model/table_facts.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

// One statement in a transaction that the server holds read-only.
asio::awaitable<Result<Rows>> query_read_only(PgConnection& connection, Statement statement);

// The rows of the last one; all in one transaction that the server holds read-only and cuts short after `timeout`.
asio::awaitable<Result<Rows>> read_only(PgConnection& connection, std::vector<Statement> statements,
                                        std::chrono::milliseconds timeout);

// Whether the qualified name is that of the relation, and the relation the table `root` or a partition of it.
asio::awaitable<Result<bool>> is_same_leaf(PgConnection& connection, std::string name, std::uint32_t relation,
                                           std::uint32_t root);

// Nothing when there is no such table. A partitioned table comes with all its leaves.
asio::awaitable<Result<std::optional<planner::TableFacts>>> read_table_facts(PgConnection& connection,
                                                                             planner::TableName name);

// What the tables are made of, in the server's spelling; of those that are there.
asio::awaitable<Result<std::vector<planner::SchemaFact>>> read_schema_facts(PgConnection& connection,
                                                                            std::vector<planner::TableName> tables);

// Bounds before `upper` that cut a leaf into ranges: from statistics where they say enough, else from a block sample.
asio::awaitable<Result<std::vector<planner::KeyValue>>> read_bounds(PgConnection& connection,
                                                                    planner::WorkTarget const& target,
                                                                    planner::LeafFacts const& leaf,
                                                                    planner::Bound upper);

// The last key of a leaf, or the last block when paging by block; absent when it has no rows.
asio::awaitable<Result<planner::Bound>> read_last_key(PgConnection& connection, planner::WorkTarget const& target);

// Names of tables, without their schema and with it, for "did you mean".
asio::awaitable<Result<std::vector<std::string>>> list_tables(PgConnection& connection);

}  // namespace pgbackfill::engine
