// Random choices of a generator: the same for the same seed, on every platform.
//
// std::uniform_int_distribution may differ from library to library, so that it is not used here. Belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace pgbackfill::tests {

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed * 0x9E3779B97F4A7C15ULL + 1) {}

  int number(int least, int most) {
    return least + static_cast<int>(random_() % static_cast<std::uint64_t>(most - least + 1));
  }
  bool chance(int percent) { return number(1, 100) <= percent; }

  template <typename Values>
  auto const& pick(Values const& values) {
    return values[static_cast<std::size_t>(number(0, static_cast<int>(std::size(values)) - 1))];
  }
  template <typename Value>
  void shuffle(std::vector<Value>& values) {
    for (std::size_t last = values.size(); last > 1; --last) {
      std::swap(values[last - 1], values[static_cast<std::size_t>(number(0, static_cast<int>(last) - 1))]);
    }
  }

 private:
  std::mt19937_64 random_;
};

}  // namespace pgbackfill::tests
