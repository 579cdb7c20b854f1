#include "bench/stage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <stdexcept>

#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"
#include "tests/support/slow_replica.h"

namespace pgbackfill::bench {
namespace {

using namespace std::chrono_literals;
using tests::PgClient;

constexpr char kRunDatabase[] = "run";
// A file copy of the largest table has to reach the replica's disk as well.
constexpr auto kReplayPatience = 300s;

engine::LocalClusterOptions cluster_options() {
  engine::LocalClusterOptions options;
  options.name = "bench";
  options.replicas = 1;
  options.primary_settings = {"shared_buffers = '512MB'", "max_wal_size = '4GB'",
                              // WAL files are used again and not made anew, whoever runs when.
                              "min_wal_size = '4GB'", "wal_keep_size = '1GB'"};
  return options;
}

std::string dsn_of(std::string const& base, std::string const& database) {
  // Of a keyword that comes twice, libpq takes the later value.
  return base + " dbname=" + database;
}

char const* columns_of(TableShape const& shape) {
  return shape.is_narrow ? "id bigint, name text, display_name text"
                         : "id bigint, name text, email text, bio text, created_at timestamptz, display_name text";
}

std::string rows_of(TableShape const& shape) {
  std::string const columns = shape.is_narrow
                                  ? "i, 'u' || i, NULL"
                                  : "i, 'User Number ' || i, 'user' || i || '@example.com', repeat(md5(i::text), 3), "
                                    "'2020-01-01'::timestamptz + i * interval '1 second', NULL";
  return fmt::format("SELECT {} FROM generate_series(1, {}) AS i", columns, shape.rows);
}

// Whether the server has a process of a client, or one that has ended and was not counted yet (it has no title).
bool has_session(pid_t server) {
  std::ifstream children(fmt::format("/proc/{0}/task/{0}/children", server));
  pid_t child = 0;
  while (children >> child) {
    std::ifstream file(fmt::format("/proc/{}/cmdline", child));
    std::string title;
    std::getline(file, title, '\0');
    if (title.empty() || title.find(fmt::format(" {} 127.0.0.1", kRunDatabase)) != std::string::npos) return true;
  }
  return false;
}

}  // namespace

Stage::Stage() : cluster_(cluster_options()) {
  cluster_.start();
}

std::string Stage::fresh(TableShape const& shape) {
  if (!templates_.contains(shape.name())) make_template(shape);
  PgClient client(cluster_.dsn());
  client.exec(fmt::format("DROP DATABASE IF EXISTS {} WITH (FORCE)", kRunDatabase));
  char const* strategy = cluster_.major_version() >= 15 ? " STRATEGY file_copy" : "";
  client.exec(fmt::format("CREATE DATABASE {} TEMPLATE {}{}", kRunDatabase, shape.name(), strategy));
  client.exec("CHECKPOINT");
  if (!tests::wait_until_replayed(cluster_, 0, kReplayPatience)) throw std::runtime_error("the replica is behind");
  // Else the copy is written to disk while the run is timed.
  ::sync();
  return dsn_of(cluster_.dsn(), kRunDatabase);
}

char const* Stage::database() {
  return kRunDatabase;
}

std::string Stage::dsn_through(int port) const {
  return fmt::format("{} port={}", dsn_of(cluster_.dsn(), kRunDatabase), port);
}

double Stage::cpu_seconds_of_sessions() const {
  pid_t const server = cluster_.postmaster_pid();
  tests::poll_until([server] { return !has_session(server); });
  std::ifstream stat(fmt::format("/proc/{}/stat", server));
  std::string field;
  // proc(5): the 16th and 17th are what children that have ended took; the name of this process has no space in it.
  for (int skipped = 0; skipped < 15; ++skipped) stat >> field;
  std::int64_t user = 0;
  std::int64_t system = 0;
  stat >> user >> system;
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

Stage::MachineTime Stage::machine_time() {
  std::ifstream stat("/proc/stat");
  std::string word;
  stat >> word;
  // proc(5): user nice system idle iowait irq softirq steal; a processor that waits for the disk is free to work.
  MachineTime time;
  for (int field = 0; field < 8; ++field) {
    double ticks = 0;
    stat >> ticks;
    bool const is_free = field == 3 || field == 4;
    double const seconds = ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
    time.seconds += seconds;
    if (!is_free) time.busy_seconds += seconds;
  }
  return time;
}

void Stage::make_template(TableShape const& shape) {
  PgClient(cluster_.dsn()).exec("CREATE DATABASE " + shape.name());
  PgClient client(dsn_of(cluster_.dsn(), shape.name()));
  client.exec(fmt::format("CREATE TABLE users ({})", columns_of(shape)));
  client.exec(fmt::format("INSERT INTO users {}", rows_of(shape)));
  client.exec("ALTER TABLE users ADD PRIMARY KEY (id)");
  // Whether autovacuum comes by during a run is chance.
  client.exec("ALTER TABLE users SET (autovacuum_enabled = off)");
  client.exec("VACUUM ANALYZE users");
  templates_.insert(shape.name());
}

}  // namespace pgbackfill::bench
