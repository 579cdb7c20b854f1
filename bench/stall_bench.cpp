// How long readers and writers stand while a step waits behind somebody: each step behind each blocker, beside one
// session that reads and one that writes a row at a time.
//
// The ladder of lock timeouts promises that nobody waits longer than the timeout that the step waits with itself, which
// is read from pg_stat_activity while it runs. stall_bench [--blocked=SECONDS] [--step=NAME]
#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "bench/contestants.h"
#include "bench/figures.h"
#include "bench/stage.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using tests::PgClient;
using tests::Program;

constexpr std::int64_t kRows = 50'000;

struct Settings {
  int blocked_seconds = 15;
  std::string step;  // empty: all
};

std::optional<Settings> read_settings(int argc, char** argv) {
  Settings settings;
  for (int index = 1; index < argc; ++index) {
    std::string const argument = argv[index];
    if (argument.starts_with("--blocked=")) {
      settings.blocked_seconds = std::stoi(argument.substr(10));
    } else if (argument.starts_with("--step=")) {
      settings.step = argument.substr(7);
    } else {
      return std::nullopt;
    }
  }
  return settings;
}

struct Step {
  std::string name;
  std::string setup;
  std::string yaml;
};

std::vector<Step> const& steps() {
  static std::vector<Step> const list = {
      {"add_column", "", "add_column: {name: extra, type: int}"},
      {"drop_column", "", "drop_column: display_name"},
      {"set_not_null", "", "set_not_null: name"},
      {"add_check", "", "add_check: {name: users_c, check: id > 0}"},
      {"add_foreign_key", "CREATE TABLE parent (id bigint PRIMARY KEY); ALTER TABLE users ADD COLUMN p bigint",
       "add_foreign_key: {name: users_fk, columns: [p], references: parent}"},
      {"create_index", "", "create_index: {name: users_i, columns: [name]}"},
      {"swap_column", "ALTER TABLE users ADD COLUMN other text", "swap_column: {column: display_name, with: other}"}};
  return list;
}

// One session that does the same statement again and again and remembers the longest time that it took.
class Foreground {
 public:
  Foreground(std::string const& dsn, std::string pattern) : pattern_(std::move(pattern)) {
    thread_ = std::jthread([this, dsn](std::stop_token const& stop) {
      PgClient client(dsn);
      for (std::int64_t row = 1; !stop.stop_requested(); row = row % kRows + 1) {
        auto const began = Clock::now();
        client.exec(fmt::format(fmt::runtime(pattern_), row));
        auto const took = std::chrono::duration<double, std::milli>(Clock::now() - began).count();
        longest_ = std::max(longest_.load(), took);
        std::this_thread::sleep_for(2ms);
      }
    });
  }

  double stop() {
    thread_.request_stop();
    thread_.join();
    return longest_;
  }

 private:
  std::string pattern_;
  std::atomic<double> longest_{0};
  std::jthread thread_;
};

// The largest lock_timeout that pgbackfill has waited with so far, in milliseconds.
class LadderWatch {
 public:
  explicit LadderWatch(std::string const& dsn) {
    thread_ = std::jthread([this, dsn](std::stop_token const& stop) {
      PgClient client(dsn);
      while (!stop.stop_requested()) {
        auto const seen = client.value(
            "SELECT coalesce(max(substring(query FROM 'SET LOCAL lock_timeout = ([0-9]+)')::int), 0) FROM "
            "pg_stat_activity "
            "WHERE application_name = 'pgbackfill' AND pid <> pg_backend_pid()");
        largest_ = std::max(largest_.load(), std::stoi(seen));
        std::this_thread::sleep_for(10ms);
      }
    });
  }

  int stop() {
    thread_.request_stop();
    thread_.join();
    return largest_;
  }

 private:
  std::atomic<int> largest_{0};
  std::jthread thread_;
};

// Somebody who holds a lock that the step has to wait for, until release().
struct Blocker {
  std::string name;
  std::function<std::function<void()>(std::string const& dsn)> begin;
};

std::function<void()> begin_idle_transaction(std::string const& dsn) {
  auto client = std::make_shared<PgClient>(dsn);
  client->exec("BEGIN; SELECT count(*) FROM users");
  return [client] { client->exec("COMMIT"); };
}

