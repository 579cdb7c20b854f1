#include "tests/twin/twin_runner.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <mutex>
#include <optional>
#include <regex>
#include <sstream>
#include <thread>

#include "tests/support/database_fixtures.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"
#include "tests/twin/twin_generator.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;

constexpr auto kLongestRun = 180s;
constexpr int kMostStarts = 12;
constexpr int kPlayers = 3;
constexpr std::size_t kRowsTold = 8;
constexpr char const* kTemplate = "twin_template";

// Everything is read and compared under these, whatever the case sets.
constexpr char const* kPlainSettings[] = {"DateStyle=ISO",
                                          "IntervalStyle=postgres",
                                          "TimeZone=UTC",
                                          "bytea_output=hex",
                                          "extra_float_digits=3",
                                          "standard_conforming_strings=on",
                                          "search_path=pg_catalog",
                                          "quote_all_identifiers=off",
                                          "default_transaction_isolation=read\\ committed",
                                          "transform_null_equals=off",
                                          "array_nulls=on",
                                          "session_replication_role=origin",
                                          "row_security=on"};

std::string options_text(std::vector<std::string> const& settings) {
  std::string text;
  for (auto const& setting : settings) text += (text.empty() ? "-c " : " -c ") + setting;
  return text;
}

// As a value of a connection string.
std::string connection_value(std::string const& value) {
  return "'" + replace_all(replace_all(value, "\\", "\\\\"), "'", "\\'") + "'";
}

std::string shortened(std::string const& text, std::size_t most) {
  return text.size() <= most ? text : text.substr(0, most) + "...";
}

// One case being played.
class Play {
 public:
  // `restart` restarts the server as a crash.
  Play(TwinCase const& twin, engine::LocalCluster const& cluster, std::function<void()> restart, int number)
      : twin_(twin),
        cluster_(cluster),
        restart_(std::move(restart)),
        main_(fmt::format("twin_{}_a", number)),
        other_(fmt::format("twin_{}_b", number)),
        role_(fmt::format("twin_{}", number)) {}
  ~Play();

  TwinOutcome play();

 private:
  using Contents = std::vector<std::vector<std::string>>;  // sorted rows of each query

  std::string dsn(std::string const& database, std::vector<std::string> const& options) const {
    return fmt::format("{} dbname={} client_encoding=UTF8 options={}", cluster_.dsn(), database,
                       connection_value(options_text(options)));
  }
  std::string plain_dsn(std::string const& database) const {
    return dsn(database, {std::begin(kPlainSettings), std::end(kPlainSettings)});
  }
  std::string with_role(std::string const& sql) const { return replace_all(sql, "{role}", role_); }
  std::vector<std::string> role_options() const;
  void prepare();
  void set_up(std::string const& database) const;
  void apply_settings() const;
  Contents contents(std::string const& database, bool is_with_versions) const;

  void run_migration();
  void start();
  void strike(TwinFault const& fault);
  bool is_begun() const;
  bool is_complete() const;
  ProgramResult command(std::string const& word) const;
  void write_beside();
  void work_plainly();

  TwinOutcome judge(Contents const& before);
  TwinOutcome compare(std::string const& what) const;
  TwinOutcome judge_failure(Contents const& before) const;
  TwinOutcome wrong(std::string const& reason, std::string const& details = {}) const;
  std::string difference(Contents const& found, Contents const& expected) const;
  std::string said() const;

  TwinCase const& twin_;
  engine::LocalCluster const& cluster_;
  std::function<void()> restart_;
  std::string main_;
  std::string other_;
  std::string role_;
  std::filesystem::path dir_;
  std::unique_ptr<Program> process_;
  ProgramResult last_;
  std::string story_;
  std::string writer_trouble_;
  std::vector<std::string> done_beside_;  // SQL that the twin does as well
  int starts_ = 0;
};

