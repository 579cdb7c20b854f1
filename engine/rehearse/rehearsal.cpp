#include "engine/rehearse/rehearsal.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "engine/app/one_migration.h"
#include "engine/app/rehearsed.h"
#include "engine/app/report_reader.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/process/listed_files.h"
#include "engine/rehearse/commit_latency.h"
#include "engine/rehearse/forecast.h"
#include "engine/rehearse/server_watch.h"
#include "engine/rehearse/stand_in.h"
#include "engine/rehearse/traffic.h"
#include "engine/rehearse/work_cost.h"
#include "engine/state/typed_rows.h"
#include "planner/file/migration_file.h"
#include "planner/file/rehearse_section.h"

namespace pgbackfill::engine {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr double kDefaultRows = 1'000'000;
constexpr double kDefaultBytes = 1e9;
// The rows and what the migration leaves behind of them; an empty server; WAL until it is recycled.
constexpr double kDiskFactor = 3;
constexpr double kEmptyServer = 200e6;
constexpr double kWalFactor = 6;
constexpr double kMostWal = 1.5e9;
// A gate and its like take this long however many rows there are.
constexpr double kFixedOfGate = 300;
constexpr double kNoticedRatio = 1.5;
constexpr double kNoticedShare = 0.01;
// Of traffic alone, before and after the migration.
constexpr std::chrono::seconds kTrafficAlone{5};

milliseconds between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration_cast<milliseconds>(std::max(to - from, Clock::duration::zero()));
}

// --- What is to be done ---

planner::TableProfile const* find_table(Profile const& profile, planner::TableName const& name) {
  for (auto const& table : profile.tables) {
    bool const is_it = table.table.name == name.name && (name.schema.empty() || table.table.schema == name.schema);
    if (is_it) return &table;
  }
  return nullptr;
}

// The one whose rows are worked, else the largest that the migration names.
planner::TableProfile const* main_table(Profile const& profile, planner::Migration const& migration) {
  if (migration.backfill) return find_table(profile, migration.backfill->table);
  planner::TableProfile const* largest = nullptr;
  for (auto const& table : profile.tables) {
    bool const is_larger = table.is_touched && (largest == nullptr || table.rows > largest->rows);
    if (is_larger) largest = &table;
  }
  return largest;
}

double bytes_of(Profile const& profile) {
  double bytes = 0;
  for (auto const& table : profile.tables) {
    if (table.kind != "p") bytes += static_cast<double>(table.heap_bytes + table.index_bytes + table.toast_bytes);
  }
  return bytes;
}

double scale_of(RehearsalTerms const& terms, Profile const& profile, double rows) {
  if (terms.scale) return *terms.scale;
  if (terms.rows) return static_cast<double>(*terms.rows) / rows;
  double const bytes = std::max(bytes_of(profile), 1.0);
  return std::min({1.0, kDefaultRows / rows, kDefaultBytes / bytes});
}

void refuse_other_profile(LoadedMigration const& loaded, Profile const& profile) {
  auto const& migration = loaded.migration;
  if (profile.migration != migration.name) {
    throw CommandError{kExitUsage,
                       fmt::format("the profile is of migration '{}', and {} is '{}'; take the profile again with "
                                   "`pgbackfill profile {}`",
                                   neutralised(profile.migration), migration.file, migration.name, migration.file)};
  }
  if (migration.backfill && migration.backfill->compute) {
    throw CommandError{kExitUsage, migration.file +
                                       ": its values are computed by a program, which would be asked about "
                                       "made-up rows; such a migration cannot be rehearsed"};
  }
}

// --- What is heard of the run ---

class Recorder final : public EventSink {
 public:
  void emit(Event event) override {
    std::lock_guard const lock(mutex_);
    if (auto const* progress = std::get_if<Progress>(&event)) hear(*progress);
    if (auto* summary = std::get_if<Summary>(&event)) summary_ = std::move(*summary);
    auto const* batch = std::get_if<BatchTold>(&event);
    if (batch != nullptr && batch->lock_wait) {
      lock_wait_ = std::max(lock_wait_, std::chrono::duration_cast<milliseconds>(*batch->lock_wait));
    }
  }

  std::optional<Clock::time_point> backfill_began() const { return backfill_began_; }
  std::vector<PacePoint> const& points() const { return points_; }
  std::optional<Summary> const& summary() const { return summary_; }
  milliseconds lock_wait() const { return lock_wait_; }

