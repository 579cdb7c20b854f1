// init, pause, resume, cancel, set: one change of the state each, with an event that says who made it.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/run/job_setup.h"
#include "engine/run/limits.h"
#include "engine/run/prepared_results.h"
#include "engine/state/stored_overview.h"
#include "engine/steps/subscribers.h"
#include "engine/view/console.h"
#include "planner/file/throttle_settings.h"
#include "planner/model/duration.h"
#include "planner/model/sql_text.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<StoredJob> job_of(PgConnection& connection, std::string name) {
  auto job = value_or_throw(co_await find_job(connection, name), "looking for the job");
  if (job) co_return std::move(*job);
  auto const known = value_or_throw(co_await connection.query(state::list_jobs(), Deadlines()), "listing the jobs");
  std::vector<std::string_view> names;
  for (auto const& row : known.rows) names.emplace_back(*row[0]);
  throw CommandError{kExitUsage,
                     fmt::format("there is no backfill '{}' in this database{}; `pgbackfill status` lists them",
                                 neutralised(name), planner::did_you_mean(name, names))};
}

asio::awaitable<int> init(CommandContext& context, InitOptions options) {
  auto connection = co_await context.connect();
  std::vector<planner::SchemaStep> const none;
  co_await require_subscribers_ready(*connection, none, options.subscribers_ready);
  std::string const done = co_await context.ensure_state(*connection);
  context.print(done.empty() ? "schema pgbackfill was there already, at the right version\n" : done + "\n");
  co_return kExitDone;
}

std::string who(Owner const& owner) {
  return owner.user + "@" + owner.host;
}

std::string for_how_long(ControlOptions const& options) {
  return options.pause_for ? " for " + planner::format_duration(*options.pause_for) : "";
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
    if (!found.rows.empty()) prepared = parse_stored(name, found.at(0, 0), found.at(0, 1)).prepared;
  } catch (CommandError const&) {
    prepared.clear();
  }
  value_or_throw(co_await drop_prepared(connection, name, std::move(prepared)), "dropping results of prepare");
}

asio::awaitable<int> change_status(CommandContext& context, ControlOptions options, JobStatus status) {
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  std::string const name = co_await find_name(context, *connection, options.file_or_name);
  auto const job = co_await job_of(*connection, name);
  std::string reason = "by " + who(context.owner());
  if (!options.reason.empty()) reason = options.reason + " (" + reason + ")";
  if (options.retry_quarantine) {
    std::string const statement = state::retry_quarantine(job.id, context.owner());
    auto const moved =
        value_or_throw(co_await connection->query(statement, Deadlines()), "taking rows out of quarantine");
    context.print(fmt::format("{}: {} row(s) will be tried again by the next `run`\n", name, moved.at(0, 0)));
    co_return kExitDone;
  }
  std::string const stored = status == JobStatus::kRunning ? "" : reason;
  auto const changed =
      value_or_throw(co_await connection->query(
                         state::set_status(job.id, status, stored, context.owner(), options.pause_for), Deadlines()),
                     "changing the job");
  if (changed.rows.empty()) {
    std::string const is = state::status_name(job.status);
    bool const already = job.status == status;
    context.print(fmt::format("{} is {}{}\n", name, is, already ? " already" : ": nothing to do"));
    co_return already ? kExitDone : kExitFailed;
  }
  if (status == JobStatus::kCancelled) co_await drop_what_is_prepared(*connection, name);
  std::string const after = status == JobStatus::kRunning
                                ? "; a process that waits goes on, else `pgbackfill run` its file"
                                : "; batches in flight end, then nothing more starts" + for_how_long(options);
  context.print(
      fmt::format("{} is {}{}\n", name, status == JobStatus::kRunning ? "resumed" : state::status_name(status), after));
  co_return kExitDone;
}

constexpr std::string_view kThrottlePrefix = "throttle.";
constexpr char kBatchTargetBounds[] = "a duration from 5ms to 60s with its unit, such as 100ms";

// What the file said when it ran last; a source that this version cannot read has no settings.
asio::awaitable<SettingTexts> file_settings(PgConnection& connection, std::string name,
                                            planner::ConfigFile const* config) {
  auto const found =
      value_or_throw(co_await connection.query(state::find_migration(name), Deadlines()), "reading the migration");
  SettingTexts settings;
  try {
    if (!found.rows.empty()) {
      settings = setting_texts(parse_stored(name, found.at(0, 0), found.at(0, 1), config).migration.throttle);
    }
  } catch (CommandError const&) {
    settings.clear();
  }
  co_return settings;
}

