// The manifests for Kubernetes and Compose, played without a cluster: the commands and variables that they name are
// started as processes, one is killed, one is drained, and what the manifest does about their exit codes is done.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <yaml-cpp/yaml.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/http_client.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using testing::HasSubstr;

constexpr int kUsage = 2;
constexpr int kKilled = 128 + SIGKILL;
constexpr int kOk = 200;
constexpr char kFolder[] = PGBACKFILL_SOURCE_DIR "/packaging/";

// What is known of a pod, or of a service of Compose, before it is started.
struct Pod {
  std::vector<std::string> command;
  std::vector<std::pair<std::string, std::string>> environment;  // without DATABASE_URL
  std::chrono::seconds grace{0};
  std::string migration;  // where it expects the file; empty: it has none
  std::string liveness;   // paths
  std::string readiness;
};

std::vector<std::string> words_of(YAML::Node const& list) {
  std::vector<std::string> words;
  for (auto const& word : list) words.push_back(word.as<std::string>());
  return words;
}

Pod pod_of_kubernetes(YAML::Node const& spec, std::string const& secret) {
  Pod pod;
  auto const container = spec["containers"][0];
  EXPECT_EQ(container["name"].as<std::string>(), "pgbackfill");
  pod.command = words_of(container["command"]);
  for (auto const& word : words_of(container["args"])) pod.command.push_back(word);
  bool has_url = false;
  for (auto const& variable : container["env"]) {
    auto const name = variable["name"].as<std::string>();
    if (auto const source = variable["valueFrom"]) {
      EXPECT_EQ(name, "DATABASE_URL");
      EXPECT_EQ(source["secretKeyRef"]["name"].as<std::string>(), secret);
      has_url = true;
    } else {
      pod.environment.emplace_back(name, variable["value"].as<std::string>());
    }
  }
  EXPECT_TRUE(has_url);
  pod.grace = std::chrono::seconds(spec["terminationGracePeriodSeconds"].as<int>());
  if (auto const mount = container["volumeMounts"]) {
    EXPECT_EQ(spec["volumes"][0]["name"].as<std::string>(), mount[0]["name"].as<std::string>());
    EXPECT_EQ(spec["volumes"][0]["configMap"]["name"].as<std::string>(), "pgbackfill-migration");
    pod.migration = mount[0]["mountPath"].as<std::string>() + "/migration.yaml";
  }
  auto const port = container["ports"][0];
  for (char const* probe : {"livenessProbe", "readinessProbe"}) {
    EXPECT_EQ(container[probe]["httpGet"]["port"].as<std::string>(), port["name"].as<std::string>());
  }
  pod.liveness = container["livenessProbe"]["httpGet"]["path"].as<std::string>();
  pod.readiness = container["readinessProbe"]["httpGet"]["path"].as<std::string>();
  std::pair<std::string, std::string> const listens{"PGBACKFILL_LISTEN",
                                                    "0.0.0.0:" + port["containerPort"].as<std::string>()};
  EXPECT_THAT(pod.environment, testing::Contains(listens));
  return pod;
}

Pod pod_of_compose(YAML::Node const& service) {
  Pod pod;
  pod.command = words_of(service["entrypoint"]);
  for (auto const& word : words_of(service["command"])) pod.command.push_back(word);
  for (auto const& variable : service["environment"]) {
    auto const name = variable.first.as<std::string>();
    if (name != "DATABASE_URL") pod.environment.emplace_back(name, variable.second.as<std::string>());
  }
  pod.grace = std::chrono::seconds(std::atoi(service["stop_grace_period"].as<std::string>().c_str()));
  if (auto const volumes = service["volumes"]) {
    auto const text = volumes[0].as<std::string>();
    EXPECT_TRUE(text.starts_with("./migration.yaml:") && text.ends_with(":ro")) << text;
    pod.migration = text.substr(text.find(':') + 1, text.rfind(':') - text.find(':') - 1);
  }
  pod.liveness = "/healthz";
  return pod;
}

