#include "engine/progress_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

namespace pgbackfill::engine {

namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr int kColumnsMax = 160;   // a bar or a line of figures wider than this is hard to read at a glance
constexpr int kColumnsWide = 160;  // from here on all figures share one line
constexpr int kBarMin = 10;
constexpr Milliseconds kSilenceMax{5'000};

constexpr char kPlain[] = "";
constexpr char kBold[] = "1";
constexpr char kDim[] = "2";
constexpr char kRed[] = "31";
constexpr char kGreen[] = "32";
constexpr char kYellow[] = "33";

// --- Text on a terminal ---------------------------------------------------------------------------------------------

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

std::string painted(std::string text, std::string_view paint, bool color) {
  if (!color || paint.empty() || text.empty()) return text;
  return fmt::format("\x1b[{}m{}\x1b[0m", paint, text);
}

std::string spaces(int count) {
  return std::string(static_cast<std::size_t>(std::max(count, 0)), ' ');
}

std::string repeated(std::string_view text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

// --- Lines made of figures ------------------------------------------------------------------------------------------

// One figure of a line. Where there is room it keeps its place while its neighbours' digits come and go; where there is
// none, the ones that matter least leave first.
struct Figure {
  std::string text;
  int importance = 0;
  int place = 0;  // columns up to the next figure
  std::string_view paint = kPlain;
};

int width_of_line(std::vector<Figure> const& figures, bool placed) {
  int width = 0;
  for (auto const& figure : figures) {
    int const own = display_width(figure.text);
    bool const is_last = &figure == &figures.back();
    width += is_last ? own : std::max(own + 2, placed ? figure.place : 0);
  }
  return width;
}

std::string line_of(std::vector<Figure> figures, ViewOptions const& options) {
  std::erase_if(figures, [](auto const& figure) { return figure.text.empty(); });
  if (figures.empty()) return "";
  auto const matters_less = [](auto const& a, auto const& b) { return a.importance < b.importance; };
  while (figures.size() > 1 && width_of_line(figures, false) > options.columns)
    figures.erase(std::min_element(figures.begin(), figures.end(), matters_less));
  bool const placed = width_of_line(figures, true) <= options.columns;
  std::string line;
  for (auto const& figure : figures) {
    auto text = fitted(figure.text, options.columns, options.unicode);
    int const own = display_width(text);
    line += painted(std::move(text), figure.paint, options.color);
    if (&figure != &figures.back()) line += spaces(std::max(2, placed ? figure.place - own : 0));
  }
  return line;
}

std::string counted(std::int64_t count, std::string_view what) {
  return count == 0 ? "" : fmt::format("{} {}", human_count(count), what);
}

std::string plural(std::int64_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", human_count(count), count == 1 ? one : many);
}

std::string retries_text(Progress const& progress) {
  return progress.retries == 0 ? "" : plural(progress.retries, "retry", "retries");
}

bool has_rows(RunPhase phase) {
  return phase != RunPhase::kStarting && phase != RunPhase::kExpanding && phase != RunPhase::kContracting &&
         phase != RunPhase::kPlanning;
}

// At the end the estimate has made way for the true total.
bool is_counted(Progress const& progress) {
  return progress.phase == RunPhase::kEnded && progress.rows_done == progress.rows_estimated;
}

std::string rows_text(Progress const& progress) {
  auto const done = human_count(progress.rows_done);
  auto const estimated = human_count(progress.rows_estimated);
  if (is_counted(progress)) return done + " rows";
  if (progress.rows_estimated <= 0) return done + " rows, total not known";
  if (progress.rows_done > progress.rows_estimated)
    return fmt::format("{} rows, more than the ~{} estimated", done, estimated);
  return fmt::format("{} of ~{} rows", done, estimated);
}

std::string percent_text(Progress const& progress) {
  if (is_counted(progress)) return "100.0 %";
  return human_percent(progress.rows_done, progress.rows_estimated);
}

std::string batch_text(Progress const& progress, bool with_target) {
  if (progress.batch_rows == 0) return "";
  auto text =
      fmt::format("batch {} rows in {}", human_count(progress.batch_rows), human_duration(progress.batch_duration));
  if (with_target && progress.batch_target.count() > 0)
    text += fmt::format(" (target {})", human_duration(progress.batch_target));
  return text;
}

std::string workers_text(Progress const& progress) {
  return plural(progress.workers, "worker", "workers");
}

std::string ranges_text(Progress const& progress) {
  if (progress.ranges_total == 0) return "";
  auto const closed = progress.ranges_total - progress.ranges_open;
  return fmt::format("{}/{} ranges", human_count(closed), human_count(progress.ranges_total));
}

std::string elapsed_text(Progress const& progress, Outlook const& outlook) {
  auto const seconds = std::chrono::floor<std::chrono::seconds>(progress.elapsed + outlook.silent_for);
  if (seconds < std::chrono::minutes{1}) return fmt::format("elapsed {} s", seconds.count());
  return "elapsed " + human_duration(seconds);
}

bool is_silent(Outlook const& outlook) {
  return outlook.silent_for >= kSilenceMax;
}

std::string eta_text(Progress const& progress, Outlook const& outlook) {
  if (progress.phase == RunPhase::kEnded) return "";
  if (progress.phase == RunPhase::kPaused) return "no ETA while paused";
  if (progress.phase == RunPhase::kDraining) return "stops after the batches in flight";
  if (!outlook.eta || is_silent(outlook)) return "ETA unknown";
  return "ETA " + human_wait(outlook.eta->likely);
}

std::string eta_range_text(Progress const& progress, Outlook const& outlook) {
  auto text = eta_text(progress, outlook);
  if (!outlook.eta || text != "ETA " + human_wait(outlook.eta->likely)) return text;
  auto const early = human_wait(outlook.eta->early);
  if (!outlook.eta->late) return fmt::format("{} ({} or much more)", text, early);
  auto const late = human_wait(*outlook.eta->late);
  return early == late ? text : fmt::format("{} ({} to {})", text, early, late);
}

// --- The lines of the block -----------------------------------------------------------------------------------------

std::string_view phase_paint(RunPhase phase) {
  bool const is_stopping =
      phase == RunPhase::kPaused || phase == RunPhase::kOutsideWindow || phase == RunPhase::kDraining;
  return is_stopping ? kYellow : kPlain;
}

std::string title_line(Progress const& progress, ViewOptions const& options) {
  constexpr int kNameMin = 8;
  auto const phase = is_counted(progress) ? "complete" : std::string{phase_name(progress.phase)};
  bool const has_phase = display_width(phase) + 2 + kNameMin <= options.columns;
  int const room = options.columns - (has_phase ? display_width(phase) + 2 : 0);
  auto const migration = fitted(neutralised(progress.migration, options.unicode), room, options.unicode);
  auto const table_room = room - display_width(migration) - 2;
  auto const table = table_room < kNameMin || progress.table.empty()
                         ? ""
                         : fitted(neutralised(progress.table, options.unicode), table_room, options.unicode);
  return line_of(
      {{migration, 1, 0, kBold}, {table, 0, 0, kDim}, {has_phase ? phase : "", 2, 0, phase_paint(progress.phase)}},
      options);
}

std::string bar(Progress const& progress, int width, ViewOptions const& options) {
  double share = 0;
  if (progress.rows_estimated > 0)
    share = static_cast<double>(progress.rows_done) / static_cast<double>(progress.rows_estimated);
  if (percent_text(progress) == "100.0 %") share = 1;
  int const halves = static_cast<int>(std::clamp(share, 0.0, 1.0) * width * 2);
  auto filled = options.unicode ? repeated("━", halves / 2) + (halves % 2 == 1 ? "╸" : "") : repeated("#", halves / 2);
  auto const rest = width - display_width(filled);
  auto const empty = repeated(options.unicode ? "─" : "-", rest);
  return painted(std::move(filled), progress.held_back.empty() ? kGreen : kYellow, options.color) +
         painted(empty, kDim, options.color);
}

std::string bar_line(Progress const& progress, ViewOptions const& options) {
  int const columns = std::min(options.columns, kColumnsMax);
  auto const percent = fmt::format("{:>7}", percent_text(progress));
  // Padded to the width of the estimate, so that the bar's end stays put while the count grows.
  auto rows = rows_text(progress);
  if (progress.rows_done <= progress.rows_estimated && progress.phase != RunPhase::kEnded) {
    auto const estimated = human_count(progress.rows_estimated);
    rows = spaces(display_width(estimated) - display_width(human_count(progress.rows_done))) + rows;
  }
  int const room = columns - display_width(percent) - 2;
  int const room_with_rows = room - display_width(rows) - 2;
  if (room_with_rows >= kBarMin) return bar(progress, room_with_rows, options) + "  " + percent + "  " + rows;
  if (room >= kBarMin) return bar(progress, room, options) + "  " + percent;
  return fitted(percent_text(progress), columns, options.unicode);
}

std::vector<std::string> figure_lines(Progress const& progress, Outlook const& outlook, ViewOptions const& options) {
  constexpr int kFirstPlace = 20;
  constexpr int kSecondPlace = 46;
  constexpr int kThirdPlace = 14;
  Figure const rate{human_rate(progress.rows_per_second), 9, kFirstPlace, kBold};
  Figure const workers{workers_text(progress), 4, kThirdPlace};
  Figure const ranges{ranges_text(progress), 3, 0, kDim};
  Figure elapsed{elapsed_text(progress, outlook), 5, kFirstPlace};
  Figure const eta{eta_range_text(progress, outlook), 8, kSecondPlace};
  if (!has_rows(progress.phase)) return {line_of({elapsed}, options)};
  auto batch_of = [&](bool with_target) { return Figure{batch_text(progress, with_target), 6, kSecondPlace}; };
  if (options.columns >= kColumnsWide) return {line_of({rate, batch_of(true), eta, elapsed, workers, ranges}, options)};

  // Figures lose their detail before they leave.
  std::vector<Figure> pace{rate, batch_of(true), workers};
  if (width_of_line(pace, false) > options.columns) pace = {rate, batch_of(false), workers};
  std::vector<Figure> time{elapsed, eta, ranges};
  if (width_of_line({elapsed, eta}, false) > options.columns)
    time = {elapsed, {eta_text(progress, outlook), 8, kSecondPlace}, ranges};
  return {line_of(pace, options), line_of(time, options)};
}

std::string trouble_line(Progress const& progress, ViewOptions const& options) {
  return line_of({{counted(progress.deferred, "deferred"), 2, 0, kYellow},
                  {counted(progress.quarantined, "quarantined"), 3, 0, kRed},
                  {retries_text(progress), 1, 0, kYellow}},
                 options);
}

std::string reason_line(Progress const& progress, Outlook const& outlook, ViewOptions const& options) {
  std::string text = "not held back";
  std::string_view paint = kDim;
  if (is_silent(outlook)) {
    text = fmt::format("no news from the engine for {} s", outlook.silent_for / std::chrono::seconds{1});
    paint = kRed;
  } else if (!progress.held_back.empty()) {
    text = "held back: " + neutralised(progress.held_back, options.unicode);
    paint = kYellow;
  } else if (!progress.step.empty()) {
    text = neutralised(progress.step, options.unicode);
  } else if (progress.phase != RunPhase::kBackfilling) {
    return "";
  }
  return painted(fitted(text, options.columns, options.unicode), paint, options.color);
}

}  // namespace

std::string_view phase_name(RunPhase phase) {
  switch (phase) {
    case RunPhase::kStarting:
      return "starting";
    case RunPhase::kExpanding:
      return "expanding";
    case RunPhase::kContracting:
      return "contracting";
    case RunPhase::kPlanning:
      return "planning";
    case RunPhase::kBackfilling:
      return "backfilling";
    case RunPhase::kSweeping:
      return "sweeping";
    case RunPhase::kDeferred:
      return "revisiting deferred rows";
    case RunPhase::kPaused:
      return "paused";
    case RunPhase::kOutsideWindow:
      return "waiting for its window";
    case RunPhase::kDraining:
      return "draining";
    case RunPhase::kEnded:
      return "ended";
  }
  return "unknown";
}

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

std::string human_duration(Milliseconds duration) {
  auto const ms = std::max<std::int64_t>(duration.count(), 0);
  if (ms < 1'000) return fmt::format("{} ms", ms);
  if (ms < 59'950) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1e3);
  auto const seconds = (ms + 500) / 1'000;
  if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  auto const minutes = seconds / 60;
  if (minutes < 48 * 60) return fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
  return fmt::format("{} d {:02} h", minutes / 1440, minutes / 60 % 24);
}

std::string human_wait(Milliseconds duration) {
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

std::vector<std::string> render_block(Progress const& progress, Outlook const& outlook, ViewOptions const& options) {
  std::vector<std::string> lines{title_line(progress, options)};
  if (has_rows(progress.phase)) lines.push_back(bar_line(progress, options));
  if (progress.phase == RunPhase::kEnded) return lines;
  for (auto& line : figure_lines(progress, outlook, options)) lines.push_back(std::move(line));
  lines.push_back(trouble_line(progress, options));
  if (lines.back().empty()) lines.pop_back();
  // An empty line here keeps the block's height while reasons come and go.
  lines.push_back(reason_line(progress, outlook, options));
  return lines;
}

std::string render_line(Progress const& progress, Outlook const& outlook) {
  auto line = neutralised(progress.migration);
  if (progress.phase != RunPhase::kBackfilling) line += fmt::format(" ({})", phase_name(progress.phase));
  line += ": ";
  auto const add = [&line](std::string const& text) {
    if (text.empty()) return;
    if (!line.ends_with(": ")) line += ", ";
    line += text;
  };
  if (has_rows(progress.phase)) {
    auto const percent = percent_text(progress);
    add(percent.empty() ? rows_text(progress) : percent + " " + rows_text(progress));
    add(human_count(std::llround(std::clamp(progress.rows_per_second, 0.0, 1e15))) + " rows/s");
    add(batch_text(progress, false));
    add(workers_text(progress));
    add(eta_text(progress, outlook));
    add(counted(progress.deferred, "deferred"));
    add(counted(progress.quarantined, "quarantined"));
    add(retries_text(progress));
  } else {
    add(elapsed_text(progress, outlook));
  }
  if (!progress.held_back.empty()) add("held back: " + neutralised(progress.held_back));
  add(neutralised(progress.step));
  if (is_silent(outlook)) add(fmt::format("no news from the engine for {} s", outlook.silent_for.count() / 1000));
  return line;
}

std::vector<std::string> render_summary(Summary const& summary, ViewOptions const& options) {
  auto const& last = summary.last;
  auto const paint = summary.complete ? kGreen : summary.exit_code == 0 || summary.exit_code == 4 ? kYellow : kRed;
  std::vector<std::string> lines;
  auto const add = [&](std::string const& text, std::string_view indent, std::string_view text_paint) {
    auto prefix = std::string{indent};
    for (auto& line : folded(text, options.columns - display_width(indent))) {
      lines.push_back(prefix + painted(std::move(line), text_paint, options.color));
      prefix = spaces(display_width(indent));
    }
  };
  add(neutralised(summary.headline, options.unicode), "", paint);
  auto counts = plural(summary.batches, "batch", "batches");
  // None of a job that was found complete.
  if (last.elapsed.count() > 0) counts += " in " + human_duration(last.elapsed);
  for (auto const& text :
       {counted(last.deferred, "deferred"), counted(last.quarantined, "quarantined"), retries_text(last)})
    if (!text.empty()) counts += ", " + text;
  if (summary.batches > 0) add(counts, "  ", kPlain);
  for (auto const& note : summary.notes) add(neutralised(note, options.unicode), "  - ", kPlain);
  return lines;
}

}  // namespace pgbackfill::engine
