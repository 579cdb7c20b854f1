// The processes that compute values for one job, or the service: asks them, waits for answers, starts processes again
// when they fail.
//
// No transaction is open while somebody waits here. A request that fails is sent again with the same id, after waits
// that grow; when that goes on, the failure ends the run. Thread rule: the engine's one thread. Calls may overlap.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "engine/base/result.h"
#include "engine/compute/messages.h"
#include "planner/model/compute.h"
#include "planner/model/compute_pace.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

// Failures in a row of one request before the run ends: with the waits between, about half a minute.
inline constexpr int kMostRequestFailures = 8;

class Programs {
 public:
  // `table`: for the program, and for people. `sink` outlives this.
  Programs(asio::any_io_executor executor, planner::Compute compute, std::string migration, std::string table,
           EventSink& sink);
  Programs(Programs const&) = delete;
  Programs& operator=(Programs const&) = delete;
  ~Programs();

  planner::Compute const& compute() const { return compute_; }

  // From now on. A program that is one too many is asked nothing more, and ends after its answers.
  void set_pace(planner::ComputePace const& pace);
  // Of one request, in a row, before it is given up.
  void set_most_failures(int count) { most_failures_ = count; }

  // What is missing on this host to ask anybody, as a sentence for people; empty: nothing.
  std::string missing() const;

  // The answer to each row of the request, in its order.
  asio::awaitable<Result<std::vector<RowAnswer>>> ask(ComputeRequest request);

  // The run is about to end: what may not be sent now, because the program asked for a wait or has failed, fails; what
  // is under way goes on.
  void wind_down() { is_winding_down_ = true; }
  bool is_winding_down() const { return is_winding_down_; }
  // Ends all programs at once; whoever waits gets a failure, and so does who asks from now on.
  void abandon();
  // Ends their input, waits a moment for them to end by themselves, and ends those that do not. Nobody may be waiting.
  asio::awaitable<void> stop();

  // What the work waits for here, as a sentence for people; empty: nothing.
  std::string held_back() const;
  // How many requests are answered in this time, at their present pace; at least as many as may be in flight.
  std::int64_t requests_in(std::chrono::milliseconds time) const;

 private:
  struct Request;
  struct Running;
  struct Outcome;

  asio::awaitable<bool> wait_for_turn();
  void clear_seats();
  void let_go_of_idle_seats();
  std::shared_ptr<Running> find_program();
  asio::awaitable<Outcome> send(ComputeRequest const& request, int attempt);
  asio::awaitable<Outcome> write(ComputeRequest const& request, int attempt);
  asio::awaitable<Outcome> post(ComputeRequest const& request, int attempt);
  void learn_pace(std::chrono::steady_clock::time_point began);
  void start(std::shared_ptr<Running>& seat);
  void retire(std::shared_ptr<Running> const& running);
  void tell(Severity severity, std::string text);
  Failure failure_of(ComputeRequest const& request, std::string const& why) const;

  asio::any_io_executor executor_;
  planner::Compute compute_;
  std::string migration_;
  std::string table_;
  std::string name_;
  EventSink& sink_;
  std::vector<std::shared_ptr<Running>> seats_;    // null: no process
  std::vector<std::shared_ptr<Running>> retired_;  // ended, or about to
  asio::steady_timer changed_;                     // cancelled whenever somebody who waits should look again
  std::mt19937_64 random_;
  int most_failures_ = kMostRequestFailures;
  bool is_abandoned_ = false;
  bool is_winding_down_ = false;
  bool is_end_told_ = false;
  int in_flight_ = 0;
  std::chrono::steady_clock::time_point not_before_;  // the program asked for a wait, or it keeps failing
  std::chrono::steady_clock::time_point next_at_;     // per_second
  bool is_asked_to_wait_ = false;
  std::string trouble_;  // of the latest failure, while it goes on
  double seconds_a_request_ = 0;
};

}  // namespace pgbackfill::engine
