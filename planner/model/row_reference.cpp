#include "planner/model/row_reference.h"

#include <algorithm>

#include "planner/model/sql_text.h"
#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner {

namespace {

std::string_view word_of(lint::SyntaxNode const& field) {
  auto const text = field.text("sval");
  return text.empty() ? field.text("str") : text;
}

bool is_whole_row(lint::SyntaxNode const& reference, std::string_view alias) {
  auto const fields = reference.list("fields");
  if (fields.empty() || fields.size() > 2 || word_of(fields.front()) != alias) return false;
  return fields.size() == 1 || fields.back().is("A_Star");
}

bool has_whole_row(lint::SyntaxNode const& node, std::string_view alias) {
  if (node.is("ColumnRef")) return is_whole_row(node, alias);
  auto const children = node.children();
  return std::any_of(children.begin(), children.end(),
                     [&](lint::SyntaxNode const& child) { return has_whole_row(child, alias); });
}

}  // namespace

bool takes_whole_row(std::string const& expression, std::string_view alias) {
  auto const syntax = lint::parse_sql("SELECT " + parenthesised(expression));
  if (!syntax.error.empty()) return false;
  return std::any_of(syntax.statements.begin(), syntax.statements.end(),
                     [&](lint::SyntaxNode const& statement) { return has_whole_row(statement, alias); });
}

}  // namespace pgbackfill::planner
