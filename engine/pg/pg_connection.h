// One connection to PostgreSQL: statements go down a pipeline with one Sync, results come back as text.
//
// The only place that knows libpq. Runs on one io_context thread; what libpq can do only by blocking (connecting,
// which resolves names, and cancelling) is done on a small pool beside it. Never retries, never decides: failures come
// back as values, classified by SQLSTATE. Passwords never reach a message.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/pg/open_connections.h"
#include "engine/pg/session_settings.h"

struct pg_conn;
struct pg_cancel;
struct pg_result;

namespace pgbackfill::engine {

namespace asio = boost::asio;

// Connecting threads at once; each is a blocking PQconnectdb.
inline constexpr int kBlockingThreads = 4;

inline constexpr std::size_t kMostWarnings = 16;
inline constexpr std::size_t kMostDebugLines = 256;

struct Rows {
  std::vector<std::vector<std::optional<std::string>>> rows;
  std::int64_t affected = 0;

  // The text of a field that the statement cannot leave NULL.
  std::string const& at(std::size_t row, std::size_t column) const { return rows.at(row).at(column).value(); }
};

// How a connection waits for locks that others have.
struct LockTerms {
  std::chrono::milliseconds wait{0};  // lock_timeout of each transaction, until a statement sets another; 0: the role's
  std::string who;  // asked when a wait has timed out: rows of one sentence each, about who is in the way
};

// Nothing is wrong with what was asked: the link or a lock was missing, and may be there later.
bool is_of_the_moment(Failure const& failure);

struct Deadlines {
  std::chrono::milliseconds statement{30'000};  // what statement_timeout is set to on the server: tells 57014 apart
  // After this the client cancels on the server itself; and drops the link if even that is not answered.
  std::chrono::milliseconds client{60'000};
};

// Where to connect: a conninfo string or URI as given by the user; empty means libpq's environment.
struct ConnectTarget {
  std::string conninfo;
  std::string application_name = "pgbackfill";
  bool accepts_standby = false;  // else one is refused, unless the conninfo itself asks for it
  // Under which the file's SQL runs; absent: those that the session has by itself.
  std::optional<SessionSettings> recorded_settings;
};

// Nothing when the text can be parsed; else what is wrong with it, without its content.
std::optional<std::string> check_conninfo(std::string const& conninfo);

// The parameters that this libpq knows.
std::set<std::string> libpq_keywords();

// host, port, database and user for people; without password.
std::string describe_target(std::string const& conninfo);

// Of a conninfo that names several servers, one for each; else nothing. With the password, if it has one.
std::vector<std::string> conninfos_of_hosts(std::string const& conninfo);

// What a conninfo says, as variables of libpq's environment (PGHOST, PGPASSWORD and so on), for programs that connect
// to the same server. The password is among them.
std::map<std::string, std::string> libpq_environment(std::string const& conninfo);

// After a failure to connect: whether to try again is of no use, because a server is there and does not want us
// (password, database, role), or because there is no such host. Asks by connecting again.
asio::awaitable<bool> refuses_for_good(ConnectTarget target, asio::thread_pool& blocking);

class PgConnection : public std::enable_shared_from_this<PgConnection> {
 public:
  static asio::awaitable<Result<std::shared_ptr<PgConnection>>> open(ConnectTarget target, asio::thread_pool& blocking);

  ~PgConnection();
  PgConnection(PgConnection const&) = delete;
  PgConnection& operator=(PgConnection const&) = delete;

  // All statements in one implicit transaction: one Sync, one round trip; all results, or the first failure, in which
  // case nothing was done, unless the failure is of the connection: then the outcome is unknown. Each statement runs
  // under our settings or those of the file's SQL, as it is marked.
  asio::awaitable<Result<std::vector<Rows>>> pipeline(std::vector<Statement> statements, Deadlines deadlines);
  asio::awaitable<Result<std::vector<Rows>>> pipeline(std::vector<std::string> statements, Deadlines deadlines);
  asio::awaitable<Result<Rows>> query(Statement statement, Deadlines deadlines);
  // A script of any number of statements by the simple protocol, in one transaction unless it says otherwise. What
  // begins with BEGIN runs under our settings; anything else under those that the session has.
  asio::awaitable<Result<Done>> script(std::string text, Deadlines deadlines);

  // From now on the file's SQL runs under these settings; nothing: under those of the session.
  asio::awaitable<Result<Done>> adopt_settings(std::optional<SessionSettings> recorded);
  // Reads anew which schemas the search_path means, after some may have been made.
  asio::awaitable<Result<Done>> refresh_schemas() { return adopt_settings(recorded_); }
  // Of the session by itself: as the role, the database and the client have set them.
  SessionSettings const& session_settings() const { return session_; }
  // Statements for the middle of a script: what follows is ours, or the file's.
  std::string our_settings() const { return our_settings_sql(session_, names_); }
  std::string users_settings() const { return users_settings_sql(session_, recorded_.value_or(session_)); }
  // The same for the session itself, where a statement must run outside a transaction: "; SET ...", or empty.
  std::string users_settings_of_session() const;

  // Has the server read statements without running them, all in one round trip: why it refuses each, if it does. Of
  // statements that are not SELECT, INSERT, UPDATE, DELETE or MERGE it reads the grammar alone.
  asio::awaitable<Result<std::vector<std::optional<Failure>>>> read_statements(std::vector<std::string> statements,
                                                                               Deadlines deadlines);

  // What the server said with DEBUG during the last call, which it does where client_min_messages asks for it.
  std::vector<std::string> const& debug_lines() const { return debug_lines_; }
  // Warnings of the server during the last call, up to kMostWarnings; VACUUM says with one that it did nothing.
  std::vector<Failure> const& warnings() const { return warnings_; }

  // From now on, a wait for a lock that times out says in its message who is in the way.
  void set_lock_terms(LockTerms terms) { lock_terms_ = std::move(terms); }
  // "; in the way: ...", or nothing; not for a transaction that has failed.
  asio::awaitable<std::string> who_is_in_the_way();

  // Cancels what runs on the server, from any coroutine of this thread; the statement then fails with 57014.
  void cancel_on_server();

  // For libpq.
  void see_notice(pg_result const* notice);
  // Whether a notification with this payload came, on any channel that the session listens to; looks at what is there
  // and asks nothing. Forgets all that came.
  bool take_notification(std::string const& payload);

  bool is_usable() const;
  // Whether an answer of the server is awaited.
  bool is_waiting() const { return is_waiting_; }
  bool is_standby() const { return is_standby_; }
  // False behind a pooler, which may give each transaction another session of the server: nothing may be left in one.
  bool is_direct() const { return is_direct_; }
  int server_version() const;
  int backend_pid() const;

 private:
  PgConnection(asio::any_io_executor executor, asio::thread_pool& blocking, pg_conn* connection);

  asio::awaitable<Result<std::vector<Rows>>> send_and_read(std::vector<Statement> statements, Deadlines deadlines);
  asio::awaitable<Result<std::vector<Rows>>> exchange(std::size_t statements, bool has_sync, Deadlines deadlines);
  asio::awaitable<bool> flush();
  asio::awaitable<bool> wait_until_ready();
  asio::awaitable<void> settle_cancel();
  asio::awaitable<std::optional<Failure>> read_defaults();
  asio::awaitable<std::optional<Failure>> read_settings();
  bool send(std::string const& statement);
  void heed_end() const;
  void arm(std::chrono::milliseconds after, std::uint64_t exchange);
  Failure link_lost() const;

  asio::any_io_executor executor_;
  asio::thread_pool& blocking_;
  OpenConnections& siblings_;
  pg_conn* connection_;
  asio::posix::stream_descriptor socket_;
  asio::steady_timer deadline_;
  std::uint64_t exchange_ = 0;  // counts exchanges, so that a late timer finds its exchange gone
  bool cancel_sent_ = false;
  bool is_waiting_ = false;
  bool is_standby_ = false;
  bool is_direct_ = false;
  // Begins each transaction, where the role's own defaults would make it serializable or read-only. Not a setting of
  // the session, which a pooler would hand on to others.
  std::string preamble_;
  SessionSettings session_;
  std::optional<SessionSettings> recorded_;
  NameSpace names_;
  LockTerms lock_terms_;
  int cancels_in_flight_ = 0;
  std::vector<Failure> warnings_;
  std::vector<std::string> debug_lines_;
};

// Of the library that is loaded, which need not be the one that was built with: 150018 is 15.18.
int libpq_version();

}  // namespace pgbackfill::engine
