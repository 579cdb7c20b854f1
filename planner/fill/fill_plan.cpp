#include "planner/fill/fill_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "planner/fill/value_limits.h"
#include "planner/fill/value_sql.h"
#include "planner/model/replace_all.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::planner {

namespace {

// A number times a number of this size is still a bigint.
constexpr std::int64_t kMostPermuted = 2'000'000'000;
constexpr double kInOrder = 0.5;
constexpr double kNoticed = 0.1;
constexpr double kNoLimit = 9e18;
constexpr int kMostParents = 16;
constexpr double kReadsPerWrite = 4;
constexpr double kAllDistinct = 0.99;
constexpr std::int64_t kSeedsOfTable = 10'000;
constexpr std::int64_t kSeedsOfColumn = 10;

std::string counted(std::int64_t number) {
  return std::to_string(number) + "::int8";
}

// Of a key's column: which of its values a row has.
struct KeyPlace {
  std::int64_t rows_each = 1;  // that follow one another with the same value
  std::int64_t values = 1;
  bool is_permuted = false;
  bool is_backwards = false;
  bool is_unique = false;  // by itself
};

// Where a row's draw falls among NULLs, the common values in their order, and the others.
struct CommonDraw {
  std::string thresholds;  // SQL of a float8[]: the lower end of each common value
  double beyond = 0;       // from here on: the others
};

CommonDraw common_draw(ColumnProfile const& column) {
  std::string list;
  double threshold = column.null_share;
  for (double const share : column.common_shares) {
    list += (list.empty() ? "" : ",") + std::to_string(threshold);
    threshold += share;
  }
  return {"'{" + list + "}'::float8[]", threshold};
}

struct TablePlan {
  std::int64_t rows = 0;
  std::map<std::string, KeyPlace> places;  // by column
  bool is_filled = false;                  // else through the table that it is a partition of, or by its partitions
};

class Filler {
 public:
  Filler(std::vector<TableProfile> const& tables, FillTerms const& terms)
      : tables_(tables), terms_(terms), plans_(tables.size()) {}

  FillPlan plan();
  std::vector<TrafficStatement> traffic();

 private:
  // The condition that finds the row of number n; empty: there is no key that tells it.
  std::string condition_of(TableProfile const& table) const;
  void add_traffic(TableProfile const& table, std::vector<TrafficStatement>& all);
  std::optional<std::size_t> find(TableName const& table) const;
  std::size_t index_of(TableProfile const& table) const { return static_cast<std::size_t>(&table - tables_.data()); }
  bool is_by_one_column(TableProfile const& table) const { return !column_of_key(table.partition_key).empty(); }
  void place_rows();
  void place_keys(TableProfile const& table);
  void place_key(TableProfile const& table, std::vector<std::string> columns);
  double capacity_of(TableProfile const& table, ColumnProfile const& column) const;
  ValueLimits limits_of(TableProfile const& table, ColumnProfile const& column) const;
  ForeignKeyProfile const* foreign_key_of(TableProfile const& table, std::string const& column) const;
  std::int64_t seed_of(TableProfile const& table, ColumnProfile const& column) const;
  std::string number_of_row(KeyPlace const& place, std::string const& row, bool is_own) const;
  // Of a column of a key, in the row of this number. `is_own`: of the table that is being filled, where rows may stand
  // in another order than their keys.
  std::string key_value(TableProfile const& table, ColumnProfile const& column, std::string const& row, bool is_own,
                        int depth) const;
  std::string parent_value(ForeignKeyProfile const& key, std::string const& column, std::string const& number,
                           double values, int depth) const;
  // `with_common`: the common ones are among them, else they are kept and stand beside.
  std::string drawn_number(TableProfile const& table, ColumnProfile const& column, double values,
                           bool with_common) const;
  double distinct_of(TableProfile const& table, ColumnProfile const& column) const;
  bool is_all_distinct(TableProfile const& table, ColumnProfile const& column) const;
  std::string all_distinct(TableProfile const& table, ColumnProfile const& column) const;
  std::string drawn(TableProfile const& table, ColumnProfile const& column) const;
  std::string foreign(TableProfile const& table, ColumnProfile const& column, ForeignKeyProfile const& key) const;
  std::string with_nulls(TableProfile const& table, ColumnProfile const& column, std::string value) const;
  std::string kept_common(TableProfile const& table, ColumnProfile const& column, std::string const& rest) const;
  std::string value_of(TableProfile const& table, ColumnProfile const& column);
  TableFill fill_of(TableProfile const& table);

