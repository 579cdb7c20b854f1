// The values of one batch, by programs of the user: asks for the rows that have no answer yet, and keeps the answers
// until they are written.
//
// A batch that fails to write (a value that its column does not take, a lost connection) is done again in smaller
// parts; rows that are still as they were are not asked for twice. Belongs to one session. Thread rule: the engine's
// thread.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/compute/programs.h"
#include "engine/state/state_store.h"
#include "planner/work/compute_sql.h"

namespace pgbackfill::engine {

// Called again and again while programs compute. False: what they are asked for is not ours any more.
struct WhileWaiting {
  std::chrono::milliseconds interval{0};
  std::function<asio::awaitable<Result<bool>>()> call;
};

struct RowsComputed {
  planner::Computed computed;
  std::vector<state::RefusedRow> refused;  // they are in `computed` too, as rows that stay as they are
};

class ComputeBatch {
 public:
  ComputeBatch(Programs& programs, asio::any_io_executor executor);

  // `leaf`: tells partitions of all jobs apart, whose rows may have the same keys; see make_request().
  asio::awaitable<Result<RowsComputed>> compute(std::string leaf, std::vector<RowToCompute> rows,
                                                WhileWaiting meanwhile);
  // The answers to the rows of the last call have been written.
  void written();
  // Nobody will ask for any of them.
  void forget() { answers_.clear(); }

 private:
  struct Flight;
  struct Known {
    std::string seen;
    RowAnswer answer;
  };

  static asio::awaitable<void> ask(Programs& programs, ComputeRequest request, std::size_t number,
                                   std::shared_ptr<Flight> flight);
  asio::awaitable<Result<bool>> wait_for(std::shared_ptr<Flight> flight, WhileWaiting meanwhile);
  RowsComputed outcome_of(std::vector<RowToCompute> const& rows) const;

  Programs& programs_;
  asio::any_io_executor executor_;
  std::string leaf_;
  std::map<std::string, Known> answers_;  // by key, of that leaf
  std::vector<std::string> latest_;       // keys of the last call
};

}  // namespace pgbackfill::engine
