#include "engine/child/child_spawn.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "engine/base/exec_pointers.h"
#include "engine/child/child_warden.h"

namespace pgbackfill::engine {

Pipe::Pipe() {
  if (pipe2(ends_.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
}

Pipe::~Pipe() {
  for (int const end : ends_) {
    if (end >= 0) close(end);
  }
}

void Pipe::close_writing_end() {
  close(std::exchange(ends_[1], -1));
}

std::vector<std::string> environment_with(std::map<std::string, std::string> const& own) {
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

std::vector<std::string> environment_of(std::vector<std::string> const& names) {
  std::vector<std::string> entries;
  for (auto const& name : names) {
    char const* value = std::getenv(name.c_str());
    if (value == nullptr) continue;
    entries.push_back(name);
    entries.back() += '=';
    entries.back() += value;
  }
  return entries;
}

// Signals are blocked meanwhile: a handler of ours must not run in the fork, and none that is sent to the warden may be
// lost.
pid_t spawn_child(std::vector<std::string> const& arguments, std::vector<std::string> const& environment,
                  ChildEnds const& ends) {
  auto const argument_pointers = pointers_to(arguments);
  auto const variables = pointers_to(environment);
  Spawn const spawn{
      argument_pointers.data(), variables.data(), ends.input, ends.output, ends.errors, ends.status, getpid()};
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t const pid = fork();
  if (pid == 0) become_warden(spawn);
  int const error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return pid;
}

int status_of(int status_end, int of_warden) {
  int status = 0;
  bool const is_told = read(status_end, &status, sizeof status) == static_cast<ssize_t>(sizeof status);
  return is_told ? status : of_warden;
}

}  // namespace pgbackfill::engine
