#include "bench/foreground.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>
#include <map>
#include <thread>

#include "bench/plot.h"
#include "tests/support/pg_client.h"
#include "tests/support/program.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;
using tests::PgClient;

constexpr char kOwnDatabase[] = "traffic";
constexpr int kMeasureSeconds = 12;
constexpr double kWarmUpSeconds = 8;  // of each phase; not counted
constexpr double kQuietSeconds = 10;
constexpr double kContestSeconds = 40;
constexpr double kLastSeconds = 1;  // so that what a contestant held up is in the log as well
constexpr double kOnOffRatio = 2;   // of a commit's quiet time: above it, the on/off loop stops
constexpr auto kPollInterval = 20ms;
constexpr auto kStopPatience = 60s;
constexpr auto kSettling = 8s;
constexpr int kCommitSamples = 200;

double median_commit_milliseconds(std::string const& dsn) {
  PgClient client(dsn);
  std::vector<double> samples;
  for (int sample = 0; sample < kCommitSamples; ++sample) {
    auto const began = std::chrono::steady_clock::now();
    client.exec("SELECT pg_logical_emit_message(true, 'bench', '')");
    samples.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count());
    std::this_thread::sleep_for(5ms);
  }
  return median(std::move(samples));
}

template <typename Runs, typename Value>
double median_of(Runs const& runs, Value const& value) {
  std::vector<double> values;
  for (auto const& run : runs) values.push_back(value(run));
  return median(std::move(values));
}

}  // namespace

ForegroundTraffic traffic_on_own_tables() {
  return {"foreground", "pgbench on tables of its own", kOwnDatabase, ""};
}

ForegroundTraffic traffic_on_the_table(std::int64_t rows) {
  return {
      "foreground_table", "selects and updates of rows of the table itself", Stage::database(),
      fmt::format("\\set id random(1, {0})\n\\set other random(1, {0})\nSELECT email FROM users WHERE id = :other;\n"
                  "UPDATE users SET email = 'user' || :id || '@example.org' WHERE id = :id;\n",
                  rows)};
}

ForegroundBench::ForegroundBench(Stage& stage, PressureSettings const& settings, ForegroundTraffic traffic)
    : stage_(stage), settings_(settings), traffic_(std::move(traffic)) {}

ForegroundBench::Contestant ForegroundBench::program(std::string const& throttle, std::string const& log_name) const {
  return [this, throttle, log_name](std::string const& dsn) { return run_program(dsn, throttle, log_name); };
}

ForegroundBench::Contestant ForegroundBench::loop(PacedLoopSettings loop_settings) const {
  return [this, loop_settings](std::string const& dsn) { return run_loop(dsn, loop_settings); };
}

ForegroundBench::Contest ForegroundBench::run_program(std::string const& dsn, std::string const& throttle,
                                                      std::string const& log_name) const {
  auto const rows = rows_of_job(dsn);
  ProgramSettings program_settings;
  program_settings.migration_folder = stage_.cluster().dir();
  program_settings.throttle = throttle;
  Contest contest;
  contest.from = seconds_now();
  tests::Program program(pgbackfill_command(dsn, program_settings));
  while (program.is_running() && seconds_now() < contest.from + kContestSeconds) {
    std::this_thread::sleep_for(kPollInterval);
  }
  contest.to = seconds_now();
  contest.rows = rows();
  program.signal(SIGINT);
  auto const result = program.wait(kStopPatience);
  std::ofstream(settings_.output / fmt::format("{}_{}.log", traffic_.name, log_name)) << result.err;
  return contest;
}

ForegroundBench::Contest ForegroundBench::run_loop(std::string const& dsn, PacedLoopSettings loop_settings) const {
  Contest contest;
  contest.from = seconds_now();
  PacedLoop const loop(dsn, settings_.rows, loop_settings);
  while (loop.rows_done() < settings_.rows && seconds_now() < contest.from + kContestSeconds) {
    std::this_thread::sleep_for(kPollInterval);
  }
  contest.to = seconds_now();
  contest.rows = static_cast<double>(loop.rows_done());
  return contest;
}

