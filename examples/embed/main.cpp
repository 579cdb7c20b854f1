// Runs the backfill of a migration file from inside a program of one's own: embed FILE
//
// The same parts as `pgbackfill run`, without its command line: the reader of the file (planner), the checks against
// the server and the job (engine/job_setup.h), and the workers (engine/worker_pool.h). The job is stored in the
// database, so `pgbackfill status`, `pause` and `set` work on it, and a second program may join it. The steps of
// `expand` and `contract` are left to `pgbackfill`.
//
// Connects as libpq does, or to DATABASE_URL. Exit codes as those of pgbackfill.
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>
#include <stdexcept>

#include "engine/events.h"
#include "engine/job_setup.h"
#include "engine/pg_connection.h"
#include "engine/pg_database.h"
#include "engine/state_store.h"
#include "engine/worker_pool.h"
#include "planner/migration_file.h"

namespace {

namespace asio = boost::asio;
namespace engine = pgbackfill::engine;
namespace planner = pgbackfill::planner;

// Gets every event of the run on the thread that runs it, so it has to be quick: one line a second.
class Lines : public engine::EventSink {
 public:
  void emit(engine::Event event) override {
    if (auto const* line = std::get_if<engine::LogLine>(&event)) {
      if (line->severity >= engine::Severity::kInfo) std::cout << line->text << std::endl;
      return;
    }
    auto const* progress = std::get_if<engine::Progress>(&event);
    if (progress == nullptr || progress->elapsed < next_) return;
    next_ = progress->elapsed + std::chrono::seconds(1);
    std::cout << progress->rows_done << " of about " << progress->rows_estimated << " rows, "
              << static_cast<long long>(progress->rows_per_second) << " rows/s " << progress->held_back << std::endl;
  }

 private:
  std::chrono::milliseconds next_{0};
};

// Failures of the database are values; here every one of them ends the program.
template <class T>
T value_of(engine::Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message + " (" + result.error().sqlstate + ")");
  return std::move(*result);
}

std::string read_file(std::string const& file) {
  std::ifstream stream(file);
  if (!stream) throw std::runtime_error(file + ": cannot be read");
  std::stringstream text;
  text << stream.rdbuf();
  return text.str();
}

planner::Migration parse(std::string const& source, std::string const& file) {
  auto parsed = planner::parse_migration(source, file);
  std::string wrong;
  for (auto const& problem : parsed.problems) wrong += planner::to_string(problem) + "\n";
  if (!parsed.migration) throw std::runtime_error(wrong);
  if (!parsed.migration->backfill) throw std::runtime_error(file + ": there is no backfill in it");
  return std::move(*parsed.migration);
}

// No two processes may ever have the same id: it is what tells their leases apart.
engine::Owner this_process() {
  std::random_device random;
  engine::Owner owner;
  owner.id = "embed-" + std::to_string(random()) + "-" + std::to_string(random());
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  owner.host = host;
  owner.pid = getpid();
  return owner;
}

engine::ConnectTarget target_of_environment() {
  engine::ConnectTarget target;
  if (char const* url = std::getenv("DATABASE_URL")) target.conninfo = url;
  target.application_name = "embed";
  return target;
}

// Makes schema pgbackfill where there is none. Another version than this library's is left to `pgbackfill init`.
asio::awaitable<void> ensure_state(engine::PgConnection& connection) {
  auto const there = value_of(co_await connection.query(engine::state::has_version(), engine::Deadlines()));
  if (there.at(0, 0) == "t") {
    auto const version = value_of(co_await connection.query(engine::state::read_version(), engine::Deadlines()));
    if (std::stoi(version.at(0, 0)) == engine::kStateVersion) co_return;
    throw std::runtime_error("schema pgbackfill has another version; run `pgbackfill init`");
  }
  std::string script = "BEGIN;";
  for (auto const& upgrade : engine::state::upgrades(0)) script += upgrade;
  script += "COMMIT";
  value_of(co_await connection.script(std::move(script), engine::Deadlines()));
}

// The job of that name, or a new one; refuses a backfill that says something else than it did when it started.
asio::awaitable<engine::StoredJob> find_or_create_job(engine::PgConnection& connection,
                                                      planner::Migration const& migration,
                                                      engine::Preflight const& preflight, engine::Owner const& owner) {
  auto job = value_of(co_await engine::find_job(connection, migration.name));
  if (!job) {
    auto ranges = value_of(co_await engine::plan_ranges(connection, preflight));
    value_of(co_await engine::create_job(connection, migration, preflight, std::move(ranges), owner));
    job = value_of(co_await engine::find_job(connection, migration.name));
  }
  if (job->definition != engine::definition_of(*migration.backfill)) {
    throw std::runtime_error("a job of this name does something else");
  }
  co_return std::move(*job);
}

asio::awaitable<int> run(asio::io_context& io, asio::thread_pool& blocking, std::string file) {
  auto const source = read_file(file);
  auto const migration = parse(source, file);
  auto const target = target_of_environment();
  auto const owner = this_process();
  auto const connection = value_of(co_await engine::PgConnection::open(target, blocking));
  co_await ensure_state(*connection);
  auto preflight = value_of(co_await engine::check_backfill(*connection, *migration.backfill));
  for (auto const& problem : preflight.problems) throw std::runtime_error(planner::to_string(problem));
  // So that `pgbackfill gate NAME` and others find it by name.
  auto remembered = engine::state::remember_migration(migration.name, file, source);
  value_of(co_await connection->query(std::move(remembered), engine::Deadlines()));
  auto const job = co_await find_or_create_job(*connection, migration, preflight, owner);

  auto pg_job = value_of(co_await engine::load_pg_job(*connection, job.id, migration.name, *migration.backfill,
                                                      std::move(preflight.table), job.sweeps));
  engine::PgDatabase database(io.get_executor(), blocking, target, std::move(pg_job), owner);
  Lines lines;
  engine::PoolOptions options;
  options.settings = engine::setting_texts(migration.throttle);
  engine::WorkerPool pool(database, database.job().job, std::move(options), lines);

  // ^C ends the run between batches; starting the program again goes on.
  asio::signal_set signals(io, SIGINT, SIGTERM);
  signals.async_wait([&pool](boost::system::error_code error, int) {
    if (!error) pool.request_stop();
  });
  auto const outcome = co_await pool.run();
  signals.cancel();

  auto const& last = pool.progress();
  std::cout << last.rows_changed << " rows changed in " << pool.batches() << " batches" << std::endl;
  if (!outcome.reason.empty()) std::cout << outcome.reason << std::endl;
  if (outcome.end == engine::PoolEnd::kComplete) co_return 0;
  co_return outcome.end == engine::PoolEnd::kFailed ? 1 : 4;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: embed FILE\n";
    return 2;
  }
  // One thread does everything but what libpq can do only by waiting, such as looking up a host.
  asio::io_context io(1);
  asio::thread_pool blocking(engine::kBlockingThreads);
  int exit_code = 1;
  asio::co_spawn(io, run(io, blocking, argv[1]), [&](std::exception_ptr error, int code) {
    exit_code = code;
    try {
      if (error) std::rethrow_exception(error);
    } catch (std::exception const& what) {
      std::cerr << what.what() << std::endl;
      exit_code = 1;
    }
    io.stop();
  });
  io.run();
  return exit_code;
}
