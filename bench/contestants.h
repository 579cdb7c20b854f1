// The ways to set one column of a whole table that the macro bench compares, pgbackfill among them.
//
// Each works on table `users` of the database it is given and throws when it fails. Nothing here prepares or measures
// the server.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace pgbackfill::bench {

struct ProgramSettings {
  int workers = 0;               // 0: the default
  std::int64_t batch_rows = 0;   // 0: the default sizes; else each batch takes so many
  std::string migration_folder;  // where the migration file goes
};

// What the program took of the machine.
struct ProgramCost {
  double cpu_seconds = 0;
  std::int64_t peak_memory_bytes = 0;
};

// Batches of keys in (lo, hi].
struct KeyBatch {
  std::int64_t lo = 0;
  std::int64_t hi = 0;
};

ProgramCost run_pgbackfill(std::string const& dsn, ProgramSettings const& settings);

void run_one_update(std::string const& dsn);

// The loop that people write by hand: the first rows that are still to be done, 10 000 at a time.
void run_rest_loop(std::string const& dsn);

// pgroll's shape: a flag and a trigger that computes the value; a loop touches 1 000 rows at a time. The schema part,
// which is not timed, comes first.
void prepare_touch_loop(std::string const& dsn);
void run_touch_loop(std::string const& dsn);

// The batches of a run of pgbackfill that used one worker and a fixed batch size, in their order; the table's keys have
// no gaps.
std::vector<KeyBatch> batches_of_run(std::string const& dsn, std::int64_t batch_rows);
// The same batches by themselves: no fence, no checkpoint, no look for the next boundary.
void run_bare_batches(std::string const& dsn, std::vector<KeyBatch> const& batches);

// Throws unless every row has the right value.
void check_result(std::string const& dsn);

}  // namespace pgbackfill::bench
