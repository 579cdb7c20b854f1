#include "engine/app/control.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/pg/local_process.h"
#include "engine/run/job_setup.h"
#include "engine/run/limits.h"
#include "engine/run/prepared_results.h"
#include "engine/state/state_pages.h"
#include "engine/state/stored_overview.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/approval.h"
#include "engine/view/console.h"
#include "planner/file/throttle_settings.h"
#include "planner/model/compute_pace.h"
#include "planner/model/duration.h"
#include "planner/model/sql_text.h"
#include "planner/model/suggestion.h"
#include "planner/steps/contract_plan.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<StoredJob> job_of(PgConnection& connection, std::string name) {
  auto job = value_or_throw(co_await find_job(connection, name), "looking for the job");
  if (job) co_return std::move(*job);
  auto const known = value_or_throw(co_await connection.query(state::list_jobs(), Deadlines()), "listing the jobs");
  auto const listed = state::column_as<std::string>(known);
  std::vector<std::string_view> const names(listed.begin(), listed.end());
  throw CommandError{kExitUsage,
                     fmt::format("there is no backfill '{}' in this database{}; `pgbackfill status` lists them",
                                 neutralised(name), planner::did_you_mean(name, names))};
}

std::string who(Owner const& owner) {
  return owner.user + "@" + owner.host;
}

// What nobody is left to drop. Those at work drop it when they end.
asio::awaitable<void> drop_what_is_prepared(PgConnection& connection, std::string name) {
  auto const known =
      value_or_throw(co_await connection.query(state::overviews(name), Deadlines()), "looking at the job");
  bool const is_worked_on = !known.rows.empty() && state::stored_overview_of(known.rows.front()).processes > 0;
  if (is_worked_on) co_return;
  auto const found =
      value_or_throw(co_await connection.query(state::find_migration(name), Deadlines()), "reading the migration");
  std::vector<planner::Prepared> prepared;
  try {
    auto const stored = state::first_as<state::StoredSource>(found);
    if (stored) prepared = parse_stored(name, stored->file, stored->source).prepared;
  } catch (CommandError const&) {
    prepared.clear();
  }
  value_or_throw(co_await drop_prepared(connection, name, std::move(prepared)), "dropping results of prepare");
}

// A job that is complete has processes only while it is followed.
asio::awaitable<bool> end_followers(PgConnection& connection, std::string name, Owner owner) {
  auto const runners =
      value_or_throw(co_await connection.query(state::job_runners(name), Deadlines()), "looking for its processes");
  if (runners.rows.empty()) co_return false;
  std::string statement = state::end_following(name, "`cancel` by " + who(owner), owner);
  value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "ending the following");
  co_return true;
}

// What is said of a job on which nothing was changed.
ControlOutcome unchanged(std::string const& name, JobStatus is, JobStatus wanted) {
  bool const already = is == wanted;
  std::string const end = already ? " already" : ": nothing to do";
  return {already, fmt::format("{} is {}{}", name, state::status_name(is), end)};
}

std::string after_change(std::string const& name, StatusOrder const& order) {
  if (order.status == JobStatus::kRunning) {
    return fmt::format("{} is resumed; a process that waits goes on, else `pgbackfill run` its file", name);
  }
  std::string const how_long = order.pause_for ? " for " + planner::format_duration(*order.pause_for) : "";
  return fmt::format("{} is {}; batches in flight end, then nothing more starts{}", name,
                     state::status_name(order.status), how_long);
}

using state::kComputePrefix;
using state::kThrottlePrefix;
constexpr char kBatchTargetBounds[] = "a duration from 5ms to 60s with its unit, such as 100ms";

// What the file said when it ran last; a source that this version cannot read has no settings.
struct FileSettings {
  SettingTexts throttle;
  std::optional<planner::Compute> compute;
};

asio::awaitable<FileSettings> file_settings(PgConnection& connection, std::string name,
                                            planner::ConfigFile const* config) {
  auto const found =
      value_or_throw(co_await connection.query(state::find_migration(name), Deadlines()), "reading the migration");
  FileSettings settings;
  try {
    auto const stored = state::first_as<state::StoredSource>(found);
    if (!stored) co_return settings;
    auto const migration = parse_stored(name, stored->file, stored->source, config).migration;
    settings.throttle = setting_texts(migration.throttle);
    if (migration.backfill) settings.compute = migration.backfill->compute;
  } catch (CommandError const&) {
    settings = {};
  }
  co_return settings;
}

