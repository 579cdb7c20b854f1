// The ranges of a pass as a map of the key space: which part of the table is done, worked on, open.
//
// Pure. Keys order the ranges and are shown to nobody.
#pragma once

#include <string>
#include <vector>

#include "engine/state/state_pages.h"

namespace pgbackfill::engine {

// Of each leaf in the order of its keys: a range begins where the one before it ends, whatever their numbers are.
std::vector<state::RangeRow> in_key_order(std::vector<state::RangeRow> ranges);

// Empty where there are none. `has_all`: no range was left out.
std::string range_map_html(std::vector<state::RangeRow> const& ranges, bool has_all);

}  // namespace pgbackfill::engine
