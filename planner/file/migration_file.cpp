#include "planner/file/migration_file.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "planner/file/migration_schema.h"
#include "planner/file/sections.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/file/yaml_document.h"
#include "planner/model/step_detail.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::planner {
namespace {

using file::Fields;
using file::FileReader;

// A swap is behind the gate, there is one at most, and what is written meanwhile is mirrored.
void check_swaps(FileReader& reader, Fields const& fields, Migration const& migration) {
  if (std::any_of(migration.expand.begin(), migration.expand.end(), is_table_swap)) {
    reader.refuse(*fields.find("expand")->key, "'swap' belongs to 'contract', behind the gate");
  }
  auto const count = std::count_if(migration.contract.begin(), migration.contract.end(), is_table_swap);
  if (count > 1) reader.refuse(*fields.find("contract")->key, "there is more than one 'swap'");
  auto const found = std::find_if(migration.contract.begin(), migration.contract.end(), is_table_swap);
  if (found == migration.contract.end()) return;
  auto const& swap = std::get<Swap>(found->detail->kind);
  bool const is_mirrored = migration.backfill && !migration.backfill->mirror_key.empty() &&
                           swap.table == migration.backfill->table && swap.with == migration.backfill->copy_to;
  if (is_mirrored) return;
  reader.refuse({found->position,
                 "'swap' needs 'sync: {mirror: [...]}' and a backfill with 'copy_to' of just these two tables: "
                 "else what is written meanwhile would be lost"});
}

// A job of some rows: what is about the whole table is no part of it.
void keep_to_keys(FileReader& reader, Fields const& fields, Migration& migration) {
  if (!migration.backfill) reader.refuse(reader.root(), "--only-keys is for a backfill, and the file has none");
  if (migration.sync) {
    reader.refuse(*fields.find("sync")->key,
                  "--only-keys goes with no 'sync', whose trigger is of all rows; run the whole migration");
  }
  if (migration.backfill) migration.backfill->follow.reset();
  migration.verify.clear();
  migration.writers_gone.clear();
  migration.contract.clear();
  Prepared keys;
  keys.name = kOnlyKeysName;
  reader.inputs().prepared.push_back(std::move(keys));
}

// A check that asks the program again is about the rows and columns of the backfill.
void bind_program_checks(FileReader& reader, Migration& migration) {
  if (!reader.problems().empty()) return;
  auto const& backfill = migration.backfill;
  bool const has_program = backfill && backfill->compute && backfill->kind == WorkKind::kUpdate;
  for (auto& check : migration.verify) {
    auto* agrees = std::get_if<AgreesCheck>(&check.kind);
    if (agrees == nullptr || !agrees->asks_program()) continue;
    if (has_program) {
      agrees->table = backfill->table;
    } else {
      reader.refuse({check.position,
                     "'agrees: {compute: ...}' asks the program of the backfill, and this file has none that writes "
                     "columns of its table"});
    }
  }
}

Migration read_migration(FileReader& reader, std::string_view file_name, GivenParams const& given) {
  Migration migration;
  migration.file = file_name;
  if (reader.root().kind != YamlKind::kMap) {
    reader.refuse(reader.root(), "a migration is a map of keys such as 'name:' and 'backfill:', not " +
                                     file::kind_name(reader.root()));
    return migration;
  }
  auto const fields = reader.read_section(reader.root(), migration_section(), reader.root());
  if (auto const* name = fields.find("name")) migration.name = file::read_name(reader, *name, "a migration");
  reader.inputs().params = file::read_params(reader, fields, given);
  if (!migration.name.empty()) {
    migration.name = file::name_of_instance(reader, migration.name, reader.inputs().params, given.only_keys);
  }
  if (auto const* table = fields.find("table")) migration.table = file::read_table(reader, *table);
  file::Top top{migration.name, migration.table};
  if (!top.table && fields.is_given_or_meant("table")) top.table = TableName{};
  migration.expand = file::read_steps(reader, fields, "expand", top);
  migration.backfill = file::read_backfill(reader, fields, top);
  migration.sync = file::read_sync(reader, fields, top, migration.backfill);
  migration.verify = file::read_verify(reader, fields, top);
  bind_program_checks(reader, migration);
  migration.writers_gone = file::read_writers(reader, fields);
  if (auto const* ready = fields.find("subscribers_ready")) {
    migration.subscribers_ready = file::read_flag(reader, *ready) == "true";
  }
  migration.contract = file::read_steps(reader, fields, "contract", top);
  if (auto const problem = swap_problem(migration)) reader.refuse(*problem);
  check_swaps(reader, fields, migration);
  migration.hooks = file::read_hooks(reader, fields);
  migration.on = file::read_on(reader, fields);
  migration.throttle = file::read_throttle(reader, fields);
  migration.probes = file::read_probes(reader, fields);
  migration.windows = file::read_windows(reader, fields, "windows");
  migration.blackout = file::read_windows(reader, fields, "blackout");
  // Refused with the rest of the file, and read again by whoever rehearses it (rehearse_section.h).
  file::read_rehearse(reader, fields);
  if (!given.only_keys.empty()) keep_to_keys(reader, fields, migration);
  return migration;
}

void sort_by_position(std::vector<Problem>& problems) {
  std::stable_sort(problems.begin(), problems.end(), [](Problem const& left, Problem const& right) {
    return std::tie(left.position.line, left.position.column) < std::tie(right.position.line, right.position.column);
  });
}

}  // namespace

ParsedMigration parse_migration(std::string_view text, std::string_view file_name, GivenParams const& given) {
  auto const document = parse_yaml(text, file_name);
  if (document.problem) return {std::nullopt, {}, {}, {*document.problem}};
  FileReader reader{document, file_name};
  auto migration = read_migration(reader, file_name, given);
  auto problems = std::move(reader.problems());
  sort_by_position(problems);
  if (!problems.empty()) return {std::nullopt, {}, {}, std::move(problems)};
  auto& inputs = reader.inputs();
  return {std::move(migration), std::move(inputs.environment), std::move(inputs.prepared), {}};
}

std::string to_string(Problem const& problem) {
  auto const& position = problem.position;
  std::string text = position.file;
  if (position.line > 0) text += (text.empty() ? "line " : ":") + std::to_string(position.line);
  if (position.line > 0 && position.column > 0) text += ":" + std::to_string(position.column);
  return (text.empty() ? "" : text + ": ") + problem.text;
}

std::string to_lines(std::vector<Problem> const& problems) {
  std::string lines;
  for (auto const& problem : problems) lines += (lines.empty() ? "" : "\n") + to_string(problem);
  return lines;
}

}  // namespace pgbackfill::planner
