// Pure, safe from any thread.
#pragma once

#include <string>
#include <string_view>

namespace pgbackfill::planner {

// Each `what` in `text` becomes `by`, from the left, once: what `by` brings along is not looked at again. `what` is not
// empty.
inline void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
}

}  // namespace pgbackfill::planner
