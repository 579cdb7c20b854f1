// What a person sees of a job: the live block for a terminal, the plain line for a log, the summary at the end.
//
// Pure rendering from values to text: it never reads a clock, a terminal or the environment. Thread rule: none; all
// functions are pure.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/eta.h"
#include "engine/base/events.h"
#include "engine/base/text.h"

namespace pgbackfill::engine {

struct ViewOptions {
  int columns = 80;
  bool color = false;
  bool unicode = true;  // false: nothing but ASCII leaves this file
};

// What the job's latest Progress cannot say by itself.
struct Outlook {
  std::optional<Eta> eta;
  std::chrono::milliseconds silent_for{0};  // since the latest Progress came
};

// No line is wider than `columns`, whatever the names are.
std::vector<std::string> render_block(Progress const& progress, Outlook const& outlook, ViewOptions const& options);

// One line without a line end, for logs: greppable, complete, however long it gets.
std::string render_line(Progress const& progress, Outlook const& outlook);

// Headline, counts, notes; folded.
std::vector<std::string> render_summary(Summary const& summary, ViewOptions const& options);

std::string_view phase_name(RunPhase phase);

}  // namespace pgbackfill::engine