void ForegroundBench::find_rate() {
  prepare_traffic(stage_.cluster(), kOwnDatabase);
  // As a contest begins: after a checkpoint the first change of a page costs most.
  auto const dsn = stage_.fresh({settings_.rows, false});
  TrafficOptions options;
  options.database = traffic_.database;
  options.script = traffic_.script;
  options.seconds = kMeasureSeconds;
  double const most = most_transactions_per_second(stage_.cluster(), options);
  rate_ = settings_.load * most;
  quiet_commit_milliseconds_ = median_commit_milliseconds(dsn);
  std::cerr << fmt::format("  {}: at most {:.0f} transactions/s; a commit takes {:.2f} ms\n", traffic_.name, most,
                           quiet_commit_milliseconds_);
}

void ForegroundBench::settle() const {
  PgClient(stage_.cluster().dsn()).exec("CHECKPOINT");
  for (int replica = 0; replica < stage_.cluster().replicas(); ++replica) {
    PgClient(stage_.cluster().replica_dsn(replica)).exec("CHECKPOINT");
  }
  ::sync();
  std::this_thread::sleep_for(kSettling);
}

ForegroundBench::Run ForegroundBench::measure(std::string const& name, Contestant const& contestant) {
  auto const dsn = stage_.fresh({settings_.rows, false});
  settle();
  TrafficOptions options;
  options.database = traffic_.database;
  options.script = traffic_.script;
  options.transactions_per_second = *rate_;
  options.seconds = static_cast<int>(kWarmUpSeconds + kQuietSeconds + kContestSeconds + kLastSeconds);
  options.folder = stage_.cluster().dir() / "traffic";
  PgbenchTraffic traffic(stage_.cluster(), options);
  double const began = seconds_now();
  Observer observer(stage_.cluster(), [] { return 0.0; });
  std::this_thread::sleep_for(std::chrono::duration<double>(kWarmUpSeconds + kQuietSeconds));
  double const quiet_to = seconds_now();
  auto const contest = contestant(dsn);
  auto const transactions = traffic.wait();
  observer.stop();

  double const quiet_from = began + kWarmUpSeconds;
  double const quiet = latency_quantile(transactions, quiet_from, quiet_to, 0.99);
  double const p99 = latency_quantile(transactions, contest.from, contest.to, 0.99);
  double const worst = worst_second(transactions, contest.from, contest.to, 0.99);
  double const p999_ratio = latency_quantile(transactions, contest.from, contest.to, 0.999) /
                            latency_quantile(transactions, quiet_from, quiet_to, 0.999);
  Run const run{name, contest.rows / (contest.to - contest.from), p99 / quiet, p999_ratio, worst / quiet, quiet};
  std::cerr << fmt::format(
      "  {}, {}: {:.0f} rows/s; p99 quiet {:.2f} ms (worst second {:.2f}), beside it {:.2f} ms (worst second {:.2f}): "
      "{:.2f} and {:.2f} times\n",
      traffic_.name, name, run.rows_per_second, quiet, worst_second(transactions, quiet_from, quiet_to, 0.99), p99,
      worst, run.p99_ratio, run.worst_second_ratio);
  plot(run, contest, transactions, observer.moments());
  return run;
}

void ForegroundBench::plot(Run const& run, Contest const& contest, std::vector<Transaction> const& transactions,
                           std::vector<Moment> const& moments) const {
  Series series{{"seconds", "p99 of a second, ms", "median, ms", "WAL, MB/s", "lag, s"}, {}};
  for (double second = contest.from - kQuietSeconds; second + 1 <= contest.to + kLastSeconds; second += 1) {
    series.rows.push_back({second - contest.from, latency_quantile(transactions, second, second + 1, 0.99),
                           latency_quantile(transactions, second, second + 1, 0.5),
                           wal_rate(moments, second, second + 1) / 1e6, worst_lag(moments, second, second + 1)});
  }
  std::string file = fmt::format("{}_{}", traffic_.name, run.contestant);
  std::replace_if(
      file.begin(), file.end(), [](char c) { return c == ' ' || c == ',' || c == '/'; }, '_');
  plot_series(settings_.output, file, fmt::format("{}: {}", traffic_.text, run.contestant), series,
              {{"p99 of a second, ms", 1.25 * run.quiet_p99}, {"median, ms", 0}, {"WAL, MB/s", 0}, {"lag, s", 2}});
}

