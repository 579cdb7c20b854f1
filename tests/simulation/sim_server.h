// A server that holds one table and one job in memory, and behaves as the statements of engine/state/*.cpp and
// planner/work/work_sql.cpp do on PostgreSQL: row locks, timeouts, fences, and commits that a crash may forget.
//
// Every commit is a change that can be applied again. A crash keeps the flushed commits and any number of those after
// them; a fail-over keeps what the standby had. Transactions are coroutines of the server's own group, so that they go
// on when their client is gone.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/run/database.h"
#include "tests/simulation/sim_world.h"

namespace pgbackfill::tests {

using engine::Result;
using planner::Failure;
using Key = std::int64_t;
using Edge = std::optional<Key>;

struct Row {
  std::int64_t id = 0;  // stays when the key changes
  int changed = 0;
  bool is_poison = false;
  bool was_poison = false;  // repaired since, or still bad
  bool is_original = true;  // there from the start, under this key
  bool has_moved = false;
  int pass_when_placed = 0;  // of the job, when the row came to this key
  milliseconds cost{0};
  std::int64_t source = 0;  // what a program is given; writers change it
  bool is_stale = false;    // it got the value of another source than it had
};

// A row as a program was given it.
struct RowGiven {
  Key key = 0;
  std::int64_t id = 0;
  std::int64_t source = 0;
};
struct RowsGiven {
  std::vector<RowGiven> rows;
  Edge reached;  // the last of them, if there are more in the interval than are read at once
};
struct DueGiven {
  std::vector<std::int64_t> due;  // deferred
  std::vector<RowGiven> rows;
};

struct Range {
  int pass = 0;
  Edge lo;
  Edge hi;
  Edge cursor;
  bool is_done = false;
  std::int64_t epoch = 0;
  std::int64_t sequence = 0;
  std::optional<std::string> owner;
  TimePoint expires;
  std::int64_t rows_estimated = 0;
  std::int64_t rows_done = 0;
  std::int64_t rows_changed = 0;
};

struct Deferred {
  Key key = 0;
  std::optional<TimePoint> visited_at;
};

// All that a commit can change and a crash can take back.
struct SimState {
  std::map<Key, Row> rows;
  std::map<std::int64_t, Range> ranges;
  std::map<std::int64_t, Deferred> deferred;
  std::map<Key, std::int64_t> quarantine;  // id of the row
  engine::JobStatus status = engine::JobStatus::kRunning;
  std::string reason;
  int pass = 0;
  int workers = 1;
  milliseconds batch_target{100};
  std::optional<std::int64_t> max_rows_per_second;
  Edge upper;       // how far the ranges of this pass reach
  Edge upper_from;  // where they begin
  std::int64_t last_range = 0;
  std::int64_t last_deferred = 0;
  std::int64_t last_row = 0;
  std::int64_t changed_on_visits = 0;

  bool is_deferred(Key key) const;
};

enum class FaultKind {
  kNone,
  kDeadlock,
  kSerialization,
  kCancel,
  kOutOfMemory,
  kLostBefore,   // the request never arrives
  kLostRunning,  // the client is gone, the statement goes on and commits
  kLostAfter,    // the answer is lost
  kLostLate,     // the client is gone; something between holds the request back, and then lets it through
  kCrashBefore,  // of the server: before the statement, before its commit, before its answer
  kCrashRunning,
  kCrashAfter,
  kFailOver,
  kTooManyConnections,
  kSlow,
};
inline constexpr int kFaultKinds = static_cast<int>(FaultKind::kSlow) + 1;
std::string to_string(FaultKind kind);

// Mistakes that a test makes on purpose, to see that they are found.
enum class Planted {
  kNothing,
  kWritesWithoutComparing,   // whatever became of a row since it was read
  kPassesOverChangedRows,    // and does not defer them
  kVisitsSettleChangedRows,  // a deferred row that has changed meanwhile counts as done
};

struct ServerOptions {
  bool has_where = false;
  // Rows are read, a program computes with no transaction open, and its answers are written.
  bool computes = false;
  Planted planted = Planted::kNothing;
  milliseconds batch_cost{2};
  std::int64_t row_cost_us = 200;
  milliseconds restart_time{500};
  std::int64_t replica_lag = 0;  // commits that a fail-over may lose, whether flushed or not
  std::int64_t quarantine_budget = 0;
  std::int64_t least_rows_of_a_half = 4;
  std::int64_t ranges_wanted = 3;
  milliseconds lease_time{3'000};
  bool commits_asynchronously = true;
};

// What sees every commit; see checkers.h.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void before_claim(SimState const& state, std::int64_t range, std::string const& owner) = 0;
  virtual void before_batch(SimState const& state, planner::BatchRequest const& request, std::string const& owner) = 0;
  virtual void after_commit(SimState const& state, std::optional<std::int64_t> range) = 0;
  virtual void after_recovery(SimState const& state) = 0;
  virtual void before_completion(SimState const& state) = 0;
  virtual void quarantined(SimState const& state, Key key) = 0;
};

struct Backend {
  bool is_open = true;
  bool is_cancelled = false;
  std::int64_t generation = 0;
};

// The client's end of a call; the server answers it, or its death does.
struct Call {
  SimWorld::Token token = 0;
  bool is_answered = false;
  bool is_lost = false;
};

class SimServer;

// Holds locks until it ends.
class Transaction {
 public:
  Transaction(SimServer& server, std::shared_ptr<Backend> backend, FaultKind fault);
  ~Transaction();
  Transaction(Transaction const&) = delete;
  Transaction& operator=(Transaction const&) = delete;

