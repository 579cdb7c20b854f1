#include "engine/run/compute_batch.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <optional>
#include <utility>

namespace pgbackfill::engine {

// The requests of one batch, each asked by a coroutine of its own.
struct ComputeBatch::Flight {
  Flight(asio::any_io_executor const& executor, std::size_t count)
      : answers(count), left(count), changed(executor, std::chrono::steady_clock::time_point::max()) {}

  std::vector<std::optional<Result<std::vector<RowAnswer>>>> answers;
  std::size_t left;
  asio::steady_timer changed;  // cancelled when the last one is there
};

ComputeBatch::ComputeBatch(Programs& programs, asio::any_io_executor executor)
    : programs_(programs), executor_(std::move(executor)) {}

asio::awaitable<void> ComputeBatch::ask(Programs& programs, ComputeRequest request, std::size_t number,
                                        std::shared_ptr<Flight> flight) {
  auto answer = co_await programs.ask(std::move(request));
  flight->answers[number].emplace(std::move(answer));
  if (--flight->left == 0) flight->changed.cancel();
}

asio::awaitable<Result<bool>> ComputeBatch::wait_for(std::shared_ptr<Flight> flight, WhileWaiting meanwhile) {
  Result<bool> is_ours = true;
  while (flight->left > 0) {
    flight->changed.expires_after(meanwhile.interval);
    boost::system::error_code ignored;
    co_await flight->changed.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    bool const is_due = flight->left > 0 && is_ours && *is_ours && meanwhile.call;
    if (is_due) is_ours = co_await meanwhile.call();
  }
  co_return is_ours;
}

asio::awaitable<Result<RowsComputed>> ComputeBatch::compute(std::string leaf, std::vector<RowToCompute> rows,
                                                            WhileWaiting meanwhile) {
  std::vector<RowToCompute> unknown;
  if (std::exchange(leaf_, leaf) != leaf) answers_.clear();
  latest_.clear();
  for (auto const& row : rows) latest_.push_back(row.key);
  for (auto const& row : rows) {
    auto const known = answers_.find(row.key);
    if (known == answers_.end() || known->second.seen != row.seen) unknown.push_back(row);
  }
  auto const requests = cut_into_requests(unknown, programs_.compute());
  auto const flight = std::make_shared<Flight>(executor_, requests.size());
  for (std::size_t number = 0; number < requests.size(); ++number) {
    auto request = make_request(leaf, unknown, requests[number]);
    asio::co_spawn(executor_, ask(programs_, std::move(request), number, flight), asio::detached);
  }
  auto const is_ours = co_await wait_for(flight, std::move(meanwhile));
  for (std::size_t number = 0; number < requests.size(); ++number) {
    auto& answer = *flight->answers[number];
    if (!answer) co_return answer.error();
    for (std::size_t place = 0; place < requests[number].size(); ++place) {
      auto const& row = unknown[requests[number][place]];
      answers_.insert_or_assign(row.key, Known{row.seen, std::move((*answer)[place])});
    }
  }
  if (!is_ours) co_return is_ours.error();
  if (!*is_ours) {
    Failure failure;
    failure.trouble = planner::Trouble::kFenced;
    failure.sqlstate = planner::kFencedState;
    failure.message = "the range was taken over while its values were computed";
    co_return failure;
  }
  co_return outcome_of(rows);
}

void ComputeBatch::written() {
  for (auto const& key : latest_) answers_.erase(key);
  latest_.clear();
}

RowsComputed ComputeBatch::outcome_of(std::vector<RowToCompute> const& rows) const {
  RowsComputed result;
  for (auto const& row : rows) {
    auto const& answer = answers_.at(row.key).answer;
    planner::ComputedRow computed;
    computed.key = row.key;
    computed.seen = row.seen;
    computed.skips = answer.kind != RowAnswerKind::kWrite;
    computed.answer = answer.text;
    if (!computed.skips && !answer.sets_all) result.computed.has_gaps = true;
    if (answer.kind == RowAnswerKind::kError) result.refused.push_back({row.key, answer.error});
    result.computed.rows.push_back(std::move(computed));
  }
  return result;
}

}  // namespace pgbackfill::engine