Play::~Play() {
  process_.reset();
  try {
    PgClient client(cluster_.dsn());
    for (auto const& database : {main_, other_})
      client.exec(fmt::format("DROP DATABASE IF EXISTS {} WITH (FORCE)", database));
    client.exec("DROP ROLE IF EXISTS " + role_);
  } catch (PgClientError const&) {
    // The server goes with the test anyway.
  }
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
}

std::vector<std::string> Play::role_options() const {
  std::vector<std::string> options;
  for (auto const& setting : twin_.settings) {
    if (setting.level != SettingLevel::kOptions) continue;
    options.push_back(setting.name + "=" + replace_all(setting.value, " ", "\\ "));
  }
  return options;
}

void Play::prepare() {
  std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
  if (mkdtemp(dir.data()) == nullptr) throw std::runtime_error("cannot make a folder like " + dir);
  dir_ = dir;
  std::ofstream(dir_ / "twin.yaml") << replace_all(twin_.yaml, "{name}", "twin");
  for (auto const& [name, text] : twin_.files) std::ofstream(dir_ / name) << text;
  PgClient client(cluster_.dsn());
  client.exec(fmt::format("CREATE ROLE {} LOGIN{}", role_, twin_.role == TwinRole::kSuperuser ? " SUPERUSER" : ""));
  for (auto const& database : {main_, other_}) {
    client.exec(fmt::format("CREATE DATABASE {} TEMPLATE {}", database, kTemplate));
  }
  set_up(main_);
  set_up(other_);
  apply_settings();
}

void Play::set_up(std::string const& database) const {
  PgClient client(fmt::format("{} dbname={} client_encoding=UTF8", cluster_.dsn(), database));
  for (auto const& sql : twin_.setup) client.exec(with_role(sql));
}

void Play::apply_settings() const {
  PgClient client(cluster_.dsn());
  for (auto const& setting : twin_.settings) {
    auto const assignment =
        setting.name + " = " + (setting.name == "search_path" ? setting.value : "'" + setting.value + "'");
    if (setting.level == SettingLevel::kRole) client.exec(fmt::format("ALTER ROLE {} SET {}", role_, assignment));
    for (auto const& database : {main_, other_}) {
      if (setting.level == SettingLevel::kDatabase)
        client.exec(fmt::format("ALTER DATABASE {} SET {}", database, assignment));
      if (setting.level == SettingLevel::kRoleInDatabase) {
        client.exec(fmt::format("ALTER ROLE {} IN DATABASE {} SET {}", role_, database, assignment));
      }
    }
  }
}

// With the versions of rows: what shows that nobody touched them.
Play::Contents Play::contents(std::string const& database, bool is_with_versions) const {
  PgClient client(plain_dsn(database));
  Contents all;
  for (auto const& query : twin_.rows) {
    std::vector<std::string> rows;
    for (auto const& row : client.exec(query)) {
      std::string text;
      for (auto const& value : row) text += (text.empty() ? "" : " | ") + value.value_or("NULL");
      rows.push_back(text);
    }
    std::sort(rows.begin(), rows.end());
    all.push_back(std::move(rows));
  }
  if (is_with_versions) {
    std::vector<std::string> rows;
    for (auto const& table : client.exec("SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace = "
                                         "'app'::regnamespace ORDER BY oid")) {
      for (auto const& row : client.exec("SELECT ctid, xmin, tableoid FROM ONLY " + table[0].value_or(""))) {
        rows.push_back(*row[0] + *row[1] + *row[2]);
      }
    }
    all.push_back(std::move(rows));
  }
  return all;
}

// --- pgbackfill ------------------------------------------------------------------------------------------------------

void Play::start() {
  ProgramOptions options;
  options.working_dir = dir_;
  if (auto const given = role_options(); !given.empty()) options.environment = {{"PGOPTIONS", options_text(given)}};
  ++starts_;
  process_ = std::make_unique<Program>(
      std::vector<std::string>{PGBACKFILL_PROGRAM, "run", "twin.yaml", "--no-progress", "--lease", "1s", "--dsn",
                               fmt::format("{} dbname={} user={}", cluster_.dsn(), main_, role_)},
      options);
}

