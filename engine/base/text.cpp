#include "engine/base/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

namespace pgbackfill::engine {

namespace {

struct CodePoint {
  char32_t value = 0;
  std::size_t bytes = 1;
  bool valid = false;
};

CodePoint first_code_point(std::string_view text) {
  auto const lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t const bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  char32_t value = lead & (0x7fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    auto const next = static_cast<unsigned char>(text[i]);
    if ((next & 0xc0) != 0x80) return {};
    value = value << 6 | (next & 0x3f);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool const is_surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < kSmallest[bytes] || value > 0x10ffff || is_surrogate) return {};
  return {value, bytes, true};
}

struct CodeRange {
  char32_t first;
  char32_t last;
};

// Would act instead of being seen: controls, direction marks, line separators, tags.
constexpr CodeRange kActing[] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0x61c, 0x61c},
                                 {0x200b, 0x200b}, {0x200e, 0x200f}, {0x2028, 0x202e},
                                 {0x2061, 0x206f}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};

// Joiners and variation selectors: terminals disagree on the width of what they join, so they are left out.
constexpr CodeRange kJoining[] = {{0xad, 0xad},     {0x200c, 0x200d}, {0x2060, 0x2060},
                                  {0xfe00, 0xfe0f}, {0xfeff, 0xfeff}, {0xe0100, 0xe01ef}};

constexpr CodeRange kNarrowest[] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},
                                    {0x64b, 0x65f},   {0x900, 0x902},   {0xe31, 0xe31},   {0xe34, 0xe3a},
                                    {0xe47, 0xe4e},   {0x1160, 0x11ff}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},
                                    {0x20d0, 0x20ff}, {0xfe20, 0xfe2f}};

constexpr CodeRange kWide[] = {
    {0x1100, 0x115f},   {0x231a, 0x231b},   {0x2329, 0x232a},   {0x23e9, 0x23f3},   {0x25fd, 0x25fe},
    {0x2614, 0x2615},   {0x2648, 0x2653},   {0x267f, 0x267f},   {0x2693, 0x2693},   {0x26a1, 0x26a1},
    {0x26aa, 0x26ab},   {0x26bd, 0x26be},   {0x26c4, 0x26c5},   {0x26ce, 0x26ce},   {0x26d4, 0x26d4},
    {0x26ea, 0x26ea},   {0x26f2, 0x26f3},   {0x26f5, 0x26f5},   {0x26fa, 0x26fa},   {0x26fd, 0x26fd},
    {0x2705, 0x2705},   {0x270a, 0x270b},   {0x2728, 0x2728},   {0x274c, 0x274c},   {0x274e, 0x274e},
    {0x2753, 0x2757},   {0x2795, 0x2797},   {0x27b0, 0x27b0},   {0x2b1b, 0x2b1c},   {0x2b50, 0x2b50},
    {0x2b55, 0x2b55},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},   {0xa960, 0xa97f},   {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe10, 0xfe19},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
    {0x16fe0, 0x18cff}, {0x1aff0, 0x1b2ff}, {0x1f000, 0x1f02f}, {0x1f0a0, 0x1f0ff}, {0x1f18e, 0x1f19a},
    {0x1f1e6, 0x1f265}, {0x1f300, 0x1faff}, {0x20000, 0x3fffd}};

template <std::size_t kSize>
bool is_in(CodeRange const (&ranges)[kSize], char32_t value) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [value](CodeRange range) { return value >= range.first && value <= range.last; });
}

int width_of(char32_t value) {
  if (value < 0x300) return 1;
  if (is_in(kNarrowest, value)) return 0;
  return is_in(kWide, value) ? 2 : 1;
}

}  // namespace

std::string human_count(std::int64_t count) {
  auto digits = fmt::format("{}", count);
  auto const first = count < 0 ? 1 : 0;
  for (int i = static_cast<int>(digits.size()) - 3; i > first; i -= 3)
    digits.insert(static_cast<std::size_t>(i), 1, ',');
  return digits;
}

std::string human_rate(double rows_per_second) {
  if (!(rows_per_second > 0)) return "0 rows/s";
  auto const scaled = [](double value, std::string_view unit) {
    int const decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return fmt::format("{:.{}f} {}rows/s", value, decimals, unit);
  };
  if (rows_per_second < 9.95) return fmt::format("{:.1f} rows/s", rows_per_second);
  if (rows_per_second < 9999.5) return human_count(std::llround(rows_per_second)) + " rows/s";
  if (rows_per_second < 999.5e3) return scaled(rows_per_second / 1e3, "k ");
  if (rows_per_second < 999.5e6) return scaled(rows_per_second / 1e6, "M ");
  return scaled(rows_per_second / 1e9, "G ");
}

