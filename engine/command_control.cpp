// init, pause, resume, cancel, set: one change of the state each, with an event that says who made it.

#include <fmt/format.h>

#include <charconv>

#include "engine/commands.h"
#include "engine/job_setup.h"
#include "planner/duration.h"
#include "planner/sql_text.h"
#include "planner/suggestion.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<StoredJob> job_of(PgConnection& connection, std::string file_or_name) {
  std::string const name = name_of(file_or_name);
  auto job = value_or_throw(co_await find_job(connection, name), "looking for the job");
  if (job) co_return std::move(*job);
  auto const known = value_or_throw(co_await connection.query(state::list_jobs(), Deadlines()), "listing the jobs");
  std::vector<std::string_view> names;
  for (auto const& row : known.rows) names.emplace_back(*row[0]);
  throw CommandError{kExitUsage,
                     fmt::format("there is no backfill '{}' in this database{}; `pgbackfill status` lists them", name,
                                 planner::did_you_mean(name, names))};
}

asio::awaitable<int> init(CommandContext& context) {
  auto connection = co_await context.connect();
  bool const changed = co_await context.ensure_state(*connection);
  context.print(changed ? "schema pgbackfill is ready\n"
                        : "schema pgbackfill was there already, at the right version\n");
  co_return kExitDone;
}

std::string who(Owner const& owner) {
  return owner.user + "@" + owner.host;
}

asio::awaitable<int> change_status(CommandContext& context, ControlOptions options, JobStatus status) {
  auto connection = co_await context.connect_to_state();
  std::string const name = name_of(options.file_or_name);
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
  auto const changed = value_or_throw(
      co_await connection->query(state::set_status(job.id, status, stored, context.owner()), Deadlines()),
      "changing the job");
  if (changed.rows.empty()) {
    std::string const is = state::status_name(job.status);
    bool const already = job.status == status;
    context.print(fmt::format("{} is {}{}\n", name, is, already ? " already" : ": nothing to do"));
    co_return already ? kExitDone : kExitFailed;
  }
  std::string const after = status == JobStatus::kRunning
                                ? "; a process that waits goes on, else `pgbackfill run` its file"
                                : "; batches in flight end, then nothing more starts";
  context.print(
      fmt::format("{} is {}{}\n", name, status == JobStatus::kRunning ? "resumed" : state::status_name(status), after));
  co_return kExitDone;
}

std::optional<std::int64_t> positive_number(std::string_view text) {
  std::int64_t value = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value <= 0) return std::nullopt;
  return value;
}

struct Settings {
  std::optional<int> workers;
  std::optional<std::chrono::milliseconds> batch_target;
  std::optional<std::optional<std::int64_t>> max_rows_per_second;
};

void read_setting(std::string const& text, Settings& settings) {
  std::size_t const equals = text.find('=');
  if (equals == std::string::npos) throw CommandError{kExitUsage, "'" + text + "' is not key=value, such as workers=4"};
  std::string const key = text.substr(0, equals);
  std::string const value = text.substr(equals + 1);
  if (key == "workers") {
    auto const number = positive_number(value);
    if (!number || *number > planner::kMaxWorkers) {
      throw CommandError{kExitUsage, fmt::format("workers={}: a number from 1 to {}", value, planner::kMaxWorkers)};
    }
    settings.workers = static_cast<int>(*number);
  } else if (key == "batch.target") {
    settings.batch_target = planner::parse_duration(value);
    if (!settings.batch_target || *settings.batch_target < planner::kMinBatchTarget ||
        *settings.batch_target > planner::kMaxBatchTarget) {
      throw CommandError{
          kExitUsage, fmt::format("batch.target={}: a duration from 5ms to 60s with its unit, such as 100ms", value)};
    }
  } else if (key == "throttle.max_rows_per_second" || key == "max_rows_per_second") {
    auto const number = positive_number(value);
    if (!number && value != "none") {
      throw CommandError{kExitUsage, fmt::format("{}={}: a number of rows above 0, or none", key, value)};
    }
    settings.max_rows_per_second = number;
  } else {
    std::vector<std::string_view> const known = {"workers", "batch.target", "throttle.max_rows_per_second"};
    throw CommandError{kExitUsage, fmt::format("unknown key '{}'{}; known: workers, batch.target, "
                                               "throttle.max_rows_per_second",
                                               key, planner::did_you_mean(key, known))};
  }
}

asio::awaitable<int> set(CommandContext& context, SetOptions options) {
  Settings settings;
  for (auto const& assignment : options.assignments) read_setting(assignment, settings);
  auto connection = co_await context.connect_to_state();
  std::string const name = name_of(options.file_or_name);
  auto const job = co_await job_of(*connection, name);
  std::string const statement = state::set_options(job.id, settings.workers, settings.batch_target,
                                                   settings.max_rows_per_second, context.owner());
  value_or_throw(co_await connection->query(statement, Deadlines()), "changing the job");
  context.print(fmt::format("{}: {}\n", name, planner::join(options.assignments, ", ")));
  co_return kExitDone;
}

}  // namespace

int init_command(CommandContext& context) {
  return context.run(init(context));
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
