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

std::vector<int> kill_points(int statements, int turn) {
  std::set<int> points;
  auto random = random_of_test();
  random.discard(static_cast<unsigned long long>(turn) * kBetween);
  for (int statement = 1; statement <= statements && kills_at_each(); ++statement) points.insert(statement);
  if (statements > 0) points.insert({1, statements});
  for (int choice = 0; choice < kBetween && statements > 2; ++choice) {
    points.insert(static_cast<int>(between(random, 2, statements - 1)));
  }
  return {points.begin(), points.end()};
}

}  // namespace pgbackfill::tests
