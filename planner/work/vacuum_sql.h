// The VACUUM that runs between the parts of a backfill.
//
// Pure text. It must never be in the way: it does nothing at all where it would have to wait for its lock
// (SKIP_LOCKED: the server then says so in a warning), and it leaves the end of the file alone (TRUNCATE off), since
// giving that back takes an exclusive lock for which standbys cancel queries; the backfill needs the room anyway.
#pragma once

#include <string>

namespace pgbackfill::planner {

// `relation` is quoted; server_version as server_version_num.
std::string vacuum_sql(std::string const& relation, int server_version);

}  // namespace pgbackfill::planner