ProgramResult Play::command(std::string const& word) const {
  ProgramOptions options;
  options.working_dir = dir_;
  if (auto const given = role_options(); !given.empty()) options.environment = {{"PGOPTIONS", options_text(given)}};
  return run_program(
      {PGBACKFILL_PROGRAM, word, "twin", "--dsn", fmt::format("{} dbname={} user={}", cluster_.dsn(), main_, role_)},
      60s, options);
}

bool Play::is_begun() const {
  return PgClient(plain_dsn(main_)).value("SELECT count(*) FROM pgbackfill.jobs") == "1";
}

bool Play::is_complete() const {
  return PgClient(plain_dsn(main_)).value("SELECT count(*) FROM pgbackfill.jobs WHERE status = 'complete'") == "1";
}

void Play::strike(TwinFault const& fault) {
  auto const kill_and_then = [&](auto const& act) {
    if (process_->is_running()) {
      process_->signal(SIGKILL);
      process_->wait(10s);
    }
    act();
    start();
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(fault.wait_ms));
  switch (fault.kind) {
    case FaultKind::kKill:
      if (process_->is_running()) kill_and_then([] {});
      return;
    case FaultKind::kTerminate:
      PgClient(cluster_.dsn())
          .exec(fmt::format("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND "
                            "application_name LIKE 'pgbackfill%'",
                            main_));
      return;
    case FaultKind::kRestart:
      restart_();
      return;
    case FaultKind::kSetting:
      poll_until([&] { return !process_->is_running() || is_begun(); });
      if (!process_->is_running()) return;
      kill_and_then([&] { PgClient(cluster_.dsn()).exec(fmt::format("ALTER DATABASE {} {}", main_, fault.sql)); });
      return;
    case FaultKind::kSql:
      if (PgClient(plain_dsn(main_)).try_exec("SET lock_timeout = '5s'; " + fault.sql) == "00000") {
        done_beside_.push_back(fault.sql);
      }
      return;
    case FaultKind::kSqlAtRest:
      if (!process_->is_running()) return;
      kill_and_then([&] {
        if (is_complete()) return;
        PgClient(plain_dsn(main_)).exec(with_role(fault.sql));
        done_beside_.push_back(fault.sql);
      });
  }
}

void Play::write_beside() {
  auto options = twin_.writer_options;
  for (auto& option : options) option = replace_all(option, " ", "\\ ");
  try {
    PgClient client(dsn(main_, options));
    for (auto const& write : twin_.writes) {
      // A deadlock or serialization failure rolled it back: an application does it again.
      for (int attempt = 0; attempt < 20; ++attempt) {
        auto const code = client.try_exec(write);
        if (code == "00000") break;
        if (code != "40P01" && code != "40001") writer_trouble_ = code + " of " + write;
        if (!writer_trouble_.empty()) return;
      }
      std::this_thread::sleep_for(3ms);
    }
  } catch (PgClientError const& error) {
    writer_trouble_ = error.what();
  }
}

void Play::run_migration() {
  start();
  std::optional<std::thread> writer;
  if (!twin_.writes.empty()) writer.emplace([this] { write_beside(); });
  for (auto const& fault : twin_.faults) strike(fault);
  auto const must_go_on = [&] {
    if (last_.exit_code == kResumable) return true;
    // A fault met it before the job was there, or while a command of a moment was under way.
    return !twin_.faults.empty() && last_.exit_code == kFailed && last_.err.find("failed: ") == std::string::npos &&
           twin_.has_to_fail.empty();
  };
  for (;;) {
    last_ = process_->wait(kLongestRun);
    story_ +=
        fmt::format("--- run {}: exit {}{}\n{}{}", starts_, last_.exit_code, last_.is_timed_out ? " (too long)" : "",
                    shortened(last_.out, 3000), shortened(last_.err, 5000));
    if (last_.is_timed_out || !must_go_on() || starts_ >= kMostStarts) break;
    start();
  }
  if (writer) writer->join();
}

