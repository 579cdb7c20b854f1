#include "engine/steps/standby_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/base/text.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

// Oids are those of the primary. What the role may not see of another one's session is taken for old.
std::string readers_sql(std::vector<planner::TableLock> const& locks, milliseconds age) {
  std::vector<std::string> oids;
  for (auto const& lock : locks) {
    if (lock.mode != planner::LockMode::kAccessExclusive) continue;
    std::string const oid = "pg_catalog.to_regclass(" + planner::quote_literal(lock.relation) + ")";
    oids.push_back("SELECT " + oid + "::pg_catalog.oid");
    oids.push_back("SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(" + oid + ") t");
  }
  return "SELECT DISTINCT l.pid, coalesce(s.usename::text, ''), coalesce(s.application_name, ''), coalesce((extract("
         "epoch FROM clock_timestamp() - s.xact_start) * 1000)::bigint, 0) FROM pg_catalog.pg_locks l LEFT JOIN "
         "pg_catalog.pg_stat_activity s ON s.pid = l.pid WHERE l.locktype = 'relation' AND l.granted AND l.mode <> "
         "'AccessExclusiveLock' AND l.pid <> pg_catalog.pg_backend_pid() AND l.database = (SELECT d.oid FROM "
         "pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) AND l.relation IN (" +
         planner::join(oids, " UNION ") +
         ") AND (s.xact_start IS NULL OR clock_timestamp() - s.xact_start > make_interval(secs => " +
         std::to_string(age.count()) + " / 1000.0)) ORDER BY 4 DESC";
}

struct Reader {
  std::optional<int> pid;
  std::string role;
  std::string application;
  milliseconds age{0};
};

std::string reader_text(Reader const& reader) {
  std::string text = "pid " + (reader.pid ? std::to_string(*reader.pid) : "?");
  if (!reader.role.empty()) text += " " + reader.role;
  if (!reader.application.empty()) text += "/" + reader.application;
  return reader.age.count() > 0 ? text + " for " + human_duration(reader.age) : text;
}

}  // namespace

StandbyWatch::StandbyWatch(std::vector<std::string> conninfos, asio::thread_pool& blocking) : blocking_(blocking) {
  for (auto& conninfo : conninfos) standbys_.push_back({std::move(conninfo), nullptr, false, {}});
}

asio::awaitable<bool> StandbyWatch::connect(Standby& standby) {
  if (standby.connection && standby.connection->is_usable()) co_return true;
  ConnectTarget target;
  target.conninfo = standby.conninfo;
  target.accepts_standby = true;
  auto opened = co_await PgConnection::open(std::move(target), blocking_);
  if (!opened) {
    standby.trouble = describe_target(standby.conninfo) + ": " + opened.error().message;
    co_return false;
  }
  standby.connection = *opened;
  auto const recovery = co_await standby.connection->query("SELECT pg_catalog.pg_is_in_recovery()", Deadlines());
  standby.is_primary = recovery && !state::value_as<bool>(*recovery);
  co_return true;
}

asio::awaitable<std::vector<std::string>> StandbyWatch::readers(std::vector<planner::TableLock> locks,
                                                                milliseconds age) {
  std::vector<std::string> texts;
  seen_ = 0;
  troubles_.clear();
  for (auto& standby : standbys_) {
    if (standby.is_primary) continue;
    bool is_there = standby.trouble.empty();
    if (is_there) is_there = co_await connect(standby);
    if (!is_there) troubles_.push_back(standby.trouble);
    if (!is_there || standby.is_primary) continue;
    auto const rows = co_await standby.connection->query(readers_sql(locks, age), Deadlines());
    if (!rows) {
      troubles_.push_back(describe_target(standby.conninfo) + ": " + rows.error().message);
      continue;
    }
    ++seen_;
    for (auto const& reader : state::rows_as<Reader>(*rows)) {
      texts.push_back(reader_text(reader) + " on standby " + describe_target(standby.conninfo));
    }
  }
  co_return texts;
}

bool is_replayed(std::vector<planner::TableLock> const& locks) {
  return std::any_of(locks.begin(), locks.end(),
                     [](planner::TableLock const& lock) { return lock.mode == planner::LockMode::kAccessExclusive; });
}

}  // namespace pgbackfill::engine
