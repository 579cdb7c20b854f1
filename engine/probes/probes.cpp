#include "engine/probes/probes.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <optional>
#include <utility>

#include "engine/probes/http_probe.h"
#include "engine/probes/probe_rows.h"
#include "engine/probes/probe_sql.h"
#include "throttle/announcement.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using throttle::Sight;
using throttle::TimePoint;

constexpr char kApplicationName[] = "pgbackfill probes";
// A foreground commit that takes longer has to be known before it ends.
constexpr auto kCanaryIsSlow = 250ms;
constexpr auto kCanariesKept = 3s;
// A commit may wait for a synchronous standby for ever.
constexpr Deadlines kCanaryDeadlines{5'000ms, 5'000ms};
constexpr Deadlines kQuickDeadlines{2'000ms, 2'000ms};
constexpr Deadlines kSlowDeadlines{5'000ms, 5'000ms};
constexpr auto kFirstRetry = 100ms;
constexpr auto kLastRetry = 2'000ms;
constexpr auto kConnectTurn = 20ms;
// The size of many tables takes long to ask. It is then asked less often: it rests for so many times as long as it
// took.
constexpr int kLeastRest = 100;
constexpr int kPresenceRest = 50;  // the list of sessions, likewise
constexpr auto kMostRest = 60'000ms;
constexpr auto kCloseReplicaLag = 1'000ms;
// Who waits for less is asked for nothing: see docs/throttle.md#guards.
constexpr auto kMostLockWait = 50ms;

TimePoint now() {
  return std::chrono::steady_clock::now();
}

// One session that comes back by itself.
struct Line {
  explicit Line(asio::any_io_executor executor) : timer(std::move(executor)) {}

  asio::steady_timer timer;
  std::shared_ptr<PgConnection> connection;
  bool is_asking = false;
  int attempts = 0;
  std::string why;  // it is not connected

  milliseconds retry_delay() const {
    return std::min<milliseconds>(kLastRetry, kFirstRetry * (1 << std::min(attempts, 8)));
  }
  int pid() const { return connection ? connection->backend_pid() : 0; }
};

template <class Value>
void spoil_by(throttle::Sample<Value>& sample, Failure const& failure, TimePoint asked) {
  bool const is_forbidden = failure.sqlstate == "42501";
  bool const is_late = failure.sqlstate == "57014";
  spoil(sample, is_forbidden ? Sight::kNoPrivilege : Sight::kFailed, asked,
        is_late ? fmt::format("the server did not answer within {} ms", failure.elapsed.count()) : failure.message);
}

// Rows of another shape than expected are an unseen value, and no reason to end a run.
template <class Value, class Read>
void fill(throttle::Sample<Value>& sample, TimePoint asked, Read read) {
  try {
    sample = read();
  } catch (std::exception const& error) {
    spoil(sample, Sight::kFailed, asked, fmt::format("the server's answer could not be read: {}", error.what()));
  }
}

}  // namespace

// What is to be looked at, and what was seen.
struct Probes::Board {
  ConnectTarget target;
  std::vector<UserProbe> user_probes;
  probe_sql::OwnSessions own;
  bool batches_running = false;
  bool is_listening = false;
  milliseconds replication_period = kReplicationPeriod;
  milliseconds lock_wait = kMostLockWait;
  std::vector<std::uint32_t> tables;
  std::string announcement;
  throttle::Reading reading;
};

// The coroutines from one start() to its stop().
class Probes::Watch : public std::enable_shared_from_this<Probes::Watch> {
 public:
  Watch(asio::any_io_executor executor, asio::thread_pool& blocking, std::shared_ptr<Board> board)
      : executor_(executor),
        blocking_(blocking),
        board_(std::move(board)),
        canary_(executor),
        sessions_(executor),
        slow_(executor),
        slow_canary_(executor) {}

  void start();
  void stop();

 private:
  using Self = std::shared_ptr<Watch>;

