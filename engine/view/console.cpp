#include "engine/view/console.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "engine/base/terminal.h"
#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

constexpr int kNoTerminalColumns = 100'000;
constexpr int kLeastColumns = 40;
constexpr int kColumnGap = 2;
constexpr int kComfortable = 24;  // names lose no more than this while a column can leave instead
constexpr int kLeastShrunk = 12;

std::string spaces(int count) {
  return std::string(static_cast<std::size_t>(std::max(count, 0)), ' ');
}

std::string aligned(std::string_view text, int width, bool is_number) {
  std::string const pad = spaces(width - display_width(text));
  return is_number ? pad + std::string(text) : std::string(text) + pad;
}

int total_of(std::vector<int> const& widths) {
  int total = -kColumnGap;
  for (int const width : widths) total += width > 0 ? width + kColumnGap : 0;
  return total;
}

void shrink(std::vector<TableColumn> const& columns, std::vector<int>& widths, int room, int least) {
  for (bool can_go_on = true; total_of(widths) > room && can_go_on;) {
    can_go_on = false;
    std::size_t widest = 0;
    for (std::size_t column = 0; column < columns.size(); ++column) {
      if (!columns[column].can_shrink || widths[column] <= least) continue;
      if (!can_go_on || widths[column] > widths[widest]) widest = column;
      can_go_on = true;
    }
    if (can_go_on) --widths[widest];
  }
}

// A width of 0 is a column that left.
void drop(std::vector<TableColumn> const& columns, std::vector<int>& widths, int room) {
  while (total_of(widths) > room) {
    std::size_t last = 0;
    for (std::size_t column = 0; column < columns.size(); ++column) {
      if (widths[column] > 0 && columns[column].rank > columns[last].rank) last = column;
    }
    if (columns[last].rank == 0) return;
    widths[last] = 0;
  }
}

}  // namespace

Console standard_output() {
  auto const terminal = look_at_terminal(STDOUT_FILENO);
  Console console;
  console.is_live = terminal.is_live;
  console.view.color = terminal.has_color;
  console.view.unicode = terminal.has_unicode;
  console.view.columns = terminal.columns > 0 ? std::max(terminal.columns, kLeastColumns) : kNoTerminalColumns;
  console.lines = terminal.lines;
  return console;
}

std::string coloured(std::string_view text, std::string_view color, ViewOptions const& view) {
  if (!view.color || text.empty() || color.empty()) return std::string(text);
  return fmt::format("{}{}\x1b[0m", color, text);
}

std::vector<std::string> labelled(std::string_view label, int label_width, std::string_view text,
                                  ViewOptions const& view) {
  std::vector<std::string> lines;
  std::string prefix = coloured(aligned(label, label_width, false), kFaint, view);
  for (auto& line : folded(text, view.columns - label_width)) {
    lines.push_back(prefix + line);
    prefix = spaces(label_width);
  }
  return lines;
}

std::vector<std::string> table_lines(std::vector<TableColumn> const& columns,
                                     std::vector<std::vector<std::string>> const& rows, ViewOptions const& view) {
  std::vector<int> widths;
  for (std::size_t column = 0; column < columns.size(); ++column) {
    int width = display_width(columns[column].title);
    for (auto const& row : rows) width = std::max(width, display_width(row.at(column)));
    widths.push_back(width);
  }
  shrink(columns, widths, view.columns, kComfortable);
  drop(columns, widths, view.columns);
  shrink(columns, widths, view.columns, kLeastShrunk);
  std::vector<std::string> lines;
  auto const add = [&](auto const& cell_of, std::string_view color) {
    std::string line;
    for (std::size_t column = 0; column < columns.size(); ++column) {
      if (widths[column] == 0) continue;
      std::string cell = cell_of(column);
      if (columns[column].can_shrink) cell = fitted(cell, widths[column], view.unicode);
      if (!line.empty()) line += spaces(kColumnGap);
      line += aligned(cell, widths[column], columns[column].is_number);
    }
    while (line.ends_with(' ')) line.pop_back();
    lines.push_back(coloured(line, color, view));
  };
  add([&](std::size_t column) { return columns[column].title; }, kFaint);
  for (auto const& row : rows) {
    add([&](std::size_t column) { return row[column]; }, "");
  }
  return lines;
}

std::string human_bytes(std::int64_t bytes) {
  constexpr std::array<char const*, 6> kUnits{"bytes", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, unit > 0 && value < 9.95 ? 1 : 0, kUnits[unit]);
}

std::string counted(std::int64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", human_count(count), count == 1 ? one : many);
}

std::string human_time(std::string_view iso) {
  std::string text(iso);
  if (auto const middle = text.find('T'); middle != std::string::npos) text[middle] = ' ';
  if (text.ends_with('Z')) text.replace(text.size() - 1, 1, " UTC");
  return text;
}

}  // namespace pgbackfill::engine
