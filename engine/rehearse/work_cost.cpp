#include "engine/rehearse/work_cost.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <vector>

#include "engine/pg/catalog.h"
#include "engine/plan/plan_reader.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kSamples = 3;

double planned_rows(std::string const& explained) {
  auto const document = boost::json::parse(explained);
  return document.as_array().at(0).as_object().at("Plan").as_object().at("Plan Rows").to_number<double>();
}

asio::awaitable<std::optional<double>> rows_of(PgConnection& connection, std::string sql) {
  std::optional<double> rows;
  auto const explained = co_await query_read_only(connection, users_sql("EXPLAIN (FORMAT JSON) " + sql));
  // Columns that the migration itself will make are not there yet.
  if (explained) rows = planned_rows(state::value_as<std::string>(*explained));
  co_return rows;
}

asio::awaitable<std::optional<double>> matching_share(PgConnection& connection, planner::Backfill const& backfill) {
  std::optional<double> share;
  if (backfill.where.empty()) co_return share;
  auto const table = planner::quote_qualified(backfill.table.schema, backfill.table.name);
  auto const all = co_await rows_of(connection, "SELECT FROM " + table);
  auto const some =
      co_await rows_of(connection, "SELECT FROM " + table + " WHERE " + planner::parenthesised(backfill.where));
  if (all && some && *all > 0) share = std::min(*some / *all, 1.0);
  co_return share;
}

}  // namespace

asio::awaitable<WorkCost> measure_work(PgConnection& connection, LoadedMigration loaded, bool with_sample) {
  WorkCost cost;
  if (loaded.migration.backfill) cost.matching_share = co_await matching_share(connection, *loaded.migration.backfill);
  std::vector<BatchCost> batches;
  for (std::size_t number = 0; number < (with_sample ? kSamples : 1); ++number) {
    cost.plan = co_await read_plan(connection, loaded, with_sample);
    bool const has_sample = cost.plan.backfill && cost.plan.backfill->sample && cost.plan.backfill->sample->rows > 0;
    if (!has_sample) co_return cost;
    auto const& sample = *cost.plan.backfill->sample;
    batches.push_back({sample.rows, sample.milliseconds, sample.wal_bytes, sample.is_of_copy});
  }
  auto const middle = batches.begin() + static_cast<std::ptrdiff_t>(batches.size() / 2);
  std::nth_element(batches.begin(), middle, batches.end(), [](BatchCost const& left, BatchCost const& right) {
    return left.milliseconds * static_cast<double>(right.rows) < right.milliseconds * static_cast<double>(left.rows);
  });
  cost.batch = *middle;
  co_return cost;
}

}  // namespace pgbackfill::engine