  // Each runs until stop(); they are given themselves to stay alive.
  asio::awaitable<void> run_canary(Self self);
  asio::awaitable<void> run_sessions(Self self);
  asio::awaitable<void> run_slow(Self self);
  asio::awaitable<void> run_url(Self self, std::size_t index);

  asio::awaitable<void> pause(Line& line, TimePoint until);
  asio::awaitable<bool> connect(Line& line);
  asio::awaitable<bool> find_standby();
  asio::awaitable<Result<Rows>> ask(Line& line, std::string statement, Deadlines deadlines);
  asio::awaitable<Result<std::vector<Rows>>> ask_all(Line& line, std::vector<Statement> statements,
                                                     Deadlines deadlines);
  asio::awaitable<bool> ask_server(Line& line);

  asio::awaitable<void> ask_canary();
  asio::awaitable<void> ask_replication();
  asio::awaitable<void> ask_waiters();
  milliseconds replication_period() const;
  void note_no_waiters(TimePoint asked);
  asio::awaitable<TimePoint> ask_presence();
  asio::awaitable<void> ask_activity();
  asio::awaitable<void> ask_health();
  asio::awaitable<void> ask_user_sql(std::size_t index);
  asio::awaitable<void> ask_vacuum(throttle::HealthReading& health);
  asio::awaitable<void> ask_slow_ones(std::vector<TimePoint>& sql_due);
  void look_for_primary();

  void keep_canary(TimePoint asked, std::chrono::nanoseconds latency);
  void watch_for_slow_canary(TimePoint asked);
  void spoil_sessions();
  void spoil_slow();
  void note_standby(TimePoint asked);
  probe_sql::OwnSessions own() const;
  throttle::Reading& reading() { return board_->reading; }
  int version(Line const& line) const { return line.connection->server_version(); }

  asio::any_io_executor executor_;
  asio::thread_pool& blocking_;
  std::shared_ptr<Board> board_;
  Line canary_;
  Line sessions_;
  Line slow_;
  asio::steady_timer slow_canary_;
  std::vector<std::unique_ptr<asio::steady_timer>> url_timers_;
  std::optional<ServerFacts> facts_;
  bool is_pooled_ = false;
  std::string announced_;  // what sessions_ is called now, if it is not its first name
  bool is_connecting_ = false;
  bool is_stopping_ = false;
  TimePoint health_due_{};
  TimePoint vacuum_due_{};
  ReplicaMemory replicas_;
  WaiterMemory waiters_;
  ActivityMemory activity_;
  WalMemory wal_;
};

void Probes::Watch::start() {
  auto const fail_loudly = [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  };
  auto const self = shared_from_this();
  asio::co_spawn(executor_, run_canary(self), fail_loudly);
  asio::co_spawn(executor_, run_sessions(self), fail_loudly);
  asio::co_spawn(executor_, run_slow(self), fail_loudly);
  for (std::size_t index = 0; index < board_->user_probes.size(); ++index) {
    url_timers_.push_back(std::make_unique<asio::steady_timer>(executor_));
    if (!board_->user_probes[index].url.empty()) asio::co_spawn(executor_, run_url(self, index), fail_loudly);
  }
}

void Probes::Watch::stop() {
  is_stopping_ = true;
  for (auto* line : {&canary_, &sessions_, &slow_}) {
    line->timer.cancel();
    if (line->is_asking && line->connection) line->connection->cancel_on_server();
  }
  for (auto& timer : url_timers_) timer->cancel();
}

// --- Sessions --------------------------------------------------------------------------------------------------------

asio::awaitable<void> Probes::Watch::pause(Line& line, TimePoint until) {
  boost::system::error_code cancelled;
  line.timer.expires_at(until);
  co_await line.timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
}

// One at a time: connecting occupies one of the few blocking threads, which the workers need as well.
asio::awaitable<bool> Probes::Watch::connect(Line& line) {
  if (line.connection && line.connection->is_usable()) co_return true;
  line.connection.reset();
  while (is_connecting_ && !is_stopping_) co_await pause(line, now() + kConnectTurn);
  if (is_stopping_) co_return false;
  is_connecting_ = true;
  ConnectTarget target = board_->target;
  auto opened = co_await PgConnection::open(std::move(target), blocking_);
  is_connecting_ = false;
  if (opened && !(*opened)->is_standby()) {
    line.connection = *opened;
    line.attempts = 0;
    if (&line == &sessions_) announced_.clear();
    co_return !is_stopping_;
  }
  ++line.attempts;
  line.why = opened ? "the server is a standby" : "cannot connect to the server: " + opened.error().message;
  co_return false;
}

