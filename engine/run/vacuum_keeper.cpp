#include "engine/run/vacuum_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "engine/state/state_store.h"
#include "engine/state/typed_rows.h"
#include "planner/model/duration.h"
#include "planner/model/work_kind.h"
#include "planner/work/vacuum_sql.h"
#include "throttle/table_fill.h"
#include "throttle/vacuum_debt.h"
#include "throttle/vacuum_pace.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using throttle::TimePoint;

// At full speed a small table changes by a few percent in this time.
constexpr auto kLookInterval = 250ms;
constexpr auto kShortestLookInterval = 20ms;
constexpr auto kLookIntervalOfMany = 2'000ms;
constexpr std::size_t kManyTables = 64;
constexpr auto kIdleInterval = 500ms;
constexpr Deadlines kLookDeadlines{5'000ms, 10'000ms};
// A vacuum takes as long as it takes; the client only has to give up some day.
constexpr Deadlines kVacuumDeadlines{std::chrono::hours(48), std::chrono::hours(48)};
constexpr auto kFirstRetry = 1'000ms;
constexpr auto kLastRetry = 60'000ms;
constexpr auto kStopTurn = 5ms;
constexpr auto kStopPatience = 6'000ms;
constexpr char kLockNotAvailable[] = "55P03";
constexpr char kCancelled[] = "57014";

// So that a vacuum neither ends by a timeout of the role nor waits for an index that somebody locked, and ends when
// this program is gone. Of the session, hence only where the session is ours.
std::string session_settings(int server_version) {
  constexpr int kWithConnectionCheck = 140'000;
  std::string text = "SET statement_timeout = 0; SET lock_timeout = '2s'";
  if (server_version >= kWithConnectionCheck) text += "; SET client_connection_check_interval = '5s'";
  return text;
}

// kHorizon
struct HorizonRow {
  std::string holder;
  std::int64_t age = 0;
  std::optional<bool> is_ours;
};

// Whose snapshot is the oldest that vacuum has to heed here: who, how many transactions ago, and whether it is a batch
// of a backfill. Whoever takes that name only makes the workers wait for him within the room that is left.
constexpr char kHorizon[] =
    "SELECT held.who, held.age, held.is_ours FROM (SELECT 'the transaction of pid ' || s.pid || ' (' || "
    "coalesce(nullif("
    "s.application_name, ''), 'no application name') || ', ' || coalesce(pg_get_userbyid(s.usesysid), '?') || ')' AS "
    "who, greatest(age(s.backend_xmin), age(s.backend_xid)) AS age, s.application_name = 'pgbackfill' AS is_ours "
    "FROM pg_stat_get_activity(NULL) s WHERE s.pid <> pg_backend_pid() AND s.datid = (SELECT oid FROM pg_database "
    "WHERE datname = current_database()) AND s.pid NOT IN "
    "(SELECT v.pid FROM pg_stat_get_progress_info('VACUUM') v) UNION ALL SELECT 'the prepared transaction ' || p.gid, "
    "age(p.transaction), false FROM pg_prepared_xacts p WHERE p.database = current_database() UNION ALL SELECT 'the "
    "slot ' || t.slot_name, age(t.xmin), false FROM pg_replication_slots t UNION ALL SELECT 'a query on replica ' || "
    "r.application_name, age(r.backend_xmin), false FROM pg_stat_replication r) AS held WHERE held.age IS NOT NULL "
    "ORDER "
    "BY held.age DESC LIMIT 1";

TimePoint now() {
  return std::chrono::steady_clock::now();
}

struct KeptTable {
  int leaf = 0;
  std::string relation;
  std::uint64_t bytes_at_start = 0;
  throttle::VacuumDebt debt;
  bool may_vacuum = true;
  throttle::VacuumAdvice advice = {};
  bool is_bounded = true;  // by the rows of the advice; not where nothing is going to free room
  double in_flight = 0;    // rows of batches that have not ended
  double charged = 0;      // rows that the advice cannot know of: of batches that ran since the table was looked at
  int failures = 0;        // in a row
  TimePoint not_before = {};
};

}  // namespace

