#include "engine/run/pg_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "engine/base/thinning.h"
#include "engine/pg/catalog.h"
#include "engine/run/compute_batch.h"
#include "engine/run/copy_target.h"
#include "engine/run/leaf_keeper.h"
#include "engine/run/next_pass.h"
#include "engine/state/state_sample.h"
#include "engine/state/typed_rows.h"
#include "planner/keys/passes.h"
#include "planner/keys/range_walk.h"
#include "planner/model/compute_pace.h"
#include "planner/model/ranges.h"
#include "planner/model/sql_text.h"
#include "planner/work/compute_sql.h"
#include "planner/work/trial_sql.h"
#include "planner/work/work_parts.h"

namespace pgbackfill::engine {

namespace {

// Rolled back by somebody else, or deleted by hand.
Failure job_is_gone() {
  Failure failure;
  failure.message = "the job is gone from pgbackfill.jobs";
  return failure;
}

using namespace std::chrono_literals;
using planner::Bound;
using planner::Lease;

// For statements on the state tables, which are small.
constexpr Deadlines kStateDeadlines{10'000ms, 15'000ms};
constexpr std::chrono::milliseconds kStateLockTimeout = 5'000ms;
// Of what comes again in a second.
constexpr std::chrono::milliseconds kRunnerTimeout = 2'000ms;
constexpr std::chrono::milliseconds kRunnerLockTimeout = 500ms;
constexpr std::chrono::milliseconds kPastTimeout = 1'000ms;
constexpr std::chrono::milliseconds kPastLockTimeout = 100ms;
constexpr std::int64_t kMostKeysPerBlockerQuery = 100;

using state::BrokenState;

// A key that was written into the state, by a batch or by hand: it becomes part of statements.
void require_key(Bound const& values, planner::Key const& key, std::string const& where) {
  if (!values) return;
  std::size_t const width = key.is_by_block() ? 1 : key.columns.size();
  // A bound may be made of the leading columns alone.
  if (values->empty() || values->size() > width) {
    throw BrokenState(fmt::format("{} has {} value(s), and the key of the table has {}; somebody changed it by hand",
                                  where, values->size(), width));
  }
  if (key.is_by_block()) state::number_of(values->front(), where);
}

struct LeaseRow {
  std::int64_t range_id = 0;
  int leaf = 0;
  int pass = 0;
  std::int64_t epoch = 0;
  std::int64_t sequence = 0;
  planner::Bound cursor;
  planner::Bound hi;
};

struct WidestRange {
  std::int64_t range_id = 0;
  int leaf = 0;
  planner::Bound cursor;
  planner::Bound hi;
  std::int64_t rows_left = 0;
};

Lease lease_of(LeaseRow row) {
  Lease lease;
  lease.range_id = row.range_id;
  lease.leaf = row.leaf;
  lease.pass = row.pass;
  lease.epoch = row.epoch;
  lease.sequence = row.sequence;
  lease.cursor = std::move(row.cursor);
  lease.hi = std::move(row.hi);
  return lease;
}

// Words and identifiers as the server writes types, collations and operators; nothing that could end one.
bool is_name(std::string const& text) {
  static constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$.[] <>=~!@#%^&|`?*/+-";
  bool is_quoted = false;
  for (char const letter : text) {
    if (letter == '"') is_quoted = !is_quoted;
    bool const is_plain = letter == '"' || kPlain.find(letter) != std::string_view::npos;
    if (!is_quoted && !is_plain) return false;
  }
  return !is_quoted && text.find("--") == std::string::npos && text.find("/*") == std::string::npos;
}

// The server writes its own types without a schema, and all others with one.
bool is_of_server(std::string const& type) {
  return type.find('.') == std::string::npos;
}

// Of a domain the key has the type under it.
bool has_type(planner::LeafFacts const& leaf, std::string const& type) {
  for (auto const& index : leaf.indexes) {
    for (auto const& column : index.columns) {
      if (column.type == type) return true;
    }
  }
  return false;
}

bool has_operator(planner::LeafFacts const& leaf, std::string const& comparison) {
  for (auto const& index : leaf.indexes) {
    for (auto const& column : index.columns) {
      auto const& known = column.operators;
      if (std::find(known.begin(), known.end(), comparison) != known.end()) return true;
    }
  }
  return false;
}

// What is stored of a key stands in statements as it is.
void require_key_of_table(planner::Key const& key, planner::TableFacts const& table, planner::LeafFacts const& stored) {
  auto const now = std::find_if(table.leaves.begin(), table.leaves.end(),
                                [&](planner::LeafFacts const& leaf) { return leaf.oid == stored.oid; });
  // Of a partition that is gone there is nothing to compare with, and nothing is done to it.
  if (now == table.leaves.end()) return;
  std::string const where = fmt::format("pgbackfill.leaves, {}", planner::quote_qualified(stored.schema, stored.name));
  for (auto const& column : key.columns) {
    bool const is_there = std::any_of(now->columns.begin(), now->columns.end(),
                                      [&](planner::ColumnFacts const& one) { return one.name == column.name; });
    if (!is_there) {
      throw BrokenState(fmt::format("{}: the table has no column {}; the table or the state was changed by hand", where,
                                    planner::quote_identifier(column.name)));
    }
    for (auto const* collation : {&column.collation, &column.order_collation}) {
      if (is_name(*collation)) continue;
      throw BrokenState(fmt::format("{}: '{}' is no name of a collation", where, *collation));
    }
    // A cast to a domain runs its check, and an operator its function: those of nobody but the table and the server.
    if (!is_name(column.type) || !(is_of_server(column.type) || has_type(*now, column.type))) {
      throw BrokenState(fmt::format("{}: '{}' is the type of no key of the table", where, column.type));
    }
    for (auto const& comparison : column.operators) {
      if (is_name(comparison) && (comparison.starts_with("pg_catalog.") || has_operator(*now, comparison))) continue;
      throw BrokenState(fmt::format("{}: '{}' is the operator of no index of the table", where, comparison));
    }
  }
}

planner::Page page_of(Rows const& rows) {
  return rows.rows.empty() ? planner::Page() : state::page_of(rows.rows.front());
}

using Field = std::optional<std::string>;

// `name`: the application's, or of a prepared transaction the id that somebody has to end it by.
std::string holder_text(Field const& pid, Field const& name, Field const& role, Field const& age, Field const& does) {
  if (!pid) {
    return fmt::format("prepared transaction '{}' of {}, {} s old: COMMIT PREPARED or ROLLBACK PREPARED ends it",
                       name.value_or("?"), role.value_or("?"), age.value_or("?"));
  }
  return fmt::format("pid {} ({}, {}, transaction open for {} s): {}", *pid, name.value_or("?"), role.value_or("?"),
                     age.value_or("?"), does.value_or("?"));
}

struct RowHolder {
  std::int64_t rows = 0;
  Field pid;
  Field name;
  Field role;
  Field age;
  Field does;
};

struct TableHolder {
  Field pid;
  Field name;
  Field role;
  Field age;
  Field does;
  Field relation;
};

// What a broken state threw, as any other failure.
template <class T>
asio::awaitable<Result<T>> told(asio::awaitable<Result<T>> call) {
  Failure failure;
  try {
    auto result = co_await std::move(call);
    co_return result;
  } catch (BrokenState const& broken) {
    failure.trouble = planner::Trouble::kFatal;
    failure.message = broken.what();
  }
  co_return failure;
}

class PgSession : public Session {
 public:
  PgSession(PgDatabase& database, int worker) : database_(database), worker_(worker) {
    if (database.programs() != nullptr) compute_.emplace(*database.programs(), database.executor());
  }