std::string human_percent(std::int64_t done, std::int64_t estimated) {
  if (estimated <= 0) return "";
  if (done > estimated) return "> 100 %";
  constexpr std::int64_t kExact = INT64_MAX / 1000;
  auto const tenths = done < kExact ? std::max<std::int64_t>(done, 0) * 1000 / estimated : done / (estimated / 1000);
  return fmt::format("{}.{} %", tenths / 10, tenths % 10);
}

std::string human_duration(std::chrono::milliseconds duration) {
  auto const ms = std::max<std::int64_t>(duration.count(), 0);
  if (ms < 1'000) return fmt::format("{} ms", ms);
  if (ms < 59'950) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1e3);
  auto const seconds = (ms + 500) / 1'000;
  if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  auto const minutes = seconds / 60;
  if (minutes < 48 * 60) return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
  return fmt::format("{} d {:02} h", minutes / 1440, minutes / 60 % 24);
}

std::string human_wait(std::chrono::milliseconds duration) {
  using std::chrono::seconds;
  auto const rounded_up = [&](std::int64_t step) {
    auto const whole = std::max<std::int64_t>(std::chrono::ceil<seconds>(duration).count(), 0);
    return (whole + step - 1) / step * step;
  };
  if (auto const time = rounded_up(1); time < 60) return fmt::format("{} s", time);
  if (auto const time = rounded_up(5); time < 600) return fmt::format("{} min {:02} s", time / 60, time % 60);
  if (auto const time = rounded_up(60); time < 3600) return fmt::format("{} min", time / 60);
  if (auto const time = rounded_up(60); time < 7200) return human_duration(seconds{time});
  return human_duration(seconds{rounded_up(300)});
}

std::string neutralised(std::string_view text, bool unicode) {
  std::string result;
  while (!text.empty()) {
    auto const code = first_code_point(text);
    auto const bytes = text.substr(0, code.bytes);
    text.remove_prefix(code.bytes);
    bool const is_break = code.valid && (code.value == '\n' || code.value == '\r' || code.value == '\t');
    if (is_break) {
      if (!result.empty() && result.back() != ' ') result += ' ';
    } else if (!code.valid || (code.value < 0x80 && is_in(kActing, code.value))) {
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(bytes[0]));
    } else if (is_in(kJoining, code.value)) {
      continue;
    } else if (is_in(kActing, code.value)) {
      auto const value = static_cast<std::uint32_t>(code.value);
      result += value > 0xffff ? fmt::format("\\U{:08x}", value) : fmt::format("\\u{:04x}", value);
    } else if (!unicode && code.value >= 0x80) {
      result += '?';
    } else {
      result += bytes;
    }
  }
  return result;
}

std::string valid_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    auto const code = first_code_point(text);
    result += code.valid ? text.substr(0, code.bytes) : "\xef\xbf\xbd";
    text.remove_prefix(code.bytes);
  }
  return result;
}

int display_width(std::string_view text) {
  int width = 0;
  while (!text.empty()) {
    if (text.starts_with("\x1b[")) {
      text.remove_prefix(std::min(text.find('m'), text.size() - 1) + 1);
      continue;
    }
    auto const code = first_code_point(text);
    width += width_of(code.value);
    text.remove_prefix(code.bytes);
  }
  return width;
}

std::string fitted(std::string_view text, int columns, bool unicode) {
  if (display_width(text) <= columns) return std::string{text};
  std::string_view const ellipsis = unicode ? "…" : "...";
  int const room = columns - display_width(ellipsis);
  if (room < 1) return std::string(static_cast<std::size_t>(std::max(columns, 0)), '.');
  std::size_t bytes = 0;
  for (int width = 0; bytes < text.size();) {
    auto const code = first_code_point(text.substr(bytes));
    width += width_of(code.value);
    if (width > room) break;
    bytes += code.bytes;
  }
  return std::string{text.substr(0, bytes)}.append(ellipsis);
}

std::vector<std::string> folded(std::string_view text, int columns) {
  std::vector<std::string> lines{""};
  bool is_quoted = false;
  for (std::size_t begin = 0, i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '`') is_quoted = !is_quoted;
    if (i < text.size() && (text[i] != ' ' || is_quoted)) continue;
    auto const word = text.substr(begin, i - begin);
    begin = i + 1;
    if (word.empty()) continue;
    bool const is_first = lines.back().empty();
    bool const fits = is_first || display_width(lines.back()) + 1 + display_width(word) <= columns;
    if (!fits) lines.emplace_back();
    if (fits && !is_first) lines.back() += ' ';
    lines.back() += word;
  }
  return lines;
}

}  // namespace pgbackfill::engine