// --- the twin, and the verdict ---------------------------------------------------------------------------------------

void Play::work_plainly() {
  auto options = twin_.writer_options;
  PgClient writer(dsn(other_, options));
  for (auto const& write : twin_.writes) writer.exec(write);
  for (auto const& sql : done_beside_) PgClient(plain_dsn(other_)).exec(with_role(sql));
  PgClient client(dsn(other_, role_options()) + " user=" + role_);
  client.exec(twin_.statement);
}

TwinOutcome Play::wrong(std::string const& reason, std::string const& details) const {
  return {TwinEnd::kWrong, reason, details + said()};
}

std::string Play::said() const {
  std::string text = "\n" + story_;
  for (auto const& sql : done_beside_) text += "--- beside it: " + sql + "\n";
  return text;
}

std::string Play::difference(Contents const& found, Contents const& expected) const {
  std::string text;
  for (std::size_t query = 0; query < twin_.rows.size(); ++query) {
    std::vector<std::string> more;
    std::vector<std::string> less;
    std::set_difference(found[query].begin(), found[query].end(), expected[query].begin(), expected[query].end(),
                        std::back_inserter(more));
    std::set_difference(expected[query].begin(), expected[query].end(), found[query].begin(), found[query].end(),
                        std::back_inserter(less));
    if (more.empty() && less.empty()) continue;
    text += fmt::format("{}\n  {} rows by pgbackfill, {} by the plain statement\n", twin_.rows[query],
                        found[query].size(), expected[query].size());
    text += fmt::format("  {} that the plain statement does not give:\n", more.size());
    for (std::size_t row = 0; row < std::min(more.size(), kRowsTold); ++row)
      text += "    " + shortened(more[row], 400) + "\n";
    text += fmt::format("  {} that only the plain statement gives:\n", less.size());
    for (std::size_t row = 0; row < std::min(less.size(), kRowsTold); ++row)
      text += "    " + shortened(less[row], 400) + "\n";
  }
  return text;
}

TwinOutcome Play::compare(std::string const& what) const {
  auto const text = difference(contents(main_, false), contents(other_, false));
  if (!text.empty()) return wrong(what + ", and rows differ", text);
  return {TwinEnd::kEqual, {}, {}};
}

// The line that says why: the first error, else the last line.
std::string reason_in(std::string const& text) {
  std::string last;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.find(" error ") != std::string::npos) return line;
    if (!line.empty()) last = line;
  }
  return last;
}

// It ended with neither 0 nor 4.
TwinOutcome Play::judge_failure(Contents const& before) const {
  auto const reason = reason_in(last_.err + last_.out);
  // Which rows a `where` picks again, the first batch tells.
  bool const picks_again = last_.exit_code == kFailed && reason.find("(BF002)") != std::string::npos;
  bool const is_refusal = last_.exit_code == kUsage || last_.exit_code == kGateClosed || picks_again;
  auto const now = contents(main_, true);
  bool const is_untouched = now == before || !twin_.writes.empty() || !done_beside_.empty();
  if (is_refusal && !twin_.may_refuse.empty()) {
    if (!is_untouched) return wrong("refused after rows were touched: " + reason, difference(now, before));
    return {TwinEnd::kRefused, reason, {}};
  }
  if (!twin_.may_stop.empty()) return {TwinEnd::kStopped, reason, {}};
  if (!twin_.has_to_tell.empty()) return {TwinEnd::kStopped, reason, {}};
  if (!twin_.has_to_fail.empty()) {
    auto possible = contents(other_, false);
    auto const found = contents(main_, false);
    auto& rows = possible[0];
    rows.insert(rows.end(), before[0].begin(), before[0].end());
    std::sort(rows.begin(), rows.end());
    if (std::includes(rows.begin(), rows.end(), found[0].begin(), found[0].end()))
      return {TwinEnd::kStopped, reason, {}};
    return wrong("stopped, with rows that are neither as before nor as they should be", difference(found, possible));
  }
  return wrong(fmt::format("exit {} where the plain statement works: {}", last_.exit_code, reason));
}

