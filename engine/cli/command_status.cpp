// status, history, log: what the state tables say, for people and for programs. Reads only.

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <iostream>
#include <map>

#include "engine/app/sequence.h"
#include "engine/base/command_error.h"
#include "engine/base/eta.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/pg/catalog.h"
#include "engine/pg/local_process.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/probes/probe_rows.h"
#include "engine/probes/probe_sql.h"
#include "engine/run/growth_text.h"
#include "engine/run/job_setup.h"
#include "engine/run/limits.h"
#include "engine/run/pg_database.h"
#include "engine/state/row_fields.h"
#include "engine/state/stored_overview.h"
#include "engine/steps/approval.h"
#include "engine/view/console.h"
#include "engine/view/runners_view.h"
#include "planner/file/throttle_settings.h"
#include "planner/model/sql_text.h"
#include "planner/model/suggestion.h"
#include "planner/steps/contract_plan.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using SteadyTime = std::chrono::steady_clock::time_point;

constexpr std::int64_t kQuarantinedShown = 10;
constexpr int kLabelWidth = 15;
constexpr int kBarMost = 30;
constexpr auto kBetweenReadings = 700ms;  // several batches of the usual 100 ms
constexpr int kMostReadings = 4;
constexpr auto kLeastInterval = 100ms;

// --- What the state says ---------------------------------------------------------------------------------------------

using Fields = state::RowFields;

struct Overview : state::StoredOverview {
  SettingTexts from_file;  // settings of the throttle in the file
  std::optional<std::int64_t> max_rows_per_second;
  throttle::Schedule schedule{{}};
  std::string broken;  // why nothing more of it can be read

  bool is(JobStatus wanted) const { return job && status == state::status_name(wanted); }
  bool has_ended() const { return is(JobStatus::kComplete) || is(JobStatus::kFailed) || is(JobStatus::kCancelled); }
  bool is_worked_on() const { return is(JobStatus::kRunning) && processes > 0; }
  std::int64_t rows_left() const {
    return std::max<std::int64_t>(pass == 0 ? rows_estimated - rows_done : pass_estimated - pass_done, 0);
  }
};

// Of a source that another version wrote nothing is known.
void read_source(std::string const& source, Overview& one) {
  try {
    auto const loaded = parse_loaded(one.file, source);
    one.from_file = setting_texts(loaded.migration.throttle);
    one.schedule = loaded.schedule;
  } catch (CommandError const&) {
    one.from_file.clear();
  }
}

Overview overview_of(std::vector<std::optional<std::string>> const& row) {
  Overview one{state::stored_overview_of(row), {}, {}, throttle::Schedule{{}}, {}};
  if (one.source) read_source(*one.source, one);
  one.max_rows_per_second = limits_of(one.from_file, one.live).limits.max_rows_per_second;
  return one;
}

// What somebody broke by hand in the rows of one migration keeps nobody from seeing the others.
Overview overview_or_trouble(std::vector<std::optional<std::string>> const& row) {
  try {
    return overview_of(row);
  } catch (state::BrokenState const& broken) {
    Overview one;
    one.name = row.front().value_or("");
    one.broken = broken.what();
    return one;
  }
}

struct Holder {  // a process that holds ranges
  std::string host;
  std::int64_t pid = 0;
  std::int64_t ranges = 0;
  std::int64_t lease_ms = 0;  // until the first lease runs out; negative: ran out
  bool is_gone = false;       // known to have ended
};

struct UnendedRun {
  std::string host;
  std::int64_t pid = 0;
  std::string since;
};

struct BadRow {
  std::string table;
  std::vector<std::pair<std::string, std::string>> key;
  std::string sqlstate;
  std::string message;
};

struct StatusChange {
  std::string kind;
  std::string at;
  std::string who;
};

// Everything that one page shows.
struct Page {
  Overview overview;
  std::vector<Holder> holders;
  std::vector<UnendedRun> waiting;  // processes that are there but hold no range
  std::vector<BadRow> bad_rows;
  std::optional<StatusChange> change;
  std::optional<planner::Migration> migration;
  std::vector<RunnerSeen> runners;                    // processes that told of themselves lately
  std::vector<throttle::NeighbourReading> elsewhere;  // processes of jobs in other databases of the server
  std::string growth;                                 // of the table since the job began
  std::vector<std::string> in_the_way;                // who holds deferred rows, or locks that a batch waits for
  std::optional<Approval> approval;                   // the latest one, of the contract steps
};

struct Pace {
  double rows_per_second = 0;
  std::optional<Eta> eta;
};

std::string qualified(std::string const& schema, std::string const& table) {
  return neutralised(schema + "." + table);
}

std::vector<Holder> holders_of(Rows const& rows, Owner const& owner) {
  std::vector<Holder> holders;
  for (auto const& row : rows.rows) {
    Fields fields(row);
    Holder holder;
    holder.host = fields.text();
    holder.pid = fields.number();
    holder.ranges = fields.number();
    holder.lease_ms = fields.number();
    holder.is_gone = fields.text() == owner.machine && !has_process(holder.pid);
    holders.push_back(std::move(holder));
  }
  return holders;
}

std::vector<UnendedRun> waiting_of(Rows const& rows, std::vector<Holder> const& holders, Owner const& owner) {
  std::vector<UnendedRun> waiting;
  for (auto const& row : rows.rows) {
    Fields fields(row);
    UnendedRun run;
    run.host = fields.text();
    run.pid = fields.number();
    run.since = fields.text();
    bool const holds = std::any_of(holders.begin(), holders.end(), [&](Holder const& holder) {
      return holder.host == run.host && holder.pid == run.pid;
    });
    // Only on its own host can a process be looked up; elsewhere one that was killed looks like one that waits.
    if (!holds && run.host == owner.host && has_process(run.pid)) waiting.push_back(std::move(run));
  }
  return waiting;
}

std::vector<BadRow> bad_rows_of(Rows const& rows) {
  std::vector<BadRow> bad_rows;
  for (auto const& row : rows.rows) {
    Fields fields(row);
    BadRow bad;
    std::string const schema = fields.text();
    bad.table = schema + "." + fields.text();
    auto const values = state::parse_text_array(fields.maybe_text()).value_or(planner::KeyValue());
    bad.sqlstate = fields.text();
    bad.message = fields.text();
    auto const columns = state::parse_text_array(fields.maybe_text()).value_or(planner::KeyValue());
    for (std::size_t number = 0; number < values.size(); ++number) {
      bad.key.emplace_back(number < columns.size() ? columns[number] : "ctid", values[number]);
    }
    bad_rows.push_back(std::move(bad));
  }
  return bad_rows;
}

