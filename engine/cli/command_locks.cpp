// locks: who holds or waits for locks on a migration's tables, and whose its ranges are; gives either free on request.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <chrono>

#include "engine/app/control.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/pg/catalog.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/step_runner.h"
#include "engine/view/console.h"
#include "planner/checks/drift.h"
#include "planner/model/sql_text.h"
#include "planner/steps/step_order.h"
#include "planner/work/lock_watch.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

// What this program calls its sessions, unless the connection string says otherwise.
constexpr std::string_view kOwnApplication = "pgbackfill";

// planner::table_sessions_sql()
struct TableSession {
  int pid = 0;
  std::string application;
  std::string user;
  std::string backend;
  std::string state;
  std::string modes;
  bool is_granted = false;
  std::optional<std::string> relation;
  milliseconds since{0};  // that it waits, or that its transaction is open
  std::string query;
  std::optional<std::vector<std::string>> waits_for;
  std::optional<bool> wraparound;  // it is a vacuum against it
  std::string began;

  // Of a prepared transaction `application` is its id.
  bool prevents_wraparound() const { return wraparound.value_or(false); }
  bool is_own() const { return pid != 0 && application.starts_with(kOwnApplication); }
};

struct LocksPage {
  std::string name;
  std::vector<TableSession> sessions;
  std::vector<LeaseOwner> leases;
};

// Of the whole file: its steps may be of other tables than its backfill.
asio::awaitable<std::vector<std::string>> relations_of(PgConnection& connection, planner::Migration migration) {
  std::vector<std::string> relations;
  for (auto const& table : planner::tables_of(migration)) {
    relations.push_back(planner::quote_qualified(table.schema, table.name));
  }
  auto steps = planner::expand_steps(migration);
  for (auto& step : planner::contract_steps(migration)) steps.push_back(std::move(step));
  for (auto const& placed : steps) {
    if (!planner::is_typed(placed.step)) continue;
    auto const facts = value_or_throw(co_await read_step_facts(connection, placed.step), "reading the table of a step");
    relations.push_back(planner::quote_qualified(facts.table.schema, facts.table.name));
  }
  co_return relations;
}

asio::awaitable<LocksPage> read_locks(CommandContext& context, PgConnection& connection, std::string file_or_name) {
  LocksPage page;
  auto loaded = co_await find_migration(context, connection, std::move(file_or_name), SourceUse::kShown);
  page.name = loaded.migration.name;
  auto const relations = co_await relations_of(connection, std::move(loaded.migration));
  auto const sessions = value_or_throw(co_await query_read_only(connection, planner::table_sessions_sql(relations)),
                                       "looking at the locks");
  page.sessions = state::rows_as<TableSession>(sessions);
  page.leases = co_await read_lease_owners(connection, page.name, context.owner());
  co_return page;
}

// --- Words -----------------------------------------------------------------------------------------------------------

std::string session_name(TableSession const& session) {
  if (session.pid == 0) return "prepared transaction '" + session.application + "'";
  std::string const name = session.application.empty() ? session.backend : session.application;
  return session.is_own() ? name + " (own)" : name;
}

std::string text_of(LocksPage const& page) {
  std::string text = neutralised(page.name) + "\n";
  if (page.sessions.empty()) text += "  nobody holds or waits for a lock on its tables\n";
  std::vector<std::vector<std::string>> cells;
  for (auto const& one : page.sessions) {
    cells.push_back({one.pid == 0 ? "" : std::to_string(one.pid), neutralised(session_name(one)), neutralised(one.user),
                     neutralised(one.state), one.is_granted ? "holds" : "waits", one.modes,
                     neutralised(one.relation.value_or("")), human_duration(one.since),
                     planner::join(one.waits_for.value_or(std::vector<std::string>()), " "), neutralised(one.query)});
  }
  std::vector<TableColumn> const columns = {
      {"PID", true, false, 0},    {"WHO", false, true, 0},  {"USER", false, true, 3},  {"STATE", false, true, 2},
      {"LOCK", false, false, 0},  {"MODE", false, true, 0}, {"TABLE", false, true, 1}, {"FOR", true, false, 1},
      {"BEHIND", false, true, 0}, {"QUERY", false, true, 4}};
  if (!cells.empty()) text += planner::join(table_lines(columns, cells, standard_output().view), "\n") + "\n";
  for (auto const& lease : page.leases) text += "  " + lease_text(lease) + "\n";
  return text;
}

boost::json::object json_of(LocksPage const& page) {
  boost::json::array sessions;
  for (auto const& one : page.sessions) {
    boost::json::object object;
    object["pid"] = one.pid == 0 ? boost::json::value(nullptr) : boost::json::value(one.pid);
    object["application"] = valid_utf8(one.pid == 0 ? "" : one.application);
    object["prepared"] = one.pid == 0 ? boost::json::value(valid_utf8(one.application)) : boost::json::value(nullptr);
    object["user"] = valid_utf8(one.user);
    object["backend"] = one.backend;
    object["state"] = one.state;
    object["modes"] = one.modes;
    object["granted"] = one.is_granted;
    object["relation"] = valid_utf8(one.relation.value_or(""));
    object["since_ms"] = one.since.count();
    object["query"] = valid_utf8(one.query);
    boost::json::array behind;
    for (auto const& pid : one.waits_for.value_or(std::vector<std::string>())) behind.emplace_back(std::stoll(pid));
    object["behind"] = std::move(behind);
    object["own"] = one.is_own();
    object["prevents_wraparound"] = one.prevents_wraparound();
    sessions.push_back(std::move(object));
  }
  boost::json::array leases;
  for (auto const& lease : page.leases) {
    boost::json::object object;
    object["process"] = valid_utf8(lease.process);
    object["host"] = valid_utf8(lease.host);
    object["pid"] = lease.pid;
    object["ranges"] = lease.ranges;
    object["left_ms"] = lease.left.count();
    object["alive"] = lease.is_alive;
    leases.push_back(std::move(object));
  }
  boost::json::object document;
  document["migration"] = valid_utf8(page.name);
  document["locks"] = std::move(sessions);
  document["leases"] = std::move(leases);
  return document;
}

