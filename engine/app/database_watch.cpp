#include "engine/app/database_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "engine/app/control.h"
#include "engine/app/report_reader.h"
#include "engine/app/status_reader.h"
#include "engine/base/text.h"
#include "engine/pg/catalog.h"
#include "engine/pg/open_connections.h"
#include "engine/state/typed_rows.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr auto kInterval = 1s;
// Of what does not change any more but by a person.
constexpr auto kEndedInterval = 5s;
// So long after somebody asked it is read on.
constexpr auto kInterest = 5s;
constexpr auto kForgotten = 60s;
// A large state is read less often, so that reading takes a fifth of the time at most.
constexpr int kRest = 4;
constexpr auto kPatience = 10s;
constexpr auto kGlance = 20ms;
constexpr auto kNobody = 1h;
constexpr std::int64_t kMostRanges = 4'000;
constexpr std::int64_t kMostQuarantined = 50;
constexpr std::size_t kMostWatched = 500;

// Of the database as a whole: one without the schema is not waited for.
SiteTrouble trouble_of(CommandError const& error) {
  return {error.text, error.never_ran};
}

SiteTrouble trouble_of(CommandError const& error, std::string const& name) {
  bool const is_missing = error.exit_code == kExitUsage || error.never_ran;
  // What looks like a path is a name here.
  bool const is_path = is_missing && name.find('/') != std::string::npos;
  return {is_path ? fmt::format("no migration '{}' ran in this database", neutralised(name)) : error.text, is_missing};
}

// Times that are no older than it may be read anew.
std::chrono::steady_clock::duration rest_after(std::chrono::steady_clock::duration took,
                                               std::chrono::steady_clock::duration least) {
  return std::max<std::chrono::steady_clock::duration>(least, took * kRest);
}

}  // namespace

DatabaseWatch::DatabaseWatch(asio::io_context& io, WatchedDatabase database, WatchTerms const& terms)
    : label_(std::move(database.label)), terms_(terms), context_(std::move(database.options)), timer_(io) {
  paces_.is_series = true;
}

void DatabaseWatch::stop() {
  is_over_ = true;
  timer_.cancel();
}

