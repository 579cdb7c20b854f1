#include "engine/process/command_context.h"

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

#include "engine/base/dsn.h"
#include "engine/base/secret_mask.h"
#include "engine/base/text.h"
#include "engine/pg/open_connections.h"
#include "engine/process/listed_files.h"
#include "engine/state/typed_rows.h"
#include "engine/view/console.h"
#include "engine/view/safe_output.h"
#include "planner/file/migration_file.h"
#include "planner/model/replace_all.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

// Larger files are no migrations; the parser has its own limit and says so.
constexpr std::size_t kMostFileBytes = 4 * 1024 * 1024;
// Of a command's own statements: somebody waits for its answer.
constexpr auto kLockWait = 2s;

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

std::string layout_name(int version, int revision) {
  return fmt::format("{}.{}", version, revision);
}

std::string read_file(std::string const& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw CommandError{kExitUsage, neutralised(file) + ": cannot be read"};
  std::string text(kMostFileBytes, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  // A folder can be opened, but not read.
  if (stream.bad()) throw CommandError{kExitUsage, neutralised(file) + ": cannot be read"};
  text.resize(static_cast<std::size_t>(stream.gcount()));
  return text;
}

}  // namespace

CommandContext::CommandContext(CommonOptions options) : options_(std::move(options)), owner_(this_process()) {
  find_config_file();
  find_dsn();
}

void CommandContext::find_config_file() {
  if (!options_.config_search) return;
  try {
    config_ = find_config(*options_.config_search);
  } catch (CommandError const& error) {
    // Commands that make no use of it never look at it.
    config_problem_ = error;
  }
}

planner::ConfigFile const* CommandContext::config() const {
  if (config_problem_) throw *config_problem_;
  return config_ ? &*config_ : nullptr;
}

void CommandContext::find_dsn() {
  dsn_source_ = "--dsn";
  bool const names_variable = config_ && !config_->database_url_variable.empty();
  std::vector<std::string> variables(std::begin(kDsnVariables), std::end(kDsnVariables));
  // What is usual is no answer where another variable is named: it may be another database.
  if (names_variable) variables = {kDsnVariables[0], config_->database_url_variable};
  for (auto const& name : variables) {
    char const* const value = std::getenv(name.c_str());
    if (!options_.dsn.empty() || value == nullptr || *value == '\0') continue;
    options_.dsn = value;
    dsn_source_ = name;
  }
  if (names_variable && options_.dsn.empty()) {
    auto const& place = config_->database_url_variable_position;
    dsn_problem_ = planner::to_string(
        {place, fmt::format("{} is not set; give the variable a connection string or URL, or use --dsn",
                            config_->database_url_variable)});
    return;
  }
  auto read = read_dsn(options_.dsn, dsn_source_, libpq_keywords());
  if (auto* problem = std::get_if<std::string>(&read)) {
    // Commands that need no server never look at it.
    dsn_problem_ = std::move(*problem);
    return;
  }
  options_.dsn = std::move(std::get<Dsn>(read).conninfo);
  dsn_note_ = std::move(std::get<Dsn>(read).note);
}

void CommandContext::tell_once(std::string const& note) {
  if (note.empty() || !told_.insert(note).second) return;
  if (options_.log_format == LogFormat::kJson) {
    Teller(teller_options()).emit(log_line(Severity::kInfo, note));
  } else if (options_.log_level <= Severity::kInfo) {
    std::cerr << for_people(note) << '\n';
  }
}

std::string CommandContext::read_conninfo(std::string const& text, std::string const& where) {
  auto read = read_dsn(text, where, libpq_keywords());
  if (auto* problem = std::get_if<std::string>(&read)) throw CommandError{kExitUsage, std::move(*problem)};
  auto const& dsn = std::get<Dsn>(read);
  if (auto const wrong = check_conninfo(dsn.conninfo)) throw CommandError{kExitUsage, where + ": " + *wrong};
  tell_once(dsn.note);
  return dsn.conninfo;
}

