#include "planner/work/listed_rows.h"

#include <algorithm>
#include <set>
#include <utility>

#include "planner/model/fingerprint.h"
#include "planner/model/short_line.h"
#include "planner/model/sql_text.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::planner {

namespace {

constexpr std::size_t kMostShown = 60;
constexpr std::size_t kDigitsOfIdentity = 12;
constexpr char kBetweenValues = '\x1F';

std::string shown(std::string const& text) {
  return "'" + short_line(text, kMostShown) + "'";
}

void add_json_text(std::string& json, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  json += '"';
  for (char const c : text) {
    auto const byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json += {'\\', c};
    } else if (byte < 0x20) {
      json += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      json += c;
    }
  }
  json += '"';
}

// As psql and others write them.
std::string_view spelt_out(ParamType type, std::string_view text) {
  if (type != ParamType::kBoolean) return text;
  return text == "t" ? "true" : text == "f" ? "false" : text;
}

class RowReader {
 public:
  RowReader(CsvFile const& file, ListedTerms const& terms) : file_(file), terms_(terms) {}

  std::variant<ListedRows, std::vector<Problem>> read() {
    if (!file_.problems.empty()) return file_.problems;
    std::size_t first = 0;
    if (terms_.has_header) {
      read_header();
      if (!problems_.empty()) return std::move(problems_);
      first = 1;
    } else {
      for (std::size_t index = 0; index < terms_.columns.size(); ++index) places_.push_back(index);
      width_ = terms_.columns.size();
    }
    rows_.json = "[";
    for (std::size_t row = first; row < file_.rows.size() && problems_.size() < kMostCsvProblems; ++row) {
      read_row(file_.rows[row]);
    }
    rows_.json += "]";
    if (problems_.size() > kMostCsvProblems) problems_.resize(kMostCsvProblems);
    if (!problems_.empty()) return std::move(problems_);
    rows_.variable = "file_" + fingerprint(rows_.json);
    return std::move(rows_);
  }

 private:
  void refuse(CsvField const& place, std::string text) {
    problems_.push_back({{terms_.file, place.line, place.column}, std::move(text)});
  }

  void read_header() {
    if (file_.rows.empty()) {
      problems_.push_back({{terms_.file, 1, 1}, "the file is empty; its first line names its columns"});
      return;
    }
    auto const& header = file_.rows.front();
    width_ = header.size();
    std::vector<std::string_view> names;
    for (auto const& field : header) names.push_back(field.text);
    for (auto const& column : terms_.columns) {
      auto const count = std::count(names.begin(), names.end(), column.name);
      places_.push_back(static_cast<std::size_t>(std::find(names.begin(), names.end(), column.name) - names.begin()));
      if (count == 1) continue;
      refuse(header.front(),
             count == 0 ? "the first line names no column " + shown(column.name) + did_you_mean(column.name, names)
                        : "the first line names column " + shown(column.name) + " more than once");
    }
  }

  void read_row(CsvRow const& row) {
    if (row.size() != width_) return refuse_width(row);
    std::size_t const known_problems = problems_.size();
    std::string json = rows_.count == 0 ? "{" : ",{";
    std::string key;
    for (std::size_t index = 0; index < terms_.columns.size(); ++index) {
      auto const& column = terms_.columns[index];
      auto const value = read_value(column, row[places_[index]]);
      if (index > 0) json += ',';
      add_json_text(json, column.name);
      json += ':';
      if (value) {
        add_json_text(json, *value);
      } else {
        json += "null";
      }
      if (is_of_key(column)) key += value.value_or("") + kBetweenValues;
    }
    rows_.json += json + "}";
    ++rows_.count;
    bool const is_good = problems_.size() == known_problems;
    if (terms_.is_unique && is_good && !keys_.insert(std::move(key)).second) {
      refuse(row.front(), "the key (" + join(terms_.key, ", ") + ") of this row is that of one before it");
    }
  }

  void refuse_width(CsvRow const& row) {
    auto const count = [](std::size_t number) { return std::to_string(number) + (number == 1 ? " value" : " values"); };
    std::vector<std::string> names;
    for (auto const& column : terms_.columns) names.push_back(column.name);
    std::string const expected = terms_.has_header
                                     ? "the first line has " + std::to_string(width_)
                                     : "the key has " + std::to_string(width_) + " (" + join(names, ", ") + ")";
    refuse(row.front(), "this line has " + count(row.size()) + ", and " + expected +
                            "; a value with a comma in it stands between double quotes");
  }

