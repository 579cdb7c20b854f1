#include "engine/tell/metrics.h"

#include <prometheus/client_metric.h>
#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <iterator>
#include <map>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

#include "engine/base/plain_name.h"
#include "engine/base/text.h"
#include "engine/view/progress_view.h"
#include "throttle/lsn_clock.h"

namespace pgbackfill::engine {

namespace {

using throttle::CauseKind;
using throttle::Grip;
using throttle::Mode;
using throttle::ReplicaKind;
using throttle::ReplicaState;
using throttle::Sight;
using TimePoint = Metrics::TimePoint;

constexpr auto kCounter = MetricType::kCounter;
constexpr auto kGauge = MetricType::kGauge;
constexpr auto kHistogram = MetricType::kHistogram;

// --- The table ------------------------------------------------------------------------------------------------------

constexpr std::array kDefinitions{
    // The process.
    MetricDefinition{"pgbackfill_build_info", kGauge, "version", "Always 1; the version of pgbackfill is its label."},
    MetricDefinition{"pgbackfill_job_info", kGauge, "table", "Always 1; the table of the backfill is its label."},
    MetricDefinition{"pgbackfill_phase", kGauge, "phase", "1 for the phase that this process is in, 0 for the others."},
    MetricDefinition{"pgbackfill_may_start", kGauge, "",
                     "1 if a batch may start now; 0 while paused, outside the windows, stopped by the throttle, or "
                     "without a fresh reading of the job."},
    MetricDefinition{"pgbackfill_run_elapsed_seconds", kGauge, "", "Seconds that this process has worked on the job."},
    MetricDefinition{"pgbackfill_run_exit_code", kGauge, "",
                     "Exit code with which this process is about to end: 0 done, 1 failed, 4 ended early, 5 paused or "
                     "cancelled; there only at the very end."},
    MetricDefinition{"pgbackfill_engine_silent_seconds", kGauge, "",
                     "Seconds since the thread that does the work was last known to be alive."},
    MetricDefinition{"pgbackfill_progress_age_seconds", kGauge, "",
                     "Age in seconds of the progress that is shown here."},
    MetricDefinition{"pgbackfill_events_lost_total", kCounter, "",
                     "Events that were not counted here because they came faster than they could be."},
    // The job, as the database has it: all processes and all runs together.
    MetricDefinition{"pgbackfill_job_rows_done", kGauge, "",
                     "Rows that the job has passed, by all processes and runs."},
    MetricDefinition{"pgbackfill_job_rows_changed", kGauge, "",
                     "Rows that the job has changed, by all processes and runs."},
    MetricDefinition{"pgbackfill_job_rows_estimated", kGauge, "", "Rows that the job will pass, as estimated."},
    MetricDefinition{"pgbackfill_job_rows_per_second", kGauge, "",
                     "Rows per second that all processes passed over the last few seconds."},
    MetricDefinition{"pgbackfill_job_ranges", kGauge, "", "Key ranges of the job."},
    MetricDefinition{"pgbackfill_job_ranges_open", kGauge, "", "Key ranges of the job that are not done."},
    MetricDefinition{"pgbackfill_job_rows_deferred", kGauge, "",
                     "Rows that somebody else held locked and that are still to be visited again."},
    MetricDefinition{"pgbackfill_job_rows_quarantined", kGauge, "",
                     "Rows that failed by themselves and were set aside."},
    // The work of this process.
    MetricDefinition{"pgbackfill_batches_total", kCounter, "", "Batches that this process committed."},
    MetricDefinition{"pgbackfill_batch_rows_total", kCounter, "", "Rows passed by the batches of this process."},
    MetricDefinition{"pgbackfill_batch_failures_total", kCounter, "", "Batches of this process that failed."},
    MetricDefinition{"pgbackfill_batch_duration_seconds", kHistogram, "",
                     "Seconds that a committed batch took, from sending it to its answer."},
    MetricDefinition{"pgbackfill_batch_lock_wait_seconds", kHistogram, "",
                     "Seconds that a batch waited for a lock until lock_timeout ended it; waits that ended with the "
                     "lock are part of the batch's duration."},
    MetricDefinition{"pgbackfill_batch_rows", kGauge, "", "Rows of the latest batch."},
    MetricDefinition{"pgbackfill_batch_target_seconds", kGauge, "", "Seconds that a batch is meant to take."},
    MetricDefinition{"pgbackfill_failures_total", kCounter, "sqlstate, class",
                     "Failed calls to the database, most of them tried again, by SQLSTATE and its class (the first two "
                     "characters); 08006 stands for a lost connection."},
    MetricDefinition{"pgbackfill_workers", kGauge, "", "Workers of this process."},
    MetricDefinition{"pgbackfill_batches_in_flight", kGauge, "", "Batches of this process that are running."},
    MetricDefinition{"pgbackfill_workers_wanted", kGauge, "", "Workers that would run if nothing held them back."},
    MetricDefinition{"pgbackfill_wal_bytes_total", kCounter, "",
                     "Bytes of WAL that the batches of this process wrote, as the throttle estimates them."},
    // What the throttle says.
    MetricDefinition{"pgbackfill_throttle_mode", kGauge, "mode", "1 for the mode of the throttle, 0 for the others."},
    MetricDefinition{"pgbackfill_throttle_decision_age_seconds", kGauge, "", "Age in seconds of the latest decision."},
    MetricDefinition{"pgbackfill_throttle_may_start", kGauge, "", "1 if the throttle lets batches start, 0 if not."},
    MetricDefinition{"pgbackfill_throttle_must_stop", kGauge, "", "1 if the throttle wants the run to end, 0 if not."},
    MetricDefinition{"pgbackfill_throttle_wal_limit_bytes_per_second", kGauge, "",
                     "Bytes of WAL per second that batches may write now; +Inf is unlimited."},
    MetricDefinition{"pgbackfill_throttle_workers_limit", kGauge, "",
                     "Batches that may be in flight now, a fraction being a share of the time; +Inf is unlimited."},
    MetricDefinition{"pgbackfill_throttle_batch_scale_ratio", kGauge, "",
                     "Share of its target time that a batch may take now, 0 to 1."},
    MetricDefinition{"pgbackfill_throttle_batch_limit_seconds", kGauge, "",
                     "Seconds that a batch may take at most beside others; +Inf is unlimited."},
    MetricDefinition{"pgbackfill_throttle_withheld_may_start", kGauge, "",
                     "In mode observe: what pgbackfill_throttle_may_start would be in mode on."},
    MetricDefinition{"pgbackfill_throttle_withheld_wal_limit_bytes_per_second", kGauge, "",
                     "In mode observe: bytes of WAL per second that would be allowed in mode on."},
    MetricDefinition{"pgbackfill_throttle_withheld_workers_limit", kGauge, "",
                     "In mode observe: batches in flight that would be allowed in mode on."},
    MetricDefinition{"pgbackfill_throttle_withheld_batch_scale_ratio", kGauge, "",
                     "In mode observe: share of its target time that a batch would be allowed in mode on."},
    MetricDefinition{"pgbackfill_throttle_causes", kGauge, "cause, grip",
                     "Causes of this kind that the latest decision names; grip says whether it only warns, slows or "
                     "stops."},
    MetricDefinition{"pgbackfill_throttle_held_back_seconds_total", kCounter, "cause, grip",
                     "Seconds for which causes of this kind slowed or stopped the work (in mode observe: would have); "
                     "several may at the same time."},
    // The readings.
    MetricDefinition{"pgbackfill_reading_state", kGauge, "reading, state",
                     "1 for the state of a reading (seen, or why there is none), 0 for the others."},
    MetricDefinition{"pgbackfill_reading_age_seconds", kGauge, "reading",
                     "Seconds since the latest value of a reading was asked for; absent if there never was one."},
    MetricDefinition{"pgbackfill_replica_state", kGauge, "replica, address, kind, state",
                     "1 for the state of a standby or logical slot, 0 for the others."},
    MetricDefinition{
        "pgbackfill_replica_lag_seconds", kGauge, "replica, address, kind",
        "Seconds that a standby or logical slot is behind: age of the oldest WAL that it has not replayed; "
        "at least that much if it is behind all that this process saw."},
    MetricDefinition{"pgbackfill_replica_lag_bytes", kGauge, "replica, address, kind",
                     "Bytes of WAL that a standby or logical slot has not replayed."},
    MetricDefinition{"pgbackfill_replica_reply_age_seconds", kGauge, "replica, address, kind",
                     "Seconds since a standby's last message to the primary, when it was asked for."},
    MetricDefinition{"pgbackfill_replica_apply_delay_seconds", kGauge, "replica, address, kind",
                     "Seconds that a standby is delayed on purpose (recovery_min_apply_delay), as the file says."},
    MetricDefinition{"pgbackfill_canary_latest_seconds", kGauge, "",
                     "Seconds that the latest probing commit took, as a foreground commit would feel it."},
    MetricDefinition{"pgbackfill_canary_commit_seconds", kHistogram, "",
                     "Seconds that probing commits took, as foreground commits would feel it."},
    MetricDefinition{"pgbackfill_lock_waiters", kGauge, "", "Sessions that wait for a lock of this process."},
    MetricDefinition{"pgbackfill_lock_waiter_longest_seconds", kGauge, "",
                     "Seconds that the longest waiting of these sessions has waited."},
    MetricDefinition{"pgbackfill_server_working_sessions", kGauge, "",
                     "Foreground sessions that run something, or did within the last 100 ms; none of pgbackfill's."},
    MetricDefinition{"pgbackfill_server_active_sessions", kGauge, "",
                     "Foreground sessions that run or wait for anything but their client; none of pgbackfill's."},
    MetricDefinition{"pgbackfill_server_free_connections", kGauge, "",
                     "Connections that an ordinary role can still open."},
    MetricDefinition{"pgbackfill_server_xmin_age_seconds", kGauge, "",
                     "Age in seconds of the oldest transaction that keeps dead rows from being removed."},
    MetricDefinition{"pgbackfill_server_writable", kGauge, "",
                     "1 if the server is a primary and not read-only, else 0."},
    MetricDefinition{"pgbackfill_server_wraparound_age_transactions", kGauge, "",
                     "Transactions since the oldest row version of the database that is not frozen."},
    MetricDefinition{"pgbackfill_server_wal_bytes_total", kCounter, "",
                     "Bytes of WAL that the server has written in its life, by everybody: its position in the WAL."},
    MetricDefinition{
        "pgbackfill_server_own_wal_bytes_total", kCounter, "",
        "Bytes of WAL that the sessions of this process wrote, as the server counts them (PostgreSQL 18)."},
    MetricDefinition{"pgbackfill_server_wal_records_total", kCounter, "",
                     "Records of WAL since the server's statistics were reset."},
    MetricDefinition{"pgbackfill_server_full_page_images_total", kCounter, "",
                     "Full page images in the WAL since the server's statistics were reset."},
    MetricDefinition{"pgbackfill_server_max_wal_size_bytes", kGauge, "", "The server's max_wal_size in bytes."},
    MetricDefinition{"pgbackfill_server_checkpoints_requested_total", kCounter, "",
                     "Checkpoints that were asked for, by WAL or by hand, since the server's statistics were reset."},
    MetricDefinition{"pgbackfill_server_checkpoints_timed_total", kCounter, "",
                     "Checkpoints by the clock since the server's statistics were reset."},
    MetricDefinition{"pgbackfill_slot_active", kGauge, "slot", "1 if the replication slot has a consumer, else 0."},
    MetricDefinition{"pgbackfill_slot_wal_status", kGauge, "slot, status",
                     "1; the slot's wal_status is a label: reserved, extended, unreserved or lost."},
    MetricDefinition{"pgbackfill_slot_retained_bytes", kGauge, "slot",
                     "Bytes of WAL that the server keeps for the slot."},
    MetricDefinition{"pgbackfill_slot_safe_wal_size_bytes", kGauge, "slot",
                     "Bytes of WAL that can still be written before the slot may be lost; absent without a limit."},
    MetricDefinition{"pgbackfill_archive_waiting_segments", kGauge, "",
                     "WAL segments that wait to be archived; absent if archiving is off."},
    MetricDefinition{"pgbackfill_archive_failures_total", kCounter, "",
                     "Failed attempts to archive a segment since the server's statistics were reset."},
    MetricDefinition{"pgbackfill_table_live_rows", kGauge, "",
                     "Live rows of the job's tables, as the server estimates."},
    MetricDefinition{"pgbackfill_table_dead_rows", kGauge, "",
                     "Dead rows of the job's tables, as the server estimates."},
    MetricDefinition{"pgbackfill_table_bytes", kGauge, "", "Bytes of the job's tables with their indexes and TOAST."},
    MetricDefinition{"pgbackfill_table_heap_bytes", kGauge, "", "Bytes of the job's tables without indexes and TOAST."},
    MetricDefinition{"pgbackfill_table_autovacuum_running", kGauge, "",
                     "1 while autovacuum works on a table of the job, else 0."},
    MetricDefinition{"pgbackfill_probe_value", kGauge, "probe",
                     "Latest value of a probe of the file, in the probe's unit."},
    MetricDefinition{"pgbackfill_probe_limit", kGauge, "probe", "Limit of a probe of the file, in the probe's unit."},
    MetricDefinition{"pgbackfill_neighbour_wal_bytes_per_second", kGauge, "neighbour",
                     "Bytes of WAL per second that another job on this server writes, as it says itself."},
    MetricDefinition{"pgbackfill_neighbour_batches_in_flight", kGauge, "neighbour",
                     "Batches in flight of another job on this server, as it says itself."},
};

// What only an exporter shows: nobody who works on a job knows this better than he shows it otherwise.
constexpr std::array kExporterDefinitions{
    MetricDefinition{"pgbackfill_job_status", kGauge, "status",
                     "1 for the status of the job (running, paused, cancelled, failed, complete), 0 for the others."},
    MetricDefinition{"pgbackfill_job_processes", kGauge, "",
                     "Processes that hold key ranges of the job by a lease that has not run out."},
    MetricDefinition{"pgbackfill_job_last_batch_age_seconds", kGauge, "",
                     "Seconds since the last batch of the job was committed; absent before the first."},
    MetricDefinition{"pgbackfill_job_elapsed_seconds", kGauge, "",
                     "Seconds since the job began, or from then until it was complete."},
    MetricDefinition{"pgbackfill_job_readable", kGauge, "",
                     "1 if what the state says of the migration can be understood; 0 if not: nothing more is shown "
                     "of it."},
    MetricDefinition{"pgbackfill_exporter_can_read", kGauge, "",
                     "1 if the state tables could be read when they were asked last, else 0: no migration is shown "
                     "then."},
    MetricDefinition{"pgbackfill_exporter_read_age_seconds", kGauge, "",
                     "Seconds since what is shown was read; absent without it."},
    MetricDefinition{"pgbackfill_exporter_read_duration_seconds", kGauge, "",
                     "Seconds that reading it took; absent without it."},
};

// Steps of about 2.5 around the batch target, 100 ms by default, and up to the longest statement_timeout.
std::vector<double> const& duration_buckets() {
  static std::vector<double> const buckets{.001, .0025, .005, .01, .025, .05, .1, .15, .25, .5, 1, 2.5, 5, 10, 30};
  return buckets;
}

// A commit takes from a tenth of a millisecond on a fast disk to seconds behind a synchronous standby.
std::vector<double> const& canary_buckets() {
  static std::vector<double> const buckets{.0001, .00025, .0005, .001, .0025, .005, .01,
                                           .025,  .05,    .1,    .25,  .5,    1,    2.5};
  return buckets;
}

// User functions can raise any SQLSTATE; metrics must not grow with them.
constexpr std::size_t kSqlstatesMax = 60;
constexpr char kOtherSqlstates[] = "other";
// A longer time between two decisions is a process that stood still, not work that was held back.
constexpr std::chrono::seconds kDecisionGapMax{5};

// --- Words ----------------------------------------------------------------------------------------------------------

constexpr std::array kPhases{RunPhase::kStarting,    RunPhase::kExpanding,     RunPhase::kPlanning,
                             RunPhase::kBackfilling, RunPhase::kSweeping,      RunPhase::kDeferred,
                             RunPhase::kPaused,      RunPhase::kOutsideWindow, RunPhase::kDraining,
                             RunPhase::kEnded,       RunPhase::kContracting,   RunPhase::kFollowing};

constexpr std::array kJobStatuses{"running", "paused", "cancelled", "failed", "complete"};

std::array<std::pair<Mode, char const*>, 3> const kModes{{{Mode::kOn, throttle::name_of(Mode::kOn)},
                                                          {Mode::kObserve, throttle::name_of(Mode::kObserve)},
                                                          {Mode::kOff, throttle::name_of(Mode::kOff)}}};

constexpr std::array kGrips{Grip::kWarns, Grip::kSlows, Grip::kStops};

constexpr std::array<std::pair<Sight, char const*>, 7> kSights{{{Sight::kNeverSampled, "never_sampled"},
                                                                {Sight::kSeen, "seen"},
                                                                {Sight::kMissing, "missing"},
                                                                {Sight::kNull, "null"},
                                                                {Sight::kNoPrivilege, "no_privilege"},
                                                                {Sight::kUnsupported, "unsupported"},
                                                                {Sight::kFailed, "failed"}}};

constexpr std::array<std::pair<ReplicaState, char const*>, 6> kReplicaStates{{{ReplicaState::kStreaming, "streaming"},
                                                                              {ReplicaState::kJoining, "joining"},
                                                                              {ReplicaState::kReceiver, "receiver"},
                                                                              {ReplicaState::kInactive, "inactive"},
                                                                              {ReplicaState::kLost, "lost"},
                                                                              {ReplicaState::kVanished, "vanished"}}};

constexpr std::array kCauseKinds{CauseKind::kReplicaLag,  CauseKind::kReplicaMissing, CauseKind::kReplicaJoining,
                                 CauseKind::kSlotLag,     CauseKind::kSlotAtRisk,     CauseKind::kForegroundLatency,
                                 CauseKind::kUtilization, CauseKind::kLockWaiters,    CauseKind::kConnections,
                                 CauseKind::kWalRate,     CauseKind::kRowRate,        CauseKind::kCheckpoints,
                                 CauseKind::kArchive,     CauseKind::kWraparound,     CauseKind::kDeadRows,
                                 CauseKind::kXminHorizon, CauseKind::kServerRole,     CauseKind::kUserProbe,
                                 CauseKind::kBlind,       CauseKind::kSharing,        CauseKind::kStarting,
                                 CauseKind::kBloat};

double seconds(std::chrono::nanoseconds duration) {
  return std::chrono::duration<double>(duration).count();
}

double age(TimePoint at, TimePoint now) {
  return std::max(seconds(now - at), 0.0);
}

double as_number(bool fact) {
  return fact ? 1 : 0;
}

// --- One scrape -----------------------------------------------------------------------------------------------------

using Labels = std::vector<std::pair<char const*, std::string>>;

class Page {
 public:
  Page() {
    for (auto const& definition : kDefinitions) add_family(definition);
    for (auto const& definition : kExporterDefinitions) add_family(definition);
  }

