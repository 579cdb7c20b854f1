// What a backfill does to a server under pressure, scenario by scenario: a slowed, stalled, vanished or silent replica,
// foreground traffic beside it, and traffic on the rows that it changes.
//
// Each scenario plays one round on a fresh table, from outside the program that it measures, and adds a value to each
// of its figures. It leaves its recorded series under the output folder, as CSV and SVG, with the program's log beside.
// Threads: as LocalCluster.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "bench/figures.h"
#include "bench/stage.h"

namespace pgbackfill::bench {

struct PressureSettings {
  std::int64_t rows = 3'000'000;
  double capacity = 20e6;  // of the slowed replica, WAL bytes a second
  int seconds = 60;        // of a scenario with a replica
  int rounds = 3;
  double load = 0.5;   // of what pgbench reaches alone, as foreground
  std::string figure;  // empty: all
  std::filesystem::path output = "build/bench-results";
};

// At least 90 % of what the replica can replay, at most 1 % of the time above the limit; time to get there.
void play_slow_replica(Stage& stage, PressureSettings const& settings, Tally& tally);
// The capacity drops to a third while it runs.
void play_capacity_cut(Stage& stage, PressureSettings const& settings, Tally& tally);
// Replay stands still for 10 s.
void play_stall(Stage& stage, PressureSettings const& settings, Tally& tally);
// The replica is killed, and comes back.
void play_vanished_replica(Stage& stage, PressureSettings const& settings, Tally& tally);
// The replica's receiver stands still: its row on the primary stays, and says nothing new.
void play_frozen_receiver(Stage& stage, PressureSettings const& settings, Tally& tally);

// Single rows of the table are updated while batches change them: how long those updates wait for a lock.
void play_row_lock_wait(Stage& stage, PressureSettings const& settings, Tally& tally);

}  // namespace pgbackfill::bench
