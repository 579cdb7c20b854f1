#include "engine/app/sequence.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <filesystem>
#include <map>
#include <set>

#include "engine/app/one_migration.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/plan/plan_reader.h"
#include "engine/process/config_search.h"
#include "engine/process/listed_files.h"
#include "engine/run/job_setup.h"
#include "engine/state/typed_rows.h"
#include "engine/view/console.h"
#include "engine/view/plan_verdict.h"
#include "engine/view/plan_view.h"
#include "planner/file/file_order.h"
#include "planner/file/migration_file.h"
#include "planner/lint/lint.h"
#include "planner/model/sql_text.h"
#include "planner/model/suggestion.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostFiles = 10'000;

std::vector<std::string> files_of(std::string const& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    auto const& path = at->path();
    bool const is_yaml = path.extension() == ".yaml" || path.extension() == ".yml";
    auto const name = path.filename().string();
    if (!is_yaml || name.starts_with('.') || is_config_name(name) || !at->is_regular_file()) continue;
    files.push_back(path.lexically_normal().string());
    if (files.size() > kMostFiles)
      throw CommandError{kExitUsage, fmt::format("{}: more than {} files", folder, kMostFiles)};
  }
  if (error) throw CommandError{kExitUsage, fmt::format("{}: cannot be read ({})", folder, error.message())};
  if (files.empty()) throw CommandError{kExitUsage, folder + ": there are no .yaml files in it"};
  std::sort(files.begin(), files.end(), planner::is_earlier_file);
  return files;
}

// SQL that cannot be read is a mistake on any server; what only is dangerous is for `lint` to say.
std::string mistakes_in(std::vector<LoadedMigration> const& sequence) {
  planner::lint::Linter linter({});
  std::string text;
  for (auto const& loaded : sequence) {
    auto const linted = linter.lint_migration(loaded.source, loaded.migration.file);
    for (auto const& finding : linted.findings) {
      if (finding.rule != "unreadable") continue;
      text += planner::to_string(planner::Problem{finding.position, finding.why}) + "\n";
    }
  }
  return text;
}

std::string count_of_files(std::size_t count) {
  return counted(static_cast<std::int64_t>(count), "file", "files");
}

// Whether the database knows pgbackfill; nothing is made or upgraded.
asio::awaitable<bool> has_state(PgConnection& connection) {
  auto const there =
      value_or_throw(co_await connection.query(state::has_version(), Deadlines()), "reading the state schema");
  co_return state::value_as<bool>(there);
}

asio::awaitable<std::size_t> steps_done(PgConnection& connection, std::string migration,
                                        std::vector<planner::PlacedStep> steps) {
  std::size_t count = 0;
  for (auto const& step : steps) {
    std::string statement = state::step_done(migration, step.phase, step.position);
    auto const done = value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "reading the steps");
    count += done.rows.empty() ? 0 : 1;
  }
  co_return count;
}

}  // namespace

bool is_folder(std::string const& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

std::vector<LoadedMigration> load_sequence(CommandContext const& context, std::string const& folder) {
  if (!context.options().params.empty()) {
    throw CommandError{kExitUsage, folder +
                                       " is a folder, and --param is for one file; in a folder each file has "
                                       "the defaults of its parameters. Nothing was touched"};
  }

  if (!context.options().only_keys.empty()) {
    throw CommandError{kExitUsage, folder + " is a folder, and --only-keys is for one file. Nothing was touched"};
  }
  std::vector<LoadedMigration> sequence;
  std::string problems;
  std::map<std::string, std::string> file_of;  // by name of the migration
  for (auto const& file : files_of(folder)) {
    try {
      auto loaded = load_migration(context, file);
      auto const [other, is_new] = file_of.emplace(loaded.migration.name, file);
      if (!is_new) {
        problems += fmt::format("{}: its name '{}' is that of {}; each migration needs its own\n", file,
                                loaded.migration.name, other->second);
      }
      sequence.push_back(std::move(loaded));
    } catch (CommandError const& error) {
      problems += error.text + (error.text.ends_with('\n') ? "" : "\n");
    }
  }
  if (problems.empty()) problems = mistakes_in(sequence);
  if (!problems.empty()) throw CommandError{kExitUsage, problems + "nothing was touched"};
  return sequence;
}

std::string_view stage_word(Stage stage) {
  switch (stage) {
    case Stage::kPending:
      return "pending";
    case Stage::kBegun:
      return "begun";
    case Stage::kWaiting:
      return "waits for complete";
    case Stage::kCutShort:
      return "complete was cut short";
    case Stage::kComplete:
      return "complete";
  }
  return "";
}

asio::awaitable<StageReading> read_stage(PgConnection& connection, planner::Migration migration, bool has_state) {
  StageReading reading;
  if (!has_state) co_return reading;
  std::string statement = state::find_migration(migration.name);
  auto const known =
      value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "looking for the migration");
  if (known.rows.empty()) co_return reading;
  reading.stage = Stage::kBegun;
  auto const job = value_or_throw(co_await find_job(connection, migration.name), "looking for the job");
  if (job) reading.job_status = state::status_name(job->status);
  auto contract = planner::contract_steps(migration);
  std::size_t const contract_steps = contract.size();
  std::size_t const contract_done = co_await steps_done(connection, migration.name, std::move(contract));
  if (contract_done > 0) {
    reading.stage = contract_done == contract_steps ? Stage::kComplete : Stage::kCutShort;
    co_return reading;
  }
  auto steps = planner::expand_steps(migration);
  for (auto& step : planner::sync_steps(migration)) steps.push_back(std::move(step));
  std::size_t const step_count = steps.size();
  std::size_t const done = co_await steps_done(connection, migration.name, std::move(steps));
  // What was rolled back is as if it had never run.
  bool const has_work = step_count > 0 || migration.backfill;
  if (has_work && done == 0 && !job) reading.stage = Stage::kPending;
  bool const is_filled = !migration.backfill || (job && job->status == JobStatus::kComplete);
  if (done < step_count || !is_filled) co_return reading;
  reading.stage = contract_steps == 0 ? Stage::kComplete : Stage::kWaiting;
  co_return reading;
}

