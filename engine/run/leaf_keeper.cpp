#include "engine/run/leaf_keeper.h"

#include <fmt/format.h>

#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr Deadlines kDeadlines{10'000ms, 15'000ms};

asio::awaitable<Result<std::vector<Rows>>> in_one_transaction(PgConnection& connection,
                                                              std::vector<std::string> statements) {
  state::LocalSettings settings;
  settings.statement_timeout = kDeadlines.statement;
  settings.lock_timeout = 5'000ms;
  settings.server_version = connection.server_version();
  statements.insert(statements.begin(), state::local_settings(settings));
  auto results = co_await connection.pipeline(std::move(statements), kDeadlines);
  if (results) results->erase(results->begin());
  co_return results;
}

struct ChangedLeaf {
  int number = 0;
  std::string before;
  planner::TableName now;  // empty: there is no such relation any more
  bool is_part = false;
};

ChangedLeaf changed_leaf_of(state::ChangedLeafRow const& row) {
  ChangedLeaf leaf;
  leaf.number = row.number;
  leaf.before = planner::quote_qualified(row.schema, row.name);
  leaf.now = {row.schema_now.value_or(""), row.name_now.value_or("")};
  leaf.is_part = row.is_part.value_or(false);
  return leaf;
}

std::string told_of(ChangedLeaf const& leaf, std::string const& table) {
  std::string const now = planner::quote_qualified(leaf.now.schema, leaf.now.name);
  if (leaf.is_part) {
    return fmt::format("partition {} of {} is called {} now; the job goes on with it", leaf.before, table, now);
  }
  if (leaf.now.name.empty()) {
    return fmt::format("partition {} of {} was dropped; the job goes on without it", leaf.before, table);
  }
  std::string const renamed = now == leaf.before ? "" : fmt::format(" and is called {} now", now);
  return fmt::format(
      "partition {} of {} was detached{}; the job goes on without it, and rows of it that were not done stay as they "
      "are, unless it is attached again before the job ends",
      leaf.before, table, renamed);
}

}  // namespace

asio::awaitable<Result<LeavesSeen>> settle_leaves(PgConnection& connection, std::int64_t job, planner::TableFacts table,
                                                  Owner owner) {
  std::string const name = planner::quote_qualified(table.schema, table.name);
  std::vector<std::string> look = {state::is_still(name, table.oid), state::changed_leaves(job, table.oid)};
  auto const seen = co_await in_one_transaction(connection, std::move(look));
  if (!seen) co_return seen.error();
  if (!state::value_as<bool>(seen->at(0))) {
    Failure failure;
    failure.sqlstate = planner::kMovedState;
    failure.message = fmt::format(
        "table {} is not the one any more that the job works on: it was dropped, renamed or replaced meanwhile", name);
    co_return failure;
  }
  LeavesSeen leaves;
  std::vector<std::string> statements;
  for (auto const& row : state::rows_as<state::ChangedLeafRow>(seen->at(1))) {
    auto const leaf = changed_leaf_of(row);
    leaves.told.push_back(told_of(leaf, name));
    statements.push_back(leaf.is_part ? state::rename_leaf(job, leaf.number, leaf.now)
                                      : state::settle_leaf(job, leaf.number, leaves.told.back(), owner));
  }
  leaves.has_changed = !statements.empty();
  if (statements.empty()) co_return leaves;
  auto const settled = co_await in_one_transaction(connection, std::move(statements));
  if (!settled) co_return settled.error();
  co_return leaves;
}

}  // namespace pgbackfill::engine
