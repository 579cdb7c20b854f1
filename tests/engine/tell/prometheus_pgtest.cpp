// The dashboard and the alert rules, on a Prometheus that scrapes a real run and an exporter: every query of theirs
// finds what these show.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/percent_encoding.h"
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

constexpr char kDashboard[] = PGBACKFILL_SOURCE_DIR "/packaging/grafana/pgbackfill.json";
constexpr char kRules[] = PGBACKFILL_SOURCE_DIR "/packaging/prometheus/pgbackfill.rules.yaml";

std::string read(std::string const& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The number behind a text in a log of a process that was told to choose a port; 0 if it does not come.
std::uint16_t port_behind(Program& process, std::string const& before) {
  std::uint16_t port = 0;
  auto const is_told = [&] {
    std::string const log = process.err();
    auto const at = log.find(before);
    if (at == std::string::npos || log.find_first_not_of("0123456789", at + before.size()) == std::string::npos) {
      return false;
    }
    port = static_cast<std::uint16_t>(std::atoi(log.c_str() + at + before.size()));
    return true;
  };
  EXPECT_TRUE(poll_until(is_told, 60s)) << process.err();
  return port;
}

// A server of Debian's package in a folder of its own, that scrapes these ports each second and evaluates the rules.
class Prometheus {
 public:
  explicit Prometheus(std::vector<std::uint16_t> const& targets) {
    auto const found = run_program({PGBACKFILL_SOURCE_DIR "/tools/fetch-promtool", "prometheus"}, 300s);
    EXPECT_EQ(found.exit_code, 0) << found.err;
    std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-prometheus-XXXXXX").string();
    EXPECT_NE(mkdtemp(dir.data()), nullptr);
    dir_ = dir;
    std::string addresses;
    for (auto const target : targets) addresses += "'127.0.0.1:" + std::to_string(target) + "',";
    std::ofstream(dir_ / "prometheus.yml")
        << "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: ['" << kRules
        << "']\nscrape_configs: [{job_name: pgbackfill, static_configs: [{targets: [" << addresses << "]}]}]\n";
    server_ = std::make_unique<Program>(std::vector<std::string>{
        found.out.substr(0, found.out.find('\n')), "--config.file=" + (dir_ / "prometheus.yml").string(),
        "--storage.tsdb.path=" + (dir_ / "data").string(), "--web.listen-address=127.0.0.1:0"});
    port_ = port_behind(*server_, "\"Listening on\" address=127.0.0.1:");
  }

  ~Prometheus() {
    server_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(dir_, ignored);
  }

  boost::json::object ask(std::string const& path) const {
    // By HTTP/1.0, so that no answer comes in chunks.
    auto const reply = http_request(port_, "GET /api/v1/" + path + " HTTP/1.0\r\nHost: localhost\r\n\r\n");
    boost::json::error_code error;
    auto const answer = boost::json::parse(reply.body, error);
    if (error || !answer.is_object()) return {{"status", "error"}, {"error", "no answer: " + reply.body}};
    return answer.as_object();
  }

  // Whether the query finds a number; what is wrong with the query is a failure of the test.
  bool has_data(std::string const& query) const {
    auto const answer = ask("query?query=" + engine::percent_encoded(query, ""));
    if (answer.at("status") != "success") {
      // A server that is not ready yet has no error type of its own.
      EXPECT_NE(error_type(answer), "bad_data") << query << "\n" << boost::json::serialize(answer);
      return false;
    }
    for (auto const& series : answer.at("data").at("result").as_array()) {
      if (!std::isnan(std::strtod(series.at("value").at(1).as_string().c_str(), nullptr))) return true;
    }
    return false;
  }

  static std::string error_type(boost::json::object const& answer) {
    auto const* type = answer.if_contains("errorType");
    return type != nullptr && type->is_string() ? std::string(type->as_string()) : "";
  }

  // Removes the queries that find a number now.
  void strike_found(std::set<std::string>& queries) const {
    std::erase_if(queries, [this](std::string const& query) { return has_data(query); });
  }

  std::string log() const { return server_->err(); }

 private:
  std::filesystem::path dir_;
  std::unique_ptr<Program> server_;
  std::uint16_t port_ = 0;
};

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
}

// As Grafana fills them in for "All".
std::string filled_in(std::string query) {
  replace_all(query, "$migration", ".*");
  replace_all(query, "$__rate_interval", "10s");
  return query;
}

