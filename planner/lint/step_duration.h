// How long a statement of a step will take, as a class: by what it does and by the size of the table.
//
// A guess from stated rates, not a measurement: it tells a change of the catalog from an evening. Waiting for locks,
// and of a CONCURRENTLY build for older transactions, comes on top. The rates are those of modest disks with a cold
// cache; docs/steps.md states them. Pure functions, safe from any thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "planner/lint/lint_terms.h"

namespace pgbackfill::planner {

enum class DurationClass { kMilliseconds, kSeconds, kMinutes, kHours };

// Bytes of the table a second.
inline constexpr double kScanBytesPerSecond = 100e6;
inline constexpr double kSampledBytes = 250e6;          // ANALYZE by default: 30,000 pages
inline constexpr double kBuildBytesPerSecond = 25e6;    // reads it twice, and sorts
inline constexpr double kRewriteBytesPerSecond = 25e6;  // with its indexes
inline constexpr double kChangeBytesPerSecond = 10e6;   // row by row in one transaction

// Of work over a table of so many bytes, in seconds; 0 for a change of the catalog.
double work_seconds(lint::Work work, std::int64_t table_bytes);

// Below a second, a minute, an hour.
DurationClass duration_class(double seconds);
std::string_view duration_word(DurationClass duration);  // "minutes"

lint::Work work_of(Effort effort);

}  // namespace pgbackfill::planner