CommandError unknown_key(std::string const& key) {
  std::vector<std::string> names = {"workers", "batch.target"};
  for (auto const& rule : planner::throttle_settings()) {
    names.push_back(std::string(kThrottlePrefix) + std::string(rule.name));
  }
  std::vector<std::string_view> const known(names.begin(), names.end());
  std::string hint = planner::did_you_mean(key, known);
  if (planner::find_throttle_setting(key) != nullptr) hint = fmt::format(" (did you mean 'throttle.{}'?)", key);
  return {kExitUsage, fmt::format("unknown key '{}'{}; `pgbackfill set NAME` lists the keys", neutralised(key), hint)};
}

state::SettingsChange::Throttle throttle_change(std::string const& key, std::string const& value,
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

void read_setting(std::string const& text, SettingTexts const& file, state::SettingsChange& change) {
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
  } else {
    auto setting = throttle_change(key, value, file);
    std::erase_if(change.throttle, [&](auto const& other) { return other.name == setting.name; });
    change.throttle.push_back(std::move(setting));
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

struct SettingLine {
  std::string key;
  std::string value;
  std::string origin;
  std::string help;
  std::string bounds;
};

std::vector<SettingLine> setting_lines(StoredJob const& job, SettingTexts const& file) {
  std::vector<SettingLine> lines = {
      {"workers", std::to_string(job.workers), "job", "How many batches may run at the same time.",
       fmt::format("1 to {}", planner::kMaxWorkers)},
      {"batch.target", planner::format_duration(job.batch_target), "job", "How long a batch should take.",
       fmt::format("{} to {}", planner::format_duration(planner::kMinBatchTarget),
                   planner::format_duration(planner::kMaxBatchTarget))},
  };
  for (auto const& rule : planner::throttle_settings()) {
    auto const setting = effective_setting(rule.name, file, job.settings);
    lines.push_back({std::string(kThrottlePrefix) + std::string(rule.name), setting.text, name_of(setting.origin),
                     std::string(rule.help), planner::setting_bounds(rule)});
  }
  return lines;
}

void list_settings(CommandContext const& context, std::string const& name, std::vector<SettingLine> const& lines) {
  if (context.is_json()) {
    boost::json::array settings;
    for (auto const& line : lines) {
      settings.push_back({{"key", line.key},
                          {"value", valid_utf8(line.value)},
                          {"origin", line.origin},
                          {"bounds", line.bounds},
                          {"help", line.help}});
    }
    return context.print(boost::json::object{{"migration", valid_utf8(name)}, {"settings", std::move(settings)}});
  }
  std::vector<std::vector<std::string>> cells;
  for (auto const& line : lines) {
    cells.push_back({line.key, neutralised(line.value), line.origin, line.bounds, line.help});
  }
  std::vector<TableColumn> const columns = {{"KEY", false, false, 0},
                                            {"VALUE", false, true, 0},
                                            {"FROM", false, false, 0},
                                            {"TAKES", false, true, 1},
                                            {"MEANING", false, true, 2}};
  context.print(planner::join(table_lines(columns, cells, standard_output().view), "\n") + "\n");
}

asio::awaitable<int> set(CommandContext& context, SetOptions options) {
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  std::string const name = co_await find_name(context, *connection, options.file_or_name);
  auto const job = co_await job_of(*connection, name);
  auto const file = co_await file_settings(*connection, name, context.config());
  if (options.assignments.empty()) {
    list_settings(context, name, setting_lines(job, file));
    co_return kExitDone;
  }
  state::SettingsChange change;
  for (auto const& assignment : options.assignments) read_setting(assignment, file, change);
  refuse_conflicts(file, job.settings, change);
  std::string const statement = state::change_settings(job.id, change, context.owner());
  value_or_throw(co_await connection->query(statement, Deadlines()), "changing the job");
  context.print(fmt::format("{}: {}\n", name, planner::join(options.assignments, ", ")));
  co_return kExitDone;
}

}  // namespace

int init_command(CommandContext& context, InitOptions const& options) {
  return context.run(init(context, options));
}

int pause_command(CommandContext& context, ControlOptions const& options) {
  return context.run(change_status(context, options, JobStatus::kPaused));
}

int resume_command(CommandContext& context, ControlOptions const& options) {
  return context.run(change_status(context, options, JobStatus::kRunning));
}

int cancel_command(CommandContext& context, ControlOptions const& options) {
  return context.run(change_status(context, options, JobStatus::kCancelled));
}

int set_command(CommandContext& context, SetOptions const& options) {
  return context.run(set(context, options));
}

}  // namespace pgbackfill::engine
