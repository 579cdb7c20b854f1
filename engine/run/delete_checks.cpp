#include "engine/run/delete_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "engine/pg/catalog.h"
#include "engine/run/work_facts.h"
#include "engine/state/typed_rows.h"
#include "planner/keys/key_choice.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using planner::quote_identifier;
using planner::quote_qualified;

std::string name_of(planner::TableFacts const& table) {
  return quote_qualified(table.schema, table.name);
}

std::string quoted_list(std::vector<std::string> const& names) {
  std::vector<std::string> quoted;
  for (auto const& name : names) quoted.push_back(quote_identifier(name));
  return planner::join(quoted, ", ");
}

planner::ColumnFacts const* find_column(planner::LeafFacts const& leaf, std::string const& name) {
  auto const found = std::find_if(leaf.columns.begin(), leaf.columns.end(),
                                  [&](planner::ColumnFacts const& column) { return column.name == name; });
  return found == leaf.columns.end() ? nullptr : &*found;
}

// --- dedupe ----------------------------------------------------------------------------------------------------------

// Its first columns are those of the groups, in any order, compared as GROUP BY compares them.
bool begins_with(planner::IndexFacts const& index, std::vector<std::string> const& columns) {
  bool const is_plain =
      index.valid && index.ordered && !index.partial && !index.has_expressions && index.default_opclasses;
  if (!is_plain || index.columns.size() < columns.size()) return false;
  return std::all_of(index.columns.begin(), index.columns.begin() + std::ssize(columns),
                     [&](planner::KeyColumn const& column) {
                       bool const is_named = std::find(columns.begin(), columns.end(), column.name) != columns.end();
                       return is_named && column.collation.empty();
                     });
}

std::vector<planner::GroupColumn> groups_of(planner::IndexFacts const& index, planner::LeafFacts const& leaf,
                                            std::vector<std::string> const& columns) {
  std::vector<planner::GroupColumn> groups;
  for (std::size_t position = 0; position < columns.size(); ++position) {
    auto const& column = index.columns[position];
    groups.push_back(
        {column.name, column.comparison(planner::KeyComparison::kEqual), find_column(leaf, column.name)->not_null});
  }
  return groups;
}

std::string why_no_dedupe(planner::TableFacts const& table) {
  if (table.kind == 'p') return "is partitioned";
  return table.has_children ? "has tables that inherit from it" : "";
}

// Whether something is so for the role that asks.
struct RoleAnswer {
  bool is_so = false;
  std::string name;
};

}  // namespace

void take_groups(planner::Backfill const& backfill, Preflight& preflight) {
  if (!backfill.dedupe || preflight.targets.empty()) return;
  auto const& dedupe = *backfill.dedupe;
  auto const& table = preflight.table;
  auto const& leaf = table.leaves.front();
  auto const refuse = [&](std::string text) { preflight.problems.push_back({dedupe.position, std::move(text)}); };
  auto const why = why_no_dedupe(table);
  if (!why.empty()) {
    preflight.is_hopeless = true;
    return refuse(
        fmt::format("{} {}, and 'dedupe' looks for a group in one table alone: write 'delete' with a "
                    "condition that tells which rows are to go",
                    name_of(table), why));
  }
  if (preflight.keys.front().is_by_block()) {
    preflight.lacks_key = true;
    return refuse(
        fmt::format("{} has no key by which equal rows could be told apart; add a primary key, or a unique "
                    "index over columns that are NOT NULL",
                    name_of(table)));
  }
  for (auto const& column : dedupe.by) {
    if (find_column(leaf, column) == nullptr) refuse(planner::missing_column(column, leaf));
  }
  std::set<std::string> const different(dedupe.by.begin(), dedupe.by.end());
  if (different.size() != dedupe.by.size()) refuse("'by' names a column twice");
  if (!preflight.problems.empty()) return;
  auto const index = std::find_if(leaf.indexes.begin(), leaf.indexes.end(),
                                  [&](planner::IndexFacts const& each) { return begins_with(each, dedupe.by); });
  if (index == leaf.indexes.end()) {
    // A step may make it.
    preflight.only_missing_names = true;
    return refuse(
        fmt::format("no index of {0} begins with ({1}), so that each row would be looked for in the whole "
                    "table: CREATE INDEX CONCURRENTLY ON {0} ({1}); with the columns of 'keep' behind these, "
                    "one row of each group is read",
                    name_of(table), quoted_list(dedupe.by)));
  }
  preflight.traits.group = groups_of(*index, leaf, dedupe.by);
}

asio::awaitable<Result<Done>> check_dedupe(PgConnection& connection, planner::Backfill backfill, Preflight& preflight) {
  if (!backfill.dedupe || preflight.targets.empty()) co_return Done();
  auto const& dedupe = *backfill.dedupe;
  std::vector<std::string> nullable;
  for (auto const& column : preflight.traits.group) {
    if (!column.not_null) nullable.push_back(quote_identifier(column.name));
  }
  if (!nullable.empty()) {
    preflight.notes.push_back(
        fmt::format("rows without a value in {} are alike there, as in GROUP BY, and one of them "
                    "is kept; a 'where' leaves them alone",
                    planner::join(nullable, ", ")));
  }
  auto const changing = co_await changing_call(connection, "ARRAY(SELECT 1 ORDER BY " + dedupe.keep + "\n)");
  if (!changing) co_return changing.error();
  if (!changing->empty()) {
    preflight.is_hopeless = true;
    preflight.problems.push_back(
        {dedupe.keep_position, fmt::format("'keep' reads {}, which gives another order each time it is asked, and so "
                                           "another row that stays",
                                           *changing)});
  }
  co_return Done();
}

