// Plays cases of the twin campaign on one server: pgbackfill in one database, the plain statement in another, and says
// how they compare. Each case has databases and roles of its own, so that several can be played at the same time; one
// that restarts the server waits until it is alone. Any thread may play; the object belongs to the one that made it.
#pragma once

#include <atomic>
#include <map>
#include <shared_mutex>
#include <string>

#include "engine/sandbox/local_cluster.h"
#include "tests/twin/twin_case.h"

namespace pgbackfill::tests {

enum class TwinEnd {
  kEqual,
  kRefused,  // by name, before anything was touched, as the case allows
  kStopped,  // by name, as the case allows
  kWrong,
  kUnusable,  // the case itself has a fault: its setup or its plain statement fails
};

struct TwinOutcome {
  TwinEnd end = TwinEnd::kEqual;
  std::string reason;   // of a refusal, or what is wrong, in a line
  std::string details;  // the difference and what the program said
};

class TwinServerUnderTest {
 public:
  // Of PostgreSQL in `bin_dir`; empty: as LocalCluster finds it.
  explicit TwinServerUnderTest(std::string const& bin_dir = {});

  TwinServer const& server() const { return server_; }
  TwinOutcome play(TwinCase const& twin);

  // Serves restarts until `is_over`. Servers end with the thread that started them, so that the thread that made this
  // object has to call it while others play.
  void serve_restarts_until(std::atomic<bool> const& is_over);

 private:
  engine::LocalCluster cluster_;
  std::atomic<bool> is_restart_due_{false};
  TwinServer server_;
  std::shared_mutex restarts_;
  std::atomic<int> played_{0};
};

// What a campaign found, for its last lines and for the table of docs/reliability.md.
struct TwinFigures {
  int cases = 0;
  int equal = 0;
  int refused = 0;
  int stopped = 0;
  int wrong = 0;
  int unusable = 0;
  std::map<std::string, int> works;
  std::map<std::string, int> refusals;

  void count(TwinCase const& twin, TwinOutcome const& outcome);
  std::string text() const;
};

// Plays `cases` cases from `seed` on, several at a time. Each that is wrong fails the test that calls it, with all that
// is needed to repeat it. PGBACKFILL_FIGURES names a file to which the figures are added as a line.
TwinFigures play_twins(std::uint64_t seed, int cases);

}  // namespace pgbackfill::tests
