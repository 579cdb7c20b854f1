// What an assignment of an expression would store in a column, as SQL that a row can be compared with.
//
// A cast cuts what is too long for varchar(n), char(n), bit(n) and bit varying(n), where an assignment fails; so such a
// value is compared uncut, and never equal to one that is stored. Blanks beyond the length an assignment cuts as well.
// Elements of arrays are compared as a cast gives them. Pure functions, safe from any thread.
#pragma once

#include <string>

namespace pgbackfill::planner {

struct AssignedType {
  std::string declared;  // SQL, with length and precision
  std::string base{};    // of a domain, the type that it is of, in the same form; empty: it is none
};

// Both of one type, so that records can be compared.
std::string value_as_assigned(std::string const& expression, AssignedType const& type);
std::string column_as_stored(std::string const& column, AssignedType const& type);

}  // namespace pgbackfill::planner
