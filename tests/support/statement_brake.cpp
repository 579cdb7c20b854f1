#include "tests/support/statement_brake.h"

#include <fmt/format.h>

#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <string_view>

#include "tests/support/migration_run.h"

namespace pgbackfill::tests {
namespace {

constexpr int kBetween = 2;

bool kills_at_each() {
  char const* const kills = std::getenv("PGBACKFILL_KILLS");
  return kills != nullptr && std::string_view(kills) == "all";
}

std::set<int> points(int statements, std::mt19937_64& random) {
  std::set<int> chosen;
  for (int statement = 1; statement <= statements && kills_at_each(); ++statement) chosen.insert(statement);
  if (statements > 0) chosen.insert({1, statements});
  for (int choice = 0; choice < kBetween && statements > 2; ++choice) {
    chosen.insert(static_cast<int>(between(random, 2, statements - 1)));
  }
  return chosen;
}

}  // namespace

void set_brake(PgClient& client, int statement) {
  // The first number of a sequence gives its transaction an id, which DROP INDEX CONCURRENTLY does not bear.
  client.exec(
      fmt::format("TRUNCATE brake.at; INSERT INTO brake.at VALUES ({}); SELECT setval('brake.statements', 1, false); "
                  "SELECT nextval('brake.statements')",
                  statement));
}

int statements_seen(PgClient& client) {
  return std::stoi(client.value("SELECT last_value - 1 FROM brake.statements"));
}

std::vector<Kill> kills(int statements) {
  std::vector<Kill> all;
  auto random = random_of_test();
  for (bool const server_goes_on : {true, false}) {
    for (int const statement : points(statements, random)) {
      all.push_back({statement, server_goes_on,
                     fmt::format("killed at statement {} of {}, which the server {}; PGBACKFILL_SEED={}", statement,
                                 statements, server_goes_on ? "finished" : "gave up", seed_of_tests())});
    }
  }
  return all;
}

}  // namespace pgbackfill::tests
