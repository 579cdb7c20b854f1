// The loop that obeys: workers that claim ranges and run their batches, and a control loop that reads what was asked.
//
// Knows the world only through Database. Thread rule: one io_context thread; request_* from that thread too (post).
// What is next in a range is planner/keys/range_walk.h's decision, how large and when the throttle's.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/base/eta.h"
#include "engine/base/events.h"
#include "engine/probes/health.h"
#include "engine/run/database.h"
#include "engine/run/follower.h"
#include "engine/run/growth.h"
#include "engine/run/kept_past.h"
#include "engine/run/limits.h"
#include "engine/run/pacer.h"
#include "planner/keys/range_walk.h"
#include "throttle/batch_sizer.h"
#include "throttle/limits.h"
#include "throttle/windows.h"

namespace pgbackfill::engine {

struct PoolOptions {
  // How often the job is read where the server cannot tell of changes; each reading adds up the ranges.
  std::chrono::milliseconds control_interval{1'000};
  std::chrono::milliseconds progress_interval{200};
  // Older than this, what was read of the job is no ground to start another batch.
  std::chrono::milliseconds control_age_max{10'000};
  std::chrono::milliseconds reconnect_patience{300'000};
  // How long the run waits at its end for rows that somebody holds.
  std::chrono::milliseconds deferred_patience{60'000};
  SettingTexts settings;       // what the file says of the throttle; live ones win
  bool tells_batches = false;  // a line each, for --log-level debug
  throttle::Schedule schedule{{}};
  bool exit_outside_window = false;
  // So many rows are changed, and then the run ends.
  std::optional<std::int64_t> limit;
  // A job that is complete is followed, until somebody ends that.
  std::optional<planner::Follow> follow;
  // Without it nothing throttles but the ceiling in rows. It has to outlive the pool.
  Health* health = nullptr;
  // Without it no table is vacuumed. It has to outlive the pool.
  Growth* growth = nullptr;
  // How long a worker that may not go on keeps its range, before others may have it.
  std::chrono::milliseconds waiting_with_range_max{5'000};
  bool keeps_history = false;                                      // of the job's course, in the state
  std::int64_t least_rows_of_a_half = planner::kLeastRowsOfAHalf;  // of a range that is split
};

// kRolledBack: the workers do not know it; whoever owns the pool looks (its reason says by whom).
// kLimit: as many rows as were asked for are changed, and others are left.
enum class PoolEnd {
  kComplete,
  kInterrupted,
  kCancelled,
  kRolledBack,
  kFailed,
  kRowsHeld,
  kWindowClosed,
  kUnhealthy,
  kLimit,
};

struct PoolOutcome {
  PoolEnd end = PoolEnd::kFailed;
  std::string reason;
  std::vector<std::string> notes;
};

class WorkerPool {
 public:
  WorkerPool(Database& database, Job const& job, PoolOptions options, EventSink& sink);
  ~WorkerPool();

  asio::awaitable<PoolOutcome> run();

  // ^C once: finish the batches in flight, give the ranges back, end.
  void request_stop();
  // ^C twice: cancel them on the server as well.
  void request_abort();

  Progress const& progress() const { return progress_; }
  Pacer const& pacer() const { return pacer_; }
  std::int64_t batches() const { return batches_; }
  // Changed since the job that is followed was complete.
  std::int64_t rows_followed() const { return rows_followed_; }

 private:
  struct Worker;

  asio::awaitable<void> work(int number);
  asio::awaitable<void> work_range(Worker& worker, planner::Lease lease);
  asio::awaitable<void> do_step(Worker& worker, planner::RangeWalk& walk, planner::Step step);
  asio::awaitable<void> run_batch(Worker& worker, planner::RangeWalk& walk, planner::BatchRequest batch);
  // Not at once when it was lost before; ends the run when that goes on.
  asio::awaitable<void> connect_again(Worker& worker, planner::RangeWalk& walk, Failure failure);
  // Whether the wait is over; else it waited a part of it.
  // leaf: of the range that the worker holds.
  asio::awaitable<bool> wait_for_turn(Worker& worker, std::optional<int> leaf);
  double rows_left(int leaf);
  // Of the limit: what is neither changed nor in a batch.
  std::int64_t rows_allowed() const;
  // For a batch that shall change no more rows than that.
  std::int64_t keys_allowed(Worker const& worker) const;
  bool is_limit_reached() const { return rows_allowed() <= 0 && rows_in_batches_ == 0; }
  void end_at_limit();
  // What became of the rows in its batch.
  void count_changed(Worker& worker, std::int64_t changed);
  asio::awaitable<void> give_back(Worker& worker, planner::Lease lease);
  asio::awaitable<void> find_work(Worker& worker);
  asio::awaitable<void> go_on_without_ranges(Worker& worker);
  // How many of them are left; nothing: that is not known.
  asio::awaitable<std::optional<std::int64_t>> visit_held_rows(Worker& worker);
  // --- of a job that is complete and followed
  bool is_following() const { return follower_.has_value() && control_.status == JobStatus::kComplete; }
  asio::awaitable<void> follow(Worker& worker);
  asio::awaitable<void> look(Worker& worker);
  asio::awaitable<void> visit_found_rows(Worker& worker);
  asio::awaitable<void> recover_following(Worker& worker, Failure failure);
  void heed_completion();
  std::string follow_text() const;
  int workers_wanted() const { return is_following() ? 1 : control_.workers; }
  // Deals with the failure of a call outside a range; ends the run when it is beyond repair.
  asio::awaitable<void> recover(Session& session, Failure failure, int& attempts);
  asio::awaitable<void> wait_for_state(Failure failure);
  asio::awaitable<void> connect(Session& session);
  asio::awaitable<void> pause_for(std::chrono::milliseconds duration);
  asio::awaitable<void> read_control(Session& session);
  asio::awaitable<void> name_blockers(Session& session);
  asio::awaitable<void> tell_runner(Session& session);
  asio::awaitable<void> keep_past(Session& session, RunPhase phase);
  void sample(HealthTold const& told);

  bool has_somebody_come() const;
  bool may_start(int worker) const;
  bool is_open() const;
  void decide();
  void heed_growth();
  void cancel_batches(bool has_somebody_come);
  bool is_ending() const { return outcome_.has_value(); }
  std::string held_back() const;
  bool is_at_row_limit() const;
  std::string row_limit_text() const;
  throttle::BatchSizer& sizer_of(int leaf);
  std::chrono::milliseconds target_of(throttle::BatchSizer const& sizer) const;
  std::int64_t whole_requests(std::int64_t rows) const;
  planner::WalkOptions walk_options(int leaf) const;
  void spawn_workers();
  bool has_looked() const;
  void end(PoolEnd how, std::string reason);
  void tell(Severity severity, std::string text);
  void tell_trouble(Failure const& failure, std::string const& what);
  void tell_if_pinned(int leaf);
  void tell_progress();
  void count_worked_time();
  bool is_control_due(Session& session) const;
  bool is_runner_due() const;
  void heed_settings(std::map<std::string, std::string> const& before);
  void heed_compute_settings(std::map<std::string, std::string> const& live);
  std::string outside_windows() const;

  Database& database_;
  Job const& job_;
  PoolOptions options_;
  EventSink& sink_;
  Control control_;
  LimitsFound limits_;
  std::optional<std::chrono::steady_clock::time_point> control_asked_at_;
  std::optional<std::chrono::steady_clock::time_point> control_read_at_;
  std::optional<std::chrono::steady_clock::time_point> runner_told_at_;
  bool is_runner_failure_told_ = false;
  std::chrono::steady_clock::time_point started_;
  std::chrono::steady_clock::time_point told_at_;
  std::chrono::steady_clock::duration worked_{0};
  std::map<int, throttle::BatchSizer> sizers_;
  std::set<int> pinned_told_;  // leaves
  Pacer pacer_;
  KeptPast past_;
  std::map<int, Worker*> workers_;
  std::optional<PoolOutcome> outcome_;
  bool is_stopping_ = false;
  bool is_aborting_ = false;
  bool is_visiting_ = false;
  std::optional<Follower> follower_;
  bool is_looking_ = false;         // or has found something
  std::string follow_ended_;        // when this one began
  std::int64_t rows_followed_ = 0;  // changed since the job was complete
  std::optional<std::chrono::steady_clock::time_point> held_since_;
  std::vector<std::string> blockers_;
  std::optional<std::chrono::steady_clock::time_point> blockers_asked_at_;
  std::optional<std::chrono::steady_clock::time_point> lock_met_at_;
  std::optional<std::chrono::steady_clock::time_point> state_locked_at_;
  std::chrono::steady_clock::time_point state_locked_since_;
  std::map<std::string, std::chrono::steady_clock::time_point> told_;  // when each kind of trouble was told last
  std::int64_t rows_since_control_ = 0;
  std::int64_t rows_changed_ = 0;     // by this run
  std::int64_t rows_in_batches_ = 0;  // and those that batches at work may change
  std::int64_t batches_ = 0;
  std::int64_t retries_ = 0;
  RateHistory history_;
  Progress progress_;
};

}  // namespace pgbackfill::engine