// Whether a standby answers where the primary does not.
asio::awaitable<bool> Probes::Watch::find_standby() {
  ConnectTarget target = board_->target;
  target.accepts_standby = true;
  auto const opened = co_await PgConnection::open(std::move(target), blocking_);
  co_return opened && (*opened)->is_standby();
}

asio::awaitable<Result<std::vector<Rows>>> Probes::Watch::ask_all(Line& line, std::vector<Statement> statements,
                                                                  Deadlines deadlines) {
  auto const connection = line.connection;
  line.is_asking = true;
  auto results = co_await connection->pipeline(std::move(statements), deadlines);
  line.is_asking = false;
  if (results) co_return results;
  line.why = results.error().message;
  // A pooler may have led us to a standby: find the primary again.
  bool const is_standby =
      results.error().trouble == planner::Trouble::kNotWritable || results.error().sqlstate == "55000";
  if (is_standby || !connection->is_usable()) {
    line.connection.reset();
    if (&line != &slow_) look_for_primary();
  }
  co_return results;
}

asio::awaitable<Result<Rows>> Probes::Watch::ask(Line& line, std::string statement, Deadlines deadlines) {
  std::vector<Statement> statements;
  statements.emplace_back(std::move(statement));
  auto results = co_await ask_all(line, std::move(statements), deadlines);
  if (!results) co_return results.error();
  co_return std::move(results->front());
}

// Rights, role, and whether a pooler is in between: it gives sessions numbers of its own.
asio::awaitable<bool> Probes::Watch::ask_server(Line& line) {
  int const pid = line.connection->backend_pid();
  auto const rows = co_await ask(line, probe_sql::server(), kSlowDeadlines);
  if (!rows) co_return false;
  try {
    facts_ = server_facts_of(*rows);
  } catch (std::exception const& error) {
    line.why = fmt::format("the server's answer could not be read: {}", error.what());
    co_return false;
  }
  is_pooled_ = facts_->backend_pid != pid;
  co_return true;
}

probe_sql::OwnSessions Probes::Watch::own() const {
  auto own = board_->own;
  own.is_pooled = is_pooled_;
  for (auto const* line : {&canary_, &sessions_, &slow_}) {
    if (line->connection) own.probes.push_back(line->pid());
  }
  return own;
}

// --- The canary ------------------------------------------------------------------------------------------------------

asio::awaitable<void> Probes::Watch::run_canary(Self /*self*/) {
  TimePoint due = now();
  while (!is_stopping_) {
    co_await pause(canary_, due);
    bool const is_connected = co_await connect(canary_);
    if (is_stopping_) break;
    if (is_connected) {
      co_await ask_canary();
      due = std::max(due + (board_->is_listening ? kListeningCanaryPeriod : kCanaryPeriod), now());
    } else {
      spoil(reading().canary, Sight::kFailed, now(), canary_.why);
      due = now() + canary_.retry_delay();
    }
  }
  canary_.connection.reset();
}

asio::awaitable<void> Probes::Watch::ask_canary() {
  TimePoint const asked = now();
  watch_for_slow_canary(asked);
  auto const done = co_await ask(canary_, probe_sql::canary(), kCanaryDeadlines);
  slow_canary_.cancel();
  if (done) {
    keep_canary(asked, now() - asked);
  } else {
    spoil_by(reading().canary, done.error(), asked);
  }
}

