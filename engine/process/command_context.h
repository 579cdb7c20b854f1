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
#include <set>
#include <string>
#include <vector>

#include "engine/base/command_error.h"
#include "engine/pg/pg_connection.h"
#include "engine/process/config_search.h"
#include "engine/process/interrupts.h"
#include "engine/state/state_store.h"
#include "engine/tell/teller.h"
#include "planner/model/migration.h"
#include "planner/model/params.h"
#include "planner/work/prepared.h"
#include "throttle/windows.h"

namespace pgbackfill::engine {

// How a command ends that somebody has interrupted, when it has no better words.
inline constexpr char kWasInterrupted[] = "interrupted; what was done is kept, and the same command goes on";

enum class OutputFormat { kText, kJson };

// Where to connect, if --dsn does not say: the first that is set.
inline constexpr char const* kDsnVariables[] = {"PGBACKFILL_DATABASE_URL", "DATABASE_URL"};

struct CommonOptions {
  std::string dsn;                            // empty: the variables below, else libpq's environment
  std::optional<ConfigSearch> config_search;  // absent: what a project has in common is not looked for
  std::vector<std::string> trusted_owners;    // roles that schema pgbackfill may belong to
  std::vector<planner::ParamText> params;     // for the one file, or the job of a name, that a command is about
  std::string only_keys;                      // a file of the keys that alone are worked; empty: all rows are
  bool no_exec = false;                       // no program of the file is started
  OutputFormat format = OutputFormat::kText;
  LogFormat log_format = LogFormat::kText;
  Severity log_level = Severity::kInfo;
  bool show_progress = true;
};

// What a command does with the state, and so which layouts of it will do.
enum class StateUse {
  kReads,   // or changes what has been the same since the oldest that can be read
  kWrites,  // all that this program knows
};

// How a command ends that threw this.
int exit_code_of(std::exception_ptr const& error);
std::string words_of(std::exception_ptr const& error);
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
  Interrupts& interrupts() { return interrupts_; }
  ConnectTarget target() const;
  // What the migrations of the project have in common; null: nothing. Throws CommandError when it is refused.
  planner::ConfigFile const* config() const;
  // Another connection string of the command line, as libpq reads it. Throws CommandError when it is refused.
  std::string read_conninfo(std::string const& text, std::string const& where);

  // Runs the coroutine to its end on this thread and returns its exit code. CommandError and other exceptions end up
  // on standard error. ^C cuts it short (interrupts.h), with exit code 4.
  int run(asio::awaitable<int> command);
  // The same, and throws what ended it.
  int run_or_throw(asio::awaitable<int> command);

  // A connection whose statements wait for a lock for a moment only, and then say who has it.
  asio::awaitable<Result<std::shared_ptr<PgConnection>>> open();
  // Throws CommandError when the server cannot be reached, or when what is in schema pgbackfill may not be trusted.
  asio::awaitable<std::shared_ptr<PgConnection>> connect();
  // The same, for whoever looks at the state's owners itself.
  asio::awaitable<std::shared_ptr<PgConnection>> connect_to_look();
  // The same, and refuses with a hint when the database has no state schema, or one that does not do. Changes nothing.
  asio::awaitable<std::shared_ptr<PgConnection>> connect_to_state(StateUse use);
  asio::awaitable<void> require_state(PgConnection& connection, StateUse use);
  asio::awaitable<bool> has_state(PgConnection& connection);
  // From here on the file's SQL runs under the settings that are recorded of the migration, on this connection and on
  // those that are made later; where it never ran, under those of the session. Gives the settings that are others here.
  asio::awaitable<std::vector<std::string>> adopt_settings(PgConnection& connection, std::string migration);
  // The same, and says so on standard error.
  asio::awaitable<void> adopt_settings_aloud(PgConnection& connection, std::string migration);
  bool has_recorded_settings() const { return recorded_settings_.has_value(); }
  // Refuses with the GRANT that is missing before anything is begun.
  asio::awaitable<void> require_state_rights(PgConnection& connection);
  // Makes or upgrades schema pgbackfill, and says what it did and whom else that concerns; empty: nothing. For `init`
  // and `run` alone, since there is no way back.
  asio::awaitable<std::string> ensure_state(PgConnection& connection);