std::optional<planner::Migration> migration_of(Rows const& rows) {
  if (rows.rows.empty()) return std::nullopt;
  try {
    return parse_loaded(rows.at(0, 0), rows.at(0, 1)).migration;
  } catch (CommandError const&) {
    return std::nullopt;  // written by another version; the state says enough without it
  }
}

asio::awaitable<std::vector<Overview>> read_overviews(PgConnection& connection) {
  auto const rows =
      value_or_throw(co_await connection.query(state::overviews(""), Deadlines()), "reading the migrations");
  std::vector<Overview> overviews;
  for (auto const& row : rows.rows) overviews.push_back(overview_or_trouble(row));
  co_return overviews;
}

asio::awaitable<CommandError> unknown_name(PgConnection& connection, std::string name) {
  bool const is_path = name.find('/') != std::string::npos || name.ends_with(".yaml") || name.ends_with(".yml");
  CommandError error{kExitUsage, neutralised(name) + ": there is no such file"};
  if (is_path) co_return error;
  auto const known = value_or_throw(co_await connection.query(state::list_names(), Deadlines()), "listing the names");
  std::vector<std::string_view> names;
  for (auto const& row : known.rows) names.emplace_back(*row[0]);
  error.text = fmt::format("no migration '{}' ran in this database{}; `pgbackfill status` lists them",
                           neutralised(name), neutralised(planner::did_you_mean(name, names)));
  co_return error;
}

asio::awaitable<Page> read_page(PgConnection& connection, std::string name, Owner const& owner) {
  std::vector<std::string> statements = {state::overviews(name),
                                         state::job_leases(name),
                                         state::unended_runs(name),
                                         state::job_quarantine(name, kQuarantinedShown),
                                         state::latest_status_change(name),
                                         state::find_migration(name),
                                         state::job_runners(name),
                                         probe_sql::elsewhere()};
  auto const all = value_or_throw(co_await connection.pipeline(std::move(statements), Deadlines()), "reading the job");
  if (all[0].rows.empty()) {
    CommandError const unknown = co_await unknown_name(connection, name);
    throw unknown;
  }
  Page page;
  page.overview = overview_of(all[0].rows.front());
  page.holders = holders_of(all[1], owner);
  page.waiting = waiting_of(all[2], page.holders, owner);
  page.bad_rows = bad_rows_of(all[3]);
  if (!all[4].rows.empty()) {
    Fields fields(all[4].rows.front());
    StatusChange change;
    change.kind = fields.text();
    change.at = fields.text();
    std::string const user = fields.text();
    std::string const host = fields.text();
    change.who = user.empty() ? fields.text() : user + "@" + host;
    page.change = std::move(change);
  }
  page.migration = migration_of(all[5]);
  page.runners = runners_of(all[6].rows);
  page.elsewhere = neighbours_elsewhere(all[7]);
  if (page.migration) {
    std::string plan = planner::contract_plan(planner::contract_steps(*page.migration));
    page.approval =
        value_or_throw(co_await read_approval(connection, name, std::move(plan)), "looking for an approval");
  }
  co_return page;
}

// --- Who is in the way -----------------------------------------------------------------------------------------------

constexpr char kWaitingForLocks[] =
    "SELECT w.pid, blocker.pid, coalesce(nullif(b.application_name, ''), 'no application name'), coalesce(b.usename, "
    "'?'), "
    "coalesce(b.state, 'unknown'), extract(epoch FROM clock_timestamp() - b.xact_start)::bigint, left(b.query, 80) "
    "FROM pg_stat_activity w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocker (pid) LEFT JOIN "
    "pg_stat_activity "
    "b ON b.pid = blocker.pid WHERE w.application_name = 'pgbackfill' AND w.datname = current_database() AND "
    "w.wait_event_type = 'Lock' AND blocker.pid <> w.pid ORDER BY 6 DESC NULLS LAST LIMIT 5";

asio::awaitable<void> find_lock_holders(PgConnection& connection, Page& page) {
  auto const rows = co_await query_read_only(connection, kWaitingForLocks);
  if (!rows) co_return;  // the rest of the page is worth more than this
  for (auto const& row : rows->rows) {
    if (*row[1] == "0") {
      page.in_the_way.push_back(fmt::format(
          "a batch (pid {}) waits for a lock of a prepared transaction; pg_prepared_xacts lists them", *row[0]));
      continue;
    }
    page.in_the_way.push_back(fmt::format(
        "a batch (pid {}) waits for a lock of pid {} ({}, {}, {}, transaction open for {} s): {}", *row[0], *row[1],
        *row[2], *row[3], *row[4], row[5].value_or("?"), row[6].value_or("query not visible to this role")));
  }
}

asio::awaitable<void> find_growth(PgConnection& connection, Page& page) {
  auto const& one = page.overview;
  if (!one.job || !page.migration || !page.migration->backfill) co_return;
  auto const sizes = co_await query_read_only(connection, state::job_growth(*one.job));
  if (!sizes) co_return;
  page.growth = growth_text(*sizes, qualified(one.schema, one.table), page.migration->backfill->kind,
                            limits_of(one.from_file, one.live).limits);
}

asio::awaitable<void> find_row_holders(CommandContext& context, PgConnection& connection, Page& page) {
  if (page.overview.deferred == 0 || !page.migration || !page.migration->backfill) co_return;
  auto facts = co_await read_table_facts(connection, page.migration->backfill->table);
  if (!facts || !*facts) co_return;
  planner::WorkTraits const none;
  auto job = co_await load_pg_job(connection, *page.overview.job, page.overview.name, *page.migration->backfill,
                                  std::move(**facts), false, none);
  if (!job) co_return;
  PgDatabase database(context.io().get_executor(), context.blocking(), context.target(), std::move(*job),
                      context.owner());
  auto const session = database.make_session(0);
  auto const connected = co_await session->reconnect();
  if (!connected) co_return;
  auto sentences = co_await session->blockers();
  if (!sentences) co_return;
  for (auto& sentence : *sentences) page.in_the_way.push_back(std::move(sentence));
}

// --- Words -----------------------------------------------------------------------------------------------------------

std::string status_word(Overview const& one) {
  if (!one.broken.empty()) return "broken";
  return one.job ? one.status : "no backfill";
}

std::string_view status_color(Overview const& one) {
  if (!one.broken.empty()) return kBad;
  if (one.is(JobStatus::kFailed) || one.is(JobStatus::kCancelled)) return kBad;
  if (one.is(JobStatus::kPaused)) return kDoubtful;
  if (one.is(JobStatus::kRunning) && one.processes == 0) return kDoubtful;
  return kGood;
}

std::string percent_of(Overview const& one) {
  if (!one.job) return "";
  if (one.is(JobStatus::kComplete)) return "100.0 %";
  return human_percent(one.rows_done, one.rows_estimated);
}

