// What tables were made of when a migration first ran.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

std::string fact_place(std::string const& migration, planner::SchemaFact const& fact) {
  return fmt::format("migration = {} AND relation = {} AND kind = {} AND name = {}", quote_literal(migration),
                     quote_literal(fact.relation), quote_literal(fact.kind), quote_literal(fact.name));
}

std::string fact_insert(std::string const& migration, planner::SchemaFact const& fact, bool is_own) {
  return fmt::format(
      "INSERT INTO pgbackfill.facts (migration, relation, kind, name, definition, is_own) VALUES ({}, {}, {}, {}, {}, "
      "{})",
      quote_literal(migration), quote_literal(fact.relation), quote_literal(fact.kind), quote_literal(fact.name),
      quote_literal(fact.definition), is_own);
}

}  // namespace

std::string list_facts(std::string const& migration) {
  return "SELECT relation, kind, name, definition, is_own, to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD "
         "HH24:MI') FROM pgbackfill.facts WHERE migration = " +
         quote_literal(migration) + " ORDER BY relation, kind, name";
}

std::string record_fact(std::string const& migration, planner::SchemaFact const& fact, bool is_own) {
  return fact_insert(migration, fact, is_own) +
         " ON CONFLICT (migration, relation, kind, name) DO UPDATE SET definition = excluded.definition, is_own = "
         "excluded.is_own, recorded_at = excluded.recorded_at";
}

std::string record_fact_once(std::string const& migration, planner::SchemaFact const& fact) {
  return fact_insert(migration, fact, false) + " ON CONFLICT DO NOTHING";
}

std::string forget_fact(std::string const& migration, planner::SchemaFact const& fact) {
  return "DELETE FROM pgbackfill.facts WHERE " + fact_place(migration, fact);
}

std::string forget_facts(std::string const& migration) {
  return "DELETE FROM pgbackfill.facts WHERE migration = " + quote_literal(migration);
}

std::string job_keys(std::string const& migration) {
  return "SELECT DISTINCT key_index, key_columns FROM pgbackfill.leaves WHERE job_id = " + job_id_of(migration);
}

}  // namespace pgbackfill::engine::state
