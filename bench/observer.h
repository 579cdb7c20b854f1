// Watches a primary and its replica from outside: ten times a second, over connections of its own, without asking the
// program that is measured.
//
// Lag in time is the age of the oldest byte that the replica has not replayed, by the observer's own record of when the
// primary had written how much. Threads: one of its own while it runs; moments() is for after stop().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "engine/sandbox/local_cluster.h"

namespace pgbackfill::bench {

// Seconds since the epoch, as in pgbench's log.
double seconds_now();

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

struct Moment {
  double at = 0;
  double written = 0;          // bytes of WAL, flushed
  double replayed = kUnknown;  // unknown while the replica does not answer
  double lag_seconds = kUnknown;
  double rows = 0;
};

class Observer {
 public:
  // `rows` tells how many rows are done; it is called twice a second by the observer's thread.
  Observer(engine::LocalCluster const& cluster, std::function<double()> rows);

  void stop();
  std::vector<Moment> const& moments() const { return moments_; }

 private:
  struct Mark {
    double at;
    double written;
  };

  void watch(std::stop_token const& stop, std::string const& dsn, std::string const& replica_dsn);
  double lag_at(double now, double replayed);

  std::function<double()> rows_;
  std::deque<Mark> marks_;  // what is not replayed yet, and the last mark before it
  std::vector<Moment> moments_;
  std::jthread watcher_;
};

// Of the moments between two times. Lags that are unknown do not count.
double worst_lag(std::vector<Moment> const& moments, double from, double to);
double share_of_time_above(std::vector<Moment> const& moments, double from, double to, double lag_seconds);
double bytes_written(std::vector<Moment> const& moments, double from, double to);
double rows_done(std::vector<Moment> const& moments, double from, double to);
// WAL bytes a second between two times.
double wal_rate(std::vector<Moment> const& moments, double from, double to);
// The first time from which on WAL is written at this rate for two seconds; unknown if there is none.
double first_time_at_rate(std::vector<Moment> const& moments, double from, double bytes_per_second);

// How many rows the job in this database has done, for Observer; 0 while there is none.
std::function<double()> rows_of_job(std::string const& dsn);

}  // namespace pgbackfill::bench
