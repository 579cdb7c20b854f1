#include "planner/work/vacuum_sql.h"

namespace pgbackfill::planner {

std::string vacuum_sql(std::string const& relation, int server_version) {
  int const major = server_version / 10'000;
  // One process: the workers and the foreground need the others.
  std::string options = "SKIP_LOCKED, TRUNCATE off, PARALLEL 0";
  // Looking for the database's oldest transaction costs a scan of pg_class each time.
  if (major >= 16) options += ", SKIP_DATABASE_STATS";
  // From 18 on, tables that inherit would be vacuumed too.
  return "VACUUM (" + options + ") " + (major >= 18 ? "ONLY " : "") + relation;
}

}  // namespace pgbackfill::planner
