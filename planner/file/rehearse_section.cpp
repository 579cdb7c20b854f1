// rehearse:

#include "planner/file/rehearse_section.h"

#include <cstdlib>
#include <string>

#include "planner/file/migration_schema.h"
#include "planner/file/sections.h"
#include "planner/file/values.h"
#include "planner/file/wording.h"
#include "planner/file/yaml_document.h"

namespace pgbackfill::planner {

namespace file {

namespace {

// "30%": a share.
std::optional<double> read_percent(FileReader& reader, Fields const& fields, std::string_view key) {
  auto const* field = fields.find(key);
  if (field == nullptr) return std::nullopt;
  auto const text = read_text(reader, fields, key);
  if (text.empty()) return std::nullopt;
  char* end = nullptr;
  double const number = std::strtod(text.c_str(), &end);
  std::string_view const unit(end);
  bool const is_percent = end != text.c_str() && (unit == "%" || unit == " %");
  if (is_percent && number > 0 && number <= 100'000) return number / 100;
  reader.refuse(*field->value, quoted(key) + " must be a share in percent, such as 30%");
  return std::nullopt;
}

}  // namespace

RehearsalLimits read_rehearse(FileReader& reader, Fields const& fields) {
  RehearsalLimits limits;
  auto const* section = fields.find("rehearse");
  if (section == nullptr) return limits;
  auto const keys = reader.read_map(*section);
  if (!keys) return limits;
  limits.max_time = read_duration(reader, *keys, "max_time");
  limits.max_lag = read_duration(reader, *keys, "max_lag");
  limits.max_lock_wait = read_duration(reader, *keys, "max_lock_wait");
  limits.max_growth = read_percent(reader, *keys, "max_growth");
  if (auto const* values = keys->find("values")) {
    for (auto const& assignment : read_assignments(reader, *values)) {
      limits.values[assignment.column] = assignment.expression;
    }
  }
  return limits;
}

}  // namespace file

RehearsalLimits rehearsal_limits(std::string_view text, std::string_view file_name) {
  auto const document = parse_yaml(text, file_name);
  if (document.problem) return {};
  file::FileReader reader{document, file_name};
  if (reader.root().kind != YamlKind::kMap) return {};
  auto const fields = reader.read_section(reader.root(), migration_section(), reader.root());
  return file::read_rehearse(reader, fields);
}

}  // namespace pgbackfill::planner
