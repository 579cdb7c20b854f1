#include "engine/pg_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "engine/catalog.h"
#include "planner/key_choice.h"
#include "planner/passes.h"
#include "planner/range_walk.h"
#include "planner/ranges.h"
#include "planner/sql_text.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::Bound;
using planner::Lease;

// For statements on the state tables, which are small.
constexpr Deadlines kStateDeadlines{10'000ms, 15'000ms};
constexpr std::chrono::milliseconds kStateLockTimeout = 5'000ms;
// Of what comes again in a second.
constexpr std::chrono::milliseconds kRunnerTimeout = 2'000ms;
constexpr std::chrono::milliseconds kRunnerLockTimeout = 500ms;
// A range is worth splitting when each half is at least this long; the walk to the middle reads index entries only.
constexpr std::int64_t kLeastRowsOfAHalf = 5'000;
constexpr std::int64_t kMostRowsToWalk = 100'000;
constexpr std::int64_t kMostKeysPerBlockerQuery = 100;

Lease lease_of(std::vector<std::optional<std::string>> const& row) {
  Lease lease;
  lease.range_id = std::stoll(*row[0]);
  lease.leaf = std::stoi(*row[1]);
  lease.pass = std::stoi(*row[2]);
  lease.epoch = std::stoll(*row[3]);
  lease.sequence = std::stoll(*row[4]);
  lease.cursor = state::parse_text_array(row[5]);
  lease.hi = state::parse_text_array(row[6]);
  return lease;
}

planner::Key key_of(std::vector<std::optional<std::string>> const& row) {
  planner::Key key;
  key.index = *row[4];
  auto const columns = *state::parse_text_array(row[5]);
  auto const types = *state::parse_text_array(row[6]);
  auto const collations = *state::parse_text_array(row[7]);
  auto const order_collations = *state::parse_text_array(row[8]);
  auto const descending = *state::parse_text_array(row[9]);
  auto const nulls_first = *state::parse_text_array(row[10]);
  for (std::size_t index = 0; index < columns.size(); ++index) {
    key.columns.push_back({columns[index], types[index], collations[index], order_collations[index],
                           descending[index] == "true", nulls_first[index] == "true"});
  }
  return key;
}

planner::Page page_of(Rows const& rows) {
  planner::Page page;
  if (rows.rows.empty()) return page;
  auto const& row = rows.rows.front();
  page.rows = std::stoll(*row[0]);
  if (!row[1]) return page;
  page.last.emplace();
  for (std::size_t index = 1; index < row.size(); ++index) page.last->push_back(*row[index]);
  return page;
}

// Of the rows that were visited, so that fewer of them may pass.
bool is_of_rows(Failure const& failure) {
  return failure.trouble == planner::Trouble::kRowData || failure.trouble == planner::Trouble::kStatementTimeout ||
         failure.trouble == planner::Trouble::kLockTimeout;
}

class PgSession : public Session {
 public:
  PgSession(PgDatabase& database, int worker) : database_(database), worker_(worker) {}

  asio::awaitable<Result<std::optional<Lease>>> claim() override {
    auto rows = co_await lease_query(state::claim(job_id(), database_.owner(), worker_));
    if (!rows) co_return rows.error();
    co_return co_await lease_from(std::move(*rows));
  }

  asio::awaitable<Result<std::optional<Lease>>> split() override;
  asio::awaitable<Result<planner::Page>> look_ahead(Lease lease, std::int64_t rows,
                                                    std::chrono::milliseconds timeout) override;
  asio::awaitable<Result<planner::BatchDone>> run_batch(planner::BatchRequest request) override;

  asio::awaitable<Result<std::optional<Lease>>> reread(Lease lease) override {
    auto rows = co_await state_query(state::reread(job_id(), lease, lease_owner()));
    if (!rows) co_return rows.error();
    co_return co_await lease_from(std::move(*rows));
  }

  asio::awaitable<Result<Done>> release(Lease lease) override {
    auto rows = co_await lease_query(state::release(job_id(), lease, lease_owner()));
    if (!rows) co_return rows.error();
    co_return Done();
  }

  asio::awaitable<Result<Visit>> visit_deferred(std::int64_t rows) override;
  asio::awaitable<Result<Advance>> advance() override;
  asio::awaitable<Result<Control>> read_control() override;
  bool has_news() override { return connection_ && connection_->take_notification(std::to_string(job_id())); }
  asio::awaitable<Result<std::vector<std::string>>> blockers() override;

