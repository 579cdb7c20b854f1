#include "bench/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace pgbackfill::bench {
namespace {

std::string bar_text(Figure const& figure) {
  if (figure.bar == Bar::kNone) return "";
  return fmt::format("{} {:g}", figure.bar == Bar::kAtLeast ? ">=" : "<=", figure.bound);
}

std::string verdict(Figure const& figure) {
  if (figure.bar == Bar::kNone) return "";
  return holds(figure) ? "yes" : "NO";
}

}  // namespace

void Tally::add(Figure const& figure, double value) {
  auto const is_same = [&](Figure const& known) { return known.name == figure.name; };
  auto found = std::find_if(figures_.begin(), figures_.end(), is_same);
  if (found == figures_.end()) found = figures_.insert(figures_.end(), figure);
  found->values.push_back(value);
}

double median(std::vector<double> values) {
  assert(!values.empty());
  std::sort(values.begin(), values.end());
  std::size_t const half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

bool holds(Figure const& figure) {
  if (figure.bar == Bar::kNone) return true;
  double const value = median(figure.values);
  return figure.bar == Bar::kAtLeast ? value >= figure.bound : value <= figure.bound;
}

void print_figures(std::ostream& out, std::vector<Figure> const& figures) {
  out << "\n| figure | what | median | lowest | highest | bar | holds |\n| --- | --- | --- | --- | --- | --- | --- |\n";
  for (auto const& figure : figures) {
    if (figure.values.empty()) continue;
    auto const [lowest, highest] = std::minmax_element(figure.values.begin(), figure.values.end());
    out << fmt::format("| {} | {} | {:.2f} {} | {:.2f} | {:.2f} | {} | {} |\n", figure.name, figure.text,
                       median(figure.values), figure.unit, *lowest, *highest, bar_text(figure), verdict(figure));
  }
}

}  // namespace pgbackfill::bench
