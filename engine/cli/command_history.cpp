// history and log: what was done, when, and by whom. Read only.

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <iterator>

#include "engine/app/status_reader.h"
#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/pg/catalog.h"
#include "engine/state/row_fields.h"
#include "engine/state/state_sample.h"
#include "engine/state/stored_overview.h"
#include "engine/view/console.h"
#include "engine/view/course.h"
#include "engine/view/json_values.h"
#include "engine/view/report_parts.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using Fields = state::RowFields;
using std::chrono::milliseconds;

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
  std::optional<std::int64_t> id;  // of an event; a standstill is seen in the course and has none
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

// "2026-11-20T14:30:23.000Z", as the server writes the time of an event.
std::string event_time(std::int64_t at_ms) {
  std::string text = time_text(at_ms);
  text.replace(text.find(' '), 1, "T");
  return text.substr(0, text.find(' ')) + fmt::format(".{:03}Z", at_ms % 1000);
}

LogEvent standing_event(Standstill const& one) {
  LogEvent event;
  event.at = event_time(one.from_ms);
  event.kind = "stood";
  event.detail =
      fmt::format("for {}: {}", human_duration(milliseconds(one.to_ms - one.from_ms)), cause_label(one.cause));
  if (!one.text.empty()) event.detail += ", " + one.text;
  return event;
}

std::optional<std::int64_t> job_of(Rows const& overviews) {
  if (overviews.rows.empty()) return std::nullopt;
  try {
    return state::stored_overview_of(overviews.rows.front()).job;
  } catch (state::BrokenState const&) {
    return std::nullopt;  // its events can be told all the same
  }
}

// When it stood and why, as far as it is kept and this role may read it.
asio::awaitable<CourseSummary> course_of(PgConnection& connection, std::int64_t job) {
  auto const rows = co_await query_read_only(connection, state::list_samples(job, std::nullopt));
  if (!rows) co_return CourseSummary();
  co_return summary_of(state::stored_samples_of(rows->rows));
}

// `events` in the order of time, and that of the times; what is older than the events that are shown is left out.
void add_standstills(std::vector<LogEvent>& events, CourseSummary const& course, bool has_all_events) {
  std::vector<LogEvent> standing;
  for (auto const& one : course.standstills) {
    auto event = standing_event(one);
    if (has_all_events || event.at >= events.front().at) standing.push_back(std::move(event));
  }
  auto const is_earlier = [](LogEvent const& a, LogEvent const& b) { return a.at < b.at; };
  std::vector<LogEvent> all;
  std::merge(events.begin(), events.end(), standing.begin(), standing.end(), std::back_inserter(all), is_earlier);
  events = std::move(all);
}

std::string json_line(LogEvent const& event) {
  boost::json::object object;
  object["id"] = or_null(event.id);
  object["at"] = event.at;
  object["kind"] = event.kind;
  object["detail"] = valid_utf8(event.detail);
  object["db_user"] = event.id ? boost::json::value(valid_utf8(event.db_user)) : nullptr;
  object["os_user"] = event.id ? boost::json::value(valid_utf8(event.os_user)) : nullptr;
  object["host"] = event.id ? boost::json::value(valid_utf8(event.host)) : nullptr;
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
  std::string text = neutralised(event.detail);
  if (event.id) text += (text.empty() ? "(" : " (") + neutralised(who) + ")";
  return planner::join(labelled(label, width, text, view), "\n") + "\n";
}

asio::awaitable<int> log(CommandContext& context, LogOptions options) {
  auto connection = co_await context.connect_to_state(StateUse::kReads);
  std::string const name = co_await find_name(context, *connection, options.file_or_name);
  auto const rows = value_or_throw(co_await connection->query(state::list_events(name, options.limit), Deadlines()),
                                   "reading the events");
  auto const known =
      value_or_throw(co_await connection->query(state::overviews(name), Deadlines()), "looking for the migration");
  if (rows.rows.empty() && known.rows.empty()) {
    CommandError const unknown = co_await unknown_name(*connection, name);
    throw unknown;
  }
  std::vector<LogEvent> events;
  for (auto const& row : rows.rows) events.push_back(log_event(row));
  CourseSummary course;
  auto const job = job_of(known);
  if (job && !events.empty()) course = co_await course_of(*connection, *job);
  add_standstills(events, course, static_cast<std::int64_t>(rows.rows.size()) < options.limit);

  auto const view = standard_output().view;
  std::string text;
  for (auto const& event : events) text += context.is_json() ? json_line(event) : text_lines(event, view);
  auto const summary = course_text(course);
  if (!context.is_json() && !summary.empty()) text += summary + "\n";
  context.print(text);
  co_return kExitDone;
}

}  // namespace

int history_command(CommandContext& context) {
  return context.run(history(context));
}

int log_command(CommandContext& context, LogOptions const& options) {
  return context.run(log(context, options));
}

}  // namespace pgbackfill::engine