  // Whose the values are that come next; empty: nobody's.
  void set_migration(std::string migration) {
    migration_ = std::move(migration);
    for (std::size_t i = 0; i < families_.size(); ++i) begins_[i] = families_[i].metric.size();
  }

  void add(std::string_view name, double value, Labels const& labels = {}) {
    prometheus::ClientMetric metric;
    metric.gauge.value = value;
    metric.counter.value = value;
    place(name, std::move(metric), labels);
  }

  void add(std::string_view name, prometheus::Histogram const& histogram) { place(name, histogram.Collect(), {}); }

  // One series for each thing that could be, 1 for what is.
  template <class Value, std::size_t size>
  void add_states(std::string_view name, std::array<std::pair<Value, char const*>, size> const& words, Value is,
                  char const* label, Labels labels = {}) {
    labels.emplace_back(label, "");
    for (auto const& [value, word] : words) {
      labels.back().second = word;
      add(name, as_number(value == is), labels);
    }
  }

  std::string text() {
    std::erase_if(families_, [](prometheus::MetricFamily const& family) { return family.metric.empty(); });
    std::ostringstream out;
    prometheus::TextSerializer().Serialize(out, families_);
    return out.str();
  }

 private:
  static prometheus::MetricType type_of(MetricType type) {
    switch (type) {
      case MetricType::kCounter:
        return prometheus::MetricType::Counter;
      case MetricType::kGauge:
        return prometheus::MetricType::Gauge;
      case MetricType::kHistogram:
        return prometheus::MetricType::Histogram;
    }
    return prometheus::MetricType::Untyped;
  }

