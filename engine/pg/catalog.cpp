#include "engine/pg/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "engine/state/state_store.h"
#include "planner/model/ranges.h"
#include "planner/model/sql_facts.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using planner::quote_literal;

// Pages that a sample reads at most: random reads, so few enough for a cold disk.
constexpr std::int64_t kSamplePages = 200;
// A table that was never analyzed: assumed until its rows are seen.
constexpr std::int64_t kAssumedRowsPerBlock = 40;

constexpr std::chrono::milliseconds kCatalogTimeout{10'000};
// Past the timeout on the server, for the way there and back.
constexpr std::chrono::milliseconds kGrace{30'000};

// By the schemas of the file's search_path; everything after goes by oid.
std::string table_sql(planner::TableName const& name) {
  return fmt::format(
      "SELECT c.oid, n.nspname, c.relname, c.relkind, EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid), "
      "current_setting('server_version_num')::int, EXISTS (SELECT 1 FROM pg_rewrite w WHERE w.ev_class = c.oid AND "
      "w.ev_type <> '1'), ARRAY(SELECT i.inhrelid::regclass::text FROM pg_inherits i WHERE "
      "i.inhparent = c.oid AND c.relkind <> 'p' ORDER BY 1 LIMIT 5) FROM pg_class c JOIN pg_namespace n ON n.oid = "
      "c.relnamespace WHERE c.oid = {}",
      planner::oid_of(name.schema, name.name));
}

std::string leaves_sql(std::string const& oid) {
  return fmt::format(
      "WITH tree AS (SELECT {0}::oid AS oid UNION SELECT t.relid FROM pg_partition_tree({0}) t) SELECT c.oid, "
      "n.nspname, "
      "c.relname, c.relkind, c.reltuples::bigint, c.relpages, CASE WHEN c.relkind IN ('r', 'm') THEN "
      "pg_relation_size(c.oid) ELSE 0 END, current_setting('block_size')::bigint, coalesce((SELECT o.option_value::int "
      "FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'fillfactor'), 100), "
      "CASE WHEN c.relispartition THEN pg_get_partition_constraintdef(c.oid) END FROM tree JOIN pg_class c ON "
      "c.oid = "
      "tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 'p' ORDER BY n.nspname, c.relname",
      oid);
}

// Of a domain the base type: what is compared are values of that, and a constraint that is not validated must not
// refuse the key of a row that is there. format_type with typmod -1 gives the type without length or precision;
// qualified, since our search_path is pg_catalog.
// PostgreSQL 18 knows NOT NULL that old rows need not keep: NOT VALID. What a generated column is computed from are
// dependencies of the column, or of its expression in later versions.
std::string columns_sql(std::string const& oids) {
  return fmt::format(
      "SELECT a.attrelid, a.attname, format_type(a.atttypid, -1), a.attnotnull AND NOT EXISTS (SELECT 1 FROM "
      "pg_constraint k WHERE k.conrelid = a.attrelid AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT "
      "k.convalidated), a.attgenerated <> '', a.attidentity = 'a', format_type(a.atttypid, a.atttypmod), CASE WHEN "
      "a.attgenerated <> '' THEN (SELECT array_agg(DISTINCT s.attname::text) FROM pg_depend d JOIN pg_attribute s ON "
      "s.attrelid = a.attrelid AND s.attnum = d.refobjsubid WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = "
      "a.attrelid AND d.refobjsubid > 0 AND d.refobjsubid <> a.attnum AND (d.classid = 'pg_class'::regclass AND "
      "d.objid "
      "= a.attrelid AND d.objsubid = a.attnum OR d.classid = 'pg_attrdef'::regclass AND d.objid IN (SELECT f.oid FROM "
      "pg_attrdef f WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum))) END, (SELECT quote_ident(n.nspname) || '.' "
      "|| quote_ident(co.collname) FROM pg_collation co JOIN pg_namespace n ON n.oid = co.collnamespace WHERE co.oid = "
      "a.attcollation), (WITH RECURSIVE base AS (SELECT t.typtype, t.typbasetype, t.typtypmod FROM pg_type t WHERE "
      "t.oid = a.atttypid UNION ALL SELECT t.typtype, t.typbasetype, CASE WHEN base.typtypmod >= 0 THEN "
      "base.typtypmod ELSE t.typtypmod END FROM pg_type t JOIN base ON base.typbasetype = t.oid WHERE base.typtype = "
      "'d' AND t.typtype = 'd') SELECT format_type(base.typbasetype, base.typtypmod) FROM base WHERE base.typtype = "
      "'d' "
      "AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = base.typbasetype AND t.typtype = 'd')) FROM pg_attribute a "
      "WHERE a.attrelid IN "
      "({}) AND a.attnum > 0 AND NOT "
      "a.attisdropped ORDER BY a.attrelid, "
      "a.attnum",
      oids);
}

std::string indexes_sql(std::string const& oids) {
  return fmt::format(
      "SELECT i.indrelid, c.relname, i.indisprimary, i.indisunique, i.indisvalid AND i.indislive, i.indpred IS NOT "
      "NULL, "
      "i.indexprs IS NOT NULL, i.indimmediate, am.amname = 'btree', o.opcdefault, a.attname, (WITH RECURSIVE base AS "
      "(SELECT t.oid, t.typtype, t.typbasetype FROM pg_type t WHERE t.oid = a.atttypid UNION ALL SELECT t.oid, "
      "t.typtype, "
      "t.typbasetype FROM pg_type t JOIN base ON base.typbasetype = t.oid WHERE base.typtype = 'd') SELECT "
      "format_type(base.oid, -1) FROM base WHERE base.typtype <> 'd'), CASE WHEN i.indcollation[k.n - 1] <> 0 THEN "
      "(SELECT quote_ident(cn.nspname) || '.' || "
      "quote_ident(co.collname) "
      "FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = i.indcollation[k.n - 1]) "
      "ELSE '' END, i.indcollation[k.n - 1] <> a.attcollation, (i.indoption[k.n - 1] & 1) <> 0, (i.indoption[k.n - 1] "
      "& 2) "
      "<> 0, ARRAY(SELECT quote_ident(n.nspname) || '.' || p.oprname FROM pg_amop m JOIN pg_operator p ON p.oid = "
      "m.amopopr JOIN pg_namespace n ON n.oid = p.oprnamespace WHERE m.amopfamily = o.opcfamily AND m.amoplefttype = "
      "o.opcintype AND m.amoprighttype = o.opcintype AND m.amoppurpose = 's' ORDER BY m.amopstrategy) FROM pg_index i "
      "JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam CROSS JOIN "
      "LATERAL "
      "generate_series(1, i.indnkeyatts) AS k(n) LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = "
      "i.indkey[k.n - 1] AND a.attnum > 0 JOIN pg_opclass o ON o.oid = i.indclass[k.n - 1] WHERE i.indrelid IN ({}) "
      "ORDER "
      "BY i.indrelid, c.relname, k.n",
      oids);
}

// Of the collations that indexes sort by: the version that the library has now, and the one that they were built with.
// Before 15 the default collation of a database has no version of its own.
std::string collation_versions_sql(std::string const& oids) {
  return fmt::format(
      "WITH here AS (SELECT d.datcollate, to_jsonb(d) ->> 'datcollversion' AS recorded FROM pg_database d WHERE "
      "d.datname = current_database()) SELECT quote_ident(n.nspname) || '.' || quote_ident(co.collname), "
      "coalesce(CASE WHEN co.collprovider = 'd' AND current_setting('server_version_num')::int < 150000 THEN (SELECT "
      "pg_collation_actual_version(o.oid) FROM pg_collation o WHERE o.collprovider = 'c' AND o.collcollate = "
      "here.datcollate ORDER BY o.oid LIMIT 1) ELSE pg_collation_actual_version(co.oid) END, ''), coalesce(CASE WHEN "
      "co.collprovider = 'd' THEN here.recorded ELSE co.collversion END, '') FROM here, pg_collation co JOIN "
      "pg_namespace n ON n.oid = co.collnamespace WHERE co.oid IN (SELECT k.oid FROM pg_index i CROSS JOIN LATERAL "
      "unnest(i.indcollation::oid[]) AS k(oid) WHERE i.indrelid IN ({}))",
      oids);
}

// Of an index that belongs to a constraint the columns are in indkey alone; those of expressions and predicates are
// dependencies. From 16 on BRIN does not stand in the way of a HOT update.
std::string index_dependencies_sql(std::string const& oids) {
  return fmt::format(
      "SELECT i.indrelid, c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am "
      "ON "
      "am.oid = c.relam JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0 WHERE i.indrelid IN ({}) AND "
      "NOT "
      "(am.amname = 'brin' AND current_setting('server_version_num')::int >= 160000) AND (a.attnum = ANY "
      "(i.indkey::int2[]) OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = "
      "i.indexrelid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum)) "
      "ORDER BY i.indrelid, c.relname, a.attnum",
      oids);
}

// A trigger for each row stands on the table and on its leaves; one for each statement is of one of them alone.
std::string triggers_sql(std::string const& table, std::string const& oids) {
  return fmt::format(
      "SELECT DISTINCT ON (t.tgname, k.for_each_row, k.is_of_leaf) t.tgname, pg_get_triggerdef(t.oid), t.tgenabled, "
      "(t.tgtype & 4) <> 0, (t.tgtype & 16) <> 0, (t.tgtype & 8) <> 0, k.for_each_row, (t.tgtype & 2) <> 0, "
      "k.is_of_leaf "
      "FROM pg_trigger t CROSS JOIN LATERAL (SELECT (t.tgtype & 1) <> 0 AS for_each_row, (t.tgtype & 1) = 0 AND "
      "t.tgrelid <> {} AS is_of_leaf) k WHERE t.tgrelid IN ({}) AND NOT t.tgisinternal ORDER BY t.tgname, "
      "k.for_each_row, k.is_of_leaf",
      table, oids);
}

// The columns of a partition key depend on their table, those in its expressions as well.
std::string partition_columns_sql(std::string const& oid) {
  return fmt::format(
      "SELECT DISTINCT a.attname FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND "
      "a.attnum > 0 AND (a.attnum = ANY (p.partattrs::int2[]) OR EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = "
      "'pg_class'::regclass AND d.objid = p.partrelid AND d.objsubid = a.attnum AND d.refclassid = "
      "'pg_class'::regclass "
      "AND d.refobjid = p.partrelid AND d.refobjsubid = 0 AND d.deptype = 'i')) WHERE p.partrelid IN (WITH RECURSIVE "
      "tree AS (SELECT {}::oid AS oid UNION ALL SELECT "
      "i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid) SELECT oid FROM tree)",
      oid);
}

bool is_true(std::optional<std::string> const& text) {
  return text && *text == "t";
}

planner::LeafFacts leaf_of(std::vector<std::optional<std::string>> const& row) {
  planner::LeafFacts leaf;
  leaf.oid = static_cast<std::uint32_t>(std::stoul(*row[0]));
  leaf.schema = *row[1];
  leaf.name = *row[2];
  leaf.kind = row[3]->front();
  std::int64_t const tuples = std::stoll(*row[4]);
  std::int64_t const pages = std::stoll(*row[5]);
  leaf.bytes = std::stoll(*row[6]);
  leaf.fillfactor = std::stoi(*row[8]);
  // It stands in statements that run under the file's search_path.
  if (row[9]) leaf.partition_condition = planner::with_catalog_schema(*row[9]).value_or("");
  leaf.blocks = leaf.bytes / std::stoll(*row[7]);
  // As the server's own planner does: density at the last ANALYZE times the size now. -1 or 0 pages: never analyzed.
  if (tuples > 0 && pages > 0) {
    leaf.rows_estimated = static_cast<std::int64_t>(static_cast<double>(tuples) / static_cast<double>(pages) *
                                                    static_cast<double>(leaf.blocks));
  } else {
    leaf.rows_estimated = leaf.blocks * kAssumedRowsPerBlock;
    leaf.rows_guessed = leaf.blocks > 0;
  }
  return leaf;
}

planner::LeafFacts* find_leaf(planner::TableFacts& table, std::string const& oid) {
  for (auto& leaf : table.leaves) {
    if (std::to_string(leaf.oid) == oid) return &leaf;
  }
  return nullptr;
}

void add_columns(planner::TableFacts& table, Rows const& rows) {
  for (auto const& row : rows.rows) {
    auto* leaf = find_leaf(table, *row[0]);
    if (leaf == nullptr) continue;
    leaf->columns.push_back({*row[1], *row[2], is_true(row[3]), is_true(row[4]), is_true(row[5]), *row[6],
                             state::parse_text_array(row[7]).value_or(planner::KeyValue()), row[8].value_or(""),
                             row[9].value_or("")});
  }
}

void add_indexes(planner::TableFacts& table, Rows const& rows) {
  for (auto const& row : rows.rows) {
    auto* leaf = find_leaf(table, *row[0]);
    if (leaf == nullptr) continue;
    if (leaf->indexes.empty() || leaf->indexes.back().name != *row[1]) {
      planner::IndexFacts index;
      index.name = *row[1];
      index.primary = is_true(row[2]);
      index.unique = is_true(row[3]);
      index.valid = is_true(row[4]);
      index.partial = is_true(row[5]);
      index.has_expressions = is_true(row[6]);
      index.immediate = is_true(row[7]);
      index.ordered = is_true(row[8]);
      index.default_opclasses = true;
      leaf->indexes.push_back(std::move(index));
    }
    auto& index = leaf->indexes.back();
    index.default_opclasses = index.default_opclasses && is_true(row[9]);
    if (!row[10]) continue;  // an expression
    planner::KeyColumn column;
    column.name = *row[10];
    column.type = *row[11];
    column.order_collation = row[12].value_or("");
    if (is_true(row[13])) column.collation = column.order_collation;
    column.descending = is_true(row[14]);
    column.nulls_first = is_true(row[15]);
    auto const operators = state::parse_text_array(row[16]);
    if (operators && operators->size() == planner::kKeyComparisons) column.operators = *operators;
    index.columns.push_back(std::move(column));
  }
}

void add_collation_versions(planner::TableFacts& table, Rows const& rows) {
  std::map<std::string, std::pair<std::string, std::string>> versions;
  for (auto const& row : rows.rows) versions[*row[0]] = {*row[1], *row[2]};
  for (auto& leaf : table.leaves) {
    for (auto& index : leaf.indexes) {
      for (auto& column : index.columns) {
        auto const found = versions.find(column.order_collation);
        if (found != versions.end()) std::tie(column.collation_version, column.index_version) = found->second;
      }
    }
  }
}

void add_index_dependencies(planner::TableFacts& table, Rows const& rows) {
  for (auto const& row : rows.rows) {
    auto* leaf = find_leaf(table, *row[0]);
    if (leaf == nullptr) continue;
    auto const index = std::find_if(leaf->indexes.begin(), leaf->indexes.end(),
                                    [&](planner::IndexFacts const& each) { return each.name == *row[1]; });
    if (index != leaf->indexes.end()) index->depends_on.push_back(*row[2]);
  }
}

std::string oid_list(planner::TableFacts const& table) {
  std::vector<std::string> oids = {std::to_string(table.oid)};
  for (auto const& leaf : table.leaves) oids.push_back(std::to_string(leaf.oid));
  return planner::join(oids, ", ");
}

// Read-only by the server's word, so that looking never changes anything.
std::string catalog_settings(std::chrono::milliseconds timeout = kCatalogTimeout) {
  std::vector<std::pair<std::string, std::string>> values = {
      // Without row_security the server refuses where a policy would hide rows, which then would count as done.
      {"row_security", "off"},
      {"transaction_read_only", "on"},
      {"statement_timeout", std::to_string(timeout.count())},
      {"lock_timeout", "2000"},
      {"max_parallel_workers_per_gather", "0"},
      // In a large catalog questions look dear, and compiling one takes ten times as long as answering it.
      {"jit", "off"},
  };
  std::vector<std::string> calls;
  for (auto const& [name, value] : values) {
    calls.push_back(fmt::format("set_config({}, {}, true)", quote_literal(name), quote_literal(value)));
  }
  return "SELECT " + planner::join(calls, ", ");
}

}  // namespace

asio::awaitable<Result<Rows>> query_read_only(PgConnection& connection, Statement statement) {
  std::vector<Statement> statements = {catalog_settings(), std::move(statement)};
  auto results = co_await connection.pipeline(std::move(statements), Deadlines());
  if (!results) co_return results.error();
  co_return std::move(results->back());
}

asio::awaitable<Result<Rows>> read_only(PgConnection& connection, std::vector<Statement> statements,
                                        std::chrono::milliseconds timeout) {
  statements.insert(statements.begin(), catalog_settings(timeout));
  Deadlines const deadlines{timeout, timeout + kGrace};
  auto results = co_await connection.pipeline(std::move(statements), deadlines);
  if (!results) co_return results.error();
  co_return std::move(results->back());
}

asio::awaitable<Result<bool>> is_same_leaf(PgConnection& connection, std::string name, std::uint32_t relation,
                                           std::uint32_t root) {
  std::vector<std::string> statements = {
      catalog_settings(),
      fmt::format("SELECT to_regclass({0}) IS NOT DISTINCT FROM {1}::oid AND ({1} = {2} OR EXISTS (SELECT FROM "
                  "pg_partition_ancestors({1}::oid::regclass) a WHERE a.relid = {2}::oid))",
                  quote_literal(name), relation, root)};
  auto const rows = co_await connection.pipeline(std::move(statements), Deadlines());
  if (!rows) co_return rows.error();
  co_return rows->at(1).at(0, 0) == "t";
}

asio::awaitable<Result<std::optional<planner::TableFacts>>> read_table_facts(PgConnection& connection,
                                                                             planner::TableName name) {
  std::vector<std::string> first = {catalog_settings(), table_sql(name)};
  auto found = co_await connection.pipeline(std::move(first), Deadlines());
  if (!found) co_return found.error();
  Rows const& rows = found->at(1);
  if (rows.rows.empty()) co_return std::optional<planner::TableFacts>();
  planner::TableFacts table;
  table.oid = static_cast<std::uint32_t>(std::stoul(rows.at(0, 0)));
  table.schema = rows.at(0, 1);
  table.name = rows.at(0, 2);
  table.kind = rows.at(0, 3).front();
  table.has_children = table.kind != 'p' && rows.at(0, 4) == "t";
  table.server_version = std::stoi(rows.at(0, 5));
  table.has_rules = rows.at(0, 6) == "t";
  table.children = state::parse_text_array(rows.rows.front()[7]).value_or(planner::KeyValue());
  std::vector<std::string> second = {catalog_settings(), leaves_sql(rows.at(0, 0)),
                                     partition_columns_sql(rows.at(0, 0))};
  auto leaves = co_await connection.pipeline(std::move(second), Deadlines());
  if (!leaves) co_return leaves.error();
  for (auto const& row : leaves->at(1).rows) table.leaves.push_back(leaf_of(row));
  for (auto const& row : leaves->at(2).rows) table.partition_columns.push_back(*row[0]);
  std::string const oids = oid_list(table);
  std::vector<std::string> third = {
      catalog_settings(),           columns_sql(oids),           indexes_sql(oids), triggers_sql(rows.at(0, 0), oids),
      index_dependencies_sql(oids), collation_versions_sql(oids)};
  auto details = co_await connection.pipeline(std::move(third), Deadlines());
  if (!details) co_return details.error();
  add_columns(table, details->at(1));
  add_indexes(table, details->at(2));
  for (auto const& row : details->at(3).rows) {
    table.triggers.push_back({*row[0], *row[1], row[2]->front(), is_true(row[3]), is_true(row[4]), is_true(row[5]),
                              is_true(row[6]), is_true(row[7]), is_true(row[8])});
  }
  add_index_dependencies(table, details->at(4));
  add_collation_versions(table, details->at(5));
  co_return std::optional(std::move(table));
}

asio::awaitable<Result<std::vector<planner::SchemaFact>>> read_schema_facts(PgConnection& connection,
                                                                            std::vector<planner::TableName> tables) {
  std::vector<planner::SchemaFact> facts;
  for (auto const& table : tables) {
    std::vector<std::string> first = {catalog_settings(), table_sql(table)};
    auto const found = co_await connection.pipeline(std::move(first), Deadlines());
    if (!found) co_return found.error();
    Rows const& rows = found->at(1);
    if (rows.rows.empty()) continue;
    std::string const relation = planner::quote_qualified(rows.at(0, 1), rows.at(0, 2));
    std::vector<std::string> second = {catalog_settings(), planner::schema_facts_sql(rows.at(0, 0)),
                                       planner::partitions_sql(rows.at(0, 0)),
                                       planner::partition_facts_sql(rows.at(0, 0))};
    auto const read = co_await connection.pipeline(std::move(second), Deadlines());
    if (!read) co_return read.error();
    for (auto const& row : read->at(1).rows) facts.push_back({relation, *row[0], *row[1], *row[2]});
    for (auto const& row : read->at(2).rows) facts.push_back({relation, "partition", *row[0], *row[1]});
    for (auto const& row : read->at(3).rows) facts.push_back({*row[0], *row[1], *row[2], *row[3]});
  }
  co_return facts;
}

asio::awaitable<Result<std::vector<planner::KeyValue>>> read_bounds(PgConnection& connection,
                                                                    planner::WorkTarget const& target,
                                                                    planner::LeafFacts const& leaf,
                                                                    planner::Bound upper) {
  std::vector<planner::KeyValue> bounds;
  std::int64_t const wanted = planner::ranges_wanted(leaf.rows_estimated);
  if (!upper || wanted <= 1 || target.key.is_by_block()) co_return bounds;
  std::vector<std::string> first = {catalog_settings(), planner::statistics_bounds_sql(target, leaf, *upper)};
  auto statistics = co_await connection.pipeline(std::move(first), Deadlines());
  // Statistics are a hint: a role that may not read them, or a type without arrays, falls back to the sample.
  if (!statistics && statistics.error().trouble == planner::Trouble::kConnection) co_return statistics.error();
  if (statistics) {
    for (auto const& row : statistics->at(1).rows) bounds.push_back({*row[0]});
  }
  if (static_cast<std::int64_t>(bounds.size()) * 2 >= std::min<std::int64_t>(wanted, 64)) co_return bounds;
  bounds.clear();
  double const percent = std::clamp(
      100.0 * static_cast<double>(kSamplePages) / static_cast<double>(std::max<std::int64_t>(leaf.blocks, 1)), 0.0001,
      100.0);
  std::vector<std::string> second = {catalog_settings(), planner::sample_bounds_sql(target, percent, wanted, *upper)};
  auto sample = co_await connection.pipeline(std::move(second), Deadlines());
  if (!sample) co_return sample.error();
  for (auto const& row : sample->at(1).rows) {
    auto& bound = bounds.emplace_back();
    for (auto const& field : row) bound.push_back(*field);
  }
  co_return bounds;
}

asio::awaitable<Result<planner::Bound>> read_last_key(PgConnection& connection, planner::WorkTarget const& target) {
  std::string statement =
      target.key.is_by_block()
          ? fmt::format("SELECT pg_relation_size({}::oid) / current_setting('block_size')::bigint - 1",
                        target.relation_oid)
          : planner::last_key_sql(target);
  std::vector<std::string> statements = {catalog_settings(), std::move(statement)};
  auto result = co_await connection.pipeline(std::move(statements), Deadlines());
  if (!result) co_return result.error();
  Rows const& rows = result->at(1);
  planner::Bound last;
  if (rows.rows.empty() || (target.key.is_by_block() && rows.at(0, 0) == "-1")) co_return last;
  last.emplace();
  for (auto const& field : rows.rows.front()) last->push_back(*field);
  co_return last;
}

asio::awaitable<Result<std::vector<std::string>>> list_tables(PgConnection& connection) {
  auto rows = co_await connection.query(
      "SELECT unnest(ARRAY[c.relname::text, n.nspname || '.' || c.relname]) FROM pg_catalog.pg_class c JOIN "
      "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN "
      "('pg_catalog', 'information_schema', 'pgbackfill') LIMIT 20000",
      Deadlines());
  if (!rows) co_return rows.error();
  std::vector<std::string> names;
  for (auto const& row : rows->rows) names.push_back(*row[0]);
  co_return names;
}

}  // namespace pgbackfill::engine
