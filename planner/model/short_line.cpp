#include "planner/model/short_line.h"

namespace pgbackfill::planner {

namespace {

// A word as long as this is cut all the same.
bool is_late_enough(std::size_t space, std::size_t length) {
  return space != std::string::npos && space >= length / 2;
}

}  // namespace

std::string short_line(std::string_view text, std::size_t most_bytes) {
  std::string line;
  for (char const c : text) {
    bool const is_first_of_character = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    char const shown = static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    if (line.size() >= most_bytes && is_first_of_character) {
      if (shown == ' ') return line + " ...";
      auto const space = line.rfind(' ');
      return is_late_enough(space, line.size()) ? line.substr(0, space) + " ..." : line + "...";
    }
    line += shown;
  }
  return line;
}

}  // namespace pgbackfill::planner
