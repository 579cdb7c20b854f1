// What the engine tells, as Prometheus metrics: events in, the text that a scrape gets out.
//
// Names, types, labels and meanings are one table, metric_definitions(), which docs/operations.md repeats. A value that
// is not known (never asked for, NULL, not shown to this role, of a replica that went away) is left out and never 0;
// how old a reading is, and why there is none, are metrics of their own. Units are Prometheus's base units: seconds,
// bytes, ratios of 1. The only place that knows prometheus-cpp.
//
// It never reads a clock and never waits. Thread rule: one thread at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/base/events.h"

namespace pgbackfill::engine {

enum class MetricType { kCounter, kGauge, kHistogram };

struct MetricDefinition {
  std::string_view name;
  MetricType type = MetricType::kGauge;
  std::string_view labels;  // besides `migration`, which all but build info have: "replica, address"
  std::string_view help;    // unit and meaning
};

// In the order in which a scrape shows them.
std::span<MetricDefinition const> metric_definitions();

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
