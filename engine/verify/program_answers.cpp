#include "engine/verify/program_answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <cmath>
#include <utility>

#include "engine/base/command_error.h"
#include "engine/compute/programs.h"
#include "engine/pg/catalog.h"
#include "engine/run/compute_batch.h"
#include "engine/run/job_setup.h"
#include "engine/run/work_checks.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"
#include "planner/work/compute_sql.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kPageTimeout{10'000};
// Rows of a sample that are asked about together, and of how many blocks at least they are chosen.
constexpr std::int64_t kSampledAtOnce = 500;
constexpr double kFewestBlocks = 200;
constexpr std::int64_t kMostPageRows = 5'000;
constexpr std::int64_t kMostBytes = 8'000'000;

struct TypedColumn {
  std::string name;
  std::string type;
};

struct ComparedAnswers {
  std::int64_t compared = 0;
  std::int64_t differing = 0;
};

class ProgramComparison {
 public:
  ProgramComparison(asio::any_io_executor executor, ProgramTerms terms, planner::Check check,
                    planner::Backfill backfill)
      : terms_(std::move(terms)),
        check_(std::move(check)),
        backfill_(std::move(backfill)),
        programs_(executor, *backfill_.compute, terms_.migration,
                  planner::quote_qualified(backfill_.table.schema, backfill_.table.name), *terms_.sink),
        batch_(programs_, executor) {}

  asio::awaitable<AnswersFound> go();

 private:
  planner::AgreesCheck const& agrees() const { return std::get<planner::AgreesCheck>(check_.kind); }
  asio::awaitable<bool> look_at_table();
  asio::awaitable<void> wait_for_turn();
  asio::awaitable<void> compare_all(std::size_t leaf);
  asio::awaitable<void> compare_sample(std::size_t leaf, std::int64_t rows);
  std::int64_t part_of_sample(std::size_t leaf) const;
  // One page of up to `rows` keys; where it ended, and nothing at the end of the leaf.
  asio::awaitable<planner::Bound> compare_page(std::size_t leaf, planner::Bound behind, std::int64_t rows);
  asio::awaitable<std::optional<planner::Interval>> find_page(std::size_t leaf, planner::Bound behind,
                                                              std::int64_t rows);
  // Rows that the last of the statements reads, up to the end of the interval or where it becomes too much for once.
  asio::awaitable<bool> ask_and_compare(std::size_t leaf, planner::Interval& interval, std::vector<Statement> reading,
                                        std::int64_t rows);
  asio::awaitable<bool> compare_rows(std::size_t leaf, planner::Interval interval, RowsComputed computed);
  std::optional<planner::AgreementTarget> target_of(std::size_t leaf, planner::AnswersSql const& answers);
  bool fail(Failure const& failure);
  bool goes_on() const { return found_.error.empty() && !found_.is_lost; }

  ProgramTerms terms_;
  planner::Check check_;
  planner::Backfill backfill_;
  Programs programs_;
  ComputeBatch batch_;
  planner::TableFacts table_;
  std::vector<planner::WorkTarget> targets_;  // their `where` is that of the check
  std::vector<std::string> without_equality_;
  AnswersFound found_;
};

// Always false.
bool ProgramComparison::fail(Failure const& failure) {
  found_.is_lost = failure.trouble == planner::Trouble::kConnection;
  found_.error = failure.message + (failure.sqlstate.empty() ? "" : " (" + failure.sqlstate + ")");
  return false;
}

asio::awaitable<bool> ProgramComparison::look_at_table() {
  auto& connection = **terms_.rows;
  auto preflight = co_await check_backfill(connection, backfill_, Purpose::kMeasure);
  if (!preflight) co_return fail(preflight.error());
  if (!preflight->problems.empty()) {
    found_.error = planner::to_string(preflight->problems.front());
    found_.names_what_is_gone = preflight->only_missing_names;
    co_return false;
  }
  auto const computes = co_await check_compute(connection, backfill_, *preflight);
  if (!computes) co_return fail(computes.error());
  auto columns = agrees();
  for (auto const& column : backfill_.compute->write) columns.set.push_back({check_.position, column, column});
  auto const texts = co_await query_read_only(connection, planner::without_equality_sql(columns));
  if (!texts) co_return fail(texts.error());
  for (auto& column : state::rows_as<TypedColumn>(*texts)) without_equality_.push_back(std::move(column.name));
  table_ = std::move(preflight->table);
  targets_ = std::move(preflight->targets);
  for (auto& target : targets_) {
    target.traits.input_forms = preflight->traits.input_forms;
    target.traits.output_forms = preflight->traits.output_forms;
    target.backfill.where = agrees().where;
    target.backfill.where_position = agrees().where_position;
    target.backfill.where_is_changed = false;
  }
  co_return true;
}

