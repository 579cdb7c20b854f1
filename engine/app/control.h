// One change of a job each, with an event that says who made it: pause, resume, cancel, set, quarantine, approve,
// leases. The same for the commands and for the pages of `serve`.
//
// Throws CommandError with what is wrong, before anything is changed. `owner` is who asks.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "engine/pg/pg_connection.h"
#include "engine/process/command_context.h"
#include "engine/view/setting_line.h"

namespace pgbackfill::engine {

// What became of it, as a sentence for people; texts of others in it are neutralised.
struct ControlOutcome {
  bool is_done = true;  // else it was nothing that could be done to the job as it is
  std::string text;
};

struct StatusOrder {
  JobStatus status = JobStatus::kPaused;  // or running, cancelled
  std::string reason;
  std::optional<std::chrono::milliseconds> pause_for;
};
asio::awaitable<ControlOutcome> change_status(PgConnection& connection, std::string name, StatusOrder order,
                                              Owner owner);

asio::awaitable<ControlOutcome> retry_quarantine(PgConnection& connection, std::string name, Owner owner);

asio::awaitable<std::vector<SettingLine>> read_settings(PgConnection& connection, std::string name,
                                                        planner::ConfigFile const* config);
// Each is key=value; "default" takes a live setting away. All of them or none.
asio::awaitable<ControlOutcome> change_settings(PgConnection& connection, std::string name,
                                                std::vector<std::string> assignments, planner::ConfigFile const* config,
                                                Owner owner);

// What `complete` would take away, for whoever is to agree.
struct ContractPreview {
  std::string plan;
  std::string plan_hash;
  std::vector<std::string> destructive;  // what of it takes something away, a sentence each
};
asio::awaitable<ContractPreview> preview_contract(PgConnection& connection, LoadedMigration loaded);

struct Approved {
  std::string plan;
  std::string plan_hash;
  std::vector<std::string> destructive;
  std::string who;
  std::string at;
};
// `expected_hash`: of the plan that whoever agrees has seen; another one is refused. Empty: he has just seen it.
asio::awaitable<Approved> approve_contract(PgConnection& connection, LoadedMigration loaded, std::string reason,
                                           std::string expected_hash, Owner owner);

struct LeaseOwner {
  std::string process;
  std::string host;
  std::int64_t pid = 0;
  std::int64_t ranges = 0;
  std::chrono::milliseconds left{0};  // negative: it has run out
  bool is_here = false;               // on this machine, where its pid can be looked up
  bool is_alive = false;              // it was heard of a moment ago, or its pid is there
};
asio::awaitable<std::vector<LeaseOwner>> read_lease_owners(PgConnection& connection, std::string name, Owner owner);
std::string lease_text(LeaseOwner const& lease);
// Frees the ranges of a process; of one that lives only if `is_forced`.
asio::awaitable<ControlOutcome> release_leases(PgConnection& connection, std::string name, std::string process,
                                               bool is_forced, Owner owner);

}  // namespace pgbackfill::engine
