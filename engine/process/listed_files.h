// What a migration is given beside its file before its SQL is run: variables of the environment, the rows of CSV files
// (`prepare: from`), and the keys that a job is kept to (--only-keys).
//
// Reads files. All that is wrong with them is told by file, line and column, before anything is touched. Belongs to the
// engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/pg/pg_connection.h"
#include "engine/process/command_context.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

// Throws CommandError with all variables of the environment that the SQL reads and that are not set, and with what is
// wrong with files that it reads.
void take_inputs(LoadedMigration& loaded);

// Throws CommandError when it cannot be read, or holds no keys. Of which types they are, the table says later.
planner::OnlyKeys read_only_keys(std::string const& file);

// Of a job of some keys: makes its backfill read them. Throws CommandError with those that are none of the table's
// key, and for a job whose keys this command was not given. Nothing for other jobs, or the second time.
asio::awaitable<void> bind_only_keys(PgConnection& connection, LoadedMigration& loaded);

// How many keys the job is of; nothing: it is of all rows.
std::optional<std::int64_t> count_of_keys(LoadedMigration const& loaded);

// "no row of "public"."t" has 3 of the 120 keys: 5, 8, 9"; empty: all have one.
asio::awaitable<std::string> missing_keys_text(PgConnection& connection, planner::WorkTarget target, std::int64_t keys);

}  // namespace pgbackfill::engine
