#include "engine/pg/pg_connection.h"

#include <libpq-fe.h>

#include <algorithm>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>

#include "engine/pg/sql_environment.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr char kNoSqlstate[] = "08006";
// How long the answer to a cancel may take before the link is given up.
constexpr auto kCancelPatience = 5s;

struct ResultDeleter {
  void operator()(PGresult* result) const { PQclear(result); }
};
using PgResultPtr = std::unique_ptr<PGresult, ResultDeleter>;

struct ConninfoDeleter {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};
using ConninfoPtr = std::unique_ptr<PQconninfoOption, ConninfoDeleter>;

// Runs `job` on the pool and resumes the coroutine on its own executor afterwards. `job` lives in the caller's frame.
asio::awaitable<void> run_blocking(asio::thread_pool& pool, std::function<void()>& job) {
  auto const initiate = [&pool, &job](auto handler) {
    auto own = asio::get_associated_executor(handler);
    // Keeps the io_context from running dry while the pool works.
    auto work = asio::make_work_guard(own);
    asio::post(pool, [&job, own, work, handler = std::move(handler)]() mutable {
      job();
      asio::post(own, std::move(handler));
    });
  };
  co_await asio::async_initiate<asio::use_awaitable_t<> const, void()>(initiate, asio::use_awaitable);
}

std::string trimmed(char const* text) {
  std::string result = text == nullptr ? "" : text;
  while (!result.empty() && (result.back() == '\n' || result.back() == ' ')) result.pop_back();
  return result;
}

