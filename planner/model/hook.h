// What else happens at the boundaries of the phases: commands, HTTP checks and backups of `before:` and `after:`.
//
// Pure values. A hook runs once a migration, when its boundary is reached first, unless it says `repeat`; which ones
// ran is in the state schema, by place and text, so that a hook that is changed runs again. Commands are text for
// /bin/sh on the host of pgbackfill, byte for byte from the file.
#pragma once

#include <array>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "planner/model/source_position.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner {

enum class Boundary {
  kBackup,  // before everything else
  kBeforeExpand,
  kAfterExpand,
  kBeforeBackfill,
  kAfterBackfill,
  kBeforeContract,
  kAfterContract,
  kBeforeRollback,
  kAfterRollback
};

enum class HookKind { kCommand, kHttp, kPgDump };

struct Hook {
  SourcePosition position;
  Boundary boundary = Boundary::kBeforeExpand;
  HookKind kind = HookKind::kCommand;
  std::string what;               // the command, the URL, or the file of the dump
  std::vector<TableName> tables;  // kPgDump: these alone; none: the whole database
  std::chrono::milliseconds timeout{60'000};
  std::string expect;    // has to be in the output or in the answer's body; empty: anything will do
  int status = 200;      // kHttp
  std::string ca_file;   // kHttp: whom to trust; empty: whom the system trusts
  bool repeats = false;  // each time a process comes by
};

// Where the file has the hooks of a boundary: `before:` or `after:`, and the key within.
struct HookPlace {
  Boundary boundary;
  std::string_view side;
  std::string_view phase;
};
inline constexpr std::array<HookPlace, 9> kHookPlaces{{{Boundary::kBackup, "before", "backup"},
                                                       {Boundary::kBeforeExpand, "before", "expand"},
                                                       {Boundary::kAfterExpand, "after", "expand"},
                                                       {Boundary::kBeforeBackfill, "before", "backfill"},
                                                       {Boundary::kAfterBackfill, "after", "backfill"},
                                                       {Boundary::kBeforeContract, "before", "contract"},
                                                       {Boundary::kAfterContract, "after", "contract"},
                                                       {Boundary::kBeforeRollback, "before", "rollback"},
                                                       {Boundary::kAfterRollback, "after", "rollback"}}};

// "before backfill", and "backup".
std::string name_of(Boundary boundary);

// In one line, for the state and for people: "command: notify start (timeout 1m)".
std::string to_text(Hook const& hook);

std::vector<Hook> hooks_at(std::vector<Hook> const& hooks, Boundary boundary);

inline constexpr std::size_t kMaxHooks = 64;
inline constexpr std::chrono::milliseconds kMaxHookTimeout{std::chrono::hours{24}};
inline constexpr std::chrono::milliseconds kBackupTimeout{std::chrono::hours{6}};

}  // namespace pgbackfill::planner
