#include "engine/steps/boundary_turn.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/pg/local_process.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/state/typed_rows.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kTurn = 1s;      // between looks at whether another process is through
constexpr auto kBeat = 5s;      // of a process that has the turn
constexpr auto kSilence = 30s;  // after which it is not there any more
constexpr Deadlines kBrief{2s, 3s};

}  // namespace

// What the coroutine that keeps the turn shares with us; it may outlive us by a statement.
struct BoundaryTurn::Keeping {
  TurnTerms terms;
  bool is_over = false;
};

BoundaryTurn::BoundaryTurn(TurnTerms terms) : keeping_(std::make_shared<Keeping>()) {
  keeping_->terms = std::move(terms);
}

BoundaryTurn::~BoundaryTurn() {
  keeping_->is_over = true;
}

asio::awaitable<Result<Rows>> BoundaryTurn::ask(std::string statement) {
  while (true) {
    bool const is_there = co_await connection_->is_there();
    if (!is_there) {
      Failure failure;
      failure.trouble = planner::Trouble::kConnection;
      failure.message = connection_->why();
      co_return failure;
    }
    auto rows = co_await (*connection_)->query(statement, Deadlines());
    if (rows || rows.error().trouble != planner::Trouble::kConnection) co_return rows;
  }
}

void BoundaryTurn::have_patience_again() {
  auto last = (*connection_)->shared_from_this();
  connection_.emplace(std::move(last), lasting_terms());
}

LastingTerms BoundaryTurn::lasting_terms() const {
  auto const& terms = keeping_->terms;
  return {terms.connect, terms.patience, terms.is_stopping,
          [&terms](std::string text) { terms.tell(Severity::kWarning, std::move(text)); }};
}

asio::awaitable<Result<bool>> BoundaryTurn::take() {
  auto const& terms = keeping_->terms;
  Failure away;
  away.trouble = planner::Trouble::kConnection;
  try {
    auto opened = co_await terms.connect();
    connection_.emplace(std::move(opened), lasting_terms());
  } catch (CommandError const& error) {
    away.message = error.text;
  }
  if (!connection_) co_return away;
  std::optional<Watched> watched;
  bool is_free = false;
  for (bool is_told = false;;) {
    if (terms.is_stopping()) co_return false;
    auto const silent = is_free ? std::optional(watched->turn) : std::nullopt;
    auto const taken = co_await ask(state::take_turn(terms.migration, terms.boundary, terms.owner, silent));
    if (!taken) co_return taken.error();
    if (!taken->rows.empty()) break;
    auto const read = co_await ask(state::read_turn(terms.migration, terms.boundary));
    if (!read) co_return read.error();
    auto const other = state::first_as<state::TakenTurn>(*read);
    is_free = other && is_free_to_take(*other, watched);
    if (is_free || !other) continue;
    if (!is_told) {
      terms.tell(Severity::kInfo, fmt::format("process {} on {} runs the hooks of {}; waiting for it", other->pid,
                                              other->host, terms.boundary));
    }
    is_told = true;
    co_await sleep_unless_stopped(kTurn, terms.is_stopping);
  }
  co_await begin_to_keep();
  co_return true;
}

// Time in which nobody could look says nothing about the other process: it could not tell of itself either.
bool BoundaryTurn::is_free_to_take(state::TakenTurn const& other, std::optional<Watched>& watched) const {
  auto const& owner = keeping_->terms.owner;
  auto const now = Clock::now();
  state::HookTurn turn{other.owner, other.beat};
  bool const is_same = watched && watched->turn.owner == turn.owner && watched->turn.beat == turn.beat;
  if (!is_same || now - watched->looked > kBeat) watched = Watched{std::move(turn), now, now};
  watched->looked = now;
  bool const is_gone = other.machine == owner.machine && (other.pid == owner.pid || !has_process(other.pid));
  return is_gone || now - watched->since >= kSilence;
}

asio::awaitable<void> BoundaryTurn::begin_to_keep() {
  auto const executor = co_await asio::this_coro::executor;
  asio::co_spawn(executor, keep(keeping_), asio::detached);
}

asio::awaitable<void> BoundaryTurn::keep(std::shared_ptr<Keeping> keeping) {
  std::shared_ptr<PgConnection> connection;
  while (true) {
    auto const is_over = [keeping] { return keeping->is_over; };
    bool const slept = co_await sleep_unless_stopped(kBeat, is_over);
    if (!slept) co_return;
    try {
      if (!connection || !connection->is_usable()) connection = co_await keeping->terms.connect();
    } catch (CommandError const&) {
      continue;  // later, perhaps
    }
    bool const is_ours = co_await beat(keeping, *connection);
    if (!is_ours) co_return;
  }
}

asio::awaitable<bool> BoundaryTurn::beat(std::shared_ptr<Keeping> keeping, PgConnection& connection) {
  auto const& terms = keeping->terms;
  auto const kept = co_await connection.query(state::keep_turn(terms.migration, terms.boundary, terms.owner), kBrief);
  if (keeping->is_over || !kept || kept->affected > 0) co_return true;
  auto const taken =
      co_await connection.query(state::take_turn(terms.migration, terms.boundary, terms.owner, std::nullopt), kBrief);
  if (keeping->is_over || !taken || !taken->rows.empty()) co_return true;
  terms.tell(Severity::kWarning, "this process was not heard of for too long, and another one has begun the hooks of " +
                                     terms.boundary + " as well");
  co_return false;
}

asio::awaitable<void> BoundaryTurn::give_back() {
  keeping_->is_over = true;
  auto const& terms = keeping_->terms;
  if (!(*connection_)->is_usable()) co_return;
  co_await (*connection_)->query(state::give_turn_back(terms.migration, terms.boundary, terms.owner), kBrief);
}

}  // namespace pgbackfill::engine
