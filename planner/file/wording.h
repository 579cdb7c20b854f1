// How the reader of migration files words what is wrong: keys and values in quotes, in one line of bounded length.
//
// Pure functions, safe from any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "planner/file/field.h"
#include "planner/file/migration_schema.h"
#include "planner/file/yaml_document.h"

namespace pgbackfill::planner::file {

bool is_blank(std::string_view text);

std::string shortened(std::string_view text);
// 'text', shortened.
std::string quoted(std::string_view text);
// 'one', 'two'
std::string quoted_list(std::span<std::string_view const> words);
// 'key: value'
std::string as_written(Field const& field);

// workers: 4
std::string example_of(KeyRule const& rule);
// for example workers: 4
std::string for_example(KeyRule const& rule);

// "a list", to stand behind "not".
std::string kind_name(YamlNode const& node);

// `word`: the section or step that lacks one.
std::string no_table_text(std::string_view word);

}  // namespace pgbackfill::planner::file
