// What the trigger of `sync:` costs whoever writes, beside no trigger, and beside a function for each column that
// computes its value for every row, whatever has changed.
//
// Measured in CPU time of the server's sessions, which a busy machine changes little: an UPDATE of every row of a table
// on a database of its own, contestants one after the other in each round. trigger_bench [--rows=N] [--rounds=N]
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench/contestants.h"
#include "bench/figures.h"
#include "bench/stage.h"
#include "tests/support/pg_client.h"

namespace pgbackfill::bench {
namespace {

using tests::PgClient;

struct Settings {
  std::int64_t rows = 300'000;
  int rounds = 5;
};

std::optional<Settings> read_settings(int argc, char** argv) {
  Settings settings;
  for (int index = 1; index < argc; ++index) {
    std::string const argument = argv[index];
    if (argument.starts_with("--rows=")) {
      settings.rows = std::stoll(argument.substr(7));
    } else if (argument.starts_with("--rounds=")) {
      settings.rounds = std::stoi(argument.substr(9));
    } else {
      return std::nullopt;
    }
  }
  return settings;
}

// Two pairs of columns: name and display_name are there, email and mail besides.
constexpr char kColumns[] =
    "ALTER TABLE users ADD COLUMN email text, ADD COLUMN mail text, ADD COLUMN n int NOT NULL DEFAULT 0; UPDATE users "
    "SET "
    "email = name || '@example.com', mail = lower(name || '@example.com'), display_name = upper(name); VACUUM (FULL, "
    "ANALYZE) "
    "users";

void install_nothing(std::string const& /*dsn*/) {}

void install_sync(std::string const& dsn) {
  run_file(dsn, "name: bench\ntable: users\nsync:\n  set: {display_name: upper(name), mail: lower(email)}\n");
}

void install_sync_both_ways(std::string const& dsn) {
  run_file(
      dsn,
      "name: bench\ntable: users\nsync:\n  set: {display_name: upper(name), mail: lower(email)}\n  reverse: {name: "
      "lower(display_name), email: mail}\n");
}

void install_function_a_column(std::string const& dsn) {
  PgClient client(dsn);
  client.exec(
      "CREATE FUNCTION fill_display() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.display_name := "
      "upper(NEW.name); RETURN "
      "NEW; END $$; CREATE FUNCTION fill_mail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.mail := "
      "lower(NEW.email); "
      "RETURN NEW; END $$; CREATE TRIGGER a BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION "
      "fill_display(); "
      "CREATE TRIGGER b BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fill_mail()");
}

struct Contestant {
  std::string name;
  std::function<void(std::string const& dsn)> install;
};

struct Write {
  std::string name;
  std::string sql;
};

// Microseconds of the server's CPU a row.
double cost_of(Stage& stage, Settings const& settings, Contestant const& contestant, Write const& write) {
  auto const dsn = stage.fresh({settings.rows, true});
  // VACUUM FULL stands in no transaction.
  std::string const columns = kColumns;
  for (std::size_t begin = 0; begin < columns.size();) {
    auto const end = std::min(columns.find("; ", begin), columns.size());
    PgClient(dsn).exec(columns.substr(begin, end - begin));
    begin = end + 2;
  }
  contestant.install(dsn);
  PgClient(dsn).exec("CHECKPOINT");
  double const before = stage.cpu_seconds_of_sessions();
  PgClient(dsn).exec(write.sql);
  return (stage.cpu_seconds_of_sessions() - before) * 1e6 / static_cast<double>(settings.rows);
}

int bench_main(int argc, char** argv) {
  auto const settings = read_settings(argc, argv);
  if (!settings) {
    std::cerr << "usage: trigger_bench [--rows=N] [--rounds=N]\n";
    return 2;
  }
  std::vector<Contestant> const contestants = {{"sync", install_sync},
                                               {"sync both ways", install_sync_both_ways},
                                               {"a function a column", install_function_a_column}};
  std::vector<Write> const writes = {{"nothing of it changes", "UPDATE users SET n = n + 1"},
                                     {"one of two changes", "UPDATE users SET name = name || 'x'"},
                                     {"both change", "UPDATE users SET name = name || 'x', email = 'x' || email"}};
  Stage stage;
  Tally tally;
  for (int round = 1; round <= settings->rounds; ++round) {
    for (auto const& write : writes) {
      double const bare = cost_of(stage, *settings, {"no trigger", install_nothing}, write);
      tally.add({"no trigger, " + write.name, "an UPDATE by itself", Bar::kNone, 0, "us a row"}, bare);
      for (auto const& contestant : contestants) {
        double const more = cost_of(stage, *settings, contestant, write) - bare;
        tally.add({contestant.name + ", " + write.name, "what the trigger adds", Bar::kNone, 0, "us a row"}, more);
      }
      std::cerr << fmt::format("round {} of {}: {}\n", round, settings->rounds, write.name);
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
