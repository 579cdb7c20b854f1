// A small blocking PostgreSQL client, independent of the engine's own, so that tests do not check it by itself.
//
// It never retries and never reconnects. One object belongs to one thread.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

struct pg_conn;

namespace pgbackfill::tests {

// Values as PostgreSQL prints them; none is NULL.
using Row = std::vector<std::optional<std::string>>;
using Rows = std::vector<Row>;

class PgClientError : public std::runtime_error {
 public:
  PgClientError(std::string sqlstate, std::string const& message)
      : std::runtime_error(message), sqlstate_(std::move(sqlstate)) {}

  // "08006" when the connection is lost or was never made.
  std::string const& sqlstate() const { return sqlstate_; }

 private:
  std::string sqlstate_;
};

class PgClient {
 public:
  // Throws PgClientError, as all below do.
  explicit PgClient(std::string const& dsn);

  // Runs one or several statements; the rows of the last one.
  Rows exec(std::string const& sql);
  // The only value of the only row; NULL as "NULL".
  std::string value(std::string const& sql);
  // "00000", or the SQLSTATE of the error.
  std::string try_exec(std::string const& sql);

  // Sends without waiting, so that a statement may block while the test goes on.
  void send(std::string const& sql);
  // Whether the answer to send() is there within the time.
  bool has_answer(std::chrono::milliseconds timeout = {});
  Rows receive();

  // What the server has said beside its answers (NOTICE, DEBUG), since the last call.
  std::vector<std::string> take_notices();

  // The next notification's payload, for channels that the client listens to; none within the time.
  std::optional<std::string> notification(std::chrono::milliseconds timeout);

  // Asks the server to cancel what was sent.
  void cancel();
  bool is_open() const;
  // The server's process of this connection.
  int pid() const;
  void close();

 private:
  struct Finish {
    void operator()(pg_conn* connection) const;
  };
  // Where libpq can find it after a move; it outlives the connection.
  std::unique_ptr<std::vector<std::string>> notices_;
  std::unique_ptr<pg_conn, Finish> connection_;
};

}  // namespace pgbackfill::tests
