#include <boost/json/array.hpp>
#include <chrono>

#include "engine/base/text.h"
#include "engine/view/course.h"
#include "engine/view/json_values.h"
#include "engine/view/runners_view.h"
#include "engine/view/status_view.h"

namespace pgbackfill::engine {

namespace {

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

}  // namespace

boost::json::object json_of(StatusOverview const& one, StatusPace const* pace) {
  boost::json::object object;
  object["migration"] = valid_utf8(one.name);
  object["broken"] = text_or_null(one.broken);
  object["file"] = valid_utf8(one.file);
  object["table"] = one.job ? boost::json::value(valid_utf8(one.schema + "." + one.table)) : nullptr;
  object["status"] = one.job ? boost::json::value(one.status) : nullptr;
  object["state"] = state_word(one);
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
  object["followers"] = one.is_followed() ? one.followers : 0;
  object["workers"] = one.workers;
  object["batch_target_ms"] = one.batch_target_ms;
  object["max_rows_per_second"] = or_null(one.max_rows_per_second);
  boost::json::object throttle;
  for (auto const& setting : one.settings) {
    throttle[setting.name] = {{"value", valid_utf8(setting.text)}, {"from", setting.origin}};
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

boost::json::value json_of(std::optional<JobCosts> const& costs) {
  if (!costs) return nullptr;
  auto const& thought = costs->estimated_time;
  return boost::json::object{{"estimated_ms", thought ? boost::json::value(thought->count()) : nullptr},
                             {"estimated_heap_bytes", or_null(costs->estimated_bytes)},
                             {"estimated_wal_bytes", or_null(costs->estimated_wal_bytes)},
                             {"heap_bytes_at_start", costs->bytes_at_start},
                             {"ms", costs->time.count()},
                             {"heap_bytes", costs->bytes},
                             {"server_wal_bytes", or_null(costs->wal_bytes)}};
}

boost::json::object json_of(StatusPage const& page, StatusPace const& pace) {
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
  boost::json::array prepared;
  for (auto const& one : page.prepared) {
    prepared.push_back({{"name", valid_utf8(one.name)},
                        {"rows", one.rows},
                        {"age_ms", one.age_s * 1000},
                        {"pass", one.pass},
                        {"bytes", one.bytes}});
  }
  object["prepared"] = std::move(prepared);
  object["runners"] = json_of(page.runners);
  object["elsewhere"] = elsewhere_json(page.elsewhere);
  object["quarantine"] = json_of(page.bad_rows);
  object["status_changed_at"] = page.change ? boost::json::value(page.change->at) : nullptr;
  object["status_changed_by"] = page.change ? boost::json::value(valid_utf8(page.change->who)) : nullptr;
  bool const knows = page.overview.migration.has_value();
  object["expand_steps"] = knows ? boost::json::value(page.overview.migration->expand.size()) : nullptr;
  object["contract_steps"] = knows ? boost::json::value(page.overview.migration->contract.size()) : nullptr;
  object["costs"] = json_of(page.costs);
  object["approval"] = json_of(page.approval);
  object["last_hour"] =
      page.last_hour.empty() ? boost::json::value(nullptr) : boost::json::value(json_of(summary_of(page.last_hour)));
  object["next"] = valid_utf8(next_text(page));
  return object;
}

}  // namespace pgbackfill::engine
