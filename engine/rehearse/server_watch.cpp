#include "engine/rehearse/server_watch.h"

#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <thread>

#include "engine/base/text.h"
#include "engine/base/thread_signals.h"
#include "engine/pg/catalog.h"
#include "engine/pg/pg_connection.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/state/typed_rows.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr auto kBetweenLooks = 250ms;
constexpr int kShownColumns = 80;

struct SightRow {
  std::int64_t wal_bytes = 0;
  std::int64_t database_bytes = 0;
  std::int64_t lag_ms = 0;
  std::int64_t lock_wait_ms = 0;
  std::string waiting;
};

constexpr char kLook[] =
    "WITH waiting AS (SELECT (extract(epoch FROM clock_timestamp() - coalesce(l.waitstart, a.state_change)) * "
    "1000)::int8 AS ms, coalesce(nullif(a.application_name, ''), a.usename, '?') || ': ' || left(a.query, 200) AS who "
    "FROM pg_stat_activity a JOIN (SELECT pid, min((to_jsonb(k) ->> 'waitstart')::timestamptz) AS waitstart FROM "
    "pg_locks k WHERE NOT granted GROUP BY pid) l ON l.pid = a.pid WHERE a.datname = current_database() ORDER BY 1 "
    "DESC "
    "LIMIT 1) SELECT "
    "pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::int8, pg_database_size(current_database()), coalesce((SELECT "
    "max(extract(epoch FROM replay_lag) * 1000)::int8 FROM pg_stat_replication), 0), coalesce((SELECT ms FROM "
    "waiting), "
    "0), coalesce((SELECT who FROM waiting), '')";

}  // namespace

struct ServerWatch::Parts {
  std::string conninfo;
  std::atomic<bool> is_stopping = false;
  std::vector<ServerSight> sights;
  std::thread thread;

  asio::awaitable<void> look(asio::thread_pool& blocking) {
    ConnectTarget target;
    target.conninfo = conninfo;
    target.application_name = "pgbackfill watch";
    auto opened = co_await PgConnection::open(std::move(target), blocking);
    if (!opened) co_return;
    auto const connection = std::move(*opened);
    std::function<bool()> const stops = [this] { return is_stopping.load(); };
    bool goes_on = true;
    while (goes_on) {
      goes_on = !is_stopping;  // one look more after it was asked to end
      auto const at = std::chrono::steady_clock::now();
      auto const rows = co_await query_read_only(*connection, kLook);
      if (rows) {
        auto const row = state::row_as<SightRow>(rows->rows.front());
        sights.push_back(
            {at, row.wal_bytes, row.database_bytes, row.lag_ms, row.lock_wait_ms, fitted(row.waiting, kShownColumns)});
      }
      if (goes_on) co_await sleep_unless_stopped(kBetweenLooks, stops);
    }
  }

  void run() {
    block_all_signals();
    asio::io_context io(1);
    asio::thread_pool blocking(1);
    asio::co_spawn(io, look(blocking), asio::detached);
    try {
      io.run();
    } catch (std::exception const&) {
      // Without its sights the report has gaps, and says so.
    }
  }
};

ServerWatch::ServerWatch(std::string conninfo) : parts_(std::make_unique<Parts>()) {
  parts_->conninfo = std::move(conninfo);
  parts_->thread = std::thread([parts = parts_.get()] { parts->run(); });
}

ServerWatch::~ServerWatch() {
  stop();
}

std::vector<ServerSight> const& ServerWatch::stop() {
  parts_->is_stopping = true;
  if (parts_->thread.joinable()) parts_->thread.join();
  return parts_->sights;
}

}  // namespace pgbackfill::engine
