// SQL of a query of somebody's session, as the server is to show it: short, and cut between two words. Pure text.
#pragma once

#include <string>

namespace pgbackfill::planner {

// `query` is an SQL expression of a text; so is what comes back. It is NULL where the query is.
std::string shown_query(std::string const& query, int most_characters);

}  // namespace pgbackfill::planner