  TellerOptions teller_options() const;
  bool is_json() const { return options_.format == OutputFormat::kJson; }
  // For commands with a --format of their own.
  void set_json() { options_.format = OutputFormat::kJson; }
  // One JSON document, or text, on standard output, by way of safe_output.h.
  void print(boost::json::object document) const;
  void print(std::string const& text) const;
  // What moves the cursor, as it is: each name in it has to be harmless already.
  void draw(std::string const& text) const;

 private:
  struct Layout {
    int version = 0;  // 0: there is none
    int revision = 0;
  };

  asio::awaitable<Layout> read_layout(PgConnection& connection);
  // False: somebody else did it meanwhile.
  asio::awaitable<bool> bring_up(PgConnection& connection, Layout from);

  int report(std::exception_ptr error);
  void find_config_file();
  // Takes the connection string from where it is given, and reads it as libpq does.
  void find_dsn();
  void tell_once(std::string const& note);

  CommonOptions options_;
  std::optional<planner::ConfigFile> config_;
  std::optional<CommandError> config_problem_;
  std::string dsn_source_;   // what to call it: --dsn, or a variable
  std::string dsn_problem_;  // why it is refused, once a command connects; empty: it is not
  std::string dsn_note_;     // to be told
  std::set<std::string> told_;
  mutable bool has_printed_ = false;  // a JSON document
  std::optional<SessionSettings> recorded_settings_;
  Owner owner_;
  asio::io_context io_{1};
  asio::thread_pool blocking_{kBlockingThreads};
  Interrupts interrupts_{io_};
};

// Reads and checks a migration file; throws CommandError with every problem, one a line.
struct LoadedMigration {
  planner::Migration migration;
  std::string source;
  throttle::Schedule schedule{{}};
  std::vector<planner::EnvironmentName> environment;
  // Of a source of the database: boundaries with hooks that it names, which do not run from there, and whether its file
  // names receivers, which are not kept. What is beside these is of pgbackfill.yaml, a file of this host.
  std::vector<planner::Boundary> stored_hooks{};
  bool had_receivers = false;
  std::vector<planner::Prepared> prepared;
  std::optional<planner::OnlyKeys> only_keys;  // those that the command was given; see process/listed_files.h
};
// What `config` says is laid under what the file says; null: nothing.
LoadedMigration load_migration(std::string const& file, planner::ConfigFile const* config,
                               CommonOptions const& options);
// With what the command line gives it.
LoadedMigration load_migration(CommandContext const& context, std::string const& file);
// A source that the database keeps under this name, which says what it is given.
LoadedMigration parse_stored(std::string const& name, std::string const& file, std::string source,
                             planner::ConfigFile const* config = nullptr);
// The source as the database may keep it: without the passwords of hooks and comments. What is left can be parsed, and
// does all that may be done from there.
std::string source_to_keep(LoadedMigration const& loaded);

// What is done with a migration that was found by its name.
enum class SourceUse {
  kShown,  // nothing of it is run
  kRun,    // its SQL is, in the name of this role: then somebody else may not have written it
};

// A file that exists is read; anything else is a name whose source the database has.
asio::awaitable<LoadedMigration> find_migration(CommandContext& context, PgConnection& connection,
                                                std::string file_or_name, SourceUse use);
// The name in a file; or the word itself, with what the command line gives in it. Of a word and some of the values it
// is the name of the one job that was given them.
asio::awaitable<std::string> find_name(CommandContext& context, PgConnection& connection, std::string file_or_name);
// The same without a server: all values have to be given, as they are kept.
std::string name_of(CommandContext const& context, std::string const& file_or_name);

}  // namespace pgbackfill::engine
