#include "engine/job_setup.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <cerrno>

#include "engine/catalog.h"
#include "planner/key_choice.h"
#include "planner/sql_text.h"
#include "planner/step_order.h"
#include "planner/suggestion.h"

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

char const* privilege_of(planner::Backfill const& backfill) {
  // SELECT ... FOR SHARE asks for it.
  if (!backfill.mirror_key.empty()) return "UPDATE";
  switch (backfill.kind) {
    case WorkKind::kUpdate:
      return "UPDATE";
    case WorkKind::kDelete:
      return "DELETE";
    case WorkKind::kCopy:
    case WorkKind::kSql:
      return "SELECT";
  }
  return "SELECT";
}

// A copy may be swept only when a repeat of a row is refused by a key over the copied columns themselves.
bool copy_is_idempotent(planner::Backfill const& backfill, planner::LeafFacts const& target) {
  return std::any_of(target.indexes.begin(), target.indexes.end(), [&](planner::IndexFacts const& index) {
    if (!index.unique || !index.valid || index.partial || index.has_expressions || !index.immediate) return false;
    return std::all_of(index.columns.begin(), index.columns.end(), [&](planner::KeyColumn const& column) {
      return std::any_of(backfill.assignments.begin(), backfill.assignments.end(),
                         [&](planner::Assignment const& assignment) { return assignment.column == column.name; });
    });
  });
}

