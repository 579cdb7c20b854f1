#include "planner/keys/deferred_visit.h"

#include <algorithm>
#include <utility>

namespace pgbackfill::planner {

namespace {

// Fewer rows may get through.
bool is_of_rows(Failure const& failure) {
  return failure.trouble == Trouble::kRowData || failure.trouble == Trouble::kStatementTimeout ||
         failure.trouble == Trouble::kLockTimeout;
}

}  // namespace

DeferredVisit::DeferredVisit(std::int64_t rows) {
  visit(rows);
}

// The only key is chosen beforehand: should it fail, it is this one that is set aside.
void DeferredVisit::visit(std::int64_t rows) {
  step_ = VisitStep();
  step_.rows = std::max<std::int64_t>(rows, 1);
  step_.kind = step_.rows == 1 ? VisitStep::Kind::kChoose : VisitStep::Kind::kVisit;
}

void DeferredVisit::record_choice(std::optional<std::int64_t> key) {
  if (!key) return finish(Visit());
  step_.kind = VisitStep::Kind::kVisit;
  step_.key = key;
}

void DeferredVisit::record(Visit const& visit) {
  finish(visit);
}

void DeferredVisit::record(Failure const& failure) {
  if (!is_of_rows(failure)) return fail(failure);
  if (step_.rows > 1) return visit(step_.rows / 2);
  step_.kind = failure.trouble == Trouble::kRowData ? VisitStep::Kind::kSetAside : VisitStep::Kind::kMark;
  step_.failure = failure;
}

void DeferredVisit::record_marked() {
  finish(Visit());
}

void DeferredVisit::record_set_aside() {
  Visit visit;
  visit.settled = 1;
  finish(visit);
}

void DeferredVisit::record_state_failure(Failure const& failure) {
  bool const is_beyond_budget = step_.kind == VisitStep::Kind::kSetAside && failure.trouble == Trouble::kFatal;
  if (!is_beyond_budget) return fail(failure);
  Failure both = step_.failure;
  both.message += "; " + failure.message;
  both.trouble = Trouble::kFatal;
  fail(std::move(both));
}

void DeferredVisit::finish(Visit const& visit) {
  step_ = VisitStep();
  step_.visit = visit;
}

void DeferredVisit::fail(Failure failure) {
  step_ = VisitStep();
  step_.kind = VisitStep::Kind::kFailed;
  step_.failure = std::move(failure);
}

}  // namespace pgbackfill::planner
