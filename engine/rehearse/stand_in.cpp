#include "engine/rehearse/stand_in.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>
#include <deque>
#include <exception>
#include <regex>

#include "engine/base/command_error.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/state/typed_rows.h"
#include "planner/model/sql_text.h"
#include "planner/sql/sql_script.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr Deadlines kPatient{4h, 4h + 60s};
// Of each table, before all of them are made.
constexpr std::int64_t kTriedBytes = 4 * 1024 * 1024;
constexpr std::int64_t kLeastTriedRows = 200;
constexpr std::int64_t kMostTriedRows = 10'000;
// From here on production's table has free space that its rows do not explain.
constexpr double kNoticedSpace = 1.15;
constexpr double kLeastFillfactor = 10;
constexpr int kMostTries = 50;
constexpr std::int64_t kChunkBytes = 16 * 1024 * 1024;
constexpr std::int64_t kMostChunkRows = 100'000;
constexpr std::int64_t kLeastChunkRows = 500;
constexpr auto kTellEvery = 2s;

std::chrono::milliseconds since(Clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
}

std::vector<std::string> statements_of(std::string const& script) {
  std::vector<std::string> statements;
  for (auto const& statement : planner::lint::split_script(script).statements) {
    statements.push_back(script.substr(statement.span.begin, statement.span.end - statement.span.begin));
  }
  return statements;
}

std::string first_line(std::string const& sql) {
  return fitted(sql.substr(0, sql.find('\n')), 100);
}

struct Chunk {
  std::size_t table = 0;
  std::int64_t first = 0;
  std::int64_t beyond = 0;
};

class Builder {
 public:
  Builder(CommandContext& context, Profile const& profile, planner::FillPlan plan, StandInTerms terms)
      : context_(context), profile_(profile), plan_(std::move(plan)), terms_(std::move(terms)) {}

  asio::awaitable<StandIn> build();

 private:
  void tell(std::string const& text) const {
    if (terms_.tell) terms_.tell(text);
  }
  asio::awaitable<std::shared_ptr<PgConnection>> open_session();
  asio::awaitable<void> refuse_tables_that_are_there();
  asio::awaitable<void> make_schema();
  asio::awaitable<void> try_rows();
  asio::awaitable<bool> try_table(planner::TableFill const& fill);
  asio::awaitable<void> drop_check(planner::TableFill const& fill, Failure failure);
  asio::awaitable<void> leave_space(planner::TableFill const& fill, double bytes_per_row);
  planner::TableProfile const* profile_of(planner::TableFill const& fill) const;
  std::int64_t width_of(planner::TableFill const& fill) const;
  asio::awaitable<void> fill();
  asio::awaitable<void> fill_chunks();
  void cut_chunks();
  void tell_rows();
  asio::awaitable<void> make_rest();
  asio::awaitable<void> settle();

  CommandContext& context_;
  Profile const& profile_;
  planner::FillPlan plan_;
  StandInTerms terms_;
  StandIn made_;
  std::shared_ptr<PgConnection> connection_;
  std::deque<Chunk> chunks_;
  std::vector<std::string> spaced_;  // what gives tables their own fill factors back
  std::exception_ptr failed_;
  Clock::time_point fill_began_;
  Clock::time_point told_;
};

asio::awaitable<std::shared_ptr<PgConnection>> Builder::open_session() {
  auto connection = co_await context_.connect();
  std::string const settings =
      "SET synchronous_commit = off; SET check_function_bodies = off; SET client_min_messages = warning; SET "
      "statement_timeout = 0; SET lock_timeout = 0; SET search_path = pg_catalog, pg_temp; SET xmloption = content";
  value_or_throw(co_await connection->script(settings, Deadlines()), "beginning the stand-in");
  co_return connection;
}

struct NameRow {
  std::string schema;
  std::string name;
};

