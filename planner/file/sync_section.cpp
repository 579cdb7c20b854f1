// sync:, in its two forms `set` and `mirror`.

#include <algorithm>
#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/step_maker.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/sql_facts.h"

namespace pgbackfill::planner::file {
namespace {

constexpr std::string_view kNoVariable =
    "the trigger of 'sync' computes it in the sessions of applications, which do not have the variable, and its "
    "function would have to keep the value. Leave 'sync' out: let the application write the column, and give 'where' "
    "what it has not written yet";

// What is another for each writer is never what a batch gives, and a trigger knows its row by no schema.
void refuse_expression(FileReader& reader, Field const& field, std::string const& what, std::string const& expression) {
  auto const facts = facts_of_expressions({expression});
  if (facts.has_schema_in_column) {
    reader.refuse(*field.key, what +
                                  " names a column as schema.table.column, which a trigger cannot read; write "
                                  "table.column, or the column alone");
  }
  auto const& reads = facts.reads_writer;
  if (reads.empty()) return;
  reader.refuse(*field.key, what + " reads " + reads +
                                ", which is another for each session that writes, so that the trigger and the batches "
                                "would give different values; write the value itself");
}

void refuse_expression(FileReader& reader, Field const& field, std::vector<Assignment> const& assignments) {
  for (auto const& one : assignments) refuse_expression(reader, field, "column " + quoted(one.column), one.expression);
}

std::optional<Sync> read_set(FileReader& reader, Fields const& of_sync, Fields const& fields, Top const& top,
                             std::optional<Backfill> const& backfill) {
  auto const& section = *fields.find("sync");
  InstallSync install;
  install.migration = top.migration;
  reader.inputs().why_no_environment = kNoVariable;
  if (auto const* set = of_sync.find("set")) {
    install.set = read_assignments(reader, *set);
    refuse_expression(reader, *set, install.set);
  }
  if (auto const* reverse = of_sync.find("reverse")) {
    install.reverse = read_assignments(reader, *reverse);
    refuse_expression(reader, *reverse, install.reverse);
  }
  reader.inputs().why_no_environment.clear();
  install.table = read_table_or(reader, of_sync, section, top.table);
  bool const takes_all = backfill && backfill->kind == WorkKind::kUpdate && backfill->where.empty();
  if (takes_all && !install.reverse.empty()) {
    reader.refuse(*fields.find("backfill")->key,
                  "beside 'reverse' a backfill needs a 'where' that spares the rows that the new version of the "
                  "application wrote, for example where: display_name IS NULL");
  }
  return make_sync(install, reader.position_of(*section.key));
}

// What it carries is what the backfill copies.
std::optional<Sync> read_mirror(FileReader& reader, Fields const& of_sync, Field const& section, Top const& top,
                                std::optional<Backfill>& backfill) {
  auto const& mirror = *of_sync.find("mirror");
  auto key = read_columns(reader, mirror);
  auto const* table = of_sync.find("table");
  auto const named = table == nullptr ? std::nullopt : read_table(reader, *table);
  bool const is_copy = backfill && backfill->kind == WorkKind::kCopy;
  if (!is_copy) {
    reader.refuse(*mirror.key, "'mirror' carries on what a backfill copies; it needs 'copy_to' in 'backfill'");
    return std::nullopt;
  }
  bool const is_other = named && *named != backfill->table;
  if (is_other) {
    reader.refuse(*table->value, "'mirror' is for the table of the backfill; leave 'table' out");
    return std::nullopt;
  }
  InstallMirror install;
  install.table = backfill->table;
  install.migration = top.migration;
  install.to = backfill->copy_to;
  install.where = backfill->where;
  install.key = std::move(key);
  install.columns = backfill->assignments;
  for (auto const& column : install.key) {
    bool const is_copied = std::any_of(install.columns.begin(), install.columns.end(),
                                       [&](Assignment const& one) { return one.column == column; });
    if (!is_copied) reader.refuse(*mirror.value, "column " + quoted(column) + " is not in 'columns' of the backfill");
  }
  if (!reader.inputs().prepared.empty()) {
    reader.refuse(*mirror.key,
                  "'mirror' and 'prepare' exclude each other: its trigger runs when the results of "
                  "'prepare' are gone");
  }
  // Sections are read in this order: what was met so far is the backfill's.
  for (auto const& variable : reader.inputs().environment) {
    reader.refuse({variable.position, "${" + variable.name + "} cannot stand here: " + std::string(kNoVariable)});
  }
  refuse_expression(reader, mirror, install.columns);
  refuse_expression(reader, mirror, "'where'", install.where);
  backfill->mirror_key = install.key;
  return make_mirror(install, reader.position_of(*section.key));
}

}  // namespace

std::optional<Sync> read_sync(FileReader& reader, Fields const& fields, Top const& top,
                              std::optional<Backfill>& backfill) {
  auto const* section = fields.find("sync");
  if (section == nullptr) return std::nullopt;
  auto const of_sync = reader.read_map(*section);
  if (!of_sync) return std::nullopt;
  if (backfill && backfill->compute) {
    reader.refuse(
        *section->key,
        "'sync' needs an expression that a trigger can compute, and a program is asked for the values of this "
        "backfill. Let the application write both columns, and give 'where' what it has not written yet");
    return std::nullopt;
  }
  if (of_sync->find("mirror") != nullptr) return read_mirror(reader, *of_sync, *section, top, backfill);
  return read_set(reader, *of_sync, fields, top, backfill);
}

}  // namespace pgbackfill::planner::file
