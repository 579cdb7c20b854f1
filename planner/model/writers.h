// Applications that have to be gone before contract, by the name that their sessions carry, and who still is there.
//
// Pure. A name is compared as it is; with `*` at its end, it is how the name begins. The server lets every role see the
// names of all sessions, and only some roles when these began and from where they came.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/source_position.h"

namespace pgbackfill::planner {

struct WriterName {
  SourcePosition position;
  std::string name;  // without the `*`
  bool is_prefix = false;
};

inline constexpr std::size_t kMaxWriters = 100;

// What is wrong with a name as the file has it; nothing when it can be used.
std::optional<std::string> problem_of_writer(std::string_view text);
// Of a text without a problem.
WriterName make_writer(SourcePosition position, std::string_view text);

// Of this database's sessions, those of these applications and those whose application cannot be seen: pid,
// application, role, client, state, and since when. NULL is what this role may not see.
std::string writers_sql(std::vector<WriterName> const& names);

// A session in words, from a row of writers_sql().
std::string writer_text(std::vector<std::optional<std::string>> const& row);

}  // namespace pgbackfill::planner