ForegroundBench::Run ForegroundBench::play(std::string const& name, Contestant const& contestant) {
  if (!rate_) find_rate();
  auto const run = measure(name, contestant);
  runs_.push_back(run);
  return run;
}

void ForegroundBench::play_pair(Tally& tally) {
  auto const ours = play("pgbackfill", program("", "pgbackfill"));
  auto const unthrottled = play("mode off", program(kFlatOut, "mode_off"));
  record(tally, ours, unthrottled);
}

void ForegroundBench::play_frontier() {
  play("pgbackfill", program("", "frontier"));
  for (char const* ratio : {"1.5", "3"}) {
    play(fmt::format("pgbackfill, latency_ratio {}", ratio),
         program(fmt::format("{{latency_ratio: {}}}", ratio), fmt::format("frontier_{}", ratio)));
  }
  struct Loop {
    int rows;
    int pause;
  };
  for (auto const [rows, pause] : {Loop{200, 20}, Loop{200, 4}, Loop{500, 30}, Loop{500, 10}, Loop{1'000, 10},
                                   Loop{2'000, 100}, Loop{2'000, 30}, Loop{5'000, 0}}) {
    play(fmt::format("loop of {} rows, {} ms pause", rows, pause), loop({rows, std::chrono::milliseconds{pause}, 0}));
  }
  play("on/off loop", loop({5'000, 0ms, kOnOffRatio * quiet_commit_milliseconds_}));
}

void ForegroundBench::record(Tally& tally, Run const& ours, Run const& unthrottled) const {
  auto const& name = traffic_.name;
  tally.add({name, traffic_.text + ", p99 over its quiet value", Bar::kAtMost, 1.25, "x"}, ours.p99_ratio);
  tally.add({name + "_worst_second", "its worst second's p99 over the quiet p99", Bar::kAtMost, 2, "x"},
            ours.worst_second_ratio);
  tally.add({name + "_speed", "rows/s, against mode off", Bar::kAtLeast, 0.5, "x"},
            ours.rows_per_second / unthrottled.rows_per_second);
  tally.add({name + "_off", "mode off: p99 over its quiet value", Bar::kNone, 0, "x"}, unthrottled.p99_ratio);
}

void ForegroundBench::print_frontier() const {
  if (runs_.empty()) return;
  std::map<std::string, std::vector<Run>> by_contestant;
  for (auto const& run : runs_) by_contestant[run.contestant].push_back(run);
  std::vector<Point> points;
  std::cout << fmt::format(
      "\n{}:\n\n| contestant | runs | rows/s | p99 over quiet | p99.9 over quiet | worst second over quiet p99 |\n"
      "| --- | --- | --- | --- | --- | --- |\n",
      traffic_.text);
  for (auto const& [contestant, runs] : by_contestant) {
    double const rows = median_of(runs, [](Run const& run) { return run.rows_per_second; });
    double const p99 = median_of(runs, [](Run const& run) { return run.p99_ratio; });
    double const worst = median_of(runs, [](Run const& run) { return run.worst_second_ratio; });
    double const p999 = median_of(runs, [](Run const& run) { return run.p999_ratio; });
    std::cout << fmt::format("| {} | {} | {:.0f} | {:.2f} | {:.2f} | {:.2f} |\n", contestant, runs.size(), rows, p99,
                             p999, worst);
    points.push_back({contestant, rows, p99});
  }
  plot_points(settings_.output, traffic_.name + "_frontier", traffic_.text, "rows/s", "p99 over its quiet value", 1.25,
              points);
}

}  // namespace pgbackfill::bench
