// Runs one program on this host, bounded in time and in what is kept of its output.
//
// The program gets a process group of its own, so that ^C in a terminal is ours to pass on: a stop sends SIGTERM to it
// and to all that it has started, and SIGKILL five seconds later, or at once when it is urgent. So does the death of
// this process, whatever it was (child_warden.h). What a program that ended by itself has left in the background is
// left alone. Thread rule: the engine's io_context thread, which has to be the main thread: the kernel reports the
// death of the thread that forked.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/base/result.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

// Of each of the two streams, the last bytes.
inline constexpr std::size_t kMostChildOutput = 16'384;

struct ChildTerms {
  std::vector<std::string> arguments;              // the first one is the program: a path, or looked up in PATH
  std::map<std::string, std::string> environment;  // over the environment of this process
  int output_file = -1;                            // standard output goes there, instead of being kept
  std::chrono::milliseconds timeout{60'000};
  std::function<bool()> is_stopping;
  std::function<bool()> is_urgent;
};

enum class ChildEnd { kExited, kSignalled, kTimedOut, kStopped };

struct ChildResult {
  ChildEnd end = ChildEnd::kExited;
  int code = 0;  // of its exit, or the signal
  std::string output;
  std::string errors;
};

// Fails only if no process can be made; a program that is not there exits with 127.
asio::awaitable<Result<ChildResult>> run_child(ChildTerms terms);

// For people; empty when it exited with 0. `timeout`: of its terms.
std::string end_text(ChildResult const& child, std::chrono::milliseconds timeout);

}  // namespace pgbackfill::engine