std::string age_of(Overview const& one) {
  return one.last_batch_ms ? human_duration(milliseconds(*one.last_batch_ms)) : "";
}

std::string phase_word(Overview const& one) {
  if (!one.job) return "expand";
  if (one.is(JobStatus::kComplete)) return one.contract_done > 0 ? "contract" : "complete";
  if (one.ranges_open > 0) return one.pass == 0 ? "backfill" : "sweep";
  return one.deferred > 0 ? "deferred" : "sweep";
}

std::string phase_text(Overview const& one) {
  if (!one.job) return "no backfill has begun";
  if (one.is(JobStatus::kComplete)) {
    return "the backfill is complete: rows that were there when it began, and rows that came meanwhile";
  }
  if (one.ranges_open > 0 && one.pass == 0) return "backfill, first pass: the rows that were there when it began";
  if (one.ranges_open > 0) {
    return fmt::format("backfill, pass {}: rows that came while the pass before it ran", one.pass + 1);
  }
  if (one.deferred > 0) return "all ranges are done; rows that somebody held are visited again until they are free";
  return "all ranges of this pass are done; next it looks for rows that came meanwhile";
}

std::string command_for(Overview const& one, char const* command) {
  return fmt::format("`pgbackfill {} {}`", command, neutralised(one.name));
}

std::string run_command_for(Overview const& one) {
  return fmt::format("`pgbackfill run {}`", neutralised(one.file.empty() ? "FILE" : one.file));
}

std::size_t pending(std::size_t all, std::int64_t done) {
  return all - std::min(all, static_cast<std::size_t>(std::max<std::int64_t>(done, 0)));
}

// Whether `complete` would ask for an approval that is not there.
bool needs_approval(Page const& page, std::size_t left) {
  if (page.approval && page.approval->holds) return false;
  auto const& contract = page.migration->contract;
  return std::any_of(contract.end() - static_cast<std::ptrdiff_t>(left), contract.end(),
                     [](planner::SchemaStep const& step) { return !planner::destructive_reason(step).empty(); });
}

std::string next_when_complete(Page const& page) {
  auto const& one = page.overview;
  if (!page.migration || page.migration->contract.empty()) {
    return "nothing is left to do; " + run_command_for(one) + " would find it complete";
  }
  std::size_t const left = pending(page.migration->contract.size(), one.contract_done);
  if (left == 0) return "nothing is left to do: the contract steps are done too";
  std::string const approve =
      needs_approval(page, left) ? command_for(one, "approve") + " records who agrees to what cannot be undone; " : "";
  return fmt::format("{} measures that nothing is left; {}{} then runs {} of contract", command_for(one, "gate"),
                     approve, command_for(one, "complete"), counted(static_cast<std::int64_t>(left), "step", "steps"));
}

// What was rolled back, or never begun, has none of its expand steps.
std::string next_without_job(Page const& page) {
  auto const& one = page.overview;
  bool const is_over =
      page.migration && !page.migration->backfill && pending(page.migration->expand.size(), one.expand_done) == 0;
  if (is_over) return next_when_complete(page);
  return run_command_for(one) + " does what is not done yet";
}

bool is_everybody_gone(Page const& page) {
  return std::all_of(page.holders.begin(), page.holders.end(), [](Holder const& holder) { return holder.is_gone; });
}

std::string next_when_running(Page const& page) {
  auto const& one = page.overview;
  if (one.processes > 0) {
    if (is_everybody_gone(page))
      return "its process is gone; " + run_command_for(one) + " frees its ranges at once and goes on there";
    return "it runs; another " + run_command_for(one) + ", here or on another host, joins in";
  }
  if (!page.waiting.empty()) return "a process waits to go on: for its window, for held rows or for a connection";
  return "no process is working on it; run it again to go on where it was: " + run_command_for(one);
}

// What the operator does next, and what a repeat of `run` does.
std::string next_text(Page const& page) {
  auto const& one = page.overview;
  if (!one.job) return next_without_job(page);
  if (one.is(JobStatus::kComplete)) return next_when_complete(page);
  if (one.is(JobStatus::kRunning)) return next_when_running(page);
  if (one.is(JobStatus::kFailed)) {
    return "every batch before the failure is kept; when its cause is fixed, " + run_command_for(one) +
           " tries again from there";
  }
  bool const waits = !page.waiting.empty() || one.processes > 0;
  if (!one.paused_until.empty()) {
    return fmt::format("{} lets it go on at once{}", command_for(one, "resume"),
                       waits ? "" : "; no process waits: " + run_command_for(one) + " does, until the pause is over");
  }
  return fmt::format("{} lets it go on{}; until then a repeat of `run` changes nothing", command_for(one, "resume"),
                     waits ? ", the process that waits does the rest" : ", then " + run_command_for(one));
}

std::string key_text(BadRow const& bad) {
  std::vector<std::string> parts;
  for (auto const& [column, value] : bad.key) parts.push_back(neutralised(column) + "=" + neutralised(value));
  return planner::join(parts, ", ");
}

std::string holder_text(Holder const& holder) {
  std::string const who =
      fmt::format("{} pid {}: {}", neutralised(holder.host), holder.pid, counted(holder.ranges, "range", "ranges"));
  std::string const lease = human_duration(milliseconds(std::abs(holder.lease_ms)));
  if (holder.lease_ms < 0) return who + fmt::format(", lease ran out {} ago: free for anybody", lease);
  if (holder.is_gone) return who + fmt::format("; the process is gone, its lease runs out in {}", lease);
  return who + fmt::format(", lease runs out in {} unless renewed", lease);
}

std::string settings_text(Overview const& one) {
  std::string const limit = one.max_rows_per_second
                                ? fmt::format("at most {} rows/s", human_count(*one.max_rows_per_second))
                                : std::string("no limit of rows/s");
  return fmt::format("{}, batches of {}, {}; `pgbackfill set` changes them", counted(one.workers, "worker", "workers"),
                     human_duration(milliseconds(one.batch_target_ms)), limit);
}

// What differs from the defaults.
std::string throttle_text(Overview const& one) {
  std::vector<std::string> texts;
  for (auto const& rule : planner::throttle_settings()) {
    auto const setting = effective_setting(rule.name, one.from_file, one.live);
    if (setting.origin == SettingOrigin::kDefault) continue;
    texts.push_back(fmt::format("{} {} ({})", rule.name, neutralised(setting.text), name_of(setting.origin)));
  }
  return planner::join(texts, ", ");
}