TwinOutcome Play::judge(Contents const& before) {
  if (last_.is_timed_out) return wrong("it does not end");
  if (!writer_trouble_.empty()) return wrong("a writer was refused: " + writer_trouble_);
  if (last_.exit_code >= 128) return wrong(fmt::format("it ended by signal {}", last_.exit_code - 128));
  if (last_.exit_code == kResumable) return wrong("it is never done: " + reason_in(last_.err));
  if (last_.exit_code != kDone) return judge_failure(before);
  auto const gate = command("gate");
  if (!twin_.has_to_tell.empty()) {
    if (gate.exit_code == kDone) return wrong("nobody is told of " + twin_.has_to_tell);
    return {TwinEnd::kStopped, reason_in(gate.out + gate.err), {}};
  }
  auto outcome = compare("exit 0");
  if (outcome.end != TwinEnd::kEqual) return outcome;
  for (auto const& probe : twin_.probes) {
    if (PgClient(plain_dsn(main_)).value(probe) != "t") return wrong("does not hold afterwards: " + probe);
  }
  if (gate.exit_code != kDone && twin_.may_stay_closed.empty()) {
    return wrong(fmt::format("the rows are right, and gate ends with {}", gate.exit_code), gate.out + gate.err);
  }
  return outcome;
}

TwinOutcome Play::play() {
  Contents before;
  try {
    prepare();
    before = contents(main_, true);
  } catch (std::exception const& error) {
    return {TwinEnd::kUnusable, std::string("its setup: ") + error.what(), {}};
  }
  try {
    run_migration();
  } catch (std::exception const& error) {
    return wrong(std::string("beside it: ") + error.what());
  }
  try {
    work_plainly();
  } catch (std::exception const& error) {
    // What the plain statement cannot do, pgbackfill has to refuse or to fail.
    if (last_.exit_code != kDone) return {TwinEnd::kUnusable, std::string("its plain statement: ") + error.what(), {}};
    return wrong(std::string("exit 0 where the plain statement fails: ") + error.what());
  }
  try {
    return judge(before);
  } catch (std::exception const& error) {
    return wrong(std::string("afterwards: ") + error.what());
  }
}

// Without what differs from case to case.
std::string kind_of(std::string text) {
  text = std::regex_replace(text, std::regex("^[^ ]*yaml[^ ]* "), "");
  text = std::regex_replace(text, std::regex("\\d{4}-\\d\\d-\\d\\dT[^ ]* "), "");
  text = std::regex_replace(text, std::regex("\"[^\"]*\""), "\"...\"");
  return shortened(std::regex_replace(text, std::regex("\\d+"), "N"), 110);
}

}  // namespace

TwinServerUnderTest::TwinServerUnderTest(std::string const& bin_dir)
    : cluster_([&] {
        engine::LocalClusterOptions options;
        options.name = "twins";
        options.bin_dir = bin_dir;
        options.is_fsync_on = false;
        options.primary_settings = {"autovacuum = off", "max_connections = 200", "max_prepared_transactions = 5"};
        return options;
      }()) {
  cluster_.start();
  PgClient client(cluster_.dsn());
  server_.major_version = cluster_.major_version();
  server_.has_icu = client.value("SELECT count(*) > 0 FROM pg_collation WHERE collprovider = 'i'") == "t";
  server_.has_citext = client.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'") == "1";
  client.exec(fmt::format("CREATE DATABASE {}", kTemplate));
  auto const init = run_program({PGBACKFILL_PROGRAM, "init", "--dsn", cluster_.dsn() + " dbname=" + kTemplate});
  if (init.exit_code != kDone) throw std::runtime_error("init: " + init.err);
}

