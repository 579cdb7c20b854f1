#include "tests/simulation/sim_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "planner/keys/passes.h"
#include "planner/keys/range_walk.h"

namespace pgbackfill::tests {

using engine::Advance;
using engine::Control;
using engine::Done;
using engine::JobStatus;
using engine::RunnersHeard;
using engine::RunnerTold;
using engine::Visit;
using planner::BatchDone;
using planner::BatchRequest;
using planner::Lease;
using planner::Page;
using planner::Trouble;
using namespace std::chrono_literals;

namespace {

constexpr std::int64_t kMostRowsToWalk = 100'000;

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
  asio::awaitable<Result<std::optional<Lease>>> split() override;
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
  asio::awaitable<Result<Visit>> visit_deferred(std::int64_t rows) override;
  asio::awaitable<Result<Advance>> advance() override;
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
  asio::awaitable<void> pass_network() { return world().sleep(database_.group(), world().between(0ms, 3ms)); }
  asio::awaitable<Result<SimState>> snapshot(std::string name) {
    auto const service = [&server = server_](auto tx) { return server.snapshot(std::move(tx)); };
    return call<SimState>(std::move(name), service);
  }
  asio::awaitable<Result<Visit>> visit_leaf(std::int64_t rows);
  asio::awaitable<Result<Advance>> start_next_pass(int pass);
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

asio::awaitable<Result<std::optional<Lease>>> SimSession::split() {
  auto const find = [&server = server_](auto tx) { return server.split_candidate(std::move(tx)); };
  auto candidate = co_await call<SplitCandidate>("split: candidate", find);
  if (!candidate) co_return candidate.error();
  if (!candidate->lease) co_return std::optional<Lease>();
  Lease const range = *candidate->lease;
  std::int64_t const walk =
      std::clamp(candidate->rows_left / 2, server_.options().least_rows_of_a_half, kMostRowsToWalk);
  auto page = co_await look_ahead(range, walk, 2'000ms);
  if (!page) co_return page.error();
  if (!page->last || page->last == range.hi) co_return std::optional<Lease>();
  auto const cut = [&server = server_, owner = owner_, range, middle = *edge_of(page->last)](auto tx) {
    return server.split(std::move(tx), range, middle, owner);
  };
  auto far = co_await call<std::optional<Lease>>("split", cut);
  co_return far;
}

asio::awaitable<Result<BatchDone>> SimSession::run_batch(BatchRequest request) {
  database_.batch_watch_(worker_);
  auto const service = [&server = server_, owner = owner_, request](auto tx) {
    return server.batch(std::move(tx), request, owner);
  };
  auto done = co_await call<BatchDone>("batch", service);
  co_return done;
}

asio::awaitable<Result<Visit>> SimSession::visit_deferred(std::int64_t rows) {
  auto seen = co_await snapshot("visit: leaves");
  if (!seen) co_return seen.error();
  Visit total;
  if (seen->deferred.empty()) co_return total;
  auto visit = co_await visit_leaf(rows);
  if (!visit) co_return visit.error();
  total.rows_changed = visit->rows_changed;
  total.settled = visit->settled;
  total.left = static_cast<std::int64_t>(seen->deferred.size()) - visit->settled;
  co_return total;
}

asio::awaitable<Result<Visit>> SimSession::visit_leaf(std::int64_t rows) {
  // A single key is chosen beforehand, so that the key that fails is the one that goes to quarantine.
  std::optional<std::int64_t> only;
  if (rows == 1) {
    auto seen = co_await snapshot("visit: first key");
    if (!seen) co_return seen.error();
    if (seen->deferred.empty()) co_return Visit();
    only = in_order_of_visits(seen->deferred).front();
  }
  auto const service = [&server = server_, rows, only](auto tx) {
    return server.visit(std::move(tx), rows, only, 1'000ms);
  };
  auto visit = co_await call<Visit>("visit", service);
  if (visit) co_return visit;
  auto const trouble = visit.error().trouble;
  bool const is_of_rows =
      trouble == Trouble::kRowData || trouble == Trouble::kStatementTimeout || trouble == Trouble::kLockTimeout;
  if (!is_of_rows) co_return visit.error();
  if (rows > 1) {
    auto half = co_await visit_leaf(rows / 2);
    co_return half;
  }
  Visit alone;
  if (trouble != Trouble::kRowData) co_return alone;
  auto const move = [&server = server_, id = *only](auto tx) { return server.quarantine_deferred(std::move(tx), id); };
  auto moved = co_await call<std::int64_t>("quarantine deferred", move);
  // Whatever a repeat would mend is no ground to end the run.
  if (!moved && moved.error().trouble != Trouble::kFatal) co_return moved.error();
  if (!moved) {
    Failure failure = visit.error();
    failure.message += "; " + moved.error().message;
    failure.trouble = Trouble::kFatal;
    co_return failure;
  }
  alone.settled = *moved;
  co_return alone;
}

asio::awaitable<Result<Advance>> SimSession::advance() {
  auto seen = co_await snapshot("advance: state");
  if (!seen) co_return seen.error();
  if (seen->status == JobStatus::kComplete) co_return Advance::kComplete;
  planner::PassState state;
  state.pass = seen->pass;
  state.deferred = static_cast<std::int64_t>(seen->deferred.size());
  for (auto const& [id, range] : seen->ranges) {
    if (range.pass == seen->pass && !range.is_done) ++state.open_ranges;
  }
  switch (planner::after_ranges(state)) {
    case planner::PassDecision::kWaitForRanges:
    case planner::PassDecision::kGiveUp:
      co_return Advance::kOpenRanges;
    case planner::PassDecision::kVisitDeferred:
      co_return Advance::kDeferred;
    case planner::PassDecision::kNextPass: {
      auto advanced = co_await start_next_pass(state.pass);
      co_return advanced;
    }
    case planner::PassDecision::kComplete:
      break;
  }
  auto const service = [&server = server_, pass = state.pass](auto tx) { return server.complete(std::move(tx), pass); };
  auto completed = co_await call<bool>("complete", service);
  if (!completed) co_return completed.error();
  co_return *completed ? Advance::kComplete : Advance::kOpenRanges;
}

asio::awaitable<Result<Advance>> SimSession::start_next_pass(int pass) {
  auto const read = [&server = server_](auto tx) { return server.last_key(std::move(tx)); };
  auto upper = co_await call<Edge>("next pass: end", read);
  if (!upper) co_return upper.error();
  auto const bounds = cut_evenly(*upper, server_.options().ranges_wanted);
  auto const make = [&server = server_, pass, end = *upper, bounds](auto tx) {
    return server.next_pass(std::move(tx), pass, end, bounds);
  };
  auto made = co_await call<bool>("next pass", make);
  if (!made) co_return made.error();
  co_return *made ? Advance::kNextPass : Advance::kOpenRanges;
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
