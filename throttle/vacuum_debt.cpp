#include "throttle/vacuum_debt.h"

#include <algorithm>
#include <utility>

#include "throttle/wording.h"

namespace pgbackfill::throttle {
namespace {

// Of the budget.
constexpr double kPart = 0.25;
constexpr double kPartNearBudget = 0.125;
constexpr double kNearBudget = 0.85;
constexpr double kAllWorkersUpTo = 0.5;
constexpr double kNoWorkersFrom = 0.9;
// Of the debt: less to gain than this, and a vacuum is useless.
constexpr double kWorthAVacuum = 0.25;

}  // namespace

VacuumDebt::VacuumDebt(std::string table, std::uint64_t bytes_at_start, std::int64_t rows_at_start)
    : table_(std::move(table)),
      bytes_at_start_(bytes_at_start),
      rows_at_start_(std::max<std::int64_t>(rows_at_start, 1)) {}

VacuumAdvice VacuumDebt::advise(double budget, bool may_vacuum) const {
  if (!last_ || is_exempt() || !(budget > 0)) return {};
  if (own_since_) {
    VacuumAdvice advice;
    bool const is_too_long = last_->at - *own_since_ > kLongestHold;
    advice.share = std::max(share_while_vacuumed(budget), is_too_long ? kShareBeyondBudget : 0.0);
    advice.text = "vacuum of " + table_ + " is at work; " + say_growth(budget);
    return advice;
  }
  double const part = budget * (growth() < kNearBudget * budget ? kPart : kPartNearBudget);
  bool const is_due = debt() >= part && growth() >= kPart * budget;
  return is_due ? advise_when_due(budget, may_vacuum) : VacuumAdvice();
}

VacuumAdvice VacuumDebt::advise_when_due(double budget, bool may_vacuum) const {
  VacuumAdvice advice;
  double const share_without_vacuum = growth() > budget ? kShareBeyondBudget : 1;
  advice.is_held = reclaimable() < kWorthAVacuum;
  if (advice.is_held) {
    advice.share = share_without_vacuum;
    advice.text = "vacuum cannot free the old rows of " + table_ + ", which " +
                  (last_->holder.empty() ? "somebody" : last_->holder) + " may still see; " + say_growth(budget);
  } else if (last_->is_locked) {
    advice.share = std::max(share_while_vacuumed(budget), kShareBeyondBudget);
    advice.text = "somebody else vacuums " + table_ + " or has it locked; " + say_growth(budget);
  } else if (!may_vacuum) {
    advice.share = share_without_vacuum;
    advice.text = table_ + " waits for autovacuum; " + say_growth(budget);
  } else {
    advice.should_vacuum = true;
  }
  return advice;
}

void VacuumDebt::see(TableReading const& reading) {
  if (!last_) {
    // What an earlier run left behind is debt as well, as far as the statistics know.
    paid_ = {reading.rows_changed - std::clamp<std::int64_t>(reading.rows_dead, 0, reading.rows_changed),
             reading.next_xid};
  } else {
    bool const is_new_lock = reading.is_locked && !last_->is_locked && !own_since_;
    if (is_new_lock) pending_ = Mark{last_->rows_changed, last_->next_xid};
    std::int64_t const ended = std::max<std::int64_t>(reading.vacuums - last_->vacuums, 0);
    std::int64_t const ours = std::min(ended, vacuums_to_ignore_);
    vacuums_to_ignore_ -= ours;
    if (ended > ours && !own_since_) {
      // One that came and went between two readings began after the last but one.
      paid_ = pending_.value_or(Mark{last_->rows_changed, last_->next_xid});
      pending_.reset();
    }
  }
  last_ = reading;
}

void VacuumDebt::vacuum_began(TimePoint now) {
  own_since_ = now;
  if (last_) pending_ = Mark{last_->rows_changed, last_->next_xid};
}

void VacuumDebt::vacuum_ended(bool is_done) {
  if (is_done && pending_) {
    paid_ = *pending_;
    ++vacuums_to_ignore_;
  }
  pending_.reset();
  own_since_.reset();
}

double VacuumDebt::growth() const {
  if (!last_ || bytes_at_start_ == 0) return 0;
  return static_cast<double>(last_->bytes) / static_cast<double>(bytes_at_start_) - 1;
}

double VacuumDebt::debt() const {
  if (!last_) return 0;
  return static_cast<double>(last_->rows_changed - paid_.rows) / static_cast<double>(rows_at_start_);
}

// The debt came in evenly over the transactions since it began; those before the horizon can be removed.
double VacuumDebt::reclaimable() const {
  if (!last_ || !last_->horizon || *last_->horizon >= last_->next_xid) return 1;
  if (*last_->horizon <= paid_.xid) return 0;
  return static_cast<double>(*last_->horizon - paid_.xid) / static_cast<double>(last_->next_xid - paid_.xid);
}

double VacuumDebt::share_while_vacuumed(double budget) const {
  double const used = growth() / budget;
  return std::clamp((kNoWorkersFrom - used) / (kNoWorkersFrom - kAllWorkersUpTo), 0.0, 1.0);
}

std::string VacuumDebt::say_growth(double budget) const {
  return "it grew by " + say_percent(std::max(growth(), 0.0)) + " (bloat allows " + say_percent(budget) + ")";
}

std::string say_table_growth(std::string const& table, std::uint64_t before, std::uint64_t after,
                             std::optional<double> budget) {
  double const growth = before == 0 ? 0 : static_cast<double>(after) / static_cast<double>(before) - 1;
  std::string text = table + (growth < 0 ? " shrank from " : " grew from ") + say_bytes(static_cast<double>(before)) +
                     " to " + say_bytes(static_cast<double>(after)) + " (" + say_percent(growth < 0 ? -growth : growth);
  if (budget) text += "; budget " + say_percent(*budget);
  return text + ")";
}

}  // namespace pgbackfill::throttle