// --- Release ---------------------------------------------------------------------------------------------------------

void require_releasable(TableSession const& session, std::string const& name, bool terminate) {
  auto const refuse = [&](std::string const& why) {
    throw CommandError{kExitGateClosed, fmt::format("pid {} is left alone: {}", session.pid, why)};
  };
  if (session.prevents_wraparound()) refuse("it is a vacuum that prevents wraparound, and would begin again at once");
  if (session.is_own()) {
    refuse(fmt::format("it is pgbackfill itself; `pgbackfill pause {0}` or `cancel {0}` stops it in order", name));
  }
  bool const is_known_kind = session.backend == "client backend" || session.backend == "autovacuum worker";
  // A role that may not see it is not told what it is, and may not end it either.
  if (!is_known_kind && !session.backend.empty()) refuse("it is a " + session.backend + ", which the server needs");
  if (!terminate && session.state.starts_with("idle")) {
    refuse("it is " + session.state + " and runs nothing that could be cancelled; --terminate ends the session");
  }
}

asio::awaitable<int> release_session(CommandContext& context, PgConnection& connection, LocksOptions options) {
  auto const page = co_await read_locks(context, connection, options.file_or_name);
  int const pid = *options.release;
  auto const found = std::find_if(page.sessions.begin(), page.sessions.end(),
                                  [&](TableSession const& session) { return session.pid == pid; });
  if (found == page.sessions.end()) {
    throw CommandError{kExitGateClosed,
                       fmt::format("pid {} neither holds nor waits for a lock on the tables of {}", pid, page.name)};
  }
  require_releasable(*found, page.name, options.terminate);
  std::string statement = planner::release_session_sql(pid, found->began, options.terminate);
  auto const told = value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "telling the session");
  if (told.rows.empty()) throw CommandError{kExitGateClosed, fmt::format("pid {} is gone already", pid)};
  std::string const what =
      fmt::format("pid {} ({}, {}) {}: {} on {}", pid, session_name(*found), found->user,
                  options.terminate ? "was ended" : "was told to cancel", found->modes, found->relation.value_or("?"));
  std::string event = state::record_event(std::nullopt, page.name, "released", what, context.owner());
  value_or_throw(co_await connection.query(std::move(event), Deadlines()), "recording it");
  context.print(neutralised(what) + "\n");
  co_return kExitDone;
}

// By the file or the name that the command was given.
asio::awaitable<int> take_leases(CommandContext& context, PgConnection& connection, LocksOptions options) {
  auto const loaded = co_await find_migration(context, connection, options.file_or_name, SourceUse::kShown);
  auto const outcome =
      co_await release_leases(connection, loaded.migration.name, options.release_leases, options.yes, context.owner());
  context.print(outcome.text + "\n");
  co_return kExitDone;
}

asio::awaitable<int> show(CommandContext& context, PgConnection& connection, LocksOptions options) {
  if (!options.file_or_name.empty()) {
    auto const page = co_await read_locks(context, connection, options.file_or_name);
    context.is_json() ? context.print(json_of(page)) : context.print(text_of(page));
    co_return kExitDone;
  }
  auto const names = value_or_throw(co_await connection.query(state::list_names(), Deadlines()), "listing the names");
  boost::json::array pages;
  std::string text;
  for (auto const& name : state::column_as<std::string>(names)) {
    std::optional<LocksPage> page;
    try {
      page = co_await read_locks(context, connection, name);
    } catch (CommandError const& error) {
      // Of a source that another version wrote nothing is known.
      if (error.exit_code != kExitUsage) throw;
    }
    if (!page) continue;
    pages.push_back(json_of(*page));
    text += text_of(*page);
  }
  if (text.empty()) text = "no migration ran in this database yet\n";
  if (context.is_json()) {
    context.print(boost::json::object{{"migrations", std::move(pages)}});
  } else {
    context.print(text);
  }
  co_return kExitDone;
}

asio::awaitable<int> locks(CommandContext& context, LocksOptions options) {
  auto const connection = co_await context.connect_to_state(StateUse::kReads);
  if (options.release) co_return co_await release_session(context, *connection, std::move(options));
  if (!options.release_leases.empty()) co_return co_await take_leases(context, *connection, std::move(options));
  co_return co_await show(context, *connection, std::move(options));
}

}  // namespace

int locks_command(CommandContext& context, LocksOptions const& options) {
  return context.run(locks(context, options));
}

}  // namespace pgbackfill::engine
