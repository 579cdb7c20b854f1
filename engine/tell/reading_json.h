// A moment of a run as one line of JSON: what the throttle was shown and what was done, so that a series of them can be
// replayed through it (bench/replay).
//
// Times are nanoseconds of the steady clock of the machine that recorded them, durations nanoseconds; infinity is null.
// What a line does not have stays as it is by default, so that older recordings can be read. Errors are sentences.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "throttle/reading.h"
#include "throttle/throttle.h"

namespace pgbackfill::engine {

struct RecordedMoment {
  throttle::TimePoint at{};
  std::int64_t clock_ms = 0;  // the same moment, since 1970; 0: not recorded
  throttle::Reading reading;
  throttle::Work work;  // since the moment before
};

// Without a line feed.
std::string to_json_line(RecordedMoment const& moment);
// The moment, or what is wrong with the line.
std::variant<RecordedMoment, std::string> moment_from_json(std::string_view line);

}  // namespace pgbackfill::engine
