#include "engine/notice/notice_document.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>

#include "engine/base/command_error.h"
#include "engine/base/plain_name.h"
#include "engine/base/secret_mask.h"
#include "engine/base/text.h"

namespace pgbackfill::engine {

namespace {

using planner::Occasion;

std::string clean(std::string const& text) {
  return valid_utf8(without_passwords(text));
}

std::string rfc3339(std::chrono::system_clock::time_point at) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::floor<std::chrono::seconds>(at)));
}

std::string_view severity_of(Notice const& notice) {
  if (notice.occasion == Occasion::kFailure) return "error";
  return notice.occasion == Occasion::kDone ? "info" : "warning";
}

// As it stands between the quotes of a JSON string.
std::string escaped(std::string const& text) {
  auto const quoted = boost::json::serialize(boost::json::string(text));
  return quoted.substr(1, quoted.size() - 2);
}

// Slack reads <, > and & as its own.
std::string for_slack(std::string const& text) {
  std::string result;
  for (char const letter : text) {
    switch (letter) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      default:
        result += letter;
    }
  }
  return result;
}

std::string exit_text(Notice const& notice) {
  return notice.exit_code ? std::to_string(*notice.exit_code) : "";
}

}  // namespace

std::string notice_line(Notice const& notice, NoticeSender const& sender) {
  bool const has_code = notice.exit_code && *notice.exit_code != 0;
  auto const code = has_code ? fmt::format(", exit {}", *notice.exit_code) : "";
  return neutralised(clean(notice.text)) + fmt::format(" ({} on {}{})", sender.command, sender.host, code);
}

boost::json::object notice_document(Notice const& notice, NoticeSender const& sender,
                                    std::chrono::system_clock::time_point at) {
  boost::json::object document;
  auto const& last = notice.last;
  document["event"] = planner::name_of(notice.occasion);
  document["severity"] = severity_of(notice);
  document["migration"] = clean(sender.migration);
  document["text"] = clean(notice.text);
  document["at"] = rfc3339(at);
  document["command"] = sender.command;
  document["file"] = clean(sender.file);
  document["host"] = clean(sender.host);
  document["pid"] = sender.pid;
  document["table"] = clean(plain_name(last.table));
  document["rows_done"] = last.rows_done;
  document["rows_estimated"] = last.rows_estimated;
  document["rows_changed"] = last.rows_changed;
  document["quarantined"] = last.quarantined;
  document["held_back"] = clean(last.held_back);
  document["elapsed_ms"] = last.elapsed.count();
  document["exit_code"] = nullptr;
  document["resumable"] = nullptr;
  if (notice.exit_code) {
    document["exit_code"] = *notice.exit_code;
    document["resumable"] = *notice.exit_code == kExitResumable;
  }
  boost::json::array notes;
  for (auto const& note : notice.notes) notes.emplace_back(clean(note));
  document["notes"] = std::move(notes);
  return document;
}

std::string slack_body(Notice const& notice, NoticeSender const& sender) {
  std::string text = fmt::format("*{}* {}", planner::name_of(notice.occasion), for_slack(notice_line(notice, sender)));
  for (auto const& note : notice.notes) {
    text += '\n';
    text += for_slack(neutralised(clean(note)));
  }
  return boost::json::serialize(boost::json::object{{"text", std::move(text)}});
}

std::string pagerduty_body(Notice const& notice, NoticeSender const& sender, std::string const& routing_key,
                           boost::json::object const& document) {
  constexpr std::size_t kMostSummary = 1'000;
  bool const is_over = notice.occasion == Occasion::kDone;
  boost::json::object event;
  event["routing_key"] = valid_utf8(routing_key);
  event["event_action"] = is_over ? "resolve" : "trigger";
  event["dedup_key"] = fmt::format("pgbackfill/{}", clean(sender.migration));
  if (is_over) return boost::json::serialize(event);
  boost::json::object payload;
  payload["summary"] = valid_utf8(notice_line(notice, sender).substr(0, kMostSummary));
  payload["source"] = clean(sender.host);
  payload["severity"] = severity_of(notice);
  payload["component"] = clean(sender.migration);
  payload["class"] = planner::name_of(notice.occasion);
  payload["timestamp"] = document.at("at");
  payload["custom_details"] = document;
  event["payload"] = std::move(payload);
  return boost::json::serialize(event);
}

std::string filled_in(std::string const& pattern, Notice const& notice, NoticeSender const& sender,
                      boost::json::object const& document) {
  std::vector<std::pair<std::string_view, std::string>> const values = {
      {"{event}", std::string(planner::name_of(notice.occasion))},
      {"{text}", escaped(clean(notice.text))},
      {"{migration}", escaped(clean(sender.migration))},
      {"{table}", escaped(clean(plain_name(notice.last.table)))},
      {"{host}", escaped(clean(sender.host))},
      {"{exit_code}", exit_text(notice)},
      {"{json}", boost::json::serialize(document)}};
  std::string result;
  for (std::size_t at = 0; at < pattern.size();) {
    std::size_t taken = 0;
    for (auto const& [name, value] : values) {
      if (std::string_view(pattern).substr(at).starts_with(name)) {
        result += value;
        taken = name.size();
        break;
      }
    }
    if (taken == 0) result += pattern[at];
    at += std::max<std::size_t>(taken, 1);
  }
  return result;
}

}  // namespace pgbackfill::engine
