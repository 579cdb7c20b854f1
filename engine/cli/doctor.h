// What an operator would check by hand before a migration, each with what to do about it.
//
// Each subject is looked at in a doctor_*.cpp of its own. Reads only. Belongs to the engine's thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/process/command_context.h"
#include "engine/run/job_setup.h"
#include "planner/model/migration.h"
#include "planner/model/table_facts.h"

namespace pgbackfill::engine {

enum class Finding { kPass, kWarn, kFail, kUnseen };

class Doctor {
 public:
  explicit Doctor(CommandContext& context) : context_(context) {}

  asio::awaitable<int> go(std::string file);

 private:
  struct Check {
    std::string name;
    Finding finding = Finding::kPass;
    std::string text;
    std::string advice;
  };

  asio::awaitable<void> connect();
  void check_configuration(planner::Migration const* migration);
  void check_receivers(planner::Migration const& migration);
  asio::awaitable<void> check_server();
  asio::awaitable<void> check_round_trip();
  asio::awaitable<void> check_role();
  asio::awaitable<void> check_pooler();
  asio::awaitable<void> check_replicas();
  asio::awaitable<void> check_slots();
  asio::awaitable<void> check_publications(std::vector<planner::SchemaStep> steps);
  asio::awaitable<void> check_archiver();
  asio::awaitable<void> check_transactions();
  asio::awaitable<void> check_prepared();
  asio::awaitable<void> check_horizon();
  asio::awaitable<void> check_wraparound();
  asio::awaitable<void> check_connections();
  asio::awaitable<void> check_settings();
  asio::awaitable<void> check_checkpoints();
  asio::awaitable<void> check_locks();
  asio::awaitable<void> check_indexes();
  asio::awaitable<void> check_jobs();
  asio::awaitable<void> check_file(LoadedMigration loaded);
  asio::awaitable<void> check_steps(planner::Migration migration);
  asio::awaitable<void> check_size(planner::Backfill const& backfill, planner::TableFacts const& table);
  asio::awaitable<void> check_updates(planner::Backfill const& backfill, planner::TableFacts const& table);
  void note_collations(planner::TableFacts const& table);
  void note_keys(Preflight const& preflight);
  void note_triggers(planner::Backfill const& backfill, planner::TableFacts const& table);

  asio::awaitable<std::optional<Rows>> ask(std::string name, std::string statement);
  void add(std::string name, Finding finding, std::string text, std::string advice = "");
  void print() const;
  int count(Finding finding) const;
  int major() const { return connection_->server_version() / 10000; }

  CommandContext& context_;
  std::shared_ptr<PgConnection> connection_;
  std::vector<Check> checks_;
  std::string role_;
  bool sees_all_ = false;  // other roles' sessions, and replicas
};

// What an error of the server is worth to an operator: permission is the usual one.
std::string failure_text(Failure const& failure);

// Two kinds of positions: a standby cannot say where it would write.
inline constexpr char kWalPosition[] =
    "(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)";

// The most that one check names.
inline constexpr int kListed = 5;

}  // namespace pgbackfill::engine
