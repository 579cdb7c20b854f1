// The acceptance figures of the throttle that a plant can show (docs/throttle.md#figures): each scenario with its
// measures and their bars, and a table of them for several laws side by side. Used by the tests, which hold the bars,
// and by bench/run throttle, which prints.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/simulation/plant.h"

namespace pgbackfill::tests {

struct Measure {
  std::string name;
  std::string unit;
  double bar = 0;
  bool is_at_most = true;  // else at least
  bool is_mean = false;    // over the seeds; else of the worst seed
  std::function<double(PlantRun const&)> of;
};

struct Scenario {
  std::string name;  // "1-3 steady"; the row of H9 comes first
  std::function<PlantOptions(std::uint64_t seed)> options;
  std::vector<Measure> measures;
};

std::vector<Scenario> throttle_scenarios();

struct Outcome {
  double worst = 0;
  double mean = 0;
  std::uint64_t worst_seed = 0;
};

// One for each measure.
std::vector<Outcome> outcomes_of(Scenario const& scenario, std::function<std::unique_ptr<Law>()> const& law,
                                 std::uint64_t first_seed, std::uint64_t seeds);

bool holds(Measure const& measure, Outcome const& outcome);

// Every scenario and measure, ours beside on/off at 1 s and at 2 s.
std::string throttle_figures_table(std::uint64_t seeds);

}  // namespace pgbackfill::tests
