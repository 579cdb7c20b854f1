// The schema of a database in the words of pg_dump, to compare two catalogs by what a person would restore. Throws
// std::runtime_error with pg_dump's own words when it fails. Starts a process: call it from any thread.
#pragma once

#include <string>

namespace pgbackfill::tests {

// Whether there is a pg_dump that reads this server: it refuses those that are newer than itself.
bool has_pg_dump_for(int major_version);

// pg_dump -s of the schema public, without owners and without the lines that differ each time.
std::string dump_of_schema(std::string const& dsn);

}  // namespace pgbackfill::tests