asio::awaitable<void> Builder::refuse_tables_that_are_there() {
  std::vector<std::string> names;
  for (auto const& table : profile_.tables) {
    names.push_back(
        fmt::format("({}, {})", planner::quote_literal(table.table.schema), planner::quote_literal(table.table.name)));
  }
  if (names.empty()) co_return;
  std::string sql = fmt::format(
      "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN (VALUES {}) AS "
      "wanted (schema, name) ON n.nspname = wanted.schema AND c.relname = wanted.name LIMIT 1",
      planner::join(names, ", "));
  auto const found = value_or_throw(co_await query_read_only(*connection_, std::move(sql)), "looking for the tables");
  auto const there = state::first_as<NameRow>(found);
  if (!there) co_return;
  throw CommandError{
      kExitUsage,
      fmt::format(
          "{} is on that server already, and a rehearsal would destroy it; nothing was done. Give --on an empty "
          "database, or leave --on out",
          planner::shown(planner::TableName{there->schema, there->name}))};
}

// A type may need a function and a function a table: whatever fails is tried again once something else is there.
asio::awaitable<void> Builder::make_schema() {
  tell("making the schema");
  std::vector<std::string> open = statements_of(profile_.schema.objects);
  for (auto& statement : statements_of(profile_.schema.tables)) open.push_back(std::move(statement));
  std::vector<std::string> why;
  for (bool has_moved = true; has_moved && !open.empty();) {
    std::vector<std::string> failed;
    why.clear();
    for (auto& statement : open) {
      auto const done = co_await connection_->script(statement, kPatient);
      // Of every new database, and of a second try.
      bool const is_there = !done && (done.error().sqlstate == "42P06" || done.error().sqlstate == "42710" ||
                                      done.error().sqlstate == "42723" || done.error().sqlstate == "42P07");
      if (done || is_there) continue;
      if (!connection_->is_usable()) throw_failure(done.error(), "making the schema");
      why.push_back(done.error().message);
      failed.push_back(std::move(statement));
    }
    has_moved = failed.size() < open.size();
    open = std::move(failed);
  }
  for (std::size_t index = 0; index < open.size(); ++index) {
    std::string const text = fmt::format("{}: {}", first_line(open[index]), neutralised(why[index]));
    bool const is_table = open[index].starts_with("CREATE TABLE") || open[index].starts_with("ALTER TABLE");
    if (is_table) throw CommandError{kExitFailed, "the schema cannot be made here: " + text};
    made_.notes.push_back("not made here: " + text);
  }
}

planner::TableProfile const* Builder::profile_of(planner::TableFill const& fill) const {
  auto const table = std::find_if(profile_.tables.begin(), profile_.tables.end(),
                                  [&](auto const& one) { return one.table == fill.table; });
  return table == profile_.tables.end() ? nullptr : &*table;
}

// Bytes of a row, about.
std::int64_t Builder::width_of(planner::TableFill const& fill) const {
  std::int64_t width = 1;
  if (auto const* table = profile_of(fill)) {
    for (auto const& column : table->columns) width += std::llround(column.width);
  }
  return width;
}

// False: a check was in the way, and is gone now.
asio::awaitable<bool> Builder::try_table(planner::TableFill const& fill) {
  auto const tried = std::clamp(kTriedBytes / width_of(fill), kLeastTriedRows, kMostTriedRows);
  auto const name = planner::quote_qualified(fill.table.schema, fill.table.name);
  std::vector<std::string> statements = {
      "BEGIN", "TRUNCATE " + name, planner::trial_sql(fill, tried),
      fmt::format("SELECT pg_relation_size({}::regclass)", planner::quote_literal(name)), "ROLLBACK"};
  auto const results = co_await connection_->pipeline(std::move(statements), kPatient);
  if (!results) {
    // What failed took the ROLLBACK behind it along.
    co_await connection_->script("ROLLBACK", kPatient);
    co_await drop_check(fill, results.error());
    co_return false;
  }
  auto const made = results->at(2).affected;
  if (made >= kLeastTriedRows) {
    auto const bytes = state::value_as<std::int64_t>(results->at(3));
    co_await leave_space(fill, static_cast<double>(bytes) / static_cast<double>(made));
  }
  co_return true;
}

