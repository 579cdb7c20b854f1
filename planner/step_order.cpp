#include "planner/step_order.h"

#include <algorithm>
#include <variant>

#include "planner/step_detail.h"

namespace pgbackfill::planner {
namespace {

std::vector<PlacedStep> placed(std::vector<SchemaStep> const& steps, std::string const& phase) {
  std::vector<PlacedStep> list;
  for (auto const& step : steps) list.push_back({step, phase, static_cast<int>(list.size())});
  return list;
}

// Of SQL nothing is known.
bool may_break_trigger(PlacedStep const& placed) {
  auto const& kind = placed.step.detail->kind;
  return std::holds_alternative<RunSql>(kind) || std::holds_alternative<DropColumn>(kind) ||
         std::holds_alternative<RenameColumn>(kind) || std::holds_alternative<ChangeType>(kind) ||
         std::holds_alternative<DropTable>(kind) || std::holds_alternative<RenameTable>(kind);
}

}  // namespace

std::vector<PlacedStep> expand_steps(Migration const& migration) {
  return placed(migration.expand, "expand");
}

std::vector<PlacedStep> sync_steps(Migration const& migration) {
  if (!migration.sync) return {};
  return {{migration.sync->install, kSyncPhase, kSyncInstall}};
}

std::vector<PlacedStep> contract_steps(Migration const& migration) {
  auto steps = placed(migration.contract, "contract");
  if (!migration.sync) return steps;
  auto const place = std::find_if(steps.begin(), steps.end(), may_break_trigger);
  steps.insert(place, {migration.sync->remove, kSyncPhase, kSyncRemove});
  return steps;
}

bool sync_guards_backfill(Migration const& migration) {
  if (!migration.sync || !migration.backfill || migration.backfill->kind != WorkKind::kUpdate) return false;
  auto const& sync = std::get<InstallSync>(migration.sync->install.detail->kind);
  auto const& backfill = *migration.backfill;
  bool const is_same_table = sync.table.schema == backfill.table.schema && sync.table.name == backfill.table.name;
  return is_same_table &&
         std::all_of(backfill.assignments.begin(), backfill.assignments.end(), [&](Assignment const& assignment) {
           return std::any_of(sync.set.begin(), sync.set.end(),
                              [&](ColumnExpression const& one) { return one.column == assignment.column; });
         });
}

}  // namespace pgbackfill::planner
