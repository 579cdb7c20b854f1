#include "engine/app/status_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/pg/local_process.h"
#include "engine/probes/probe_rows.h"
#include "engine/probes/probe_sql.h"
#include "engine/run/growth_text.h"
#include "engine/run/job_setup.h"
#include "engine/run/limits.h"
#include "engine/run/pg_database.h"
#include "engine/state/row_fields.h"
#include "engine/state/state_sample.h"
#include "engine/state/typed_rows.h"
#include "engine/steps/approval.h"
#include "engine/view/status_view.h"
#include "planner/file/throttle_settings.h"
#include "planner/model/shown_query.h"
#include "planner/model/suggestion.h"
#include "planner/steps/contract_plan.h"
#include "planner/work/prepared.h"

namespace pgbackfill::engine {

namespace {

using Fields = state::RowFields;

constexpr std::int64_t kQuarantinedShown = 10;

// Of a source that another version wrote nothing is known; the state says enough without it.
void read_source(StatusOverview& one) {
  if (!one.source) return;
  try {
    auto loaded = parse_stored(one.name, one.file, *one.source);
    one.schedule = std::move(loaded.schedule);
    one.migration = std::move(loaded.migration);
  } catch (CommandError const&) {
    one.migration.reset();
  }
}

SettingTexts settings_of_file(StatusOverview const& one) {
  return one.migration ? setting_texts(one.migration->throttle) : SettingTexts();
}

StatusOverview overview_of(std::vector<std::optional<std::string>> const& row) {
  StatusOverview one{state::stored_overview_of(row), {}, {}, throttle::Schedule{{}}, {}, {}};
  read_source(one);
  auto const from_file = settings_of_file(one);
  for (auto const& rule : planner::throttle_settings()) {
    auto const setting = effective_setting(rule.name, from_file, one.live);
    one.settings.push_back({std::string(rule.name), setting.text, name_of(setting.origin)});
  }
  one.max_rows_per_second = limits_of(from_file, one.live).limits.max_rows_per_second;
  return one;
}

// What somebody broke by hand in the rows of one migration keeps nobody from seeing the others.
StatusOverview overview_or_trouble(std::vector<std::optional<std::string>> const& row) {
  try {
    return overview_of(row);
  } catch (state::BrokenState const& broken) {
    StatusOverview one;
    one.name = row.front().value_or("");
    one.broken = broken.what();
    return one;
  }
}

std::vector<RangeHolder> holders_of(Rows const& rows, Owner const& owner) {
  std::vector<RangeHolder> holders;
  for (auto const& row : rows.rows) {
    Fields fields(row);
    RangeHolder holder;
    holder.host = fields.text();
    holder.pid = fields.number();
    holder.ranges = fields.number();
    holder.lease_ms = fields.number();
    holder.is_gone = fields.text() == owner.machine && !has_process(holder.pid);
    holders.push_back(std::move(holder));
  }
  return holders;
}

std::vector<UnendedRun> waiting_of(Rows const& rows, std::vector<RangeHolder> const& holders, Owner const& owner) {
  std::vector<UnendedRun> waiting;
  for (auto const& row : rows.rows) {
    Fields fields(row);
    UnendedRun run;
    run.host = fields.text();
    run.pid = fields.number();
    run.since = fields.text();
    bool const holds = std::any_of(holders.begin(), holders.end(), [&](RangeHolder const& holder) {
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

constexpr int kMostQueryShown = 80;
constexpr std::chrono::hours kLastHour{1};

// What stands in a comment may be anything.
struct PreparedRow {
  std::optional<std::string> name;
  std::optional<std::int64_t> rows;
  std::optional<std::int64_t> age_s;
  std::optional<std::int64_t> pass;
  std::optional<std::int64_t> bytes;
};

struct CountedRunners {
  std::int64_t job = 0;
  std::int64_t processes = 0;
};

struct WaitingBatch {
  int pid = 0;
  int holder = 0;
  std::string application;
  std::string role;
  std::string state;
  std::optional<std::string> age_s;
  std::optional<std::string> query;
};

std::string waiting_for_locks() {
  return "SELECT w.pid, blocker.pid, coalesce(nullif(b.application_name, ''), 'no application name'), "
         "coalesce(b.usename, "
         "'?'), "
         "coalesce(b.state, 'unknown'), extract(epoch FROM clock_timestamp() - b.xact_start)::bigint, " +
         planner::shown_query("b.query", kMostQueryShown) +
         " FROM pg_stat_activity w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocker (pid) LEFT JOIN "
         "pg_stat_activity "
         "b ON b.pid = blocker.pid WHERE w.application_name = 'pgbackfill' AND w.datname = current_database() AND "
         "w.wait_event_type = 'Lock' AND blocker.pid <> w.pid ORDER BY 6 DESC NULLS LAST LIMIT 5";
}

}  // namespace

throttle::Limits limits_now(StatusOverview const& one) {
  return limits_of(settings_of_file(one), one.live).limits;
}

asio::awaitable<CommandError> unknown_name(PgConnection& connection, std::string name) {
  bool const is_path = name.find('/') != std::string::npos || name.ends_with(".yaml") || name.ends_with(".yml");
  CommandError error{kExitUsage, neutralised(name) + ": there is no such file"};
  if (is_path) co_return error;
  auto const known = value_or_throw(co_await connection.query(state::list_names(), Deadlines()), "listing the names");
  auto const listed = state::column_as<std::string>(known);
  std::vector<std::string_view> const names(listed.begin(), listed.end());
  error.text = fmt::format("no migration '{}' ran in this database{}; `pgbackfill status` lists them",
                           neutralised(name), neutralised(planner::did_you_mean(name, names)));
  co_return error;
}

asio::awaitable<std::vector<StatusOverview>> read_overviews(PgConnection& connection) {
  auto const rows =
      value_or_throw(co_await connection.query(state::overviews(""), Deadlines()), "reading the migrations");
  std::vector<StatusOverview> overviews;
  for (auto const& row : rows.rows) overviews.push_back(overview_or_trouble(row));
  auto const runners = co_await connection.query(state::count_runners(), Deadlines());
  if (!runners) co_return overviews;  // an older layout
  for (auto const& counted : state::rows_as<CountedRunners>(*runners)) {
    for (auto& one : overviews) {
      if (one.job == counted.job) one.followers = counted.processes;
    }
  }
  co_return overviews;
}

asio::awaitable<StatusPage> read_page(PgConnection& connection, std::string name, Owner const& owner) {
  std::vector<std::string> statements = {state::overviews(name),
                                         state::job_leases(name),
                                         state::unended_runs(name),
                                         state::job_quarantine(name, kQuarantinedShown),
                                         state::latest_status_change(name),
                                         state::job_runners(name),
                                         probe_sql::elsewhere(),
                                         planner::list_prepared_sql(name)};
  auto const all = value_or_throw(co_await connection.pipeline(std::move(statements), Deadlines()), "reading the job");
  if (all[0].rows.empty()) {
    CommandError const unknown = co_await unknown_name(connection, name);
    throw unknown;
  }
  StatusPage page;
  page.overview = overview_of(all[0].rows.front());
  page.holders = holders_of(all[1], owner);
  page.waiting = waiting_of(all[2], page.holders, owner);
  page.bad_rows = bad_rows_of(all[3]);
  if (auto const change = state::first_as<state::LatestChange>(all[4])) {
    page.change = StatusChange{change->kind, change->at, change->who()};
  }
  page.runners = runners_of(all[5].rows);
  page.overview.followers = static_cast<std::int64_t>(page.runners.size());
  page.elsewhere = neighbours_elsewhere(all[6]);
  for (auto& row : state::rows_as<PreparedRow>(all[7])) {
    page.prepared.push_back({row.name.value_or(""), row.rows.value_or(0), row.age_s.value_or(0), row.pass.value_or(0),
                             row.bytes.value_or(0)});
  }
  if (page.overview.migration) {
    std::string plan = planner::contract_plan(planner::contract_steps(*page.overview.migration));
    page.approval =
        value_or_throw(co_await read_approval(connection, name, std::move(plan)), "looking for an approval");
  }
  co_return page;
}

asio::awaitable<void> find_lock_holders(PgConnection& connection, StatusPage& page) {
  auto const rows = co_await query_read_only(connection, waiting_for_locks());
  if (!rows) co_return;  // the rest of the page is worth more than this
  for (auto const& wait : state::rows_as<WaitingBatch>(*rows)) {
    if (wait.holder == 0) {
      page.in_the_way.push_back(fmt::format(
          "a batch (pid {}) waits for a lock of a prepared transaction; pg_prepared_xacts lists them", wait.pid));
      continue;
    }
    page.in_the_way.push_back(
        fmt::format("a batch (pid {}) waits for a lock of pid {} ({}, {}, {}, transaction open for {} s): {}", wait.pid,
                    wait.holder, wait.application, wait.role, wait.state, wait.age_s.value_or("?"),
                    wait.query.value_or("query not visible to this role")));
  }
}

asio::awaitable<void> find_growth(PgConnection& connection, StatusPage& page) {
  auto const& one = page.overview;
  if (!one.job || !page.overview.migration || !page.overview.migration->backfill) co_return;
  auto const sizes = co_await query_read_only(connection, state::job_growth(*one.job));
  if (!sizes) co_return;
  page.costs = costs_of(*sizes);
  page.growth = growth_text(*page.costs, qualified_name(one.schema, one.table), page.overview.migration->backfill->kind,
                            limits_now(one));
}

asio::awaitable<void> find_last_hour(PgConnection& connection, StatusPage& page) {
  page.last_hour.clear();
  if (!page.overview.job || page.overview.has_ended()) co_return;
  auto const rows = co_await query_read_only(connection, state::list_samples(*page.overview.job, kLastHour));
  if (!rows) co_return;  // an older layout, or a role that may not look at it
  page.last_hour = state::stored_samples_of(rows->rows);
}

asio::awaitable<void> find_row_holders(CommandContext& context, PgConnection& connection, StatusPage& page) {
  if (page.overview.deferred == 0 || !page.overview.migration || !page.overview.migration->backfill) co_return;
  auto facts = co_await read_table_facts(connection, page.overview.migration->backfill->table);
  if (!facts || !*facts) co_return;
  planner::WorkTraits const none;
  auto job = co_await load_pg_job(connection, *page.overview.job, page.overview.name,
                                  *page.overview.migration->backfill, std::move(**facts), false, none);
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

}  // namespace pgbackfill::engine
