#include "engine/run/prepared_results.h"

#include <fmt/format.h>

#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

// As long as the query takes. It holds its snapshot for as long; ^C ends it on the server.
constexpr Deadlines kComputing{std::chrono::hours(24 * 7), std::chrono::hours(24 * 7)};
constexpr auto kSwapLock = 30'000ms;
constexpr auto kDropLock = 5'000ms;
constexpr int kFirstWithConnectionCheck = 140'000;

std::string setting(std::string const& name, std::string const& value) {
  return fmt::format("set_config({}, {}, true)", planner::quote_literal(name), planner::quote_literal(value));
}

// No time limit; a server that can notices that its client is gone, and ends what nobody will use.
std::string computing_settings(int server_version) {
  std::vector<std::string> calls = {setting("statement_timeout", "0"), setting("lock_timeout", "0"),
                                    setting("idle_in_transaction_session_timeout", "0"),
                                    setting("row_security", "off")};
  if (server_version >= kFirstWithConnectionCheck) calls.push_back(setting("client_connection_check_interval", "2s"));
  if (server_version >= 170000) calls.push_back(setting("transaction_timeout", "0"));
  return "SELECT " + planner::join(calls, ", ");
}

std::string lock_timeout(std::chrono::milliseconds wait) {
  return "SELECT " + setting("lock_timeout", std::to_string(wait.count()));
}

struct RecordRow {
  static constexpr char kFrom[] = "the comment of a prepared result";

  std::optional<std::string> migration;
  std::optional<std::string> name;
  std::optional<std::string> definition;
  std::int64_t rows = 0;
  int pass = 0;
};

struct Found {
  bool is_there = false;
  planner::PreparedRecord record;
};

asio::awaitable<Result<Found>> look(PgConnection& connection, planner::Prepared prepared, std::string migration) {
  Found found;
  auto const rows = co_await connection.query(planner::read_record_sql(prepared, migration), Deadlines());
  if (!rows) co_return rows.error();
  bool const has_record = !rows->rows.empty() && rows->rows.front().front();
  if (!has_record) co_return found;
  auto const row = state::row_as<RecordRow>(rows->rows.front());
  found.is_there = true;
  found.record.migration = row.migration.value_or("");
  found.record.name = row.name.value_or("");
  found.record.definition = row.definition.value_or("");
  found.record.rows = row.rows;
  found.record.pass = row.pass;
  co_return found;
}

// Its number of rows, if it can be used for this pass.
asio::awaitable<Result<std::optional<std::int64_t>>> usable_rows(PgConnection& connection, planner::Prepared prepared,
                                                                 std::string migration, int pass) {
  auto const found = co_await look(connection, prepared, migration);
  if (!found) co_return found.error();
  auto const& record = found->record;
  bool const is_of_pass = record.pass >= pass || prepared.is_of_file();
  bool const is_it = found->is_there && record.migration == migration &&
                     record.definition == planner::definition_of(prepared) && is_of_pass;
  std::optional<std::int64_t> rows;
  if (!is_it) co_return rows;
  rows = record.rows;
  if (record.rows == 0) co_return rows;
  auto const has_rows = co_await connection.query(planner::has_rows_sql(prepared, migration), Deadlines());
  if (!has_rows) co_return has_rows.error();
  if (!state::value_as<bool>(*has_rows)) rows.reset();
  co_return rows;
}

// In a transaction that is open, and has the lock.
asio::awaitable<Result<std::int64_t>> make(PgConnection& connection, planner::Prepared prepared, std::string migration,
                                           int pass) {
  auto statements = planner::make_prepared(prepared, migration);
  auto const created = co_await connection.query(users_sql(std::move(statements.create)), kComputing);
  if (!created) {
    Failure failure = created.error();
    failure.message = fmt::format("prepare '{}': {}", prepared.name, failure.message);
    co_return failure;
  }
  planner::PreparedRecord record{migration, prepared.name, planner::definition_of(prepared), created->affected, pass};
  std::vector<std::string> rest;
  // Of the table that is in the place of the old one then.
  rest.push_back(lock_timeout(kSwapLock));
  for (auto& statement : statements.finish) rest.push_back(std::move(statement));
  rest.push_back(planner::record_sql(prepared, record));
  auto const finished = co_await connection.pipeline(std::move(rest), kComputing);
  if (!finished) {
    Failure failure = finished.error();
    std::string const hint = failure.sqlstate == "23505" ? "; its key has to tell one row from all others" : "";
    failure.message = fmt::format("prepare '{}': {}{}", prepared.name, failure.message, hint);
    co_return failure;
  }
  co_return record.rows;
}

