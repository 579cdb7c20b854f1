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

// Whether the text of a value that is not NULL is that of another one too, by the equality of the type: one that shows
// fewer digits than it has. Empty: no value of this type, which is PostgreSQL's own.
std::string has_other_text(std::string const& value, std::string_view type);

}  // namespace pgbackfill::planner
