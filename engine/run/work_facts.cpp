#include "engine/run/work_facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <map>
#include <set>

#include "engine/pg/catalog.h"
#include "engine/state/typed_rows.h"
#include "planner/keys/key_choice.h"
#include "planner/lint/changed_tables.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using planner::quote_literal;
using planner::TableName;

// What stands for functions in SQL that only the server's own parser knows.
constexpr char kUnknownFunctions[] = "what functions in it read: its SQL is newer than the parser";

std::string text_in(boost::json::object const& node, char const* key) {
  auto const* value = node.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

std::string relation_in(boost::json::object const& node) {
  std::string const name = text_in(node, "Relation Name");
  return name.empty() ? name : planner::quote_qualified(text_in(node, "Schema"), name);
}

// The relations of a plan, by quoted name: how often each is read, and those whose rows are changed.
struct PlanRelations {
  std::map<std::string, int> scans;
  std::set<std::string> changed;  // by UPDATE, DELETE, MERGE: read once to be changed
  std::set<std::string> written;  // by INSERT

  void read(boost::json::object const& node) {
    std::string const relation = relation_in(node);
    bool const is_change = text_in(node, "Node Type") == "ModifyTable";
    if (is_change) {
      auto& names = text_in(node, "Operation") == "Insert" ? written : changed;
      if (!relation.empty()) names.insert(relation);
      if (auto const* targets = node.if_contains("Target Tables")) {
        for (auto const& target : targets->as_array()) names.insert(relation_in(target.as_object()));
      }
    } else if (!relation.empty()) {
      ++scans[relation];
    } else if (text_in(node, "Node Type") == "Foreign Scan") {
      // A join that runs on the other server.
      ++scans[text_in(node, "Relations")];
    }
    auto const* children = node.if_contains("Plans");
    if (children == nullptr) return;
    for (auto const& child : children->as_array()) read(child.as_object());
  }
};

std::set<std::string> names_of(planner::TableFacts const& table) {
  std::set<std::string> names = {planner::quote_qualified(table.schema, table.name)};
  for (auto const& leaf : table.leaves) names.insert(planner::quote_qualified(leaf.schema, leaf.name));
  return names;
}

asio::awaitable<Result<PlanRelations>> explain_work(PgConnection& connection, planner::WorkTarget target) {
  auto const probe = planner::probes(target).back();
  auto explained =
      co_await query_read_only(connection, users_sql("EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) " + probe.sql));
  if (!explained) co_return explained.error();
  auto const document = boost::json::parse(state::value_as<std::string>(*explained));
  PlanRelations relations;
  relations.read(document.as_array().at(0).as_object().at("Plan").as_object());
  co_return relations;
}

struct RootOfRelation {
  std::string name;
  std::string root;  // its oid
};

// The root of the partitions that each relation belongs to, itself for others; in the order of the names.
asio::awaitable<Result<std::map<std::string, std::string>>> roots_of(PgConnection& connection,
                                                                     std::set<std::string> relations) {
  std::vector<std::string> const names(relations.begin(), relations.end());
  std::string statement =
      "SELECT n.name, coalesce(pg_catalog.pg_partition_root(c.oid)::pg_catalog.oid, c.oid) FROM "
      "pg_catalog.unnest(" +
      planner::text_array(names) +
      ") AS n (name) JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(n.name)";
  auto rows = co_await query_read_only(connection, std::move(statement));
  if (!rows) co_return rows.error();
  std::map<std::string, std::string> roots;
  for (auto const& relation : state::rows_as<RootOfRelation>(*rows)) roots[relation.name] = relation.root;
  co_return roots;
}

std::string pairs(std::vector<TableName> const& names) {
  std::set<std::string> texts;
  for (auto const& name : names) {
    texts.insert('(' + quote_literal(name.schema) + ", " + quote_literal(name.name) + ')');
  }
  return planner::join({texts.begin(), texts.end()}, ", ");
}

// Any of that name which can be meant: which one is called depends on types, that the text does not tell. Schemas are
// those of the file's search_path, where the name is written without one.
std::string functions_sql(std::vector<TableName> const& functions, std::vector<TableName> const& operators,
                          std::vector<TableName> const& fields) {
  std::string const named =
      "(u.schema OPERATOR(pg_catalog.=) n.nspname OR u.schema OPERATOR(pg_catalog.=) '' AND "
      "n.nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_setting('pgbackfill.schemas')::pg_catalog.text[]))";
  std::string const result =
      "SELECT DISTINCT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) || '()', "
      "p.provolatile, n.nspname OPERATOR(pg_catalog.=) 'pg_catalog', p.proname ";
  std::vector<std::string> parts;
  if (!functions.empty()) {
    parts.push_back(result + "FROM (VALUES " + pairs(functions) +
                    ") AS u (schema, name) JOIN pg_catalog.pg_proc p ON p.proname OPERATOR(pg_catalog.=) u.name JOIN "
                    "pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace WHERE " +
                    named);
  }
  if (!fields.empty()) {
    parts.push_back(
        result + "FROM (VALUES " + pairs(fields) +
        ") AS u (schema, name) JOIN pg_catalog.pg_proc p ON p.proname OPERATOR(pg_catalog.=) u.name JOIN "
        "pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace JOIN pg_catalog.pg_type t "
        "ON t.oid OPERATOR(pg_catalog.=) p.proargtypes[0] AND t.typtype OPERATOR(pg_catalog.=) 'c' WHERE "
        "p.pronargs OPERATOR(pg_catalog.=) 1 AND " +
        named);
  }
  if (!operators.empty()) {
    parts.push_back(result + "FROM (VALUES " + pairs(operators) +
                    ") AS u (schema, name) JOIN pg_catalog.pg_operator o ON o.oprname OPERATOR(pg_catalog.=) u.name "
                    "JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) o.oprcode::pg_catalog.oid JOIN "
                    "pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace WHERE " +
                    named);
  }
  return planner::join(parts, " UNION ");
}

// Of pg_catalog, STABLE and yet another value in each transaction.
bool reads_the_moment(std::string const& name) {
  static std::set<std::string> const names = {"now",
                                              "transaction_timestamp",
                                              "statement_timestamp",
                                              "age",
                                              "txid_current",
                                              "txid_current_if_assigned",
                                              "txid_current_snapshot",
                                              "pg_current_xact_id",
                                              "pg_current_xact_id_if_assigned",
                                              "pg_current_snapshot",
                                              "pg_backend_pid"};
  return names.contains(name);
}

struct CalledFunction {
  std::string name;  // qualified
  bool is_builtin = false;
  bool may_read = false;    // not IMMUTABLE
  bool may_differ = false;  // from call to call
};

struct FunctionRow {
  std::string shown;
  std::string volatility;  // pg_proc.provolatile
  bool is_builtin = false;
  std::string name;
};

struct FunctionText {
  std::string name;
  std::string text;
};

asio::awaitable<Result<std::vector<CalledFunction>>> look_up_functions(PgConnection& connection,
                                                                       planner::SqlFacts sql) {
  std::vector<CalledFunction> functions;
  std::string statement = functions_sql(sql.functions, sql.operators, sql.fields);
  if (statement.empty()) co_return functions;
  auto rows = co_await query_read_only(connection, std::move(statement));
  if (!rows) co_return rows.error();
  for (auto const& row : state::rows_as<FunctionRow>(*rows)) {
    bool const may_differ = row.volatility == "v" || (row.is_builtin && reads_the_moment(row.name));
    functions.push_back({row.shown, row.is_builtin, row.volatility != "i", may_differ});
  }
  co_return functions;
}

// Names of columns that may be those of the row itself: not of a table of the subquery that they stand in.
asio::awaitable<Result<std::vector<std::string>>> own_columns(PgConnection& connection, planner::SqlFacts sql,
                                                              std::string alias) {
  std::vector<std::string> own;
  std::vector<std::string> values;
  for (auto const& use : sql.columns) {
    if (!use.table.empty() && planner::quote_identifier(use.table) != alias) continue;
    own.push_back(use.name);
    if (!use.table.empty()) continue;
    for (auto const& table : use.scope) {
      values.push_back('(' + quote_literal(use.name) + ", " + planner::oid_of(table.schema, table.name) + ')');
    }
  }
  if (values.empty()) co_return own;
  std::string statement = "SELECT DISTINCT v.name FROM (VALUES " + planner::join(values, ", ") +
                          ") AS v (name, relation) JOIN pg_catalog.pg_attribute a ON a.attrelid = v.relation AND "
                          "a.attname OPERATOR(pg_catalog.=) v.name";
  auto rows = co_await query_read_only(connection, std::move(statement));
  if (!rows) co_return rows.error();
  auto const found = state::column_as<std::string>(*rows);
  std::set<std::string> const others(found.begin(), found.end());
  std::vector<std::string> left;
  for (auto const& use : sql.columns) {
    bool const is_own = use.table.empty() ? use.scope.empty() || !others.contains(use.name)
                                          : planner::quote_identifier(use.table) == alias;
    if (is_own) left.push_back(use.name);
  }
  co_return left;
}

asio::awaitable<Result<bool>> is_repeatable(PgConnection& connection, planner::WorkTarget target,
                                            planner::LeafFacts leaf) {
  auto const& backfill = target.backfill;
  if (backfill.kind != planner::WorkKind::kUpdate) co_return false;
  std::vector<std::string> texts;
  for (auto const& assignment : backfill.assignments) texts.push_back(assignment.expression);
  auto const sql = planner::facts_of_expressions(texts);
  if (!sql.is_read || sql.reads_clock || sql.takes_all_columns) co_return false;
  auto functions = co_await look_up_functions(connection, sql);
  if (!functions) co_return functions.error();
  bool const may_differ = std::any_of(functions->begin(), functions->end(),
                                      [](CalledFunction const& function) { return function.may_differ; });
  auto columns = co_await own_columns(connection, sql, target.alias);
  if (!columns) co_return columns.error();
  bool const takes_row = std::any_of(columns->begin(), columns->end(), [&](std::string const& name) {
    return planner::quote_identifier(name) == target.alias;
  });
  co_return !may_differ && !takes_row && !planner::reads_what_it_assigns(backfill, leaf, *columns);
}

}  // namespace

