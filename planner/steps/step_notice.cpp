#include "planner/steps/step_notice.h"

#include <regex>
#include <variant>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/other_relations.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner {

bool outdates_plans(SchemaStep const& step) {
  auto const* run = std::get_if<RunSql>(&step.detail->kind);
  if (run == nullptr) return changes_row(step) || std::holds_alternative<Swap>(step.detail->kind);
  static std::regex const pattern(R"(\bALTER\s+TABLE\b[^;]*\b(ADD|DROP|RENAME|TYPE)\b)", std::regex::icase);
  return std::regex_search(run->sql, pattern);
}

std::string outdated_plans_text(std::vector<std::string> const& places) {
  return join(places, ", ") +
         ": a prepared statement with SELECT * or RETURNING * of the table fails once in each session that prepared it "
         "before, with \"cached plan must not change result type\", and takes its transaction along; let statements "
         "name their columns, or sessions DEALLOCATE ALL or connect anew";
}

std::string column_triggers_sql(SchemaStep const& install) {
  auto const* sync = std::get_if<InstallSync>(&install.detail->kind);
  if (sync == nullptr) return {};
  std::vector<std::string> written;
  for (auto const* side : {&sync->set, &sync->reverse}) {
    for (auto const& one : *side) written.push_back(one.column);
  }
  std::string const oid = recipes::oid_of(sync->table);
  return "SELECT pg_catalog.format('trigger %I fires on UPDATE OF %s alone: not when the trigger of sync: changes %s, "
         "because it goes by the columns that the statement names; make it a trigger on UPDATE with WHEN (OLD.%s IS "
         "DISTINCT FROM NEW.%s)', g.tgname, string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum), "
         "string_agg(pg_catalog.quote_ident(a.attname), ' or ' ORDER BY a.attnum), min(pg_catalog.quote_ident("
         "a.attname)), min(pg_catalog.quote_ident(a.attname))) FROM pg_catalog.pg_trigger g JOIN "
         "pg_catalog.pg_attribute a ON a.attrelid = g.tgrelid AND a.attnum = ANY (g.tgattr::int2[]) WHERE NOT "
         "g.tgisinternal AND g.tgparentid = 0 AND g.tgenabled <> 'D' AND a.attname = ANY (" +
         text_array(written) + ") AND g.tgrelid IN (SELECT " + oid +
         "::pg_catalog.oid UNION SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(" + oid +
         ") t) GROUP BY g.oid, g.tgname ORDER BY g.tgname";
}

std::string standbys_sql() {
  return "SELECT coalesce(nullif(r.application_name, ''), 'a standby') || coalesce(' (' || host(r.client_addr) || ')', "
         "'') FROM pg_catalog.pg_stat_replication r WHERE r.state IS DISTINCT FROM 'backup' AND NOT EXISTS (SELECT "
         "FROM pg_catalog.pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical') ORDER BY 1";
}

std::string replayed_locks_text(std::vector<std::string> const& standbys, std::vector<std::string> const& places) {
  return "standby " + join(standbys, ", ") + ": it replays the ACCESS EXCLUSIVE lock of " + join(places, ", ") +
         "; behind a query there that reads the table, replay and all later reads of the table wait, for up to its "
         "max_standby_streaming_delay. --standby CONNINFO lets pgbackfill look there first, and wait";
}

}  // namespace pgbackfill::planner
