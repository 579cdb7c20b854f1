#include "engine/view/rehearsal_view.h"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <cmath>
#include <string_view>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "engine/view/json_values.h"

namespace pgbackfill::engine {

namespace {

constexpr int kLabelColumns = 12;

std::chrono::milliseconds milliseconds_of(double number) {
  return std::chrono::milliseconds(std::llround(number));
}

std::string duration_text(double number) {
  return human_duration(milliseconds_of(number));
}

std::string bytes_text(double number) {
  return human_bytes(std::llround(number));
}

std::string band_text(Forecast const& forecast) {
  return fmt::format("{} ({} to {})", duration_text(forecast.expected), duration_text(forecast.low),
                     duration_text(forecast.high));
}

class Sheet {
 public:
  explicit Sheet(ViewOptions const& view) : view_(view) {}

  void add(std::string_view label, std::string const& words) {
    for (auto const& line : labelled(label, kLabelColumns, words, view_)) text_ += line + "\n";
  }
  void add_line(std::string const& line) { text_ += line + "\n"; }
  std::string take() { return std::move(text_); }

 private:
  ViewOptions const& view_;
  std::string text_;
};

void add_table(Sheet& sheet, RehearsalReport const& report, ViewOptions const& view) {
  std::vector<TableColumn> const columns = {{"phase"},      {"here", true}, {"there", true},
                                            {"from", true}, {"to", true},   {"WAL there", true}};
  std::vector<std::vector<std::string>> rows;
  for (auto const& phase : report.phases) {
    rows.push_back({phase.name, human_duration(phase.here), duration_text(phase.there_ms.expected),
                    duration_text(phase.there_ms.low), duration_text(phase.there_ms.high),
                    bytes_text(phase.wal_there)});
  }
  sheet.add_line("");
  for (auto const& line : table_lines(columns, rows, view)) sheet.add_line("  " + line);
  sheet.add_line("");
}

void add_steps(Sheet& sheet, RehearsalReport const& report) {
  std::string_view label = "steps";
  for (auto const& step : report.steps) {
    std::string words = fmt::format("{}: {}, {}", step.phase, neutralised(step.text),
                                    human_duration(std::chrono::milliseconds(step.took_ms)));
    if (step.lock_wait_ms > 0) {
      words += fmt::format(", of it {} for locks", human_duration(std::chrono::milliseconds(step.lock_wait_ms)));
    }
    sheet.add(label, words);
    label = "";
  }
}

void add_sizes(Sheet& sheet, RehearsalReport const& report) {
  std::string words;
  for (auto const& size : report.sizes) {
    words += fmt::format("{}{} {} to {}", words.empty() ? "" : ", ", size.what, human_bytes(size.before),
                         human_bytes(size.after));
  }
  if (!words.empty()) {
    sheet.add("growth", fmt::format("{:.0f} % here: {}; disk peak there about {} more", report.growth * 100, words,
                                    bytes_text(report.disk_peak_there)));
  }
}

std::string_view word_of(LimitVerdict verdict) {
  switch (verdict) {
    case LimitVerdict::kKept:
      return "kept";
    case LimitVerdict::kDoubtful:
      return "doubtful";
    case LimitVerdict::kBroken:
      return "broken";
  }
  return "";
}

std::string hardware_text(RehearsalReport const& report) {
  if (!report.hardware_ratio) {
    return "the profile has no batch to compare with, so that the bounds are wide; take it with --sample";
  }
  return fmt::format("a row of a batch costs {:.2f} times there what it costs here", *report.hardware_ratio);
}

void add_traffic(Sheet& sheet, RehearsalReport const& report) {
  std::string_view label = "traffic";
  for (auto const& part : report.traffic) {
    std::string words = fmt::format("{}: {} statements, p50 {:.1f} ms, p99 {:.1f} ms, p99.9 {:.1f} ms", part.name,
                                    human_count(part.statements), part.p50_ms, part.p99_ms, part.p999_ms);
    if (part.failed > 0) words += fmt::format("; {} failed", human_count(part.failed));
    sheet.add(label, words);
    label = "";
  }
}

void add_limits(Sheet& sheet, RehearsalReport const& report) {
  std::string_view label = "limits";
  for (auto const& limit : report.limits) {
    sheet.add(label, fmt::format("{}: {}: {} of {}", limit.name, word_of(limit.verdict), limit.value, limit.limit));
    label = "";
  }
}

boost::json::object json_of(Forecast const& forecast) {
  boost::json::object object;
  object["low"] = std::round(forecast.low);
  object["expected"] = std::round(forecast.expected);
  object["high"] = std::round(forecast.high);
  return object;
}

boost::json::array json_of(std::vector<std::string> const& texts) {
  boost::json::array list;
  for (auto const& text : texts) list.emplace_back(valid_utf8(text));
  return list;
}

boost::json::array phases_json(RehearsalReport const& report) {
  boost::json::array phases;
  for (auto const& phase : report.phases) {
    boost::json::object object;
    object["phase"] = phase.name;
    object["here_ms"] = phase.here.count();
    object["grows_with_rows"] = phase.grows;
    object["there_ms"] = json_of(phase.there_ms);
    object["wal_bytes_here"] = phase.wal_here;
    object["wal_bytes_there"] = std::round(phase.wal_there);
    phases.push_back(std::move(object));
  }
  return phases;
}

boost::json::array steps_json(RehearsalReport const& report) {
  boost::json::array steps;
  for (auto const& step : report.steps) {
    boost::json::object object;
    object["phase"] = step.phase;
    object["step"] = valid_utf8(step.text);
    object["took_ms"] = step.took_ms;
    object["lock_wait_ms"] = step.lock_wait_ms;
    object["waited_for"] = text_or_null(step.waited_for);
    steps.push_back(std::move(object));
  }
  return steps;
}

boost::json::array sizes_json(RehearsalReport const& report) {
  boost::json::array sizes;
  for (auto const& size : report.sizes) {
    boost::json::object object;
    object["what"] = size.what;
    object["before_bytes"] = size.before;
    object["after_bytes"] = size.after;
    sizes.push_back(std::move(object));
  }
  return sizes;
}

boost::json::array traffic_json(RehearsalReport const& report) {
  boost::json::array parts;
  for (auto const& part : report.traffic) {
    boost::json::object object;
    object["part"] = part.name;
    object["statements"] = part.statements;
    object["failed"] = part.failed;
    object["p50_ms"] = part.p50_ms;
    object["p99_ms"] = part.p99_ms;
    object["p999_ms"] = part.p999_ms;
    parts.push_back(std::move(object));
  }
  return parts;
}

boost::json::array limits_json(RehearsalReport const& report) {
  boost::json::array limits;
  for (auto const& limit : report.limits) {
    boost::json::object object;
    object["name"] = limit.name;
    object["limit"] = limit.limit;
    object["value"] = limit.value;
    object["verdict"] = word_of(limit.verdict);
    limits.push_back(std::move(object));
  }
  return limits;
}

}  // namespace

std::string rehearsal_text(RehearsalReport const& report, ViewOptions const& view) {
  Sheet sheet(view);
  sheet.add_line(fmt::format("rehearsal of {} on {}", neutralised(report.migration), report.server));
  sheet.add("rows", fmt::format("{} here for {} there; profile of {}", human_count(report.rows_here),
                                human_count(report.rows_there), human_time(report.profile_taken_at)));
  sheet.add("built", fmt::format("{} rows in {}, with indexes in {}", human_count(report.built_rows),
                                 human_duration(report.fill_time), human_duration(report.build_time)));
  sheet.add("hardware", hardware_text(report));
  if (!report.trouble.empty()) sheet.add("ended", report.ended + ": " + neutralised(report.trouble));
  add_table(sheet, report, view);
  sheet.add("time", band_text(report.total_ms) + " there");
  sheet.add("pace",
            fmt::format("{} rows changed here, {}{}{}", human_count(report.rows_changed),
                        human_rate(report.rows_per_second), report.held_back.empty() ? "" : "; ", report.held_back));
  sheet.add("WAL", fmt::format("{} there; {} here", bytes_text(report.wal_there), human_bytes(report.wal_here)));
  add_sizes(sheet, report);
  if (report.lag_ms > 0) sheet.add("lag", human_duration(std::chrono::milliseconds(report.lag_ms)) + " at most here");
  sheet.add("locks", report.lock_wait_ms == 0
                         ? "nobody was seen waiting for a lock"
                         : fmt::format("the longest wait seen was {}: {}",
                                       human_duration(std::chrono::milliseconds(report.lock_wait_ms)),
                                       neutralised(report.who_waited)));
  add_traffic(sheet, report);
  add_steps(sheet, report);
  add_limits(sheet, report);
  for (auto const& note : report.notes) sheet.add("note", neutralised(note));
  return sheet.take();
}

boost::json::object rehearsal_json(RehearsalReport const& report) {
  boost::json::object object;
  object["migration"] = valid_utf8(report.migration);
  object["file"] = valid_utf8(report.file);
  object["profile_taken_at"] = report.profile_taken_at;
  object["server"] = report.server;
  object["rows_there"] = report.rows_there;
  object["rows_here"] = report.rows_here;
  object["built_rows"] = report.built_rows;
  object["fill_ms"] = report.fill_time.count();
  object["build_ms"] = report.build_time.count();
  object["hardware_ratio"] =
      report.hardware_ratio ? boost::json::value(*report.hardware_ratio) : boost::json::value(nullptr);
  object["commit_ms_there"] = report.commit_ms_there;
  object["commit_ms_here"] = report.commit_ms_here;
  object["is_complete"] = report.trouble.empty();
  object["trouble"] = text_or_null(report.trouble);
  object["phases"] = phases_json(report);
  object["total_ms"] = json_of(report.total_ms);
  object["steps"] = steps_json(report);
  object["rows_changed"] = report.rows_changed;
  object["rows_per_second"] = report.rows_per_second;
  object["held_back"] = text_or_null(report.held_back);
  object["wal_bytes_here"] = report.wal_here;
  object["wal_bytes_there"] = std::round(report.wal_there);
  object["sizes"] = sizes_json(report);
  object["growth"] = report.growth;
  object["disk_peak_bytes_here"] = report.disk_peak_here;
  object["disk_peak_bytes_there"] = std::round(report.disk_peak_there);
  object["lag_ms"] = report.lag_ms;
  object["lock_wait_ms"] = report.lock_wait_ms;
  object["who_waited"] = text_or_null(report.who_waited);
  object["traffic"] = traffic_json(report);
  object["limits"] = limits_json(report);
  object["notes"] = json_of(report.notes);
  return object;
}

}  // namespace pgbackfill::engine