ConnectTarget CommandContext::target() const {
  ConnectTarget target;
  target.conninfo = options_.dsn;
  target.recorded_settings = recorded_settings_;
  return target;
}

int CommandContext::run(asio::awaitable<int> command) {
  int exit_code = kExitFailed;
  interrupts_.listen();
  try {
    exit_code = run_or_throw(std::move(command));
    interrupts_.stop_listening();
  } catch (...) {
    interrupts_.stop_listening();
    exit_code = report(std::current_exception());
  }
  exit_code = exit_code == kExitFailed && interrupts_.has_cut_short() ? kExitResumable : exit_code;
  // Somebody waits for the result; one that was lost on the way is none.
  bool const is_lost = !std::cout.flush();
  if (is_lost && exit_code == kExitDone) {
    std::cerr << "the result could not be written to standard output (a closed pipe, or a full disk)\n";
    exit_code = kExitFailed;
  }
  return exit_code;
}

int CommandContext::run_or_throw(asio::awaitable<int> command) {
  int exit_code = kExitFailed;
  std::exception_ptr failed;
  asio::co_spawn(io_, std::move(command), [&](std::exception_ptr error, int code) {
    failed = error;
    exit_code = code;
    io_.stop();
  });
  // What works beside the command is cut short as well, each by an exception of its own.
  while (!io_.stopped()) {
    try {
      io_.run();
    } catch (CutShort const&) {
      continue;
    }
  }
  if (failed) std::rethrow_exception(failed);
  return exit_code;
}

namespace {

CommandError refusal_of(std::exception_ptr const& error) {
  try {
    std::rethrow_exception(error);
  } catch (CommandError const& refusal) {
    return refusal;
  } catch (CutShort const&) {
    return {kExitResumable, kWasInterrupted};
  } catch (state::BrokenState const& broken) {
    return {kExitFailed, broken.what()};
  } catch (std::exception const& failure) {
    return {kExitFailed, std::string("pgbackfill: ") + failure.what()};
  }
}

}  // namespace

int exit_code_of(std::exception_ptr const& error) {
  return refusal_of(error).exit_code;
}

std::string words_of(std::exception_ptr const& error) {
  return refusal_of(error).text;
}

int report_error(std::exception_ptr error) {
  auto const words = refusal_of(error);
  std::cerr << for_people(words.text) << '\n';
  return words.exit_code;
}

int CommandContext::report(std::exception_ptr error) {
  // A program that reads JSON need not read standard error as well.
  if (is_json() && !has_printed_) {
    auto const words = refusal_of(error);
    print(boost::json::object{{"error", valid_utf8(words.text)}, {"exit_code", words.exit_code}});
  }
  return report_error(error);
}

asio::awaitable<Result<std::shared_ptr<PgConnection>>> CommandContext::open() {
  ConnectTarget where = target();
  auto opened = co_await PgConnection::open(std::move(where), blocking_);
  if (!opened) co_return opened;
  LockTerms terms{kLockWait, state::who_is_in_the_way()};
  (*opened)->set_lock_terms(std::move(terms));
  co_return opened;
}

namespace {

std::string what_to_do_about(state::StrangeObject const& found) {
  std::string remedy = found.remedy.empty()
                           ? "ALTER ... OWNER, or DROP SCHEMA pgbackfill CASCADE if no migration is under way"
                           : "`" + found.remedy + "`";
  if (!found.owner.empty()) {
    return fmt::format("If that role is to be trusted: --trust-owner {}; else {}", found.owner, remedy);
  }
  return found.remedy.empty() ? "Drop it, or have it explained by whoever made it" : remedy;
}

}  // namespace

