// What the server answers to the planner's questions about a step; for rows_as() and its like.
#pragma once

#include <optional>
#include <string>

namespace pgbackfill::engine {

// spelling_statements(), its last; those of most steps end with the refusal.
struct Spelled {
  std::optional<std::string> text;
  std::optional<std::string> refusal;
  std::optional<std::string> is_mutable;  // true or false
  std::optional<std::string> notes;

  bool depends_on_settings() const { return is_mutable == "true"; }
};

// undo_check_sql()
struct UndoChecked {
  std::optional<std::string> refusal;
  bool is_gone = false;
};

// inspection_sql(); behind these, for each action, whether it is needed.
struct Inspected {
  bool is_done = false;
  std::optional<std::string> refusal;
};

}  // namespace pgbackfill::engine
