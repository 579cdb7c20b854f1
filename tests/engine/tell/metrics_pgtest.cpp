// What `run --listen` serves while a real backfill runs, is paused, loses its server, meets locks, and ends.
#include "engine/tell/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/http_client.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"
#include "tests/support/told_health.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using testing::HasSubstr;

constexpr int kUsage = 2;
constexpr int kOk = 200;
constexpr int kUnavailable = 503;

// What `promtool check metrics` finds wrong with a text; empty if nothing.
std::string promtool_problems(std::string const& text) {
  auto const found = run_program({PGBACKFILL_SOURCE_DIR "/tools/fetch-promtool"}, 300s);
  if (found.exit_code != 0) return "no promtool: " + found.err;
  std::string const promtool = found.out.substr(0, found.out.find('\n'));
  std::string file = (std::filesystem::temp_directory_path() / "pgbackfill-metrics-XXXXXX").string();
  int const fd = mkstemp(file.data());
  if (fd < 0) return "no temporary file";
  close(fd);
  std::ofstream(file) << text;
  auto const checked = run_program({"sh", "-c", "\"$1\" check metrics <\"$2\"", "sh", promtool, file});
  std::filesystem::remove(file);
  if (checked.exit_code == 0 && checked.out.empty() && checked.err.empty()) return "";
  return "exit " + std::to_string(checked.exit_code) + "\n" + checked.out + checked.err;
}

// One scrape: the values by series, as "name{labels}".
struct Scrape {
  std::map<std::string, double> values;
  std::set<std::string> counters;  // series that may only rise
  std::string text;

  double value(std::string const& series) const {
    auto const found = values.find(series);
    return found == values.end() ? -1 : found->second;
  }

  double sum(std::string const& name) const {
    double all = 0;
    for (auto const& [series, value] : values) {
      if (series.starts_with(name + "{")) all += value;
    }
    return all;
  }
};

Scrape parse(std::string const& text) {
  Scrape scrape;
  scrape.text = text;
  std::map<std::string, std::string> types;
  std::istringstream stream(text);
  std::string family;
  for (std::string line; std::getline(stream, line);) {
    if (line.starts_with("# TYPE ")) {
      auto const end = line.find(' ', 7);
      family = line.substr(7, end - 7);
      types[family] = line.substr(end + 1);
    }
    if (line.starts_with('#')) continue;
    auto const blank = line.rfind(' ');
    auto const series = line.substr(0, blank);
    scrape.values[series] = std::strtod(line.c_str() + blank, nullptr);
    bool const is_part = types[family] == "histogram" && !series.starts_with(family + "_sum");
    if (types[family] == "counter" || is_part) scrape.counters.insert(series);
  }
  return scrape;
}

class ListeningRun : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "metrics";
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  std::unique_ptr<MigrationRun> make_run(std::int64_t rows, std::string const& throttling = "") {
    CountUp options;
    options.table = make_counted_table(client_, rows);
    options.max_rows = 50;
    options.throttling = throttling;
    return std::make_unique<MigrationRun>(name_of_test(), cluster_->dsn(), count_up(options));
  }

  // The port is in the log, since the system chose it.
  static std::uint16_t port_of(Program& process) {
    std::string const before = "http://127.0.0.1:";
    std::string const after = "/metrics";
    std::string log;
    auto const is_told = [&] {
      log = process.err();
      auto const at = log.find(before);
      return at != std::string::npos && log.find(after, at) != std::string::npos;
    };
    EXPECT_TRUE(poll_until(is_told)) << log;
    auto const at = log.find(before);
    return at == std::string::npos ? 0 : static_cast<std::uint16_t>(std::stoi(log.substr(at + before.size())));
  }

  std::string series(std::string const& name, std::string const& labels = "") const {
    return name + "{migration=\"" + name_of_test() + "\"" + (labels.empty() ? "" : "," + labels) + "}";
  }

  static bool answers(std::uint16_t port, std::string const& path, int status) {
    return poll_until([&] { return http_get(port, path).status == status; });
  }

  // Before that it is ready as well, for its preparations, but a pause or a lost server would end it.
  static bool is_backfilling(std::uint16_t port) {
    return poll_until([&] { return http_get(port, "/readyz").body == "ready: backfilling\n"; });
  }

  static std::unique_ptr<LocalCluster> cluster_;
  PgClient client_{cluster_->dsn()};
};

std::unique_ptr<LocalCluster> ListeningRun::cluster_;

