// Replays recorded readings through the throttle and prints each decision: throttle_replay FILE [REPLICA_LAG_MS]
//
// FILE has a moment a line (engine/tell/reading_json.h). What our batches did is part of the recording, so this shows
// what would have been decided at each moment, not what would have become of it.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <variant>

#include "engine/tell/reading_json.h"
#include "throttle/throttle.h"
#include "throttle/wording.h"

namespace {

using namespace pgbackfill;

void print_decision(double seconds, throttle::Decision const& decision) {
  std::string text = fmt::format("{:9.2f} s  {}  {:>10}  {:>5} workers", seconds,
                                 decision.must_stop   ? "end "
                                 : decision.may_start ? "go  "
                                                      : "wait",
                                 throttle::say_rate(decision.wal_per_second), throttle::say_number(decision.workers));
  for (auto const& cause : decision.causes) text += fmt::format("  [{}] {}", throttle::name_of(cause.kind), cause.text);
  std::puts(text.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fputs("usage: throttle_replay FILE [REPLICA_LAG_MS]\n", stderr);
    return 2;
  }
  std::ifstream file(argv[1]);
  if (!file) {
    std::fprintf(stderr, "throttle_replay: cannot read %s\n", argv[1]);
    return 1;
  }
  throttle::Limits limits;
  if (argc > 2) limits.replica_lag = std::chrono::milliseconds{std::max(std::strtol(argv[2], nullptr, 10), 1L)};
  throttle::Throttle law(limits);
  std::optional<throttle::TimePoint> start;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    auto const read = engine::moment_from_json(line);
    if (auto const* error = std::get_if<std::string>(&read)) {
      std::fprintf(stderr, "throttle_replay: %s:%d: %s\n", argv[1], number, error->c_str());
      return 1;
    }
    auto const& moment = std::get<engine::RecordedMoment>(read);
    if (!start) start = moment.at;
    auto const decision = law.decide(moment.reading, moment.work, moment.at);
    print_decision(std::chrono::duration<double>(moment.at - *start).count(), decision);
  }
  return 0;
}
