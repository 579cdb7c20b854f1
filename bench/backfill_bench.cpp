// Macro benches on real servers: what pgbackfill costs beside other ways to do the same, each against its bar.
//
// A figure is one benchmark; an iteration of it is one pair of runs, one after the other on fresh databases, so that
// whatever slows the machine down for a while slows both down; the figure is the median of the pairs. After Google
// Benchmark's own report comes a table of figures and bars, as Markdown.
//
// backfill_bench [--rows=N] [--pairs=N] [--loop-rows=N] [--narrow-rows=N] [--figure=NAME] [--benchmark_...]
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/contestants.h"
#include "bench/figures.h"
#include "bench/stage.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;
using tests::PgClient;

struct Settings {
  std::int64_t rows = 3'000'000;
  std::int64_t loop_rows = 3'000'000;  // of the loop whose time grows with the square of it
  std::int64_t narrow_rows = 0;        // 0: without the figures over a very large table
  int pairs = 5;
  std::string figure;  // empty: all
};

// One run of one contestant.
struct Run {
  std::string dsn;
  std::int64_t rows = 0;
  double seconds = 0;
  std::int64_t wal_bytes = 0;
  std::int64_t table_bytes = 0;
  std::int64_t heap_bytes_before = 0;
  std::int64_t heap_bytes = 0;
  double server_cpu_seconds = 0;
  double busy_share = 0;  // of all processors of the machine, while it ran
  ProgramCost cost;
};

struct Sample {
  double figure = 0;
  double seconds = 0;
};

struct Measurement {
  Figure figure;
  int pairs = 5;
  std::function<Sample()> measure;
};

std::int64_t heap_bytes_of(std::string const& dsn) {
  return std::stoll(PgClient(dsn).value("SELECT pg_relation_size('users')"));
}

class Bench {
 public:
  explicit Bench(Settings settings) : settings_(std::move(settings)), wide_{settings_.rows, false} { make_figures(); }

  void register_figures();
  void print() const;
  bool is_empty() const { return measurements_.empty(); }

 private:
  using Work = std::function<ProgramCost(std::string const& dsn)>;

  void make_figures();
  void add(Figure figure, int pairs, std::function<Sample()> measure);
  void add_bloat();
  void add_large();
  Run run(std::string const& contestant, TableShape const& shape, Work const& work,
          std::function<void(std::string const& dsn)> const& prepare = {});
  Run program(std::string const& contestant, TableShape const& shape, ProgramSettings settings);
  Run program_through_proxy();
  Run other(std::string const& contestant, TableShape const& shape, void (*work)(std::string const&),
            void (*prepare)(std::string const&) = nullptr);
  std::pair<Run, Run> update_pair();
  std::pair<Run, Run> bloat_pair();
  std::pair<Run, Run> checkpoint_pair();
  Sample checkpoint_cost();
  Sample checkpoint_cpu();
  Sample flatness(TableShape const& shape);
  Sample delay_cost();
  Sample memory_growth(TableShape const& shape);
  // How often `reference` takes as long as `run`.
  static Sample speed(Run const& run, Run const& reference) {
    return {reference.seconds / run.seconds * (static_cast<double>(run.rows) / static_cast<double>(reference.rows)),
            run.seconds};
  }

  // The same, over what a perfect division of the reference's own work among all processors would gain.
  static Sample speed_of_possible(Run const& run, Run const& reference) {
    auto sample = speed(run, reference);
    sample.figure *= reference.busy_share;
    return sample;
  }

  Settings settings_;
  TableShape wide_;
  Stage stage_;
  std::vector<Measurement> measurements_;
  std::map<std::string, std::vector<Run>> runs_;
  std::vector<std::pair<Run, Run>> update_pairs_;
  std::vector<std::pair<Run, Run>> bloat_pairs_;
};

// About what the default target of 100 ms comes to.
constexpr std::int64_t kFixedBatchRows = 25'000;
constexpr auto kProxyDelay = 5ms;

