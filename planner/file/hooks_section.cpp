// before: and after:, hooks at the boundaries of phases.

#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/hook.h"

namespace pgbackfill::planner::file {
namespace {

Hook read_hook(FileReader& reader, YamlNode const& item, Section const& section, Boundary boundary) {
  Hook hook;
  hook.position = reader.position_of(item);
  hook.boundary = boundary;
  auto const fields = reader.read_section(item, section, item);
  hook.what = read_text(reader, fields, "command");
  if (auto const* url = fields.find("http")) {
    hook.kind = HookKind::kHttp;
    hook.what = read_url(reader, *url);
  }
  hook.timeout = read_duration(reader, fields, "timeout").value_or(hook.timeout);
  hook.expect = read_text(reader, fields, "expect");
  if (auto const status = read_count(reader, fields, "status")) hook.status = static_cast<int>(*status);
  hook.ca_file = read_text(reader, fields, "ca_file");
  if (auto const* repeat = fields.find("repeat")) hook.repeats = read_flag(reader, *repeat) == "true";
  return hook;
}

std::vector<TableName> read_dumped_tables(FileReader& reader, Field const& field) {
  std::vector<TableName> tables;
  if (!reader.is_filled_list(field, "tables")) return tables;
  for (auto const index : field.value->children) {
    auto const& item = reader.node(index);
    auto parsed = parse_table_name(item.text);
    if (!parsed.problem.empty()) reader.refuse(item, quoted(item.text) + ": " + parsed.problem);
    tables.push_back(std::move(parsed.table));
  }
  return tables;
}

Hook read_backup(FileReader& reader, Fields const& fields, SourcePosition position) {
  Hook hook;
  hook.position = std::move(position);
  hook.boundary = Boundary::kBackup;
  hook.timeout = read_duration(reader, fields, "timeout").value_or(kBackupTimeout);
  hook.what = read_text(reader, fields, "command");
  if (fields.find("pg_dump") != nullptr) {
    hook.kind = HookKind::kPgDump;
    hook.what = read_text(reader, fields, "pg_dump");
  }
  if (auto const* tables = fields.find("tables")) hook.tables = read_dumped_tables(reader, *tables);
  return hook;
}

void read_hooks_at(FileReader& reader, Field const& field, Boundary boundary, std::vector<Hook>& hooks) {
  if (boundary == Boundary::kBackup) {
    auto const fields = reader.read_map(field);
    if (fields) hooks.push_back(read_backup(reader, *fields, reader.position_of(*field.key)));
    return;
  }
  if (!reader.is_list(field, "hooks")) return;
  for (auto const index : field.value->children) {
    auto const& item = reader.node(index);
    if (item.kind == YamlKind::kMap) {
      hooks.push_back(read_hook(reader, item, *field.rule->section, boundary));
    } else {
      reader.refuse(item, "a hook must be a map, not " + kind_name(item) + "; " + for_example(*field.rule));
    }
  }
}

// Whether what the hooks stand at is a part of every migration.
bool is_always_there(Boundary boundary) {
  return boundary == Boundary::kBackup || boundary == Boundary::kBeforeRollback || boundary == Boundary::kAfterRollback;
}

}  // namespace

std::vector<Hook> read_hooks(FileReader& reader, Fields const& fields, HooksOf whose) {
  std::vector<Hook> hooks;
  for (std::string_view const side : {"before", "after"}) {
    auto const* field = fields.find(side);
    if (field == nullptr) continue;
    auto const phases = reader.read_map(*field);
    if (!phases) continue;
    for (auto const& place : kHookPlaces) {
      auto const* listed = place.side == side ? phases->find(place.phase) : nullptr;
      if (listed == nullptr) continue;
      bool const needs_phase = whose == HooksOf::kOneMigration && !is_always_there(place.boundary);
      if (needs_phase && !fields.is_given_or_meant(place.phase)) {
        reader.refuse(*listed->key, "there is no " + quoted(place.phase) + " in this file for hooks " +
                                        std::string{place.side} +
                                        " it; write them beside another phase, or leave them out");
      }
      read_hooks_at(reader, *listed, place.boundary, hooks);
    }
  }
  if (hooks.size() > kMaxHooks) {
    reader.refuse(reader.root(), "there are more than " + std::to_string(kMaxHooks) + " hooks");
  }
  return hooks;
}

}  // namespace pgbackfill::planner::file
