// The SQL that does the work on one leaf: pages, batches, visits to deferred rows.
//
// Pure text. Everything comes as common table expressions with fixed names, so that the state store can hang its own
// checkpoint on the same statement: work and checkpoint are one statement of one transaction.
//   pgbackfill_work   one row for each row that was changed; `again` is true where a changed row still satisfies
//                     `where`: such a `where` does not tell done from undone
//   pgbackfill_left   keys (text[]) of rows that were left out because somebody holds them, or that are set aside
//   pgbackfill_settled  ids of deferred keys that need no further visit
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/key.h"
#include "planner/migration.h"
#include "planner/table_facts.h"

namespace pgbackfill::planner {

enum class BatchMode {
  kPlain,       // the keyset range as it is: the fastest shape
  kSkipLocked,  // around rows that somebody holds
  kSetAside,    // change nothing, only list the keys: to defer or quarantine them
};

// What the statements need to know of one leaf. Built once a leaf, shared by all its batches.
struct WorkTarget {
  Backfill backfill;
  Key key;
  std::string relation;  // quoted, qualified name of the leaf
  std::string alias;     // quoted; the name under which user SQL knows the table
  std::uint32_t relation_oid = 0;
  bool is_partition = false;
  bool copy_overrides_identity = false;  // the copy's target has a GENERATED ALWAYS AS IDENTITY column among `columns`
  int server_major = 0;
};

WorkTarget make_work_target(Backfill const& backfill, TableFacts const& table, LeafFacts const& leaf, Key const& key);

// The work is in one of two places.
struct WorkCtes {
  // The work as a statement by itself, which changes rows and returns none; empty when it takes more than that. The
  // server counts its rows as it goes, while a CTE has to keep what it returns to be counted.
  std::string statement;
  // "pgbackfill_work AS (...), pgbackfill_left AS (...)"; empty when `statement` is not.
  std::string text;
  bool has_work = false;
  bool has_left = false;
  bool can_repeat = false;   // paged by block: a row that is `again` could be met once more
  bool knows_again = false;  // `again` is asked of each changed row
};

WorkCtes work_ctes(WorkTarget const& target, Interval const& interval, BatchMode mode);

// What changes the rows, without the checkpoint: to be explained or measured.
std::string work_alone(WorkCtes const& ctes);

// Expects a CTE pgbackfill_due (id, key text[]) to stand before it.
WorkCtes visit_ctes(WorkTarget const& target);

// One row: number of rows on the page, then the texts of the last key; NULLs when fewer than `rows` are left in the
// interval, which then is the page. Not for paging by block, where a page is arithmetic.
std::string look_ahead_sql(WorkTarget const& target, Interval const& interval, std::int64_t rows);

// To be run before look_ahead_sql(), in its transaction and after all else; empty when there is no need.
std::string look_ahead_setting(WorkTarget const& target);

// Last key of the leaf in key order, or no row.
std::string last_key_sql(WorkTarget const& target);

// Counts rows of the interval that still satisfy `where`.
std::string remaining_sql(WorkTarget const& target, Interval const& interval);

// Keys up to `upper` of a block sample, sorted, thinned by the server to about `wanted` bounds.
std::string sample_bounds_sql(WorkTarget const& target, double percent, std::int64_t wanted, KeyValue const& upper);

// The histogram and most common values of the first key column, sorted in key order; only those before `upper`, for
// statistics outlive the rows that they were made from.
std::string statistics_bounds_sql(WorkTarget const& target, LeafFacts const& leaf, KeyValue const& upper);

// Who holds these rows: rows held, pid, application, user, seconds since their transaction began, what they do.
std::string holders_sql(WorkTarget const& target, std::vector<KeyValue> const& keys);

// Who has these tables locked against writers: pid, application, user, seconds since the transaction began, its query,
// the lock.
std::string table_holders_sql(std::vector<std::uint32_t> const& relation_oids);

// A statement to be explained, never run: whether what the file says at `position` fits the catalog.
struct Probe {
  SourcePosition position;
  std::string sql;
};

// For `sql:`, to be explained as JSON: the statement for a batch without rows. Its plan has to change nothing, whatever
// stands around {batch}.
std::optional<Probe> empty_batch_probe(WorkTarget const& target);

// Part by part first, so that an error can be told from its place in the file; then the whole.
std::vector<Probe> probes(WorkTarget const& target);

}  // namespace pgbackfill::planner