// Whoever commits now waits as well: that is told while it lasts, not when it is over.
void Probes::Watch::watch_for_slow_canary(TimePoint asked) {
  slow_canary_.expires_after(kCanaryIsSlow);
  slow_canary_.async_wait([weak = weak_from_this(), asked](boost::system::error_code error) {
    auto const self = weak.lock();
    if (error || !self || self->is_stopping_ || !self->canary_.is_asking) return;
    self->keep_canary(now(), now() - asked);
    self->watch_for_slow_canary(asked);
  });
}

void Probes::Watch::keep_canary(TimePoint asked, std::chrono::nanoseconds latency) {
  throttle::CanaryReading const canary{asked, latency};
  auto& kept = reading().canaries;
  std::erase_if(kept, [&](auto const& each) { return each.at + kCanariesKept < asked; });
  kept.push_back(canary);
  reading().canary = seen(canary, asked);
}

// --- Replicas, waiters, sessions, WAL --------------------------------------------------------------------------------

void Probes::Watch::spoil_sessions() {
  TimePoint const at = now();
  spoil(reading().replication, Sight::kFailed, at, sessions_.why);
  spoil(reading().waiters, Sight::kFailed, at, sessions_.why);
  spoil(reading().presence, Sight::kFailed, at, sessions_.why);
  spoil(reading().activity, Sight::kFailed, at, sessions_.why);
  spoil(reading().wal, Sight::kFailed, at, sessions_.why);
  spoil(reading().slots, Sight::kFailed, at, sessions_.why);
  spoil(reading().elsewhere, Sight::kFailed, at, sessions_.why);
}

asio::awaitable<void> Probes::Watch::run_sessions(Self /*self*/) {
  TimePoint replication_due = now();
  TimePoint waiters_due = replication_due;
  TimePoint activity_due = replication_due;
  TimePoint presence_due = replication_due;
  while (!is_stopping_) {
    TimePoint const next = std::min({waiters_due, replication_due, activity_due, presence_due});
    co_await pause(sessions_, next);
    bool is_ready = co_await connect(sessions_);
    if (is_ready && !facts_) is_ready = co_await ask_server(sessions_);
    if (is_stopping_) break;
    if (!is_ready) {
      spoil_sessions();
      replication_due = waiters_due = activity_due = presence_due = now() + sessions_.retry_delay();
      continue;
    }
    // Whatever loses the connection leaves the rest to the next round.
    if (now() >= presence_due) presence_due = co_await ask_presence();
    if (!sessions_.connection) continue;
    if (now() >= waiters_due) {
      waiters_due = std::max(waiters_due + kWaiterPeriod, now());
      co_await ask_waiters();
    }
    if (sessions_.connection && now() >= replication_due) {
      replication_due = std::max(replication_due + replication_period(), now());
      co_await ask_replication();
    }
    if (sessions_.connection && now() >= activity_due) {
      activity_due = std::max(activity_due + kActivityPeriod, now());
      co_await ask_activity();
    }
  }
  sessions_.connection.reset();
}

// When to ask next: a list of thousands of sessions is asked for less often.
asio::awaitable<TimePoint> Probes::Watch::ask_presence() {
  TimePoint const asked = now();
  if (!facts_->sees_all) {
    spoil(reading().presence, Sight::kNoPrivilege, asked, missing_right(*facts_, "other roles' sessions"));
    co_return asked + kActivityPeriod;
  }
  auto const rows = co_await ask(sessions_, probe_sql::presence(own(), kPresencePeriod), kQuickDeadlines);
  if (rows) {
    fill(reading().presence, asked, [&] {
      return seen(throttle::PresenceReading{asked, std::stoi(rows->at(0, 0)), std::stoi(rows->at(0, 1))}, asked);
    });
  } else {
    spoil_by(reading().presence, rows.error(), asked);
  }
  auto const took = now() - asked;
  co_return std::max(asked + std::max<std::chrono::nanoseconds>(kPresencePeriod, kPresenceRest * took), now());
}