Failure failure_of(PGresult const* result, std::chrono::milliseconds elapsed, Deadlines deadlines) {
  char const* sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  Failure failure;
  failure.sqlstate = sqlstate == nullptr ? kNoSqlstate : sqlstate;
  failure.message = trimmed(PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
  if (failure.message.empty()) failure.message = trimmed(PQresultErrorMessage(result));
  std::string const detail = trimmed(PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL));
  std::string const hint = trimmed(PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
  if (!detail.empty()) failure.message += "; " + detail;
  if (!hint.empty()) failure.message += " (" + hint + ")";
  failure.elapsed = elapsed;
  failure.trouble = planner::classify(failure.sqlstate, elapsed, deadlines.statement);
  return failure;
}

Rows rows_of(PGresult const* result) {
  Rows rows;
  int const count = PQntuples(result);
  int const width = PQnfields(result);
  rows.rows.reserve(static_cast<std::size_t>(count));
  for (int row = 0; row < count; ++row) {
    auto& fields = rows.rows.emplace_back();
    for (int column = 0; column < width; ++column) {
      if (PQgetisnull(result, row, column) != 0) {
        fields.emplace_back(std::nullopt);
      } else {
        fields.emplace_back(
            std::string(PQgetvalue(result, row, column), static_cast<std::size_t>(PQgetlength(result, row, column))));
      }
    }
  }
  char const* affected = PQcmdTuples(const_cast<PGresult*>(result));
  rows.affected = *affected == '\0' ? 0 : std::atoll(affected);
  return rows;
}

struct ConnectParameters {
  // What stands before dbname yields to the user's own conninfo, what stands after it does not. A dead peer is noticed
  // within half a minute; a standby is never taken for the primary.
  explicit ConnectParameters(ConnectTarget const& target)
      : keywords{"connect_timeout",
                 "keepalives_idle",
                 "keepalives_interval",
                 "keepalives_count",
                 "tcp_user_timeout",
                 "target_session_attrs",
                 "dbname",
                 "fallback_application_name",
                 "client_encoding",
                 target.accepts_standby ? "target_session_attrs" : nullptr,
                 nullptr},
        values{"10",   "10",  "5",    "4", "30000", "primary", target.conninfo.c_str(), target.application_name.c_str(),
               "UTF8", "any", nullptr} {}

  char const* keywords[11];
  char const* values[11];
};

pg_conn* connect_blocking(ConnectTarget const& target) {
  ConnectParameters const parameters(target);
  pg_conn* const connection = PQconnectdbParams(parameters.keywords, parameters.values, 1);
  // SQL_ASCII means that nobody knows the encoding: a key that is no valid UTF-8 must come and go as it is.
  char const* const encoding = connection == nullptr ? nullptr : PQparameterStatus(connection, "server_encoding");
  if (encoding != nullptr && std::strcmp(encoding, "SQL_ASCII") == 0) PQsetClientEncoding(connection, "SQL_ASCII");
  return connection;
}

Failure connect_failure(pg_conn* connection) {
  Failure failure;
  failure.sqlstate = "08001";
  failure.message = connection == nullptr ? "out of memory" : trimmed(PQerrorMessage(connection));
  // libpq gives no SQLSTATE for a refused start-up; the text is the only sign of "too many clients".
  bool const crowded = failure.message.find("too many") != std::string::npos ||
                       failure.message.find("remaining connection slots") != std::string::npos;
  if (crowded) failure.sqlstate = "53300";
  failure.trouble = crowded ? planner::Trouble::kResources : planner::Trouble::kConnection;
  return failure;
}

bool names_several_servers(ConnectTarget const& target) {
  ConninfoPtr const options(PQconninfoParse(target.conninfo.c_str(), nullptr));
  for (auto const* option = options.get(); option != nullptr && option->keyword != nullptr; ++option) {
    bool const is_host = std::strcmp(option->keyword, "host") == 0 || std::strcmp(option->keyword, "hostaddr") == 0;
    if (is_host && option->val != nullptr && std::strchr(option->val, ',') != nullptr) return true;
  }
  return false;
}

// Empty when the connection was made.
std::string connect_error(ConnectTarget const& target) {
  std::unique_ptr<pg_conn, void (*)(pg_conn*)> const connection(connect_blocking(target), &PQfinish);
  return PQstatus(connection.get()) == CONNECTION_OK ? "" : connect_failure(connection.get()).message;
}

bool refuses_for_good_blocking(ConnectTarget const& target) {
  // Several servers: a standby that is not promoted yet answers like one that will never be.
  if (names_several_servers(target)) return false;
  std::string const error = connect_error(target);
  if (error.find("could not translate host name") != std::string::npos) return true;
  // libpq knows the server's SQLSTATE, but tells it by its ping alone: "rejects" while the server starts or stops, "ok"
  // also for a password that is wrong. The same error on both sides of it is none of a server that just came up.
  ConnectParameters const parameters(target);
  bool const is_up = PQpingParams(parameters.keywords, parameters.values, 1) == PQPING_OK;
  return !error.empty() && is_up && connect_error(target) == error;
}

std::string lock_timeout_sql(std::chrono::milliseconds wait) {
  return "SELECT pg_catalog.set_config('lock_timeout', '" + std::to_string(wait.count()) + "', true)";
}

void hand_notice_on(void* connection, PGresult const* notice) {
  static_cast<PgConnection*>(connection)->see_notice(notice);
}

bool has_users_sql(std::vector<Statement> const& statements) {
  return std::any_of(statements.begin(), statements.end(),
                     [](Statement const& statement) { return statement.is_users; });
}

// Of how many statements it asks for an answer; 0: it could not be sent.
std::size_t send_environment(pg_conn* connection, SqlEnvironment const& environment) {
  char const* const is_superuser = PQparameterStatus(connection, "is_superuser");
  bool const may_hush = is_superuser != nullptr && std::strcmp(is_superuser, "on") == 0;
  // Takes effect for the statement behind it.
  if (may_hush &&
      PQsendQueryParams(connection, unlogged_parameters_sql().c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) != 1) {
    return 0;
  }
  std::vector<char const*> values;
  for (auto const& [name, value] : environment) values.push_back(value.c_str());
  bool const sent = PQsendQueryParams(connection, environment_sql(environment).c_str(), static_cast<int>(values.size()),
                                      nullptr, values.data(), nullptr, nullptr, 0) == 1;
  if (!sent) return 0;
  return may_hush ? 2 : 1;
}

void ignore_notice(void* /*unused*/, PGresult const* /*notice*/) {}

}  // namespace

bool is_of_the_moment(Failure const& failure) {
  switch (failure.trouble) {
    case planner::Trouble::kLockTimeout:
    case planner::Trouble::kConflict:
    case planner::Trouble::kConnection:
      return true;
    default:
      return false;
  }
}