  std::vector<TableProfile> const& tables_;
  FillTerms const& terms_;
  std::vector<TablePlan> plans_;
  FillPlan plan_;
};

ColumnProfile const* column_of(TableProfile const& table, std::string const& name) {
  auto const found = std::find_if(table.columns.begin(), table.columns.end(),
                                  [&](ColumnProfile const& column) { return column.name == name; });
  return found == table.columns.end() ? nullptr : &*found;
}

std::optional<std::size_t> Filler::find(TableName const& table) const {
  for (std::size_t index = 0; index < tables_.size(); ++index) {
    if (tables_[index].table == table) return index;
  }
  return std::nullopt;
}

void Filler::place_rows() {
  for (auto const& table : tables_) {
    auto& plan = plans_[index_of(table)];
    auto const scaled = std::llround(static_cast<double>(table.rows) * terms_.scale);
    plan.rows = table.rows > 0 ? std::max<std::int64_t>(scaled, 1) : 0;
    plan.is_filled = table.kind == "p" ? !is_by_one_column(table) : true;
    // Rows find the way to their partitions by themselves, where a bound does not say it.
    for (auto above = find(table.parent); above && !table.parent.name.empty(); above = find(tables_[*above].parent)) {
      if (!is_by_one_column(tables_[*above])) plan.is_filled = false;
      if (tables_[*above].parent.name.empty()) break;
    }
  }
}

std::int64_t Filler::seed_of(TableProfile const& table, ColumnProfile const& column) const {
  auto const number = static_cast<std::int64_t>(&column - table.columns.data());
  return static_cast<std::int64_t>(index_of(table)) * kSeedsOfTable + number * kSeedsOfColumn + 1;
}

ValueLimits Filler::limits_of(TableProfile const& table, ColumnProfile const& column) const {
  ValueLimits limits;
  auto const narrow = [&](ValueLimits const& more) {
    if (!more.allowed.empty()) limits.allowed = more.allowed;
    if (more.lowest) limits.lowest = std::max(limits.lowest.value_or(*more.lowest), *more.lowest);
    if (more.beyond) limits.beyond = std::min(limits.beyond.value_or(*more.beyond), *more.beyond);
  };
  for (auto const& check : table.checks) {
    if (check.columns == std::vector{column.name}) narrow(limits_of_check(check.definition, column));
  }
  auto const* leaf = &table;
  while (!leaf->parent.name.empty()) {
    auto const above = find(leaf->parent);
    if (!above) break;
    if (column_of_key(tables_[*above].partition_key) == column.name) {
      narrow(limits_of_bound(leaf->partition_bound, column));
    }
    leaf = &tables_[*above];
  }
  return limits;
}

ForeignKeyProfile const* Filler::foreign_key_of(TableProfile const& table, std::string const& column) const {
  for (auto const& key : table.foreign_keys) {
    bool const has_column = std::find(key.columns.begin(), key.columns.end(), column) != key.columns.end();
    auto const parent = find(key.parent);
    bool const can_be_met = parent && plans_[*parent].is_filled && plans_[*parent].rows > 0;
    if (has_column && can_be_met) return &key;
  }
  return nullptr;
}

// A value of its own for each row, in the order in which values are found in production.
KeyPlace place_in_order(ColumnProfile const& column, std::int64_t rows) {
  KeyPlace place;
  place.values = rows;
  place.is_unique = true;
  bool const is_small = rows <= kMostPermuted;
  place.is_permuted = is_small && std::abs(column.correlation) < kInOrder && column.is_analyzed;
  place.is_backwards = is_small && column.correlation < -kInOrder;
  return place;
}

// How many values there can be.
double Filler::capacity_of(TableProfile const& table, ColumnProfile const& column) const {
  if (auto const* key = foreign_key_of(table, column.name)) {
    return static_cast<double>(plans_[*find(key->parent)].rows);
  }
  auto const limits = limits_of(table, column);
  if (!limits.allowed.empty()) return static_cast<double>(limits.allowed.size());
  auto const family = family_of(column);
  if (family == ValueFamily::kTruth) return 2;
  if (family == ValueFamily::kLabel) return static_cast<double>(std::max<std::size_t>(column.labels.size(), 1));
  if (family == ValueFamily::kInteger && limits.lowest && limits.beyond) return *limits.beyond - *limits.lowest;
  if (column.max_length > 0) return std::pow(16.0, static_cast<double>(std::min<std::int64_t>(column.max_length, 15)));
  return kNoLimit;
}

double Filler::distinct_of(TableProfile const& table, ColumnProfile const& column) const {
  auto const rows = static_cast<double>(std::max<std::int64_t>(plans_[index_of(table)].rows, 1));
  double const distinct = column.distinct < 0 ? -column.distinct * rows : column.distinct;
  return std::clamp(distinct > 0 ? std::round(distinct) : rows, 1.0, rows);
}

void Filler::place_key(TableProfile const& table, std::vector<std::string> columns) {
  auto& plan = plans_[index_of(table)];
  auto const correlation = [&](std::string const& name) { return std::abs(column_of(table, name)->correlation); };
  std::stable_sort(columns.begin(), columns.end(), [&](std::string const& left, std::string const& right) {
    return correlation(left) > correlation(right);
  });
  // The last one counts within the others, and has to have room for that.
  auto const widest = std::max_element(columns.begin(), columns.end(), [&](auto const& left, auto const& right) {
    return capacity_of(table, *column_of(table, left)) <= capacity_of(table, *column_of(table, right));
  });
  std::rotate(widest, widest + 1, columns.end());
  auto left = std::max<std::int64_t>(plan.rows, 1);
  for (std::size_t index = 0; index < columns.size(); ++index) {
    auto const& column = *column_of(table, columns[index]);
    bool const is_last = index + 1 == columns.size();
    double const capacity = capacity_of(table, column);
    auto const values = static_cast<std::int64_t>(std::min(distinct_of(table, column), capacity));
    KeyPlace place;
    if (is_last) {
      if (columns.size() == 1) place = place_in_order(column, left);
      place.values = left;
      if (static_cast<double>(left) > capacity) {
        plan_.refused.push_back(shown_column(table.table, column.name) + " belongs to a unique key and has room for " +
                                std::to_string(static_cast<std::int64_t>(capacity)) + " values, where " +
                                std::to_string(left) + " are needed; give fewer rows (--rows)");
      }
    } else {
      place.rows_each = (left + std::max<std::int64_t>(values, 1) - 1) / std::max<std::int64_t>(values, 1);
      place.values = (left + place.rows_each - 1) / place.rows_each;
      left = place.rows_each;
    }
    plan.places[column.name] = place;
  }
}

void Filler::place_keys(TableProfile const& table) {
  auto keys = table.unique_keys;
  std::stable_sort(keys.begin(), keys.end(),
                   [](auto const& left, auto const& right) { return left.size() < right.size(); });
  auto& places = plans_[index_of(table)].places;
  for (auto const& key : keys) {
    bool const is_known = std::all_of(key.begin(), key.end(), [&](std::string const& name) {
      return column_of(table, name) != nullptr && !column_of(table, name)->is_generated;
    });
    bool const is_unique_already = std::any_of(key.begin(), key.end(), [&](std::string const& name) {
      return places.contains(name) && places.at(name).is_unique;
    });
    if (!is_known || is_unique_already || key.empty()) continue;
    bool const is_taken =
        std::any_of(key.begin(), key.end(), [&](std::string const& name) { return places.contains(name); });
    if (is_taken) {
      plan_.notes.push_back(shown(table.table) + ": unique key (" + join(key, ", ") +
                            ") shares columns with another one, and may not hold for made-up rows");
      continue;
    }
    place_key(table, key);
  }
}

// An odd number near the golden section of the rows that has no divisor in common with them: steps of it visit each.
std::int64_t step_of(std::int64_t rows) {
  auto step = static_cast<std::int64_t>(static_cast<double>(rows) * 0.6180339887) | 1;
  while (std::gcd(step, rows) != 1) step += 2;
  return step;
}

std::string Filler::number_of_row(KeyPlace const& place, std::string const& row, bool is_own) const {
  if (is_own && place.is_permuted) {
    return "((" + row + ") * " + counted(step_of(place.values)) + " % " + counted(place.values) + ")";
  }
  if (is_own && place.is_backwards) return "(" + counted(place.values - 1) + " - (" + row + "))";
  std::string number = "(" + row + ")";
  if (place.rows_each > 1) return "(" + number + " / " + counted(place.rows_each) + ")";
  return place.is_unique ? number : "(" + number + " % " + counted(place.values) + ")";
}

std::string Filler::key_value(TableProfile const& table, ColumnProfile const& column, std::string const& row,
                              bool is_own, int depth) const {
  auto const& place = plans_[index_of(table)].places.at(column.name);
  auto const number = number_of_row(place, row, is_own);
  auto const values = static_cast<double>(place.values);
  if (auto const* key = foreign_key_of(table, column.name); key != nullptr && depth < kMostParents) {
    return parent_value(*key, column.name, number, values, depth + 1);
  }
  auto const limits = limits_of(table, column);
  return value_sql(
      column, {number, values, true, seed_of(table, column), terms_.now, limits.lowest, limits.beyond, limits.allowed});
}

std::string Filler::parent_value(ForeignKeyProfile const& key, std::string const& column, std::string const& number,
                                 double values, int depth) const {
  auto const& parent = tables_[*find(key.parent)];
  auto const& plan = plans_[index_of(parent)];
  auto const at = std::find(key.columns.begin(), key.columns.end(), column) - key.columns.begin();
  auto const& name = key.parent_columns[static_cast<std::size_t>(at)];
  auto const* parent_column = column_of(parent, name);
  if (parent_column == nullptr || !plan.places.contains(name)) return "NULL";
  double const step = static_cast<double>(plan.rows) / std::max(values, 1.0);
  std::string const row = step == 1 ? number : "floor((" + number + ") * " + real_sql(step) + ")::int8";
  return key_value(parent, *parent_column, row, false, depth);
}

std::string Filler::with_nulls(TableProfile const& table, ColumnProfile const& column, std::string value) const {
  if (column.is_not_null || column.null_share <= 0) return value;
  return "CASE WHEN " + random_sql("n", seed_of(table, column)) + " >= " + real_sql(column.null_share) + " THEN " +
         value + " END";
}

// Which of its values a row has: the common ones as often as they are, the others evenly.
std::string Filler::drawn_number(TableProfile const& table, ColumnProfile const& column, double values,
                                 bool with_common) const {
  auto const seed = seed_of(table, column);
  auto const rows = static_cast<double>(std::max<std::int64_t>(plans_[index_of(table)].rows, 1));
  std::string place = random_sql("n", seed + 1);
  if (std::abs(column.correlation) > kNoticed) {
    std::string const in_order = column.correlation > 0
                                     ? "(n * " + real_sql(1 / rows) + ")"
                                     : "((" + real_sql(rows - 1) + " - n) * " + real_sql(1 / rows) + ")";
    place = "CASE WHEN " + random_sql("n", seed + 2) + " < " + real_sql(std::abs(column.correlation)) + " THEN " +
            in_order + " ELSE " + place + " END";
  }
  std::string const evenly = "floor((" + place + ") * " + real_sql(values) + ")::int8";
  if (column.common_shares.empty() || !with_common) return evenly;
  std::string numbers;
  auto const common = static_cast<double>(column.common_shares.size());
  for (std::size_t index = 0; index < column.common_shares.size(); ++index) {
    auto const number = std::floor((static_cast<double>(index) + 0.5) * values / common);
    numbers += (index == 0 ? "" : ",") + std::to_string(static_cast<std::int64_t>(number));
  }
  std::string const draw = random_sql("n", seed);
  auto const found = common_draw(column);
  return "CASE WHEN " + draw + " < " + real_sql(found.beyond) + " THEN ('{" + numbers +
         "}'::int8[])[greatest(width_bucket(" + draw + ", " + found.thresholds + "), 1)] ELSE " + evenly + " END";
}

std::string Filler::kept_common(TableProfile const& table, ColumnProfile const& column, std::string const& rest) const {
  if (column.common_values.empty() || column.common_values.size() != column.common_shares.size()) return rest;
  auto const found = common_draw(column);
  std::string const draw = random_sql("n", seed_of(table, column));
  return "CASE WHEN " + draw + " < " + real_sql(found.beyond) + " THEN ((" + text_array(column.common_values) +
         ")[greatest(width_bucket(" + draw + ", " + found.thresholds + "), 1)])::" + column.type + " ELSE " + rest +
         " END";
}

// As good as a key, though nothing says that it is one: an index of the migration may rely on it.
bool Filler::is_all_distinct(TableProfile const& table, ColumnProfile const& column) const {
  auto const rows = static_cast<double>(plans_[index_of(table)].rows);
  return column.common_shares.empty() && column.distinct < 0 &&
         -column.distinct >= kAllDistinct * (1 - column.null_share) && capacity_of(table, column) >= rows;
}

std::string Filler::all_distinct(TableProfile const& table, ColumnProfile const& column) const {
  auto const rows = std::max<std::int64_t>(plans_[index_of(table)].rows, 1);
  auto const place = place_in_order(column, rows);
  auto const limits = limits_of(table, column);
  return value_sql(column, {number_of_row(place, "n", true), static_cast<double>(rows), true, seed_of(table, column),
                            terms_.now, limits.lowest, limits.beyond, limits.allowed});
}

std::string Filler::drawn(TableProfile const& table, ColumnProfile const& column) const {
  if (is_all_distinct(table, column)) return with_nulls(table, column, all_distinct(table, column));
  auto const common = column.common_values.empty() ? 0.0 : static_cast<double>(column.common_values.size());
  double const values = std::max(std::min(distinct_of(table, column) - common, capacity_of(table, column)), 1.0);
  auto const limits = limits_of(table, column);
  auto const number = drawn_number(table, column, values, column.common_values.empty());
  auto const rest = value_sql(column, {"(" + number + ")", values, false, seed_of(table, column), terms_.now,
                                       limits.lowest, limits.beyond, limits.allowed});
  return with_nulls(table, column, kept_common(table, column, rest));
}

std::string Filler::foreign(TableProfile const& table, ColumnProfile const& column,
                            ForeignKeyProfile const& key) const {
  // The columns of one key refer to one row, by the column that is of a key of its own, else by the first one.
  auto const& places = plans_[index_of(table)].places;
  auto const placed = std::find_if(key.columns.begin(), key.columns.end(),
                                   [&](std::string const& name) { return places.contains(name); });
  if (placed != key.columns.end()) {
    auto const& place = places.at(*placed);
    return parent_value(key, column.name, number_of_row(place, "n", true), static_cast<double>(place.values), 0);
  }
  auto const* first = column_of(table, key.columns.front());
  if (first == nullptr) return "NULL";
  double const values = std::min(distinct_of(table, *first), capacity_of(table, *first));
  auto const number = drawn_number(table, *first, values, true);
  return with_nulls(table, *first, parent_value(key, column.name, "(" + number + ")", values, 0));
}

std::string Filler::value_of(TableProfile const& table, ColumnProfile const& column) {
  auto const name = shown_column(table.table, column.name);
  if (auto const given = terms_.given.find(name); given != terms_.given.end()) {
    return "(" + parenthesised(given->second) + ")::" + column.type;
  }
  if (plans_[index_of(table)].places.contains(column.name)) {
    auto const value = key_value(table, column, "n", true, 0);
    return with_nulls(table, column, value);
  }
  if (auto const* key = foreign_key_of(table, column.name)) return foreign(table, column, *key);
  if (family_of(column) == ValueFamily::kUnknown) {
    if (column.is_not_null) {
      plan_.refused.push_back(name + ": values of type " + column.type +
                              " cannot be made up; give its SQL: rehearse: {values: {\"" + name + "\": \"...\"}}");
    } else {
      plan_.notes.push_back(name + ": values of type " + column.type + " cannot be made up; it is NULL in every row");
    }
  }
  return drawn(table, column);
}

TableFill Filler::fill_of(TableProfile const& table) {
  TableFill fill;
  fill.table = table.table;
  fill.rows = plans_[index_of(table)].rows;
  for (auto const& column : table.columns) {
    if (column.is_generated) continue;
    fill.columns += (fill.columns.empty() ? "" : ", ") + quote_identifier(column.name);
    fill.values += (fill.values.empty() ? "" : ", ") + value_of(table, column);
    if (!column.is_analyzed && fill.rows > 0) {
      plan_.notes.push_back(shown_column(table.table, column.name) +
                            ": the profile has no statistics of it; its values are a guess");
    }
  }
  return fill;
}

FillPlan Filler::plan() {
  place_rows();
  for (auto const& table : tables_) place_keys(table);
  for (auto const& table : tables_) {
    if (plans_[index_of(table)].is_filled) plan_.tables.push_back(fill_of(table));
  }
  return std::move(plan_);
}

std::string Filler::condition_of(TableProfile const& table) const {
  auto const& places = plans_[index_of(table)].places;
  for (auto const& key : table.unique_keys) {
    std::string condition;
    for (auto const& name : key) {
      auto const* column = column_of(table, name);
      bool const is_good = column != nullptr && column->is_not_null && places.contains(name);
      if (!is_good) {
        condition.clear();
        break;
      }
      condition += (condition.empty() ? "" : " AND ") + std::string("t.") + quote_identifier(name) + " = " +
                   key_value(table, *column, "n", false, 0);
    }
    if (!condition.empty()) return condition;
  }
  return "";
}

void Filler::add_traffic(TableProfile const& table, std::vector<TrafficStatement>& all) {
  auto const rows = plans_[index_of(table)].rows;
  auto const condition = condition_of(table);
  double const writes = table.updates_per_second + table.inserts_per_second;
  if (condition.empty() || rows == 0 || writes <= 0) return;
  auto const name = quote_qualified(table.table.schema, table.table.name);
  std::string const row = "(SELECT {n}::int8 AS n) AS row";
  all.push_back({TrafficKind::kRead, table.table, "SELECT t.* FROM " + name + " AS t, " + row + " WHERE " + condition,
                 rows, writes * kReadsPerWrite});
  auto const& places = plans_[index_of(table)].places;
  auto const changed = std::find_if(table.columns.begin(), table.columns.end(), [&](ColumnProfile const& column) {
    return !column.is_generated && !places.contains(column.name) && foreign_key_of(table, column.name) == nullptr;
  });
  if (table.updates_per_second > 0 && changed != table.columns.end()) {
    auto const column = quote_identifier(changed->name);
    all.push_back({TrafficKind::kUpdate, table.table,
                   "UPDATE " + name + " AS t SET " + column + " = t." + column + " FROM " + row + " WHERE " + condition,
                   rows, table.updates_per_second});
  }
  // A key whose rows stand in another order comes to its beginning again behind the last one.
  bool const goes_on = std::none_of(places.begin(), places.end(), [&](auto const& place) {
    return place.second.is_permuted || place.second.is_backwards || foreign_key_of(table, place.first) != nullptr;
  });
  if (table.inserts_per_second <= 0 || !goes_on || places.size() != 1) return;
  auto const fill = fill_of(table);
  all.push_back(
      {TrafficKind::kInsert, table.table,
       "INSERT INTO " + name + " (" + fill.columns + ") OVERRIDING SYSTEM VALUE SELECT " + fill.values + " FROM " + row,
       rows, table.inserts_per_second});
}

std::vector<TrafficStatement> Filler::traffic() {
  place_rows();
  for (auto const& table : tables_) place_keys(table);
  std::vector<TrafficStatement> all;
  for (auto const& table : tables_) {
    if (plans_[index_of(table)].is_filled) add_traffic(table, all);
  }
  return all;
}

}  // namespace

