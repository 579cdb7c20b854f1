// How a step is done without hurting traffic: its statements in order, the lock and the policy of each, and questions
// to the catalog that say which of them are still to be run.
//
// Pure text for one server version and what the catalog said about the table (StepFacts). The catalog is the truth:
// whoever runs a recipe asks it before each statement, so that a repeat goes on from what is really there, whatever
// ended the run before. Nothing is dropped that the step has not made: what it makes is claimed in the state before it
// is there (planner text knows that as `is_claimed`). Locks, rewrites and orders were measured on PostgreSQL 13 to 18.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/check.h"
#include "planner/model/lock_mode.h"
#include "planner/model/risk.h"
#include "planner/model/schema_step.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner {

enum class Way {
  kBrief,    // a transaction of milliseconds: every lock under the ladder, bounded by a statement_timeout
  kPatient,  // a transaction whose locks are got under the ladder, and which then takes as long as the table is large
  kConcurrent,  // outside a transaction and without lock_timeout: being cut short would leave an invalid index
};

enum class Effort { kCatalog, kSample, kScan, kBuild };

struct Action {
  std::string sql;
  Way way = Way::kBrief;
  Effort effort = Effort::kCatalog;
  // In the order to take them: what others refer to before what refers to it. The last is the table itself.
  std::vector<TableLock> locks;
  std::string needed;  // SQL condition: it has still to be run
  std::string busy;    // SQL text: who is at it already; NULL: nobody. Empty: nothing to ask
  // Of kPatient: it is cut off after that long, and tried again later. 0: it takes as long as it takes.
  std::chrono::milliseconds bound{0};
};

// What rows are asked before the first of several steps is undone.
struct RowQuestion {
  std::string what;  // which comes back; the check's answer reads on from it
  Check check;
};

struct Recipe {
  std::string title;     // "add_column display_name to public.users"
  std::string relation;  // the table, quoted; empty: none
  std::string done;      // SQL condition: the step holds
  std::string refusal;   // SQL text: why what is there forbids it; NULL: nothing does
  // SQL text, asked before the first step of the file: why the step will be refused whatever those before it do; NULL:
  // nothing is known. Empty: nothing to ask.
  std::string early_refusal;
  std::string before;  // SQL text: what undoing has to know, asked when the step is claimed
  // Makes nothing that could be left behind, so that it is run without a claim, each time: before the first of
  // `actions`, and after `done` holds. The step is not recorded before `finish` has run.
  std::vector<Action> prepare;
  std::vector<Action> finish;
  std::vector<Action> actions;
  std::vector<Action> undo;         // and the clearing away after a failure
  std::vector<Action> undo_finish;  // as `finish`, before the step counts as undone
  std::string undo_refusal;  // SQL text: why what is there forbids undo; NULL: nothing does. Empty: nothing to ask
  std::vector<RowQuestion> undo_questions;  // of rows; they may read the whole table
  std::string way_back;     // what undo will do, where its statements are known only once the step has begun
  std::string proof;        // SQL query for one text: which object holds it; other text or none: not the same any more
  std::string no_way_back;  // why undo cannot bring back what was; empty: it does
  Risk risk = Risk::kLow;
  std::string reason;  // of the risk
};

// What the catalog says, asked by facts_sql().
struct StepFacts {
  int server_version = 0;            // 150002
  TableName table;                   // with its schema
  char kind = ' ';                   // pg_class.relkind; blank: no such table
  std::vector<std::string> parents;  // tables that foreign keys concerned refer to, quoted
  std::vector<TableName> leaves;     // partitions that hold rows, or all tables below, where it goes through them
  std::string named;                 // a constraint that is there under a name of somebody else's choice
  std::string collation;             // of a column whose type changes, quoted; empty: the one of all types
  std::string spelling;              // the definition as the server spells it, by spelling_statements()
  bool is_mutable = false;           // its expressions may depend on settings: the server takes them for no index
  bool is_claimed = false;           // the step has begun: what it makes is ours
  std::string before;                // the answer to Recipe::before then
};

// One row: schema, table, kind, parents (text[]), named, and for most tables leaves (text[]: schema and name in turn)
// and collation. Empty for a step that needs no facts.
std::string facts_sql(SchemaStep const& step);

// Statements for one transaction that is rolled back: the definition is tried on an empty table of the same columns.
// The last one gives a row: the spelling, and a reason to refuse the step or NULL. Empty when there is nothing to try.
std::vector<std::string> spelling_statements(SchemaStep const& step, StepFacts const& facts);

// The same for a sync, as it would be after these steps, as far as they add columns.
std::vector<std::string> spelling_statements_after(std::vector<SchemaStep> const& steps, SchemaStep const& sync,
                                                   StepFacts const& facts);
// What is wrong with a sync whose spelling this is; empty: nothing.
std::string spelled_problem(SchemaStep const& sync, std::string const& spelling);

// RunSql has no recipe: is_typed() tells.
Recipe recipe_for(SchemaStep const& step, StepFacts const& facts);
bool is_typed(SchemaStep const& step);
// Whether its recipe takes for done only what the step itself has done: what is gone, or has the new name, may as well
// be a misspelt name, or somebody else's table.
bool believes_claims_alone(SchemaStep const& step);

// One row of booleans and one text: done, refusal, then `needed` of each action.
std::string inspection_sql(Recipe const& recipe);
std::string needs_sql(std::vector<Action> const& actions);

// One number: what a scan of the table, with its partitions, reads.
std::string table_bytes_sql(StepFacts const& facts);

}  // namespace pgbackfill::planner
