#include "tests/support/program.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

// Output that is still in a pipe when the program has ended arrives within this; a grandchild that keeps the pipe open
// for longer is not waited for.
constexpr auto kLastOutputTimeout = 2s;

[[noreturn]] void throw_errno(std::string const& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// Everything that the child needs, made before the fork: a forked child of a process with threads may not allocate.
struct Launch {
  std::vector<std::string> texts;
  std::vector<char*> arguments;
  std::vector<char*> environment;
  char const* working_dir = nullptr;
  pid_t parent = getpid();

  Launch(std::vector<std::string> const& words, ProgramOptions const& options) {
    texts = words;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      std::string_view const text(*entry);
      auto const name = text.substr(0, text.find('='));
      bool is_replaced = false;
      for (auto const& [key, value] : options.environment) is_replaced = is_replaced || key == name;
      if (!is_replaced) texts.emplace_back(text);
    }
    for (auto const& [key, value] : options.environment) texts.push_back(key + "=" + value);
    for (std::size_t text = 0; text < texts.size(); ++text) {
      (text < words.size() ? arguments : environment).push_back(texts[text].data());
    }
    arguments.push_back(nullptr);
    environment.push_back(nullptr);
    if (!options.working_dir.empty()) working_dir = options.working_dir.c_str();
  }

  [[noreturn]] void become_program() const {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    for (int const number : {SIGINT, SIGTERM, SIGPIPE, SIGHUP, SIGQUIT}) ::signal(number, SIG_DFL);
    close_range(3, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(125);
    if (working_dir != nullptr && chdir(working_dir) != 0) _exit(126);
    execvpe(arguments[0], arguments.data(), environment.data());
    _exit(127);
  }
};

// Returns false at the end of the stream. A terminal ends with EIO.
bool read_some(int descriptor, std::string& text, std::mutex& mutex) {
  std::array<char, 65536> buffer;
  auto const bytes = read(descriptor, buffer.data(), buffer.size());
  if (bytes <= 0) return bytes < 0 && (errno == EINTR || errno == EAGAIN);
  std::lock_guard const lock(mutex);
  text.append(buffer.data(), static_cast<std::size_t>(bytes));
  return true;
}

}  // namespace

Program::Program(std::vector<std::string> const& arguments, ProgramOptions const& options) {
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  if (options.terminal_columns > 0) {
    start_on_terminal(arguments, options);
  } else {
    start_on_pipes(arguments, options);
  }
  reader_ = std::thread([this] { read_output(); });
}

Program::~Program() {
  if (is_running()) wait(0ms);
  // What it left in its process group, as a script's children.
  kill(-pid_, SIGKILL);
  stop_reader();
  close(stop_fd_);
  close(out_fd_);
  if (err_fd_ >= 0) close(err_fd_);
}

void Program::start_on_pipes(std::vector<std::string> const& arguments, ProgramOptions const& options) {
  std::array<int, 2> out{};
  std::array<int, 2> err{};
  if (pipe2(out.data(), O_CLOEXEC) != 0 || pipe2(err.data(), O_CLOEXEC) != 0) throw_errno("pipe");
  int const input = open("/dev/null", O_RDONLY | O_CLOEXEC);
  Launch const launch(arguments, options);
  pid_ = fork();
  if (pid_ == 0) {
    setpgid(0, 0);
    dup2(input, STDIN_FILENO);
    dup2(out[1], STDOUT_FILENO);
    dup2(err[1], STDERR_FILENO);
    launch.become_program();
  }
  close(input);
  close(out[1]);
  close(err[1]);
  out_fd_ = out[0];
  err_fd_ = err[0];
  if (pid_ < 0) throw_errno("fork");
  setpgid(pid_, pid_);  // also here: whoever comes first
}

void Program::start_on_terminal(std::vector<std::string> const& arguments, ProgramOptions const& options) {
  Launch const launch(arguments, options);
  winsize const size{static_cast<unsigned short>(options.terminal_lines),
                     static_cast<unsigned short>(options.terminal_columns), 0, 0};
  pid_ = forkpty(&out_fd_, nullptr, nullptr, &size);
  if (pid_ == 0) launch.become_program();
  if (pid_ < 0) throw_errno("forkpty");
  fcntl(out_fd_, F_SETFD, FD_CLOEXEC);
}

void Program::read_output() {
  std::array<pollfd, 3> watched{{{stop_fd_, POLLIN, 0}, {out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}}};
  while (watched[1].fd >= 0 || watched[2].fd >= 0) {
    if (poll(watched.data(), watched.size(), -1) < 0) continue;
    if (watched[0].revents != 0) return;
    if (watched[1].revents != 0 && !read_some(out_fd_, out_, mutex_)) watched[1].fd = -1;
    if (watched[2].revents != 0 && !read_some(err_fd_, err_, mutex_)) watched[2].fd = -1;
  }
  std::uint64_t const one = 1;
  [[maybe_unused]] auto const written = write(stop_fd_, &one, sizeof one);
}

void Program::stop_reader() {
  if (!reader_.joinable()) return;
  std::uint64_t const one = 1;
  [[maybe_unused]] auto const written = write(stop_fd_, &one, sizeof one);
  reader_.join();
}

void Program::signal(int number) const {
  if (!has_ended_) kill(pid_, number);
}

void Program::type(std::string_view text) const {
  [[maybe_unused]] auto const written = write(out_fd_, text.data(), text.size());
}

bool Program::is_running() {
  if (has_ended_) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return true;
  has_ended_ = true;
  exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return false;
}

ProgramResult Program::wait(std::chrono::milliseconds timeout) {
  ProgramResult result;
  result.is_timed_out = !poll_until([this] { return !is_running(); }, timeout, 2ms);
  if (result.is_timed_out) {
    kill(pid_, SIGKILL);
    poll_until([this] { return !is_running(); }, 30s, 2ms);
  }
  if (reader_.joinable()) {
    pollfd ended{stop_fd_, POLLIN, 0};
    poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(kLastOutputTimeout).count()));
    stop_reader();
  }
  result.exit_code = exit_code_;
  result.out = out();
  result.err = err();
  return result;
}

bool Program::wait_for_output(std::string_view text, std::chrono::milliseconds timeout) const {
  return poll_until(
      [&] {
        std::lock_guard const lock(mutex_);
        return out_.find(text) != std::string::npos || err_.find(text) != std::string::npos;
      },
      timeout);
}

std::string Program::out() const {
  std::lock_guard const lock(mutex_);
  return out_;
}

std::string Program::err() const {
  std::lock_guard const lock(mutex_);
  return err_;
}

ProgramResult run_program(std::vector<std::string> const& arguments, std::chrono::milliseconds timeout,
                          ProgramOptions const& options) {
  Program program(arguments, options);
  return program.wait(timeout);
}

}  // namespace pgbackfill::tests