std::set<std::string> dashboard_queries() {
  std::set<std::string> queries;
  auto const dashboard = boost::json::parse(read(kDashboard));
  for (auto const& panel : dashboard.at("panels").as_array()) {
    if (panel.at("type") == "row") continue;
    EXPECT_FALSE(panel.at("description").as_string().empty()) << panel.at("title");
    for (auto const& target : panel.at("targets").as_array()) {
      queries.insert(filled_in(std::string(target.at("expr").as_string())));
    }
  }
  std::regex const values("label_values\\((.*), *([a-z_]+)\\)");
  for (auto const& variable : dashboard.at("templating").at("list").as_array()) {
    if (variable.at("type") != "query") continue;
    std::string const text(variable.at("definition").as_string());
    std::smatch parts;
    EXPECT_TRUE(std::regex_match(text, parts, values)) << text;
    queries.insert(parts[1].str() + "{" + parts[2].str() + "!=\"\"}");
  }
  return queries;
}

// What the rules look at, whenever it was seen: they compare it with limits that a healthy run keeps to.
std::set<std::string> rule_selectors() {
  std::set<std::string> queries;
  std::string const rules = std::regex_replace(read(kRules), std::regex("#[^\n]*"), "");
  std::regex const expression("expr:([\\s\\S]*?)\n *(for|labels):");
  std::regex const selector("pgbackfill_[a-z_]+(\\{[^}]*\\})?");
  for (std::sregex_iterator each(rules.begin(), rules.end(), expression); each != std::sregex_iterator(); ++each) {
    std::string const text = (*each)[1];
    for (std::sregex_iterator found(text.begin(), text.end(), selector); found != std::sregex_iterator(); ++found) {
      queries.insert("count_over_time(" + found->str() + "[10m])");
    }
  }
  return queries;
}

std::string listed(std::set<std::string> const& queries) {
  std::string text;
  for (auto const& query : queries) text += "no data: " + query + "\n";
  return text;
}

class ScrapedRun : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.name = "prometheus";
    options.is_fsync_on = false;
    options.replicas = 1;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  static std::unique_ptr<LocalCluster> cluster_;
};

std::unique_ptr<LocalCluster> ScrapedRun::cluster_;

TEST_F(ScrapedRun, HasDataForEveryQueryOfTheDashboardAndOfTheRules) {
  PgClient client(cluster_->dsn());
  client.exec("SELECT pg_create_physical_replication_slot('somebodys', true)");
  CountUp options;
  options.table = make_counted_table(client, 60'000);
  options.max_rows = 50;
  options.throttling = "  max_rows_per_second: 500\n";
  MigrationRun run(name_of_test(), cluster_->dsn(), count_up(options));
  // Somebody holds a row, so that there are a failure and a deferred row to show.
  PgClient holder(cluster_->dsn());
  holder.exec("BEGIN; UPDATE " + name_of_test() + " SET n = n WHERE id = 150");
  auto& process = run.start({"--listen", "0", "--final-scrape", "5m"});
  Program exporter({PGBACKFILL_PROGRAM, "exporter", "--listen", "0", "--interval", "1s", "--dsn", cluster_->dsn()});
  Prometheus const prometheus({port_behind(process, "http://127.0.0.1:"), port_behind(exporter, "http://127.0.0.1:")});

  auto queries = dashboard_queries();
  EXPECT_GT(queries.size(), 20u);
  auto const all_found = [&] {
    prometheus.strike_found(queries);
    return queries.empty() || HasFailure();
  };
  EXPECT_TRUE(poll_until(all_found, 120s, 200ms)) << listed(queries) << run.story();

  holder.exec("COMMIT");
  EXPECT_EQ(run.command("set", {"throttle.max_rows_per_second=none"}).exit_code, 0);
  auto selectors = rule_selectors();
  EXPECT_GT(selectors.size(), 6u);
  auto const all_seen = [&] {
    prometheus.strike_found(selectors);
    return selectors.empty() || HasFailure();
  };
  EXPECT_TRUE(poll_until(all_seen, 60s, 200ms)) << listed(selectors) << run.story();
  EXPECT_TRUE(run.ends(process, kDone));

  auto const rules = prometheus.ask("rules");
  ASSERT_EQ(rules.at("status"), "success");
  for (auto const& rule : rules.at("data").at("groups").at(0).at("rules").as_array()) {
    EXPECT_EQ(rule.at("health"), "ok") << rule;
  }
  // And this test sees what is wrong.
  EXPECT_FALSE(prometheus.has_data("pgbackfill_no_such_metric"));
  EXPECT_EQ(Prometheus::error_type(prometheus.ask("query?query=rate(")), "bad_data");
}

}  // namespace
}  // namespace pgbackfill::tests
