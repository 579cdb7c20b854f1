// Whether a process of this machine is still there.
//
// Looks at the process table, never at another host: a pid means something only within one boot and pid namespace
// (Owner::machine). Thread rule: none.
#pragma once

#include <cstdint>

namespace pgbackfill::engine {

// One that has ended and whose parent has not asked yet still has its number; it counts as gone.
bool has_process(std::int64_t pid);

}  // namespace pgbackfill::engine
