// The keys of one step or check, read by their rules, before a typed step or check is made of them.
//
// What no rule of a single key can say is for those who make it (planner/file/step_maker.h, verify_section.cpp). For
// one thread at a time, as the reader is.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/file/file_reader.h"
#include "planner/model/source_position.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner::file {

struct StepValue {
  std::string_view key;
  SourcePosition position;
  std::string text;                // of anything but a table and columns
  std::vector<std::string> items;  // columns
  TableName table;
};

struct StepValues {
  std::string_view word;    // create_index
  SourcePosition position;  // of the word
  std::vector<StepValue> values;
  std::optional<TableName> default_table;
  std::string migration = {};

  StepValue const* find(std::string_view key) const;
  // Of a key that is not there: empty.
  std::string text(std::string_view key) const;
  std::vector<std::string> items(std::string_view key) const;
  TableName table(std::string_view key) const;
  // The key `table`, else the table at the top of the file; neither is a problem.
  TableName own_table(std::vector<Problem>& problems) const;
  // `columns` refer to those of `to`, if that is given, one to one.
  void require_pairs(std::vector<Problem>& problems) const;
};

// The keys of a step's map, or the one that a plain text stands for.
void read_step_values(FileReader& reader, Field const& field, StepValues& step);
StepValue read_step_value(FileReader& reader, Field const& field);

}  // namespace pgbackfill::planner::file
