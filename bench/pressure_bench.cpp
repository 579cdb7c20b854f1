// Macro benches of the throttle on real servers: a slowed replica, foreground traffic, row locks; each against its bar.
//
// A round plays every scenario once, so that whatever slows the machine down for a while meets all; a figure is the
// median of the rounds. Standard output gets the table of figures and bars as Markdown; the recorded series and their
// pictures go to the output folder.
//
// pressure_bench [--rows=N] [--rounds=N] [--seconds=N] [--megabytes=N] [--figure=NAME] [--output=FOLDER]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <optional>
#include <string_view>

#include "bench/foreground.h"
#include "bench/pressure_scenarios.h"

namespace pgbackfill::bench {
namespace {

struct Scenario {
  std::string name;
  std::function<void(Tally&)> play;
};

constexpr int kSecondsLeast = 40;  // a disturbance comes after 20 s, and something has to follow it

std::optional<PressureSettings> parse_settings(int argc, char** argv) {
  PressureSettings settings;
  for (int index = 1; index < argc; ++index) {
    std::string_view const argument(argv[index]);
    auto const equals = argument.find('=');
    if (!argument.starts_with("--") || equals == std::string_view::npos) return std::nullopt;
    auto const name = argument.substr(2, equals - 2);
    std::string const value(argument.substr(equals + 1));
    if (name == "rows") {
      settings.rows = std::atoll(value.c_str());
    } else if (name == "rounds") {
      settings.rounds = std::atoi(value.c_str());
    } else if (name == "seconds") {
      settings.seconds = std::atoi(value.c_str());
    } else if (name == "megabytes") {
      settings.capacity = std::atof(value.c_str()) * 1e6;
    } else if (name == "load") {
      settings.load = std::atof(value.c_str()) / 100;
    } else if (name == "figure") {
      settings.figure = value;
    } else if (name == "output") {
      settings.output = value;
    } else {
      return std::nullopt;
    }
  }
  if (settings.rows < 1 || settings.rounds < 1 || settings.seconds < kSecondsLeast || settings.capacity <= 0) return {};
  if (!(settings.load > 0 && settings.load < 1)) return {};
  return settings;
}

int bench_main(int argc, char** argv) {
  auto const settings = parse_settings(argc, argv);
  if (!settings) {
    std::cerr
        << "usage: pressure_bench [--rows=N] [--rounds=N] [--seconds=N, at least " << kSecondsLeast
        << "] [--megabytes=N of the replica] [--load=PERCENT of pgbench alone] [--figure=NAME] [--output=FOLDER]\n";
    return 2;
  }
  std::filesystem::create_directories(settings->output);
  Stage stage;
  ForegroundBench own_tables(stage, *settings, traffic_on_own_tables());
  ForegroundBench same_table(stage, *settings, traffic_on_the_table(settings->rows));
  std::vector<Scenario> scenarios = {
      {"slow_replica", [&](Tally& tally) { play_slow_replica(stage, *settings, tally); }},
      {"capacity_cut", [&](Tally& tally) { play_capacity_cut(stage, *settings, tally); }},
      {"stall", [&](Tally& tally) { play_stall(stage, *settings, tally); }},
      {"vanished_replica", [&](Tally& tally) { play_vanished_replica(stage, *settings, tally); }},
      {"frozen_receiver", [&](Tally& tally) { play_frozen_receiver(stage, *settings, tally); }},
      {"foreground", [&](Tally& tally) { own_tables.play_pair(tally); }},
      {"frontier", [&](Tally&) { own_tables.play_frontier(); }},
      {"foreground_table", [&](Tally& tally) { same_table.play_pair(tally); }},
      {"row_lock_wait", [&](Tally& tally) { play_row_lock_wait(stage, *settings, tally); }},
  };
  std::erase_if(scenarios, [&](Scenario const& scenario) {
    return !settings->figure.empty() && settings->figure != scenario.name;
  });
  if (scenarios.empty()) {
    std::cerr << "there is no figure '" << settings->figure << "'\n";
    return 2;
  }
  Tally tally;
  for (int round = 1; round <= settings->rounds; ++round) {
    std::cerr << fmt::format("round {} of {}\n", round, settings->rounds);
    for (auto const& scenario : scenarios) scenario.play(tally);
  }
  print_figures(std::cout, tally.figures());
  own_tables.print_frontier();
  same_table.print_frontier();
  std::cout << "\nSeries and pictures: " << std::filesystem::absolute(settings->output).string() << '\n';
  return 0;
}

}  // namespace
}  // namespace pgbackfill::bench

int main(int argc, char** argv) {
  try {
    return pgbackfill::bench::bench_main(argc, argv);
  } catch (std::exception const& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
