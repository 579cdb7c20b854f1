#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <thread>

#include "bench/capped_replica.h"
#include "bench/contestants.h"
#include "bench/observer.h"
#include "bench/plot.h"
#include "bench/pressure_scenarios.h"
#include "tests/support/pg_client.h"
#include "tests/support/program.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;

constexpr double kLagLimit = 2;  // the default of throttle.replica_lag
constexpr double kFullSpeed = 0.9;
constexpr double kStartSeconds = 10;   // H9 row 8: by then it has found the pace
constexpr double kSecondsBefore = 20;  // of undisturbed running
constexpr double kStallSeconds = 10;
constexpr double kBlindSeconds = 20;
constexpr auto kStopPatience = 60s;
constexpr double kMegabyte = 1e6;

void sleep_until(double at) {
  std::this_thread::sleep_for(std::chrono::duration<double>(std::max(0.0, at - seconds_now())));
}

// One run of the program on a fresh table beside a capped replica, watched from outside.
class ReplicaRound {
 public:
  ReplicaRound(Stage& stage, PressureSettings const& settings, std::string name)
      : stage_(stage), settings_(settings), name_(std::move(name)), dsn_(stage.fresh({settings.rows, false})) {
    cap(settings.capacity);
    capacity_ = measured_capacity(stage.cluster(), 0, *capped_, settings.capacity);
    observer_.emplace(stage.cluster(), rows_of_job(dsn_));
    program_.emplace(pgbackfill_command(dsn_, {.migration_folder = stage.cluster().dir()}));
    began_ = seconds_now();
  }

  // As measured, WAL bytes a second.
  double capacity() const { return capacity_; }
  double began() const { return began_; }
  CappedReplica& capped() { return *capped_; }
  void cap(double bytes_per_second) { capped_.emplace(stage_.cluster(), 0, bytes_per_second); }
  void uncap() { capped_.reset(); }

  // Ends the program and leaves the series; the moments are complete then.
  void finish() {
    ended_ = seconds_now();
    bool const is_too_early = !program_->is_running();
    observer_->stop();
    program_->signal(SIGINT);
    auto const result = program_->wait(kStopPatience);
    capped_.reset();
    plot();
    std::ofstream(settings_.output / (name_ + ".log")) << result.err;
    if (is_too_early) {
      throw std::runtime_error(name_ + ": the run ended before its time; more --rows last longer\n" + result.err);
    }
  }

  double ended() const { return ended_; }
  std::vector<Moment> const& moments() const { return observer_->moments(); }
  void tell(std::string const& text) const { std::cerr << fmt::format("  {}: {}\n", name_, text); }

 private:
  void plot() const {
    Series series{{"seconds", "lag, s", "WAL, MB/s", "replayed, MB/s", "lag, MB", "rows"}, {}};
    for (auto const& moment : moments()) {
      auto const& all = moments();
      auto const earlier = std::lower_bound(all.begin(), all.end(), moment.at - 1,
                                            [](Moment const& other, double time) { return other.at < time; });
      double const seconds = moment.at - earlier->at;
      auto const rate = [&](double now, double then) { return seconds <= 0 ? kUnknown : (now - then) / seconds; };
      series.rows.push_back({moment.at - began_, moment.lag_seconds, rate(moment.written, earlier->written) / kMegabyte,
                             rate(moment.replayed, earlier->replayed) / kMegabyte,
                             (moment.written - moment.replayed) / kMegabyte, moment.rows});
    }
    plot_series(settings_.output, name_, fmt::format("{}: replica of {:.1f} MB/s", name_, capacity_ / kMegabyte),
                series,
                {{"lag, s", kLagLimit},
                 {"WAL, MB/s", capacity_ / kMegabyte},
                 {"replayed, MB/s", capacity_ / kMegabyte},
                 {"rows", 0}});
  }

