#include "planner/steps/recipe.h"

#include <variant>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/mirror_sql.h"
#include "planner/steps/recipes.h"
#include "planner/steps/server_rules.h"
#include "planner/steps/step_objects.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::planner {
namespace {

std::string coalesced(std::string const& condition) {
  return "coalesce((" + condition + "), false)";
}

// What a step makes of the columns, done to the probe; empty: nothing. The line break keeps a comment in the file's SQL
// from hiding what follows.
std::string on_probe(SchemaStep const& step, TableName const& table_of_sync) {
  std::string const alter = "ALTER TABLE " + std::string{recipes::kProbe};
  if (auto const* add = std::get_if<AddColumn>(&step.detail->kind)) {
    bool const is_of_sync = add->table == table_of_sync && !add->default_value.empty();
    std::string const standard = is_of_sync ? " DEFAULT " + parenthesised(add->default_value) : "";
    return alter + " ADD COLUMN IF NOT EXISTS " + quote_identifier(add->column) + " " + add->type + "\n" + standard;
  }
  auto const* set = std::get_if<SetDefault>(&step.detail->kind);
  if (set == nullptr || set->table != table_of_sync) return {};
  return alter + " ALTER COLUMN " + quote_identifier(set->column) +
         (set->value.empty() ? " DROP DEFAULT" : " SET DEFAULT " + parenthesised(set->value));
}

}  // namespace

bool is_typed(SchemaStep const& step) {
  return !std::holds_alternative<RunSql>(step.detail->kind);
}

bool believes_claims_alone(SchemaStep const& step) {
  auto const& kind = step.detail->kind;
  return std::holds_alternative<CreateTable>(kind) || std::holds_alternative<DropColumn>(kind) ||
         std::holds_alternative<DropConstraint>(kind) || std::holds_alternative<DropIndex>(kind) ||
         std::holds_alternative<DropTable>(kind) || std::holds_alternative<DetachPartition>(kind) ||
         std::holds_alternative<RenameColumn>(kind) || std::holds_alternative<RenameTable>(kind) ||
         std::holds_alternative<Swap>(kind);
}

std::string facts_sql(SchemaStep const& step) {
  return std::visit([](auto const& detail) { return recipes::facts_sql(detail); }, step.detail->kind);
}

std::vector<std::string> spelling_statements(SchemaStep const& step, StepFacts const& facts) {
  return std::visit([&](auto const& detail) { return recipes::spelling(detail, facts); }, step.detail->kind);
}

std::vector<std::string> spelling_statements_after(std::vector<SchemaStep> const& steps, SchemaStep const& sync,
                                                   StepFacts const& facts) {
  auto const* const install = std::get_if<InstallSync>(&sync.detail->kind);
  auto const table = install == nullptr ? TableName() : install->table;
  std::vector<std::string> additions;
  for (auto const& step : steps) {
    auto const addition = on_probe(step, table);
    if (!addition.empty()) additions.push_back(addition);
  }
  if (auto const* mirror = std::get_if<InstallMirror>(&sync.detail->kind)) {
    return recipes::spelling_of_mirror(*mirror, facts, additions);
  }
  return recipes::spelling_of_sync(std::get<InstallSync>(sync.detail->kind), facts, additions);
}

std::string spelled_problem(SchemaStep const& sync, std::string const& spelling) {
  char const* const unspelled = "the server does not spell its expressions";
  if (auto const* mirror = std::get_if<InstallMirror>(&sync.detail->kind)) {
    return read_mirror_spelling(*mirror, spelling) ? "" : unspelled;
  }
  auto const spelled = read_sync_spelling(std::get<InstallSync>(sync.detail->kind), spelling);
  return spelled ? sync_problem(*spelled) : unspelled;
}

Recipe recipe_for(SchemaStep const& step, StepFacts const& facts) {
  auto recipe = std::visit([&](auto const& detail) { return recipes::recipe(detail, facts); }, step.detail->kind);
  auto const rules = server_rules(step, facts);
  if (!rules.empty()) recipe.refusal = "coalesce((" + recipe.refusal + "), (" + recipes::first_of(rules) + "))";
  if (recipe.proof.empty()) recipe.proof = objects_sql(step, facts);
  return recipe;
}

std::string inspection_sql(Recipe const& recipe) {
  std::string sql = "SELECT " + coalesced(recipe.done) + ", (" + recipe.refusal + ")";
  for (auto const& action : recipe.actions) sql += ", " + coalesced(action.needed);
  return sql;
}

std::string needs_sql(std::vector<Action> const& actions) {
  std::vector<std::string> needs;
  for (auto const& action : actions) needs.push_back(coalesced(action.needed));
  return "SELECT " + join(needs, ", ");
}

std::string table_bytes_sql(StepFacts const& facts) {
  auto const oid = recipes::oid_of(facts.table);
  return "SELECT coalesce((SELECT sum(pg_catalog.pg_table_size(t.relid)) FROM pg_catalog.pg_partition_tree(" + oid +
         ") t), pg_catalog.pg_table_size(" + oid + "), 0)::bigint";
}

}  // namespace pgbackfill::planner
