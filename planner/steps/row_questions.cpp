#include "planner/steps/row_questions.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "planner/model/sql_text.h"
#include "planner/sql/sql_syntax.h"
#include "planner/steps/heirs.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner::recipes {

namespace {

std::string only_of(bool is_only) {
  return is_only ? "ONLY " : "";
}

std::vector<std::string> names_in(lint::SyntaxNode const& node, std::string_view field) {
  std::vector<std::string> names;
  for (auto const& name : node.list(field)) names.emplace_back(name.text("sval"));
  return names;
}

lint::SyntaxNode constraint_in(lint::Syntax const& syntax) {
  if (syntax.statements.size() != 1) return {};
  auto const changes = syntax.statements.front().list("cmds");
  return changes.size() == 1 ? changes.front().get("def") : lint::SyntaxNode();
}

std::optional<RowQuestion> orphans(TableName const& table, std::string what, std::string const& definition,
                                   bool is_partitioned) {
  auto const syntax = lint::parse_sql("ALTER TABLE t ADD " + definition);
  auto const constraint = constraint_in(syntax);
  auto const parent = constraint.get("pktable");
  NoOrphansCheck orphans;
  orphans.table = table;
  orphans.columns = names_in(constraint, "fk_attrs");
  orphans.references = {std::string(parent.text("schemaname")), std::string(parent.text("relname"))};
  orphans.to = names_in(constraint, "pk_attrs");
  orphans.is_of_table_alone = !is_partitioned;
  bool const is_read =
      !orphans.columns.empty() && orphans.columns.size() == orphans.to.size() && !orphans.references.name.empty();
  if (!is_read) return std::nullopt;
  Check check;
  check.kind = std::move(orphans);
  return RowQuestion{std::move(what), std::move(check)};
}

// Goes through SQL, past strings, quoted names and what is in brackets.
class Scan {
 public:
  explicit Scan(std::string_view sql) : sql_(sql) {}

  bool at_end() const { return at_ >= sql_.size(); }
  std::size_t place() const { return at_; }
  bool is_outside() const { return depth_ == 0; }
  char next() const { return sql_[at_]; }
  bool sees(std::string_view word) const { return sql_.substr(at_).starts_with(word); }

  void step() {
    char const c = next();
    if (c == '\'' || c == '"') {
      at_ = std::min(sql_.find(c, at_ + 1), sql_.size() - 1);
    } else if (c == '(' || c == '[') {
      ++depth_;
    } else if (c == ')' || c == ']') {
      --depth_;
    }
    ++at_;
  }

 private:
  std::string_view sql_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

struct IndexText {
  std::vector<std::string> elements;
  std::string where;
  bool is_distinct = true;  // NULL is like nothing else
};

std::vector<std::string> elements_of(std::string_view list) {
  std::vector<std::string> elements;
  std::size_t begin = 0;
  Scan scan(list);
  while (!scan.at_end()) {
    if (scan.is_outside() && scan.sees(", ")) {
      elements.emplace_back(list.substr(begin, scan.place() - begin));
      begin = scan.place() + 2;
    }
    scan.step();
  }
  elements.emplace_back(list.substr(begin));
  return elements;
}

IndexText index_text(std::string_view definition) {
  constexpr std::string_view kWhere = " WHERE ";
  IndexText index;
  Scan scan(definition);
  while (!scan.at_end() && !scan.sees(" USING ")) scan.step();
  while (!scan.at_end() && scan.next() != '(') scan.step();
  if (scan.at_end()) return index;
  std::size_t const opened = scan.place() + 1;
  do scan.step();
  while (!scan.at_end() && !scan.is_outside());
  index.elements = elements_of(definition.substr(opened, scan.place() - opened - 1));
  while (!scan.at_end()) {
    if (scan.is_outside() && scan.sees(" NULLS NOT DISTINCT")) index.is_distinct = false;
    if (scan.is_outside() && scan.sees(kWhere)) {
      index.where = definition.substr(scan.place() + kWhere.size());
      break;
    }
    scan.step();
  }
  return index;
}

// Of "lower(email) COLLATE "C" text_pattern_ops DESC" what is compared: without operators and order.
std::string compared(std::string const& element) {
  Scan scan(element);
  std::size_t end = element.size();
  while (!scan.at_end() && end == element.size()) {
    if (scan.is_outside() && scan.next() == ' ') end = scan.place();
    scan.step();
  }
  std::string text = element.substr(0, end);
  constexpr std::string_view kCollate = " COLLATE ";
  if (!std::string_view(element).substr(end).starts_with(kCollate)) return text;
  std::size_t const named = end + kCollate.size();
  Scan name(std::string_view(element).substr(named));
  while (!name.at_end() && name.next() != ' ') name.step();
  return text + element.substr(end, kCollate.size() + name.place());
}

}  // namespace

RowQuestion counted_rows(std::string what, std::string from_and_where) {
  Check check;
  check.kind = ZeroCheck{"SELECT pg_catalog.count(*) FROM " + std::move(from_and_where)};
  return {std::move(what), std::move(check)};
}

RowQuestion nulls_in(TableName const& table, std::string_view column, bool only) {
  return counted_rows(
      "column " + std::string(column) + " of " + shown(table) + " is NOT NULL again, and rows with NULL: ",
      only_of(only) + quoted(table) + " WHERE " + quote_identifier(column) + " IS NULL");
}

RowQuestion nulls_in_all_but(TableName const& table, std::string const& column, std::string const& list) {
  auto question = nulls_in(table, column, false);
  if (list.empty()) return question;
  std::get<ZeroCheck>(question.check.kind).sql += " AND NOT " + is_listed(list, "tableoid", column);
  return question;
}

std::optional<RowQuestion> rows_against(TableName const& table, std::string_view constraint,
                                        std::string const& definition, bool is_partitioned) {
  constexpr std::string_view kCheck = "CHECK ";
  std::string const what = "constraint " + std::string(constraint) + " of " + shown(table) + " is there again, and ";
  if (definition.starts_with("FOREIGN KEY")) return orphans(table, what, definition, is_partitioned);
  std::size_t const closed = definition.rfind(')');
  if (!definition.starts_with(kCheck) || closed == std::string::npos) return std::nullopt;
  bool const is_only = definition.ends_with(" NO INHERIT");
  std::string const condition = definition.substr(kCheck.size(), closed + 1 - kCheck.size());
  return counted_rows(what + "rows that fail it: ", only_of(is_only) + quoted(table) + " WHERE NOT " + condition);
}

std::optional<RowQuestion> duplicates_in(TableName const& table, std::string_view index,
                                         std::string const& definition) {
  auto const text = index_text(definition);
  if (text.elements.empty()) return std::nullopt;
  std::vector<std::string> keys;
  std::vector<std::string> conditions;
  if (!text.where.empty()) conditions.push_back(text.where);
  for (auto const& element : text.elements) {
    keys.push_back(compared(element));
    if (text.is_distinct) conditions.push_back(keys.back() + " IS NOT NULL");
  }
  std::string const where = conditions.empty() ? "" : " WHERE " + join(conditions, " AND ");
  return counted_rows("unique index " + std::string(index) + " of " + shown(table) +
                          " is there again, and values that appear more than once: ",
                      "(SELECT FROM ONLY " + quoted(table) + where + " GROUP BY " + join(keys, ", ") +
                          " HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1::pg_catalog.int8) AS doubled");
}

}  // namespace pgbackfill::planner::recipes
