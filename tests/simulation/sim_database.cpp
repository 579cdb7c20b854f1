#include "tests/simulation/sim_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "planner/keys/passes.h"
#include "planner/keys/range_walk.h"

namespace pgbackfill::tests {

using engine::Control;
using engine::Done;
using engine::JobStatus;
using engine::RunnersHeard;
using engine::RunnerTold;
using planner::BatchDone;
using planner::BatchRequest;
using planner::Lease;
using planner::Page;
using planner::Trouble;
using namespace std::chrono_literals;

namespace {

Failure link_lost(std::string message) {
  Failure failure;
  failure.trouble = Trouble::kConnection;
  failure.sqlstate = planner::kLinkLostState;
  failure.message = std::move(message);
  return failure;
}

template <class T>
struct TypedCall : Call {
  std::optional<Result<T>> result;
};

// Runs on the server, whether or not the client still waits. The transaction, and with it the locks, ends first.
template <class T>
asio::awaitable<void> answer(SimWorld& world, std::shared_ptr<TypedCall<T>> call, asio::awaitable<Result<T>> service) {
  auto result = co_await std::move(service);
  if (call->is_answered) co_return;
  call->result.emplace(std::move(result));
  call->is_answered = true;
  world.wake(call->token);
}

}  // namespace

class SimSession : public engine::Session {
 public:
  SimSession(SimDatabase& database, int worker)
      : database_(database),
        server_(database.server()),
        worker_(worker),
        owner_(fmt::format("{}/{}", database.owner(), worker)) {}
  ~SimSession() override { close(); }

