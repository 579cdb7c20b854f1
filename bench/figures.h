// Figures of the macro benches: values that were measured, the bar that their median has to reach, and the table of
// both.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace pgbackfill::bench {

enum class Bar { kAtLeast, kAtMost, kNone };  // kNone: told beside the others, nothing is asked of it

struct Figure {
  std::string name;
  std::string text;
  Bar bar = Bar::kAtLeast;
  double bound = 0;
  std::string unit;
  std::vector<double> values = {};
};

// The figures of several rounds; one is made, by its name, when its first value comes.
class Tally {
 public:
  void add(Figure const& figure, double value);
  std::vector<Figure> const& figures() const { return figures_; }

 private:
  std::vector<Figure> figures_;
};

// Of at least one value.
double median(std::vector<double> values);

bool holds(Figure const& figure);

// As a Markdown table; a figure without a value is left out.
void print_figures(std::ostream& out, std::vector<Figure> const& figures);

}  // namespace pgbackfill::bench
