// What the catalog says of a table: the input of every decision about keys, ranges and SQL.
//
// Pure values; engine/pg/catalog.h reads them. Names are plain text, unquoted.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planner/model/key.h"

namespace pgbackfill::planner {

struct ColumnFacts {
  std::string name;
  std::string type;                           // qualified, without modifier
  bool not_null = false;                      // and validated
  bool generated = false;                     // GENERATED ALWAYS AS (expression)
  bool identity_always = false;               // GENERATED ALWAYS AS IDENTITY
  std::string declared_type{};                // qualified, with length or precision
  std::vector<std::string> generated_from{};  // columns that a generated one is computed from
  std::string collation{};                    // qualified and quoted; empty: the type has none
  std::string base_type{};                    // of a domain, that of its values, as declared; empty: it is none
};

struct IndexFacts {
  std::string name;
  bool primary = false;
  bool unique = false;
  bool valid = false;
  bool partial = false;
  bool has_expressions = false;
  bool immediate = true;  // a deferrable constraint may hold duplicates for the length of a transaction
  bool ordered = false;   // a btree
  bool default_opclasses = false;
  std::vector<KeyColumn> columns;  // without INCLUDE columns
  // All columns that an update has to leave as they are to be HOT: of key, INCLUDE, expressions and predicate.
  std::vector<std::string> depends_on;
};

// A table that holds rows: the table itself, or one leaf of a partitioned one.
struct LeafFacts {
  std::uint32_t oid = 0;
  std::string schema;
  std::string name;
  char kind = 'r';  // pg_class.relkind
  std::vector<ColumnFacts> columns;
  std::vector<IndexFacts> indexes;
  std::int64_t rows_estimated = 0;
  bool rows_guessed = false;  // never analyzed: from the size alone
  std::int64_t blocks = 0;
  std::int64_t bytes = 0;             // heap, without indexes and toast
  int fillfactor = 100;               // percent
  std::string partition_condition{};  // SQL that holds for all rows of a partition, over names of columns; may be empty
};

struct TriggerFacts {
  std::string name;
  std::string definition;  // pg_get_triggerdef
  char enabled = 'O';      // pg_trigger.tgenabled
  bool on_insert = false;
  bool on_update = false;
  bool on_delete = false;
  bool for_each_row = true;
  bool is_before = false;
  bool is_of_leaf = false;  // a statement trigger of a leaf: a statement on the partitioned table does not fire it
};

struct TableFacts {
  std::uint32_t oid = 0;
  std::string schema;
  std::string name;
  char kind = 'r';
  int server_version = 0;                      // server_version_num
  std::vector<std::string> partition_columns;  // columns that decide which leaf a row lives in
  std::vector<LeafFacts> leaves;               // one for a plain table: itself
  std::vector<TriggerFacts> triggers;          // of the table and, for a partitioned one, of its leaves
  bool has_rules = false;                      // on UPDATE, INSERT or DELETE
  bool has_children = false;                   // by plain inheritance: left alone
  std::vector<std::string> children{};         // the first of them, quoted

  int server_major() const { return server_version / 10000; }
};

}  // namespace pgbackfill::planner
