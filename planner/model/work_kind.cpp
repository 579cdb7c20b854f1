#include "planner/model/work_kind.h"

#include <map>

namespace pgbackfill::planner {

KindTraits const& traits_of(WorkKind kind) {
  static std::map<WorkKind, KindTraits> const all = {
      {WorkKind::kUpdate,
       {.privilege = "UPDATE",
        .row_lock = "FOR NO KEY UPDATE",
        .writes_table = true,
        .may_update = true,
        .replaces_rows = true,
        .takes_room = true,
        .where_is_undone = true,
        .done = "changed",
        .stays = "values that were overwritten stay as they are",
        .growth = "if every row changes and vacuum does not keep up, it grows by {}, and its indexes too"}},
      // The strongest lock, as it may delete.
      {WorkKind::kSql,
       {.privilege = "SELECT",
        .row_lock = "FOR UPDATE",
        .may_update = true,
        .may_delete = true,
        .may_insert = true,
        .replaces_rows = true,
        .takes_room = true,
        .where_is_undone = true,
        .done = "changed",
        .stays = "values that were overwritten stay as they are",
        .growth = "if every row changes and vacuum does not keep up, it grows by {}, and its indexes too"}},
      {WorkKind::kCopy,
       {.privilege = "SELECT",
        .row_lock = "FOR UPDATE",
        .takes_room = true,
        .done = "copied",
        .stays = "copied rows stay until their table is dropped",
        .growth = "a copy of every row takes about {}"}},
      {WorkKind::kDelete,
       {.privilege = "DELETE",
        .row_lock = "FOR UPDATE",
        .writes_table = true,
        .may_delete = true,
        .where_is_undone = true,
        .done = "deleted",
        .stays = "rows that were deleted do not come back",
        .growth = "the file does not shrink: vacuum makes the room free for new rows of this table"}},
      {WorkKind::kAsk,
       {.privilege = "SELECT",
        .row_lock = "FOR UPDATE",
        .done = "changed",
        .stays = "what the program did stays done",
        .growth = "the table stays as it is"}},
  };
  return all.at(kind);
}

bool may_fire(WorkKind kind, TriggerFacts const& trigger) {
  auto const& traits = traits_of(kind);
  return (traits.may_update && trigger.on_update) || (traits.may_delete && trigger.on_delete) ||
         (traits.may_insert && trigger.on_insert);
}

std::string_view done_word(Backfill const& backfill) {
  return backfill.move_to ? "moved" : traits_of(backfill.kind).done;
}

std::string_view what_stays(Backfill const& backfill) {
  return backfill.move_to ? "rows that were moved stay where they are" : traits_of(backfill.kind).stays;
}

}  // namespace pgbackfill::planner
