// The structure of a migration file: walks its sections by the rules of planner/file/migration_schema.h and collects
// what is wrong.
//
// Knows which keys stand where, which belong together and which exclude each other, and nothing of what a value means:
// that is planner/file/values.h and the readers of sections (planner/file/sections.h). For one thread at a time.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/file/field.h"
#include "planner/file/migration_schema.h"
#include "planner/file/sql_inputs.h"
#include "planner/file/yaml_document.h"
#include "planner/model/source_position.h"

namespace pgbackfill::planner::file {

// The rule of a key; null when the section does not know it.
KeyRule const* find_rule(Section const& section, std::string_view key);

class FileReader {
 public:
  // The document outlives the reader.
  FileReader(YamlDocument const& document, std::string_view file_name, Section const& top = migration_section())
      : nodes_(document.nodes), file_name_(file_name), top_(top) {}

  YamlNode const& root() const { return nodes_.front(); }
  YamlNode const& node(std::size_t index) const { return nodes_[index]; }
  SourcePosition position_of(YamlNode const& place) const { return {file_name_, place.line, place.column}; }

  // `position` is where a missing key is reported.
  Fields read_section(YamlNode const& map, Section const& section, YamlNode const& position);
  // Nothing, with the problem noted, when the value is no map.
  std::optional<Fields> read_map(Field const& field);
  // Whether the value is one; else the problem is noted. `of_what`: "steps".
  bool is_list(Field const& field, std::string_view of_what);
  bool is_filled_list(Field const& field, std::string_view of_what);
  void refuse_duplicates(YamlNode const& map);

  // Notes what is wrong; what is beyond kMaxProblems is left out.
  void refuse(YamlNode const& place, std::string text);
  void refuse(Problem problem);
  // Where a value is reported: one that was left out has no place of its own.
  static YamlNode const& place_of(Field const& field);
  SqlInputs& inputs() { return inputs_; }
  // For those that note what is wrong themselves.
  std::vector<Problem>& problems() { return problems_; }

 private:
  void read_key(YamlNode const& key, YamlNode const& value, Section const& section, Fields& fields);
  void refuse_unknown_key(YamlNode const& key, Section const& section, Fields& fields);
  void refuse_unsupported(Field const& field, Section const& section, Fields& fields);
  void check_relations(Fields const& fields, Section const& section, YamlNode const& position);
  void check_alternatives(Fields const& fields, Section const& section, YamlNode const& position);

  std::vector<YamlNode> const& nodes_;
  std::string file_name_;
  Section const& top_;  // the file's own
  SqlInputs inputs_;
  std::vector<Problem> problems_;
};

}  // namespace pgbackfill::planner::file
