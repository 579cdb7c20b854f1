#include "engine/rehearse/traffic.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <mutex>
#include <random>
#include <thread>

#include "engine/base/thread_signals.h"
#include "engine/pg/pg_connection.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kSessions = 8;
constexpr auto kLongestPause = 100ms;
constexpr Deadlines kPatience{60s, 90s};

struct Measured {
  std::string name;
  std::vector<double> milliseconds;
  std::int64_t failed = 0;
};

double quantile(std::vector<double> const& sorted, double share) {
  if (sorted.empty()) return 0;
  auto const index = static_cast<std::size_t>(share * static_cast<double>(sorted.size()));
  return sorted[std::min(index, sorted.size() - 1)];
}

}  // namespace

struct Traffic::Parts {
  std::string conninfo;
  std::vector<planner::TrafficStatement> statements;
  double per_second = 0;
  std::atomic<bool> is_stopping = false;
  std::mutex mutex;
  std::vector<Measured> measured;
  std::thread thread;
  // Of the traffic's thread alone.
  std::mt19937_64 random{1};
  Clock::time_point due;
  std::int64_t inserted = 0;

  // When the next one is due, as arrivals of many independent applications are.
  Clock::time_point take_due() {
    std::exponential_distribution<double> gap(per_second);
    due += std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(gap(random)));
    return due;
  }

  std::string next_sql() {
    std::vector<double> weights;
    for (auto const& statement : statements) weights.push_back(statement.per_second);
    std::discrete_distribution<std::size_t> choice(weights.begin(), weights.end());
    auto const& statement = statements[choice(random)];
    if (statement.kind == planner::TrafficKind::kInsert) {
      return planner::traffic_sql(statement, statement.rows + inserted++);
    }
    std::uniform_int_distribution<std::int64_t> row(0, statement.rows - 1);
    return planner::traffic_sql(statement, row(random));
  }

  std::size_t part_now() {
    std::lock_guard const lock(mutex);
    return measured.size() - 1;
  }

  void keep(std::size_t part, double milliseconds, bool is_good) {
    std::lock_guard const lock(mutex);
    if (is_good) {
      measured[part].milliseconds.push_back(milliseconds);
    } else {
      ++measured[part].failed;
    }
  }

  asio::awaitable<void> session(asio::thread_pool& blocking) {
    ConnectTarget target;
    target.conninfo = conninfo;
    // Not one of ours by its name: the throttle has to take it for what it stands for.
    target.application_name = "rehearsed application";
    auto opened = co_await PgConnection::open(std::move(target), blocking);
    if (!opened) co_return;
    auto const connection = std::move(*opened);
    asio::steady_timer timer(co_await asio::this_coro::executor);
    while (!is_stopping && connection->is_usable()) {
      auto const at = take_due();
      while (!is_stopping && Clock::now() < at) {
        boost::system::error_code ignored;
        timer.expires_at(std::min(at, Clock::now() + kLongestPause));
        co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
      }
      if (is_stopping) co_return;
      auto const part = part_now();
      auto const done = co_await connection->query(next_sql(), kPatience);
      keep(part, std::chrono::duration<double, std::milli>(Clock::now() - at).count(), done.has_value());
    }
  }

  void run() {
    block_all_signals();
    asio::io_context io(1);
    asio::thread_pool blocking(2);
    due = Clock::now();
    for (int number = 0; number < kSessions; ++number) asio::co_spawn(io, session(blocking), asio::detached);
    try {
      io.run();
    } catch (std::exception const&) {
      // The report says how many statements there were.
    }
  }
};

Traffic::Traffic(std::string conninfo, std::vector<planner::TrafficStatement> statements)
    : parts_(std::make_unique<Parts>()) {
  parts_->conninfo = std::move(conninfo);
  parts_->statements = std::move(statements);
  for (auto const& statement : parts_->statements) parts_->per_second += statement.per_second;
  parts_->per_second = std::min(parts_->per_second, kMostTraffic);
  begin_part("before");
  if (parts_->per_second <= 0) return;
  parts_->thread = std::thread([parts = parts_.get()] { parts->run(); });
}

Traffic::~Traffic() {
  stop();
}

void Traffic::begin_part(std::string const& name) {
  std::lock_guard const lock(parts_->mutex);
  parts_->measured.push_back({name, {}, 0});
}

std::vector<TrafficPart> Traffic::stop() {
  parts_->is_stopping = true;
  if (parts_->thread.joinable()) parts_->thread.join();
  std::vector<TrafficPart> parts;
  for (auto& measured : parts_->measured) {
    auto& took = measured.milliseconds;
    std::sort(took.begin(), took.end());
    TrafficPart part;
    part.name = measured.name;
    part.statements = static_cast<std::int64_t>(took.size());
    part.failed = measured.failed;
    part.p50_ms = quantile(took, 0.5);
    part.p99_ms = quantile(took, 0.99);
    part.p999_ms = quantile(took, 0.999);
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace pgbackfill::engine