class VacuumKeeper::Watch : public std::enable_shared_from_this<VacuumKeeper::Watch> {
 public:
  Watch(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target, Job const& job,
        EventSink& sink);

  void start();
  asio::awaitable<void> stop();
  void set_working(bool is_working);
  void set_beside_others(bool is_beside_others);

  double rows_left(int leaf);
  void charge(int leaf, std::int64_t rows);
  void settle(int leaf, std::int64_t rows, std::int64_t changed);

  throttle::Limits limits;
  int processes = 1;
  double wal_per_second = throttle::kUnlimited;
  throttle::GrowthHold hold;

 private:
  using Self = std::shared_ptr<Watch>;

  asio::awaitable<void> run(Self self);
  asio::awaitable<void> learn_needs();
  asio::awaitable<void> look();
  asio::awaitable<void> vacuum(Self self, std::size_t index);
  asio::awaitable<bool> connect(std::shared_ptr<PgConnection>& connection, bool is_for_vacuum);
  asio::awaitable<bool> set_pace(throttle::VacuumDebt const& debt);
  asio::awaitable<void> pause(milliseconds duration);

  void judge(Rows const& tables, Rows const& horizon);
  void conclude();
  void see_outcome(KeptTable& table, Result<Done> const& outcome, milliseconds took);
  void cancel_vacuum();
  KeptTable* find(int leaf);
  bool is_wanted() const { return limits.mode != throttle::Mode::kOff && limits.bloat > 0; }
  // Says a thing of a table once, until it is no longer so.
  void tell_once(KeptTable const& table, std::string const& what, bool is_so, std::string text);
  void tell(Severity severity, std::string text);

  asio::any_io_executor executor_;
  asio::thread_pool& blocking_;
  ConnectTarget target_;
  std::int64_t job_id_;
  std::string migration_;
  EventSink& sink_;
  asio::steady_timer timer_;
  std::vector<KeptTable> tables_;
  std::shared_ptr<PgConnection> look_connection_;
  std::shared_ptr<PgConnection> vacuum_connection_;
  std::map<std::pair<int, std::string>, bool> told_;
  bool is_working_ = false;
  bool is_stopping_ = false;
  bool is_running_ = false;
  bool is_vacuuming_ = false;
  std::size_t vacuumed_ = 0;  // index of the table, while is_vacuuming_
  TimePoint looked_at_{};
  bool is_cancelled_ = false;  // the vacuum that runs, by us
  bool is_beside_others_ = false;
  bool is_fast_ = false;          // the vacuum that runs
  bool is_session_ours_ = false;  // the one that vacuums, with its settings
  bool knows_needs_ = false;
};

VacuumKeeper::Watch::Watch(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target,
                           Job const& job, EventSink& sink)
    : executor_(executor),
      blocking_(blocking),
      target_(std::move(target)),
      job_id_(job.id),
      migration_(job.name),
      sink_(sink),
      timer_(executor) {
  target_.application_name = "pgbackfill vacuum";
  bool const makes_dead_rows = planner::traits_of(job.backfill.kind).replaces_rows;
  for (std::size_t leaf = 0; makes_dead_rows && leaf < job.leaves.size(); ++leaf) {
    auto const& plan = job.leaves[leaf];
    throttle::VacuumDebt debt(plan.relation, plan.heap_bytes, plan.rows_estimated);
    if (debt.is_exempt()) continue;
    tables_.push_back({static_cast<int>(leaf), plan.relation, plan.heap_bytes, std::move(debt)});
  }
}

void VacuumKeeper::Watch::start() {
  if (tables_.empty() || is_running_) return;
  is_running_ = true;
  is_stopping_ = false;
  auto const fail_loudly = [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  };
  asio::co_spawn(executor_, run(shared_from_this()), fail_loudly);
}

asio::awaitable<void> VacuumKeeper::Watch::stop() {
  is_stopping_ = true;
  cancel_vacuum();
  timer_.cancel();
  auto const until = now() + kStopPatience;
  while ((is_running_ || is_vacuuming_) && now() < until) {
    asio::steady_timer turn(executor_, kStopTurn);
    co_await turn.async_wait(asio::use_awaitable);
  }
}

