#include "engine/verify/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>

#include "engine/base/command_error.h"
#include "engine/pg/catalog.h"
#include "engine/run/job_setup.h"
#include "engine/state/typed_rows.h"
#include "throttle/backoff.h"
#include "throttle/batch_sizer.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using planner::AgreementProgress;
using planner::AgreementTarget;
using planner::AgreementWalk;
using planner::DifferingRow;
using Clock = std::chrono::steady_clock;

constexpr auto kKeepInterval = 1s;
constexpr auto kTellInterval = 5s;
// A page that takes so long is made smaller.
constexpr std::chrono::milliseconds kPageTimeout{10'000};
constexpr std::int64_t kMostPageRows = 50'000;
// Lost connections in a row, without a page between them: then the page itself may be what brings the server down.
constexpr int kMostLosses = 5;

// What was stored of a leaf.
struct LeafSoFar {
  AgreementProgress progress;
  std::vector<DifferingRow> differing;
};

boost::json::value value_of(std::optional<std::string> const& text) {
  return text ? boost::json::value(*text) : boost::json::value(nullptr);
}

std::optional<std::string> text_of(boost::json::value const& value) {
  return value.is_string() ? std::optional(std::string(value.as_string())) : std::nullopt;
}

std::vector<DifferingRow> differing_of(std::string const& text) {
  std::vector<DifferingRow> rows;
  auto const document = boost::json::parse(text);
  for (auto const& item : document.as_array()) {
    auto const& object = item.as_object();
    DifferingRow row;
    row.relation = text_of(object.at("relation")).value_or("");
    for (auto const& part : object.at("key").as_array()) row.key.push_back(text_of(part).value_or(""));
    for (auto const& value : object.at("values").as_array()) {
      auto const& fields = value.as_object();
      row.values.push_back(
          {text_of(fields.at("column")).value_or(""), text_of(fields.at("found")), text_of(fields.at("expected"))});
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

// A position by blocks says nothing once the table was written anew.
bool can_be_kept(AgreementTarget const& target) {
  return !target.work.key.is_by_block();
}

std::string definition_of(AgreementTarget const& target, planner::Check const& check) {
  return planner::agreement_definition(std::get<planner::AgreesCheck>(check.kind)) + "key " +
         planner::key_list(target.work.key, target.work.alias) + "\n";
}

// One comparison of one table.
class Comparison {
 public:
  Comparison(ComparisonTerms terms, planner::Check check, AgreementPlan plan)
      : terms_(std::move(terms)), check_(std::move(check)), plan_(std::move(plan)) {}

  asio::awaitable<ComparisonFound> go();

 private:
  asio::awaitable<void> begin();
  asio::awaitable<void> compare_leaf(std::size_t number);
  asio::awaitable<void> do_step(std::size_t number, AgreementWalk& walk, AgreementWalk::Step step);
  asio::awaitable<void> find_page(std::size_t number, AgreementWalk& walk, AgreementWalk::Step step);
  asio::awaitable<void> compare_page(std::size_t number, AgreementWalk& walk, AgreementWalk::Step step);
  asio::awaitable<void> keep(std::size_t number);
  asio::awaitable<void> wait(int attempt);
  // Of a page that failed.
  asio::awaitable<void> record(std::size_t number, AgreementWalk& walk, planner::Failure failure, std::int64_t rows);
  // Until both connections are there again; else it ends.
  asio::awaitable<void> reconnect(std::size_t number, std::string after);
  void tell_own_sessions() const;
  std::string place(std::size_t number) const;
  [[noreturn]] void stop(std::string const& why) const;
  void tell_now_and_then();
  ComparisonFound sum() const;

  ComparisonTerms terms_;
  planner::Check check_;
  AgreementPlan plan_;
  std::vector<LeafSoFar> leaves_;
  std::string begun_before_;
  std::string error_;
  int losses_ = 0;  // in a row
  std::optional<throttle::BatchSizer> sizer_;
  Clock::time_point kept_at_ = Clock::now();
  Clock::time_point told_at_ = Clock::now();
};

ComparisonFound Comparison::sum() const {
  ComparisonFound found;
  found.begun_before = begun_before_;
  found.error = error_;
  for (auto const& leaf : leaves_) {
    found.rows_compared += leaf.progress.rows_compared;
    found.rows_differing += leaf.progress.rows_differing;
    for (auto const& row : leaf.differing) {
      if (found.differing.size() < planner::kMostDifferingShown) found.differing.push_back(row);
    }
  }
  return found;
}

void Comparison::stop(std::string const& why) const {
  std::string const text =
      fmt::format("{}: {}; {} row(s) were compared", planner::check_text(check_), why, sum().rows_compared);
  if (terms_.state == nullptr) {
    throw CommandError{kExitResumable, text + ", and the same command begins with the first one again"};
  }
  bool const is_kept = terms_.rows->why().empty() && terms_.state->why().empty();
  char const* const there = is_kept ? "there" : "where it was kept last, a moment before";
  throw CommandError{kExitResumable,
                     fmt::format("{}, and `pgbackfill verify {}` goes on {}", text, terms_.migration, there)};
}

// Where each leaf begins, and where it ends: rows that come later are not looked at.
asio::awaitable<void> Comparison::begin() {
  std::vector<state::ComparedLeaf> to_keep;
  for (auto const& target : plan_.targets) {
    LeafSoFar leaf;
    leaf.progress.upper =
        value_or_throw(co_await read_last_key(**terms_.rows, target.work), "reading the last key of the table");
    leaf.progress.is_done = !leaf.progress.upper;
    if (can_be_kept(target)) {
      to_keep.push_back({target.work.relation_oid, target.work.relation, definition_of(target, check_), leaf.progress});
    }
    leaves_.push_back(std::move(leaf));
  }
  if (terms_.state == nullptr || to_keep.empty()) co_return;
  auto statements = state::begin_comparison(terms_.migration, terms_.position, to_keep, terms_.owner);
  bool const can_keep = co_await terms_.state->is_there();
  if (!can_keep) stop(terms_.state->why());
  auto const kept = value_or_throw(co_await (*terms_.state)->pipeline(std::move(statements), Deadlines()),
                                   "keeping how far the comparison is");
  for (auto const& row : state::rows_as<state::KeptComparison>(kept.back())) {
    for (std::size_t number = 0; number < leaves_.size(); ++number) {
      if (plan_.targets[number].work.relation_oid != row.relation) continue;
      leaves_[number].progress = state::comparison_progress(row);
      auto const& target = plan_.targets[number].work;
      for (auto const* key : {&leaves_[number].progress.cursor, &leaves_[number].progress.upper}) {
        std::size_t const width = target.key.is_by_block() ? 1 : target.key.columns.size();
        if (!*key || (*key)->size() == width) continue;
        throw state::BrokenState(
            fmt::format("pgbackfill.comparisons, {}, {}: a key of {} value(s), where the key of the "
                        "table has {}; `pgbackfill verify {} --restart` begins anew",
                        terms_.migration, target.relation, (*key)->size(), width, terms_.migration));
      }
      leaves_[number].differing = differing_of(row.differing);
    }
    begun_before_ = row.begun_before.value_or(begun_before_);
  }
}

asio::awaitable<ComparisonFound> Comparison::go() {
  co_await begin();
  if (!begun_before_.empty()) {
    terms_.tell(Severity::kInfo, fmt::format("{}: goes on after {} row(s) that were compared since {}",
                                             planner::check_text(check_), sum().rows_compared, begun_before_));
  }
  tell_own_sessions();
  for (std::size_t number = 0; number < leaves_.size() && error_.empty(); ++number) co_await compare_leaf(number);
  co_return sum();
}

void Comparison::tell_own_sessions() const {
  std::vector<int> own{(*terms_.rows)->backend_pid()};
  if (terms_.state != nullptr) own.push_back((*terms_.state)->backend_pid());
  terms_.pace->set_own_sessions(std::move(own));
}

std::string Comparison::place(std::size_t number) const {
  return fmt::format("after key {} of {}", planner::to_string(leaves_[number].progress.cursor, "the start"),
                     plan_.targets[number].work.relation);
}

asio::awaitable<void> Comparison::reconnect(std::size_t number, std::string after) {
  std::array<LastingConnection*, 2> const both{terms_.rows, terms_.state};
  for (auto* connection : both) {
    if (connection == nullptr) continue;
    bool const is_there = co_await connection->is_there();
    if (!is_there) stop(fmt::format("{}: {}; {}", place(number), after, connection->why()));
  }
  tell_own_sessions();
}

asio::awaitable<void> Comparison::compare_leaf(std::size_t number) {
  auto const& target = plan_.targets[number];
  std::optional<double> rows_per_block;
  if (target.work.key.is_by_block()) rows_per_block = plan_.rows_per_block[number];
  AgreementWalk walk(leaves_[number].progress, rows_per_block);
  throttle::BatchSizerOptions options;
  options.target = terms_.pace->target();
  options.limits.min_rows = 1;
  options.limits.max_rows = kMostPageRows;
  sizer_.emplace(options);
  while (error_.empty()) {
    if (Clock::now() - kept_at_ >= kKeepInterval) co_await keep(number);
    tell_now_and_then();
    std::string why = terms_.is_stopping() ? "interrupted" : terms_.pace->must_stop();
    if (!why.empty()) {
      co_await keep(number);
      stop(why);
    }
    if (terms_.state != nullptr) why = terms_.state->why();
    if (!why.empty()) stop(place(number) + ": " + why);
    bool const may_read = co_await terms_.pace->is_its_turn();
    if (!may_read) continue;
    sizer_->set_target(terms_.pace->target());
    auto step = walk.next(terms_.pace->most_rows(sizer_->rows()));
    if (step.kind == AgreementWalk::Step::Kind::kFinished) break;
    co_await do_step(number, walk, std::move(step));
    leaves_[number].progress = walk.progress();
  }
  co_await keep(number);
}

asio::awaitable<void> Comparison::do_step(std::size_t number, AgreementWalk& walk, AgreementWalk::Step step) {
  switch (step.kind) {
    case AgreementWalk::Step::Kind::kFindPage:
      co_await find_page(number, walk, std::move(step));
      break;
    case AgreementWalk::Step::Kind::kCompare:
      co_await compare_page(number, walk, std::move(step));
      break;
    case AgreementWalk::Step::Kind::kWait:
      co_await wait(step.attempt);
      break;
    case AgreementWalk::Step::Kind::kFailed: {
      std::string const text = fmt::format("{}: {} ({})", place(number), step.failure.message, step.failure.sqlstate);
      if (step.failure.trouble == planner::Trouble::kConnection) {
        co_await keep(number);
        stop(fmt::format("{}; the connection was lost {} times at this page", text, losses_));
      }
      error_ = text;
      break;
    }
    case AgreementWalk::Step::Kind::kFinished:
      break;
  }
}

// The walk hears nothing of a loss: it asks for the same page again.
asio::awaitable<void> Comparison::record(std::size_t number, AgreementWalk& walk, planner::Failure failure,
                                         std::int64_t rows) {
  bool const is_lost = failure.trouble == planner::Trouble::kConnection;
  if (is_lost && ++losses_ < kMostLosses) {
    co_await reconnect(number, std::move(failure.message));
    co_return;
  }
  if (failure.trouble == planner::Trouble::kStatementTimeout) sizer_->record_timeout(rows);
  walk.record(std::move(failure));
}

asio::awaitable<void> Comparison::find_page(std::size_t number, AgreementWalk& walk, AgreementWalk::Step step) {
  auto const& target = plan_.targets[number];
  std::vector<Statement> statements;
  if (auto setting = planner::look_ahead_setting(target.work); !setting.empty()) statements.emplace_back(setting);
  statements.emplace_back(planner::look_ahead_sql(target.work, step.interval, step.rows));
  auto found = co_await read_only(**terms_.rows, std::move(statements), kPageTimeout);
  if (!found) {
    co_await record(number, walk, found.error(), step.rows);
    co_return;
  }
  walk.record_page(state::page_of(found->rows.front()));
}

struct ComparedPage {
  std::int64_t compared = 0;
  std::int64_t differing = 0;
};

asio::awaitable<void> Comparison::compare_page(std::size_t number, AgreementWalk& walk, AgreementWalk::Step step) {
  auto const& target = plan_.targets[number];
  auto& shown = leaves_[number].differing;
  std::vector<Statement> statements;
  std::size_t const most = planner::kMostDifferingShown - shown.size();
  statements.push_back(users_sql(planner::compare_sql(target, step.interval)));
  terms_.pace->page_began(step.rows);
  auto const began = Clock::now();
  auto counted = co_await read_only(**terms_.rows, std::move(statements), kPageTimeout);
  terms_.pace->page_ended(step.rows, counted.has_value());
  if (!counted) {
    co_await record(number, walk, counted.error(), step.rows);
    co_return;
  }
  throttle::BatchSample const sample{step.rows, Clock::now() - began, false};
  sizer_->record(sample);
  auto const page = state::row_as<ComparedPage>(counted->rows.at(0));
  if (page.differing > 0 && most > 0) {
    // A moment later; a row that was fixed meanwhile is not shown, and was counted.
    std::vector<Statement> looks{users_sql(planner::differing_sql(target, step.interval, most))};
    auto const rows = co_await read_only(**terms_.rows, std::move(looks), kPageTimeout);
    if (!rows) {
      co_await record(number, walk, rows.error(), step.rows);
      co_return;
    }
    for (auto const& row : rows->rows) shown.push_back(planner::differing_row(target, row));
  }
  walk.record_compared(page.compared, page.differing);
  losses_ = 0;
}

// What is live of the throttle's settings is heard here as well.
asio::awaitable<void> Comparison::keep(std::size_t number) {
  kept_at_ = Clock::now();
  auto const& target = plan_.targets[number];
  if (terms_.state == nullptr) co_return;
  // What ends the comparison is said by whoever needs a connection to go on.
  bool const can_keep = co_await terms_.state->is_there();
  if (!can_keep) co_return;
  auto const job = co_await find_job(**terms_.state, terms_.migration);
  if (job && *job) {
    auto const problem = terms_.pace->heed((*job)->settings);
    if (!problem.empty()) terms_.tell(Severity::kWarning, problem);
  }
  if (!can_be_kept(target)) co_return;
  auto const& leaf = leaves_[number];
  auto const saved =
      co_await (*terms_.state)
          ->query(state::keep_comparison(terms_.migration, terms_.position, target.work.relation_oid, leaf.progress,
                                         boost::json::serialize(json_of(leaf.differing)), terms_.owner),
                  Deadlines());
  if (saved && saved->affected == 0) {
    throw CommandError{kExitResumable,
                       fmt::format("another `pgbackfill verify {}` has taken this one's place", terms_.migration)};
  }
  if (!saved) terms_.tell(Severity::kWarning, "keeping how far it is: " + saved.error().message);
}

asio::awaitable<void> Comparison::wait(int attempt) {
  throttle::BackoffOptions const backoff;
  asio::steady_timer timer(co_await asio::this_coro::executor);
  timer.expires_after(throttle::backoff_delay(attempt, backoff, 0.5));
  co_await timer.async_wait(asio::use_awaitable);
}

void Comparison::tell_now_and_then() {
  if (Clock::now() - told_at_ < kTellInterval) return;
  told_at_ = Clock::now();
  auto const found = sum();
  auto const held_back = terms_.pace->held_back();
  terms_.tell(Severity::kInfo,
              fmt::format("{}: {} row(s) compared, {} differ{}", planner::check_text(check_), found.rows_compared,
                          found.rows_differing, held_back.empty() ? "" : "; held back: " + held_back));
}

}  // namespace

boost::json::array json_of(std::vector<DifferingRow> const& rows) {
  boost::json::array array;
  for (auto const& row : rows) {
    boost::json::array key;
    for (auto const& part : row.key) key.emplace_back(part);
    boost::json::array values;
    for (auto const& value : row.values) {
      values.push_back(
          {{"column", value.column}, {"found", value_of(value.found)}, {"expected", value_of(value.expected)}});
    }
    array.push_back({{"relation", row.relation}, {"key", std::move(key)}, {"values", std::move(values)}});
  }
  return array;
}

asio::awaitable<ComparisonFound> compare(ComparisonTerms terms, planner::Check check, AgreementPlan plan) {
  Comparison comparison(std::move(terms), std::move(check), std::move(plan));
  auto found = co_await comparison.go();
  co_return found;
}

}  // namespace pgbackfill::engine
