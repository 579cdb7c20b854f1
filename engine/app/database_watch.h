// Reads the state of one database, again and again, for whoever has asked lately; see state_watch.h.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "engine/app/paces.h"
#include "engine/app/state_watch.h"

namespace pgbackfill::engine {

class DatabaseWatch {
 public:
  DatabaseWatch(asio::io_context& io, WatchedDatabase database, WatchTerms const& terms);

  std::string const& label() const { return label_; }
  CommandContext& context() { return context_; }

  // Until stop().
  asio::awaitable<void> run();
  void stop();

  asio::awaitable<std::shared_ptr<DatabaseSeen const>> overview();
  asio::awaitable<MigrationLook> migration(std::string name);
  std::shared_ptr<DatabaseSeen const> latest_overview();
  MigrationLook latest_migration(std::string const& name);
  // Somebody has changed it: what was read is old.
  void forget();

 private:
  using Clock = std::chrono::steady_clock;

  struct Watched {
    Clock::time_point wanted_at{};
    Clock::time_point read_at{};  // or failed to be
    Clock::duration took{};
    MigrationLook look;
    bool has_ended = false;
  };

  asio::awaitable<void> look();
  asio::awaitable<void> connect();
  asio::awaitable<void> read_overview();
  asio::awaitable<void> read_watched();
  asio::awaitable<void> read_one(std::string name);
  asio::awaitable<MigrationSeen> read_seen(std::string name);
  asio::awaitable<void> read_rows(MigrationSeen& seen, std::string name);
  asio::awaitable<std::shared_ptr<MigrationSeen const>> look_at(std::string name);
  void take_trouble(SiteTrouble trouble);
  void want_overview();
  Watched& want(std::string const& name);
  bool is_overview_due(Clock::time_point now) const;
  static bool is_due(Watched const& one, Clock::time_point now);
  bool is_wanted(Clock::time_point now) const;
  void forget_unwanted();

  std::string const label_;
  WatchTerms const terms_;
  CommandContext context_;
  asio::steady_timer timer_;
  std::shared_ptr<PgConnection> connection_;
  bool has_state_ = false;  // of the connection
  bool is_over_ = false;
  Clock::time_point failed_at_{};
  Clock::time_point overview_wanted_at_{};
  Clock::time_point overview_read_at_{};
  Clock::duration overview_took_{};
  std::shared_ptr<DatabaseSeen const> seen_;
  std::map<std::string, Watched> watched_;
  Paces paces_;
  std::map<std::string, int> readings_;  // of each migration, up to two
};

}  // namespace pgbackfill::engine