asio::awaitable<void> Probes::Watch::ask_replication() {
  TimePoint const asked = now();
  std::vector<Statement> statements = {probe_sql::replication(), probe_sql::slots()};
  auto const results = co_await ask_all(sessions_, std::move(statements), kQuickDeadlines);
  if (!results) {
    spoil_by(reading().replication, results.error(), asked);
    spoil_by(reading().slots, results.error(), asked);
    co_return;
  }
  fill(reading().replication, asked, [&] { return seen(replicas_.read(results->at(0), *facts_, asked), asked); });
  fill(reading().slots, asked, [&] { return seen(slots_of(results->at(1), asked), asked); });
}

// Slots are looked at more closely, also those without a bound: it may be set at any time.
milliseconds Probes::Watch::replication_period() const {
  bool const has_slots = !board_->reading.slots.value.slots.empty();
  return has_slots ? std::min(kCloseReplicationPeriod, board_->replication_period) : board_->replication_period;
}

void Probes::Watch::note_no_waiters(TimePoint asked) {
  throttle::WaiterReading none;
  none.at = asked;
  reading().waiters = seen(none, asked);
  waiters_ = WaiterMemory();
}

asio::awaitable<void> Probes::Watch::ask_waiters() {
  TimePoint const asked = now();
  if (!board_->batches_running) co_return note_no_waiters(asked);
  auto const may_wait = co_await ask(sessions_, probe_sql::may_somebody_wait(), kQuickDeadlines);
  if (!may_wait) {
    spoil_by(reading().waiters, may_wait.error(), asked);
    co_return;
  }
  if (may_wait->at(0, 0) == "f") co_return note_no_waiters(asked);
  auto const own_sessions = own();
  auto statement = probe_sql::waiters(version(sessions_), own_sessions, board_->lock_wait, waiters_.known(asked));
  auto const rows = co_await ask(sessions_, std::move(statement), kQuickDeadlines);
  if (!rows) {
    spoil_by(reading().waiters, rows.error(), asked);
    co_return;
  }
  fill(reading().waiters, asked, [&] { return seen(waiters_.read(*rows, asked), asked); });
}

asio::awaitable<void> Probes::Watch::ask_activity() {
  TimePoint const asked = now();
  auto const own_sessions = own();
  std::vector<Statement> statements;
  statements.emplace_back(probe_sql::activity(version(sessions_), own_sessions));
  statements.emplace_back(probe_sql::wal(version(sessions_), own_sessions));
  statements.emplace_back(probe_sql::elsewhere());
  // A pooler hands the session on, and the name with it: then nothing is announced.
  std::string const announcement = sessions_.connection->is_direct() ? board_->announcement : "";
  bool const is_news = !announcement.empty() && announcement != announced_;
  if (is_news) statements.emplace_back(probe_sql::announce(announcement));
  auto const results = co_await ask_all(sessions_, std::move(statements), kQuickDeadlines);
  if (!results) {
    spoil_by(reading().activity, results.error(), asked);
    spoil_by(reading().wal, results.error(), asked);
    spoil_by(reading().elsewhere, results.error(), asked);
    co_return;
  }
  if (is_news) announced_ = announcement;
  fill(reading().elsewhere, asked, [&] { return seen(neighbours_elsewhere(results->at(2)), asked); });
  if (facts_->sees_all) {
    fill(reading().activity, asked, [&] { return seen(activity_.read(results->at(0), asked), asked); });
  } else {
    spoil(reading().activity, Sight::kNoPrivilege, asked, missing_right(*facts_, "other roles' sessions"));
  }
  fill(reading().wal, asked, [&] {
    throttle::Lsn const inserted = std::stoull(results->at(0).at(0, 2));
    return seen(wal_.read(results->at(1), inserted, asked), asked);
  });
}

// --- What changes slowly, and users' SQL -----------------------------------------------------------------------------

void Probes::Watch::spoil_slow() {
  TimePoint const at = now();
  spoil(reading().health, Sight::kFailed, at, slow_.why);
  reading().health.value.is_writable = false;
  for (std::size_t index = 0; index < board_->user_probes.size(); ++index) {
    if (!board_->user_probes[index].sql.empty()) spoil(reading().probes[index].value, Sight::kFailed, at, slow_.why);
  }
}

