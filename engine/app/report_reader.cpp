#include "engine/app/report_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "engine/app/status_reader.h"
#include "engine/pg/catalog.h"
#include "engine/state/row_fields.h"
#include "engine/state/state_past.h"
#include "engine/state/state_sample.h"
#include "planner/model/check.h"
#include "planner/steps/contract_plan.h"

namespace pgbackfill::engine {

namespace {

using Fields = state::RowFields;

constexpr std::int64_t kMostEvents = 1'000;

void take_facts(Rows const& rows, JobReport& report) {
  Fields fields(rows.rows.front());
  report.database = fields.text();
  report.server_version = fields.text();
  report.read_at = fields.text();
  report.read_at_ms = fields.number();
  report.began_ms = fields.maybe_number();
  report.completed_ms = fields.maybe_number();
}

ReportedStep step_of(std::vector<std::optional<std::string>> const& row) {
  Fields fields(row);
  ReportedStep step;
  step.phase = fields.text();
  step.number = fields.number() + 1;
  step.text = fields.text();
  step.done_at = fields.text();
  step.took_ms = fields.maybe_number();
  step.lock_wait_ms = fields.maybe_number();
  step.waited_for = fields.text();
  return step;
}

// Those of the file that are not recorded.
void add_open_steps(std::vector<planner::SchemaStep> const& steps, char const* phase, JobReport& report) {
  std::int64_t number = 0;
  for (auto const& step : steps) {
    ++number;
    bool const is_known = std::any_of(report.steps.begin(), report.steps.end(), [&](ReportedStep const& one) {
      return one.phase == phase && one.number == number;
    });
    if (is_known) continue;
    ReportedStep open;
    open.phase = phase;
    open.number = number;
    open.text = step.text;
    report.steps.push_back(std::move(open));
  }
}

void take_steps(Rows const& rows, JobReport& report) {
  for (auto const& row : rows.rows) report.steps.push_back(step_of(row));
  auto const& migration = report.status.overview.migration;
  if (!migration) return;
  add_open_steps(migration->expand, "expand", report);
  add_open_steps(migration->contract, "contract", report);
  for (auto const& check : migration->verify) report.checks.push_back(planner::check_text(check));
}

void take_approvals(Rows const& rows, JobReport& report) {
  for (auto const& row : rows.rows) {
    Fields fields(row);
    Approval approval;
    approval.plan = fields.text();
    approval.plan_hash = fields.text();
    approval.reason = fields.text();
    std::string const role = fields.text();
    std::string const user = fields.text();
    approval.who = fmt::format("{} ({}@{})", role, user, fields.text());
    approval.at = fields.text();
    auto const& latest = report.status.approval;
    approval.holds = latest && latest->holds && latest->at == approval.at && latest->plan_hash == approval.plan_hash;
    report.approvals.push_back(std::move(approval));
  }
}

void take_hooks(Rows const& rows, JobReport& report) {
  for (auto const& row : rows.rows) {
    Fields fields(row);
    ReportedHook hook;
    hook.boundary = fields.text();
    fields.number();  // its place, which orders them
    hook.hook = fields.text();
    hook.result = fields.text();
    hook.ran_at = fields.text();
    report.hooks.push_back(std::move(hook));
  }
}

void take_gate(Rows const& rows, JobReport& report) {
  if (rows.rows.empty()) return;
  Fields fields(rows.rows.front());
  ReportedGate gate;
  gate.is_open = fields.text() == "t";
  gate.reasons = state::parse_text_array(fields.maybe_text()).value_or(planner::KeyValue());
  gate.measured_at = fields.text();
  gate.measured_by = fields.text();
  report.gate = std::move(gate);
}

void take_set_aside(Rows const& rows, JobReport& report) {
  for (auto const& row : rows.rows) {
    Fields fields(row);
    SetAside one;
    one.table = fields.text();
    one.sqlstate = fields.text();
    one.rows = fields.number();
    report.set_aside.push_back(std::move(one));
  }
}

void take_events(Rows const& rows, JobReport& report) {
  for (auto const& row : rows.rows) {
    Fields fields(row);
    ReportedEvent event;
    event.at_ms = fields.number();
    event.kind = fields.text();
    event.detail = fields.text();
    std::string const role = fields.text();
    std::string const user = fields.text();
    event.host = fields.text();
    event.pid = fields.maybe_number();
    event.who = user.empty() ? role : user + "@" + event.host;
    report.events.push_back(std::move(event));
  }
  report.has_all_events = report.events.size() < static_cast<std::size_t>(kMostEvents);
}

void take_samples(Rows const& rows, JobReport& report) {
  report.samples = state::stored_samples_of(rows.rows);
}

struct Part {
  std::string what;
  std::string sql;
  void (*take)(Rows const& rows, JobReport& report);
};

std::vector<Part> parts_of(std::string const& name, std::optional<std::int64_t> job) {
  std::vector<Part> parts = {{"events", state::list_past_events(name, kMostEvents), &take_events},
                             {"steps", state::list_steps(name), &take_steps},
                             {"approvals", state::list_approvals(name), &take_approvals},
                             {"hooks", state::list_hooks(name), &take_hooks},
                             {"what the gate measured", state::gate_reading(name), &take_gate},
                             {"rows that are set aside", state::quarantine_kinds(name), &take_set_aside}};
  if (job) parts.push_back({"its course", state::list_samples(*job, std::nullopt), &take_samples});
  return parts;
}

}  // namespace

asio::awaitable<JobReport> read_report(PgConnection& connection, std::string name, Owner const& owner) {
  JobReport report;
  report.status = co_await read_page(connection, name, owner);
  report.status.bad_rows.clear();
  co_await find_growth(connection, report.status);
  auto const facts =
      value_or_throw(co_await query_read_only(connection, state::report_facts(name)), "reading the job's times");
  take_facts(facts, report);
  for (auto const& part : parts_of(name, report.status.overview.job)) {
    auto const rows = co_await query_read_only(connection, part.sql);
    if (rows) {
      part.take(*rows, report);
      continue;
    }
    if (!connection.is_usable()) throw error_of(rows.error(), "reading " + part.what);
    report.notes.push_back(part.what + ": " + rows.error().message);
  }
  co_return report;
}

}  // namespace pgbackfill::engine
