// What processes tell one another about their pace.

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <map>

#include "engine/state_sql.h"
#include "engine/state_store.h"

namespace pgbackfill::engine::state {

namespace {

// Infinity is no limit.
std::string limit_number(double number) {
  return std::isinf(number) ? "NULL" : fmt::format("{:.3f}", number);
}

double limit_of_text(std::optional<std::string> const& text) {
  return text ? std::stod(*text) : throttle::kUnlimited;
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
      "{}, {}, {}, {}, clock_timestamp(), {}, {:.6f}, {}, {:.3f}, {}, {}, {}, {}, {}, {}::jsonb",
      quote_literal(owner.id), job, quote_literal(owner.host), owner.pid, quote_literal(throttle::name_of(told.mode)),
      told.weight, told.may_start, told.wal_per_second, limit_number(told.wal_limit), limit_number(told.wal_wanted),
      told.workers, limit_number(told.workers_limit), limit_number(told.workers_wanted),
      quote_literal(causes_json(told.causes)));
  return fmt::format(
      "WITH told AS (INSERT INTO pgbackfill.runners AS r (process, job_id, host, pid, seen_at, mode, weight, "
      "may_start, "
      "wal_per_second, wal_limit, wal_wanted, workers, workers_limit, workers_wanted, causes) VALUES ({0}) ON CONFLICT "
      "(process) DO UPDATE SET seen_at = excluded.seen_at, mode = excluded.mode, weight = excluded.weight, may_start = "
      "excluded.may_start, wal_per_second = excluded.wal_per_second, wal_limit = excluded.wal_limit, wal_wanted = "
      "excluded.wal_wanted, workers = excluded.workers, workers_limit = excluded.workers_limit, workers_wanted = "
      "excluded.workers_wanted, causes = excluded.causes), gone AS (DELETE FROM pgbackfill.runners WHERE seen_at < "
      "clock_timestamp() - interval '10 minutes' AND process <> {1}) SELECT r.process, r.job_id, j.name, r.weight, "
      "r.wal_per_second, r.wal_wanted, r.workers, r.workers_wanted FROM pgbackfill.runners r JOIN pgbackfill.jobs j ON "
      "j.id = r.job_id WHERE r.process <> {1} AND r.seen_at > clock_timestamp() - {2}",
      values, quote_literal(owner.id), kRunnerSilence);
}

RunnersHeard runners_heard(std::vector<std::vector<std::optional<std::string>>> const& rows, std::int64_t job) {
  std::map<std::string, int> processes;  // by job
  for (auto const& row : rows) ++processes[*row[1]];
  RunnersHeard heard;
  heard.of_job = ++processes[std::to_string(job)];
  for (auto const& row : rows) {
    throttle::NeighbourReading other;
    other.name = *row[2];
    other.weight = std::stod(*row[3]) / processes[*row[1]];
    other.wal_per_second = std::stod(*row[4]);
    other.wal_wanted = limit_of_text(row[5]);
    other.workers = std::stod(*row[6]);
    other.workers_wanted = limit_of_text(row[7]);
    heard.others.push_back(std::move(other));
  }
  return heard;
}

std::string forget_runner(Owner const& owner) {
  return "DELETE FROM pgbackfill.runners WHERE process = " + quote_literal(owner.id);
}

std::string job_runners(std::string const& name) {
  return fmt::format(
      "SELECT host, pid, {}, mode, may_start, wal_per_second, wal_limit, workers, workers_limit, causes FROM "
      "pgbackfill.runners WHERE job_id = {} AND seen_at > clock_timestamp() - {} ORDER BY host, pid",
      milliseconds_of("clock_timestamp() - seen_at"), job_id_of(name), kRunnerSilence);
}

}  // namespace pgbackfill::engine::state
