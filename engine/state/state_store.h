// The tables in schema pgbackfill: every statement that touches them is a text made here.
//
// Made in state_*.cpp, a file a subject: state_batch.cpp, state_job.cpp, state_step.cpp and so on.
//
// Pure text; sessions and commands send it. The layout is versioned: upgrades are a list of scripts, each of which
// brings the schema from one version to the next in one transaction.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/base/job.h"
#include "engine/base/result.h"
#include "engine/base/runner.h"
#include "engine/state/stored_rows.h"
#include "planner/checks/agreement.h"
#include "planner/checks/drift.h"
#include "planner/keys/passes.h"
#include "planner/model/delivery.h"
#include "planner/model/ranges.h"
#include "planner/work/batch.h"
#include "planner/work/work_sql.h"
#include "throttle/table_fill.h"

namespace pgbackfill::engine {

// The layout of schema pgbackfill. A program refuses a newer version; a newer revision of the same version only adds,
// and programs that do not know it go on.
inline constexpr int kStateVersion = 9;
inline constexpr int kStateRevision = 6;
// Commands that look, pause, resume, cancel and set go by older layouts too, from this one on.
inline constexpr int kOldestReadableVersion = 8;

// Whoever changes a job says so here, with its id; who works on it listens.
inline constexpr char kControlChannel[] = "pgbackfill_control";

// A process that works on a job; `id` is random per process, so that no two are ever taken for one another.
struct Owner {
  std::string id;
  std::string host;
  std::string machine;  // boot and pid namespace: tells whether `pid` can be looked up here
  int pid = 0;
  std::string user;  // of the operating system
  std::chrono::milliseconds lease_time{30'000};
};

// The name a worker's leases go by.
std::string lease_name(Owner const& owner, int worker);

namespace state {

// One row: whether there is a schema to read the version of.
std::string has_version();
// No row, or: version, revision.
std::string read_version();
// Scripts that bring the schema to kStateVersion and kStateRevision, to be run in order; each is one transaction.
std::vector<std::string> upgrades(int version, int revision = 0);

// The statements that give a role (quoted) what running jobs takes.
std::string grants_to(std::string const& role);
// What in schema pgbackfill somebody could have put code of his own into, or could at any time: objects of a role that
// is neither the current one, nor a superuser, nor among `trusted`; its rights to add triggers, references or objects;
// triggers and rules that are not ours. Rows: a sentence, the role or '', and the SQL that ends it or ''.
std::string strange_state(std::vector<std::string> const& trusted);
// In the transaction that makes or upgrades the layout, before its scripts and after them: what ALTER DEFAULT
// PRIVILEGES gave to others on what is new is taken away.
std::string note_objects();
std::string revoke_default_rights();
// Takes the lock under which the layout is made and changed, until the transaction ends.
std::string lock_layout();
// Sentences about who may have stood in the way of a statement whose wait for a lock timed out: the likeliest first.
std::string who_is_in_the_way();

// Settings of one transaction. Transaction-local by set_config, so that transaction poolers are safe.
struct LocalSettings {
  std::chrono::milliseconds statement_timeout{0};
  std::chrono::milliseconds lock_timeout{0};
  bool asynchronous_commit = false;
  bool skip_triggers = false;
  bool prefer_index = false;  // for statements that visit single keys
  std::string migration;      // whose triggers leave its own batches alone
  int server_version = 0;
};
std::string local_settings(LocalSettings const& settings);

// Raises planner::kFencedState unless the range is as `lease` says and ours; keeps it locked until the commit.
std::string fence(std::int64_t job, planner::Lease const& lease, std::string const& owner);

// Behind the work, in its transaction: reads what the work has told. One row: rows changed, rows left.
std::string checkpoint(std::int64_t job, planner::BatchRequest const& request, planner::BatchWork const& work,
                       std::int64_t quarantine_budget, std::int64_t rows_per_key, std::chrono::milliseconds lease_time);

std::string claim(std::int64_t job, Owner const& owner, int worker);
std::string reread(std::int64_t job, planner::Lease const& lease, std::string const& lease_owner);
std::string release(std::int64_t job, planner::Lease const& lease, std::string const& lease_owner);
// Leases held from this machine: job, owner, pid. For finding processes that are gone.
std::string leases_of_machine(std::int64_t job, Owner const& owner);
std::string release_process(std::int64_t job, std::string const& machine, int pid);

// The largest range that is being worked on: range_id, leaf, cursor, hi, rows left by estimate.
std::string split_candidate(std::int64_t job);
// Cuts the candidate at `middle`, if its cursor is not past that, and gives the far part to `owner`.
std::string split(std::int64_t job, std::int64_t range, planner::Bound const& hi, planner::KeyValue const& middle,
                  planner::Key const& key, Owner const& owner, int worker);

// Says what this process does, forgets those that have been silent for minutes, and lists the others that were heard of
// in the last seconds, as runners_heard() reads them.
std::string tell_runner(std::int64_t job, RunnerTold const& told, Owner const& owner);
RunnersHeard runners_heard(std::vector<std::vector<std::optional<std::string>>> const& rows, std::int64_t job);
std::string forget_runner(Owner const& owner);
// Processes of this machine that told of themselves: process, pid.
std::string runners_of_machine(Owner const& owner);
std::string forget_process(std::string const& process);
// job_id, and its processes that were heard of lately.
std::string count_runners();

std::string control(std::int64_t job, std::string const& owner);
Control control_of(std::vector<std::optional<std::string>> const& row);

// Of a job that is complete and followed, unless its followers were told to end since `ended`: defers the keys in
// pgbackfill.left. One row: how many of them are new.
std::string defer_found(std::int64_t job, int leaf, std::string const& ended);
// Whether contract steps of the migration have begun.
std::string has_contract_begun(std::string const& name);

// Before a visit: takes deferred keys of one leaf, oldest visit first, or only one, and tells the work of them.
std::string choose_deferred(std::int64_t job, int leaf, std::int64_t rows, std::optional<std::int64_t> only);
// Behind a visit. One row: rows changed, keys settled, keys left.
std::string record_visit(std::int64_t job);
// The id of the key that waited longest for a visit; a visit that failed as a whole is marked by itself, so that the
// next one begins with another key.
std::string next_deferred(std::int64_t job, int leaf);
std::string mark_visited(std::int64_t deferred);
std::string leaves_with_deferred(std::int64_t job);
std::string deferred_keys(std::int64_t job, int leaf, std::int64_t rows);
std::string quarantine_deferred(std::int64_t job, std::int64_t deferred, Failure const& failure, std::int64_t budget);

// One value, different for each job of each database.
std::string job_identity(std::int64_t job);
// Of a range that is ours and where we left it; else no row.
std::string renew(std::int64_t job, planner::Lease const& lease, Owner const& owner, std::string const& lease_owner);
// A condition: a row of this key (SQL of a text[]) is set aside. For the middle of a statement of the file's.
std::string is_set_aside(std::int64_t job, int leaf, std::string const& key);
// Rows that a program refuses; raises planner::kBudgetState when that is more than the file allows.
struct RefusedRow {
  std::string key;  // JSON array of texts
  std::string message;
};
std::string set_aside_rows(std::int64_t job, int leaf, std::vector<RefusedRow> const& rows, std::int64_t budget);
// As choose_deferred(), for keys that it chose before: `due` is what it told.
std::string choose_deferred_again(std::int64_t job, int leaf, std::string const& due);

// No lease is longer: what runs out later was written by a clock that has been set back.
inline constexpr std::chrono::milliseconds kLongestLease{3'600'000};

struct NewRange {
  int leaf = 0;
  planner::PlannedRange range;
};
struct NewLeaf {
  int number = 0;
  std::uint32_t oid = 0;
  std::string schema;
  std::string name;
  planner::Key key;
  std::int64_t rows_estimated = 0;
  std::int64_t blocks = 0;
  std::int64_t bytes = 0;
  planner::Bound upper;  // how far the ranges of pass 0 reach
};
struct StoredLeaf : NewLeaf {
  bool is_gone = false;  // it was dropped or detached
};
// What a job is thought to cost when it begins.
struct JobEstimate {
  std::chrono::milliseconds time{0};
  std::optional<std::int64_t> heap_bytes;  // at its end
  std::optional<std::int64_t> wal_bytes;
};
struct NewJob {
  std::string name;
  std::string definition;  // what the file says, in a canonical form
  std::string table_schema;
  std::string table_name;
  std::uint32_t relation = 0;
  int workers = 1;
  std::chrono::milliseconds batch_target{100};
  bool sweeps = false;
  std::vector<NewLeaf> leaves;
  std::vector<NewRange> ranges;
  std::optional<std::int64_t> rows;  // that it is about, where those are not all of the leaves
  std::optional<JobEstimate> estimate;
};
std::vector<std::string> create_job(NewJob const& job, Owner const& owner);
// Of a job that somebody did by hand: complete from the start, without ranges.
std::vector<std::string> stamp_job(NewJob const& job, Owner const& owner);
// id, definition, table_schema, table_name, status, status_reason, pass, sweeps, workers, batch_target_ms, live
// settings, whether its pause has an end, the table's oid, whether the state was restored from a dump since.
std::string find_job(std::string const& name);
// At most one row: a label of an enum where the job stands in its table's key, and that the enum does not have any
// more: table_schema, table_name, column, type, label.
std::string find_lost_label(std::int64_t job);

std::string leaf_insert(std::string const& job, NewLeaf const& leaf);
std::string leaf_update(std::int64_t job, StoredLeaf const& leaf);
std::string list_leaves(std::int64_t job);
StoredLeaf stored_leaf_of(std::vector<std::optional<std::string>> const& row);
// One row: whether the name is that of the relation.
std::string is_still(std::string const& table, std::uint32_t relation);
// Raises planner::kMovedState unless the name is that of the relation, and the relation the table or a partition of it.
// After the work, in its transaction: whoever renames or detaches it has to wait by then.
std::string same_leaf(std::string const& name, std::uint32_t relation, std::uint32_t root);
// Leaves that are not what is stored of them: leaf, its schema and name as stored, schema and name now, whether it is a
// part of the table.
std::string changed_leaves(std::int64_t job, std::uint32_t root);
std::string rename_leaf(std::int64_t job, int leaf, planner::TableName const& name);
// The job goes on without it.
std::string settle_leaf(std::int64_t job, int leaf, std::string const& why, Owner const& owner);
// What was not done of a leaf that was attached again is to be done in this pass; `is_whole`: its ranges say so
// already.
std::vector<std::string> take_leaf_back(std::int64_t job, StoredLeaf const& leaf, int pass, bool is_whole);
// Partitions that the job met and that are no part of the table any more: schema and name.
std::string leaves_gone(std::int64_t job, std::uint32_t root);
// Oids of those that came since it last looked.
std::string new_leaves(std::int64_t job, std::uint32_t root);
// Partitions that the job does not know, or that were attached again.
std::string count_new_leaves(std::int64_t job, std::uint32_t root);
// What the job knows of its table and its leaves from now on; others of its leaves are gone if it is another table.
std::vector<std::string> bind_job(std::int64_t job, planner::TableFacts const& table,
                                  std::vector<StoredLeaf> const& leaves, bool is_other_table);

// Leaves of at least so many bytes at the start: leaf, bytes now, rows changed by the job, dead rows and ended vacuums
// by the statistics, whether somebody holds the lock that a vacuum needs, whether this role may vacuum it, next
// transaction, name of the role, rows ever updated by the statistics.
std::string leaf_growth(std::int64_t job, std::uint64_t least_bytes, int server_version);
// Leaves of at least so many bytes at the start, as leaf_fill_of() reads them: what is known of how full they were.
std::string leaf_fill(std::int64_t job, std::uint64_t least_bytes);
struct LeafFill {
  int leaf = 0;
  std::optional<std::uint64_t> bytes_needed;  // as stored, by whoever looked first
  throttle::TableFill table;
};
LeafFill leaf_fill_of(std::vector<std::optional<std::string>> const& row);
std::string set_bytes_needed(std::int64_t job, int leaf, std::uint64_t bytes);
// One row: bytes of all leaves at the start, bytes now, rows at the start, rows changed; what was thought at the start
// of its time in ms, of the bytes at its end, of its WAL; ms from its start to its end, or until now; bytes of WAL that
// the server wrote in that time; whether it has ended.
std::string job_growth(std::int64_t job);

// status, pass, open ranges, deferred keys; of this pass: rows changed, left, satisfying `where` again.
std::string pass_state(std::int64_t job);
// Of a row of pass_state(); what is not in the database (by_block, sweeps) is left alone.
planner::PassState pass_state_of(std::vector<std::optional<std::string>> const& row);

// What a pass goes over besides what the job knew.
struct NextPass {
  std::vector<NewLeaf> new_leaves;
  std::vector<std::pair<StoredLeaf, bool>> returned;  // whether its ranges are of the whole leaf
  std::vector<StoredLeaf> known;                      // with their new ends
  std::vector<NewRange> ranges;
};
std::vector<std::string> next_pass(std::int64_t job, int pass, NextPass const& next, std::uint32_t root,
                                   Owner const& owner);
std::string complete_job(std::int64_t job, int pass, Owner const& owner);
// Brings a complete job back, for work that it has after all; a row if it was complete.
std::string reopen_job(std::int64_t job, std::string const& why, Owner const& owner);
// Tells those that follow the job to end. `by`: what they will say of it.
std::string end_following(std::string const& name, std::string const& by, Owner const& owner);
// `pause_for`: of a pause that ends by itself, by the database's clock. A row comes back if something was changed.
std::string set_status(std::int64_t job, JobStatus status, std::string const& reason, Owner const& owner,
                       std::optional<std::chrono::milliseconds> pause_for = std::nullopt);
// Resumes the job if its pause is over.
std::string end_pause(std::int64_t job, Owner const& owner);

struct SettingsChange {
  std::optional<int> workers;
  std::optional<std::chrono::milliseconds> batch_target;
  struct Live {
    std::string name;
    std::optional<std::string> text;  // none: takes the live setting away
    std::string otherwise;            // what holds without a live setting, for the event
  };
  std::vector<Live> throttle;
  std::vector<Live> compute;
};
// An event for each setting, with what it was and what it is.
std::string change_settings(std::int64_t job, SettingsChange const& change, Owner const& owner);
// Live settings as control(), find_job() and overviews() give them: name without the prefix, and text.
inline constexpr std::string_view kThrottlePrefix = "throttle.";
inline constexpr std::string_view kComputePrefix = "compute.";
std::map<std::string, std::string> live_settings(std::optional<std::string> const& column,
                                                 std::string_view prefix = kThrottlePrefix);
std::string retry_quarantine(std::int64_t job, Owner const& owner);
// Without a word in the log.
std::string drop_job(std::int64_t job);
std::string forget_job(std::int64_t job, Owner const& owner);

// Of an event: what a step failed with. Later steps end what it says.
inline constexpr char kStepFailed[] = "step failed";
std::string record_event(std::optional<std::int64_t> job, std::string const& migration, std::string const& kind,
                         std::string const& detail, Owner const& owner);

std::string remember_migration(std::string const& name, std::string const& file, std::string const& source);
// Under which settings the SQL of a migration runs: one row, JSON or NULL; no row: it never ran.
std::string session_settings(std::string const& name);
// Those of its first run; later ones change nothing.
std::string record_session_settings(std::string const& name, std::string const& settings);

// file, source
std::string find_migration(std::string const& name);
// The migration of this name, and those of the same file with values of its parameters; the latest ones first.
std::string names_with_params(std::string const& name);
// Whether what the database keeps of a migration may be run in the name of this role. One row: who stored it (NULL:
// nobody knows), whether that is this role or a superuser, whether the record of it holds, a role that may forge it.
std::string trust_in_source(std::string const& name);

// Of all but that one: name, file, source, the status of its job (empty: none), recorded steps as "phase position", the
// indexes by which the job pages, and their columns.
std::string other_migrations(std::string const& name);

// Steps of expand and contract, by position within their phase.
// sql, proof
std::string step_done(std::string const& migration, std::string const& phase, int position);
// phase, position, sql
std::string recorded_steps(std::string const& migration);
// `proof` is an SQL query for one text.
std::string record_step(std::string const& migration, std::string const& phase, int position, std::string const& sql,
                        Owner const& owner, std::string const& proof = {});
// What a step that is recorded took, and waited for whom until it had its locks.
std::string note_step_time(std::string const& migration, std::string const& phase, int position,
                           std::chrono::milliseconds took, std::chrono::milliseconds lock_wait,
                           std::string const& waited_for);
// Forgets its claim as well.
std::string forget_step(std::string const& migration, std::string const& phase, int position, Owner const& owner);
// Says that what the step makes from now on is its own. `before` is an SQL query for one text. Keeps an older claim.
std::string claim_step(std::string const& migration, std::string const& phase, int position, std::string const& step,
                       std::string const& before);
// step, before, and of a `before` that is not empty: who wrote it, and whether this role may run what it says.
// Whether there are claims at all: a state that is not there, or is older than they are, has none.
std::string has_claims();
std::string find_claim(std::string const& migration, std::string const& phase, int position);

// `plan` is the text of planner::contract_plan(). One row: its hash, who approved it (role, user of the operating
// system, host), when.
std::string approve(std::string const& migration, std::string const& plan, std::string const& reason,
                    Owner const& owner);
// Keeps what was measured of a gate, as of `age` ago, for require_gate().
std::string record_gate(std::string const& migration, bool has_backfill, std::vector<std::string> const& reasons,
                        std::chrono::milliseconds age);

// One row if this very hook ran: what it said. `older_form`: how its text was kept before passwords were masked.
std::string hook_done(std::string const& migration, std::string const& boundary, int position, std::string const& hook,
                      std::string const& older_form);
// `detail` goes into the log, `result` is kept: the id of a backup.
std::string record_hook(std::string const& migration, std::string const& boundary, int position,
                        std::string const& hook, std::string const& result, std::string const& detail,
                        Owner const& owner);
std::string forget_hooks(std::string const& migration);
// One text, NULL without a backup.
std::string find_backup(std::string const& migration);

// What `on:` tells of a migration, once by whichever of its processes comes first.
struct NoticeClaim {
  std::string migration;
  std::string command;                                    // run, complete, rollback
  planner::Occasion occasion = planner::Occasion::kDone;  // never a failure, which is of a process alone
  std::string opens_at;                                   // kWindowClosed: when the window opens again
  std::chrono::milliseconds interval{};                   // kHeldBack, kQuarantine: not again before
};
// One row: 'granted', 'told' (somebody else has told it), or 'early' (there is something new, and the interval is not
// over).
std::string claim_notice(NoticeClaim const& claim, Owner const& owner);

// Whose turn it is to run the hooks of a boundary. `beat` grows while its process is alive; that it does not tells
// others that it is not. No clock is compared with another.
struct HookTurn {
  std::string owner;
  std::int64_t beat = 0;
};
// A row comes back if it is `owner`'s turn now: it was nobody's, or still as `silent` was.
std::string take_turn(std::string const& migration, std::string const& boundary, Owner const& owner,
                      std::optional<HookTurn> const& silent);
// owner, beat, host, machine, pid
std::string read_turn(std::string const& migration, std::string const& boundary);
// Affects no row when it is not `owner`'s any more.
std::string keep_turn(std::string const& migration, std::string const& boundary, Owner const& owner);
std::string give_turn_back(std::string const& migration, std::string const& boundary, Owner const& owner);

// The latest approval: whether it is of this plan, its hash, its plan, reason, role, user of the operating system,
// host, when.
std::string find_approval(std::string const& migration, std::string const& plan);

// How far a comparison is, by leaf; `name` is for people.
struct ComparedLeaf {
  std::uint32_t relation = 0;
  std::string name;
  std::string definition;  // of another one nothing is taken over
  planner::AgreementProgress progress;
};
// Takes over what is there of the same definitions, and begins the rest. The last one's rows: relation, cursor, upper
// key, whether it is done, rows compared, rows differing, the first of them as JSON, and when it began, if it was
// there.
std::vector<std::string> begin_comparison(std::string const& migration, int position,
                                          std::vector<ComparedLeaf> const& leaves, Owner const& owner);
planner::AgreementProgress comparison_progress(KeptComparison const& row);
// Affects no row when another process has taken it over.
std::string keep_comparison(std::string const& migration, int position, std::uint32_t relation,
                            planner::AgreementProgress const& progress, std::string const& differing,
                            Owner const& owner);
std::string forget_comparisons(std::string const& migration);

// What tables were made of when the migration ran first, and what its own steps changed since: relation, kind, name,
// definition, whether a step made it, when it was recorded (UTC, to the minute).
std::string list_facts(std::string const& migration);
// Whether steps were begun and not seen to end. No row: the migration never ran.
std::string are_steps_pending(std::string const& migration);
std::string mark_steps_pending(std::string const& migration, bool is_pending);
std::string record_fact(std::string const& migration, planner::SchemaFact const& fact, bool is_own);
std::string record_fact_once(std::string const& migration, planner::SchemaFact const& fact);
std::string forget_fact(std::string const& migration, planner::SchemaFact const& fact);
// All of them: what a rollback leaves is recorded anew.
std::string forget_facts(std::string const& migration);
// key_index, key_columns of the job's leaves.
std::string job_keys(std::string const& migration);

// For people: status, history, log, doctor. Migrations without a job have NULL where it would say something.
std::string list_jobs();
std::string list_names();
// One row each, or the one of that name: name, file; id, table_schema, table_name, status, status_reason, definition,
// pass, workers, batch_target_ms, live settings, rows_estimated of the job; rows done in pass 0, in all passes,
// in this pass, estimated in this pass; rows changed, batches, open ranges and ranges of this pass, deferred,
// quarantined, processes with live leases, created_at, completed_at, ms since the last batch, ms elapsed, expand steps
// done, contract steps done, the file's source, paused until, ms until then, what the latest step failed with.
std::string overviews(std::string const& name);
// host, pid, ranges, ms until the first lease runs out, machine
std::string job_leases(std::string const& name);
// Leases by process: process, host, pid, machine, ranges, ms until the last one runs out, whether the process was heard
// of in the last seconds.
std::string job_lease_owners(std::string const& name);
// Takes the leases of a process away and fences it off: a batch of its that is under way cannot commit. One row: how
// many ranges are free again.
std::string take_leases(std::int64_t job, std::string const& process, std::string const& why, Owner const& owner);
// Of processes that were heard of in the last seconds: host, pid, ms since then, mode, may_start, WAL per second,
// limit, workers, limit, causes: a JSON array of objects with kind, grip, text, lasted_ms.
std::string job_runners(std::string const& name);
// table_schema, table_name, key, sqlstate, message, key_columns
std::string job_quarantine(std::string const& name, std::int64_t limit);
// Processes that said they started and not that they stopped: host, pid, since, os_user.
std::string unended_runs(std::string const& name);
// kind, at, os_user, host, db_user, the number of the event, pid
std::string latest_status_change(std::string const& name);
// name, table_schema, table_name, status, began, completed, ms taken, rows changed, by whom, expand and contract steps,
// the id of its backup
std::string list_history();
// id, at, kind, detail, db_user, os_user, host, pid; the latest ones, oldest first
std::string list_events(std::string const& name, std::int64_t limit);
// Whether this role may write the state; NULL when there is none.
std::string has_state_rights();

std::string status_name(JobStatus status);
JobStatus status_of(std::string const& name);

// What somebody wrote into the state that cannot be there: says in which table and row.
struct BrokenState : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Of a column that cannot be NULL; `where` names table, row and column when it is not what it has to be.
std::int64_t number_of(std::optional<std::string> const& text, std::string const& where);
// Of a job: within what can be set.
int workers_of(std::optional<std::string> const& text);
std::chrono::milliseconds batch_target_of(std::optional<std::string> const& text);
double real_of(std::optional<std::string> const& text, std::string const& where);

// {a,"b c"} as the server prints a text[]; absent for NULL.
planner::Bound parse_text_array(std::optional<std::string> const& text);

}  // namespace state
}  // namespace pgbackfill::engine
