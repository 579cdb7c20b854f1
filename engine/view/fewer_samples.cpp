#include "engine/view/fewer_samples.h"

#include <algorithm>
#include <cstdint>

namespace pgbackfill::engine {

namespace {

bool is_beside(StoredSample const& before, StoredSample const& sample) {
  std::int64_t const unseen = sample.at_ms - before.at_ms - sample.took.count();
  return sample.phase == before.phase && sample.at_ms > before.at_ms && unseen <= kSampleInterval.count();
}

void take_worst(std::map<std::string, std::int64_t>& all, std::map<std::string, std::int64_t> const& more) {
  for (auto const& [name, amount] : more) all[name] = std::max(all[name], amount);
}

void join(StoredSample& one, StoredSample const& next) {
  double const before = static_cast<double>(one.took.count());
  double const added = static_cast<double>(next.took.count());
  if (before + added > 0) {
    one.wal_per_second = (one.wal_per_second * before + next.wal_per_second * added) / (before + added);
  }
  one.took += next.took;
  one.at_ms = next.at_ms;
  one.rows_done = next.rows_done;
  one.rows_changed = next.rows_changed;
  one.workers = next.workers;
  one.processes = std::max(one.processes, next.processes);
  if (next.batch_rows) one.batch_rows = next.batch_rows;
  if (next.batch_duration)
    one.batch_duration = std::max(one.batch_duration.value_or(*next.batch_duration), *next.batch_duration);
  if (next.latency_ratio) one.latency_ratio = std::max(one.latency_ratio.value_or(0), *next.latency_ratio);
  one.waiters = std::max(one.waiters, next.waiters);
  if (next.table_bytes) one.table_bytes = next.table_bytes;
  if (!next.held_by.empty()) one.held_by = next.held_by;
  take_worst(one.lag_ms, next.lag_ms);
  for (auto const& [cause, time] : next.held_ms) one.held_ms[cause] += time;
}

}  // namespace

std::vector<StoredSample> fewer_samples(std::vector<StoredSample> const& samples, std::size_t most) {
  if (samples.size() <= most || most == 0) return samples;
  std::size_t const together = (samples.size() + most - 1) / most;
  // The first one is where the time begins, and of none.
  std::vector<StoredSample> fewer = {samples.front()};
  std::size_t joined = together;
  for (std::size_t at = 1; at < samples.size(); ++at) {
    bool const goes_on = joined < together && is_beside(samples[at - 1], samples[at]);
    if (goes_on) {
      join(fewer.back(), samples[at]);
      ++joined;
    } else {
      fewer.push_back(samples[at]);
      joined = 1;
    }
  }
  return fewer;
}

}  // namespace pgbackfill::engine
