#include "tests/support/pg_bouncer.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <stdexcept>

#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

namespace fs = std::filesystem;

std::string find_pgbouncer() {
  for (char const* path : {"/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"}) {
    if (access(path, X_OK) == 0) return path;
  }
  throw std::runtime_error("no pgbouncer found: install it (apt-get install pgbouncer)");
}

bool is_listening(int port) {
  int const probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  bool const is_connected = connect(probe, reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0;
  close(probe);
  return is_connected;
}

void write_file(fs::path const& path, std::string const& text) {
  std::ofstream(path) << text;
  engine::give_to_server_user(path);
}

}  // namespace

PgBouncer::PgBouncer(engine::LocalCluster const& cluster, std::vector<std::string> const& users,
                     std::vector<std::string> const& settings)
    : port_(engine::free_loopback_port()) {
  dir_ = cluster.dir() / fmt::format("pgbouncer-{}", port_);
  fs::create_directory(dir_);
  engine::give_to_server_user(dir_);
  std::string user_list;
  // With trust the password is not looked at, but the user must be listed.
  for (auto const& user : users) user_list += fmt::format("\"{}\" \"\"\n", user);
  write_file(dir_ / "users.txt", user_list);
  write_file(dir_ / "pgbouncer.ini",
             fmt::format("[databases]\n* = host=127.0.0.1 port={}\n\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                         "listen_port = {}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n"
                         "admin_users = postgres\npool_mode = transaction\n{}\n",
                         cluster.port(), port_, (dir_ / "users.txt").string(), fmt::join(settings, "\n")));
  pid_ = engine::spawn_server({find_pgbouncer(), (dir_ / "pgbouncer.ini").string()}, dir_ / "pgbouncer.log");
  bool has_ended = false;
  bool const is_settled = poll_until([&] {
    has_ended = waitpid(pid_, nullptr, WNOHANG) == pid_;
    return has_ended || is_listening(port_);
  });
  if (has_ended || !is_settled) {
    if (!has_ended) kill(pid_, SIGKILL);
    throw std::runtime_error(fmt::format("pgbouncer did not start\n{}", log_text()));
  }
}

PgBouncer::~PgBouncer() {
  kill(pid_, SIGTERM);
  if (!poll_until([this] { return waitpid(pid_, nullptr, WNOHANG) != 0; }, std::chrono::seconds(5))) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  std::error_code error;
  fs::remove_all(dir_, error);
}

std::string PgBouncer::dsn() const {
  return fmt::format("host=127.0.0.1 port={} user=postgres dbname=postgres", port_);
}

std::string PgBouncer::admin_dsn() const {
  return fmt::format("host=127.0.0.1 port={} user=postgres dbname=pgbouncer", port_);
}

std::string PgBouncer::log_text() const {
  std::ifstream in(dir_ / "pgbouncer.log");
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace pgbackfill::tests
