// Leaves of a job: how they are stored, and partitions that come, go, or are another table now.

#include <fmt/format.h>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

std::string boolean_array(std::vector<bool> const& values) {
  std::string text;
  for (bool const value : values) text += std::string(text.empty() ? "" : ", ") + (value ? "true" : "false");
  return "ARRAY[" + text + "]::boolean[]";
}

// What is stored of a key, in the order of kKeyColumns.
constexpr char kKeyColumns[] =
    "key_index, key_columns, key_types, key_collations, key_order_collations, key_descending, key_nulls_first, "
    "key_collation_versions, key_operators";

std::string key_values(planner::Key const& key) {
  std::vector<std::string> names, types, collations, order_collations, versions, operators;
  std::vector<bool> descending, nulls_first;
  for (auto const& column : key.columns) {
    names.push_back(column.name);
    types.push_back(column.type);
    collations.push_back(column.collation);
    order_collations.push_back(column.order_collation);
    descending.push_back(column.descending);
    nulls_first.push_back(column.nulls_first);
    versions.push_back(column.collation_version);
    operators.insert(operators.end(), column.operators.begin(), column.operators.end());
  }
  return fmt::format("{}, {}, {}, {}, {}, {}, {}, {}, {}", quote_literal(key.index), planner::text_array(names),
                     planner::text_array(types), planner::text_array(collations), planner::text_array(order_collations),
                     boolean_array(descending), boolean_array(nulls_first), planner::text_array(versions),
                     planner::text_array(operators));
}

planner::Key key_of(std::vector<std::optional<std::string>> const& row) {
  std::string const where = fmt::format("pgbackfill.leaves, leaf {} ({})", row[0].value_or("?"), row[3].value_or("?"));
  auto const list = [&](std::size_t column, char const* name) {
    auto values = parse_text_array(row[column]);
    if (!values) throw BrokenState(where + ": " + name + " is NULL");
    return *values;
  };
  planner::Key key;
  key.index = row[4].value_or("");
  auto const columns = list(5, "key_columns");
  auto const types = list(6, "key_types");
  auto const collations = list(7, "key_collations");
  auto const order_collations = list(8, "key_order_collations");
  auto const descending = list(9, "key_descending");
  auto const nulls_first = list(10, "key_nulls_first");
  // Jobs that an older version began have none.
  auto const versions = list(16, "key_collation_versions");
  auto const operators = list(17, "key_operators");
  for (auto const* other : {&types, &collations, &order_collations, &descending, &nulls_first}) {
    if (other->size() == columns.size()) continue;
    throw BrokenState(where +
                      ": its arrays of key_columns, key_types and so on differ in length; somebody changed them "
                      "by hand");
  }
  for (std::size_t index = 0; index < columns.size(); ++index) {
    planner::KeyColumn column{columns[index],
                              types[index],
                              collations[index],
                              order_collations[index],
                              descending[index] == "true",
                              nulls_first[index] == "true"};
    if (index < versions.size()) column.collation_version = versions[index];
    std::size_t const first = index * planner::kKeyComparisons;
    if (operators.size() >= first + planner::kKeyComparisons) {
      auto const begin = operators.begin() + static_cast<std::ptrdiff_t>(first);
      column.operators.assign(begin, begin + planner::kKeyComparisons);
    }
    key.columns.push_back(std::move(column));
  }
  return key;
}

std::string of_leaf(std::int64_t job, int leaf) {
  return fmt::format("job_id = {} AND leaf = {}", job, leaf);
}

}  // namespace

std::string leaf_insert(std::string const& job, NewLeaf const& leaf) {
  return fmt::format(
      "INSERT INTO pgbackfill.leaves (job_id, leaf, relation, table_schema, table_name, {}, rows_estimated, blocks, "
      "bytes, upper_key) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
      kKeyColumns, job, leaf.number, leaf.oid, quote_literal(leaf.schema), quote_literal(leaf.name),
      key_values(leaf.key), leaf.rows_estimated, leaf.blocks, leaf.bytes, bound_text(leaf.upper));
}

std::string leaf_update(std::int64_t job, StoredLeaf const& leaf) {
  return fmt::format(
      "UPDATE pgbackfill.leaves SET relation = {}, table_schema = {}, table_name = {}, ({}) = ROW({}), upper_key = {} "
      "WHERE {}",
      leaf.oid, quote_literal(leaf.schema), quote_literal(leaf.name), kKeyColumns, key_values(leaf.key),
      bound_text(leaf.upper), of_leaf(job, leaf.number));
}

