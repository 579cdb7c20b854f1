// What every command shares: options of the command line, the engine's thread, a way to run one coroutine to its end.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/json/object.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "engine/pg_connection.h"
#include "engine/state_store.h"
#include "engine/teller.h"
#include "planner/migration.h"
#include "throttle/windows.h"

namespace pgbackfill::engine {

// Exit codes of the program; scripts rely on them.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitGateClosed = 3;
inline constexpr int kExitResumable = 4;

enum class OutputFormat { kText, kJson };

struct CommonOptions {
  std::string dsn;  // empty: DATABASE_URL, else libpq's environment
  OutputFormat format = OutputFormat::kText;
  LogFormat log_format = LogFormat::kText;
  Severity log_level = Severity::kInfo;
  bool show_progress = true;
};

// An error that ends a command: printed to standard error as it is.
struct CommandError {
  int exit_code = kExitFailed;
  std::string text;
  // The server was away or had no place: the same may succeed a little later.
  bool is_passing = false;
};

// Says on standard error why a command ended, and gives its exit code.
int report_error(std::exception_ptr error);

class CommandContext {
 public:
  explicit CommandContext(CommonOptions options);

  CommonOptions const& options() const { return options_; }
  Owner const& owner() const { return owner_; }
  Owner& owner() { return owner_; }
  asio::io_context& io() { return io_; }
  asio::thread_pool& blocking() { return blocking_; }
  ConnectTarget target() const;

  // Runs the coroutine to its end on this thread and returns its exit code. CommandError and other exceptions end up
  // on standard error.
  int run(asio::awaitable<int> command);

  // Throws CommandError when the server cannot be reached.
  asio::awaitable<std::shared_ptr<PgConnection>> connect();
  // The same, and refuses with a hint when the database has no state schema.
  asio::awaitable<std::shared_ptr<PgConnection>> connect_to_state();
  // Makes or upgrades schema pgbackfill; true when it changed something.
  asio::awaitable<bool> ensure_state(PgConnection& connection);

  TellerOptions teller_options() const;
  bool is_json() const { return options_.format == OutputFormat::kJson; }
  // One JSON document, or text, on standard output.
  void print(boost::json::object const& document) const;
  void print(std::string const& text) const;

 private:
  CommonOptions options_;
  Owner owner_;
  asio::io_context io_{1};
  asio::thread_pool blocking_{kBlockingThreads};
};

// Throws CommandError with the server's words.
template <class T>
T value_or_throw(Result<T> result, std::string const& doing) {
  if (result) return std::move(*result);
  bool const is_passing =
      result.error().trouble == planner::Trouble::kConnection || result.error().trouble == planner::Trouble::kResources;
  throw CommandError{kExitFailed, doing + ": " + result.error().message + " (" + result.error().sqlstate + ")",
                     is_passing};
}

// Reads and checks a migration file; throws CommandError with every problem, one a line.
struct LoadedMigration {
  planner::Migration migration;
  std::string source;
  throttle::Schedule schedule{{}};
  bool is_from_file = true;  // else the source is the database's
};
LoadedMigration load_migration(std::string const& file);
LoadedMigration parse_loaded(std::string const& file, std::string source);

// A file that exists is read; anything else is a name whose source the database has.
asio::awaitable<LoadedMigration> find_migration(PgConnection& connection, std::string file_or_name);
// The name in a file, or the word itself.
std::string name_of(std::string const& file_or_name);

}  // namespace pgbackfill::engine
