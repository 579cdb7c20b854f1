// When to vacuum a table whose rows are being replaced, so that the room of old row versions is used again.
//
// One table (a leaf of a partitioned one) has a budget: the share of its size at the start by which its file may grow.
// A changed row leaves its old version behind, the debt; VACUUM turns debt into room for the versions to come, so the
// file need not be larger than the rows, one part of debt and what piles up while the vacuum runs. So:
//
//   - A vacuum is due when the debt is a quarter of the budget and the file has grown by as much. Without growth (HOT
//     updates, room from before, deletes) none ever is. Near the budget, half of that is enough.
//   - While it runs, the workers go on as far as the growth allows: all of them below half of the budget, none from
//     nine tenths on. When no vacuum runs, waiting would win nothing, and nobody waits.
//   - A vacuum removes nothing that somebody's snapshot may still see. If most of the debt is of that kind, it is not
//     run; and beyond the budget the workers go on slowly, never not at all.
//
// Measured: a VACUUM after each tenth of a table takes about an eighth of the time of the updates. Bytes of the main
// fork, rows, transaction ids (64 bits, without wraparound). A state machine; one thread at a time. Source of the soft
// floor: throttle law H6.
#pragma once

#include <cstdint>
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
};

struct VacuumAdvice {
  bool should_vacuum = false;
  bool is_held = false;  // by somebody's snapshot: a vacuum would be useless
  double share = 1;      // of the workers that may go on
  std::string text;      // why, when it is not 1 or the vacuum useless
};

class VacuumDebt {
 public:
  VacuumDebt(std::string table, std::uint64_t bytes_at_start, std::int64_t rows_at_start);

  void see(TableReading const& reading);
  // budget: as Limits::bloat; 0 or less: none. may_vacuum: whether this role has the right.
  VacuumAdvice advise(double budget, bool may_vacuum) const;

  // Ours, of all that the last reading knew of.
  void vacuum_began(TimePoint now);
  void vacuum_ended(bool is_done);

  // Of the last reading, as a share of the size at the start; negative when it shrank.
  double growth() const;
  double debt() const;
  bool is_exempt() const { return bytes_at_start_ < kLeastBytesToVacuum; }

 private:
  // Everything up to here was within reach of a vacuum.
  struct Mark {
    std::int64_t rows = 0;
    std::uint64_t xid = 0;
  };

  VacuumAdvice advise_when_due(double budget, bool may_vacuum) const;
  double reclaimable() const;
  double share_while_vacuumed(double budget) const;
  std::string say_growth(double budget) const;

  std::string table_;
  std::uint64_t bytes_at_start_;
  std::int64_t rows_at_start_;
  std::optional<TableReading> last_;
  Mark paid_;
  std::optional<Mark> pending_;         // what the vacuum that runs will have paid
  std::int64_t vacuums_to_ignore_ = 0;  // ours, which the statistics tell of later
  std::optional<TimePoint> own_since_;
};

// "\"public\".\"users\" grew from 617 MB to 701 MB (14 %; budget 20 %)"
std::string say_table_growth(std::string const& table, std::uint64_t before, std::uint64_t after,
                             std::optional<double> budget);

}  // namespace pgbackfill::throttle
