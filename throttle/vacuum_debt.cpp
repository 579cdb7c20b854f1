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
constexpr double kPartOfABatch = 1.0 / 16;
constexpr double kUnknownDebt = 0.5;  // at least, where an earlier job stopped right before a vacuum was due
constexpr double kAllWorkersUpTo = 0.5;
constexpr double kNoWorkersFrom = 0.9;
// Of the debt: less to gain than this, and a vacuum is useless.
constexpr double kWorthAVacuum = 0.25;
constexpr double kTrifle = 0.01;  // of the file
// Until a new reading is acted upon: at full speed a small table changes by much in that time.
constexpr double kAheadSeconds = 0.5;
constexpr double kMostAhead = 0.5;  // of the part at which a vacuum is due

}  // namespace

VacuumDebt::VacuumDebt(std::string table, std::uint64_t bytes_at_start, std::int64_t rows_at_start)
    : table_(std::move(table)),
      bytes_at_start_(bytes_at_start),
      bytes_needed_(bytes_at_start),
      rows_at_start_(std::max<std::int64_t>(rows_at_start, 1)) {}

void VacuumDebt::set_bytes_needed(std::uint64_t bytes) {
  bytes_needed_ = std::clamp<std::uint64_t>(bytes, 1, std::max<std::uint64_t>(bytes_at_start_, 1));
}

VacuumAdvice VacuumDebt::advise(double budget, bool may_vacuum) const {
  if (is_exempt() || !(budget > 0)) return {};
  auto advice = advise_at(budget, may_vacuum);
  advice.batch_rows = kPartOfABatch * budget * static_cast<double>(rows_at_start_);
  return advice;
}

VacuumAdvice VacuumDebt::advise_at(double budget, bool may_vacuum) const {
  VacuumAdvice advice;
  advice.rows = room(budget);
  if (!last_) return advice;
  if (own_since_) {
    bool const is_too_long = last_->at - *own_since_ > kLongestHold;
    advice.share = std::max(share_while_vacuumed(budget), is_too_long ? kShareBeyondBudget : 0.0);
    advice.text = "vacuum of " + table_ + " is at work; " + say_growth(budget);
    if (is_too_long) advice.rows = VacuumAdvice().rows;
    return advice;
  }
  return is_due(budget) ? advise_when_due(budget, may_vacuum) : advice;
}

// The file is what the rows need, old versions and free room. New versions take the free room first, so the file stays
// within a limit as long as the old versions alone do. A file beyond it has more free room than that, which is not
// given out: not every page's rest holds a row, and using it up would make each job's file larger than the last one's.
double VacuumDebt::room(double budget) const {
  auto const rows = static_cast<double>(rows_at_start_);
  if (!last_) return kPart * budget * rows;
  double const limit = kNoWorkersFrom * budget;
  if (growth() < kPart * budget) return (limit - std::max(growth(), 0.0)) * rows;
  return std::max(limit - dead() - unknown_debt(budget), 0.0) * rows;
}

bool VacuumDebt::is_due(double budget) const {
  bool const is_near = growth() >= kNearBudget * budget && has_grown();
  double const part = budget * (is_near ? kPartNearBudget : kPart);
  if (growth() < kPart * budget) return false;
  if (has_grown()) return debt() >= part;
  if (has_unknown_debt()) return true;
  return dead() + std::min(ahead(), kMostAhead * part) >= part;
}

// Of the debt, what HOT updates have not freed already. Once the file grows, all of it; before, what the server's
// statistics know of, and every change that they do not know yet.
double VacuumDebt::dead() const {
  if (has_grown()) return debt();
  auto const told = last_->rows_updated - first_->rows_updated;
  auto const untold = std::max<std::int64_t>(last_->rows_changed - first_->rows_changed - told, 0);
  return std::min(debt(), static_cast<double>(last_->rows_dead + untold) / static_cast<double>(rows_at_start_));
}

VacuumAdvice VacuumDebt::advise_when_due(double budget, bool may_vacuum) const {
  VacuumAdvice advice;
  double const share_without_vacuum = used(budget) > budget ? kShareBeyondBudget : 1;
  bool const is_useless = reclaimable() < kWorthAVacuum;
  advice.is_held = is_useless && !last_->is_held_by_us;
  if (is_useless && last_->is_held_by_us) {
    advice.rows = room(budget);
  } else if (advice.is_held) {
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
    advice.rows = room(budget);
  }
  return advice;
}

void VacuumDebt::set_rows(std::int64_t rows) {
  rows_at_start_ = std::max(rows_at_start_, rows);
}