void VacuumKeeper::Watch::set_working(bool is_working) {
  // The first look is the one that counts where an earlier job has left dead rows.
  if (is_working && !is_working_) {
    for (auto& table : tables_) table.advice = table.debt.advise(limits.bloat, table.may_vacuum);
    timer_.cancel();
  }
  is_working_ = is_working;
  if (!is_working_) cancel_vacuum();
}

void VacuumKeeper::Watch::set_beside_others(bool is_beside_others) {
  is_beside_others_ = is_beside_others;
  if (is_beside_others_ && is_fast_) cancel_vacuum();
}

void VacuumKeeper::Watch::cancel_vacuum() {
  if (!is_vacuuming_ || is_cancelled_) return;
  is_cancelled_ = true;
  if (vacuum_connection_) vacuum_connection_->cancel_on_server();
}

asio::awaitable<void> VacuumKeeper::Watch::pause(milliseconds duration) {
  if (is_stopping_) co_return;
  boost::system::error_code cancelled;
  timer_.expires_after(duration);
  co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
}

asio::awaitable<void> VacuumKeeper::Watch::run(Self /*self*/) {
  milliseconds const interval = tables_.size() > kManyTables ? kLookIntervalOfMany : kLookInterval;
  while (!is_stopping_) {
    if (is_working_ && is_wanted()) {
      if (!knows_needs_) co_await learn_needs();
      co_await look();
      conclude();
      co_await pause(interval);
    } else {
      hold = throttle::GrowthHold();
      co_await pause(kIdleInterval);
    }
  }
  hold = throttle::GrowthHold();
  is_running_ = false;
}

asio::awaitable<bool> VacuumKeeper::Watch::connect(std::shared_ptr<PgConnection>& connection, bool is_for_vacuum) {
  if (connection && connection->is_usable()) co_return true;
  connection.reset();
  ConnectTarget target = target_;
  auto opened = co_await PgConnection::open(std::move(target), blocking_);
  if (!opened || (*opened)->is_standby()) co_return false;
  if (is_for_vacuum) {
    auto pid = co_await (*opened)->query("SELECT pg_backend_pid()", kLookDeadlines);
    if (!pid) co_return false;
    // Behind a pooler the session is not ours, and its settings would be others' as well.
    is_session_ours_ = state::value_as<int>(*pid) == (*opened)->backend_pid();
    std::string settings = session_settings((*opened)->server_version());
    if (is_session_ours_) {
      auto const set = co_await (*opened)->script(std::move(settings), kLookDeadlines);
      if (!set) co_return false;
    }
  }
  connection = *opened;
  co_return true;
}

// Half of what may be written, for the backfill goes on beside it.
asio::awaitable<bool> VacuumKeeper::Watch::set_pace(throttle::VacuumDebt const& debt) {
  if (!is_session_ours_) co_return true;
  throttle::VacuumNeed need;
  need.is_beside_others = is_beside_others_;
  need.pages_per_second = debt.pages_per_second();
  need.is_near_budget = debt.is_near(limits.bloat);
  auto const pace = throttle::vacuum_pace(wal_per_second / 2, need);
  is_fast_ = !pace;
  std::string settings =
      pace ? fmt::format("SET vacuum_cost_delay = {}; SET vacuum_cost_limit = {}", pace->delay.count(), pace->limit)
           : std::string("RESET vacuum_cost_delay; RESET vacuum_cost_limit");
  auto const connection = vacuum_connection_;
  auto const set = co_await connection->script(std::move(settings), kLookDeadlines);
  co_return set.has_value();
}

// --- Looking ---------------------------------------------------------------------------------------------------------