  asio::awaitable<Result<RunnersHeard>> tell_runner(RunnerTold told) override {
    auto rows = co_await runner_query(state::tell_runner(job_id(), told, database_.owner()));
    if (!rows) co_return rows.error();
    co_return state::runners_heard(rows->rows, job_id());
  }

  asio::awaitable<Result<Done>> forget_runner() override {
    auto rows = co_await runner_query(state::forget_runner(database_.owner()));
    if (!rows) co_return rows.error();
    co_return Done();
  }

  asio::awaitable<Result<Done>> mark_failed(std::string reason) override {
    auto rows = co_await state_query(state::set_status(job_id(), JobStatus::kFailed, reason, database_.owner()));
    if (!rows) co_return rows.error();
    co_return Done();
  }

  asio::awaitable<Result<Done>> reconnect() override;
  bool is_connected() const override { return connection_ && connection_->is_usable(); }
  int server_pid() const override { return connection_ ? connection_->backend_pid() : 0; }
  void interrupt() override {
    if (connection_) connection_->cancel_on_server();
  }

 private:
  std::int64_t job_id() const { return database_.job().job.id; }
  std::string lease_owner() const { return lease_name(database_.owner(), worker_); }
  planner::WorkTarget const& target(int leaf) const {
    return database_.job().targets.at(static_cast<std::size_t>(leaf));
  }

  asio::awaitable<Result<Rows>> state_query(std::string statement);
  asio::awaitable<Result<Rows>> lease_query(std::string statement);
  asio::awaitable<Result<Rows>> runner_query(std::string statement);
  asio::awaitable<Result<Rows>> state_query(state::LocalSettings settings, std::string statement);
  asio::awaitable<Result<std::vector<Rows>>> transaction(state::LocalSettings settings,
                                                         std::vector<std::string> statements, Deadlines deadlines);
  asio::awaitable<Result<std::optional<Lease>>> lease_from(Rows rows);
  asio::awaitable<Result<Done>> reload_leaves();
  asio::awaitable<Result<Advance>> start_next_pass(int pass, bool sweeps);
  asio::awaitable<Result<Visit>> visit_leaf(int leaf, std::int64_t rows);
  asio::awaitable<Result<Visit>> visit_keys(int leaf, std::int64_t rows, std::optional<std::int64_t> only);
  asio::awaitable<Result<Visit>> visit_one(int leaf);
  state::LocalSettings settings_for(std::chrono::milliseconds statement, std::chrono::milliseconds lock) const;
  Failure not_connected() const;

  PgDatabase& database_;
  int worker_;
  std::shared_ptr<PgConnection> connection_;
};

Failure PgSession::not_connected() const {
  Failure failure;
  failure.trouble = planner::Trouble::kConnection;
  failure.sqlstate = planner::kLinkLostState;
  failure.message = "not connected";
  return failure;
}

state::LocalSettings PgSession::settings_for(std::chrono::milliseconds statement,
                                             std::chrono::milliseconds lock) const {
  state::LocalSettings settings;
  settings.statement_timeout = statement;
  settings.lock_timeout = lock;
  settings.server_version = connection_ ? connection_->server_version() : 0;
  return settings;
}

asio::awaitable<Result<std::vector<Rows>>> PgSession::transaction(state::LocalSettings settings,
                                                                  std::vector<std::string> statements,
                                                                  Deadlines deadlines) {
  if (!is_connected()) co_return not_connected();
  std::vector<std::string> all;
  all.push_back(state::local_settings(settings));
  for (auto& statement : statements) all.push_back(std::move(statement));
  auto const connection = connection_;
  auto results = co_await connection->pipeline(std::move(all), deadlines);
  if (results) results->erase(results->begin());
  co_return results;
}

asio::awaitable<Result<Rows>> PgSession::state_query(std::string statement) {
  auto const settings = settings_for(kStateDeadlines.statement, kStateLockTimeout);
  auto rows = co_await state_query(settings, std::move(statement));
  co_return rows;
}

// Claims, splits and releases commit as the batches do: a crash that loses one loses every batch that came after it.
asio::awaitable<Result<Rows>> PgSession::lease_query(std::string statement) {
  auto settings = settings_for(kStateDeadlines.statement, kStateLockTimeout);
  settings.asynchronous_commit = database_.job().job.backfill.commit == planner::CommitMode::kAsync;
  auto rows = co_await state_query(settings, std::move(statement));
  co_return rows;
}

