#include "planner/steps/publications.h"

#include <variant>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipes.h"
#include "planner/steps/sql_step.h"

namespace pgbackfill::planner {
namespace {

// Publications of schemas, and of some columns of a table, came with it.
constexpr int kVersionWithSchemas = 150000;

constexpr char kWays[] = "CASE WHEN p.puballtables THEN ' (FOR ALL TABLES)' ELSE '' END";

// Whether publication p publishes the schema as a whole.
std::string takes_schema(std::string const& schema_oid, int server_version) {
  if (server_version < kVersionWithSchemas) return "p.puballtables";
  return "(p.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace n WHERE n.pnpubid = p.oid AND "
         "n.pnnspid = " +
         schema_oid + "))";
}

// Whether publication p publishes the table with this oid, by itself or with a table that it is a partition of.
std::string publishes(std::string const& oid, int server_version, bool with_columns_to_come) {
  std::string const lines = "(SELECT " + oid +
                            "::pg_catalog.oid UNION SELECT a.relid::pg_catalog.oid FROM "
                            "pg_catalog.pg_partition_ancestors(" +
                            oid + ") a)";
  bool const has_lists = server_version >= kVersionWithSchemas;
  std::string const whole = with_columns_to_come && has_lists ? " AND r.prattrs IS NULL" : "";
  std::string text = "(EXISTS (SELECT FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid IN " +
                     lines + whole + ") OR ";
  if (!has_lists) return text + "p.puballtables)";
  return text +
         "p.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace n JOIN pg_catalog.pg_class k ON "
         "k.relnamespace = n.pnnspid WHERE n.pnpubid = p.oid AND k.oid IN " +
         lines + "))";
}

// Rows of its tables that are stored, itself or partitions.
std::string leaves_of(std::string const& oid) {
  return "(SELECT " + oid + "::pg_catalog.oid UNION SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(" +
         oid + ") t)";
}

std::string has_identity(std::string const& index_condition) {
  return "EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND " + index_condition +
         ")";
}

using New = std::vector<NewForSubscribers>;

template <class Detail>
New new_of(Detail const& /*step*/) {
  return {};
}
New new_of(RunSql const& step) {
  New made;
  for (auto const& name : new_names(step.sql)) {
    TableName const called{name.table.schema, name.renamed};
    made.push_back({name.table, name.column.empty() ? "table " + shown(called)
                                                    : "column " + name.column + " of " + shown(name.table)});
  }
  return made;
}
New new_of(AddColumn const& step) {
  return {{step.table, "column " + step.column + " of " + shown(step.table)}};
}
New new_of(RenameColumn const& step) {
  return {{step.table, "column " + step.to + " of " + shown(step.table)}};
}
New new_of(SwapColumn const& step) {
  return {{step.table, "column " + step.keep_as + " of " + shown(step.table)}};
}
New new_of(CreateTable const& step) {
  return {{step.table, "table " + shown(step.table)}};
}
New new_of(RenameTable const& step) {
  TableName const renamed{step.table.schema, step.to};
  return {{step.table, "table " + shown(renamed)}};
}

}  // namespace

std::string subscribers_sql() {
  return "SELECT 'slot ' || s.slot_name || CASE WHEN s.active THEN ' (active' || coalesce(', application ' || "
         "nullif(a.application_name, ''), '') || ')' ELSE ' (inactive)' END FROM pg_catalog.pg_replication_slots s "
         "LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = s.active_pid WHERE s.slot_type = 'logical' AND s.plugin = "
         "'pgoutput' AND s.database = pg_catalog.current_database() AND NOT s.temporary AND s.slot_name !~ "
         "'^pg_[0-9]+_sync_' ORDER BY s.slot_name";
}

std::string publications_of_sql(TableName const& table, int server_version) {
  std::string const oid = recipes::oid_of(table);
  std::string const schema =
      table.schema.empty()
          ? "pg_catalog.to_regnamespace(pg_catalog.quote_ident(nullif(pg_catalog.current_setting('pgbackfill.schema', "
            "true), '')))"
          : "pg_catalog.to_regnamespace(" + quote_literal(quote_identifier(table.schema)) + ")";
  return std::string{"SELECT p.pubname || "} + kWays + " FROM pg_catalog.pg_publication p WHERE (" +
         publishes(oid, server_version, true) +
         " AND coalesce((SELECT c.relpersistence = 'p' FROM pg_catalog.pg_class c WHERE c.oid = " + oid +
         "), true)) OR (" + oid + " IS NULL AND " + takes_schema(schema, server_version) + ") ORDER BY p.pubname";
}

std::string publications_of_state_sql(int server_version) {
  return std::string{"SELECT p.pubname || "} + kWays + " FROM pg_catalog.pg_publication p WHERE " +
         takes_schema("pg_catalog.to_regnamespace('pgbackfill')", server_version) + " ORDER BY p.pubname";
}

New new_for_subscribers(SchemaStep const& step) {
  return std::visit([](auto const& detail) { return new_of(detail); }, step.detail->kind);
}

std::string lacks_identity(std::string const& oid, int server_version) {
  return "(SELECT pg_catalog.format('publication %I publishes updates and deletes of %s, which has no replica "
         "identity, so that they would fail; give it a primary key, or ALTER TABLE ... REPLICA IDENTITY USING INDEX "
         "with a unique index over NOT NULL columns', p.pubname, c.oid::pg_catalog.regclass) FROM "
         "pg_catalog.pg_class c CROSS JOIN "
         "pg_catalog.pg_publication p WHERE c.oid IN " +
         leaves_of(oid) +
         " AND c.relkind = 'r' AND c.relpersistence = 'p' AND (p.pubupdate OR p.pubdelete) AND NOT (c.relreplident = "
         "'f' OR c.relreplident = 'd' AND " +
         has_identity("i.indisprimary") + " OR c.relreplident = 'i' AND " + has_identity("i.indisreplident") +
         ") AND " + publishes("c.oid", server_version, false) + " ORDER BY c.oid, p.pubname LIMIT 1)";
}

std::string has_identity_index(std::string const& oid, std::string const& condition, int server_version) {
  return "EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN "
         "pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = " +
         oid +
         " AND (i.indisreplident OR i.indisprimary AND c.relreplident = 'd' AND EXISTS (SELECT FROM "
         "pg_catalog.pg_publication p WHERE (p.pubupdate OR p.pubdelete) AND " +
         publishes("c.oid", server_version, false) + ")) AND " + condition + ")";
}

}  // namespace pgbackfill::planner