  void add_family(MetricDefinition const& definition) {
    prometheus::MetricFamily family;
    family.name = definition.name;
    family.help = definition.help;
    family.type = type_of(definition.type);
    index_[definition.name] = families_.size();
    families_.push_back(std::move(family));
    begins_.push_back(0);
  }

  void place(std::string_view name, prometheus::ClientMetric metric, Labels const& labels) {
    assert(index_.contains(name));
    if (!migration_.empty()) metric.label.push_back({"migration", migration_});
    for (auto const& [label, value] : labels) metric.label.push_back({label, valid_utf8(value)});
    auto const family = index_.at(name);
    auto& there = families_[family].metric;
    auto const begin = there.begin() + static_cast<std::ptrdiff_t>(begins_[family]);
    auto const same = std::find_if(begin, there.end(),
                                   [&](prometheus::ClientMetric const& other) { return other.label == metric.label; });
    if (same == there.end()) {
      there.push_back(std::move(metric));
    } else {
      // Prometheus would refuse the whole scrape. Two standbys of one name and address: the worse is shown.
      same->gauge.value = std::max(same->gauge.value, metric.gauge.value);
      same->counter.value = std::max(same->counter.value, metric.counter.value);
    }
  }

  std::string migration_;
  std::map<std::string_view, std::size_t> index_;
  std::vector<prometheus::MetricFamily> families_;
  std::vector<std::size_t> begins_;  // of each family: where the values of this migration begin
};

// --- Parts of a scrape ----------------------------------------------------------------------------------------------

void add_progress(Page& page, Progress const& progress) {
  auto const count = [&page](std::string_view name, std::int64_t value) { page.add(name, static_cast<double>(value)); };
  if (!progress.table.empty()) page.add("pgbackfill_job_info", 1, {{"table", plain_name(progress.table)}});
  for (auto const phase : kPhases) {
    page.add("pgbackfill_phase", as_number(phase == progress.phase), {{"phase", std::string(phase_name(phase))}});
  }
  page.add("pgbackfill_may_start", as_number(progress.may_start));
  // Before the job is known there is nothing to count.
  if (progress.table.empty() && progress.ranges_total == 0) return;
  page.add("pgbackfill_run_elapsed_seconds", seconds(progress.elapsed));
  count("pgbackfill_job_rows_done", progress.rows_done);
  count("pgbackfill_job_rows_changed", progress.rows_changed);
  count("pgbackfill_job_rows_estimated", progress.rows_estimated);
  page.add("pgbackfill_job_rows_per_second", progress.rows_per_second);
  count("pgbackfill_job_ranges", progress.ranges_total);
  count("pgbackfill_job_ranges_open", progress.ranges_open);
  count("pgbackfill_job_rows_deferred", progress.deferred);
  count("pgbackfill_job_rows_quarantined", progress.quarantined);
  count("pgbackfill_batch_rows", progress.batch_rows);
  page.add("pgbackfill_batch_target_seconds", seconds(progress.batch_target));
  count("pgbackfill_workers", progress.workers);
}

void add_decision(Page& page, HealthTold const& health, TimePoint now) {
  auto const& decision = health.decision;
  page.add("pgbackfill_batches_in_flight", health.work.in_flight);
  page.add("pgbackfill_workers_wanted", health.work.wanted);
  page.add_states("pgbackfill_throttle_mode", kModes, health.mode, "mode");
  page.add("pgbackfill_throttle_decision_age_seconds", age(decision.at, now));
  page.add("pgbackfill_throttle_may_start", as_number(decision.may_start));
  page.add("pgbackfill_throttle_must_stop", as_number(decision.must_stop));
  page.add("pgbackfill_throttle_wal_limit_bytes_per_second", decision.wal_per_second);
  page.add("pgbackfill_throttle_workers_limit", decision.workers);
  page.add("pgbackfill_throttle_batch_scale_ratio", decision.batch_scale);
  page.add("pgbackfill_throttle_batch_limit_seconds",
           decision.longest_batch == throttle::kAnyLength ? throttle::kUnlimited : seconds(decision.longest_batch));
  if (auto const& withheld = decision.withheld) {
    page.add("pgbackfill_throttle_withheld_may_start", as_number(withheld->may_start));
    page.add("pgbackfill_throttle_withheld_wal_limit_bytes_per_second", withheld->wal_per_second);
    page.add("pgbackfill_throttle_withheld_workers_limit", withheld->workers);
    page.add("pgbackfill_throttle_withheld_batch_scale_ratio", withheld->batch_scale);
  }
  for (auto const kind : kCauseKinds) {
    for (auto const grip : kGrips) {
      auto const count = std::count_if(
          decision.causes.begin(), decision.causes.end(),
          [kind, grip](throttle::Cause const& cause) { return cause.kind == kind && cause.grip == grip; });
      page.add("pgbackfill_throttle_causes", static_cast<double>(count),
               {{"cause", throttle::name_of(kind)}, {"grip", throttle::name_of(grip)}});
    }
  }
}

// `value_at` is when the value was asked for that is there; the sample's own time is that of the last attempt.
void add_sight(Page& page, std::string const& reading, Sight sight, TimePoint value_at, TimePoint now) {
  page.add_states("pgbackfill_reading_state", kSights, sight, "state", {{"reading", reading}});
  if (value_at != TimePoint{}) page.add("pgbackfill_reading_age_seconds", age(value_at, now), {{"reading", reading}});
}

template <class Value>
void add_sight(Page& page, std::string const& reading, throttle::Sample<Value> const& sample, TimePoint now) {
  if constexpr (requires { sample.value.at; }) {
    add_sight(page, reading, sample.sight, sample.value.at, now);
  } else {
    add_sight(page, reading, sample.sight, sample.is_seen() ? sample.at : TimePoint{}, now);
  }
}

void add_replica(Page& page, throttle::ReplicationReading const& replication, throttle::ReplicaReading const& replica,
                 throttle::LsnClock const& lsn_clock) {
  Labels const labels{{"replica", replica.name},
                      {"address", replica.address},
                      {"kind", replica.kind == ReplicaKind::kStandby ? "standby" : "logical_slot"}};
  page.add_states("pgbackfill_replica_state", kReplicaStates, replica.state, "state", labels);
  if (replica.replayed.is_seen()) {
    auto const flushed = replication.flushed;
    auto const replayed = std::min(replica.replayed.value, flushed);
    page.add("pgbackfill_replica_lag_bytes", static_cast<double>(flushed - replayed), labels);
    page.add("pgbackfill_replica_lag_seconds", seconds(lsn_clock.age_of(replayed, replication.at).age), labels);
  }
  if (replica.reply_age.is_seen()) {
    page.add("pgbackfill_replica_reply_age_seconds", seconds(replica.reply_age.value), labels);
  }
  if (replica.kind == ReplicaKind::kStandby) {
    page.add("pgbackfill_replica_apply_delay_seconds", seconds(replica.apply_delay), labels);
  }
}

void add_wal(Page& page, throttle::WalReading const& wal) {
  page.add("pgbackfill_server_wal_bytes_total", static_cast<double>(wal.inserted));
  if (wal.own_bytes) page.add("pgbackfill_server_own_wal_bytes_total", static_cast<double>(*wal.own_bytes));
  if (wal.records) page.add("pgbackfill_server_wal_records_total", static_cast<double>(*wal.records));
  if (wal.full_page_images) {
    page.add("pgbackfill_server_full_page_images_total", static_cast<double>(*wal.full_page_images));
  }
  page.add("pgbackfill_server_max_wal_size_bytes", static_cast<double>(wal.max_wal_size));
  page.add("pgbackfill_server_checkpoints_requested_total", static_cast<double>(wal.checkpoints_requested));
  page.add("pgbackfill_server_checkpoints_timed_total", static_cast<double>(wal.checkpoints_timed));
}

void add_slots(Page& page, std::vector<throttle::SlotReading> const& slots) {
  for (auto const& slot : slots) {
    Labels const labels{{"slot", slot.name}};
    page.add("pgbackfill_slot_active", as_number(slot.active), labels);
    page.add("pgbackfill_slot_wal_status", 1, {{"slot", slot.name}, {"status", slot.wal_status}});
    if (slot.retained) page.add("pgbackfill_slot_retained_bytes", static_cast<double>(*slot.retained), labels);
    if (slot.safe_wal_size) {
      page.add("pgbackfill_slot_safe_wal_size_bytes", static_cast<double>(*slot.safe_wal_size), labels);
    }
  }
}

void add_health(Page& page, throttle::HealthReading const& health) {
  page.add("pgbackfill_server_writable", as_number(health.is_writable));
  if (health.archive.is_seen() && health.archive.value.is_on) {
    page.add("pgbackfill_archive_waiting_segments", static_cast<double>(health.archive.value.segments_waiting));
    page.add("pgbackfill_archive_failures_total", static_cast<double>(health.archive.value.failures));
  }
  if (health.vacuum.is_seen()) {
    auto const& vacuum = health.vacuum.value;
    page.add("pgbackfill_table_live_rows", static_cast<double>(vacuum.rows_live));
    page.add("pgbackfill_table_dead_rows", static_cast<double>(vacuum.rows_dead));
    page.add("pgbackfill_table_bytes", static_cast<double>(vacuum.table_bytes));
    page.add("pgbackfill_table_heap_bytes", static_cast<double>(vacuum.heap_bytes));
    page.add("pgbackfill_table_autovacuum_running", as_number(vacuum.autovacuum_runs));
  }
  if (health.wraparound_age.is_seen()) {
    page.add("pgbackfill_server_wraparound_age_transactions", static_cast<double>(health.wraparound_age.value));
  }
}

void add_sights(Page& page, throttle::Reading const& reading, TimePoint now) {
  add_sight(page, "replication", reading.replication, now);
  add_sight(page, "canary", reading.canary, now);
  add_sight(page, "waiters", reading.waiters, now);
  add_sight(page, "presence", reading.presence, now);
  add_sight(page, "activity", reading.activity, now);
  add_sight(page, "wal", reading.wal, now);
  add_sight(page, "health", reading.health, now);
  add_sight(page, "slots", reading.slots, now);
  add_sight(page, "archive", reading.health.value.archive, now);
  add_sight(page, "vacuum", reading.health.value.vacuum, now);
  add_sight(page, "wraparound_age", reading.health.value.wraparound_age, now);
  add_sight(page, "neighbours", reading.neighbours, now);
  add_sight(page, "elsewhere", reading.elsewhere, now);
  for (auto const& probe : reading.probes) add_sight(page, "probe " + probe.name, probe.value, now);
}

// Processes of one job are one series: two of the same labels are not allowed.
void add_neighbours(Page& page, throttle::Reading const& reading) {
  struct Sum {
    double wal_per_second = 0;
    double workers = 0;
  };
  std::map<std::string, Sum> jobs;
  for (auto const* sample : {&reading.neighbours, &reading.elsewhere}) {
    if (!sample->is_seen()) continue;
    for (auto const& each : sample->value) {
      auto& sum = jobs[each.database.empty() ? each.name : each.database + "/" + each.name];
      sum.wal_per_second += each.wal_per_second;
      sum.workers += each.workers;
    }
  }
  for (auto const& [name, sum] : jobs) {
    Labels const labels{{"neighbour", name}};
    page.add("pgbackfill_neighbour_wal_bytes_per_second", sum.wal_per_second, labels);
    page.add("pgbackfill_neighbour_batches_in_flight", sum.workers, labels);
  }
}

void add_reading(Page& page, throttle::Reading const& reading, throttle::LsnClock const& lsn_clock) {
  if (reading.replication.is_seen()) {
    auto const& replication = reading.replication.value;
    for (auto const& replica : replication.replicas) add_replica(page, replication, replica, lsn_clock);
  }
  if (reading.canary.is_seen()) page.add("pgbackfill_canary_latest_seconds", seconds(reading.canary.value.latency));
  if (reading.slots.is_seen()) add_slots(page, reading.slots.value.slots);
  if (reading.waiters.is_seen()) {
    page.add("pgbackfill_lock_waiters", reading.waiters.value.waiters);
    page.add("pgbackfill_lock_waiter_longest_seconds", seconds(reading.waiters.value.longest));
  }
  if (reading.presence.is_seen()) page.add("pgbackfill_server_working_sessions", reading.presence.value.worked);
  if (reading.activity.is_seen()) {
    auto const& activity = reading.activity.value;
    page.add("pgbackfill_server_active_sessions", activity.active);
    page.add("pgbackfill_server_free_connections", activity.connections_free);
    if (activity.oldest_xmin_age) page.add("pgbackfill_server_xmin_age_seconds", seconds(*activity.oldest_xmin_age));
  }
  if (reading.wal.is_seen()) add_wal(page, reading.wal.value);
  if (reading.health.is_seen()) add_health(page, reading.health.value);
  for (auto const& probe : reading.probes) {
    if (probe.value.is_seen()) page.add("pgbackfill_probe_value", probe.value.value, {{"probe", probe.name}});
    page.add("pgbackfill_probe_limit", probe.limit, {{"probe", probe.name}});
  }
  add_neighbours(page, reading);
}

void add_job(Page& page, JobShown const& job) {
  auto const count = [&page](std::string_view name, std::int64_t value) { page.add(name, static_cast<double>(value)); };
  page.set_migration(valid_utf8(job.migration));
  page.add("pgbackfill_job_readable", as_number(job.is_readable));
  // Of a migration without a backfill there is nothing to count.
  if (!job.is_readable || job.status.empty()) return;
  page.add("pgbackfill_job_info", 1, {{"table", job.table}});
  for (auto const* status : kJobStatuses) {
    page.add("pgbackfill_job_status", as_number(job.status == status), {{"status", status}});
  }
  count("pgbackfill_job_rows_done", job.rows_done);
  count("pgbackfill_job_rows_changed", job.rows_changed);
  count("pgbackfill_job_rows_estimated", job.rows_estimated);
  count("pgbackfill_job_ranges", job.ranges);
  count("pgbackfill_job_ranges_open", job.ranges_open);
  count("pgbackfill_job_rows_deferred", job.deferred);
  count("pgbackfill_job_rows_quarantined", job.quarantined);
  count("pgbackfill_job_processes", job.processes);
  if (job.last_batch_age) page.add("pgbackfill_job_last_batch_age_seconds", seconds(*job.last_batch_age));
  page.add("pgbackfill_job_elapsed_seconds", seconds(job.elapsed));
}

std::string sqlstate_class(std::string const& sqlstate) {
  return sqlstate == kOtherSqlstates ? sqlstate : sqlstate.substr(0, 2);
}

}  // namespace

// --- What is known --------------------------------------------------------------------------------------------------

struct Metrics::State {
  explicit State(std::string const& name) : migration(valid_utf8(name)) {}

