// How bad a statement or a step may turn out for others, and for the data.
#pragma once

#include <string_view>

namespace pgbackfill::planner {

enum class Risk { kLow, kMedium, kHigh, kDestructive };

std::string_view risk_word(Risk risk);

}  // namespace pgbackfill::planner