// --- run -------------------------------------------------------------------------------------------------------------

namespace {

void say(CommandContext& context, std::string const& text) {
  if (!context.is_json()) context.print(text + "\n");
}

void tell_end(CommandContext& context, std::string const& folder, std::string const& at, std::string_view why,
              std::size_t done, std::size_t left, int code) {
  if (!context.is_json()) return;
  boost::json::object document;
  document["folder"] = folder;
  document["complete"] = done;
  document["left"] = left;
  document["stopped_at"] = at.empty() ? boost::json::value(nullptr) : boost::json::value(at);
  document["because"] = why;
  document["exit_code"] = code;
  context.print(document);
}

asio::awaitable<StageReading> stage_now(CommandContext& context, planner::Migration migration) {
  auto const connection = co_await context.connect();
  bool const is_there = co_await has_state(*connection);
  co_return co_await read_stage(*connection, std::move(migration), is_there);
}

// Where a run of a folder ends with exit code 0 although files are left.
std::string waiting_text(planner::Migration const& migration, std::size_t left) {
  std::string text = fmt::format("{} waits for `pgbackfill complete {}`", migration.name, migration.name);
  if (left > 0)
    text += fmt::format("; {} after it {} not touched until then", count_of_files(left), left == 1 ? "is" : "are");
  return text;
}

}  // namespace

asio::awaitable<int> run_sequence(CommandContext& context, RunOptions options) {
  auto const folder = options.file;
  options.may_follow = false;
  if (!options.record_readings.empty()) {
    throw CommandError{kExitUsage, "--record-readings is of one file; run that by itself"};
  }
  auto const sequence = load_sequence(context, folder);
  for (std::size_t at = 0; at < sequence.size(); ++at) {
    auto const& migration = sequence[at].migration;
    std::size_t const left = sequence.size() - at - 1;
    auto reading = co_await stage_now(context, migration);
    if (reading.stage == Stage::kComplete) {
      say(context, migration.name + " is complete already");
      continue;
    }
    if (reading.stage == Stage::kPending || reading.stage == Stage::kBegun) {
      options.file = migration.file;
      int const code = co_await run_one(context, options);
      if (code != kExitDone) {
        say(context, fmt::format("stopped at {} ({}); {} after it {} not touched", migration.name, migration.file,
                                 count_of_files(left), left == 1 ? "was" : "were"));
        tell_end(context, folder, migration.name, "stopped", at, left + 1, code);
        co_return code;
      }
      reading = co_await stage_now(context, migration);
    }
    if (reading.stage == Stage::kComplete) continue;
    say(context, waiting_text(migration, left));
    tell_end(context, folder, migration.name, stage_word(reading.stage), at, left + 1, kExitDone);
    co_return kExitDone;
  }
  say(context, fmt::format("all {} migrations of {} are complete", sequence.size(), folder));
  tell_end(context, folder, "", "complete", sequence.size(), 0, kExitDone);
  co_return kExitDone;
}

