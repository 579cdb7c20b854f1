#include "engine/base/plain_name.h"

namespace pgbackfill::engine {

std::string plain_name(std::string const& quoted) {
  std::string plain;
  bool is_inside = false;
  for (std::size_t i = 0; i < quoted.size(); ++i) {
    bool const is_quote = quoted[i] == '"';
    bool const is_doubled = is_quote && is_inside && i + 1 < quoted.size() && quoted[i + 1] == '"';
    if (is_doubled) ++i;
    if (is_doubled || !is_quote) plain += quoted[i];
    if (is_quote && !is_doubled) is_inside = !is_inside;
  }
  return plain;
}

}  // namespace pgbackfill::engine
