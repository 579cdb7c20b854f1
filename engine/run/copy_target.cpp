#include "engine/run/copy_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>

#include "engine/pg/catalog.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_facts.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using planner::quote_identifier;
using planner::quote_literal;

// The largest value of a column without an index of its own: the copy is read once.
constexpr std::chrono::milliseconds kReadingTimeout = std::chrono::hours(1);

// The column that an expression is; empty: it is more than that.
std::string plain_column(std::string const& expression) {
  auto const facts = planner::facts_of_expressions({expression});
  bool const is_plain = facts.is_read && facts.is_one_column && facts.columns.size() == 1;
  return is_plain ? facts.columns.front().name : std::string();
}

std::set<std::string> column_names(planner::Key const& key) {
  std::set<std::string> names;
  for (auto const& column : key.columns) names.insert(column.name);
  return names;
}

// Whether column s of the table and column a of the copy, by position n of index i, never make one key of two: what
// collided would count as copied. Types without a modifier, or with one that is no narrower.
std::string keeps_apart() {
  return "(WITH pair AS (SELECT coalesce(nullif(f.typbasetype, 0), f.oid) AS from_type, CASE WHEN f.typbasetype <> 0 "
         "THEN f.typtypmod ELSE s.atttypmod END AS from_mod, f.typtype = 'e' AS is_enum, f.typname = 'citext' AS "
         "is_citext, coalesce(nullif(t.typbasetype, 0), t.oid) AS to_type, CASE WHEN t.typbasetype <> 0 THEN "
         "t.typtypmod ELSE a.atttypmod END AS to_mod FROM pg_catalog.pg_type f, pg_catalog.pg_type t WHERE f.oid = "
         "s.atttypid AND t.oid = a.atttypid) SELECT coalesce((SELECT l.collisdeterministic FROM "
         "pg_catalog.pg_collation l WHERE l.oid = i.indcollation[k.n - 1] AND l.oid <> s.attcollation), true) AND "
         "(from_type = to_type AND (to_mod IN (-1, from_mod) OR to_type IN ('varchar'::regtype, 'bpchar'::regtype, "
         "'varbit'::regtype) AND from_mod BETWEEN 1 AND to_mod) OR from_type IN ('int2'::regtype, 'int4'::regtype, "
         "'int8'::regtype) AND to_type IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) OR to_mod = -1 AND "
         "(to_type IN ('text'::regtype, 'varchar'::regtype) AND (is_enum OR is_citext OR from_type IN "
         "('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype, 'date'::regtype, 'text'::regtype, "
         "'varchar'::regtype, 'bpchar'::regtype, 'name'::regtype)) OR from_type IN ('int2'::regtype, 'int4'::regtype, "
         "'int8'::regtype) AND to_type = 'numeric'::regtype OR from_type = 'float4'::regtype AND to_type = "
         "'float8'::regtype OR from_type = 'date'::regtype AND to_type IN ('timestamp'::regtype, "
         "'timestamptz'::regtype))) FROM pair)";
}

struct IndexColumn {
  std::uint32_t index = 0;
  std::string name;
  std::string type;
  std::optional<bool> is_distinct;  // NOT NULL, or NULLS NOT DISTINCT
  std::optional<std::string> equality;
  bool keeps_apart = false;
};

}  // namespace