  void take(Progress const& told, TimePoint at) {
    progress = told;
    progress_at = at;
  }

  void take(Summary const& summary, TimePoint at) {
    auto last = summary.last;
    last.phase = RunPhase::kEnded;
    last.may_start = false;
    take(last, at);
    exit_code = summary.exit_code;
  }

  void take(BatchTold const& batch) {
    if (batch.lock_wait) lock_waits.Observe(seconds(*batch.lock_wait));
    if (!batch.sqlstate.empty()) {
      ++batches_failed;
      return;
    }
    ++batches;
    batch_rows += batch.rows;
    durations.Observe(seconds(batch.duration));
  }

  void take(TroubleTold const& trouble) {
    bool const is_known = failures.contains(trouble.sqlstate);
    ++failures[is_known || failures.size() < kSqlstatesMax ? trouble.sqlstate : kOtherSqlstates];
  }

  void take(std::shared_ptr<HealthTold const> const& told) {
    if (told == nullptr) return;
    if (health) hold_to_account(health->decision, told->decision.at);
    wal_bytes += std::max(told->work.wal_bytes, 0.0);
    auto const& reading = told->reading;
    if (reading.replication.is_seen()) lsn_clock.see(reading.replication.value.at, reading.replication.value.flushed);
    take_canaries(reading);
    health = told;
  }

