#include "bench/observer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "tests/support/pg_client.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;
using tests::PgClient;
using tests::PgClientError;

constexpr auto kInterval = 100ms;
constexpr int kMomentsPerRowCount = 5;
constexpr double kHeldForSeconds = 2;

// A server that is stopped answers nothing, or breaks off; it is asked anew the next time.
std::optional<double> ask(std::unique_ptr<PgClient>& client, std::string const& dsn, std::string const& sql) {
  try {
    if (!client) client = std::make_unique<PgClient>(dsn);
    return std::stod(client->value(sql));
  } catch (PgClientError const&) {
    client.reset();
    return std::nullopt;
  }
}

// The moment at a time, or the one before it.
Moment const& moment_at(std::vector<Moment> const& moments, double at) {
  auto const after =
      std::upper_bound(moments.begin(), moments.end(), at, [](double time, Moment const& m) { return time < m.at; });
  return after == moments.begin() ? *after : *(after - 1);
}

}  // namespace

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

Observer::Observer(engine::LocalCluster const& cluster, std::function<double()> rows) : rows_(std::move(rows)) {
  watcher_ = std::jthread([this, dsn = cluster.dsn(), replica_dsn = cluster.replica_dsn(0) + " connect_timeout=2"](
                              std::stop_token const& stop) { watch(stop, dsn, replica_dsn); });
}

void Observer::stop() {
  watcher_.request_stop();
  if (watcher_.joinable()) watcher_.join();
}

void Observer::watch(std::stop_token const& stop, std::string const& dsn, std::string const& replica_dsn) {
  std::unique_ptr<PgClient> primary;
  std::unique_ptr<PgClient> replica;
  auto next = std::chrono::steady_clock::now();
  while (!stop.stop_requested()) {
    auto const written = ask(primary, dsn, "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint");
    Moment moment;
    moment.at = seconds_now();
    auto const replayed = ask(replica, replica_dsn, "SELECT (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint");
    if (written) {
      moment.written = *written;
      marks_.push_back({moment.at, *written});
      if (replayed) {
        moment.replayed = *replayed;
        moment.lag_seconds = lag_at(moment.at, *replayed);
      }
      bool const is_row_count_due = moments_.size() % kMomentsPerRowCount == 0;
      moment.rows = is_row_count_due ? rows_() : moments_.back().rows;
      moments_.push_back(moment);
    }
    next += kInterval;
    std::this_thread::sleep_until(next);
  }
}

double Observer::lag_at(double now, double replayed) {
  while (marks_.size() > 1 && marks_[1].written <= replayed) marks_.pop_front();
  if (marks_.size() < 2) return 0;
  // The oldest byte that is missing was written between the two; evenly, as far as one can tell.
  double const share = std::max(0.0, (replayed - marks_[0].written) / (marks_[1].written - marks_[0].written));
  return now - (marks_[0].at + share * (marks_[1].at - marks_[0].at));
}

double worst_lag(std::vector<Moment> const& moments, double from, double to) {
  double worst = 0;
  for (auto const& moment : moments) {
    if (moment.at >= from && moment.at <= to && moment.lag_seconds > worst) worst = moment.lag_seconds;
  }
  return worst;
}

double share_of_time_above(std::vector<Moment> const& moments, double from, double to, double lag_seconds) {
  double above = 0;
  double all = 0;
  for (auto const& moment : moments) {
    if (moment.at < from || moment.at > to || std::isnan(moment.lag_seconds)) continue;
    all += 1;
    if (moment.lag_seconds > lag_seconds) above += 1;
  }
  return all == 0 ? 0 : above / all;
}

double bytes_written(std::vector<Moment> const& moments, double from, double to) {
  return moment_at(moments, to).written - moment_at(moments, from).written;
}

double rows_done(std::vector<Moment> const& moments, double from, double to) {
  return moment_at(moments, to).rows - moment_at(moments, from).rows;
}

double wal_rate(std::vector<Moment> const& moments, double from, double to) {
  double const seconds = moment_at(moments, to).at - moment_at(moments, from).at;
  return seconds <= 0 ? 0 : bytes_written(moments, from, to) / seconds;
}

double first_time_at_rate(std::vector<Moment> const& moments, double from, double bytes_per_second) {
  for (auto const& moment : moments) {
    if (moment.at < from) continue;
    if (moment.at + kHeldForSeconds > moments.back().at) break;
    if (wal_rate(moments, moment.at, moment.at + kHeldForSeconds) >= bytes_per_second) return moment.at;
  }
  return kUnknown;
}

std::function<double()> rows_of_job(std::string const& dsn) {
  auto client = std::make_shared<std::unique_ptr<PgClient>>();
  auto const known = std::make_shared<double>(0);
  return [client, known, dsn] {
    // Until the program has made its tables this fails, and nothing is done yet.
    auto const rows = ask(*client, dsn, "SELECT coalesce(sum(rows_done), 0) FROM pgbackfill.ranges");
    if (rows) *known = *rows;
    return *known;
  };
}

}  // namespace pgbackfill::bench
