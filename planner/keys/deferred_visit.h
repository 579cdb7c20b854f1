// How the deferred keys of one leaf are visited again, and what an error means for them.
//
// A pure state machine: ask next(), do what it says, record what came of it. A visit that fails because of its rows is
// repeated with half of the keys; with a single key it is that one which is marked as visited (a lock, a timeout), so
// that the others come before it next time, or goes to quarantine (its data).
#pragma once

#include <cstdint>
#include <optional>

#include "planner/work/batch.h"

namespace pgbackfill::planner {

// What a visit did, in keys and rows.
struct Visit {
  std::int64_t rows_changed = 0;
  std::int64_t settled = 0;  // keys that need no further visit
  std::int64_t left = 0;     // keys still waiting
};

struct VisitStep {
  enum class Kind {
    kVisit,     // visit up to `rows` keys, or just `key`, in one transaction; then record(Visit)
    kChoose,    // read which key is to be visited next, then record_choice()
    kMark,      // note that `key` was visited, then record_marked()
    kSetAside,  // move `key` to quarantine because of `failure`, then record_set_aside()
    kDone,      // `visit` is what came of it
    kFailed,    // `failure` is not of the rows, or a row can be neither changed nor set aside
  };
  Kind kind = Kind::kDone;
  std::int64_t rows = 0;
  std::optional<std::int64_t> key;  // pgbackfill.deferred.id
  Visit visit;
  Failure failure;
};

class DeferredVisit {
 public:
  // rows: at most so many keys at once, at least 1.
  explicit DeferredVisit(std::int64_t rows);

  VisitStep const& next() const { return step_; }

  void record(Visit const& visit);
  // Of a visit.
  void record(Failure const& failure);
  // Absent: no key of the leaf is left.
  void record_choice(std::optional<std::int64_t> key);
  void record_marked();
  void record_set_aside();
  // Of a choice, a mark or a quarantine.
  void record_state_failure(Failure const& failure);

 private:
  void visit(std::int64_t rows);
  void finish(Visit const& visit);
  void fail(Failure failure);

  VisitStep step_;
};

}  // namespace pgbackfill::planner
