#include "engine/view/plan_verdict.h"

#include <fmt/format.h>

#include <algorithm>

#include "planner/steps/step_order.h"

namespace pgbackfill::engine {

namespace {

using planner::Risk;

bool stops_others(PlannedStatement const& statement, planner::TableLock const& lock) {
  bool const is_long =
      statement.duration != planner::DurationClass::kMilliseconds || statement.work == planner::lint::Work::kRewrite;
  return is_long && lock.mode >= planner::LockMode::kShare;
}

void add_blocking(PlannedStep const& step, std::vector<std::string>& blocking) {
  for (auto const& statement : step.statements) {
    for (auto const& lock : statement.locks) {
      if (!stops_others(statement, lock)) continue;
      blocking.push_back(fmt::format("{}: {} on {}, which stops {}, for {}", step_place(step),
                                     planner::lock_words(lock.mode), lock.relation, planner::lock_stops(lock.mode),
                                     planner::duration_word(statement.duration)));
    }
    if (statement.work == planner::lint::Work::kAllRows) {
      blocking.push_back(fmt::format("{}: changes rows in one transaction and holds them until its end, for {}",
                                     step_place(step), planner::duration_word(statement.duration)));
    }
  }
}

std::string risk_text(Risk risk) {
  std::string const word(planner::risk_word(risk));
  return risk == Risk::kDestructive ? word : word + " risk";
}

}  // namespace

PlanVerdict verdict_of(PlanReport const& report) {
  PlanVerdict verdict;
  for (auto const* steps : {&report.expand, &report.sync}) {
    for (auto const& step : *steps) {
      if (step.is_recorded) continue;
      verdict.run = std::max(verdict.run, step.risk);
      add_blocking(step, verdict.blocking);
    }
  }
  if (report.backfill) verdict.run = std::max(verdict.run, report.backfill->risk);
  if (!report.contract.empty()) verdict.complete = Risk::kLow;
  for (auto const& step : report.contract) {
    if (step.is_recorded) continue;
    verdict.complete = std::max(*verdict.complete, step.risk);
    add_blocking(step, verdict.blocking);
    if (!step.destroys.empty()) verdict.destroyed.push_back(step_place(step) + ": " + step.destroys);
  }
  return verdict;
}

std::vector<std::string> risky_parts(PlanReport const& report, std::optional<Risk> least) {
  std::vector<std::string> parts;
  if (!least) return parts;
  for (auto const* steps : {&report.expand, &report.sync, &report.contract}) {
    for (auto const& step : *steps) {
      bool const is_approved_apart = !step.destroys.empty() && *least != Risk::kDestructive;
      if (step.is_recorded || step.risk < *least || is_approved_apart) continue;
      parts.push_back(
          fmt::format("{}, {}: {}: {}", report.migration, step_place(step), risk_text(step.risk), step.reason));
    }
  }
  bool const is_open = report.backfill && report.job_status != "complete";
  if (is_open && report.backfill->risk >= *least) {
    parts.push_back(fmt::format("{}, backfill: {}: {}", report.migration, risk_text(report.backfill->risk),
                                report.backfill->reason));
  }
  return parts;
}

std::string verdict_text(PlanVerdict const& verdict) {
  std::string text = "run: " + risk_text(verdict.run);
  if (verdict.complete) text += "; complete: " + risk_text(*verdict.complete);
  return text;
}

std::string step_place(PlannedStep const& step) {
  if (step.phase == planner::kSyncPhase) return step.number == 1 ? "sync" : "end of sync";
  return fmt::format("{} step {}", step.phase, step.number);
}

}  // namespace pgbackfill::engine