Run Bench::run(std::string const& contestant, TableShape const& shape, Work const& work,
               std::function<void(std::string const& dsn)> const& prepare) {
  Run run;
  run.rows = shape.rows;
  run.dsn = stage_.fresh(shape);
  if (prepare) prepare(run.dsn);
  run.heap_bytes_before = heap_bytes_of(run.dsn);
  double const cpu_before = stage_.cpu_seconds_of_sessions();
  auto const wal_before = PgClient(run.dsn).value("SELECT pg_current_wal_insert_lsn()");
  auto const machine_before = Stage::machine_time();
  auto const began = std::chrono::steady_clock::now();
  run.cost = work(run.dsn);
  run.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  auto const machine_after = Stage::machine_time();
  run.busy_share =
      (machine_after.busy_seconds - machine_before.busy_seconds) / (machine_after.seconds - machine_before.seconds);
  run.server_cpu_seconds = stage_.cpu_seconds_of_sessions() - cpu_before;
  PgClient client(run.dsn);
  run.wal_bytes = std::stoll(
      client.value(fmt::format("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{}')::bigint", wal_before)));
  run.table_bytes = std::stoll(client.value("SELECT pg_total_relation_size('users')"));
  run.heap_bytes = heap_bytes_of(run.dsn);
  check_result(run.dsn);
  std::cerr << fmt::format(
      "  {}, {} rows: {:.2f} s, {:.0f} rows/s, processors {:.0f} % busy, server CPU {:.2f} s, client CPU {:.2f} s, "
      "{:.1f} MiB, heap {:.0f} -> {:.0f} MB\n",
      contestant, run.rows, run.seconds, static_cast<double>(run.rows) / run.seconds, run.busy_share * 100,
      run.server_cpu_seconds, run.cost.cpu_seconds, static_cast<double>(run.cost.peak_memory_bytes) / (1024 * 1024),
      static_cast<double>(run.heap_bytes_before) / 1e6, static_cast<double>(run.heap_bytes) / 1e6);
  runs_[contestant].push_back(run);
  return run;
}

Run Bench::program(std::string const& contestant, TableShape const& shape, ProgramSettings settings) {
  settings.migration_folder = stage_.cluster().dir();
  settings.throttle = kFlatOut;
  return run(contestant, shape, [&](std::string const& dsn) { return run_pgbackfill(dsn, settings); });
}

Run Bench::other(std::string const& contestant, TableShape const& shape, void (*work)(std::string const&),
                 void (*prepare)(std::string const&)) {
  auto const timed = [work](std::string const& dsn) {
    work(dsn);
    return ProgramCost{};
  };
  return prepare == nullptr ? run(contestant, shape, timed) : run(contestant, shape, timed, prepare);
}

std::pair<Run, Run> Bench::update_pair() {
  auto const ours = program("pgbackfill, 2 workers", wide_, {});
  return {ours, other("one UPDATE", wide_, run_one_update)};
}

std::pair<Run, Run> Bench::bloat_pair() {
  auto const throttled = [&](std::string const& contestant, std::string const& throttle) {
    ProgramSettings const settings{0, 0, stage_.cluster().dir(), throttle};
    return run(contestant, wide_, [&](std::string const& dsn) { return run_pgbackfill(dsn, settings); });
  };
  auto const small = throttled("pgbackfill, 2 workers, default throttle", "");
  return {small, throttled("pgbackfill, 2 workers, default throttle without vacuums", kMayGrow)};
}

std::pair<Run, Run> Bench::checkpoint_pair() {
  ProgramSettings const settings{1, kFixedBatchRows, {}};
  auto const whole = program(fmt::format("pgbackfill, 1 worker, batches of {}", kFixedBatchRows), wide_, settings);
  auto const batches = batches_of_run(whole.dsn, kFixedBatchRows);
  auto const bare = run("the same batches by themselves", wide_, [&](std::string const& dsn) {
    run_bare_batches(dsn, batches);
    return ProgramCost{};
  });
  return {whole, bare};
}