// What the policy does about an exit code: FailJob, Ignore, or Count where no rule speaks of it.
std::string action_of(YAML::Node const& policy, int exit_code) {
  for (auto const& rule : policy["rules"]) {
    auto const codes = rule["onExitCodes"];
    if (!codes) continue;
    EXPECT_EQ(codes["operator"].as<std::string>(), "In");
    EXPECT_EQ(codes["containerName"].as<std::string>(), "pgbackfill");
    for (auto const& code : codes["values"]) {
      if (code.as<int>() == exit_code) return rule["action"].as<std::string>();
    }
  }
  return "Count";
}

// A process that is started as its pod would be. Two of them cannot have one port here, so the system chooses it.
class Process {
 public:
  Process(Pod const& pod, std::string const& dsn, std::filesystem::path const& migration) : pod_(pod) {
    auto command = pod.command;
    EXPECT_EQ(command.front(), "pgbackfill");
    command.front() = PGBACKFILL_PROGRAM;
    for (auto& word : command) {
      if (!pod.migration.empty() && word == pod.migration) word = migration.string();
    }
    ProgramOptions options;
    options.environment = pod.environment;
    for (auto& [name, value] : options.environment) {
      if (name == "PGBACKFILL_LISTEN") value = "127.0.0.1:0";
    }
    options.environment.emplace_back("DATABASE_URL", dsn);
    program_ = std::make_unique<Program>(command, options);
  }

  // Asks its probes, as the kubelet does.
  bool answers(std::string const& path) {
    std::string log = program_->err();
    std::smatch found;
    if (!std::regex_search(log, found, std::regex("http://127\\.0\\.0\\.1:(\\d+)"))) return false;
    return http_get(static_cast<std::uint16_t>(std::stoi(found[1])), path).status == kOk;
  }
  testing::AssertionResult becomes_ready() {
    auto const is_ready = [this] { return answers(pod_.liveness) && answers(pod_.readiness); };
    if (poll_until(is_ready, 60s)) return testing::AssertionSuccess();
    return testing::AssertionFailure() << program_->err();
  }

  int kill() {
    program_->signal(SIGKILL);
    return program_->wait().exit_code;
  }
  // SIGTERM, then SIGKILL when its grace is over.
  int drain() {
    program_->signal(SIGTERM);
    return program_->wait(pod_.grace).exit_code;
  }
  // To its end, and scraped meanwhile, as it waits for that.
  int end() {
    auto const has_ended = [this] {
      answers("/metrics");
      return !program_->is_running();
    };
    EXPECT_TRUE(poll_until(has_ended, 120s, 50ms)) << program_->err();
    return program_->wait().exit_code;
  }
  std::string log() const { return program_->err(); }

 private:
  Pod pod_;
  std::unique_ptr<Program> program_;
};

class ManifestsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "manifests";
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void SetUp() override {
    std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
    ASSERT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  // What the pods find instead of the file beside the manifest: a table in which each row is counted up once.
  void write_migration(std::string const& text) const { std::ofstream(dir_ / "migration.yaml") << text; }
  void write_counting_migration(std::int64_t rows) {
    CountUp options;
    options.table = make_counted_table(client_, rows);
    options.max_rows = 100;
    options.throttling = "  max_rows_per_second: 1000\n";
    write_migration("name: " + name_of_test() + "\n" + count_up(options));
  }
  std::unique_ptr<Process> start(Pod const& pod) const {
    return std::make_unique<Process>(pod, cluster_->dsn(), dir_ / "migration.yaml");
  }

  testing::AssertionResult share_the_job(int processes) {
    auto const do_share = [&] {
      return client_.value("SELECT to_regclass('pgbackfill.ranges') IS NOT NULL") == "t" &&
             client_.value(
                 "SELECT count(DISTINCT r.owner) FROM pgbackfill.ranges r JOIN pgbackfill.jobs j ON j.id = "
                 "r.job_id WHERE j.name = '" +
                 name_of_test() + "' AND NOT r.done AND r.lease_expires > clock_timestamp()") ==
                 std::to_string(processes);
    };
    return poll_until(do_share, 60s) ? testing::AssertionSuccess() : testing::AssertionFailure() << "they do not share";
  }

  // Two at work, one is killed, one is drained, and others take their places.
  void play(Pod const& pod, std::set<int>& codes) {
    // More than they get through meanwhile, however slow the machine is.
    write_counting_migration(60'000);
    auto first = start(pod);
    auto second = start(pod);
    ASSERT_TRUE(first->becomes_ready());
    ASSERT_TRUE(second->becomes_ready());
    ASSERT_TRUE(share_the_job(2)) << first->log() << second->log();
    codes.insert(first->kill());
    first = start(pod);
    ASSERT_TRUE(first->becomes_ready());
    codes.insert(second->drain());
    second = start(pod);
    ASSERT_TRUE(second->becomes_ready());
    auto const set = run_program(
        {PGBACKFILL_PROGRAM, "set", name_of_test(), "throttle.max_rows_per_second=none", "--dsn", cluster_->dsn()});
    EXPECT_EQ(set.exit_code, kDone) << set.err;
    EXPECT_EQ(first->end(), kDone) << first->log();
    EXPECT_EQ(second->end(), kDone) << second->log();
    EXPECT_EQ(counts(cluster_->dsn(), name_of_test()), "1: 60000");
  }

  static std::unique_ptr<LocalCluster> cluster_;
  std::filesystem::path dir_;
  PgClient client_{cluster_->dsn()};
};

std::unique_ptr<LocalCluster> ManifestsTest::cluster_;

YAML::Node manifest(std::string const& file) {
  return YAML::LoadFile(kFolder + file);
}

TEST_F(ManifestsTest, PodsOfAJobShareItThroughAKillAndADrain) {
  auto const job = manifest("kubernetes/base/job.yaml")["spec"];
  EXPECT_EQ(job["parallelism"].as<int>(), 2);
  EXPECT_FALSE(job["completions"]);
  EXPECT_EQ(job["template"]["spec"]["restartPolicy"].as<std::string>(), "Never");
  auto const pod = pod_of_kubernetes(job["template"]["spec"], "pgbackfill");
  std::set<int> codes;
  play(pod, codes);
  ASSERT_THAT(codes, testing::UnorderedElementsAre(kKilled, kResumable));
  // Both are replaced; a drain, however often, does not use up the patience of the Job.
  EXPECT_EQ(action_of(job["podFailurePolicy"], kKilled), "Count");
  EXPECT_EQ(action_of(job["podFailurePolicy"], kResumable), "Ignore");
  EXPECT_GT(job["backoffLimit"].as<int>(), 2);
}

TEST_F(ManifestsTest, APodThatCannotGoOnFailsItsJob) {
  for (auto const& spec : {manifest("kubernetes/base/job.yaml")["spec"],
                           manifest("kubernetes/nightly/cronjob.yaml")["spec"]["jobTemplate"]["spec"]}) {
    auto const pod = pod_of_kubernetes(spec["template"]["spec"], "pgbackfill");
    write_migration("name: no_such\ntable: no_such\nbackfill:\n  set: {n: n + 1}\n");
    int const refused = start(pod)->end();
    EXPECT_EQ(refused, kUsage);
    EXPECT_EQ(action_of(spec["podFailurePolicy"], refused), "FailJob");
    EXPECT_EQ(action_of(spec["podFailurePolicy"], kGateClosed), "FailJob");
    EXPECT_EQ(action_of(spec["podFailurePolicy"], kFailed), "Count");
  }
}

// A new exit code has to be thought of here.
TEST_F(ManifestsTest, PoliciesSpeakOfEveryExitCodeButFailures) {
  auto const help = run_program({PGBACKFILL_PROGRAM, "--help"}).out;
  auto const at = help.find("Exit codes:\n");
  ASSERT_NE(at, std::string::npos);
  std::regex const line("\n +(\\d+) ");
  std::set<int> codes;
  for (std::sregex_iterator found(help.begin() + static_cast<std::ptrdiff_t>(at), help.end(), line);
       found != std::sregex_iterator(); ++found) {
    codes.insert(std::stoi((*found)[1]));
  }
  EXPECT_GE(codes.size(), 5u) << help;
  for (auto const& spec : {manifest("kubernetes/base/job.yaml")["spec"],
                           manifest("kubernetes/nightly/cronjob.yaml")["spec"]["jobTemplate"]["spec"]}) {
    for (int const code : codes) {
      EXPECT_EQ(action_of(spec["podFailurePolicy"], code) == "Count", code == kDone || code == kFailed) << code;
    }
  }
}

TEST_F(ManifestsTest, ACronJobEndsOutsideTheWindowAndLeavesTheRestToItsNextTurn) {
  auto const cron = manifest("kubernetes/nightly/cronjob.yaml")["spec"];
  EXPECT_EQ(cron["concurrencyPolicy"].as<std::string>(), "Forbid");
  auto const job = cron["jobTemplate"]["spec"];
  auto const pod = pod_of_kubernetes(job["template"]["spec"], "pgbackfill");
  CountUp options;
  options.table = make_counted_table(client_, 1'000);
  std::string const work = "name: " + name_of_test() + "\n" + count_up(options);
  write_migration(work + "blackout: [\"daily UTC\"]\n");
  int const outside = start(pod)->end();
  EXPECT_EQ(outside, kResumable);
  EXPECT_EQ(action_of(job["podFailurePolicy"], outside), "FailJob");
  EXPECT_EQ(counts(cluster_->dsn(), name_of_test()), "0: 1000");
  write_migration(work + "windows: [\"daily UTC\"]\n");
  EXPECT_EQ(start(pod)->end(), kDone);
  EXPECT_EQ(counts(cluster_->dsn(), name_of_test()), "1: 1000");
  // Once it is complete, a turn does nothing.
  EXPECT_EQ(start(pod)->end(), kDone);
  EXPECT_EQ(counts(cluster_->dsn(), name_of_test()), "1: 1000");
}

TEST_F(ManifestsTest, TheExporterIsReadyAndEndsInItsGrace) {
  auto const kubernetes = manifest("kubernetes/exporter/deployment.yaml")["spec"]["template"]["spec"];
  auto const process = start(pod_of_kubernetes(kubernetes, "pgbackfill-exporter"));
  EXPECT_TRUE(process->becomes_ready());
  EXPECT_EQ(process->drain(), kDone);
  auto composed = pod_of_compose(manifest("compose/compose.yaml")["services"]["exporter"]);
  composed.readiness = "/readyz";
  auto const service = start(composed);
  EXPECT_TRUE(service->becomes_ready());
  EXPECT_EQ(service->drain(), kDone);
}

TEST_F(ManifestsTest, ServicesOfComposeShareTheJobThroughAKillAndADrain) {
  auto const service = manifest("compose/compose.yaml")["services"]["migrate"];
  EXPECT_EQ(service["scale"].as<int>(), 2);
  auto pod = pod_of_compose(service);
  pod.readiness = "/readyz";
  std::set<int> codes;
  play(pod, codes);
  // Neither is 0, so that both are started again.
  EXPECT_THAT(codes, testing::UnorderedElementsAre(kKilled, kResumable));
  EXPECT_TRUE(service["restart"].as<std::string>().starts_with("on-failure"));
}

TEST_F(ManifestsTest, TheHealthCheckOfComposeTellsAliveFromDead) {
  auto const service = manifest("compose/compose.yaml")["services"]["migrate"];
  auto test = words_of(service["healthcheck"]["test"]);
  ASSERT_EQ(test.front(), "CMD");
  test.erase(test.begin());
  write_counting_migration(100'000);
  Pod pod = pod_of_compose(service);
  pod.readiness = "/readyz";
  auto const process = start(pod);
  ASSERT_TRUE(process->becomes_ready());
  std::string const log = process->log();
  std::smatch port;
  ASSERT_TRUE(std::regex_search(log, port, std::regex("http://127\\.0\\.0\\.1:(\\d+)")));
  test.back() = std::regex_replace(test.back(), std::regex("9187"), port[1].str());
  EXPECT_EQ(run_program(test).exit_code, 0);
  process->kill();
  EXPECT_NE(run_program(test).exit_code, 0);
}

TEST_F(ManifestsTest, EachFolderHasAMigrationThatCanBePlanned) {
  client_.exec("CREATE TABLE IF NOT EXISTS users (id bigint PRIMARY KEY, name text, display_name text)");
  for (char const* file :
       {"kubernetes/base/migration.yaml", "kubernetes/nightly/migration.yaml", "compose/migration.yaml"}) {
    auto const plan = run_program({PGBACKFILL_PROGRAM, "plan", std::string(kFolder) + file, "--dsn", cluster_->dsn()});
    EXPECT_EQ(plan.exit_code, kDone) << file << plan.err;
  }
}

}  // namespace
}  // namespace pgbackfill::tests