asio::awaitable<Result<CopyKey>> read_copy_key(PgConnection& connection, planner::Backfill backfill,
                                               std::vector<planner::Key> keys) {
  std::map<std::string, std::string> sources;
  for (auto const& assignment : backfill.assignments) {
    auto column = plain_column(assignment.expression);
    if (!column.empty()) sources[assignment.column] = std::move(column);
  }
  std::vector<std::string> pairs = {"(NULL, NULL)"};
  for (auto const& [copy, source] : sources) {
    pairs.push_back('(' + quote_literal(copy) + ", " + quote_literal(source) + ')');
  }
  std::string const statement = fmt::format(
      "SELECT i.indexrelid, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull AND NOT EXISTS (SELECT 1 "
      "FROM "
      "pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND "
      "NOT k.convalidated) OR coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false), (SELECT "
      "quote_ident(n.nspname) || '.' || r.oprname FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_amop m ON "
      "m.amopfamily = o.opcfamily AND m.amoplefttype = o.opcintype AND m.amoprighttype = o.opcintype AND "
      "m.amopstrategy = 3 AND m.amoppurpose = 's' JOIN pg_catalog.pg_operator r ON r.oid = m.amopopr JOIN "
      "pg_catalog.pg_namespace n ON n.oid = r.oprnamespace WHERE o.oid = i.indclass[k.n - 1]), coalesce({2}, false) "
      "FROM "
      "pg_catalog.pg_index i CROSS JOIN LATERAL generate_series(1, i.indnkeyatts) AS k (n) JOIN "
      "pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k.n - 1] LEFT JOIN (VALUES {3}) "
      "AS x (copy, source) ON x.copy = a.attname LEFT JOIN pg_catalog.pg_attribute s ON s.attrelid = {1} AND "
      "s.attname = x.source WHERE i.indrelid = "
      "{0} AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS "
      "NULL ORDER BY i.indisprimary DESC, i.indexrelid, k.n",
      planner::oid_of(backfill.copy_to.schema, backfill.copy_to.name),
      planner::oid_of(backfill.table.schema, backfill.table.name), keeps_apart(), planner::join(pairs, ", "));
  auto rows = co_await query_read_only(connection, statement);
  if (!rows) co_return rows.error();
  std::map<std::uint32_t, std::vector<IndexColumn>> indexes;
  std::vector<std::uint32_t> order;
  for (auto& column : state::rows_as<IndexColumn>(*rows)) {
    if (!indexes.contains(column.index)) order.push_back(column.index);
    indexes[column.index].push_back(std::move(column));
  }
  for (auto const index : order) {
    CopyKey key;
    bool is_usable = true;
    for (auto const& column : indexes[index]) {
      auto const source = sources.find(column.name);
      is_usable = is_usable && column.is_distinct.value_or(false) && column.keeps_apart && source != sources.end();
      key.columns.push_back(column.name);
      key.sources.push_back(source == sources.end() ? "" : source->second);
      key.types.push_back(column.type);
      key.operators.push_back(column.equality.value_or("pg_catalog.="));
    }
    std::set<std::string> const copied(key.sources.begin(), key.sources.end());
    is_usable = is_usable && std::all_of(keys.begin(), keys.end(), [&](planner::Key const& each) {
                  return !each.is_by_block() && column_names(each) == copied;
                });
    if (is_usable) co_return key;
  }
  co_return CopyKey();
}

asio::awaitable<Result<std::vector<CopySequence>>> read_copy_sequences(PgConnection& connection,
                                                                       planner::Backfill backfill) {
  std::vector<std::string> columns;
  for (auto const& assignment : backfill.assignments) columns.push_back(assignment.column);
  std::string const statement = fmt::format(
      "SELECT DISTINCT s.oid, quote_ident(n.nspname) || '.' || quote_ident(s.relname), a.attname, q.seqincrement > 0, "
      "has_sequence_privilege(s.oid, 'UPDATE') AND has_sequence_privilege(s.oid, 'SELECT') AND "
      "has_column_privilege(a.attrelid, a.attnum, 'SELECT'), a.attrelid::regclass::text FROM "
      "pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid CROSS JOIN pg_catalog.pg_class s JOIN "
      "pg_catalog.pg_namespace n ON n.oid = s.relnamespace JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid WHERE "
      "a.attrelid = {} AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY ({}) AND "
      "coalesce(nullif(t.typbasetype, 0), t.oid) IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, "
      "'numeric'::regtype) AND (EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_class'::regclass "
      "AND "
      "d.objid = s.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = "
      "a.attnum "
      "AND d.deptype IN ('a', 'i')) OR EXISTS (SELECT 1 FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_depend d ON "
      "d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = "
      "s.oid WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum)) ORDER BY 3, 2",
      planner::oid_of(backfill.copy_to.schema, backfill.copy_to.name), planner::text_array(columns));
  auto rows = co_await query_read_only(connection, statement);
  if (!rows) co_return rows.error();
  co_return state::rows_as<CopySequence>(*rows);
}

asio::awaitable<Result<std::vector<std::string>>> sequence_moves(PgConnection& connection, planner::Backfill backfill) {
  auto sequences = co_await read_copy_sequences(connection, backfill);
  if (!sequences) co_return sequences.error();
  std::vector<std::string> moves;
  for (auto const& sequence : *sequences) {
    std::vector<Statement> statements = {fmt::format("SELECT {}({})::numeric FROM {}",
                                                     sequence.is_rising ? "max" : "min",
                                                     quote_identifier(sequence.column), sequence.relation)};
    auto furthest = co_await read_only(connection, std::move(statements), kReadingTimeout);
    if (!furthest) co_return furthest.error();
    auto const& value = furthest->rows.front().front();
    if (!value || *value == "NaN") continue;
    moves.push_back(
        fmt::format("SELECT pgbackfill.pass_sequence({}::oid::regclass, {})", sequence.oid, quote_literal(*value)));
  }
  co_return moves;
}

}  // namespace pgbackfill::engine
