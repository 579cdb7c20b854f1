// What the forms of a report have in common: its facts in words, the estimate beside what came of it, and what happened
// when.
//
// Pure functions. Texts are raw: whoever shows them neutralises or escapes them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/view/course.h"
#include "engine/view/job_report.h"

namespace pgbackfill::engine {

// "What was to be done" and the like: a label and its text.
struct ReportFact {
  std::string label;
  std::string text;
};
std::vector<ReportFact> facts_of(JobReport const& report);

// The plan's estimate beside what happened.
struct ComparedCost {
  std::string what;
  std::string expected;  // "1 min 40 s", "no estimate", "1s allowed"
  std::string happened;
  std::string difference;  // "+12 %"; empty where it says nothing
  bool is_estimate = true;
};
std::vector<ComparedCost> costs_compared(JobReport const& report);

enum class MarkKind { kStart, kStop, kGone, kPause, kResume, kChange, kFailure, kEnd };
// "started", "gone" and so on, for programs.
char const* name_of(MarkKind kind);

// What happened at one time, for the charts and the list under them.
struct Mark {
  std::int64_t at_ms = 0;
  MarkKind kind = MarkKind::kChange;
  std::string text;
  std::string who;
};
// In the order of time. A process that ended without a word is among them: it was killed, or lost its host.
std::vector<Mark> marks_of(JobReport const& report);

// Time in which nothing could be done, for the charts.
struct Band {
  std::int64_t from_ms = 0;
  std::int64_t to_ms = 0;
  std::string cause;  // "paused", "window", "no process"
};
std::vector<Band> bands_of(JobReport const& report);

// The longest times in which no row was passed, in the order of time.
std::vector<Standstill> standstills_of(JobReport const& report);

// What is left to do, a sentence each.
std::vector<std::string> left_of(JobReport const& report);

// An error of the server may quote the row that it is about; such a one is left out, with where it can be read.
std::string without_values(std::string_view text, std::string const& migration);

// 2026-11-20 14:30:23 UTC
std::string time_text(std::int64_t at_ms);

}  // namespace pgbackfill::engine
