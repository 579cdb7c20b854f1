// The one seam between the engine's loops and the world: a database that holds a job, and a clock.
//
// Two implementations: PostgreSQL (pg_database.h), and a seeded simulation with a virtual clock in the tests. Calls
// are coroutines on the engine's thread; failures are values. Nothing here retries or decides.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/job.h"
#include "engine/base/result.h"
#include "engine/base/runner.h"
#include "engine/base/sample.h"
#include "planner/keys/deferred_visit.h"
#include "planner/keys/passes.h"
#include "planner/keys/range_split.h"
#include "planner/work/batch.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

// Of a batch that would change more rows than it may.
inline constexpr char kTooManyState[] = "BF010";

// The number of the session that reads the job, among those of the workers, which count from 0.
inline constexpr int kControlWorker = -1;

// One connection's worth of calls. Not to be used by two coroutines at once, except interrupt().
class Session {
 public:
  virtual ~Session() = default;

  // A range of the job's current pass that nobody holds, or whose lease has run out; nothing when there is none.
  virtual asio::awaitable<Result<std::optional<planner::Lease>>> claim() = 0;
  virtual asio::awaitable<Result<planner::Page>> look_ahead(planner::Lease lease, std::int64_t rows,
                                                            std::chrono::milliseconds timeout) = 0;
  virtual asio::awaitable<Result<planner::BatchDone>> run_batch(planner::BatchRequest request) = 0;
  // Whether the batch after the last one has been begun, so that it would be a waste not to run it.
  virtual bool is_ahead() const { return false; }
  // Ends what the session has begun ahead of its batches; whoever has used it calls this last.
  virtual asio::awaitable<void> end_ahead() { co_return; }
  // A batch that would change more rows fails with kTooManyState, and changes none; absent: it may change any number.
  virtual void set_most_changed(std::optional<std::int64_t> /*rows*/) {}
  // The range as it is now, if it is still ours and not done.
  virtual asio::awaitable<Result<std::optional<planner::Lease>>> reread(planner::Lease lease) = 0;
  virtual asio::awaitable<Result<Done>> release(planner::Lease lease) = 0;

  // --- where no range is free, one transaction each; between_ranges.h asks them in turn
  // The range with most rows left of those that somebody works on.
  virtual asio::awaitable<Result<std::optional<planner::SplitCandidate>>> widest_range() = 0;
  // Cuts it after `middle`, and holds the far part; nothing when that is too late.
  virtual asio::awaitable<Result<std::optional<planner::Lease>>> cut_range(planner::Lease range,
                                                                           planner::KeyValue middle) = 0;
  virtual asio::awaitable<Result<std::vector<DeferredLeaf>>> deferred_leaves() = 0;
  virtual asio::awaitable<Result<planner::Visit>> visit(int leaf, std::int64_t rows,
                                                        std::optional<std::int64_t> key) = 0;
  virtual asio::awaitable<Result<std::optional<std::int64_t>>> next_deferred(int leaf) = 0;
  virtual asio::awaitable<Result<Done>> mark_visited(std::int64_t key) = 0;
  // A deferred key goes to quarantine; fatal where that is full.
  virtual asio::awaitable<Result<Done>> set_aside(std::int64_t key, Failure because) = 0;
  virtual asio::awaitable<Result<planner::PassState>> pass_state() = 0;
  virtual asio::awaitable<Result<bool>> has_new_leaves() = 0;
  // The pass after `pass`; false when another worker was quicker.
  virtual asio::awaitable<Result<bool>> start_pass_after(int pass, planner::PassScope scope) = 0;
  // false when there is work again.
  virtual asio::awaitable<Result<bool>> complete(int pass) = 0;

  // --- of a job that is complete and followed; follower.h asks them in turn
  // The leaves that are there.
  virtual std::vector<int> leaves_to_follow() const { return {}; }
  virtual asio::awaitable<Result<bool>> has_contract_begun() { co_return false; }
  // Defers the rows of the interval that are still to be done; how many were not deferred before. Nothing is done once
  // those that follow were told to end since `ended`.
  virtual asio::awaitable<Result<std::int64_t>> defer_undone(int /*leaf*/, planner::Interval /*interval*/,
                                                             std::chrono::milliseconds /*timeout*/,
                                                             std::string /*ended*/) {
    co_return std::int64_t{0};
  }
  // Brings it back, for partitions that came since.
  virtual asio::awaitable<Result<Done>> reopen(std::string /*why*/) { co_return Done(); }

  // Ends a pause whose time is over.
  virtual asio::awaitable<Result<Control>> read_control() = 0;
  // True once after somebody changed the job, where the server tells; elsewhere always false, and it has to be asked.
  virtual bool has_news() { return false; }
  // Tells the others of this process, and hears of them.
  virtual asio::awaitable<Result<RunnersHeard>> tell_runner(RunnerTold told) = 0;
  // Keeps one moment of the job's past; how many are kept of it now. `is_turn`: of a moment that is kept already, this
  // is what counts.
  virtual asio::awaitable<Result<std::int64_t>> keep_sample(JobSample /*sample*/, bool /*is_turn*/) {
    co_return std::int64_t{0};
  }
  virtual asio::awaitable<Result<Done>> thin_samples() { co_return Done(); }
  // This process no longer works on the job.
  virtual asio::awaitable<Result<Done>> forget_runner() = 0;
  // Who holds the deferred rows or has the table locked, as sentences for people.
  virtual asio::awaitable<Result<std::vector<std::string>>> blockers() = 0;
  virtual asio::awaitable<Result<Done>> mark_failed(std::string reason) = 0;
  virtual asio::awaitable<Result<Done>> reconnect() = 0;
  virtual bool is_connected() const = 0;
  // Of its backend, as the server numbers them; 0 where there is none.
  virtual int server_pid() const { return 0; }
  // Cancels what runs on the server, if anything.
  virtual void interrupt() = 0;
  // The same, and ends what the session waits for elsewhere.
  virtual void abandon() { interrupt(); }
};

class Database {
 public:
  virtual ~Database() = default;
  // `worker` numbers the sessions of this process from 0; a session without a connection connects on reconnect().
  virtual std::unique_ptr<Session> make_session(int worker) = 0;
  // Starts a coroutine beside the caller, on the same thread.
  virtual void spawn(asio::awaitable<void> coroutine) = 0;
  virtual asio::awaitable<void> sleep(std::chrono::milliseconds duration) = 0;
  virtual std::chrono::steady_clock::time_point now() const = 0;
  // Calendar time, for windows.
  virtual std::chrono::system_clock::time_point wall_now() const = 0;
  // What sessions found that the operator should know; each text once.
  virtual std::vector<std::string> take_notes() { return {}; }
  // The run is about to end: a wait for something beside the server that has no end in sight is to be given up.
  virtual void wind_down() {}
  // What batches wait for beside the server, as a sentence for people; empty: nothing.
  virtual std::string held_back() const { return ""; }
  // What was set live of how something beside the server computes: name without "compute.", and text.
  virtual void set_compute_settings(std::map<std::string, std::string> const& /*live*/) {}
  // Uniform in [0, 1): for jitter.
  virtual double random() = 0;
  // Of work that something beside the server computes: how many rows of a batch that has in about this time. Absent: it
  // is the server alone.
  virtual std::optional<std::int64_t> rows_computed_in(std::chrono::milliseconds /*time*/) const {
    return std::nullopt;
  }
};

}  // namespace pgbackfill::engine
