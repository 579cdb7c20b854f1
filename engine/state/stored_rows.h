// What the rows of the state say, each in the order in which the statement of its name in state_store.h reads them; for
// rows_as() and its like.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/work/batch.h"

namespace pgbackfill::engine::state {

// read_version()
struct LayoutVersion {
  static constexpr char kFrom[] = "pgbackfill.meta";

  int version = 0;
  int revision = 0;
};

// strange_state()
struct StrangeObject {
  std::string sentence;
  std::string owner;   // that `--trust-owner` may name; empty where nobody is to be trusted
  std::string remedy;  // SQL; empty where there is none that fits
};

// find_migration()
struct StoredSource {
  static constexpr char kFrom[] = "pgbackfill.migrations";

  std::string file;
  std::string source;
};

// trust_in_source()
struct SourceTrust {
  std::optional<std::string> stored_by;
  std::optional<bool> is_as_good;  // as the role that asks
  std::optional<bool> is_signed;
  std::optional<std::string> forger;
};

// other_migrations()
struct OtherMigration {
  static constexpr char kFrom[] = "pgbackfill.migrations";

  std::string name;
  std::string file;
  std::string source;
  std::string job_status;  // empty: it has no job
  std::vector<std::string> recorded;
  std::vector<std::string> indexes;
  std::vector<std::string> key;
};

// list_facts()
struct StoredFact {
  static constexpr char kFrom[] = "pgbackfill.facts";

  std::string relation;
  std::string kind;
  std::string name;
  std::string value;
  bool is_own = false;
  std::string at;
};

// job_keys()
struct StoredKey {
  static constexpr char kFrom[] = "pgbackfill.leaves";

  std::optional<std::string> index;
  std::vector<std::string> columns;
};

// The checkpoint of a batch.
struct CountedBatch {
  std::int64_t rows_changed = 0;
  std::int64_t rows_left = 0;
};

// The last statement of a visit to deferred keys.
struct CountedVisit {
  std::int64_t rows_changed = 0;
  std::int64_t settled = 0;
  std::int64_t left = 0;
};

// find_job()
struct JobRow {
  static constexpr char kFrom[] = "pgbackfill.jobs";

  std::int64_t id = 0;
  std::string definition;
  std::string table_schema;
  std::string table_name;
  std::string status;
  std::string reason;
  int pass = 0;
  bool sweeps = false;
  std::optional<std::string> workers;
  std::optional<std::string> batch_target;
  std::optional<std::string> settings;
  bool pause_has_end = false;
  std::optional<std::uint32_t> relation;
  bool is_state_restored = false;
};

// find_lost_label()
struct LostLabelRow {
  static constexpr char kFrom[] = "pgbackfill.leaves";

  std::string table_schema;
  std::string table_name;
  std::string column;
  std::string type;
  std::string label;
};

// job_lease_owners()
struct LeaseOwnerRow {
  static constexpr char kFrom[] = "pgbackfill.ranges";

  std::optional<std::string> process;
  std::optional<std::string> host;
  std::optional<std::int64_t> pid;
  std::optional<std::string> machine;
  std::int64_t ranges = 0;
  std::optional<std::chrono::milliseconds> left;
  std::optional<bool> is_heard_of;
};

// job_growth()
struct JobCostRow {
  static constexpr char kFrom[] = "pgbackfill.jobs";

  std::int64_t bytes_at_start = 0;
  std::int64_t bytes = 0;
  std::optional<std::int64_t> rows_estimated;
  std::optional<std::int64_t> rows_changed;
  std::optional<std::chrono::milliseconds> estimated_time;
  std::optional<std::int64_t> estimated_bytes;
  std::optional<std::int64_t> estimated_wal_bytes;
  std::optional<std::chrono::milliseconds> time;
  std::optional<std::int64_t> wal_bytes;
  std::optional<bool> is_over;
};

// leaf_growth()
struct LeafGrowth {
  static constexpr char kFrom[] = "pgbackfill.leaves";

  int leaf = 0;
  std::uint64_t bytes = 0;
  std::int64_t rows_changed = 0;
  std::int64_t rows_dead = 0;
  std::int64_t vacuums = 0;
  bool is_locked = false;
  bool may_vacuum = false;
  std::uint64_t next_xid = 0;
  std::string role;  // that asks, quoted
  std::int64_t rows_updated = 0;
};

// changed_leaves()
struct ChangedLeafRow {
  static constexpr char kFrom[] = "pgbackfill.leaves";

  int number = 0;
  std::string schema;
  std::string name;
  std::optional<std::string> schema_now;
  std::optional<std::string> name_now;
  std::optional<bool> is_part;
};

// job_runners()
struct RunnerRow {
  static constexpr char kFrom[] = "pgbackfill.runners";

  std::optional<std::string> host;
  std::int64_t pid = 0;
  std::chrono::milliseconds age{0};
  std::optional<std::string> mode;
  std::optional<bool> may_start;
  double wal_per_second = 0;
  std::optional<double> wal_limit;
  std::int64_t workers = 0;
  std::optional<double> workers_limit;
  std::optional<std::string> causes;  // JSON
};

// runners_of_machine()
struct RunnerOfMachine {
  static constexpr char kFrom[] = "pgbackfill.runners";

  std::string process;
  std::int64_t pid = 0;
};

// step_done()
struct DoneStep {
  static constexpr char kFrom[] = "pgbackfill.steps";

  std::string sql;
  std::optional<std::string> proof;
};

// recorded_steps()
struct RecordedStep {
  static constexpr char kFrom[] = "pgbackfill.steps";

  std::string phase;
  int position = 0;
  std::string sql;
};

// find_claim()
struct Claim {
  static constexpr char kFrom[] = "pgbackfill.claims";

  std::string step;
  std::string before;
  std::optional<std::string> stored_by;
  std::optional<bool> may_run;
};

// find_approval()
struct StoredApproval {
  static constexpr char kFrom[] = "pgbackfill.approvals";

  std::optional<bool> is_same_plan;
  std::string plan_hash;
  std::string plan;
  std::string reason;
  std::string role;
  std::string user;
  std::string host;
  std::string at;
};

// approve()
struct MadeApproval {
  static constexpr char kFrom[] = "pgbackfill.approvals";

  std::string plan_hash;
  std::string role;
  std::string user;
  std::string host;
  std::string at;
};

// begin_comparison(), its last statement
struct KeptComparison {
  static constexpr char kFrom[] = "pgbackfill.comparisons";

  std::uint32_t relation = 0;
  planner::Bound cursor;
  planner::Bound upper;
  bool is_done = false;
  std::int64_t rows_compared = 0;
  std::int64_t rows_differing = 0;
  std::string differing;                    // JSON
  std::optional<std::string> begun_before;  // when, if not just now
};

// read_turn()
struct TakenTurn {
  static constexpr char kFrom[] = "pgbackfill.hook_turns";

  std::string owner;
  std::int64_t beat = 0;
  std::string host;
  std::string machine;
  std::int64_t pid = 0;
};

// latest_status_change()
struct LatestChange {
  static constexpr char kFrom[] = "pgbackfill.events";

  std::string kind;
  std::string at;
  std::string user;
  std::string host;
  std::string role;
  std::string id;
  std::optional<std::int64_t> pid;

  std::string who() const { return user.empty() ? role : user + "@" + host; }
};

}  // namespace pgbackfill::engine::state