// Of a job that may not work all the time.
std::string window_text(Overview const& one, throttle::SystemTime now) {
  if (one.schedule.is_always_open()) return "";
  bool const is_open = one.schedule.is_open(now);
  auto const change = is_open ? one.schedule.closes_at(now) : one.schedule.opens_at(now);
  std::string const state = is_open ? "open" : "closed: no batch starts";
  if (!change) return state + (is_open ? "" : ", and none will for a year");
  auto const second = std::chrono::floor<std::chrono::seconds>(*change);
  return fmt::format("{}; {} {:%Y-%m-%d %H:%M} UTC, in {}", state, is_open ? "until" : "it goes on at",
                     fmt::gmtime(second), human_wait(std::chrono::ceil<milliseconds>(*change - now)));
}

std::string until_text(Overview const& one) {
  if (one.pause_left_ms <= 0) return human_time(one.paused_until) + ", which is over: the next process resumes it";
  return fmt::format("{}, in {}: it goes on by itself then", human_time(one.paused_until),
                     human_duration(milliseconds(one.pause_left_ms)));
}

std::string steps_text(std::vector<planner::SchemaStep> const& steps, std::int64_t done) {
  std::size_t const left = pending(steps.size(), done);
  std::string text = fmt::format("{} of {} steps done", steps.size() - left, steps.size());
  if (left > 0) text += ", next: " + neutralised(steps[steps.size() - left].text);
  return text;
}

// --- One page --------------------------------------------------------------------------------------------------------

class PageView {
 public:
  PageView(Page const& page, Pace const& pace, ViewOptions const& view) : page_(page), pace_(pace), view_(view) {}

  std::vector<std::string> lines() {
    title();
    work();
    figures();
    people();
    trouble();
    outlook();
    return std::move(lines_);
  }

 private:
  void add(std::string_view label, std::string_view text) {
    for (auto& line : labelled(label, kLabelWidth, text, view_)) lines_.push_back(std::move(line));
  }
  void add_list(std::string_view label, std::vector<std::string> const& texts) {
    for (auto const& text : texts) {
      add(label, text);
      label = "";
    }
  }

  void title() {
    auto const& one = page_.overview;
    is_rolled_back_ = !one.job && page_.change && page_.change->kind == "rolled back";
    lines_.push_back(coloured(neutralised(one.name), kStrong, view_) + "  " +
                     coloured(is_rolled_back_ ? "rolled back" : status_word(one), status_color(one), view_));
    if (!one.paused_until.empty()) add("  until", until_text(one));
    if (!one.reason.empty()) add("  reason", neutralised(one.reason));
    if (!one.step_failure.empty()) add("  step failed", neutralised(one.step_failure));
    if (page_.change && page_.change->kind != "resumed") {
      add("  since", fmt::format("{}, by {}", human_time(page_.change->at), neutralised(page_.change->who)));
    }
  }

  void work() {
    auto const& one = page_.overview;
    if (one.job) add("  table", qualified(one.schema, one.table));
    std::string_view rest = one.definition;
    // The definition's first line repeats the table.
    rest.remove_prefix(std::min(rest.size(), rest.find('\n') + 1));
    std::string text = neutralised(rest);
    while (text.ends_with(' ')) text.pop_back();
    if (!text.empty()) add("  does", text);
    bool const has_none = !one.job && page_.migration && !page_.migration->backfill;
    if (has_none) return add("  phase", "it has steps only, and no backfill");
    add("  phase", is_rolled_back_ ? "what could be undone is undone" : phase_text(one));
  }

  std::string bar() const {
    auto const& one = page_.overview;
    int const width = std::min(kBarMost, view_.columns - kLabelWidth - 12);
    double const share = one.is(JobStatus::kComplete) ? 1.0
                         : one.rows_estimated > 0
                             ? static_cast<double>(one.rows_done) / static_cast<double>(one.rows_estimated)
                             : 0.0;
    int const full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width);
    std::string text;
    for (int column = 0; column < width; ++column) {
      bool const is_full = column < full;
      text += view_.unicode ? (is_full ? "█" : "░") : (is_full ? "#" : ".");
    }
    return text;
  }

  void figures() {
    auto const& one = page_.overview;
    if (!one.job) return;
    add("  progress", bar() + "  " + percent_of(one));
    // How many there would be was a guess, and now it is known.
    std::string const all =
        one.is(JobStatus::kComplete) ? "" : fmt::format(" of about {}", human_count(one.rows_estimated));
    add("",
        fmt::format("{}{} rows passed, {} changed", human_count(one.rows_done), all, human_count(one.rows_changed)));
    // What a process told before it was killed is no news.
    bool const is_alone = !page_.holders.empty() && is_everybody_gone(page_);
    if (one.is_worked_on() && !is_alone) {
      add("  pace", pace_text());
      add_list("", pace_texts(page_.runners));
    }
    if (!is_alone) {
      add_list("  held back", held_back_texts(page_.runners));
      add_list("  notice", warning_texts(page_.runners));
    }
    if (!one.has_ended()) add_list("  shares", elsewhere_texts(page_.elsewhere));
    std::string batches = counted(one.batches, "batch", "batches");
    if (one.last_batch_ms) batches += fmt::format(", the last one {} ago", age_of(one));
    if (!one.is(JobStatus::kComplete)) {
      batches += fmt::format("; {} of {} open in this pass", human_count(one.ranges_open),
                             counted(one.ranges_total, "range", "ranges"));
    }
    add("  batches", batches);
    if (!page_.growth.empty()) add("  size", page_.growth);
    if (!one.has_ended()) {
      add("  settings", settings_text(one));
      std::string const throttle = throttle_text(one);
      if (!throttle.empty()) add("  throttle", throttle);
      std::string const window = window_text(one, std::chrono::system_clock::now());
      if (!window.empty()) add("  windows", window);
    }
  }

  std::string pace_text() const {
    std::string text = human_rate(pace_.rows_per_second);
    if (pace_.eta) {
      text += ", about " + human_wait(pace_.eta->likely) + " left";
      if (pace_.eta->late && *pace_.eta->late > pace_.eta->early) {
        text += fmt::format(" ({} to {})", human_wait(pace_.eta->early), human_wait(*pace_.eta->late));
      }
    }
    return text;
  }

  void people() {
    auto const& one = page_.overview;
    if (!one.job || one.is(JobStatus::kComplete)) return;
    std::vector<std::string> texts;
    for (auto const& holder : page_.holders) texts.push_back(holder_text(holder));
    for (auto const& run : page_.waiting) {
      texts.push_back(fmt::format("{} pid {}: holds no range and waits, there since {}", neutralised(run.host), run.pid,
                                  human_time(run.since)));
    }
    if (texts.empty()) texts.emplace_back("none");
    add_list("  processes", texts);
  }

  void trouble() {
    auto const& one = page_.overview;
    if (one.deferred > 0) {
      add("  deferred", counted(one.deferred, "row that somebody held", "rows that somebody held") +
                            " when their batch ran; visited again at the end");
    }
    std::vector<std::string> texts;
    for (auto const& text : page_.in_the_way) texts.push_back(neutralised(text));
    add_list("  in the way", texts);
    if (one.quarantined == 0) return;
    add("  quarantined",
        counted(one.quarantined, "row that fails by itself", "rows that fail by themselves") + ", set aside:");
    for (auto const& bad : page_.bad_rows) {
      add("", fmt::format("{}  {}  {}", key_text(bad), bad.sqlstate, neutralised(bad.message)));
    }
    if (one.quarantined > static_cast<std::int64_t>(page_.bad_rows.size())) {
      add("", "... all of them are in pgbackfill.quarantine");
    }
    add("", fmt::format("fix them, then `pgbackfill resume {} --retry-quarantine` and {}", neutralised(one.name),
                        run_command_for(one)));
  }

  void outlook() {
    if (page_.migration) {
      auto const& migration = *page_.migration;
      if (!migration.expand.empty()) add("  expand", steps_text(migration.expand, page_.overview.expand_done));
      if (!migration.contract.empty()) add("  contract", steps_text(migration.contract, page_.overview.contract_done));
    }
    if (page_.approval) {
      add("  approved", neutralised(approval_text(*page_.approval)) +
                            (page_.approval->holds ? "" : "; holds no more: the contract steps were changed since"));
    }
    add("  next", next_text(page_));
  }

  Page const& page_;
  Pace const& pace_;
  ViewOptions const& view_;
  bool is_rolled_back_ = false;
  std::vector<std::string> lines_;
};

