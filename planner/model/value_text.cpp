#include "planner/model/value_text.h"

#include "planner/model/sql_text.h"

namespace pgbackfill::planner {

namespace {

bool is_users_type(std::string const& qualified) {
  return qualified.find('.') != std::string::npos && !qualified.starts_with("pg_catalog.");
}

}  // namespace

std::string has_other_text(std::string const& value, std::string_view type) {
  auto const qualified = qualified_type(type);
  if (!is_users_type(qualified)) return "";
  // The value may be of a domain over the type.
  return "pg_catalog.record_ne(ROW((" + value + ")::" + qualified + "), ROW(" +
         value_of_text("pg_catalog.concat(" + value + ")", type) + "))";
}

std::string text_of_value(std::string const& value, std::string_view type) {
  if (!is_users_type(qualified_type(type))) return value + "::pg_catalog.text";
  return "CASE WHEN pg_catalog.num_nulls(" + value + ") OPERATOR(pg_catalog.=) 0 THEN pg_catalog.concat(" + value +
         ") END";
}

std::string value_of_text(std::string const& text, std::string_view type) {
  auto const qualified = qualified_type(type);
  if (!is_users_type(qualified)) return '(' + text + ")::" + qualified;
  return "(SELECT pgbackfill_one.v FROM pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object('v', " + text +
         ")) AS pgbackfill_one (v " + qualified + "))";
}

}  // namespace pgbackfill::planner