planner::SqlFacts sql_facts_of(planner::WorkTarget const& target) {
  auto const& backfill = target.backfill;
  if (backfill.kind == planner::WorkKind::kSql) {
    return planner::facts_of_statement(planner::statement_with(target, "true"));
  }
  std::vector<std::string> texts = {backfill.where};
  if (backfill.dedupe) texts.push_back("ARRAY(SELECT 1 ORDER BY " + backfill.dedupe->keep + "\n)");
  for (auto const& assignment : backfill.assignments) texts.push_back(assignment.expression);
  if (backfill.compute) {
    for (auto const& input : backfill.compute->read) texts.push_back(input.expression);
  }
  return planner::facts_of_expressions(texts);
}

asio::awaitable<Result<std::string>> changing_call(PgConnection& connection, std::string expression) {
  auto const sql = planner::facts_of_expressions({expression});
  if (sql.reads_clock) co_return "the clock";
  auto functions = co_await look_up_functions(connection, sql);
  if (!functions) co_return functions.error();
  for (auto const& function : *functions) {
    if (function.may_differ) co_return function.name;
  }
  co_return std::string();
}

asio::awaitable<Result<std::vector<std::string>>> writing_calls(PgConnection& connection, planner::SqlFacts sql) {
  std::vector<std::string> calls;
  sql.operators.clear();
  sql.fields.clear();
  auto const functions = co_await look_up_functions(connection, sql);
  if (!functions) co_return functions.error();
  std::vector<std::string> names;
  for (auto const& function : *functions) {
    if (function.may_differ && !function.is_builtin) names.push_back(function.name);
  }
  if (names.empty()) co_return calls;
  std::string statement =
      "SELECT named.text, pg_catalog.pg_get_functiondef(p.oid) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l "
      "ON l.oid = p.prolang AND l.lanname IN ('plpgsql', 'sql') JOIN pg_catalog.pg_namespace n ON n.oid = "
      "p.pronamespace CROSS JOIN LATERAL (SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname) || '()') AS "
      "named (text) WHERE p.prokind = 'f' AND named.text = ANY (" +
      planner::text_array(names) + ") ORDER BY 1";
  auto const code = co_await query_read_only(connection, std::move(statement));
  if (!code) co_return code.error();
  for (auto const& function : state::rows_as<FunctionText>(*code)) {
    std::set<std::string> tables;
    for (auto const& table : planner::lint::tables_written_by(function.text)) tables.insert(planner::shown(table));
    if (tables.empty()) continue;
    calls.push_back(function.name + ", which writes " + planner::join({tables.begin(), tables.end()}, ", "));
  }
  co_return calls;
}

