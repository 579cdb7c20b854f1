#include "planner/model/key.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "planner/model/sql_text.h"
#include "planner/model/value_text.h"

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
  return quote_literal(value) + "::" + qualified_type(column.type);
}

// The condition text of one key in one statement.
class Conditions {
 public:
  Conditions(Key const& key, std::string const& alias) : key_(key), alias_(alias) {}

  std::string term(std::size_t index, KeyComparison comparison, KeyValue const& value) const {
    auto const& column = key_.columns[index];
    return column_text(column, alias_) + ' ' + column.comparison(comparison) + ' ' + value_text(column, value[index]);
  }

  // Strictly on that side of the value, in key order.
  std::string after(std::size_t index, KeyValue const& value) const { return term(index, after_of(index), value); }
  std::string before(std::size_t index, KeyValue const& value) const {
    return term(index, is_descending(index) ? KeyComparison::kGreater : KeyComparison::kLess, value);
  }
  std::string at_or_after(std::size_t index, KeyValue const& value) const {
    return term(index, is_descending(index) ? KeyComparison::kLessOrEqual : KeyComparison::kGreaterOrEqual, value);
  }
  std::string at_or_before(std::size_t index, KeyValue const& value) const {
    return term(index, up_to_of(index), value);
  }

  // The last column of a bound belongs to the interval, for what agrees with it before.
  std::string up_to(std::size_t index, KeyValue const& value) const {
    return index + 1 == value.size() ? at_or_before(index, value) : before(index, value);
  }

  // Rows that agree with `value` on the columns before `width`.
  std::vector<std::string> equal_prefix(std::size_t width, KeyValue const& value) const {
    std::vector<std::string> terms;
    for (std::size_t index = 0; index < width; ++index) terms.push_back(term(index, KeyComparison::kEqual, value));
    return terms;
  }

  // The columns from `begin` on run the same way: one row comparison, which the index can use as it is.
  std::string row_comparison(std::size_t begin, KeyValue const& value, Side side) const {
    if (begin + 1 == value.size()) return side == Side::kAfter ? after(begin, value) : at_or_before(begin, value);
    std::vector<std::string> columns;
    std::vector<std::string> values;
    for (std::size_t index = begin; index < value.size(); ++index) {
      columns.push_back(column_text(key_.columns[index], alias_));
      values.push_back(value_text(key_.columns[index], value[index]));
    }
    auto const comparison = key_.columns[begin].comparison(side == Side::kAfter ? after_of(begin) : up_to_of(begin));
    return '(' + join(columns, ", ") + ") " + comparison + " (" + join(values, ", ") + ')';
  }

 private:
  bool is_descending(std::size_t index) const { return key_.columns[index].descending; }
  KeyComparison after_of(std::size_t index) const {
    return is_descending(index) ? KeyComparison::kLess : KeyComparison::kGreater;
  }
  KeyComparison up_to_of(std::size_t index) const {
    return is_descending(index) ? KeyComparison::kGreaterOrEqual : KeyComparison::kLessOrEqual;
  }

  Key const& key_;
  std::string const& alias_;
};

// Whether one row comparison can do it: it has one operator for all columns.
bool is_uniform(Key const& key, std::size_t begin, std::size_t end) {
  return std::all_of(key.columns.begin() + static_cast<std::ptrdiff_t>(begin),
                     key.columns.begin() + static_cast<std::ptrdiff_t>(end), [&](KeyColumn const& column) {
                       return column.descending == key.columns[begin].descending &&
                              column.operators == key.columns[begin].operators;
                     });
}

std::size_t width_of(Bound const& bound) {
  return bound ? bound->size() : 0;
}

// How many leading columns have the same text at both ends. There the interval is one value and not a range: saying so
// lets the server's planner see how few rows it holds, even when the leading column has few distinct values.
std::size_t shared_width(Interval const& interval) {
  if (!interval.lo || !interval.hi) return 0;
  auto const [lo, hi] =
      std::mismatch(interval.lo->begin(), interval.lo->end(), interval.hi->begin(), interval.hi->end());
  return static_cast<std::size_t>(lo - interval.lo->begin());
}

// What bounds the first column that is not shared. It is implied by the rest, but it is the only part of a row
// comparison or of alternatives that the server's planner knows to estimate, as a range with two ends.
void add_leading_range(std::vector<std::string>& terms, Conditions const& conditions, std::size_t shared,
                       Interval const& interval) {
  if (width_of(interval.lo) > shared) terms.push_back(conditions.at_or_after(shared, *interval.lo));
  if (width_of(interval.hi) > shared) terms.push_back(conditions.at_or_before(shared, *interval.hi));
}