// --- rollback --------------------------------------------------------------------------------------------------------

namespace {

// Those after `to` of which something ran, last first.
asio::awaitable<std::vector<LoadedMigration>> to_roll_back(PgConnection& connection,
                                                           std::vector<LoadedMigration> sequence, std::string to) {
  auto const stays = std::find_if(sequence.begin(), sequence.end(),
                                  [&](LoadedMigration const& one) { return one.migration.name == to; });
  if (stays == sequence.end()) {
    std::vector<std::string_view> names;
    for (auto const& one : sequence) names.emplace_back(one.migration.name);
    throw CommandError{
        kExitUsage, fmt::format("no migration of the folder is called '{}'{}", to, planner::did_you_mean(to, names))};
  }
  std::vector<LoadedMigration> list;
  for (auto at = stays + 1; at != sequence.end(); ++at) {
    auto const reading = co_await read_stage(connection, at->migration, true);
    if (reading.stage != Stage::kPending) list.insert(list.begin(), std::move(*at));
  }
  co_return list;
}

}  // namespace

asio::awaitable<int> roll_back_sequence(CommandContext& context, FinishOptions options) {
  if (options.to.empty()) {
    throw CommandError{kExitUsage, "rollback of a folder needs --to NAME: that migration and all before it stay"};
  }
  auto sequence = load_sequence(context, options.file_or_name);
  std::vector<LoadedMigration> list;
  std::string refusals;
  std::string previews;
  {
    auto const use = options.is_dry_run ? StateUse::kReads : StateUse::kWrites;
    auto const connection = co_await context.connect_to_state(use);
    list = co_await to_roll_back(*connection, std::move(sequence), options.to);
    for (auto const& one : list) {
      auto const preview = co_await preview_rollback(*connection, one.migration);
      if (!preview.refusal.empty()) refusals += preview.refusal + "\n";
      // What depends on the others may be what those that go before them have made.
      bool const goes_first = &one == &list.front();
      for (auto const& stop : preview.stops) {
        if (!goes_first) continue;
        refusals += fmt::format("{}: the server would refuse it because of {}\n", one.migration.name, stop);
      }
      previews += rollback_text(one.migration.name, preview);
    }
  }
  if (!refusals.empty()) throw CommandError{kExitFailed, refusals + "nothing was touched"};
  if (list.empty()) {
    context.print(fmt::format("nothing after {} ran: there is nothing to take back\n", options.to));
    co_return kExitDone;
  }
  if (options.is_dry_run) {
    context.print(previews);
    co_return kExitDone;
  }
  if (!options.yes) {
    std::string names;
    for (auto const& one : list) names += (names.empty() ? "" : ", ") + one.migration.name;
    throw CommandError{
        kExitGateClosed,
        fmt::format("rollback would take back {}, in this order; --dry-run shows what, --yes does it", names)};
  }
  for (auto const& one : list) {
    options.file_or_name = one.migration.file;
    int const code = co_await roll_back_one(context, options);
    if (code != kExitDone) co_return code;
  }
  co_return kExitDone;
}

// --- status and plan -------------------------------------------------------------------------------------------------

namespace {

std::string state_text(StageReading const& reading) {
  bool const has_more = reading.stage == Stage::kBegun && !reading.job_status.empty();
  return has_more ? "backfill " + reading.job_status : std::string(stage_word(reading.stage));
}

// What somebody has to do for the sequence to go on; of the first one that is not complete.
std::string next_of(Stage stage, std::string const& name, std::string const& folder) {
  if (stage == Stage::kWaiting || stage == Stage::kCutShort) return fmt::format("`pgbackfill complete {}`", name);
  return fmt::format("`pgbackfill run {}`", folder);
}

}  // namespace

