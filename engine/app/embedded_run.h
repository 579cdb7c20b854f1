// `pgbackfill run FILE` inside a program of your own, with all that the command has: the steps and hooks of `expand`,
// the checks, the throttle, windows, resumption. The job is in the database: `pgbackfill status`, `pause` and `set`
// work on it, and other processes join it.
//
//   engine::EmbeddedRun run(options);
//   return run.go();
//
// Thread rule: go() once, on a thread of your choice, which it keeps until the run has ended; the sink hears its events
// there. request_stop() from any thread, not from a signal handler.
#pragma once

#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "engine/app/options.h"

namespace pgbackfill::engine {

struct EmbeddedOptions {
  RunOptions run;   // its file, and who hears of it
  std::string dsn;  // empty: PGBACKFILL_DATABASE_URL, else DATABASE_URL, else libpq's environment
  std::map<std::string, std::string> params;  // of the file, by name
  bool hears_signals = true;                  // ^C and SIGTERM end the run as request_stop() does
};

// The run could not begin or go on: a file that is wrong, a server that is away, a step that failed. what() says so as
// the command does.
struct RunFailure : std::runtime_error {
  RunFailure(int code, std::string const& text) : std::runtime_error(text), exit_code(code) {}
  int exit_code;
};

class EmbeddedRun {
 public:
  explicit EmbeddedRun(EmbeddedOptions options);
  ~EmbeddedRun();

  // The exit code of the command: 0 done, 1 failed, 4 ended before its end and to be run again. Throws RunFailure.
  int go();

  // Once: the batches in flight end, and the ranges are given back. Twice: they are cancelled on the server.
  void request_stop();

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace pgbackfill::engine
