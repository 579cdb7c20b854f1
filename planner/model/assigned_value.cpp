#include "planner/model/assigned_value.h"

#include <array>
#include <string_view>

#include "planner/model/sql_text.h"

namespace pgbackfill::planner {

namespace {

struct LengthType {
  std::string_view words;  // before the length
  std::string_view type;   // without one
  bool cuts_blanks = false;
  bool pads = false;
};

constexpr std::array kLengthTypes = {LengthType{"character varying", "pg_catalog.\"varchar\"", true, false},
                                     LengthType{"character", "pg_catalog.bpchar", true, true},
                                     LengthType{"bit varying", "pg_catalog.varbit"},
                                     LengthType{"bit", "pg_catalog.\"bit\""}};

struct Length {
  LengthType const* type = nullptr;  // null: the type has none, or a cast fails as an assignment does
  std::string number;
};

Length length_of(AssignedType const& type) {
  std::string_view const text = type.base.empty() ? type.declared : type.base;
  std::size_t const open = text.find('(');
  if (open == std::string_view::npos || !text.ends_with(')')) return {};
  for (auto const& one : kLengthTypes) {
    if (text.substr(0, open) != one.words) continue;
    return {&one, std::string(text.substr(open + 1, text.size() - open - 2))};
  }
  return {};
}

std::string cast(std::string const& value, std::string_view type) {
  return "CAST(" + value + " AS " + std::string(type) + ")";
}

}  // namespace

std::string value_as_assigned(std::string const& expression, AssignedType const& type) {
  std::string const value = parenthesised(expression);
  auto const length = length_of(type);
  if (length.type == nullptr) return cast(value, qualified_type(type.declared));
  auto const uncut = cast(value, length.type->type);
  if (!length.type->cuts_blanks) return uncut;
  std::string cut = "pg_catalog.substr(v.text, 1, " + length.number + ")";
  if (length.type->pads) cut = "pg_catalog.rpad(" + cut + ", " + length.number + ")";
  // In a subquery, so that the expression is computed once.
  return cast("(SELECT CASE WHEN pg_catalog.rtrim(pg_catalog.substr(v.text, " + length.number +
                  " OPERATOR(pg_catalog.+) 1)) OPERATOR(pg_catalog.=) '' THEN " + cut +
                  " ELSE v.text END FROM (SELECT " + cast(value, "pg_catalog.text") + " AS text OFFSET 0) AS v)",
              length.type->type);
}

std::string column_as_stored(std::string const& column, AssignedType const& type) {
  auto const length = length_of(type);
  return length.type == nullptr || type.base.empty() ? column : cast(column, length.type->type);
}

}  // namespace pgbackfill::planner
