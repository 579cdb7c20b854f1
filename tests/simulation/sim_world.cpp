#include "tests/simulation/sim_world.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>

namespace pgbackfill::tests {

namespace {

constexpr std::chrono::hours kStart{1'000};
constexpr std::size_t kTracesKept = 4'000;

}  // namespace

SimWorld::SimWorld(std::uint64_t seed) : random_(seed), now_(kStart) {}

SimWorld::~SimWorld() {
  sleepers_.clear();
  run_ready();
}

std::chrono::system_clock::time_point SimWorld::wall_now() const {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(now_.time_since_epoch()));
}

std::int64_t SimWorld::between(std::int64_t least, std::int64_t most) {
  return std::uniform_int_distribution<std::int64_t>(least, most)(random_);
}

milliseconds SimWorld::between(milliseconds least, milliseconds most) {
  return milliseconds(between(least.count(), most.count()));
}

void SimWorld::spawn(asio::awaitable<void> coroutine) {
  auto const fail_loudly = [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  };
  asio::co_spawn(io_, std::move(coroutine), fail_loudly);
}

asio::awaitable<void> SimWorld::suspend(SimGroup& group, Token token, TimePoint until) {
  auto const initiate = [this, &group, token, until](auto handler) {
    Sleeper sleeper;
    sleeper.group = &group;
    sleeper.waker = std::make_unique<WakerOf<decltype(handler)>>(io_, std::move(handler));
    add(until, token, std::move(sleeper));
  };
  asio::use_awaitable_t<> const token_of_asio;
  co_await asio::async_initiate<asio::use_awaitable_t<> const, void()>(initiate, token_of_asio);
}

asio::awaitable<void> SimWorld::sleep(SimGroup& group, milliseconds duration) {
  return suspend(group, new_token(), now_ + duration);
}

asio::awaitable<void> SimWorld::wait(SimGroup& group, Token token) {
  return suspend(group, token, TimePoint::max());
}

void SimWorld::wake(Token token) {
  auto const found = waiting_.find(token);
  if (found == waiting_.end()) return;
  auto node = sleepers_.extract(found->second);
  waiting_.erase(found);
  if (node) add(now_, token, std::move(node.mapped()));
}

void SimWorld::at(TimePoint when, std::function<void()> callback) {
  Sleeper sleeper;
  sleeper.callback = std::move(callback);
  add(when, new_token(), std::move(sleeper));
}

void SimWorld::add(TimePoint when, Token token, Sleeper sleeper) {
  Moment const moment{when, random_(), token};
  if (when == TimePoint::max()) waiting_[token] = moment;
  sleepers_.emplace(moment, std::move(sleeper));
}

void SimWorld::kill(SimGroup& group) {
  for (auto at = sleepers_.begin(); at != sleepers_.end();) {
    if (at->second.group == &group) {
      waiting_.erase(at->first.token);
      at = sleepers_.erase(at);
    } else {
      ++at;
    }
  }
  run_ready();
}

void SimWorld::run_ready() {
  // poll() leaves a context without work stopped.
  io_.restart();
  while (io_.poll() > 0) {
  }
}

bool SimWorld::step() {
  run_ready();
  if (sleepers_.empty() || sleepers_.begin()->first.time == TimePoint::max()) return false;
  ++steps_;
  auto node = sleepers_.extract(sleepers_.begin());
  auto& sleeper = node.mapped();
  now_ = node.key().time;
  if (sleeper.callback) {
    sleeper.callback();
    return true;
  }
  auto& group = *sleeper.group;
  if (group.frozen_until > now_) {
    add(group.frozen_until, node.key().token, std::move(sleeper));
    return true;
  }
  if (++group.wakes == group.kill_at) {
    sleeper.waker.reset();
    group.on_kill();
    return true;
  }
  sleeper.waker->wake();
  run_ready();
  return true;
}

void SimWorld::trace(std::string text) {
  auto const elapsed = std::chrono::duration_cast<milliseconds>(now_.time_since_epoch() - kStart);
  traces_.push_back(fmt::format("{:>8.3f} {}", static_cast<double>(elapsed.count()) / 1000, text));
  if (traces_.size() > kTracesKept) traces_.pop_front();
}

}  // namespace pgbackfill::tests
