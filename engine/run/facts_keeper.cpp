#include "engine/run/facts_keeper.h"

#include <utility>

#include "engine/pg/catalog.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using planner::Difference;
using planner::RecordedFact;
using planner::SchemaFact;

std::vector<RecordedFact> recorded_of(Rows const& rows) {
  std::vector<RecordedFact> facts;
  for (auto& row : state::rows_as<state::StoredFact>(rows)) {
    SchemaFact fact{std::move(row.relation), std::move(row.kind), std::move(row.name), std::move(row.value)};
    facts.push_back({std::move(fact), row.is_own, std::move(row.at)});
  }
  return facts;
}

// As if they had been recorded, to be compared with what is there later.
std::vector<RecordedFact> as_recorded(std::vector<SchemaFact> const& facts) {
  std::vector<RecordedFact> recorded;
  for (auto const& fact : facts) recorded.push_back({fact, false, ""});
  return recorded;
}

SchemaFact fact_of(Difference const& difference) {
  return {difference.relation, difference.kind, difference.name, difference.now.value_or("")};
}

std::vector<std::string> recordings(std::string const& migration, std::vector<Difference> const& differences,
                                    bool is_own) {
  std::vector<std::string> statements;
  for (auto const& one : differences) {
    statements.push_back(one.now ? state::record_fact(migration, fact_of(one), is_own)
                                 : state::forget_fact(migration, fact_of(one)));
  }
  return statements;
}

// In one transaction.
asio::awaitable<Result<Done>> write(PgConnection& connection, std::vector<std::string> statements) {
  if (statements.empty()) co_return Done();
  std::string const script = "BEGIN; " + planner::join(statements, "; ") + "; COMMIT";
  auto written = co_await connection.script(script, Deadlines());
  if (!written && connection.is_usable()) co_await connection.script("ROLLBACK", Deadlines());
  co_return written;
}

asio::awaitable<Result<std::vector<planner::Key>>> read_keys(PgConnection& connection, std::string migration) {
  std::vector<planner::Key> keys;
  auto const rows = co_await query_read_only(connection, state::job_keys(migration));
  if (!rows) co_return rows.error();
  for (auto const& row : state::rows_as<state::StoredKey>(*rows)) {
    planner::Key key;
    key.index = row.index.value_or("");
    for (auto const& name : row.columns) {
      key.columns.emplace_back();
      key.columns.back().name = name;
    }
    keys.push_back(std::move(key));
  }
  co_return keys;
}

asio::awaitable<Result<bool>> are_steps_pending(PgConnection& connection, std::string migration) {
  auto const rows = co_await query_read_only(connection, state::are_steps_pending(migration));
  if (!rows) co_return rows.error();
  co_return !rows->rows.empty() && state::value_as<bool>(*rows);
}

}  // namespace

asio::awaitable<Result<Drift>> read_drift(PgConnection& connection, planner::Migration migration) {
  Drift drift;
  auto const stored = co_await query_read_only(connection, state::list_facts(migration.name));
  // An older layout keeps none.
  if (!stored && stored.error().sqlstate == "42P01") co_return drift;
  if (!stored) co_return stored.error();
  if (stored->rows.empty()) co_return drift;
  auto tables = planner::tables_of(migration);
  auto const now = co_await read_schema_facts(connection, std::move(tables));
  if (!now) co_return now.error();
  drift.all = planner::differences(recorded_of(*stored), *now);
  std::erase_if(drift.all, [&](Difference const& one) {
    return one.kind == planner::kIdentity && !planner::is_of_copy(one, migration);
  });
  if (drift.all.empty()) co_return drift;
  auto const pending = co_await are_steps_pending(connection, migration.name);
  if (!pending) co_return pending.error();
  drift.is_unsettled = *pending;
  auto const keys = co_await read_keys(connection, migration.name);
  if (!keys) co_return keys.error();
  for (auto const& one : drift.all) {
    if (one.is_implied) continue;
    auto const text = planner::difference_text(one);
    auto const reason = planner::drift_reason(one, migration, *keys);
    if (one.kind == planner::kColumnNumber && reason.empty()) continue;
    if (reason.empty() || drift.is_unsettled) {
      drift.harmless.push_back(text);
    } else {
      drift.critical.push_back(text + " (" + reason + ")");
    }
  }
  co_return drift;
}

