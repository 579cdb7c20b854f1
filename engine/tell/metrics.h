// What the engine tells, as Prometheus metrics: events in, the text that a scrape gets out. And what the state tables
// say of all jobs, for an exporter that works on none.
//
// Names, types, labels and meanings are two tables, metric_definitions() and exporter_metric_definitions(), which
// docs/operations.md repeats. A value that
// is not known (never asked for, NULL, not shown to this role, of a replica that went away) is left out and never 0;
// how old a reading is, and why there is none, are metrics of their own. Units are Prometheus's base units: seconds,
// bytes, ratios of 1. The only place that knows prometheus-cpp.
//
// It never reads a clock and never waits. Thread rule: one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/events.h"

namespace pgbackfill::engine {

enum class MetricType { kCounter, kGauge, kHistogram };

struct MetricDefinition {
  std::string_view name;
  MetricType type = MetricType::kGauge;
  std::string_view labels;  // besides `migration`, which all but build info have: "replica, address"
  std::string_view help;    // unit and meaning
};

// Of a run, in the order in which a scrape shows them.
std::span<MetricDefinition const> metric_definitions();
// What an exporter shows beside pgbackfill_build_info and some pgbackfill_job_... of those above.
std::span<MetricDefinition const> exporter_metric_definitions();

// A job as the database has it.
struct JobShown {
  std::string migration;
  bool is_readable = true;  // false: only the name is known
  std::string status;       // empty: the migration has no backfill, or none has begun
  std::string table;        // plain: public.users
  std::int64_t rows_done = 0;
  std::int64_t rows_changed = 0;
  std::int64_t rows_estimated = 0;
  std::int64_t ranges = 0;
  std::int64_t ranges_open = 0;
  std::int64_t deferred = 0;
  std::int64_t quarantined = 0;
  std::int64_t processes = 0;
  std::optional<std::chrono::milliseconds> last_batch_age;
  std::chrono::milliseconds elapsed{0};
};

struct JobsShown {
  std::chrono::steady_clock::time_point read_at;
  std::chrono::nanoseconds reading_took{0};
  std::vector<JobShown> jobs;
};

// Null: the state could not be read, and nothing is known of any job.
std::string exporter_text(JobsShown const* shown, std::chrono::steady_clock::time_point now);

class Metrics {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // The content type of text().
  static constexpr char kContentType[] = "text/plain; version=0.0.4; charset=utf-8";

  explicit Metrics(std::string const& migration);
  ~Metrics();

  // `at` is when the event was told.
  void take(Event const& event, TimePoint at);
  // The engine's thread was alive then.
  void take_beat(TimePoint at);
  // Events that never came here because there were too many; all so far.
  void set_events_lost(std::int64_t lost);

  std::string text(TimePoint now) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace pgbackfill::engine
