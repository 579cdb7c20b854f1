// Guarantee 1 at length: a hundred strikes of every kind, chosen by the seed, against runs that follow each other on
// one table. PGBACKFILL_STRIKES changes their number. PGBACKFILL_FIGURES names a file to which a line a kind is added:
// version, kind, how many, rows lost and rows doubled in the rounds that it struck.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/migration_run.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;

constexpr std::int64_t kRows = 250'000;

int strikes_wanted() {
  char const* const given = std::getenv("PGBACKFILL_STRIKES");
  return given != nullptr ? std::atoi(given) : 100;
}

struct Struck {
  int times = 0;
  std::int64_t lost = 0;
  std::int64_t doubled = 0;
};

class Campaign : public testing::TestWithParam<char const*> {
 protected:
  void SetUp() override {
    engine::LocalClusterOptions options;
    options.name = "campaign";
    options.is_fsync_on = false;
    options.primary_settings = {"max_wal_size = 2GB"};
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    PgClient client(cluster_->dsn());
    table_ = make_counted_table(client, kRows);
    proxy_ = std::make_unique<FaultProxy>(cluster_->port());
  }

  std::unique_ptr<MigrationRun> next_round() {
    CountUp options;
    options.table = table_;
    options.commit = GetParam();
    options.workers = static_cast<int>(between(random_, 1, 4));
    options.max_rows = static_cast<int>(between(random_, 60, 500));
    ++rounds_;
    auto run = std::make_unique<MigrationRun>(fmt::format("round_{}", rounds_), cluster_->dsn(), count_up(options));
    // What reads the state for the test goes to the server itself.
    run->set_process_dsn(proxy_->dsn());
    return run;
  }

  void wait(std::int64_t most_ms) {
    std::this_thread::sleep_for(std::chrono::microseconds(between(random_, 0, most_ms * 1'000)));
  }

  // Leaves a process at work, the same or another. Gives the kind.
  std::string strike(MigrationRun& run, Program*& process) {
    switch (between(random_, 0, 13)) {
      case 0:
        cluster_->kill9();
        wait(100);
        cluster_->start_primary();
        return "the server's processes killed (SIGKILL)";
      case 1:
        cluster_->restart_primary(engine::StopMode::kImmediate);
        return "the server restarted, as after a crash";
      case 2:
        PgClient(cluster_->dsn())
            .exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbackfill'");
        return "its sessions terminated";
      case 3:
        take_over(run, process);
        return "frozen beyond its lease, another process beside it";
      case 4:
        proxy_->cut_all();
        return "all its links cut";
      case 5:
      case 6:
        proxy_->drop_next_answer("COMMIT");
        return "link cut between a commit and its answer";
      default:
        run.kill_process(*process);
        process = &run.start({"--lease", "1s"});
        return "pgbackfill killed (SIGKILL)";
    }
  }

  // What the round did to each kind that struck in it.
  void count_round(std::map<std::string, int> const& kinds) {
    PgClient client(cluster_->dsn());
    auto const sum = [&](char const* sign) {
      return std::stoll(client.value(
          fmt::format("SELECT coalesce(sum(abs(n - {0})), 0) FROM {1} WHERE n {2} {0}", rounds_, table_, sign)));
    };
    auto const lost = sum("<");
    auto const doubled = sum(">");
    for (auto const& [kind, times] : kinds) {
      struck_[kind].times += times;
      struck_[kind].lost += lost;
      struck_[kind].doubled += doubled;
    }
  }

  void write_figures() const {
    char const* const file = std::getenv("PGBACKFILL_FIGURES");
    if (file == nullptr) return;
    std::ofstream out(file, std::ios::app);
    for (auto const& [kind, struck] : struck_) {
      out << fmt::format("{}\t{}\t{}\t{}\t{}\n", cluster_->major_version(), kind, struck.times, struck.lost,
                         struck.doubled);
    }
  }

  // Starts the process again, as a supervisor would, when a strike met it before its workers were there; a run that
  // had begun must never give up.
  bool has_completed(MigrationRun& run, Program*& process) {
    if (process->is_running()) return false;
    auto const result = process->wait();
    if (result.exit_code == kDone) return true;
    EXPECT_EQ(result.exit_code, kFailed) << run.story();
    EXPECT_EQ(result.err.find(run.name() + " failed: "), std::string::npos) << "gave up" << run.story();
    process = &run.start({"--lease", "1s"});
    return false;
  }

  // A second process goes on while the first stands still beyond its lease; then either of them is killed.
  void take_over(MigrationRun& run, Program*& process) {
    process->signal(SIGSTOP);
    auto* other = &run.start({"--lease", "1s"});
    wait(2'000);
    process->signal(SIGCONT);
    wait(200);
    if (between(random_, 0, 1) == 0) std::swap(process, other);
    run.kill_process(*other);
  }

  std::mt19937_64 random_ = random_of_test();
  std::unique_ptr<LocalCluster> cluster_;
  std::unique_ptr<FaultProxy> proxy_;
  std::string table_;
  std::map<std::string, Struck> struck_;
  int rounds_ = 0;
};

TEST_P(Campaign, CountsEveryRowOnceARound) {
  int strikes = 0;
  while (strikes < strikes_wanted()) {
    auto run = next_round();
    auto* process = &run->start({"--lease", "1s"});
    std::map<std::string, int> kinds;
    while (strikes < strikes_wanted() && !has_completed(*run, process)) {
      wait(250);
      ++kinds[strike(*run, process)];
      ++strikes;
    }
    while (!has_completed(*run, process) && !HasFailure()) std::this_thread::sleep_for(20ms);
    count_round(kinds);
    if (counts(cluster_->dsn(), table_) != fmt::format("{}: {}", rounds_, kRows)) write_figures();
    ASSERT_FALSE(HasFailure());
    ASSERT_EQ(counts(cluster_->dsn(), table_), fmt::format("{}: {}", rounds_, kRows))
        << "after " << strikes << " strikes" << run->story();
    // Old versions of the rows would make every round slower than the one before.
    PgClient(cluster_->dsn()).exec("VACUUM " + table_);
  }
  write_figures();
  std::cout << strikes << " strikes in " << rounds_ << " rounds\n";
}

INSTANTIATE_TEST_SUITE_P(Commit, Campaign, testing::Values("async", "sync"),
                         [](auto const& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace pgbackfill::tests