std::string uniform_scan(Conditions const& conditions, std::size_t shared, Interval const& interval) {
  std::vector<std::string> terms = conditions.equal_prefix(shared, interval.lo ? *interval.lo : *interval.hi);
  std::size_t const width = std::max(width_of(interval.lo), width_of(interval.hi));
  if (width > shared + 1) add_leading_range(terms, conditions, shared, interval);
  if (width_of(interval.lo) > shared) terms.push_back(conditions.row_comparison(shared, *interval.lo, Side::kAfter));
  if (width_of(interval.hi) > shared) terms.push_back(conditions.row_comparison(shared, *interval.hi, Side::kUpTo));
  return join(terms, " AND ");
}

// What agrees with `lo` on more than the shared columns, and comes after it. `rest` holds for nothing beyond `hi`.
void add_scans_after(std::vector<std::string>& scans, Conditions const& conditions, std::size_t begin,
                     KeyValue const& lo, std::string const& rest) {
  for (std::size_t width = lo.size(); width-- > begin;) {
    auto terms = conditions.equal_prefix(width, lo);
    terms.push_back(conditions.after(width, lo));
    if (!rest.empty()) terms.push_back(rest);
    scans.push_back(join(terms, " AND "));
  }
}

// What agrees with `hi` on the columns before `begin` at least, and is up to it. `rest` keeps out what is before `lo`.
void add_scans_up_to(std::vector<std::string>& scans, Conditions const& conditions, std::size_t begin,
                     KeyValue const& hi, std::string const& rest) {
  for (std::size_t width = begin; width < hi.size(); ++width) {
    auto terms = conditions.equal_prefix(width, hi);
    if (!rest.empty()) terms.push_back(rest);
    terms.push_back(conditions.up_to(width, hi));
    scans.push_back(join(terms, " AND "));
  }
}

