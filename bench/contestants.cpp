#include "bench/contestants.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "tests/support/pg_client.h"
#include "tests/support/program.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;
using tests::PgClient;
using tests::Program;

constexpr auto kMemoryInterval = 5ms;
constexpr std::int64_t kRowsOfRestLoop = 10'000;
constexpr std::int64_t kRowsOfTouchLoop = 1'000;
constexpr auto kOnOffInterval = 100ms;

std::string write_migration(ProgramSettings const& settings) {
  std::string const path = settings.migration_folder + "/bench.yaml";
  std::ofstream file(path);
  file << "name: bench\ntable: public.users\nbackfill:\n  set: {display_name: \"upper(name)\"}\n";
  if (settings.batch_rows > 0) {
    // The target is far away, so that nothing but the limits says how large a batch is.
    file << fmt::format("  batch: {{target: 10s, min_rows: {0}, max_rows: {0}}}\n", settings.batch_rows);
  }
  if (!settings.throttle.empty()) file << "throttle: " << settings.throttle << '\n';
  return path;
}

// VmHWM: the most that was resident so far; 0 when the process is gone.
std::int64_t peak_memory_of(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  std::string word;
  while (status >> word) {
    std::int64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib * 1024;
  }
  return 0;
}

double cpu_seconds_of_children() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  auto const seconds = [](timeval const& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

std::vector<std::string> pgbackfill_command(std::string const& dsn, ProgramSettings const& settings) {
  std::vector<std::string> arguments = {PGBACKFILL_PROGRAM, "run", write_migration(settings), "--dsn", dsn};
  if (settings.workers > 0) {
    arguments.insert(arguments.end(), {"--workers", std::to_string(settings.workers)});
  }
  return arguments;
}

std::vector<std::string> program_command(std::string const& command, std::string const& file, std::string const& dsn) {
  return {PGBACKFILL_PROGRAM, command, file, "--dsn", dsn};
}

namespace {

ProgramCost run_command(std::vector<std::string> const& command) {
  ProgramCost cost;
  double const cpu_before = cpu_seconds_of_children();
  Program program(command);
  while (program.is_running()) {
    cost.peak_memory_bytes = std::max(cost.peak_memory_bytes, peak_memory_of(program.pid()));
    std::this_thread::sleep_for(kMemoryInterval);
  }
  auto const result = program.wait();
  if (result.exit_code != 0) throw std::runtime_error("pgbackfill failed: " + result.err);
  cost.cpu_seconds = cpu_seconds_of_children() - cpu_before;
  return cost;
}

}  // namespace

ProgramCost run_file(std::string const& dsn, std::string const& text) {
  auto const path = std::filesystem::temp_directory_path() / fmt::format("bench-{}.yaml", getpid());
  std::ofstream(path) << text;
  auto const cost = run_command(program_command("run", path.string(), dsn));
  std::filesystem::remove(path);
  return cost;
}

ProgramCost run_pgbackfill(std::string const& dsn, ProgramSettings const& settings) {
  return run_command(pgbackfill_command(dsn, settings));
}

void run_one_update(std::string const& dsn) {
  PgClient(dsn).exec("UPDATE users SET display_name = upper(name)");
}

void run_rest_loop(std::string const& dsn) {
  PgClient client(dsn);
  std::string const batch = fmt::format(
      "WITH done AS (UPDATE users SET display_name = upper(name) WHERE id IN (SELECT id FROM users WHERE display_name "
      "IS NULL ORDER BY id LIMIT {}) RETURNING 1) SELECT count(*) FROM done",
      kRowsOfRestLoop);
  while (client.value(batch) != "0") continue;
}

void prepare_touch_loop(std::string const& dsn) {
  PgClient(dsn).exec(
      "ALTER TABLE users ADD COLUMN needs_backfill boolean DEFAULT true;"
      "CREATE FUNCTION fill_display_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
      "NEW.display_name := upper(NEW.name); NEW.needs_backfill := false; RETURN NEW; END $$;"
      "CREATE TRIGGER fill_display_name BEFORE INSERT OR UPDATE ON users FOR EACH ROW "
      "EXECUTE FUNCTION fill_display_name()");
}

void run_touch_loop(std::string const& dsn) {
  PgClient client(dsn);
  std::string last = "0";
  while (last != "NULL") {
    last = client.value(fmt::format(
        "WITH batch AS (SELECT id FROM users WHERE needs_backfill AND id > '{}' ORDER BY id LIMIT {} FOR NO "
        "KEY UPDATE), touched AS (UPDATE users SET id = users.id FROM batch WHERE users.id = batch.id "
        "RETURNING users.id) SELECT max(id) FROM touched",
        last, kRowsOfTouchLoop));
  }
}

std::vector<KeyBatch> batches_of_run(std::string const& dsn, std::int64_t batch_rows) {
  PgClient client(dsn);
  auto const ranges =
      client.exec("SELECT coalesce(lo[1], '0'), hi[1] FROM pgbackfill.ranges WHERE pass = 0 ORDER BY range_id");
  std::vector<KeyBatch> batches;
  for (auto const& range : ranges) {
    std::int64_t const end = std::stoll(range[1].value());
    for (std::int64_t lo = std::stoll(range[0].value()); lo < end; lo += batch_rows) {
      batches.push_back({lo, std::min(lo + batch_rows, end)});
    }
  }
  auto const counted = client.value("SELECT sum(batches) FROM pgbackfill.ranges WHERE pass = 0");
  if (counted != std::to_string(batches.size())) {
    throw std::runtime_error(fmt::format("the run had {} batches, not {}", counted, batches.size()));
  }
  return batches;
}

void run_bare_batches(std::string const& dsn, std::vector<KeyBatch> const& batches) {
  PgClient client(dsn);
  for (auto const& batch : batches) {
    client.exec(
        fmt::format("BEGIN; SET LOCAL synchronous_commit = off; UPDATE users SET display_name = (upper(name)) "
                    "WHERE id > {} AND id <= {}; COMMIT",
                    batch.lo, batch.hi));
  }
  // A run is complete only when all of it is on disk.
  client.exec("BEGIN; SELECT pg_current_xact_id(); COMMIT");
}

PacedLoop::PacedLoop(std::string const& dsn, std::int64_t table_rows, PacedLoopSettings settings)
    : worker_(
          [this, dsn, table_rows, settings](std::stop_token const& stop) { work(stop, dsn, table_rows, settings); }) {}

void PacedLoop::work(std::stop_token const& stop, std::string const& dsn, std::int64_t table_rows,
                     PacedLoopSettings settings) {
  PgClient client(dsn);
  client.exec("SET synchronous_commit = off");
  // It writes its message to disk, whatever the session's commits do.
  PgClient prober(dsn);
  auto const commit_milliseconds = [&prober] {
    auto const began = std::chrono::steady_clock::now();
    prober.exec("SELECT pg_logical_emit_message(true, 'bench', '')");
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - began).count();
  };
  for (std::int64_t lo = 0; lo < table_rows && !stop.stop_requested(); lo += settings.rows) {
    bool const is_on_off = settings.commit_milliseconds_max > 0;
    while (is_on_off && !stop.stop_requested() && commit_milliseconds() > settings.commit_milliseconds_max) {
      std::this_thread::sleep_for(kOnOffInterval);
    }
    client.exec(
        fmt::format("UPDATE users SET display_name = upper(name) WHERE id > {} AND id <= {}", lo, lo + settings.rows));
    rows_ += settings.rows;
    std::this_thread::sleep_for(settings.pause);
  }
}

void check_result(std::string const& dsn) {
  auto const wrong = PgClient(dsn).value("SELECT count(*) FROM users WHERE display_name IS DISTINCT FROM upper(name)");
  if (wrong != "0") throw std::runtime_error(wrong + " rows have the wrong value");
}

}  // namespace pgbackfill::bench
