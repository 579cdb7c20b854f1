#include "engine/child/child_warden.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

namespace pgbackfill::engine {

namespace {

constexpr time_t kKindnessSeconds = 5;  // between SIGTERM and SIGKILL
constexpr long kGlanceNanoseconds = 50'000'000;
constexpr int kParentGone = 125;
constexpr int kNoProgram = 127;

[[noreturn]] void become_program(Spawn const& spawn, pid_t warden) {
  setpgid(0, 0);
  for (int const number : {SIGPIPE, SIGTERM, SIGINT, SIGHUP, SIGQUIT}) signal(number, SIG_DFL);
  int const input = spawn.input >= 0 ? spawn.input : open("/dev/null", O_RDONLY);
  dup2(input, STDIN_FILENO);
  dup2(spawn.output, STDOUT_FILENO);
  dup2(spawn.errors, STDERR_FILENO);
  close_range(3, ~0U, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != warden) _exit(kParentGone);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  execvpe(spawn.arguments[0], spawn.arguments, spawn.environment);
  constexpr std::string_view kMessage = "no such program, or it may not be run\n";
  [[maybe_unused]] auto const written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(kNoProgram);
}

// Pipes of the program must end with it, and nothing else of ours is the warden's.
void keep_only(int descriptor) {
  if (descriptor > 0) close_range(0, static_cast<unsigned>(descriptor) - 1, 0);
  close_range(static_cast<unsigned>(descriptor) + 1, ~0U, 0);
}

// To what has left the program's group and lost its parent: the kernel has made it our child.
void send_to_adopted(pid_t program, int number) {
  int const list = open("/proc/thread-self/children", O_RDONLY);
  if (list < 0) return;
  std::array<char, 4096> text{};
  auto const size = read(list, text.data(), text.size());
  close(list);
  pid_t pid = 0;
  for (ssize_t at = 0; at < size; ++at) {
    char const letter = text[static_cast<std::size_t>(at)];
    if (letter >= '0' && letter <= '9') {
      pid = pid * 10 + (letter - '0');
      continue;
    }
    if (pid > 0 && getpgid(pid) != program) kill(pid, number);
    pid = 0;
  }
}

time_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec;
}

class Warden {
 public:
  Warden(pid_t program, int status_pipe) : program_(program), status_pipe_(status_pipe) {}

  [[noreturn]] void watch() {
    sigset_t heeded;
    sigemptyset(&heeded);
    for (int const number : {SIGCHLD, kEndKindly, kEndAtOnce}) sigaddset(&heeded, number);
    while (true) {
      timespec const glance{0, kGlanceNanoseconds};
      int const number = sigtimedwait(&heeded, nullptr, is_ending_ ? &glance : nullptr);
      if (number == kEndKindly || number == kEndAtOnce) begin_to_end(number == kEndAtOnce);
      bool const has_none = reap();
      if (!is_ending_ && has_ended_) leave();
      if (is_ending_ && has_none) leave();
      if (is_ending_) press();
    }
  }

 private:
  // True when no child is left.
  bool reap() {
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid != program_) continue;
      has_ended_ = true;
      status_ = status;
      if (is_ending_) send_to_adopted(program_, SIGTERM);
    }
    return pid < 0 && errno == ECHILD;
  }

  void begin_to_end(bool at_once) {
    if (!is_ending_) {
      is_ending_ = true;
      kill_at_ = now() + kKindnessSeconds;
      kill(-program_, SIGTERM);
    }
    if (at_once) kill_at_ = 0;
  }

  void press() const {
    if (now() < kill_at_) return;
    kill(-program_, SIGKILL);
    send_to_adopted(program_, SIGKILL);
  }

  // What the program has left running in the background is left alone, unless it is ended.
  [[noreturn]] void leave() const {
    [[maybe_unused]] auto const written = write(status_pipe_, &status_, sizeof status_);
    _exit(0);
  }

  pid_t program_;
  int status_pipe_;
  bool is_ending_ = false;
  bool has_ended_ = false;
  int status_ = 0;
  time_t kill_at_ = 0;
};

}  // namespace

void become_warden(Spawn const& spawn) {
  setpgid(0, 0);  // ^C on the owner's terminal is for the owner
  prctl(PR_SET_PDEATHSIG, kEndKindly);
  if (getppid() != spawn.parent) _exit(kParentGone);
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  signal(SIGCHLD, SIG_DFL);  // ignored, it would take the status along
  pid_t const warden = getpid();
  pid_t const program = _Fork();  // fork() itself is not async-signal-safe
  if (program == 0) become_program(spawn, warden);
  if (program < 0) _exit(kParentGone);
  setpgid(program, program);  // here too: whoever comes first
  keep_only(spawn.status);
  Warden(program, spawn.status).watch();
}

}  // namespace pgbackfill::engine