// Once a job: what a later process would see is what this one left.
asio::awaitable<void> VacuumKeeper::Watch::learn_needs() {
  bool const is_connected = co_await connect(look_connection_, false);
  if (!is_connected || is_stopping_) co_return;
  auto const connection = look_connection_;
  std::string statement = state::leaf_fill(job_id_, throttle::kLeastBytesToVacuum);
  auto const seen = co_await connection->query(std::move(statement), kLookDeadlines);
  // Without it all of the file counts as needed.
  knows_needs_ = true;
  if (!seen) {
    tell(Severity::kDebug, "how full the table is could not be read: " + seen.error().message);
    co_return;
  }
  std::vector<std::string> statements;
  for (auto const& row : seen->rows) {
    auto const fill = state::leaf_fill_of(row);
    std::uint64_t const needed = fill.bytes_needed ? *fill.bytes_needed : throttle::bytes_needed(fill.table);
    if (!fill.bytes_needed) statements.push_back(state::set_bytes_needed(job_id_, fill.leaf, needed));
    for (auto& table : tables_) {
      if (table.leaf != fill.leaf) continue;
      table.debt.set_bytes_needed(needed);
      table.debt.set_rows(fill.table.rows);
    }
  }
  if (statements.empty()) co_return;
  auto const stored = co_await connection->pipeline(std::move(statements), kLookDeadlines);
  if (!stored) tell(Severity::kDebug, "how full the table is could not be stored: " + stored.error().message);
}

asio::awaitable<void> VacuumKeeper::Watch::look() {
  bool const is_connected = co_await connect(look_connection_, false);
  if (!is_connected) {
    for (auto& table : tables_) table.advice = throttle::VacuumAdvice();
  }
  if (!is_connected || is_stopping_) co_return;
  looked_at_ = now();
  for (auto& table : tables_) table.charged = table.in_flight;
  auto const connection = look_connection_;
  state::LocalSettings settings;
  settings.statement_timeout = kLookDeadlines.statement;
  settings.lock_timeout = kLookDeadlines.statement;
  std::vector<std::string> statements = {
      state::local_settings(settings),
      state::leaf_growth(job_id_, throttle::kLeastBytesToVacuum, connection->server_version()), kHorizon};
  auto seen = co_await connection->pipeline(std::move(statements), kLookDeadlines);
  if (!seen) {
    tell(Severity::kDebug, "the growth of the table could not be read: " + seen.error().message);
    // What is not seen holds nobody: the run goes on as without a budget.
    for (auto& table : tables_) table.advice = throttle::VacuumAdvice();
    co_return;
  }
  judge(seen->at(1), seen->at(2));
}

void VacuumKeeper::Watch::judge(Rows const& tables, Rows const& horizon) {
  auto const oldest = state::first_as<HorizonRow>(horizon);
  for (auto const& row : state::rows_as<state::LeafGrowth>(tables)) {
    auto* const found = find(row.leaf);
    if (found == nullptr) continue;
    throttle::TableReading reading;
    reading.at = now();
    reading.bytes = row.bytes;
    reading.rows_changed = row.rows_changed;
    reading.rows_dead = row.rows_dead;
    reading.rows_updated = row.rows_updated;
    reading.vacuums = row.vacuums;
    reading.is_locked = row.is_locked;
    reading.next_xid = row.next_xid;
    if (oldest) {
      auto const age = std::max<std::int64_t>(oldest->age, 0);
      reading.horizon = reading.next_xid - std::min(static_cast<std::uint64_t>(age), reading.next_xid);
      reading.holder = oldest->holder;
      reading.is_held_by_us = oldest->is_ours.value_or(false);
    }
    found->may_vacuum = row.may_vacuum;
    found->debt.see(reading);
    found->advice = found->debt.advise(limits.bloat, found->may_vacuum);
    tell_once(*found, "right", !found->may_vacuum && found->debt.growth() > limits.bloat / 4,
              fmt::format("role {} may not vacuum {}, so the room of old rows is used again only when autovacuum comes "
                          "by: run as its owner{}",
                          row.role, found->relation,
                          look_connection_->server_version() >= 170'000
                              ? fmt::format(", or GRANT MAINTAIN ON {} TO {}", found->relation, row.role)
                              : ""));
    tell_once(*found, "held", found->advice.is_held, found->advice.text);
    tell_once(*found, "over", found->debt.has_grown() && found->debt.growth() > limits.bloat,
              fmt::format("{} grew beyond its budget: {}; rows that came in or got wider count too", found->relation,
                          found->debt.say_growth(limits.bloat)));
  }
}

