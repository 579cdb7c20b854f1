#include "throttle/vacuum_pace.h"

#include <algorithm>

namespace pgbackfill::throttle {
namespace {

constexpr double kCostOfDirty = 20;
constexpr double kBytesOfDirty = 8'192 + 512;  // with what is logged besides
constexpr std::chrono::milliseconds kDelay{10};
constexpr double kLeastLimit = 1;
constexpr double kMostLimit = 10'000;  // that the server takes
constexpr VacuumPace kAutovacuum{std::chrono::milliseconds{2}, 200};

}  // namespace

std::optional<VacuumPace> vacuum_pace(double wal_per_second, bool is_beside_others) {
  double const seconds = std::chrono::duration<double>(kDelay).count();
  double const limit = wal_per_second * seconds / kBytesOfDirty * kCostOfDirty;
  double const limit_of_autovacuum =
      kAutovacuum.limit * seconds / std::chrono::duration<double>(kAutovacuum.delay).count();
  if (is_beside_others && !(limit < limit_of_autovacuum)) return kAutovacuum;
  if (!(limit < kMostLimit)) return std::nullopt;
  return VacuumPace{kDelay, static_cast<int>(std::max(limit, kLeastLimit))};
}

}  // namespace pgbackfill::throttle