TEST(MetricsText, PassesPromtoolWithEveryMetricInIt) {
  engine::Metrics metrics("users \"quoted\"\\\n");
  auto const now = std::chrono::steady_clock::now();
  engine::Summary summary;
  summary.last.table = "public.users";
  metrics.take_beat(now);
  metrics.take(engine::BatchTold{500, 80ms, std::nullopt, ""}, now);
  metrics.take(engine::TroubleTold{"55P03", planner::Trouble::kLockTimeout}, now);
  metrics.take(std::make_shared<engine::HealthTold const>(told_health(now)), now);
  metrics.take(summary, now);
  EXPECT_EQ(promtool_problems(metrics.text(now)), "");
  engine::JobShown job;
  job.migration = "users \"quoted\"\\\n";
  job.status = "running";
  job.last_batch_age = 1s;
  engine::JobsShown shown{now, 1ms, {job, job}};
  shown.jobs.back().migration = "orders";
  EXPECT_EQ(promtool_problems(engine::exporter_text(&shown, now)), "");
  EXPECT_EQ(promtool_problems(engine::exporter_text(nullptr, now)), "");
  EXPECT_NE(promtool_problems("# TYPE bad_total gauge\nbad_total 1\n"), "");
}

TEST(MetricsText, HasEveryMetricThatTheAlertRulesName) {
  std::ifstream file(PGBACKFILL_SOURCE_DIR "/packaging/prometheus/pgbackfill.rules.yaml");
  std::string const rules{std::istreambuf_iterator<char>(file), {}};
  std::set<std::string> defined;
  for (auto const definitions : {engine::metric_definitions(), engine::exporter_metric_definitions()}) {
    for (auto const& definition : definitions) defined.emplace(definition.name);
  }
  std::regex const name("pgbackfill_[a-z_]+");
  int named = 0;
  for (std::sregex_iterator found(rules.begin(), rules.end(), name); found != std::sregex_iterator(); ++found) {
    EXPECT_TRUE(defined.contains(found->str())) << found->str();
    ++named;
  }
  EXPECT_GT(named, 5);
}

