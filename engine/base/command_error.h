// How a use case ends that cannot go on: an exit code, and words for people.
#pragma once

#include <string>
#include <utility>

#include "engine/base/result.h"

namespace pgbackfill::engine {

// Exit codes of the program; scripts rely on them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitGateClosed = 3;
inline constexpr int kExitResumable = 4;  // ended early; running it again goes on
inline constexpr int kExitHalted = 5;     // paused or cancelled by a person; running it again does not go on

// An error that ends a command: printed to standard error as it is.
struct CommandError {
  int exit_code = kExitFailed;
  std::string text;
  // The server was away or had no place: the same may succeed a little later.
  bool is_passing = false;
  // Somebody has a lock that it needs: the same may succeed once he has let go.
  bool is_locked = false;
  // Nothing of that name ever ran in this database.
  bool never_ran = false;
  std::string sqlstate{};  // of the server, if it was the server
};

// The server's words, after what was being done.
CommandError error_of(Failure const& failure, std::string const& doing);

// Throws CommandError with the server's words, on one line.
[[noreturn]] void throw_failure(Failure const& failure, std::string const& doing);
template <class T>
T value_or_throw(Result<T> result, std::string const& doing) {
  if (!result) throw_failure(result.error(), doing);
  return std::move(*result);
}

}  // namespace pgbackfill::engine
