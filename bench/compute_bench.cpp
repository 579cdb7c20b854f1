// What it costs to have a column computed by a program, beside the same column by an expression of the server.
//
// Pairs in the same run, on fresh copies of one table, without throttle, two workers. compute_bench [--rows=N]
// [--pairs=N]. The program is this one: with --answer=MS it is a program of `compute:` that takes so long for a
// request.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cctype>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "bench/contestants.h"
#include "bench/figures.h"
#include "bench/stage.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kProcesses = 4;
constexpr int kRowsARequest = 200;
// A program that takes so long is what the server waits for: 20,000 rows a second.
constexpr int kSlowMilliseconds = 5;
constexpr int kSlowProcesses = 2;
constexpr int kSlowRowsARequest = 50;
constexpr int kLongRows = 200;  // of 1 MB each, so that each is a request

struct Settings {
  std::int64_t rows = 300'000;
  int pairs = 5;
};

// The name in capital letters, as the expression has it.
int answer_requests(int milliseconds) {
  std::ios::sync_with_stdio(false);
  for (std::string line; std::getline(std::cin, line);) {
    auto const request = boost::json::parse(line).as_object();
    boost::json::array rows;
    for (auto const& row : request.at("rows").as_array()) {
      std::string name(row.at("read").at("name").as_string());
      for (char& letter : name) letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
      boost::json::object write{{"display_name", name}};
      rows.emplace_back(boost::json::object{{"write", std::move(write)}});
    }
    if (milliseconds > 0) std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    std::cout << boost::json::serialize(boost::json::object{{"id", request.at("id")}, {"rows", rows}}) << std::endl;
  }
  return 0;
}

std::optional<Settings> read_settings(int argc, char** argv) {
  Settings settings;
  for (int index = 1; index < argc; ++index) {
    std::string const argument = argv[index];
    if (argument.starts_with("--rows=")) {
      settings.rows = std::stoll(argument.substr(7));
    } else if (argument.starts_with("--pairs=")) {
      settings.pairs = std::stoi(argument.substr(8));
    } else {
      return std::nullopt;
    }
  }
  return settings;
}

double rows_a_second(Stage& stage, Settings const& settings, std::string const& work) {
  auto const dsn = stage.fresh({settings.rows});
  auto const began = Clock::now();
  run_file(dsn, "name: bench\ntable: users\nbackfill:\n  where: display_name IS NULL\n  workers: 2\n" + work +
                    "throttle: {mode: off}\n");
  double const seconds = std::chrono::duration<double>(Clock::now() - began).count();
  check_result(dsn);
  return static_cast<double>(settings.rows) / seconds;
}

std::string compute(int milliseconds, int rows, int processes) {
  auto const self = std::filesystem::read_symlink("/proc/self/exe").string();
  return fmt::format(
      "  compute:\n    read: {{name: name}}\n    write: [display_name]\n    command: ['{}', '--answer={}']\n    rows: "
      "{}\n    processes: {}\n    in_flight: {}\n",
      self, milliseconds, rows, processes, 4 * processes);
}

double megabytes_of_long_rows(Stage& stage) {
  auto const dsn = stage.fresh({1'000});
  tests::PgClient client(dsn);
  client.exec(
      fmt::format("DELETE FROM users WHERE id > {}; ALTER TABLE users ALTER name SET STORAGE EXTERNAL; UPDATE "
                  "users SET name = repeat(md5(id::text), 31250)",
                  kLongRows));
  auto const cost =
      run_file(dsn, "name: bench\ntable: users\nbackfill:\n  where: display_name IS NULL\n  workers: 2\n" +
                        compute(0, kRowsARequest, kProcesses) + "throttle: {mode: off}\n");
  check_result(dsn);
  return static_cast<double>(cost.peak_memory_bytes) / (1024 * 1024);
}

int bench_main(int argc, char** argv) {
  std::string const first = argc > 1 ? argv[1] : "";
  if (first.starts_with("--answer=")) return answer_requests(std::stoi(first.substr(9)));
  auto const settings = read_settings(argc, argv);
  if (!settings) {
    std::cerr << "usage: compute_bench [--rows=N] [--pairs=N]\n";
    return 2;
  }
  Stage stage;
  Tally tally;
  for (int pair = 1; pair <= settings->pairs; ++pair) {
    double const by_expression = rows_a_second(stage, *settings, "  set: {display_name: upper(name)}\n");
    double const at_once = rows_a_second(stage, *settings, compute(0, kRowsARequest, kProcesses));
    double const slowly =
        rows_a_second(stage, *settings, compute(kSlowMilliseconds, kSlowRowsARequest, kSlowProcesses));
    double const possible = 1e3 / kSlowMilliseconds * kSlowProcesses * kSlowRowsARequest;
    tally.add({"compute", "a program that answers at once, rows/s over `set:`", Bar::kAtLeast, 0.5, "x"},
              at_once / by_expression);
    tally.add({"compute_slow", "5 ms a request, rows/s over what the processes allow", Bar::kAtLeast, 0.9, "x"},
              slowly / possible);
    tally.add({"compute_memory", "memory at rows of 1 MB, MiB", Bar::kAtMost, 64, ""}, megabytes_of_long_rows(stage));
    std::cerr << fmt::format("pair {} of {}: {:.0f} {:.0f} {:.0f} rows/s\n", pair, settings->pairs, by_expression,
                             at_once, slowly);
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
