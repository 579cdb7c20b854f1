// A hundred cases of the twin campaign, the same each time: pgbackfill does what the plain statement does, or refuses
// by name before anything is touched. PGBACKFILL_SEED=N begins with another seed, PGBACKFILL_CASES=N plays so many.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/twin/twin_runner.h"

namespace pgbackfill::tests {
namespace {

std::uint64_t number_of(char const* name, std::uint64_t otherwise) {
  char const* const given = std::getenv(name);
  return given != nullptr ? std::strtoull(given, nullptr, 10) : otherwise;
}

TEST(Twins, DoAsThePlainStatementDoesOrRefuse) {
  int const cases = static_cast<int>(number_of("PGBACKFILL_CASES", 100));
  auto const figures = play_twins(number_of("PGBACKFILL_SEED", 1), cases);
  EXPECT_EQ(figures.wrong, 0);
}

}  // namespace
}  // namespace pgbackfill::tests