std::optional<std::string> check_conninfo(std::string const& conninfo) {
  char* error = nullptr;
  ConninfoPtr const options(PQconninfoParse(conninfo.c_str(), &error));
  // libpq's text repeats parts of the string, which may be the password.
  PQfreemem(error);
  if (options) return std::nullopt;
  return "the connection string cannot be parsed; write \"host=... port=... dbname=... user=...\" or "
         "postgresql://user@host:port/dbname";
}

std::set<std::string> libpq_keywords() {
  std::set<std::string> keywords;
  ConninfoPtr const options(PQconninfoParse("", nullptr));
  for (auto const* option = options.get(); option != nullptr && option->keyword != nullptr; ++option) {
    keywords.insert(option->keyword);
  }
  return keywords;
}

namespace {

std::vector<std::string> parts_of_list(std::string const& list) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= list.size();) {
    auto const end = std::min(list.find(',', begin), list.size());
    parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string conninfo_value(std::string const& value) {
  std::string text = "'";
  for (char const c : value) {
    if (c == '\'' || c == '\\') text += '\\';
    text += c;
  }
  return text + "'";
}

}  // namespace

std::vector<std::string> conninfos_of_hosts(std::string const& conninfo) {
  ConninfoPtr const options(PQconninfoParse(conninfo.c_str(), nullptr));
  std::map<std::string, std::string> values;
  for (auto const* option = options.get(); option != nullptr && option->keyword != nullptr; ++option) {
    bool const is_kept = option->val != nullptr && std::strcmp(option->keyword, "target_session_attrs") != 0;
    if (is_kept) values[option->keyword] = option->val;
  }
  std::size_t count = 0;
  for (char const* list : {"host", "hostaddr"}) {
    if (values.count(list) != 0) count = std::max(count, parts_of_list(values[list]).size());
  }
  std::vector<std::string> conninfos;
  for (std::size_t server = 0; count > 1 && server < count; ++server) {
    std::string text;
    for (auto const& [keyword, value] : values) {
      bool const is_list = keyword == "host" || keyword == "hostaddr" || keyword == "port";
      auto const parts = is_list ? parts_of_list(value) : std::vector<std::string>{value};
      text += keyword + "=" + conninfo_value(parts[std::min(server, parts.size() - 1)]) + " ";
    }
    conninfos.push_back(std::move(text));
  }
  return conninfos;
}

std::string describe_target(std::string const& conninfo) {
  ConninfoPtr const parsed(PQconninfoParse(conninfo.c_str(), nullptr));
  ConninfoPtr const defaults(PQconndefaults());
  std::string text;
  for (char const* keyword : {"host", "port", "dbname", "user"}) {
    std::string value;
    for (auto const* options : {defaults.get(), parsed.get()}) {
      for (auto const* option = options; option != nullptr && option->keyword != nullptr; ++option) {
        if (std::strcmp(option->keyword, keyword) == 0 && option->val != nullptr) value = option->val;
      }
    }
    if (!value.empty()) text += (text.empty() ? "" : " ") + std::string(keyword) + "=" + value;
  }
  return text.empty() ? "the local server" : text;
}

std::map<std::string, std::string> libpq_environment(std::string const& conninfo) {
  ConninfoPtr const options(PQconninfoParse(conninfo.c_str(), nullptr));
  std::map<std::string, std::string> variables;
  for (auto const* option = options.get(); option != nullptr && option->keyword != nullptr; ++option) {
    if (option->envvar != nullptr && option->val != nullptr) variables[option->envvar] = option->val;
  }
  return variables;
}

asio::awaitable<bool> refuses_for_good(ConnectTarget target, asio::thread_pool& blocking) {
  bool result = false;
  std::function<void()> job = [&] { result = refuses_for_good_blocking(target); };
  co_await run_blocking(blocking, job);
  co_return result;
}

