// What processes tell one another about their pace.

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <map>

#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

// Infinity is no limit.
std::string limit_number(double number) {
  return std::isinf(number) ? "NULL" : fmt::format("{:.3f}", number);
}

// Not above what a process tells of itself by its name, either.
constexpr double kMostWeight = 100;

double limit_of_text(std::optional<std::string> const& text, char const* where) {
  return text ? real_of(text, where) : throttle::kUnlimited;
}

// Nobody whose numbers cannot be: he would take the share of all others.
std::optional<throttle::NeighbourReading> neighbour_of(std::vector<std::optional<std::string>> const& row) {
  throttle::NeighbourReading other;
  try {
    other.name = row[2].value_or("");
    other.weight = real_of(row[3], "pgbackfill.runners: weight");
    other.wal_per_second = real_of(row[4], "pgbackfill.runners: wal_per_second");
    other.wal_wanted = limit_of_text(row[5], "pgbackfill.runners: wal_wanted");
    other.workers = real_of(row[6], "pgbackfill.runners: workers");
    other.workers_wanted = limit_of_text(row[7], "pgbackfill.runners: workers_wanted");
  } catch (BrokenState const&) {
    return std::nullopt;
  }
  bool const is_possible = other.weight > 0 && other.weight <= kMostWeight && other.wal_per_second >= 0 &&
                           other.wal_wanted >= 0 && other.workers >= 0 && other.workers_wanted >= 0;
  return is_possible ? std::optional(std::move(other)) : std::nullopt;
}

std::string causes_json(std::vector<RunnerTold::Cause> const& causes) {
  boost::json::array array;
  for (auto const& cause : causes) {
    array.push_back({{"kind", throttle::name_of(cause.kind)},
                     {"grip", throttle::name_of(cause.grip)},
                     {"text", cause.text},
                     {"lasted_ms", cause.lasted.count()}});
  }
  return boost::json::serialize(array);
}

}  // namespace

std::string tell_runner(std::int64_t job, RunnerTold const& told, Owner const& owner) {
  std::string const values = fmt::format(
      "{}, {}, {}, {}, clock_timestamp(), {}, {:.6f}, {}, {:.3f}, {}, {}, {}, {}, {}, {}::jsonb, {}",
      quote_literal(owner.id), job, quote_literal(owner.host), owner.pid, quote_literal(throttle::name_of(told.mode)),
      told.weight, told.may_start, told.wal_per_second, limit_number(told.wal_limit), limit_number(told.wal_wanted),
      told.workers, limit_number(told.workers_limit), limit_number(told.workers_wanted),
      quote_literal(causes_json(told.causes)), quote_literal(owner.machine));
  return fmt::format(
      "WITH told AS (INSERT INTO pgbackfill.runners AS r (process, job_id, host, pid, seen_at, mode, weight, "
      "may_start, "
      "wal_per_second, wal_limit, wal_wanted, workers, workers_limit, workers_wanted, causes, machine) VALUES ({0}) ON "
      "CONFLICT "
      "(process) DO UPDATE SET seen_at = excluded.seen_at, mode = excluded.mode, weight = excluded.weight, may_start = "
      "excluded.may_start, wal_per_second = excluded.wal_per_second, wal_limit = excluded.wal_limit, wal_wanted = "
      "excluded.wal_wanted, workers = excluded.workers, workers_limit = excluded.workers_limit, workers_wanted = "
      "excluded.workers_wanted, causes = excluded.causes), gone AS (DELETE FROM pgbackfill.runners WHERE (seen_at < "
      "clock_timestamp() - interval '10 minutes' OR seen_at > clock_timestamp() + interval '10 minutes') AND process "
      "<> "
      "{1}) SELECT r.process, r.job_id, j.name, r.weight, "
      "r.wal_per_second, r.wal_wanted, r.workers, r.workers_wanted FROM pgbackfill.runners r JOIN pgbackfill.jobs j ON "
      "j.id = r.job_id WHERE r.process <> {1} AND {2}",
      values, quote_literal(owner.id), was_heard_lately("r"));
}

RunnersHeard runners_heard(std::vector<std::vector<std::optional<std::string>>> const& rows, std::int64_t job) {
  std::map<std::string, int> processes;  // by job
  for (auto const& row : rows) ++processes[row[1].value_or("")];
  RunnersHeard heard;
  heard.of_job = ++processes[std::to_string(job)];
  for (auto const& row : rows) {
    if (auto other = neighbour_of(row)) {
      other->weight /= processes[row[1].value_or("")];
      heard.others.push_back(std::move(*other));
    }
  }
  return heard;
}

std::string forget_runner(Owner const& owner) {
  return forget_process(owner.id);
}

std::string runners_of_machine(Owner const& owner) {
  return fmt::format("SELECT process, pid FROM pgbackfill.runners WHERE machine = {} AND process <> {}",
                     quote_literal(owner.machine), quote_literal(owner.id));
}

std::string forget_process(std::string const& process) {
  return "DELETE FROM pgbackfill.runners WHERE process = " + quote_literal(process);
}

std::string count_runners() {
  return fmt::format("SELECT job_id, count(*) FROM pgbackfill.runners p WHERE {} GROUP BY job_id",
                     was_heard_lately("p"));
}

std::string job_runners(std::string const& name) {
  return fmt::format(
      "SELECT host, pid, {}, mode, may_start, wal_per_second, wal_limit, workers, workers_limit, causes FROM "
      "pgbackfill.runners p WHERE job_id = {} AND {} ORDER BY host, pid",
      milliseconds_between("seen_at", "clock_timestamp()"), job_id_of(name), was_heard_lately("p"));
}

}  // namespace pgbackfill::engine::state
