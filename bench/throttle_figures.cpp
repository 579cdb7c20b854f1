// Prints the throttle's acceptance figures on the simulated server, ours beside on/off: throttle_figures [SEEDS]
#include <cstdio>
#include <cstdlib>

#include "tests/simulation/throttle_figures.h"

int main(int argc, char** argv) {
  long const seeds = argc > 1 ? std::strtol(argv[1], nullptr, 10) : 20;
  if (seeds < 1 || seeds > 10'000) {
    std::fputs("throttle_figures: SEEDS is a number from 1 to 10000\n", stderr);
    return 2;
  }
  std::fputs(pgbackfill::tests::throttle_figures_table(static_cast<std::uint64_t>(seeds)).c_str(), stdout);
  return 0;
}