asio::awaitable<int> show_sequence(CommandContext& context, std::string folder) {
  auto const sequence = load_sequence(context, folder);
  auto const connection = co_await context.connect();
  bool const is_there = co_await has_state(*connection);
  boost::json::array documents;
  std::vector<std::vector<std::string>> cells;
  std::set<std::string> names;
  std::string next;
  for (auto const& one : sequence) {
    auto const& migration = one.migration;
    auto const reading = co_await read_stage(*connection, migration, is_there);
    names.insert(migration.name);
    if (next.empty() && reading.stage != Stage::kComplete) next = next_of(reading.stage, migration.name, folder);
    cells.push_back(
        {neutralised(fs::path(migration.file).filename().string()), neutralised(migration.name), state_text(reading)});
    boost::json::object document;
    document["file"] = valid_utf8(migration.file);
    document["migration"] = migration.name;
    document["stage"] = stage_word(reading.stage);
    document["job_status"] =
        reading.job_status.empty() ? boost::json::value(nullptr) : boost::json::value(reading.job_status);
    documents.push_back(std::move(document));
  }
  boost::json::array strangers;
  if (is_there) {
    auto const known =
        value_or_throw(co_await connection->query(state::list_names(), Deadlines()), "listing the names");
    for (auto const& name : state::column_as<std::string>(known)) {
      if (names.count(name) == 0) strangers.emplace_back(name);
    }
  }
  if (context.is_json()) {
    boost::json::object document;
    document["folder"] = folder;
    document["migrations"] = std::move(documents);
    document["of_no_file"] = std::move(strangers);
    document["next"] = next.empty() ? boost::json::value(nullptr) : boost::json::value(next);
    context.print(document);
    co_return kExitDone;
  }
  std::vector<TableColumn> const columns = {
      {"FILE", false, true, 1}, {"NAME", false, true, 0}, {"STATE", false, false, 0}};
  std::string text = planner::join(table_lines(columns, cells, standard_output().view), "\n") + "\n";
  if (!strangers.empty()) {
    text += fmt::format("{} in this database {} in no file of this folder; `pgbackfill status` lists all\n",
                        counted(static_cast<std::int64_t>(strangers.size()), "migration", "migrations"),
                        strangers.size() == 1 ? "is" : "are");
  }
  text += next.empty() ? "all are complete\n" : "next: " + next + "\n";
  context.print(text);
  co_return kExitDone;
}

namespace {

// All its steps are recorded.
bool is_over(PlanReport const& report) {
  auto const is_recorded = [](PlannedStep const& step) { return step.is_recorded; };
  return std::all_of(report.expand.begin(), report.expand.end(), is_recorded) &&
         std::all_of(report.sync.begin(), report.sync.end(), is_recorded) &&
         std::all_of(report.contract.begin(), report.contract.end(), is_recorded);
}

}  // namespace

asio::awaitable<int> plan_sequence(CommandContext& context, PlanOptions options) {
  auto sequence = load_sequence(context, options.file);
  auto const connection = co_await context.connect();
  auto const format = options.format.value_or(context.is_json() ? PlanFormat::kJson : PlanFormat::kText);
  boost::json::array plans;
  std::string text;
  std::vector<planner::Problem> refused;
  std::vector<std::string> risks;
  bool is_next = true;  // nothing ahead of it is open, and could make another answer of what the server says
  for (std::size_t at = 0; at < sequence.size(); ++at) {
    auto& loaded = sequence[at];
    std::string const name = loaded.migration.name;
    std::string const file = loaded.migration.file;
    std::optional<PlanReport> report;
    std::string problem;
    try {
      co_await context.adopt_settings_aloud(*connection, loaded.migration.name);
      take_inputs(loaded);
      report = co_await read_plan(*connection, std::move(loaded), options.sample);
    } catch (CommandError const& error) {
      // It may rely on what those ahead of it will have made.
      if (at == 0) throw;
      problem = error.text;
    }
    if (!report) {
      std::string const note = "cannot be planned before those ahead of it ran: " + problem;
      plans.push_back(boost::json::object{{"migration", name}, {"file", file}, {"problem", note}});
      text += format == PlanFormat::kMarkdown
                  ? fmt::format("### pgbackfill plan of {}\n\nIt {}\n\n", name, neutralised(note))
                  : fmt::format("migration {} ({})\n  {}\n\n", name, file, note);
      continue;
    }
    if (is_next) {
      refused = report->refused;
    } else if (!report->refused.empty()) {
      report->notes.push_back("the server would refuse this before those ahead of it ran: " +
                              planner::to_lines(report->refused));
      report->refused.clear();
    }
    is_next = is_next && is_over(*report);
    auto const more = risky_parts(*report, options.fail_on);
    risks.insert(risks.end(), more.begin(), more.end());
    plans.push_back(plan_json(*report));
    text += (format == PlanFormat::kMarkdown ? plan_markdown(*report)
                                             : plan_text(*report, standard_output().view.columns)) +
            "\n";
  }
  if (format == PlanFormat::kJson) {
    context.print(boost::json::object{{"plans", std::move(plans)}});
  } else {
    context.print(text);
  }
  if (!refused.empty()) throw CommandError{kExitUsage, planner::to_lines(refused)};
  if (!risks.empty()) throw CommandError{kExitGateClosed, "--fail-on: " + planner::join(risks, "\n")};
  co_return kExitDone;
}

}  // namespace pgbackfill::engine