asio::awaitable<Result<WorkFacts>> read_work_facts(PgConnection& connection, planner::WorkTarget target,
                                                   planner::TableFacts table) {
  WorkFacts facts;
  facts.sql = sql_facts_of(target);
  auto relations = co_await explain_work(connection, target);
  if (!relations) co_return relations.error();
  // The batch reads its own rows once: a statement on a partitioned table those of each partition.
  auto others = relations->scans;
  for (auto const& name : names_of(table)) {
    auto const own = others.find(name);
    if (own != others.end() && --own->second == 0) others.erase(own);
  }
  for (auto const& [name, count] : others) facts.other_relations.push_back(name);
  // What is changed is read once for that; all else of it, or of its partitions, is other rows.
  auto read_beside = relations->scans;
  for (auto const& name : relations->changed) {
    auto const own = read_beside.find(name);
    if (own != read_beside.end() && --own->second == 0) read_beside.erase(own);
  }
  auto changed = relations->changed;
  changed.insert(relations->written.begin(), relations->written.end());
  auto asked = changed;
  asked.insert(target.relation);
  for (auto const& [name, count] : read_beside) asked.insert(name);
  auto roots = co_await roots_of(connection, asked);
  if (!roots) co_return roots.error();
  for (auto const& name : changed) {
    bool const is_read = std::any_of(read_beside.begin(), read_beside.end(), [&](auto const& scan) {
      return roots->contains(scan.first) && roots->contains(name) && roots->at(scan.first) == roots->at(name);
    });
    if (is_read) facts.changed_and_read.push_back(name);
  }
  auto const is_source = [&](std::string const& name) {
    return roots->contains(name) && roots->contains(target.relation) && roots->at(name) == roots->at(target.relation);
  };
  facts.writes_its_source = target.backfill.kind == planner::WorkKind::kCopy &&
                            std::any_of(relations->written.begin(), relations->written.end(), is_source);
  if (!facts.sql.is_read) facts.other_relations.emplace_back(kUnknownFunctions);
  auto functions = co_await look_up_functions(connection, facts.sql);
  if (!functions) co_return functions.error();
  for (auto const& function : *functions) {
    if (!function.is_builtin && function.may_read) facts.other_relations.push_back(function.name);
  }
  auto repeatable = co_await is_repeatable(connection, target, table.leaves.front());
  if (!repeatable) co_return repeatable.error();
  facts.is_repeatable = *repeatable && facts.changed_and_read.empty();
  co_return facts;
}

}  // namespace pgbackfill::engine
