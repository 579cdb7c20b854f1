// verify:, a list of checks.

#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/step_values.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/check.h"

namespace pgbackfill::planner::file {
namespace {

NoOrphansCheck no_orphans(StepValues const& values, std::vector<Problem>& problems) {
  NoOrphansCheck check;
  check.table = values.own_table(problems);
  check.columns = values.items("columns");
  check.references = values.table("references");
  check.to = values.items("to");
  values.require_pairs(problems);
  return check;
}

// Of any check but `agrees`.
Check make_check(StepValues const& values, std::vector<Problem>& problems) {
  Check check;
  check.position = values.position;
  if (values.word == "zero") {
    check.kind = ZeroCheck{values.text("zero")};
  } else if (values.word == "row_count") {
    check.kind = RowCountCheck{values.own_table(problems), values.table("same_as"), values.text("where")};
  } else if (values.word == "no_orphans") {
    check.kind = no_orphans(values, problems);
  } else if (values.word == "no_duplicates") {
    check.kind = NoDuplicatesCheck{values.own_table(problems), values.items("columns"), values.text("where")};
  } else {
    check.kind = ConstraintsValidCheck{values.own_table(problems)};
  }
  return check;
}

// The table is that of the backfill: see migration_file.cpp.
void read_program_rows(FileReader& reader, Field const& field, AgreesCheck& check) {
  if (field.value->kind == YamlKind::kMap) {
    auto const sample = reader.read_map(field);
    check.sample = read_count(reader, *sample, "rows").value_or(1);
  } else if (is_scalar(reader, field)) {
    word_of(reader, field);
  }
}

AgreesCheck read_agrees(FileReader& reader, Field const& field, Top const& top) {
  AgreesCheck check;
  auto const fields = reader.read_map(field);
  if (!fields) return check;
  if (auto const* compute = fields->find("compute")) {
    read_program_rows(reader, *compute, check);
  } else {
    check.table = read_table_or(reader, *fields, field, top.table);
  }
  if (auto const* set = fields->find("set")) check.set = read_assignments(reader, *set);
  if (auto const* where = fields->find("where")) {
    check.where = read_expression(reader, *where);
    check.where_position = reader.position_of(*where->value);
  }
  return check;
}

Check read_check_of(FileReader& reader, Field const& field, Top const& top) {
  auto const word = field.rule->key;
  StepValues values{word, reader.position_of(*field.key), {}, top.table};
  if (word == "agrees") {
    Check check;
    check.position = values.position;
    check.kind = read_agrees(reader, field, top);
    return check;
  }
  if (word == "zero") {
    values.values.push_back(read_step_value(reader, field));
    if (!values.values.front().text.empty()) refuse_semicolon(reader, *field.value, "the query");
  } else {
    read_step_values(reader, field, values);
  }
  return make_check(values, reader.problems());
}

std::optional<Check> read_check(FileReader& reader, YamlNode const& item, Section const& section, Top const& top) {
  if (item.kind != YamlKind::kMap) {
    reader.refuse(item, "a check must be a map, not " + kind_name(item) +
                            "; for example - zero: " + std::string{find_rule(section, "zero")->example});
    return std::nullopt;
  }
  auto const fields = reader.read_section(item, section, item);
  for (auto const word : section.one_of) {
    auto const* field = fields.find(word);
    if (field == nullptr) continue;
    auto check = read_check_of(reader, *field, top);
    check.timeout = read_duration(reader, fields, "timeout").value_or(check.timeout);
    return check;
  }
  return std::nullopt;
}

}  // namespace

std::vector<Check> read_verify(FileReader& reader, Fields const& fields, Top const& top) {
  std::vector<Check> checks;
  auto const* field = fields.find("verify");
  if (field == nullptr || !reader.is_list(*field, "checks")) return checks;
  for (auto const item : field->value->children) {
    auto check = read_check(reader, reader.node(item), *field->rule->section, top);
    if (check) checks.push_back(std::move(*check));
  }
  if (checks.size() > kMaxChecks) {
    reader.refuse(*field->value, "there are more than " + std::to_string(kMaxChecks) + " checks");
  }
  return checks;
}

}  // namespace pgbackfill::planner::file
