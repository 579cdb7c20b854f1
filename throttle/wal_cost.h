// What a row of this job costs in bytes of WAL, from how much WAL the server wrote and how many rows we changed.
//
// Exact where the server counts a session's WAL (PostgreSQL 18). Elsewhere the rest is what the server writes while we
// change nothing, which holds for a minute; after that the cost is only lowered, to what all WAL would be. The lag
// servo needs no more: a cost that is wrong by a factor makes the others seem to write more or less by as much, and
// comes out of its sum again.
//
// Pure. One thread at a time.
#pragma once

#include <cstdint>
#include <optional>

namespace pgbackfill::throttle {

struct WalInterval {
  double seconds = 0;
  double wal_bytes = 0;             // of the whole server
  std::optional<double> own_bytes;  // of our sessions, where the server counts it
  std::int64_t rows = 0;            // changed by batches that ended in it
  bool is_idle = false;             // no batch ran at any time of it
};

class WalCost {
 public:
  void see(WalInterval const& interval);

  // Never zero; a guess until something was measured.
  double bytes_per_row() const { return bytes_per_row_; }
  bool is_measured() const { return is_measured_; }

 private:
  void see_idle(WalInterval const& interval);
  void judge_stretch();
  void learn(double bytes_per_row);

  double bytes_per_row_ = 400;
  bool is_measured_ = false;
  std::optional<double> others_per_second_;
  double seconds_since_idle_ = 0;
  WalInterval stretch_;  // since the last judgement
};

// A batch of more rows would write more than half a second's worth of WAL, but one row is always let through.
std::int64_t most_rows(double wal_per_second, double bytes_per_row);

}  // namespace pgbackfill::throttle