asio::awaitable<Result<Done>> check_copy(PgConnection& connection, planner::Backfill backfill, Preflight& preflight) {
  auto facts = co_await read_table_facts(connection, backfill.copy_to);
  if (!facts) co_return facts.error();
  if (!*facts || (*facts)->leaves.empty()) {
    preflight.problems.push_back(
        {backfill.position, "table " + table_text(backfill.copy_to) + " (copy_to) does not exist"});
    preflight.only_missing_names = !*facts;
    if (!*facts) preflight.missing_table = backfill.copy_to;
    co_return Done();
  }
  auto const& target = (*facts)->leaves.front();
  for (auto& problem : planner::check_copy_target(backfill, target)) preflight.problems.push_back(std::move(problem));
  bool const identity =
      std::any_of(target.columns.begin(), target.columns.end(), [&](planner::ColumnFacts const& column) {
        return column.identity_always &&
               std::any_of(backfill.assignments.begin(), backfill.assignments.end(),
                           [&](planner::Assignment const& assignment) { return assignment.column == column.name; });
      });
  for (auto& work : preflight.targets) work.copy_overrides_identity = identity;
  preflight.sweeps = copy_is_idempotent(backfill, target);
  co_return Done();
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
  auto explained = co_await query_read_only(connection, "EXPLAIN (FORMAT JSON) " + probe->sql);
  if (!explained) co_return explained.error();
  auto const document = boost::json::parse(explained->at(0, 0));
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

// Every SQL text of the file meets the server here, before anything is touched.
asio::awaitable<Result<Done>> check_texts(PgConnection& connection, Preflight& preflight) {
  bool only_missing = true;
  if (preflight.targets.empty()) co_return Done();
  for (auto const& probe : planner::probes(preflight.targets.front())) {
    auto explained = co_await query_read_only(connection, "EXPLAIN " + probe.sql);
    if (explained) continue;
    if (explained.error().trouble == planner::Trouble::kConnection) co_return explained.error();
    only_missing = only_missing && is_missing_name(explained.error().sqlstate);
    preflight.problems.push_back(
        {probe.position, fmt::format("{} ({})", explained.error().message, explained.error().sqlstate)});
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

asio::awaitable<Result<Done>> check_rights(PgConnection& connection, planner::Backfill backfill, Preflight& preflight) {
  char const* privilege = privilege_of(backfill);
  std::string statement = fmt::format(
      "SELECT has_table_privilege({0}::oid, '{1}') OR has_any_column_privilege({0}::oid, '{2}'), "
      "has_table_privilege({0}::oid, 'SELECT') OR has_any_column_privilege({0}::oid, 'SELECT'), current_user",
      preflight.table.oid, privilege, backfill.kind == WorkKind::kDelete ? "SELECT" : privilege);
  auto rights = co_await query_read_only(connection, std::move(statement));
  if (!rights) co_return rights.error();
  for (int column = 0; column < 2; ++column) {
    if (rights->at(0, static_cast<std::size_t>(column)) == "t") continue;
    char const* missing = column == 0 ? privilege : "SELECT";
    preflight.problems.push_back(
        {backfill.position, fmt::format("role {0} may not {1} on {2}: GRANT {1} ON {2} TO {0}",
                                        planner::quote_identifier(rights->at(0, 2)), missing,
                                        planner::quote_qualified(preflight.table.schema, preflight.table.name))});
  }
  if (backfill.triggers == planner::TriggerMode::kSkip) {
    auto allowed =
        co_await connection.query("SELECT set_config('session_replication_role', 'replica', true)", Deadlines());
    if (!allowed) {
      preflight.problems.push_back(
          {backfill.position,
           "`triggers: skip` needs the right to set session_replication_role: " + allowed.error().message});
    }
  }
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
    auto planned = co_await query_read_only(connection, "EXPLAIN " + probe.sql);
    if (planned) continue;
    if (planned.error().trouble == planner::Trouble::kConnection) co_return planned.error();
    problems.push_back(
        {probe.sql_position, fmt::format("the server refuses the query of probe '{}': {} ({})", probe.name,
                                         planned.error().message, planned.error().sqlstate)});
  }
  co_return problems;
}

bool may_come_with_expand(Preflight const& preflight, planner::Migration const& migration) {
  if (!preflight.only_missing_names || migration.expand.empty()) return false;
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

asio::awaitable<Result<Preflight>> check_backfill(PgConnection& connection, planner::Backfill backfill) {
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
    co_return preflight;
  }
  for (auto const& leaf : table.leaves) {
    std::string const name = planner::quote_qualified(leaf.schema, leaf.name);
    if (leaf.kind != 'r') {
      refuse("partition " + name + " " + kind_refusal(leaf.kind));
      continue;
    }
    auto choice = planner::choose_key(leaf, backfill);
    if (auto const* refusal = std::get_if<planner::Refusal>(&choice)) {
      refuse(refusal->text);
      continue;
    }
    preflight.keys.push_back(std::get<planner::Key>(std::move(choice)));
    preflight.targets.push_back(planner::make_work_target(backfill, table, leaf, preflight.keys.back()));
  }
  if (!preflight.problems.empty()) co_return preflight;
  bool const whole = backfill.kind == WorkKind::kUpdate || backfill.kind == WorkKind::kDelete;
  preflight.sweeps = whole && !backfill.where.empty();
  auto problems = planner::check_against_table(backfill, table, preflight.keys);
  bool const columns_only = !problems.empty();
  for (auto& problem : problems) preflight.problems.push_back(std::move(problem));
  auto rights = co_await check_rights(connection, backfill, preflight);
  if (!rights) co_return rights.error();
  if (backfill.kind == WorkKind::kCopy) {
    auto copy = co_await check_copy(connection, backfill, preflight);
    if (!copy) co_return copy.error();
  }
  if (preflight.problems.empty() || columns_only) {
    std::size_t const before = preflight.problems.size();
    auto texts = co_await check_texts(connection, preflight);
    if (!texts) co_return texts.error();
    // The server says the same of a missing column, with less help.
    if (columns_only) preflight.problems.resize(before);
  }
  co_return preflight;
}

asio::awaitable<Result<std::vector<LeafRanges>>> plan_ranges(PgConnection& connection, Preflight const& preflight) {
  std::vector<LeafRanges> result;
  for (std::size_t number = 0; number < preflight.targets.size(); ++number) {
    auto const& target = preflight.targets[number];
    auto const& leaf = preflight.table.leaves[number];
    LeafRanges planned;
    auto upper = co_await read_last_key(connection, target);
    if (!upper) co_return upper.error();
    planned.upper = *upper;
    auto bounds = co_await read_bounds(connection, target, leaf, planned.upper);
    if (!bounds) co_return bounds.error();
    planned.ranges = target.key.is_by_block() && planned.upper
                         ? planner::cut_by_blocks(std::stoll(planned.upper->front()) + 1, leaf.rows_estimated)
                         : planner::cut_by_bounds(*bounds, planned.upper, leaf.rows_estimated);
    result.push_back(std::move(planned));
  }
  co_return result;
}

std::string definition_of(planner::Backfill const& backfill) {
  std::string text = "table " + table_text(backfill.table) + "\n";
  switch (backfill.kind) {
    case WorkKind::kUpdate:
      text += "update\n";
      break;
    case WorkKind::kDelete:
      text += "delete\n";
      break;
    case WorkKind::kCopy:
      text += "copy to " + table_text(backfill.copy_to) + "\n";
      break;
    case WorkKind::kSql:
      text += "sql " + backfill.sql + "\n";
      break;
  }
  for (auto const& assignment : backfill.assignments) {
    text += planner::quote_identifier(assignment.column) + " = " + assignment.expression + "\n";
  }
  if (!backfill.mirror_key.empty()) text += "mirrored by " + planner::join(backfill.mirror_key, ", ") + "\n";
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
  job.workers = backfill.workers;
  job.batch_target = backfill.batch.target;
  return job;
}

asio::awaitable<Result<Done>> create_job(PgConnection& connection, planner::Migration const& migration,
                                         Preflight const& preflight, std::vector<LeafRanges> ranges,
                                         Owner const& owner) {
  auto job = new_job(migration, preflight);
  job.sweeps = preflight.sweeps;
  for (std::size_t number = 0; number < ranges.size(); ++number) {
    auto const& leaf = preflight.table.leaves[number];
    job.leaves.push_back({leaf.oid, leaf.schema, leaf.name, preflight.keys[number], leaf.rows_estimated, leaf.blocks,
                          leaf.bytes, ranges[number].upper});
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
  if (rows->rows.empty()) co_return std::optional<StoredJob>();
  StoredJob job;
  job.id = std::stoll(rows->at(0, 0));
  job.definition = rows->at(0, 1);
  job.table = {rows->at(0, 2), rows->at(0, 3)};
  job.status = state::status_of(rows->at(0, 4));
  job.reason = rows->at(0, 5);
  job.sweeps = rows->at(0, 7) == "t";
  job.workers = std::stoi(rows->at(0, 8));
  job.batch_target = std::chrono::milliseconds(std::stoll(rows->at(0, 9)));
  job.settings = state::live_settings(rows->rows.front()[10]);
  job.pause_has_end = rows->at(0, 11) == "t";
  co_return std::optional<StoredJob>(std::move(job));
}

asio::awaitable<Result<int>> release_dead_processes(PgConnection& connection, std::int64_t job, Owner owner) {
  auto holders = co_await connection.query(state::leases_of_machine(job, owner), Deadlines());
  if (!holders) co_return holders.error();
  int released = 0;
  for (auto const& row : holders->rows) {
    int const pid = std::stoi(*row[0]);
    bool const gone = pid != owner.pid && kill(pid, 0) != 0 && errno == ESRCH;
    if (!gone) continue;
    auto freed = co_await connection.query(state::release_process(job, owner.machine, pid), Deadlines());
    if (!freed) co_return freed.error();
    released += static_cast<int>(freed->affected);
  }
  co_return released;
}

}  // namespace pgbackfill::engine
