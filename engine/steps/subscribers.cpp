#include "engine/steps/subscribers.h"

#include <fmt/format.h>

#include "engine/base/command_error.h"
#include "engine/pg/catalog.h"
#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"
#include "planner/steps/publications.h"

namespace pgbackfill::engine {

namespace {

asio::awaitable<std::vector<std::string>> read_texts(PgConnection& connection, std::string question) {
  auto const rows =
      value_or_throw(co_await query_read_only(connection, std::move(question)), "looking for publications");
  std::vector<std::string> texts;
  for (auto const& row : rows.rows) texts.push_back(row.front().value_or(""));
  co_return texts;
}

asio::awaitable<bool> has_state(PgConnection& connection) {
  auto const there =
      value_or_throw(co_await query_read_only(connection, state::has_version()), "reading the state schema");
  co_return state::value_as<bool>(there);
}

constexpr char kRemedy[] =
    "A subscriber stops at the first row of a table or column that it does not have. Make them there first, with the "
    "same DDL; schema pgbackfill by `pgbackfill init` in the subscriber's database, without ALTER SUBSCRIPTION ... "
    "REFRESH PUBLICATION afterwards. Then say so: --subscribers-ready, or `subscribers_ready: true` in the file";

}  // namespace

asio::awaitable<std::vector<std::string>> read_subscribers(PgConnection& connection) {
  co_return co_await read_texts(connection, planner::subscribers_sql());
}

asio::awaitable<std::vector<std::string>> read_published(PgConnection& connection,
                                                         std::vector<planner::SchemaStep> steps) {
  std::vector<std::string> published;
  bool const is_there = co_await has_state(connection);
  if (!is_there) {
    auto const names = co_await read_texts(connection, planner::publications_of_state_sql(connection.server_version()));
    if (!names.empty()) {
      published.push_back("schema pgbackfill, which keeps the state, published by " + planner::join(names, ", "));
    }
  }
  for (auto const& step : steps) {
    for (auto const& made : planner::new_for_subscribers(step)) {
      auto question = planner::publications_of_sql(made.table, connection.server_version());
      auto const names = co_await read_texts(connection, std::move(question));
      if (!names.empty()) published.push_back(made.what + ", published by " + planner::join(names, ", "));
    }
  }
  co_return published;
}

asio::awaitable<std::string> subscribers_text(PgConnection& connection, std::vector<planner::SchemaStep> steps) {
  auto const subscribers = co_await read_subscribers(connection);
  if (subscribers.empty()) co_return std::string();
  auto const published = co_await read_published(connection, std::move(steps));
  if (published.empty()) co_return std::string();
  co_return fmt::format("logical replication: {}. Subscribers: {}. {}", planner::join(published, "; "),
                        planner::join(subscribers, ", "), kRemedy);
}

asio::awaitable<void> require_subscribers_ready(PgConnection& connection, std::vector<planner::SchemaStep> steps,
                                                bool is_agreed) {
  if (is_agreed) co_return;
  auto const text = co_await subscribers_text(connection, std::move(steps));
  if (!text.empty()) throw CommandError{kExitGateClosed, text + "; nothing was started"};
}

}  // namespace pgbackfill::engine