// Until the transaction is committed or has failed.
asio::awaitable<Result<std::optional<PreparedTold>>> make_unless_there(PgConnection& connection,
                                                                       planner::Prepared prepared,
                                                                       std::string migration, int pass,
                                                                       std::vector<std::string>& filled) {
  std::vector<std::string> begin = {"BEGIN", computing_settings(connection.server_version()),
                                    planner::lock_prepared_sql(migration)};
  auto const begun = co_await connection.pipeline(std::move(begin), kComputing);
  if (!begun) co_return begun.error();
  // Whoever had the lock may have made it.
  auto const there = co_await usable_rows(connection, prepared, migration, pass);
  if (!there) co_return there.error();
  std::optional<PreparedTold> told;
  std::int64_t rows = there->value_or(0);
  if (!*there) {
    auto const began = std::chrono::steady_clock::now();
    auto const made = co_await make(connection, prepared, migration, pass);
    if (!made) co_return made.error();
    rows = *made;
    auto const took = std::chrono::steady_clock::now() - began;
    told = PreparedTold{prepared.name, rows, std::chrono::duration_cast<std::chrono::milliseconds>(took)};
  }
  auto const committed = co_await connection.query("COMMIT", Deadlines());
  if (!committed) co_return committed.error();
  if (rows > 0) filled.push_back(planner::table_of(prepared, migration));
  co_return told;
}

}  // namespace

std::string told_text(PreparedTold const& told) {
  return fmt::format("prepare '{}': {} rows in {}", told.name, human_count(told.rows), human_duration(told.took));
}

asio::awaitable<Result<std::vector<planner::Problem>>> check_prepared(PgConnection& connection,
                                                                      std::vector<planner::Prepared> prepared) {
  std::vector<planner::Problem> problems;
  for (auto const& one : prepared) {
    auto const query = co_await query_read_only(connection, users_sql("EXPLAIN " + one.query));
    if (!query && is_of_the_moment(query.error())) co_return query.error();
    if (!query) {
      problems.push_back({one.query_position, fmt::format("{} ({})", query.error().message, query.error().sqlstate)});
      continue;
    }
    auto const key = co_await query_read_only(connection, users_sql("EXPLAIN " + planner::key_probe_sql(one)));
    if (!key && is_of_the_moment(key.error())) co_return key.error();
    if (!key) {
      problems.push_back({one.key_position, fmt::format("the key of prepare '{}': {} ({})", one.name,
                                                        key.error().message, key.error().sqlstate)});
    }
  }
  co_return problems;
}

asio::awaitable<Result<std::vector<PreparedTold>>> compute_prepared(PgConnection& connection, PreparedResults& results,
                                                                    int pass) {
  std::vector<PreparedTold> told;
  // Batches of other workers go on, and look after what they know of until then.
  std::vector<std::string> filled;
  auto const all = results.all;
  for (auto const& prepared : all) {
    auto made = co_await make_unless_there(connection, prepared, results.migration, pass, filled);
    if (!made) {
      Failure const failure = made.error();
      if (connection.is_usable()) co_await connection.query("ROLLBACK", Deadlines());
      co_return failure;
    }
    if (*made) told.push_back(std::move(**made));
  }
  results.filled = std::move(filled);
  co_return told;
}

asio::awaitable<Result<Done>> drop_prepared(PgConnection& connection, std::string migration,
                                            std::vector<planner::Prepared> prepared) {
  for (auto const& one : prepared) {
    std::vector<std::string> statements = {lock_timeout(kDropLock), planner::drop_prepared(one, migration)};
    auto const dropped = co_await connection.pipeline(std::move(statements), Deadlines());
    if (!dropped) co_return dropped.error();
  }
  co_return Done();
}

}  // namespace pgbackfill::engine
