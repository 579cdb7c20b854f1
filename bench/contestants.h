// The ways to set one column of a whole table that the macro bench compares, pgbackfill among them.
//
// Each works on table `users` of the database it is given and throws when it fails. Nothing here prepares or measures
// the server.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace pgbackfill::bench {

// Flat out, as its contestants are; what the throttle costs has figures of its own.
inline constexpr char kFlatOut[] = "{mode: off}";
// As by default, but a table that may grow as it likes is not vacuumed.
inline constexpr char kMayGrow[] = "{bloat: 1000%}";

struct ProgramSettings {
  int workers = 0;                    // 0: the default
  std::int64_t batch_rows = 0;        // 0: the default sizes; else each batch takes so many
  std::string migration_folder = {};  // where the migration file goes
  std::string throttle = {};          // the section `throttle:`, on one line; empty: none
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

// Writes the migration file; returns the command that runs it.
std::vector<std::string> pgbackfill_command(std::string const& dsn, ProgramSettings const& settings);
ProgramCost run_pgbackfill(std::string const& dsn, ProgramSettings const& settings);

// The program with a command and a file.
std::vector<std::string> program_command(std::string const& command, std::string const& file, std::string const& dsn);

// Runs a migration file of this text, and throws unless it is done.
ProgramCost run_file(std::string const& dsn, std::string const& text);

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

// What people write with more care: 5 000 rows at a time by the key, and a pause after each batch.
struct PacedLoopSettings {
  std::int64_t rows = 5'000;  // of a statement, which commits by itself, and asynchronously as our batches do
  std::chrono::milliseconds pause{0};
  // More than 0: no pause, but a stop for as long as a commit of the loop's own takes longer than this, asked again
  // every 100 ms.
  double commit_milliseconds_max = 0;
};

// Threads: one of its own that does the work; the object belongs to one thread. The destructor ends it.
class PacedLoop {
 public:
  PacedLoop(std::string const& dsn, std::int64_t table_rows, PacedLoopSettings settings);

  std::int64_t rows_done() const { return rows_; }

 private:
  void work(std::stop_token const& stop, std::string const& dsn, std::int64_t table_rows, PacedLoopSettings settings);

  std::atomic<std::int64_t> rows_ = 0;
  std::jthread worker_;
};

// Throws unless every row has the right value.
void check_result(std::string const& dsn);

}  // namespace pgbackfill::bench
