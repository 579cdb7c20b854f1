#include "planner/key.h"

#include <algorithm>
#include <cassert>

#include "planner/sql_text.h"

namespace pgbackfill::planner {

namespace {

// Highest offset that fits on a page of 8 kB, with room to spare: MaxHeapTuplesPerPage is 291.
constexpr int kMostRowsOnAPage = 292;

enum class Side { kAfter, kUpTo };

std::string column_text(KeyColumn const& column, std::string const& alias) {
  std::string text = alias + '.' + quote_identifier(column.name);
  if (!column.collation.empty()) text += " COLLATE " + column.collation;
  return text;
}

std::string value_text(KeyColumn const& column, std::string const& value) {
  return quote_literal(value) + "::" + column.type;
}

bool is_uniform(Key const& key, std::size_t width) {
  return std::all_of(key.columns.begin(), key.columns.begin() + static_cast<std::ptrdiff_t>(width),
                     [&](KeyColumn const& column) { return column.descending == key.columns.front().descending; });
}

// All columns run the same way: one row comparison, which the index can use as it is.
std::string row_comparison(Key const& key, KeyValue const& value, std::string const& alias, Side side) {
  bool const descending = key.columns.front().descending;
  char const* comparison = side == Side::kAfter ? (descending ? " < " : " > ") : (descending ? " >= " : " <= ");
  std::vector<std::string> columns;
  std::vector<std::string> values;
  for (std::size_t index = 0; index < value.size(); ++index) {
    columns.push_back(column_text(key.columns[index], alias));
    values.push_back(value_text(key.columns[index], value[index]));
  }
  if (value.size() == 1) return columns.front() + comparison + values.front();
  return '(' + join(columns, ", ") + ')' + comparison + '(' + join(values, ", ") + ')';
}

// Rows that agree with `value` on the columns before `width`.
std::vector<std::string> equal_prefix(Key const& key, KeyValue const& value, std::string const& alias,
                                      std::size_t width) {
  std::vector<std::string> terms;
  for (std::size_t index = 0; index < width; ++index) {
    terms.push_back(column_text(key.columns[index], alias) + " = " + value_text(key.columns[index], value[index]));
  }
  return terms;
}

// Columns run different ways: SQL has no row comparison for that, so each side becomes a list of alternatives, one a
// column, disjoint, each of which the index can use.
std::vector<std::string> alternatives(Key const& key, KeyValue const& value, std::string const& alias, Side side) {
  std::vector<std::string> result;
  for (std::size_t width = value.size(); width-- > 0;) {
    auto terms = equal_prefix(key, value, alias, width);
    auto const& column = key.columns[width];
    char const* comparison = (side == Side::kAfter) != column.descending ? " > " : " < ";
    terms.push_back(column_text(column, alias) + comparison + value_text(column, value[width]));
    result.push_back(join(terms, " AND "));
  }
  if (side == Side::kUpTo) result.push_back(join(equal_prefix(key, value, alias, value.size()), " AND "));
  return result;
}

std::string mixed_condition(Key const& key, Interval const& interval, std::string const& alias) {
  std::vector<std::string> lo_terms{std::string()};
  std::vector<std::string> hi_terms{std::string()};
  if (interval.lo) lo_terms = alternatives(key, *interval.lo, alias, Side::kAfter);
  if (interval.hi) hi_terms = alternatives(key, *interval.hi, alias, Side::kUpTo);
  std::vector<std::string> disjuncts;
  for (auto const& lo : lo_terms) {
    for (auto const& hi : hi_terms) {
      disjuncts.push_back('(' + lo + (lo.empty() || hi.empty() ? "" : " AND ") + hi + ')');
    }
  }
  std::string condition = disjuncts.size() == 1 ? disjuncts.front() : '(' + join(disjuncts, " OR ") + ')';
  // The leading column alone is bounded by both ends: lets the index stop early whichever way the OR is planned.
  auto const& leading = key.columns.front();
  if (interval.lo) {
    condition = column_text(leading, alias) + (leading.descending ? " <= " : " >= ") +
                value_text(leading, interval.lo->front()) + " AND " + condition;
  }
  if (interval.hi) {
    condition = column_text(leading, alias) + (leading.descending ? " >= " : " <= ") +
                value_text(leading, interval.hi->front()) + " AND " + condition;
  }
  return condition;
}

std::string order_text(Key const& key, std::string const& alias, bool reversed) {
  std::vector<std::string> terms;
  for (auto const& column : key.columns) {
    bool const descending = column.descending != reversed;
    bool const nulls_first = column.nulls_first != reversed;
    std::string term = column_text(column, alias) + (descending ? " DESC" : "");
    // Key columns are never NULL, but the planner matches an index's order only when this agrees as well.
    if (nulls_first != descending) term += nulls_first ? " NULLS FIRST" : " NULLS LAST";
    terms.push_back(std::move(term));
  }
  return join(terms, ", ");
}

}  // namespace

std::string interval_condition(Key const& key, Interval const& interval, std::string const& alias) {
  assert(!key.is_by_block());
  if (!interval.lo && !interval.hi) return "true";
  std::size_t const width = std::max(interval.lo ? interval.lo->size() : 0, interval.hi ? interval.hi->size() : 0);
  assert(width >= 1 && width <= key.columns.size());
  if (!is_uniform(key, width)) return mixed_condition(key, interval, alias);
  std::vector<std::string> terms;
  if (interval.lo) terms.push_back(row_comparison(key, *interval.lo, alias, Side::kAfter));
  if (interval.hi) terms.push_back(row_comparison(key, *interval.hi, alias, Side::kUpTo));
  return join(terms, " AND ");
}

std::vector<std::string> interval_scans(Key const& key, Interval const& interval, std::string const& alias) {
  std::size_t const width = std::max(interval.lo ? interval.lo->size() : 0, interval.hi ? interval.hi->size() : 0);
  if (!interval.lo || is_uniform(key, width)) return {interval_condition(key, interval, alias)};
  std::vector<std::string> scans = alternatives(key, *interval.lo, alias, Side::kAfter);
  if (!interval.hi) return scans;
  for (auto& scan : scans) scan += " AND " + interval_condition(key, {std::nullopt, interval.hi}, alias);
  return scans;
}

std::string block_condition(Interval const& interval, std::string const& alias, int server_major) {
  assert(interval.hi);
  std::string const first = interval.lo ? std::to_string(std::stoll(interval.lo->front()) + 1) : "0";
  std::string const last = interval.hi->front();
  if (server_major >= 14) {
    return alias + ".ctid >= '(" + first + ",0)'::tid AND " + alias + ".ctid < '(" +
           std::to_string(std::stoll(last) + 1) + ",0)'::tid";
  }
  // PostgreSQL 13 has no TID range scan; a list of all possible positions on these blocks is a TID scan.
  return alias + ".ctid = ANY (ARRAY(SELECT ('(' || b || ',' || o || ')')::tid FROM generate_series(" + first + ", " +
         last + ") b, generate_series(1, " + std::to_string(kMostRowsOnAPage) + ") o))";
}

std::string key_order(Key const& key, std::string const& alias) {
  return order_text(key, alias, false);
}

std::string reversed_key_order(Key const& key, std::string const& alias) {
  return order_text(key, alias, true);
}

std::string key_list(Key const& key, std::string const& alias) {
  if (key.is_by_block()) return alias + ".ctid";
  std::vector<std::string> terms;
  for (auto const& column : key.columns) terms.push_back(alias + '.' + quote_identifier(column.name));
  return join(terms, ", ");
}

std::string key_row(Key const& key, std::string const& alias) {
  std::string const list = key_list(key, alias);
  return key.columns.size() > 1 ? '(' + list + ')' : list;
}

std::string key_texts(Key const& key, std::string const& alias) {
  std::vector<std::string> terms;
  for (auto const& column : key.columns) terms.push_back(alias + '.' + quote_identifier(column.name) + "::text");
  return join(terms, ", ");
}

std::string to_string(KeyValue const& value) {
  if (value.size() == 1) return value.front();
  return '(' + join(value, ", ") + ')';
}

std::string to_string(Bound const& bound, char const* unbounded) {
  return bound ? to_string(*bound) : unbounded;
}

}  // namespace pgbackfill::planner
