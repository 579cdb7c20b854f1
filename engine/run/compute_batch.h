// The values of the batches of one session, by programs of the user: asks for the rows that have no answer yet, and
// keeps the answers until they are written.
//
// Two parts may be under way: one is asked for while another is waited for or written. A batch that fails to write (a
// value that its column does not take, a lost connection) is done again in smaller parts; rows that are still as they
// were are not asked for twice. Belongs to one session. Thread rule: the engine's thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/compute/programs.h"
#include "engine/state/state_store.h"
#include "planner/work/compute_sql.h"

namespace pgbackfill::engine {

// Called again and again while programs compute. False: what they are asked for is not ours any more.
struct WhileWaiting {
  std::chrono::milliseconds interval{10'000};
  std::function<asio::awaitable<Result<bool>>()> call;
};

struct RowsComputed {
  planner::Computed computed;              // its texts are the batch's, until written() or forget()
  std::vector<state::RefusedRow> refused;  // they are in `computed` too, as rows that stay as they are
};

class ComputeBatch {
 public:
  // Rows that have been asked for.
  struct Part;

  ComputeBatch(Programs& programs, asio::any_io_executor executor);

  // `leaf`: tells partitions of all jobs apart, whose rows may have the same keys; see make_request(). No row of it may
  // be in another part that has no answers yet.
  std::shared_ptr<Part> ask(std::string const& leaf, std::vector<RowToCompute> rows);
  asio::awaitable<Result<RowsComputed>> answers(std::shared_ptr<Part> part, WhileWaiting meanwhile);
  // Nobody wants them now, but may later.
  asio::awaitable<void> settle(std::shared_ptr<Part> part, WhileWaiting meanwhile);
  // The answers to these rows have been written.
  void written(Part const& part);
  // Nobody will ask for any of them.
  void forget() { answers_.clear(); }

 private:
  struct Known {
    std::string seen;
    RowAnswer answer;
  };

  static asio::awaitable<void> ask_programs(Programs& programs, ComputeRequest request, std::size_t number,
                                            std::shared_ptr<Part> part);
  asio::awaitable<Result<bool>> wait_for(std::shared_ptr<Part> part, WhileWaiting meanwhile);
  std::optional<Failure> take_answers(Part& part);
  RowsComputed outcome_of(Part const& part) const;

  Programs& programs_;
  asio::any_io_executor executor_;
  std::string leaf_;
  std::unordered_map<std::string, Known> answers_;  // by key, of that leaf
};

struct ComputeBatch::Part {
  struct Row {
    std::string key;
    std::string seen;
  };

  Part(asio::any_io_executor const& executor, std::string of)
      : leaf(std::move(of)), changed(executor, std::chrono::steady_clock::time_point::max()) {}

  std::string leaf;
  std::vector<Row> rows;
  std::vector<std::vector<std::size_t>> requests;  // places in `rows`
  std::vector<std::optional<Result<std::vector<RowAnswer>>>> answers;
  std::size_t left = 0;
  asio::steady_timer changed;  // cancelled when the last answer is there
};

}  // namespace pgbackfill::engine
