#include "planner/lint/changed_tables.h"

#include "planner/lint/plpgsql.h"
#include "planner/sql/sql_script.h"
#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner::lint {

namespace {

bool changes_rows(SyntaxNode node) {
  return node.is("UpdateStmt") || node.is("DeleteStmt") || node.is("MergeStmt");
}

// Those in WITH, too.
void collect(SyntaxNode node, std::vector<TableName>& tables) {
  if (changes_rows(node)) {
    auto const relation = node.get("relation");
    tables.push_back({std::string(relation.text("schemaname")), std::string(relation.text("relname"))});
  }
  for (auto const& child : node.children()) collect(child, tables);
}

bool is_shallow(std::string const& sql) {
  for (auto const& statement : split_script(sql).statements) {
    if (statement.nesting > kMaxNesting) return false;
  }
  return true;
}

}  // namespace

std::vector<TableName> tables_changed_by(std::string const& create_function) {
  std::vector<TableName> tables;
  if (!is_shallow(create_function)) return tables;
  auto const function = parse_sql(create_function);
  if (function.statements.size() != 1) return tables;
  auto const code = inner_code(function.statements.front(), create_function);
  if (!code) return tables;
  for (auto const& statement : code->statements) {
    if (!is_shallow(statement.sql)) continue;
    auto const syntax = parse_sql(statement.sql);
    for (auto const& node : syntax.statements) collect(node, tables);
  }
  return tables;
}

}  // namespace pgbackfill::planner::lint