asio::awaitable<Result<CopyLook>> look_at_copy(PgConnection& connection, planner::Migration migration) {
  CopyLook look;
  auto const stored = co_await query_read_only(connection, state::list_facts(migration.name));
  if (!stored && stored.error().sqlstate == "42P01") co_return look;
  if (!stored) co_return stored.error();
  auto const recorded = recorded_of(*stored);
  std::vector<planner::TableName> copy = {migration.backfill->copy_to};
  auto const now = co_await read_schema_facts(connection, std::move(copy));
  if (!now) co_return now.error();
  for (auto const& fact : *now) {
    for (auto const& one : recorded) {
      if (one.fact.relation != fact.relation || one.fact.kind != fact.kind) continue;
      bool const is_same = one.fact.definition == fact.definition;
      if (fact.kind == planner::kIdentity) look.is_other = !is_same;
      if (fact.kind == planner::kStorage) look.is_written_anew = !is_same;
    }
  }
  co_return look;
}

asio::awaitable<Result<Done>> accept_drift(PgConnection& connection, planner::Migration migration, Drift drift,
                                           Owner owner) {
  auto statements = recordings(migration.name, drift.all, false);
  std::vector<std::string> texts;
  for (auto const& one : drift.all) {
    if (!one.is_implied) texts.push_back(planner::difference_text(one));
  }
  statements.push_back(
      state::record_event(std::nullopt, migration.name, "drift accepted", planner::join(texts, "; "), owner));
  co_return co_await write(connection, std::move(statements));
}

asio::awaitable<Result<FactsBefore>> begin_steps(PgConnection& connection, planner::Migration migration,
                                                 bool has_open_steps) {
  auto const stored = co_await query_read_only(connection, state::list_facts(migration.name));
  if (!stored) co_return stored.error();
  auto const pending = co_await are_steps_pending(connection, migration.name);
  if (!pending) co_return pending.error();
  FactsBefore before;
  if (!*pending && !has_open_steps && !stored->rows.empty()) co_return before;
  if (*pending && !stored->rows.empty()) {
    before.emplace();
    for (auto const& one : recorded_of(*stored)) before->push_back(one.fact);
    co_return before;
  }
  auto tables = planner::tables_of(migration);
  auto now = co_await read_schema_facts(connection, std::move(tables));
  if (!now) co_return now.error();
  std::vector<std::string> statements;
  if (stored->rows.empty()) {
    for (auto const& fact : *now) statements.push_back(state::record_fact_once(migration.name, fact));
  }
  if (has_open_steps) statements.push_back(state::mark_steps_pending(migration.name, true));
  auto const written = co_await write(connection, std::move(statements));
  if (!written) co_return written.error();
  if (has_open_steps) before = std::move(*now);
  co_return before;
}

asio::awaitable<Result<Done>> settle_facts(PgConnection& connection, planner::Migration migration,
                                           std::vector<SchemaFact> before) {
  auto tables = planner::tables_of(migration);
  auto const now = co_await read_schema_facts(connection, std::move(tables));
  if (!now) co_return now.error();
  auto statements = recordings(migration.name, planner::differences(as_recorded(before), *now), true);
  // Tables that the steps made, and such as they took away.
  auto const is_of = [](std::vector<SchemaFact> const& facts, std::string const& relation) {
    for (auto const& fact : facts) {
      if (fact.relation == relation) return true;
    }
    return false;
  };
  for (auto const& fact : *now) {
    if (!is_of(before, fact.relation)) statements.push_back(state::record_fact(migration.name, fact, true));
  }
  for (auto const& fact : before) {
    if (!is_of(*now, fact.relation)) statements.push_back(state::forget_fact(migration.name, fact));
  }
  statements.push_back(state::mark_steps_pending(migration.name, false));
  co_return co_await write(connection, std::move(statements));
}

asio::awaitable<Result<Done>> begin_undo(PgConnection& connection, std::string migration) {
  std::vector<std::string> statements = {state::mark_steps_pending(migration, true)};
  co_return co_await write(connection, std::move(statements));
}

asio::awaitable<Result<Done>> forget_facts(PgConnection& connection, std::string migration) {
  std::vector<std::string> statements = {state::forget_facts(migration), state::mark_steps_pending(migration, false)};
  co_return co_await write(connection, std::move(statements));
}

}  // namespace pgbackfill::engine