 private:
  void hear(Progress const& progress) {
    if (progress.phase != RunPhase::kBackfilling) return;
    if (!backfill_began_) backfill_began_ = Clock::now();
    points_.push_back({static_cast<double>(progress.elapsed.count()), static_cast<double>(progress.rows_done)});
  }

  std::mutex mutex_;
  std::optional<Clock::time_point> backfill_began_;
  std::vector<PacePoint> points_;
  std::optional<Summary> summary_;
  milliseconds lock_wait_{0};
};

// --- The rehearsal ---

struct SizesRow {
  std::int64_t tables = 0;
  std::int64_t indexes = 0;
  std::int64_t toast = 0;
};

constexpr char kSizes[] =
    "SELECT coalesce(sum(pg_relation_size(c.oid)), 0)::int8, coalesce(sum(pg_indexes_size(c.oid)), 0)::int8, "
    "coalesce(sum(CASE WHEN c.reltoastrelid <> 0 THEN pg_total_relation_size(c.reltoastrelid) ELSE 0 END), 0)::int8 "
    "FROM "
    "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN "
    "('pg_catalog', 'information_schema', 'pgbackfill')";

class Rehearsal {
 public:
  Rehearsal(RehearsalPlan plan, RehearsalTerms const& terms, std::string conninfo)
      : plan_(std::move(plan)), terms_(terms), conninfo_(std::move(conninfo)) {}

  RehearsalReport go(std::string const& server);

 private:
  // One command of its own, with a loop of its own, as the program would run it.
  int in_context(std::function<asio::awaitable<int>(CommandContext&)> const& work);
  void build();
  void sample();
  void note_matching();
  SizesRow read_sizes();
  void wait_with_traffic();
  void run();
  void complete();
  void read_steps();
  void report_phases();
  void report_sizes(SizesRow const& before, SizesRow const& after);
  void report_sights();
  std::int64_t wal_at(Clock::time_point at) const;
  void add_phase(std::string name, Clock::time_point from, Clock::time_point to, milliseconds took, double fixed_ms,
                 double rows);
  bool grows(ReportedStep const& step) const;
  void tell(std::string const& text) const {
    if (terms_.tell) terms_.tell(text);
  }

  RehearsalPlan plan_;
  RehearsalTerms const& terms_;
  std::string conninfo_;
  RehearsalReport report_;
  std::string name_;
  std::optional<BatchCost> batch_here_;
  std::optional<double> matching_here_;
  PlanReport planned_;
  Recorder recorder_;
  std::vector<ReportedStep> steps_;
  std::vector<ServerSight> sights_;
  Clock::time_point run_began_;
  Clock::time_point run_ended_;
  Clock::time_point complete_ended_;
};

int Rehearsal::in_context(std::function<asio::awaitable<int>(CommandContext&)> const& work) {
  auto options = terms_.options;
  options.dsn = conninfo_;
  options.format = OutputFormat::kText;
  options.show_progress = false;
  options.log_level = Severity::kError;
  CommandContext context(std::move(options));
  context.interrupts().listen();
  try {
    int const code = context.run_or_throw(work(context));
    context.interrupts().stop_listening();
    return code;
  } catch (CutShort const&) {
    context.interrupts().stop_listening();
    throw CommandError{kExitResumable, "interrupted; the same command begins the rehearsal again"};
  } catch (...) {
    context.interrupts().stop_listening();
    throw;
  }
}

void Rehearsal::build() {
  StandIn made;
  in_context([&](CommandContext& context) -> asio::awaitable<int> {
    StandInTerms stand_in;
    stand_in.sessions = terms_.sessions;
    stand_in.tell = terms_.tell;
    made = co_await build_stand_in(context, plan_.profile, plan_.fill, std::move(stand_in));
    co_return kExitDone;
  });
  report_.built_rows = made.rows;
  report_.fill_time = made.fill_time;
  report_.build_time = made.build_time;
  report_.notes.insert(report_.notes.end(), made.notes.begin(), made.notes.end());
}

