// Whether SQL of the file takes a row as a whole, as to_jsonb(t), t.* or f(t) do, instead of columns by their names.
//
// Such a value has the columns in the order of the table that is read. A batch reads a partition, whose order may be
// another one than its parent's. Pure function, safe from any thread.
#pragma once

#include <string>
#include <string_view>

namespace pgbackfill::planner {

// `alias` without quotes. False for what the parser does not understand: the server says more about that.
bool takes_whole_row(std::string const& expression, std::string_view alias);

}  // namespace pgbackfill::planner
