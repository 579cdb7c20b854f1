#include "engine/state_sql.h"

#include <fmt/format.h>

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

std::string milliseconds_of(std::string const& interval) {
  return "(extract(epoch FROM " + interval + ") * 1000)::bigint";
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
                     event_values(optional_number(job), quote_literal(migration), kind, quote_literal(detail), owner));
}

Bound parse_text_array(std::optional<std::string> const& text) {
  if (!text) return std::nullopt;
  planner::KeyValue values;
  std::size_t at = 1;
  while (at < text->size() && (*text)[at] != '}') {
    std::string value;
    if ((*text)[at] == '"') {
      for (++at; at < text->size() && (*text)[at] != '"'; ++at) {
        if ((*text)[at] == '\\') ++at;
        value += (*text)[at];
      }
      ++at;
    } else {
      while (at < text->size() && (*text)[at] != ',' && (*text)[at] != '}') value += (*text)[at++];
    }
    values.push_back(std::move(value));
    if (at < text->size() && (*text)[at] == ',') ++at;
  }
  return values;
}

}  // namespace pgbackfill::engine::state