// As much free space in each page as production's table has, whatever made it there.
asio::awaitable<void> Builder::leave_space(planner::TableFill const& fill, double bytes_per_row) {
  auto const* table = profile_of(fill);
  bool const is_known = table != nullptr && table->kind == "r" && table->rows > 0 && bytes_per_row > 0;
  if (!is_known) co_return;
  double const there = static_cast<double>(table->heap_bytes) / static_cast<double>(table->rows);
  if (there < bytes_per_row * kNoticedSpace) co_return;
  double const fillfactor =
      std::max(std::floor(static_cast<double>(table->fillfactor) * bytes_per_row / there), kLeastFillfactor);
  auto const name = planner::quote_qualified(fill.table.schema, fill.table.name);
  std::string const sql = fmt::format("ALTER TABLE {} SET (fillfactor = {:.0f})", name, fillfactor);
  value_or_throw(co_await connection_->query(sql, kPatient), "leaving free space");
  spaced_.push_back(fmt::format("ALTER TABLE {} SET (fillfactor = {})", name, table->fillfactor));
}

asio::awaitable<void> Builder::drop_check(planner::TableFill const& fill, Failure failure) {
  auto const name = planner::shown(fill.table);
  // The server writes the name of a domain as SQL.
  static std::regex const violated("(value for domain (.+) )?violates check constraint \"(.+)\"");
  std::smatch violation;
  bool const is_check = failure.sqlstate == "23514" && std::regex_search(failure.message, violation, violated);
  std::string const constraint = is_check ? violation[3].str() : "";
  std::string const owner = is_check && violation[2].matched
                                ? "DOMAIN " + violation[2].str()
                                : "TABLE " + planner::quote_qualified(fill.table.schema, fill.table.name);
  bool is_dropped = false;
  if (is_check) {
    std::string const drop = fmt::format("ALTER {} DROP CONSTRAINT {}", owner, planner::quote_identifier(constraint));
    auto const dropped = co_await connection_->query(drop, kPatient);
    is_dropped = dropped.has_value();
  }
  if (!is_dropped) {
    throw CommandError{kExitUsage,
                       fmt::format("rows of {0} cannot be made up: {1}\ngive SQL for the column: rehearse: {{values: "
                                   "{{\"{0}.COLUMN\": \"...\"}}}}",
                                   name, neutralised(failure.message))};
  }
  made_.notes.push_back(
      fmt::format("{}: made-up rows do not satisfy check {}, which is left out here", name, constraint));
}

asio::awaitable<void> Builder::try_rows() {
  tell("trying some rows of each table");
  for (auto const& fill : plan_.tables) {
    bool is_good = fill.rows == 0;
    for (int tries = 0; !is_good && tries < kMostTries; ++tries) is_good = co_await try_table(fill);
  }
}

void Builder::cut_chunks() {
  for (std::size_t index = 0; index < plan_.tables.size(); ++index) {
    auto const& fill = plan_.tables[index];
    auto const rows = std::clamp(kChunkBytes / width_of(fill), kLeastChunkRows, kMostChunkRows);
    for (std::int64_t first = 0; first < fill.rows; first += rows) {
      chunks_.push_back({index, first, std::min(first + rows, fill.rows)});
    }
  }
}

void Builder::tell_rows() {
  auto const now = Clock::now();
  if (now - told_ < kTellEvery) return;
  told_ = now;
  double const seconds = std::max(std::chrono::duration<double>(now - fill_began_).count(), 1e-3);
  std::int64_t all = 0;
  for (auto const& fill : plan_.tables) all += fill.rows;
  tell(fmt::format("{} of {} rows, {}", human_count(made_.rows), human_count(all),
                   human_rate(static_cast<double>(made_.rows) / seconds)));
}

