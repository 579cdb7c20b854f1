// Leaves what a bench recorded for people: a CSV file, and an SVG picture of it drawn by gnuplot where there is one.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace pgbackfill::bench {

// A line of a picture of its own, all over the same first column.
struct Panel {
  std::string column;  // of the CSV file, and the label
  double bar = 0;      // a horizontal line; 0: none
};

struct Series {
  std::vector<std::string> columns;       // the first is the time in seconds
  std::vector<std::vector<double>> rows;  // NaN: an empty field
};

// Writes FOLDER/NAME.csv and draws FOLDER/NAME.svg, a panel below the other.
void plot_series(std::filesystem::path const& folder, std::string const& name, std::string const& title,
                 Series const& series, std::vector<Panel> const& panels);

// A named point.
struct Point {
  std::string label;
  double x = 0;
  double y = 0;
};

void plot_points(std::filesystem::path const& folder, std::string const& name, std::string const& title,
                 std::string const& x_label, std::string const& y_label, double y_bar,
                 std::vector<Point> const& points);

}  // namespace pgbackfill::bench
