#include "planner/fill/named_tables.h"

#include <algorithm>
#include <string>
#include <variant>

#include "planner/checks/drift.h"
#include "planner/model/check.h"
#include "planner/model/step_detail.h"
#include "planner/sql/batch_placeholder.h"
#include "planner/sql/sql_script.h"
#include "planner/sql/sql_syntax.h"
#include "planner/steps/step_names.h"

namespace pgbackfill::planner {

namespace {

class Names {
 public:
  void add(TableName const& table) {
    if (table.name.empty() || std::find(tables_.begin(), tables_.end(), table) != tables_.end()) return;
    tables_.push_back(table);
  }

  void add_script(std::string const& sql) {
    for (auto const& statement : lint::split_script(sql).statements) {
      bool const is_bounded = statement.nesting <= lint::kMaxNesting &&
                              statement.span.end - statement.span.begin <= lint::kMaxStatementBytes;
      if (!is_bounded) continue;
      auto const syntax = lint::parse_sql(sql.substr(statement.span.begin, statement.span.end - statement.span.begin));
      for (auto const& node : syntax.statements) add_node(node);
    }
  }
  void add_expression(std::string const& sql) {
    if (!sql.empty()) add_script("SELECT (" + sql + "\n)");
  }
  std::vector<TableName> take() { return std::move(tables_); }

 private:
  void add_node(lint::SyntaxNode const& node) {
    if (node.is("RangeVar")) add({std::string(node.text("schemaname")), std::string(node.text("relname"))});
    for (auto const& child : node.children()) add_node(child);
  }

  std::vector<TableName> tables_;
};

void add_step(SchemaStep const& step, Names& names) {
  if (auto const* run = std::get_if<RunSql>(&step.detail->kind)) return names.add_script(run->sql);
  for (auto const& table : names_of(step).tables) names.add(table);
}

void add_backfill(Backfill const& backfill, Names& names) {
  names.add(backfill.table);
  names.add(backfill.copy_to);
  if (backfill.move_to) names.add(*backfill.move_to);
  names.add_script(with_batch_as(backfill.sql, "true"));
  names.add_expression(backfill.where);
  for (auto const& assignment : backfill.assignments) names.add_expression(assignment.expression);
}

}  // namespace

std::vector<TableName> named_tables(Migration const& migration) {
  Names names;
  for (auto const& table : tables_of(migration)) names.add(table);
  for (auto const* steps : {&migration.expand, &migration.contract}) {
    for (auto const& step : *steps) add_step(step, names);
  }
  if (migration.backfill) add_backfill(*migration.backfill, names);
  if (migration.sync) add_step(migration.sync->install, names);
  for (auto const& check : migration.verify) names.add_script(check_sql(check));
  return names.take();
}

}  // namespace pgbackfill::planner