  asio::awaitable<Result<std::optional<Lease>>> claim() override {
    auto rows = co_await lease_query(state::claim(job_id(), database_.owner(), worker_));
    if (!rows) co_return rows.error();
    auto found = lease_from(std::move(*rows));
    co_return co_await told(std::move(found));
  }

  asio::awaitable<Result<std::optional<planner::SplitCandidate>>> widest_range() override {
    return told(read_widest_range());
  }
  asio::awaitable<Result<std::optional<Lease>>> cut_range(Lease range, planner::KeyValue middle) override {
    return told(cut_after(std::move(range), std::move(middle)));
  }
  asio::awaitable<Result<planner::Page>> look_ahead(Lease lease, std::int64_t rows,
                                                    std::chrono::milliseconds timeout) override;
  asio::awaitable<Result<planner::BatchDone>> run_batch(planner::BatchRequest request) override;
  bool is_ahead() const override { return ahead_.has_value(); }
  asio::awaitable<void> end_ahead() override { return settle_ahead({}); }
  void set_most_changed(std::optional<std::int64_t> rows) override { most_changed_ = rows; }

  asio::awaitable<Result<std::optional<Lease>>> reread(Lease lease) override {
    auto rows = co_await state_query(state::reread(job_id(), lease, lease_owner()));
    if (!rows) co_return rows.error();
    auto found = lease_from(std::move(*rows));
    co_return co_await told(std::move(found));
  }

  asio::awaitable<Result<Done>> release(Lease lease) override {
    auto rows = co_await lease_query(state::release(job_id(), lease, lease_owner()));
    if (!rows) co_return rows.error();
    co_return Done();
  }

  asio::awaitable<Result<std::vector<DeferredLeaf>>> deferred_leaves() override;
  asio::awaitable<Result<planner::Visit>> visit(int leaf, std::int64_t rows, std::optional<std::int64_t> key) override {
    return told(visit_keys(leaf, rows, key));
  }
  asio::awaitable<Result<std::optional<std::int64_t>>> next_deferred(int leaf) override;
  asio::awaitable<Result<Done>> mark_visited(std::int64_t key) override {
    auto rows = co_await state_query(state::mark_visited(key));
    if (!rows) co_return rows.error();
    co_return Done();
  }
  asio::awaitable<Result<Done>> set_aside(std::int64_t key, Failure because) override {
    auto const& backfill = database_.job().job.backfill;
    auto rows = co_await state_query(state::quarantine_deferred(job_id(), key, because, backfill.quarantine_budget));
    if (!rows) co_return rows.error();
    co_return Done();
  }
  asio::awaitable<Result<planner::PassState>> pass_state() override { return told(of_leaves(read_pass_state())); }
  asio::awaitable<Result<bool>> has_new_leaves() override { return told(of_leaves(count_new_leaves())); }
  asio::awaitable<Result<bool>> start_pass_after(int pass, planner::PassScope scope) override {
    return told(of_leaves(start_pass(pass, scope)));
  }
  asio::awaitable<Result<bool>> complete(int pass) override { return told(of_leaves(complete_job(pass))); }
  std::vector<int> leaves_to_follow() const override;
  asio::awaitable<Result<bool>> has_contract_begun() override {
    auto rows = co_await state_query(state::has_contract_begun(database_.job().job.name));
    if (!rows) co_return rows.error();
    co_return state::value_as<bool>(*rows);
  }
  asio::awaitable<Result<std::int64_t>> defer_undone(int leaf, planner::Interval interval,
                                                     std::chrono::milliseconds timeout, std::string ended) override {
    return told(defer_undone_keys(leaf, std::move(interval), timeout, std::move(ended)));
  }
  asio::awaitable<Result<Done>> reopen(std::string why) override {
    auto rows = co_await state_query(state::reopen_job(job_id(), why, database_.owner()));
    if (!rows) co_return rows.error();
    co_return Done();
  }
  asio::awaitable<Result<Control>> read_control() override { return told(read_job()); }
  bool has_news() override { return connection_ && connection_->take_notification(std::to_string(job_id())); }
  asio::awaitable<Result<std::vector<std::string>>> blockers() override { return told(find_blockers()); }

  asio::awaitable<Result<RunnersHeard>> tell_runner(RunnerTold told) override {
    auto rows = co_await runner_query(state::tell_runner(job_id(), told, database_.owner()));
    if (!rows) co_return rows.error();
    co_return state::runners_heard(rows->rows, job_id());
  }

  asio::awaitable<Result<std::int64_t>> keep_sample(JobSample sample, bool is_turn) override {
    auto rows = co_await past_query(state::keep_sample(job_id(), sample, is_turn));
    if (!rows) co_return rows.error();
    co_return state::value_as<std::int64_t>(*rows);
  }

  asio::awaitable<Result<Done>> thin_samples() override {
    auto rows = co_await past_query(state::sample_moments(job_id()));
    if (!rows) co_return rows.error();
    auto const thinning = thinning_of(state::column_as<std::int64_t>(*rows));
    if (!thinning) co_return Done();
    auto thinned = co_await past_query(state::thin_samples(job_id(), *thinning));
    if (!thinned) co_return thinned.error();
    co_return Done();
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
    // Without a transaction nobody waits for this session.
    if (connection_ && !is_computing_) connection_->cancel_on_server();
  }
  void abandon() override {
    if (database_.programs() != nullptr) database_.programs()->abandon();
    interrupt();
  }

 private:
  std::int64_t job_id() const { return database_.job().job.id; }
  std::string lease_owner() const { return lease_name(database_.owner(), worker_); }
  planner::WorkTarget const& target(int leaf) const {
    return database_.job().targets.at(static_cast<std::size_t>(leaf));
  }

