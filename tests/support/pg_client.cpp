#include "tests/support/pg_client.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

#include <array>
#include <cstddef>
#include <utility>

namespace pgbackfill::tests {
namespace {

constexpr char const* kConnectionLost = "08006";
constexpr std::size_t kMostNotices = 1000;

struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, Clear>;

bool is_error(PGresult const* result) {
  auto const status = PQresultStatus(result);
  return status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE || status == PGRES_NONFATAL_ERROR;
}

std::string sqlstate_of(PGresult const* result) {
  char const* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  return state != nullptr ? state : kConnectionLost;
}

Rows rows_of(PGresult const* result) {
  Rows rows;
  for (int line = 0; line < PQntuples(result); ++line) {
    Row row;
    for (int column = 0; column < PQnfields(result); ++column) {
      if (PQgetisnull(result, line, column) != 0) {
        row.emplace_back();
      } else {
        row.emplace_back(PQgetvalue(result, line, column));
      }
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

// False when the time is over.
bool wait_for_bytes(PGconn const* connection, std::chrono::steady_clock::time_point deadline) {
  auto const left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  if (left.count() <= 0) return false;
  pollfd socket{PQsocket(connection), POLLIN, 0};
  poll(&socket, 1, static_cast<int>(left.count()) + 1);
  return true;
}

}  // namespace

void PgClient::Finish::operator()(pg_conn* connection) const {
  PQfinish(connection);
}

PgClient::PgClient(std::string const& dsn)
    : notices_(std::make_unique<std::vector<std::string>>()), connection_(PQconnectdb(dsn.c_str())) {
  if (PQstatus(connection_.get()) != CONNECTION_OK) {
    throw PgClientError(kConnectionLost, PQerrorMessage(connection_.get()));
  }
  PQsetNoticeProcessor(
      connection_.get(),
      [](void* notices, char const* text) {
        auto& all = *static_cast<std::vector<std::string>*>(notices);
        // Most tests never ask.
        if (all.size() < kMostNotices) all.emplace_back(text);
      },
      notices_.get());
}

std::vector<std::string> PgClient::take_notices() {
  return std::exchange(*notices_, {});
}

Rows PgClient::exec(std::string const& sql) {
  send(sql);
  return receive();
}

std::string PgClient::value(std::string const& sql) {
  auto const rows = exec(sql);
  if (rows.size() != 1 || rows[0].size() != 1) {
    throw PgClientError("P0003", fmt::format("expected one value, got {} rows: {}", rows.size(), sql));
  }
  return rows[0][0].value_or("NULL");
}

std::string PgClient::try_exec(std::string const& sql) {
  try {
    exec(sql);
    return "00000";
  } catch (PgClientError const& error) {
    return error.sqlstate();
  }
}

void PgClient::send(std::string const& sql) {
  if (!connection_) throw PgClientError(kConnectionLost, "the connection is closed");
  if (PQsendQuery(connection_.get(), sql.c_str()) == 0) {
    throw PgClientError(kConnectionLost, PQerrorMessage(connection_.get()));
  }
}

bool PgClient::has_answer(std::chrono::milliseconds timeout) {
  auto const deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    if (PQconsumeInput(connection_.get()) == 0) return true;  // receive() tells the loss
    if (PQisBusy(connection_.get()) == 0) return true;
    if (!wait_for_bytes(connection_.get(), deadline)) return false;
  }
}

Rows PgClient::receive() {
  Rows rows;
  std::optional<PgClientError> error;
  while (Result const result{PQgetResult(connection_.get())}) {
    if (is_error(result.get())) {
      if (!error) error.emplace(sqlstate_of(result.get()), PQresultErrorMessage(result.get()));
      // A lost connection would answer with this for ever.
      if (PQstatus(connection_.get()) != CONNECTION_OK) break;
    } else {
      rows = rows_of(result.get());
    }
  }
  if (error) throw PgClientError(*error);
  return rows;
}

std::optional<std::string> PgClient::notification(std::chrono::milliseconds timeout) {
  auto const deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    if (PQconsumeInput(connection_.get()) == 0) {
      throw PgClientError(kConnectionLost, PQerrorMessage(connection_.get()));
    }
    std::unique_ptr<PGnotify, decltype(&PQfreemem)> const notify(PQnotifies(connection_.get()), &PQfreemem);
    if (notify) return notify->extra;
    if (!wait_for_bytes(connection_.get(), deadline)) return std::nullopt;
  }
}

void PgClient::cancel() {
  std::array<char, 256> message{};
  std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> const handle(PQgetCancel(connection_.get()), &PQfreeCancel);
  if (PQcancel(handle.get(), message.data(), static_cast<int>(message.size())) == 0) {
    throw PgClientError(kConnectionLost, message.data());
  }
}

bool PgClient::is_open() const {
  return connection_ && PQstatus(connection_.get()) == CONNECTION_OK;
}

int PgClient::pid() const {
  return PQbackendPID(connection_.get());
}

void PgClient::close() {
  connection_.reset();
}

}  // namespace pgbackfill::tests
