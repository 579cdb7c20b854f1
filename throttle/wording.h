// Figures in the texts of causes: short, with units, the same everywhere.
#pragma once

#include <cstdint>
#include <string>

namespace pgbackfill::throttle {

std::string say_seconds(double seconds);        // "0.48 s", "12 s", "3 min", "2.5 h"
std::string say_bytes(double bytes);            // "640 kB", "31 MB", "2.1 GB"
std::string say_rate(double bytes_per_second);  // "31 MB/s"
std::string say_number(double number);          // three digits that count: "0.85", "12.4", "1200000000"
std::string say_percent(double share);          // "85 %"

}  // namespace pgbackfill::throttle
