#include "planner/fill/value_sql.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string_view>

#include "planner/model/sql_text.h"

namespace pgbackfill::planner {

namespace {

constexpr double kDaySeconds = 86'400;
constexpr std::int64_t kDefaultDigits = 6;
constexpr double kDefaultSpanDays = 365;
constexpr std::int64_t kDefaultWidth = 16;
constexpr std::int64_t kMd5Width = 32;
// From here on a value is stored out of line or compressed, and how well matters.
constexpr std::int64_t kWideText = 1'000;
constexpr double kMostElements = 32;
constexpr std::int64_t kWidthSeed = 7;

std::string whole(double number) {
  char text[64];
  std::snprintf(text, sizeof text, "%.0f", number);
  return text;
}

std::string reals(std::vector<double> const& numbers) {
  std::string list;
  for (auto const number : numbers) {
    char text[64];
    std::snprintf(text, sizeof text, "%s%.17g", list.empty() ? "" : ",", number);
    list += text;
  }
  return "'{" + list + "}'::float8[]";
}

std::vector<double> numbers_of(ColumnProfile const& column, std::vector<std::string> const& texts) {
  bool const is_moment = family_of(column) == ValueFamily::kMoment;
  std::vector<double> numbers;
  for (auto const& text : texts) {
    double number = 0;
    char* end = nullptr;
    bool const is_good = is_moment ? seconds_of(text, number)
                                   : (number = std::strtod(text.c_str(), &end), end != text.c_str() && *end == '\0');
    // "infinity" is a bound of some tables; no value can be made from it.
    if (is_good && std::isfinite(number)) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

struct Span {
  double lowest = 0;
  double beyond = 1;
  std::vector<double> bounds;  // of a histogram; fewer than three: even
};

double most_of_type(ColumnProfile const& column) {
  if (column.plain == "int2") return 32'767;
  if (column.plain == "int4" || column.plain == "oid") return 2'147'483'647;
  return 9e18;
}

Span natural_span(ColumnProfile const& column, double now) {
  auto bounds = numbers_of(column, column.bounds);
  if (bounds.size() < 2) {
    bounds = numbers_of(column, column.common_values);
    if (bounds.size() > 1) bounds = {bounds.front(), bounds.back()};
  }
  double const grain = family_of(column) == ValueFamily::kInteger ? 1 : 0;
  if (bounds.size() > 1 && bounds.front() < bounds.back()) return {bounds.front(), bounds.back() + grain, bounds};
  if (family_of(column) == ValueFamily::kMoment) {
    double const last = now - column.age_days * kDaySeconds;
    double const days = column.span_days > 0 ? column.span_days : (column.is_analyzed ? 1 : kDefaultSpanDays);
    return {last - days * kDaySeconds, last, {}};
  }
  auto digits = column.digits > 0 ? column.digits : kDefaultDigits;
  if (column.max_digits > 0) digits = std::min(digits, column.max_digits);
  double const most = std::min(std::pow(10.0, static_cast<double>(digits)) - 1, most_of_type(column));
  return {column.has_negative ? -most : 1, most + grain, {}};
}

// Moved or cut so that all of it is allowed.
Span allowed_span(ColumnProfile const& column, ValueTerms const& terms) {
  auto span = natural_span(column, terms.now);
  double const length = span.beyond - span.lowest;
  bool const is_inside =
      (!terms.lowest || span.lowest >= *terms.lowest) && (!terms.beyond || span.beyond <= *terms.beyond);
  if (is_inside) return span;
  span.bounds.clear();
  if (terms.lowest && terms.beyond) return {*terms.lowest, *terms.beyond, {}};
  if (terms.lowest) return {*terms.lowest, std::max(span.beyond, *terms.lowest + length), {}};
  return {std::min(span.lowest, *terms.beyond - length), *terms.beyond, {}};
}

// SQL of a float8 between the bounds of a histogram.
std::string between_bounds(std::vector<double> const& bounds, ValueTerms const& terms) {
  auto const pieces = static_cast<double>(bounds.size() - 1);
  std::string const place = "((" + terms.number + ") * " + real_sql(pieces / terms.values) + ")";
  std::string const piece = "least(floor(" + place + "), " + real_sql(pieces - 1) + ")";
  std::string const list = "(" + reals(bounds) + ")";
  return "(" + list + "[1 + " + piece + "::int4] + (" + place + " - " + piece + ") * (" + list + "[2 + " + piece +
         "::int4] - " + list + "[1 + " + piece + "::int4]))";
}

std::string integer_sql(ColumnProfile const& column, ValueTerms const& terms) {
  auto const span = allowed_span(column, terms);
  double const length = std::max(span.beyond - span.lowest, 1.0);
  if (terms.is_unique) {
    double const step = std::max(1.0, std::floor(length / terms.values));
    return "(" + whole(span.lowest) + "::int8 + (" + terms.number + ") * " + whole(step) + ")";
  }
  if (span.bounds.size() > 2) return "round(" + between_bounds(span.bounds, terms) + ")";
  return "(" + whole(span.lowest) + "::int8 + floor((" + terms.number + ") * " + real_sql(length / terms.values) +
         ")::int8)";
}

std::string number_sql(ColumnProfile const& column, ValueTerms const& terms) {
  auto const span = allowed_span(column, terms);
  double const grain = std::pow(10.0, static_cast<double>(-column.decimals));
  double step = (span.beyond - span.lowest) / terms.values;
  if (terms.is_unique) step = std::max(step, grain);
  bool const has_bounds = span.bounds.size() > 2 && !terms.is_unique;
  std::string const value = has_bounds
                                ? between_bounds(span.bounds, terms)
                                : "(" + real_sql(span.lowest) + " + (" + terms.number + ") * " + real_sql(step) + ")";
  if (column.plain != "numeric" && column.plain != "money") return value;
  return (terms.is_unique ? "round(" : "trunc(") + value + "::numeric, " + std::to_string(column.decimals) + ")";
}

std::string moment_sql(ColumnProfile const& column, ValueTerms const& terms) {
  auto const span = allowed_span(column, terms);
  double step = (span.beyond - span.lowest) / terms.values;
  bool const is_date = column.plain == "date";
  if (terms.is_unique) step = std::max(step, is_date ? kDaySeconds : 1e-6);
  bool const has_bounds = span.bounds.size() > 2 && !terms.is_unique;
  std::string const seconds = has_bounds
                                  ? between_bounds(span.bounds, terms)
                                  : "(" + real_sql(span.lowest) + " + (" + terms.number + ") * " + real_sql(step) + ")";
  if (is_date) return "(date '1970-01-01' + floor(" + seconds + " / 86400)::int4)";
  std::string const moment = "to_timestamp(" + seconds + ")";
  return column.plain == "timestamp" ? "(" + moment + " AT TIME ZONE 'UTC')" : moment;
}

std::int64_t hex_digits(double values) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(std::log2(std::max(values, 2.0)) / 4)));
}

struct Width {
  std::string sql;
  std::int64_t most = 0;
};

Width width_of(ColumnProfile const& column, ValueTerms const& terms, std::int64_t taken) {
  auto const least = terms.is_unique ? hex_digits(terms.values) : 1;
  auto const bounded = [&](std::int64_t width) {
    width = std::max(width - taken, least);
    return column.max_length > 0 ? std::min(width, column.max_length) : width;
  };
  if (column.widths.size() != kWidthTenths) {
    // The length word of a value is in its width.
    auto const average = static_cast<std::int64_t>(std::llround(column.width)) - (column.width > 126 ? 4 : 1);
    auto const width = bounded(column.width > 0 ? average : kDefaultWidth);
    return {std::to_string(width), width};
  }
  std::string list;
  std::int64_t most = 0;
  bool is_even = true;
  for (std::size_t tenth = 0; tenth + 1 < kWidthTenths; ++tenth) {
    auto const width = bounded((column.widths[tenth] + column.widths[tenth + 1]) / 2);
    is_even = is_even && (tenth == 0 || width == most);
    most = std::max(most, width);
    list += (list.empty() ? "" : ",") + std::to_string(width);
  }
  if (is_even) return {std::to_string(most), most};
  return {"('{" + list + "}'::int4[])[1 + floor(10 * " + random_sql(terms.number, terms.seed + kWidthSeed) + ")::int4]",
          most};
}

// Of the width, in hexadecimal digits: the number first, so that texts are in its order.
std::string digits_sql(ColumnProfile const& column, ValueTerms const& terms, std::int64_t taken) {
  auto const width = width_of(column, terms, taken);
  std::string const prefix =
      "lpad(to_hex((" + terms.number + ")::int8), " + std::to_string(hex_digits(terms.values)) + ", '0')";
  std::string const word = "md5((" + terms.number + ")::text)";
  if (width.most <= hex_digits(terms.values)) return "right(" + prefix + ", " + width.sql + ")";
  if (width.most <= kWideText) {
    auto const words = (width.most + kMd5Width - 1) / kMd5Width;
    std::string const rest = words == 1 ? word : "repeat(" + word + ", " + std::to_string(words) + ")";
    return "left(" + prefix + " || " + rest + ", " + width.sql + ")";
  }
  // What cannot be compressed, then what can.
  double const share = std::clamp(column.stored_share, 0.01, 1.0);
  std::string const words = "ceil((" + width.sql + ") * " + real_sql(share / kMd5Width) + ")::int4";
  return "left(" + prefix + " || (SELECT string_agg(md5((" + terms.number +
         ")::text || ' ' || word), '') FROM generate_series(1, " + words + ") AS word) || repeat('x', " + width.sql +
         "), " + width.sql + ")";
}

std::string text_sql(ColumnProfile const& column, ValueTerms const& terms) {
  if (column.bounds.size() < 2) return digits_sql(column, terms, 0);
  auto const pieces = static_cast<double>(column.bounds.size());
  std::string const list = "(" + text_array(column.bounds) + ")";
  std::string const bound = list + "[1 + least(floor((" + terms.number + ") * " + real_sql(pieces / terms.values) +
                            "), " + real_sql(pieces - 1) + ")::int4]";
  if (terms.values <= pieces && !terms.is_unique) return bound;
  std::string const digits =
      "lpad(to_hex((" + terms.number + ")::int8), " + std::to_string(hex_digits(terms.values)) + ", '0')";
  auto const room = column.max_length > 0 ? std::max<std::int64_t>(column.max_length - hex_digits(terms.values), 0) : 0;
  std::string const begin = column.max_length > 0 ? "left(" + bound + ", " + std::to_string(room) + ")" : bound;
  return "(" + begin + " || " + digits + ")";
}

std::string bytes_sql(ColumnProfile const& column, ValueTerms const& terms) {
  auto doubled = column;
  doubled.max_length = 0;
  for (auto& width : doubled.widths) width *= 2;
  doubled.width = doubled.width * 2;
  doubled.bounds.clear();
  // An odd number of digits is no bytes.
  std::string const digits = digits_sql(doubled, terms, 0);
  return "decode(translate(" + digits + " || CASE WHEN length(" + digits +
         ") % 2 = 1 THEN '0' ELSE '' END, 'x', '0'), 'hex')";
}

std::string document_sql(ColumnProfile const& column, ValueTerms const& terms) {
  auto text = column;
  text.max_length = 0;
  text.bounds.clear();
  constexpr std::int64_t kFrame = 24;
  return "('{\"id\": ' || (" + terms.number + ") || ', \"text\": \"' || " + digits_sql(text, terms, kFrame) +
         " || '\"}')";
}

std::string uuid_sql(ColumnProfile const& column, ValueTerms const& terms) {
  std::string const word = "md5('" + std::to_string(terms.seed) + " ' || (" + terms.number + "))";
  // As those that begin with a time are.
  if (std::abs(column.correlation) > 0.9) {
    return "(lpad(to_hex((" + terms.number + ")::int8), 12, '0') || substr(" + word + ", 13))::uuid";
  }
  return word + "::uuid";
}

std::string listed_sql(std::vector<std::string> const& values, ValueTerms const& terms) {
  return "(" + text_array(values) + ")[1 + ((" + terms.number + ") % " + std::to_string(values.size()) + ")::int4]";
}

std::string element_sql(ColumnProfile const& column, ValueTerms const& terms) {
  if (!terms.allowed.empty()) return listed_sql(terms.allowed, terms);
  switch (family_of(column)) {
    case ValueFamily::kInteger:
      return integer_sql(column, terms);
    case ValueFamily::kNumber:
      return number_sql(column, terms);
    case ValueFamily::kTruth:
      return "((" + terms.number + ") % 2 = 1)";
    case ValueFamily::kText:
      return text_sql(column, terms);
    case ValueFamily::kBytes:
      return bytes_sql(column, terms);
    case ValueFamily::kDocument:
      return document_sql(column, terms);
    case ValueFamily::kMoment:
      return moment_sql(column, terms);
    case ValueFamily::kTimeOfDay:
      return "(time '00:00' + make_interval(secs => (" + terms.number + ") * " + real_sql(86'399 / terms.values) + "))";
    case ValueFamily::kInterval:
      return "make_interval(secs => (" + terms.number + "))";
    case ValueFamily::kUuid:
      return uuid_sql(column, terms);
    case ValueFamily::kLabel:
      return column.labels.empty() ? "NULL" : listed_sql(column.labels, terms);
    case ValueFamily::kAddress:
      return "(inet '10.0.0.0' + (" + terms.number + "))";
    case ValueFamily::kWords:
      return "to_tsvector('pg_catalog.simple'::regconfig, " + digits_sql(column, terms, 0) + ")";
    case ValueFamily::kUnknown:
      break;
  }
  return "NULL";
}

std::string array_sql(ColumnProfile const& column, ValueTerms const& terms) {
  auto element = column;
  element.is_array = false;
  element.widths.clear();
  element.bounds.clear();
  auto const elements = static_cast<int>(std::clamp(std::round(column.elements), 1.0, kMostElements));
  element.width = column.width / elements;
  std::vector<std::string> values;
  for (int index = 0; index < elements; ++index) {
    auto each = terms;
    each.number = "(" + terms.number + ") + " + std::to_string(index);
    values.push_back(element_sql(element, each));
  }
  return "ARRAY[" + join(values, ", ") + "]";
}

}  // namespace

ValueFamily family_of(ColumnProfile const& column) {
  static std::map<std::string, ValueFamily, std::less<>> const families = {
      {"int2", ValueFamily::kInteger},      {"int4", ValueFamily::kInteger},       {"int8", ValueFamily::kInteger},
      {"oid", ValueFamily::kInteger},       {"numeric", ValueFamily::kNumber},     {"float4", ValueFamily::kNumber},
      {"float8", ValueFamily::kNumber},     {"money", ValueFamily::kNumber},       {"bool", ValueFamily::kTruth},
      {"text", ValueFamily::kText},         {"varchar", ValueFamily::kText},       {"bpchar", ValueFamily::kText},
      {"name", ValueFamily::kText},         {"citext", ValueFamily::kText},        {"bytea", ValueFamily::kBytes},
      {"json", ValueFamily::kDocument},     {"jsonb", ValueFamily::kDocument},     {"date", ValueFamily::kMoment},
      {"timestamp", ValueFamily::kMoment},  {"timestamptz", ValueFamily::kMoment}, {"time", ValueFamily::kTimeOfDay},
      {"interval", ValueFamily::kInterval}, {"uuid", ValueFamily::kUuid},          {"enum", ValueFamily::kLabel},
      {"inet", ValueFamily::kAddress},      {"cidr", ValueFamily::kAddress},       {"tsvector", ValueFamily::kWords},
  };
  auto const found = families.find(column.plain);
  return found == families.end() ? ValueFamily::kUnknown : found->second;
}

std::string real_sql(double number) {
  char text[64];
  std::snprintf(text, sizeof text, "'%.17g'::float8", number);
  return text;
}

std::string random_sql(std::string const& number, std::int64_t seed) {
  return "((hashint8extended(" + number + ", " + std::to_string(seed) + ") & 1073741823) * " +
         real_sql(1.0 / 1'073'741'824) + ")";
}

std::string value_sql(ColumnProfile const& column, ValueTerms const& terms) {
  if (family_of(column) == ValueFamily::kUnknown) return "NULL::" + column.type;
  std::string const value = column.is_array ? array_sql(column, terms) : element_sql(column, terms);
  return "(" + value + ")::" + column.type;
}

}  // namespace pgbackfill::planner
