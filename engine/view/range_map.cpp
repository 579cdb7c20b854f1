#include "engine/view/range_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <utility>

#include "engine/base/text.h"
#include "engine/view/html.h"

namespace pgbackfill::engine {

namespace {

using state::RangeRow;

// The drawing's own units. Ranges narrower than one are drawn together.
constexpr double kWidth = 1000;
constexpr double kNarrowest = 1;
constexpr std::size_t kMostLeaves = 24;

using Ranges = std::vector<RangeRow>;

// Of one leaf.
Ranges chained(Ranges ranges) {
  std::multimap<std::string, std::size_t> by_lo;
  std::set<std::string> ends;
  for (std::size_t at = 0; at < ranges.size(); ++at) {
    by_lo.emplace(ranges[at].lo.value_or(""), at);
    if (ranges[at].hi) ends.insert(*ranges[at].hi);
  }
  std::vector<bool> is_taken(ranges.size(), false);
  Ranges ordered;
  auto const follow = [&](std::size_t at) {
    while (!is_taken[at]) {
      is_taken[at] = true;
      ordered.push_back(ranges[at]);
      if (!ranges[at].hi) return;
      auto const [begin, end] = by_lo.equal_range(*ranges[at].hi);
      auto const next = std::find_if(begin, end, [&](auto const& one) { return !is_taken[one.second]; });
      if (next == end) return;
      at = next->second;
    }
  };
  // Those that begin where no other ends, then what is left, should somebody have changed the table by hand.
  for (std::size_t at = 0; at < ranges.size(); ++at) {
    if (!ends.contains(ranges[at].lo.value_or(""))) follow(at);
  }
  for (std::size_t at = 0; at < ranges.size(); ++at) follow(at);
  return ordered;
}

std::map<std::int64_t, Ranges> by_leaf(Ranges const& ranges) {
  std::map<std::int64_t, Ranges> leaves;
  for (auto const& range : ranges) leaves[range.leaf].push_back(range);
  return leaves;
}

double rows_of(RangeRow const& range) {
  return static_cast<double>(std::max<std::int64_t>({range.rows_estimated, range.rows_done, 1}));
}

double done_of(RangeRow const& range) {
  return range.is_done ? rows_of(range) : static_cast<double>(std::max<std::int64_t>(range.rows_done, 0));
}

struct Tile {
  double rows = 0;
  double done = 0;
  bool is_held = false;
};

std::string tile_svg(Tile const& tile, double begin, double width) {
  std::string svg = fmt::format(R"(<rect class="{}" x="{:.1f}" y="0" width="{:.1f}" height="10"/>)",
                                tile.is_held ? "held" : "open", begin, width);
  double const done = tile.rows > 0 ? std::min(tile.done / tile.rows, 1.0) * width : 0;
  if (done > 0) svg += fmt::format(R"(<rect class="done" x="{:.1f}" y="0" width="{:.1f}" height="10"/>)", begin, done);
  return svg;
}

std::string leaf_svg(Ranges const& ranges) {
  double all = 0;
  for (auto const& range : ranges) all += rows_of(range);
  std::string svg;
  double drawn = 0;
  Tile tile;
  for (std::size_t at = 0; at < ranges.size(); ++at) {
    tile.rows += rows_of(ranges[at]);
    tile.done += done_of(ranges[at]);
    tile.is_held = tile.is_held || ranges[at].is_held;
    double const width = tile.rows / all * kWidth;
    if (width < kNarrowest && at + 1 < ranges.size()) continue;
    svg += tile_svg(tile, drawn, width);
    drawn += width;
    tile = Tile();
  }
  return svg;
}

std::string words_of(Ranges const& ranges) {
  auto const done = std::count_if(ranges.begin(), ranges.end(), [](RangeRow const& one) { return one.is_done; });
  auto const held = std::count_if(ranges.begin(), ranges.end(), [](RangeRow const& one) { return one.is_held; });
  return fmt::format("{} of {} ranges done, {} worked on", human_count(done),
                     human_count(static_cast<std::int64_t>(ranges.size())), human_count(held));
}

}  // namespace

Ranges in_key_order(Ranges ranges) {
  Ranges ordered;
  for (auto& [leaf, of_leaf] : by_leaf(ranges)) {
    auto chain = chained(of_leaf);
    ordered.insert(ordered.end(), chain.begin(), chain.end());
  }
  return ordered;
}

std::string range_map_html(Ranges const& ranges, bool has_all) {
  if (ranges.empty()) return "";
  std::string html = "<figure class=\"ranges\">\n";
  std::size_t shown = 0;
  auto const leaves = by_leaf(ranges);
  for (auto const& [leaf, of_leaf] : leaves) {
    if (shown++ == kMostLeaves) break;
    auto const name = html_text(of_leaf.front().table);
    auto const words = words_of(of_leaf);
    html += fmt::format(
        "<div class=\"lane\"><span>{0} <em>{1}</em></span><svg viewBox=\"0 0 {2:.0f} 10\" preserveAspectRatio=\"none\" "
        "role=\"img\" aria-label=\"{0}: {1}\">{3}</svg></div>\n",
        name, words, kWidth, leaf_svg(chained(of_leaf)));
  }
  if (leaves.size() > kMostLeaves) {
    html += fmt::format("<p class=\"faint\">and {} more partitions</p>\n", leaves.size() - kMostLeaves);
  }
  if (!has_all) html += "<p class=\"faint\">The table has more ranges than are drawn here.</p>\n";
  return html +
         "<figcaption class=\"legend\"><span><i class=\"done\"></i>done</span> <span><i class=\"held\"></i>worked "
         "on</span> <span><i class=\"open\"></i>open</span> <span>from the first key to the last, as wide as the rows "
         "in it</span></figcaption>\n</figure>\n";
}

}  // namespace pgbackfill::engine