Sample Bench::checkpoint_cost() {
  auto const [whole, bare] = checkpoint_pair();
  return {(whole.seconds / bare.seconds - 1) * 100, whole.seconds};
}

Sample Bench::checkpoint_cpu() {
  auto const [whole, bare] = checkpoint_pair();
  return {(whole.server_cpu_seconds / bare.server_cpu_seconds - 1) * 100, whole.seconds};
}

// With one worker the ranges are worked one after the other, and the end of each is on record.
Sample Bench::flatness(TableShape const& shape) {
  auto const whole = program("pgbackfill, 1 worker", shape, {1, 0, {}});
  auto const ranges = PgClient(whole.dsn).exec(
      "SELECT extract(epoch FROM updated_at), rows_done FROM pgbackfill.ranges WHERE pass = 0 AND rows_done > 0 "
      "ORDER BY updated_at");
  std::size_t const tenth = ranges.size() / 10;
  if (tenth == 0) throw std::runtime_error("too few ranges to tell their first tenth from the last");
  auto const cost_of = [&](std::size_t first, std::size_t last) {
    double rows = 0;
    for (std::size_t range = first; range <= last; ++range) rows += std::stod(ranges[range][1].value());
    return (std::stod(ranges[last][0].value()) - std::stod(ranges[first - 1][0].value())) / rows;
  };
  // The first range ends at an unknown time after its begin.
  return {cost_of(ranges.size() - tenth, ranges.size() - 1) / cost_of(1, tenth), whole.seconds};
}

Run Bench::program_through_proxy() {
  tests::FaultProxy proxy(stage_.cluster().port());
  proxy.set_delay(kProxyDelay);
  ProgramSettings const settings{4, 0, stage_.cluster().dir(), kFlatOut};
  return run("pgbackfill, 4 workers, 10 ms away", wide_,
             [&](std::string const&) { return run_pgbackfill(stage_.dsn_through(proxy.port()), settings); });
}

Sample Bench::delay_cost() {
  auto const near = program("pgbackfill, 4 workers", wide_, {4, 0, {}});
  auto const far = program_through_proxy();
  return {(far.seconds / near.seconds - 1) * 100, far.seconds};
}

