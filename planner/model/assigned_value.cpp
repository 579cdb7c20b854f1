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
  bool is_array = false;

  std::string type_text() const { return std::string(type->type) + (is_array ? "[]" : ""); }
};

Length length_of(AssignedType const& type) {
  std::string_view text = type.base.empty() ? type.declared : type.base;
  bool const is_array = text.ends_with("[]");
  if (is_array) text.remove_suffix(2);
  std::size_t const open = text.find('(');
  if (open == std::string_view::npos || !text.ends_with(')')) return {};
  for (auto const& one : kLengthTypes) {
    if (text.substr(0, open) != one.words) continue;
    return {&one, std::string(text.substr(open + 1, text.size() - open - 2)), is_array};
  }
  return {};
}

std::string cast(std::string const& value, std::string_view type) {
  return "CAST(" + value + " AS " + std::string(type) + ")";
}

// Holds where more than blanks stands behind the length: an assignment fails, and a cast cuts it off.
std::string is_too_long(std::string const& text, std::string const& length) {
  return "pg_catalog.rtrim(pg_catalog.substr(" + text + ", " + length +
         " OPERATOR(pg_catalog.+) 1)) OPERATOR(pg_catalog.<>) ''";
}

// The expression stands in a subquery, so that it is computed once.
std::string cut_blanks(std::string const& value, Length const& length) {
  std::string cut = "pg_catalog.substr(v.text, 1, " + length.number + ")";
  if (length.type->pads) cut = "pg_catalog.rpad(" + cut + ", " + length.number + ")";
  return cast("(SELECT CASE WHEN " + is_too_long("v.text", length.number) + " THEN v.text ELSE " + cut +
                  " END FROM (SELECT " + cast(value, "pg_catalog.text") + " AS text OFFSET 0) AS v)",
              length.type->type);
}

std::string cut_blanks_of_elements(std::string const& value, Length const& length) {
  std::string const cut = cast("v.texts", std::string(length.type->type) + "(" + length.number + ")[]");
  return "(SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.unnest(v.texts) AS e (text) WHERE " +
         is_too_long("CAST(e.text AS pg_catalog.text)", length.number) + ") THEN v.texts ELSE " + cut +
         " END FROM (SELECT " + cast(value, length.type_text()) + " AS texts OFFSET 0) AS v)";
}

}  // namespace

std::string value_as_assigned(std::string const& expression, AssignedType const& type) {
  std::string const value = parenthesised(expression);
  auto const length = length_of(type);
  if (length.type == nullptr) return cast(value, qualified_type(type.declared));
  if (!length.type->cuts_blanks) return cast(value, length.type_text());
  return length.is_array ? cut_blanks_of_elements(value, length) : cut_blanks(value, length);
}

std::string column_as_stored(std::string const& column, AssignedType const& type) {
  auto const length = length_of(type);
  return length.type == nullptr || type.base.empty() ? column : cast(column, length.type_text());
}

}  // namespace pgbackfill::planner
