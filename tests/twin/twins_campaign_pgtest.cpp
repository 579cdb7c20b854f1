// The twin campaign at length, from a seed that the clock chose. PGBACKFILL_SEED=N begins with another one,
// PGBACKFILL_CASES=N plays so many.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/migration_run.h"
#include "tests/twin/twin_runner.h"

namespace pgbackfill::tests {
namespace {

constexpr int kCases = 5'000;

TEST(TwinCampaign, DoesAsThePlainStatementDoesOrRefuses) {
  char const* const given = std::getenv("PGBACKFILL_CASES");
  auto const figures = play_twins(seed_of_tests(), given != nullptr ? std::atoi(given) : kCases);
  EXPECT_EQ(figures.wrong, 0);
}

}  // namespace
}  // namespace pgbackfill::tests
