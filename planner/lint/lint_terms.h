// The words in which lint says what a statement does: lock, work, risk.
//
// Pure values.
#pragma once

#include <string_view>

#include "planner/steps/recipe.h"

namespace pgbackfill::planner::lint {

using planner::LockMode;  // in the order of their strength
using planner::Risk;

// What takes longer the larger the table is.
enum class Work { kNone, kSample, kScan, kIndexBuild, kRewrite, kAllRows };

std::string_view work_word(Work work);   // "index build"
std::string_view work_words(Work work);  // a sentence's worth

}  // namespace pgbackfill::planner::lint
