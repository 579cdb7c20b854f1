// How far comparisons of old and new are.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

std::vector<std::string> begin_comparison(std::string const& migration, int position,
                                          std::vector<ComparedLeaf> const& leaves, Owner const& owner) {
  std::string const where = fmt::format("migration = {} AND position = {}", quote_literal(migration), position);
  std::vector<std::string> values;
  std::vector<std::string> same;
  for (auto const& leaf : leaves) {
    std::string const definition = quote_literal(leaf.definition);
    values.push_back(fmt::format("({}, {}, {}, {}, {}, {}, {}, {})", quote_literal(migration), position, leaf.relation,
                                 quote_literal(leaf.name), definition, quote_literal(owner.id),
                                 bound_text(leaf.progress.upper), leaf.progress.is_done));
    same.push_back(fmt::format("(relation = {} AND definition = {})", leaf.relation, definition));
  }
  return {
      fmt::format("DELETE FROM pgbackfill.comparisons WHERE {} AND NOT ({})", where, planner::join(same, " OR ")),
      fmt::format("INSERT INTO pgbackfill.comparisons (migration, position, relation, table_name, definition, owner, "
                  "upper_key, done) VALUES {} ON CONFLICT (migration, position, relation) DO UPDATE SET owner = "
                  "excluded.owner",
                  planner::join(values, ", ")),
      fmt::format("SELECT relation, cursor, upper_key, done, rows_compared, rows_differing, differing, CASE WHEN "
                  "min(began_at) OVER () < transaction_timestamp() THEN {} END FROM pgbackfill.comparisons WHERE {}",
                  utc_text("min(began_at) OVER ()"), where)};
}

planner::AgreementProgress comparison_progress(KeptComparison const& row) {
  planner::AgreementProgress progress;
  progress.cursor = row.cursor;
  progress.upper = row.upper;
  progress.is_done = row.is_done;
  progress.rows_compared = row.rows_compared;
  progress.rows_differing = row.rows_differing;
  return progress;
}

std::string keep_comparison(std::string const& migration, int position, std::uint32_t relation,
                            planner::AgreementProgress const& progress, std::string const& differing,
                            Owner const& owner) {
  return fmt::format(
      "UPDATE pgbackfill.comparisons SET cursor = {}, done = {}, rows_compared = {}, rows_differing = {}, differing = "
      "{}::jsonb, updated_at = clock_timestamp() WHERE migration = {} AND position = {} AND relation = {} AND owner = "
      "{}",
      bound_text(progress.cursor), progress.is_done, progress.rows_compared, progress.rows_differing,
      quote_literal(differing), quote_literal(migration), position, relation, quote_literal(owner.id));
}

std::string forget_comparisons(std::string const& migration) {
  return "DELETE FROM pgbackfill.comparisons WHERE migration = " + quote_literal(migration);
}

}  // namespace pgbackfill::engine::state
