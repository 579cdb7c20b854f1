// What the threads beside the engine's own begin with.
#pragma once

#include <pthread.h>
#include <signal.h>

namespace pgbackfill::engine {

// Signals belong to the engine's thread, and a closed pipe must be an error elsewhere, not a signal.
inline void block_all_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

}  // namespace pgbackfill::engine