  // The time from a decision to the next one was held back by whatever binds in it; causes overlap.
  void hold_to_account(throttle::Decision const& decision, TimePoint until) {
    std::map<CauseKind, Grip> binding;
    for (auto const& cause : decision.causes) {
      if (cause.grip == Grip::kWarns) continue;
      auto& grip = binding.try_emplace(cause.kind, cause.grip).first->second;
      if (cause.grip == Grip::kStops) grip = Grip::kStops;
    }
    auto const held =
        std::clamp<std::chrono::nanoseconds>(until - decision.at, std::chrono::nanoseconds{0}, kDecisionGapMax);
    for (auto const& [kind, grip] : binding) held_back[{kind, grip}] += seconds(held);
  }

  void take_canaries(throttle::Reading const& reading) {
    auto const take_one = [this](throttle::CanaryReading const& canary) {
      if (canary.at <= canary_at) return;
      canary_at = canary.at;
      canaries.Observe(seconds(canary.latency));
    };
    for (auto const& canary : reading.canaries) take_one(canary);
    if (reading.canary.is_seen()) take_one(reading.canary.value);
  }

  void add_counts(Page& page) const {
    page.add("pgbackfill_events_lost_total", static_cast<double>(events_lost));
    page.add("pgbackfill_batches_total", static_cast<double>(batches));
    page.add("pgbackfill_batch_rows_total", static_cast<double>(batch_rows));
    page.add("pgbackfill_batch_failures_total", static_cast<double>(batches_failed));
    page.add("pgbackfill_batch_duration_seconds", durations);
    page.add("pgbackfill_batch_lock_wait_seconds", lock_waits);
    for (auto const& [sqlstate, count] : failures) {
      page.add("pgbackfill_failures_total", static_cast<double>(count),
               {{"sqlstate", sqlstate}, {"class", sqlstate_class(sqlstate)}});
    }
    if (!health) return;
    page.add("pgbackfill_wal_bytes_total", wal_bytes);
    page.add("pgbackfill_canary_commit_seconds", canaries);
    for (auto const kind : kCauseKinds) {
      for (auto const grip : {Grip::kSlows, Grip::kStops}) {
        auto const found = held_back.find({kind, grip});
        page.add("pgbackfill_throttle_held_back_seconds_total", found == held_back.end() ? 0 : found->second,
                 {{"cause", throttle::name_of(kind)}, {"grip", grip == Grip::kSlows ? "slows" : "stops"}});
      }
    }
  }

