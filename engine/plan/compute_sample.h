// What a program of the user makes of the first rows: asked, shown, and written nowhere.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "planner/model/key.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::engine {

// A line for each of a few rows of the interval: its key, what the program is given, and what it answers; or one line
// that says what is wrong with it. Each is asked for once.
asio::awaitable<std::vector<std::string>> sample_answers(PgConnection& connection, planner::WorkTarget target,
                                                         planner::Interval interval, std::string migration);

}  // namespace pgbackfill::engine
