#include "engine/pg/lasting_connection.h"

#include <fmt/format.h>

#include <random>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/pg/stoppable_sleep.h"
#include "planner/model/duration.h"
#include "throttle/backoff.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr throttle::BackoffOptions kBackoff{100ms, 2'000ms};

}  // namespace

LastingConnection::LastingConnection(std::shared_ptr<PgConnection> connection, LastingTerms terms)
    : connection_(std::move(connection)), terms_(std::move(terms)) {}

LastingConnection::LastingConnection(PgConnection& connection) : connection_(connection.shared_from_this()) {}

asio::awaitable<bool> LastingConnection::is_there() {
  if (connection_->is_usable()) co_return true;
  if (why_.empty() && !terms_.open) why_ = "the connection was lost";
  if (!why_.empty()) co_return false;
  co_return co_await come_back();
}

asio::awaitable<bool> LastingConnection::come_back() {
  auto const lost_at = Clock::now();
  std::mt19937_64 random{std::random_device{}()};
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int attempt = 0;; ++attempt) {
    std::string failure;
    try {
      auto opened = co_await terms_.open();
      connection_ = std::move(opened);
    } catch (CommandError const& error) {
      if (!error.is_passing) throw;
      failure = error.text;
    }
    if (failure.empty()) {
      terms_.tell("the connection was lost, and is there again");
      co_return true;
    }
    if (attempt == 0) terms_.tell("the connection was lost; trying again: " + failure);
    if (Clock::now() - lost_at >= terms_.patience) {
      why_ = fmt::format("the connection was lost, and did not come back within {}: {}",
                         planner::format_duration(terms_.patience), failure);
      co_return false;
    }
    auto const delay = throttle::backoff_delay(attempt, kBackoff, uniform(random));
    bool const goes_on = co_await sleep_unless_stopped(delay, terms_.is_stopping);
    if (!goes_on) {
      why_ = "interrupted while the connection was lost: " + failure;
      co_return false;
    }
  }
}

}  // namespace pgbackfill::engine
