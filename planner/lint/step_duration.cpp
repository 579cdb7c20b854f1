#include "planner/lint/step_duration.h"

#include <algorithm>

namespace pgbackfill::planner {

double work_seconds(lint::Work work, std::int64_t table_bytes) {
  auto const bytes = static_cast<double>(table_bytes);
  switch (work) {
    case lint::Work::kNone:
      return 0;
    case lint::Work::kSample:
      return std::min(bytes, kSampledBytes) / kScanBytesPerSecond;
    case lint::Work::kScan:
      return bytes / kScanBytesPerSecond;
    case lint::Work::kIndexBuild:
      return bytes / kBuildBytesPerSecond;
    case lint::Work::kRewrite:
      return bytes / kRewriteBytesPerSecond;
    case lint::Work::kAllRows:
      return bytes / kChangeBytesPerSecond;
  }
  return 0;
}

DurationClass duration_class(double seconds) {
  if (seconds < 1) return DurationClass::kMilliseconds;
  if (seconds < 60) return DurationClass::kSeconds;
  return seconds < 3600 ? DurationClass::kMinutes : DurationClass::kHours;
}

std::string_view duration_word(DurationClass duration) {
  switch (duration) {
    case DurationClass::kMilliseconds:
      return "milliseconds";
    case DurationClass::kSeconds:
      return "seconds";
    case DurationClass::kMinutes:
      return "minutes";
    case DurationClass::kHours:
      return "hours";
  }
  return "";
}

lint::Work work_of(Effort effort) {
  switch (effort) {
    case Effort::kCatalog:
      return lint::Work::kNone;
    case Effort::kSample:
      return lint::Work::kSample;
    case Effort::kScan:
      return lint::Work::kScan;
    case Effort::kBuild:
      return lint::Work::kIndexBuild;
  }
  return lint::Work::kNone;
}

}  // namespace pgbackfill::planner
