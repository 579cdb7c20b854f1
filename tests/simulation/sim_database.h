// One process's view of a SimServer: the engine's Database and its sessions, with faults on the way.
//
// A session does what engine/run/pg_database.cpp does: the same calls, in the same order, each in a transaction of its
// own. Every call first asks what is to go wrong with it. Destroying the database closes its connections and leaves
// on the server whatever runs there.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "engine/run/database.h"
#include "tests/simulation/sim_server.h"
#include "tests/simulation/sim_world.h"

namespace pgbackfill::tests {

class SimDatabase : public engine::Database {
 public:
  // `next_fault` is asked once a call, in the order of calls.
  SimDatabase(SimWorld& world, SimServer& server, SimGroup& group, std::string owner,
              std::function<FaultKind(std::string const& call)> next_fault);

  std::unique_ptr<engine::Session> make_session(int worker) override;
  void spawn(asio::awaitable<void> coroutine) override { world_.spawn(std::move(coroutine)); }
  asio::awaitable<void> sleep(milliseconds duration) override { return world_.sleep(group_, duration); }
  std::chrono::steady_clock::time_point now() const override { return world_.now(); }
  std::chrono::system_clock::time_point wall_now() const override { return world_.wall_now(); }
  double random() override { return world_.random(); }

  SimWorld& world() { return world_; }
  SimServer& server() { return server_; }
  SimGroup& group() { return group_; }
  std::string const& owner() const { return owner_; }
  FaultKind next_fault(std::string const& call) { return next_fault_(call); }
  // Told the worker's number when a batch starts.
  void set_batch_watch(std::function<void(int worker)> watch) { batch_watch_ = std::move(watch); }

 private:
  friend class SimSession;

  SimWorld& world_;
  SimServer& server_;
  SimGroup& group_;
  std::string owner_;
  std::function<FaultKind(std::string const&)> next_fault_;
  std::function<void(int)> batch_watch_;
};

}  // namespace pgbackfill::tests
