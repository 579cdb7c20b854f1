#include "engine/view/runners_view.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>

#include "engine/base/text.h"
#include "engine/state/stored_rows.h"
#include "engine/state/typed_rows.h"
#include "engine/view/console.h"
#include "engine/view/json_values.h"
#include "throttle/decision.h"
#include "throttle/wording.h"

namespace pgbackfill::engine {

namespace {

// What another version wrote may lack a field.
std::vector<RunnerSeen::Cause> causes_of(std::string const& text) {
  std::vector<RunnerSeen::Cause> causes;
  boost::system::error_code error;
  auto const value = boost::json::parse(text, error);
  if (error || !value.is_array()) return causes;
  for (auto const& each : value.get_array()) {
    auto const* object = each.if_object();
    if (object == nullptr) continue;
    auto const word = [&](char const* name) {
      auto const* found = object->if_contains(name);
      auto const* string = found == nullptr ? nullptr : found->if_string();
      return string == nullptr ? std::string() : std::string(*string);
    };
    auto const* lasted = object->if_contains("lasted_ms");
    bool const has_age = lasted != nullptr && lasted->is_int64();
    causes.push_back(
        {word("kind"), word("grip"), word("text"), std::chrono::milliseconds(has_age ? lasted->get_int64() : 0)});
  }
  return causes;
}

RunnerSeen runner_of(state::RunnerRow const& row) {
  RunnerSeen runner;
  runner.host = row.host.value_or("");
  runner.pid = row.pid;
  runner.age = row.age;
  runner.mode = row.mode.value_or("");
  runner.may_start = row.may_start.value_or(false);
  runner.wal_per_second = row.wal_per_second;
  runner.wal_limit = row.wal_limit;
  runner.workers = row.workers;
  runner.workers_limit = row.workers_limit;
  runner.causes = causes_of(row.causes.value_or("[]"));
  return runner;
}

// Which of them, where there are several.
std::string who(RunnerSeen const& runner, std::vector<RunnerSeen> const& runners) {
  if (runners.size() < 2) return "";
  return fmt::format("{} pid {}: ", neutralised(runner.host), runner.pid);
}

bool binds(RunnerSeen::Cause const& cause) {
  return cause.grip != throttle::name_of(throttle::Grip::kWarns);
}

}  // namespace

std::vector<RunnerSeen> runners_of(std::vector<std::vector<std::optional<std::string>>> const& rows) {
  std::vector<RunnerSeen> runners;
  for (auto const& row : rows) {
    try {
      runners.push_back(runner_of(state::row_as<state::RunnerRow>(row)));
    } catch (state::BrokenState const&) {
      continue;  // an announcement that somebody made up says nothing
    }
  }
  return runners;
}

std::vector<std::string> pace_texts(std::vector<RunnerSeen> const& runners) {
  std::vector<std::string> texts;
  for (auto const& runner : runners) {
    std::string text = who(runner, runners) + throttle::say_rate(runner.wal_per_second) + " of WAL";
    if (runner.wal_limit) text += " of " + throttle::say_rate(*runner.wal_limit) + " allowed";
    text += ", " + counted(runner.workers, "batch", "batches") + " at once";
    if (runner.workers_limit) text += " of " + throttle::say_number(*runner.workers_limit) + " allowed";
    texts.push_back(std::move(text));
  }
  return texts;
}

std::vector<std::string> held_back_texts(std::vector<RunnerSeen> const& runners) {
  std::vector<std::string> texts;
  for (auto const& runner : runners) {
    bool const is_observed = runner.mode == throttle::name_of(throttle::Mode::kObserve);
    for (auto const& cause : runner.causes) {
      if (!binds(cause)) continue;
      texts.push_back(fmt::format("{}{}{}, for {}", who(runner, runners), is_observed ? "it would be: " : "",
                                  neutralised(cause.text), human_duration(cause.lasted + runner.age)));
    }
  }
  return texts;
}

std::vector<std::string> warning_texts(std::vector<RunnerSeen> const& runners) {
  std::vector<std::string> texts;
  for (auto const& runner : runners) {
    for (auto const& cause : runner.causes) {
      if (!binds(cause)) texts.push_back(who(runner, runners) + neutralised(cause.text));
    }
  }
  return texts;
}

std::string first_cause(std::vector<RunnerSeen> const& runners) {
  for (auto const& runner : runners) {
    if (runner.mode == throttle::name_of(throttle::Mode::kObserve)) continue;
    for (auto const& cause : runner.causes) {
      if (binds(cause)) return cause.text;
    }
  }
  return "";
}

std::vector<std::string> elsewhere_texts(std::vector<throttle::NeighbourReading> const& neighbours) {
  std::vector<std::string> texts;
  for (auto const& each : neighbours) {
    auto const batches = static_cast<std::int64_t>(each.workers);
    texts.push_back(fmt::format("the server with {} in database {}, weight {}: {} of WAL, {} at once",
                                neutralised(each.name), neutralised(each.database), throttle::say_number(each.weight),
                                throttle::say_rate(each.wal_per_second), counted(batches, "batch", "batches")));
  }
  return texts;
}

boost::json::array elsewhere_json(std::vector<throttle::NeighbourReading> const& elsewhere) {
  boost::json::array array;
  for (auto const& each : elsewhere) {
    array.push_back({{"database", valid_utf8(each.database)},
                     {"migration", valid_utf8(each.name)},
                     {"weight", each.weight},
                     {"wal_bytes_per_second", each.wal_per_second},
                     {"batches_at_once", static_cast<std::int64_t>(each.workers)}});
  }
  return array;
}

boost::json::array json_of(std::vector<RunnerSeen> const& runners) {
  boost::json::array array;
  for (auto const& runner : runners) {
    boost::json::array causes;
    for (auto const& cause : runner.causes) {
      causes.push_back({{"kind", cause.kind},
                        {"grip", cause.grip},
                        {"text", valid_utf8(cause.text)},
                        {"lasted_ms", (cause.lasted + runner.age).count()}});
    }
    array.push_back({{"host", valid_utf8(runner.host)},
                     {"pid", runner.pid},
                     {"mode", runner.mode},
                     {"may_start", runner.may_start},
                     {"wal_bytes_per_second", runner.wal_per_second},
                     {"wal_limit_bytes_per_second", or_null(runner.wal_limit)},
                     {"batches_at_once", runner.workers},
                     {"workers_limit", or_null(runner.workers_limit)},
                     {"causes", std::move(causes)}});
  }
  return array;
}

}  // namespace pgbackfill::engine
