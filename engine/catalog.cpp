#include "engine/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "engine/state_store.h"
#include "planner/ranges.h"
#include "planner/sql_text.h"

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

// to_regclass follows search_path as the user's own SQL does; everything after goes by oid.
std::string table_sql(planner::TableName const& name) {
  std::string const text = planner::quote_qualified(name.schema, name.name);
  return fmt::format(
      "SELECT c.oid, n.nspname, c.relname, c.relkind, EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhparent = c.oid), "
      "current_setting('server_version_num')::int FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE "
      "c.oid = to_regclass({})",
      quote_literal(text));
}

std::string leaves_sql(std::string const& oid) {
  return fmt::format(
      "WITH RECURSIVE tree AS (SELECT {0}::oid AS oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN tree ON "
      "i.inhparent = tree.oid JOIN pg_class p ON p.oid = tree.oid AND p.relkind = 'p') SELECT c.oid, n.nspname, "
      "c.relname, c.relkind, c.reltuples::bigint, c.relpages, CASE WHEN c.relkind IN ('r', 'm') THEN "
      "pg_relation_size(c.oid) ELSE 0 END, current_setting('block_size')::bigint, coalesce((SELECT o.option_value::int "
      "FROM pg_options_to_table(c.reloptions) o WHERE o.option_name = 'fillfactor'), 100) FROM tree JOIN pg_class c ON "
      "c.oid = "
      "tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind <> 'p' ORDER BY n.nspname, c.relname",
      oid);
}

// format_type with typmod -1 gives the type without length or precision; an empty search_path makes it qualified.
std::string columns_sql(std::string const& oids) {
  return fmt::format(
      "SELECT a.attrelid, a.attname, format_type(a.atttypid, -1), a.attnotnull, a.attgenerated <> '', a.attidentity = "
      "'a', format_type(a.atttypid, a.atttypmod) FROM pg_attribute a WHERE a.attrelid IN ({}) AND a.attnum > 0 AND NOT "
      "a.attisdropped ORDER BY a.attrelid, "
      "a.attnum",
      oids);
}

