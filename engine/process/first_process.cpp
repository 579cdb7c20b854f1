#include "engine/process/first_process.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace pgbackfill::engine {

namespace {

constexpr int kSignalBase = 128;  // as shells count

[[noreturn]] void look_after(pid_t child, sigset_t const& all) {
  while (true) {
    int const number = sigwaitinfo(&all, nullptr);
    if (number > 0 && number != SIGCHLD) kill(child, number);
    int status = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
      if (pid != child) continue;
      _exit(WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status));
    }
  }
}

}  // namespace

void leave_first_process() {
  if (getpid() != 1) return;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t const child = fork();
  if (child > 0) look_after(child, all);
  if (child == 0) {
    // ^C on a terminal is for a group of its own: handed on as well, it would count twice.
    setpgid(0, 0);
    if (isatty(STDIN_FILENO) == 1) tcsetpgrp(STDIN_FILENO, getpid());  // SIGTTOU is blocked
    prctl(PR_SET_PDEATHSIG, SIGKILL);
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
}

}  // namespace pgbackfill::engine