std::vector<std::string> overview_table(std::vector<Overview> const& overviews,
                                        std::map<std::string, Pace> const& paces, ViewOptions const& view) {
  std::vector<TableColumn> const columns = {{"NAME", false, true, 0},       {"TABLE", false, true, 3},
                                            {"STATUS", false, false, 0},    {"DONE", true, false, 0},
                                            {"ROWS", true, false, 4},       {"PACE", true, false, 1},
                                            {"WORKERS", true, false, 6},    {"PROCESSES", true, false, 5},
                                            {"LAST BATCH", true, false, 2}, {"SET ASIDE", true, false, 7}};
  std::vector<std::vector<std::string>> rows;
  for (auto const& one : overviews) {
    auto const pace = paces.find(one.name);
    bool const has_pace = one.is_worked_on() && pace != paces.end();
    rows.push_back({neutralised(one.name), one.job ? qualified(one.schema, one.table) : "", status_word(one),
                    percent_of(one), one.job ? human_count(one.rows_done) : "",
                    has_pace ? human_rate(pace->second.rows_per_second) : "",
                    one.job && !one.has_ended() ? std::to_string(one.workers) : "",
                    one.job && !one.has_ended() ? std::to_string(one.processes) : "", age_of(one),
                    one.quarantined > 0 ? human_count(one.quarantined) : ""});
  }
  return table_lines(columns, rows, view);
}

std::vector<std::string> overview_lines(std::vector<Overview> const& overviews,
                                        std::map<std::string, Pace> const& paces, ViewOptions const& view) {
  if (overviews.empty()) return {"no migration ran in this database yet: `pgbackfill run FILE` starts one"};
  auto lines = overview_table(overviews, paces, view);
  for (auto const& one : overviews) {
    std::string note;
    if (one.is(JobStatus::kFailed)) note = "failed: " + neutralised(one.reason);
    if (one.is(JobStatus::kRunning) && one.processes == 0) note = "no process holds a range of it";
    if (!one.step_failure.empty()) note = "failed: " + neutralised(one.step_failure);
    if (one.is(JobStatus::kPaused) && !one.reason.empty()) note = "paused: " + neutralised(one.reason);
    if (!one.paused_until.empty()) note = "paused until " + until_text(one);
    if (!one.broken.empty()) note = "cannot be read: " + neutralised(one.broken);
    if (note.empty()) continue;
    note = fmt::format("{} {}; see {}", neutralised(one.name), note, command_for(one, "status"));
    for (auto& line : folded(note, view.columns)) lines.push_back(coloured(line, kDoubtful, view));
  }
  return lines;
}

// --- For programs ----------------------------------------------------------------------------------------------------

boost::json::value or_null(std::optional<std::int64_t> const& number) {
  return number ? boost::json::value(*number) : boost::json::value(nullptr);
}

boost::json::value text_or_null(std::optional<std::string> const& text) {
  return text && !text->empty() ? boost::json::value(valid_utf8(*text)) : boost::json::value(nullptr);
}

boost::json::object json_of(Overview const& one, Pace const* pace) {
  boost::json::object object;
  object["migration"] = valid_utf8(one.name);
  object["broken"] = text_or_null(one.broken);
  object["file"] = valid_utf8(one.file);
  object["table"] = one.job ? boost::json::value(valid_utf8(one.schema + "." + one.table)) : nullptr;
  object["status"] = one.job ? boost::json::value(one.status) : nullptr;
  object["reason"] = text_or_null(one.reason);
  object["step_failure"] = text_or_null(one.step_failure);
  object["phase"] = phase_word(one);
  object["pass"] = one.pass;
  object["rows_done"] = one.rows_done;
  object["rows_estimated"] = one.rows_estimated;
  object["rows_changed"] = one.rows_changed;
  object["pass_rows_done"] = one.pass_done;
  object["pass_rows_estimated"] = one.pass_estimated;
  object["batches"] = one.batches;
  object["ranges_open"] = one.ranges_open;
  object["ranges_total"] = one.ranges_total;
  object["deferred"] = one.deferred;
  object["quarantined"] = one.quarantined;
  object["processes"] = one.processes;
  object["workers"] = one.workers;
  object["batch_target_ms"] = one.batch_target_ms;
  object["max_rows_per_second"] = or_null(one.max_rows_per_second);
  boost::json::object throttle;
  for (auto const& rule : planner::throttle_settings()) {
    auto const setting = effective_setting(rule.name, one.from_file, one.live);
    throttle[rule.name] = {{"value", valid_utf8(setting.text)}, {"from", name_of(setting.origin)}};
  }
  object["throttle"] = std::move(throttle);
  object["paused_until"] = text_or_null(one.paused_until);
  object["window_is_open"] = one.schedule.is_open(std::chrono::system_clock::now());
  object["began_at"] = one.began;
  object["completed_at"] = text_or_null(one.completed);
  object["elapsed_ms"] = one.elapsed_ms;
  object["last_batch_age_ms"] = or_null(one.last_batch_ms);
  object["expand_done"] = one.expand_done;
  object["contract_done"] = one.contract_done;
  bool const has_pace = pace != nullptr && one.is_worked_on();
  object["rows_per_second"] = has_pace ? boost::json::value(pace->rows_per_second) : nullptr;
  object["eta_ms"] = has_pace && pace->eta ? boost::json::value(pace->eta->likely.count()) : nullptr;
  return object;
}