CommandError unknown_key(std::string const& key) {
  std::vector<std::string> names = {"workers", "batch.target"};
  for (auto const& rule : planner::throttle_settings()) {
    names.push_back(std::string(kThrottlePrefix) + std::string(rule.name));
  }
  for (auto const& rule : planner::compute_settings()) {
    names.push_back(std::string(kComputePrefix) + std::string(rule.name));
  }
  std::vector<std::string_view> const known(names.begin(), names.end());
  std::string hint = planner::did_you_mean(key, known);
  if (planner::find_throttle_setting(key) != nullptr) hint = fmt::format(" (did you mean 'throttle.{}'?)", key);
  return {kExitUsage, fmt::format("unknown key '{}'{}; `pgbackfill set NAME` lists the keys", neutralised(key), hint)};
}

// A service has no processes, and work without a program none of them.
bool has_setting(std::optional<planner::Compute> const& compute, planner::ComputeSetting const& rule) {
  return compute && !(rule.is_of_command && compute->service);
}

state::SettingsChange::Live compute_change(std::string const& key, std::string const& value,
                                           std::optional<planner::Compute> const& compute) {
  auto const* rule = planner::find_compute_setting(key.substr(kComputePrefix.size()));
  if (rule == nullptr) throw unknown_key(key);
  if (!has_setting(compute, *rule)) {
    throw CommandError{kExitUsage, key + (compute ? " is of programs, and a service is asked here"
                                                  : " is of work whose values a program computes, and this is not")};
  }
  std::string const name(rule->name);
  std::string const otherwise = planner::text_of_setting(name, planner::compute_pace(*compute, {}));
  if (value == "default") return {name, std::nullopt, otherwise};
  auto const problem = planner::compute_setting_problem(*rule, value);
  if (!problem.empty()) throw CommandError{kExitUsage, fmt::format("{}={}: {}", key, value, problem)};
  return {name, value, otherwise};
}

state::SettingsChange::Live throttle_change(std::string const& key, std::string const& value,
                                            SettingTexts const& file) {
  bool const is_throttle = key.starts_with(kThrottlePrefix);
  auto const* rule = is_throttle ? planner::find_throttle_setting(key.substr(kThrottlePrefix.size())) : nullptr;
  if (rule == nullptr) throw unknown_key(key);
  std::string const name(rule->name);
  std::string const otherwise = effective_setting(name, file, {}).text;
  if (value == "default") return {name, std::nullopt, otherwise};
  auto const parsed = planner::parse_setting(*rule, value);
  if (!parsed.value) throw CommandError{kExitUsage, fmt::format("{}={} {}", key, value, parsed.problem)};
  return {name, value, otherwise};
}

void put(std::vector<state::SettingsChange::Live>& changes, state::SettingsChange::Live setting) {
  std::erase_if(changes, [&](auto const& other) { return other.name == setting.name; });
  changes.push_back(std::move(setting));
}

void read_setting(std::string const& text, FileSettings const& file, state::SettingsChange& change) {
  std::size_t const equals = text.find('=');
  if (equals == std::string::npos) throw CommandError{kExitUsage, "'" + text + "' is not key=value, such as workers=4"};
  std::string const key = text.substr(0, equals);
  std::string const value = text.substr(equals + 1);
  if (key == "workers") {
    auto const parsed = planner::parse_bounded_count(value, 1, planner::kMaxWorkers, "4");
    if (!parsed.value) {
      throw CommandError{kExitUsage, fmt::format("workers={}: a number from 1 to {}", value, planner::kMaxWorkers)};
    }
    change.workers = static_cast<int>(std::get<std::int64_t>(*parsed.value));
  } else if (key == "batch.target") {
    auto const target = planner::parse_duration(value);
    bool const is_good = target && *target >= planner::kMinBatchTarget && *target <= planner::kMaxBatchTarget;
    if (!is_good) throw CommandError{kExitUsage, fmt::format("batch.target={}: {}", value, kBatchTargetBounds)};
    change.batch_target = target;
  } else if (key.starts_with(kComputePrefix)) {
    put(change.compute, compute_change(key, value, file.compute));
  } else {
    put(change.throttle, throttle_change(key, value, file.throttle));
  }
}

// Settings that were at odds before are no reason to refuse another one.
void refuse_conflicts(SettingTexts const& file, SettingTexts live, state::SettingsChange const& change) {
  for (auto const& one : change.throttle) {
    live.erase(one.name);
    if (one.text) live[one.name] = *one.text;
  }
  SettingTexts said = file;
  for (auto const& [name, text] : live) said[name] = text;
  auto const is_changed = [&](std::string_view name) {
    return std::any_of(change.throttle.begin(), change.throttle.end(),
                       [&](auto const& one) { return one.name == name; });
  };
  for (auto const& conflict : planner::setting_conflicts(said)) {
    if (!is_changed(conflict.name) && !is_changed(conflict.other)) continue;
    throw CommandError{kExitUsage, fmt::format("{}; nothing was set. Both can be set at once: throttle.{}=... "
                                               "throttle.{}=...",
                                               conflict.text, conflict.name, conflict.other)};
  }
}

