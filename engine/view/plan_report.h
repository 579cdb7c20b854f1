// What a run would do, as one value: plan_reader.h collects it, plan_view.h shows it as text, JSON or Markdown.
//
// Pure values, complete: whoever shows them asks nobody. Sizes are bytes; rows are estimates of the server's
// statistics.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/lint/lint_terms.h"
#include "planner/lint/step_duration.h"
#include "planner/model/migration.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::engine {

struct PlannedStatement {
  std::string sql;
  std::vector<planner::TableLock> locks;
  planner::lint::Work work = planner::lint::Work::kNone;
  planner::DurationClass duration = planner::DurationClass::kMilliseconds;
  bool is_alone = false;     // runs outside a transaction
  bool is_measured = false;  // the work: the server did it to an empty copy
};

struct OtherRelation {
  std::string relation;  // quoted
  std::string words;     // what it has to do with the step: "refers to it by foreign key f"
};

// A step as it would be run, by what the catalog says now.
struct PlannedStep {
  std::string phase;
  std::size_t number = 0;  // from 1, within its phase
  std::string text;        // in one line
  std::string title;
  bool is_sql = false;  // in the file's own words; what it does is read from its text (planner/lint), not from a recipe
  std::string sql;      // then
  std::optional<std::string> down;
  bool is_recorded = false;  // ran already
  std::int64_t table_bytes = 0;
  planner::Risk risk = planner::Risk::kLow;
  std::string reason;                                                       // of the risk
  std::vector<PlannedStatement> statements;                                 // those that are still to be run
  planner::DurationClass duration = planner::DurationClass::kMilliseconds;  // of all of them
  std::vector<OtherRelation> others;
  std::string safe_form;  // how it is done instead of by one plain statement, and why; empty: there is no other way
  std::string advice;     // of `sql`: what to do instead
  std::vector<PlannedStatement> undo;
  std::string way_back;     // what undo will do, where its statements are not known yet
  std::string no_way_back;  // why there is none
  std::string destroys;     // why `complete` asks for somebody's agreement first; of contract steps
};

struct PlannedLeaf {
  std::string relation;  // quoted
  std::string key;
  std::int64_t rows = 0;
  std::size_t ranges = 0;
};

struct PlannedSample {
  std::int64_t rows = 0;
  double milliseconds = 0;
  std::int64_t wal_bytes = 0;
  std::int64_t full_page_images = 0;
  // Of a temporary copy of the rows with the columns that the file's own steps will add: that writes no WAL.
  bool is_of_copy = false;
  double bytes_more_per_row = 0;
};

struct PlannedGrowth {
  double bytes_without_vacuum = 0;
  double bytes_with_budget = 0;
  double budget = 0;  // throttle.bloat
};

struct PlannedBackfill {
  std::string table;  // quoted
  planner::WorkKind kind = planner::WorkKind::kUpdate;
  std::string title;  // "set display_name"
  planner::Risk risk = planner::Risk::kLow;
  std::string reason;    // of the risk
  std::string way_back;  // of what it writes
  std::int64_t rows = 0;
  bool rows_guessed = false;  // of some leaf at least
  std::int64_t heap_bytes = 0;
  bool is_partitioned = false;
  std::vector<PlannedLeaf> leaves;
  std::size_t ranges = 0;
  int workers = 1;
  planner::BatchOptions batch;
  planner::CommitMode commit = planner::CommitMode::kAsync;
  std::string batch_sql;  // empty: there are no rows
  std::vector<std::string> explain;
  std::optional<PlannedSample> sample;
  std::string program;                  // that computes its values, and how it is asked; empty: there is none
  std::vector<std::string> answers;     // of the program that computes values, to the first rows, for --sample
  double seconds = 0;                   // by the sample, else by rule of thumb
  std::optional<double> wal_bytes;      // by the sample, unless it is of a copy; else by rule of thumb
  std::optional<PlannedGrowth> growth;  // of work that replaces rows
};

struct PlanReport {
  std::string migration;
  std::string file;
  std::string job_status;  // empty: no backfill has begun
  std::vector<PlannedStep> expand;
  std::vector<PlannedStep> sync;
  std::optional<PlannedBackfill> backfill;  // none, or not to be looked at before the expand steps ran: a note says so
  std::vector<std::string> hooks;           // each with its boundary, in the order of the file
  std::vector<std::string> told;            // who is told of what, in the order of the file
  std::vector<std::string> from_config;     // what is not in the migration's own file, with its place
  std::vector<std::string> verify;          // checks, in one line each
  std::vector<PlannedStep> contract;
  std::vector<std::string> drift;           // what others changed since the first run
  std::vector<std::string> critical_drift;  // that the work relies on: `run` will refuse, for the reason given
  std::vector<std::string> notes;
  std::vector<planner::Problem> refused;  // steps that the server would refuse as things are, by the file's places
};

}  // namespace pgbackfill::engine