void VacuumKeeper::Watch::conclude() {
  throttle::GrowthHold next;
  KeptTable* due = nullptr;
  for (auto& table : tables_) {
    auto const& advice = table.advice;
    if (next.text.empty() || advice.share < next.share) {
      next.share = std::min(next.share, advice.share);
      next.text = advice.text;
      next.is_held = advice.is_held;
    }
    bool const is_ready = advice.should_vacuum && now() >= table.not_before;
    bool const is_behind_another = is_vacuuming_ && &table != &tables_[vacuumed_];
    table.is_bounded = !advice.should_vacuum || (is_ready && !is_behind_another);
    if (is_ready && (due == nullptr || table.debt.debt() > due->debt.debt())) due = &table;
  }
  if (limits.mode != throttle::Mode::kOn) {
    if (due != nullptr) tell_once(*due, "observed", true, "throttle.mode on would vacuum " + due->relation + " now");
    hold = throttle::GrowthHold();
    return;
  }
  hold = std::move(next);
  if (due == nullptr || is_vacuuming_ || is_stopping_ || !is_working_) return;
  is_vacuuming_ = true;
  is_cancelled_ = false;
  vacuumed_ = static_cast<std::size_t>(due - tables_.data());
  auto const fail_loudly = [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  };
  asio::co_spawn(executor_, vacuum(shared_from_this(), vacuumed_), fail_loudly);
}

// --- Vacuuming -------------------------------------------------------------------------------------------------------

asio::awaitable<void> VacuumKeeper::Watch::vacuum(Self /*self*/, std::size_t index) {
  KeptTable& table = tables_[index];
  bool is_connected = co_await connect(vacuum_connection_, true);
  if (is_connected) is_connected = co_await set_pace(table.debt);
  if (is_connected && !is_cancelled_) {
    auto const connection = vacuum_connection_;
    auto const began = now();
    table.debt.vacuum_began(began);
    table.advice = table.debt.advise(limits.bloat, table.may_vacuum);
    conclude();
    tell(Severity::kDebug, fmt::format("vacuum of {} begins: it grew by {:.1f} %, old rows are {:.1f} % of it",
                                       table.relation, table.debt.growth() * 100, table.debt.debt() * 100));
    std::string statement = planner::vacuum_sql(table.relation, connection->server_version());
    auto const outcome = co_await connection->script(std::move(statement), kVacuumDeadlines);
    see_outcome(table, outcome, std::chrono::duration_cast<milliseconds>(now() - began));
  } else if (!is_connected) {
    table.not_before = now() + kFirstRetry;
  }
  is_vacuuming_ = false;
  is_fast_ = false;
  // Nobody waits for what is over; and the next look, which may say otherwise, is now.
  auto const next = table.debt.advise(limits.bloat, table.may_vacuum);
  table.advice = throttle::VacuumAdvice();
  table.advice.rows = next.rows;
  table.advice.batch_rows = next.batch_rows;
  conclude();
  timer_.cancel();
}

void VacuumKeeper::Watch::see_outcome(KeptTable& table, Result<Done> const& outcome, milliseconds took) {
  // A vacuum that does nothing succeeds with a warning.
  auto const& warnings = vacuum_connection_->warnings();
  bool const is_done = outcome && warnings.empty();
  table.debt.vacuum_ended(is_done);
  if (is_done) {
    table.failures = 0;
    tell(Severity::kInfo, fmt::format("vacuumed {} in {}", table.relation, planner::format_duration(took)));
    return;
  }
  if (is_cancelled_) return;
  auto const& failure = outcome ? warnings.front() : outcome.error();
  bool const is_locked = failure.sqlstate == kLockNotAvailable;
  auto const delay = std::min<milliseconds>(kLastRetry, kFirstRetry * (1 << std::min(table.failures, 8)));
  table.not_before = now() + (is_locked ? kFirstRetry : delay);
  if (!is_locked) ++table.failures;
  std::string const hint =
      failure.sqlstate == kCancelled ? "; a statement_timeout of the role ends it behind a pooler" : "";
  tell(is_locked || table.failures > 1 ? Severity::kDebug : Severity::kWarning,
       fmt::format("vacuum of {} failed, the run goes on: {} ({}){}", table.relation, failure.message, failure.sqlstate,
                   hint));
}

