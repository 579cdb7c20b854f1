#include "bench/stage.h"

#include <fmt/format.h>
#include <unistd.h>

#include <stdexcept>

#include "tests/support/pg_client.h"
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
  options.primary_settings = {"shared_buffers = '512MB'", "max_wal_size = '4GB'", "wal_keep_size = '1GB'"};
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

std::string Stage::dsn_through(int port) const {
  return fmt::format("{} port={}", dsn_of(cluster_.dsn(), kRunDatabase), port);
}

void Stage::make_template(TableShape const& shape) {
  PgClient(cluster_.dsn()).exec("CREATE DATABASE " + shape.name());
  PgClient client(dsn_of(cluster_.dsn(), shape.name()));
  client.exec(fmt::format("CREATE TABLE users ({})", columns_of(shape)));
  client.exec(fmt::format("INSERT INTO users {}", rows_of(shape)));
  client.exec("ALTER TABLE users ADD PRIMARY KEY (id)");
  client.exec("VACUUM ANALYZE users");
  templates_.insert(shape.name());
}

}  // namespace pgbackfill::bench
