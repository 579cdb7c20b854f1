// Micro benches of the throttle: what a decision costs beside a batch of some 100 ms. Links benchmark_main.
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "throttle/backoff.h"
#include "throttle/batch_sizer.h"
#include "throttle/row_pace.h"
#include "throttle/windows.h"

namespace pgbackfill::throttle {
namespace {

void sizer_records_and_answers(benchmark::State& state) {
  BatchSizer sizer({});
  std::int64_t row_ns = 19'000;
  for (auto _ : state) {
    row_ns = row_ns == 19'000 ? 21'000 : 19'000;
    sizer.record({sizer.rows(), std::chrono::nanoseconds{sizer.rows() * row_ns}, false});
    benchmark::DoNotOptimize(sizer.rows());
  }
}
BENCHMARK(sizer_records_and_answers);

void pace_asks_and_charges(benchmark::State& state) {
  RowPace pace(100'000);
  TimePoint now{};
  for (auto _ : state) {
    now += std::chrono::milliseconds{1} + pace.wait_before(now);
    pace.charge(500, now);
    benchmark::DoNotOptimize(pace);
  }
}
BENCHMARK(pace_asks_and_charges);

void backoff_delays(benchmark::State& state) {
  int attempt = 0;
  for (auto _ : state) benchmark::DoNotOptimize(backoff_delay(attempt++ % 16, {}, 0.5));
}
BENCHMARK(backoff_delays);

Schedule schedule_of(std::vector<std::string> const& texts) {
  std::vector<Window> windows;
  for (auto const& text : texts) windows.push_back(std::get<Window>(parse_window(text)));
  return Schedule(windows);
}

Schedule nights_and_weekends() {
  return schedule_of({"Mon-Fri 22:00-06:00 Europe/Berlin", "Sat-Sun Europe/Berlin"});
}

SystemTime midweek(int hour) {
  // A Wednesday in June.
  return SystemTime{std::chrono::hours{24 * 20'614 + hour}};
}

void schedule_is_open(benchmark::State& state) {
  auto const schedule = nights_and_weekends();
  for (auto _ : state) benchmark::DoNotOptimize(schedule.is_open(midweek(1)));
}
BENCHMARK(schedule_is_open);

void schedule_opens_at(benchmark::State& state) {
  auto const schedule = nights_and_weekends();
  for (auto _ : state) benchmark::DoNotOptimize(schedule.opens_at(midweek(12)));
}
BENCHMARK(schedule_opens_at);

void schedule_closes_at(benchmark::State& state) {
  auto const schedule = nights_and_weekends();
  for (auto _ : state) benchmark::DoNotOptimize(schedule.closes_at(midweek(1)));
}
BENCHMARK(schedule_closes_at);

// The dearest question: proving that a schedule never closes walks through more than a year.
void schedule_never_closes(benchmark::State& state) {
  auto const schedule = schedule_of({"Mon-Fri Europe/Berlin", "Sat-Sun Europe/Berlin"});
  for (auto _ : state) benchmark::DoNotOptimize(schedule.closes_at(midweek(1)));
}
BENCHMARK(schedule_never_closes)->Unit(benchmark::kMicrosecond);

void window_is_parsed(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(parse_window("Mon-Fri 22:00-06:00 Europe/Berlin"));
}
BENCHMARK(window_is_parsed);

}  // namespace
}  // namespace pgbackfill::throttle
