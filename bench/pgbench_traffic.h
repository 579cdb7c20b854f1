// Foreground work for the benches: pgbench at a fixed rate, with the time of each of its transactions.
//
// Transactions begin by a schedule (pgbench --rate), and the time of one counts from when it should have begun, so that
// a server that stands still is not let off with a single slow transaction. Threads: as Program.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/program.h"

namespace pgbackfill::bench {

struct Transaction {
  double ended_at = 0;  // seconds since the epoch
  double milliseconds = 0;
};

struct TrafficOptions {
  std::string database;
  std::string script;  // pgbench's own tpcb-like if empty
  double transactions_per_second = 0;
  int seconds = 10;
  std::string server_options;    // as in PGOPTIONS
  std::filesystem::path folder;  // for the log
};

class PgbenchTraffic {
 public:
  // Starts at once.
  PgbenchTraffic(engine::LocalCluster const& cluster, TrafficOptions const& options);

  // Waits for the end; in the order in which they ended. Throws when pgbench failed.
  std::vector<Transaction> wait();

 private:
  TrafficOptions options_;
  std::optional<tests::Program> program_;
};

// Makes pgbench's tables, and the database, unless they are there.
void prepare_traffic(engine::LocalCluster const& cluster, std::string const& database);

// How many transactions a second this traffic reaches alone.
double most_transactions_per_second(engine::LocalCluster const& cluster, TrafficOptions const& options);

// Of the transactions that ended between two times; 0 of none.
double latency_quantile(std::vector<Transaction> const& transactions, double from, double to, double quantile);
// The highest of this quantile of each whole second between two times.
double worst_second(std::vector<Transaction> const& transactions, double from, double to, double quantile);

}  // namespace pgbackfill::bench
