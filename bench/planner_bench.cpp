// Micro benches of the planner: what the text of a batch and the walk cost beside a batch of some 100 ms. Links
// benchmark_main.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <string>
#include <vector>

#include "planner/keys/range_walk.h"
#include "planner/model/key.h"
#include "planner/model/ranges.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::planner {
namespace {

KeyColumn column(std::string const& name, bool descending = false) {
  return {name, "bigint", "", "", descending, descending};
}

Key single_key() {
  return {"pkey", {column("id")}};
}

Key composite_key() {
  return {"pkey", {column("tenant"), column("day"), column("id")}};
}

Key mixed_key() {
  return {"pkey", {column("tenant"), column("day", true), column("id")}};
}

Interval interval_of(Key const& key) {
  KeyValue const lo(key.columns.size(), "1000000");
  KeyValue const hi(key.columns.size(), "1005000");
  return {lo, hi};
}

WorkTarget target_of(Key const& key) {
  WorkTarget target;
  target.backfill.assignments = {{{}, "display_name", "upper(name)"}};
  target.backfill.where = "display_name IS NULL";
  target.key = key;
  target.relation = "\"public\".\"users\"";
  target.alias = "\"users\"";
  target.server_major = 15;
  return target;
}

void condition_of_an_interval(benchmark::State& state, Key const& key) {
  auto const interval = interval_of(key);
  std::string const alias = "\"users\"";
  for (auto _ : state) benchmark::DoNotOptimize(interval_condition(key, interval, alias));
}
BENCHMARK_CAPTURE(condition_of_an_interval, single, single_key());
BENCHMARK_CAPTURE(condition_of_an_interval, composite, composite_key());
BENCHMARK_CAPTURE(condition_of_an_interval, mixed, mixed_key());

void text_of_a_batch(benchmark::State& state, BatchMode mode) {
  auto const target = target_of(composite_key());
  auto const interval = interval_of(target.key);
  for (auto _ : state) benchmark::DoNotOptimize(batch_work(target, interval, mode));
}
BENCHMARK_CAPTURE(text_of_a_batch, plain, BatchMode::kPlain);
BENCHMARK_CAPTURE(text_of_a_batch, skip_locked, BatchMode::kSkipLocked);

void text_of_a_look_ahead(benchmark::State& state, Key const& key) {
  auto const target = target_of(key);
  auto const interval = interval_of(key);
  for (auto _ : state) benchmark::DoNotOptimize(look_ahead_sql(target, interval, 5'000));
}
BENCHMARK_CAPTURE(text_of_a_look_ahead, single, single_key());
BENCHMARK_CAPTURE(text_of_a_look_ahead, mixed, mixed_key());

void table_is_cut_by_bounds(benchmark::State& state) {
  std::vector<KeyValue> bounds;
  for (int number = 0; number < 10'000; ++number) bounds.push_back({std::to_string(number)});
  Bound const upper = KeyValue{"10000"};
  for (auto _ : state) benchmark::DoNotOptimize(cut_by_bounds(bounds, upper, 1'000'000'000));
}
BENCHMARK(table_is_cut_by_bounds);

void walk_goes_on_by_a_batch(benchmark::State& state) {
  Lease lease;
  lease.hi = KeyValue{"1000000000000"};
  RangeWalk walk(lease, {});
  walk.record_page({5'000, KeyValue{"5000"}});
  std::int64_t last = 5'000;
  for (auto _ : state) {
    benchmark::DoNotOptimize(walk.next(5'000));
    BatchDone done;
    done.rows_changed = 5'000;
    last += 5'000;
    done.next = {5'000, KeyValue{std::to_string(last)}};
    walk.record(done);
  }
}
BENCHMARK(walk_goes_on_by_a_batch);

}  // namespace
}  // namespace pgbackfill::planner