  asio::awaitable<Result<std::optional<planner::SplitCandidate>>> read_widest_range();
  asio::awaitable<Result<std::optional<Lease>>> cut_after(Lease range, planner::KeyValue middle);
  asio::awaitable<Result<std::int64_t>> defer_undone_keys(int leaf, planner::Interval interval,
                                                          std::chrono::milliseconds timeout, std::string ended);
  asio::awaitable<Result<Control>> read_job();
  asio::awaitable<Result<std::vector<std::string>>> find_blockers();
  bool has_leaf(int leaf) const { return leaf >= 0 && static_cast<std::size_t>(leaf) < database_.job().targets.size(); }
  asio::awaitable<Result<Rows>> state_query(std::string statement);
  asio::awaitable<Result<Rows>> lease_query(std::string statement);
  asio::awaitable<Result<Rows>> runner_query(std::string statement);
  asio::awaitable<Result<Rows>> past_query(std::string statement);
  asio::awaitable<Result<Rows>> state_query(state::LocalSettings settings, std::string statement);
  asio::awaitable<Result<std::vector<Rows>>> transaction(state::LocalSettings settings,
                                                         std::vector<Statement> statements, Deadlines deadlines);
  asio::awaitable<Result<std::vector<Rows>>> transaction(state::LocalSettings settings,
                                                         std::vector<std::string> statements, Deadlines deadlines);
  asio::awaitable<Result<std::optional<Lease>>> lease_from(Rows rows);
  asio::awaitable<Result<Done>> reload_leaves();
  asio::awaitable<Result<bool>> look_at_leaves();
  asio::awaitable<Result<planner::TableFacts>> read_table();
  asio::awaitable<Result<std::vector<state::StoredLeaf>>> stored_leaves();
  template <class T>
  asio::awaitable<Result<T>> of_leaves(asio::awaitable<Result<T>> call);
  asio::awaitable<Result<planner::PassState>> read_pass_state();
  asio::awaitable<Result<bool>> count_new_leaves();
  asio::awaitable<Result<bool>> start_pass(int pass, planner::PassScope scope);
  asio::awaitable<Result<bool>> complete_job(int pass);
  asio::awaitable<Result<planner::Visit>> visit_keys(int leaf, std::int64_t rows, std::optional<std::int64_t> only);
  struct VisitTerms {
    state::LocalSettings settings;
    Deadlines deadlines;
  };
  VisitTerms visit_terms() const;
  asio::awaitable<Result<planner::Visit>> play_visit(int leaf, VisitTerms terms, std::vector<Statement> statements);
  state::LocalSettings settings_for(std::chrono::milliseconds statement, std::chrono::milliseconds lock) const;
  asio::awaitable<Failure> weigh(Failure failure, int leaf, std::optional<planner::Interval> worked);
  std::string same_leaf(int leaf) const {
    auto const& work = target(leaf);
    return state::same_leaf(work.relation, work.relation_oid, database_.job().table.oid);
  }
  Failure not_connected() const;
  // Rows that were read of an interval, and are on their way to the programs.
  struct RowsAsked {
    std::int64_t range_id = 0;
    planner::Interval interval;
    planner::Page page;
    std::shared_ptr<ComputeBatch::Part> part;
  };
  struct RowsRead {
    std::vector<RowToCompute> rows;
    Bound reached;  // there are more, after this key
  };
  asio::awaitable<Result<RowsRead>> read_rows(std::vector<Statement> statements, state::LocalSettings settings,
                                              Deadlines deadlines, std::string* due);
  asio::awaitable<Result<std::shared_ptr<ComputeBatch::Part>>> ask_for(std::vector<RowToCompute> rows, int leaf);
  asio::awaitable<Result<RowsComputed>> answers_to(std::shared_ptr<ComputeBatch::Part> part, int leaf,
                                                   WhileWaiting meanwhile);
  Result<RowsComputed> heed_refusals(Result<RowsComputed> computed, int leaf);
  asio::awaitable<Result<RowsAsked>> ask_for_interval(planner::BatchRequest request);
  asio::awaitable<Result<RowsAsked>> take_asked(planner::BatchRequest request);
  asio::awaitable<void> ask_ahead(planner::BatchRequest request);
  asio::awaitable<void> settle_ahead(WhileWaiting meanwhile);
  WhileWaiting renewing(Lease lease);
  struct BatchComputed {
    RowsComputed rows;
    std::shared_ptr<ComputeBatch::Part> part;
    Bound reached;  // the batch was ended here
  };
  asio::awaitable<Result<BatchComputed>> compute_batch(planner::BatchRequest& request);
  std::int64_t most_bytes_asked() const;
  asio::awaitable<Result<planner::Visit>> visit_computed(int leaf, std::int64_t rows, std::optional<std::int64_t> only);
  // Fails in a transaction that would read a result of `prepare` whose rows are gone; nothing where none is read.
  std::vector<Statement> prepared_guard() const {
    if (database_.prepared() == nullptr || database_.prepared()->filled.empty()) return {};
    return {planner::prepared_guard_sql(database_.prepared()->filled)};
  }
  asio::awaitable<Result<Done>> prepare(int pass);
  std::string is_passed_by(int leaf) const {
    return state::is_set_aside(job_id(), leaf, planner::key_array(target(leaf), target(leaf).alias));
  }

