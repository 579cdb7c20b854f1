#include "tests/support/migration_run.h"

#include <fmt/format.h>
#include <signal.h>

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>

#include "tests/support/poll_until.h"

namespace pgbackfill::tests {

namespace {

using namespace std::chrono_literals;

constexpr std::size_t kTailBytes = 1'500;
constexpr std::size_t kProcessesTold = 4;
constexpr std::size_t kLongestName = 55;

std::string tail_of(std::string const& text) {
  return text.size() <= kTailBytes ? text : "..." + text.substr(text.size() - kTailBytes);
}

std::uint64_t choose_seed() {
  char const* const given = std::getenv("PGBACKFILL_SEED");
  std::uint64_t const seed =
      given != nullptr ? std::strtoull(given, nullptr, 10)
                       : static_cast<std::uint64_t>(std::chrono::system_clock::now().time_since_epoch() / 1us);
  std::cout << "PGBACKFILL_SEED=" << seed << std::endl;
  return seed;
}

}  // namespace

std::uint64_t seed_of_tests() {
  static std::uint64_t const seed = choose_seed();
  return seed;
}

std::mt19937_64 random_of_test() {
  return std::mt19937_64(seed_of_tests() ^ std::hash<std::string>()(name_of_test()));
}

std::int64_t between(std::mt19937_64& random, std::int64_t least, std::int64_t most) {
  return std::uniform_int_distribution<std::int64_t>(least, most)(random);
}

std::string name_of_test() {
  std::string name;
  for (char const letter : std::string(testing::UnitTest::GetInstance()->current_test_info()->name())) {
    bool const is_upper = std::isupper(static_cast<unsigned char>(letter)) != 0;
    if (is_upper && !name.empty()) name += '_';
    name += std::isalnum(static_cast<unsigned char>(letter)) == 0
                ? '_'
                : static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  // PostgreSQL cuts names at 63 bytes; triggers and functions append to this one.
  return name.substr(0, kLongestName);
}

MigrationRun::MigrationRun(std::string name, std::string dsn, std::string const& sections)
    : name_(std::move(name)), dsn_(std::move(dsn)) {
  std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
  if (mkdtemp(dir.data()) == nullptr) throw std::runtime_error("cannot make a folder like " + dir);
  dir_ = dir;
  std::ofstream(dir_ / (name_ + ".yaml")) << "name: " << name_ << "\n" << sections;
}

MigrationRun::~MigrationRun() {
  processes_.clear();
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
}

Program& MigrationRun::start(std::vector<std::string> const& options) {
  std::vector<std::string> words = {PGBACKFILL_PROGRAM, "run", (dir_ / (name_ + ".yaml")).string(), "--dsn",
                                    process_dsn_.empty() ? dsn_ : process_dsn_};
  words.insert(words.end(), common_options_.begin(), common_options_.end());
  words.insert(words.end(), options.begin(), options.end());
  processes_.push_back(std::make_unique<Program>(words));
  return *processes_.back();
}

testing::AssertionResult MigrationRun::ends(Program& process, int exit_code, std::chrono::milliseconds timeout) {
  auto const result = process.wait(timeout);
  if (!result.is_timed_out && result.exit_code == exit_code) return testing::AssertionSuccess();
  return testing::AssertionFailure() << (result.is_timed_out ? "did not end in time"
                                                             : fmt::format("ended with {}", result.exit_code))
                                     << " instead of " << exit_code << story();
}

testing::AssertionResult MigrationRun::runs(int exit_code, std::vector<std::string> const& options) {
  return ends(start(options), exit_code);
}

ProgramResult MigrationRun::command(std::string const& word, std::vector<std::string> const& arguments) {
  std::vector<std::string> words = {PGBACKFILL_PROGRAM, word, name_};
  words.insert(words.end(), arguments.begin(), arguments.end());
  words.insert(words.end(), {"--dsn", dsn_});
  return run_program(words);
}

void MigrationRun::kill_process(Program& process) {
  process.signal(SIGKILL);
  process.wait(10s);
}

bool MigrationRun::waits_for_rows(std::int64_t rows, std::chrono::milliseconds timeout) const {
  std::unique_ptr<PgClient> client;
  auto const is_there = [&] {
    try {
      if (!client) client = std::make_unique<PgClient>(dsn_);
      auto const done = client->value(
          "SELECT coalesce(sum(r.rows_done), 0) FROM pgbackfill.ranges r JOIN pgbackfill.jobs j ON j.id = r.job_id "
          "WHERE j.name = '" +
          name_ + "'");
      return std::stoll(done) >= rows;
    } catch (PgClientError const&) {
      client.reset();
      return false;
    }
  };
  return poll_until(is_there, timeout);
}

std::string MigrationRun::state(std::string sql) const {
  std::string const job = "(SELECT id FROM pgbackfill.jobs WHERE name = '" + name_ + "')";
  for (std::size_t at = sql.find("{job}"); at != std::string::npos; at = sql.find("{job}")) sql.replace(at, 5, job);
  return PgClient(dsn_).value(sql);
}

std::string MigrationRun::rows_done() const {
  return state("SELECT coalesce(sum(rows_done), 0) FROM pgbackfill.ranges WHERE job_id = {job}");
}

std::string MigrationRun::story() const {
  std::string text = fmt::format("\nPGBACKFILL_SEED={}", seed_of_tests());
  std::size_t const first = processes_.size() > kProcessesTold ? processes_.size() - kProcessesTold : 0;
  for (std::size_t process = first; process < processes_.size(); ++process) {
    text += fmt::format("\n--- pgbackfill, process {} of {} ---\n{}{}", process + 1, processes_.size(),
                        tail_of(processes_[process]->out()), tail_of(processes_[process]->err()));
  }
  return text + "\n---";
}

std::string make_counted_table(PgClient& client, std::int64_t rows) {
  std::string const table = name_of_test();
  client.exec(
      fmt::format("CREATE TABLE {0} (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, name text NOT NULL DEFAULT 'x') "
                  "WITH (fillfactor = 50); INSERT INTO {0} (id) SELECT 3 * i FROM generate_series(1, {1}) i",
                  table, rows));
  client.exec("VACUUM ANALYZE " + table);
  return table;
}

std::string counts(std::string const& dsn, std::string const& table) {
  return PgClient(dsn).value(fmt::format(
      "SELECT string_agg(n || ': ' || rows, ', ' ORDER BY n) FROM (SELECT n, count(*) AS rows FROM {} GROUP BY n) c",
      table));
}

std::string count_up(CountUp const& options) {
  std::string text = fmt::format(
      "table: {}\nbackfill:\n  set: {{n: \"n + 1\"}}\n  workers: {}\n  commit: {}\n"
      "  batch: {{target: 20ms, min_rows: 50, max_rows: {}}}\n{}",
      options.table, options.workers, options.commit, options.max_rows, options.more);
  if (!options.throttling.empty()) text += "throttle:\n" + options.throttling;
  return text;
}

}  // namespace pgbackfill::tests
