// The world of a simulation: a virtual clock, seeded chance, and coroutines that sleep in virtual time.
//
// One thread, no real clock: what happens is a function of the seed. Coroutines belong to groups (a process, the
// server); a group can be frozen, which delays all that would wake it, or killed, which destroys its coroutines where
// they are suspended, as kill -9 would. Callbacks of at() run between coroutines, so they may kill.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <compare>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

namespace pgbackfill::tests {

namespace asio = boost::asio;

using TimePoint = std::chrono::steady_clock::time_point;
using std::chrono::milliseconds;

struct SimGroup {
  std::string name;
  TimePoint frozen_until;
  std::int64_t wakes = 0;
  std::optional<std::int64_t> kill_at;  // the wake instead of which the group dies
  std::function<void()> on_kill;
};

class SimWorld {
 public:
  // Names a suspended coroutine; wake() of one that is gone does nothing.
  using Token = std::uint64_t;

  explicit SimWorld(std::uint64_t seed);
  ~SimWorld();

  TimePoint now() const { return now_; }
  std::chrono::system_clock::time_point wall_now() const;

  double random() { return std::uniform_real_distribution<double>(0, 1)(random_); }
  bool chance(double probability) { return probability > 0 && random() < probability; }
  std::int64_t between(std::int64_t least, std::int64_t most);
  milliseconds between(milliseconds least, milliseconds most);

  void spawn(asio::awaitable<void> coroutine);
  asio::awaitable<void> sleep(SimGroup& group, milliseconds duration);
  Token new_token() { return ++last_token_; }
  asio::awaitable<void> wait(SimGroup& group, Token token);
  void wake(Token token);
  void at(TimePoint when, std::function<void()> callback);
  void after(milliseconds delay, std::function<void()> callback) { at(now_ + delay, std::move(callback)); }

  void freeze(SimGroup& group, milliseconds duration) { group.frozen_until = now_ + duration; }
  // From a callback only: nothing of the group may be running.
  void kill(SimGroup& group);

  // Lets all run that can, then goes to the next moment at which something happens; false when nothing ever will.
  bool step();
  std::int64_t steps() const { return steps_; }

  bool is_traced() const { return is_traced_; }
  void set_traced() { is_traced_ = true; }
  void trace(std::string text);
  std::deque<std::string> const& traces() const { return traces_; }

 private:
  struct Waker {
    virtual ~Waker() = default;
    virtual void wake() = 0;
  };
  template <class Handler>
  struct WakerOf : Waker {
    WakerOf(asio::io_context& io, Handler handler) : io_(io), handler_(std::move(handler)) {}
    void wake() override { asio::post(io_, std::move(handler_)); }
    asio::io_context& io_;
    Handler handler_;
  };
  // Ties are broken by chance, not by order of arrival.
  struct Moment {
    TimePoint time;
    std::uint64_t tie = 0;
    Token token = 0;
    auto operator<=>(Moment const&) const = default;
  };
  struct Sleeper {
    SimGroup* group = nullptr;
    std::unique_ptr<Waker> waker;
    std::function<void()> callback;
  };

  asio::awaitable<void> suspend(SimGroup& group, Token token, TimePoint until);
  void add(TimePoint when, Token token, Sleeper sleeper);
  void run_ready();

  std::mt19937_64 random_;
  asio::io_context io_{1};
  TimePoint now_;
  Token last_token_ = 0;
  std::map<Moment, Sleeper> sleepers_;
  std::map<Token, Moment> waiting_;
  std::int64_t steps_ = 0;
  bool is_traced_ = false;
  std::deque<std::string> traces_;
};

}  // namespace pgbackfill::tests
