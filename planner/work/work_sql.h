// The SQL that does the work on one leaf: pages, batches, visits to deferred rows.
//
// Pure text. The work is a statement of its own, because it is the file's SQL and runs under the file's settings; the
// checkpoint is the next one of the same transaction, ours, and under ours. What the second has to know of the first is
// left in settings of the transaction:
//   pgbackfill.changed  how many rows were changed
//   pgbackfill.again    how many of them still satisfy `where` and would get another value: such a `where` does not
//   tell
//                       done from undone
//   pgbackfill.moved    JSON, an array of keys, as text, of rows that have left the batch by being changed
//   pgbackfill.left     JSON, an array of keys, each an array of texts: rows that were left out because somebody holds
//                       them, or that are set aside
//   pgbackfill.settled  JSON, an array of ids: deferred keys that need no further visit
// So all that is ours in the work names its schema, operators too: the search_path is the file's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "planner/model/assigned_value.h"
#include "planner/model/key.h"
#include "planner/model/migration.h"
#include "planner/model/table_facts.h"

namespace pgbackfill::planner {

enum class BatchMode {
  kPlain,       // the keyset range as it is: the fastest shape
  kSkipLocked,  // around rows that somebody holds
  kSetAside,    // change nothing, only list the keys: to defer or quarantine them
};

// How a value stands in the JSON that a program of the user reads and writes; by its type, see docs/compute.md.
enum class ValueForm {
  kJson,    // as the server turns it into JSON: other types are their texts
  kPlain,   // its text is JSON: small integers, booleans
  kText,    // a string, for texts, and for numbers that JSON readers would round
  kTexts,   // an array of such
  kBase64,  // bytea
};

// A column by whose values rows of the table are told alike.
struct GroupColumn {
  std::string name;
  std::string equals;  // OPERATOR(schema.=)
  bool not_null = false;
};

// What the server says of the work as such, whichever leaf it is done on.
struct WorkTraits {
  bool copy_overrides_identity = false;  // the copy's target has a GENERATED ALWAYS AS IDENTITY column among `columns`
  // More is read than the row itself: other tables, other rows, or what a function that is not IMMUTABLE may read.
  bool reads_elsewhere = false;
  // Of an update: what the expressions give for a row is the same again while the row is not changed by others, so that
  // "a repeat would change it" can be asked of a row.
  bool is_repeatable = false;
  // Something other than the assignments may change the key of a row: a trigger, or the statement of the file.
  bool may_move_keys = false;
  // A partition is worked, or also read, by statements on its parent: as rights and triggers of the parent ask for it.
  bool works_through_parent = false;
  bool reads_through_parent = false;
  // Columns of the copy by which a row that is there already is known; empty: there is none.
  std::vector<std::string> copy_key{};
  std::vector<std::string> copy_key_sources{};    // the columns that they are copied from
  std::vector<std::string> copy_key_types{};      // SQL
  std::vector<std::string> copy_key_operators{};  // schema.operator by which the copy's index tells equal ones
  std::vector<AssignedType> assigned_types{};     // of an update: by assignment
  std::vector<ValueForm> input_forms{};           // of `compute`: by entry of `read`
  std::vector<ValueForm> output_forms{};          // by column of `write`
  std::vector<GroupColumn> group{};               // of `dedupe`: by column of `by`
  std::vector<std::string> moved_columns{};       // of `move_to`: those of the table
};

// What the statements need to know of one leaf. Built once a leaf, shared by all its batches.
struct WorkTarget {
  Backfill backfill;
  Key key;
  std::string relation;             // quoted, qualified name of the leaf
  std::string alias;                // quoted; the name under which user SQL knows the table
  std::string parent;               // of a partition: the table of the file, quoted; else empty
  std::string partition_condition;  // see LeafFacts
  std::uint32_t relation_oid = 0;
  bool is_partition = false;
  bool stands_alone = false;  // `sql:` that changes rows in its WITH, which cannot be a part of a longer statement
  WorkTraits traits;
  int server_major = 0;
};

WorkTarget make_work_target(Backfill const& backfill, TableFacts const& table, LeafFacts const& leaf, Key const& key,
                            WorkTraits const& traits = {});

// The work of one batch, to be sent in this order.
struct BatchWork {
  std::string prepare;  // hands over what the other statements read, under our settings; empty: there is nothing
  // Locks the rows, where the work itself would read other tables with a snapshot from before it waited for a row, or
  // is to leave out rows that somebody holds; else empty. A statement has one snapshot: only the next one sees what was
  // committed while this one waited.
  std::string lock;
  // Locks the rows that stay for the sake of which those of the batch may go; else empty.
  std::string keep;
  std::string work;
  bool has_work = false;     // pgbackfill.changed and pgbackfill.again are set
  bool has_left = false;     // pgbackfill.left is set
  bool can_repeat = false;   // paged by block: a row that is `again` could be met once more
  bool knows_again = false;  // `again` is asked of each changed row
  bool knows_moved = false;  // pgbackfill.moved is set
  bool may_fan_out = false;  // more rows than the batch has keys may be changed
};

// `is_repeat`: in a pass after the first, which leaves alone what would get the value that it has.
BatchWork batch_work(WorkTarget const& target, Interval const& interval, BatchMode mode, bool is_repeat = false);

// What changes the rows, without its counts: to be shown, explained or measured.
std::string plain_work(WorkTarget const& target, Interval const& interval);
// Puts the rows of the interval into another table, for the work to be tried on them; `columns` are names.
std::string copied_rows_sql(WorkTarget const& target, Interval const& interval, std::string const& into,
                            std::vector<std::string> const& columns);

// The same for deferred keys, which the setting pgbackfill.due lists as JSON: objects with id and key.
BatchWork visit_work(WorkTarget const& target);

// One row: number of rows on the page, then the texts of the last key; NULLs when fewer than `rows` are left in the
// interval, which then is the page. Not for paging by block, where a page is arithmetic.
std::string look_ahead_sql(WorkTarget const& target, Interval const& interval, std::int64_t rows);

// To be run before look_ahead_sql(), in its transaction and after all else; empty when there is no need.
std::string look_ahead_setting(WorkTarget const& target);

// Of a job of some keys: how many of them are in no row of the table, and the first of these; no row: none.
std::string missing_keys_sql(WorkTarget const& target);

// Last key of the leaf in key order, or no row.
std::string last_key_sql(WorkTarget const& target);

// Lists the same rows as remaining_sql() counts, by their keys, in pgbackfill.left.
std::string undone_keys_sql(WorkTarget const& target, Interval const& interval);

// Counts rows of the interval that are still to be done: that satisfy `where`, and would get another value where that
// can be asked.
std::string remaining_sql(WorkTarget const& target, Interval const& interval);

// The same where the values are not asked for: some may fail.
std::string remaining_by_where_sql(WorkTarget const& target, Interval const& interval);

// Whether a table that inherits from this one has a row that satisfies `where`.
std::string in_children_sql(WorkTarget const& target);

// Counts rows of the interval whose key is not in the copy.
std::string uncopied_sql(WorkTarget const& target, Interval const& interval);
// Whether the copy has a row whose key no row of the table (`target` is it or any of its partitions) has.
std::string in_copy_alone_sql(WorkTarget const& target);

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

// Of `sql:`, with this in the place of {batch}: to be read, not to be run.
std::string statement_with(WorkTarget const& target, std::string const& condition);

// Part by part first, so that an error can be told from its place in the file; then the whole.
std::vector<Probe> probes(WorkTarget const& target);

}  // namespace pgbackfill::planner
