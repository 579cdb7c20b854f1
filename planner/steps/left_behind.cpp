#include "planner/steps/left_behind.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <variant>

#include "planner/model/step_detail.h"

namespace pgbackfill::planner {
namespace {

using Kind = decltype(StepDetail::kind);

// Where a step names columns of a table; where it names tables.
struct Names {
  std::vector<std::pair<TableName const*, std::string*>> columns;
  std::vector<TableName*> tables;
  // The table that the step is about, and what it makes there under a name of its own.
  std::string const* object = nullptr;
  // SQL that may name any column of the table.
  bool has_sql = false;
};

template <class Detail>
Names names_of(Detail& /*step*/) {
  return {};
}

template <class Detail>
Names names_with_column(Detail& step) {
  return {{{&step.table, &step.column}}, {&step.table}, nullptr, false};
}

Names names_of(AddColumn& step) {
  return names_with_column(step);
}
Names names_of(SetNotNull& step) {
  return names_with_column(step);
}
Names names_of(DropNotNull& step) {
  return names_with_column(step);
}
Names names_of(SetDefault& step) {
  return names_with_column(step);
}
Names names_of(ChangeType& step) {
  return names_with_column(step);
}

Names names_of(RenameColumn& step) {
  return {{{&step.table, &step.to}}, {&step.table}, nullptr, false};
}

Names names_of(SwapColumn& step) {
  return {{{&step.table, &step.column}, {&step.table, &step.keep_as}}, {&step.table}, nullptr, false};
}

void add_columns(Names& names, TableName const& table, std::vector<std::string>& columns) {
  for (auto& column : columns) names.columns.emplace_back(&table, &column);
}

Names names_of(CreateIndex& step) {
  Names names{{}, {&step.table}, &step.name, !step.keys.empty() || !step.where.empty()};
  add_columns(names, step.table, step.columns);
  add_columns(names, step.table, step.include);
  return names;
}

Names names_of(AddCheck& step) {
  return {{}, {&step.table}, &step.name, true};
}

Names names_of(AddForeignKey& step) {
  Names names{{}, {&step.table, &step.references}, &step.name, false};
  add_columns(names, step.table, step.columns);
  add_columns(names, step.references, step.to);
  return names;
}

Names names_of(AddKey& step) {
  Names names{{}, {&step.table}, &step.name, false};
  add_columns(names, step.table, step.columns);
  return names;
}

Names names_of(CreateTable& step) {
  return {{}, {&step.table}, nullptr, false};
}
Names names_of(RenameTable& step) {
  return {{}, {&step.table}, nullptr, false};
}
Names names_of(Reindex& step) {
  return {{}, {&step.table}, &step.name, false};
}
Names names_of(AttachPartition& step) {
  return {{}, {&step.table, &step.partition}, nullptr, false};
}
Names names_of(DetachPartition& step) {
  return {{}, {&step.table, &step.partition}, nullptr, false};
}

Names names_in(Kind& kind) {
  return std::visit([](auto& step) { return names_of(step); }, kind);
}

bool is_about(Names const& names, TableName const& table) {
  return !names.tables.empty() && *names.tables.front() == table;
}

bool names_column(Names const& names, TableName const& table, std::string const& column) {
  bool const is_named = std::any_of(names.columns.begin(), names.columns.end(),
                                    [&](auto const& each) { return *each.first == table && *each.second == column; });
  return is_named || (names.has_sql && is_about(names, table));
}

// False: it is gone.
template <class Later>
bool survives(Kind& /*kind*/, Later const& /*later*/) {
  return true;
}

bool survives(Kind& kind, DropColumn const& later) {
  return !names_column(names_in(kind), later.table, later.column);
}

bool survives(Kind& kind, RenameColumn const& later) {
  auto const names = names_in(kind);
  if (names.has_sql && is_about(names, later.table)) return false;
  for (auto const& [table, column] : names.columns) {
    if (*table == later.table && *column == later.column) *column = later.to;
  }
  return true;
}

bool survives(Kind& kind, SwapColumn const& later) {
  auto const names = names_in(kind);
  // An index, a key or a foreign key may get the name of the old column's.
  bool const may_be_renamed = std::holds_alternative<CreateIndex>(kind) || std::holds_alternative<AddKey>(kind) ||
                              std::holds_alternative<AddForeignKey>(kind);
  bool const is_renamed =
      may_be_renamed && is_about(names, later.table) && names_column(names, later.table, later.with);
  if (is_renamed || (names.has_sql && is_about(names, later.table))) return false;
  for (auto const& [table, column] : names.columns) {
    if (!(*table == later.table)) continue;
    if (*column == later.column) {
      *column = later.keep_as;
    } else if (*column == later.with) {
      *column = later.column;
    }
  }
  return true;
}

bool survives(Kind& kind, DropConstraint const& later) {
  auto const names = names_in(kind);
  return !(is_about(names, later.table) && names.object != nullptr && *names.object == later.name);
}

bool survives(Kind& kind, DropIndex const& later) {
  auto const names = names_in(kind);
  return !(is_about(names, later.table) && names.object != nullptr && *names.object == later.name);
}

bool survives(Kind& kind, DropTable const& later) {
  if (auto const* swap = std::get_if<Swap>(&kind)) {
    return later.table.schema != swap->table.schema || later.table.name != swap->keep_as;
  }
  auto const names = names_in(kind);
  return std::none_of(names.tables.begin(), names.tables.end(), [&](auto const* each) { return *each == later.table; });
}

bool survives(Kind& kind, RenameTable const& later) {
  for (auto* table : names_in(kind).tables) {
    if (*table == later.table) table->name = later.to;
  }
  return true;
}

// What the copy has gets the names of what corresponds.
bool survives(Kind& kind, Swap const& later) {
  auto const names = names_in(kind);
  if (names.object != nullptr && is_about(names, later.with)) return false;
  for (auto* table : names.tables) {
    if (*table == later.with) {
      table->name = later.table.name;
    } else if (*table == later.table) {
      table->name = later.keep_as;
    }
  }
  return true;
}

}  // namespace

std::optional<PlacedStep> left_behind(PlacedStep const& step, std::vector<PlacedStep> const& later) {
  auto kind = step.step.detail->kind;
  for (auto const& each : later) {
    bool const is_left = std::visit([&](auto const& detail) { return survives(kind, detail); }, each.step.detail->kind);
    if (!is_left) return std::nullopt;
  }
  auto left = step;
  left.step.detail = std::make_shared<StepDetail>(StepDetail{std::move(kind)});
  return left;
}

}  // namespace pgbackfill::planner