void add_compute_lines(std::vector<SettingLine>& lines, StoredJob const& job, planner::Compute const& compute) {
  auto const pace = planner::compute_pace(compute, job.compute_settings);
  for (auto const& rule : planner::compute_settings()) {
    if (!has_setting(compute, rule)) continue;
    std::string const name(rule.name);
    char const* const origin = job.compute_settings.contains(name) ? "live" : "file";
    lines.push_back({std::string(kComputePrefix) + name, planner::text_of_setting(name, pace), origin,
                     std::string(rule.help), fmt::format("1 to {}{}", rule.most, rule.may_be_none ? ", none" : "")});
  }
}

std::vector<SettingLine> setting_lines(StoredJob const& job, FileSettings const& file) {
  std::vector<SettingLine> lines = {
      {"workers", std::to_string(job.workers), "job", "How many batches may run at the same time.",
       fmt::format("1 to {}", planner::kMaxWorkers)},
      {"batch.target", planner::format_duration(job.batch_target), "job", "How long a batch should take.",
       fmt::format("{} to {}", planner::format_duration(planner::kMinBatchTarget),
                   planner::format_duration(planner::kMaxBatchTarget))},
  };
  for (auto const& rule : planner::throttle_settings()) {
    auto const setting = effective_setting(rule.name, file.throttle, job.settings);
    lines.push_back({std::string(kThrottlePrefix) + std::string(rule.name), setting.text, name_of(setting.origin),
                     std::string(rule.help), planner::setting_bounds(rule)});
  }
  if (file.compute) add_compute_lines(lines, job, *file.compute);
  return lines;
}

LeaseOwner lease_of(state::LeaseOwnerRow const& row, Owner const& owner) {
  LeaseOwner lease;
  lease.process = row.process.value_or("");
  lease.host = row.host.value_or("");
  lease.pid = row.pid.value_or(0);
  lease.is_here = row.machine == owner.machine;
  lease.ranges = row.ranges;
  lease.left = row.left.value_or(std::chrono::milliseconds(0));
  lease.is_alive = lease.is_here ? has_process(lease.pid) : row.is_heard_of.value_or(false);
  return lease;
}

// The steps may have become others since somebody looked at them.
void require_hash(std::string const& hash, std::string const& expected) {
  if (expected.empty() || hash == expected) return;
  throw CommandError{kExitGateClosed,
                     "the steps are not those that were shown: the file or what hangs on them has changed. Look at "
                     "them again; nothing was approved"};
}

}  // namespace

asio::awaitable<ControlOutcome> change_status(PgConnection& connection, std::string name, StatusOrder order,
                                              Owner owner) {
  auto const job = co_await job_of(connection, name);
  std::string reason = "by " + who(owner);
  if (!order.reason.empty()) reason = order.reason + " (" + reason + ")";
  if (order.status == JobStatus::kRunning) reason.clear();
  auto const changed = value_or_throw(
      co_await connection.query(state::set_status(job.id, order.status, reason, owner, order.pause_for), Deadlines()),
      "changing the job");
  bool const may_be_followed = job.status == JobStatus::kComplete && order.status == JobStatus::kCancelled;
  bool is_followed = false;
  if (changed.rows.empty() && may_be_followed) is_followed = co_await end_followers(connection, name, owner);
  if (is_followed) co_return ControlOutcome{true, name + " is complete; the processes that follow it end"};
  if (changed.rows.empty()) co_return unchanged(name, job.status, order.status);
  if (order.status == JobStatus::kCancelled) co_await drop_what_is_prepared(connection, name);
  ControlOutcome outcome;
  outcome.text = after_change(name, order);
  co_return outcome;
}

asio::awaitable<ControlOutcome> retry_quarantine(PgConnection& connection, std::string name, Owner owner) {
  auto const job = co_await job_of(connection, name);
  std::string const statement = state::retry_quarantine(job.id, owner);
  auto const moved = value_or_throw(co_await connection.query(statement, Deadlines()), "taking rows out of quarantine");
  ControlOutcome outcome;
  outcome.text =
      fmt::format("{}: {} row(s) will be tried again by the next `run`", name, state::value_as<std::int64_t>(moved));
  co_return outcome;
}

asio::awaitable<std::vector<SettingLine>> read_settings(PgConnection& connection, std::string name,
                                                        planner::ConfigFile const* config) {
  auto const job = co_await job_of(connection, name);
  auto const file = co_await file_settings(connection, name, config);
  co_return setting_lines(job, file);
}