// Columns run different ways, or are compared by different operators: SQL has no row comparison for that, so each end
// becomes a list of scans, one a column.
std::vector<std::string> mixed_scans(Conditions const& conditions, std::size_t shared, Interval const& interval) {
  std::vector<std::string> scans;
  if (width_of(interval.lo) <= shared) {
    add_scans_up_to(scans, conditions, shared, *interval.hi, "");
    return scans;
  }
  if (width_of(interval.hi) <= shared) {
    add_scans_after(scans, conditions, shared, *interval.lo, "");
    return scans;
  }
  KeyValue const& lo = *interval.lo;
  KeyValue const& hi = *interval.hi;
  // Different texts may still be equal values (1.0 and 1.00): then these scans must stop at `hi` by themselves, and
  // those of `hi` must not find their rows again.
  std::vector<std::string> up_to_hi;
  for (std::size_t width = shared; width < hi.size(); ++width) {
    auto terms = conditions.equal_prefix(width, hi);
    terms.erase(terms.begin(), terms.begin() + static_cast<std::ptrdiff_t>(shared));
    terms.push_back(conditions.up_to(width, hi));
    up_to_hi.push_back(join(terms, " AND "));
  }
  add_scans_after(scans, conditions, shared + 1, lo, '(' + join(up_to_hi, " OR ") + ')');
  auto between = conditions.equal_prefix(shared, lo);
  between.push_back(conditions.after(shared, lo));
  between.push_back(conditions.up_to(shared, hi));
  scans.push_back(join(between, " AND "));
  add_scans_up_to(scans, conditions, shared + 1, hi, conditions.after(shared, lo));
  return scans;
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

std::string KeyColumn::comparison(KeyComparison comparison) const {
  static constexpr std::array<char const*, kKeyComparisons> kNames = {"<", "<=", "=", ">=", ">"};
  auto const index = static_cast<std::size_t>(comparison);
  std::string const known = operators.size() == kKeyComparisons ? operators[index] : "";
  return "OPERATOR(" + (known.empty() ? std::string("pg_catalog.") + kNames[index] : known) + ")";
}

bool Key::is_mixed() const {
  return !columns.empty() && !is_uniform(*this, 0, columns.size());
}

std::string interval_condition(Key const& key, Interval const& interval, std::string const& alias) {
  auto const scans = interval_scans(key, interval, alias);
  if (scans.size() == 1) return scans.front();
  // No range of the leading column beside the alternatives: without statistics the server prefers it to them, and
  // reads all rows of the leading values.
  return "((" + join(scans, ") OR (") + "))";
}

std::vector<std::string> interval_scans(Key const& key, Interval const& interval, std::string const& alias) {
  assert(!key.is_by_block());
  if (!interval.lo && !interval.hi) return {"true"};
  std::size_t const width = std::max(width_of(interval.lo), width_of(interval.hi));
  assert(width >= 1 && width <= key.columns.size());
  std::size_t const shared = shared_width(interval);
  // `lo` is the last position of all that start with it, so nothing that starts with it is left.
  if (interval.hi && interval.lo && interval.lo->size() == shared) return {"false"};
  Conditions const conditions(key, alias);
  if (is_uniform(key, shared, width)) return {uniform_scan(conditions, shared, interval)};
  return mixed_scans(conditions, shared, interval);
}

std::string block_condition(Interval const& interval, std::string const& alias, int server_major) {
  assert(interval.hi);
  std::string const first = interval.lo ? std::to_string(std::stoll(interval.lo->front()) + 1) : "0";
  std::string const last = interval.hi->front();
  if (server_major >= 14) {
    return alias + ".ctid OPERATOR(pg_catalog.>=) '(" + first + ",0)'::pg_catalog.tid AND " + alias +
           ".ctid OPERATOR(pg_catalog.<) '(" + std::to_string(std::stoll(last) + 1) + ",0)'::pg_catalog.tid";
  }
  // PostgreSQL 13 has no TID range scan; a list of all possible positions on these blocks is a TID scan.
  return alias +
         ".ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT pg_catalog.format('(%s,%s)', b, o)::pg_catalog.tid FROM "
         "pg_catalog.generate_series(" +
         first + ", " + last + ") b, pg_catalog.generate_series(1, " + std::to_string(kMostRowsOnAPage) + ") o))";
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

std::string same_key(Key const& key, std::string const& alias, std::string const& other) {
  if (key.is_by_block()) return alias + ".ctid OPERATOR(pg_catalog.=) " + other + ".ctid";
  std::vector<std::string> values;
  for (auto const& column : key.columns) values.push_back(other + '.' + quote_identifier(column.name));
  return same_key_as(key, alias, values);
}

std::string same_key_as(Key const& key, std::string const& alias, std::vector<std::string> const& values) {
  std::vector<std::string> terms;
  for (std::size_t index = 0; index < key.columns.size(); ++index) {
    auto const& column = key.columns[index];
    terms.push_back(column_text(column, alias) + ' ' + column.comparison(KeyComparison::kEqual) + ' ' + values[index]);
  }
  return join(terms, " AND ");
}

std::string is_among(std::vector<std::string> const& own, std::string const& equal,
                     std::vector<std::string> const& values, std::string const& rows) {
  std::string const row = own.size() == 1 ? own.front() : "ROW(" + join(own, ", ") + ")";
  // IS TRUE keeps it from becoming a join.
  return "(" + row + ' ' + equal + " ANY (SELECT " + join(values, ", ") + " FROM " + rows + ")) IS TRUE";
}

std::string key_is_among(Key const& key, std::string const& alias, std::vector<std::string> const& values,
                         std::string const& rows) {
  std::string const equal = key.columns.front().comparison(KeyComparison::kEqual);
  bool const is_one_operator = std::all_of(key.columns.begin(), key.columns.end(), [&](KeyColumn const& column) {
    return column.comparison(KeyComparison::kEqual) == equal;
  });
  if (!is_one_operator) return "EXISTS (SELECT FROM " + rows + " WHERE " + same_key_as(key, alias, values) + ")";
  std::vector<std::string> own;
  for (auto const& column : key.columns) own.push_back(column_text(column, alias));
  return is_among(own, equal, values, rows);
}

std::string key_is(Key const& key, KeyValue const& value, std::string const& alias) {
  return join(Conditions(key, alias).equal_prefix(value.size(), value), " AND ");
}

std::string column_comparisons(KeyColumn const& column, std::string const& alias) {
  std::string const name = alias + '.' + quote_identifier(column.name);
  std::vector<std::string> terms;
  for (std::size_t index = 0; index < kKeyComparisons; ++index) {
    auto const comparison = static_cast<KeyComparison>(index);
    terms.push_back(column_text(column, alias) + ' ' + column.comparison(comparison) + ' ' + name);
  }
  return join(terms, " AND ");
}

std::string key_texts(Key const& key, std::string const& alias) {
  std::vector<std::string> terms;
  for (auto const& column : key.columns) {
    terms.push_back(text_of_value(alias + '.' + quote_identifier(column.name), column.type));
  }
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
