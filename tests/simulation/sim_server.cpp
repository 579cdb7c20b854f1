#include "tests/simulation/sim_server.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace pgbackfill::tests {

namespace {

using engine::Done;
using engine::JobStatus;
using planner::BatchDone;
using planner::BatchMode;
using planner::BatchRequest;
using planner::Lease;
using planner::Page;
using planner::SetAside;
using namespace std::chrono_literals;

// What statements on the state tables are given (pg_database.cpp).
constexpr auto kStateTimeout = 10'000ms;
constexpr auto kStateLockTimeout = 5'000ms;
// The WAL writer flushes asynchronous commits within three of its rounds.
constexpr auto kFlushedAfter = 600ms;

bool is_within(Key key, Edge const& hi) {
  return !hi || key <= *hi;
}

Failure failure_of(std::string sqlstate, std::string message, milliseconds elapsed, milliseconds statement_timeout) {
  Failure failure;
  failure.trouble = planner::classify(sqlstate, elapsed, statement_timeout);
  failure.sqlstate = std::move(sqlstate);
  failure.message = std::move(message);
  failure.elapsed = elapsed;
  return failure;
}

}  // namespace

std::vector<Key> cut_evenly(Edge const& upper, std::int64_t ranges) {
  std::vector<Key> bounds;
  for (std::int64_t part = 1; upper && part < ranges; ++part) {
    Key const bound = *upper * part / ranges;
    if (bound < *upper && (bounds.empty() || bounds.back() < bound)) bounds.push_back(bound);
  }
  return bounds;
}

planner::Bound bound_of(Edge const& edge) {
  return edge ? planner::Bound(planner::KeyValue{std::to_string(*edge)}) : planner::Bound();
}

Edge edge_of(planner::Bound const& bound) {
  return bound ? Edge(std::stoll(bound->front())) : Edge();
}

std::string to_string(FaultKind kind) {
  static constexpr char const* kNames[] = {"none",          "deadlock",
                                           "serialization", "cancel",
                                           "out of memory", "lost before",
                                           "lost running",  "lost after",
                                           "lost late",     "crash before",
                                           "crash running", "crash after",
                                           "fail-over",     "too many connections",
                                           "slow"};
  return kNames[static_cast<int>(kind)];
}

bool SimState::is_deferred(Key key) const {
  return std::any_of(deferred.begin(), deferred.end(), [&](auto const& entry) { return entry.second.key == key; });
}

// --- transactions ----------------------------------------------------------------------------------------------------

Transaction::Transaction(SimServer& server, std::shared_ptr<Backend> backend, FaultKind fault)
    : server_(server),
      backend_(std::move(backend)),
      fault_(fault),
      id_(++server.last_transaction_),
      began_(server.world_.now()) {}

Transaction::~Transaction() {
  std::erase_if(server_.locks_, [this](auto const& lock) { return lock.second == id_; });
}

milliseconds Transaction::elapsed() const {
  return std::chrono::duration_cast<milliseconds>(server_.world_.now() - began_);
}

Failure Transaction::failed(std::string sqlstate, std::string message, milliseconds statement_timeout) const {
  return failure_of(std::move(sqlstate), std::move(message), elapsed(), statement_timeout);
}

std::optional<Failure> Transaction::interrupted() const {
  if (backend_->generation != server_.generation_) return failed("57P01", "the server went down", kStateTimeout);
  if (backend_->is_cancelled) {
    backend_->is_cancelled = false;
    return failed("57014", "cancelled by request", kStateTimeout);
  }
  return std::nullopt;
}

SimServer::SimServer(SimWorld& world, ServerOptions options, SimState initial)
    : world_(world), options_(options), live_(std::move(initial)), base_(live_) {
  group_.name = "server";
}

void SimServer::make_first_ranges() {
  Edge const upper = live_.rows.empty() ? Edge() : Edge(live_.rows.rbegin()->first);
  auto bounds = cut_evenly(upper, options_.ranges_wanted);
  if (upper) bounds.push_back(*upper);
  for (SimState* state : {&live_, &base_}) {
    state->upper = upper;
    Edge lo;
    for (Key const hi : bounds) {
      Range range;
      range.lo = range.cursor = lo;
      range.hi = lo = hi;
      range.rows_estimated = static_cast<std::int64_t>(state->rows.size() / bounds.size());
      state->ranges[++state->last_range] = range;
    }
  }
}

bool SimServer::is_free(Lockable kind, std::int64_t id, std::int64_t transaction) const {
  auto const found = locks_.find({kind, id});
  return found == locks_.end() || found->second == transaction;
}

