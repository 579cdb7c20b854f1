#include "planner/lint/changed_tables.h"

#include "planner/lint/plpgsql.h"
#include "planner/sql/sql_script.h"
#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner::lint {

namespace {

using Condition = bool (*)(SyntaxNode);

bool changes_rows(SyntaxNode node) {
  return node.is("UpdateStmt") || node.is("DeleteStmt") || node.is("MergeStmt");
}

bool inserts_rows(SyntaxNode node) {
  return node.is("InsertStmt");
}

bool writes_rows(SyntaxNode node) {
  return changes_rows(node) || inserts_rows(node);
}

// Those in WITH, too.
void collect(SyntaxNode node, Condition is_meant, std::vector<TableName>& tables) {
  if (is_meant(node)) {
    auto const relation = node.get("relation");
    tables.push_back({std::string(relation.text("schemaname")), std::string(relation.text("relname"))});
  }
  for (auto const& child : node.children()) collect(child, is_meant, tables);
}

bool is_shallow(std::string const& sql) {
  for (auto const& statement : split_script(sql).statements) {
    if (statement.nesting > kMaxNesting) return false;
  }
  return true;
}

std::vector<TableName> tables_of(std::string const& create_function, Condition is_meant) {
  std::vector<TableName> tables;
  if (!is_shallow(create_function)) return tables;
  auto const function = parse_sql(create_function);
  if (function.statements.size() != 1) return tables;
  auto const code = inner_code(function.statements.front(), create_function);
  if (!code) return tables;
  for (auto const& statement : code->statements) {
    if (!is_shallow(statement.sql)) continue;
    auto const syntax = parse_sql(statement.sql);
    for (auto const& node : syntax.statements) collect(node, is_meant, tables);
  }
  return tables;
}

}  // namespace

std::vector<TableName> tables_changed_by(std::string const& create_function) {
  return tables_of(create_function, &changes_rows);
}

std::vector<TableName> tables_inserted_into_by(std::string const& create_function) {
  return tables_of(create_function, &inserts_rows);
}

std::vector<TableName> tables_written_by(std::string const& create_function) {
  return tables_of(create_function, &writes_rows);
}

}  // namespace pgbackfill::planner::lint