// Through jsonb what older revisions of the schema do not have: commands that only read meet them as well.
std::string list_leaves(std::int64_t job) {
  return fmt::format(
      "SELECT leaf, relation, table_schema, table_name, key_index, key_columns, key_types, key_collations, "
      "key_order_collations, key_descending::text[], key_nulls_first::text[], rows_estimated, blocks, bytes, "
      "upper_key, to_jsonb(l) ->> 'gone_at' IS NOT NULL, ARRAY(SELECT jsonb_array_elements_text(to_jsonb(l) -> "
      "'key_collation_versions')), ARRAY(SELECT jsonb_array_elements_text(to_jsonb(l) -> 'key_operators')) FROM "
      "pgbackfill.leaves l WHERE job_id = {} ORDER BY leaf",
      job);
}

StoredLeaf stored_leaf_of(std::vector<std::optional<std::string>> const& row) {
  StoredLeaf leaf;
  leaf.number = std::stoi(*row[0]);
  leaf.oid = static_cast<std::uint32_t>(std::stoul(*row[1]));
  leaf.schema = *row[2];
  leaf.name = *row[3];
  leaf.key = key_of(row);
  leaf.rows_estimated = std::stoll(*row[11]);
  leaf.blocks = std::stoll(*row[12]);
  leaf.bytes = std::stoll(*row[13]);
  leaf.upper = parse_text_array(row[14]);
  leaf.is_gone = row[15] == "t";
  return leaf;
}

std::string is_still(std::string const& table, std::uint32_t relation) {
  return fmt::format("SELECT to_regclass({}) IS NOT DISTINCT FROM {}::oid", quote_literal(table), relation);
}

std::string same_leaf(std::string const& name, std::uint32_t relation, std::uint32_t root) {
  return fmt::format("SELECT pgbackfill.same_leaf({}, {}, {})", quote_literal(name), relation, root);
}

std::string changed_leaves(std::int64_t job, std::uint32_t root) {
  return fmt::format(
      "SELECT l.leaf, l.table_schema, l.table_name, n.nspname, c.relname, found.is_part FROM pgbackfill.leaves l LEFT "
      "JOIN pg_catalog.pg_class c ON c.oid = l.relation LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
      "CROSS JOIN LATERAL (SELECT c.oid IS NOT NULL AND EXISTS (SELECT FROM "
      "pg_catalog.pg_partition_ancestors(c.oid::regclass) a WHERE a.relid = {1}) AS is_part) found WHERE l.job_id = "
      "{0} AND l.gone_at IS NULL AND l.relation <> {1} AND (NOT found.is_part OR n.nspname <> l.table_schema OR "
      "c.relname <> l.table_name) ORDER BY l.leaf",
      job, root);
}

std::string rename_leaf(std::int64_t job, int leaf, planner::TableName const& name) {
  return fmt::format("UPDATE pgbackfill.leaves SET table_schema = {}, table_name = {} WHERE {} AND gone_at IS NULL",
                     quote_literal(name.schema), quote_literal(name.name), of_leaf(job, leaf));
}

// A cursor that is not at the end of its range tells what was not done, should the leaf come back.
std::string settle_leaf(std::int64_t job, int leaf, std::string const& why, Owner const& owner) {
  std::string const left = fmt::format(
      "SELECT key FROM pgbackfill.deferred WHERE {0} UNION ALL SELECT key FROM pgbackfill.quarantine WHERE "
      "{0}",
      of_leaf(job, leaf));
  return fmt::format(
      "WITH gone AS (UPDATE pgbackfill.leaves SET gone_at = clock_timestamp(), left_keys = (SELECT array_agg(key) FROM "
      "({1}) k) WHERE {0} AND gone_at IS NULL RETURNING 1), ended AS (UPDATE pgbackfill.ranges SET done = true, owner "
      "= NULL, lease_expires = NULL, epoch = epoch + 1 WHERE {0} AND NOT done AND EXISTS (SELECT FROM gone)), "
      "undeferred AS (DELETE FROM pgbackfill.deferred WHERE {0} AND EXISTS (SELECT FROM gone)), unquarantined AS "
      "(DELETE FROM pgbackfill.quarantine WHERE {0} AND EXISTS (SELECT FROM gone)), changed AS (SELECT id, name FROM "
      "pgbackfill.jobs WHERE id = {2} AND EXISTS (SELECT FROM gone)) {3}",
      of_leaf(job, leaf), left, job, event_of_change("partition gone", quote_literal(why), owner));
}

