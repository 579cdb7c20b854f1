#include "engine/view/lint_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <cctype>
#include <string_view>

#include "engine/base/text.h"
#include "engine/view/console.h"
#include "planner/lint/lint_rules.h"

namespace pgbackfill::engine {

namespace {

namespace json = boost::json;
using planner::lint::Finding;
using planner::lint::LockMode;
using planner::lint::Risk;
using planner::lint::Work;

constexpr int kLabelWidth = 11;
constexpr std::array kRisksDown = {Risk::kDestructive, Risk::kHigh, Risk::kMedium, Risk::kLow};

std::string_view color_of(Risk risk) {
  if (risk >= Risk::kHigh) return kBad;
  return risk == Risk::kMedium ? kDoubtful : kFaint;
}

std::string place(Finding const& finding) {
  return fmt::format("{}:{}:{}", finding.position.file, finding.position.line, finding.position.column);
}

std::string lock_sentence(Finding const& finding) {
  if (finding.lock == LockMode::kNone || finding.relation.empty()) return {};
  auto const stopped = lock_stops(finding.lock);
  return fmt::format("{} on {}{}", lock_words(finding.lock), finding.relation,
                     finding.lock >= LockMode::kShare ? fmt::format(": {} wait", stopped) : "");
}

std::string summary(LintReport const& report) {
  std::size_t statements = 0;
  for (auto const& source : report.sources) statements += source.linted.effects.size();
  auto const counts = report.counts();
  std::string found;
  for (auto const risk : kRisksDown) {
    auto const count = counts[static_cast<std::size_t>(risk)];
    if (count > 0) found += fmt::format("{}{} {}", found.empty() ? "" : ", ", count, risk_word(risk));
  }
  return fmt::format("{}, {}: {}", counted(static_cast<std::int64_t>(report.sources.size()), "file", "files"),
                     counted(static_cast<std::int64_t>(statements), "statement", "statements"),
                     found.empty() ? "nothing found" : found);
}

template <class Visit>
void for_each_finding(LintReport const& report, Visit visit) {
  for (auto const& source : report.sources) {
    for (auto const& finding : source.linted.findings) visit(source, finding);
  }
}

void add_lines(std::string& text, std::string_view label, std::string_view words, ViewOptions const& view) {
  if (words.empty()) return;
  for (auto const& line : labelled(fmt::format("  {}", label), kLabelWidth, neutralised(words, view.unicode), view)) {
    text += line + "\n";
  }
}

}  // namespace

std::array<std::size_t, 4> LintReport::counts() const {
  std::array<std::size_t, 4> counts{};
  for (auto const& source : sources) {
    for (auto const& finding : source.linted.findings) ++counts[static_cast<std::size_t>(finding.risk)];
  }
  return counts;
}

bool LintReport::is_failed() const {
  auto const all = counts();
  return std::any_of(all.begin() + static_cast<std::ptrdiff_t>(fail_on), all.end(),
                     [](std::size_t count) { return count > 0; });
}

std::string lint_text(LintReport const& report, ViewOptions const& view) {
  std::string text;
  for_each_finding(report, [&](LintedSource const&, Finding const& finding) {
    text += fmt::format("{}: {} {}\n", coloured(neutralised(place(finding), view.unicode), kStrong, view),
                        coloured(risk_word(finding.risk), color_of(finding.risk), view), finding.rule);
    add_lines(text, "lock", lock_sentence(finding), view);
    if (finding.work != Work::kNone) add_lines(text, "work", work_words(finding.work), view);
    add_lines(text, "why", finding.why, view);
    add_lines(text, "instead", finding.instead, view);
    text += "\n";
  });
  text += summary(report) + "\n";
  if (report.is_failed()) text += fmt::format("failed: something is {} or worse\n", risk_word(report.fail_on));
  return text;
}

json::object lint_json(LintReport const& report) {
  json::array findings;
  for_each_finding(report, [&](LintedSource const&, Finding const& finding) {
    json::object each;
    each["file"] = valid_utf8(finding.position.file);
    each["line"] = finding.position.line;
    each["column"] = finding.position.column;
    each["rule"] = finding.rule;
    each["risk"] = risk_word(finding.risk);
    each["lock"] = finding.lock == LockMode::kNone ? json::value(nullptr) : json::value(lock_words(finding.lock));
    each["relation"] = finding.relation.empty() ? json::value(nullptr) : json::value(valid_utf8(finding.relation));
    each["work"] = work_word(finding.work);
    each["why"] = valid_utf8(finding.why);
    each["instead"] = valid_utf8(finding.instead);
    findings.emplace_back(std::move(each));
  });
  json::object counts;
  for (auto const risk : kRisksDown) counts[risk_word(risk)] = report.counts()[static_cast<std::size_t>(risk)];
  json::object document;
  document["pg"] = report.pg_major;
  document["files"] = report.sources.size();
  document["fail_on"] = risk_word(report.fail_on);
  document["failed"] = report.is_failed();
  document["counts"] = std::move(counts);
  document["findings"] = std::move(findings);
  return document;
}

// --- SARIF -----------------------------------------------------------------------------------------------------------

namespace {

std::string_view level_of(Risk risk) {
  if (risk >= Risk::kHigh) return "error";
  return risk == Risk::kMedium ? "warning" : "note";
}

// A path as a URI reference.
std::string uri_of(std::string_view file) {
  std::string uri;
  for (char const c : file) {
    bool const is_plain =
        std::isalnum(static_cast<unsigned char>(c)) != 0 || std::string_view("/-._~").find(c) != std::string_view::npos;
    uri += is_plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return file.starts_with('/') ? "file://" + uri : uri;
}

// SARIF counts columns in characters.
int character_column(std::string_view text, int line, int column) {
  std::size_t begin = 0;
  for (int left = line - 1; left > 0 && begin != std::string_view::npos; --left) {
    begin = text.find('\n', begin);
    if (begin != std::string_view::npos) ++begin;
  }
  if (begin == std::string_view::npos) return column;
  auto const before = text.substr(begin, static_cast<std::size_t>(column - 1));
  return 1 +
         static_cast<int>(std::count_if(before.begin(), before.end(), [](char c) { return (c & '\xC0') != '\x80'; }));
}

json::object message_of(std::string_view text) {
  json::object message;
  message["text"] = valid_utf8(text);
  return message;
}

json::array sarif_rules() {
  json::array rules;
  for (auto const& rule : planner::lint::lint_rules()) {
    json::object each;
    each["id"] = rule.id;
    each["shortDescription"] = message_of(rule.finds);
    each["help"] = message_of(fmt::format("Instead: {}", rule.instead));
    each["defaultConfiguration"] = json::object{{"level", level_of(rule.risk)}};
    each["properties"] = json::object{{"risk", risk_word(rule.risk)}};
    rules.emplace_back(std::move(each));
  }
  return rules;
}

json::object sarif_result(LintedSource const& source, Finding const& finding) {
  auto const rules = planner::lint::lint_rules();
  auto const rule = std::find_if(rules.begin(), rules.end(), [&](auto const& each) { return each.id == finding.rule; });
  json::object region;
  region["startLine"] = finding.position.line;
  region["startColumn"] = character_column(source.text, finding.position.line, finding.position.column);
  json::object physical;
  physical["artifactLocation"] = json::object{{"uri", uri_of(finding.position.file)}};
  physical["region"] = std::move(region);
  json::object location;
  location["physicalLocation"] = std::move(physical);
  json::object properties;
  properties["risk"] = risk_word(finding.risk);
  properties["work"] = work_word(finding.work);
  auto const lock = lock_sentence(finding);
  if (!lock.empty()) properties["lock"] = valid_utf8(lock);
  json::object result;
  result["ruleId"] = finding.rule;
  result["ruleIndex"] = rule - rules.begin();
  result["level"] = level_of(finding.risk);
  result["message"] =
      message_of(fmt::format("{}{}{}. Instead: {}", lock, lock.empty() ? "" : "; ", finding.why, finding.instead));
  result["locations"] = json::array{std::move(location)};
  result["properties"] = std::move(properties);
  return result;
}

}  // namespace

json::object lint_sarif(LintReport const& report, std::string const& version) {
  json::array results;
  for_each_finding(report, [&](LintedSource const& source, Finding const& finding) {
    results.emplace_back(sarif_result(source, finding));
  });
  json::object driver;
  driver["name"] = "pgbackfill";
  driver["version"] = version;
  driver["rules"] = sarif_rules();
  json::object run;
  run["tool"] = json::object{{"driver", std::move(driver)}};
  run["columnKind"] = "unicodeCodePoints";
  run["results"] = std::move(results);
  json::object document;
  document["$schema"] = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
  document["version"] = "2.1.0";
  document["runs"] = json::array{std::move(run)};
  return document;
}

// --- Markdown --------------------------------------------------------------------------------------------------------

namespace {

// A cell of a table: what could be markup is shown as it is, but text between backticks is code.
std::string cell(std::string_view text) {
  std::string result;
  bool is_code = false;
  for (char const c : neutralised(text)) {
    if (c == '`') is_code = !is_code;
    bool const is_markup = std::string_view("<*_[\\").find(c) != std::string_view::npos;
    if (c == '|' || (is_markup && !is_code)) result += '\\';
    result += c;
  }
  return is_code ? result + '`' : result;
}

}  // namespace

std::string lint_markdown(LintReport const& report) {
  std::string text = fmt::format("### pgbackfill lint: {}\n\n{}, for PostgreSQL {}.\n",
                                 report.is_failed() ? "failed" : "passed", summary(report), report.pg_major);
  auto const counts = report.counts();
  if (std::all_of(counts.begin(), counts.end(), [](std::size_t count) { return count == 0; })) return text;
  text += "\n| where | risk | rule | lock and work | why | instead |\n| --- | --- | --- | --- | --- | --- |\n";
  for_each_finding(report, [&](LintedSource const&, Finding const& finding) {
    auto cost = lock_sentence(finding);
    if (finding.work != Work::kNone) cost += fmt::format("{}{}", cost.empty() ? "" : "; ", work_words(finding.work));
    text += fmt::format("| {} | {} | `{}` | {} | {} | {} |\n", cell(place(finding)), risk_word(finding.risk),
                        finding.rule, cell(cost), cell(finding.why), cell(finding.instead));
  });
  return text;
}

}  // namespace pgbackfill::engine
