#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <regex>
#include <thread>

#include "bench/contestants.h"
#include "bench/observer.h"
#include "bench/pgbench_traffic.h"
#include "bench/plot.h"
#include "bench/pressure_scenarios.h"
#include "tests/support/program.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;

constexpr double kBatchTarget = 100;  // ms, the default
// Few of so many rows are locked at a time: it takes many updates to meet some.
constexpr double kUpdatesPerSecond = 1000;
constexpr int kSecondsAround = 4;  // of traffic, before and after
constexpr auto kPollInterval = 20ms;
constexpr auto kStopPatience = 60s;
// Waits that are shorter are not logged; the quantile of those that are is therefore higher than that of all.
constexpr char kServerOptions[] = "-c log_lock_waits=on -c deadlock_timeout=10ms";

// How long each session waited for a lock that it then got, by the server's own log.
std::vector<double> waits_in_log(std::string const& log) {
  std::regex const acquired("acquired \\w+ on (?:transaction|tuple) .* after ([0-9.]+) ms");
  std::vector<double> waits;
  for (std::sregex_iterator match(log.begin(), log.end(), acquired), end; match != end; ++match) {
    waits.push_back(std::stod((*match)[1]));
  }
  std::sort(waits.begin(), waits.end());
  return waits;
}

}  // namespace

// Updates of rows drawn from so many hardly ever meet each other: who waits, waits for a batch.
void play_row_lock_wait(Stage& stage, PressureSettings const& settings, Tally& tally) {
  auto const dsn = stage.fresh({settings.rows, false});
  auto const log_file = stage.cluster().dir() / "primary.log";
  auto const log_began = std::filesystem::file_size(log_file);
  TrafficOptions options;
  options.database = Stage::database();
  options.script =
      fmt::format("\\set id random(1, {})\nUPDATE users SET email = 'user' || :id || '@example.org' WHERE id = :id;\n",
                  settings.rows);
  options.transactions_per_second = kUpdatesPerSecond;
  options.seconds = settings.seconds + kSecondsAround;
  options.server_options = kServerOptions;
  options.folder = stage.cluster().dir() / "traffic";
  PgbenchTraffic traffic(stage.cluster(), options);
  std::this_thread::sleep_for(2s);
  double const began = seconds_now();
  tests::Program program(pgbackfill_command(dsn, {.migration_folder = stage.cluster().dir()}));
  while (program.is_running() && seconds_now() < began + settings.seconds) std::this_thread::sleep_for(kPollInterval);
  double const ended = seconds_now();
  auto const rows = rows_of_job(dsn)();
  program.signal(SIGINT);
  std::ofstream(settings.output / "row_lock_wait.log") << program.wait(kStopPatience).err;
  auto const transactions = traffic.wait();

  auto const waits = waits_in_log(stage.cluster().log_text(std::filesystem::file_size(log_file) - log_began));
  double const p99 = waits.empty() ? 0 : waits[waits.size() * 99 / 100];
  double const longest = waits.empty() ? 0 : waits.back();
  std::cerr << fmt::format(
      "  row_lock_wait: {:.0f} rows/s; {} of {} updates waited 10 ms or longer, p99 of them {:.0f} ms, longest {:.0f} "
      "ms; slowest update {:.0f} ms\n",
      rows / (ended - began), waits.size(), transactions.size(), p99, longest,
      latency_quantile(transactions, began, ended, 1));
  tally.add({"row_lock_wait", "waits for a row that a batch holds, p99 of those over 10 ms", Bar::kAtMost,
             kBatchTarget + 50, "ms"},
            p99);
  tally.add({"row_lock_wait_longest", "the longest", Bar::kAtMost, 4 * kBatchTarget, "ms"}, longest);
  tally.add({"row_lock_wait_count", "how many", Bar::kNone, 0, ""}, static_cast<double>(waits.size()));
}

}  // namespace pgbackfill::bench
