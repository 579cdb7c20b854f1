// The SQL around a program of the user that computes values: what it is given of the rows of a batch, and how its
// answers are written.
//
// Pure text. Rows are read in one transaction and written in another, with none open while the program computes. What
// is written is only what still has the values that were handed over; all else of the batch is left, and computed
// again. See docs/compute.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/key.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::planner {

// A row that was handed over, and its answer.
struct ComputedRow {
  std::string_view key;   // JSON array of texts
  std::string_view seen;  // what it was when it was read: nothing in it that JSON would have to escape
  bool skips = false;     // it stays as it is
  // JSON, by column of `write`; absent: the column keeps its value.
  std::vector<std::optional<std::string_view>> values;
};

// The texts belong to whoever made it.
struct Computed {
  std::vector<ComputedRow> rows;
  bool has_gaps = false;   // some answer sets some of the columns only
  bool has_skips = false;  // some row stays as it is
};

// Columns of the rows that it gives: the key's texts, one for each column of the key; what the program is given, by
// entry of `read`, each as its ValueForm says; a digest of what must not change. Rows come in key order, up to `bytes`
// of them and at least one; where there are more, the first of those follows without its values and with no digest.
// `is_passed_by` is a condition on rows that nobody asks for again.
std::string compute_read_sql(WorkTarget const& target, Interval const& interval, std::int64_t bytes,
                             std::string const& is_passed_by);
// The same for people, and where our schema may not be there: without digests.
std::string compute_shown_sql(WorkTarget const& target, Interval const& interval);
// As the first, for the deferred keys that the setting pgbackfill.due lists.
std::string compute_read_due_sql(WorkTarget const& target, std::int64_t bytes);

// The work of the batch, once its values are there. Rows that somebody holds, that have changed or that came since are
// left.
BatchWork computed_work(WorkTarget const& target, Interval const& interval, Computed const& computed,
                        std::string const& is_passed_by, BatchMode mode);
// The same for deferred keys.
BatchWork computed_visit(WorkTarget const& target, Computed const& computed);

// Lists up to `rows` rows by chance, of about `percent` of the blocks of the leaf, in the setting pgbackfill.due: for
// compute_read_due_sql(), in the same transaction.
std::string compute_sample_sql(WorkTarget const& target, std::int64_t rows, double percent);

// Answers that are compared with the rows and not written: what a statement on the leaf joins them by.
struct AnswersSql {
  std::string prepare;  // hands them over; ours, in the same transaction and before it
  std::string with;     // the query of WITH that has them
  std::string from;     // its name
  // The row has an answer that does not leave it as it is, and still has the values that were handed over.
  std::string condition;
  std::vector<std::string> values;  // by column of `write`: what it has to be
};
AnswersSql answers_sql(WorkTarget const& target, Computed const& computed);

// Statements to be planned by the server, never run: whether what `read` says fits the catalog.
std::vector<Probe> compute_probes(WorkTarget const& target);

// One row with the OID of the type under each entry of `read` and then each column of `write`, domains resolved, as
// text.
std::string compute_types_sql(WorkTarget const& target);
ValueForm value_form_of(std::string const& type_oid);

}  // namespace pgbackfill::planner
