// backfill: compute:, values that a program of the user computes.

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "planner/file/secret_values.h"
#include "planner/file/sections.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::planner::file {
namespace {

constexpr int kRequestsOfAService = 8;

std::vector<ComputeInput> read_inputs(FileReader& reader, Field const& field) {
  std::vector<ComputeInput> inputs;
  for (auto& one : read_assignments(reader, field)) {
    inputs.push_back({std::move(one.position), std::move(one.column), std::move(one.expression)});
  }
  if (inputs.size() > kMostComputeInputs) {
    reader.refuse(*field.key, "'read' has " + std::to_string(inputs.size()) + " entries; at most " +
                                  std::to_string(kMostComputeInputs) +
                                  " are possible. Hand several columns over as one: to_jsonb(...)");
  }
  return inputs;
}

std::vector<std::string> read_words(FileReader& reader, Field const& field, std::string_view of_what) {
  std::vector<std::string> words;
  if (!reader.is_filled_list(field, of_what)) return words;
  for (auto const index : field.value->children) {
    auto const& item = reader.node(index);
    if (item.kind == YamlKind::kScalar && item.text.find('\0') == std::string::npos) {
      words.push_back(item.text);
    } else {
      reader.refuse(item, quoted(field.rule->key) + " must be a list of texts; " + for_example(*field.rule));
    }
  }
  return words;
}

// Without the key everything that is read has to stay as it was.
void read_guards(FileReader& reader, Fields const& fields, Compute& compute) {
  auto const* field = fields.find("unless_changed");
  if (field == nullptr) return;
  if (!reader.is_list(*field, "names")) return;
  std::vector<std::string> names;
  for (auto const index : field->value->children) names.push_back(reader.node(index).text);
  for (auto& input : compute.read) {
    input.is_guarded = std::find(names.begin(), names.end(), input.name) != names.end();
  }
  for (auto const index : field->value->children) {
    auto const& item = reader.node(index);
    bool const is_read = std::any_of(compute.read.begin(), compute.read.end(),
                                     [&](ComputeInput const& input) { return input.name == item.text; });
    if (!is_read) reader.refuse(item, quoted(item.text) + " is not one of the names in 'read'");
  }
}

void read_written(FileReader& reader, Field const& field, Compute& compute) {
  compute.write = read_columns(reader, field);
  for (auto const index : field.value->children) {
    compute.write_positions.push_back(reader.position_of(reader.node(index)));
  }
  std::set<std::string> const different(compute.write.begin(), compute.write.end());
  if (different.size() != compute.write.size()) reader.refuse(*field.value, "'write' names a column twice");
}

ComputeService read_service(FileReader& reader, Field const& field) {
  ComputeService service;
  auto const fields = reader.read_map(field);
  if (!fields) return service;
  service.url = read_secret_url(reader, *fields);
  service.headers = read_headers(reader, *fields);
  service.ca_file = read_text(reader, *fields, "ca_file");
  return service;
}

void read_pace(FileReader& reader, Fields const& fields, Compute& compute) {
  compute.rows = read_count(reader, fields, "rows").value_or(compute.rows);
  compute.bytes = read_count(reader, fields, "bytes").value_or(compute.bytes);
  compute.timeout = read_duration(reader, fields, "timeout").value_or(compute.timeout);
  if (auto const processes = read_count(reader, fields, "processes")) compute.processes = static_cast<int>(*processes);
  auto const in_flight = read_count(reader, fields, "in_flight");
  int const usual = compute.service ? kRequestsOfAService : 2 * compute.processes;
  compute.in_flight = in_flight ? static_cast<int>(*in_flight) : usual;
  compute.per_second = read_count(reader, fields, "per_second");
}

}  // namespace

std::optional<Compute> read_compute(FileReader& reader, Field const& section) {
  auto const fields = reader.read_map(section);
  if (!fields) return std::nullopt;
  Compute compute;
  compute.position = reader.position_of(*section.key);
  if (auto const* read = fields->find("read")) compute.read = read_inputs(reader, *read);
  if (auto const* write = fields->find("write")) read_written(reader, *write, compute);
  if (auto const* command = fields->find("command")) {
    compute.command = read_words(reader, *command, "words");
    if (!compute.command.empty() && compute.command.front().empty()) {
      reader.refuse(*command->value, "the program has no name; " + for_example(*command->rule));
    }
  }
  if (auto const* http = fields->find("http")) compute.service = read_service(reader, *http);
  if (auto const* names = fields->find("environment")) compute.environment = read_words(reader, *names, "variables");
  read_guards(reader, *fields, compute);
  read_pace(reader, *fields, compute);
  return compute;
}

std::vector<Assignment> placeholders_of(Compute const& compute) {
  std::vector<Assignment> assignments;
  for (std::size_t index = 0; index < compute.write.size(); ++index) {
    auto const& column = compute.write[index];
    assignments.push_back({compute.write_positions[index], column, quote_identifier(column)});
  }
  return assignments;
}

}  // namespace pgbackfill::planner::file
