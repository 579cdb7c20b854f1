#include "engine/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
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
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/exec_pointers.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr auto kGlance = 50ms;
constexpr auto kKindness = 5s;    // between SIGTERM and SIGKILL
constexpr auto kLastOutput = 1s;  // a child of the child may hold the pipes open for ever

// Both ends of a pipe, closed unless taken.
class Pipe {
 public:
  Pipe() {
    if (pipe2(ends_.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
  }
  ~Pipe() {
    for (int const end : ends_) {
      if (end >= 0) close(end);
    }
  }
  Pipe(Pipe const&) = delete;
  Pipe& operator=(Pipe const&) = delete;

  int writing_end() const { return ends_[1]; }
  int take_reading_end() { return std::exchange(ends_[0], -1); }

 private:
  std::array<int, 2> ends_{-1, -1};
};

struct Spawn {
  char* const* arguments;
  char* const* environment;
  int output;
  int errors;
  pid_t parent;
};

// Between fork and exec of a process with threads: only async-signal-safe calls.
[[noreturn]] void become_child(Spawn const& spawn) {
  setpgid(0, 0);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  int const input = open("/dev/null", O_RDONLY);
  dup2(input, STDIN_FILENO);
  dup2(spawn.output, STDOUT_FILENO);
  dup2(spawn.errors, STDERR_FILENO);
  close_range(3, ~0U, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != spawn.parent) _exit(125);
  execvpe(spawn.arguments[0], spawn.arguments, spawn.environment);
  constexpr std::string_view kMessage = "no such program, or it may not be run\n";
  [[maybe_unused]] auto const written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(127);
}

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

std::vector<std::string> environment_of(std::map<std::string, std::string> const& own) {
  auto variables = own;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string const text = *entry;
    auto const equals = text.find('=');
    if (equals != std::string::npos) variables.try_emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  std::vector<std::string> entries;
  for (auto const& [name, value] : variables) {
    entries.push_back(name);
    entries.back() += '=' + value;
  }
  return entries;
}

// The process, or -1 with errno.
pid_t spawn_child(ChildTerms const& terms, Pipe const& output, Pipe const& errors) {
  auto const environment = environment_of(terms.environment);
  auto const arguments = pointers_to(terms.arguments);
  auto const variables = pointers_to(environment);
  Spawn const spawn{arguments.data(), variables.data(), output.writing_end(), errors.writing_end(), getpid()};
  pid_t const pid = fork();
  if (pid == 0) become_child(spawn);
  // Here too: whoever comes first. A signal to the group must not be lost to a child that has not begun.
  if (pid > 0) setpgid(pid, pid);
  return pid;
}

// Ends the group, first kindly, and says so to `result`. Called again and again while the child lives.
class Ending {
 public:
  Ending(ChildTerms const& terms, pid_t group) : terms_(terms), group_(group), began_(Clock::now()) {}

  void look(ChildEnd& end) {
    if (!asked_at_ && terms_.is_stopping && terms_.is_stopping()) ask(end, ChildEnd::kStopped);
    if (!asked_at_ && Clock::now() - began_ >= terms_.timeout) ask(end, ChildEnd::kTimedOut);
    if (!asked_at_) return;
    bool const is_urgent = terms_.is_urgent && terms_.is_urgent();
    if (is_urgent || Clock::now() - *asked_at_ >= kKindness) kill(-group_, SIGKILL);
  }

 private:
  using Clock = std::chrono::steady_clock;

  void ask(ChildEnd& end, ChildEnd why) {
    asked_at_ = Clock::now();
    end = why;
    kill(-group_, SIGTERM);
  }

  ChildTerms const& terms_;
  pid_t group_;
  Clock::time_point began_;
  std::optional<Clock::time_point> asked_at_;
};

}  // namespace

asio::awaitable<Result<ChildResult>> run_child(ChildTerms terms) {
  auto const executor = co_await asio::this_coro::executor;
  std::shared_ptr<Flight> flight;
  pid_t pid = -1;
  {
    Pipe output;
    Pipe errors;
    pid = spawn_child(terms, output, errors);
    if (pid < 0) {
      Failure failure;
      failure.trouble = planner::Trouble::kFatal;
      failure.message = "cannot start " + terms.arguments.front() + ": " + std::generic_category().message(errno);
      co_return failure;
    }
    flight = std::make_shared<Flight>(executor, output, errors);
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

}  // namespace pgbackfill::engine