bool SimServer::is_held(Key key, std::int64_t transaction) const {
  if (!is_free(Lockable::kRow, key, transaction)) return true;
  auto const row = live_.rows.find(key);
  if (row == live_.rows.end()) return false;
  auto const held = held_.find(row->second.id);
  return held != held_.end() && held->second > world_.now();
}

asio::awaitable<std::optional<Failure>> SimServer::lock(Transaction& tx, Lockable kind, std::int64_t id,
                                                        milliseconds timeout, milliseconds statement_timeout) {
  auto const until = world_.now() + timeout;
  auto const look_again = std::max<milliseconds>(1ms, timeout / 25);
  while (true) {
    if (auto interrupted = tx.interrupted()) co_return interrupted;
    bool const is_taken = kind == Lockable::kRow ? is_held(id, tx.id()) : !is_free(kind, id, tx.id());
    if (!is_taken) break;
    if (world_.now() >= until) co_return tx.failed("55P03", "lock timeout", statement_timeout);
    if (tx.elapsed() >= statement_timeout) co_return tx.failed("57014", "statement timeout", statement_timeout);
    co_await world_.sleep(group_, look_again);
  }
  locks_[{kind, id}] = tx.id();
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> SimServer::wait_for_table(Transaction& tx, milliseconds timeout) {
  auto const until = world_.now() + timeout;
  while (world_.now() < table_locked_until_) {
    if (auto interrupted = tx.interrupted()) co_return interrupted;
    if (world_.now() >= until) co_return tx.failed("55P03", "the table is locked", kStateTimeout);
    co_await world_.sleep(group_, std::max<milliseconds>(1ms, timeout / 10));
  }
  co_return tx.interrupted();
}

asio::awaitable<std::optional<Failure>> SimServer::work(Transaction& tx, milliseconds duration,
                                                        milliseconds statement_timeout) {
  bool const is_too_long = tx.elapsed() + duration >= statement_timeout;
  auto const works = is_too_long ? std::max(statement_timeout - tx.elapsed(), 1ms) : duration;
  co_await world_.sleep(group_, works);
  if (auto interrupted = tx.interrupted()) co_return interrupted;
  if (is_too_long) co_return tx.failed("57014", "statement timeout", statement_timeout);
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> SimServer::before_commit(Transaction& tx, milliseconds statement_timeout) {
  if (tx.fault() == FaultKind::kSlow || tx.fault() == FaultKind::kLostRunning) {
    // Between the work and its commit: a slow disk, a standby that has to confirm.
    auto const delay = world_.between(1ms, 4'000ms);
    co_await world_.sleep(group_, delay);
  }
  if (auto interrupted = tx.interrupted()) co_return interrupted;
  switch (tx.fault()) {
    case FaultKind::kDeadlock:
      co_return tx.failed("40P01", "deadlock detected", statement_timeout);
    case FaultKind::kSerialization:
      co_return tx.failed("40001", "could not serialize access", statement_timeout);
    case FaultKind::kCancel:
      co_return failure_of("57014", "somebody cancelled it", 0ms, statement_timeout);
    case FaultKind::kOutOfMemory:
      co_return tx.failed("53200", "out of memory", statement_timeout);
    case FaultKind::kCrashRunning:
      crash();
      co_return tx.interrupted();
    case FaultKind::kFailOver:
      fail_over();
      co_return tx.interrupted();
    default:
      co_return std::nullopt;
  }
}

void SimServer::after_commit(Transaction& tx) {
  if (tx.fault() == FaultKind::kCrashAfter) crash();
}

// --- commits and what becomes of them --------------------------------------------------------------------------------

void SimServer::commit(std::string const& what, bool synchronous, std::function<void(SimState&)> change,
                       std::optional<std::int64_t> range) {
  change(live_);
  log_.push_back({world_.now(), std::move(change)});
  if (synchronous) flushed_ = last_commit();
  flush_old_commits();
  if (world_.is_traced()) world_.trace(fmt::format("commit {}{}: {}", last_commit(), synchronous ? " sync" : "", what));
  observer_->after_commit(live_, range);
}

void SimServer::flush_old_commits() {
  for (auto at = flushed_ - base_commit_; at < static_cast<std::int64_t>(log_.size()); ++at) {
    if (log_[static_cast<std::size_t>(at)].at + kFlushedAfter > world_.now()) break;
    flushed_ = base_commit_ + at + 1;
  }
  while (base_commit_ < std::min(flushed_, last_commit() - options_.replica_lag)) {
    log_.front().change(base_);
    log_.pop_front();
    ++base_commit_;
  }
}

void SimServer::crash() {
  restart_with(world_.between(flushed_, last_commit()));
}

void SimServer::fail_over() {
  auto const oldest = std::max(base_commit_, last_commit() - options_.replica_lag);
  restart_with(world_.between(oldest, last_commit()));
}

void SimServer::restart_with(std::int64_t kept) {
  if (world_.is_traced()) world_.trace(fmt::format("SERVER DOWN, keeps {} of {} commits", kept, last_commit()));
  log_.resize(static_cast<std::size_t>(kept - base_commit_));
  live_ = base_;
  for (auto const& commit : log_) commit.change(live_);
  flushed_ = kept;
  ++generation_;
  locks_.clear();
  held_.clear();
  table_locked_until_ = {};
  up_at_ = world_.now() + options_.restart_time;
  for (auto const& weak : std::exchange(calls_, {})) {
    auto const call = weak.lock();
    if (!call || call->is_answered) continue;
    call->is_answered = call->is_lost = true;
    world_.wake(call->token);
  }
  observer_->after_recovery(live_);
}

void SimServer::expect_answer(std::shared_ptr<Call> const& call) {
  std::erase_if(calls_, [](auto const& weak) { return weak.expired(); });
  calls_.push_back(call);
}

// --- ranges ----------------------------------------------------------------------------------------------------------

Lease SimServer::lease_of(std::int64_t id) const {
  auto const& range = live_.ranges.at(id);
  Lease lease;
  lease.range_id = id;
  lease.pass = range.pass;
  lease.epoch = range.epoch;
  lease.sequence = range.sequence;
  lease.cursor = bound_of(range.cursor);
  lease.hi = bound_of(range.hi);
  return lease;
}

asio::awaitable<Result<SimServer::MaybeLease>> SimServer::claim(std::shared_ptr<Transaction> tx, std::string owner) {
  std::int64_t found = 0;
  for (auto const& [id, range] : live_.ranges) {
    bool const is_open = live_.status == JobStatus::kRunning && range.pass == live_.pass && !range.is_done;
    // A range in one's own name is one whose claim or release was never heard of.
    bool const is_unowned = !range.owner || range.owner == owner || range.expires < world_.now();
    if (is_open && is_unowned && is_free(Lockable::kRange, id, tx->id())) {
      found = id;
      break;
    }
  }
  if (found != 0) locks_[{Lockable::kRange, found}] = tx->id();
  if (auto failure = co_await before_commit(*tx, kStateTimeout)) co_return *failure;
  if (found == 0) co_return MaybeLease();
  observer_->before_claim(live_, found, owner);
  auto const expires = world_.now() + options_.lease_time;
  auto const take = [found, owner, expires](SimState& state) {
    auto& range = state.ranges.at(found);
    range.owner = owner;
    ++range.epoch;
    range.expires = expires;
  };
  commit(fmt::format("{} claims range {}", owner, found), true, take, found);
  MaybeLease const lease = lease_of(found);
  after_commit(*tx);
  co_return lease;
}

asio::awaitable<Result<std::optional<planner::SplitCandidate>>> SimServer::split_candidate(
    std::shared_ptr<Transaction> tx) {
  std::int64_t best = 0;
  for (auto const& [id, range] : live_.ranges) {
    if (live_.status != JobStatus::kRunning || range.pass != live_.pass || range.is_done || !range.owner) continue;
    std::int64_t const left = range.rows_estimated - range.rows_done;
    if (best != 0 && left <= live_.ranges.at(best).rows_estimated - live_.ranges.at(best).rows_done) continue;
    best = id;
  }
  std::optional<planner::SplitCandidate> candidate;
  if (best != 0) {
    auto const& range = live_.ranges.at(best);
    candidate.emplace();
    candidate->range = lease_of(best);
    candidate->rows_left = std::max<std::int64_t>(range.rows_estimated - range.rows_done, 0);
  }
  if (auto failure = co_await before_commit(*tx, kStateTimeout)) co_return *failure;
  co_return candidate;
}

asio::awaitable<Result<SimServer::MaybeLease>> SimServer::split(std::shared_ptr<Transaction> tx, Lease candidate,
                                                                Key middle, std::string owner) {
  std::int64_t const id = candidate.range_id;
  auto failure = co_await lock(*tx, Lockable::kRange, id, kStateLockTimeout, kStateTimeout);
  if (!failure) failure = co_await before_commit(*tx, kStateTimeout);
  if (failure) co_return *failure;
  auto const range = live_.ranges.find(id);
  if (range == live_.ranges.end()) co_return MaybeLease();
  auto const& now = range->second;
  bool const is_not_past = !now.cursor || now.cursor == now.lo || *now.cursor <= middle;
  if (now.is_done || now.hi != edge_of(candidate.hi) || !is_not_past) co_return MaybeLease();
  auto const expires = world_.now() + options_.lease_time;
  auto const cut = [id, middle, owner, expires](SimState& state) {
    auto& near = state.ranges.at(id);
    near.rows_estimated = near.rows_done + std::max<std::int64_t>(near.rows_estimated - near.rows_done, 0) / 2;
    Range far;
    far.pass = near.pass;
    far.lo = far.cursor = middle;
    far.hi = std::exchange(near.hi, middle);
    far.rows_estimated = near.rows_estimated - near.rows_done;
    far.owner = owner;
    far.epoch = 1;
    far.expires = expires;
    state.ranges[++state.last_range] = far;
  };
  commit(fmt::format("{} splits range {} at {}", owner, id, middle), true, cut, id);
  MaybeLease const lease = lease_of(live_.last_range);
  after_commit(*tx);
  co_return lease;
}

asio::awaitable<Result<SimServer::MaybeLease>> SimServer::reread(std::shared_ptr<Transaction> tx, Lease lease,
                                                                 std::string owner) {
  auto const is_ours = [&] {
    auto const range = live_.ranges.find(lease.range_id);
    return range != live_.ranges.end() && range->second.epoch == lease.epoch && range->second.owner == owner &&
           !range->second.is_done;
  };
  if (is_ours()) {
    auto failure = co_await lock(*tx, Lockable::kRange, lease.range_id, kStateLockTimeout, kStateTimeout);
    if (failure) co_return *failure;
  }
  if (auto failure = co_await before_commit(*tx, kStateTimeout)) co_return *failure;
  co_return is_ours() ? MaybeLease(lease_of(lease.range_id)) : MaybeLease();
}

asio::awaitable<Result<engine::Done>> SimServer::release(std::shared_ptr<Transaction> tx, Lease lease,
                                                         std::string owner) {
  std::int64_t const id = lease.range_id;
  auto failure = co_await lock(*tx, Lockable::kRange, id, kStateLockTimeout, kStateTimeout);
  if (!failure) failure = co_await before_commit(*tx, kStateTimeout);
  if (failure) co_return *failure;
  auto const range = live_.ranges.find(id);
  bool const is_ours = range != live_.ranges.end() && range->second.epoch == lease.epoch &&
                       range->second.owner == owner && !range->second.is_done;
  if (is_ours) {
    commit(
        fmt::format("{} gives back range {}", owner, id), true,
        [id](SimState& state) { state.ranges.at(id).owner.reset(); }, id);
    after_commit(*tx);
  }
  co_return engine::Done();
}

// --- batches ---------------------------------------------------------------------------------------------------------

Page SimServer::page_after(Edge lo, Edge hi, std::int64_t rows) const {
  Page page;
  auto at = lo ? live_.rows.upper_bound(*lo) : live_.rows.begin();
  for (; at != live_.rows.end() && is_within(at->first, hi); ++at) {
    if (++page.rows == rows) {
      page.last = bound_of(at->first);
      break;
    }
  }
  return page;
}

asio::awaitable<Result<Page>> SimServer::look_ahead(std::shared_ptr<Transaction> tx, Edge lo, Edge hi,
                                                    std::int64_t rows, milliseconds timeout) {
  auto failure = co_await wait_for_table(*tx, timeout);
  if (!failure) failure = co_await before_commit(*tx, timeout);
  if (failure) co_return *failure;
  co_return page_after(lo, hi, rows);
}

std::optional<Failure> SimServer::check_fence(Transaction& tx, BatchRequest const& request,
                                              std::string const& owner) const {
  auto const found = live_.ranges.find(request.lease.range_id);
  bool const holds =
      found != live_.ranges.end() && found->second.epoch == request.lease.epoch &&
      found->second.sequence == request.lease.sequence && found->second.cursor == edge_of(request.lease.cursor) &&
      found->second.hi == edge_of(request.lease.hi) && found->second.owner == owner && !found->second.is_done;
  if (holds) return std::nullopt;
  return tx.failed(planner::kFencedState, "the range has moved on", request.statement_timeout);
}

// Fills `found` with the rows of the statement's snapshot that are now locked, `left` with those left out.
asio::awaitable<std::optional<Failure>> SimServer::lock_rows(Transaction& tx, BatchRequest const& request,
                                                             std::vector<std::pair<Key, std::int64_t>>& found,
                                                             std::vector<Key>& left) {
  Edge const lo = edge_of(request.interval.lo);
  Edge const hi = edge_of(request.interval.hi);
  for (auto at = lo ? live_.rows.upper_bound(*lo) : live_.rows.begin();
       at != live_.rows.end() && is_within(at->first, hi); ++at) {
    if (!matches(at->second)) continue;
    bool const is_left =
        request.mode == BatchMode::kSetAside || (request.mode == BatchMode::kSkipLocked && is_held(at->first, tx.id()));
    if (is_left) {
      left.push_back(at->first);
    } else {
      found.emplace_back(at->first, at->second.id);
    }
  }
  for (auto const& [key, id] : found) {
    auto failure = co_await lock(tx, Lockable::kRow, key, request.lock_timeout, request.statement_timeout);
    if (failure) co_return failure;
  }
  co_return std::nullopt;
}

bool SimServer::is_as_given(Key key, Row const& row, std::vector<RowGiven> const& given) const {
  bool const compares = options_.planted != Planted::kWritesWithoutComparing;
  return std::any_of(given.begin(), given.end(),
                     [&](RowGiven const& one) { return one.key == key && (!compares || one.source == row.source); });
}

void SimServer::lock_given(Transaction& tx, BatchRequest const& request, std::vector<RowGiven> const& given,
                           std::vector<std::pair<Key, std::int64_t>>& found, std::vector<Key>& left) {
  Edge const lo = edge_of(request.interval.lo);
  Edge const hi = edge_of(request.interval.hi);
  for (auto at = lo ? live_.rows.upper_bound(*lo) : live_.rows.begin();
       at != live_.rows.end() && is_within(at->first, hi); ++at) {
    auto const& [key, row] = *at;
    if (!matches(row)) continue;
    bool const is_taken = is_held(key, tx.id());
    if (!is_taken && is_as_given(key, row, given)) {
      locks_[{Lockable::kRow, key}] = tx.id();
      found.emplace_back(key, row.id);
      continue;
    }
    bool const is_passed_over = !is_taken && options_.planted == Planted::kPassesOverChangedRows;
    if (!is_passed_over) left.push_back(key);
  }
}

asio::awaitable<Result<RowsGiven>> SimServer::read_batch(std::shared_ptr<Transaction> tx, BatchRequest request,
                                                         std::string owner, std::int64_t most) {
  auto const timeout = request.statement_timeout;
  auto failure = co_await lock(*tx, Lockable::kRange, request.lease.range_id, request.lock_timeout, timeout);
  if (!failure) failure = check_fence(*tx, request, owner);
  if (!failure) failure = co_await wait_for_table(*tx, request.lock_timeout);
  if (failure) co_return *failure;
  RowsGiven read;
  Edge const lo = edge_of(request.interval.lo);
  Edge const hi = edge_of(request.interval.hi);
  for (auto at = lo ? live_.rows.upper_bound(*lo) : live_.rows.begin();
       at != live_.rows.end() && is_within(at->first, hi); ++at) {
    if (!matches(at->second)) continue;
    if (static_cast<std::int64_t>(read.rows.size()) == most) {
      read.reached = read.rows.back().key;
      break;
    }
    read.rows.push_back({at->first, at->second.id, at->second.source});
  }
  failure = co_await before_commit(*tx, timeout);
  if (failure) co_return *failure;
  co_return read;
}

asio::awaitable<Result<BatchDone>> SimServer::batch(std::shared_ptr<Transaction> tx, BatchRequest request,
                                                    std::string owner, MaybeGiven given) {
  auto const timeout = request.statement_timeout;
  auto const began = world_.now();
  Edge const request_end = edge_of(request.interval.hi);
  auto failure = co_await lock(*tx, Lockable::kRange, request.lease.range_id, request.lock_timeout, timeout);
  if (!failure) failure = check_fence(*tx, request, owner);
  if (!failure) failure = co_await wait_for_table(*tx, request.lock_timeout);
  if (failure) co_return *failure;
  std::vector<std::pair<Key, std::int64_t>> found;
  std::vector<Key> left;
  if (given) {
    lock_given(*tx, request, *given, found, left);
  } else {
    failure = co_await lock_rows(*tx, request, found, left);
  }
  if (failure) co_return *failure;
  auto cost = options_.batch_cost;
  for (auto const& [key, id] : found) {
    auto const row = live_.rows.find(key);
    if (row != live_.rows.end()) cost += row->second.cost;
  }
  cost += milliseconds(static_cast<std::int64_t>(found.size()) * options_.row_cost_us / 1'000);
  failure = co_await work(*tx, cost, timeout);
  if (failure) co_return *failure;
  std::vector<Key> changed;
  for (auto const& [key, id] : found) {
    // READ COMMITTED looks again at rows that changed under it.
    auto const row = live_.rows.find(key);
    if (row == live_.rows.end() || row->second.id != id || !matches(row->second)) continue;
    if (row->second.is_poison) co_return tx->failed("22012", fmt::format("division by zero in {}", key), timeout);
    changed.push_back(key);
  }
  if (request.set_aside == SetAside::kQuarantine) {
    // Somebody inserted a row beside the bad one: nobody knows which of them failed.
    bool const is_the_one = std::all_of(left.begin(), left.end(), [&](Key key) { return key == request_end; });
    if (!is_the_one) co_return tx->failed(planner::kFencedState, "another row came beside the bad one", timeout);
    failure = co_await lock(*tx, Lockable::kJob, 0, request.lock_timeout, timeout);
    if (failure) co_return *failure;
    // A row that an earlier pass put there counts once.
    auto const so_far = static_cast<std::int64_t>(live_.quarantine.size());
    auto const added =
        std::count_if(left.begin(), left.end(), [&](Key key) { return !live_.quarantine.contains(key); });
    if (so_far + added > options_.quarantine_budget) {
      co_return tx->failed(planner::kBudgetState, "more rows failed than allowed", timeout);
    }
  }
  failure = co_await before_commit(*tx, timeout);
  if (failure) co_return *failure;
  commit_batch(request, owner, changed, left, given);
  BatchDone done;
  done.rows_changed = static_cast<std::int64_t>(changed.size());
  done.rows_left = static_cast<std::int64_t>(left.size());
  done.duration = std::chrono::duration_cast<std::chrono::microseconds>(world_.now() - began);
  if (!request.ends_range && request.look_ahead_rows > 0) {
    done.next = page_after(edge_of(request.interval.hi), edge_of(request.lease.hi), request.look_ahead_rows);
  }
  after_commit(*tx);
  co_return done;
}

namespace {

// What was written is of the source that the program was given.
void write_row(Row& row, Key key, std::vector<RowGiven> const& given) {
  ++row.changed;
  for (auto const& one : given) {
    if (one.key == key && one.source != row.source) row.is_stale = true;
  }
}

}  // namespace

void SimServer::commit_batch(BatchRequest const& request, std::string const& owner, std::vector<Key> const& changed,
                             std::vector<Key> const& left, MaybeGiven const& given) {
  observer_->before_batch(live_, request, owner);
  std::map<Key, std::int64_t> quarantined;
  if (request.set_aside == SetAside::kQuarantine) {
    for (Key const key : left) {
      observer_->quarantined(live_, key);
      auto const row = live_.rows.find(key);
      quarantined[key] = row == live_.rows.end() ? 0 : row->second.id;
    }
  }
  std::vector<Key> deferred;
  if (request.set_aside == SetAside::kDefer) deferred = left;
  auto const expires = world_.now() + options_.lease_time;
  auto const rows_given = given.value_or(std::vector<RowGiven>());
  auto const change = [request, changed, quarantined, deferred, expires, rows_given](SimState& state) {
    for (Key const key : changed) write_row(state.rows.at(key), key, rows_given);
    state.quarantine.insert(quarantined.begin(), quarantined.end());
    for (Key const key : deferred) {
      if (!state.is_deferred(key)) state.deferred[++state.last_deferred] = {key, std::nullopt};
    }
    auto& range = state.ranges.at(request.lease.range_id);
    range.cursor = edge_of(request.interval.hi);
    ++range.sequence;
    range.is_done = request.ends_range;
    range.rows_done += request.rows;
    range.rows_changed += static_cast<std::int64_t>(changed.size());
    range.expires = expires;
    if (request.ends_range) range.owner.reset();
  };
  std::string what;
  if (world_.is_traced()) {
    what = fmt::format("batch of {} in range {} ({}, {}]: {} changed, {} left{}{}", owner, request.lease.range_id,
                       planner::to_string(request.interval.lo, "start"), planner::to_string(request.interval.hi, "end"),
                       changed.size(), left.size(), quarantined.empty() ? "" : " in quarantine",
                       request.ends_range ? ", the last" : "");
  }
  commit(what, !options_.commits_asynchronously, change, request.lease.range_id);
}

// --- deferred rows ---------------------------------------------------------------------------------------------------

std::vector<std::int64_t> in_order_of_visits(std::map<std::int64_t, Deferred> const& deferred) {
  std::vector<std::int64_t> ids;
  for (auto const& [id, entry] : deferred) ids.push_back(id);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int64_t left, std::int64_t right) {
    auto const& a = deferred.at(left).visited_at;
    auto const& b = deferred.at(right).visited_at;
    return a && b ? *a < *b : !a && b;
  });
  return ids;
}

asio::awaitable<Result<DueGiven>> SimServer::read_due(std::shared_ptr<Transaction> tx, std::int64_t rows,
                                                      std::optional<std::int64_t> only) {
  auto failure = co_await wait_for_table(*tx, 50ms);
  if (failure) co_return *failure;
  DueGiven read;
  for (auto const id : in_order_of_visits(live_.deferred)) {
    if (static_cast<std::int64_t>(read.due.size()) == rows) break;
    if (!is_free(Lockable::kDeferred, id, tx->id()) || (only && id != *only)) continue;
    read.due.push_back(id);
    auto const row = live_.rows.find(live_.deferred.at(id).key);
    bool const is_to_do = row != live_.rows.end() && matches(row->second);
    if (is_to_do) read.rows.push_back({row->first, row->second.id, row->second.source});
  }
  failure = co_await before_commit(*tx, kStateTimeout);
  if (failure) co_return *failure;
  co_return read;
}

asio::awaitable<Result<planner::Visit>> SimServer::visit(std::shared_ptr<Transaction> tx, std::int64_t rows,
                                                         std::optional<std::int64_t> only, milliseconds timeout,
                                                         std::optional<DueGiven> given) {
  auto failure = co_await wait_for_table(*tx, 50ms);
  if (failure) co_return *failure;
  std::vector<std::int64_t> due;
  for (auto const id : in_order_of_visits(live_.deferred)) {
    if (static_cast<std::int64_t>(due.size()) == rows) break;
    if (!is_free(Lockable::kDeferred, id, tx->id()) || (only && id != *only)) continue;
    if (given && std::find(given->due.begin(), given->due.end(), id) == given->due.end()) continue;
    locks_[{Lockable::kDeferred, id}] = tx->id();
    due.push_back(id);
  }
  std::vector<Key> changed;
  std::vector<std::int64_t> settled;
  std::vector<std::int64_t> left;
  bool has_poison = false;
  for (auto const id : due) {
    Key const key = live_.deferred.at(id).key;
    auto const row = live_.rows.find(key);
    if (row == live_.rows.end() || !matches(row->second)) {
      settled.push_back(id);
    } else if (is_held(key, tx->id())) {
      left.push_back(id);
    } else if (given && !is_as_given(key, row->second, given->rows)) {
      (options_.planted == Planted::kVisitsSettleChangedRows ? settled : left).push_back(id);
    } else {
      locks_[{Lockable::kRow, key}] = tx->id();
      settled.push_back(id);
      changed.push_back(key);
      has_poison = has_poison || row->second.is_poison;
    }
  }
  failure = co_await work(*tx, options_.batch_cost, timeout);
  if (!failure && has_poison) failure = tx->failed("22012", "division by zero", timeout);
  if (!failure && !changed.empty()) failure = co_await lock(*tx, Lockable::kJob, 0, 50ms, timeout);
  if (!failure) failure = co_await before_commit(*tx, timeout);
  if (failure) co_return *failure;
  auto const at = world_.now();
  auto const rows_given = given ? given->rows : std::vector<RowGiven>();
  auto const change = [changed, settled, left, at, rows_given](SimState& state) {
    for (Key const key : changed) write_row(state.rows.at(key), key, rows_given);
    for (auto const id : settled) state.deferred.erase(id);
    for (auto const id : left) state.deferred.at(id).visited_at = at;
    state.changed_on_visits += static_cast<std::int64_t>(changed.size());
  };
  commit(fmt::format("visit: {} changed, {} settled, {} left", changed.size(), settled.size(), left.size()), true,
         change);
  planner::Visit result;
  result.rows_changed = static_cast<std::int64_t>(changed.size());
  result.settled = static_cast<std::int64_t>(settled.size());
  result.left = static_cast<std::int64_t>(left.size());
  after_commit(*tx);
  co_return result;
}

asio::awaitable<Result<Done>> SimServer::quarantine_deferred(std::shared_ptr<Transaction> tx, std::int64_t id) {
  bool const is_there = live_.deferred.contains(id) && is_free(Lockable::kDeferred, id, tx->id());
  if (is_there) locks_[{Lockable::kDeferred, id}] = tx->id();
  auto failure = co_await lock(*tx, Lockable::kJob, 0, kStateLockTimeout, kStateTimeout);
  std::int64_t const added = is_there && !live_.quarantine.contains(live_.deferred.at(id).key) ? 1 : 0;
  if (!failure && static_cast<std::int64_t>(live_.quarantine.size()) + added > options_.quarantine_budget) {
    failure = tx->failed(planner::kBudgetState, "more rows failed than allowed", kStateTimeout);
  }
  if (!failure) failure = co_await before_commit(*tx, kStateTimeout);
  if (failure) co_return *failure;
  if (!is_there) co_return Done();
  Key const key = live_.deferred.at(id).key;
  observer_->quarantined(live_, key);
  auto const row = live_.rows.find(key);
  std::int64_t const row_id = row == live_.rows.end() ? 0 : row->second.id;
  commit(fmt::format("deferred key {} goes to quarantine", key), true, [id, key, row_id](SimState& state) {
    state.deferred.erase(id);
    state.quarantine.emplace(key, row_id);
  });
  after_commit(*tx);
  co_return Done();
}

asio::awaitable<Result<Done>> SimServer::mark_visited(std::shared_ptr<Transaction> tx, std::int64_t id) {
  if (auto failure = co_await before_commit(*tx, kStateTimeout)) co_return *failure;
  if (!live_.deferred.contains(id)) co_return Done();
  auto const at = world_.now();
  commit(fmt::format("deferred key {} was visited", live_.deferred.at(id).key), true,
         [id, at](SimState& state) { state.deferred.at(id).visited_at = at; });
  after_commit(*tx);
  co_return Done();
}

// --- the job ---------------------------------------------------------------------------------------------------------

asio::awaitable<Result<SimState>> SimServer::snapshot(std::shared_ptr<Transaction> tx) {
  SimState seen = live_;
  if (auto failure = co_await before_commit(*tx, kStateTimeout)) co_return *failure;
  co_return seen;
}

asio::awaitable<Result<Edge>> SimServer::last_key(std::shared_ptr<Transaction> tx) {
  auto failure = co_await wait_for_table(*tx, kStateLockTimeout);
  if (!failure) failure = co_await before_commit(*tx, kStateTimeout);
  if (failure) co_return *failure;
  co_return live_.rows.empty() ? Edge() : Edge(live_.rows.rbegin()->first);
}

asio::awaitable<Result<bool>> SimServer::next_pass(std::shared_ptr<Transaction> tx, int pass, planner::LeafPart part,
                                                   std::vector<planner::PlannedRange> ranges, Edge upper) {
  auto failure = co_await lock(*tx, Lockable::kJob, 0, kStateLockTimeout, kStateTimeout);
  if (!failure) failure = co_await before_commit(*tx, kStateTimeout);
  if (failure) co_return *failure;
  bool const is_open = std::any_of(live_.ranges.begin(), live_.ranges.end(), [&](auto const& entry) {
    return entry.second.pass == pass && !entry.second.is_done;
  });
  if (live_.pass != pass || live_.status != JobStatus::kRunning || is_open) co_return false;
  auto const change = [pass, part, ranges, upper](SimState& state) {
    state.pass = pass + 1;
    state.upper_from = part == planner::LeafPart::kWhole ? Edge() : state.upper;
    for (auto const& planned : ranges) {
      Range range;
      range.pass = pass + 1;
      range.lo = range.cursor = edge_of(planned.interval.lo);
      range.hi = edge_of(planned.interval.hi);
      range.rows_estimated = planned.rows_estimated;
      state.ranges[++state.last_range] = range;
    }
    if (upper) state.upper = upper;
  };
  commit(fmt::format("pass {}", pass + 1), true, change);
  after_commit(*tx);
  co_return true;
}

asio::awaitable<Result<bool>> SimServer::complete(std::shared_ptr<Transaction> tx, int pass) {
  auto failure = co_await lock(*tx, Lockable::kJob, 0, kStateLockTimeout, kStateTimeout);
  if (!failure) failure = co_await before_commit(*tx, kStateTimeout);
  if (failure) co_return *failure;
  bool const is_open =
      std::any_of(live_.ranges.begin(), live_.ranges.end(), [](auto const& entry) { return !entry.second.is_done; });
  if (live_.status != JobStatus::kRunning || live_.pass != pass || is_open || !live_.deferred.empty()) co_return false;
  observer_->before_completion(live_);
  commit("complete", true, [](SimState& state) {
    state.status = JobStatus::kComplete;
    state.reason.clear();
  });
  after_commit(*tx);
  co_return true;
}

asio::awaitable<Result<engine::Done>> SimServer::set_status(std::shared_ptr<Transaction> tx, JobStatus status,
                                                            std::string reason) {
  auto failure = co_await lock(*tx, Lockable::kJob, 0, kStateLockTimeout, kStateTimeout);
  if (!failure) failure = co_await before_commit(*tx, kStateTimeout);
  if (failure) co_return *failure;
  bool const can_fail =
      live_.status == JobStatus::kRunning || live_.status == JobStatus::kPaused || live_.status == JobStatus::kFailed;
  if (can_fail) {
    commit("status: " + reason, true, [status, reason](SimState& state) {
      state.status = status;
      state.reason = reason;
    });
  }
  after_commit(*tx);
  co_return engine::Done();
}

}  // namespace pgbackfill::tests