// --- move_to ---------------------------------------------------------------------------------------------------------

namespace {

std::set<std::uint32_t> oids_of(planner::TableFacts const& table) {
  std::set<std::uint32_t> oids = {table.oid};
  for (auto const& leaf : table.leaves) oids.insert(leaf.oid);
  return oids;
}

bool have_rows_in_common(planner::TableFacts const& one, planner::TableFacts const& other) {
  auto const mine = oids_of(one);
  auto const its = oids_of(other);
  return std::any_of(its.begin(), its.end(), [&](std::uint32_t oid) { return mine.contains(oid); });
}

// By name: each column of the table has one in the target.
void match_columns(planner::Backfill const& backfill, planner::TableFacts const& target, Preflight& preflight) {
  auto const& leaf = target.leaves.front();
  auto const refuse = [&](std::string text) {
    preflight.problems.push_back({backfill.move_to_position, std::move(text)});
  };
  std::vector<std::string> missing;
  for (auto const& column : preflight.table.leaves.front().columns) {
    auto const* const found = find_column(leaf, column.name);
    if (found == nullptr) {
      missing.push_back(column.name);
      continue;
    }
    if (found->generated && !column.generated) {
      refuse(fmt::format("column {} of {} (move_to) is generated, and could not take the values of the table",
                         quote_identifier(column.name), name_of(target)));
    }
    if (found->generated) continue;
    preflight.traits.copy_overrides_identity = preflight.traits.copy_overrides_identity || found->identity_always;
    preflight.traits.moved_columns.push_back(column.name);
    if (found->declared_type != column.declared_type) {
      preflight.notes.push_back(
          fmt::format("column {} is {} in {} and {} in {}: its values are changed as an "
                      "assignment changes them",
                      quote_identifier(column.name), column.declared_type, name_of(preflight.table),
                      found->declared_type, name_of(target)));
    }
  }
  if (missing.empty()) return;
  refuse(
      fmt::format("{0} (move_to) has no column {1}, whose values would be lost: ALTER TABLE {0} ADD COLUMN, or move "
                  "the columns that you name by 'sql'",
                  name_of(target), quoted_list(missing)));
}

// Columns that have to have a value, and get none from the table; and whether row-level security binds the role.
asio::awaitable<Result<Done>> ask_about_target(PgConnection& connection, planner::Backfill backfill,
                                               planner::TableFacts target, Preflight& preflight) {
  std::vector<std::string> known;
  for (auto const& column : preflight.table.leaves.front().columns) known.push_back(column.name);
  auto const lacking = co_await query_read_only(
      connection,
      fmt::format(
          "SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = {}::oid AND a.attnum > 0 AND NOT "
          "a.attisdropped AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attname <> ALL ({}) "
          "ORDER BY a.attnum",
          target.oid, planner::text_array(known)));
  if (!lacking) co_return lacking.error();
  auto const names = state::column_as<std::string>(*lacking);
  if (!names.empty()) {
    preflight.problems.push_back({backfill.move_to_position,
                                  fmt::format("column {} of {} (move_to) is NOT NULL without a default, and {} has no "
                                              "such column: give it a default, or move the rows by 'sql'",
                                              quoted_list(names), name_of(target), name_of(preflight.table))});
  }
  auto const bound = co_await query_read_only(
      connection, fmt::format("SELECT row_security_active({}::oid), current_user", target.oid));
  if (!bound) co_return bound.error();
  auto const role = state::row_as<RoleAnswer>(bound->rows.at(0));
  if (role.is_so) {
    preflight.problems.push_back(
        {backfill.move_to_position,
         fmt::format("row-level security of {0} (move_to) binds role {1}. Run this as the owner of {0}, if it does not "
                     "say FORCE ROW LEVEL SECURITY, or as a role with BYPASSRLS",
                     name_of(target), quote_identifier(role.name))});
  }
  co_return Done();
}

}  // namespace

asio::awaitable<Result<Done>> check_move(PgConnection& connection, planner::Backfill backfill, Preflight& preflight) {
  if (!backfill.move_to) co_return Done();
  auto const refuse = [&](std::string text) {
    preflight.problems.push_back({backfill.move_to_position, std::move(text)});
  };
  if (backfill.triggers == planner::TriggerMode::kSkip) {
    preflight.is_hopeless = true;
    refuse("'triggers: skip' would skip what the target's own triggers and foreign keys keep; move the rows by 'sql'");
  }
  auto facts = co_await read_table_facts(connection, *backfill.move_to);
  if (!facts) co_return facts.error();
  std::string const name = quote_qualified(backfill.move_to->schema, backfill.move_to->name);
  if (!*facts) {
    refuse("table " + name + " (move_to) does not exist");
    preflight.only_missing_names = true;
    preflight.missing_table = backfill.move_to;
    co_return Done();
  }
  auto target = std::move(**facts);
  bool const is_table = target.kind == 'r' || target.kind == 'p';
  if (!is_table || have_rows_in_common(preflight.table, target)) {
    preflight.is_hopeless = true;
    refuse(is_table ? name + " (move_to) is the table itself, or has partitions in common with it"
                    : name + " (move_to) is no table");
    co_return Done();
  }
  if (target.leaves.empty()) {
    refuse(name + " (move_to) has no partition that could take the rows");
    co_return Done();
  }
  match_columns(backfill, target, preflight);
  auto asked = co_await ask_about_target(connection, backfill, std::move(target), preflight);
  co_return asked;
}

}  // namespace pgbackfill::engine
