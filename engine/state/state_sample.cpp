#include "engine/state/state_sample.h"

#include <fmt/format.h>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "engine/base/text.h"
#include "engine/state/row_fields.h"
#include "engine/state/state_sql.h"
#include "engine/state/state_store.h"

namespace pgbackfill::engine::state {

namespace {

using Amounts = std::map<std::string, std::int64_t>;

constexpr char kColumns[] =
    "job_id, moment, at, took_ms, phase, rows_done, rows_changed, batch_rows, batch_ms, workers, processes, "
    "wal_per_second, lag_ms, latency_ratio, waiters, held_ms, held_by, table_bytes";

std::string json_text(Amounts const& amounts) {
  boost::json::object object;
  for (auto const& [name, amount] : amounts) object[valid_utf8(name)] = amount;
  return quote_literal(boost::json::serialize(object)) + "::jsonb";
}

std::string optional_real(std::optional<double> number) {
  return number ? fmt::format("{:.3f}", *number) : "NULL";
}

// What another version wrote, or somebody by hand, may be anything.
Amounts amounts_of(std::optional<std::string> const& text) {
  Amounts amounts;
  boost::system::error_code error;
  auto const value = boost::json::parse(text.value_or("{}"), error);
  if (error || !value.is_object()) return amounts;
  for (auto const& [name, amount] : value.get_object()) {
    if (amount.is_int64() && amount.get_int64() >= 0) amounts[std::string(name)] = amount.get_int64();
  }
  return amounts;
}

std::optional<double> maybe_real(std::optional<std::string> const& text, char const* where) {
  return text ? std::optional(real_of(text, where)) : std::nullopt;
}

std::string joined_maps(char const* column) {
  return fmt::format(
      "{0} = coalesce((SELECT jsonb_object_agg(m.key, m.amount) FROM (SELECT e.key, max(e.value::numeric) AS amount "
      "FROM "
      "(SELECT * FROM jsonb_each_text(s.{0}) UNION ALL SELECT * FROM jsonb_each_text(excluded.{0})) e GROUP BY e.key) "
      "m), '{{}}')",
      column);
}

// What another process, or the same one just before, says of the moment: both are of the same time.
std::string joined_moments() {
  return "at = excluded.at, took_ms = greatest(s.took_ms, excluded.took_ms), phase = excluded.phase, rows_done = "
         "excluded.rows_done, rows_changed = excluded.rows_changed, batch_rows = coalesce(excluded.batch_rows, "
         "s.batch_rows), batch_ms = coalesce(excluded.batch_ms, s.batch_ms), workers = excluded.workers, processes = "
         "excluded.processes, wal_per_second = excluded.wal_per_second, latency_ratio = greatest(s.latency_ratio, "
         "excluded.latency_ratio), waiters = greatest(s.waiters, excluded.waiters), held_by = "
         "coalesce(nullif(excluded.held_by, ''), s.held_by), table_bytes = coalesce(excluded.table_bytes, "
         "s.table_bytes), " +
         joined_maps("lag_ms") + ", " + joined_maps("held_ms");
}

StoredSample stored_sample_of(std::vector<std::optional<std::string>> const& row) {
  RowFields fields(row);
  StoredSample sample;
  fields.number();  // the moment
  sample.at_ms = fields.number();
  sample.took = std::chrono::milliseconds(fields.number());
  sample.phase = fields.text();
  sample.rows_done = fields.number();
  sample.rows_changed = fields.number();
  sample.batch_rows = fields.maybe_number();
  if (auto const batch_ms = fields.maybe_number()) sample.batch_duration = std::chrono::milliseconds(*batch_ms);
  sample.workers = real_of(fields.maybe_text(), "pgbackfill.samples: workers");
  sample.processes = fields.number();
  sample.wal_per_second = real_of(fields.maybe_text(), "pgbackfill.samples: wal_per_second");
  sample.lag_ms = amounts_of(fields.maybe_text());
  sample.latency_ratio = maybe_real(fields.maybe_text(), "pgbackfill.samples: latency_ratio");
  sample.waiters = fields.number();
  sample.held_ms = amounts_of(fields.maybe_text());
  sample.held_by = fields.text();
  sample.table_bytes = fields.maybe_number();
  return sample;
}

}  // namespace

std::string keep_sample(std::int64_t job, JobSample const& sample, bool is_turn) {
  std::optional<std::int64_t> batch_ms;
  if (sample.batch_duration) batch_ms = sample.batch_duration->count();
  std::string const seen =
      fmt::format("{}, {}, {}", json_text(sample.lag_ms), optional_real(sample.latency_ratio), sample.waiters);
  std::string const held = fmt::format("{}, {}, {}", json_text(sample.held_ms),
                                       quote_literal(valid_utf8(sample.held_by)), optional_number(sample.table_bytes));
  // At a turn this process says what became of the moment; else whoever comes second adds nothing.
  std::string const is_new =
      is_turn ? "true"
              : fmt::format(
                    "NOT EXISTS (SELECT FROM pgbackfill.samples s WHERE s.job_id = j.id AND s.moment > j.moment - {})",
                    std::chrono::duration_cast<std::chrono::seconds>(kSampleInterval).count());
  std::string const conflict = is_turn ? "(job_id, moment) DO UPDATE SET " + joined_moments() : "DO NOTHING";
  return fmt::format(
      "WITH j AS MATERIALIZED (SELECT id, rows_changed_on_visits, clock_timestamp() AS at, floor(extract(epoch FROM "
      "clock_timestamp() - created_at))::bigint AS moment FROM pgbackfill.jobs WHERE id = {job}), "
      "kept AS (INSERT INTO pgbackfill.samples AS s ({columns}) SELECT j.id, j.moment, j.at, {took}, {phase}, r.done, "
      "r.changed + j.rows_changed_on_visits, {batch_rows}, {batch_ms}, p.workers, p.processes, p.wal, {seen}, {held} "
      "FROM j CROSS JOIN (SELECT coalesce(sum(rows_done), 0)::bigint AS done, coalesce(sum(rows_changed), 0)::bigint "
      "AS changed FROM pgbackfill.ranges WHERE job_id = {job}) r CROSS JOIN (SELECT coalesce(sum(workers), 0) AS "
      "workers, count(*) AS processes, coalesce(sum(wal_per_second), 0) AS wal FROM pgbackfill.runners q WHERE job_id "
      "= {job} AND {heard}) p WHERE {is_new} ON CONFLICT {conflict} RETURNING 1) SELECT (SELECT count(*) FROM kept) + "
      "(SELECT count(*) FROM pgbackfill.samples WHERE job_id = {job})",
      fmt::arg("job", job), fmt::arg("columns", kColumns), fmt::arg("took", sample.took.count()),
      fmt::arg("phase", quote_literal(sample.phase)), fmt::arg("batch_rows", optional_number(sample.batch_rows)),
      fmt::arg("batch_ms", optional_number(batch_ms)), fmt::arg("seen", seen), fmt::arg("held", held),
      fmt::arg("heard", was_heard_lately("q")), fmt::arg("is_new", is_new), fmt::arg("conflict", conflict));
}

std::string sample_moments(std::int64_t job) {
  return fmt::format("SELECT moment FROM pgbackfill.samples WHERE job_id = {} ORDER BY moment", job);
}

std::string thin_samples(std::int64_t job, Thinning const& thinning) {
  // Of several the last one says where the job was then, and the worst of them what others felt.
  return fmt::format(
      "WITH full_spans AS MATERIALIZED (SELECT moment / {span} AS span FROM pgbackfill.samples WHERE job_id = {job} "
      "AND "
      "moment < {before} GROUP BY 1 HAVING count(*) > 1), gone AS (DELETE FROM pgbackfill.samples s USING full_spans f "
      "WHERE s.job_id = {job} AND s.moment < {before} AND s.moment / {span} = f.span RETURNING s.*), one AS (SELECT "
      "job_id, max(moment) AS moment, max(at) AS at, sum(took_ms)::bigint AS took_ms, (array_agg(phase ORDER BY "
      "took_ms "
      "DESC))[1] AS phase, (array_agg(rows_done ORDER BY moment DESC))[1] AS rows_done, (array_agg(rows_changed ORDER "
      "BY moment DESC))[1] AS rows_changed, avg(batch_rows)::bigint AS batch_rows, avg(batch_ms)::bigint AS batch_ms, "
      "avg(workers) AS workers, max(processes) AS processes, coalesce(sum(wal_per_second * took_ms) / "
      "nullif(sum(took_ms), 0), avg(wal_per_second)) AS wal_per_second, array_agg(lag_ms) AS lags, max(latency_ratio) "
      "AS latency_ratio, max(waiters) AS waiters, array_agg(held_ms) AS helds, (array_agg(held_by ORDER BY moment "
      "DESC) "
      "FILTER (WHERE held_by <> ''))[1] AS held_by, (array_agg(table_bytes ORDER BY moment DESC) FILTER (WHERE "
      "table_bytes IS NOT NULL))[1] AS table_bytes FROM gone GROUP BY job_id, moment / {span}) INSERT INTO "
      "pgbackfill.samples ({columns}) SELECT job_id, moment, at, took_ms, phase, rows_done, rows_changed, batch_rows, "
      "batch_ms, workers, processes, wal_per_second, coalesce((SELECT jsonb_object_agg(m.key, m.amount) FROM (SELECT "
      "e.key, max(e.value::numeric) AS amount FROM unnest(one.lags) AS each (lag), jsonb_each_text(each.lag) e GROUP "
      "BY e.key) m), '{{}}'), latency_ratio, waiters, coalesce((SELECT jsonb_object_agg(m.key, m.amount) FROM (SELECT "
      "e.key, sum(e.value::numeric) AS amount FROM unnest(one.helds) AS each (held), jsonb_each_text(each.held) e "
      "GROUP BY e.key) m), '{{}}'), coalesce(held_by, ''), table_bytes FROM one",
      fmt::arg("span", thinning.span), fmt::arg("job", job), fmt::arg("before", thinning.before),
      fmt::arg("columns", kColumns));
}

std::string list_samples(std::int64_t job, std::optional<std::chrono::milliseconds> within) {
  std::string const late = within ? " AND at > clock_timestamp() - " + interval_text(*within) : "";
  return fmt::format(
      "SELECT moment, (extract(epoch FROM at) * 1000)::bigint, took_ms, phase, rows_done, rows_changed, batch_rows, "
      "batch_ms, workers, processes, wal_per_second, lag_ms, latency_ratio, waiters, held_ms, held_by, table_bytes "
      "FROM "
      "pgbackfill.samples WHERE job_id = {}{} ORDER BY moment",
      job, late);
}

std::vector<StoredSample> stored_samples_of(std::vector<std::vector<std::optional<std::string>>> const& rows) {
  std::vector<StoredSample> samples;
  for (auto const& row : rows) {
    try {
      samples.push_back(stored_sample_of(row));
    } catch (BrokenState const&) {
      continue;
    }
  }
  return samples;
}

}  // namespace pgbackfill::engine::state
