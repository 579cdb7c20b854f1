// How results look on standard output: what the terminal can show, labelled lines, tables, sizes.
//
// Looks at the terminal and the environment once a call and prints nothing. Texts from the database must have passed
// neutralised() before they come here. Thread rule: none; nothing is kept.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/text.h"
#include "engine/view/progress_view.h"

namespace pgbackfill::engine {

struct Console {
  ViewOptions view;      // columns are huge where there is no terminal, so that nothing is folded for programs
  int lines = 0;         // 0: no terminal
  bool is_live = false;  // can be redrawn in place
};
Console standard_output();

inline constexpr std::string_view kStrong = "\x1b[1m";
inline constexpr std::string_view kFaint = "\x1b[2m";
inline constexpr std::string_view kGood = "\x1b[32m";
inline constexpr std::string_view kDoubtful = "\x1b[33m";
inline constexpr std::string_view kBad = "\x1b[31m";
std::string coloured(std::string_view text, std::string_view color, ViewOptions const& view);

// `label` on the left, the text folded beside it; an empty label continues the one above.
std::vector<std::string> labelled(std::string_view label, int label_width, std::string_view text,
                                  ViewOptions const& view);

struct TableColumn {
  std::string title;
  bool is_number = false;
  bool can_shrink = false;
  int rank = 0;  // where there is no room, the highest rank leaves first; rank 0 stays
};
std::vector<std::string> table_lines(std::vector<TableColumn> const& columns,
                                     std::vector<std::vector<std::string>> const& rows, ViewOptions const& view);

std::string human_bytes(std::int64_t bytes);                                           // 215 MB
std::string counted(std::int64_t count, std::string_view one, std::string_view many);  // 1 row, 3 rows
// 2026-11-20T14:30:23Z as people read it: 2026-11-20 14:30:23 UTC.
std::string human_time(std::string_view iso);

}  // namespace pgbackfill::engine
