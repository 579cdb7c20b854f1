// Whether {batch} stands in a statement where it can bound it: joined to all other conditions by AND.
//
// Pure. No parser: it knows strings, comments, quoted names and parentheses, and sees OR and NOT around the
// placeholder. What it cannot see (a function around it, a comparison) the server is asked about: see
// empty_batch_probe().
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace pgbackfill::planner {

// What is wrong with the place, and what to write instead; nothing when it looks right. Expects {batch} or
// {batch:alias} once.
std::optional<std::string> misplaced_batch(std::string_view sql);

}  // namespace pgbackfill::planner
