// How much of a table's file its rows need; the rest is room that old rows left, and is used first.
//
// From what the server knows without looking at the table: rows a page (pg_class), the widths of columns (pg_stats),
// and how dense the table was when earlier jobs began. Estimates of widths are wrong by some percent, so a table that
// seems nearly full is taken for full; and what is not known makes it full. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace pgbackfill::throttle {

struct ColumnWidth {
  int length = -1;              // attlen: bytes, or -1 for a varying width
  char alignment = 'i';         // attalign: c, s, i or d
  std::optional<double> width;  // mean of those that are not null, as stored in the row itself
  double null_share = 0;
};

struct TableFill {
  std::uint64_t bytes = 0;  // of the file
  std::int64_t rows = 0;
  std::optional<double> rows_per_page;
  std::uint64_t page_bytes = 8'192;
  int fillfactor = 100;
  std::vector<ColumnWidth> columns;            // in their order, without the dropped ones
  std::optional<double> bytes_per_row_before;  // the densest that it was when an earlier job began
};

// At most the bytes of the file.
std::uint64_t bytes_needed(TableFill const& table);

}  // namespace pgbackfill::throttle
