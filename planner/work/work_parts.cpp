#include "planner/work/work_parts.h"

#include <set>

#include "planner/model/sql_text.h"
#include "planner/model/value_text.h"
#include "planner/model/work_kind.h"
#include "planner/work/dedupe_sql.h"

namespace pgbackfill::planner {

// A name that user SQL knows the table by anyway is not given again: it would hide schema.table.column.
std::string with_alias(std::string const& relation, WorkTarget const& target) {
  return relation.ends_with('.' + target.alias) ? relation : relation + " AS " + target.alias;
}

std::string from_clause(WorkTarget const& target) {
  if (target.traits.reads_through_parent) return with_alias(target.parent, target);
  return "ONLY " + with_alias(target.relation, target);
}

std::string changed_table(WorkTarget const& target) {
  if (target.traits.works_through_parent) return with_alias(target.parent, target);
  return "ONLY " + with_alias(target.relation, target);
}

std::string and_in_leaf(WorkTarget const& target) {
  return " AND " + target.alias + ".tableoid OPERATOR(pg_catalog.=) " + std::to_string(target.relation_oid) +
         "::pg_catalog.oid";
}

// Keeps a statement on the parent to the rows of the leaf. The condition of the partition lets the server's planner
// leave out the others; a statement of the file's own may have other columns of the same names.
std::string leaf_condition(WorkTarget const& target) {
  if (!target.traits.works_through_parent && !target.traits.reads_through_parent) return "";
  std::string condition = and_in_leaf(target);
  bool const can_prune = target.backfill.kind != WorkKind::kSql && !target.partition_condition.empty();
  if (can_prune) condition += " AND (" + target.partition_condition + ')';
  return condition;
}

std::string key_condition(WorkTarget const& target, Interval const& interval) {
  if (target.key.is_by_block()) return block_condition(interval, target.alias, target.server_major);
  return interval_condition(target.key, interval, target.alias);
}

std::string condition_of(WorkTarget const& target, Interval const& interval) {
  return key_condition(target, interval) + leaf_condition(target) + and_listed(target, interval);
}

// The ends of the interval hold for the listed key too: the server concludes that of values, and not of ranges.
std::string and_listed(WorkTarget const& target, Interval const& interval) {
  auto const& listed = target.backfill.only_keys;
  if (listed.empty()) return "";
  return " AND EXISTS (SELECT FROM " + listed + " AS " + kListed + " WHERE " +
         same_key(target.key, target.alias, kListed) + " AND " + interval_condition(target.key, interval, kListed) +
         ')';
}

// Compared byte by byte, as records are: not every type has an equality, and some call different values equal.
std::string would_change(WorkTarget const& target) {
  std::vector<std::string> found;
  std::vector<std::string> wanted;
  for (auto const& assignment : target.backfill.assignments) {
    auto const& type = target.traits.assigned_types[found.size()];
    found.push_back(column_as_stored(target.alias + '.' + quote_identifier(assignment.column), type));
    wanted.push_back(value_as_assigned(assignment.expression, type));
  }
  return "(ROW(" + join(found, ", ") + ")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(" + join(wanted, ", ") +
         ")::pg_catalog.record)";
}

std::string where_of(WorkTarget const& target) {
  auto const& backfill = target.backfill;
  bool const knows_types = target.traits.assigned_types.size() == backfill.assignments.size();
  if (backfill.where_is_changed && knows_types) return would_change(target);
  if (backfill.dedupe && !target.traits.group.empty()) return is_duplicate(target);
  return backfill.where;
}

std::string and_where(WorkTarget const& target) {
  return target.backfill.where.empty() ? "" : " AND " + parenthesised(where_of(target));
}

bool is_mirrored(WorkTarget const& target) {
  return !target.backfill.mirror_key.empty();
}

// The lock that the work itself would take.
std::string row_lock(WorkTarget const& target) {
  return is_mirrored(target) ? "FOR SHARE" : std::string(traits_of(target.backfill.kind).row_lock);
}

bool asks_again(WorkTarget const& target) {
  return target.backfill.kind == WorkKind::kUpdate && !target.backfill.where.empty();
}

std::string set_config(std::string const& name, std::string const& value) {
  return "pg_catalog.set_config('pgbackfill." + name + "', " + value + ", true)";
}

// Of a type of pg_catalog.
std::string as_text(std::string const& value) {
  return "(" + value + ")::pg_catalog.text";
}

// An aggregate over no rows is NULL.
std::string json_array_of(std::string const& value) {
  return "COALESCE(pg_catalog.jsonb_agg(" + value + "), '[]'::pg_catalog.jsonb)::pg_catalog.text";
}

namespace {

// Types of the server's own whose text no setting changes, and which nobody can have given another cast.
bool has_one_text(std::string const& type) {
  static std::set<std::string> const types = {"smallint", "integer", "bigint", "numeric", "boolean",
                                              "text",     "uuid",    "oid",    "name",    "character varying"};
  return types.contains(type);
}

}  // namespace

// Under the settings of the file the text of a key would not be what it is under ours; our function, which has settings
// of its own, takes microseconds a key.
std::vector<std::string> key_value_texts(WorkTarget const& target, std::string const& relation) {
  std::vector<std::string> texts;
  for (auto const& column : target.key.columns) {
    std::string const value = relation + '.' + quote_identifier(column.name);
    texts.push_back(has_one_text(column.type) ? value + "::pg_catalog.text" : "pgbackfill.key_text(" + value + ")");
  }
  if (texts.empty()) texts.push_back("pgbackfill.key_text(" + relation + ".ctid)");
  return texts;
}

std::string key_array(WorkTarget const& target, std::string const& relation) {
  return "ARRAY[" + join(key_value_texts(target, relation), ", ") + "]";
}

// (key[1])::bigint AS "id"
std::string key_columns_from_array(WorkTarget const& target) {
  if (target.key.is_by_block()) return "(key[1])::pg_catalog.tid AS ctid";
  std::vector<std::string> columns;
  for (std::size_t index = 0; index < target.key.columns.size(); ++index) {
    auto const& column = target.key.columns[index];
    columns.push_back(value_of_text("key[" + std::to_string(index + 1) + "]", qualified_type(column.type)) + " AS " +
                      quote_identifier(column.name));
  }
  return join(columns, ", ");
}

std::string in_keys(WorkTarget const& target, std::string const& relation, char const* keys) {
  return "EXISTS (SELECT FROM " + std::string(keys) + " WHERE " + same_key(target.key, relation, keys) + ")";
}

std::string is_in_batch(WorkTarget const& target, std::string const& keys) {
  std::vector<std::string> values;
  for (auto const& column : target.key.columns) values.push_back(keys + '.' + quote_identifier(column.name));
  if (values.empty()) return in_keys(target, target.alias, keys.c_str());
  return "(" + key_is_among(target.key, target.alias, values, keys) + ")";
}

std::string key_name(std::size_t index) {
  return "pgbackfill_k" + std::to_string(index);
}

std::vector<std::string> keys_of(WorkTarget const& target, std::string const& rows) {
  std::vector<std::string> values;
  for (std::size_t index = 0; index < target.key.columns.size(); ++index) {
    values.push_back(rows + '.' + key_name(index));
  }
  return values;
}

std::string setting_as_json(std::string const& name) {
  return "pg_catalog.current_setting('pgbackfill." + name + "')::pg_catalog.jsonb";
}

std::string keys_select(WorkTarget const& target, std::string const& setting, bool with_id) {
  return std::string("SELECT ") + (with_id ? "d.id AS pgbackfill_id, " : "") + key_columns_from_array(target) +
         " FROM pg_catalog.jsonb_to_recordset(" + setting_as_json(setting) + ") AS d (" +
         (with_id ? "id pg_catalog.int8, " : "") + "key pg_catalog.text[])";
}

std::string keys_cte(WorkTarget const& target, std::string const& name, std::string const& setting, bool with_id) {
  return name + " AS MATERIALIZED (" + keys_select(target, setting, with_id) + ")";
}

// Locks the rows of `condition` that nobody holds, and keeps their keys for the work.
std::string lock_free(WorkTarget const& target, std::string const& condition, std::string const& with) {
  std::string const order = target.key.is_by_block() ? "" : " ORDER BY " + key_order(target.key, target.alias);
  return "WITH " + with + "pgbackfill_locked AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) + " FROM " +
         from_clause(target) + " WHERE " + condition + and_where(target) + order + " " + row_lock(target) + " OF " +
         target.alias + " SKIP LOCKED) SELECT " +
         set_config("free", json_array_of("pg_catalog.jsonb_build_object('key', " +
                                          key_array(target, "pgbackfill_locked") + ")")) +
         " FROM pgbackfill_locked";
}

// Locks the rows of `condition`, and waits for who holds them. Rows of other tables that `sql:` changes it cannot lock.
std::string lock_all(WorkTarget const& target, std::string const& condition) {
  std::string const order = target.key.is_by_block() ? "" : " ORDER BY " + key_order(target.key, target.alias);
  return "SELECT pg_catalog.count(*) FROM (SELECT FROM " + from_clause(target) + " WHERE " + condition +
         and_where(target) + order + " " + row_lock(target) + " OF " + target.alias + ") AS pgbackfill_locked";
}

std::string insert_into(WorkTarget const& target) {
  std::vector<std::string> columns;
  for (auto const& assignment : target.backfill.assignments) columns.push_back(quote_identifier(assignment.column));
  return "INSERT INTO " + quote_qualified(target.backfill.copy_to.schema, target.backfill.copy_to.name) + " (" +
         join(columns, ", ") + ")" + (target.traits.copy_overrides_identity ? " OVERRIDING SYSTEM VALUE" : "");
}

// A row that is there already, by its key, stays; another unique index must not swallow a row unless the file says so.
std::string on_conflict(WorkTarget const& target) {
  if (target.backfill.on_conflict == ConflictMode::kCount) return " ON CONFLICT DO NOTHING";
  auto const& key = is_mirrored(target) ? target.backfill.mirror_key : target.traits.copy_key;
  if (key.empty()) return "";
  std::vector<std::string> columns;
  for (auto const& column : key) columns.push_back(quote_identifier(column));
  return " ON CONFLICT (" + join(columns, ", ") + ") DO NOTHING";
}

std::string left_cte(WorkTarget const& target, std::string const& condition) {
  return "pgbackfill_left AS (SELECT " + key_array(target, target.alias) + " AS key FROM " + from_clause(target) +
         " WHERE " + condition + ")";
}

bool knows_moved(WorkTarget const& target) {
  return target.traits.may_move_keys && !target.key.is_by_block();
}

// A row whose key is outside the batch now that it is changed.
std::string moved_text(WorkTarget const& target, Interval const& interval) {
  if (!knows_moved(target)) return "";
  return ", CASE WHEN NOT (" + key_condition(target, interval) + ") THEN " + as_text(key_array(target, target.alias)) +
         " END AS moved";
}

std::string read_condition(WorkTarget const& target) {
  return target.traits.reads_through_parent ? leaf_condition(target) : "";
}

std::string settled_cte(std::string const& condition) {
  return "pgbackfill_settled AS (SELECT pgbackfill_keys.pgbackfill_id AS id FROM pgbackfill_keys WHERE " + condition +
         ")";
}

std::string settled_setting() {
  return set_config("settled", "(SELECT " + json_array_of("id") + " FROM pgbackfill_settled)");
}

std::string left_setting() {
  return set_config("left", "(SELECT " + json_array_of("key") + " FROM pgbackfill_left)");
}

std::string counted_work(WorkTarget const& target, bool with_moved) {
  std::string const again = asks_again(target) ? "pg_catalog.count(*) FILTER (WHERE again)" : "0";
  std::string const counts =
      set_config("changed", as_text("pg_catalog.count(*)")) + ", " + set_config("again", as_text(again));
  if (!with_moved) return counts;
  return counts + ", " +
         set_config("moved",
                    "COALESCE(pg_catalog.jsonb_agg(moved) FILTER (WHERE moved IS NOT NULL), "
                    "'[]'::pg_catalog.jsonb)::pg_catalog.text");
}

}  // namespace pgbackfill::planner