asio::awaitable<Result<std::shared_ptr<PgConnection>>> PgConnection::open(ConnectTarget target,
                                                                          asio::thread_pool& blocking) {
  auto executor = co_await asio::this_coro::executor;
  pg_conn* connection = nullptr;
  std::function<void()> job = [&] { connection = connect_blocking(target); };
  co_await run_blocking(blocking, job);
  if (connection == nullptr || PQstatus(connection) != CONNECTION_OK) {
    Failure const failure = connect_failure(connection);
    PQfinish(connection);
    co_return failure;
  }
  PQsetNoticeReceiver(connection, &ignore_notice, nullptr);
  if (PQsetnonblocking(connection, 1) != 0 || PQenterPipelineMode(connection) != 1) {
    Failure const failure = connect_failure(connection);
    PQfinish(connection);
    co_return failure;
  }
  std::shared_ptr<PgConnection> opened(new PgConnection(executor, blocking, connection));
  auto failure = co_await opened->read_defaults();
  if (failure) co_return *failure;
  failure = co_await opened->read_settings();
  if (failure) co_return *failure;
  if (target.recorded_settings) {
    auto const adopted = co_await opened->adopt_settings(std::move(target.recorded_settings));
    if (!adopted) co_return adopted.error();
  }
  co_return opened;
}

PgConnection::PgConnection(asio::any_io_executor executor, asio::thread_pool& blocking, pg_conn* connection)
    : executor_(executor),
      blocking_(blocking),
      siblings_(OpenConnections::of(executor_)),
      connection_(connection),
      socket_(executor, PQsocket(connection)),
      deadline_(executor) {
  PQsetNoticeReceiver(connection_, &hand_notice_on, this);
  siblings_.add(this);
}

PgConnection::~PgConnection() {
  siblings_.remove(this);
  // libpq closes its socket itself: Asio must have let go of the number before it can be used again.
  socket_.release();
  PQfinish(connection_);
}

asio::awaitable<std::optional<Failure>> PgConnection::read_defaults() {
  std::string statement =
      "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('default_transaction_isolation') <> 'read "
      "committed', pg_catalog.current_setting('default_transaction_read_only') = 'on', pg_catalog.pg_backend_pid()";
  auto const defaults = co_await query(std::move(statement), Deadlines());
  if (!defaults) co_return defaults.error();
  is_standby_ = defaults->at(0, 0) == "t";
  // A pooler cannot show the client the number of a server process that it has not chosen yet.
  is_direct_ = defaults->at(0, 3) == std::to_string(backend_pid());
  bool const is_isolated = defaults->at(0, 1) == "t";
  bool const is_read_only = defaults->at(0, 2) == "t" && !is_standby_;
  if (is_isolated || is_read_only) preamble_ = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";
  if (is_read_only) preamble_ += ", READ WRITE";
  co_return std::nullopt;
}

asio::awaitable<std::optional<Failure>> PgConnection::read_settings() {
  ConninfoPtr const options(PQconninfo(connection_));
  std::vector<std::string> named;
  for (auto const* option = options.get(); option != nullptr && option->keyword != nullptr; ++option) {
    bool const is_options = std::strcmp(option->keyword, "options") == 0 && option->val != nullptr;
    if (is_options) named = custom_names(option->val);
  }
  std::vector<Statement> statements;
  statements.push_back(users_sql(read_settings_sql()));
  statements.emplace_back(read_custom_settings_sql(named));
  statements.emplace_back(survive_errors_sql());
  auto const read = co_await pipeline(std::move(statements), Deadlines());
  if (!read) co_return read.error();
  session_ = settings_of(read->at(0).rows.at(0));
  names_ = name_space_of(read->at(0).rows.at(0));
  for (auto const& row : read->at(1).rows) session_[row.at(0).value_or("")] = row.at(1).value_or("");
  co_return std::nullopt;
}

asio::awaitable<Result<Done>> PgConnection::adopt_settings(std::optional<SessionSettings> recorded) {
  recorded_ = std::move(recorded);
  auto const read = co_await query(users_sql(read_settings_sql()), Deadlines());
  if (!read) co_return read.error();
  names_ = name_space_of(read->rows.at(0));
  co_return Done();
}

std::string PgConnection::users_settings_of_session() const {
  std::string text;
  for (auto const& [name, value] : others_than(session_, recorded_.value_or(SessionSettings()))) {
    text += "; " + session_setting_sql(name, value);
  }
  return text;
}

