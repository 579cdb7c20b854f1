#include "throttle/table_fill.h"

#include <algorithm>
#include <cmath>

namespace pgbackfill::throttle {
namespace {

constexpr double kPageHeader = 24;
constexpr double kLinePointer = 4;
constexpr double kRowHeader = 23;
constexpr double kRowAlignment = 8;
constexpr double kLongestShort = 127;  // longer values have a header of four bytes, and are aligned
// Estimates are no better than that.
constexpr double kNearlyFull = 0.92;

double aligned(double offset, double to) {
  return std::ceil(offset / to) * to;
}

double alignment_of(ColumnWidth const& column, double width) {
  if (column.length < 0 && width <= kLongestShort) return 1;
  switch (column.alignment) {
    case 'd':
      return 8;
    case 'i':
      return 4;
    case 's':
      return 2;
    default:
      return 1;
  }
}

// With its line pointer; nothing if the width of a column is not known.
std::optional<double> row_bytes(std::vector<ColumnWidth> const& columns) {
  bool const has_nulls =
      std::any_of(columns.begin(), columns.end(), [](ColumnWidth const& column) { return column.null_share > 0; });
  double const bitmap = has_nulls ? std::ceil(static_cast<double>(columns.size()) / 8) : 0;
  double offset = aligned(kRowHeader + bitmap, kRowAlignment);
  for (auto const& column : columns) {
    auto const width = column.length > 0 ? std::optional<double>(column.length) : column.width;
    if (!width && column.null_share < 1) return std::nullopt;
    if (column.null_share >= 1) continue;
    if (column.null_share == 0) offset = aligned(offset, alignment_of(column, *width));
    offset += *width * (1 - column.null_share);
  }
  return aligned(offset, kRowAlignment) + kLinePointer;
}

// The share of its pages' room that rows take, by the widths of its columns.
std::optional<double> fill_by_widths(TableFill const& table) {
  auto const row = row_bytes(table.columns);
  if (!row || !table.rows_per_page || table.columns.empty()) return std::nullopt;
  auto const page = static_cast<double>(table.page_bytes);
  double const kept_free = page * (1 - static_cast<double>(std::clamp(table.fillfactor, 10, 100)) / 100);
  double const most = std::max(std::floor((page - kPageHeader - kept_free) / *row), 1.0);
  return *table.rows_per_page / most;
}

std::optional<double> fill_by_history(TableFill const& table) {
  if (!table.bytes_per_row_before || table.rows <= 0) return std::nullopt;
  return *table.bytes_per_row_before * static_cast<double>(table.rows) / static_cast<double>(table.bytes);
}

}  // namespace

std::uint64_t bytes_needed(TableFill const& table) {
  if (table.bytes == 0) return 0;
  auto const by_widths = fill_by_widths(table);
  auto const by_history = fill_by_history(table);
  if (!by_widths && !by_history) return table.bytes;
  // A table whose rows got wider needs more than before, and one whose widths are underrated was not emptier before.
  double const fill = std::max(by_widths.value_or(0), by_history.value_or(0));
  if (!(fill > 0) || fill >= kNearlyFull) return table.bytes;
  return static_cast<std::uint64_t>(fill * static_cast<double>(table.bytes));
}

}  // namespace pgbackfill::throttle
