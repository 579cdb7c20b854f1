#include "engine/run/job_setup.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <set>

#include "engine/pg/catalog.h"
#include "engine/pg/local_process.h"
#include "engine/run/delete_checks.h"
#include "engine/run/work_checks.h"
#include "engine/run/work_estimate.h"
#include "engine/state/typed_rows.h"
#include "planner/keys/key_choice.h"
#include "planner/model/sql_text.h"
#include "planner/model/suggestion.h"
#include "planner/model/value_text.h"
#include "planner/model/work_kind.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

namespace {

using planner::Problem;
using planner::WorkKind;

std::string table_text(planner::TableName const& name) {
  return planner::quote_qualified(name.schema, name.name);
}

std::string kind_refusal(char kind) {
  switch (kind) {
    case 'v':
      return "is a view; backfill the table under it";
    case 'm':
      return "is a materialized view; refresh it instead";
    case 'f':
      return "is a foreign table; run pgbackfill on the server that has the rows";
    case 'S':
      return "is a sequence";
    case 'i':
    case 'I':
      return "is an index";
    default:
      return "is not a table";
  }
}

std::string text_in(boost::json::object const& node, char const* key) {
  auto const* value = node.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

// The inputs of a plan's node, without the subqueries of its expressions: outer and inner of a join, all of an Append.
std::vector<boost::json::object const*> inputs_of(boost::json::object const& node) {
  std::vector<boost::json::object const*> inputs;
  auto const* children = node.if_contains("Plans");
  if (children == nullptr) return inputs;
  for (auto const& value : children->as_array()) {
    auto const& child = value.as_object();
    std::string const relationship = text_in(child, "Parent Relationship");
    bool const is_input =
        relationship == "Outer" || relationship == "Inner" || relationship == "Member" || relationship == "Subquery";
    if (is_input) inputs.push_back(&child);
  }
  return inputs;
}

// Whether a node of a plan can be seen to return nothing.
bool is_empty(boost::json::object const& node) {
  if (text_in(node, "One-Time Filter") == "false") return true;
  auto const inputs = inputs_of(node);
  auto const is_input_empty = [](auto const* input) { return is_empty(*input); };
  if (inputs.empty()) return false;
  if (inputs.size() == 1) {
    // A sum over no rows is a row.
    bool const is_total = text_in(node, "Node Type") == "Aggregate" && !node.contains("Group Key");
    return !is_total && is_empty(*inputs.front());
  }
  std::string const join = text_in(node, "Join Type");
  if (join.empty()) return std::all_of(inputs.begin(), inputs.end(), is_input_empty);
  if (join == "Inner" || join == "Semi") return std::any_of(inputs.begin(), inputs.end(), is_input_empty);
  return (join == "Left" || join == "Anti") && is_empty(*inputs.front());
}

// Looks for what changes rows, and for CTEs of the statement's own, whose emptiness no plan tells.
void look_for_changes(boost::json::object const& node, bool& changes_rows, bool& has_ctes) {
  bool const is_scan = text_in(node, "Node Type") == "CTE Scan";
  if (is_scan && text_in(node, "CTE Name") != "pgbackfill_work") has_ctes = true;
  if (text_in(node, "Node Type") == "ModifyTable") {
    for (auto const* input : inputs_of(node)) changes_rows = changes_rows || !is_empty(*input);
  }
  auto const* children = node.if_contains("Plans");
  if (children == nullptr) return;
  for (auto const& child : children->as_array()) look_for_changes(child.as_object(), changes_rows, has_ctes);
}

// A batch without rows has to change none. Were {batch} only one way of several to be picked (OR, NOT, a function),
// each batch would change the rows of all.
asio::awaitable<Result<Done>> check_empty_batch(PgConnection& connection, Preflight& preflight) {
  auto const probe = planner::empty_batch_probe(preflight.targets.front());
  if (!probe) co_return Done();
  auto explained = co_await query_read_only(connection, users_sql("EXPLAIN (FORMAT JSON) " + probe->sql));
  if (!explained) co_return explained.error();
  auto const document = boost::json::parse(state::value_as<std::string>(*explained));
  bool changes_rows = false;
  bool has_ctes = false;
  look_for_changes(document.as_array().at(0).as_object().at("Plan").as_object(), changes_rows, has_ctes);
  if (!changes_rows || has_ctes) co_return Done();
  preflight.problems.push_back(
      {probe->position,
       "{batch} does not bound the statement: it would change rows also for a batch without any. Write it as a "
       "condition that is joined to all others by AND"});
  co_return Done();
}

constexpr char kSyntaxError[] = "42601";
constexpr char kNotUnique[] = "42725";

// Every SQL text of the file meets the server here, before anything is touched.
asio::awaitable<Result<Done>> check_texts(PgConnection& connection, Preflight& preflight) {
  bool only_missing = true;
  if (preflight.targets.empty()) co_return Done();
  for (auto const& probe : planner::probes(preflight.targets.front())) {
    auto explained = co_await query_read_only(connection, users_sql("EXPLAIN " + probe.sql));
    if (explained) continue;
    if (is_of_the_moment(explained.error())) co_return explained.error();
    auto const& state = explained.error().sqlstate;
    only_missing = only_missing && is_missing_name(state);
    preflight.is_hopeless = preflight.is_hopeless || state == kSyntaxError;
    // Of an enum, or a type that does not go with the column's or the operator's.
    preflight.refuses_value = state == "22P02" || state == "42804" || state == "42883" || state == "42846";
    bool const is_copy = preflight.targets.front().backfill.kind == WorkKind::kCopy;
    bool const is_of_many = is_copy && (state == "42803" || state == "42P20");
    preflight.is_hopeless = preflight.is_hopeless || is_of_many;
    preflight.problems.push_back(
        {probe.position, is_of_many ? "a row of the copy is made of one row of the table, and this would be computed "
                                      "over the rows of each batch: " +
                                          explained.error().message
                                    : fmt::format("{} ({})", explained.error().message, explained.error().sqlstate)});
    break;
  }
  if (preflight.problems.empty()) {
    auto checked = co_await check_empty_batch(connection, preflight);
    if (!checked) co_return checked.error();
    only_missing = preflight.problems.empty();
  }
  preflight.only_missing_names = only_missing;
  co_return Done();
}

}  // namespace

bool is_missing_name(std::string const& sqlstate) {
  return sqlstate == "42703" || sqlstate == "42P01" || sqlstate == "42883" || sqlstate == "3F000" ||
         sqlstate == "42704";
}

asio::awaitable<Result<std::vector<planner::Problem>>> check_probes(PgConnection& connection,
                                                                    std::vector<planner::ProbeOptions> probes) {
  std::vector<planner::Problem> problems;
  for (auto const& probe : probes) {
    if (probe.sql.empty()) continue;
    auto planned = co_await query_read_only(connection, users_sql("EXPLAIN " + probe.sql));
    if (planned) continue;
    if (is_of_the_moment(planned.error())) co_return planned.error();
    problems.push_back(
        {probe.sql_position, fmt::format("the server refuses the query of probe '{}': {} ({})", probe.name,
                                         planned.error().message, planned.error().sqlstate)});
  }
  co_return problems;
}

namespace {

bool may_make_names(Preflight const& preflight, planner::Migration const& migration) {
  if (preflight.missing_table) return planner::may_make_table(migration, *preflight.missing_table);
  auto const& backfill = *migration.backfill;
  if (backfill.kind != WorkKind::kUpdate || preflight.table.leaves.empty()) return true;
  auto const& columns = preflight.table.leaves.front().columns;
  return std::all_of(backfill.assignments.begin(), backfill.assignments.end(), [&](auto const& assignment) {
    return std::any_of(columns.begin(), columns.end(),
                       [&](auto const& column) { return column.name == assignment.column; }) ||
           planner::may_make_column(migration, backfill.table, assignment.column);
  });
}

}  // namespace

bool may_come_with_expand(Preflight const& preflight, planner::Migration const& migration) {
  if (preflight.is_hopeless || migration.expand.empty()) return false;
  if (planner::has_sql_in_expand(migration)) return true;
  if (preflight.only_missing_names) return may_make_names(preflight, migration);
  if (preflight.lacks_key) return planner::may_make_key(migration, migration.backfill->table);
  return preflight.refuses_value && planner::may_change_types(migration);
}

namespace {

void make_targets(planner::Backfill const& backfill, Preflight& preflight) {
  auto const& table = preflight.table;
  auto const refuse = [&](std::string text) { preflight.problems.push_back({backfill.position, std::move(text)}); };
  for (auto const& leaf : table.leaves) {
    std::string const name = planner::quote_qualified(leaf.schema, leaf.name);
    if (leaf.kind != 'r') {
      refuse("partition " + name + " " + kind_refusal(leaf.kind));
      continue;
    }
    auto choice = planner::choose_key(leaf, backfill);
    if (auto const* refusal = std::get_if<planner::Refusal>(&choice)) {
      preflight.lacks_key = true;
      refuse(refusal->text);
      continue;
    }
    preflight.keys.push_back(std::get<planner::Key>(std::move(choice)));
    preflight.targets.push_back(planner::make_work_target(backfill, table, leaf, preflight.keys.back()));
  }
}

// Of the columns that are assigned, where the table has them all.
void take_types(planner::Backfill const& backfill, Preflight& preflight) {
  if (preflight.table.leaves.empty()) return;
  auto const& columns = preflight.table.leaves.front().columns;
  for (auto const& assignment : backfill.assignments) {
    auto const column = std::find_if(columns.begin(), columns.end(),
                                     [&](planner::ColumnFacts const& each) { return each.name == assignment.column; });
    if (column != columns.end()) {
      preflight.traits.assigned_types.push_back({column->declared_type, column->base_type});
    }
  }
  bool const has_column = std::any_of(columns.begin(), columns.end(),
                                      [](planner::ColumnFacts const& each) { return each.name == "changed"; });
  if (!backfill.where_is_changed || !has_column) return;
  preflight.problems.push_back({backfill.where_position,
                                "the table has a column changed: write where: (changed) for it, or the comparison of "
                                "the values in SQL (IS DISTINCT FROM)"});
}

void hand_out_traits(Preflight& preflight) {
  for (auto& target : preflight.targets) target.traits = preflight.traits;
}

// Batches name keys by their texts, and run under the settings of the file: with array_nulls off, {NULL} would be an
// array of a text there.
asio::awaitable<Result<Done>> check_array_keys(PgConnection& connection, planner::SourcePosition position,
                                               Preflight& preflight) {
  std::string arrays;
  for (auto const& key : preflight.keys) {
    for (auto const& column : key.columns) {
      if (column.type.ends_with("[]")) arrays = column.name;
    }
  }
  if (arrays.empty()) co_return Done();
  auto const setting =
      co_await query_read_only(connection, users_sql("SELECT pg_catalog.current_setting('array_nulls')"));
  if (!setting) co_return setting.error();
  if (state::value_as<std::string>(*setting) == "off") {
    preflight.problems.push_back(
        {position, fmt::format("column {} of the key is an array, and array_nulls is off: an array with NULL could not "
                               "be found again; set array_nulls to on for this role, or page by another key",
                               planner::quote_identifier(arrays))});
  }
  co_return Done();
}

// The operators of an index may be of a wider type (anyenum). Where casts lead from the column's own type to another
// that has operators of the same name, the server does not choose.
asio::awaitable<Result<Done>> check_key_operators(PgConnection& connection, planner::SourcePosition position,
                                                  Preflight& preflight) {
  std::set<std::string> asked;
  for (auto const& target : preflight.targets) {
    for (auto const& column : target.key.columns) {
      auto comparisons = planner::column_comparisons(column, "pgbackfill_key");
      if (!asked.insert(comparisons).second) continue;
      // The role may have rights on the table alone, and not on its partitions.
      std::string const& table = target.parent.empty() ? target.relation : target.parent;
      auto explained = co_await query_read_only(
          connection, "EXPLAIN SELECT FROM ONLY " + table + " AS pgbackfill_key WHERE " + comparisons);
      if (explained || explained.error().sqlstate != kNotUnique) continue;
      preflight.lacks_key = true;
      preflight.problems.push_back(
          {position,
           fmt::format("column {} of the key is of type {}, which has IMPLICIT casts that leave open how two of "
                       "its values are compared: {} ({}). Make those casts ASSIGNMENT, or page by another key",
                       planner::quote_identifier(column.name), column.type, explained.error().message, kNotUnique)});
      co_return Done();
    }
  }
  co_return Done();
}

// Of any key that comes later, pgbackfill.key_text() says so.
constexpr int kKeysLookedAt = 10'000;

// The cursor is the text of a key: where that is another key, batches pass rows over, or change them again.
asio::awaitable<Result<Done>> check_key_texts(PgConnection& connection, planner::SourcePosition position,
                                              Preflight& preflight) {
  for (auto const& target : preflight.targets) {
    // Of a table, not only of a leaf, where the role has no rights on that.
    std::string const from = target.traits.reads_through_parent ? target.parent : "ONLY " + target.relation;
    for (auto const& column : target.key.columns) {
      auto const name = planner::quote_identifier(column.name);
      auto const differs = planner::has_other_text("k." + name, column.type);
      if (differs.empty()) continue;
      auto found = co_await query_read_only(
          connection, fmt::format("SELECT concat(k.{0}) FROM (SELECT {0} FROM {1} LIMIT {2}) k WHERE num_nulls(k.{0}) "
                                  "= 0 AND {3} LIMIT 1",
                                  name, from, kKeysLookedAt, differs));
      if (!found) co_return found.error();
      if (found->rows.empty()) continue;
      preflight.lacks_key = true;
      preflight.problems.push_back(
          {position, fmt::format("column {} of the key is of type {}, whose text does not tell its values apart: {} is "
                                 "the text of several, so that batches would pass rows over or change them again. Page "
                                 "by another key",
                                 name, column.type, found->rows.front().front().value_or(""))});
      co_return Done();
    }
  }
  co_return Done();
}

// A statement on the table computes a virtual column by the table's expression, also in a partition that has another
// one (18): then the work leads through the table.
asio::awaitable<Result<Done>> look_at_virtual_columns(PgConnection& connection, Preflight& preflight) {
  if (preflight.table.kind != 'p' || connection.server_version() < 180'000) co_return Done();
  auto const differs = co_await query_read_only(
      connection,
      fmt::format(
          "SELECT EXISTS (SELECT FROM pg_attribute t JOIN pg_attrdef x ON x.adrelid = t.attrelid AND x.adnum = "
          "t.attnum CROSS JOIN pg_partition_tree({0}) p JOIN pg_attribute a ON a.attrelid = p.relid AND a.attname = "
          "t.attname JOIN pg_attrdef y ON y.adrelid = a.attrelid AND y.adnum = a.attnum WHERE t.attrelid = {0} AND "
          "t.attgenerated = 'v' AND pg_get_expr(x.adbin, x.adrelid) <> pg_get_expr(y.adbin, y.adrelid))",
          preflight.table.oid));
  if (!differs) co_return differs.error();
  bool const leads_to_table = state::value_as<bool>(*differs);
  if (leads_to_table) preflight.traits.works_through_parent = preflight.traits.reads_through_parent = true;
  co_return Done();
}

}  // namespace

asio::awaitable<Result<Preflight>> check_backfill(PgConnection& connection, planner::Backfill backfill,
                                                  Purpose purpose) {
  Preflight preflight;
  auto facts = co_await read_table_facts(connection, backfill.table);
  if (!facts) co_return facts.error();
  if (!*facts) {
    auto tables = co_await list_tables(connection);
    if (!tables) co_return tables.error();
    std::vector<std::string_view> const names(tables->begin(), tables->end());
    preflight.problems.push_back({backfill.position, "table " + table_text(backfill.table) + " does not exist" +
                                                         planner::did_you_mean(backfill.table.name, names)});
    preflight.only_missing_names = true;
    preflight.missing_table = backfill.table;
    co_return preflight;
  }
  preflight.table = std::move(**facts);
  auto const& table = preflight.table;
  auto const refuse = [&](std::string text) { preflight.problems.push_back({backfill.position, std::move(text)}); };
  if (table.kind != 'r' && table.kind != 'p') {
    refuse(planner::quote_qualified(table.schema, table.name) + " " + kind_refusal(table.kind));
    preflight.is_hopeless = true;
    co_return preflight;
  }
  make_targets(backfill, preflight);
  if (!preflight.problems.empty()) co_return preflight;
  take_types(backfill, preflight);
  take_groups(backfill, preflight);
  if (!preflight.problems.empty()) co_return preflight;
  auto const virtual_columns = co_await look_at_virtual_columns(connection, preflight);
  if (!virtual_columns) co_return virtual_columns.error();
  hand_out_traits(preflight);
  preflight.sweeps = planner::traits_of(backfill.kind).writes_table && !backfill.where.empty();
  if (table.has_children) {
    preflight.warnings.push_back(
        "tables that inherit from this one are left alone (ONLY); give them migrations of "
        "their own: " +
        planner::join(table.children, ", "));
  }
  auto problems = planner::check_against_table(backfill, table, preflight.keys);
  bool const columns_only = !problems.empty();
  for (auto& problem : problems) preflight.problems.push_back(std::move(problem));
  look_at_triggers(backfill, preflight);
  auto arrays = co_await check_array_keys(connection, backfill.position, preflight);
  if (!arrays) co_return arrays.error();
  auto operators = co_await check_key_operators(connection, backfill.position, preflight);
  if (!operators) co_return operators.error();
  // Whoever only counts needs no right to write, and what he may not read the server says.
  if (purpose == Purpose::kMeasure) co_return preflight;
  std::size_t const known = preflight.problems.size();
  auto rights = co_await check_rights(connection, backfill, preflight);
  if (!rights) co_return rights.error();
  preflight.lacks_rights = preflight.problems.size() > known;
  if (backfill.kind == WorkKind::kCopy) {
    auto copy = co_await check_copy(connection, backfill, preflight);
    if (!copy) co_return copy.error();
  }
  auto moves = co_await check_move(connection, backfill, preflight);
  if (!moves) co_return moves.error();
  auto foreign_keys = co_await check_foreign_keys(connection, backfill, preflight);
  if (!foreign_keys) co_return foreign_keys.error();
  hand_out_traits(preflight);
  if (preflight.problems.empty() || columns_only) {
    std::size_t const before = preflight.problems.size();
    auto texts = co_await check_texts(connection, preflight);
    if (!texts) co_return texts.error();
    // The server says the same of a missing column, with less help.
    if (columns_only) preflight.problems.resize(before);
  }
  if (preflight.problems.empty()) {
    auto told = co_await check_key_texts(connection, backfill.position, preflight);
    if (!told) co_return told.error();
    auto looked = co_await look_at_work(connection, backfill, preflight);
    if (!looked) co_return looked.error();
    auto groups = co_await check_dedupe(connection, backfill, preflight);
    if (!groups) co_return groups.error();
    auto computes = co_await check_compute(connection, backfill, preflight);
    if (!computes) co_return computes.error();
    hand_out_traits(preflight);
  }
  co_return preflight;
}

asio::awaitable<Result<std::vector<LeafRanges>>> plan_ranges(PgConnection& connection, Preflight const& preflight) {
  std::vector<LeafRanges> result;
  for (std::size_t number = 0; number < preflight.targets.size(); ++number) {
    auto const& target = preflight.targets[number];
    auto leaf = preflight.table.leaves[number];
    if (preflight.listed_rows) leaf.rows_estimated = std::min(leaf.rows_estimated, *preflight.listed_rows);
    LeafRanges planned;
    auto upper = co_await read_last_key(connection, target);
    if (!upper) co_return upper.error();
    planned.upper = *upper;
    auto bounds = co_await read_bounds(connection, target, leaf, planned.upper);
    if (!bounds) co_return bounds.error();
    planner::LeafOfPass first;
    first.by_block = target.key.is_by_block();
    planned.ranges =
        planner::ranges_of_leaf(planner::LeafPart::kWhole, first, *bounds, planned.upper, leaf.rows_estimated);
    result.push_back(std::move(planned));
  }
  co_return result;
}

namespace {

// The program is named as it is called; what it does is not ours to know.
std::string definition_of(planner::Compute const& compute) {
  std::string text = "compute by";
  if (compute.service) text += ' ' + planner::name_of(compute);
  for (auto const& word : compute.command) {
    bool const is_plain = !word.empty() && word.find_first_of(" '\n") == std::string::npos;
    text += ' ' + (is_plain ? word : planner::quote_literal(word));
  }
  text += "\n";
  for (auto const& input : compute.read) {
    text += "read " + planner::quote_identifier(input.name) + (input.is_guarded ? "" : " (may change)") + " = " +
            input.expression + "\n";
  }
  for (auto const& column : compute.write) text += "write " + planner::quote_identifier(column) + "\n";
  return text;
}

}  // namespace

namespace {

std::string definition_of(planner::Dedupe const& dedupe) {
  std::vector<std::string> columns;
  for (auto const& column : dedupe.by) columns.push_back(planner::quote_identifier(column));
  return "keep one by " + planner::join(columns, ", ") + " order by " + dedupe.keep + "\n";
}

}  // namespace

std::string definition_of(planner::Backfill const& backfill) {
  std::string text = "table " + table_text(backfill.table) + "\n";
  switch (backfill.kind) {
    case WorkKind::kUpdate:
      text += backfill.compute ? definition_of(*backfill.compute) : "update\n";
      break;
    case WorkKind::kDelete:
      if (backfill.dedupe) text += definition_of(*backfill.dedupe);
      if (backfill.move_to) text += "move to " + table_text(*backfill.move_to) + "\n";
      if (!backfill.dedupe && !backfill.move_to) text += "delete\n";
      break;
    case WorkKind::kCopy:
      text += "copy to " + table_text(backfill.copy_to) + "\n";
      if (backfill.compute) text += definition_of(*backfill.compute);
      break;
    case WorkKind::kAsk:
      text += definition_of(*backfill.compute);
      break;
    case WorkKind::kSql:
      text += "sql " + backfill.sql + "\n";
      break;
  }
  for (auto const& assignment : backfill.assignments) {
    if (backfill.compute && backfill.kind == WorkKind::kUpdate) break;
    text += planner::quote_identifier(assignment.column) + " = " + assignment.expression + "\n";
  }
  if (!backfill.mirror_key.empty()) text += "mirrored by " + planner::join(backfill.mirror_key, ", ") + "\n";
  if (backfill.on_conflict == planner::ConflictMode::kCount) text += "collisions are counted\n";
  if (!backfill.where.empty()) text += "where " + backfill.where + "\n";
  return text;
}

state::NewJob new_job(planner::Migration const& migration, Preflight const& preflight) {
  auto const& backfill = *migration.backfill;
  state::NewJob job;
  job.name = migration.name;
  job.definition = definition_of(backfill);
  job.table_schema = preflight.table.schema;
  job.table_name = preflight.table.name;
  job.relation = preflight.table.oid;
  job.workers = backfill.workers;
  job.batch_target = backfill.batch.target;
  return job;
}

asio::awaitable<Result<Done>> create_job(PgConnection& connection, planner::Migration const& migration,
                                         Preflight const& preflight, std::vector<LeafRanges> ranges,
                                         Owner const& owner) {
  auto job = new_job(migration, preflight);
  job.sweeps = preflight.sweeps;
  job.rows = preflight.listed_rows;
  // What all rows would cost says nothing of some.
  if (!job.rows) job.estimate = to_keep(estimate_work(migration, preflight.table));
  for (std::size_t number = 0; number < ranges.size(); ++number) {
    auto const& leaf = preflight.table.leaves[number];
    job.leaves.push_back({static_cast<int>(number), leaf.oid, leaf.schema, leaf.name, preflight.keys[number],
                          leaf.rows_estimated, leaf.blocks, leaf.bytes, ranges[number].upper});
    for (auto& range : ranges[number].ranges) job.ranges.push_back({static_cast<int>(number), std::move(range)});
  }
  auto statements = state::create_job(job, owner);
  auto created = co_await connection.pipeline(std::move(statements), Deadlines());
  if (!created) co_return created.error();
  co_return Done();
}

asio::awaitable<Result<std::optional<StoredJob>>> find_job(PgConnection& connection, std::string name) {
  auto rows = co_await connection.query(state::find_job(name), Deadlines());
  if (!rows) co_return rows.error();
  auto row = state::first_as<state::JobRow>(*rows);
  if (!row) co_return std::optional<StoredJob>();
  StoredJob job;
  job.id = row->id;
  job.name = name;
  job.definition = std::move(row->definition);
  job.table = {std::move(row->table_schema), std::move(row->table_name)};
  job.status = state::status_of(row->status);
  job.reason = std::move(row->reason);
  job.pass = row->pass;
  job.sweeps = row->sweeps;
  job.workers = state::workers_of(row->workers);
  job.batch_target = state::batch_target_of(row->batch_target);
  job.settings = state::live_settings(row->settings);
  job.compute_settings = state::live_settings(row->settings, state::kComputePrefix);
  job.pause_has_end = row->pause_has_end;
  if (row->relation) job.relation = *row->relation;
  job.is_state_restored = row->is_state_restored;
  co_return std::optional<StoredJob>(std::move(job));
}

asio::awaitable<Result<std::optional<Control>>> read_control(PgConnection& connection, std::int64_t job,
                                                             std::string owner) {
  auto const rows = co_await connection.query(state::control(job, owner), Deadlines());
  if (!rows) co_return rows.error();
  std::optional<Control> control;
  if (!rows->rows.empty()) control = state::control_of(rows->rows.front());
  co_return control;
}

asio::awaitable<Result<int>> release_dead_processes(PgConnection& connection, std::int64_t job, Owner owner) {
  auto holders = co_await connection.query(state::leases_of_machine(job, owner), Deadlines());
  if (!holders) co_return holders.error();
  int released = 0;
  for (int const pid : state::column_as<int>(*holders)) {
    if (pid == owner.pid || has_process(pid)) continue;
    auto freed = co_await connection.query(state::release_process(job, owner.machine, pid), Deadlines());
    if (!freed) co_return freed.error();
    released += static_cast<int>(freed->affected);
  }
  // What it told of itself before it was killed would count as another process at work.
  auto const runners = co_await connection.query(state::runners_of_machine(owner), Deadlines());
  if (!runners) co_return runners.error();
  for (auto const& runner : state::rows_as<state::RunnerOfMachine>(*runners)) {
    if (runner.pid != owner.pid && has_process(runner.pid)) continue;
    auto const forgotten = co_await connection.query(state::forget_process(runner.process), Deadlines());
    if (!forgotten) co_return forgotten.error();
  }
  co_return released;
}

}  // namespace pgbackfill::engine
