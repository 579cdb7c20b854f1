#include "planner/model/lock_mode.h"

#include <iterator>

namespace pgbackfill::planner {
namespace {

// In the order of LockMode, from kAccessShare on.
constexpr std::string_view kWords[] = {"ACCESS SHARE", "ROW SHARE",           "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE",
                                       "SHARE",        "SHARE ROW EXCLUSIVE", "EXCLUSIVE",     "ACCESS EXCLUSIVE"};
constexpr std::string_view kCatalogWords[] = {
    "AccessShareLock", "RowShareLock",          "RowExclusiveLock", "ShareUpdateExclusiveLock",
    "ShareLock",       "ShareRowExclusiveLock", "ExclusiveLock",    "AccessExclusiveLock"};
// PostgreSQL documentation, "Explicit Locking", table 13.2: which modes (bit 0 is ACCESS SHARE) each conflicts with.
constexpr unsigned kConflicts[] = {0b10000000, 0b11000000, 0b11110000, 0b11111000,
                                   0b11101100, 0b11111100, 0b11111110, 0b11111111};

}  // namespace

std::string_view lock_words(LockMode mode) {
  return mode == LockMode::kNone ? "none" : kWords[static_cast<int>(mode) - 1];
}

std::string_view lock_stops(LockMode mode) {
  switch (mode) {
    case LockMode::kAccessExclusive:
      return "reads and writes";
    case LockMode::kExclusive:
    case LockMode::kShareRowExclusive:
    case LockMode::kShare:
      return "writes";
    case LockMode::kShareUpdateExclusive:
      return "vacuum and other schema changes";
    default:
      return "nothing";
  }
}

std::vector<std::string> conflicting_modes(LockMode mode) {
  std::vector<std::string> modes;
  if (mode == LockMode::kNone) return modes;
  for (unsigned other = 0; other < std::size(kCatalogWords); ++other) {
    if ((kConflicts[static_cast<int>(mode) - 1] >> other & 1U) != 0) modes.emplace_back(kCatalogWords[other]);
  }
  return modes;
}

}  // namespace pgbackfill::planner
