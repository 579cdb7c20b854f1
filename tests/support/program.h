// Runs a program for a test: its output, its exit, signals to it, optionally on a terminal of its own.
//
// The destructor kills the program and its process group, and the kernel kills it when the test dies. Threads: a reader
// of its own collects the output; the object belongs to one thread, which must outlive the program.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace pgbackfill::tests {

struct ProgramOptions {
  // Added to this process's environment.
  std::vector<std::pair<std::string, std::string>> environment;
  std::filesystem::path working_dir;
  // More than 0: runs on a terminal of this width, and all output is in `out`. Else standard input is empty.
  int terminal_columns = 0;
  int terminal_lines = 24;
};

struct ProgramResult {
  // 128 + the signal's number when a signal ended it, as in a shell.
  int exit_code = -1;
  bool is_timed_out = false;
  std::string out;
  std::string err;
};

class Program {
 public:
  // The program is found by PATH. Throws std::system_error when it cannot be started at all; a program that does not
  // exist ends with code 127.
  explicit Program(std::vector<std::string> const& arguments, ProgramOptions const& options = {});
  ~Program();
  Program(Program const&) = delete;
  Program& operator=(Program const&) = delete;

  // SIGINT, SIGKILL, SIGSTOP, SIGCONT and so on, to the program alone.
  void signal(int number) const;
  // As if typed on its terminal; "\x03" is ^C.
  void type(std::string_view text) const;
  bool is_running();
  // Waits for the end; kills the program when it takes longer.
  ProgramResult wait(std::chrono::milliseconds timeout = std::chrono::seconds(60));
  // Waits until the text was printed on either stream.
  bool wait_for_output(std::string_view text, std::chrono::milliseconds timeout = std::chrono::seconds(30)) const;

  // What was printed so far.
  std::string out() const;
  std::string err() const;
  pid_t pid() const { return pid_; }

 private:
  void start_on_pipes(std::vector<std::string> const& arguments, ProgramOptions const& options);
  void start_on_terminal(std::vector<std::string> const& arguments, ProgramOptions const& options);
  void read_output();
  void stop_reader();

  pid_t pid_ = -1;
  int exit_code_ = -1;
  bool has_ended_ = false;
  int out_fd_ = -1;
  int err_fd_ = -1;
  int stop_fd_ = -1;
  mutable std::mutex mutex_;
  std::string out_;
  std::string err_;
  std::thread reader_;
};

ProgramResult run_program(std::vector<std::string> const& arguments,
                          std::chrono::milliseconds timeout = std::chrono::seconds(60),
                          ProgramOptions const& options = {});

}  // namespace pgbackfill::tests
