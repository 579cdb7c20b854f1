// A key of a migration file beside its value and the rule that it has to keep.
//
// Points into the document and into planner/file/migration_schema.h; outlives neither. Values, safe from any thread.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "planner/file/migration_schema.h"
#include "planner/file/yaml_document.h"

namespace pgbackfill::planner::file {

struct Field {
  KeyRule const* rule;
  YamlNode const* key;
  YamlNode const* value;
};

// The keys of one section that it knows.
class Fields {
 public:
  void add(Field field) { fields_.push_back(field); }
  Field const* find(std::string_view key) const {
    auto const found = std::find_if(fields_.begin(), fields_.end(), [&](Field const& f) { return f.rule->key == key; });
    return found == fields_.end() ? nullptr : &*found;
  }
  // A misspelt key is one problem: the key that was meant is not reported as missing on top.
  void add_meant(std::string_view key) { meant_.push_back(key); }
  bool is_given_or_meant(std::string_view key) const {
    return find(key) != nullptr || std::find(meant_.begin(), meant_.end(), key) != meant_.end();
  }

 private:
  std::vector<Field> fields_;
  std::vector<std::string_view> meant_;
};

}  // namespace pgbackfill::planner::file
