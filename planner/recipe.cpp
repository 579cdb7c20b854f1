#include "planner/recipe.h"

#include <variant>

#include "planner/mirror_sql.h"
#include "planner/recipes.h"
#include "planner/sql_text.h"
#include "planner/step_detail.h"
#include "planner/sync_sql.h"

namespace pgbackfill::planner {
namespace {

// In the order of LockMode, from kAccessShare on.
constexpr std::string_view kWords[] = {"ACCESS SHARE", "ROW SHARE",           "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE",
                                       "SHARE",        "SHARE ROW EXCLUSIVE", "EXCLUSIVE",     "ACCESS EXCLUSIVE"};
constexpr std::string_view kCatalogWords[] = {
    "AccessShareLock", "RowShareLock",          "RowExclusiveLock", "ShareUpdateExclusiveLock",
    "ShareLock",       "ShareRowExclusiveLock", "ExclusiveLock",    "AccessExclusiveLock"};
// PostgreSQL documentation, "Explicit Locking", table 13.2: which modes (bit 0 is ACCESS SHARE) each conflicts with.
constexpr unsigned kConflicts[] = {0b10000000, 0b11000000, 0b11110000, 0b11111000,
                                   0b11101100, 0b11111100, 0b11111110, 0b11111111};

std::string coalesced(std::string const& condition) {
  return "coalesce((" + condition + "), false)";
}

}  // namespace

std::string_view lock_words(LockMode mode) {
  return mode == LockMode::kNone ? "none" : kWords[static_cast<int>(mode) - 1];
}

std::string_view lock_stops(LockMode mode) {
  switch (mode) {
    case LockMode::kAccessExclusive:
      return "reads and writes";
    case LockMode::kExclusive:
    case LockMode::kShareRowExclusive:
    case LockMode::kShare:
      return "writes";
    case LockMode::kShareUpdateExclusive:
      return "vacuum and other schema changes";
    default:
      return "nothing";
  }
}

std::vector<std::string> conflicting_modes(LockMode mode) {
  std::vector<std::string> modes;
  if (mode == LockMode::kNone) return modes;
  for (unsigned other = 0; other < std::size(kCatalogWords); ++other) {
    if ((kConflicts[static_cast<int>(mode) - 1] >> other & 1U) != 0) modes.emplace_back(kCatalogWords[other]);
  }
  return modes;
}

std::string_view risk_word(Risk risk) {
  switch (risk) {
    case Risk::kLow:
      return "low";
    case Risk::kMedium:
      return "medium";
    case Risk::kHigh:
      return "high";
    case Risk::kDestructive:
      return "destructive";
  }
  return "";
}

bool is_typed(SchemaStep const& step) {
  return !std::holds_alternative<RunSql>(step.detail->kind);
}

std::string facts_sql(SchemaStep const& step) {
  return std::visit([](auto const& detail) { return recipes::facts_sql(detail); }, step.detail->kind);
}

std::vector<std::string> spelling_statements(SchemaStep const& step, StepFacts const& facts) {
  return std::visit([&](auto const& detail) { return recipes::spelling(detail, facts); }, step.detail->kind);
}

std::vector<std::string> spelling_statements_after(std::vector<SchemaStep> const& steps, SchemaStep const& sync,
                                                   StepFacts const& facts) {
  std::vector<std::string> additions;
  for (auto const& step : steps) {
    auto const* add = std::get_if<AddColumn>(&step.detail->kind);
    // The line break keeps a comment in the type from hiding what follows.
    if (add != nullptr) {
      additions.push_back("ALTER TABLE " + std::string{recipes::kProbe} + " ADD COLUMN IF NOT EXISTS " +
                          quote_identifier(add->column) + " " + add->type + "\n");
    }
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
  return std::visit([&](auto const& detail) { return recipes::recipe(detail, facts); }, step.detail->kind);
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
