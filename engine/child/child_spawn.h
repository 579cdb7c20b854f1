// How a program of ours begins: its pipes, its environment and the warden beside it.
//
// Thread rule: the main thread, see engine/child/child_process.h.
#pragma once

#include <sys/types.h>

#include <array>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace pgbackfill::engine {

// Both ends of a pipe, closed unless taken. Throws std::system_error when there is none to be had.
class Pipe {
 public:
  Pipe();
  ~Pipe();
  Pipe(Pipe const&) = delete;
  Pipe& operator=(Pipe const&) = delete;

  int writing_end() const { return ends_[1]; }
  int reading_end() const { return ends_[0]; }
  int take_reading_end() { return std::exchange(ends_[0], -1); }
  int take_writing_end() { return std::exchange(ends_[1], -1); }
  void close_writing_end();

 private:
  std::array<int, 2> ends_{-1, -1};
};

// The program's sides of its pipes. input: -1 is /dev/null. status: for the warden, see status_of().
struct ChildEnds {
  int input = -1;
  int output = -1;
  int errors = -1;
  int status = -1;
};

// NAME=value of this process's environment, with these over it.
std::vector<std::string> environment_with(std::map<std::string, std::string> const& own);
// Of this process's environment only what is named and there.
std::vector<std::string> environment_of(std::vector<std::string> const& names);

// The warden's process, or -1 with errno. `environment`: NAME=value.
pid_t spawn_child(std::vector<std::string> const& arguments, std::vector<std::string> const& environment,
                  ChildEnds const& ends);

// What the warden said of the program; without a word of it, what became of the warden.
int status_of(int status_end, int of_warden);

}  // namespace pgbackfill::engine
