#include "planner/steps/step_order.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <variant>

#include "planner/model/step_detail.h"

namespace pgbackfill::planner {
namespace {

// A swap of columns is told what comes before it: what it lacks now may be made by then.
void tell_earlier(SchemaStep& step, std::vector<SchemaStep> const& earlier) {
  auto const* swap = std::get_if<SwapColumn>(&step.detail->kind);
  if (swap == nullptr) return;
  auto told = *swap;
  told.earlier = earlier;
  step.detail = std::make_shared<StepDetail>(StepDetail{std::move(told)});
}

std::vector<PlacedStep> placed(std::vector<SchemaStep> const& steps, std::string const& phase,
                               std::vector<SchemaStep> earlier) {
  std::vector<PlacedStep> list;
  for (auto const& step : steps) {
    list.push_back({step, phase, static_cast<int>(list.size())});
    tell_earlier(list.back().step, earlier);
    earlier.push_back(step);
  }
  return list;
}

// Of SQL nothing is known.
bool may_break_trigger(PlacedStep const& placed) {
  auto const& kind = placed.step.detail->kind;
  return std::holds_alternative<RunSql>(kind) || std::holds_alternative<DropColumn>(kind) ||
         std::holds_alternative<RenameColumn>(kind) || std::holds_alternative<ChangeType>(kind) ||
         std::holds_alternative<DropTable>(kind) || std::holds_alternative<RenameTable>(kind);
}

bool is_swap_of_sync(Migration const& migration, SchemaStep const& step) {
  auto const* swap = std::get_if<SwapColumn>(&step.detail->kind);
  if (swap == nullptr || !migration.sync) return false;
  auto const* sync = std::get_if<InstallSync>(&migration.sync->install.detail->kind);
  return sync != nullptr && swap->table == sync->table;
}

}  // namespace

bool is_table_swap(SchemaStep const& step) {
  return std::holds_alternative<Swap>(step.detail->kind);
}

bool may_make_table(Migration const& migration, TableName const& table) {
  return std::any_of(migration.expand.begin(), migration.expand.end(), [&](SchemaStep const& step) {
    auto const& kind = step.detail->kind;
    if (auto const* create = std::get_if<CreateTable>(&kind)) return create->table.name == table.name;
    if (auto const* rename = std::get_if<RenameTable>(&kind)) return rename->to == table.name;
    return std::holds_alternative<RunSql>(kind);
  });
}

bool may_make_column(Migration const& migration, TableName const& table, std::string const& column) {
  return std::any_of(migration.expand.begin(), migration.expand.end(), [&](SchemaStep const& step) {
    auto const& kind = step.detail->kind;
    if (auto const* add = std::get_if<AddColumn>(&kind)) return add->table.name == table.name && add->column == column;
    if (auto const* rename = std::get_if<RenameColumn>(&kind)) {
      return rename->table.name == table.name && rename->to == column;
    }
    return std::holds_alternative<RunSql>(kind);
  });
}

bool has_sql_in_expand(Migration const& migration) {
  return std::any_of(migration.expand.begin(), migration.expand.end(),
                     [](SchemaStep const& step) { return std::holds_alternative<RunSql>(step.detail->kind); });
}

bool may_make_key(Migration const& migration, TableName const& table) {
  return std::any_of(migration.expand.begin(), migration.expand.end(), [&](SchemaStep const& step) {
    auto const& kind = step.detail->kind;
    if (auto const* key = std::get_if<AddKey>(&kind)) return key->table.name == table.name;
    if (auto const* index = std::get_if<CreateIndex>(&kind)) return index->is_unique && index->table.name == table.name;
    if (auto const* not_null = std::get_if<SetNotNull>(&kind)) return not_null->table.name == table.name;
    return false;
  });
}

bool may_change_types(Migration const& migration) {
  return std::any_of(migration.expand.begin(), migration.expand.end(), [](SchemaStep const& step) {
    return std::holds_alternative<AddEnumValue>(step.detail->kind) ||
           std::holds_alternative<ChangeType>(step.detail->kind);
  });
}

std::vector<PlacedStep> expand_steps(Migration const& migration) {
  return placed(migration.expand, "expand", {});
}

std::vector<PlacedStep> sync_steps(Migration const& migration) {
  if (!migration.sync) return {};
  return {{migration.sync->install, kSyncPhase, kSyncInstall}};
}

std::vector<PlacedStep> contract_steps(Migration const& migration) {
  // Of those that ran long before only the default of a new column is still to be known.
  std::vector<SchemaStep> additions;
  std::copy_if(migration.expand.begin(), migration.expand.end(), std::back_inserter(additions),
               [](SchemaStep const& step) { return std::holds_alternative<AddColumn>(step.detail->kind); });
  auto steps = placed(migration.contract, "contract", std::move(additions));
  if (!migration.sync) return steps;
  auto begin = steps.begin();
  for (auto step = steps.begin(); step != steps.end(); ++step) {
    if (!is_swap_of_sync(migration, step->step)) continue;
    auto swap = std::get<SwapColumn>(step->step.detail->kind);
    swap.sync_of = migration.name;
    step->step.detail = std::make_shared<StepDetail>(StepDetail{std::move(swap)});
    begin = step + 1;
  }
  auto const tables =
      std::find_if(steps.begin(), steps.end(), [](PlacedStep const& each) { return is_table_swap(each.step); });
  // A swap ends the mirror itself, in its own transaction: before it nothing may be written past the copy.
  auto const place = tables == steps.end() ? std::find_if(begin, steps.end(), may_break_trigger) : tables + 1;
  steps.insert(place, {migration.sync->remove, kSyncPhase, kSyncRemove});
  return steps;
}

std::optional<Problem> swap_problem(Migration const& migration) {
  bool has_ended = false;
  bool has_swapped = false;
  for (auto const& step : migration.contract) {
    bool const is_swap = is_swap_of_sync(migration, step);
    if (is_swap && has_swapped) {
      return Problem{
          step.position,
          "'sync' ends with the first 'swap_column', and the second one's column would be filled no more; give "
          "each a migration of its own"};
    }
    if (is_swap && has_ended) {
      return Problem{step.position,
                     "'sync' ends before the step above it, and from then on nothing fills the new column; put "
                     "'swap_column' in front of steps that drop or rename something"};
    }
    has_swapped = has_swapped || is_swap;
    bool const is_sql = std::holds_alternative<RunSql>(step.detail->kind);
    has_ended = has_ended || (!is_sql && may_break_trigger({step, "", 0}));
  }
  return std::nullopt;
}

bool sync_guards_backfill(Migration const& migration) {
  if (!migration.sync || !migration.backfill) return false;
  if (!migration.backfill->mirror_key.empty()) return true;
  if (migration.backfill->kind != WorkKind::kUpdate) return false;
  auto const& sync = std::get<InstallSync>(migration.sync->install.detail->kind);
  auto const& backfill = *migration.backfill;
  return sync.table == backfill.table &&
         std::all_of(backfill.assignments.begin(), backfill.assignments.end(), [&](Assignment const& assignment) {
           return std::any_of(sync.set.begin(), sync.set.end(),
                              [&](Assignment const& one) { return one.column == assignment.column; });
         });
}

}  // namespace pgbackfill::planner
