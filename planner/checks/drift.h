// Drift: what of a table's definition is not as it was recorded when the migration ran first.
//
// Facts are compared as texts in the server's own spelling. Differences that the migration's own steps made are no
// drift: whoever runs steps records what they changed (engine/run/facts_keeper.h). Pure functions, safe from any
// thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/model/key.h"
#include "planner/model/migration.h"

namespace pgbackfill::planner {

// Kinds of facts that are no part of a definition: which relation it is, and which files hold its rows. TRUNCATE,
// VACUUM FULL and the like write these anew; that is never told as a difference.
inline constexpr char kIdentity[] = "identity";
inline constexpr char kStorage[] = "storage";
// Which column has a name: pg_attribute.attnum. Told only of a column that matters to the work.
inline constexpr char kColumnNumber[] = "column number";

struct SchemaFact {
  std::string relation;  // quoted, with its schema
  std::string kind;      // column, index, constraint, trigger, owner, partition key, partition
  std::string name;      // of a partition its relation; empty for owner and partition key
  std::string definition;
};

struct RecordedFact {
  SchemaFact fact;
  bool is_own = false;  // a step of the migration made or changed it
  std::string at;       // when it was recorded: "2026-11-21 14:03"
};

// Kind, name and definition of everything that a table with this oid is made of. search_path has to be pg_catalog, so
// that definitions name schemas whatever the role's settings are.
std::string schema_facts_sql(std::string const& oid);

// The partitions of the table, at all levels: relation, and definition for a fact of the table.
std::string partitions_sql(std::string const& oid);
// What partitions have of their own, not from their table: relation, kind, name, definition. Columns and owner where
// they differ from those of the table.
std::string partition_facts_sql(std::string const& oid);

struct Difference {
  std::string relation;
  std::string kind;
  std::string name;
  std::optional<std::string> before;  // none: it was not there
  std::optional<std::string> now;     // none: it is gone
  std::string since;
  bool was_own = false;     // a step of the migration had made it
  bool is_implied = false;  // by a partition's coming or going, which is a difference itself: not to be told
};

// Of relations that are in both; a table that is gone or new is another matter.
std::vector<Difference> differences(std::vector<RecordedFact> const& recorded, std::vector<SchemaFact> const& now);

// "since 2026-11-21 14:03 UTC: column \"users\".\"name\" is character varying(80) where it was text"
std::string difference_text(Difference const& difference);

// Whether it is about the table of `copy_to`. The table of the work is told by its job (engine/run/job_binding.h).
bool is_of_copy(Difference const& difference, Migration const& migration);

// Why the migration must not go on with it; empty: it does not touch the work. `keys` are those that the table is paged
// by, as far as they are known.
std::string drift_reason(Difference const& difference, Migration const& migration, std::vector<Key> const& keys);

// The tables whose facts are kept.
std::vector<TableName> tables_of(Migration const& migration);

}  // namespace pgbackfill::planner