TwinOutcome TwinServerUnderTest::play(TwinCase const& twin) {
  bool const restarts = std::any_of(twin.faults.begin(), twin.faults.end(),
                                    [](auto const& fault) { return fault.kind == FaultKind::kRestart; });
  std::shared_lock shared(restarts_, std::defer_lock);
  std::unique_lock alone(restarts_, std::defer_lock);
  if (restarts) {
    alone.lock();
  } else {
    shared.lock();
  }
  auto const restart = [this] {
    is_restart_due_ = true;
    poll_until([this] { return !is_restart_due_; }, 60s);
  };
  return Play(twin, cluster_, restart, ++played_).play();
}

void TwinServerUnderTest::serve_restarts_until(std::atomic<bool> const& is_over) {
  while (!is_over) {
    if (is_restart_due_) {
      cluster_.restart_primary(engine::StopMode::kImmediate);
      is_restart_due_ = false;
    }
    std::this_thread::sleep_for(5ms);
  }
}

void TwinFigures::count(TwinCase const& twin, TwinOutcome const& outcome) {
  ++cases;
  equal += outcome.end == TwinEnd::kEqual ? 1 : 0;
  refused += outcome.end == TwinEnd::kRefused ? 1 : 0;
  stopped += outcome.end == TwinEnd::kStopped ? 1 : 0;
  wrong += outcome.end == TwinEnd::kWrong ? 1 : 0;
  unusable += outcome.end == TwinEnd::kUnusable ? 1 : 0;
  ++works[twin.work];
  if (outcome.end == TwinEnd::kRefused || outcome.end == TwinEnd::kStopped || outcome.end == TwinEnd::kUnusable) {
    ++refusals[kind_of(outcome.reason)];
  }
}

std::string TwinFigures::text() const {
  std::string text = fmt::format("twins: {} cases, {} equal, {} refused, {} stopped by name, {} wrong, {} unusable\n",
                                 cases, equal, refused, stopped, wrong, unusable);
  for (auto const& [work, count] : works) text += fmt::format("  {} {}\n", work, count);
  for (auto const& [reason, count] : refusals) text += fmt::format("  {} x {}\n", count, reason);
  return text;
}

TwinFigures play_twins(std::uint64_t seed, int cases) {
  TwinServerUnderTest server;
  TwinFigures figures;
  std::mutex mutex;
  std::atomic<int> next{0};
  auto const player = [&] {
    for (int number = next++; number < cases; number = next++) {
      auto const twin = make_twin_case(seed + static_cast<std::uint64_t>(number), server.server());
      auto const outcome = server.play(twin);
      std::lock_guard const lock(mutex);
      figures.count(twin, outcome);
      if (outcome.end != TwinEnd::kWrong) continue;
      ADD_FAILURE() << outcome.reason << "\nPGBACKFILL_SEED=" << twin.seed << " PGBACKFILL_CASES=1\n"
                    << describe(twin) << outcome.details;
    }
  };
  std::vector<std::thread> players;
  std::atomic<int> playing{std::min(kPlayers, cases)};
  std::atomic<bool> is_over{cases == 0};
  for (int number = 0; number < std::min(kPlayers, cases); ++number) {
    players.emplace_back([&] {
      player();
      if (--playing == 0) is_over = true;
    });
  }
  server.serve_restarts_until(is_over);
  for (auto& thread : players) thread.join();
  std::cout << figures.text();
  if (char const* const file = std::getenv("PGBACKFILL_FIGURES"); file != nullptr) {
    std::ofstream(file, std::ios::app) << fmt::format("{}\ttwins\t{}\t{}\t{}\t{}\t{}\n", server.server().major_version,
                                                      figures.cases, figures.equal, figures.refused, figures.stopped,
                                                      figures.wrong);
  }
  return figures;
}

}  // namespace pgbackfill::tests
