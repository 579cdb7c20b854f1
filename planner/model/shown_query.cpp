#include "planner/model/shown_query.h"

namespace pgbackfill::planner {

std::string shown_query(std::string const& query, int most_characters) {
  auto const most = std::to_string(most_characters);
  return "CASE WHEN pg_catalog.length(" + query + ") > " + most + " THEN pg_catalog.concat(pg_catalog.regexp_replace(" +
         "pg_catalog.left(" + query + ", " + most + "), '[[:space:]]+[^[:space:]]*$', ''), ' ...') ELSE " + query +
         " END";
}

}  // namespace pgbackfill::planner
