#include "planner/steps/sql_step.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "planner/sql/sql_script.h"
#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner {
namespace {

using lint::SyntaxNode;

// Forms of ALTER TABLE with a weaker lock on the table; FOREIGN KEY is asked of the constraint.
constexpr std::array<std::string_view, 18> kWeaker{
    "AT_ValidateConstraint", "AT_SetStatistics",           "AT_SetOptions",     "AT_ResetOptions",
    "AT_SetRelOptions",      "AT_ResetRelOptions",         "AT_ClusterOn",      "AT_DropCluster",
    "AT_AttachPartition",    "AT_DetachPartitionFinalize", "AT_EnableTrig",     "AT_EnableAlwaysTrig",
    "AT_EnableReplicaTrig",  "AT_EnableTrigAll",           "AT_EnableTrigUser", "AT_DisableTrig",
    "AT_DisableTrigAll",     "AT_DisableTrigUser"};

// LOCK TABLE says its mode by number.
constexpr std::int64_t kAccessExclusiveNumber = 8;

TableName relation_of(SyntaxNode range) {
  return {std::string(range.text("schemaname")), std::string(range.text("relname"))};
}

// a.b.c of a list of names.
TableName name_of(SyntaxNode item) {
  auto const parts = item.list("items");
  if (parts.empty()) return {};
  std::string const schema = parts.size() > 1 ? std::string(parts[parts.size() - 2].text("sval")) : std::string();
  return {schema, std::string(parts.back().text("sval"))};
}

bool is_weaker(SyntaxNode change) {
  auto const word = change.text("subtype");
  if (word == "AT_AddConstraint") return change.get("def").text("contype") == "CONSTR_FOREIGN";
  if (word == "AT_DetachPartition") return change.get("def").flag("concurrent");
  return std::find(kWeaker.begin(), kWeaker.end(), word) != kWeaker.end();
}

void add_altered(SyntaxNode statement, std::vector<TableName>& tables) {
  auto const changes = statement.list("cmds");
  if (!std::all_of(changes.begin(), changes.end(), is_weaker)) tables.push_back(relation_of(statement.get("relation")));
  for (auto const& change : changes) {
    // The partition itself.
    auto const word = change.text("subtype");
    bool const is_moved = word == "AT_AttachPartition" || (word == "AT_DetachPartition" && !is_weaker(change));
    if (is_moved) tables.push_back(relation_of(change.get("def").get("name")));
  }
}

void add_dropped(SyntaxNode statement, std::vector<TableName>& tables) {
  auto const type = statement.text("removeType");
  bool const is_of_table = type == "OBJECT_TRIGGER" || type == "OBJECT_RULE" || type == "OBJECT_POLICY";
  bool const is_relation = type == "OBJECT_TABLE" || (type == "OBJECT_INDEX" && !statement.flag("concurrent"));
  for (auto const& object : statement.list("objects")) {
    if (is_relation) tables.push_back(name_of(object));
    auto const parts = object.list("items");
    if (!is_of_table || parts.size() < 2) continue;
    // schema.table.trigger
    std::string const schema = parts.size() > 2 ? std::string(parts[parts.size() - 3].text("sval")) : std::string();
    tables.push_back({schema, std::string(parts[parts.size() - 2].text("sval"))});
  }
}

void add_locked(SyntaxNode statement, std::vector<TableName>& tables) {
  if (statement.is("AlterTableStmt")) return add_altered(statement, tables);
  if (statement.is("DropStmt")) return add_dropped(statement, tables);
  bool const is_listed =
      statement.is("TruncateStmt") || (statement.is("LockStmt") && statement.number("mode") == kAccessExclusiveNumber);
  for (auto const& relation : statement.list("relations")) {
    if (is_listed) tables.push_back(relation_of(relation));
  }
  bool const is_named = statement.is("RenameStmt") || statement.is("AlterObjectSchemaStmt");
  if (is_named && statement.get("relation")) tables.push_back(relation_of(statement.get("relation")));
  if (statement.is("CreatePolicyStmt") || statement.is("AlterPolicyStmt")) {
    tables.push_back(relation_of(statement.get("table")));
  }
  if (statement.is("RuleStmt")) tables.push_back(relation_of(statement.get("relation")));
}

void add_new(SyntaxNode statement, std::vector<NewName>& names) {
  auto const table = relation_of(statement.get("relation"));
  bool const is_column = statement.text("renameType") == "OBJECT_COLUMN";
  bool const is_table = statement.text("renameType") == "OBJECT_TABLE";
  std::string const renamed(statement.text("newname"));
  if (statement.is("RenameStmt") && is_column) names.push_back({table, renamed, {}});
  if (statement.is("RenameStmt") && is_table) names.push_back({table, {}, renamed});
  bool const is_kept = statement.get("relation").text("relpersistence") == "p";
  if (statement.is("CreateStmt") && is_kept) names.push_back({table, {}, table.name});
  if (!statement.is("AlterTableStmt")) return;
  for (auto const& change : statement.list("cmds")) {
    if (change.text("subtype") != "AT_AddColumn") continue;
    names.push_back({table, std::string(change.get("def").text("colname")), {}});
  }
}

template <class Names, class Add>
Names names_in(std::string const& sql, Add add) {
  Names names;
  for (auto const& one : lint::split_script(sql).statements) {
    if (one.nesting > lint::kMaxNesting) continue;
    auto const syntax = lint::parse_sql(sql.substr(one.span.begin, one.span.end - one.span.begin));
    for (auto const& statement : syntax.statements) add(statement, names);
  }
  return names;
}

}  // namespace

std::vector<TableName> locked_exclusively(std::string const& sql) {
  auto tables = names_in<std::vector<TableName>>(sql, add_locked);
  std::erase_if(tables, [](TableName const& table) { return table.name.empty(); });
  return tables;
}

std::vector<NewName> new_names(std::string const& sql) {
  return names_in<std::vector<NewName>>(sql, add_new);
}

}  // namespace pgbackfill::planner
