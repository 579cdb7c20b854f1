// The values of a migration file: each takes a field, or the key of one, to what it stands for.
//
// A value that is wrong is noted with the reader, and what is returned then (nothing, or an empty text) is of no use.
// Those that end in SQL are in planner/file/sql_values.cpp. For one thread at a time, as the reader is.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/file/file_reader.h"
#include "planner/model/migration.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner::file {

// Whether there is a text at all.
bool is_scalar(FileReader& reader, Field const& field);
// `of_what`: "a migration", "a probe".
std::string read_name(FileReader& reader, Field const& field, std::string_view of_what);
std::optional<TableName> read_table(FileReader& reader, Field const& field);
// The key `table` of a section, else the table at the top of the file; neither is a problem.
TableName read_table_or(FileReader& reader, Fields const& fields, Field const& section,
                        std::optional<TableName> const& of_top);
std::string read_identifier(FileReader& reader, Field const& field);
std::vector<std::string> read_columns(FileReader& reader, Field const& field);
// "true" or "false".
std::string read_flag(FileReader& reader, Field const& field);
std::string read_text(FileReader& reader, Fields const& fields, std::string_view key);
bool is_url(std::string_view text);
std::string read_url(FileReader& reader, Field const& field);
std::optional<std::int64_t> read_count(FileReader& reader, Fields const& fields, std::string_view key);
std::optional<double> read_number(FileReader& reader, Fields const& fields, std::string_view key);
std::optional<std::chrono::milliseconds> read_duration(FileReader& reader, Fields const& fields, std::string_view key);
// One of the words of the rule.
std::string_view read_word(FileReader& reader, Fields const& fields, std::string_view key);
std::string_view word_of(FileReader& reader, Field const& field);

// The SQL with a typed constant for each {param:name}, and for each ${NAME} what reads its value.
std::string with_values(FileReader& reader, YamlNode const& value, std::string sql);
// SQL that is complete, with {batch} where the rule asks for it.
std::string read_statement(FileReader& reader, Field const& field);
// SQL that becomes a part of a statement.
std::string read_expression(FileReader& reader, Field const& field);
std::vector<Assignment> read_assignments(FileReader& reader, Field const& field);
void refuse_semicolon(FileReader& reader, YamlNode const& value, std::string_view what);

}  // namespace pgbackfill::planner::file
