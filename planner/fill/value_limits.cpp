#include "planner/fill/value_limits.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <regex>

#include "planner/fill/value_sql.h"

namespace pgbackfill::planner {

namespace {

// The constants in quotes, and where there are none, the numbers.
std::vector<std::string> constants_in(std::string const& text) {
  static std::regex const quoted("'((?:[^']|'')*)'");
  static std::regex const number("(^|[^\\w.'])(-?\\d+(\\.\\d+)?)");
  std::vector<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), quoted), end; at != end; ++at) {
    std::string value = (*at)[1];
    for (std::size_t quote = value.find("''"); quote != std::string::npos; quote = value.find("''", quote + 1)) {
      value.erase(quote, 1);
    }
    found.push_back(std::move(value));
  }
  if (!found.empty()) return found;
  for (std::sregex_iterator at(text.begin(), text.end(), number), end; at != end; ++at) found.push_back((*at)[2]);
  return found;
}

std::optional<double> number_in(std::string const& text, ColumnProfile const& column) {
  auto const constants = constants_in(text);
  if (constants.size() != 1) return std::nullopt;
  double number = 0;
  if (family_of(column) == ValueFamily::kMoment) {
    return seconds_of(constants.front(), number) ? std::optional(number) : std::nullopt;
  }
  char* end = nullptr;
  number = std::strtod(constants.front().c_str(), &end);
  return *end == '\0' && end != constants.front().c_str() ? std::optional(number) : std::nullopt;
}

bool is_ordered(ColumnProfile const& column) {
  auto const family = family_of(column);
  return !column.is_array &&
         (family == ValueFamily::kInteger || family == ValueFamily::kNumber || family == ValueFamily::kMoment);
}

// The least that is more than it, for values of this kind.
double after(double number, ColumnProfile const& column) {
  if (family_of(column) == ValueFamily::kInteger) return number + 1;
  if (family_of(column) == ValueFamily::kNumber) return number + std::pow(10.0, static_cast<double>(-column.decimals));
  return column.plain == "date" ? number + 86'400 : number + 1e-6;
}

void take_comparison(std::string const& sign, double number, ColumnProfile const& column, ValueLimits& limits) {
  if (sign == ">" || sign == ">=") {
    double const lowest = sign == ">" ? after(number, column) : number;
    limits.lowest = std::max(limits.lowest.value_or(lowest), lowest);
  } else {
    double const beyond = sign == "<=" ? after(number, column) : number;
    limits.beyond = std::min(limits.beyond.value_or(beyond), beyond);
  }
}

}  // namespace

ValueLimits limits_of_check(std::string const& definition, ColumnProfile const& column) {
  ValueLimits limits;
  bool const is_choice = definition.find(" OR ") != std::string::npos || definition.find("NOT ") != std::string::npos;
  if (is_choice) return limits;
  if (definition.find("= ANY (") != std::string::npos && !column.is_array) {
    limits.allowed = constants_in(definition);
    return limits;
  }
  if (!is_ordered(column) || definition.find('(' + column.name) == std::string::npos) return limits;
  static std::regex const comparison("(>=|<=|>|<)\\s*(\\(*'?[-\\d][^\\s')]*( [\\d:.]+)?'?\\)*)");
  for (std::sregex_iterator at(definition.begin(), definition.end(), comparison), end; at != end; ++at) {
    auto const number = number_in((*at)[2], column);
    if (number) take_comparison((*at)[1], *number, column, limits);
  }
  return limits;
}

ValueLimits limits_of_bound(std::string const& bound, ColumnProfile const& column) {
  ValueLimits limits;
  static std::regex const range("FROM \\((.*)\\) TO \\((.*)\\)");
  std::smatch found;
  if (std::regex_search(bound, found, range)) {
    limits.lowest = number_in(found[1], column);
    limits.beyond = number_in(found[2], column);
    return limits;
  }
  if (bound.find(" IN (") != std::string::npos) limits.allowed = constants_in(bound.substr(bound.find(" IN (")));
  return limits;
}

std::string column_of_key(std::string const& partition_key) {
  static std::regex const one("(RANGE|LIST) \\((\"?)([^\",() ]+)\\2\\)");
  std::smatch found;
  return std::regex_match(partition_key, found, one) ? found[3].str() : "";
}

}  // namespace pgbackfill::planner