asio::awaitable<void> ProgramComparison::wait_for_turn() {
  bool may_read = false;
  while (!may_read) {
    if (terms_.is_stopping()) throw CommandError{kExitResumable, terms_.migration + ": interrupted"};
    may_read = co_await terms_.pace->is_its_turn();
  }
}

// By its share of the rows, as far as that is known.
std::int64_t ProgramComparison::part_of_sample(std::size_t leaf) const {
  double all = 0;
  for (auto const& one : table_.leaves) all += static_cast<double>(std::max<std::int64_t>(one.rows_estimated, 1));
  auto const here = static_cast<double>(std::max<std::int64_t>(table_.leaves[leaf].rows_estimated, 1));
  return static_cast<std::int64_t>(std::ceil(static_cast<double>(*agrees().sample) * here / all));
}

asio::awaitable<void> ProgramComparison::compare_sample(std::size_t leaf, std::int64_t rows) {
  auto const blocks = static_cast<double>(std::max<std::int64_t>(table_.leaves[leaf].blocks, 1));
  planner::Interval whole;
  for (std::int64_t left = rows; left > 0 && goes_on(); left -= kSampledAtOnce) {
    co_await wait_for_turn();
    std::int64_t const here = std::min(left, kSampledAtOnce);
    double const wanted = std::max(static_cast<double>(here), kFewestBlocks);
    std::vector<Statement> reading;
    reading.push_back(users_sql(planner::compute_sample_sql(targets_[leaf], here, 100 * wanted / blocks)));
    reading.push_back(users_sql(planner::compute_read_due_sql(targets_[leaf], kMostBytes)));
    co_await ask_and_compare(leaf, whole, std::move(reading), here);
    whole = {};
  }
}

asio::awaitable<void> ProgramComparison::compare_all(std::size_t leaf) {
  auto const& compute = *backfill_.compute;
  std::int64_t const rows = std::min(compute.rows * compute.in_flight, kMostPageRows);
  planner::Bound behind;
  do {
    behind = co_await compare_page(leaf, std::move(behind), rows);
  } while (behind && goes_on());
}

asio::awaitable<std::optional<planner::Interval>> ProgramComparison::find_page(std::size_t leaf, planner::Bound behind,
                                                                               std::int64_t rows) {
  auto const& target = targets_[leaf];
  planner::Interval const rest{behind, std::nullopt};
  std::vector<Statement> statements;
  if (auto setting = planner::look_ahead_setting(target); !setting.empty()) statements.emplace_back(setting);
  statements.emplace_back(planner::look_ahead_sql(target, rest, rows));
  auto const page = co_await read_only(**terms_.rows, std::move(statements), kPageTimeout);
  if (!page) {
    fail(page.error());
    co_return std::nullopt;
  }
  co_return planner::Interval{behind, state::page_of(page->rows.front()).last};
}

asio::awaitable<planner::Bound> ProgramComparison::compare_page(std::size_t leaf, planner::Bound behind,
                                                                std::int64_t rows) {
  co_await wait_for_turn();
  auto interval = co_await find_page(leaf, std::move(behind), rows);
  if (!interval) co_return std::nullopt;
  std::vector<Statement> reading;
  reading.push_back(users_sql(planner::compute_read_sql(targets_[leaf], *interval, kMostBytes, "false")));
  bool const is_compared = co_await ask_and_compare(leaf, *interval, std::move(reading), rows);
  if (!is_compared) co_return std::nullopt;
  co_return interval->hi;
}