  std::string const migration;
  std::optional<Progress> progress;
  TimePoint progress_at{};
  std::optional<TimePoint> beat_at;
  std::optional<int> exit_code;
  std::int64_t events_lost = 0;
  std::int64_t batches = 0;
  std::int64_t batches_failed = 0;
  std::int64_t batch_rows = 0;
  prometheus::Histogram durations{duration_buckets()};
  prometheus::Histogram lock_waits{duration_buckets()};
  std::map<std::string, std::int64_t> failures;  // by SQLSTATE
  std::shared_ptr<HealthTold const> health;
  double wal_bytes = 0;
  throttle::LsnClock lsn_clock;
  prometheus::Histogram canaries{canary_buckets()};
  TimePoint canary_at{};
  std::map<std::pair<CauseKind, Grip>, double> held_back;  // seconds
};

std::span<MetricDefinition const> metric_definitions() {
  return kDefinitions;
}

std::span<MetricDefinition const> exporter_metric_definitions() {
  return kExporterDefinitions;
}

std::string exporter_text(JobsShown const* shown, TimePoint now) {
  Page page;
  page.add("pgbackfill_build_info", 1, {{"version", PGBACKFILL_VERSION}});
  page.add("pgbackfill_exporter_can_read", as_number(shown != nullptr));
  if (shown == nullptr) return page.text();
  page.add("pgbackfill_exporter_read_age_seconds", age(shown->read_at, now));
  page.add("pgbackfill_exporter_read_duration_seconds", seconds(shown->reading_took));
  for (auto const& job : shown->jobs) add_job(page, job);
  return page.text();
}

Metrics::Metrics(std::string const& migration) : state_(std::make_unique<State>(migration)) {}

Metrics::~Metrics() = default;

void Metrics::take(Event const& event, TimePoint at) {
  if (auto const* progress = std::get_if<Progress>(&event)) state_->take(*progress, at);
  if (auto const* summary = std::get_if<Summary>(&event)) state_->take(*summary, at);
  if (auto const* batch = std::get_if<BatchTold>(&event)) state_->take(*batch);
  if (auto const* trouble = std::get_if<TroubleTold>(&event)) state_->take(*trouble);
  if (auto const* health = std::get_if<std::shared_ptr<HealthTold const>>(&event)) state_->take(*health);
}

void Metrics::take_beat(TimePoint at) {
  state_->beat_at = at;
}

void Metrics::set_events_lost(std::int64_t lost) {
  state_->events_lost = lost;
}

std::string Metrics::text(TimePoint now) const {
  Page page;
  page.add("pgbackfill_build_info", 1, {{"version", PGBACKFILL_VERSION}});
  page.set_migration(state_->migration);
  if (state_->beat_at) page.add("pgbackfill_engine_silent_seconds", age(*state_->beat_at, now));
  if (state_->progress) {
    add_progress(page, *state_->progress);
    page.add("pgbackfill_progress_age_seconds", age(state_->progress_at, now));
  }
  if (state_->exit_code) page.add("pgbackfill_run_exit_code", *state_->exit_code);
  state_->add_counts(page);
  if (auto const& health = state_->health) {
    add_decision(page, *health, now);
    add_sights(page, health->reading, now);
    add_reading(page, health->reading, state_->lsn_clock);
  }
  return page.text();
}

}  // namespace pgbackfill::engine
