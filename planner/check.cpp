#include "planner/check.h"

#include <charconv>
#include <cmath>

#include "planner/short_line.h"
#include "planner/sql_text.h"

namespace pgbackfill::planner {
namespace {

std::string quoted(TableName const& table) {
  return quote_qualified(table.schema, table.name);
}

std::string of(std::string_view alias, std::string const& column) {
  return std::string{alias} + "." + quote_identifier(column);
}

std::vector<std::string> of(std::string_view alias, std::vector<std::string> const& columns) {
  std::vector<std::string> list;
  for (auto const& column : columns) list.push_back(of(alias, column));
  return list;
}

// The line break keeps a comment at the end from hiding the parenthesis.
std::string parenthesised(std::string const& sql) {
  return "(" + sql + "\n)";
}

std::string none_is_null(std::vector<std::string> const& columns) {
  std::vector<std::string> conditions;
  for (auto const& column : columns) conditions.push_back(column + " IS NOT NULL");
  return join(conditions, " AND ");
}

std::string sql_of(ZeroCheck const& check) {
  return check.sql;
}

// Both counts in one statement: they are of one moment.
std::string sql_of(RowCountCheck const& check) {
  std::string const where = check.where.empty() ? "" : " WHERE " + parenthesised(check.where);
  return "SELECT (SELECT count(*) FROM " + quoted(check.table) + where + "), (SELECT count(*) FROM " +
         quoted(check.same_as) + ")";
}

std::string sql_of(NoOrphansCheck const& check) {
  auto const columns = of("child", check.columns);
  auto const to = of("parent", check.to);
  std::vector<std::string> pairs;
  for (std::size_t index = 0; index < columns.size(); ++index) pairs.push_back(to[index] + " = " + columns[index]);
  return "SELECT count(*), min(pg_catalog.concat_ws(', ', " + join(columns, ", ") + ")) FROM " + quoted(check.table) +
         " AS child WHERE " + none_is_null(columns) + " AND NOT EXISTS (SELECT FROM " + quoted(check.references) +
         " AS parent WHERE " + join(pairs, " AND ") + ")";
}

std::string sql_of(NoDuplicatesCheck const& check) {
  std::vector<std::string> columns;
  for (auto const& column : check.columns) columns.push_back(quote_identifier(column));
  std::string const where = check.where.empty() ? "" : parenthesised(check.where) + " AND ";
  return "SELECT count(*), min(example) FROM (SELECT pg_catalog.concat_ws(', ', " + join(columns, ", ") +
         ") AS example FROM " + quoted(check.table) + " WHERE " + where + none_is_null(columns) + " GROUP BY " +
         join(columns, ", ") + " HAVING count(*) > 1) AS doubled";
}

// The cast to regclass fails where there is no such table.
std::string sql_of(ConstraintsValidCheck const& check) {
  return "WITH RECURSIVE tree (oid) AS (SELECT " + quote_literal(quoted(check.table)) +
         "::pg_catalog.regclass::pg_catalog.oid UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN tree ON "
         "h.inhparent = tree.oid), broken (name) AS (SELECT k.conname::text FROM pg_catalog.pg_constraint k JOIN tree "
         "ON k.conrelid = tree.oid WHERE NOT k.convalidated UNION ALL SELECT c.relname::text FROM pg_catalog.pg_index "
         "i "
         "JOIN tree ON i.indrelid = tree.oid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE NOT "
         "(i.indisvalid AND i.indisready AND i.indislive)) SELECT count(*), min(name) FROM broken";
}

std::string sql_of(AgreesCheck const& /*check*/) {
  return {};
}

// What one of them is called.
std::string_view offence_of(Check const& check) {
  struct Words {
    std::string_view operator()(ZeroCheck const& /*check*/) const { return "instead of 0"; }
    std::string_view operator()(RowCountCheck const& /*check*/) const { return "row(s)"; }
    std::string_view operator()(NoOrphansCheck const& /*check*/) const { return "row(s) refer to nothing"; }
    std::string_view operator()(NoDuplicatesCheck const& /*check*/) const { return "value(s) appear more than once"; }
    std::string_view operator()(ConstraintsValidCheck const& /*check*/) const {
      return "constraint(s) or index(es) are not valid";
    }
    std::string_view operator()(AgreesCheck const& /*check*/) const { return "row(s) do not agree"; }
  };
  return std::visit(Words{}, check.kind);
}

std::optional<double> number_of(std::string const& text) {
  double number = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  bool const is_number = error == std::errc{} && end == text.data() + text.size() && std::isfinite(number);
  return is_number ? std::optional(number) : std::nullopt;
}

constexpr std::size_t kMostShown = 100;

std::string shortened(std::string_view text) {
  return short_line(text, kMostShown);
}

std::string text_of(ZeroCheck const& check) {
  return "zero: " + shortened(check.sql);
}

std::string text_of(RowCountCheck const& check) {
  return "row_count: " + shown(check.table) + " and " + shown(check.same_as);
}

std::string text_of(NoOrphansCheck const& check) {
  return "no_orphans: " + shown(check.table) + " (" + join(check.columns, ", ") + ") in " + shown(check.references) +
         " (" + join(check.to, ", ") + ")";
}

std::string text_of(NoDuplicatesCheck const& check) {
  return "no_duplicates: " + shown(check.table) + " (" + join(check.columns, ", ") + ")";
}

std::string text_of(ConstraintsValidCheck const& check) {
  return "constraints_valid: " + shown(check.table);
}

std::string text_of(AgreesCheck const& check) {
  std::vector<std::string> columns;
  for (auto const& one : check.set) columns.push_back(one.column);
  return "agrees: " + shown(check.table) + " (" + join(columns, ", ") + ")";
}

CheckVerdict judge_counts(std::string const& left, std::string const& right) {
  if (left == right) return {true, left + " rows in both"};
  return {false, left + " row(s) against " + right};
}

}  // namespace

std::string check_text(Check const& check) {
  return std::visit([](auto const& kind) { return text_of(kind); }, check.kind);
}

std::string check_sql(Check const& check) {
  return std::visit([](auto const& kind) { return sql_of(kind); }, check.kind);
}

CheckVerdict judge(Check const& check, CheckAnswer const& answer) {
  bool const is_free = std::holds_alternative<ZeroCheck>(check.kind);
  if (answer.size() != 1) return {false, "the query gave " + std::to_string(answer.size()) + " rows instead of one"};
  auto const& row = answer.front();
  if (is_free && row.size() != 1) {
    return {false, "the query gave " + std::to_string(row.size()) + " columns instead of one"};
  }
  if (row.empty() || !row.front()) return {false, "the query gave NULL"};
  auto const& found = *row.front();
  if (std::holds_alternative<RowCountCheck>(check.kind)) return judge_counts(found, row.at(1).value_or("NULL"));
  auto const number = number_of(found);
  if (!number) return {false, "the query gave '" + shortened(found) + "', which is no number"};
  if (*number == 0) return {true, "0"};
  std::string text = found + " " + std::string{offence_of(check)};
  if (row.size() > 1 && row[1]) text += ", for example " + shortened(*row[1]);
  return {false, text};
}

}  // namespace pgbackfill::planner