asio::awaitable<bool> ProgramComparison::ask_and_compare(std::size_t leaf, planner::Interval& interval,
                                                         std::vector<Statement> reading, std::int64_t rows) {
  auto const& target = targets_[leaf];
  terms_.pace->page_began(rows);
  auto const read = co_await read_only(**terms_.rows, std::move(reading), kPageTimeout);
  terms_.pace->page_ended(rows, read.has_value());
  if (!read) co_return fail(read.error());
  std::vector<RowToCompute> asked;
  for (auto const& fields : read->rows) {
    auto row = row_to_compute(fields, backfill_.compute->read, target.traits.input_forms);
    // What is too much for once is read next.
    if (!row) interval.hi = key_value_of(asked.back().key);
    if (row) asked.push_back(std::move(*row));
  }
  auto const part = batch_.ask(fmt::format("verify/{}/{}", terms_.migration, leaf), std::move(asked));
  WhileWaiting nothing;
  auto computed = co_await batch_.answers(part, std::move(nothing));
  if (!computed) co_return fail(computed.error());
  bool const is_compared = co_await compare_rows(leaf, interval, std::move(*computed));
  batch_.written(*part);
  co_return is_compared;
}

std::optional<planner::AgreementTarget> ProgramComparison::target_of(std::size_t leaf,
                                                                     planner::AnswersSql const& answers) {
  auto check = check_;
  auto& columns = std::get<planner::AgreesCheck>(check.kind);
  auto const& write = backfill_.compute->write;
  for (std::size_t index = 0; index < write.size(); ++index) {
    columns.set.push_back({check.position, write[index], answers.values[index]});
  }
  auto made = planner::make_agreement_target(check, table_, table_.leaves[leaf], without_equality_);
  if (auto const* refusal = std::get_if<planner::AgreementRefusal>(&made)) {
    found_.error = planner::to_string(refusal->problem);
    found_.names_what_is_gone = refusal->is_missing_name;
    return std::nullopt;
  }
  auto target = std::get<planner::AgreementTarget>(std::move(made));
  target.with = answers.with;
  target.joined = answers.from;
  target.join_condition = answers.condition;
  return target;
}

asio::awaitable<bool> ProgramComparison::compare_rows(std::size_t leaf, planner::Interval interval,
                                                      RowsComputed computed) {
  for (auto const& row : computed.refused) {
    if (found_.rows_refused++ > 0) continue;
    found_.refused = fmt::format("row {} of {}: {}", key_for_people(row.key), targets_[leaf].relation, row.message);
  }
  if (computed.computed.rows.empty()) co_return true;
  auto const answers = planner::answers_sql(targets_[leaf], computed.computed);
  auto const target = target_of(leaf, answers);
  if (!target) co_return false;
  std::vector<Statement> counting = {answers.prepare, users_sql(planner::compare_sql(*target, interval))};
  auto const counted = co_await read_only(**terms_.rows, std::move(counting), kPageTimeout);
  if (!counted) co_return fail(counted.error());
  auto const page = state::row_as<ComparedAnswers>(counted->rows.at(0));
  found_.rows_compared += page.compared;
  found_.rows_differing += page.differing;
  std::size_t const most = planner::kMostDifferingShown - found_.differing.size();
  if (page.differing == 0 || most == 0) co_return true;
  std::vector<Statement> showing = {answers.prepare, users_sql(planner::differing_sql(*target, interval, most))};
  auto const shown = co_await read_only(**terms_.rows, std::move(showing), kPageTimeout);
  if (!shown) co_return fail(shown.error());
  for (auto const& row : shown->rows) found_.differing.push_back(planner::differing_row(*target, row));
  co_return true;
}

asio::awaitable<AnswersFound> ProgramComparison::go() {
  found_.error = programs_.missing();
  bool may_ask = found_.error.empty();
  if (may_ask) may_ask = co_await look_at_table();
  for (std::size_t leaf = 0; may_ask && leaf < targets_.size() && goes_on(); ++leaf) {
    std::int64_t const rows = agrees().sample ? part_of_sample(leaf) : 0;
    bool const is_all = rows == 0 || rows >= table_.leaves[leaf].rows_estimated;
    if (is_all) {
      co_await compare_all(leaf);
    } else {
      co_await compare_sample(leaf, rows);
    }
  }
  co_await programs_.stop();
  co_return std::move(found_);
}

}  // namespace

asio::awaitable<AnswersFound> compare_answers(ProgramTerms terms, planner::Check check, planner::Backfill backfill) {
  auto const executor = co_await asio::this_coro::executor;
  ProgramComparison comparison(executor, std::move(terms), std::move(check), std::move(backfill));
  auto found = co_await comparison.go();
  co_return found;
}

}  // namespace pgbackfill::engine