// What `plan --sample` says here, to be compared with what it said there.
void Rehearsal::sample() {
  tell("measuring one batch");
  in_context([&](CommandContext& context) -> asio::awaitable<int> {
    auto loaded = load_migration(context, terms_.file);
    keep_to_rehearsal(loaded);
    name_ = loaded.migration.name;
    auto connection = co_await context.connect();
    co_await context.adopt_settings_aloud(*connection, name_);
    take_inputs(loaded);
    co_await bind_only_keys(*connection, loaded);
    auto cost = co_await measure_work(*connection, std::move(loaded), true);
    planned_ = std::move(cost.plan);
    batch_here_ = cost.batch;
    matching_here_ = cost.matching_share;
    auto const commit = co_await median_commit(*connection);
    report_.commit_ms_here = commit ? *commit : 0;
    co_return kExitDone;
  });
  if (!planned_.refused.empty()) throw CommandError{kExitUsage, planner::to_lines(planned_.refused)};
  if (!planned_.backfill) return;
  report_.rows_here = planned_.backfill->rows;
  note_matching();
}

// Work on rows that `where` leaves out costs next to nothing.
void Rehearsal::note_matching() {
  auto const& there = plan_.profile.matching_share;
  if (!there || !matching_here_) return;
  double const more = std::max(*there, *matching_here_);
  double const less = std::min(*there, *matching_here_);
  if (less * kNoticedRatio >= more || more < kNoticedShare) return;
  report_.notes.push_back(fmt::format(
      "`where` is expected to hold for {:.0f} % of the rows there and {:.0f} % here: what the backfill costs is "
      "off by as much; a profile with --values statistics has the values that it asks for",
      *there * 100, *matching_here_ * 100));
}

void Rehearsal::wait_with_traffic() {
  tell("traffic alone");
  in_context([](CommandContext& context) -> asio::awaitable<int> {
    std::function<bool()> const is_stopping = [&context] { return context.interrupts().is_asked(); };
    co_await sleep_unless_stopped(kTrafficAlone, is_stopping);
    co_return kExitDone;
  });
}

SizesRow Rehearsal::read_sizes() {
  SizesRow sizes;
  in_context([&](CommandContext& context) -> asio::awaitable<int> {
    auto connection = co_await context.connect();
    auto const rows = value_or_throw(co_await query_read_only(*connection, kSizes), "measuring the tables");
    sizes = state::row_as<SizesRow>(rows.rows.front());
    co_return kExitDone;
  });
  return sizes;
}

void Rehearsal::run() {
  tell("running the migration");
  RunOptions options;
  options.file = terms_.file;
  options.sink = &recorder_;
  options.skip_hooks = true;
  options.is_rehearsal = true;
  options.subscribers_ready = true;
  run_began_ = Clock::now();
  int code = kExitDone;
  try {
    code = in_context([&](CommandContext& context) { return run_one(context, options); });
  } catch (CommandError const& error) {
    if (error.exit_code == kExitResumable) throw;
    report_.ended = "run failed";
    report_.trouble = error.text;
  }
  run_ended_ = Clock::now();
  complete_ended_ = run_ended_;
  auto const& summary = recorder_.summary();
  if (code != kExitDone && report_.trouble.empty()) {
    report_.ended = fmt::format("run ended with exit code {}", code);
    report_.trouble = summary ? summary->headline : "it did not say why";
  }
  if (!summary) return;
  report_.rows_changed = summary->last.rows_changed;
  for (auto const& note : summary->notes) {
    if (note.starts_with("held back by")) report_.held_back = note;
  }
}

// The gate, the checks of verify, and the contract steps.
void Rehearsal::complete() {
  tell("gate and contract");
  FinishOptions options;
  options.file_or_name = terms_.file;
  options.skip_hooks = true;
  options.is_rehearsal = true;
  options.subscribers_ready = true;
  options.yes = true;
  try {
    in_context([&](CommandContext& context) { return complete_one(context, options); });
  } catch (CommandError const& error) {
    report_.ended = error.exit_code == kExitGateClosed ? "the gate stays closed" : "complete failed";
    report_.trouble = error.text;
  }
  complete_ended_ = Clock::now();
}

void Rehearsal::read_steps() {
  in_context([&](CommandContext& context) -> asio::awaitable<int> {
    auto connection = co_await context.connect_to_state(StateUse::kReads);
    auto const found = co_await read_report(*connection, name_, context.owner());
    steps_ = found.steps;
    co_return kExitDone;
  });
  for (auto const& step : steps_) {
    if (!step.took_ms) continue;
    report_.steps.push_back({step.phase, step.text, *step.took_ms, step.lock_wait_ms.value_or(0), step.waited_for});
    if (step.lock_wait_ms.value_or(0) <= report_.lock_wait_ms) continue;
    report_.lock_wait_ms = *step.lock_wait_ms;
    report_.who_waited = fmt::format("step '{}', for {}", step.text, step.waited_for);
  }
}

