// The status of migrations, for people and for programs.
//
// Pure functions over status_report.h, but for the clock that windows are compared with. Text is one line each, folded
// to the view's width, with every name neutralised.
#pragma once

#include <boost/json/object.hpp>
#include <map>
#include <string>
#include <vector>

#include "engine/base/events.h"
#include "engine/view/console.h"
#include "engine/view/status_report.h"

namespace pgbackfill::engine {

std::vector<std::string> page_lines(StatusPage const& page, StatusPace const& pace, ViewOptions const& view);
// All migrations, a line each, and what is wrong with them.
std::vector<std::string> overview_lines(std::vector<StatusOverview> const& overviews,
                                        std::map<std::string, StatusPace> const& paces, ViewOptions const& view);
// For one line of `status --watch` where there is no terminal.
Progress progress_of(StatusOverview const& one, StatusPace const& pace);

boost::json::object json_of(StatusOverview const& one, StatusPace const* pace);
boost::json::object json_of(StatusPage const& page, StatusPace const& pace);
boost::json::value json_of(std::optional<JobCosts> const& costs);

// Where it is, in the words of docs/operations.md#what-status-says.
std::string state_word(StatusOverview const& one);
// "expand", "backfill", "sweep", "deferred", "complete", "following", "contract"
std::string phase_word(StatusOverview const& one);
// What the operator does next, and what a repeat of `run` does.
std::string next_text(StatusPage const& page);
// schema.table, neutralised
std::string qualified_name(std::string const& schema, std::string const& table);

}  // namespace pgbackfill::engine