// Losing it in a crash costs nothing, and no synchronous standby is to be waited for.
asio::awaitable<Result<Rows>> PgSession::runner_query(std::string statement) {
  auto settings = settings_for(kRunnerTimeout, kRunnerLockTimeout);
  settings.asynchronous_commit = true;
  auto rows = co_await state_query(settings, std::move(statement));
  co_return rows;
}

asio::awaitable<Result<Rows>> PgSession::state_query(state::LocalSettings settings, std::string statement) {
  std::vector<std::string> statements;
  statements.push_back(std::move(statement));
  auto results = co_await transaction(settings, std::move(statements), kStateDeadlines);
  if (!results) co_return results.error();
  co_return std::move(results->front());
}

asio::awaitable<Result<std::optional<Lease>>> PgSession::lease_from(Rows rows) {
  if (rows.rows.empty()) co_return std::optional<Lease>();
  Lease lease = lease_of(rows.rows.front());
  if (static_cast<std::size_t>(lease.leaf) >= database_.job().targets.size()) {
    // Another process added a partition that came meanwhile.
    auto loaded = co_await reload_leaves();
    if (!loaded) co_return loaded.error();
  }
  co_return std::optional<Lease>(std::move(lease));
}

asio::awaitable<Result<Done>> PgSession::reload_leaves() {
  auto& job = database_.job();
  planner::TableName const name{job.table.schema, job.table.name};
  auto const connection = connection_;
  auto facts = co_await read_table_facts(*connection, name);
  if (!facts) co_return facts.error();
  if (!*facts) co_return Done();
  auto loaded = co_await load_pg_job(*connection, job.job.id, job.job.name, job.job.backfill, std::move(**facts),
                                     job.sweeps, job.copy_overrides_identity);
  if (!loaded) co_return loaded.error();
  job = std::move(*loaded);
  co_return Done();
}