  std::optional<std::string> read_value(ListedColumn const& column, CsvField const& field) {
    bool const is_null = field.text.empty() && !field.is_quoted;
    if (is_null && is_of_key(column)) {
      refuse(field, "there is no value for column " + shown(column.name) + " of the key");
    }
    if (is_null) return std::nullopt;
    auto read = read_param(column.type, spelt_out(column.type, field.text));
    if (auto* value = std::get_if<std::string>(&read)) return std::move(*value);
    refuse(field, "the value " + shown(field.text) + " of column " + shown(column.name) + " " +
                      std::get<WrongValue>(read).text);
    return std::nullopt;
  }

  bool is_of_key(ListedColumn const& column) const {
    return std::find(terms_.key.begin(), terms_.key.end(), column.name) != terms_.key.end();
  }

  CsvFile const& file_;
  ListedTerms const& terms_;
  std::vector<std::size_t> places_;  // by column: which value of a line it is
  std::size_t width_ = 0;
  std::set<std::string> keys_;
  ListedRows rows_;
  std::vector<Problem> problems_;
};

// Of types whose values are read here as the server reads them.
std::optional<ParamType> type_of_key(std::string const& type) {
  static constexpr std::array<std::pair<std::string_view, ParamType>, 11> kTypes{{
      {"smallint", ParamType::kSmallint},
      {"integer", ParamType::kInteger},
      {"bigint", ParamType::kBigint},
      {"numeric", ParamType::kNumeric},
      {"boolean", ParamType::kBoolean},
      {"text", ParamType::kText},
      {"character varying", ParamType::kText},
      {"uuid", ParamType::kUuid},
      {"date", ParamType::kDate},
      {"timestamp without time zone", ParamType::kTimestamp},
      {"timestamp with time zone", ParamType::kTimestamptz},
  }};
  auto const found = std::find_if(kTypes.begin(), kTypes.end(), [&](auto const& one) { return one.first == type; });
  return found == kTypes.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace

std::variant<ListedRows, std::vector<Problem>> read_listed_rows(CsvFile const& file, ListedTerms const& terms) {
  return RowReader(file, terms).read();
}

std::string listed_rows_sql(std::vector<ListedColumn> const& columns, std::string const& variable, bool distinct) {
  std::vector<std::string> values;
  std::vector<std::string> definitions;
  for (auto const& column : columns) {
    auto const name = quote_identifier(column.name);
    std::string const collated = column.collation.empty() ? "" : " COLLATE " + column.collation + " AS " + name;
    values.push_back("pgbackfill_file." + name + collated);
    definitions.push_back(name + ' ' + (column.sql_type.empty() ? sql_of(column.type) : column.sql_type));
  }
  // In their order, so that the rows of a batch stand together.
  std::vector<std::string> places;
  for (std::size_t place = 1; place <= columns.size(); ++place) places.push_back(std::to_string(place));
  std::string const order = distinct ? " ORDER BY " + join(places, ", ") : "";
  return std::string("SELECT ") + (distinct ? "DISTINCT " : "") + join(values, ", ") +
         " FROM pg_catalog.json_to_recordset(" + sql_of_variable(variable) + "::pg_catalog.json) AS pgbackfill_file (" +
         join(definitions, ", ") + ")" + order;
}

OnlyKeys only_keys_of(CsvFile keys, std::string file) {
  std::vector<std::string> texts;
  texts.reserve(keys.rows.size());
  for (auto const& row : keys.rows) {
    auto& text = texts.emplace_back();
    for (auto const& field : row) text += field.text + kBetweenValues;
  }
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  std::string const which = fingerprint(join(texts, "\n")).substr(0, kDigitsOfIdentity);
  return {std::move(file), std::move(keys), std::to_string(texts.size()) + ":" + which};
}

std::variant<std::vector<ListedColumn>, std::string> columns_of_key(Key const& key) {
  if (key.is_by_block()) {
    return "the table is paged by the places of its rows, for it has no key; keys can be listed only of a table that "
           "has one";
  }
  std::vector<ListedColumn> columns;
  for (auto const& column : key.columns) {
    auto const type = type_of_key(column.type);
    if (!type) {
      return "column " + quote_identifier(column.name) + " of the key is of type " + column.type +
             ", of which no values can be listed in a file; put the keys into a table of your own, and write a "
             "condition that reads it";
    }
    columns.push_back({column.name, *type, qualified_type(column.type), column.order_collation});
  }
  return columns;
}

}  // namespace pgbackfill::planner