// --- Rows between two looks ------------------------------------------------------------------------------------------

KeptTable* VacuumKeeper::Watch::find(int leaf) {
  auto const found =
      std::find_if(tables_.begin(), tables_.end(), [&](KeptTable const& table) { return table.leaf == leaf; });
  return found == tables_.end() ? nullptr : &*found;
}

double VacuumKeeper::Watch::rows_left(int leaf) {
  auto const* table = find(leaf);
  bool const is_kept = table != nullptr && is_wanted() && limits.mode == throttle::Mode::kOn;
  if (!is_kept) return throttle::kUnlimited;
  if (!table->is_bounded) return table->advice.batch_rows;
  double const left = table->advice.rows / processes - table->charged;
  // Where there is no room at all a vacuum is at work or about to be, and its end is looked at anyway.
  bool const would_find_room = left < 1 && table->advice.rows >= 1;
  if (would_find_room && now() - looked_at_ >= kShortestLookInterval) timer_.cancel();
  return std::min(left, table->advice.batch_rows);
}

void VacuumKeeper::Watch::charge(int leaf, std::int64_t rows) {
  auto* table = find(leaf);
  if (table == nullptr) return;
  table->in_flight += static_cast<double>(rows);
  table->charged += static_cast<double>(rows);
}

void VacuumKeeper::Watch::settle(int leaf, std::int64_t rows, std::int64_t changed) {
  auto* table = find(leaf);
  if (table == nullptr) return;
  table->in_flight -= static_cast<double>(rows);
  table->charged -= static_cast<double>(rows - std::min(changed, rows));
}

void VacuumKeeper::Watch::tell_once(KeptTable const& table, std::string const& what, bool is_so, std::string text) {
  bool& told = told_[{table.leaf, what}];
  if (is_so && !told) tell(Severity::kWarning, std::move(text));
  told = is_so;
}

void VacuumKeeper::Watch::tell(Severity severity, std::string text) {
  sink_.emit(log_line(severity, std::move(text), {{"migration", migration_}}));
}

// --- VacuumKeeper ----------------------------------------------------------------------------------------------------

VacuumKeeper::VacuumKeeper(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target,
                           Job const& job, EventSink& sink)
    : watch_(std::make_shared<Watch>(std::move(executor), blocking, std::move(target), job, sink)) {}

VacuumKeeper::~VacuumKeeper() = default;

void VacuumKeeper::start() {
  watch_->start();
}

asio::awaitable<void> VacuumKeeper::stop() {
  co_await watch_->stop();
}

void VacuumKeeper::set_limits(throttle::Limits const& limits) {
  watch_->limits = limits;
}

void VacuumKeeper::set_wal_limit(double bytes_per_second) {
  watch_->wal_per_second = bytes_per_second;
}

void VacuumKeeper::set_beside_others(bool is_beside_others) {
  watch_->set_beside_others(is_beside_others);
}

void VacuumKeeper::set_working(bool is_working) {
  watch_->set_working(is_working);
}

void VacuumKeeper::set_processes(int processes) {
  watch_->processes = std::max(processes, 1);
}

throttle::GrowthHold VacuumKeeper::hold() const {
  return watch_->hold;
}

double VacuumKeeper::rows_left(int leaf) {
  return watch_->rows_left(leaf);
}

void VacuumKeeper::batch_started(int leaf, std::int64_t rows) {
  watch_->charge(leaf, rows);
}

void VacuumKeeper::batch_ended(int leaf, std::int64_t rows, std::int64_t changed) {
  watch_->settle(leaf, rows, changed);
}

}  // namespace pgbackfill::engine
