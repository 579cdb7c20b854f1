// A server with a replica and a foreground load, as far as a throttle can tell: the plant of docs/throttle.md#figures,
// in virtual time. One run is a function of its options.
//
// The replica replays a queue of WAL at a capacity; its lag is the age of the queue's head. The primary slows down with
// the share of its cores that is busy, as a queue with that many servers does, and so do our batches. Sensors come
// late, freeze, or tell nothing. The backfill is a pool of workers that obeys a law's decisions as the engine's does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "throttle/limits.h"
#include "throttle/throttle.h"

namespace pgbackfill::tests {

// What decides: a throttle, or what people do without one.
class Law {
 public:
  virtual ~Law() = default;
  virtual throttle::Decision decide(throttle::Reading const& reading, throttle::Work const& work,
                                    throttle::TimePoint now) = 0;
  virtual double wal_bytes_per_row() const = 0;
  virtual double decision_seconds() const = 0;
  virtual double replication_seconds() const = 0;
};

std::unique_ptr<Law> our_law(throttle::Limits limits);
// All or nothing, by the lag against a threshold.
std::unique_ptr<Law> on_off_law(double threshold_seconds);
// So many workers, whatever happens.
std::unique_ptr<Law> fixed_law(double workers);

// A course over time, in seconds since the start.
using Course = std::function<double(double)>;
Course always(double value);
Course step(double before, double after, double at);

enum class Blindness {
  kNoReading,    // the sensor's connection hangs
  kFailing,      // the question fails
  kNull,         // the row has no position
  kSilent,       // the receiver is frozen: the last position again and again
  kPauseOfNone,  // not blind
};

struct PlantOptions {
  std::uint64_t seed = 1;
  double seconds = 180;
  double moment = 0;  // of the disturbance, for those who measure

  Course capacity = always(40e6);        // of the replica, bytes of WAL per second
  Course foreground_wal = always(10e6);  // bytes per second
  double noise = 0;                      // of both, 1: as H8 says
  bool has_full_pages = false;           // WAL triples after each checkpoint, and calms down
  double transport_seconds = 0.05;

  Course foreground_load = always(0.1);  // share of the cores
  int cores = 64;
  double canary_noise = 0.3;

  double sensor_seconds = 0.15;
  double sensor_loss = 0;  // share of readings
  Blindness blindness = Blindness::kPauseOfNone;
  double blind_from = 0;
  double blind_to = 0;

  int workers = 8;
  double worker_wal = 7.5e6;  // bytes per second of one worker on an idle server
  double batch_seconds = 0.25;
  double row_bytes = 300;
  bool does_server_count_own_wal = false;  // as PostgreSQL 18 does
};

struct PlantPoint {
  double at = 0;
  double lag = 0;
  double own_bytes = 0;  // written since the last point
  double allowed = 0;    // bytes per second; the law's word
  double workers = 0;    // in flight, smoothed
  double p99_ratio = 1;  // of the foreground, to what it would be without us
  double ideal_workers = 0;
};

struct PlantRun {
  double moment = 0;
  std::vector<PlantPoint> points;
  std::vector<throttle::Decision> decisions;

  double own_rate(double from, double to) const;
  double highest_lag(double from, double to) const;
  double lag_quantile(double from, double to, double share) const;
  double p99_quantile(double from, double to, double share) const;
  double mean_p99(double from, double to) const;
  double share_of_time_above(double lag, double from, double to) const;
  // Coefficient of variation of the rate in bins of a second.
  double rate_variation(double from, double to) const;
  // Seconds from `from` until the middle of the first second in which the rate is at least this; nullopt: never.
  std::optional<double> seconds_until_rate(double from, double rate) const;
  // Workers in flight as a share of the ideal.
  double share_of_ideal(double from, double to) const;
};

PlantRun run_plant(PlantOptions const& options, Law& law);

// The slow-down that a queue of so many servers shows, and the foreground's p99 by it.
double slow_down(double load, int cores);
double p99_at(double load, int cores);
double ideal_workers(double foreground_load, int cores, double most_p99_ratio);

}  // namespace pgbackfill::tests
