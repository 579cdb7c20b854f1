#include "engine/view/course.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>

#include "engine/base/text.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

// A row comes every five seconds of work, or every minute of rest, each with the time that it is of. More than this
// between two rows that neither is of: nobody was there.
constexpr std::int64_t kLongestUnseenMs = 2 * kSampleInterval.count();
constexpr milliseconds kShortestCourse{30'000};
constexpr std::size_t kMostCausesTold = 4;

bool rests(StoredSample const& sample) {
  return sample.phase == "paused" || sample.phase == "window";
}

// Why it stood in this stretch.
std::string cause_of(Stretch const& stretch, StoredSample const& sample) {
  if (stretch.is_gone) return "no process";
  if (rests(sample)) return sample.phase;
  auto const longest = std::max_element(sample.held_ms.begin(), sample.held_ms.end(),
                                        [](auto const& a, auto const& b) { return a.second < b.second; });
  return longest == sample.held_ms.end() ? "" : longest->first;
}

void add_standing(std::vector<Standstill>& all, Stretch const& stretch, StoredSample const& sample) {
  auto const cause = cause_of(stretch, sample);
  std::string const text = stretch.is_gone || rests(sample) ? "" : sample.held_by;
  bool const goes_on = !all.empty() && all.back().to_ms == stretch.from_ms && all.back().cause == cause;
  if (!goes_on) {
    all.push_back({stretch.from_ms, stretch.to_ms, cause, text});
    return;
  }
  all.back().to_ms = stretch.to_ms;
  if (!text.empty()) all.back().text = text;
}

}  // namespace

std::vector<Stretch> stretches_of(std::vector<StoredSample> const& samples) {
  std::vector<Stretch> stretches;
  for (std::size_t at = 1; at < samples.size(); ++at) {
    auto const& before = samples[at - 1];
    auto const& sample = samples[at];
    std::int64_t begin = before.at_ms;
    std::int64_t rows = std::max<std::int64_t>(sample.rows_done - before.rows_done, 0);
    std::int64_t const unseen = sample.at_ms - before.at_ms - sample.took.count();
    if (sample.at_ms <= before.at_ms) continue;  // a clock was set back
    if (unseen > kLongestUnseenMs) {
      // What was done just before the process went is in the count, and in no stretch of time that is known.
      std::int64_t const end = sample.at_ms - sample.took.count();
      stretches.push_back({begin, end, sample.took.count() > 0 ? 0 : rows, true, at});
      begin = end;
    }
    if (begin < sample.at_ms) stretches.push_back({begin, sample.at_ms, rows, false, at});
  }
  return stretches;
}

CourseSummary summary_of(std::vector<StoredSample> const& samples) {
  CourseSummary summary;
  if (samples.empty()) return summary;
  summary.covered = milliseconds(std::max<std::int64_t>(samples.back().at_ms - samples.front().at_ms, 0));
  for (auto const& stretch : stretches_of(samples)) {
    auto const& sample = samples[stretch.sample];
    summary.rows += stretch.rows;
    bool const stands = stretch.rows == 0 || stretch.is_gone || rests(sample);
    if (stands) add_standing(summary.standstills, stretch, sample);
    if (stretch.is_gone) continue;
    summary.at_work += milliseconds(stretch.length_ms());
    for (auto const& [cause, held] : sample.held_ms) summary.held_ms[cause] += std::min(held, stretch.length_ms());
  }
  std::erase_if(summary.standstills,
                [](Standstill const& one) { return one.to_ms - one.from_ms < kShortestStandstill.count(); });
  return summary;
}

std::string cause_label(std::string const& cause) {
  if (cause == "blind") return "missing readings";
  if (cause == "starting") return "its own slow start";
  if (cause == "window") return "outside its window";
  if (cause == "row_rate") return "max_rows_per_second";
  return cause.empty() ? "a cause that was not recorded" : cause;
}

std::string course_text(CourseSummary const& summary) {
  if (summary.covered < kShortestCourse) return "";
  std::map<std::string, std::int64_t> stood;
  std::int64_t all = 0;
  for (auto const& one : summary.standstills) {
    stood[cause_label(one.cause)] += one.to_ms - one.from_ms;
    all += one.to_ms - one.from_ms;
  }
  std::string text = human_rate(summary.rows_per_second()) + " in the mean of " + human_duration(summary.covered);
  if (all == 0) return text;
  std::vector<std::pair<std::int64_t, std::string>> causes;
  for (auto const& [cause, time] : stood) causes.emplace_back(time, cause);
  std::sort(causes.rbegin(), causes.rend());
  if (causes.size() > kMostCausesTold) causes.resize(kMostCausesTold);
  std::vector<std::string> parts;
  for (auto const& [time, cause] : causes) {
    std::string const name = neutralised(cause);
    parts.push_back(causes.size() > 1 ? fmt::format("{} {}", name, human_duration(milliseconds(time))) : name);
  }
  return text + fmt::format("; it stood {}: {}", human_duration(milliseconds(all)), planner::join(parts, ", "));
}

boost::json::object json_of(CourseSummary const& summary) {
  boost::json::object held;
  for (auto const& [cause, time] : summary.held_ms) held[valid_utf8(cause)] = time;
  boost::json::array standstills;
  for (auto const& one : summary.standstills) {
    standstills.push_back({{"from_ms", one.from_ms},
                           {"to_ms", one.to_ms},
                           {"cause", valid_utf8(one.cause)},
                           {"text", valid_utf8(one.text)}});
  }
  return {{"covered_ms", summary.covered.count()},
          {"at_work_ms", summary.at_work.count()},
          {"rows", summary.rows},
          {"rows_per_second", summary.rows_per_second()},
          {"held_ms", std::move(held)},
          {"standstills", std::move(standstills)}};
}

}  // namespace pgbackfill::engine