void Probes::Watch::note_standby(TimePoint asked) {
  constexpr char kWhy[] = "no server that can be reached accepts changes: it is a standby";
  throttle::HealthReading health;
  health.at = asked;
  health.is_writable = false;
  spoil(health.archive, Sight::kMissing, asked, kWhy);
  spoil(health.vacuum, Sight::kMissing, asked, kWhy);
  spoil(health.wraparound_age, Sight::kMissing, asked, kWhy);
  reading().health = seen(std::move(health), asked);
}

// Who loses a connection may be the first to know that the primary is another server.
void Probes::Watch::look_for_primary() {
  health_due_ = now();
  slow_.timer.cancel();
}

asio::awaitable<void> Probes::Watch::run_slow(Self /*self*/) {
  health_due_ = now();
  std::vector<TimePoint> sql_due;
  for (auto const& probe : board_->user_probes) sql_due.push_back(probe.sql.empty() ? TimePoint::max() : now());
  while (!is_stopping_) {
    TimePoint next = health_due_;
    for (auto const& due : sql_due) next = std::min(next, due);
    co_await pause(slow_, next);
    TimePoint const asked = now();
    bool const is_connected = co_await connect(slow_);
    if (is_stopping_) break;
    if (is_connected) {
      co_await ask_slow_ones(sql_due);
      continue;
    }
    spoil_slow();
    bool const is_standby = co_await find_standby();
    if (is_standby) note_standby(asked);
    health_due_ = now() + slow_.retry_delay();
    for (auto& due : sql_due) due = std::max(due, health_due_);
  }
  slow_.connection.reset();
}

// What is due.
asio::awaitable<void> Probes::Watch::ask_slow_ones(std::vector<TimePoint>& sql_due) {
  if (now() >= health_due_) {
    health_due_ = now() + kHealthPeriod;
    co_await ask_health();
  }
  for (std::size_t index = 0; index < sql_due.size() && slow_.connection; ++index) {
    if (now() < sql_due[index]) continue;
    sql_due[index] = now() + board_->user_probes[index].interval;
    co_await ask_user_sql(index);
  }
  if (slow_.connection) co_return;
  // It was lost or led to a standby: connect at once, which tells more.
  spoil_slow();
  health_due_ = now();
}

asio::awaitable<void> Probes::Watch::ask_health() {
  TimePoint const asked = now();
  bool const is_known = co_await ask_server(slow_);
  if (!is_known) {
    spoil(reading().health, Sight::kFailed, asked, slow_.why);
    co_return;
  }
  if (facts_->is_standby) {
    note_standby(asked);
    slow_.connection.reset();
    co_return;
  }
  throttle::HealthReading health = reading().health.value;
  health.at = asked;
  health.is_writable = true;
  health.wraparound_age = seen(facts_->wraparound_age, asked);
  auto const archive = co_await ask(slow_, probe_sql::archive(facts_->may_list_archive), kSlowDeadlines);
  if (!archive) {
    spoil_by(health.archive, archive.error(), asked);
  } else {
    fill(health.archive, asked, [&] { return archive_of(*archive, *facts_, asked); });
  }
  bool const is_vacuum_due = asked >= vacuum_due_ && !board_->tables.empty();
  if (slow_.connection && is_vacuum_due) co_await ask_vacuum(health);
  if (slow_.connection) reading().health = seen(std::move(health), asked);
}

asio::awaitable<void> Probes::Watch::ask_vacuum(throttle::HealthReading& health) {
  TimePoint const asked = now();
  auto const vacuum = co_await ask(slow_, probe_sql::vacuum(board_->tables), kSlowDeadlines);
  TimePoint::duration const rest = (now() - asked) * kLeastRest;
  vacuum_due_ = asked + std::min<TimePoint::duration>(rest, kMostRest);
  if (!vacuum) {
    spoil_by(health.vacuum, vacuum.error(), asked);
  } else {
    fill(health.vacuum, asked, [&] { return vacuum_of(*vacuum, asked); });
  }
}

