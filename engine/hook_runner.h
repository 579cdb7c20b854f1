// Runs the hooks of one boundary in their order: commands, HTTP checks, backups.
//
// One that is not content ends it, resumable. What ran is written down and not run again; processes that come to the
// same boundary wait for the one that is at it. A hook that was cut short runs again: it has to bear that. The lock
// for this is a transaction that is idle meanwhile and holds neither a snapshot nor rows. Belongs to the engine's
// thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "engine/events.h"
#include "engine/pg_connection.h"
#include "engine/state_store.h"
#include "planner/migration.h"

namespace pgbackfill::engine {

struct HookTerms {
  planner::Migration const& migration;
  ConnectTarget target;
  asio::thread_pool& blocking;
  Owner owner;
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
