#include <boost/json/array.hpp>

#include "engine/view/plan_verdict.h"
#include "engine/view/plan_view.h"

namespace pgbackfill::engine {

namespace {

namespace json = boost::json;

std::string effort_word(planner::lint::Work work) {
  return work == planner::lint::Work::kNone ? "catalog" : std::string(planner::lint::work_word(work));
}

json::array json_of(std::vector<std::string> const& texts) {
  json::array array;
  for (auto const& text : texts) array.emplace_back(text);
  return array;
}

json::array json_of(std::vector<PlannedStatement> const& statements) {
  json::array array;
  for (auto const& statement : statements) {
    json::array locks;
    for (auto const& lock : statement.locks) {
      locks.push_back({{"relation", lock.relation},
                       {"mode", std::string(planner::lock_words(lock.mode))},
                       {"stops", std::string(planner::lock_stops(lock.mode))}});
    }
    array.push_back({{"sql", statement.sql},
                     {"locks", std::move(locks)},
                     {"effort", effort_word(statement.work)},
                     {"measured", statement.is_measured},
                     {"duration", std::string(planner::duration_word(statement.duration))},
                     {"in_transaction", !statement.is_alone}});
  }
  return array;
}

json::object json_of(PlannedStep const& step) {
  json::object object;
  if (step.is_sql) object["sql"] = step.sql;
  if (step.down) object["down"] = *step.down;
  object["place"] = step_place(step);
  object["step"] = step.text;
  object["title"] = step.title;
  object["risk"] = std::string(planner::risk_word(step.risk));
  object["reason"] = step.reason;
  object["done"] = step.is_recorded;
  object["table_bytes"] = step.table_bytes;
  object["duration"] = std::string(planner::duration_word(step.duration));
  object["statements"] = json_of(step.statements);
  json::array others;
  for (auto const& other : step.others) others.push_back({{"relation", other.relation}, {"words", other.words}});
  object["others"] = std::move(others);
  object["undo"] = json_of(step.undo);
  std::pair<char const*, std::string> const texts[] = {{"safe_form", step.safe_form},
                                                       {"instead", step.advice},
                                                       {"way_back", step.way_back},
                                                       {"no_way_back", step.no_way_back},
                                                       {"destroys", step.destroys}};
  for (auto const& [key, text] : texts) {
    if (!text.empty()) object[key] = text;
  }
  return object;
}

json::array json_of(std::vector<PlannedStep> const& steps) {
  json::array array;
  for (auto const& step : steps) array.push_back(json_of(step));
  return array;
}

json::object json_of(PlannedBackfill const& planned) {
  json::object object;
  object["table"] = planned.table;
  object["title"] = planned.title;
  object["risk"] = std::string(planner::risk_word(planned.risk));
  object["reason"] = planned.reason;
  object["way_back"] = planned.way_back;
  object["rows_estimated"] = planned.rows;
  object["rows_guessed"] = planned.rows_guessed;
  object["heap_bytes"] = planned.heap_bytes;
  object["ranges"] = planned.ranges;
  json::array leaves;
  for (auto const& leaf : planned.leaves) {
    leaves.push_back(
        {{"relation", leaf.relation}, {"key", leaf.key}, {"rows_estimated", leaf.rows}, {"ranges", leaf.ranges}});
  }
  object["leaves"] = std::move(leaves);
  object["batch_sql"] = planned.batch_sql;
  object["explain"] = json_of(planned.explain);
  object["seconds_estimated"] = planned.seconds;
  object["duration"] = std::string(planner::duration_word(planner::duration_class(planned.seconds)));
  if (!planned.program.empty()) object["program"] = planned.program;
  if (!planned.answers.empty()) object["answers"] = json::array(planned.answers.begin(), planned.answers.end());
  if (planned.sample) {
    object["sample"] = json::object{{"rows", planned.sample->rows},
                                    {"milliseconds", planned.sample->milliseconds},
                                    {"wal_bytes", planned.sample->wal_bytes},
                                    {"full_page_images", planned.sample->full_page_images},
                                    {"is_of_copy", planned.sample->is_of_copy},
                                    {"bytes_more_per_row", planned.sample->bytes_more_per_row}};
  }
  if (planned.wal_bytes) object["wal_bytes_estimated"] = static_cast<std::int64_t>(*planned.wal_bytes);
  if (planned.growth) {
    object["heap_bytes_without_vacuum"] = static_cast<std::int64_t>(planned.growth->bytes_without_vacuum);
    object["heap_bytes_expected"] = static_cast<std::int64_t>(planned.growth->bytes_with_budget);
  }
  return object;
}

}  // namespace

json::object plan_json(PlanReport const& report) {
  json::object document;
  document["migration"] = report.migration;
  document["file"] = report.file;
  auto const verdict = verdict_of(report);
  json::object judged;
  judged["run"] = std::string(planner::risk_word(verdict.run));
  if (verdict.complete) judged["complete"] = std::string(planner::risk_word(*verdict.complete));
  judged["stops_others"] = json_of(verdict.blocking);
  judged["destroys"] = json_of(verdict.destroyed);
  document["verdict"] = std::move(judged);
  document["expand"] = json_of(report.expand);
  document["sync"] = json_of(report.sync);
  document["hooks"] = json_of(report.hooks);
  document["told"] = json_of(report.told);
  document["from_config"] = json_of(report.from_config);
  document["verify"] = json_of(report.verify);
  document["contract"] = json_of(report.contract);
  document["drift"] = json_of(report.drift);
  document["critical_drift"] = json_of(report.critical_drift);
  document["notes"] = json_of(report.notes);
  json::array refused;
  for (auto const& problem : report.refused) refused.emplace_back(planner::to_string(problem));
  document["refused"] = std::move(refused);
  if (!report.job_status.empty()) document["job_status"] = report.job_status;
  if (report.backfill) document["backfill"] = json_of(*report.backfill);
  return document;
}

}  // namespace pgbackfill::engine
