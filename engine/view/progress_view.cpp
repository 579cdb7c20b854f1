#include "engine/view/progress_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "engine/base/text.h"

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
  bool const is_through = progress.phase == RunPhase::kEnded || progress.phase == RunPhase::kFollowing;
  return is_through && progress.rows_done == progress.rows_estimated;
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
  if (progress.phase == RunPhase::kEnded || progress.phase == RunPhase::kFollowing) return "";
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
  bool const is_complete = is_counted(progress) && progress.phase == RunPhase::kEnded;
  auto const phase = is_complete ? "complete" : std::string{phase_name(progress.phase)};
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
    case RunPhase::kFollowing:
      return "following";
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