std::string indexes_sql(std::string const& oids) {
  return fmt::format(
      "SELECT i.indrelid, c.relname, i.indisprimary, i.indisunique, i.indisvalid AND i.indislive, i.indpred IS NOT "
      "NULL, "
      "i.indexprs IS NOT NULL, i.indimmediate, am.amname = 'btree', o.opcdefault, a.attname, format_type(a.atttypid, "
      "-1), CASE WHEN i.indcollation[k.n - 1] <> 0 THEN (SELECT quote_ident(cn.nspname) || '.' || "
      "quote_ident(co.collname) "
      "FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = i.indcollation[k.n - 1]) "
      "ELSE '' END, i.indcollation[k.n - 1] <> a.attcollation, (i.indoption[k.n - 1] & 1) <> 0, (i.indoption[k.n - 1] "
      "& 2) "
      "<> 0 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam CROSS JOIN "
      "LATERAL "
      "generate_series(1, i.indnkeyatts) AS k(n) LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = "
      "i.indkey[k.n - 1] AND a.attnum > 0 JOIN pg_opclass o ON o.oid = i.indclass[k.n - 1] WHERE i.indrelid IN ({}) "
      "ORDER "
      "BY i.indrelid, c.relname, k.n",
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

std::string triggers_sql(std::string const& oids) {
  return fmt::format(
      "SELECT DISTINCT ON (t.tgname) t.tgname, pg_get_triggerdef(t.oid), t.tgenabled, (t.tgtype & 4) <> 0, (t.tgtype & "
      "16) "
      "<> 0, (t.tgtype & 8) <> 0 FROM pg_trigger t WHERE t.tgrelid IN ({}) AND NOT t.tgisinternal ORDER BY t.tgname",
      oids);
}

std::string partition_columns_sql(std::string const& oid) {
  return fmt::format(
      "SELECT DISTINCT a.attname FROM pg_partitioned_table p JOIN pg_attribute a ON a.attrelid = p.partrelid AND "
      "a.attnum = "
      "ANY (p.partattrs::int2[]) WHERE p.partrelid IN (WITH RECURSIVE tree AS (SELECT {}::oid AS oid UNION ALL SELECT "
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
    leaf->columns.push_back({*row[1], *row[2], is_true(row[3]), is_true(row[4]), is_true(row[5]), *row[6]});
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
    index.columns.push_back(std::move(column));
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
std::string catalog_settings(char const* search_path, std::chrono::milliseconds timeout = kCatalogTimeout) {
  std::vector<std::pair<std::string, std::string>> values = {
      // Without row_security the server refuses where a policy would hide rows, which then would count as done.
      {"row_security", "off"},
      {"transaction_read_only", "on"},
      {"statement_timeout", std::to_string(timeout.count())},
      {"lock_timeout", "2000"},
      {"max_parallel_workers_per_gather", "0"},
  };
  values.insert(values.end(), state::key_text_settings().begin(), state::key_text_settings().end());
  if (search_path != nullptr) values.emplace_back("search_path", search_path);
  std::vector<std::string> calls;
  for (auto const& [name, value] : values) {
    calls.push_back(fmt::format("set_config({}, {}, true)", quote_literal(name), quote_literal(value)));
  }
  return "SELECT " + planner::join(calls, ", ");
}

}  // namespace

asio::awaitable<Result<Rows>> query_read_only(PgConnection& connection, std::string statement) {
  std::vector<std::string> statements = {catalog_settings(nullptr), std::move(statement)};
  auto results = co_await connection.pipeline(std::move(statements), Deadlines());
  if (!results) co_return results.error();
  co_return std::move(results->back());
}

asio::awaitable<Result<Rows>> read_only(PgConnection& connection, std::vector<std::string> statements,
                                        std::chrono::milliseconds timeout) {
  statements.insert(statements.begin(), catalog_settings(nullptr, timeout));
  Deadlines const deadlines{timeout, timeout + kGrace};
  auto results = co_await connection.pipeline(std::move(statements), deadlines);
  if (!results) co_return results.error();
  co_return std::move(results->back());
}

asio::awaitable<Result<std::optional<planner::TableFacts>>> read_table_facts(PgConnection& connection,
                                                                             planner::TableName name) {
  std::vector<std::string> first = {catalog_settings(nullptr), table_sql(name)};
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
  std::vector<std::string> second = {catalog_settings("pg_catalog"), leaves_sql(rows.at(0, 0)),
                                     partition_columns_sql(rows.at(0, 0))};
  auto leaves = co_await connection.pipeline(std::move(second), Deadlines());
  if (!leaves) co_return leaves.error();
  for (auto const& row : leaves->at(1).rows) table.leaves.push_back(leaf_of(row));
  for (auto const& row : leaves->at(2).rows) table.partition_columns.push_back(*row[0]);
  std::string const oids = oid_list(table);
  std::vector<std::string> third = {catalog_settings("pg_catalog"), columns_sql(oids), indexes_sql(oids),
                                    triggers_sql(oids), index_dependencies_sql(oids)};
  auto details = co_await connection.pipeline(std::move(third), Deadlines());
  if (!details) co_return details.error();
  add_columns(table, details->at(1));
  add_indexes(table, details->at(2));
  for (auto const& row : details->at(3).rows) {
    table.triggers.push_back({*row[0], *row[1], row[2]->front(), is_true(row[3]), is_true(row[4]), is_true(row[5])});
  }
  add_index_dependencies(table, details->at(4));
  co_return std::optional(std::move(table));
}

asio::awaitable<Result<std::vector<planner::SchemaFact>>> read_schema_facts(PgConnection& connection,
                                                                            std::vector<planner::TableName> tables) {
  std::vector<planner::SchemaFact> facts;
  for (auto const& table : tables) {
    std::vector<std::string> first = {catalog_settings(nullptr), table_sql(table)};
    auto const found = co_await connection.pipeline(std::move(first), Deadlines());
    if (!found) co_return found.error();
    Rows const& rows = found->at(1);
    if (rows.rows.empty()) continue;
    std::string const relation = planner::quote_qualified(rows.at(0, 1), rows.at(0, 2));
    std::vector<std::string> second = {catalog_settings("pg_catalog"), planner::schema_facts_sql(rows.at(0, 0)),
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
  std::vector<std::string> first = {catalog_settings(nullptr), planner::statistics_bounds_sql(target, leaf, *upper)};
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
  std::vector<std::string> second = {catalog_settings(nullptr),
                                     planner::sample_bounds_sql(target, percent, wanted, *upper)};
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
  std::vector<std::string> statements = {catalog_settings(nullptr), std::move(statement)};
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
      "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE "
      "c.relkind "
      "IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pgbackfill') LIMIT 10000",
      Deadlines());
  if (!rows) co_return rows.error();
  std::vector<std::string> names;
  for (auto const& row : rows->rows) names.push_back(*row[0]);
  co_return names;
}

}  // namespace pgbackfill::engine
