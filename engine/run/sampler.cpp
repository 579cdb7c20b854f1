#include "engine/run/sampler.h"

#include <algorithm>
#include <utility>

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

constexpr auto kRestInterval = 60s;
// Phases may change to and fro.
constexpr auto kLeastInterval = 1s;
// Decisions come several times a second: after a longer time the process stood still, and nothing held its work back.
constexpr nanoseconds kLongestHold = 5s;
// A sentence about a cause is shorter; what was put into it from outside may be anything.
constexpr std::size_t kMostHeldByBytes = 300;
constexpr std::size_t kMostReplicas = 32;

bool rests(RunPhase phase) {
  return phase == RunPhase::kPaused || phase == RunPhase::kOutsideWindow;
}

// No byte of a letter is left alone.
std::string cut(std::string text) {
  if (text.size() <= kMostHeldByBytes) return text;
  std::size_t end = kMostHeldByBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  text.resize(end);
  return text + "...";
}

}  // namespace

char const* sample_phase(RunPhase phase) {
  switch (phase) {
    case RunPhase::kBackfilling:
      return "backfill";
    case RunPhase::kSweeping:
      return "sweep";
    case RunPhase::kDeferred:
      return "deferred";
    case RunPhase::kFollowing:
      return "following";
    case RunPhase::kPaused:
      return "paused";
    case RunPhase::kOutsideWindow:
      return "window";
    case RunPhase::kDraining:
      return "stopping";
    case RunPhase::kEnded:
      return "ended";
    case RunPhase::kStarting:
    case RunPhase::kExpanding:
    case RunPhase::kContracting:
    case RunPhase::kPlanning:
      break;  // no worker is at work
  }
  return "starting";
}

void Sampler::see(throttle::Reading const& reading, std::optional<double> latency_ratio) {
  if (reading.replication.is_seen()) see_lag(reading.replication.value);
  if (latency_ratio) gathered_.latency_ratio = std::max(gathered_.latency_ratio.value_or(0), *latency_ratio);
  if (reading.waiters.is_seen()) {
    gathered_.waiters = std::max<std::int64_t>(gathered_.waiters, reading.waiters.value.waiters);
  }
  bool const knows_size = reading.health.is_seen() && reading.health.value.vacuum.is_seen();
  if (!knows_size) return;
  auto const bytes = reading.health.value.vacuum.value.table_bytes;
  if (bytes > 0) gathered_.table_bytes = static_cast<std::int64_t>(bytes);
}

void Sampler::see_lag(throttle::ReplicationReading const& replication) {
  lsn_clock_.see(replication.at, replication.flushed);
  for (auto const& replica : replication.replicas) {
    if (!replica.replayed.is_seen()) continue;
    bool const is_known = gathered_.lag_ms.contains(replica.name);
    if (!is_known && gathered_.lag_ms.size() >= kMostReplicas) continue;
    auto const replayed = std::min(replica.replayed.value, replication.flushed);
    auto const age = std::chrono::duration_cast<milliseconds>(lsn_clock_.age_of(replayed, replication.at).age);
    auto& worst = gathered_.lag_ms[replica.name];
    worst = std::max<std::int64_t>(worst, age.count());
  }
}

void Sampler::see_held(std::vector<std::string> const& kinds, std::string const& first, TimePoint now) {
  auto const since = std::exchange(held_seen_at_, now);
  if (!kinds.empty() && !first.empty()) gathered_.held_by = cut(first);
  if (!since) return;
  auto const passed = std::min<nanoseconds>(now - *since, kLongestHold);
  for (auto const& kind : kinds) held_[kind] += passed;
}

void Sampler::see_batch(std::int64_t rows, nanoseconds duration) {
  ++batches_;
  batch_rows_ += rows;
  batch_time_ += duration;
}

Sampler::Due Sampler::due(RunPhase phase, TimePoint now) const {
  if (!taken_at_) return Due::kAtTurn;
  bool const is_another = taken_phase_ != phase;
  bool const is_end = phase == RunPhase::kEnded;
  if (is_another && (is_end || now - *taken_at_ >= kLeastInterval)) return Due::kAtTurn;
  nanoseconds const interval = rests(phase) ? nanoseconds(kRestInterval) : nanoseconds(kSampleInterval);
  return now - *taken_at_ >= interval ? Due::kInTurn : Due::kNo;
}

JobSample Sampler::take(RunPhase phase, TimePoint now) {
  auto sample = std::exchange(gathered_, JobSample());
  auto const since = std::exchange(taken_at_, now);
  // That of the time before, which ends with a turn.
  sample.phase = sample_phase(std::exchange(taken_phase_, phase).value_or(phase));
  if (since) sample.took = std::chrono::duration_cast<milliseconds>(now - *since);
  if (batches_ > 0) {
    sample.batch_rows = batch_rows_ / batches_;
    sample.batch_duration = std::chrono::duration_cast<milliseconds>(batch_time_ / batches_);
  }
  batches_ = 0;
  batch_rows_ = 0;
  batch_time_ = nanoseconds{0};
  for (auto const& [kind, time] : std::exchange(held_, {})) {
    auto const held = std::min(std::chrono::duration_cast<milliseconds>(time), sample.took);
    if (held.count() > 0) sample.held_ms[kind] = held.count();
  }
  return sample;
}

}  // namespace pgbackfill::engine