  std::int64_t id() const { return id_; }
  FaultKind fault() const { return fault_; }
  // Cancelled, or the server it ran on is no more.
  std::optional<Failure> interrupted() const;
  milliseconds elapsed() const;
  Failure failed(std::string sqlstate, std::string message, milliseconds statement_timeout) const;

 private:
  SimServer& server_;
  std::shared_ptr<Backend> backend_;
  FaultKind fault_;
  std::int64_t id_;
  TimePoint began_;
};

enum class Lockable { kRange, kRow, kDeferred, kJob };

class SimServer {
 public:
  SimServer(SimWorld& world, ServerOptions options, SimState initial);

  SimWorld& world() { return world_; }
  SimGroup& group() { return group_; }
  ServerOptions const& options() const { return options_; }
  SimState const& state() const { return live_; }
  void set_observer(Observer& observer) { observer_ = &observer; }
  Observer& observer() { return *observer_; }

  // --- statements, each one transaction
  using MaybeLease = std::optional<planner::Lease>;
  asio::awaitable<Result<MaybeLease>> claim(std::shared_ptr<Transaction> tx, std::string owner);
  asio::awaitable<Result<std::optional<planner::SplitCandidate>>> split_candidate(std::shared_ptr<Transaction> tx);
  asio::awaitable<Result<MaybeLease>> split(std::shared_ptr<Transaction> tx, planner::Lease candidate, Key middle,
                                            std::string owner);
  asio::awaitable<Result<planner::Page>> look_ahead(std::shared_ptr<Transaction> tx, Edge lo, Edge hi,
                                                    std::int64_t rows, milliseconds timeout);
  // `given`: of a batch whose values were computed from these.
  using MaybeGiven = std::optional<std::vector<RowGiven>>;
  asio::awaitable<Result<planner::BatchDone>> batch(std::shared_ptr<Transaction> tx, planner::BatchRequest request,
                                                    std::string owner, MaybeGiven given = std::nullopt);
  // Rows of the batch, at most so many.
  asio::awaitable<Result<RowsGiven>> read_batch(std::shared_ptr<Transaction> tx, planner::BatchRequest request,
                                                std::string owner, std::int64_t most);
  asio::awaitable<Result<DueGiven>> read_due(std::shared_ptr<Transaction> tx, std::int64_t rows,
                                             std::optional<std::int64_t> only);
  asio::awaitable<Result<MaybeLease>> reread(std::shared_ptr<Transaction> tx, planner::Lease lease, std::string owner);
  asio::awaitable<Result<engine::Done>> release(std::shared_ptr<Transaction> tx, planner::Lease lease,
                                                std::string owner);
  asio::awaitable<Result<planner::Visit>> visit(std::shared_ptr<Transaction> tx, std::int64_t rows,
                                                std::optional<std::int64_t> only, milliseconds timeout,
                                                std::optional<DueGiven> given = std::nullopt);
  asio::awaitable<Result<engine::Done>> quarantine_deferred(std::shared_ptr<Transaction> tx, std::int64_t id);
  asio::awaitable<Result<engine::Done>> mark_visited(std::shared_ptr<Transaction> tx, std::int64_t id);
  asio::awaitable<Result<SimState>> snapshot(std::shared_ptr<Transaction> tx);
  asio::awaitable<Result<Edge>> last_key(std::shared_ptr<Transaction> tx);
  // False: the pass has moved on.
  asio::awaitable<Result<bool>> next_pass(std::shared_ptr<Transaction> tx, int pass, planner::LeafPart part,
                                          std::vector<planner::PlannedRange> ranges, Edge upper);
  asio::awaitable<Result<bool>> complete(std::shared_ptr<Transaction> tx, int pass);
  asio::awaitable<Result<engine::Done>> set_status(std::shared_ptr<Transaction> tx, engine::JobStatus status,
                                                   std::string reason);