bool PgConnection::take_notification(std::string const& payload) {
  if (!is_usable()) return false;
  if (PQconsumeInput(connection_) != 1) {
    socket_.release();
    return false;
  }
  bool is_found = false;
  while (std::unique_ptr<PGnotify, decltype(&PQfreemem)> const notify{PQnotifies(connection_), &PQfreemem}) {
    is_found = is_found || payload == notify->extra;
  }
  return is_found;
}

bool PgConnection::is_usable() const {
  return socket_.is_open() && PQstatus(connection_) == CONNECTION_OK;
}

int PgConnection::server_version() const {
  return PQserverVersion(connection_);
}

int PgConnection::backend_pid() const {
  return PQbackendPID(connection_);
}

void PgConnection::see_notice(pg_result const* notice) {
  char const* const severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
  bool const is_warning = severity != nullptr && std::strcmp(severity, "WARNING") == 0;
  if (is_warning && warnings_.size() < kMostWarnings) {
    warnings_.push_back(failure_of(notice, std::chrono::milliseconds(0), Deadlines()));
  }
  bool const is_debug = severity != nullptr && std::strcmp(severity, "DEBUG") == 0;
  char const* const text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
  if (is_debug && text != nullptr && debug_lines_.size() < kMostDebugLines) debug_lines_.emplace_back(text);
}

Failure PgConnection::link_lost() const {
  Failure failure;
  failure.trouble = planner::Trouble::kConnection;
  failure.sqlstate = kNoSqlstate;
  failure.message = trimmed(PQerrorMessage(connection_));
  if (failure.message.empty()) failure.message = "the connection was lost";
  return failure;
}

bool PgConnection::send(std::string const& statement) {
  return PQsendQueryParams(connection_, statement.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0) == 1;
}

asio::awaitable<Result<std::vector<Rows>>> PgConnection::send_and_read(std::vector<Statement> statements,
                                                                       Deadlines deadlines) {
  heed_end();
  if (!is_usable()) co_return link_lost();
  // A transaction that has failed takes nothing but its end.
  auto const status = PQtransactionStatus(connection_);
  bool const has_failed = status == PQTRANS_INERROR;
  bool sent = true;
  std::vector<bool> is_answer;  // else of a statement that only sets
  auto const send_setting = [&](std::string const& statement) {
    if (statement.empty()) return;
    sent = sent && send(statement);
    is_answer.push_back(false);
  };
  if (status == PQTRANS_IDLE) send_setting(preamble_);
  bool const is_bounded = lock_terms_.wait.count() > 0 && status == PQTRANS_IDLE;
  if (is_bounded) send_setting(lock_timeout_sql(lock_terms_.wait));
  auto const environment = environment_of(statements);
  bool lacks_environment = !environment.empty() && !has_failed;
  // What a transaction that is open already has been set to, nobody knows here.
  std::optional<bool> is_users;
  if (status == PQTRANS_IDLE && !recorded_) is_users = true;
  for (auto const& statement : statements) {
    if (lacks_environment && (statement.is_users || reads_kept_value(statement.sql))) {
      lacks_environment = false;
      auto const count = send_environment(connection_, environment);
      sent = sent && count > 0;
      is_answer.insert(is_answer.end(), count, false);
    }
    bool const switches = !has_failed && is_users != statement.is_users;
    if (switches) send_setting(statement.is_users ? users_settings() : our_settings());
    is_users = statement.is_users;
    sent = sent && send(statement.sql);
    is_answer.push_back(true);
  }
  // Deferred triggers fire in the commit, and are the file's affair.
  bool const leaves_ours = !has_failed && is_users == false && has_users_sql(statements);
  if (leaves_ours) send_setting(users_settings());
  if (!sent || PQpipelineSync(connection_) != 1) co_return link_lost();
  auto results = co_await exchange(is_answer.size(), true, deadlines);
  for (auto& warning : warnings_) warning.message = without_values(std::move(warning.message), environment);
  if (!results) {
    Failure failure = results.error();
    failure.message = without_values(std::move(failure.message), environment);
    co_return failure;
  }
  std::vector<Rows> answers;
  answers.reserve(statements.size());
  for (std::size_t index = 0; index < results->size(); ++index) {
    if (is_answer[index]) answers.push_back(std::move((*results)[index]));
  }
  co_return answers;
}

