#include "engine/pg/stoppable_sleep.h"

#include <algorithm>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace pgbackfill::engine {

namespace asio = boost::asio;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPatienceOfAStop{50};

}  // namespace

asio::awaitable<bool> sleep_unless_stopped(std::chrono::milliseconds duration, std::function<bool()> is_stopping) {
  auto const until = Clock::now() + duration;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  while (!is_stopping() && Clock::now() < until) {
    timer.expires_after(std::min<Clock::duration>(kPatienceOfAStop, until - Clock::now()));
    co_await timer.async_wait(asio::use_awaitable);
  }
  co_return !is_stopping();
}

}  // namespace pgbackfill::engine
