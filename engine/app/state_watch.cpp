#include "engine/app/state_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cstdlib>
#include <utility>

#include "engine/app/control.h"
#include "engine/app/database_watch.h"
#include "engine/base/text.h"
#include "engine/pg/open_connections.h"
#include "engine/state/typed_rows.h"
#include "planner/model/duration.h"

namespace pgbackfill::engine {

namespace {

using std::chrono::milliseconds;

SiteOutcome outcome_of(ControlOutcome control) {
  SiteOutcome outcome;
  outcome.is_done = control.is_done;
  outcome.text = std::move(control.text);
  return outcome;
}

std::optional<milliseconds> pause_time(Fields const& fields) {
  std::string const text(field_of(fields, "for"));
  if (text.empty()) return std::nullopt;
  auto const time = planner::parse_duration(text);
  bool const is_good = time && *time >= milliseconds{1'000};
  if (!is_good) {
    throw CommandError{kExitUsage, "'" + text + "' is no time to pause for: a number with its unit, such as 30m or 2h"};
  }
  return time;
}

// By its name alone: a name that is the path of a file is not read from there.
asio::awaitable<LoadedMigration> stored_migration(PgConnection& connection, std::string name) {
  auto const found =
      value_or_throw(co_await connection.query(state::find_migration(name), Deadlines()), "looking for the migration");
  auto const stored = state::first_as<state::StoredSource>(found);
  if (!stored) {
    throw CommandError{kExitUsage, fmt::format("no migration '{}' ran in this database", neutralised(name)), false,
                       false, true};
  }
  co_return parse_stored(name, stored->file, stored->source);
}

asio::awaitable<SiteOutcome> approve(PgConnection& connection, SiteOrder order, Owner owner) {
  std::string const hash(field_of(order.fields, "plan"));
  if (hash.empty()) {
    throw CommandError{kExitUsage, "the field 'plan' is missing: the hash of the steps that were looked at"};
  }
  auto loaded = co_await stored_migration(connection, order.name);
  std::string const reason(field_of(order.fields, "reason"));
  auto const approved = co_await approve_contract(connection, std::move(loaded), reason, hash, owner);
  SiteOutcome outcome;
  outcome.is_done = true;
  outcome.text = fmt::format(
      "the contract steps are approved by {}; `pgbackfill complete {}` runs them, if the gate "
      "is open",
      neutralised(approved.who), neutralised(order.name));
  co_return outcome;
}

asio::awaitable<SiteOutcome> carry_out(PgConnection& connection, SiteOrder order, Owner owner) {
  auto const field = [&](std::string_view name) { return std::string(field_of(order.fields, name)); };
  ControlOutcome outcome;
  if (order.word == "approve") co_return co_await approve(connection, std::move(order), std::move(owner));
  if (order.word == "set") {
    std::vector<std::string> assignments = {field("key") + "=" + field("value")};
    outcome = co_await change_settings(connection, order.name, std::move(assignments), nullptr, owner);
  } else if (order.word == "retry-quarantine") {
    outcome = co_await retry_quarantine(connection, order.name, owner);
  } else if (order.word == "release-leases") {
    outcome = co_await release_leases(connection, order.name, field("process"), field("yes") == "yes", owner);
  } else {
    StatusOrder status;
    status.reason = field("reason");
    if (order.word == "pause") status.pause_for = pause_time(order.fields);
    if (order.word == "resume") status.status = JobStatus::kRunning;
    if (order.word == "cancel") status.status = JobStatus::kCancelled;
    outcome = co_await change_status(connection, order.name, std::move(status), owner);
  }
  co_return outcome_of(std::move(outcome));
}

class WatchedDatabases : public StateWatch {
 public:
  WatchedDatabases(asio::io_context& io, std::vector<WatchedDatabase> databases, WatchTerms const& terms) {
    for (auto& one : databases) watches_.push_back(std::make_unique<DatabaseWatch>(io, std::move(one), terms));
  }

  // The coroutine holds what it uses.
  static asio::awaitable<void> run(std::shared_ptr<WatchedDatabases> all, std::size_t at) {
    co_await all->watches_[at]->run();
  }
  std::size_t size() const { return watches_.size(); }

  void stop() override {
    for (auto const& watch : watches_) watch->stop();
  }

  std::vector<std::string> labels() const override {
    std::vector<std::string> labels;
    for (auto const& watch : watches_) labels.push_back(watch->label());
    return labels;
  }

  // Each is read beside the others: all are asked before the first is waited for.
  asio::awaitable<DatabasesSeen> databases() override {
    latest_databases();
    DatabasesSeen all;
    for (auto const& watch : watches_) {
      auto seen = co_await watch->overview();
      all.push_back(std::move(seen));
    }
    co_return all;
  }

  asio::awaitable<MigrationLook> migration(std::string label, std::string name) override {
    auto look = co_await watch_of(label).migration(std::move(name));
    co_return look;
  }

  DatabasesSeen latest_databases() override {
    DatabasesSeen all;
    for (auto const& watch : watches_) all.push_back(watch->latest_overview());
    return all;
  }

  MigrationLook latest_migration(std::string const& label, std::string const& name) override {
    return watch_of(label).latest_migration(name);
  }

  asio::awaitable<ContractLook> contract(std::string label, std::string name) override {
    ContractLook look;
    try {
      auto& context = watch_of(label).context();
      auto const connection = co_await context.connect_to_state(StateUse::kReads);
      auto loaded = co_await stored_migration(*connection, name);
      auto preview = co_await preview_contract(*connection, std::move(loaded));
      look.seen = ContractSeen{label, name, std::move(preview.plan), std::move(preview.plan_hash),
                               std::move(preview.destructive)};
    } catch (CommandError const& error) {
      look.trouble = SiteTrouble{error.text, error.exit_code == kExitUsage};
    } catch (state::BrokenState const& broken) {
      look.trouble = SiteTrouble{broken.what(), false};
    } catch (CutShort const&) {
      look.trouble = SiteTrouble{"the server is ending", false};
    }
    co_return look;
  }

  asio::awaitable<SiteOutcome> act(SiteOrder order) override {
    SiteOutcome outcome;
    auto& watch = watch_of(order.label);
    auto owner = watch.context().owner();
    owner.user = order.who;
    owner.host = order.host;
    auto const use = order.word == "approve" ? StateUse::kWrites : StateUse::kReads;
    try {
      auto const connection = co_await watch.context().connect_to_state(use);
      outcome = co_await carry_out(*connection, std::move(order), std::move(owner));
    } catch (CommandError const& error) {
      outcome.text = error.text;
      outcome.is_away = error.is_passing;
      outcome.is_missing = error.never_ran;
    } catch (state::BrokenState const& broken) {
      outcome.text = broken.what();
    } catch (CutShort const&) {
      outcome.text = "the server is ending; whether it was done is not known";
      outcome.is_away = true;
    }
    watch.forget();
    co_return outcome;
  }

 private:
  DatabaseWatch& watch_of(std::string_view label) {
    auto const found =
        std::find_if(watches_.begin(), watches_.end(), [&](auto const& watch) { return watch->label() == label; });
    return found == watches_.end() ? *watches_.front() : **found;
  }

  std::vector<std::unique_ptr<DatabaseWatch>> watches_;
};

}  // namespace

std::shared_ptr<StateWatch> StateWatch::start(asio::io_context& io, std::vector<WatchedDatabase> databases,
                                              WatchTerms terms) {
  auto all = std::make_shared<WatchedDatabases>(io, std::move(databases), terms);
  for (std::size_t at = 0; at < all->size(); ++at) {
    asio::co_spawn(io, WatchedDatabases::run(all, at), asio::detached);
  }
  return all;
}

std::string label_of(std::string const& conninfo, std::vector<std::string> const& others) {
  auto const known = libpq_environment(conninfo);
  auto const named = known.find("PGDATABASE");
  char const* const usual = std::getenv("PGDATABASE");
  std::string label = named != known.end() ? named->second : usual != nullptr ? usual : "";
  if (label.empty()) label = "database";
  std::string unlike = label;
  for (int number = 2; std::find(others.begin(), others.end(), unlike) != others.end(); ++number) {
    unlike = fmt::format("{}-{}", label, number);
  }
  return unlike;
}

}  // namespace pgbackfill::engine
