#include "bench/pgbench_traffic.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <regex>
#include <stdexcept>

#include "tests/support/pg_client.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;
using tests::PgClient;
namespace fs = std::filesystem;

constexpr int kClients = 4;
constexpr int kScale = 10;
constexpr auto kPatience = 60s;

std::vector<std::string> command(engine::LocalCluster const& cluster, std::string const& database) {
  auto const installed = cluster.bin_dir() / "pgbench";
  return {fs::exists(installed) ? installed.string() : "pgbench", "--host=127.0.0.1",
          fmt::format("--port={}", cluster.port()), "--username=postgres", database};
}

void insert_options(std::vector<std::string>& arguments, std::vector<std::string> const& options) {
  arguments.insert(arguments.begin() + 1, options.begin(), options.end());
}

std::vector<std::string> traffic_command(engine::LocalCluster const& cluster, TrafficOptions const& options) {
  auto arguments = command(cluster, options.database);
  insert_options(arguments, {"--no-vacuum", fmt::format("--client={}", kClients), "--jobs=1",
                             fmt::format("--time={}", options.seconds)});
  if (!options.script.empty()) {
    auto const file = cluster.dir() / "traffic.sql";
    std::ofstream(file) << options.script;
    insert_options(arguments, {"--file=" + file.string()});
  }
  return arguments;
}

tests::ProgramResult succeed(tests::ProgramResult result) {
  if (result.exit_code != 0) throw std::runtime_error("pgbench failed: " + result.err + result.out);
  return result;
}

std::vector<double> sorted_latencies(std::vector<Transaction> const& transactions, double from, double to) {
  std::vector<double> latencies;
  for (auto const& transaction : transactions) {
    if (transaction.ended_at >= from && transaction.ended_at < to) latencies.push_back(transaction.milliseconds);
  }
  std::sort(latencies.begin(), latencies.end());
  return latencies;
}

}  // namespace

PgbenchTraffic::PgbenchTraffic(engine::LocalCluster const& cluster, TrafficOptions const& options) : options_(options) {
  auto arguments = traffic_command(cluster, options);
  fs::remove_all(options.folder);
  fs::create_directories(options.folder);
  insert_options(arguments, {fmt::format("--rate={:.1f}", options.transactions_per_second), "--log",
                             fmt::format("--log-prefix={}", (options.folder / "transactions").string())});
  tests::ProgramOptions program_options;
  if (!options.server_options.empty()) program_options.environment = {{"PGOPTIONS", options.server_options}};
  program_.emplace(arguments, program_options);
}

// Of a line: client, number, microseconds, script, and the time of its end in seconds and microseconds.
std::vector<Transaction> PgbenchTraffic::wait() {
  succeed(program_->wait(std::chrono::seconds(options_.seconds) + kPatience));
  std::vector<Transaction> transactions;
  for (auto const& entry : fs::directory_iterator(options_.folder)) {
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);) {
      std::istringstream words(line);
      std::string skipped;
      double microseconds = 0;
      double seconds = 0;
      double fraction = 0;
      if (words >> skipped >> skipped >> microseconds >> skipped >> seconds >> fraction) {
        transactions.push_back({seconds + fraction / 1e6, microseconds / 1e3});
      }
    }
  }
  std::sort(transactions.begin(), transactions.end(),
            [](auto const& left, auto const& right) { return left.ended_at < right.ended_at; });
  return transactions;
}

void prepare_traffic(engine::LocalCluster const& cluster, std::string const& database) {
  PgClient client(cluster.dsn());
  auto const known = client.value(fmt::format("SELECT count(*) FROM pg_database WHERE datname = '{}'", database));
  if (known != "0") return;
  client.exec("CREATE DATABASE " + database);
  auto arguments = command(cluster, database);
  insert_options(arguments, {"--initialize", "--quiet", fmt::format("--scale={}", kScale)});
  succeed(tests::run_program(arguments, kPatience));
}

double most_transactions_per_second(engine::LocalCluster const& cluster, TrafficOptions const& options) {
  auto const arguments = traffic_command(cluster, options);
  auto const result = succeed(tests::run_program(arguments, std::chrono::seconds(options.seconds) + kPatience));
  std::smatch found;
  if (!std::regex_search(result.out, found, std::regex("tps = ([0-9.]+)"))) {
    throw std::runtime_error("pgbench did not say how fast it was: " + result.out);
  }
  return std::stod(found[1]);
}

double latency_quantile(std::vector<Transaction> const& transactions, double from, double to, double quantile) {
  auto const latencies = sorted_latencies(transactions, from, to);
  if (latencies.empty()) return 0;
  auto const rank = static_cast<std::size_t>(quantile * static_cast<double>(latencies.size()));
  return latencies[std::min(rank, latencies.size() - 1)];
}

double worst_second(std::vector<Transaction> const& transactions, double from, double to, double quantile) {
  double worst = 0;
  for (double second = from; second + 1 <= to; second += 1) {
    worst = std::max(worst, latency_quantile(transactions, second, second + 1, quantile));
  }
  return worst;
}

}  // namespace pgbackfill::bench
