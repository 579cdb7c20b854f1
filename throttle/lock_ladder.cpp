#include "throttle/lock_ladder.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "throttle/backoff.h"

namespace pgbackfill::throttle {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr int kNowaitAttempts = 3;
constexpr milliseconds kNowaitTimeout{50};
constexpr milliseconds kNowaitPause{200};
constexpr milliseconds kShortRungs[] = {100ms, 100ms, 100ms, 300ms, 300ms, 300ms, 1000ms, 1000ms};
constexpr milliseconds kLeastLongRung{1500};
constexpr int kPauseOverWait = 10;
constexpr milliseconds kLongestPause{60'000};
constexpr int kFirstLongAttempt = kNowaitAttempts + static_cast<int>(std::size(kShortRungs));

}  // namespace

milliseconds longest_rung(LadderFacts const& facts) {
  return std::max(kLeastLongRung, facts.deadlock_timeout * 3 / 2);
}

Rung ladder_rung(int attempt, LadderFacts const& facts) {
  if (facts.is_behind_autovacuum || attempt >= kFirstLongAttempt) return {false, longest_rung(facts)};
  if (attempt < kNowaitAttempts) return {true, kNowaitTimeout};
  return {false, kShortRungs[attempt - kNowaitAttempts]};
}

milliseconds ladder_pause(int attempt, Rung const& rung, double uniform01) {
  BackoffOptions options{rung.lock_timeout * kPauseOverWait,
                         std::max(kLongestPause, rung.lock_timeout * kPauseOverWait)};
  if (rung.is_nowait) options = {kNowaitPause, kNowaitPause};
  // Half of it is certain: without that, the pause would at times be shorter than the wait.
  return backoff_delay(std::max(attempt - kFirstLongAttempt, 0), options, 0.5 + uniform01 / 2);
}

}  // namespace pgbackfill::throttle