  PgDatabase& database_;
  int worker_;
  std::shared_ptr<PgConnection> connection_;
  std::optional<ComputeBatch> compute_;
  std::optional<RowsAsked> ahead_;  // those of the next batch
  bool is_computing_ = false;
  std::optional<std::int64_t> most_changed_;
  std::string job_identity_;
  std::int64_t computed_range_ = -1;
  std::map<int, std::int64_t> rows_by_bytes_;  // by leaf: more rows than a part may have bytes for
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
  settings.migration = database_.job().job.name;
  return settings;
}

asio::awaitable<Result<std::vector<Rows>>> PgSession::transaction(state::LocalSettings settings,
                                                                  std::vector<std::string> statements,
                                                                  Deadlines deadlines) {
  auto results = co_await transaction(settings, our_sql(std::move(statements)), deadlines);
  co_return results;
}

asio::awaitable<Result<std::vector<Rows>>> PgSession::transaction(state::LocalSettings settings,
                                                                  std::vector<Statement> statements,
                                                                  Deadlines deadlines) {
  if (!is_connected()) co_return not_connected();
  std::vector<Statement> all;
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

// Nobody waits for it, least of all the batches, which stop when the job is not read for a while.
asio::awaitable<Result<Rows>> PgSession::past_query(std::string statement) {
  auto settings = settings_for(kPastTimeout, kPastLockTimeout);
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
  Lease lease = lease_of(state::row_as<LeaseRow>(rows.rows.front()));
  // Another process began a pass: with partitions that came meanwhile, and with keys as they are now.
  bool const is_stale = lease.pass != database_.job().pass || !has_leaf(lease.leaf);
  if (is_stale) {
    auto loaded = co_await reload_leaves();
    if (!loaded) co_return loaded.error();
    database_.job().pass = lease.pass;
  }
  std::string const where = fmt::format("pgbackfill.ranges, job {}, range {}", job_id(), lease.range_id);
  if (!has_leaf(lease.leaf)) {
    throw BrokenState(fmt::format("{} is of leaf {}, which pgbackfill.leaves does not have", where, lease.leaf));
  }
  require_key(lease.cursor, target(lease.leaf).key, where + ": cursor");
  require_key(lease.hi, target(lease.leaf).key, where + ": hi");
  co_return std::optional<Lease>(std::move(lease));
}

asio::awaitable<Result<Done>> PgSession::reload_leaves() {
  auto& job = database_.job();
  auto const connection = connection_;
  auto table = co_await read_table();
  if (!table) co_return table.error();
  auto loaded = co_await load_pg_job(*connection, job.job.id, job.job.name, job.job.backfill, std::move(*table),
                                     job.sweeps, job.traits);
  if (!loaded) co_return loaded.error();
  // A leaf keeps its number for as long as there is the job; other workers are about to look theirs up.
  if (loaded->job.leaves.size() < job.job.leaves.size()) co_return job_is_gone();
  loaded->pass = job.pass;
  job = std::move(*loaded);
  co_return Done();
}

asio::awaitable<Result<std::optional<planner::SplitCandidate>>> PgSession::read_widest_range() {
  auto rows = co_await state_query(state::split_candidate(job_id()));
  if (!rows) co_return rows.error();
  std::optional<planner::SplitCandidate> candidate;
  if (rows->rows.empty()) co_return candidate;
  auto row = state::row_as<WidestRange>(rows->rows.front());
  Lease range;
  range.range_id = row.range_id;
  range.leaf = row.leaf;
  if (!has_leaf(range.leaf)) co_return candidate;
  auto const& key = target(range.leaf).key;
  range.cursor = std::move(row.cursor);
  range.hi = std::move(row.hi);
  std::string const where = fmt::format("pgbackfill.ranges, job {}, range {}", job_id(), range.range_id);
  require_key(range.cursor, key, where + ": cursor");
  require_key(range.hi, key, where + ": hi");
  candidate.emplace();
  candidate->range = std::move(range);
  candidate->rows_left = row.rows_left;
  candidate->by_block = key.is_by_block();
  co_return candidate;
}

asio::awaitable<Result<std::optional<Lease>>> PgSession::cut_after(Lease range, planner::KeyValue middle) {
  if (!has_leaf(range.leaf)) co_return std::optional<Lease>();
  auto cut = co_await lease_query(
      state::split(job_id(), range.range_id, range.hi, middle, target(range.leaf).key, database_.owner(), worker_));
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
  if (!results) {
    auto failure = co_await weigh(results.error(), lease.leaf, std::nullopt);
    co_return failure;
  }
  co_return page_of(results->back());
}

// What an error of the work on a leaf means beyond its code. `worked`: which keys the work was about; absent: it was no
// work.
asio::awaitable<Failure> PgSession::weigh(Failure failure, int leaf, std::optional<planner::Interval> worked) {
  using planner::Trouble;
  if (!is_connected()) co_return failure;
  if (failure.sqlstate == planner::kPreparedLostState) {
    auto const again = co_await prepare(database_.job().pass);
    if (!again) co_return again.error();
    failure.trouble = Trouble::kConflict;
    co_return failure;
  }
  // This server answered: what is away is another one, which the work asks.
  if (failure.trouble == Trouble::kConnection) failure.trouble = Trouble::kResources;
  if (failure.trouble != Trouble::kFatal && failure.trouble != Trouble::kRowData) co_return failure;
  auto const connection = connection_;
  auto const seen = target(leaf);
  auto const is_same = co_await is_same_leaf(*connection, seen.relation, seen.relation_oid, database_.job().table.oid);
  if (!is_same || !*is_same) {
    auto const changed = co_await look_at_leaves();
    if (!changed) co_return changed.error();
    // What is to be done now is another question.
    failure.trouble = *changed ? Trouble::kFenced : Trouble::kConflict;
    co_return failure;
  }
  if (failure.trouble == Trouble::kRowData || !planner::may_be_of_statement(failure.sqlstate)) co_return failure;
  if (!worked) co_return failure;
  // Names, types and rights are looked at without a row as well; what a trigger says of one is not.
  std::vector<Statement> explain{users_sql("EXPLAIN " + planner::plain_work(seen, *worked))};
  auto const explained = co_await transaction(settings_for(kStateDeadlines.statement, kStateLockTimeout),
                                              std::move(explain), kStateDeadlines);
  if (explained) failure.trouble = Trouble::kRowData;
  co_return failure;
}

// What of the results of `prepare` is not there for this pass, or not any more.
asio::awaitable<Result<Done>> PgSession::prepare(int pass) {
  auto* const prepared = database_.prepared();
  if (prepared == nullptr) co_return Done();
  auto const connection = connection_;
  auto made = co_await compute_prepared(*connection, *prepared, pass);
  if (!made) co_return made.error();
  for (auto const& one : *made) database_.note(told_text(one));
  co_return Done();
}

// Whether they are others than this process believed; then it believes what is there.
asio::awaitable<Result<bool>> PgSession::look_at_leaves() {
  auto const& job = database_.job();
  auto const connection = connection_;
  auto const names = [&job] {
    std::vector<std::string> all;
    for (auto const& work : job.targets) all.push_back(work.relation);
    return all;
  };
  auto const before = names();
  auto seen = co_await settle_leaves(*connection, job_id(), job.table, database_.owner());
  if (!seen) co_return seen.error();
  for (auto& text : seen->told) database_.note(std::move(text));
  auto loaded = co_await reload_leaves();
  if (!loaded) co_return loaded.error();
  co_return seen->has_changed || before != names();
}

asio::awaitable<Result<planner::BatchDone>> PgSession::run_batch(planner::BatchRequest request) {
  auto const& backfill = database_.job().job.backfill;
  auto settings = settings_for(request.statement_timeout, request.lock_timeout);
  settings.asynchronous_commit = backfill.commit == planner::CommitMode::kAsync;
  settings.skip_triggers = backfill.triggers == planner::TriggerMode::kSkip;
  bool const computes = compute_ && request.mode != planner::BatchMode::kSetAside;
  std::vector<Statement> statements = {state::fence(job_id(), request.lease, lease_owner())};
  planner::BatchWork batch;
  planner::BatchDone done;
  std::shared_ptr<ComputeBatch::Part> part;
  if (computes) {
    auto computed = co_await compute_batch(request);
    if (!computed) co_return computed.error();
    part = computed->part;
    done.reached = computed->reached;
    // Leaves may have been read anew while programs computed, by another worker: no reference to one outlives a wait.
    batch = planner::computed_work(target(request.lease.leaf), request.interval, computed->rows.computed,
                                   is_passed_by(request.lease.leaf), request.mode);
    // Behind its back: what is locked or has changed is visited later, and computed anew.
    request.set_aside = planner::SetAside::kDefer;
    if (!computed->rows.refused.empty()) {
      statements.emplace_back(
          state::set_aside_rows(job_id(), request.lease.leaf, computed->rows.refused, backfill.quarantine_budget));
    }
  } else {
    batch = planner::batch_work(target(request.lease.leaf), request.interval, request.mode, request.lease.pass > 0);
  }
  for (auto& guard : prepared_guard()) statements.push_back(std::move(guard));
  if (!batch.prepare.empty()) statements.emplace_back(std::move(batch.prepare));
  if (!batch.lock.empty()) statements.push_back(users_sql(std::move(batch.lock)));
  if (!batch.keep.empty()) statements.push_back(users_sql(std::move(batch.keep)));
  statements.push_back(users_sql(std::move(batch.work)));
  if (most_changed_ && batch.has_work) statements.emplace_back(planner::unless_too_many(*most_changed_, kTooManyState));
  std::size_t const checkpoint = statements.size();
  statements.emplace_back(state::checkpoint(job_id(), request, batch, backfill.quarantine_budget, backfill.rows_per_key,
                                            database_.owner().lease_time));
  statements.emplace_back(same_leaf(request.lease.leaf));
  auto const& work = target(request.lease.leaf);
  bool const looks_ahead = !request.ends_range && request.look_ahead_rows > 0 && !ahead_;
  if (looks_ahead) {
    planner::Interval const rest{request.interval.hi, request.lease.hi};
    if (work.key.is_mixed()) statements.emplace_back(planner::look_ahead_setting(work));
    statements.emplace_back(planner::look_ahead_sql(work, rest, request.look_ahead_rows));
  }
  // Each statement has its own statement_timeout on the server; the client's patience covers all of them.
  Deadlines const deadlines{request.statement_timeout, request.statement_timeout * 3 + 5'000ms};
  auto const started = std::chrono::steady_clock::now();
  auto results = co_await transaction(settings, std::move(statements), deadlines);
  if (!results && results.error().sqlstate == kTooManyState) co_return results.error();
  if (!results) {
    auto failure = co_await weigh(results.error(), request.lease.leaf, request.interval);
    co_return failure;
  }
  if (part) compute_->written(*part);
  done.duration = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - started);
  auto const counted = state::row_as<state::CountedBatch>(results->at(checkpoint).rows.at(0));
  done.rows_changed = counted.rows_changed;
  done.rows_left = counted.rows_left;
  if (looks_ahead) done.next = page_of(results->back());
  if (ahead_) done.next = ahead_->page;
  co_return done;
}

// --- values that programs compute ------------------------------------------------------------------------------------

// How many bytes of rows a session may have read at once; two such parts may be under way. Rows wait here for a
// program, and their answers to be written: it is more than one request if those are short.
std::int64_t PgSession::most_bytes_asked() const {
  constexpr std::int64_t kMostBytesOfAll = 8'000'000;
  auto const& backfill = database_.job().job.backfill;
  return std::max(backfill.compute->bytes, kMostBytesOfAll / (2 * std::max(backfill.workers, 1)));
}

// `due`: gets what the first statement tells, if it is wanted; the last one reads rows.
asio::awaitable<Result<PgSession::RowsRead>> PgSession::read_rows(std::vector<Statement> statements,
                                                                  state::LocalSettings settings, Deadlines deadlines,
                                                                  std::string* due) {
  auto results = co_await transaction(settings, std::move(statements), deadlines);
  if (!results) co_return results.error();
  if (due != nullptr) *due = state::value_as<std::string>(results->front());
  auto const& read = database_.job().job.backfill.compute->read;
  RowsRead found;
  found.rows.reserve(results->back().rows.size());
  for (auto& fields : results->back().rows) {
    auto row = row_to_compute(fields, read, database_.job().traits.input_forms);
    fields.clear();  // long values are held once
    if (row) {
      found.rows.push_back(std::move(*row));
    } else {
      found.reached = key_value_of(found.rows.back().key);
    }
  }
  co_return found;
}

asio::awaitable<Result<std::shared_ptr<ComputeBatch::Part>>> PgSession::ask_for(std::vector<RowToCompute> rows,
                                                                                int leaf) {
  if (job_identity_.empty()) {
    auto identity = co_await state_query(state::job_identity(job_id()));
    if (!identity) co_return identity.error();
    if (identity->rows.empty()) co_return job_is_gone();
    job_identity_ = state::value_as<std::string>(*identity);
  }
  co_return compute_->ask(fmt::format("{}/{}", job_identity_, leaf), std::move(rows));
}

asio::awaitable<Result<RowsComputed>> PgSession::answers_to(std::shared_ptr<ComputeBatch::Part> part, int leaf,
                                                            WhileWaiting meanwhile) {
  is_computing_ = true;
  auto answers = co_await compute_->answers(std::move(part), std::move(meanwhile));
  is_computing_ = false;
  co_return heed_refusals(std::move(answers), leaf);
}

Result<RowsComputed> PgSession::heed_refusals(Result<RowsComputed> computed, int leaf) {
  if (!computed || computed->refused.empty()) return computed;
  if (database_.job().job.backfill.quarantine_budget == 0) {
    auto const& row = computed->refused.front();
    Failure failure;
    failure.sqlstate = planner::kProgramState;
    failure.message = fmt::format(
        "the program refuses row {} of {}: {}; let it skip the row, or allow some to be set "
        "aside (on_bad_row: {{quarantine: N}})",
        key_for_people(row.key), target(leaf).relation, row.message);
    return failure;
  }
  constexpr std::size_t kMostTold = 5;
  for (std::size_t index = 0; index < std::min(computed->refused.size(), kMostTold); ++index) {
    auto const& row = computed->refused[index];
    database_.note(fmt::format("the program refuses row {} of {}, which is set aside: {}", key_for_people(row.key),
                               target(leaf).relation, row.message));
  }
  return computed;
}

// Of the interval, or of its first part where its rows are long.
asio::awaitable<Result<PgSession::RowsAsked>> PgSession::ask_for_interval(planner::BatchRequest request) {
  int const leaf = request.lease.leaf;
  std::vector<Statement> statements = {state::fence(job_id(), request.lease, lease_owner())};
  for (auto& guard : prepared_guard()) statements.push_back(std::move(guard));
  statements.push_back(
      users_sql(planner::compute_read_sql(target(leaf), request.interval, most_bytes_asked(), is_passed_by(leaf))));
  auto settings = settings_for(request.statement_timeout, request.lock_timeout);
  settings.asynchronous_commit = true;  // it writes nothing
  Deadlines const deadlines{request.statement_timeout, request.statement_timeout * 3 + 5'000ms};
  auto read = co_await read_rows(std::move(statements), settings, deadlines, nullptr);
  if (!read) {
    auto failure = co_await weigh(read.error(), leaf, request.interval);
    co_return failure;
  }
  RowsAsked asked;
  asked.range_id = request.lease.range_id;
  asked.interval = request.interval;
  asked.page = {request.rows, request.ends_range ? Bound() : request.interval.hi};
  auto const rows = static_cast<std::int64_t>(read->rows.size());
  if (read->reached) {
    asked.interval.hi = read->reached;
    asked.page = {rows, read->reached};
    rows_by_bytes_[leaf] = 2 * rows;
  } else if (auto const most = rows_by_bytes_.find(leaf); most != rows_by_bytes_.end()) {
    most->second = std::min<std::int64_t>(2 * most->second, planner::kMaxBatchRows);
  }
  auto part = co_await ask_for(std::move(read->rows), leaf);
  if (!part) co_return part.error();
  asked.part = std::move(*part);
  co_return asked;
}

// What was asked for ahead, if the batch is as it was expected to be.
asio::awaitable<Result<PgSession::RowsAsked>> PgSession::take_asked(planner::BatchRequest request) {
  bool const is_expected = ahead_ && ahead_->range_id == request.lease.range_id && ahead_->interval == request.interval;
  if (is_expected) {
    RowsAsked asked = std::move(*ahead_);
    ahead_.reset();
    co_return asked;
  }
  co_await settle_ahead(renewing(request.lease));
  if (std::exchange(computed_range_, request.lease.range_id) != request.lease.range_id) compute_->forget();
  auto asked = co_await ask_for_interval(std::move(request));
  co_return asked;
}

// The rows of the next batch, so that programs have them while this one is written. What fails here is met again.
asio::awaitable<void> PgSession::ask_ahead(planner::BatchRequest request) {
  // Of a run that stops after some rows nobody may want them.
  bool const is_wanted =
      !request.ends_range && request.look_ahead_rows > 0 && !most_changed_ && !database_.programs()->is_winding_down();
  if (!is_wanted) co_return;
  auto after = request.lease;
  after.cursor = request.interval.hi;
  auto most = request.look_ahead_rows;
  auto const by_bytes = rows_by_bytes_.find(after.leaf);
  if (by_bytes != rows_by_bytes_.end()) most = std::clamp<std::int64_t>(by_bytes->second, 1, most);
  auto page = co_await look_ahead(after, most, request.statement_timeout);
  if (!page) co_return;
  request.interval = {after.cursor, page->last ? page->last : after.hi};
  request.ends_range = !page->last;
  request.rows = page->rows;
  auto asked = co_await ask_for_interval(std::move(request));
  if (asked) ahead_ = std::move(*asked);
}

asio::awaitable<void> PgSession::settle_ahead(WhileWaiting meanwhile) {
  if (!ahead_) co_return;
  auto const part = ahead_->part;
  ahead_.reset();
  is_computing_ = true;
  co_await compute_->settle(part, std::move(meanwhile));
  is_computing_ = false;
}

WhileWaiting PgSession::renewing(Lease lease) {
  WhileWaiting meanwhile;
  meanwhile.interval = database_.owner().lease_time / 3;
  meanwhile.call = [this, lease = std::move(lease)]() -> asio::awaitable<Result<bool>> {
    auto renewed = co_await lease_query(state::renew(job_id(), lease, database_.owner(), lease_owner()));
    if (!renewed) co_return renewed.error();
    co_return !renewed->rows.empty();
  };
  return meanwhile;
}

asio::awaitable<Result<PgSession::BatchComputed>> PgSession::compute_batch(planner::BatchRequest& request) {
  auto asked = co_await take_asked(request);
  if (!asked) co_return asked.error();
  BatchComputed batch;
  batch.part = asked->part;
  if (asked->interval != request.interval) {
    batch.reached = asked->interval.hi;
    request.interval = asked->interval;
    request.rows = asked->page.rows;
    request.ends_range = false;
  }
  co_await ask_ahead(request);
  auto computed = co_await answers_to(batch.part, request.lease.leaf, renewing(request.lease));
  if (!computed) co_return computed.error();
  batch.rows = std::move(*computed);
  co_return batch;
}

// The keys are chosen, and their rows read, in a transaction that ends before anything is computed. Whoever settles one
// of them meanwhile leaves nothing to be done for it.
asio::awaitable<Result<planner::Visit>> PgSession::visit_computed(int leaf, std::int64_t rows,
                                                                  std::optional<std::int64_t> only) {
  co_await end_ahead();
  auto const& job = database_.job().job;
  auto const terms = visit_terms();
  auto const most = std::min(rows, job.backfill.compute->rows);
  std::string due;
  std::vector<Statement> reading = {state::choose_deferred(job.id, leaf, most, only)};
  for (auto& guard : prepared_guard()) reading.push_back(std::move(guard));
  reading.push_back(users_sql(planner::compute_read_due_sql(target(leaf), most_bytes_asked())));
  planner::Interval const whole;
  auto read = co_await read_rows(std::move(reading), terms.settings, terms.deadlines, &due);
  if (!read) {
    auto failure = co_await weigh(read.error(), leaf, whole);
    co_return failure;
  }
  auto part = co_await ask_for(std::move(read->rows), leaf);
  if (!part) co_return part.error();
  WhileWaiting nothing;
  auto computed = co_await answers_to(*part, leaf, std::move(nothing));
  if (!computed) co_return computed.error();
  auto visited = planner::computed_visit(target(leaf), computed->computed);
  std::vector<Statement> writing;
  if (!computed->refused.empty()) {
    writing.emplace_back(state::set_aside_rows(job.id, leaf, computed->refused, job.backfill.quarantine_budget));
  }
  writing.emplace_back(state::choose_deferred_again(job.id, leaf, due));
  writing.emplace_back(std::move(visited.prepare));
  writing.push_back(users_sql(std::move(visited.work)));
  writing.emplace_back(same_leaf(leaf));
  writing.emplace_back(state::record_visit(job.id));
  auto visit = co_await play_visit(leaf, terms, std::move(writing));
  if (!visit) co_return visit.error();
  compute_->written(**part);
  visit->settled += static_cast<std::int64_t>(computed->refused.size());
  co_return visit;
}

// --- visits ----------------------------------------------------------------------------------------------------------

asio::awaitable<Result<std::vector<DeferredLeaf>>> PgSession::deferred_leaves() {
  auto rows = co_await state_query(state::leaves_with_deferred(job_id()));
  if (!rows) co_return rows.error();
  std::vector<DeferredLeaf> leaves;
  for (auto const& found : state::rows_as<DeferredLeaf>(*rows)) {
    if (!has_leaf(found.leaf)) {
      Failure failure;
      failure.message = fmt::format(
          "pgbackfill.deferred, job {}: there are keys of leaf {}, which pgbackfill.leaves "
          "does not have",
          job_id(), found.leaf);
      co_return failure;
    }
    leaves.push_back(found);
  }
  co_return leaves;
}

asio::awaitable<Result<std::optional<std::int64_t>>> PgSession::next_deferred(int leaf) {
  auto rows = co_await state_query(state::next_deferred(job_id(), leaf));
  if (!rows) co_return rows.error();
  std::optional<std::int64_t> key;
  if (!rows->rows.empty()) key = state::value_as<std::int64_t>(*rows);
  co_return key;
}

PgSession::VisitTerms PgSession::visit_terms() const {
  auto const& backfill = database_.job().job.backfill;
  auto const timeout =
      std::max<std::chrono::milliseconds>(backfill.batch.target * planner::kTimeoutOverTarget, 1'000ms);
  VisitTerms terms{settings_for(timeout, 200ms), Deadlines{timeout, timeout + 5'000ms}};
  terms.settings.skip_triggers = backfill.triggers == planner::TriggerMode::kSkip;
  terms.settings.prefer_index = true;
  return terms;
}

// The last of the statements records the visit.
asio::awaitable<Result<planner::Visit>> PgSession::play_visit(int leaf, VisitTerms terms,
                                                              std::vector<Statement> statements) {
  planner::Interval const whole;
  auto results = co_await transaction(terms.settings, std::move(statements), terms.deadlines);
  if (!results) {
    auto failure = co_await weigh(results.error(), leaf, whole);
    co_return failure;
  }
  auto const counted = state::row_as<state::CountedVisit>(results->back().rows.at(0));
  planner::Visit visit;
  visit.rows_changed = counted.rows_changed;
  visit.settled = counted.settled;
  visit.left = counted.left;
  co_return visit;
}

asio::awaitable<Result<planner::Visit>> PgSession::visit_keys(int leaf, std::int64_t rows,
                                                              std::optional<std::int64_t> only) {
  if (compute_) {
    auto visit = co_await visit_computed(leaf, rows, only);
    co_return visit;
  }
  auto const& job = database_.job().job;
  auto visited = planner::visit_work(target(leaf));
  std::vector<Statement> statements = prepared_guard();
  statements.emplace_back(state::choose_deferred(job.id, leaf, rows, only));
  statements.push_back(users_sql(std::move(visited.lock)));
  if (!visited.keep.empty()) statements.push_back(users_sql(std::move(visited.keep)));
  statements.push_back(users_sql(std::move(visited.work)));
  statements.emplace_back(same_leaf(leaf));
  statements.emplace_back(state::record_visit(job.id));
  auto const terms = visit_terms();
  auto visit = co_await play_visit(leaf, terms, std::move(statements));
  co_return visit;
}

// --- rows that come to a complete job --------------------------------------------------------------------------------

// A partition that is gone keeps its number.
std::vector<int> PgSession::leaves_to_follow() const {
  auto const& job = database_.job();
  std::vector<int> leaves;
  for (auto const& facts : job.table.leaves) {
    for (std::size_t leaf = 0; leaf < job.targets.size(); ++leaf) {
      if (job.targets[leaf].relation_oid == facts.oid) leaves.push_back(static_cast<int>(leaf));
    }
  }
  return leaves;
}

asio::awaitable<Result<std::int64_t>> PgSession::defer_undone_keys(int leaf, planner::Interval interval,
                                                                   std::chrono::milliseconds timeout,
                                                                   std::string ended) {
  std::vector<Statement> statements = {users_sql(planner::undone_keys_sql(target(leaf), interval))};
  statements.emplace_back(same_leaf(leaf));
  statements.emplace_back(state::defer_found(job_id(), leaf, ended));
  Deadlines const deadlines{timeout, timeout + 5'000ms};
  auto const lock = std::min<std::chrono::milliseconds>(timeout / 2, 200ms);
  auto results = co_await transaction(settings_for(timeout, lock), std::move(statements), deadlines);
  if (!results) {
    auto failure = co_await weigh(results.error(), leaf, std::nullopt);
    co_return failure;
  }
  co_return state::value_as<std::int64_t>(results->back());
}

// A partition may have gone, or got another name, between two looks.
template <class T>
asio::awaitable<Result<T>> PgSession::of_leaves(asio::awaitable<Result<T>> call) {
  auto result = co_await std::move(call);
  bool const may_have_moved =
      !result && is_connected() &&
      (result.error().trouble == planner::Trouble::kFatal || result.error().trouble == planner::Trouble::kRowData);
  if (!may_have_moved) co_return result;
  auto const changed = co_await look_at_leaves();
  if (!changed) co_return changed.error();
  Failure failure = result.error();
  bool const is_moved = *changed || failure.sqlstate == planner::kMovedState;
  if (is_moved) failure.trouble = planner::Trouble::kConflict;
  co_return failure;
}

asio::awaitable<Result<planner::PassState>> PgSession::read_pass_state() {
  auto rows = co_await state_query(state::pass_state(job_id()));
  if (!rows) co_return rows.error();
  if (rows->rows.empty()) co_return job_is_gone();
  auto pass = state::pass_state_of(rows->rows.front());
  pass.sweeps = database_.job().sweeps;
  auto const& targets = database_.job().targets;
  pass.by_block = std::any_of(targets.begin(), targets.end(),
                              [](planner::WorkTarget const& work) { return work.key.is_by_block(); });
  co_return pass;
}

// Sequences of a copy go past what was copied before anybody may take the job for complete.
asio::awaitable<Result<bool>> PgSession::complete_job(int pass) {
  // First, as it locks the job: of two workers that complete it the second finds the sequences where they are to be.
  std::vector<std::string> statements{state::complete_job(job_id(), pass, database_.owner())};
  auto const& backfill = database_.job().job.backfill;
  if (backfill.kind == planner::WorkKind::kCopy) {
    auto const connection = connection_;
    auto moves = co_await sequence_moves(*connection, backfill);
    if (!moves) co_return moves.error();
    for (auto& move : *moves) statements.push_back(std::move(move));
  }
  auto const settings = settings_for(kStateDeadlines.statement, kStateLockTimeout);
  // Synchronous: this commit flushes every asynchronous one before it.
  auto results = co_await transaction(settings, std::move(statements), kStateDeadlines);
  if (!results) co_return results.error();
  co_return !results->front().rows.empty();
}

asio::awaitable<Result<bool>> PgSession::start_pass(int pass, planner::PassScope scope) {
  auto& job = database_.job();
  auto const connection = connection_;
  auto table = co_await read_table();
  if (!table) co_return table.error();
  auto stored = co_await stored_leaves();
  if (!stored) co_return stored.error();
  auto next = co_await plan_next_pass(*connection, job.job.backfill, job.traits, *table, std::move(*stored), scope);
  if (!next) co_return next.error();
  // As the tables that they are computed from are now.
  auto prepared = co_await prepare(pass + 1);
  if (!prepared) co_return prepared.error();
  auto statements = state::next_pass(job.job.id, pass, *next, job.table.oid, database_.owner());
  auto made =
      co_await transaction(settings_for(kStateDeadlines.statement, 5'000ms), std::move(statements), kStateDeadlines);
  // Fenced: another worker was quicker.
  if (!made && made.error().trouble == planner::Trouble::kFenced) co_return false;
  if (!made) co_return made.error();
  for (auto const& leaf : next->new_leaves) {
    database_.note(fmt::format("partition {} of {} is new; the job takes it in",
                               planner::quote_qualified(leaf.schema, leaf.name), job.job.table));
  }
  for (auto const& [leaf, is_whole] : next->returned) {
    database_.note(fmt::format("partition {} of {} is back; the job goes on with it",
                               planner::quote_qualified(leaf.schema, leaf.name), job.job.table));
  }
  auto loaded = co_await reload_leaves();
  if (!loaded) co_return loaded.error();
  job.pass = pass + 1;
  co_return true;
}

asio::awaitable<Result<planner::TableFacts>> PgSession::read_table() {
  auto const& job = database_.job();
  auto const connection = connection_;
  planner::TableName const name{job.table.schema, job.table.name};
  auto facts = co_await read_table_facts(*connection, name);
  if (!facts) co_return facts.error();
  if (*facts && (*facts)->oid == job.table.oid) co_return std::move(**facts);
  Failure failure;
  failure.sqlstate = planner::kMovedState;
  failure.message =
      fmt::format("table {} is gone: it was dropped, renamed or replaced while the job ran", job.job.table);
  co_return failure;
}

asio::awaitable<Result<std::vector<state::StoredLeaf>>> PgSession::stored_leaves() {
  auto rows = co_await state_query(state::list_leaves(job_id()));
  if (!rows) co_return rows.error();
  std::vector<state::StoredLeaf> leaves;
  for (auto const& row : rows->rows) leaves.push_back(state::stored_leaf_of(row));
  co_return leaves;
}

// Partitions that came while the last pass ran, or that were attached again.
asio::awaitable<Result<bool>> PgSession::count_new_leaves() {
  auto const& table = database_.job().table;
  if (table.kind != 'p') co_return false;
  auto rows = co_await state_query(state::count_new_leaves(job_id(), table.oid));
  if (!rows) co_return rows.error();
  co_return state::value_as<std::int64_t>(*rows) != 0;
}

asio::awaitable<Result<Control>> PgSession::read_job() {
  auto rows = co_await state_query(state::control(job_id(), database_.owner().id));
  if (!rows) co_return rows.error();
  if (rows->rows.empty()) co_return job_is_gone();
  auto const control = state::control_of(rows->rows.front());
  bool const is_pause_over = control.pause_left && control.pause_left->count() < 0;
  if (!is_pause_over || control.status != JobStatus::kPaused) co_return control;
  auto ended = co_await state_query(state::end_pause(job_id(), database_.owner()));
  if (!ended) co_return ended.error();
  rows = co_await state_query(state::control(job_id(), database_.owner().id));
  if (!rows) co_return rows.error();
  if (rows->rows.empty()) co_return job_is_gone();
  co_return state::control_of(rows->rows.front());
}

// The transaction that holds a row stands in the row's own xmax; its backend holds that transaction's lock.
asio::awaitable<Result<std::vector<std::string>>> PgSession::find_blockers() {
  std::vector<std::string> sentences;
  auto leaves = co_await state_query(state::leaves_with_deferred(job_id()));
  if (!leaves) co_return leaves.error();
  for (auto const& held : state::rows_as<DeferredLeaf>(*leaves)) {
    int const leaf = held.leaf;
    if (!has_leaf(leaf)) continue;
    auto keys = co_await state_query(state::deferred_keys(job_id(), leaf, kMostKeysPerBlockerQuery));
    if (!keys) co_return keys.error();
    std::vector<planner::KeyValue> values;
    for (auto& value : state::column_as<planner::Bound>(*keys)) {
      require_key(value, target(leaf).key, fmt::format("pgbackfill.deferred, job {}, leaf {}: a key", job_id(), leaf));
      if (value) values.push_back(std::move(*value));
    }
    if (values.empty()) continue;
    auto holders = co_await state_query(planner::holders_sql(target(leaf), values));
    if (!holders) co_return holders.error();
    for (auto const& holder : state::rows_as<RowHolder>(*holders)) {
      sentences.push_back(fmt::format("{} row(s) of {} are held by {}", holder.rows, target(leaf).relation,
                                      holder_text(holder.pid, holder.name, holder.role, holder.age, holder.does)));
    }
  }
  std::vector<std::uint32_t> oids;
  for (auto const& work : database_.job().targets) oids.push_back(work.relation_oid);
  if (oids.empty()) co_return sentences;
  auto holders = co_await state_query(planner::table_holders_sql(oids));
  if (!holders) co_return holders.error();
  for (auto const& holder : state::rows_as<TableHolder>(*holders)) {
    sentences.push_back(fmt::format("{} is held by {}", holder.relation.value_or("?"),
                                    holder_text(holder.pid, holder.name, holder.role, holder.age, holder.does)));
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
  // A lock that it cannot get is met again and again; whoever has it is named.
  if (worker_ == kControlWorker) {
    LockTerms terms;
    terms.who = state::who_is_in_the_way();
    connection->set_lock_terms(std::move(terms));
  }
  connection_ = connection;
  co_return Done();
}

}  // namespace

namespace {

asio::awaitable<Result<PgJob>> read_pg_job(PgConnection& connection, std::int64_t job_id, std::string name,
                                           planner::Backfill backfill, planner::TableFacts table, bool sweeps,
                                           planner::WorkTraits traits) {
  auto rows = co_await connection.query(state::list_leaves(job_id), kStateDeadlines);
  if (!rows) co_return rows.error();
  PgJob result;
  result.job.id = job_id;
  result.job.name = std::move(name);
  result.job.table = planner::quote_qualified(table.schema, table.name);
  result.job.backfill = std::move(backfill);
  result.sweeps = sweeps;
  result.traits = traits;
  for (auto const& row : rows->rows) {
    auto const stored = state::stored_leaf_of(row);
    planner::LeafFacts leaf;
    leaf.oid = stored.oid;
    leaf.schema = stored.schema;
    leaf.name = stored.name;
    leaf.rows_estimated = stored.rows_estimated;
    leaf.blocks = stored.blocks;
    leaf.bytes = stored.bytes;
    auto const now = std::find_if(table.leaves.begin(), table.leaves.end(),
                                  [&](planner::LeafFacts const& each) { return each.oid == leaf.oid; });
    if (now != table.leaves.end()) leaf.partition_condition = now->partition_condition;
    planner::Key const& key = stored.key;
    require_key_of_table(key, table, leaf);
    LeafPlan plan;
    plan.relation = planner::quote_qualified(leaf.schema, leaf.name);
    plan.key = key;
    plan.rows_estimated = leaf.rows_estimated;
    plan.rows_per_block =
        static_cast<double>(leaf.rows_estimated) / static_cast<double>(std::max<std::int64_t>(leaf.blocks, 1));
    plan.bytes_per_row = leaf.bytes / std::max<std::int64_t>(leaf.rows_estimated, 1);
    plan.heap_bytes = static_cast<std::uint64_t>(leaf.bytes);
    result.job.leaves.push_back(std::move(plan));
    result.targets.push_back(planner::make_work_target(result.job.backfill, table, leaf, key, traits));
  }
  result.table = std::move(table);
  co_return result;
}

}  // namespace

asio::awaitable<Result<PgJob>> load_pg_job(PgConnection& connection, std::int64_t job_id, std::string name,
                                           planner::Backfill backfill, planner::TableFacts table, bool sweeps,
                                           planner::WorkTraits traits) {
  return told(read_pg_job(connection, job_id, std::move(name), std::move(backfill), std::move(table), sweeps,
                          std::move(traits)));
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

void PgDatabase::set_compute_settings(std::map<std::string, std::string> const& live) {
  if (programs_ != nullptr) programs_->set_pace(planner::compute_pace(*job_.job.backfill.compute, live));
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
