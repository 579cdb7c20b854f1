// expand: and contract:, lists of steps.

#include <string>
#include <utility>

#include "planner/file/sections.h"
#include "planner/file/step_maker.h"
#include "planner/file/step_values.h"
#include "planner/file/wording.h"

namespace pgbackfill::planner::file {
namespace {

std::optional<SchemaStep> read_step(FileReader& reader, YamlNode const& item, Section const& section, Top const& top) {
  if (item.kind != YamlKind::kMap) {
    reader.refuse(item, "a step must be a map, not " + kind_name(item) +
                            "; for example - sql: " + std::string{find_rule(section, "sql")->example});
    return std::nullopt;
  }
  auto const fields = reader.read_section(item, section, item);
  for (auto const word : section.one_of) {
    auto const* field = fields.find(word);
    if (field == nullptr) continue;
    StepValues step{word, reader.position_of(*field->key), {}, top.table, top.migration};
    if (word == "sql") {
      step.position = reader.position_of(*field->value);
      step.values.push_back(read_step_value(reader, *field));
    } else {
      read_step_values(reader, *field, step);
    }
    if (auto const* down = fields.find("down")) step.values.push_back(read_step_value(reader, *down));
    return make_step(step, reader.problems());
  }
  return std::nullopt;
}

}  // namespace

std::vector<SchemaStep> read_steps(FileReader& reader, Fields const& fields, std::string_view key, Top const& top) {
  std::vector<SchemaStep> steps;
  auto const* field = fields.find(key);
  if (field == nullptr || !reader.is_list(*field, "steps")) return steps;
  reader.inputs().why_no_environment = "the catalog and the record of the step would keep its value or its name";
  reader.inputs().is_of_steps = true;
  for (auto const item : field->value->children) {
    auto step = read_step(reader, reader.node(item), *field->rule->section, top);
    if (step) steps.push_back(std::move(*step));
  }
  reader.inputs().why_no_environment.clear();
  reader.inputs().is_of_steps = false;
  return steps;
}

}  // namespace pgbackfill::planner::file
