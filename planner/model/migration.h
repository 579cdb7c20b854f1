// A migration as its file says it, checked for everything that can be checked without a server.
//
// Pure values. Names of columns and tables are kept as written in the file (unquoted text); they are data and are
// quoted only when SQL is made of them. Texts that the file declares to be SQL (`sql`, `set` values, `where`) are
// kept byte for byte.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "planner/model/assignment.h"
#include "planner/model/check.h"
#include "planner/model/compute.h"
#include "planner/model/delivery.h"
#include "planner/model/hook.h"
#include "planner/model/schema_step.h"
#include "planner/model/source_position.h"
#include "planner/model/table_name.h"
#include "planner/model/writers.h"

namespace pgbackfill::planner {

// kAsk: a program is told of the rows, and nothing is written.
enum class WorkKind { kUpdate, kSql, kCopy, kDelete, kAsk };
enum class CommitMode { kAsync, kSync };
enum class TriggerMode { kFire, kSkip };
// A row of a copy that collides with another one, not by the key of the table: an error, or left out and counted.
enum class ConflictMode { kError, kCount };

struct BatchOptions {
  std::chrono::milliseconds target{100};
  std::int64_t min_rows = 50;
  std::int64_t max_rows = 50'000;
};

// Of rows with the same values one is kept, and the others are deleted. NULL is like NULL, as in GROUP BY.
struct Dedupe {
  SourcePosition position;
  std::vector<std::string> by;  // columns
  std::string keep;             // SQL, what stands behind ORDER BY: the first row is kept, and of equal ones by the key
  SourcePosition keep_position;
};

// Rows that `where` picks again are looked for after the last pass too, until `complete`.
struct Follow {
  SourcePosition position;
  std::chrono::milliseconds every{10'000};  // from the end of one look to the next, at least
};
inline constexpr std::chrono::milliseconds kMinFollowInterval{100};
inline constexpr std::chrono::milliseconds kMaxFollowInterval{86'400'000};

struct Backfill {
  SourcePosition position;
  TableName table;
  WorkKind kind = WorkKind::kUpdate;
  std::vector<Assignment> assignments;  // kUpdate: column = expression; kCopy: column of the target = expression
  // kUpdate or kCopy whose values a program computes, or kAsk. The assignments of an update then set each column to
  // itself, so that all that is asked of an update before it begins is asked of this one; those of a copy have NULL for
  // what the program gives.
  std::optional<Compute> compute;
  std::string sql;  // kSql: contains {batch} or {batch:alias}
  SourcePosition sql_position;
  TableName copy_to;                    // kCopy
  std::vector<std::string> mirror_key;  // kCopy under `sync: {mirror: ...}`: columns of the target; else empty
  std::string where;                    // SQL condition, empty if none; required for kDelete
  SourcePosition where_position;
  // kUpdate: `where` says in SQL that some value would differ, as near as it can be said without the catalog. What is
  // asked is that of planner/work/work_parts.h, where_of().
  bool where_is_changed = false;
  std::optional<Dedupe> dedupe;      // kDelete: `where` is of the rows that are looked at, and may be "true"
  std::optional<TableName> move_to;  // kDelete: where the rows go
  SourcePosition move_to_position;
  // SQL of a relation with the columns of the key: the rows that it lists alone are worked. Empty: all.
  std::string only_keys;
  int workers = 2;
  BatchOptions batch;
  CommitMode commit = CommitMode::kAsync;
  TriggerMode triggers = TriggerMode::kFire;
  std::vector<std::string> skipped_foreign_keys;  // kSkip: constraints that are agreed not to be kept either
  ConflictMode on_conflict = ConflictMode::kError;
  SourcePosition on_conflict_position;
  // kSql: how many rows a batch may change for each of its keys.
  std::int64_t rows_per_key = 10;
  std::int64_t quarantine_budget = 0;  // rows that may be set aside; 0 stops at the first bad one
  bool keeps_history = true;           // of its course, in the state
  std::optional<Follow> follow;
};

// One setting of `throttle:`, checked by planner/file/throttle_settings.h and kept as text, as live settings are.
struct ThrottleSetting {
  SourcePosition position;
  std::string name;
  std::string text;
};

struct ThrottleOptions {
  SourcePosition position;
  std::vector<ThrottleSetting> settings;
};

// A signal of the operator's own, of `probes:`. Exactly one of `sql` and `url` is not empty.
struct ProbeOptions {
  SourcePosition position;
  std::string name;  // unique in its file
  std::string sql;   // yields one number
  SourcePosition sql_position;
  std::string url;
  std::string query;          // a Prometheus expression for `url`; empty: `url` itself has to answer 200
  std::string ca_file;        // whom `url` is trusted by; empty: by whom the system trusts
  std::optional<double> max;  // above it the probe stops the work; none only for a url without a query
  std::chrono::milliseconds interval{5'000};
  std::chrono::milliseconds timeout{1'000};
};

// A line of `windows:` or `blackout:` as written; throttle/windows.h knows its grammar.
struct WindowText {
  SourcePosition position;
  std::string text;
};

struct Migration {
  std::string file;
  std::string name;
  std::optional<TableName> table;
  std::vector<SchemaStep> expand;
  std::optional<Sync> sync;
  std::optional<Backfill> backfill;
  std::vector<Check> verify;
  std::vector<WriterName> writers_gone;
  bool subscribers_ready = false;  // of logical replication: they have what the steps make
  std::vector<SchemaStep> contract;
  std::vector<Hook> hooks;  // in the order of the file
  std::vector<OccasionRule> on;
  ThrottleOptions throttle;
  std::vector<ProbeOptions> probes;
  std::vector<WindowText> windows;
  std::vector<WindowText> blackout;
};

inline constexpr int kMaxWorkers = 256;
inline constexpr std::int64_t kMaxBatchRows = 1'000'000;
inline constexpr std::chrono::milliseconds kMinBatchTarget{5};
inline constexpr std::chrono::milliseconds kMaxBatchTarget{60'000};
inline constexpr std::size_t kMaxProbes = 32;

}  // namespace pgbackfill::planner