// By what the plan says of its statements; of what it knows nothing, yes.
bool Rehearsal::grows(ReportedStep const& step) const {
  for (auto const* steps : {&planned_.expand, &planned_.sync, &planned_.contract}) {
    for (auto const& planned : *steps) {
      if (planned.text != step.text || planned.statements.empty()) continue;
      return std::any_of(planned.statements.begin(), planned.statements.end(), [](PlannedStatement const& statement) {
        return statement.work != planner::lint::Work::kNone;
      });
    }
  }
  return true;
}

std::int64_t Rehearsal::wal_at(Clock::time_point at) const {
  std::int64_t wal = sights_.empty() ? 0 : sights_.front().wal_bytes;
  for (auto const& sight : sights_) {
    if (sight.at > at) break;
    wal = sight.wal_bytes;
  }
  return wal;
}

void Rehearsal::add_phase(std::string name, Clock::time_point from, Clock::time_point to, milliseconds took,
                          double fixed_ms, double rows) {
  RehearsedPhase phase;
  phase.name = std::move(name);
  phase.here = took;
  phase.grows = static_cast<double>(took.count()) > fixed_ms;
  phase.there_ms = forecast_ms(static_cast<double>(took.count()), std::min(fixed_ms, static_cast<double>(took.count())),
                               {rows, report_.hardware_ratio});
  phase.wal_here = wal_at(to) - wal_at(from);
  phase.wal_there = static_cast<double>(phase.wal_here) * (phase.grows ? rows : 1);
  report_.total_ms.low += phase.there_ms.low;
  report_.total_ms.expected += phase.there_ms.expected;
  report_.total_ms.high += phase.there_ms.high;
  report_.wal_here += phase.wal_here;
  report_.wal_there += phase.wal_there;
  report_.phases.push_back(std::move(phase));
}

void Rehearsal::report_phases() {
  double const rows =
      static_cast<double>(report_.rows_there) / static_cast<double>(std::max<std::int64_t>(report_.rows_here, 1));
  report_.hardware_ratio = hardware_ratio(plan_.profile.batch, batch_here_);
  double growing_before = 0;
  double growing_contract = 0;
  milliseconds contract{0};
  for (auto const& step : steps_) {
    bool const is_contract = step.phase == "contract";
    double const took = static_cast<double>(step.took_ms.value_or(0));
    if (is_contract) contract += milliseconds(step.took_ms.value_or(0));
    if (grows(step)) (is_contract ? growing_contract : growing_before) += took;
  }
  auto const backfill_began = recorder_.backfill_began().value_or(run_ended_);
  auto const before = between(run_began_, backfill_began);
  add_phase("expand, sync", run_began_, backfill_began, before,
            std::max(static_cast<double>(before.count()) - growing_before, 0.0), rows);
  if (recorder_.backfill_began()) {
    auto const pace = pace_of(recorder_.points());
    report_.rows_per_second = pace.rows_per_second;
    add_phase("backfill", backfill_began, run_ended_, between(backfill_began, run_ended_), pace.start_ms, rows);
  }
  auto const after = between(run_ended_, complete_ended_);
  if (after.count() == 0) return;
  auto const gate = std::max(after - contract, milliseconds(0));
  auto const contract_began = complete_ended_ - std::min(contract, after);
  add_phase("gate, verify", run_ended_, contract_began, gate, kFixedOfGate, rows);
  if (contract.count() > 0) {
    add_phase("contract", contract_began, complete_ended_, contract,
              std::max(static_cast<double>(contract.count()) - growing_contract, 0.0), rows);
  }
}

void Rehearsal::report_sights() {
  if (sights_.empty()) {
    report_.notes.emplace_back("the server could not be watched: WAL, disk, lag and waits are not known");
    return;
  }
  std::int64_t peak = sights_.front().database_bytes;
  for (auto const& sight : sights_) {
    peak = std::max(peak, sight.database_bytes);
    report_.lag_ms = std::max(report_.lag_ms, sight.lag_ms);
    if (sight.lock_wait_ms <= report_.lock_wait_ms) continue;
    report_.lock_wait_ms = sight.lock_wait_ms;
    report_.who_waited = sight.waiting;
  }
  report_.disk_peak_here = peak - sights_.front().database_bytes;
  if (recorder_.lock_wait().count() > report_.lock_wait_ms) {
    report_.lock_wait_ms = recorder_.lock_wait().count();
    report_.who_waited = "a batch";
  }
}