// Our own functions run with the rights of whoever calls them, and there is where he would put something else.
asio::awaitable<std::shared_ptr<PgConnection>> CommandContext::connect() {
  auto connection = co_await connect_to_look();
  auto const strange = value_or_throw(
      co_await connection->query(state::strange_state(options_.trusted_owners), Deadlines()), "looking at the state");
  if (strange.rows.empty()) co_return connection;
  auto const found = state::row_as<state::StrangeObject>(strange.rows.front());
  throw CommandError{
      kExitUsage,
      fmt::format("{}: {} could run code of its choice with the rights of this role, so nothing was done. {}",
                  found.sentence, found.remedy.empty() ? "it" : "whoever has it", what_to_do_about(found))};
}

asio::awaitable<std::shared_ptr<PgConnection>> CommandContext::connect_to_look() {
  if (config_problem_) throw *config_problem_;
  if (!dsn_problem_.empty()) throw CommandError{kExitUsage, dsn_problem_};
  if (auto const wrong = check_conninfo(options_.dsn)) throw CommandError{kExitUsage, dsn_source_ + ": " + *wrong};
  tell_once(dsn_note_);
  auto opened = co_await open();
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

asio::awaitable<CommandContext::Layout> CommandContext::read_layout(PgConnection& connection) {
  Layout layout;
  auto const there =
      value_or_throw(co_await connection.query(state::has_version(), Deadlines()), "reading the state schema");
  if (!state::value_as<bool>(there)) co_return layout;
  auto const read =
      value_or_throw(co_await connection.query(state::read_version(), Deadlines()), "reading the version of the state");
  auto const stored = state::first_as<state::LayoutVersion>(read);
  if (!stored) {
    throw CommandError{kExitFailed,
                       "pgbackfill.meta has no version: somebody changed the state by hand. Put the row "
                       "back, or, if no migration is under way, DROP SCHEMA pgbackfill CASCADE"};
  }
  layout.version = stored->version;
  layout.revision = stored->revision;
  if (layout.version > kStateVersion) {
    throw CommandError{kExitFailed, fmt::format("schema pgbackfill has version {}, this program knows {}: a newer "
                                                "pgbackfill was here; use that one",
                                                layout.version, kStateVersion)};
  }
  co_return layout;
}

asio::awaitable<std::shared_ptr<PgConnection>> CommandContext::connect_to_state(StateUse use) {
  auto connection = co_await connect();
  co_await require_state(*connection, use);
  co_return connection;
}

asio::awaitable<bool> CommandContext::has_state(PgConnection& connection) {
  auto const layout = co_await read_layout(connection);
  co_return layout.version > 0;
}

asio::awaitable<void> CommandContext::require_state(PgConnection& connection, StateUse use) {
  auto const layout = co_await read_layout(connection);
  if (layout.version == 0) {
    throw CommandError{kExitFailed,
                       "this database has no schema pgbackfill yet: nothing ever ran here (`pgbackfill "
                       "init` makes it, and so does the first `run`)",
                       false, false, true};
  }
  bool const is_current = layout.version == kStateVersion && layout.revision >= kStateRevision;
  bool const does = is_current || (use == StateUse::kReads && layout.version >= kOldestReadableVersion);
  if (!does) {
    throw CommandError{
        kExitFailed,
        fmt::format("schema pgbackfill has the layout {} of an older pgbackfill, and this command needs "
                    "{}; `pgbackfill init` upgrades it, and says what that means for older programs",
                    layout_name(layout.version, layout.revision), layout_name(kStateVersion, kStateRevision))};
  }
}

namespace {

// Why what the database keeps of a migration may not be run in the name of this role; empty: it may, or there is none.
asio::awaitable<std::string> why_not_trusted(PgConnection& connection, std::string name) {
  auto const read =
      value_or_throw(co_await connection.query(state::trust_in_source(name), Deadlines()), "asking who stored it");
  auto const trust = state::first_as<state::SourceTrust>(read);
  if (!trust) co_return "";
  bool const is_known = trust->is_signed.value_or(false) && trust->stored_by;
  if (!is_known) co_return "nobody can tell who wrote what the database keeps of it";
  if (!trust->is_as_good.value_or(false)) {
    co_return fmt::format("what the database keeps of it was written by role {}", *trust->stored_by);
  }
  if (trust->forger) co_return fmt::format("role {} could have changed what the database keeps of it", *trust->forger);
  co_return "";
}

// Whoever can write into the state could have written what is about to run in the name of this role.
asio::awaitable<void> require_trust(PgConnection& connection, std::string name) {
  auto const why = co_await why_not_trusted(connection, name);
  if (why.empty()) co_return;
  throw CommandError{kExitUsage, fmt::format("{0}: {1}, and its SQL would run with the rights of this role; give the "
                                             "file instead of the name",
                                             name, why)};
}

// A search_path decides whose functions and operators the file's SQL means.
asio::awaitable<void> require_trust_in_settings(PgConnection& connection, std::string name,
                                                std::vector<std::string> others) {
  auto const why = co_await why_not_trusted(connection, name);
  if (why.empty()) co_return;
  std::string text = fmt::format("{}: {}, and its settings are not those of this session:", name, why);
  for (auto const& other : others) text += "\n  " + other;
  throw CommandError{kExitUsage, text + "\nrun it as that role, or from a session with the same settings"};
}

}  // namespace

asio::awaitable<std::vector<std::string>> CommandContext::adopt_settings(PgConnection& connection,
                                                                         std::string migration) {
  recorded_settings_.reset();
  auto const there =
      value_or_throw(co_await connection.query(state::has_version(), Deadlines()), "reading the state schema");
  if (state::value_as<bool>(there)) {
    auto const rows = value_or_throw(co_await connection.query(state::session_settings(migration), Deadlines()),
                                     "reading the settings of the migration");
    if (!rows.rows.empty() && rows.rows.front().front()) {
      recorded_settings_ = settings_from_json(*rows.rows.front().front());
      if (!recorded_settings_) {
        throw CommandError{kExitFailed, fmt::format("pgbackfill.migrations: session_settings of '{}' are not settings "
                                                    "that pgbackfill records: {}",
                                                    migration, *rows.rows.front().front())};
      }
    }
  }
  std::vector<std::string> others;
  if (recorded_settings_) others = differences(connection.session_settings(), *recorded_settings_);
  if (!others.empty()) co_await require_trust_in_settings(connection, migration, others);
  value_or_throw(co_await connection.adopt_settings(recorded_settings_), "taking over the settings of the migration");
  co_return others;
}

asio::awaitable<void> CommandContext::adopt_settings_aloud(PgConnection& connection, std::string migration) {
  auto const texts = co_await adopt_settings(connection, migration);
  for (auto const& text : texts) {
    std::cerr << text << ", recorded when " << migration << " first ran\n";
  }
}

asio::awaitable<void> CommandContext::require_state_rights(PgConnection& connection) {
  auto const rights = value_or_throw(co_await connection.query(state::has_state_rights(), Deadlines()),
                                     "looking at this role's rights");
  // NULL: there are no tables yet.
  if (state::value_as<std::optional<bool>>(rights).value_or(true)) co_return;
  auto const asked = value_or_throw(co_await connection.query("SELECT quote_ident(current_user)", Deadlines()),
                                    "looking at this role's name");
  auto const role = state::value_as<std::string>(asked);
  throw CommandError{kExitUsage,
                     fmt::format("role {0} may not work in schema pgbackfill: {1}", role, state::grants_to(role))};
}

asio::awaitable<std::string> CommandContext::ensure_state(PgConnection& connection) {
  std::optional<Layout> first;
  bool is_ours = false;
  while (true) {
    auto const layout = co_await read_layout(connection);
    if (!first) first = layout;
    if (layout.version == kStateVersion && layout.revision >= kStateRevision) break;
    is_ours = co_await bring_up(connection, layout);
  }
  if (!is_ours) co_return "";
  if (first->version == 0) co_return "schema pgbackfill is ready";
  std::string const after = first->version == kStateVersion
                                ? fmt::format("programs that know version {} go on as before", kStateVersion)
                                : fmt::format(
                                      "programs that know version {} at most will refuse it from their next "
                                      "start on; those at work end what they do",
                                      first->version);
  co_return fmt::format("schema pgbackfill went from layout {} to {}; {}", layout_name(first->version, first->revision),
                        layout_name(kStateVersion, kStateRevision), after);
}

asio::awaitable<bool> CommandContext::bring_up(PgConnection& connection, Layout from) {
  std::string script;
  for (auto const& upgrade : state::upgrades(from.version, from.revision)) script += upgrade;
  std::string const text =
      fmt::format("BEGIN; SET LOCAL lock_timeout = {}; {}; {}{}{}COMMIT;", std::chrono::milliseconds(kLockWait).count(),
                  state::lock_layout(), state::note_objects(), script, state::revoke_default_rights());
  auto const made = co_await connection.script(text, Deadlines());
  if (made) co_return true;
  Failure failure = made.error();
  if (!connection.is_usable()) throw error_of(failure, "making schema pgbackfill");
  co_await connection.script("ROLLBACK", Deadlines());
  if (failure.trouble == planner::Trouble::kLockTimeout) failure.message += co_await connection.who_is_in_the_way();
  if (failure.sqlstate == "42501") {
    throw CommandError{kExitFailed,
                       "this role may not create schema pgbackfill: " + failure.message +
                           "; let an owner run `pgbackfill init`, or GRANT CREATE ON DATABASE to the role"};
  }
  // Whoever comes second fails on what the first has made, and finds it when it looks again.
  auto const now = co_await read_layout(connection);
  bool const is_other = now.version != from.version || now.revision != from.revision;
  if (!is_other) throw error_of(failure, "making schema pgbackfill");
  co_return false;
}

TellerOptions CommandContext::teller_options() const {
  TellerOptions teller = detect_teller_options(2);
  teller.format = options_.log_format;
  teller.level = options_.log_level;
  if (!options_.show_progress || options_.log_format == LogFormat::kJson) teller.live = false;
  return teller;
}

void CommandContext::print(boost::json::object document) const {
  boost::json::value told(std::move(document));
  take_passwords_out(told);
  has_printed_ = true;
  std::cout << boost::json::serialize(told) << std::endl;
}

void CommandContext::print(std::string const& text) const {
  std::cout << for_people(text, standard_output().view.color) << std::flush;
}

void CommandContext::draw(std::string const& text) const {
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

namespace {

LoadedMigration parse_loaded(std::string const& file, std::string source, planner::ConfigFile const* config,
                             planner::GivenParams const& given) {
  auto parsed = planner::parse_migration(source, file, given);
  std::vector<planner::Problem> problems = std::move(parsed.problems);
  LoadedMigration loaded;
  std::vector<throttle::Window> windows;
  std::vector<throttle::Window> blackouts;
  if (parsed.migration && config != nullptr) {
    for (auto& problem : planner::lay_under(*config, *parsed.migration)) problems.push_back(std::move(problem));
  }
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
  loaded.environment = std::move(parsed.environment);
  loaded.prepared = std::move(parsed.prepared);
  return loaded;
}

}  // namespace

namespace {

bool goes_on(std::string const& line) {
  return line.empty() || std::string_view(" \t#-\r").find(line.front()) != std::string_view::npos;
}

// Lines of the sections `before` and `after`, where hooks are, and of all others.
bool is_of_hooks(std::string const& line, bool was_of_hooks) {
  if (line.starts_with("before:") || line.starts_with("after:")) return true;
  return was_of_hooks && goes_on(line);
}

// Of the section that says who is told and how he is reached: nobody is, from what the database keeps.
bool is_of_receivers(std::string const& line, bool was_of_receivers) {
  for (char const* key : {"on:", "\"on\":", "'on':"}) {
    if (line.starts_with(key)) return true;
  }
  return was_of_receivers && goes_on(line);
}

// What stands for it in the source that is kept.
constexpr char kNoReceivers[] = "# on: is not kept here";

// Where a file writes the section in another way, what would let somebody in goes.
void hide_receivers(std::string& line, std::vector<planner::OccasionRule> const& rules) {
  for (auto const& rule : rules) {
    for (auto const& delivery : rule.deliveries) {
      auto const& url = delivery.url.text;
      auto const scheme = url.find("://");
      auto const host = scheme == std::string::npos ? url.find('}') : scheme + 3;
      if (host == std::string::npos) continue;
      auto const path = url.find_first_of("/?#", host);
      if (path != std::string::npos && path + 1 < url.size())
        planner::replace_all(line, url, url.substr(0, path) + "/***");
    }
  }
}

}  // namespace

std::string source_to_keep(LoadedMigration const& loaded) {
  std::vector<FoundSecret> secrets;
  for (auto const& hook : loaded.migration.hooks) {
    for (auto const* text : {&hook.what, &hook.expect}) {
      for (auto& secret : find_secrets(*text)) secrets.push_back(std::move(secret));
    }
  }
  for (auto const& rule : loaded.migration.on) {
    for (auto const& delivery : rule.deliveries) {
      for (auto& secret : find_secrets(delivery.command)) secrets.push_back(std::move(secret));
    }
  }
  auto const& backfill = loaded.migration.backfill;
  if (backfill && backfill->compute && backfill->compute->service) {
    for (auto& secret : find_secrets(backfill->compute->service->url.text)) secrets.push_back(std::move(secret));
  }
  std::string kept;
  bool is_hook = false;
  bool is_receiver = false;
  std::istringstream lines(loaded.source);
  for (std::string line; std::getline(lines, line);) {
    is_hook = is_of_hooks(line, is_hook);
    bool const was_receiver = is_receiver;
    is_receiver = is_of_receivers(line, is_receiver);
    if (is_receiver) line = was_receiver ? "#" : kNoReceivers;
    hide_receivers(line, loaded.migration.on);
    auto const first = line.find_first_not_of(" \t");
    bool const is_comment = first != std::string::npos && line[first] == '#';
    if (is_comment) line = masked(line, {});
    for (auto const& secret : secrets) {
      planner::replace_all(line, secret.surrounded, secret.masked);
      // Where the file spells what is around it in another way.
      if (is_hook && secret.bare.size() >= kShortestSecret) planner::replace_all(line, secret.bare, "***");
    }
    kept += line + '\n';
  }
  if (!loaded.source.ends_with('\n') && !kept.empty()) kept.pop_back();
  return kept;
}

LoadedMigration load_migration(std::string const& file, planner::ConfigFile const* config,
                               CommonOptions const& options) {
  planner::GivenParams given{options.params};
  std::optional<planner::OnlyKeys> only_keys;
  if (!options.only_keys.empty()) only_keys = read_only_keys(options.only_keys);
  if (only_keys) given.only_keys = only_keys->identity;
  auto loaded = parse_loaded(file, read_file(file), config, given);
  loaded.only_keys = std::move(only_keys);
  return loaded;
}

LoadedMigration load_migration(CommandContext const& context, std::string const& file) {
  return load_migration(file, context.config(), context.options());
}

// Whoever may write to the state could have named programs and receivers in it; pgbackfill.yaml belongs to who runs the
// command.
LoadedMigration parse_stored(std::string const& name, std::string const& file, std::string source,
                             planner::ConfigFile const* config) {
  auto loaded = parse_loaded(file, std::move(source), nullptr, planner::given_of_name(name));
  auto& migration = loaded.migration;
  loaded.had_receivers = !migration.on.empty() || loaded.source.find(kNoReceivers) != std::string::npos;
  migration.on.clear();
  for (auto const& hook : migration.hooks) loaded.stored_hooks.push_back(hook.boundary);
  for (auto& check : migration.verify) {
    if (auto* agrees = std::get_if<planner::AgreesCheck>(&check.kind)) agrees->is_stored = true;
  }
  if (config == nullptr) return loaded;
  auto const problems = planner::lay_under(*config, migration);
  if (!problems.empty()) throw CommandError{kExitUsage, planner::to_lines(problems)};
  return loaded;
}

namespace {

bool has_values(planner::NameWithParams const& name, std::vector<planner::ParamText> const& given) {
  return std::all_of(given.begin(), given.end(), [&](planner::ParamText const& value) {
    return std::find(name.values.begin(), name.values.end(), value) != name.values.end();
  });
}

}  // namespace

asio::awaitable<std::string> find_name(CommandContext& context, PgConnection& connection, std::string file_or_name) {
  auto const& given = context.options().params;
  bool const is_whole = file_or_name.find('[') != std::string::npos;
  if (std::filesystem::is_regular_file(file_or_name)) co_return name_of(context, file_or_name);
  if (is_whole && !given.empty()) {
    throw CommandError{kExitUsage, fmt::format("'{}' has its values in its name already; leave --param out",
                                               neutralised(file_or_name))};
  }
  if (is_whole) co_return file_or_name;
  auto const rows = value_or_throw(co_await connection.query(state::names_with_params(file_or_name), Deadlines()),
                                   "looking for the migration");
  std::vector<std::string> fitting;
  std::string known;
  for (auto const& row : rows.rows) {
    std::string const name = row.front().value_or("");
    bool const is_it = name == file_or_name && given.empty();
    if (is_it) co_return name;
    if (name == file_or_name) continue;
    known += "\n  " + neutralised(name);
    if (has_values(planner::parts_of_name(name), given)) fitting.push_back(name);
  }
  bool const is_one = !given.empty() && fitting.size() == 1;
  if (is_one) co_return fitting.front();
  // Nobody ran it with values: the word is a name, or is refused by whoever looks for it.
  bool const is_plain = known.empty() && given.empty();
  if (is_plain) co_return file_or_name;
  if (known.empty()) {
    throw CommandError{
        kExitUsage, fmt::format("nothing named '{}' ran in this database with parameters", neutralised(file_or_name)),
        false, false, true};
  }
  throw CommandError{kExitUsage,
                     fmt::format("'{}' runs once for each set of values; which one is meant: give --param name=value, "
                                 "or one of these names in quotes{}",
                                 neutralised(file_or_name), known),
                     false, false, fitting.empty()};
}

asio::awaitable<LoadedMigration> find_migration(CommandContext& context, PgConnection& connection,
                                                std::string file_or_name, SourceUse use) {
  auto const* const config = use == SourceUse::kRun ? context.config() : nullptr;
  if (std::filesystem::is_regular_file(file_or_name)) {
    co_return load_migration(file_or_name, config, context.options());
  }
  if (!context.options().only_keys.empty()) {
    throw CommandError{kExitUsage, fmt::format("--only-keys goes with the file of a migration, and {} is none",
                                               neutralised(file_or_name))};
  }
  std::string const name = co_await find_name(context, connection, file_or_name);
  auto found =
      value_or_throw(co_await connection.query(state::find_migration(name), Deadlines()), "looking for the migration");
  if (found.rows.empty()) {
    throw CommandError{
        kExitUsage, fmt::format("'{}' is neither a file nor a migration that ran in this database", neutralised(name)),
        false, false, true};
  }
  if (use == SourceUse::kRun) co_await require_trust(connection, name);
  auto const stored = state::row_as<state::StoredSource>(found.rows.front());
  auto loaded = parse_stored(name, stored.file, stored.source, config);
  if (loaded.migration.name != name) {
    throw CommandError{kExitUsage, fmt::format("pgbackfill.migrations keeps under the name {} the file of {}; give the "
                                               "file instead of the name",
                                               name, loaded.migration.name)};
  }
  co_return loaded;
}

std::string name_of(CommandContext const& context, std::string const& file_or_name) {
  auto const& given = context.options().params;
  if (!std::filesystem::is_regular_file(file_or_name)) return planner::name_with(file_or_name, given);
  return load_migration(file_or_name, nullptr, context.options()).migration.name;
}

}  // namespace pgbackfill::engine