  // --- what others do, at once
  void commit(std::string const& what, bool synchronous, std::function<void(SimState&)> change,
              std::optional<std::int64_t> range = std::nullopt);
  void hold_row(std::int64_t row, TimePoint until) { held_[row] = until; }
  void release_rows() { held_.clear(); }
  void lock_table(TimePoint until) { table_locked_until_ = until; }
  bool is_in_batch(Key key) const { return locks_.contains({Lockable::kRow, key}); }
  void make_first_ranges();

  void crash();
  void fail_over();
  bool is_up() const { return world_.now() >= up_at_; }
  std::int64_t generation() const { return generation_; }
  void expect_answer(std::shared_ptr<Call> const& call);

 private:
  friend class Transaction;
  struct Commit {
    TimePoint at;
    std::function<void(SimState&)> change;
  };

  asio::awaitable<std::optional<Failure>> lock(Transaction& tx, Lockable kind, std::int64_t id, milliseconds timeout,
                                               milliseconds statement_timeout);
  asio::awaitable<std::optional<Failure>> wait_for_table(Transaction& tx, milliseconds timeout);
  asio::awaitable<std::optional<Failure>> work(Transaction& tx, milliseconds duration, milliseconds statement_timeout);
  // Everything that can go wrong goes wrong here at the latest; afterwards the commit cannot fail.
  asio::awaitable<std::optional<Failure>> before_commit(Transaction& tx, milliseconds statement_timeout);
  void after_commit(Transaction& tx);
  asio::awaitable<std::optional<Failure>> lock_rows(Transaction& tx, planner::BatchRequest const& request,
                                                    std::vector<std::pair<Key, std::int64_t>>& found,
                                                    std::vector<Key>& left);
  // The same for a batch whose values are there: nobody is waited for, and what has changed is left.
  void lock_given(Transaction& tx, planner::BatchRequest const& request, std::vector<RowGiven> const& given,
                  std::vector<std::pair<Key, std::int64_t>>& found, std::vector<Key>& left);
  bool is_as_given(Key key, Row const& row, std::vector<RowGiven> const& given) const;
  std::optional<Failure> check_fence(Transaction& tx, planner::BatchRequest const& request,
                                     std::string const& owner) const;
  void commit_batch(planner::BatchRequest const& request, std::string const& owner, std::vector<Key> const& changed,
                    std::vector<Key> const& left, MaybeGiven const& given);
  bool is_free(Lockable kind, std::int64_t id, std::int64_t transaction) const;
  bool is_held(Key key, std::int64_t transaction) const;
  bool matches(Row const& row) const { return !options_.has_where || row.changed == 0; }
  planner::Lease lease_of(std::int64_t id) const;
  planner::Page page_after(Edge lo, Edge hi, std::int64_t rows) const;
  void restart_with(std::int64_t kept);
  void flush_old_commits();
  std::int64_t last_commit() const { return base_commit_ + static_cast<std::int64_t>(log_.size()); }

  SimWorld& world_;
  ServerOptions options_;
  SimGroup group_;
  Observer* observer_ = nullptr;
  SimState live_;
  SimState base_;  // after the first base_commit_ commits; log_ has those that followed
  std::int64_t base_commit_ = 0;
  std::int64_t flushed_ = 0;
  std::deque<Commit> log_;
  std::map<std::pair<Lockable, std::int64_t>, std::int64_t> locks_;
  std::map<std::int64_t, TimePoint> held_;
  TimePoint table_locked_until_;
  TimePoint up_at_;
  std::int64_t generation_ = 0;
  std::int64_t last_transaction_ = 0;
  std::vector<std::weak_ptr<Call>> calls_;
};

// Ids of deferred keys, oldest visit first; those never visited before all others.
std::vector<std::int64_t> in_order_of_visits(std::map<std::int64_t, Deferred> const& deferred);

// Where a table that ends at `upper` is cut into ranges.
std::vector<Key> cut_evenly(Edge const& upper, std::int64_t ranges);

planner::Bound bound_of(Edge const& edge);
Edge edge_of(planner::Bound const& bound);

}  // namespace pgbackfill::tests
