// Whether columns are what their expressions give, all over a table: the SQL that compares one page of it, and how the
// pages follow one another.
//
// Pure text and values. A page is some keys of one leaf, compared by one short statement: no snapshot outlives it, and
// the comparison can go on at its cursor after anything that ended it. An expression is cast to the type of its column,
// with length and precision, as an assignment would have done; else a rounded value would differ from itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "planner/model/assigned_value.h"
#include "planner/model/check.h"
#include "planner/model/table_facts.h"
#include "planner/work/batch.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::planner {

struct ComparedColumn {
  SourcePosition position;
  std::string column;
  std::string expression;  // SQL
  AssignedType type;
  std::string collation;         // of the column, which decides what is equal; empty: none
  bool has_no_equality = false;  // the type, or a part of it: its texts alone are compared
};

// What the statements need to know of one leaf.
struct AgreementTarget {
  WorkTarget work;  // its `where` says which rows are compared
  std::vector<ComparedColumn> columns;
  // Of rows with answers of a program: see planner/work/compute_sql.h, answers_sql(). Else empty.
  std::string with;
  std::string joined;
  std::string join_condition;
};

struct AgreementRefusal {
  Problem problem;
  bool is_missing_name = false;  // an expand step may make it
};

// Paged by the best key that there is, else by blocks.
std::variant<AgreementTarget, AgreementRefusal> make_agreement_target(
    Check const& check, TableFacts const& table, LeafFacts const& leaf,
    std::vector<std::string> const& without_equality = {});

// Rows of column and type: those of the check whose type, or a part of it, has no equality of its own (json, xml,
// point). What has an "=" of another meaning, as box has for areas, counts as having none.
std::string without_equality_sql(AgreesCheck const& check);

// Statements to be explained, never run; part by part, so that an error can be told from its place in the file.
std::vector<Probe> agreement_probes(AgreementTarget const& target);

// The work that fixes the rows that differ, and changes no other; as large and fast as `like`, if there is one.
Backfill repair_of(AgreementTarget const& target, std::optional<Backfill> const& like);

// To be explained: the rows that the `where` of a check picks.
std::string picked_sql(AgreesCheck const& check);

// What is compared, in a form that changes only when that does.
std::string agreement_definition(AgreesCheck const& check);

// One row: rows compared, and how many of them differ.
std::string compare_sql(AgreementTarget const& target, Interval const& interval);

// Up to `most` rows that differ, in key order: the texts of the key, then of each column what it is and what it would
// have to be, both shortened.
std::string differing_sql(AgreementTarget const& target, Interval const& interval, std::size_t most);

inline constexpr std::size_t kMostDifferingShown = 10;

struct DifferingValue {
  std::string column;
  std::optional<std::string> found;
  std::optional<std::string> expected;
};
struct DifferingRow {
  std::string relation;  // quoted
  KeyValue key;
  std::vector<DifferingValue> values;  // those that differ
};

// From a row of differing_sql().
DifferingRow differing_row(AgreementTarget const& target, std::vector<std::optional<std::string>> const& row);

// row 5 of "public"."users": display is NULL and should be 'NAME 5'
std::string to_string(DifferingRow const& row);

// How far a leaf is compared.
struct AgreementProgress {
  Bound cursor;  // compared up to here
  Bound upper;   // where it ends; absent: there was no row
  bool is_done = false;
  std::int64_t rows_compared = 0;
  std::int64_t rows_differing = 0;
};

class AgreementWalk {
 public:
  struct Step {
    enum class Kind {
      kFindPage,  // look ahead in `interval` for the end of a page of `rows`
      kCompare,   // compare `interval`
      kWait,      // before trying again for the `attempt`th time
      kFinished,
      kFailed,
    };
    Kind kind = Kind::kFinished;
    std::int64_t rows = 0;
    Interval interval;
    int attempt = 0;
    Failure failure;
  };

  // `rows_per_block`: of a leaf that is paged by blocks.
  AgreementWalk(AgreementProgress progress, std::optional<double> rows_per_block);

  // `rows`: how many the next page should have.
  Step next(std::int64_t rows);
  void record_page(Page page);
  void record_compared(std::int64_t rows, std::int64_t differing);
  void record(Failure failure);

  AgreementProgress const& progress() const { return progress_; }

 private:
  AgreementProgress progress_;
  std::optional<double> rows_per_block_;
  std::optional<Page> page_;
  std::int64_t page_rows_ = 0;  // asked for
  int attempts_ = 0;            // in a row
  bool is_waiting_ = false;
  std::optional<Failure> failure_;
};

}  // namespace pgbackfill::planner
