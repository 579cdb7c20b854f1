#include "planner/model/check.h"

#include <charconv>
#include <cmath>

#include "planner/model/short_line.h"
#include "planner/model/sql_text.h"

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

// Statements run under the file's search_path, in which `where` is meant: what is ours in them names its schema.

// Both counts in one statement: they are of one moment.
std::string sql_of(RowCountCheck const& check) {
  std::string const where = check.where.empty() ? "" : " WHERE " + parenthesised(check.where);
  return "SELECT (SELECT pg_catalog.count(*) FROM " + quoted(check.table) + where +
         "), (SELECT pg_catalog.count(*) FROM " + quoted(check.same_as) + ")";
}

std::string sql_of(NoOrphansCheck const& check) {
  auto const columns = of("child", check.columns);
  auto const to = of("parent", check.to);
  std::vector<std::string> pairs;
  for (std::size_t index = 0; index < columns.size(); ++index) {
    std::string const known = index < check.equalities.size() ? check.equalities[index] : "";
    pairs.push_back(to[index] + " OPERATOR(" + (known.empty() ? "pg_catalog.=" : known) + ") " + columns[index]);
  }
  return "SELECT pg_catalog.count(*), pg_catalog.min(pg_catalog.concat_ws(', ', " + join(columns, ", ") + ")) FROM " +
         (check.is_of_table_alone ? "ONLY " : "") + quoted(check.table) + " AS child WHERE " + none_is_null(columns) +
         " AND NOT EXISTS (SELECT FROM " + quoted(check.references) + " AS parent WHERE " + join(pairs, " AND ") + ")";
}

std::string sql_of(NoDuplicatesCheck const& check) {
  std::vector<std::string> columns;
  for (auto const& column : check.columns) columns.push_back(quote_identifier(column));
  std::string const where = check.where.empty() ? "" : parenthesised(check.where) + " AND ";
  return "SELECT pg_catalog.count(*), pg_catalog.min(example) FROM (SELECT pg_catalog.concat_ws(', ', " +
         join(columns, ", ") + ") AS example FROM " + quoted(check.table) + " WHERE " + where + none_is_null(columns) +
         " GROUP BY " + join(columns, ", ") +
         " HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1::pg_catalog.int8) AS doubled";
}

// The cast to regclass fails where there is no such table.
std::string sql_of(ConstraintsValidCheck const& check) {
  return "WITH RECURSIVE tree (oid) AS (SELECT " + quote_literal(quoted(check.table)) +
         "::pg_catalog.regclass::pg_catalog.oid UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN tree ON "
         "h.inhparent OPERATOR(pg_catalog.=) tree.oid), broken (name) AS (SELECT k.conname::pg_catalog.text FROM "
         "pg_catalog.pg_constraint k JOIN tree ON k.conrelid OPERATOR(pg_catalog.=) tree.oid WHERE NOT k.convalidated "
         // Rows of the server's own, one for each partition that the constraint refers to: up to 17 it leaves them so.
         "AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE o.oid OPERATOR(pg_catalog.=) k.conparentid AND "
         "o.conrelid OPERATOR(pg_catalog.=) k.conrelid) UNION ALL SELECT c.relname::pg_catalog.text FROM "
         "pg_catalog.pg_index i JOIN tree ON i.indrelid "
         "OPERATOR(pg_catalog.=) tree.oid JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid "
         "WHERE NOT (i.indisvalid AND i.indisready AND i.indislive)) SELECT pg_catalog.count(*), pg_catalog.min(name) "
         "FROM broken";
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
  if (check.asks_program()) return "agrees: " + shown(check.table) + " and its program";
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

std::string equalities_sql(Check const& check) {
  auto const* orphans = std::get_if<NoOrphansCheck>(&check.kind);
  if (orphans == nullptr) return {};
  auto const base_of = [](std::string const& column) {
    return "(WITH RECURSIVE base AS (SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = " + column +
           ".atttypid UNION ALL SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t JOIN base ON base.typbasetype = "
           "t.oid WHERE base.typtype = 'd') SELECT base.oid FROM base WHERE base.typtype <> 'd')";
  };
  std::string const parent = oid_of(orphans->references.schema, orphans->references.name);
  // As a foreign key would: by the unique index that it would refer to, else by the default order of the type. Where
  // the family has no operator for both types, the child's value is cast.
  return "WITH pair AS (SELECT p.place, a.attnum, " + base_of("a") + " AS parent, " + base_of("b") +
         " AS child FROM ROWS FROM (unnest(" + text_array(orphans->to) + "), unnest(" + text_array(orphans->columns) +
         ")) WITH ORDINALITY AS p (parent, child, place) LEFT JOIN pg_attribute a ON a.attrelid = " + parent +
         " AND a.attname = p.parent LEFT JOIN pg_attribute b ON b.attrelid = " +
         oid_of(orphans->table.schema, orphans->table.name) +
         " AND b.attname = p.child), class AS (SELECT pair.place, pair.child, o.opcfamily, o.opcintype, 0 AS rank, 3 "
         "AS strategy FROM pair JOIN pg_index i ON i.indrelid = " +
         parent +
         " AND i.indisunique AND i.indisvalid CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS k (n) JOIN "
         "pg_opclass o ON o.oid = i.indclass[k.n - 1] WHERE i.indkey[k.n - 1] = pair.attnum UNION ALL SELECT "
         "pair.place, pair.child, o.opcfamily, o.opcintype, CASE WHEN o.opcintype = pair.parent THEN 1 ELSE 3 END + "
         "CASE WHEN m.amname = 'btree' THEN 0 ELSE 1 END, CASE WHEN m.amname = 'btree' THEN 3 ELSE 1 END FROM pair "
         "JOIN pg_type t ON t.oid = pair.parent JOIN pg_opclass o ON o.opcdefault JOIN pg_am m ON m.oid = o.opcmethod "
         "WHERE m.amname IN ('btree', 'hash') AND (o.opcintype = pair.parent OR o.opcintype = 'anyenum'::regtype AND "
         "t.typtype = 'e' OR o.opcintype = 'anyrange'::regtype AND t.typtype = 'r' OR o.opcintype = 'record'::regtype "
         "AND t.typtype = 'c' OR o.opcintype = 'anyarray'::regtype AND t.typcategory = 'A' OR EXISTS (SELECT FROM "
         "pg_cast c WHERE c.castsource = pair.parent AND c.casttarget = o.opcintype AND c.castmethod = 'b' AND "
         "c.castcontext = 'i'))) SELECT (SELECT quote_ident(n.nspname) || '.' || r.oprname FROM class JOIN pg_amop x "
         "ON x.amopfamily = class.opcfamily AND x.amoplefttype = class.opcintype AND x.amoppurpose = 's' AND "
         "x.amopstrategy = class.strategy AND x.amoprighttype IN (class.child, class.opcintype) JOIN pg_operator r ON "
         "r.oid = x.amopopr JOIN pg_namespace n ON n.oid = r.oprnamespace WHERE class.place = pair.place ORDER BY "
         "class.rank, x.amoprighttype <> class.child LIMIT 1) FROM pair ORDER BY pair.place";
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
