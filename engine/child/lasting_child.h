// A program that stays: lines go to its standard input, lines come from its standard output and its standard error.
//
// It ends with this process, however that ends (child_warden.h), and a line that it writes has a bound. One coroutine
// at a time writes, one reads, one reads errors. The process has to ignore SIGPIPE. Thread rule: as of
// child_process.h.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/child/child_spawn.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

enum class LineEnd { kLine, kEnd, kTooLong };

struct LineRead {
  LineEnd end = LineEnd::kEnd;
  std::string text;  // without the line's end
};

class LastingChild {
 public:
  // `environment`: NAME=value. Fails only if no process can be made; a program that is not there ends with 127.
  static Result<std::unique_ptr<LastingChild>> start(asio::any_io_executor executor,
                                                     std::vector<std::string> const& arguments,
                                                     std::vector<std::string> const& environment);
  // Of a program that has been started: see start().
  LastingChild(asio::any_io_executor const& executor, pid_t warden, Pipe& input, Pipe& output, Pipe& errors,
               int status_end);
  // Ends the program at once, if it still runs, and waits for that: milliseconds.
  ~LastingChild();
  LastingChild(LastingChild const&) = delete;
  LastingChild& operator=(LastingChild const&) = delete;

  // False: it reads no more.
  asio::awaitable<bool> write(std::string text);
  asio::awaitable<LineRead> read_line(std::size_t most_bytes);
  // Cut where it is longer.
  asio::awaitable<std::optional<std::string>> read_error_line();

  // Its standard input ends, which a well-behaved program takes for its own end.
  void close_input();
  // All of its pipes; who reads or writes is told.
  void close();
  // SIGTERM, and SIGKILL some seconds later, or at once.
  void end(bool at_once);
  // Nothing while it runs; then how it ended, as words: "exited with 1".
  std::optional<std::string> how_it_ended();

 private:
  void reap(bool waits);

  pid_t warden_;
  int status_end_;
  std::optional<int> status_;
  asio::posix::stream_descriptor input_;
  asio::posix::stream_descriptor output_;
  asio::posix::stream_descriptor errors_;
  std::string output_text_;
  std::string error_text_;
};

}  // namespace pgbackfill::engine
