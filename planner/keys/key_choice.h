// Which key a table is paged by, and what makes a table unusable.
//
// Pure. A refusal says what is missing and what the operator can add.
#pragma once

#include <string>
#include <variant>

#include "planner/model/migration.h"
#include "planner/model/table_facts.h"

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
// The key that a job is paged by, as its index is now: its columns may have got a wider type that sorts alike. A
// refusal where what stands behind a stored key may be another row than when the job began.
std::variant<Key, Refusal> key_now(Key const& stored, LeafFacts const& leaf);

// Why rows may stand in another order in the index than the server sorts them in now; empty: no reason to think so.
std::string order_doubt(Key const& key, LeafFacts const& leaf);

std::vector<Problem> check_against_table(Backfill const& backfill, TableFacts const& table,
                                         std::vector<Key> const& leaf_keys);

// For `sql:` the same, of the columns of the table that the statement assigns.
std::vector<Problem> check_assigned(Backfill const& backfill, TableFacts const& table,
                                    std::vector<Key> const& leaf_keys, std::vector<std::string> const& columns);

// Whether the expressions read what they assign, or what is generated from that: then a repeat starts from other
// values.
bool reads_what_it_assigns(Backfill const& backfill, LeafFacts const& leaf,
                           std::vector<std::string> const& columns_read);

// For copy: the same for the target of the copy.
std::vector<Problem> check_copy_target(Backfill const& backfill, LeafFacts const& target);

}  // namespace pgbackfill::planner
