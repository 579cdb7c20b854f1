// What of a table's indexes and constraints is over one column, and which of them is the same over another one: the
// same kind, columns, order, operator classes, collations, expressions, predicate and actions, with the one column in
// the place of the other.
//
// Pure text: SQL for the catalog, to be run with search_path = pg_catalog. A column's type may differ: definitions are
// compared without casts.
#pragma once

#include <string>

namespace pgbackfill::planner {

// All are SQL expressions.
struct ColumnSwap {
  std::string table;       // oid
  std::string old_number;  // attnum; NULL: there is no such column
  std::string new_number;
  std::string old_name;  // name as text
  std::string new_name;
};

// Whether index i has to do with a column of the number.
std::string index_has_column(std::string const& number);

// Query for the indexes over the old column: index, title, kind (p, u, x: of such a constraint; i: unique; n: else),
// definition.
std::string indexes_of_old_column(ColumnSwap const& columns);
// Query for pairs: old_index, old_title, kind, is_deferrable, is_deferred, is_identity (replica identity),
// is_clustered, new_index, new_title, new_kind. Each index is in one pair at most. A plain unique index stands for a
// primary key, which there can be one of only, and for a deferrable constraint, which no step makes.
std::string index_pairs(ColumnSwap const& columns);

// Query for pairs of checks and foreign keys: old_constraint, new_constraint (oid), old_title, new_title.
std::string constraint_pairs(ColumnSwap const& columns);

// Query for one text: the checks of the domain old_type that neither new_type nor a check of the relation has over its
// column; NULL: none. All are SQL expressions; the column is its name.
std::string unmet_domain_checks(std::string const& old_type, std::string const& new_type, std::string const& relation,
                                std::string const& column);

// The text with the one column in the place of the other, as an SQL expression. Of what the server spells.
std::string over_new_column(std::string const& text, ColumnSwap const& columns);
// Without what differs by type alone.
std::string without_casts(std::string const& text);

}  // namespace pgbackfill::planner
