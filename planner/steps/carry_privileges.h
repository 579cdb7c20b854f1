// Privileges of one object given to another, each by who gave it: a REVOKE ... CASCADE goes by that.
//
// Whoever does it acts as each grantor (SET ROLE): GRANTED BY names nobody but the current role, and before PostgreSQL
// 14 nothing at all. What cannot be given so is refused by name beforehand. Pure text.
#pragma once

#include <string>

namespace pgbackfill::planner::recipes {

// Queries for rows (col, grantee, grantor, privilege_type, is_grantable); grantor is 0 for the owner, col NULL for the
// object as a whole.
struct Privileges {
  std::string of_old;   // as they have to be; columns by their names on the other object
  std::string of_new;   // as they are
  std::string options;  // those that let somebody give: of_new, and of the whole object
};

// Of a relation with its columns; `kind` as in acldefault(): r, s. `oid` is SQL.
std::string privileges_of(std::string const& kind, std::string const& oid);
// Of a column alone, under the name of the column with the number `named`; those are SQL.
std::string privileges_of_column(std::string const& oid, std::string const& number, std::string const& named);

// A block of PL/pgSQL. `what` is TABLE or SEQUENCE, `oid` is SQL of the object that gets them.
std::string carry_privileges(Privileges const& privileges, std::string const& what, std::string const& oid);

// SQL text, NULL for none: names of the privileges among `rows` (a query as above) whose grantor nobody can act as in
// this session.
std::string unkept_grants(std::string const& rows, std::string const& oid, int server_version);
inline constexpr char kUnkeptGrants[] =
    "these privileges were granted by roles that this one cannot act as (SET ROLE), or that are superusers, so that "
    "they "
    "would come from the owner; run this as a member of these roles, or let the owner grant them instead: ";

}  // namespace pgbackfill::planner::recipes
