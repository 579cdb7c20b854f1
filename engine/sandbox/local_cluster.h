// A throwaway PostgreSQL: a primary and its streaming replicas, from the installed binaries, in a temporary folder.
//
// For `pgbackfill sandbox`, tests and benches. It listens on the loopback interface only and, unless it is to have a
// password, trusts whoever connects there: every user of this machine. It never touches a server that it did not start,
// and its Unix socket is for the servers' user alone. Nothing stays
// behind: the destructor stops the servers and removes the folder; when the owning process dies without it, the kernel
// stops the servers, and the next LocalCluster of the same user removes the folder.
//
// Threads: not thread-safe. The kernel ties the servers to the *thread* that started them: they stop when that thread
// ends, so start them from a thread that outlives them (the main thread, as a rule).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace pgbackfill::engine {

struct LocalClusterOptions {
  // In the folder's and the servers' names; lower-case letters, digits and '-'.
  std::string name = "sandbox";
  // Where `postgres` and `initdb` are. Empty: $PGBACKFILL_PG_BIN, `pg_config --bindir`, newest
  // /usr/lib/postgresql/*/bin.
  std::filesystem::path bin_dir;
  // Where the temporary folder goes. Empty: $TMPDIR, else /tmp.
  std::filesystem::path parent_dir;
  int replicas = 0;
  // A random one for `postgres`, in passfile(), which this user alone can read. Else no role needs any.
  bool has_password = false;
  std::string wal_level = "replica";
  // Off is faster, and fine where no server is killed.
  bool is_fsync_on = true;
  // Lines of postgresql.conf. Replicas get the primary's lines, then their own.
  std::vector<std::string> primary_settings;
  std::vector<std::string> replica_settings;
};

enum class StopMode { kSmart, kFast, kImmediate };

class LocalCluster {
 public:
  // Creates the folder and the databases; starts nothing. This and everything below throws std::runtime_error that
  // says what failed, ends with the server's own words, and says what to do.
  explicit LocalCluster(LocalClusterOptions options = {});
  ~LocalCluster();
  LocalCluster(LocalCluster const&) = delete;
  LocalCluster& operator=(LocalCluster const&) = delete;

  // Starts what does not run: the primary, then the replicas; returns when all accept connections and the replicas
  // stream. A port, once chosen, stays for the cluster's life.
  void start();
  // Stops the replicas, then the primary.
  void stop(StopMode mode = StopMode::kFast);

  void start_primary();
  void stop_primary(StopMode mode = StopMode::kFast);
  void restart_primary(StopMode mode = StopMode::kFast);
  // SIGKILL to the primary's postmaster and all its processes, as a power cut would end them; returns when all are
  // gone.
  void kill9();

  // Replicas count from 0.
  void start_replica(int replica);
  void stop_replica(int replica, StopMode mode = StopMode::kFast);
  // Returns when the replica accepts writes. The old primary is left as it is.
  void promote_replica(int replica);

  std::string dsn() const;
  std::string replica_dsn(int replica) const;
  // All servers, primary first; libpq connects to the one that accepts writes.
  std::string multi_host_dsn() const;

  int port() const;
  int replica_port(int replica) const;
  // 0 while stopped.
  pid_t postmaster_pid() const;
  pid_t replica_postmaster_pid(int replica) const;
  std::filesystem::path data_dir() const;
  std::filesystem::path replica_data_dir(int replica) const;
  // The end of the server's log.
  std::string log_text(std::size_t last_bytes = 4096) const;
  std::string replica_log_text(int replica, std::size_t last_bytes = 4096) const;

  int replicas() const { return static_cast<int>(servers_.size()) - 1; }
  int major_version() const { return major_version_; }
  // The folder that holds everything; gone after destruction.
  std::filesystem::path const& dir() const { return dir_; }
  // For libpq, and in the DSNs; empty without a password.
  std::filesystem::path passfile() const;
  std::filesystem::path const& bin_dir() const { return options_.bin_dir; }

 private:
  struct Server {
    std::string name;
    std::filesystem::path data_dir;
    std::filesystem::path log_file;
    int port = 0;
    pid_t pid = 0;
  };

  void create_dir();
  void remove_dir();
  void create_databases();
  void create_password();
  std::filesystem::path password_for_initdb() const;
  std::vector<std::string> initdb_arguments() const;
  std::string dsn_of(std::string const& hosts, std::string const& ports) const;
  void start_server(Server& server);
  bool try_start_server(Server& server, bool is_port_free_to_change);
  void wait_until_streaming(Server& server, std::size_t log_begin);
  bool is_running(Server& server);
  void stop_server(Server& server, StopMode mode);
  void write_settings(Server const& server) const;
  std::string settings(Server const& server) const;
  std::string run_tool(std::vector<std::string> const& arguments);
  Server& replica_at(int replica);
  Server const& replica_at(int replica) const;

  LocalClusterOptions options_;
  pid_t const owner_pid_;
  int owner_lock_ = -1;
  int major_version_ = 0;
  std::filesystem::path dir_;
  std::string password_;
  std::vector<Server> servers_;  // the primary first
};

// The folder with `postgres` and `initdb`, by the rule of LocalClusterOptions::bin_dir; throws when there is none.
std::filesystem::path find_postgres_binaries();

// A TCP port of the loopback interface that nobody listens on.
int free_loopback_port();

// Starts a server program in the background and returns its process. It writes to `log_file`, hears no terminal
// signals, and gets SIGQUIT when the calling thread ends. Where this process is root, it runs as the user `postgres`
// (else `nobody`), because PostgreSQL refuses to run as root.
pid_t spawn_server(std::vector<std::string> const& arguments, std::filesystem::path const& log_file);

// Gives a folder or file to the user that spawn_server() runs programs as.
void give_to_server_user(std::filesystem::path const& path);

}  // namespace pgbackfill::engine
