// Which key a table is paged by, and what makes a table unusable.
//
// Pure. A refusal says what is missing and what the operator can add.
#pragma once

#include <string>
#include <variant>

#include "planner/migration.h"
#include "planner/table_facts.h"

namespace pgbackfill::planner {

struct Refusal {
  std::string text;
};

// Primary key first; then the unique index over NOT NULL columns with the fewest columns; then blocks, if `backfill`
// allows it: an update or delete whose `where` lets a later pass find rows that moved.
std::variant<Key, Refusal> choose_key(LeafFacts const& leaf, Backfill const& backfill);

// That the leaf has no such column, and which one may have been meant.
std::string missing_column(std::string const& column, LeafFacts const& leaf);

// What is wrong with the backfill as asked for, seen against the catalog: kinds of relations that cannot be worked,
// assigned columns that do not exist, are generated, belong to the key or decide the partition.
std::vector<Problem> check_against_table(Backfill const& backfill, TableFacts const& table,
                                         std::vector<Key> const& leaf_keys);

// For copy: the same for the target of the copy.
std::vector<Problem> check_copy_target(Backfill const& backfill, LeafFacts const& target);

}  // namespace pgbackfill::planner
