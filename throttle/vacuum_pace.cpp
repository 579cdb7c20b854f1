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
constexpr double kDirtyAPage = 2;  // the page that a version left and its index entry's
// So that it takes a third of the time in which as many old versions come in again.
constexpr double kFasterThanNeeded = 3;
constexpr double kLeastLimitBesideOthers = 20;  // of autovacuum's delay: 500 pages a second

VacuumPace pace_beside_others(VacuumNeed const& need) {
  if (need.is_near_budget) return kAutovacuum;
  double const seconds = std::chrono::duration<double>(kAutovacuum.delay).count();
  double const limit = kFasterThanNeeded * need.pages_per_second * kDirtyAPage * kCostOfDirty * seconds;
  return {kAutovacuum.delay, static_cast<int>(std::clamp<double>(limit, kLeastLimitBesideOthers, kAutovacuum.limit))};
}

double limit_per_second(VacuumPace const& pace) {
  return pace.limit / std::chrono::duration<double>(pace.delay).count();
}

}  // namespace

std::optional<VacuumPace> vacuum_pace(double wal_per_second, VacuumNeed const& need) {
  double const seconds = std::chrono::duration<double>(kDelay).count();
  double const limit = wal_per_second * seconds / kBytesOfDirty * kCostOfDirty;
  if (need.is_beside_others) {
    auto const pace = pace_beside_others(need);
    if (!(limit < limit_per_second(pace) * seconds)) return pace;
  }
  if (!(limit < kMostLimit)) return std::nullopt;
  return VacuumPace{kDelay, static_cast<int>(std::max(limit, kLeastLimit))};
}

}  // namespace pgbackfill::throttle