// pg_dump whose output nobody takes.
std::function<void()> begin_dump(std::string const& dsn) {
  std::vector<std::string> const arguments = {
      "/bin/sh", "-c", "pg_dump --dbname='" + dsn + "' --table=users | { sleep 1000 & wait; cat > /dev/null; }"};
  auto program = std::make_shared<Program>(arguments);
  bool const holds = tests::poll_until([&] {
    return PgClient(dsn).value(
               "SELECT EXISTS (SELECT FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE "
               "a.application_name = 'pg_dump' AND l.relation = 'users'::regclass)") == "t";
  });
  if (!holds) throw std::runtime_error("pg_dump holds no lock: " + program->err());
  return [program, dsn] {
    PgClient(dsn).exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_dump'");
  };
}

// An autovacuum that takes its time.
std::function<void()> begin_autovacuum(std::string const& dsn) {
  PgClient client(dsn);
  client.exec(
      "ALTER TABLE users SET (autovacuum_enabled = on, autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor "
      "= 0, "
      "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)");
  client.exec("UPDATE users SET name = name");
  client.exec("ALTER SYSTEM SET autovacuum_naptime = 1");
  client.exec("SELECT pg_reload_conf()");
  bool const is_there = tests::poll_until(
      [&] {
        return client.value("SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'users'::regclass") != "0";
      },
      120s);
  if (!is_there) throw std::runtime_error("no autovacuum came");
  return [dsn] {
    PgClient end(dsn);
    end.exec("ALTER SYSTEM RESET autovacuum_naptime");
    end.exec("SELECT pg_reload_conf()");
  };
}

struct Stall {
  double milliseconds = 0;
  int lock_timeout = 0;
  double step_seconds = 0;
};

Stall play(Stage& stage, Settings const& settings, Step const& step, Blocker const& blocker) {
  auto const dsn = stage.fresh({kRows, true});
  if (!step.setup.empty()) PgClient(dsn).exec(step.setup);
  auto const file = std::filesystem::temp_directory_path() / fmt::format("stall-{}.yaml", getpid());
  std::ofstream(file) << "name: stall\ntable: users\nexpand:\n  - " << step.yaml << '\n';
  auto release = blocker.begin(dsn);
  Foreground reader(dsn, "SELECT name FROM users WHERE id = {}");
  Foreground writer(dsn, "UPDATE users SET name = name || 'x' WHERE id = {}");
  LadderWatch ladder(dsn);
  auto const began = Clock::now();
  Program program(program_command("run", file.string(), dsn));
  auto const release_at = began + std::chrono::seconds(settings.blocked_seconds);
  while (program.is_running() && Clock::now() < release_at) std::this_thread::sleep_for(20ms);
  release();
  auto const result = program.wait(300s);
  Stall stall;
  stall.step_seconds = std::chrono::duration<double>(Clock::now() - began).count();
  stall.lock_timeout = ladder.stop();
  stall.milliseconds = std::max(reader.stop(), writer.stop());
  std::filesystem::remove(file);
  if (result.exit_code != 0) throw std::runtime_error(step.name + " behind " + blocker.name + ": " + result.err);
  return stall;
}

int bench_main(int argc, char** argv) {
  auto const settings = read_settings(argc, argv);
  if (!settings) {
    std::cerr << "usage: stall_bench [--blocked=SECONDS] [--step=NAME]\n";
    return 2;
  }
  std::vector<Blocker> const blockers = {
      {"an idle transaction", begin_idle_transaction}, {"pg_dump", begin_dump}, {"an autovacuum", begin_autovacuum}};
  Stage stage;
  Tally tally;
  for (auto const& step : steps()) {
    if (!settings->step.empty() && settings->step != step.name) continue;
    for (auto const& blocker : blockers) {
      auto const stall = play(stage, *settings, step, blocker);
      std::cerr << fmt::format(
          "{} behind {}: worst statement {:.0f} ms, largest lock_timeout {} ms, step took {:.1f} s\n", step.name,
          blocker.name, stall.milliseconds, stall.lock_timeout, stall.step_seconds);
      tally.add({step.name + " behind " + blocker.name, "worst statement over the step's own lock_timeout",
                 Bar::kAtMost, 50, "ms"},
                stall.milliseconds - stall.lock_timeout);
    }
  }
  print_figures(std::cout, tally.figures());
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
