#include "planner/model/short_line.h"

namespace pgbackfill::planner {

std::string short_line(std::string_view text, std::size_t most_bytes) {
  std::string line;
  for (char const c : text) {
    bool const is_first_of_character = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (line.size() >= most_bytes && is_first_of_character) return line + "...";
    line += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return line;
}

}  // namespace pgbackfill::planner
