// When to vacuum a table whose rows are being replaced, so that the room of old row versions is used again.
//
// One table (a leaf of a partitioned one) has a budget: the share of what its rows needed at the start by which its
// file may be larger. Room that earlier jobs left is a part of it, so that one job after the other does not let it
// grow. A changed row leaves its old version behind, the debt; VACUUM turns debt into room for the versions to come, so
// the file need not be larger than the rows, one part of debt and what piles up while the vacuum runs. So:
//
//   - A vacuum is due when the debt is a quarter of the budget and the file is larger than its rows need by as much.
//     Without that (HOT updates, deletes) none ever is. As long as the run itself has not made the file grow, none is
//     due either where the server's statistics know of the changes and not of dead rows: those are HOT updates. Room
//     from before is vacuumed once at the start, for the statistics forget what died while the last vacuum of a job was
//     at work. Near the budget, half of that is enough.
//   - While it runs, the workers go on as far as the growth allows: all of them below half of the budget, none from
//     nine tenths on. Where they have room from before, it is the debt that uses it up. When no vacuum runs, waiting
//     would win nothing, and nobody waits.
//   - Between two readings no more rows are changed than there is room for: a reading that comes late on a busy machine
//     would tell of a budget that is gone. No reading takes the room of old versions for free before a vacuum has
//     ended. A batch is a small part of the budget: which of the old versions a vacuum can free is known by
//     transaction, and batches of several percent of the table would make that too coarse.
//   - A vacuum removes nothing that somebody's snapshot may still see. If most of the debt is of that kind, it is not
//     run; and beyond the budget the workers go on slowly, never not at all.
//
// Measured: a VACUUM after each tenth of a table takes about an eighth of the time of the updates. Bytes of the main
// fork, rows, transaction ids (64 bits, without wraparound). A state machine; one thread at a time. Why:
// docs/throttle.md#bloat.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "throttle/reading.h"

namespace pgbackfill::throttle {

// What a vacuum of a smaller table would save is not worth its trouble.
inline constexpr std::uint64_t kLeastBytesToVacuum = std::uint64_t{64} << 20;
// Of the workers, where waiting cannot be ended by us.
inline constexpr double kShareBeyondBudget = 0.3;
// For longer than this nobody waits at all, not even for our own vacuum.
inline constexpr std::chrono::minutes kLongestHold{5};

struct TableReading {
  TimePoint at{};
  std::uint64_t bytes = 0;
  std::int64_t rows_changed = 0;  // by the job so far, whichever process did it
  std::int64_t rows_dead = 0;     // by the server's statistics
  std::int64_t vacuums = 0;       // that ended, by the server's statistics
  bool is_locked = false;         // somebody else holds the lock that a vacuum needs, most often a vacuum
  std::uint64_t next_xid = 0;
  std::optional<std::uint64_t> horizon;  // the oldest transaction that somebody may still see
  std::string holder;                    // of the horizon, for people
  bool is_held_by_us = false;            // a batch of ours, which ends by itself
  std::int64_t rows_updated = 0;         // ever, by the server's statistics, which are late by a second or more
};

struct VacuumAdvice {
  bool should_vacuum = false;
  bool is_held = false;  // by somebody's snapshot: a vacuum would be useless
  double share = 1;      // of the workers that may go on
  // That may be changed, by all processes, until the next reading.
  double rows = std::numeric_limits<double>::infinity();
  // In one batch. What a batch replaces cannot be freed before it and all that began beside it have ended.
  double batch_rows = std::numeric_limits<double>::infinity();
  std::string text;  // why, when it is not 1 or the vacuum useless
};

class VacuumDebt {
 public:
  VacuumDebt(std::string table, std::uint64_t bytes_at_start, std::int64_t rows_at_start);

  // Of the bytes at the start; all of them until it is told otherwise.
  void set_bytes_needed(std::uint64_t bytes);
  // Better known than by the estimate at the start: what was counted; never fewer.
  void set_rows(std::int64_t rows);
  void see(TableReading const& reading);
  // budget: as Limits::bloat; 0 or less: none. may_vacuum: whether this role has the right.
  VacuumAdvice advise(double budget, bool may_vacuum) const;

  // Ours, of all that the last reading knew of.
  void vacuum_began(TimePoint now);
  void vacuum_ended(bool is_done);

  // Of the last reading, as a share of what the rows needed at the start; negative when it shrank.
  double growth() const;
  // Whether the file has grown since the start, by more than a trifle.
  bool has_grown() const;
  // "it grew by 14 % (bloat allows 20 %)"
  std::string say_growth(double budget) const;
  double debt() const;
  // Whose rows were replaced between the last two readings.
  double pages_per_second() const;
  // Half of the budget is used: soon workers wait.
  bool is_near(double budget) const;
  bool is_exempt() const { return bytes_at_start_ < kLeastBytesToVacuum; }

 private:
  // Everything up to here was within reach of a vacuum.
  struct Mark {
    std::int64_t rows = 0;
    std::uint64_t xid = 0;
  };

  VacuumAdvice advise_at(double budget, bool may_vacuum) const;
  VacuumAdvice advise_when_due(double budget, bool may_vacuum) const;
  double reclaimable() const;
  Mark within_reach() const;
  bool is_due(double budget) const;
  double room(double budget) const;
  double used(double budget) const;
  bool has_unknown_debt() const;
  double unknown_debt(double budget) const;
  double dead() const;
  double ahead() const;
  double share_while_vacuumed(double budget) const;

  std::string table_;
  std::uint64_t bytes_at_start_;
  std::uint64_t bytes_needed_;
  std::int64_t rows_at_start_;
  std::optional<TableReading> first_;
  std::optional<TableReading> last_;
  double rows_per_second_ = 0;
  bool was_vacuumed_ = false;
  Mark paid_;
  std::optional<Mark> pending_;         // what the vacuum that runs will have paid
  std::int64_t vacuums_to_ignore_ = 0;  // ours, which the statistics tell of later
  std::optional<TimePoint> own_since_;
};

// "\"public\".\"users\" grew from 617 MB to 701 MB (14 %; budget 20 %)"
std::string say_table_growth(std::string const& table, std::uint64_t before, std::uint64_t after,
                             std::optional<double> budget);

}  // namespace pgbackfill::throttle