  asio::awaitable<Result<std::optional<Lease>>> claim() override {
    auto const service = [&server = server_, owner = owner_](auto tx) { return server.claim(std::move(tx), owner); };
    return call<std::optional<Lease>>("claim", service);
  }
  asio::awaitable<Result<std::optional<planner::SplitCandidate>>> widest_range() override {
    auto const service = [&server = server_](auto tx) { return server.split_candidate(std::move(tx)); };
    return call<std::optional<planner::SplitCandidate>>("split: candidate", service);
  }
  asio::awaitable<Result<std::optional<Lease>>> cut_range(Lease range, planner::KeyValue middle) override {
    auto const service = [&server = server_, owner = owner_, range, middle = *edge_of(middle)](auto tx) {
      return server.split(std::move(tx), range, middle, owner);
    };
    return call<std::optional<Lease>>("split", service);
  }
  asio::awaitable<Result<Page>> look_ahead(Lease lease, std::int64_t rows, milliseconds timeout) override {
    auto const service = [&server = server_, lo = edge_of(lease.cursor), hi = edge_of(lease.hi), rows,
                          timeout](auto tx) { return server.look_ahead(std::move(tx), lo, hi, rows, timeout); };
    return call<Page>("look-ahead", service);
  }
  asio::awaitable<Result<BatchDone>> run_batch(BatchRequest request) override;
  asio::awaitable<Result<std::optional<Lease>>> reread(Lease lease) override {
    auto const service = [&server = server_, owner = owner_, lease](auto tx) {
      return server.reread(std::move(tx), lease, owner);
    };
    return call<std::optional<Lease>>("reread", service);
  }
  asio::awaitable<Result<Done>> release(Lease lease) override {
    auto const service = [&server = server_, owner = owner_, lease](auto tx) {
      return server.release(std::move(tx), lease, owner);
    };
    return call<Done>("release", service);
  }
  asio::awaitable<Result<std::vector<engine::DeferredLeaf>>> deferred_leaves() override;
  asio::awaitable<Result<planner::Visit>> visit(int /*leaf*/, std::int64_t rows,
                                                std::optional<std::int64_t> key) override {
    if (server_.options().computes) return visit_computed(rows, key);
    auto const service = [&server = server_, rows, key](auto tx) {
      return server.visit(std::move(tx), rows, key, 1'000ms);
    };
    return call<planner::Visit>("visit", service);
  }
  asio::awaitable<Result<std::optional<std::int64_t>>> next_deferred(int leaf) override;
  asio::awaitable<Result<Done>> mark_visited(std::int64_t key) override {
    auto const service = [&server = server_, key](auto tx) { return server.mark_visited(std::move(tx), key); };
    return call<Done>("visit: mark", service);
  }
  asio::awaitable<Result<Done>> set_aside(std::int64_t key, Failure /*because*/) override {
    auto const service = [&server = server_, key](auto tx) { return server.quarantine_deferred(std::move(tx), key); };
    return call<Done>("quarantine deferred", service);
  }
  asio::awaitable<Result<planner::PassState>> pass_state() override;
  // One table, without partitions.
  asio::awaitable<Result<bool>> has_new_leaves() override { co_return false; }
  asio::awaitable<Result<bool>> start_pass_after(int pass, planner::PassScope scope) override;
  asio::awaitable<Result<bool>> complete(int pass) override {
    auto const service = [&server = server_, pass](auto tx) { return server.complete(std::move(tx), pass); };
    return call<bool>("complete", service);
  }
  asio::awaitable<Result<Control>> read_control() override;
  asio::awaitable<Result<std::vector<std::string>>> blockers() override;
  // Nothing is throttled here, so that processes have nothing to tell each other.
  asio::awaitable<Result<RunnersHeard>> tell_runner(RunnerTold) override { co_return RunnersHeard(); }
  asio::awaitable<Result<Done>> forget_runner() override { co_return Done(); }
  asio::awaitable<Result<Done>> mark_failed(std::string reason) override {
    auto const service = [&server = server_, reason](auto tx) {
      return server.set_status(std::move(tx), JobStatus::kFailed, reason);
    };
    return call<Done>("mark failed", service);
  }
  asio::awaitable<Result<Done>> reconnect() override;
  bool is_connected() const override { return backend_ && backend_->is_open; }
  void interrupt() override {
    if (backend_) backend_->is_cancelled = true;
  }

 private:
  template <class T, class Service>
  asio::awaitable<Result<T>> call(std::string name, Service service);
  // Services must own what they need: the session may be gone by then.
  template <class T, class Service>
  void deliver_late(Service service);
  // Rows that were given to a program before their batch was asked for.
  struct Ahead {
    std::int64_t range_id = 0;
    planner::Interval interval;
    Page page;
    std::vector<RowGiven> rows;
  };

  asio::awaitable<Result<BatchDone>> run_computed(BatchRequest request);
  asio::awaitable<Result<Ahead>> give(BatchRequest request);
  asio::awaitable<void> give_ahead(BatchRequest request);
  asio::awaitable<Result<planner::Visit>> visit_computed(std::int64_t rows, std::optional<std::int64_t> key);
  // With no transaction open; now and then for longer than a lease.
  asio::awaitable<void> compute() {
    auto const most = world().chance(0.03) ? 2'000ms : 25ms;
    return world().sleep(database_.group(), world().between(0ms, most));
  }
  asio::awaitable<void> pass_network() { return world().sleep(database_.group(), world().between(0ms, 3ms)); }
  asio::awaitable<Result<SimState>> snapshot(std::string name) {
    auto const service = [&server = server_](auto tx) { return server.snapshot(std::move(tx)); };
    return call<SimState>(std::move(name), service);
  }
  Failure lost(std::string message) {
    close();
    return link_lost(std::move(message));
  }
  void close() {
    if (backend_) backend_->is_open = false;
  }
  SimWorld& world() { return database_.world(); }

  SimDatabase& database_;
  SimServer& server_;
  int worker_;
  std::string owner_;
  std::shared_ptr<Backend> backend_;
  std::optional<Ahead> ahead_;
};

template <class T, class Service>
asio::awaitable<Result<T>> SimSession::call(std::string name, Service service) {
  if (!is_connected()) co_return link_lost("not connected");
  auto const fault = database_.next_fault(name);
  if (fault != FaultKind::kNone && world().is_traced()) {
    world().trace(fmt::format("fault at {} of {}: {}", name, owner_, to_string(fault)));
  }
  co_await pass_network();
  if (fault == FaultKind::kCrashBefore) server_.crash();
  if (fault == FaultKind::kLostBefore || backend_->generation != server_.generation()) co_return lost("link lost");
  if (fault == FaultKind::kLostLate) {
    deliver_late<T>(std::move(service));
    co_return lost("link lost before the statement arrives");
  }
  auto const waiting = std::make_shared<TypedCall<T>>();
  waiting->token = world().new_token();
  server_.expect_answer(waiting);
  // The transaction is the server's alone: it ends when the statement does, not when the client stops waiting.
  auto running = service(std::make_shared<Transaction>(server_, backend_, fault));
  world().spawn(answer<T>(world(), waiting, std::move(running)));
  if (fault == FaultKind::kLostRunning) {
    co_await pass_network();
    waiting->is_answered = true;
    co_return lost("link lost while the statement runs");
  }
  if (!waiting->is_answered) co_await world().wait(database_.group(), waiting->token);
  if (waiting->is_lost || fault == FaultKind::kLostAfter) co_return lost("link lost, outcome unknown");
  co_await pass_network();
  auto const& result = *waiting->result;
  if (world().is_traced() && !result) {
    world().trace(fmt::format("{} of {}: {} {}", name, owner_, result.error().sqlstate, result.error().message));
  }
  if (!result && result.error().trouble == Trouble::kConnection) close();
  co_return result;
}

template <class T, class Service>
void SimSession::deliver_late(Service service) {
  auto const arrive = [&world = world(), &server = server_, service] {
    if (!server.is_up()) return;
    auto const backend = std::make_shared<Backend>();
    backend->generation = server.generation();
    auto running = service(std::make_shared<Transaction>(server, backend, FaultKind::kNone));
    world.spawn(answer<T>(world, std::make_shared<TypedCall<T>>(), std::move(running)));
  };
  world().after(world().between(0ms, 5'000ms), arrive);
}

asio::awaitable<Result<SimSession::Ahead>> SimSession::give(BatchRequest request) {
  std::int64_t const most = world().chance(0.1) ? world().between(1, 4) : planner::kMaxBatchRows;
  auto const service = [&server = server_, owner = owner_, request, most](auto tx) {
    return server.read_batch(std::move(tx), request, owner, most);
  };
  auto read = co_await call<RowsGiven>("compute: read", service);
  if (!read) co_return read.error();
  Ahead given;
  given.range_id = request.lease.range_id;
  given.interval = request.interval;
  given.page = {request.rows, request.ends_range ? planner::Bound() : request.interval.hi};
  if (read->reached) {
    given.interval.hi = bound_of(read->reached);
    given.page = {static_cast<std::int64_t>(read->rows.size()), given.interval.hi};
  }
  given.rows = std::move(read->rows);
  co_return given;
}

asio::awaitable<void> SimSession::give_ahead(BatchRequest request) {
  if (request.ends_range || request.look_ahead_rows <= 0) co_return;
  // The fence still has the cursor of the batch before, as in pg_database.cpp.
  auto after = request.lease;
  after.cursor = request.interval.hi;
  auto page = co_await look_ahead(after, request.look_ahead_rows, request.statement_timeout);
  if (!page) co_return;
  request.interval = {after.cursor, page->last ? page->last : after.hi};
  request.ends_range = !page->last;
  request.rows = page->rows;
  auto given = co_await give(std::move(request));
  if (given) ahead_ = std::move(*given);
}

// As PgSession does it: read, read the next ones, compute, write.
asio::awaitable<Result<BatchDone>> SimSession::run_computed(BatchRequest request) {
  auto asked = std::exchange(ahead_, std::nullopt);
  bool const is_expected = asked && asked->range_id == request.lease.range_id &&
                           asked->interval.lo == request.interval.lo && asked->interval.hi == request.interval.hi;
  if (!is_expected) {
    auto given = co_await give(request);
    if (!given) co_return given.error();
    asked = std::move(*given);
  }
  planner::Bound reached;
  if (asked->interval.hi != request.interval.hi) {
    reached = asked->interval.hi;
    request.interval = asked->interval;
    request.rows = asked->page.rows;
    request.ends_range = false;
  }
  co_await give_ahead(request);
  co_await compute();
  request.set_aside = planner::SetAside::kDefer;
  auto const service = [&server = server_, owner = owner_, request, rows = asked->rows](auto tx) {
    return server.batch(std::move(tx), request, owner, rows);
  };
  auto done = co_await call<BatchDone>("batch", service);
  if (!done) co_return done;
  done->reached = reached;
  if (ahead_) done->next = ahead_->page;
  co_return done;
}

asio::awaitable<Result<planner::Visit>> SimSession::visit_computed(std::int64_t rows, std::optional<std::int64_t> key) {
  auto const reading = [&server = server_, rows, key](auto tx) { return server.read_due(std::move(tx), rows, key); };
  auto read = co_await call<DueGiven>("visit: read", reading);
  if (!read) co_return read.error();
  co_await compute();
  auto const writing = [&server = server_, rows, key, given = *read](auto tx) {
    return server.visit(std::move(tx), rows, key, 1'000ms, given);
  };
  auto visit = co_await call<planner::Visit>("visit", writing);
  co_return visit;
}

asio::awaitable<Result<BatchDone>> SimSession::run_batch(BatchRequest request) {
  database_.batch_watch_(worker_);
  bool const computes = server_.options().computes && request.mode != planner::BatchMode::kSetAside;
  if (computes) {
    auto computed = co_await run_computed(std::move(request));
    co_return computed;
  }
  auto const service = [&server = server_, owner = owner_, request](auto tx) {
    return server.batch(std::move(tx), request, owner);
  };
  auto done = co_await call<BatchDone>("batch", service);
  co_return done;
}

asio::awaitable<Result<std::vector<engine::DeferredLeaf>>> SimSession::deferred_leaves() {
  auto seen = co_await snapshot("visit: leaves");
  if (!seen) co_return seen.error();
  std::vector<engine::DeferredLeaf> leaves;
  if (!seen->deferred.empty()) leaves.push_back({0, static_cast<std::int64_t>(seen->deferred.size())});
  co_return leaves;
}

asio::awaitable<Result<std::optional<std::int64_t>>> SimSession::next_deferred(int /*leaf*/) {
  auto seen = co_await snapshot("visit: first key");
  if (!seen) co_return seen.error();
  std::optional<std::int64_t> key;
  if (!seen->deferred.empty()) key = in_order_of_visits(seen->deferred).front();
  co_return key;
}

asio::awaitable<Result<planner::PassState>> SimSession::pass_state() {
  auto seen = co_await snapshot("advance: state");
  if (!seen) co_return seen.error();
  planner::PassState state;
  state.is_complete = seen->status == JobStatus::kComplete;
  state.pass = seen->pass;
  state.sweeps = server_.options().has_where;
  state.deferred = static_cast<std::int64_t>(seen->deferred.size());
  for (auto const& [id, range] : seen->ranges) {
    if (range.pass == seen->pass && !range.is_done) ++state.open_ranges;
  }
  co_return state;
}

// The ends are read before the pass is made, as engine/run/next_pass.cpp does it.
asio::awaitable<Result<bool>> SimSession::start_pass_after(int pass, planner::PassScope scope) {
  auto seen = co_await snapshot("next pass: state");
  if (!seen) co_return seen.error();
  auto const read = [&server = server_](auto tx) { return server.last_key(std::move(tx)); };
  auto upper = co_await call<Edge>("next pass: end", read);
  if (!upper) co_return upper.error();
  planner::LeafOfPass const leaf{true, false, false, bound_of(seen->upper)};
  auto const part = planner::part_of_leaf(scope, leaf);
  auto const wanted = server_.options().ranges_wanted;
  std::vector<planner::KeyValue> bounds;
  for (Key const bound : cut_evenly(*upper, wanted)) bounds.push_back(*bound_of(bound));
  // As many rows as make that many ranges of a real table.
  auto ranges = planner::ranges_of_leaf(part, leaf, bounds, bound_of(*upper), wanted * planner::kLeastRowsInARange);
  for (auto& range : ranges) {
    if (range.rows_estimated > 0) range.rows_estimated = static_cast<std::int64_t>(seen->rows.size() / ranges.size());
  }
  auto const make = [&server = server_, pass, part, ranges, end = *upper](auto tx) {
    return server.next_pass(std::move(tx), pass, part, ranges, end);
  };
  auto made = co_await call<bool>("next pass", make);
  co_return made;
}

asio::awaitable<Result<Control>> SimSession::read_control() {
  auto seen = co_await snapshot("control");
  if (!seen) co_return seen.error();
  Control control;
  control.status = seen->status;
  control.reason = seen->reason;
  control.pass = seen->pass;
  control.workers = seen->workers;
  control.batch_target = seen->batch_target;
  if (seen->max_rows_per_second) {
    control.throttle_settings["max_rows_per_second"] = std::to_string(*seen->max_rows_per_second);
  }
  control.rows_estimated = static_cast<std::int64_t>(seen->rows.size());
  control.rows_changed = seen->changed_on_visits;
  control.deferred = static_cast<std::int64_t>(seen->deferred.size());
  control.quarantined = static_cast<std::int64_t>(seen->quarantine.size());
  for (auto const& [id, range] : seen->ranges) {
    if (range.pass == 0) control.rows_done += range.rows_done;
    control.rows_changed += range.rows_changed;
    if (range.pass != seen->pass) continue;
    ++control.ranges_total;
    if (!range.is_done) ++control.ranges_open;
  }
  co_return control;
}

asio::awaitable<Result<std::vector<std::string>>> SimSession::blockers() {
  auto seen = co_await snapshot("blockers");
  if (!seen) co_return seen.error();
  std::vector<std::string> sentences;
  if (!seen->deferred.empty()) sentences.push_back("somebody holds rows");
  co_return sentences;
}

asio::awaitable<Result<Done>> SimSession::reconnect() {
  close();
  backend_.reset();
  auto const fault = database_.next_fault("connect");
  co_await pass_network();
  if (!server_.is_up() || fault == FaultKind::kLostBefore) co_return link_lost("connection refused");
  if (fault == FaultKind::kTooManyConnections) {
    Failure failure;
    failure.sqlstate = "53300";
    failure.trouble = planner::classify(failure.sqlstate, 0ms, 1'000ms);
    failure.message = "sorry, too many clients already";
    co_return failure;
  }
  auto const backend = std::make_shared<Backend>();
  backend->generation = server_.generation();
  co_await pass_network();
  if (backend->generation != server_.generation()) co_return link_lost("link lost");
  backend_ = backend;
  co_return Done();
}

SimDatabase::SimDatabase(SimWorld& world, SimServer& server, SimGroup& group, std::string owner,
                         std::function<FaultKind(std::string const&)> next_fault)
    : world_(world), server_(server), group_(group), owner_(std::move(owner)), next_fault_(std::move(next_fault)) {}

std::unique_ptr<engine::Session> SimDatabase::make_session(int worker) {
  return std::make_unique<SimSession>(*this, worker);
}

}  // namespace pgbackfill::tests
