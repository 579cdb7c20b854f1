#include "engine/verify/replica_session.h"

#include <fmt/format.h>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>

#include "engine/base/command_error.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr auto kLook = 50ms;
constexpr auto kPatience = 300s;
constexpr auto kTellInterval = 5s;

constexpr char kWho[] =
    "SELECT pg_catalog.pg_is_in_recovery(), (SELECT c.system_identifier FROM pg_catalog.pg_control_system() c), "
    "pg_catalog.current_database()";

// The message is a record behind the position: without one, a primary on which nothing happens could stand at a
// position that no record ends at.
asio::awaitable<std::string> position_of(PgConnection& primary) {
  auto const position =
      value_or_throw(co_await primary.query("SELECT pg_catalog.pg_current_wal_insert_lsn()", Deadlines()),
                     "asking the primary where its WAL is");
  // Who may not, has to wait until somebody else writes.
  co_await primary.query("SELECT pg_catalog.pg_logical_emit_message(true, 'pgbackfill', '')", Deadlines());
  co_return state::value_as<std::string>(position);
}

struct Replay {
  std::optional<bool> is_there;
  std::optional<std::string> position;
};

// kWho
struct ServerIdentity {
  bool is_in_recovery = false;
  std::string system;
  std::string database;
};

asio::awaitable<void> wait_for_replay(CommandContext& context, PgConnection& replica, std::string position,
                                      std::function<bool()> is_stopping, std::function<void(std::string)> tell) {
  auto const give_up_at = std::chrono::steady_clock::now() + kPatience;
  std::string const question = "SELECT pg_catalog.pg_last_wal_replay_lsn() >= " + planner::quote_literal(position) +
                               "::pg_catalog.pg_lsn, pg_catalog.pg_last_wal_replay_lsn()";
  auto tell_at = std::chrono::steady_clock::now();
  asio::steady_timer timer(context.io());
  while (true) {
    auto const answer =
        value_or_throw(co_await replica.query(question, Deadlines()), "asking the replica how far it is");
    auto const replay = state::row_as<Replay>(answer.rows.front());
    if (replay.is_there.value_or(false)) co_return;
    auto const now = std::chrono::steady_clock::now();
    if (now >= tell_at) {
      tell_at = now + kTellInterval;
      tell(fmt::format("waits for the replica: it has replayed WAL up to {}, of {}",
                       replay.position.value_or("nothing"), position));
    }
    bool const is_late = now >= give_up_at;
    if (is_stopping() || is_late) {
      throw CommandError{kExitResumable,
                         fmt::format("{}: the replica has replayed WAL up to {}, and would have to be at {}, where the "
                                     "primary was when verify began",
                                     is_late ? "gave up waiting after five minutes" : "interrupted",
                                     replay.position.value_or("nothing"), position)};
    }
    timer.expires_after(kLook);
    co_await timer.async_wait(asio::use_awaitable);
  }
}

}  // namespace

asio::awaitable<std::shared_ptr<PgConnection>> open_replica_session(CommandContext& context, PgConnection& primary,
                                                                    std::string conninfo,
                                                                    std::function<bool()> is_stopping,
                                                                    std::function<void(std::string)> tell) {
  if (auto const wrong = check_conninfo(conninfo)) throw CommandError{kExitUsage, "--replica: " + *wrong};
  std::string const where = describe_target(conninfo);
  ConnectTarget target;
  target.conninfo = conninfo;
  target.accepts_standby = true;
  target.recorded_settings = context.target().recorded_settings;
  auto opened = co_await PgConnection::open(std::move(target), context.blocking());
  if (!opened) {
    throw CommandError{kExitFailed, fmt::format("cannot connect to the replica {}: {}", where, opened.error().message),
                       true};
  }
  auto const replica = *opened;
  auto const primary_is = value_or_throw(co_await primary.query(kWho, Deadlines()), "asking the primary who it is");
  auto const replica_is = value_or_throw(co_await replica->query(kWho, Deadlines()), "asking the replica who it is");
  auto const here = state::row_as<ServerIdentity>(primary_is.rows.at(0));
  auto const there = state::row_as<ServerIdentity>(replica_is.rows.at(0));
  if (!there.is_in_recovery) {
    throw CommandError{kExitUsage, fmt::format("--replica {} is not a standby: it is not in recovery", where)};
  }
  if (there.system != here.system) {
    throw CommandError{kExitUsage, fmt::format("--replica {} is a standby of another server: its system identifier is "
                                               "{}, and not {}",
                                               where, there.system, here.system)};
  }
  if (there.database != here.database) {
    throw CommandError{kExitUsage, fmt::format("--replica {} is connected to database {}, and not to {}", where,
                                               there.database, here.database)};
  }
  auto position = co_await position_of(primary);
  co_await wait_for_replay(context, *replica, std::move(position), std::move(is_stopping), std::move(tell));
  co_return replica;
}

}  // namespace pgbackfill::engine
