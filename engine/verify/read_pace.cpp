#include "engine/verify/read_pace.h"

#include <algorithm>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr auto kDecisionInterval = 200ms;
constexpr auto kPatienceOfAStop = 50ms;
// There is one reader.
constexpr int kReader = 0;
constexpr milliseconds kPageTarget{100};

throttle::TimePoint now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

ReadPace::ReadPace(asio::io_context& io, asio::thread_pool& blocking, ConnectTarget target,
                   planner::Migration const& migration)
    : timer_(io),
      file_settings_(setting_texts(migration.throttle)),
      target_(migration.backfill ? migration.backfill->batch.target : kPageTarget),
      probes_(io.get_executor(), blocking, std::move(target), user_probes(migration)),
      pacer_(limits_of(file_settings_, {}).limits, &probes_),
      is_alive_(std::make_shared<bool>(true)) {
  heed({});
  pacer_.join(kReader);
  probes_.start();
  decide();
}

ReadPace::~ReadPace() {
  *is_alive_ = false;
  timer_.cancel();
  probes_.stop();
}

std::string ReadPace::heed(SettingTexts const& live) {
  auto const found = limits_of(file_settings_, live);
  problem_ = found.problem;
  if (!problem_.empty()) return problem_;
  pacer_.set_limits(found.limits);
  pacer_.set_row_limit(found.limits.max_rows_per_second);
  return {};
}

void ReadPace::decide() {
  pacer_.decide(1, now());
  auto const& decision = pacer_.decision();
  if (decision.must_stop) {
    must_stop_ = decision.causes.empty() ? "the throttle says stop" : decision.causes.front().text;
  }
  timer_.expires_after(kDecisionInterval);
  timer_.async_wait([this, is_alive = is_alive_](boost::system::error_code error) {
    if (!error && *is_alive) decide();
  });
}

asio::awaitable<bool> ReadPace::is_its_turn() {
  auto const wait = pacer_.wait_before_batch(kReader, now());
  bool const may_read = problem_.empty() && wait && *wait <= 0ns;
  if (may_read) co_return true;
  auto const rest = wait ? std::chrono::ceil<milliseconds>(*wait) : milliseconds(kPatienceOfAStop);
  asio::steady_timer timer(timer_.get_executor());
  timer.expires_after(std::clamp<milliseconds>(rest, 1ms, kPatienceOfAStop));
  co_await timer.async_wait(asio::use_awaitable);
  co_return false;
}

void ReadPace::page_began(std::int64_t rows) {
  pacer_.page_started(kReader, rows, now());
}

void ReadPace::page_ended(std::int64_t rows, bool is_read) {
  pacer_.page_ended(kReader, rows, is_read, now());
}

milliseconds ReadPace::target() const {
  return pacer_.batch_target(target_);
}

std::int64_t ReadPace::most_rows(std::int64_t rows) const {
  return pacer_.most_page_rows(rows);
}

std::string ReadPace::held_back() const {
  return problem_.empty() ? pacer_.held_back() : problem_;
}

}  // namespace pgbackfill::engine
