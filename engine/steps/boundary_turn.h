// Whose turn it is to run the hooks of one boundary: one process at a time, for as long as it is alive.
//
// The turn is a row of the state with a beat that its process keeps up from a connection of its own, so that neither
// an end of a session nor a restart of the server hands it to somebody else while a hook runs. Whoever waits takes it
// over when the process is gone from this machine, or when it has watched the beat stand still. Belongs to the
// engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/base/command_error.h"
#include "engine/base/events.h"
#include "engine/pg/lasting_connection.h"
#include "engine/pg/pg_connection.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine {

struct TurnTerms {
  std::string migration;
  std::string boundary;
  Owner owner;
  // Throws CommandError.
  std::function<asio::awaitable<std::shared_ptr<PgConnection>>()> connect;
  std::chrono::milliseconds patience{300'000};  // with a server that is away
  std::function<bool()> is_stopping;
  std::function<void(Severity, std::string)> tell;
};

class BoundaryTurn {
 public:
  explicit BoundaryTurn(TurnTerms terms);
  ~BoundaryTurn();
  BoundaryTurn(BoundaryTurn const&) = delete;
  BoundaryTurn& operator=(BoundaryTurn const&) = delete;

  // False when the operator stops first.
  asio::awaitable<Result<bool>> take();
  asio::awaitable<void> give_back();

  // For statements that may be made twice: while the server is away, they are, until the patience is over.
  asio::awaitable<Result<Rows>> ask(std::string statement);
  // After it was over.
  void have_patience_again();

 private:
  struct Keeping;
  // What was seen of another process's turn, and since when it has not changed.
  struct Watched {
    state::HookTurn turn;
    std::chrono::steady_clock::time_point since;
    std::chrono::steady_clock::time_point looked;
  };

  LastingTerms lasting_terms() const;
  static asio::awaitable<void> keep(std::shared_ptr<Keeping> keeping);
  static asio::awaitable<bool> beat(std::shared_ptr<Keeping> keeping, PgConnection& connection);
  bool is_free_to_take(state::TakenTurn const& other, std::optional<Watched>& watched) const;
  asio::awaitable<void> begin_to_keep();

  std::shared_ptr<Keeping> keeping_;
  std::optional<LastingConnection> connection_;
};

}  // namespace pgbackfill::engine