void Rehearsal::report_sizes(SizesRow const& before, SizesRow const& after) {
  report_.sizes = {{"table", before.tables, after.tables},
                   {"indexes", before.indexes, after.indexes},
                   {"TOAST", before.toast, after.toast}};
  auto const sum = [](SizesRow const& sizes) { return sizes.tables + sizes.indexes + sizes.toast; };
  auto const begun = static_cast<double>(std::max<std::int64_t>(sum(before), 1));
  auto const grown = static_cast<double>(std::max(report_.disk_peak_here, sum(after) - sum(before)));
  report_.growth = grown / begun;
  report_.disk_peak_there = report_.growth * bytes_of(plan_.profile);
}

RehearsalReport Rehearsal::go(std::string const& server) {
  report_.file = terms_.file;
  report_.profile_taken_at = plan_.profile.taken_at;
  report_.server = server;
  report_.rows_there = plan_.rows_there;
  report_.commit_ms_there = plan_.profile.commit_milliseconds;
  report_.notes = plan_.notes;
  build();
  sample();
  report_.migration = name_;
  if (report_.rows_here == 0) {
    report_.rows_here = std::llround(static_cast<double>(plan_.rows_there) * plan_.scale);
  }
  auto const before = read_sizes();
  {
    std::optional<Traffic> traffic;
    if (!plan_.traffic.empty()) traffic.emplace(conninfo_, plan_.traffic);
    if (traffic) wait_with_traffic();
    ServerWatch watch(conninfo_);
    if (traffic) traffic->begin_part("during");
    run();
    if (report_.trouble.empty()) complete();
    sights_ = watch.stop();
    if (traffic) traffic->begin_part("after");
    if (traffic) wait_with_traffic();
    if (traffic) report_.traffic = traffic->stop();
  }
  read_steps();
  report_sights();
  report_phases();
  report_sizes(before, read_sizes());
  report_.limits = judge_limits(plan_.limits, report_);
  return std::move(report_);
}

void note_traffic(RehearsalPlan& plan) {
  if (plan.traffic.empty()) {
    plan.notes.emplace_back("no traffic: the profile saw no writes to a table whose rows can be found by a key");
    return;
  }
  double per_second = 0;
  for (auto const& statement : plan.traffic) per_second += statement.per_second;
  if (per_second <= kMostTraffic) return;
  plan.notes.push_back(
      fmt::format("traffic is {:.0f} statements a second instead of {:.0f}", kMostTraffic, per_second));
}

}  // namespace

RehearsalPlan plan_rehearsal(LoadedMigration const& loaded, Profile profile, RehearsalTerms const& terms, double now) {
  refuse_other_profile(loaded, profile);
  RehearsalPlan plan;
  auto const* table = main_table(profile, loaded.migration);
  if (table == nullptr || table->rows == 0) {
    throw CommandError{kExitUsage,
                       "the profile has no rows of the table that the migration works on; ANALYZE it in "
                       "production, and take the profile again"};
  }
  plan.rows_there = table->rows;
  plan.scale = scale_of(terms, profile, static_cast<double>(table->rows));
  plan.limits = planner::rehearsal_limits(loaded.source, loaded.migration.file);
  plan.fill = planner::plan_fill(profile.tables, {plan.scale, now, plan.limits.values});
  if (terms.with_traffic) {
    plan.traffic = planner::plan_traffic(profile.tables, {plan.scale, now, plan.limits.values});
    note_traffic(plan);
  }
  if (!plan.fill.refused.empty()) {
    std::string text;
    for (auto const& one : plan.fill.refused) text += one + "\n";
    throw CommandError{kExitUsage, text + "nothing was built"};
  }
  double const built = bytes_of(profile) * plan.scale;
  plan.bytes = std::llround(built * kDiskFactor + kEmptyServer + std::min(built * kWalFactor, kMostWal));
  for (auto const& note : profile.notes) plan.notes.push_back("profile: " + note);
  auto const left_out = left_out_of_rehearsal(loaded);
  if (!left_out.empty()) plan.notes.push_back(fmt::format("left out of the rehearsal: {}", fmt::join(left_out, ", ")));
  plan.profile = std::move(profile);
  return plan;
}

RehearsalReport rehearse(RehearsalPlan plan, RehearsalTerms const& terms, std::string const& conninfo,
                         std::string const& server) {
  return Rehearsal(std::move(plan), terms, conninfo).go(server);
}

}  // namespace pgbackfill::engine
