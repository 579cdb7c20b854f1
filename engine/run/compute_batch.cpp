#include "engine/run/compute_batch.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <utility>

namespace pgbackfill::engine {

ComputeBatch::ComputeBatch(Programs& programs, asio::any_io_executor executor)
    : programs_(programs), executor_(std::move(executor)) {}

asio::awaitable<void> ComputeBatch::ask_programs(Programs& programs, ComputeRequest request, std::size_t number,
                                                 std::shared_ptr<Part> part) {
  auto answer = co_await programs.ask(std::move(request));
  part->answers[number].emplace(std::move(answer));
  if (--part->left == 0) part->changed.cancel();
}

std::shared_ptr<ComputeBatch::Part> ComputeBatch::ask(std::string const& leaf, std::vector<RowToCompute> rows) {
  if (leaf_ != leaf) answers_.clear();
  leaf_ = leaf;
  auto const part = std::make_shared<Part>(executor_, leaf);
  std::vector<std::size_t> places;
  std::vector<RowToCompute> unknown;
  part->rows.reserve(rows.size());
  for (auto& row : rows) {
    part->rows.push_back({row.key, row.seen});
    auto const known = answers_.find(row.key);
    if (known != answers_.end() && known->second.seen == row.seen) continue;
    places.push_back(part->rows.size() - 1);
    unknown.push_back(std::move(row));
  }
  auto const cuts = cut_into_requests(unknown, programs_.compute());
  part->answers.resize(cuts.size());
  part->left = cuts.size();
  for (std::size_t number = 0; number < cuts.size(); ++number) {
    auto request = make_request(leaf, unknown, cuts[number]);
    auto& placed = part->requests.emplace_back();
    for (auto const one : cuts[number]) {
      placed.push_back(places[one]);
      unknown[one] = {};  // long values are held once
    }
    asio::co_spawn(executor_, ask_programs(programs_, std::move(request), number, part), asio::detached);
  }
  return part;
}

asio::awaitable<Result<bool>> ComputeBatch::wait_for(std::shared_ptr<Part> part, WhileWaiting meanwhile) {
  Result<bool> is_ours = true;
  while (part->left > 0) {
    part->changed.expires_after(meanwhile.interval);
    boost::system::error_code ignored;
    co_await part->changed.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
    bool const is_due = part->left > 0 && is_ours && *is_ours && meanwhile.call;
    if (is_due) is_ours = co_await meanwhile.call();
  }
  co_return is_ours;
}

std::optional<Failure> ComputeBatch::take_answers(Part& part) {
  std::optional<Failure> failure;
  for (std::size_t number = 0; number < part.requests.size(); ++number) {
    auto& answer = *part.answers[number];
    if (!answer) {
      if (!failure) failure = answer.error();
      continue;
    }
    if (part.leaf != leaf_) continue;
    for (std::size_t place = 0; place < part.requests[number].size(); ++place) {
      auto const& row = part.rows[part.requests[number][place]];
      answers_.insert_or_assign(row.key, Known{row.seen, std::move((*answer)[place])});
    }
  }
  part.requests.clear();
  return failure;
}

asio::awaitable<Result<RowsComputed>> ComputeBatch::answers(std::shared_ptr<Part> part, WhileWaiting meanwhile) {
  auto const is_ours = co_await wait_for(part, std::move(meanwhile));
  if (auto failure = take_answers(*part)) co_return *failure;
  if (!is_ours) co_return is_ours.error();
  if (!*is_ours) {
    Failure failure;
    failure.trouble = planner::Trouble::kFenced;
    failure.sqlstate = planner::kFencedState;
    failure.message = "the range was taken over while its values were computed";
    co_return failure;
  }
  co_return outcome_of(*part);
}

asio::awaitable<void> ComputeBatch::settle(std::shared_ptr<Part> part, WhileWaiting meanwhile) {
  co_await wait_for(part, std::move(meanwhile));
  take_answers(*part);
}

void ComputeBatch::written(Part const& part) {
  for (auto const& row : part.rows) answers_.erase(row.key);
}

RowsComputed ComputeBatch::outcome_of(Part const& part) const {
  RowsComputed result;
  result.computed.rows.reserve(part.rows.size());
  for (auto const& row : part.rows) {
    auto const known = answers_.find(row.key);
    auto const& answer = known->second.answer;
    planner::ComputedRow computed;
    computed.key = known->first;
    computed.seen = known->second.seen;
    computed.skips = answer.kind != RowAnswerKind::kWrite;
    if (computed.skips) {
      result.computed.has_skips = true;
    } else {
      computed.values = values_of_answer(answer.text, programs_.compute());
      if (!answer.sets_all) result.computed.has_gaps = true;
    }
    if (answer.kind == RowAnswerKind::kError) result.refused.push_back({row.key, answer.error});
    result.computed.rows.push_back(std::move(computed));
  }
  return result;
}

}  // namespace pgbackfill::engine