std::vector<TrafficStatement> plan_traffic(std::vector<TableProfile> const& tables, FillTerms const& terms) {
  return Filler(tables, terms).traffic();
}

std::string traffic_sql(TrafficStatement const& statement, std::int64_t number) {
  auto sql = statement.sql;
  replace_all(sql, "{n}", std::to_string(number));
  return sql;
}

FillPlan plan_fill(std::vector<TableProfile> const& tables, FillTerms const& terms) {
  return Filler(tables, terms).plan();
}

namespace {

std::string insert_from(TableFill const& fill, std::string const& numbers) {
  return "INSERT INTO " + quote_qualified(fill.table.schema, fill.table.name) + " (" + fill.columns +
         ") OVERRIDING SYSTEM VALUE SELECT " + fill.values + " FROM generate_series(" + numbers + ") AS n";
}

}  // namespace

std::string insert_sql(TableFill const& fill, std::int64_t first, std::int64_t beyond) {
  return insert_from(fill, counted(first) + ", " + counted(beyond - 1));
}

std::string trial_sql(TableFill const& fill, std::int64_t most) {
  std::int64_t const step = std::max<std::int64_t>(fill.rows / std::max<std::int64_t>(most, 1), 1);
  return insert_from(fill, "0::int8, " + counted(fill.rows - 1) + ", " + counted(step));
}

std::string shown_column(TableName const& table, std::string const& column) {
  return shown(table) + "." + column;
}

}  // namespace pgbackfill::planner
