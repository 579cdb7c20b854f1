// PgBouncer in transaction mode in front of a LocalCluster's primary, configured as a user would: nothing but the
// defaults besides trust, so that what needs a favour (a startup parameter to ignore, prepared statements) fails here.
//
// It lives in the cluster's folder and must be destroyed before the cluster. Threads: as LocalCluster.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "engine/sandbox/local_cluster.h"

namespace pgbackfill::tests {

class PgBouncer {
 public:
  // `users` may connect; `settings` are more lines of the section [pgbouncer]. Throws std::runtime_error.
  explicit PgBouncer(engine::LocalCluster const& cluster, std::vector<std::string> const& users = {"postgres"},
                     std::vector<std::string> const& settings = {});
  ~PgBouncer();
  PgBouncer(PgBouncer const&) = delete;
  PgBouncer& operator=(PgBouncer const&) = delete;

  std::string dsn() const;
  // The console, for SHOW POOLS and so on.
  std::string admin_dsn() const;
  int port() const { return port_; }
  std::string log_text() const;

 private:
  std::filesystem::path dir_;
  int port_ = 0;
  pid_t pid_ = 0;
};

}  // namespace pgbackfill::tests