asio::awaitable<Result<std::vector<Rows>>> PgConnection::pipeline(std::vector<Statement> statements,
                                                                  Deadlines deadlines) {
  auto results = co_await send_and_read(std::move(statements), deadlines);
  bool const is_locked = !results && results.error().trouble == planner::Trouble::kLockTimeout;
  if (!is_locked) co_return results;
  Failure failure = results.error();
  failure.message += co_await who_is_in_the_way();
  co_return failure;
}

asio::awaitable<std::string> PgConnection::who_is_in_the_way() {
  bool const may_ask = !lock_terms_.who.empty() && is_usable() && PQtransactionStatus(connection_) == PQTRANS_IDLE;
  if (!may_ask) co_return "";
  std::vector<Statement> statements;
  statements.emplace_back(lock_terms_.who);
  auto const found = co_await send_and_read(std::move(statements), Deadlines());
  if (!found) co_return "";
  std::string text;
  for (auto const& row : found->front().rows) {
    text += (text.empty() ? "; in the way: " : "; ") + row.front().value_or("somebody");
  }
  co_return text;
}

asio::awaitable<Result<std::vector<Rows>>> PgConnection::pipeline(std::vector<std::string> statements,
                                                                  Deadlines deadlines) {
  auto results = co_await pipeline(our_sql(std::move(statements)), deadlines);
  co_return results;
}

asio::awaitable<Result<Rows>> PgConnection::query(Statement statement, Deadlines deadlines) {
  std::vector<Statement> statements;
  statements.push_back(std::move(statement));
  auto results = co_await pipeline(std::move(statements), deadlines);
  if (!results) co_return results.error();
  co_return std::move(results->front());
}

asio::awaitable<Result<std::vector<std::optional<Failure>>>> PgConnection::read_statements(
    std::vector<std::string> statements, Deadlines deadlines) {
  heed_end();
  if (!is_usable()) co_return link_lost();
  bool sent = true;
  std::string const settings = recorded_ ? users_settings() : "";
  bool const is_bounded = lock_terms_.wait.count() > 0;
  for (auto const& statement : statements) {
    // A Sync behind each, so that one that is refused takes none of the others with it.
    if (is_bounded) sent = sent && send(lock_timeout_sql(lock_terms_.wait));
    if (!settings.empty()) sent = sent && send(settings);
    sent =
        sent && PQsendPrepare(connection_, "", statement.c_str(), 0, nullptr) == 1 && PQpipelineSync(connection_) == 1;
  }
  if (!sent) co_return link_lost();
  std::vector<std::optional<Failure>> refusals(statements.size());
  for (auto& refusal : refusals) {
    auto const read = co_await exchange(3, true, deadlines);
    if (!read && !is_usable()) co_return read.error();
    if (!read) refusal = read.error();
  }
  co_return refusals;
}

asio::awaitable<Result<Done>> PgConnection::script(std::string text, Deadlines deadlines) {
  heed_end();
  if (!is_usable()) co_return link_lost();
  bool const is_ours = text.starts_with("BEGIN");
  std::size_t const begun = text.find(';');
  if (is_ours && begun != std::string::npos) text.insert(begun + 1, " " + our_settings() + ";");
  if (is_ours && !preamble_.empty()) text.insert(0, preamble_ + "; ");
  if (PQexitPipelineMode(connection_) != 1 || PQsendQuery(connection_, text.c_str()) != 1) co_return link_lost();
  auto results = co_await exchange(1, false, deadlines);
  if (is_usable()) PQenterPipelineMode(connection_);
  if (!results) co_return results.error();
  co_return Done();
}

