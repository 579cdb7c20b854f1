// Runs one statement of a recipe: under the lock ladder, or alone and for as long as it takes, and says meanwhile who
// is in the way or how far it is.
//
// Two connections of its own, made when first needed: one runs the statements, the other one watches them. Decides
// nothing about what to run (planner/steps/recipe.h) and how long to wait (throttle/ladder_climb.h). Ends sessions of
// others only where the operator asked for it: sessions that are idle in a transaction for so long, or a named one, and
// only while they block. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/events.h"
#include "engine/pg/pg_connection.h"
#include "engine/state/state_store.h"
#include "engine/steps/standby_watch.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::engine {

// Whom the operator allows to be ended.
struct BlockerTerms {
  std::vector<int> pids;
  std::optional<std::chrono::milliseconds> idle_in_transaction;
};

struct StepTerms {
  std::string migration;
  std::string phase;  // expand or contract
  Owner owner;
  std::chrono::milliseconds patience{1'800'000};  // for all attempts of one statement to get its locks
  BlockerTerms blockers;
  std::function<bool()> is_stopping;  // go no further
  std::function<bool()> is_aborting;  // and cancel what runs
  std::function<double()> random;
  std::function<asio::awaitable<Result<std::shared_ptr<PgConnection>>>()> connect;
  std::vector<std::string> standbys;      // conninfos: where a lock is replayed, and who reads can be seen
  asio::thread_pool* blocking = nullptr;  // for connecting to them
};

enum class StatementEnd {
  kDone,
  kStopped,    // as the operator asked
  kNoLock,     // out of patience
  kCancelled,  // by somebody, at the server
  kLost,       // the connection is gone: whether it was done is for the catalog to say
  kFailed
};

struct StatementOutcome {
  StatementEnd end = StatementEnd::kDone;
  Failure failure;
  std::string text;  // what to tell
};

// A statement with all that goes into its transaction.
struct StatementTerms {
  planner::Action action;
  std::string note;        // SQL for the same transaction, for example the claim; after the locks, before the statement
  std::string record;      // SQL for the same transaction, after the statement
  bool is_bounded = true;  // a statement_timeout stands over kBrief
  std::string title;       // of messages
  std::vector<planner::TableLock> replayed = {};  // of an `sql:` step, which asks for its locks itself
};

class StepSession {
 public:
  StepSession(StepTerms const& terms, EventSink& sink) : terms_(terms), sink_(sink) {}

  // Asks something on the watching connection. A lost connection is made anew once.
  asio::awaitable<Result<Rows>> ask(std::string sql);
  // Statements in a transaction that is rolled back; the rows of the last one.
  asio::awaitable<Result<Rows>> try_out(std::vector<std::string> statements);
  asio::awaitable<StatementOutcome> perform(StatementTerms statement);
  int server_version() const { return watch_ ? watch_->server_version() : 0; }
  // How long statements waited for their locks since this was asked last, and for whom.
  struct LockWait {
    std::chrono::milliseconds time{0};
    std::string who;
  };
  LockWait take_lock_wait() { return std::exchange(lock_wait_, LockWait()); }

  void tell(Severity severity, std::string text);
  void tell_progress(std::string step);

 private:
  struct Seen;  // what the watch saw while a statement ran
  struct Flight;
  asio::awaitable<std::optional<Failure>> connect();
  static asio::awaitable<void> fly(std::shared_ptr<PgConnection> connection, std::string script, Deadlines deadlines,
                                   std::shared_ptr<Flight> flight);
  asio::awaitable<Result<Done>> watched(std::string script, Deadlines deadlines, std::chrono::milliseconds look_every,
                                        Seen& seen);
  asio::awaitable<void> look(Seen& seen);
  asio::awaitable<void> look_at_build(Seen& seen);
  // Until nobody on a standby would hold up the replay of the statement's locks for long; an outcome if that fails.
  asio::awaitable<std::optional<StatementOutcome>> await_standbys(StatementTerms const& statement,
                                                                  std::chrono::milliseconds age);
  asio::awaitable<void> tell_unseen_standbys(StatementTerms const& statement);
  asio::awaitable<StatementOutcome> climb(StatementTerms const& statement);
  asio::awaitable<StatementOutcome> run_alone(StatementTerms const& statement);
  asio::awaitable<std::string> prepare_alone();
  asio::awaitable<Result<Done>> attempt(StatementTerms const& statement, bool is_nowait,
                                        std::chrono::milliseconds lock_timeout, Seen& seen);
  asio::awaitable<std::chrono::milliseconds> read_deadlock_timeout();

  StepTerms const& terms_;
  EventSink& sink_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::shared_ptr<PgConnection> watch_;
  std::shared_ptr<PgConnection> work_;
  std::optional<StandbyWatch> standbys_;
  LockWait lock_wait_;
  bool has_told_unseen_ = false;
};

}  // namespace pgbackfill::engine