asio::awaitable<ControlOutcome> change_settings(PgConnection& connection, std::string name,
                                                std::vector<std::string> assignments, planner::ConfigFile const* config,
                                                Owner owner) {
  auto const job = co_await job_of(connection, name);
  auto const file = co_await file_settings(connection, name, config);
  state::SettingsChange change;
  for (auto const& assignment : assignments) read_setting(assignment, file, change);
  refuse_conflicts(file.throttle, job.settings, change);
  std::string const statement = state::change_settings(job.id, change, owner);
  value_or_throw(co_await connection.query(statement, Deadlines()), "changing the job");
  ControlOutcome outcome;
  outcome.text = fmt::format("{}: {}", name, planner::join(assignments, ", "));
  co_return outcome;
}

asio::awaitable<ContractPreview> preview_contract(PgConnection& connection, LoadedMigration loaded) {
  auto const name = loaded.migration.name;
  auto const steps = planner::contract_steps(loaded.migration);
  if (steps.empty()) throw CommandError{kExitUsage, name + " has no contract steps: there is nothing to approve"};
  ContractPreview preview;
  preview.plan =
      value_or_throw(co_await read_contract_plan(connection, loaded.migration), "asking what goes with the steps");
  preview.destructive = co_await destructive_steps(connection, name, steps);
  auto const hash =
      value_or_throw(co_await connection.query(state::plan_hash(preview.plan), Deadlines()), "hashing the steps");
  preview.plan_hash = state::value_as<std::string>(hash);
  co_return preview;
}

asio::awaitable<Approved> approve_contract(PgConnection& connection, LoadedMigration loaded, std::string reason,
                                           std::string expected_hash, Owner owner) {
  auto const name = loaded.migration.name;
  auto const shown = co_await preview_contract(connection, std::move(loaded));
  Approved approved;
  approved.plan = shown.plan;
  approved.destructive = shown.destructive;
  require_hash(shown.plan_hash, expected_hash);
  std::string statement = state::approve(name, approved.plan, reason, owner);
  auto const made =
      value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "recording the approval");
  auto const stored = state::row_as<state::MadeApproval>(made.rows.at(0));
  approved.plan_hash = stored.plan_hash;
  approved.who = fmt::format("{} ({}@{})", stored.role, stored.user, stored.host);
  approved.at = stored.at;
  co_return approved;
}

asio::awaitable<std::vector<LeaseOwner>> read_lease_owners(PgConnection& connection, std::string name, Owner owner) {
  auto const rows =
      value_or_throw(co_await query_read_only(connection, state::job_lease_owners(name)), "looking at the leases");
  std::vector<LeaseOwner> leases;
  for (auto const& row : state::rows_as<state::LeaseOwnerRow>(rows)) leases.push_back(lease_of(row, owner));
  co_return leases;
}

std::string lease_text(LeaseOwner const& lease) {
  std::string const life = lease.is_alive ? "alive" : lease.is_here ? "gone" : "not heard of";
  bool const is_over = lease.left.count() <= 0;
  return fmt::format("process {} (pid {} on {}, {}) holds {}, {}", neutralised(lease.process), lease.pid,
                     neutralised(lease.host), life, counted(lease.ranges, "range", "ranges"),
                     is_over ? "whose leases have run out" : "for " + human_duration(lease.left) + " more");
}

asio::awaitable<ControlOutcome> release_leases(PgConnection& connection, std::string name, std::string process,
                                               bool is_forced, Owner owner) {
  auto const leases = co_await read_lease_owners(connection, name, owner);
  auto const found =
      std::find_if(leases.begin(), leases.end(), [&](LeaseOwner const& lease) { return lease.process == process; });
  if (found == leases.end()) {
    throw CommandError{kExitGateClosed, fmt::format("no process '{}' holds ranges of {}; `pgbackfill locks {}` lists "
                                                    "those that do",
                                                    process, name, name)};
  }
  if (found->is_alive && !is_forced) {
    throw CommandError{kExitGateClosed,
                       lease_text(*found) + fmt::format("; `pgbackfill cancel {}` ends all its processes in order. "
                                                        "--yes takes the ranges all the same: its batches under way "
                                                        "are then lost, and no row",
                                                        name)};
  }
  auto const job = value_or_throw(co_await find_job(connection, name), "looking for the job");
  if (!job) throw CommandError{kExitGateClosed, name + " has no backfill"};
  std::string statement = state::take_leases(job->id, found->process, lease_text(*found), owner);
  auto const freed = value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "freeing the ranges");
  ControlOutcome outcome;
  outcome.text =
      fmt::format("{} free again; process {} cannot commit to them any more",
                  counted(state::value_as<std::int64_t>(freed), "range is", "ranges are"), neutralised(found->process));
  co_return outcome;
}

}  // namespace pgbackfill::engine
