#include "engine/state/state_sql.h"

#include <fmt/format.h>

#include <cmath>

#include "engine/base/secret_mask.h"

namespace pgbackfill::engine::state {

std::string milliseconds_text(std::chrono::milliseconds duration) {
  return std::to_string(duration.count());
}

std::string interval_text(std::chrono::milliseconds duration) {
  return fmt::format("interval '{} milliseconds'", duration.count());
}

std::string utc_text(std::string const& time) {
  return "to_char(" + time + " AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')";
}

std::string finite(std::string const& time) {
  return "nullif(nullif(" + time + ", 'infinity'), '-infinity')";
}

std::string milliseconds_between(std::string const& from, std::string const& to) {
  return "(extract(epoch FROM " + finite(to) + " - " + finite(from) + ") * 1000)::bigint";
}

std::string is_live(std::string const& range) {
  return fmt::format(
      "({0}.lease_expires > clock_timestamp() AND {0}.lease_expires <= clock_timestamp() + interval '{1} "
      "milliseconds' AND coalesce({0}.updated_at <= clock_timestamp() + {2}, true))",
      range, milliseconds_text(kLongestLease), kRunnerSilence);
}

std::string was_heard_lately(std::string const& runner) {
  return fmt::format("({0}.seen_at > clock_timestamp() - {1} AND {0}.seen_at < clock_timestamp() + {1})", runner,
                     kRunnerSilence);
}

std::string hash_of(std::string const& text) {
  return "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(" + quote_literal(text) + ", 'UTF8')), 'hex')";
}

std::string bound_text(Bound const& bound) {
  return bound ? planner::text_array(*bound) : "NULL::text[]";
}

std::string optional_number(std::optional<std::int64_t> number) {
  return number ? std::to_string(*number) : "NULL";
}

std::string event_values(std::string const& job, std::string const& migration, std::string const& kind,
                         std::string const& detail, Owner const& owner) {
  return fmt::format("{}, {}, {}, {}, {}, {}, {}", job, migration, quote_literal(kind), detail,
                     quote_literal(owner.user), quote_literal(owner.host), owner.pid);
}

std::string event_of_change(std::string const& kind, std::string const& detail, Owner const& owner) {
  return fmt::format("INSERT INTO pgbackfill.events {} SELECT {} FROM changed", kEventColumns,
                     event_values("id", "name", kind, detail, owner));
}

std::string job_id_of(std::string const& name) {
  return "(SELECT id FROM pgbackfill.jobs WHERE name = " + quote_literal(name) + ")";
}

std::string record_event(std::optional<std::int64_t> job, std::string const& migration, std::string const& kind,
                         std::string const& detail, Owner const& owner) {
  return fmt::format("INSERT INTO pgbackfill.events {} VALUES ({})", kEventColumns,
                     event_values(optional_number(job), quote_literal(migration), kind,
                                  quote_literal(without_passwords(detail)), owner));
}

namespace {

[[noreturn]] void refuse_array(std::string const& text) {
  throw BrokenState("an array of the state is not a list of texts: " + text.substr(0, 80));
}

// Of the element that begins at `at`, which is left behind its end.
std::string element_of(std::string const& text, std::size_t& at) {
  std::string value;
  if (text[at] == '"') {
    for (++at; at < text.size() && text[at] != '"'; ++at) {
      if (text[at] == '\\' && ++at == text.size()) break;
      value += text[at];
    }
    ++at;
    return value;
  }
  while (at < text.size() && text[at] != ',' && text[at] != '}') value += text[at++];
  // In quotes it is a text.
  if (value == "NULL" || value.starts_with('{')) refuse_array(text);
  return value;
}

template <class T, class Parse>
T parsed(std::optional<std::string> const& text, std::string const& where, Parse parse) {
  if (!text) throw BrokenState(where + " is NULL");
  try {
    std::size_t end = 0;
    T const number = parse(*text, &end);
    if (end == text->size()) return number;
  } catch (std::logic_error const&) {
    // Said below.
  }
  throw BrokenState(
      fmt::format("{} is '{}', which cannot be; somebody changed it by hand", where, text->substr(0, 80)));
}

}  // namespace

std::int64_t number_of(std::optional<std::string> const& text, std::string const& where) {
  return parsed<std::int64_t>(text, where,
                              [](std::string const& one, std::size_t* end) { return std::stoll(one, end); });
}

double real_of(std::optional<std::string> const& text, std::string const& where) {
  double const number =
      parsed<double>(text, where, [](std::string const& one, std::size_t* end) { return std::stod(one, end); });
  if (std::isfinite(number)) return number;
  throw BrokenState(fmt::format("{} is '{}', which cannot be; somebody changed it by hand", where, *text));
}

Bound parse_text_array(std::optional<std::string> const& text) {
  if (!text) return std::nullopt;
  // One with bounds of its own begins with them.
  if (!text->starts_with('{') || !text->ends_with('}')) refuse_array(*text);
  planner::KeyValue values;
  std::size_t at = 1;
  while (at < text->size() && (*text)[at] != '}') {
    values.push_back(element_of(*text, at));
    if (at < text->size() && (*text)[at] == ',') ++at;
  }
  return values;
}

}  // namespace pgbackfill::engine::state
