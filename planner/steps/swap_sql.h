// What belongs to a table and how `swap` carries it over to the copy: the SQL of planner/steps/recipes_swap.cpp.
//
// | part | how |
// | --- | --- |
// | owner, privileges with who granted them | carried; refused where this session cannot act as the grantor |
// | comments, security labels, DEPENDS ON EXTENSION | carried, also to corresponding indexes and constraints |
// | defaults, sequences, identity | carried; where both have another one, refused, or the sequences are exchanged |
// | storage parameters, STATISTICS, n_distinct, STORAGE, COMPRESSION, CLUSTER, REPLICA IDENTITY | carried |
// | triggers, foreign keys that refer to the table | made anew on the copy |
// | keys, indexes, checks, foreign keys, statistics objects | the copy has to have them; it gets their names |
// | names and NO INHERIT of NOT NULL (18) | carried |
// | triggers of partitions alone, or enabled otherwise there | refused |
// | the server's triggers of foreign and deferrable keys, where they are not enabled | refused |
// | NOT NULL, checks of domains, generated columns, LOGGED, row security, publications | the copy has to have them |
// | views, rules, functions, types, partitions, extensions, subscriptions | refused |
// | views, foreign keys and publications of partitions | refused |
// | columns that the copy lacks, with what lies on them alone; place of columns; tablespaces; what partitions have
// alone | said by `plan` |
//
// Pure text. In pieces of SQL @old@ and @new@ stand for the numbers of the table and of its copy.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "planner/model/step_detail.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::planner::recipes {

// SQL expressions or PL/pgSQL variables of type oid.
struct SwapSides {
  std::string old_oid;
  std::string new_oid;
};

SwapSides sides_by_name(Swap const& step, TableName const& table);
std::string with_sides(std::string_view sql, SwapSides const& sides);

// Parts that the copy has to have as the table has them: rows of kind (index, constraint, statistics), id, title,
// definition, class, object (as in
// pg_depend). The definition is the same for the same thing on another table of another name.
std::string swap_parts(std::string const& side, SwapSides const& sides);

// Of a part p: names of the columns of the table that it lies on, and whether the copy has them.
std::string swap_columns_of_part(SwapSides const& sides);

// The default of column o of the table (attrdef d), by which column n of the copy has to go; NULL: none.
std::string swap_default();

// A text that is another one once somebody has changed what a swap goes by.
std::string swap_seen(SwapSides const& sides);

// Pairs of corresponding parts: kind, old_id, old_title, new_id, new_title. `wanted` is SQL of the `parts` that the
// probe gave: those of the table, as they would be spelled on the copy.
std::string swap_pairs(std::string const& wanted, SwapSides const& sides);

// Statements for the transaction that is rolled back: every part of the table is tried on an empty table like the copy.
// The last one gives JSON (seen: the text of swap_seen(), parts: kind, id, title, definition), and what the copy lacks
// or cannot take, or NULL.
std::vector<std::string> swap_probe(Swap const& step, StepFacts const& facts);

// Condition and text, for first_of().
std::vector<std::pair<std::string, std::string>> swap_refusals(Swap const& step, StepFacts const& facts);
// Those that the table alone tells, before there is a copy or a mirror.
std::vector<std::pair<std::string, std::string>> early_swap_refusals(Swap const& step, StepFacts const& facts);

// Statements of PL/pgSQL: before the tables change their names, and after it. They use old_oid, new_oid, mirror (the
// oid of the mirror's function) and the variables of swap_variables(), of which `pairs` is what swap_pairs() gives, as
// JSON.
std::string swap_variables();
std::string carry_before_renaming();
std::string carry_after_renaming();

// What `plan` says of the swap: rows (relation, words).
std::string swap_notes(Swap const& step, TableName const& table);

}  // namespace pgbackfill::planner::recipes