boost::json::array json_of(std::vector<BadRow> const& bad_rows) {
  boost::json::array array;
  for (auto const& bad : bad_rows) {
    boost::json::object key;
    for (auto const& [column, value] : bad.key) key[valid_utf8(column)] = valid_utf8(value);
    array.push_back({{"table", valid_utf8(bad.table)},
                     {"key", std::move(key)},
                     {"sqlstate", bad.sqlstate},
                     {"message", valid_utf8(bad.message)}});
  }
  return array;
}

boost::json::value json_of(std::optional<Approval> const& approval) {
  if (!approval) return nullptr;
  return {{"holds", approval->holds},
          {"plan_hash", approval->plan_hash},
          {"by", valid_utf8(approval->who)},
          {"at", approval->at},
          {"reason", text_or_null(approval->reason)}};
}

boost::json::object json_of(Page const& page, Pace const& pace) {
  auto object = json_of(page.overview, &pace);
  object["definition"] = valid_utf8(page.overview.definition);
  boost::json::array holders;
  for (auto const& holder : page.holders) {
    holders.push_back({{"host", valid_utf8(holder.host)},
                       {"pid", holder.pid},
                       {"ranges", holder.ranges},
                       {"lease_ms", holder.lease_ms},
                       {"is_gone", holder.is_gone}});
  }
  object["lease_holders"] = std::move(holders);
  boost::json::array waiting;
  for (auto const& run : page.waiting) {
    waiting.push_back({{"host", valid_utf8(run.host)}, {"pid", run.pid}, {"since", run.since}});
  }
  object["waiting_processes"] = std::move(waiting);
  boost::json::array in_the_way;
  for (auto const& text : page.in_the_way) in_the_way.emplace_back(valid_utf8(text));
  object["in_the_way"] = std::move(in_the_way);
  object["runners"] = json_of(page.runners);
  object["elsewhere"] = elsewhere_json(page.elsewhere);
  object["quarantine"] = json_of(page.bad_rows);
  object["status_changed_at"] = page.change ? boost::json::value(page.change->at) : nullptr;
  object["status_changed_by"] = page.change ? boost::json::value(valid_utf8(page.change->who)) : nullptr;
  bool const knows = page.migration.has_value();
  object["expand_steps"] = knows ? boost::json::value(page.migration->expand.size()) : nullptr;
  object["contract_steps"] = knows ? boost::json::value(page.migration->contract.size()) : nullptr;
  object["approval"] = json_of(page.approval);
  object["next"] = valid_utf8(next_text(page));
  return object;
}

// --- status ----------------------------------------------------------------------------------------------------------

// Pace from the series of readings that --watch makes, or from the few of a single look.
class Paces {
 public:
  bool is_series = false;

  void add(Overview const& one, SteadyTime now) {
    auto [known, is_new] = series_.try_emplace(one.name);
    auto& series = known->second;
    if (is_new) series.began = now;
    if (is_new || one.rows_passed < series.first_rows) series.first_rows = one.rows_passed;
    auto const elapsed = std::chrono::duration_cast<milliseconds>(now - series.began);
    series.history.add(elapsed, one.rows_passed);
    auto& pace = paces_[one.name];
    pace.rows_per_second = series.history.recent_rate();
    pace.eta = series.history.eta(one.rows_left(), limit_of(one));
    if (!is_series && elapsed >= kLeastInterval) guess(one, series, pace, elapsed);
    if (pace.eta) pace.eta = on_calendar(*pace.eta, one.schedule, std::chrono::system_clock::now());
  }
  Pace of(std::string const& name) const {
    auto const found = paces_.find(name);
    return found == paces_.end() ? Pace() : found->second;
  }
  std::map<std::string, Pace> const& all() const { return paces_; }

 private:
  struct Series {
    RateHistory history;
    SteadyTime began;
    std::int64_t first_rows = 0;
  };

  // Of all processes together; none while nobody works.
  static std::optional<std::int64_t> limit_of(Overview const& one) {
    if (!one.max_rows_per_second || !one.is_worked_on()) return std::nullopt;
    return *one.max_rows_per_second * one.processes;
  }

  // A single look is too short for a history: what it saw is all that is known.
  static void guess(Overview const& one, Series const& series, Pace& pace, milliseconds elapsed) {
    double const seconds = std::chrono::duration<double>(elapsed).count();
    pace.rows_per_second = static_cast<double>(one.rows_passed - series.first_rows) / seconds;
    // Under a limit rows come in jumps: none of them in a moment says little, and many no more.
    double rate = pace.rows_per_second;
    auto const limit = limit_of(one);
    if (limit) rate = rate > 0 ? std::min(rate, static_cast<double>(*limit)) : static_cast<double>(*limit);
    if (rate <= 0 || one.rows_left() == 0) return;
    double const left_ms = static_cast<double>(one.rows_left()) / rate * 1000;
    milliseconds const left(std::llround(std::min(left_ms, 1e12)));
    pace.eta = Eta{left, left, std::nullopt};
  }

  std::map<std::string, Series> series_;
  std::map<std::string, Pace> paces_;
};

Progress progress_of(Overview const& one, Pace const& pace) {
  Progress progress;
  progress.migration = one.name;
  progress.table = one.schema + "." + one.table;
  progress.phase = one.is(JobStatus::kPaused) ? RunPhase::kPaused
                   : one.has_ended()          ? RunPhase::kEnded
                   : one.ranges_open == 0     ? RunPhase::kDeferred
                   : one.pass == 0            ? RunPhase::kBackfilling
                                              : RunPhase::kSweeping;
  progress.rows_done = one.rows_done;
  progress.rows_estimated = one.rows_estimated;
  progress.rows_changed = one.rows_changed;
  progress.ranges_open = one.ranges_open;
  progress.ranges_total = one.ranges_total;
  progress.deferred = one.deferred;
  progress.quarantined = one.quarantined;
  progress.workers = static_cast<int>(one.workers);
  progress.rows_per_second = pace.rows_per_second;
  if (one.is(JobStatus::kRunning) && one.processes == 0) progress.held_back = "no process holds a range";
  return progress;
}

class StatusView {
 public:
  StatusView(CommandContext& context, StatusOptions options)
      : context_(context), options_(std::move(options)), console_(standard_output()) {}