asio::awaitable<void> DatabaseWatch::run() {
  while (!is_over_) {
    bool const is_wanted_now = is_wanted(Clock::now());
    if (is_wanted_now) co_await look();
    // Whoever asks for something that was not read yet wakes it; what is due is bounded by its own time.
    timer_.expires_after(is_wanted_now ? Clock::duration(kInterval) : Clock::duration(kNobody));
    boost::system::error_code ignored;
    if (!is_over_) co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  connection_.reset();
}

// --- reading ---------------------------------------------------------------------------------------------------------

asio::awaitable<void> DatabaseWatch::look() {
  std::optional<SiteTrouble> trouble;
  // A server that is away is not asked more often because more people look.
  bool const is_early = !connection_ && Clock::now() - failed_at_ < kInterval;
  if (is_early) {
    take_trouble(seen_->trouble);
    co_return;
  }
  try {
    co_await connect();
    co_await read_overview();
    co_await read_watched();
  } catch (CommandError const& error) {
    trouble = trouble_of(error);
  } catch (state::BrokenState const& broken) {
    trouble = SiteTrouble{broken.what(), false};
  } catch (CutShort const&) {
    is_over_ = true;
  }
  if (trouble) {
    failed_at_ = Clock::now();
    take_trouble(std::move(*trouble));
  }
  forget_unwanted();
}

asio::awaitable<void> DatabaseWatch::connect() {
  if (connection_ && !connection_->is_usable()) connection_.reset();
  if (!connection_) {
    has_state_ = false;
    auto connection = co_await context_.connect();
    connection_ = std::move(connection);
  }
  if (has_state_) co_return;
  co_await context_.require_state(*connection_, StateUse::kReads);
  has_state_ = true;
}

// Nobody is shown old values as if they were true.
void DatabaseWatch::take_trouble(SiteTrouble trouble) {
  auto const now = Clock::now();
  bool const is_new = !seen_ || seen_->trouble.text != trouble.text;
  if (is_new) {
    auto seen = std::make_shared<DatabaseSeen>();
    seen->label = label_;
    seen->trouble = trouble;
    seen_ = std::move(seen);
  }
  overview_read_at_ = now;
  for (auto& [name, one] : watched_) {
    one.look = MigrationLook{nullptr, trouble};
    one.read_at = now;
  }
  connection_.reset();
  has_state_ = false;
}

asio::awaitable<void> DatabaseWatch::read_overview() {
  auto const began = Clock::now();
  if (!is_overview_due(began)) co_return;
  auto seen = std::make_shared<DatabaseSeen>();
  seen->label = label_;
  seen->migrations = co_await read_overviews(*connection_);
  auto const now = Clock::now();
  for (auto const& one : seen->migrations) {
    paces_.add(one, now);
    auto& readings = readings_[one.name];
    readings = std::min(readings + 1, 2);
    if (readings > 1) seen->paces[one.name] = paces_.of(one.name);
  }
  seen_ = std::move(seen);
  overview_read_at_ = now;
  overview_took_ = now - began;
}

asio::awaitable<void> DatabaseWatch::read_watched() {
  std::vector<std::string> due;
  auto const now = Clock::now();
  for (auto const& [name, one] : watched_) {
    if (is_due(one, now)) due.push_back(name);
  }
  for (auto const& name : due) co_await read_one(name);
}

asio::awaitable<void> DatabaseWatch::read_one(std::string name) {
  auto const began = Clock::now();
  MigrationLook look;
  std::optional<CommandError> failed;
  try {
    look.seen = co_await look_at(name);
  } catch (CommandError const& error) {
    failed = error;
  } catch (state::BrokenState const& broken) {
    look.trouble = SiteTrouble{broken.what(), false};
  }
  if (failed && !connection_->is_usable()) throw *failed;
  if (failed) look.trouble = trouble_of(*failed, name);
  auto& one = watched_[name];
  one.has_ended = !look.seen || look.seen->report.status.overview.has_ended();
  one.look = std::move(look);
  one.read_at = Clock::now();
  one.took = one.read_at - began;
}

asio::awaitable<std::shared_ptr<MigrationSeen const>> DatabaseWatch::look_at(std::string name) {
  auto seen = co_await read_seen(std::move(name));
  co_return std::make_shared<MigrationSeen const>(std::move(seen));
}

asio::awaitable<MigrationSeen> DatabaseWatch::read_seen(std::string name) {
  MigrationSeen seen;
  seen.label = label_;
  seen.report = co_await read_report(*connection_, name, context_.owner());
  seen.report.program = terms_.program;
  if (readings_[name] > 1) seen.pace = paces_.of(name);
  if (terms_.shows_values) {
    auto page = co_await read_page(*connection_, name, context_.owner());
    seen.bad_rows = std::move(page.bad_rows);
  }
  if (!seen.report.status.overview.job) co_return seen;
  co_await read_rows(seen, name);
  auto const leases = co_await read_lease_owners(*connection_, name, context_.owner());
  for (auto const& lease : leases) {
    seen.leases.push_back(
        {lease.process, lease.host, lease.pid, lease.ranges, lease.left.count(), lease.is_alive, lease_text(lease)});
  }
  if (terms_.allows_control) seen.settings = co_await read_settings(*connection_, name, nullptr);
  co_return seen;
}

asio::awaitable<void> DatabaseWatch::read_rows(MigrationSeen& seen, std::string name) {
  auto const ranges = value_or_throw(co_await query_read_only(*connection_, state::list_ranges(name, kMostRanges)),
                                     "reading the ranges");
  seen.ranges = state::rows_as<state::RangeRow>(ranges);
  seen.has_all_ranges = seen.ranges.size() < static_cast<std::size_t>(kMostRanges);
  auto const deferred = value_or_throw(co_await query_read_only(*connection_, state::deferred_by_table(name)),
                                       "counting rows that are deferred");
  seen.deferred = state::rows_as<state::DeferredRows>(deferred);
  auto const rows =
      value_or_throw(co_await query_read_only(*connection_, state::list_quarantine(name, kMostQuarantined)),
                     "reading rows that are set aside");
  seen.quarantine = state::rows_as<state::QuarantineRow>(rows);
  if (terms_.shows_values) co_return;
  for (auto& row : seen.quarantine) {
    row.key.clear();
    row.message.clear();
  }
}

// --- what is wanted --------------------------------------------------------------------------------------------------

bool DatabaseWatch::is_overview_due(Clock::time_point now) const {
  return now - overview_read_at_ >= rest_after(overview_took_, kInterval);
}

bool DatabaseWatch::is_due(Watched const& one, Clock::time_point now) {
  if (now - one.wanted_at > kInterest) return false;
  auto const least = one.has_ended ? Clock::duration(kEndedInterval) : Clock::duration(kInterval);
  return now - one.read_at >= rest_after(one.took, least);
}

bool DatabaseWatch::is_wanted(Clock::time_point now) const {
  bool const is_one_wanted = std::any_of(watched_.begin(), watched_.end(),
                                         [&](auto const& one) { return now - one.second.wanted_at <= kInterest; });
  return is_one_wanted || now - overview_wanted_at_ <= kInterest;
}

void DatabaseWatch::forget_unwanted() {
  auto const now = Clock::now();
  std::erase_if(watched_, [&](auto const& one) { return now - one.second.wanted_at > kForgotten; });
  if (readings_.size() <= kMostWatched * 10) return;
  readings_.clear();  // somebody makes migrations without end
  paces_ = Paces();
  paces_.is_series = true;
}

void DatabaseWatch::want_overview() {
  overview_wanted_at_ = Clock::now();
}

DatabaseWatch::Watched& DatabaseWatch::want(std::string const& name) {
  auto& one = watched_[name];
  one.wanted_at = Clock::now();
  return one;
}

void DatabaseWatch::forget() {
  overview_read_at_ = {};
  for (auto& [name, one] : watched_) one.read_at = {};
}

std::shared_ptr<DatabaseSeen const> DatabaseWatch::latest_overview() {
  bool const was_wanted = is_wanted(Clock::now());
  want_overview();
  if (!was_wanted) timer_.cancel();
  return seen_;
}

MigrationLook DatabaseWatch::latest_migration(std::string const& name) {
  bool const was_wanted = is_wanted(Clock::now());
  if (!watched_.contains(name) && watched_.size() >= kMostWatched) return {};
  auto const& one = want(name);
  if (!was_wanted) timer_.cancel();
  return one.look;
}

asio::awaitable<std::shared_ptr<DatabaseSeen const>> DatabaseWatch::overview() {
  auto const deadline = Clock::now() + kPatience;
  asio::steady_timer glance(timer_.get_executor());
  while (!is_over_ && Clock::now() < deadline) {
    want_overview();
    bool const is_fresh =
        seen_ && Clock::now() - overview_read_at_ <= rest_after(overview_took_, kInterval) + kInterval;
    if (is_fresh) co_return seen_;
    timer_.cancel();
    glance.expires_after(kGlance);
    co_await glance.async_wait(asio::use_awaitable);
  }
  auto late = std::make_shared<DatabaseSeen>();
  late->label = label_;
  late->trouble.text = "the database does not answer; the page comes back when it does";
  co_return late;
}

asio::awaitable<MigrationLook> DatabaseWatch::migration(std::string name) {
  MigrationLook late;
  late.trouble.text = "the database does not answer; the page comes back when it does";
  if (!watched_.contains(name) && watched_.size() >= kMostWatched) {
    late.trouble.text = "too many pages are asked for; try again in a minute";
    co_return late;
  }
  auto const deadline = Clock::now() + kPatience;
  asio::steady_timer glance(timer_.get_executor());
  while (!is_over_ && Clock::now() < deadline) {
    auto const& one = want(name);
    auto const least = one.has_ended ? Clock::duration(kEndedInterval) : Clock::duration(kInterval);
    bool const is_fresh = Clock::now() - one.read_at <= rest_after(one.took, least) + kInterval;
    if (is_fresh) co_return one.look;
    timer_.cancel();
    glance.expires_after(kGlance);
    co_await glance.async_wait(asio::use_awaitable);
  }
  co_return late;
}

}  // namespace pgbackfill::engine
