#include "engine/child/child_process.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/child/child_spawn.h"
#include "engine/child/child_warden.h"
#include "planner/model/duration.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr auto kGlance = 50ms;
constexpr auto kLastOutput = 1s;  // a child of the child may hold the pipes open for ever

// What both readers and the one who waits share; the readers may outlive the call by a moment.
struct Flight {
  Flight(asio::any_io_executor const& executor, Pipe& output_pipe, Pipe& errors_pipe)
      : output(executor, output_pipe.take_reading_end()), errors(executor, errors_pipe.take_reading_end()) {}

  asio::posix::stream_descriptor output;
  asio::posix::stream_descriptor errors;
  ChildResult result;
  int readers = 2;
};

asio::awaitable<void> read_tail(std::shared_ptr<Flight> flight, asio::posix::stream_descriptor& pipe,
                                std::string& text) {
  std::array<char, 4096> buffer{};
  boost::system::error_code error;
  while (!error) {
    auto const size =
        co_await pipe.async_read_some(asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
    text.append(buffer.data(), size);
    if (text.size() > kMostChildOutput) text.erase(0, text.size() - kMostChildOutput);
  }
  --flight->readers;
}

// Has the warden end the program, first kindly, and says so to `end`. Called again and again while it lives.
class Ending {
 public:
  Ending(ChildTerms const& terms, pid_t warden) : terms_(terms), warden_(warden), began_(Clock::now()) {}

  void look(ChildEnd& end) {
    if (!is_asked_ && terms_.is_stopping && terms_.is_stopping()) ask(end, ChildEnd::kStopped);
    if (!is_asked_ && Clock::now() - began_ >= terms_.timeout) ask(end, ChildEnd::kTimedOut);
    bool const is_urgent = is_asked_ && terms_.is_urgent && terms_.is_urgent();
    if (is_urgent) kill(warden_, kEndAtOnce);
  }

 private:
  using Clock = std::chrono::steady_clock;

  void ask(ChildEnd& end, ChildEnd why) {
    is_asked_ = true;
    end = why;
    kill(warden_, kEndKindly);
  }

  ChildTerms const& terms_;
  pid_t warden_;
  Clock::time_point began_;
  bool is_asked_ = false;
};

}  // namespace

asio::awaitable<Result<ChildResult>> run_child(ChildTerms terms) {
  auto const executor = co_await asio::this_coro::executor;
  std::shared_ptr<Flight> flight;
  Pipe status_pipe;
  pid_t pid = -1;
  {
    Pipe output;
    Pipe errors;
    int const output_end = terms.output_file >= 0 ? terms.output_file : output.writing_end();
    ChildEnds const ends{-1, output_end, errors.writing_end(), status_pipe.writing_end()};
    pid = spawn_child(terms.arguments, environment_with(terms.environment), ends);
    if (pid < 0) {
      Failure failure;
      failure.trouble = planner::Trouble::kFatal;
      failure.message = "cannot start " + terms.arguments.front() + ": " + std::generic_category().message(errno);
      co_return failure;
    }
    flight = std::make_shared<Flight>(executor, output, errors);
    status_pipe.close_writing_end();
  }
  asio::co_spawn(executor, read_tail(flight, flight->output, flight->result.output), asio::detached);
  asio::co_spawn(executor, read_tail(flight, flight->errors, flight->result.errors), asio::detached);
  auto end = ChildEnd::kExited;
  Ending ending(terms, pid);
  asio::steady_timer timer(executor);
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    ending.look(end);
    timer.expires_after(kGlance);
    co_await timer.async_wait(asio::use_awaitable);
  }
  status = status_of(status_pipe.reading_end(), status);
  auto const last = std::chrono::steady_clock::now() + kLastOutput;
  while (flight->readers > 0 && std::chrono::steady_clock::now() < last) {
    timer.expires_after(kGlance);
    co_await timer.async_wait(asio::use_awaitable);
  }
  boost::system::error_code ignored;
  flight->output.close(ignored);
  flight->errors.close(ignored);
  flight->result.end = end == ChildEnd::kExited && WIFSIGNALED(status) ? ChildEnd::kSignalled : end;
  flight->result.code = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
  co_return flight->result;
}

std::string end_text(ChildResult const& child, std::chrono::milliseconds timeout) {
  switch (child.end) {
    case ChildEnd::kExited:
      return child.code == 0 ? "" : fmt::format("it exited with {}", child.code);
    case ChildEnd::kSignalled:
      return fmt::format("it was ended by signal {}", child.code);
    case ChildEnd::kTimedOut:
      return "it took longer than " + planner::format_duration(timeout) + " and was ended";
    case ChildEnd::kStopped:
      return "it was interrupted";
  }
  return "";
}

}  // namespace pgbackfill::engine