// Reads until the Sync comes back (pipeline), or until libpq has no more results (simple protocol).
asio::awaitable<Result<std::vector<Rows>>> PgConnection::exchange(std::size_t statements, bool has_sync,
                                                                  Deadlines deadlines) {
  auto const keep_alive = shared_from_this();
  is_waiting_ = true;
  auto const started = std::chrono::steady_clock::now();
  cancel_sent_ = false;
  warnings_.clear();
  debug_lines_.clear();
  arm(deadlines.client, ++exchange_);
  std::vector<Rows> results;
  results.reserve(statements);
  std::optional<Failure> failure;
  bool finished = false;
  bool alive = co_await flush();
  while (alive && !finished) {
    alive = co_await wait_until_ready();
    if (!alive) break;
    PgResultPtr const result(PQgetResult(connection_));
    // In a pipeline NULL only ends one statement's results.
    if (!result) {
      finished = !has_sync;
      if (has_sync && PQstatus(connection_) == CONNECTION_BAD) alive = false;
      continue;
    }
    switch (PQresultStatus(result.get())) {
      case PGRES_PIPELINE_SYNC:
        finished = true;
        break;
      case PGRES_PIPELINE_ABORTED:
        break;
      case PGRES_TUPLES_OK:
      case PGRES_COMMAND_OK:
      case PGRES_EMPTY_QUERY:
        results.push_back(rows_of(result.get()));
        break;
      default: {
        auto const elapsed =
            std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - started);
        if (!failure) failure = failure_of(result.get(), elapsed, deadlines);
      }
    }
    // A dying server may never send the Sync.
    if (!finished && PQstatus(connection_) == CONNECTION_BAD) alive = false;
  }
  ++exchange_;
  deadline_.cancel();
  is_waiting_ = false;
  co_await settle_cancel();
  heed_end();
  if (!alive) {
    socket_.release();
    if (!failure || failure->trouble != planner::Trouble::kConnection) failure = link_lost();
  }
  if (failure) co_return *failure;
  co_return results;
}

// libpq documents the deadlock otherwise: while there is something to send, reading must go on as well.
asio::awaitable<bool> PgConnection::flush() {
  while (true) {
    int const left = PQflush(connection_);
    if (left == 0) co_return true;
    if (left < 0) co_return false;
    boost::system::error_code error;
    co_await socket_.async_wait(asio::posix::stream_descriptor::wait_write,
                                asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return false;
    if (PQconsumeInput(connection_) != 1) co_return false;
  }
}

asio::awaitable<bool> PgConnection::wait_until_ready() {
  while (PQisBusy(connection_) != 0) {
    boost::system::error_code error;
    co_await socket_.async_wait(asio::posix::stream_descriptor::wait_read,
                                asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return false;
    if (PQconsumeInput(connection_) != 1) co_return PQisBusy(connection_) == 0;
  }
  co_return true;
}

// Whoever was interrupted has no use for the answer, and asks nothing more.
void PgConnection::heed_end() const {
  if (siblings_.is_cut_short()) throw CutShort();
}

void PgConnection::arm(std::chrono::milliseconds after, std::uint64_t exchange) {
  deadline_.expires_after(after);
  deadline_.async_wait([weak = weak_from_this(), exchange](boost::system::error_code error) {
    auto const self = weak.lock();
    if (error || !self || self->exchange_ != exchange) return;
    if (self->cancel_sent_) {
      self->socket_.cancel();
      return;
    }
    self->cancel_sent_ = true;
    self->cancel_on_server();
    self->arm(kCancelPatience, exchange);
  });
}

void PgConnection::cancel_on_server() {
  PGcancel* const cancel = PQgetCancel(connection_);
  if (cancel == nullptr) return;
  ++cancels_in_flight_;
  asio::post(blocking_, [self = shared_from_this(), cancel]() mutable {
    char error[256];
    PQcancel(cancel, error, sizeof error);
    PQfreeCancel(cancel);
    // The last reference may be this one: it has to go on the connection's own thread.
    auto executor = self->executor_;
    asio::post(executor, [self = std::move(self)] { --self->cancels_in_flight_; });
  });
}

// A cancel that is still on its way would hit the next statement.
asio::awaitable<void> PgConnection::settle_cancel() {
  while (cancels_in_flight_ > 0) {
    asio::steady_timer pause(executor_, 2ms);
    co_await pause.async_wait(asio::use_awaitable);
  }
}

int libpq_version() {
  return PQlibVersion();
}

}  // namespace pgbackfill::engine
