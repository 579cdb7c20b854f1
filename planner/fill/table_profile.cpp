#include "planner/fill/table_profile.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "planner/fill/value_sql.h"

namespace pgbackfill::planner {

namespace {

constexpr double kDaySeconds = 86'400;
constexpr std::int64_t kMostDigits = 18;

// The next power of two: the size of a span without its ends.
double rounded_up(double days) {
  if (days <= 0) return 0;
  return std::exp2(std::ceil(std::log2(days)));
}

// Days from 1970-01-01 by the Gregorian calendar; the arithmetic is that of Howard Hinnant's days_from_civil.
std::int64_t days_of(std::int64_t year, std::int64_t month, std::int64_t day) {
  if (month <= 2) --year;
  std::int64_t const era = (year >= 0 ? year : year - 399) / 400;
  std::int64_t const year_of_era = year - era * 400;
  std::int64_t const day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146'097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719'468;
}

void measure_number(ColumnProfile& column, std::string const& text) {
  column.has_negative = column.has_negative || text.starts_with('-');
  std::string const bare = text.starts_with('-') ? text.substr(1) : text;
  auto const point = bare.find('.');
  auto const exponent = bare.find_first_of("eE");
  std::size_t before = std::min({bare.size(), point, exponent});
  if (exponent != std::string::npos) before = static_cast<std::size_t>(kMostDigits);
  column.digits = std::max(column.digits, std::min<std::int64_t>(static_cast<std::int64_t>(before), kMostDigits));
  if (point == std::string::npos || exponent != std::string::npos) return;
  column.decimals = std::max(column.decimals, static_cast<std::int64_t>(bare.size() - point - 1));
}

struct Moments {
  bool is_any = false;
  double first = 0;
  double last = 0;
};

void add_moment(Moments& moments, std::string const& text) {
  double seconds = 0;
  if (!seconds_of(text, seconds)) return;
  moments.first = moments.is_any ? std::min(moments.first, seconds) : seconds;
  moments.last = moments.is_any ? std::max(moments.last, seconds) : seconds;
  moments.is_any = true;
}

}  // namespace

bool seconds_of(std::string const& text, double& seconds) {
  int year = 0;
  int month = 0;
  int day = 0;
  int hour = 0;
  int minute = 0;
  double second = 0;
  int const found = std::sscanf(text.c_str(), "%d-%d-%d %d:%d:%lf", &year, &month, &day, &hour, &minute, &second);
  bool const is_whole = found == 3 || found == 6;
  if (!is_whole || text.ends_with("BC") || month < 1 || month > 12 || day < 1 || day > 31) return false;
  seconds = static_cast<double>(days_of(year, month, day)) * kDaySeconds + hour * 3'600.0 + minute * 60.0 + second;
  return true;
}

void measure_values(ColumnProfile& column, double taken_at) {
  auto const family = family_of(column);
  bool const is_number = family == ValueFamily::kInteger || family == ValueFamily::kNumber;
  bool const is_moment = family == ValueFamily::kMoment;
  Moments moments;
  for (auto const* values : {&column.common_values, &column.bounds}) {
    for (auto const& text : *values) {
      if (is_number) measure_number(column, text);
      if (is_moment) add_moment(moments, text);
    }
  }
  if (!moments.is_any) return;
  double const age = (taken_at - moments.last) / kDaySeconds;
  column.span_days = rounded_up((moments.last - moments.first) / kDaySeconds);
  column.age_days = age < 0 ? -rounded_up(-age) : (age < 1 ? 0 : rounded_up(age) / 2);
}

TableProfile without_values(TableProfile table) {
  for (auto& column : table.columns) {
    auto const family = family_of(column);
    bool const is_of_schema = family == ValueFamily::kTruth || family == ValueFamily::kLabel;
    if (!is_of_schema || column.is_array) column.common_values.clear();
    column.bounds.clear();
  }
  return table;
}

}  // namespace pgbackfill::planner