// One session: takes what is next until nothing is left, or another one has failed.
asio::awaitable<void> Builder::fill_chunks() {
  auto connection = co_await open_session();
  while (!chunks_.empty() && !failed_) {
    auto const chunk = chunks_.front();
    chunks_.pop_front();
    auto const& fill = plan_.tables[chunk.table];
    std::string statement = planner::insert_sql(fill, chunk.first, chunk.beyond);
    auto const done = co_await connection->query(std::move(statement), kPatient);
    if (!done) throw_failure(done.error(), "making rows of " + planner::shown(fill.table));
    made_.rows += chunk.beyond - chunk.first;
    tell_rows();
  }
}

asio::awaitable<void> Builder::fill() {
  cut_chunks();
  fill_began_ = Clock::now();
  told_ = fill_began_;
  auto const executor = co_await asio::this_coro::executor;
  asio::steady_timer all_done(executor, Clock::time_point::max());
  int running = terms_.sessions;
  auto const ended = [&](std::exception_ptr error) {
    if (error && !failed_) failed_ = error;
    if (--running == 0) all_done.cancel();
  };
  for (int session = 0; session < terms_.sessions; ++session) asio::co_spawn(executor, fill_chunks(), ended);
  boost::system::error_code ignored;
  while (running > 0) co_await all_done.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  if (failed_) std::rethrow_exception(failed_);
  made_.fill_time = since(fill_began_);
}

// What only guards or watches rows may be missing; a key may not, since the migration pages by it.
asio::awaitable<void> Builder::make_rest() {
  tell("making indexes, constraints and triggers");
  static std::regex const is_key("^CREATE (UNIQUE )?INDEX|ADD CONSTRAINT .* (PRIMARY KEY|UNIQUE)",
                                 std::regex::nosubs | std::regex::optimize);
  for (auto const& statement : statements_of(profile_.schema.rest)) {
    auto const done = co_await connection_->script(statement, kPatient);
    if (done) continue;
    auto const text = fmt::format("{}: {}", first_line(statement), neutralised(done.error().message));
    bool const is_needed = std::regex_search(statement, is_key) && statement.find(" EXCLUDE ") == std::string::npos;
    if (is_needed || !connection_->is_usable()) {
      throw CommandError{kExitFailed, "an index of the stand-in cannot be made: " + text};
    }
    made_.notes.push_back("left out here: " + text);
  }
}

// As a table is that has been there for long.
asio::awaitable<void> Builder::settle() {
  tell("vacuum and checkpoint");
  for (auto const& sql : spaced_) value_or_throw(co_await connection_->query(sql, kPatient), "setting fill factors");
  for (auto const& fill : plan_.tables) {
    std::string const sql = "VACUUM (ANALYZE) " + planner::quote_qualified(fill.table.schema, fill.table.name);
    value_or_throw(co_await connection_->script(sql, kPatient), "vacuuming " + planner::shown(fill.table));
  }
  for (auto const& table : profile_.tables) {
    if (table.kind != "p") continue;
    std::string const sql = "ANALYZE " + planner::quote_qualified(table.table.schema, table.table.name);
    value_or_throw(co_await connection_->script(sql, kPatient), "analyzing " + planner::shown(table.table));
  }
  // Only a superuser or a member of pg_checkpoint may; without it the first pages that change cost more.
  auto const done = co_await connection_->script("CHECKPOINT", kPatient);
  if (!done) made_.notes.push_back("no checkpoint was made before it began: " + neutralised(done.error().message));
}

asio::awaitable<StandIn> Builder::build() {
  auto const began = Clock::now();
  made_.notes = plan_.notes;
  connection_ = co_await open_session();
  co_await refuse_tables_that_are_there();
  co_await make_schema();
  co_await try_rows();
  co_await fill();
  co_await make_rest();
  co_await settle();
  made_.build_time = since(began);
  co_return std::move(made_);
}

}  // namespace

asio::awaitable<StandIn> build_stand_in(CommandContext& context, Profile const& profile, planner::FillPlan plan,
                                        StandInTerms terms) {
  Builder builder(context, profile, std::move(plan), std::move(terms));
  co_return co_await builder.build();
}

}  // namespace pgbackfill::engine
