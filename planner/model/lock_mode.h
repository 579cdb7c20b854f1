// Modes of table locks: their words, and what they keep waiting.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace pgbackfill::planner {

enum class LockMode {
  kNone,
  kAccessShare,
  kRowShare,
  kRowExclusive,
  kShareUpdateExclusive,
  kShare,
  kShareRowExclusive,
  kExclusive,
  kAccessExclusive
};

// As SQL writes it: "ACCESS EXCLUSIVE"; kNone is "none".
std::string_view lock_words(LockMode mode);
// What a holder of the mode keeps waiting, for people: "reads and writes", "writes", "nothing", ...
std::string_view lock_stops(LockMode mode);
// Modes that it waits for, as pg_locks writes them: "AccessShareLock".
std::vector<std::string> conflicting_modes(LockMode mode);

struct TableLock {
  std::string relation;  // quoted
  LockMode mode = LockMode::kNone;
};

}  // namespace pgbackfill::planner
