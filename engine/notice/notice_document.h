// What a receiver gets: the JSON document of a notice, and the forms that Slack and PagerDuty know.
//
// Pure: a notice and where it comes from go in, text comes out. Nothing of a receiver is in it but PagerDuty's key.
#pragma once

#include <boost/json/object.hpp>
#include <chrono>
#include <string>

#include "engine/notice/occasion_watch.h"

namespace pgbackfill::engine {

// Where a notice comes from.
struct NoticeSender {
  std::string migration;
  std::string file;
  std::string command;  // run, complete, rollback
  std::string host;
  int pid = 0;
};

boost::json::object notice_document(Notice const& notice, NoticeSender const& sender,
                                    std::chrono::system_clock::time_point at);
// {"text": ...}
std::string slack_body(Notice const& notice, NoticeSender const& sender);
// An event of the API v2: `done` resolves the incident of the migration, all else triggers it.
std::string pagerduty_body(Notice const& notice, NoticeSender const& sender, std::string const& routing_key,
                           boost::json::object const& document);
// {event}, {text} and so on are put in, as they stand within a JSON string; {json} is the document.
std::string filled_in(std::string const& pattern, Notice const& notice, NoticeSender const& sender,
                      boost::json::object const& document);

// "users stopped, resumable: ... (run on db1)", in one line.
std::string notice_line(Notice const& notice, NoticeSender const& sender);

}  // namespace pgbackfill::engine
