// Runs the hooks of one boundary in their order: commands, HTTP checks, backups.
//
// One that fails ends it, resumable. What ran is recorded and not run again: one that succeeded while
// the server was away is written down when it is back. Processes that come to the same boundary wait for the one that
// is at it (boundary_turn.h). A hook that was cut short runs again: it has to bear that. Belongs to the engine's
// thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "engine/base/command_error.h"
#include "engine/base/events.h"
#include "engine/pg/pg_connection.h"
#include "engine/state/state_store.h"
#include "planner/model/migration.h"

namespace pgbackfill::engine {

struct HookTerms {
  planner::Migration const& migration;
  ConnectTarget target;
  asio::thread_pool& blocking;
  Owner owner;
  // Throws CommandError.
  std::function<asio::awaitable<std::shared_ptr<PgConnection>>()> connect;
  std::chrono::milliseconds patience;  // with a server that is away
  std::function<bool()> is_stopping;
  std::function<bool()> is_urgent;
};

// Nothing, or why it ended.
struct HooksOutcome {
  std::string trouble;
  bool is_server_away = false;  // the same may succeed a little later

  bool is_content() const { return trouble.empty(); }
};

asio::awaitable<HooksOutcome> run_hooks(planner::Boundary boundary, HookTerms const& terms, EventSink& sink);

}  // namespace pgbackfill::engine
