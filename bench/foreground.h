// What foreground traffic pays for a backfill beside it: pgbench at a share of what the server reaches alone.
//
// A round has one contestant after the other, each on a fresh table, with the disks settled and a quiet time before it,
// by which its latencies are judged: pgbackfill as it is by default, with wider limits and without its throttle, and
// loops that people write, of several sizes and pauses or stop-and-go on a threshold. Together they show the frontier:
// how much speed costs how much latency on this machine. Threads: as LocalCluster.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/contestants.h"
#include "bench/observer.h"
#include "bench/pgbench_traffic.h"
#include "bench/pressure_scenarios.h"

namespace pgbackfill::bench {

struct ForegroundTraffic {
  std::string name;  // of the figures
  std::string text;
  std::string database;  // where it runs
  std::string script;    // empty: pgbench's tpcb-like
};

class ForegroundBench {
 public:
  ForegroundBench(Stage& stage, PressureSettings const& settings, ForegroundTraffic traffic);

  // pgbackfill, with its throttle and without.
  void play_pair(Tally& tally);
  // Wider limits, and the loops.
  void play_frontier();
  // A table and a picture of all contestants, of all rounds.
  void print_frontier() const;

 private:
  struct Run {
    std::string contestant;
    double rows_per_second = 0;
    double p99_ratio = 0;
    double p999_ratio = 0;
    double worst_second_ratio = 0;
    double quiet_p99 = 0;  // ms
  };
  struct Contest {
    double from = 0;  // when it began and ended
    double to = 0;
    double rows = 0;
  };
  using Contestant = std::function<Contest(std::string const& dsn)>;

  Contest run_program(std::string const& dsn, std::string const& throttle, std::string const& log_name) const;
  Contest run_loop(std::string const& dsn, PacedLoopSettings loop) const;
  // throttle: that section of the file; empty: none.
  Contestant program(std::string const& throttle, std::string const& log_name) const;
  Contestant loop(PacedLoopSettings loop_settings) const;
  Run measure(std::string const& name, Contestant const& contestant);
  Run play(std::string const& name, Contestant const& contestant);
  void find_rate();
  // What earlier contestants wrote is on disk: without that the quiet p99 says nothing.
  void settle() const;
  void plot(Run const& run, Contest const& contest, std::vector<Transaction> const& transactions,
            std::vector<Moment> const& moments) const;
  void record(Tally& tally, Run const& ours, Run const& unthrottled) const;

  Stage& stage_;
  PressureSettings const& settings_;
  ForegroundTraffic traffic_;
  std::optional<double> rate_;
  double quiet_commit_milliseconds_ = 0;
  std::vector<Run> runs_;
};

// pgbench's tpcb-like on tables of its own in another database, and selects and updates of single rows of the table
// that is changed.
ForegroundTraffic traffic_on_own_tables();
ForegroundTraffic traffic_on_the_table(std::int64_t rows);

}  // namespace pgbackfill::bench