std::vector<std::string> take_leaf_back(std::int64_t job, StoredLeaf const& leaf, int pass, bool is_whole) {
  std::string const where = of_leaf(job, leaf.number);
  std::string const cut_short = where + " AND done AND cursor IS DISTINCT FROM hi";
  std::vector<std::string> statements;
  if (!is_whole) {
    statements.push_back(fmt::format(
        "INSERT INTO pgbackfill.ranges (job_id, leaf, pass, lo, hi, cursor, rows_estimated) SELECT job_id, leaf, {0}, "
        "cursor, hi, cursor, greatest(rows_estimated - rows_done, 0) FROM pgbackfill.ranges WHERE {1} AND pass < {0}",
        pass, cut_short));
  }
  // The rest is another range's now.
  statements.push_back(fmt::format("UPDATE pgbackfill.ranges SET cursor = hi WHERE {} AND pass < {}", cut_short, pass));
  statements.push_back(
      fmt::format("INSERT INTO pgbackfill.deferred (job_id, leaf, key) SELECT l.job_id, l.leaf, ARRAY(SELECT "
                  "unnest(l.left_keys[k.n:k.n])) FROM pgbackfill.leaves l CROSS JOIN LATERAL generate_series(1, "
                  "coalesce(array_length(l.left_keys, 1), 0)) AS k(n) WHERE {} ON CONFLICT DO NOTHING",
                  where));
  statements.push_back(fmt::format("UPDATE pgbackfill.leaves SET gone_at = NULL, left_keys = NULL WHERE {}", where));
  return statements;
}

std::string leaves_gone(std::int64_t job, std::uint32_t root) {
  return fmt::format(
      "SELECT l.table_schema, l.table_name FROM pgbackfill.leaves l WHERE l.job_id = {0} AND l.relation <> {1} AND NOT "
      "EXISTS (SELECT FROM pg_catalog.pg_partition_tree({1}::oid::regclass) t WHERE t.relid = l.relation) ORDER BY "
      "l.leaf",
      job, root);
}

std::string new_leaves(std::int64_t job, std::uint32_t root) {
  return fmt::format(
      "SELECT t.relid::oid FROM pg_catalog.pg_partition_tree({1}::oid::regclass) t WHERE t.isleaf AND NOT EXISTS "
      "(SELECT "
      "FROM pgbackfill.leaves l WHERE l.job_id = {0} AND l.relation = t.relid AND l.gone_at IS NULL)",
      job, root);
}

std::string count_new_leaves(std::int64_t job, std::uint32_t root) {
  return fmt::format("SELECT count(*) FROM ({}) came", new_leaves(job, root));
}

std::string find_lost_label(std::int64_t job) {
  return fmt::format(
      "SELECT l.table_schema, l.table_name, k.name, k.type, v.label FROM pgbackfill.leaves l CROSS JOIN LATERAL ROWS "
      "FROM (unnest(l.key_columns), unnest(l.key_types)) WITH ORDINALITY k (name, type, place) JOIN pg_catalog.pg_type "
      "t ON t.oid = to_regtype(k.type) AND t.typtype = 'e' CROSS JOIN LATERAL (SELECT l.upper_key[k.place] UNION "
      "SELECT "
      "unnest(ARRAY[r.lo[k.place], r.hi[k.place], r.cursor[k.place]]) FROM pgbackfill.ranges r WHERE r.job_id = "
      "l.job_id AND r.leaf = l.leaf AND NOT r.done UNION SELECT d.key[k.place] FROM pgbackfill.deferred d WHERE "
      "d.job_id = l.job_id AND d.leaf = l.leaf UNION SELECT q.key[k.place] FROM pgbackfill.quarantine q WHERE q.job_id "
      "= l.job_id AND q.leaf = l.leaf) v (label) WHERE l.job_id = {} AND l.gone_at IS NULL AND v.label IS NOT NULL AND "
      "NOT EXISTS (SELECT FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid AND e.enumlabel = v.label) ORDER BY "
      "l.leaf, k.place, v.label LIMIT 1",
      job);
}

std::vector<std::string> bind_job(std::int64_t job, planner::TableFacts const& table,
                                  std::vector<StoredLeaf> const& leaves, bool is_other_table) {
  std::vector<std::string> statements;
  // Numbers of relations are taken anew: one leaf may have now what was another's.
  constexpr std::uint32_t kNobody = 4294967295;
  if (is_other_table) {
    statements.push_back(
        fmt::format("UPDATE pgbackfill.leaves SET relation = ({} - leaf)::oid WHERE job_id = {}", kNobody, job));
  }
  for (auto const& leaf : leaves) statements.push_back(leaf_update(job, leaf));
  statements.push_back(fmt::format(
      "UPDATE pgbackfill.jobs SET relation = {}, table_schema = {}, table_name = {}, state_relation = tableoid "
      "WHERE id = {}",
      table.oid, quote_literal(table.schema), quote_literal(table.name), job));
  return statements;
}

}  // namespace pgbackfill::engine::state
