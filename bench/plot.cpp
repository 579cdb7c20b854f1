#include "bench/plot.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>

#include "tests/support/program.h"

namespace pgbackfill::bench {
namespace {

namespace fs = std::filesystem;

constexpr int kPanelPixels = 170;

void draw(fs::path const& folder, std::string const& name, std::string const& script) {
  auto const file = folder / (name + ".gnuplot");
  std::ofstream(file) << script;
  auto const result = tests::run_program({"gnuplot", file.string()});
  if (result.exit_code != 0)
    std::cerr << "  no picture of " << name << " (Debian: gnuplot-nox): " << result.err << '\n';
}

std::string head(fs::path const& folder, std::string const& name, int height) {
  return fmt::format(
      "set terminal svg noenhanced size 900,{} background 'white' font 'sans,12'\nset output '{}'\nset datafile "
      "separator ','\n"
      "set datafile missing ''\nset grid\n",
      height, (folder / (name + ".svg")).string());
}

}  // namespace

void plot_series(fs::path const& folder, std::string const& name, std::string const& title, Series const& series,
                 std::vector<Panel> const& panels) {
  fs::create_directories(folder);
  auto const csv = folder / (name + ".csv");
  std::ofstream file(csv);
  file << fmt::format("{}\n", fmt::join(series.columns, ","));
  for (auto const& row : series.rows) {
    std::vector<std::string> fields;
    for (double const value : row) fields.push_back(std::isnan(value) ? "" : fmt::format("{:.4f}", value));
    file << fmt::format("{}\n", fmt::join(fields, ","));
  }
  file.close();
  auto script = head(folder, name, kPanelPixels * static_cast<int>(panels.size()) + 60);
  script += fmt::format("set multiplot layout {},1 title \"{}\"\nset key off\nset lmargin 12\nset yrange [0:*]\n",
                        panels.size(), title);
  for (auto const& panel : panels) {
    auto const column = std::find(series.columns.begin(), series.columns.end(), panel.column);
    script += fmt::format("set ylabel \"{}\"\nplot '{}' using 1:{} every ::1 with lines lw 1.5", panel.column,
                          csv.string(), column - series.columns.begin() + 1);
    if (panel.bar > 0) script += fmt::format(", {} with lines dashtype 2", panel.bar);
    script += "\n";
  }
  draw(folder, name, script + "unset multiplot\n");
}

void plot_points(fs::path const& folder, std::string const& name, std::string const& title, std::string const& x_label,
                 std::string const& y_label, double y_bar, std::vector<Point> const& points) {
  fs::create_directories(folder);
  auto const csv = folder / (name + ".csv");
  std::ofstream file(csv);
  file << fmt::format("{},{},contestant\n", x_label, y_label);
  for (auto const& point : points) file << fmt::format("{:.4f},{:.4f},{}\n", point.x, point.y, point.label);
  file.close();
  auto script = head(folder, name, 500);
  script += fmt::format(
      "set title \"{}\"\nset xlabel \"{}\"\nset ylabel \"{}\"\nset logscale y\nset key off\nset xrange [0:*]\nset "
      "offsets graph 0.02, graph 0.2, 0, 0\nplot '{}' using 1:2 every ::1 with points pt 7, '' using 1:2:3 every ::1 "
      "with labels left offset 1,0, {} with lines dashtype 2\n",
      title, x_label, y_label, csv.string(), y_bar);
  draw(folder, name, script);
}

}  // namespace pgbackfill::bench
