#include <boost/json/array.hpp>

#include "engine/base/text.h"
#include "engine/view/json_values.h"
#include "engine/view/report_parts.h"
#include "engine/view/report_view.h"
#include "engine/view/status_view.h"

namespace pgbackfill::engine {

namespace {

namespace json = boost::json;

json::array texts(std::vector<std::string> const& all) {
  json::array array;
  for (auto const& text : all) array.emplace_back(valid_utf8(text));
  return array;
}

json::object amounts(std::map<std::string, std::int64_t> const& all) {
  json::object object;
  for (auto const& [name, amount] : all) object[valid_utf8(name)] = amount;
  return object;
}

json::array steps_json(JobReport const& report) {
  json::array array;
  for (auto const& step : report.steps) {
    array.push_back({{"phase", step.phase},
                     {"step", step.number},
                     {"text", valid_utf8(step.text)},
                     {"done_at", text_or_null(step.done_at)},
                     {"took_ms", or_null(step.took_ms)},
                     {"lock_wait_ms", or_null(step.lock_wait_ms)},
                     {"waited_for", text_or_null(step.waited_for)}});
  }
  return array;
}

json::array costs_json(JobReport const& report) {
  json::array array;
  for (auto const& cost : costs_compared(report)) {
    array.push_back({{"what", cost.what},
                     {"expected", valid_utf8(cost.expected)},
                     {"happened", cost.happened},
                     {"difference", text_or_null(cost.difference)}});
  }
  return array;
}

json::array samples_json(JobReport const& report) {
  json::array array;
  for (auto const& one : report.samples) {
    json::object object;
    object["at_ms"] = one.at_ms;
    object["took_ms"] = one.took.count();
    object["phase"] = valid_utf8(one.phase);
    object["rows_done"] = one.rows_done;
    object["rows_changed"] = one.rows_changed;
    object["batch_rows"] = or_null(one.batch_rows);
    object["batch_ms"] = one.batch_duration ? json::value(one.batch_duration->count()) : nullptr;
    object["workers"] = one.workers;
    object["processes"] = one.processes;
    object["wal_per_second"] = one.wal_per_second;
    object["lag_ms"] = amounts(one.lag_ms);
    object["latency_ratio"] = one.latency_ratio ? json::value(*one.latency_ratio) : nullptr;
    object["waiters"] = one.waiters;
    object["held_ms"] = amounts(one.held_ms);
    object["held_by"] = text_or_null(one.held_by);
    object["table_bytes"] = or_null(one.table_bytes);
    array.push_back(std::move(object));
  }
  return array;
}

json::array marks_json(JobReport const& report) {
  json::array array;
  for (auto const& mark : marks_of(report)) {
    array.push_back({{"at_ms", mark.at_ms},
                     {"kind", name_of(mark.kind)},
                     {"text", valid_utf8(mark.text)},
                     {"by", text_or_null(mark.who)}});
  }
  return array;
}

json::array people_json(JobReport const& report) {
  json::array array;
  for (auto const& approval : report.approvals) {
    array.push_back({{"at", approval.at},
                     {"by", valid_utf8(approval.who)},
                     {"reason", text_or_null(approval.reason)},
                     {"plan", valid_utf8(approval.plan)},
                     {"plan_hash", approval.plan_hash}});
  }
  return array;
}

json::array hooks_json(JobReport const& report) {
  json::array array;
  for (auto const& hook : report.hooks) {
    array.push_back({{"boundary", valid_utf8(hook.boundary)},
                     {"hook", valid_utf8(hook.hook)},
                     {"result", valid_utf8(hook.result)},
                     {"ran_at", hook.ran_at}});
  }
  return array;
}

json::array set_aside_json(JobReport const& report) {
  json::array array;
  for (auto const& one : report.set_aside) {
    array.push_back({{"table", valid_utf8(one.table)}, {"sqlstate", one.sqlstate}, {"rows", one.rows}});
  }
  return array;
}

json::value gate_json(JobReport const& report) {
  if (!report.gate) return nullptr;
  return {{"is_open", report.gate->is_open},
          {"reasons", texts(report.gate->reasons)},
          {"measured_at", report.gate->measured_at},
          {"measured_by", valid_utf8(report.gate->measured_by)}};
}

}  // namespace

json::object report_json(JobReport const& report) {
  auto const& one = report.status.overview;
  json::object object;
  object["migration"] = valid_utf8(one.name);
  object["program"] = report.program;
  object["database"] = valid_utf8(report.database);
  object["server_version"] = report.server_version;
  object["read_at"] = report.read_at;
  object["state"] = state_word(one);
  object["status"] = one.job ? json::value(one.status) : nullptr;
  object["reason"] = text_or_null(without_values(one.reason, one.name));
  object["table"] = one.job ? json::value(valid_utf8(one.schema + "." + one.table)) : nullptr;
  object["definition"] = valid_utf8(one.definition);
  object["file"] = valid_utf8(one.file);
  object["source"] = text_or_null(one.source);
  object["began_ms"] = or_null(report.began_ms);
  object["completed_ms"] = or_null(report.completed_ms);
  object["rows_estimated"] = one.rows_estimated;
  object["rows_done"] = one.rows_done;
  object["rows_changed"] = one.rows_changed;
  object["batches"] = one.batches;
  object["deferred"] = one.deferred;
  object["quarantined"] = one.quarantined;
  object["costs"] = json_of(report.status.costs);
  object["compared"] = costs_json(report);
  object["course"] = report.samples.empty() ? json::value(nullptr) : json::value(json_of(summary_of(report.samples)));
  object["samples"] = samples_json(report);
  object["replay"] = report.replay ? json::value(json_of(*report.replay)) : nullptr;
  object["marks"] = marks_json(report);
  object["has_all_events"] = report.has_all_events;
  object["steps"] = steps_json(report);
  object["checks"] = texts(report.checks);
  object["gate"] = gate_json(report);
  object["approvals"] = people_json(report);
  object["hooks"] = hooks_json(report);
  object["set_aside"] = set_aside_json(report);
  object["left"] = texts(left_of(report));
  object["notes"] = texts(report.notes);
  return object;
}

}  // namespace pgbackfill::engine