// Large runs take long: that of another figure will do.
Sample Bench::memory_growth(TableShape const& shape) {
  auto const small = program("pgbackfill, 1 worker", {100'000, shape.is_narrow}, {1, 0, {}});
  auto const& known = runs_["pgbackfill, 1 worker"];
  auto const found = std::find_if(known.begin(), known.end(), [&](Run const& run) { return run.rows == shape.rows; });
  auto const large = found != known.end() ? *found : program("pgbackfill, 1 worker", shape, {1, 0, {}});
  auto const bytes = [](Run const& run) { return static_cast<double>(run.cost.peak_memory_bytes); };
  return {(bytes(large) / bytes(small) - 1) * 100, large.seconds};
}

void Bench::add(Figure figure, int pairs, std::function<Sample()> measure) {
  if (!settings_.figure.empty() && settings_.figure != figure.name) return;
  measurements_.push_back({std::move(figure), pairs, std::move(measure)});
}

void Bench::make_figures() {
  int const pairs = settings_.pairs;
  TableShape const loop{settings_.loop_rows, false};
  add({"update", "2 workers, against one UPDATE", Bar::kAtLeast, 1.4, "x"}, pairs, [this] {
    update_pairs_.push_back(update_pair());
    return speed(update_pairs_.back().first, update_pairs_.back().second);
  });
  add({"update_of_possible", "2 workers, against one UPDATE spread evenly over all processors", Bar::kAtLeast, 0.9,
       "x"},
      pairs, [this] {
        // The pairs of the figure before serve both.
        if (update_pairs_.empty()) update_pairs_.push_back(update_pair());
        auto const [ours, reference] = update_pairs_.back();
        update_pairs_.pop_back();
        return speed_of_possible(ours, reference);
      });
  add({"update_one_worker", "1 worker, against one UPDATE", Bar::kAtLeast, 0.95, "x"}, pairs, [this] {
    auto const ours = program("pgbackfill, 1 worker", wide_, {1, 0, {}});
    return speed(ours, other("one UPDATE", wide_, run_one_update));
  });
  add({"loop", fmt::format("2 workers, against the loop over the rest, {} rows", loop.rows), Bar::kAtLeast, 12, "x"},
      pairs, [this, loop] {
        auto const ours = program("pgbackfill, 2 workers", loop, {});
        return speed(ours, other("loop over the rest", loop, run_rest_loop));
      });
  add({"touch", "1 worker, against touching rows for a trigger", Bar::kAtLeast, 2, "x"}, pairs, [this] {
    auto const ours = program("pgbackfill, 1 worker", wide_, {1, 0, {}});
    return speed(ours, other("touch loop with a trigger", wide_, run_touch_loop, prepare_touch_loop));
  });
  add({"flat", "time of a row, last tenth over first", Bar::kAtMost, 1.15, "x"}, pairs,
      [this] { return flatness(wide_); });
  add({"checkpoint", "1 worker, over the same batches alone", Bar::kAtMost, 5, "%"}, pairs,
      [this] { return checkpoint_cost(); });
  // Says the same on a machine that is too busy to tell by the clock.
  add({"checkpoint_cpu", "the same, the server's CPU", Bar::kAtMost, 5, "%"}, pairs,
      [this] { return checkpoint_cpu(); });
  add({"delay", "4 workers, 5 ms more each way", Bar::kAtMost, 15, "%"}, pairs, [this] { return delay_cost(); });
  add({"memory", "peak memory of the program", Bar::kAtMost, 48, "MiB"}, pairs, [this] {
    auto const ours = program("pgbackfill, 2 workers", wide_, {});
    return Sample{static_cast<double>(ours.cost.peak_memory_bytes) / (1024 * 1024), ours.seconds};
  });
  add({"cpu", "CPU of the program, 2 workers", Bar::kAtMost, 3, "% of a core"}, pairs, [this] {
    auto const ours = program("pgbackfill, 2 workers", wide_, {});
    return Sample{ours.cost.cpu_seconds / ours.seconds * 100, ours.seconds};
  });
  add_bloat();
  if (settings_.narrow_rows > 0) add_large();
}

void Bench::add_bloat() {
  add({"bloat_size", "growth of the table's file with the default budget, of which 13 % are wider rows", Bar::kAtMost,
       20, "%"},
      settings_.pairs, [this] {
        bloat_pairs_.push_back(bloat_pair());
        auto const& small = bloat_pairs_.back().first;
        double const ratio = static_cast<double>(small.heap_bytes) / static_cast<double>(small.heap_bytes_before);
        return Sample{(ratio - 1) * 100, small.seconds};
      });
  add({"bloat_time", "time that it costs, over a run that lets the table double", Bar::kAtMost, 25, "%"},
      settings_.pairs, [this] {
        // The pairs of the figure before serve both.
        if (bloat_pairs_.empty()) bloat_pairs_.push_back(bloat_pair());
        auto const [small, large] = bloat_pairs_.back();
        bloat_pairs_.pop_back();
        return Sample{(small.seconds / large.seconds - 1) * 100, small.seconds};
      });
}

void Bench::add_large() {
  TableShape const narrow{settings_.narrow_rows, true};
  add({"flat_large", fmt::format("the same, {} narrow rows", narrow.rows), Bar::kAtMost, 1.15, "x"}, 1,
      [this, narrow] { return flatness(narrow); });
  add({"memory_large", fmt::format("peak memory, {} rows over 100000", narrow.rows), Bar::kAtMost, 10, "%"}, 1,
      [this, narrow] { return memory_growth(narrow); });
}

void measure_figure(benchmark::State& state, Measurement& measurement) {
  auto& figure = measurement.figure;
  for (auto _ : state) {
    auto const sample = measurement.measure();
    figure.values.push_back(sample.figure);
    state.SetIterationTime(sample.seconds);
    std::cerr << fmt::format("  {}: {:.3f} {}\n", figure.name, sample.figure, figure.unit);
  }
  state.counters["figure"] = median(figure.values);
}

void Bench::register_figures() {
  for (auto& measurement : measurements_) {
    auto* const registered =
        benchmark::RegisterBenchmark(measurement.figure.name.c_str(),
                                     [&measurement](benchmark::State& state) { measure_figure(state, measurement); });
    registered->UseManualTime()->Unit(benchmark::kSecond)->Iterations(measurement.pairs);
  }
}

double median_of(std::vector<Run> const& runs, double (*value)(Run const&)) {
  std::vector<double> values;
  for (auto const& run : runs) values.push_back(value(run));
  return median(std::move(values));
}

void Bench::print() const {
  std::vector<Figure> figures;
  for (auto const& measurement : measurements_) figures.push_back(measurement.figure);
  print_figures(std::cout, figures);
  std::cout << "\n| contestant | rows | runs | seconds | rows/s | processors busy, % | server CPU us a row | WAL bytes "
               "a row | table after, "
               "MiB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (auto const& [contestant, runs] : runs_) {
    std::map<std::int64_t, std::vector<Run>> by_rows;
    for (auto const& run : runs) by_rows[run.rows].push_back(run);
    for (auto const& [rows, same] : by_rows) {
      double const seconds = median_of(same, [](Run const& run) { return run.seconds; });
      double const cpu = median_of(same, [](Run const& run) { return run.server_cpu_seconds; });
      double const busy = median_of(same, [](Run const& run) { return run.busy_share; });
      double const wal = median_of(same, [](Run const& run) { return static_cast<double>(run.wal_bytes); });
      double const table = median_of(same, [](Run const& run) { return static_cast<double>(run.table_bytes); });
      std::cout << fmt::format("| {} | {} | {} | {:.2f} | {:.0f} | {:.0f} | {:.2f} | {:.0f} | {:.0f} |\n", contestant,
                               rows, same.size(), seconds, static_cast<double>(rows) / seconds, busy * 100,
                               cpu * 1e6 / static_cast<double>(rows), wal / static_cast<double>(rows),
                               table / (1024 * 1024));
    }
  }
}

// Takes this program's own options out of the command line.
std::optional<Settings> parse_settings(int& argc, char** argv) {
  Settings settings;
  std::map<std::string_view, std::int64_t> numbers = {
      {"rows", settings.rows}, {"loop-rows", settings.loop_rows}, {"narrow-rows", 0}, {"pairs", settings.pairs}};
  int kept = 1;
  for (int index = 1; index < argc; ++index) {
    std::string_view const argument(argv[index]);
    auto const equals = argument.find('=');
    std::string_view const name = argument.substr(0, equals).substr(std::min<std::size_t>(2, argument.size()));
    bool const has_value = argument.starts_with("--") && equals != std::string_view::npos;
    if (has_value && numbers.contains(name)) {
      numbers[name] = std::atoll(argv[index] + equals + 1);
    } else if (has_value && name == "figure") {
      settings.figure = argument.substr(equals + 1);
    } else {
      argv[kept++] = argv[index];
    }
  }
  argc = kept;
  settings.rows = numbers["rows"];
  settings.loop_rows = numbers["loop-rows"];
  settings.narrow_rows = numbers["narrow-rows"];
  settings.pairs = static_cast<int>(numbers["pairs"]);
  if (settings.rows < 1 || settings.loop_rows < 1 || settings.narrow_rows < 0 || settings.pairs < 1) return {};
  return settings;
}

int bench_main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  auto const settings = parse_settings(argc, argv);
  if (!settings || benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  Bench bench(*settings);
  if (bench.is_empty()) {
    std::cerr << "there is no figure '" << settings->figure << "'\n";
    return 2;
  }
  bench.register_figures();
  benchmark::RunSpecifiedBenchmarks();
  bench.print();
  return 0;
}

}  // namespace
}  // namespace pgbackfill::bench

int main(int argc, char** argv) {
  try {
    return pgbackfill::bench::bench_main(argc, argv);
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
