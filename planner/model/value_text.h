// SQL that turns a value into its text and back by the input and output functions of its type.
//
// A cast would do, and does for types of PostgreSQL's own. But the owner of a type may make casts between it and text,
// which are functions of his: they would run with the rights of whoever runs the job. Pure text, every name with its
// schema.
#pragma once

#include <string>
#include <string_view>

namespace pgbackfill::planner {

// NULL for NULL. `value` stands there twice.
std::string text_of_value(std::string const& value, std::string_view type);

std::string value_of_text(std::string const& text, std::string_view type);

}  // namespace pgbackfill::planner