asio::awaitable<void> Probes::Watch::ask_user_sql(std::size_t index) {
  auto const& probe = board_->user_probes[index];
  TimePoint const asked = now();
  std::vector<Statement> statements = {probe_sql::limits_of_user_sql(probe.timeout), users_sql(probe.sql)};
  // The server ends it in time; the client's own deadline is for a server that does not.
  Deadlines const deadlines{probe.timeout, probe.timeout + 1'000ms};
  auto const results = co_await ask_all(slow_, std::move(statements), deadlines);
  auto& sample = reading().probes[index].value;
  if (!results) {
    spoil_by(sample, results.error(), asked);
  } else {
    fill(sample, asked, [&] { return number_of(results->back(), asked); });
  }
}

// --- Users' URLs -----------------------------------------------------------------------------------------------------

asio::awaitable<void> Probes::Watch::run_url(Self self, std::size_t index) {
  auto const& probe = board_->user_probes[index];
  auto& timer = *url_timers_[index];
  auto& sample = reading().probes[index].value;
  auto const parsed = parse_url(probe.url);
  if (auto const* wrong = std::get_if<std::string>(&parsed)) {
    spoil(sample, Sight::kFailed, now(), *wrong);
    co_return;
  }
  Url const url = std::get<Url>(parsed);
  boost::system::error_code cancelled;
  while (!is_stopping_) {
    TimePoint const asked = now();
    HttpCall call;
    call.url = url;
    call.ca_file = probe.ca_file;
    call.timeout = probe.timeout;
    call.is_stopping = [watch = self.get()] { return watch->is_stopping_; };
    auto const answer = co_await http_call(std::move(call));
    if (answer) {
      fill(sample, asked, [&] { return judge(url, *answer, asked); });
    } else {
      spoil(sample, Sight::kFailed, asked, answer.error().message);
    }
    if (is_stopping_) break;
    timer.expires_at(asked + probe.interval);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
  }
}

// --- The whole -------------------------------------------------------------------------------------------------------

std::vector<UserProbe> user_probes(planner::Migration const& migration) {
  std::vector<UserProbe> probes;
  for (auto const& option : migration.probes) {
    std::string const url = option.query.empty() ? option.url : prometheus_query_url(option.url, option.query);
    probes.push_back(
        {option.name, option.sql, url, option.max.value_or(0), option.interval, option.timeout, option.ca_file});
  }
  return probes;
}

Probes::Probes(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target,
               std::vector<UserProbe> user_probes)
    : executor_(std::move(executor)), blocking_(blocking), board_(std::make_shared<Board>()) {
  board_->target = std::move(target);
  board_->target.application_name = kApplicationName;
  board_->user_probes = std::move(user_probes);
  for (auto const& probe : board_->user_probes) {
    throttle::ProbeReading reading;
    reading.name = probe.name;
    reading.limit = probe.limit;
    board_->reading.probes.push_back(std::move(reading));
  }
}

Probes::~Probes() {
  stop();
}

void Probes::start() {
  if (watch_) return;
  watch_ = std::make_shared<Watch>(executor_, blocking_, board_);
  watch_->start();
}

void Probes::stop() {
  if (!watch_) return;
  watch_->stop();
  watch_.reset();
}

throttle::Reading const& Probes::reading() const {
  return board_->reading;
}

void Probes::set_own_sessions(std::vector<int> pids) {
  board_->own.workers = std::move(pids);
}

void Probes::set_batches_running(bool are_running) {
  board_->batches_running = are_running;
}

void Probes::set_listening(bool is_listening) {
  board_->is_listening = is_listening;
}

void Probes::set_limits(throttle::Limits const& limits) {
  board_->replication_period = limits.replica_lag < kCloseReplicaLag ? kCloseReplicationPeriod : kReplicationPeriod;
  board_->lock_wait = std::min<milliseconds>(limits.lock_wait, kMostLockWait);
}

void Probes::announce(throttle::NeighbourReading const& self) {
  board_->announcement = throttle::announcement_of(self);
}

void Probes::set_tables(std::vector<std::uint32_t> tables) {
  board_->tables = std::move(tables);
}

}  // namespace pgbackfill::engine
