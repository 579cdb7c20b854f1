#include "planner/work/hot_outlook.h"

#include <algorithm>

#include "planner/model/sql_text.h"

namespace pgbackfill::planner {
namespace {

bool is_assigned(Backfill const& backfill, std::string const& column) {
  return std::any_of(backfill.assignments.begin(), backfill.assignments.end(),
                     [&](Assignment const& assignment) { return assignment.column == column; });
}

}  // namespace

HotOutlook hot_outlook(Backfill const& backfill, LeafFacts const& leaf) {
  HotOutlook outlook;
  if (backfill.kind != WorkKind::kUpdate) return outlook;
  for (auto const& index : leaf.indexes) {
    auto const found = std::find_if(index.depends_on.begin(), index.depends_on.end(),
                                    [&](std::string const& column) { return is_assigned(backfill, column); });
    if (found == index.depends_on.end()) continue;
    outlook.advice.push_back("index " + quote_identifier(index.name) + " depends on column " +
                             quote_identifier(*found) +
                             ": updates cannot be HOT, every index of the table gets a new entry a row; build that "
                             "index after the backfill if you can");
  }
  if (!outlook.advice.empty()) return outlook;
  double const filled = std::clamp(leaf.fillfactor, 10, 100) / 100.0;
  outlook.share = std::min(1.0, (1 - filled) / filled);
  if (leaf.fillfactor < 100) return outlook;
  std::string const relation = quote_qualified(leaf.schema, leaf.name);
  outlook.advice.push_back("pages of " + relation +
                           " are filled to the end (fillfactor 100): few updates can be HOT, every index gets a new "
                           "entry a row. ALTER TABLE " +
                           relation +
                           " SET (fillfactor = 90) keeps room for later updates, on pages that are written from then "
                           "on; those that are full "
                           "now stay so until the table is rewritten");
  return outlook;
}

}  // namespace pgbackfill::planner