TEST_F(ListeningRun, ServesCountersThatOnlyRiseAndEndWithTheSummary) {
  auto const run = make_run(4'000, "  max_rows_per_second: 2000\n");
  auto& process = run->start({"--listen", "0", "--final-scrape", "60s", "--format", "json"});
  auto const port = port_of(process);
  Scrape last;
  bool was_ready = false;
  int scrapes = 0;
  auto const has_ended = [&] {
    if (!was_ready) was_ready = http_get(port, "/readyz").status == kOk;
    EXPECT_EQ(http_get(port, "/healthz").status, kOk);
    auto const reply = http_get(port, "/metrics");
    EXPECT_EQ(reply.status, kOk);
    auto now = parse(reply.body);
    for (auto const& counter : last.counters) {
      EXPECT_GE(now.value(counter), last.value(counter)) << counter;
    }
    bool const is_first_of_job = !last.values.contains(series("pgbackfill_job_rows_done"));
    if (is_first_of_job || scrapes == 0) {
      EXPECT_EQ(promtool_problems(reply.body), "");
    }
    ++scrapes;
    last = std::move(now);
    return last.values.contains(series("pgbackfill_run_exit_code")) || testing::Test::HasFailure();
  };
  ASSERT_TRUE(poll_until(has_ended, 60s, 100ms)) << run->story();
  ASSERT_TRUE(run->ends(process, kDone));
  EXPECT_TRUE(was_ready);
  EXPECT_GT(scrapes, 3);
  EXPECT_EQ(promtool_problems(last.text), "");

  auto const summary = boost::json::parse(process.out()).as_object();
  auto const told = [&](char const* name) { return summary.at(name).to_number<double>(); };
  EXPECT_EQ(last.value(series("pgbackfill_run_exit_code")), told("exit_code"));
  EXPECT_EQ(last.value(series("pgbackfill_job_rows_done")), told("rows_done"));
  EXPECT_EQ(last.value(series("pgbackfill_job_rows_changed")), told("rows_changed"));
  EXPECT_EQ(last.value(series("pgbackfill_job_rows_changed")), 4'000);
  EXPECT_EQ(last.value(series("pgbackfill_job_ranges")), told("ranges_total"));
  EXPECT_EQ(last.value(series("pgbackfill_job_ranges_open")), 0);
  EXPECT_EQ(last.value(series("pgbackfill_job_rows_deferred")), told("deferred"));
  EXPECT_EQ(last.value(series("pgbackfill_job_rows_quarantined")), told("quarantined"));
  EXPECT_EQ(last.value(series("pgbackfill_batches_total")), told("batches"));
  EXPECT_EQ(last.value(series("pgbackfill_batch_duration_seconds_count")), told("batches"));
  EXPECT_EQ(last.sum("pgbackfill_failures_total"), told("retries"));
  EXPECT_EQ(last.value(series("pgbackfill_phase", "phase=\"ended\"")), 1);
  EXPECT_EQ(last.value(series("pgbackfill_events_lost_total")), 0);
}

TEST_F(ListeningRun, IsAliveAndNotReadyWhileItIsPausedFromOutside) {
  auto const run = make_run(100'000, "  max_rows_per_second: 200\n");
  auto& process = run->start({"--listen", "127.0.0.1:0"});
  auto const port = port_of(process);
  ASSERT_TRUE(is_backfilling(port)) << run->story();
  EXPECT_EQ(run->command("pause", {"--reason", "incident 4711"}).exit_code, 0);
  ASSERT_TRUE(answers(port, "/readyz", kUnavailable)) << run->story();
  EXPECT_THAT(http_get(port, "/readyz").body, HasSubstr("incident 4711"));
  EXPECT_EQ(http_get(port, "/healthz").status, kOk);
  auto const paused = parse(http_get(port, "/metrics").body);
  EXPECT_EQ(paused.value(series("pgbackfill_may_start")), 0);
  EXPECT_EQ(paused.value(series("pgbackfill_phase", "phase=\"paused\"")), 1);
  EXPECT_EQ(run->command("resume").exit_code, 0);
  EXPECT_TRUE(answers(port, "/readyz", kOk)) << run->story();
  process.signal(SIGINT);
  EXPECT_TRUE(run->ends(process, kResumable));
}

TEST_F(ListeningRun, IsAliveAndNotReadyWhileTheServerIsAway) {
  auto const run = make_run(100'000, "  max_rows_per_second: 200\n");
  auto& process = run->start({"--listen", "0"});
  auto const port = port_of(process);
  ASSERT_TRUE(is_backfilling(port)) << run->story();
  cluster_->stop_primary(engine::StopMode::kImmediate);
  EXPECT_TRUE(answers(port, "/readyz", kUnavailable)) << run->story();
  EXPECT_EQ(http_get(port, "/healthz").status, kOk);
  cluster_->start_primary();
  EXPECT_TRUE(answers(port, "/readyz", kOk)) << run->story();
  auto const scrape = parse(http_get(port, "/metrics").body);
  EXPECT_GE(scrape.sum("pgbackfill_failures_total"), 1) << scrape.text;
  process.signal(SIGINT);
  EXPECT_TRUE(run->ends(process, kResumable));
}

TEST_F(ListeningRun, CountsWaitsForLocksAndTheRowsThatWaitForThem) {
  auto const run = make_run(200);
  PgClient holder(cluster_->dsn());
  holder.exec("BEGIN; UPDATE " + name_of_test() + " SET n = n WHERE id = 150");
  auto& process = run->start({"--listen", "0"});
  auto const port = port_of(process);
  Scrape scrape;
  auto const is_deferred = [&] {
    scrape = parse(http_get(port, "/metrics").body);
    return scrape.value(series("pgbackfill_job_rows_deferred")) == 1;
  };
  ASSERT_TRUE(poll_until(is_deferred)) << run->story();
  EXPECT_GE(scrape.value(series("pgbackfill_batch_lock_wait_seconds_count")), 1);
  EXPECT_GE(scrape.value(series("pgbackfill_failures_total", "sqlstate=\"55P03\",class=\"55\"")), 1);
  EXPECT_GE(scrape.value(series("pgbackfill_batch_failures_total")), 1);
  holder.exec("COMMIT");
  EXPECT_TRUE(run->ends(process, kDone));
}

TEST_F(ListeningRun, RefusesAnAddressThatItCannotHaveBeforeItTouchesAnything) {
  auto const run = make_run(100);
  std::string const taken = "127.0.0.1:" + std::to_string(cluster_->port());
  for (auto const& [address, why] :
       std::map<std::string, std::string>{{taken, "cannot listen on " + taken + ": Address already in use"},
                                          {"192.0.2.1:9187", "cannot listen on 192.0.2.1:9187: "},
                                          {"no.such.host.invalid:9187", "cannot listen on no.such.host.invalid:9187: "},
                                          {"9187x", "'9187x' is no address to listen on"}}) {
    auto& process = run->start({"--listen", address});
    auto const result = process.wait();
    EXPECT_EQ(result.exit_code, kUsage) << address;
    EXPECT_THAT(result.err, HasSubstr(why));
  }
  auto& process = run->start({"--final-scrape", "1s"});
  EXPECT_EQ(process.wait().exit_code, kUsage);
  EXPECT_EQ(counts(cluster_->dsn(), name_of_test()), "0: 100");
  bool const has_state = client_.value("SELECT to_regclass('pgbackfill.migrations') IS NOT NULL") == "t";
  if (has_state) {
    EXPECT_EQ(client_.value("SELECT count(*) FROM pgbackfill.migrations WHERE name = '" + name_of_test() + "'"), "0");
  }
}

TEST_F(ListeningRun, WaitsAtTheEndNoLongerThanItWasTold) {
  auto const run = make_run(100);
  EXPECT_TRUE(run->runs(kDone, {"--listen", "0", "--final-scrape", "100ms"}));
}

}  // namespace
}  // namespace pgbackfill::tests
