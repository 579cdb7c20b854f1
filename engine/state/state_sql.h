// Fragments of SQL that the statements of several state_*.cpp share.
//
// For these files alone. Pure text, safe from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/state/state_store.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine::state {

using planner::Bound;
using planner::quote_literal;

// A process that was silent for so long has no part in what is shared, and is not shown.
inline constexpr char kRunnerSilence[] = "interval '10 seconds'";

// As an array of name=text, which parse_text_array reads.
inline constexpr char kLiveSettings[] =
    "ARRAY(SELECT s.key || '=' || s.value FROM jsonb_each_text(j.settings) s WHERE s.value IS NOT NULL ORDER BY 1)";

// The setting that tells those that follow a job to end, when it changes.
inline constexpr char kFollowEnded[] = "follow.ended";

inline constexpr char kEventColumns[] = "(job_id, migration, kind, detail, os_user, host, pid)";

std::string milliseconds_text(std::chrono::milliseconds duration);
std::string interval_text(std::chrono::milliseconds duration);
// As text: 2024-05-01T03:12:45Z
std::string utc_text(std::string const& time);
// NULL where a time is without end, which somebody wrote by hand: nothing can be reckoned with it.
std::string finite(std::string const& time);
std::string milliseconds_between(std::string const& from, std::string const& to);
// Of ranges and runners by that alias. What lies in the future was written by a clock that has been set back since, and
// is as good as past.
std::string is_live(std::string const& range);
std::string was_heard_lately(std::string const& runner);
std::string hash_of(std::string const& text);
std::string bound_text(Bound const& bound);
std::string optional_number(std::optional<std::int64_t> number);

// `job`, `migration` and `detail` are SQL, the kind is a word.
std::string event_values(std::string const& job, std::string const& migration, std::string const& kind,
                         std::string const& detail, Owner const& owner);
// Appends the event of a change that another CTE, `changed (id, name)`, made.
std::string event_of_change(std::string const& kind, std::string const& detail, Owner const& owner);

std::string job_id_of(std::string const& name);

}  // namespace pgbackfill::engine::state