  Stage& stage_;
  PressureSettings const& settings_;
  std::string name_;
  std::string dsn_;
  std::optional<CappedReplica> capped_;
  double capacity_ = 0;
  std::optional<Observer> observer_;
  std::optional<tests::Program> program_;
  double began_ = 0;
  double ended_ = 0;
};

// Seconds from `since` until it is at full speed again, looking from `from` on; a minute if it never is.
double seconds_to_recover(ReplicaRound const& round, double since, double from, double bytes_per_second) {
  double const at = first_time_at_rate(round.moments(), from, kFullSpeed * bytes_per_second);
  return std::isnan(at) ? 60 : std::max(0.0, at - since);
}

double time_of_worst_lag(ReplicaRound const& round, double from) {
  double worst = -1;
  double at = from;
  for (auto const& moment : round.moments()) {
    if (moment.at < from || !(moment.lag_seconds > worst)) continue;
    worst = moment.lag_seconds;
    at = moment.at;
  }
  return at;
}

// What was written after it became blind, in seconds of the rate before.
double seconds_of_rate_written_blind(ReplicaRound const& round, double blind_from, double blind_to) {
  double const rate = wal_rate(round.moments(), blind_from - 5, blind_from);
  return bytes_written(round.moments(), blind_from, blind_to) / rate;
}

}  // namespace

void play_slow_replica(Stage& stage, PressureSettings const& settings, Tally& tally) {
  ReplicaRound round(stage, settings, "slow_replica");
  sleep_until(round.began() + settings.seconds);
  round.finish();
  auto const& moments = round.moments();
  double const steady = round.began() + kStartSeconds;
  double const used = wal_rate(moments, steady, round.ended()) / round.capacity();
  double const start = first_time_at_rate(moments, round.began(), kFullSpeed * round.capacity()) - round.began();
  double const above = share_of_time_above(moments, round.began(), round.ended(), kLagLimit);
  double const worst = worst_lag(moments, round.began(), round.ended());
  round.tell(fmt::format("capacity {:.2f} MB/s, {:.1f} % used, {:.1f} % of the time above {} s, worst lag {:.2f} s",
                         round.capacity() / kMegabyte, used * 100, above * 100, kLagLimit, worst));
  tally.add({"slow_replica", "headroom of a slowed replica that is used", Bar::kAtLeast, 90, "%"}, used * 100);
  tally.add({"slow_replica_above", "time above the limit of 2 s", Bar::kAtMost, 1, "%"}, above * 100);
  tally.add({"slow_replica_lag", "worst lag", Bar::kNone, 0, "s"}, worst);
  tally.add({"slow_replica_start", "until 90 % of the headroom is used", Bar::kAtMost, 10, "s"},
            std::isnan(start) ? settings.seconds : start);
}

void play_capacity_cut(Stage& stage, PressureSettings const& settings, Tally& tally) {
  ReplicaRound round(stage, settings, "capacity_cut");
  double const cut_at = round.began() + kSecondsBefore;
  sleep_until(cut_at);
  round.capped().set_capacity(settings.capacity / 3);
  sleep_until(round.began() + settings.seconds);
  round.finish();
  double const worst = worst_lag(round.moments(), cut_at, round.ended());
  double const above = share_of_time_above(round.moments(), round.began(), round.ended(), kLagLimit);
  double const recovery = seconds_to_recover(round, cut_at, time_of_worst_lag(round, cut_at), round.capacity() / 3);
  double const seconds_above = above * (round.ended() - round.began());
  round.tell(fmt::format("worst lag {:.2f} s, {:.1f} s above the limit, recovered after {:.1f} s", worst, seconds_above,
                         recovery));
  tally.add({"capacity_cut_lag", "capacity cut to a third: worst lag", Bar::kAtMost, 3.2, "s"}, worst);
  // A share would depend on how long the run goes on afterwards: 1 % of the 360 s of the same run on the simulator.
  tally.add({"capacity_cut_above", "time above the limit of 2 s", Bar::kAtMost, 3.6, "s"}, seconds_above);
  tally.add({"capacity_cut_recovery", "until 90 % of the new headroom is used", Bar::kAtMost, 8, "s"}, recovery);
}