void VacuumDebt::see(TableReading const& reading) {
  if (!last_) {
    // What an earlier run left behind is debt as well, as far as the statistics know.
    paid_ = {reading.rows_changed - std::clamp<std::int64_t>(reading.rows_dead, 0, reading.rows_changed),
             reading.next_xid};
    first_ = reading;
  } else {
    double const seconds = std::chrono::duration<double>(reading.at - last_->at).count();
    if (seconds > 0) {
      rows_per_second_ = std::max(static_cast<double>(reading.rows_changed - last_->rows_changed), 0.0) / seconds;
    }
    bool const is_new_lock = reading.is_locked && !last_->is_locked && !own_since_;
    if (is_new_lock) pending_ = within_reach();
    std::int64_t const ended = std::max<std::int64_t>(reading.vacuums - last_->vacuums, 0);
    std::int64_t const ours = std::min(ended, vacuums_to_ignore_);
    vacuums_to_ignore_ -= ours;
    if (ended > ours && !own_since_) {
      // One that came and went between two readings began after the last but one.
      paid_ = pending_.value_or(within_reach());
      pending_.reset();
      was_vacuumed_ = true;
    }
  }
  last_ = reading;
}

void VacuumDebt::vacuum_began(TimePoint now) {
  own_since_ = now;
  if (last_) pending_ = within_reach();
}

void VacuumDebt::vacuum_ended(bool is_done) {
  if (is_done && pending_) {
    paid_ = *pending_;
    ++vacuums_to_ignore_;
    was_vacuumed_ = true;
  }
  pending_.reset();
  own_since_.reset();
}

double VacuumDebt::growth() const {
  if (!last_ || bytes_at_start_ == 0) return 0;
  return static_cast<double>(last_->bytes) / static_cast<double>(bytes_needed_) - 1;
}

bool VacuumDebt::has_grown() const {
  return last_ && static_cast<double>(last_->bytes) > (1 + kTrifle) * static_cast<double>(bytes_at_start_);
}

// Of the room. New rows take what is free in the file before it grows.
double VacuumDebt::used(double budget) const {
  if (has_grown()) return growth();
  return std::min(growth(), dead() + ahead() + unknown_debt(budget));
}

// The statistics forget what died while a vacuum was at work, as most of the last part of a job does.
bool VacuumDebt::has_unknown_debt() const {
  return !was_vacuumed_ && bytes_needed_ < bytes_at_start_;
}

double VacuumDebt::unknown_debt(double budget) const {
  if (!has_unknown_debt()) return 0;
  double const dead = static_cast<double>(last_->rows_dead) / static_cast<double>(rows_at_start_) - debt();
  return std::min(growth(), std::max(kUnknownDebt * budget, dead));
}

double VacuumDebt::ahead() const {
  double const part_dead = debt() > 0 ? dead() / debt() : 1;
  return part_dead * kAheadSeconds * rows_per_second_ / static_cast<double>(rows_at_start_);
}

double VacuumDebt::debt() const {
  if (!last_) return 0;
  return static_cast<double>(last_->rows_changed - paid_.rows) / static_cast<double>(rows_at_start_);
}

double VacuumDebt::pages_per_second() const {
  constexpr double kPageBytes = 8'192;
  return rows_per_second_ * static_cast<double>(bytes_needed_) / static_cast<double>(rows_at_start_) / kPageBytes;
}

bool VacuumDebt::is_near(double budget) const {
  return last_ && used(budget) >= kAllWorkersUpTo * budget;
}

// The debt came in evenly over the transactions since it began; those before the horizon can be removed.
double VacuumDebt::reclaimable() const {
  if (!last_ || !last_->horizon || *last_->horizon >= last_->next_xid) return 1;
  if (*last_->horizon <= paid_.xid) return 0;
  return static_cast<double>(*last_->horizon - paid_.xid) / static_cast<double>(last_->next_xid - paid_.xid);
}

// What is older than every snapshot. Batches that run hold one too, so it is never quite all.
VacuumDebt::Mark VacuumDebt::within_reach() const {
  auto const rows = static_cast<double>(last_->rows_changed - paid_.rows) * reclaimable();
  return {paid_.rows + static_cast<std::int64_t>(rows),
          std::min(last_->horizon.value_or(last_->next_xid), last_->next_xid)};
}

double VacuumDebt::share_while_vacuumed(double budget) const {
  double const part = used(budget) / budget;
  return std::clamp((kNoWorkersFrom - part) / (kNoWorkersFrom - kAllWorkersUpTo), 0.0, 1.0);
}

std::string VacuumDebt::say_growth(double budget) const {
  std::string const share = say_percent(std::max(growth(), 0.0));
  std::string const text =
      bytes_needed_ < bytes_at_start_ ? "it is " + share + " larger than its rows need" : "it grew by " + share;
  return text + " (bloat allows " + say_percent(budget) + ")";
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
