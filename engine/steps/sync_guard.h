// Whether the trigger of `sync:` can be what the file says, and is still the one that was installed.
//
// A trigger that was dropped and made again, or disabled for a while, looks the same and has let rows pass: so its
// identity was recorded when it was installed, and is compared before anything relies on it.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

enum class SyncGuard {
  kNone,     // the file has no `sync:`
  kMissing,  // not installed yet
  kHolds,
  kChanged,
  kEnded  // switched off by `complete` or a swap, or on its way there
};

asio::awaitable<Result<SyncGuard>> read_sync_guard(PgConnection& connection, planner::Migration const& migration);

// Whether the mirror's copy has taken the place of the table: then the trigger went with it, and neither name means
// what it meant to the backfill.
asio::awaitable<Result<bool>> has_swapped_tables(PgConnection& connection, planner::Migration const& migration);

struct SyncLook {
  std::string problem;             // "file.yaml:5:1: sync: text"; empty: nothing, or it cannot be known yet
  std::vector<std::string> notes;  // what its values depend on beside the row
};

// Tries the expressions on an empty copy of the table, in a transaction that is rolled back, with the columns that
// expand will add.
asio::awaitable<Result<SyncLook>> check_sync(PgConnection& connection, planner::Migration const& migration);

inline constexpr char kSyncChanged[] =
    "the sync trigger was dropped, disabled or replaced since it was installed, or another BEFORE trigger fires after "
    "it: "
    "rows written since may be out of step";

}  // namespace pgbackfill::engine