void play_stall(Stage& stage, PressureSettings const& settings, Tally& tally) {
  ReplicaRound round(stage, settings, "stall");
  double const stalled_at = round.began() + kSecondsBefore;
  sleep_until(stalled_at);
  round.capped().set_capacity(0);
  sleep_until(stalled_at + kStallSeconds);
  round.capped().set_capacity(settings.capacity);
  double const over_at = seconds_now();
  sleep_until(round.began() + settings.seconds);
  round.finish();
  double const overshoot = worst_lag(round.moments(), stalled_at, round.ended()) - (over_at - stalled_at);
  double const recovery = seconds_to_recover(round, over_at, over_at, round.capacity());
  round.tell(fmt::format("worst lag {:.2f} s more than the stall, recovered after {:.1f} s", overshoot, recovery));
  tally.add({"stall_overshoot", "10 s stall: worst lag, beyond the stall", Bar::kAtMost, 0.6, "s"}, overshoot);
  tally.add({"stall_recovery", "until 90 % of the headroom is used again", Bar::kAtMost, 8, "s"}, recovery);
}

void play_vanished_replica(Stage& stage, PressureSettings const& settings, Tally& tally) {
  ReplicaRound round(stage, settings, "vanished_replica");
  sleep_until(round.began() + kSecondsBefore);
  round.uncap();
  // Else what it has to recover first, when it comes back, would be measured.
  tests::PgClient(stage.cluster().replica_dsn(0)).exec("CHECKPOINT");
  double const gone_at = seconds_now();
  stage.cluster().stop_replica(0, engine::StopMode::kImmediate);
  sleep_until(gone_at + kBlindSeconds);
  double const blind_to = seconds_now();
  stage.cluster().start_replica(0);
  double const back_at = seconds_now();
  round.cap(settings.capacity);
  sleep_until(std::max(round.began() + settings.seconds, back_at + kSecondsBefore));
  round.finish();
  double const blind = seconds_of_rate_written_blind(round, gone_at, blind_to);
  double const recovery = seconds_to_recover(round, back_at, back_at, round.capacity());
  round.tell(fmt::format("wrote {:.1f} s of WAL while it was gone, recovered after {:.1f} s", blind, recovery));
  tally.add(
      {"vanished_replica", "vanished replica: WAL written in 20 s, in seconds of the last rate", Bar::kAtMost, 4, "s"},
      blind);
  tally.add(
      {"vanished_replica_recovery", "until 90 % of the headroom is used, from when it streams", Bar::kAtMost, 8, "s"},
      recovery);
}

void play_frozen_receiver(Stage& stage, PressureSettings const& settings, Tally& tally) {
  ReplicaRound round(stage, settings, "frozen_receiver");
  sleep_until(round.began() + kSecondsBefore);
  pid_t const receiver = tests::server_process(stage.cluster().replica_postmaster_pid(0), "walreceiver");
  double const frozen_at = seconds_now();
  kill(receiver, SIGSTOP);
  sleep_until(frozen_at + kBlindSeconds);
  kill(receiver, SIGCONT);
  double const over_at = seconds_now();
  sleep_until(std::max(round.began() + settings.seconds, over_at + kSecondsBefore));
  round.finish();
  double const blind = seconds_of_rate_written_blind(round, frozen_at, over_at);
  double const recovery = seconds_to_recover(round, over_at, over_at, round.capacity());
  round.tell(fmt::format("wrote {:.1f} s of WAL while it was silent, recovered after {:.1f} s", blind, recovery));
  tally.add(
      {"frozen_receiver", "frozen receiver: WAL written in 20 s, in seconds of the last rate", Bar::kAtMost, 4, "s"},
      blind);
  tally.add({"frozen_receiver_recovery", "until 90 % of the headroom is used again", Bar::kAtMost, 8, "s"}, recovery);
}

}  // namespace pgbackfill::bench
