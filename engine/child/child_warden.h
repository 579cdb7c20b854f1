// The process between us and a program that we run: ends the program, with all that it has started, when we say so or
// when we die, however that happens.
//
// The kernel tells only a child of our death, and a shell tells its own children nothing. So the program is the child
// of a fork of ours that does nothing but wait. Runs after fork in a process with threads: async-signal-safe calls
// only.
#pragma once

#include <sys/types.h>

#include <csignal>

namespace pgbackfill::engine {

struct Spawn {
  char* const* arguments;
  char* const* environment;
  int input;  // -1: /dev/null
  int output;
  int errors;
  int status;  // gets the wait status of the program, an int, when it has ended
  pid_t parent;
};

// What the warden heeds: the first ends the program kindly, with SIGKILL a few seconds later, the other one at once.
inline constexpr int kEndKindly = SIGTERM;
inline constexpr int kEndAtOnce = SIGQUIT;

// With all signals blocked, so that none is lost before it is heeded.
[[noreturn]] void become_warden(Spawn const& spawn);

}  // namespace pgbackfill::engine
