// Tells people and log collectors what the engine does: a live block on a terminal, lines anywhere else.
//
// A thread of its own takes events from a bounded queue, so a slow terminal, a full disk or a pipe that nobody reads
// never delays a batch. It never blocks an emitter, never fails the run, and never writes but to the given descriptor.
// Thread rule: emit() and losses() from any thread; construction and destruction from one.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <cstdint>
#include <memory>

#include "engine/base/events.h"

namespace pgbackfill::engine {

enum class LogFormat { kText, kJson };

struct TellerOptions {
  int fd = 2;         // borrowed
  bool live = false;  // a block that is redrawn in place; JSON is never live
  bool color = false;
  bool unicode = true;
  LogFormat format = LogFormat::kText;
  Severity level = Severity::kInfo;                    // less severe lines are dropped; the summary always comes
  std::chrono::milliseconds line_interval{5'000};      // between progress lines; the first comes after a second
  std::chrono::milliseconds farewell_patience{2'000};  // how long the destructor waits for a reader that is stuck
};

// What suits the descriptor and the environment: TERM, NO_COLOR, LC_ALL, LC_CTYPE, LANG. Standard error is the right
// descriptor for the live block: it is a terminal even when standard output is piped.
TellerOptions detect_teller_options(int fd);

// The summary as the JSON log has it, for whoever prints results.
boost::json::object json_of(Summary const& summary);

class Teller final : public EventSink {
 public:
  // Above these, newer events are dropped and counted. The summary is never dropped.
  static constexpr std::int64_t kQueuedProgressMax = 64;
  static constexpr std::int64_t kQueuedLinesMax = 100'000;

  struct Losses {
    std::int64_t progress = 0;
    std::int64_t lines = 0;
    std::int64_t writes = 0;
  };

  explicit Teller(TellerOptions const& options);
  ~Teller() override;  // tells what is queued, leaves the last state on the screen, joins

  Teller(Teller const&) = delete;
  Teller& operator=(Teller const&) = delete;

  void emit(Event event) override;
  Losses losses() const;

 private:
  struct Workshop;
  std::unique_ptr<Workshop> workshop_;
};

}  // namespace pgbackfill::engine