  asio::awaitable<int> go() {
    if (!options_.file_or_name.empty()) name_ = name_of(options_.file_or_name);
    connection_ = co_await context_.connect_to_state(StateUse::kReads);
    if (!options_.watch) {
      co_await look_twice();
      show();
      co_return kExitDone;
    }
    co_await watch();
    co_return outcome();
  }

 private:
  asio::awaitable<void> look() {
    if (name_.empty()) {
      overviews_ = co_await read_overviews(*connection_);
    } else {
      page_ = co_await read_page(*connection_, name_, context_.owner());
      overviews_ = {page_.overview};
    }
    auto const now = std::chrono::steady_clock::now();
    for (auto const& one : overviews_) paces_.add(one, now);
  }

  asio::awaitable<void> look_around() {
    if (!name_.empty()) co_await find_growth(*connection_, page_);
    if (name_.empty() || !page_.overview.is(JobStatus::kRunning)) co_return;
    co_await find_lock_holders(*connection_, page_);
    co_await find_row_holders(context_, *connection_, page_);
  }

  // A job with few workers and long batches may stand still between two readings.
  asio::awaitable<void> look_twice() {
    co_await look();
    for (int reading = 1; reading < kMostReadings; ++reading) {
      bool const is_measured = std::all_of(overviews_.begin(), overviews_.end(), [&](Overview const& one) {
        return !one.is_worked_on() || paces_.of(one.name).rows_per_second > 0;
      });
      if (is_measured) break;
      bool const slept = co_await sleep(kBetweenReadings);
      if (!slept) throw CommandError{kExitResumable, kWasInterrupted};
      co_await look();
    }
    co_await look_around();
  }

  // False: somebody interrupted it.
  asio::awaitable<bool> sleep(milliseconds duration) {
    std::function<bool()> const is_over = [this] { return is_stopping(); };
    bool const slept = co_await sleep_unless_stopped(duration, is_over);
    co_return slept;
  }
  bool is_stopping() const { return context_.interrupts().is_asked(); }

  // As `run` would have ended. Whoever watches all of them ends it himself.
  int outcome() const {
    if (name_.empty()) return kExitDone;
    auto const& one = page_.overview;
    if (one.is(JobStatus::kFailed)) return kExitFailed;
    if (one.is(JobStatus::kCancelled)) return kExitHalted;
    return one.is(JobStatus::kComplete) ? kExitDone : kExitResumable;
  }

  asio::awaitable<void> watch() {
    paces_.is_series = true;
    co_await look();  // a wrong name ends the command
    while (true) {
      if (trouble_.empty()) co_await look_around();
      show();
      bool const has_ended = trouble_.empty() && !name_.empty() && page_.overview.has_ended();
      bool const is_read = std::cout.good();  // else the pipe's reader has gone
      if (has_ended || is_stopping() || !is_read) break;
      bool const slept = co_await sleep(std::max<milliseconds>(options_.interval, kLeastInterval));
      if (!slept) break;
      co_await look_again();
    }
  }

  // A watch outlives restarts and fail-overs of the server.
  asio::awaitable<void> look_again() {
    std::string trouble;
    try {
      if (!connection_->is_usable()) connection_ = co_await context_.connect();
      co_await look();
    } catch (CommandError const& error) {
      trouble = error.text;
    }
    trouble_ = trouble;
  }

  void show() {
    if (context_.is_json()) {
      show_json();
    } else if (options_.watch && console_.is_live) {
      redraw();
    } else if (options_.watch) {
      show_line();
    } else {
      context_.print(planner::join(lines(), "\n") + "\n");
    }
  }

  std::vector<std::string> lines() const {
    if (name_.empty()) return overview_lines(overviews_, paces_.all(), console_.view);
    Pace const pace = paces_.of(name_);
    return PageView(page_, pace, console_.view).lines();
  }

  void show_json() const {
    if (!trouble_.empty()) return context_.print(boost::json::object{{"error", valid_utf8(trouble_)}});
    if (!name_.empty()) return context_.print(json_of(page_, paces_.of(name_)));
    boost::json::array migrations;
    for (auto const& one : overviews_) {
      Pace const pace = paces_.of(one.name);
      migrations.push_back(json_of(one, &pace));
    }
    context_.print(boost::json::object{{"migrations", std::move(migrations)}});
  }

  void show_line() const {
    if (!trouble_.empty()) return context_.print(fmt::format("trying again: {}\n", neutralised(trouble_)));
    std::string text;
    for (auto const& one : overviews_) {
      if (!one.job) continue;
      Pace const pace = paces_.of(one.name);
      Outlook outlook;
      outlook.eta = pace.eta;
      auto progress = progress_of(one, pace);
      auto const cause = name_.empty() ? std::string() : first_cause(page_.runners);
      if (!cause.empty()) progress.held_back = cause;
      text += fmt::format("{}, {}{}\n", render_line(progress, outlook), one.status,
                          one.reason.empty() ? "" : ": " + neutralised(one.reason));
    }
    context_.print(text);
  }

  // Every line is cut, so that the terminal wraps none and the next drawing covers this one.
  void redraw() {
    console_ = standard_output();
    auto shown = lines();
    if (!trouble_.empty()) {
      shown.insert(shown.begin(), coloured("trying again: " + neutralised(trouble_), kBad, console_.view));
    }
    auto const room = static_cast<std::size_t>(std::max(console_.lines - 2, 1));
    if (console_.lines > 0 && shown.size() > room) {
      shown.resize(room - 1);
      shown.emplace_back("... the rest needs a taller window");
    }
    std::string text = is_drawn_ ? "\x1b[H" : "\x1b[2J\x1b[H";
    for (auto const& line : shown) text += line + "\x1b[K\n";
    text += coloured(fmt::format("every {} ms; ^C ends the watch, not the job", options_.interval.count()), kFaint,
                     console_.view) +
            "\x1b[K\n\x1b[J";
    is_drawn_ = true;
    context_.draw(text);
  }

  CommandContext& context_;
  StatusOptions options_;
  Console console_;
  std::string name_;  // empty: all
  std::shared_ptr<PgConnection> connection_;
  std::vector<Overview> overviews_;
  Page page_;
  Paces paces_;
  std::string trouble_;  // why the latest look failed
  bool is_drawn_ = false;
};

// --- history and log -------------------------------------------------------------------------------------------------

struct HistoryLine {
  std::string name;
  std::string table;
  std::string status;
  std::string began;
  std::optional<std::string> completed;
  std::optional<std::int64_t> took_ms;
  std::optional<std::int64_t> rows_changed;
  std::string who;
  std::int64_t expand_done = 0;
  std::int64_t contract_done = 0;
  std::optional<std::string> backup;
};

