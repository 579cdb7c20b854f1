// What a schema step has to do with logical replication: tables that publications publish, and subscribers that stop
// when they are sent what they do not have.
//
// Pure text for the catalog. A subscriber is known by its slot alone (plugin pgoutput); which publications it uses, the
// server does not know.
#pragma once

#include <string>
#include <vector>

#include "planner/model/table_name.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::planner {

// Rows of one text: "slot s (active, application s)". Slots of this database.
std::string subscribers_sql();

// Rows of one text: "everything (FOR ALL TABLES)". Publications that publish a table of that name, or would if it were
// there; with all of its columns, those to come too.
std::string publications_of_sql(TableName const& table, int server_version);
// The same for schema pgbackfill, where it is or will be.
std::string publications_of_state_sql(int server_version);

// What a step makes that a subscriber has to have before it is sent rows with it.
struct NewForSubscribers {
  TableName table;   // whose publications count
  std::string what;  // "column note of public.users"
};
std::vector<NewForSubscribers> new_for_subscribers(SchemaStep const& step);

// SQL text: why updates and deletes of the table, or of one of its partitions, would fail because it is published and
// has no replica identity; NULL: they would not. `oid` is SQL.
std::string lacks_identity(std::string const& oid, int server_version);

// SQL condition: an index i of the table that satisfies a condition is what tells subscribers which row was changed.
std::string has_identity_index(std::string const& oid, std::string const& condition, int server_version);
inline constexpr char kIdentityAdvice[] =
    "is the replica identity of the table: without it UPDATE and DELETE fail while a publication publishes them; "
    "choose another one first, with ALTER TABLE ... REPLICA IDENTITY";

}  // namespace pgbackfill::planner
