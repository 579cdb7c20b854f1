#include "engine/command_context.h"

#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>

#include "planner/migration_file.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

// Larger files are no migrations; the parser has its own limit and says so.
constexpr std::size_t kMostFileBytes = 4 * 1024 * 1024;

std::string random_name() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}", device(), device());
}

// A pid means something only within one boot and one pid namespace.
std::string machine_name() {
  std::ifstream boot("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(boot, id);
  std::error_code error;
  auto const space = std::filesystem::read_symlink("/proc/self/ns/pid", error);
  return error ? id : id + " " + space.string();
}

std::string user_name() {
  if (passwd const* entry = getpwuid(geteuid())) return entry->pw_name;
  return std::to_string(geteuid());
}

Owner this_process() {
  Owner owner;
  owner.id = random_name();
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  owner.host = host;
  owner.machine = machine_name();
  owner.pid = getpid();
  owner.user = user_name();
  return owner;
}

std::string read_file(std::string const& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw CommandError{kExitUsage, file + ": cannot be read"};
  std::string text(kMostFileBytes, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  // A folder can be opened, but not read.
  if (stream.bad()) throw CommandError{kExitUsage, file + ": cannot be read"};
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

}  // namespace

CommandContext::CommandContext(CommonOptions options) : options_(std::move(options)), owner_(this_process()) {
  if (options_.dsn.empty()) {
    if (char const* url = std::getenv("DATABASE_URL")) options_.dsn = url;
  }
}

ConnectTarget CommandContext::target() const {
  ConnectTarget target;
  target.conninfo = options_.dsn;
  return target;
}

int CommandContext::run(asio::awaitable<int> command) {
  int exit_code = kExitFailed;
  std::exception_ptr failed;
  asio::co_spawn(io_, std::move(command), [&](std::exception_ptr error, int code) {
    failed = error;
    exit_code = code;
    io_.stop();
  });
  io_.run();
  return failed ? report_error(failed) : exit_code;
}

int report_error(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (CommandError const& refusal) {
    std::cerr << refusal.text << '\n';
    return refusal.exit_code;
  } catch (std::exception const& failure) {
    std::cerr << "pgbackfill: " << failure.what() << '\n';
    return kExitFailed;
  }
}

asio::awaitable<std::shared_ptr<PgConnection>> CommandContext::connect() {
  if (auto const wrong = check_conninfo(options_.dsn)) throw CommandError{kExitUsage, *wrong};
  ConnectTarget where = target();
  auto opened = co_await PgConnection::open(std::move(where), blocking_);
  if (!opened) {
    // Who forgot it would look for the fault at the server.
    char const* const hint = options_.dsn.empty()
                                 ? " (neither --dsn nor DATABASE_URL says where; this is what libpq's environment says)"
                                 : "";
    throw CommandError{
        kExitFailed,
        fmt::format("cannot connect to {}: {}{}", describe_target(options_.dsn), opened.error().message, hint), true};
  }
  co_return *opened;
}

asio::awaitable<std::shared_ptr<PgConnection>> CommandContext::connect_to_state() {
  auto connection = co_await connect();
  auto there =
      value_or_throw(co_await connection->query(state::has_version(), Deadlines()), "reading the state schema");
  if (there.at(0, 0) != "t") {
    throw CommandError{kExitFailed,
                       "this database has no schema pgbackfill yet: nothing ever ran here (`pgbackfill "
                       "init` makes it, and so does the first `run`)"};
  }
  co_await ensure_state(*connection);
  co_return connection;
}

asio::awaitable<bool> CommandContext::ensure_state(PgConnection& connection) {
  bool changed = false;
  for (int attempt = 0; attempt < 3; ++attempt) {
    auto there =
        value_or_throw(co_await connection.query(state::has_version(), Deadlines()), "reading the state schema");
    int version = 0;
    if (there.at(0, 0) == "t") {
      auto read = value_or_throw(co_await connection.query(state::read_version(), Deadlines()), "reading its version");
      auto const& newest = read.rows.front().front();
      if (!newest) {
        throw CommandError{kExitFailed,
                           "pgbackfill.meta has no version: somebody changed the state by hand. Put the row "
                           "back, or, if no migration is under way, DROP SCHEMA pgbackfill CASCADE"};
      }
      version = std::stoi(*newest);
    }
    if (version == kStateVersion) co_return changed;
    if (version > kStateVersion) {
      throw CommandError{kExitFailed, fmt::format("schema pgbackfill has version {}, this program knows {}: a newer "
                                                  "pgbackfill was here; use that one",
                                                  version, kStateVersion)};
    }
    std::string script;
    for (auto const& upgrade : state::upgrades(version)) script += upgrade;
    // Whoever comes second fails on what the first has made, and finds the right version when it looks again.
    std::string const text = "BEGIN; SELECT pg_advisory_xact_lock(5571360147221349);" + script + "COMMIT;";
    auto made = co_await connection.script(text, Deadlines());
    if (made) {
      changed = true;
      continue;
    }
    co_await connection.script("ROLLBACK", Deadlines());
    if (made.error().sqlstate == "42501") {
      throw CommandError{kExitFailed,
                         "this role may not create schema pgbackfill: " + made.error().message +
                             "; let an owner run `pgbackfill init`, or GRANT CREATE ON DATABASE to the role"};
    }
    if (attempt == 2) value_or_throw(std::move(made), "making schema pgbackfill");
  }
  co_return changed;
}

TellerOptions CommandContext::teller_options() const {
  TellerOptions teller = detect_teller_options(2);
  teller.format = options_.log_format;
  teller.level = options_.log_level;
  if (!options_.show_progress || options_.log_format == LogFormat::kJson) teller.live = false;
  return teller;
}

void CommandContext::print(boost::json::object const& document) const {
  std::cout << boost::json::serialize(document) << std::endl;
}

void CommandContext::print(std::string const& text) const {
  std::cout << text << std::flush;
}

namespace {

std::vector<throttle::Window> parse_windows(std::vector<planner::WindowText> const& lines,
                                            std::vector<planner::Problem>& problems) {
  std::vector<throttle::Window> windows;
  for (auto const& line : lines) {
    auto window = throttle::parse_window(line.text);
    if (auto* wrong = std::get_if<std::string>(&window)) {
      problems.push_back({line.position, *wrong});
    } else {
      windows.push_back(std::get<throttle::Window>(window));
    }
  }
  return windows;
}

}  // namespace

LoadedMigration parse_loaded(std::string const& file, std::string source) {
  auto parsed = planner::parse_migration(source, file);
  std::vector<planner::Problem> problems = std::move(parsed.problems);
  LoadedMigration loaded;
  std::vector<throttle::Window> windows;
  std::vector<throttle::Window> blackouts;
  if (parsed.migration) {
    windows = parse_windows(parsed.migration->windows, problems);
    blackouts = parse_windows(parsed.migration->blackout, problems);
  }
  if (!problems.empty()) {
    throw CommandError{kExitUsage, planner::to_lines(problems)};
  }
  loaded.migration = std::move(*parsed.migration);
  loaded.schedule = throttle::Schedule(std::move(windows), std::move(blackouts));
  loaded.source = std::move(source);
  return loaded;
}

LoadedMigration load_migration(std::string const& file) {
  return parse_loaded(file, read_file(file));
}

asio::awaitable<LoadedMigration> find_migration(PgConnection& connection, std::string file_or_name) {
  if (std::filesystem::is_regular_file(file_or_name)) co_return load_migration(file_or_name);
  auto found = value_or_throw(co_await connection.query(state::find_migration(file_or_name), Deadlines()),
                              "looking for the migration");
  if (found.rows.empty()) {
    throw CommandError{kExitUsage,
                       fmt::format("'{}' is neither a file nor a migration that ran in this database", file_or_name)};
  }
  auto loaded = parse_loaded(found.at(0, 0), found.at(0, 1));
  loaded.is_from_file = false;
  co_return loaded;
}

std::string name_of(std::string const& file_or_name) {
  if (std::filesystem::is_regular_file(file_or_name)) return load_migration(file_or_name).migration.name;
  return file_or_name;
}

}  // namespace pgbackfill::engine