HistoryLine readable_line(std::vector<std::optional<std::string>> const& row) {
  Fields fields(row);
  HistoryLine line;
  line.name = fields.text();
  auto const schema = fields.maybe_text();
  std::string const table = fields.text();
  if (schema) line.table = *schema + "." + table;
  line.status = fields.maybe_text().value_or("no backfill");
  line.began = fields.text();
  line.completed = fields.maybe_text();
  line.took_ms = fields.maybe_number();
  line.rows_changed = fields.maybe_number();
  line.who = fields.text();
  line.expand_done = fields.number();
  line.contract_done = fields.number();
  line.backup = fields.maybe_text();
  return line;
}

// One that somebody broke by hand takes the others' place from nobody.
HistoryLine history_line(std::vector<std::optional<std::string>> const& row) {
  try {
    return readable_line(row);
  } catch (state::BrokenState const& broken) {
    HistoryLine line;
    line.name = row.front().value_or("");
    line.status = "broken";
    line.who = broken.what();
    return line;
  }
}

boost::json::object json_of(HistoryLine const& line) {
  boost::json::object object;
  object["migration"] = valid_utf8(line.name);
  object["table"] = text_or_null(line.table);
  object["status"] = line.status == "no backfill" ? nullptr : boost::json::value(line.status);
  object["began_at"] = line.began;
  object["completed_at"] = text_or_null(line.completed);
  object["took_ms"] = or_null(line.took_ms);
  object["rows_changed"] = or_null(line.rows_changed);
  object["expand_done"] = line.expand_done;
  object["contract_done"] = line.contract_done;
  object["by"] = text_or_null(line.who);
  object["backup"] = text_or_null(line.backup);
  return object;
}

std::vector<std::string> history_cells(HistoryLine const& line) {
  auto const number = [](std::int64_t steps) { return steps > 0 ? std::to_string(steps) : std::string(); };
  return {neutralised(line.name),
          neutralised(line.table),
          line.status,
          human_time(line.began),
          line.took_ms ? human_duration(milliseconds(*line.took_ms)) : "",
          line.rows_changed ? human_count(*line.rows_changed) : "",
          number(line.expand_done),
          number(line.contract_done),
          neutralised(line.who)};
}

asio::awaitable<int> history(CommandContext& context) {
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  auto const rows =
      value_or_throw(co_await connection->query(state::list_history(), Deadlines()), "reading the history");
  boost::json::array array;
  std::vector<std::vector<std::string>> cells;
  std::string backups;
  for (auto const& row : rows.rows) {
    auto const line = history_line(row);
    array.push_back(json_of(line));
    cells.push_back(history_cells(line));
    if (line.backup)
      backups += fmt::format("backup before {}: {}\n", neutralised(line.name), neutralised(*line.backup));
  }
  if (context.is_json()) {
    context.print(boost::json::object{{"history", std::move(array)}});
  } else if (cells.empty()) {
    context.print("no migration ran in this database yet\n");
  } else {
    std::vector<TableColumn> const columns = {
        {"NAME", false, true, 0},         {"TABLE", false, true, 2},          {"STATUS", false, false, 0},
        {"BEGAN", false, false, 0},       {"TOOK", true, false, 1},           {"ROWS CHANGED", true, false, 3},
        {"EXPAND STEPS", true, false, 6}, {"CONTRACT STEPS", true, false, 5}, {"BY", false, true, 4}};
    auto const lines = table_lines(columns, cells, standard_output().view);
    context.print(planner::join(lines, "\n") + "\n" + backups);
  }
  co_return kExitDone;
}

struct LogEvent {
  std::int64_t id = 0;
  std::string at;
  std::string kind;
  std::string detail;
  std::string db_user;
  std::string os_user;
  std::string host;
  std::optional<std::int64_t> pid;
};

LogEvent log_event(std::vector<std::optional<std::string>> const& row) {
  Fields fields(row);
  LogEvent event;
  event.id = fields.number();
  event.at = fields.text();
  event.kind = fields.text();
  event.detail = fields.text();
  event.db_user = fields.text();
  event.os_user = fields.text();
  event.host = fields.text();
  event.pid = fields.maybe_number();
  return event;
}

std::string json_line(LogEvent const& event) {
  boost::json::object object;
  object["id"] = event.id;
  object["at"] = event.at;
  object["kind"] = event.kind;
  object["detail"] = valid_utf8(event.detail);
  object["db_user"] = valid_utf8(event.db_user);
  object["os_user"] = valid_utf8(event.os_user);
  object["host"] = valid_utf8(event.host);
  object["pid"] = or_null(event.pid);
  return boost::json::serialize(object) + "\n";
}

std::string text_lines(LogEvent const& event, ViewOptions const& view) {
  constexpr int kKindWidth = 14;
  std::string label = human_time(event.at);
  // UTC once in the time of each line is enough; the milliseconds stay for putting it beside other logs.
  label += "  " + neutralised(event.kind);
  int const width = static_cast<int>(human_time(event.at).size()) + kKindWidth;
  std::string who = event.os_user.empty() ? event.db_user : event.os_user + "@" + event.host;
  if (event.pid) who += fmt::format(" pid {}", *event.pid);
  std::string const text = neutralised(event.detail) + (event.detail.empty() ? "" : " ") + "(" + neutralised(who) + ")";
  return planner::join(labelled(label, width, text, view), "\n") + "\n";
}

asio::awaitable<int> log(CommandContext& context, LogOptions options) {
  std::string const name = name_of(options.file_or_name);
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  auto const rows = value_or_throw(co_await connection->query(state::list_events(name, options.limit), Deadlines()),
                                   "reading the events");
  if (rows.rows.empty()) {
    auto const known =
        value_or_throw(co_await connection->query(state::overviews(name), Deadlines()), "looking for the migration");
    if (known.rows.empty()) {
      CommandError const unknown = co_await unknown_name(*connection, name);
      throw unknown;
    }
  }
  auto const view = standard_output().view;
  std::string text;
  for (auto const& row : rows.rows) {
    auto const event = log_event(row);
    text += context.is_json() ? json_line(event) : text_lines(event, view);
  }
  context.print(text);
  co_return kExitDone;
}

}  // namespace

int status_command(CommandContext& context, StatusOptions const& options) {
  if (is_folder(options.file_or_name)) {
    if (options.watch) throw CommandError{kExitUsage, "--watch is of one migration, or of all without a name"};
    return context.run(show_sequence(context, options.file_or_name));
  }
  StatusView view(context, options);
  return context.run(view.go());
}

int history_command(CommandContext& context) {
  return context.run(history(context));
}

int log_command(CommandContext& context, LogOptions const& options) {
  return context.run(log(context, options));
}

}  // namespace pgbackfill::engine