asio::awaitable<Result<std::optional<Lease>>> PgSession::split() {
  auto rows = co_await state_query(state::split_candidate(job_id()));
  if (!rows) co_return rows.error();
  if (rows->rows.empty()) co_return std::optional<Lease>();
  auto const& row = rows->rows.front();
  std::int64_t const range = std::stoll(*row[0]);
  int const leaf = std::stoi(*row[1]);
  if (static_cast<std::size_t>(leaf) >= database_.job().targets.size()) co_return std::optional<Lease>();
  Bound const cursor = state::parse_text_array(row[2]);
  Bound const hi = state::parse_text_array(row[3]);
  std::int64_t const left = std::stoll(*row[4]);
  planner::Page page;
  if (target(leaf).key.is_by_block()) {
    std::int64_t const first = cursor ? std::stoll(cursor->front()) : -1;
    std::int64_t const last = std::stoll(hi->front());
    if (last - first < 4) co_return std::optional<Lease>();
    page.last = planner::KeyValue{std::to_string(first + (last - first) / 2)};
  } else {
    Lease candidate;
    candidate.leaf = leaf;
    candidate.cursor = cursor;
    candidate.hi = hi;
    std::int64_t const walk = std::clamp(left / 2, kLeastRowsOfAHalf, kMostRowsToWalk);
    auto found = co_await look_ahead(candidate, walk, 2'000ms);
    if (!found) co_return found.error();
    page = std::move(*found);
  }
  if (!page.last || page.last == hi) co_return std::optional<Lease>();
  auto cut =
      co_await lease_query(state::split(job_id(), range, hi, *page.last, target(leaf).key, database_.owner(), worker_));
  if (!cut) co_return cut.error();
  co_return co_await lease_from(std::move(*cut));
}

asio::awaitable<Result<planner::Page>> PgSession::look_ahead(Lease lease, std::int64_t rows,
                                                             std::chrono::milliseconds timeout) {
  planner::Interval const interval{lease.cursor, lease.hi};
  auto const& work = target(lease.leaf);
  std::vector<std::string> statements;
  if (work.key.is_mixed()) statements.push_back(planner::look_ahead_setting(work));
  statements.push_back(planner::look_ahead_sql(work, interval, rows));
  Deadlines const deadlines{timeout, timeout + 5'000ms};
  // Reading waits for nobody but who has the whole table locked; that must not look like a page that is too large.
  auto const lock = std::min<std::chrono::milliseconds>(timeout / 2, 200ms);
  auto results = co_await transaction(settings_for(timeout, lock), std::move(statements), deadlines);
  if (!results) co_return results.error();
  co_return page_of(results->back());
}

asio::awaitable<Result<planner::BatchDone>> PgSession::run_batch(planner::BatchRequest request) {
  auto const& work = target(request.lease.leaf);
  auto const& backfill = database_.job().job.backfill;
  auto settings = settings_for(request.statement_timeout, request.lock_timeout);
  settings.asynchronous_commit = backfill.commit == planner::CommitMode::kAsync;
  settings.skip_triggers = backfill.triggers == planner::TriggerMode::kSkip;
  auto const ctes = planner::work_ctes(work, request.interval, request.mode);
  std::vector<std::string> statements = {
      state::fence(job_id(), request.lease, lease_owner()),
      state::checkpoint(job_id(), request, ctes, backfill.quarantine_budget, database_.owner().lease_time)};
  bool const looks_ahead = !request.ends_range && request.look_ahead_rows > 0;
  if (looks_ahead) {
    planner::Interval const rest{request.interval.hi, request.lease.hi};
    if (work.key.is_mixed()) statements.push_back(planner::look_ahead_setting(work));
    statements.push_back(planner::look_ahead_sql(work, rest, request.look_ahead_rows));
  }
  // Each statement has its own statement_timeout on the server; the client's patience covers all of them.
  Deadlines const deadlines{request.statement_timeout, request.statement_timeout * 3 + 5'000ms};
  auto const started = std::chrono::steady_clock::now();
  auto results = co_await transaction(settings, std::move(statements), deadlines);
  if (!results) co_return results.error();
  planner::BatchDone done;
  done.duration = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - started);
  done.rows_changed = std::stoll(results->at(1).at(0, 0));
  done.rows_left = std::stoll(results->at(1).at(0, 1));
  if (looks_ahead) done.next = page_of(results->back());
  co_return done;
}

asio::awaitable<Result<Visit>> PgSession::visit_deferred(std::int64_t rows) {
  auto leaves = co_await state_query(state::leaves_with_deferred(job_id()));
  if (!leaves) co_return leaves.error();
  Visit total;
  for (auto const& row : leaves->rows) {
    auto visit = co_await visit_leaf(std::stoi(*row[0]), rows);
    if (!visit) co_return visit.error();
    total.rows_changed += visit->rows_changed;
    total.settled += visit->settled;
    total.left += std::stoll(*row[1]) - visit->settled;
  }
  co_return total;
}

asio::awaitable<Result<Visit>> PgSession::visit_leaf(int leaf, std::int64_t rows) {
  if (rows <= 1) {
    auto visit = co_await visit_one(leaf);
    co_return visit;
  }
  auto visit = co_await visit_keys(leaf, rows, std::nullopt);
  if (visit || !is_of_rows(visit.error())) co_return visit;
  auto half = co_await visit_leaf(leaf, rows / 2);
  co_return half;
}

asio::awaitable<Result<Visit>> PgSession::visit_keys(int leaf, std::int64_t rows, std::optional<std::int64_t> only) {
  auto const& job = database_.job().job;
  auto const timeout =
      std::max<std::chrono::milliseconds>(job.backfill.batch.target * planner::kTimeoutOverTarget, 1'000ms);
  auto settings = settings_for(timeout, 200ms);
  settings.skip_triggers = job.backfill.triggers == planner::TriggerMode::kSkip;
  settings.prefer_index = true;
  std::vector<std::string> statements = {state::visit(job.id, leaf, rows, only, planner::visit_ctes(target(leaf)))};
  Deadlines const deadlines{timeout, timeout + 5'000ms};
  auto results = co_await transaction(settings, std::move(statements), deadlines);
  if (!results) co_return results.error();
  Visit visit;
  visit.rows_changed = std::stoll(results->front().at(0, 0));
  visit.settled = std::stoll(results->front().at(0, 1));
  visit.left = std::stoll(results->front().at(0, 2));
  co_return visit;
}

// The key is chosen first: should it fail, it is this one that is set aside.
asio::awaitable<Result<Visit>> PgSession::visit_one(int leaf) {
  auto const& job = database_.job().job;
  auto next = co_await state_query(state::next_deferred(job.id, leaf));
  if (!next) co_return next.error();
  if (next->rows.empty()) co_return Visit();
  std::int64_t const id = std::stoll(next->at(0, 0));
  auto visit = co_await visit_keys(leaf, 1, id);
  if (visit || !is_of_rows(visit.error())) co_return visit;
  Failure failure = visit.error();
  if (failure.trouble != planner::Trouble::kRowData) {
    auto marked = co_await state_query(state::mark_visited(id));
    if (!marked) co_return marked.error();
    co_return Visit();
  }
  auto moved = co_await state_query(state::quarantine_deferred(job.id, id, failure, job.backfill.quarantine_budget));
  if (moved) {
    Visit aside;
    aside.settled = 1;
    co_return aside;
  }
  if (moved.error().trouble != planner::Trouble::kFatal) co_return moved.error();
  failure.message += "; " + moved.error().message;
  failure.trouble = planner::Trouble::kFatal;
  co_return failure;
}

asio::awaitable<Result<Advance>> PgSession::advance() {
  auto rows = co_await state_query(state::pass_state(job_id()));
  if (!rows) co_return rows.error();
  planner::PassState pass;
  pass.pass = std::stoi(rows->at(0, 1));
  pass.open_ranges = std::stoll(rows->at(0, 3));
  pass.deferred = std::stoll(rows->at(0, 4));
  pass.rows_changed = std::stoll(rows->at(0, 5));
  pass.rows_left = std::stoll(rows->at(0, 6));
  // Where changed rows still satisfy `where`, another pass over them would change them twice.
  bool const sweeps = database_.job().sweeps && rows->at(0, 7) == "0";
  auto const& targets = database_.job().targets;
  pass.by_block = std::any_of(targets.begin(), targets.end(),
                              [](planner::WorkTarget const& work) { return work.key.is_by_block(); });
  if (rows->at(0, 0) == state::status_name(JobStatus::kComplete)) co_return Advance::kComplete;
  switch (planner::after_ranges(pass)) {
    case planner::PassDecision::kWaitForRanges:
      co_return Advance::kOpenRanges;
    case planner::PassDecision::kVisitDeferred:
      co_return Advance::kDeferred;
    case planner::PassDecision::kNextPass: {
      auto advanced = co_await start_next_pass(pass.pass, sweeps);
      co_return advanced;
    }
    case planner::PassDecision::kComplete:
      break;
    case planner::PassDecision::kGiveUp: {
      Failure failure;
      failure.message = fmt::format(
          "after {} passes by block there are still rows that satisfy `where`: others keep "
          "changing them; give the table a primary key, or close it to writers",
          pass.pass + 1);
      co_return failure;
    }
  }
  // Synchronous: this commit flushes every asynchronous one before it.
  auto completed = co_await state_query(state::complete_job(job_id(), pass.pass, database_.owner()));
  if (!completed) co_return completed.error();
  co_return completed->rows.empty() ? Advance::kOpenRanges : Advance::kComplete;
}

// The ends of the leaves are read before the pass is made: what comes later is the next pass's, or nobody's.
asio::awaitable<Result<Advance>> PgSession::start_next_pass(int pass, bool sweeps) {
  auto& job = database_.job();
  auto const connection = connection_;
  planner::TableName const name{job.table.schema, job.table.name};
  auto facts = co_await read_table_facts(*connection, name);
  if (!facts) co_return facts.error();
  if (!*facts) {
    Failure failure;
    failure.message = "table " + job.job.table + " is gone";
    co_return failure;
  }
  auto stored = co_await state_query(state::list_leaves(job.job.id));
  if (!stored) co_return stored.error();
  std::vector<std::pair<int, Bound>> uppers;
  std::vector<state::NewRange> ranges;
  std::vector<state::NewLeaf> new_leaves;
  for (auto const& leaf : (*facts)->leaves) {
    auto const known = std::find_if(stored->rows.begin(), stored->rows.end(),
                                    [&](auto const& row) { return *row[1] == std::to_string(leaf.oid); });
    bool const is_new = known == stored->rows.end();
    planner::Key key;
    if (is_new) {
      auto choice = planner::choose_key(leaf, job.job.backfill);
      if (auto const* refusal = std::get_if<planner::Refusal>(&choice)) {
        Failure failure;
        failure.message = refusal->text;
        co_return failure;
      }
      key = std::get<planner::Key>(std::move(choice));
    } else {
      key = key_of(*known);
    }
    auto const work = planner::make_work_target(job.job.backfill, **facts, leaf, key);
    auto upper = co_await read_last_key(*connection, work);
    if (!upper) co_return upper.error();
    int const number = is_new ? static_cast<int>(stored->rows.size() + new_leaves.size()) : std::stoi(*(*known)[0]);
    Bound const old_upper = is_new ? Bound() : state::parse_text_array((*known)[14]);
    if (is_new) {
      new_leaves.push_back(
          {leaf.oid, leaf.schema, leaf.name, key, leaf.rows_estimated, leaf.blocks, leaf.bytes, *upper});
    }
    if (*upper && (*upper != old_upper || sweeps || key.is_by_block())) {
      bool const whole = is_new || sweeps || !old_upper || key.is_by_block();
      Bound const lo = whole ? Bound() : old_upper;
      auto bounds = std::vector<planner::KeyValue>();
      if (whole) {
        auto read = co_await read_bounds(*connection, work, leaf, *upper);
        if (!read) co_return read.error();
        bounds = std::move(*read);
      }
      auto const cut = key.is_by_block()
                           ? planner::cut_by_blocks(std::stoll((*upper)->front()) + 1, leaf.rows_estimated)
                       : whole ? planner::cut_by_bounds(bounds, *upper, leaf.rows_estimated)
                               : std::vector<planner::PlannedRange>{{{lo, *upper}, 0}};
      for (auto const& range : cut) ranges.push_back({number, range});
    }
    if (!is_new) uppers.emplace_back(number, *upper ? *upper : old_upper);
  }
  auto statements = state::next_pass(job.job.id, pass, new_leaves, ranges, uppers, database_.owner());
  auto made =
      co_await transaction(settings_for(kStateDeadlines.statement, 5'000ms), std::move(statements), kStateDeadlines);
  // Fenced: another worker was quicker.
  if (!made && made.error().trouble == planner::Trouble::kFenced) co_return Advance::kOpenRanges;
  if (!made) co_return made.error();
  if (!new_leaves.empty()) {
    auto loaded = co_await reload_leaves();
    if (!loaded) co_return loaded.error();
  }
  co_return Advance::kNextPass;
}

asio::awaitable<Result<Control>> PgSession::read_control() {
  auto rows = co_await state_query(state::control(job_id(), database_.owner().id));
  if (!rows) co_return rows.error();
  if (rows->rows.empty()) {
    Failure failure;
    failure.message = "the job is gone from pgbackfill.jobs";
    co_return failure;
  }
  bool const is_pause_over = rows->rows.front()[17] && rows->rows.front()[17]->starts_with('-');
  if (is_pause_over && rows->at(0, 0) == "paused") {
    auto ended = co_await state_query(state::end_pause(job_id(), database_.owner()));
    if (!ended) co_return ended.error();
    rows = co_await state_query(state::control(job_id(), database_.owner().id));
    if (!rows) co_return rows.error();
  }
  co_return state::control_of(rows->rows.front());
}

// The transaction that holds a row stands in the row's own xmax; its backend holds that transaction's lock.
asio::awaitable<Result<std::vector<std::string>>> PgSession::blockers() {
  std::vector<std::string> sentences;
  auto leaves = co_await state_query(state::leaves_with_deferred(job_id()));
  if (!leaves) co_return leaves.error();
  for (auto const& row : leaves->rows) {
    int const leaf = std::stoi(*row[0]);
    auto keys = co_await state_query(state::deferred_keys(job_id(), leaf, kMostKeysPerBlockerQuery));
    if (!keys) co_return keys.error();
    std::vector<planner::KeyValue> values;
    for (auto const& key : keys->rows) values.push_back(*state::parse_text_array(key[0]));
    if (values.empty()) continue;
    auto holders = co_await state_query(planner::holders_sql(target(leaf), values));
    if (!holders) co_return holders.error();
    for (auto const& holder : holders->rows) {
      sentences.push_back(fmt::format("{} row(s) of {} are held by pid {} ({}, {}, transaction open for {} s): {}",
                                      *holder[0], target(leaf).relation, holder[1].value_or("?"),
                                      holder[2].value_or("?"), holder[3].value_or("?"), holder[4].value_or("?"),
                                      holder[5].value_or("?")));
    }
  }
  std::vector<std::uint32_t> oids;
  for (auto const& work : database_.job().targets) oids.push_back(work.relation_oid);
  if (oids.empty()) co_return sentences;
  auto holders = co_await state_query(planner::table_holders_sql(oids));
  if (!holders) co_return holders.error();
  for (auto const& holder : holders->rows) {
    sentences.push_back(fmt::format("{} is held by pid {} ({}, {}, transaction open for {} s): {}",
                                    holder[5].value_or("?"), holder[0].value_or("?"), holder[1].value_or("?"),
                                    holder[2].value_or("?"), holder[3].value_or("?"), holder[4].value_or("?")));
  }
  co_return sentences;
}

asio::awaitable<Result<Done>> PgSession::reconnect() {
  connection_.reset();
  ConnectTarget target = database_.target();
  auto opened = co_await PgConnection::open(std::move(target), database_.blocking());
  if (!opened) co_return opened.error();
  auto const connection = *opened;
  if (connection->is_standby()) {
    Failure failure;
    failure.trouble = planner::Trouble::kNotWritable;
    failure.sqlstate = "25006";
    failure.message = "the server is a standby";
    co_return failure;
  }
  if (worker_ == kControlWorker && connection->is_direct()) {
    std::string statement = std::string("LISTEN ") + kControlChannel;
    auto const listens = co_await connection->query(std::move(statement), kStateDeadlines);
    if (!listens) co_return listens.error();
  }
  connection_ = connection;
  co_return Done();
}

}  // namespace

asio::awaitable<Result<PgJob>> load_pg_job(PgConnection& connection, std::int64_t job_id, std::string name,
                                           planner::Backfill backfill, planner::TableFacts table, bool sweeps,
                                           bool copy_overrides_identity) {
  auto rows = co_await connection.query(state::list_leaves(job_id), kStateDeadlines);
  if (!rows) co_return rows.error();
  PgJob result;
  result.job.id = job_id;
  result.job.name = std::move(name);
  result.job.table = planner::quote_qualified(table.schema, table.name);
  result.job.backfill = std::move(backfill);
  result.sweeps = sweeps;
  result.copy_overrides_identity = copy_overrides_identity;
  for (auto const& row : rows->rows) {
    planner::LeafFacts leaf;
    leaf.oid = static_cast<std::uint32_t>(std::stoul(*row[1]));
    leaf.schema = *row[2];
    leaf.name = *row[3];
    leaf.rows_estimated = std::stoll(*row[11]);
    leaf.blocks = std::stoll(*row[12]);
    leaf.bytes = std::stoll(*row[13]);
    planner::Key const key = key_of(row);
    LeafPlan plan;
    plan.relation = planner::quote_qualified(leaf.schema, leaf.name);
    plan.key = key;
    plan.rows_estimated = leaf.rows_estimated;
    plan.rows_per_block =
        static_cast<double>(leaf.rows_estimated) / static_cast<double>(std::max<std::int64_t>(leaf.blocks, 1));
    plan.bytes_per_row = leaf.bytes / std::max<std::int64_t>(leaf.rows_estimated, 1);
    plan.heap_bytes = static_cast<std::uint64_t>(leaf.bytes);
    result.job.leaves.push_back(std::move(plan));
    result.targets.push_back(planner::make_work_target(result.job.backfill, table, leaf, key));
    result.targets.back().copy_overrides_identity = copy_overrides_identity;
  }
  result.table = std::move(table);
  co_return result;
}

PgDatabase::PgDatabase(asio::any_io_executor executor, asio::thread_pool& blocking, ConnectTarget target, PgJob job,
                       Owner owner)
    : executor_(std::move(executor)),
      blocking_(blocking),
      target_(std::move(target)),
      job_(std::move(job)),
      owner_(std::move(owner)),
      random_(std::random_device{}()) {}

std::unique_ptr<Session> PgDatabase::make_session(int worker) {
  return std::make_unique<PgSession>(*this, worker);
}

void PgDatabase::spawn(asio::awaitable<void> coroutine) {
  auto const fail_loudly = [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  };
  asio::co_spawn(executor_, std::move(coroutine), fail_loudly);
}

asio::awaitable<void> PgDatabase::sleep(std::chrono::milliseconds duration) {
  asio::steady_timer timer(executor_, duration);
  co_await timer.async_wait(asio::use_awaitable);
}

std::chrono::steady_clock::time_point PgDatabase::now() const {
  return std::chrono::steady_clock::now();
}

std::chrono::system_clock::time_point PgDatabase::wall_now() const {
  return std::chrono::system_clock::now();
}

double PgDatabase::random() {
  return std::uniform_real_distribution<double>(0, 1)(random_);
}

}  // namespace pgbackfill::engine
