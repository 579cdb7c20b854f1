#include "planner/file/file_order.h"

#include <cctype>
#include <cstddef>

namespace pgbackfill::planner {

bool is_earlier_file(std::string const& a, std::string const& b) {
  std::size_t at = 0;
  std::size_t bt = 0;
  auto const is_digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  auto const goes_on = [&](std::string const& text, std::size_t end) {
    return end + 1 < text.size() && (text[end] == '.' || text[end] == '_') && is_digit(text[end + 1]);
  };
  auto const number_end = [&](std::string const& text, std::size_t from) {
    while (from < text.size() && is_digit(text[from])) ++from;
    return from;
  };
  while (at < a.size() && bt < b.size()) {
    if (is_digit(a[at]) && is_digit(b[bt])) {
      while (at < a.size() && a[at] == '0') ++at;
      while (bt < b.size() && b[bt] == '0') ++bt;
      auto const a_end = number_end(a, at);
      auto const b_end = number_end(b, bt);
      if (a_end - at != b_end - bt) return a_end - at < b_end - bt;
      auto const order = a.compare(at, a_end - at, b, bt, b_end - bt);
      if (order != 0) return order < 0;
      at = a_end;
      bt = b_end;
      // 2 before 2.1: what the number goes on with is more than what comes behind it.
      bool const is_longer = goes_on(a, at);
      if (is_longer != goes_on(b, bt)) return !is_longer;
    } else {
      if (a[at] != b[bt]) return a[at] < b[bt];
      ++at;
      ++bt;
    }
  }
  return a.size() - at < b.size() - bt;
}

}  // namespace pgbackfill::planner
