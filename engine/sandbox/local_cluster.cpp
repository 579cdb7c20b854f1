#include "engine/sandbox/local_cluster.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "engine/base/exec_pointers.h"

namespace pgbackfill::engine {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kStartTimeout = 120s;  // crash recovery of a few GB of WAL included
constexpr auto kStopTimeout = 120s;
constexpr auto kToolTimeout = 120s;
constexpr auto kPollInterval = 5ms;
constexpr int kPortAttempts = 20;
constexpr std::size_t kLogTailBytes = 2000;
constexpr std::string_view kDirPrefix = "pgbackfill-";
constexpr char const* kOwnerFile = "owner";
constexpr char const* kPassfile = "passfile";
// sockaddr_un holds 108 bytes; the socket's own name takes up to 20.
constexpr std::size_t kSocketDirLengthMax = 85;
// Below Linux's ephemeral range, so that no outgoing connection takes the port while the server is down.
constexpr int kPortMin = 20000;
constexpr int kPortMax = 32000;

struct User {
  uid_t uid = 0;
  gid_t gid = 0;
};

// None: this process can run servers as itself.
std::optional<User> server_user() {
  if (geteuid() != 0) return std::nullopt;
  for (char const* name : {"postgres", "nobody"}) {
    // Not from several threads at once: see the header.
    if (passwd const* entry = getpwnam(name)) return User{entry->pw_uid, entry->pw_gid};
  }
  throw std::runtime_error(
      "PostgreSQL refuses to run as root, and there is no user 'postgres' or 'nobody' to run it as: run this as an "
      "ordinary user");
}

[[noreturn]] void throw_errno(std::string const& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void write_file(fs::path const& path, std::string const& text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  if (!out.flush()) throw std::runtime_error(fmt::format("cannot write {}", path.string()));
}

// For this user alone, from its first byte on.
void write_secret(fs::path const& path, std::string const& text) {
  int const file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  bool const is_written = file >= 0 && write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  int const error = errno;
  if (file >= 0) close(file);
  errno = error;
  if (!is_written) throw_errno(fmt::format("cannot write {}", path.string()));
}

std::string random_password() {
  std::random_device device;
  std::string password;
  for (int part = 0; part < 4; ++part) password += fmt::format("{:08x}", device());
  return password;
}

std::size_t file_bytes(fs::path const& path) {
  std::error_code error;
  auto const bytes = fs::file_size(path, error);
  return error ? 0 : static_cast<std::size_t>(bytes);
}

std::string file_tail(fs::path const& path, std::size_t last_bytes) {
  auto const bytes = file_bytes(path);
  std::ifstream in(path, std::ios::binary);
  if (bytes > last_bytes) in.seekg(static_cast<std::streamoff>(bytes - last_bytes));
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string text_since(fs::path const& path, std::size_t begin) {
  auto const bytes = file_bytes(path);
  return bytes > begin ? file_tail(path, bytes - begin) : std::string();
}

bool has_binaries(fs::path const& dir) {
  return access((dir / "postgres").c_str(), X_OK) == 0 && access((dir / "initdb").c_str(), X_OK) == 0;
}

std::string pg_config_bindir() {
  struct Close {
    void operator()(FILE* pipe) const { pclose(pipe); }
  };
  std::unique_ptr<FILE, Close> const pipe(popen("pg_config --bindir 2>/dev/null", "re"));
  std::array<char, 4096> line{};
  if (!pipe || !fgets(line.data(), line.size(), pipe.get())) return {};
  std::string dir(line.data());
  while (!dir.empty() && dir.back() == '\n') dir.pop_back();
  return dir;
}

int leading_number(std::string const& text) {
  int number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// Environment of the servers: what this process has, without libpq's and the servers' own variables, and in English,
// because messages are read here.
std::vector<std::string> server_environment() {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view const text(*entry);
    if (text.starts_with("PG") || text.starts_with("LC_") || text.starts_with("LANG")) continue;
    environment.emplace_back(text);
  }
  environment.emplace_back("LC_ALL=C");
  return environment;
}

struct Spawn {
  char* const* arguments;
  char* const* environment;
  std::optional<User> user;
  int output;
  pid_t parent;
};

// Between fork and exec of a process with threads: only async-signal-safe calls. Raw system calls change the user,
// because glibc's own would try to bring along the threads, which do not exist in the child.
[[noreturn]] void become_server(Spawn const& spawn) {
  setsid();  // ^C on the owner's terminal is for the owner
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  int const input = open("/dev/null", O_RDONLY);
  dup2(input, STDIN_FILENO);
  dup2(spawn.output, STDOUT_FILENO);
  dup2(spawn.output, STDERR_FILENO);
  close_range(3, ~0U, 0);
  if (spawn.user) {
    if (syscall(SYS_setgroups, 0, nullptr) != 0 || syscall(SYS_setgid, spawn.user->gid) != 0 ||
        syscall(SYS_setuid, spawn.user->uid) != 0) {
      _exit(126);
    }
  }
  // After the change of user, which clears it. SIGQUIT is PostgreSQL's "immediate shutdown", which takes its processes
  // and shared memory along.
  prctl(PR_SET_PDEATHSIG, SIGQUIT);
  if (getppid() != spawn.parent) _exit(125);
  execve(spawn.arguments[0], spawn.arguments, spawn.environment);
  constexpr std::string_view kMessage = "cannot execute the program (see the permissions of its folders)\n";
  [[maybe_unused]] auto const written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(127);
}

// True when the process has ended (and is reaped).
bool has_ended(pid_t pid, int* status = nullptr) {
  int ignored = 0;
  auto const result = waitpid(pid, status != nullptr ? status : &ignored, WNOHANG);
  return result == pid || (result < 0 && errno == ECHILD);
}

bool wait_until_ended(pid_t pid, std::chrono::seconds timeout, int* status = nullptr) {
  auto const deadline = Clock::now() + timeout;
  while (!has_ended(pid, status)) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

// The processes of a server are those that work in its data folder; a killed postmaster's orphans included.
std::vector<pid_t> processes_in(fs::path const& folder) {
  std::vector<pid_t> pids;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator("/proc", error)) {
    int const pid = leading_number(entry.path().filename().string());
    // A process that has ended (also unreaped) has no working folder.
    if (pid > 0 && fs::read_symlink(entry.path() / "cwd", error) == folder && !error) pids.push_back(pid);
  }
  return pids;
}

void kill_processes_in(fs::path const& folder) {
  auto const deadline = Clock::now() + kStopTimeout;
  for (;;) {
    auto const pids = processes_in(folder);
    if (pids.empty()) return;
    for (pid_t const pid : pids) kill(pid, SIGKILL);
    if (Clock::now() >= deadline) throw std::runtime_error(fmt::format("processes in {} do not die", folder.string()));
    std::this_thread::sleep_for(kPollInterval);
  }
}

std::vector<std::string> postmaster_pid_lines(fs::path const& data_dir) {
  std::vector<std::string> lines;
  std::ifstream in(data_dir / "postmaster.pid");
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Lines as of PostgreSQL's pidfile.h: the first is the process, the eighth its state.
bool is_ready(fs::path const& data_dir, pid_t pid) {
  auto const lines = postmaster_pid_lines(data_dir);
  return lines.size() >= 8 && lines[0] == std::to_string(pid) && lines[7].starts_with("ready");
}

// A killed server leaves its System V segment, which only its successor would remove; the seventh line names it.
void remove_shared_memory(fs::path const& data_dir) {
  auto const lines = postmaster_pid_lines(data_dir);
  if (lines.size() < 7) return;
  std::istringstream line(lines[6]);
  unsigned long key = 0;
  int id = -1;
  shmid_ds segment{};
  if (line >> key >> id && shmctl(id, IPC_STAT, &segment) == 0 && segment.shm_nattch == 0 &&
      static_cast<unsigned long>(static_cast<unsigned>(segment.shm_perm.__key)) == key) {
    shmctl(id, IPC_RMID, nullptr);
  }
}

// Everything of a cluster whose servers may still run.
void remove_cluster_dir(fs::path const& dir) {
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(dir, error)) {
    if (!entry.is_directory(error)) continue;
    kill_processes_in(entry.path());
    remove_shared_memory(entry.path());
  }
  fs::remove_all(dir, error);
}

// The lock on the file says that the owner lives: the kernel releases it with the process, however that ends.
int lock_owner_file(fs::path const& file) {
  int const descriptor = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (descriptor >= 0 && flock(descriptor, LOCK_EX | LOCK_NB) == 0) return descriptor;
  if (descriptor >= 0) close(descriptor);
  return -1;
}

// Removes what owners left that were killed.
void sweep(fs::path const& parent) {
  std::error_code error;
  for (auto const& entry : fs::directory_iterator(parent, error)) {
    if (!entry.path().filename().string().starts_with(kDirPrefix)) continue;
    struct stat status {};
    if (lstat(entry.path().c_str(), &status) != 0 || !S_ISDIR(status.st_mode) || status.st_uid != geteuid()) continue;
    auto const owner = entry.path() / kOwnerFile;
    if (!fs::exists(owner, error)) continue;
    int const lock = lock_owner_file(owner);
    if (lock < 0) continue;
    remove_cluster_dir(entry.path());
    close(lock);
  }
}

int stop_signal(StopMode mode) {
  switch (mode) {
    case StopMode::kSmart:
      return SIGTERM;
    case StopMode::kFast:
      return SIGINT;
    case StopMode::kImmediate:
      return SIGQUIT;
  }
  return SIGINT;
}

std::string setting_literal(std::string_view text) {
  std::string result = "'";
  for (char const c : text) {
    if (c == '\'') result += '\'';
    result += c;
  }
  return result + "'";
}

LocalClusterOptions completed(LocalClusterOptions options) {
  auto const is_name_char = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  if (!std::all_of(options.name.begin(), options.name.end(), is_name_char) || options.name.size() > 30) {
    throw std::runtime_error(
        fmt::format("cluster name '{}': up to 30 lower-case letters, digits and '-'", options.name));
  }
  if (options.bin_dir.empty()) {
    options.bin_dir = find_postgres_binaries();
  } else if (!has_binaries(options.bin_dir)) {
    throw std::runtime_error(fmt::format("no 'postgres' and 'initdb' in {}", options.bin_dir.string()));
  }
  if (options.parent_dir.empty()) {
    char const* tmp = std::getenv("TMPDIR");
    options.parent_dir = tmp != nullptr && *tmp != '\0' ? tmp : "/tmp";
  }
  options.parent_dir = fs::canonical(options.parent_dir);
  return options;
}

}  // namespace

fs::path find_postgres_binaries() {
  if (char const* dir = std::getenv("PGBACKFILL_PG_BIN"); dir != nullptr && *dir != '\0') {
    if (has_binaries(dir)) return dir;
    throw std::runtime_error(fmt::format("PGBACKFILL_PG_BIN={}: no 'postgres' and 'initdb' there", dir));
  }
  // libpq's development package brings pg_config without a server.
  if (fs::path const dir = pg_config_bindir(); has_binaries(dir)) return dir;
  fs::path newest;
  int newest_version = 0;
  std::error_code error;
  for (auto const& entry : fs::directory_iterator("/usr/lib/postgresql", error)) {
    int const version = leading_number(entry.path().filename().string());
    if (version <= newest_version || !has_binaries(entry.path() / "bin")) continue;
    newest_version = version;
    newest = entry.path() / "bin";
  }
  if (!newest.empty()) return newest;
  throw std::runtime_error(
      "no PostgreSQL server programs found: install them (apt-get install postgresql), or name their folder in "
      "PGBACKFILL_PG_BIN");
}

int free_loopback_port() {
  static thread_local std::mt19937 random{std::random_device{}()};
  std::uniform_int_distribution<int> ports(kPortMin, kPortMax);
  for (int attempt = 0; attempt < 100; ++attempt) {
    int const port = ports(random);
    int const probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (probe < 0) throw_errno("cannot create a socket");
    int const reuse = 1;  // as PostgreSQL does: a port with connections in TIME_WAIT is free
    setsockopt(probe, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof reuse);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool const is_free = bind(probe, reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0;
    close(probe);
    if (is_free) return port;
  }
  throw std::runtime_error(fmt::format("no free port between {} and {} on 127.0.0.1", kPortMin, kPortMax));
}

pid_t spawn_server(std::vector<std::string> const& arguments, fs::path const& log_file) {
  auto const environment = server_environment();
  auto const argument_pointers = pointers_to(arguments);
  auto const environment_pointers = pointers_to(environment);
  int const output = open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (output < 0) throw_errno(fmt::format("cannot write {}", log_file.string()));
  Spawn const spawn{argument_pointers.data(), environment_pointers.data(), server_user(), output, getpid()};
  pid_t const pid = fork();
  if (pid == 0) become_server(spawn);
  int const fork_errno = errno;
  close(output);
  errno = fork_errno;
  if (pid < 0) throw_errno(fmt::format("cannot start {}", arguments[0]));
  return pid;
}

void give_to_server_user(fs::path const& path) {
  auto const user = server_user();
  if (user && chown(path.c_str(), user->uid, user->gid) != 0) throw_errno(fmt::format("chown {}", path.string()));
}

LocalCluster::LocalCluster(LocalClusterOptions options)
    : options_(completed(std::move(options))), owner_pid_(getpid()) {
  sweep(options_.parent_dir);
  create_dir();
  try {
    create_databases();
  } catch (...) {
    remove_dir();
    throw;
  }
}

LocalCluster::~LocalCluster() {
  // A forked child's copy owns nothing.
  if (getpid() != owner_pid_) return;
  for (auto server = servers_.rbegin(); server != servers_.rend(); ++server) {
    try {
      stop_server(*server, StopMode::kImmediate);
    } catch (std::exception const&) {
      // remove_dir() kills what is left.
    }
  }
  remove_dir();
}

void LocalCluster::create_dir() {
  std::string pattern = options_.parent_dir / fmt::format("{}{}-XXXXXX", kDirPrefix, options_.name);
  if (mkdtemp(pattern.data()) == nullptr) throw_errno(fmt::format("cannot create {}", pattern));
  dir_ = pattern;
  // The servers' user passes through, and sees only its own folders.
  chmod(dir_.c_str(), 0711);
  // Renamed when locked: a sweep never finds it unlocked while its owner lives.
  auto const unlocked = dir_ / "owner.new";
  owner_lock_ = lock_owner_file(unlocked);
  if (owner_lock_ < 0) throw_errno(fmt::format("cannot lock {}", unlocked.string()));
  auto const text = fmt::format("{}\n", owner_pid_);
  [[maybe_unused]] auto const written = write(owner_lock_, text.data(), text.size());
  fs::rename(unlocked, dir_ / kOwnerFile);
}

void LocalCluster::remove_dir() {
  try {
    remove_cluster_dir(dir_);
  } catch (std::exception const& error) {
    fmt::print(stderr, "{} is left behind: {}\n", dir_.string(), error.what());
  }
  close(owner_lock_);
}

// A replica starts from a copy of the primary's folder before its first start: no base backup is needed, whose program
// some distributions of the server leave out.
void LocalCluster::create_databases() {
  auto const make_dir = [this](std::string const& name) {
    fs::create_directory(dir_ / name);
    give_to_server_user(dir_ / name);
    fs::permissions(dir_ / name, fs::perms::owner_all);
    return dir_ / name;
  };
  make_dir("socket");
  auto const version_text = run_tool({options_.bin_dir / "postgres", "--version"});
  // Before it may stand a warning, of a working folder that the servers' user may not read.
  constexpr std::string_view kBeforeVersion = "(PostgreSQL) ";
  auto const begin = version_text.find(kBeforeVersion);
  major_version_ = begin == std::string::npos ? 0 : leading_number(version_text.substr(begin + kBeforeVersion.size()));

  servers_.push_back({"primary", make_dir("primary"), dir_ / "primary.log"});
  if (options_.has_password) create_password();
  run_tool(initdb_arguments());
  fs::remove(password_for_initdb());
  std::ofstream(data_dir() / "postgresql.conf", std::ios::app) << "\ninclude = 'pgbackfill.conf'\n";
  for (int replica = 0; replica < options_.replicas; ++replica) {
    auto const name = fmt::format("replica-{}", replica);
    servers_.push_back({name, make_dir(name), dir_ / (name + ".log")});
    run_tool({"/bin/cp", "-a", data_dir().string() + "/.", servers_.back().data_dir});
    run_tool({"/bin/touch", servers_.back().data_dir / "standby.signal"});
  }
}

void LocalCluster::create_password() {
  password_ = random_password();
  write_secret(dir_ / kPassfile, fmt::format("*:*:*:postgres:{}\n", password_));
  write_secret(password_for_initdb(), password_ + "\n");
  give_to_server_user(password_for_initdb());
}

// In a folder of the servers' user, which runs initdb.
fs::path LocalCluster::password_for_initdb() const {
  return dir_ / "socket" / "password";
}

std::vector<std::string> LocalCluster::initdb_arguments() const {
  std::vector<std::string> arguments = {
      options_.bin_dir / "initdb", "-D", data_dir(), "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"};
  if (password_.empty()) {
    arguments.insert(arguments.end(), {"-A", "trust"});
  } else {
    arguments.insert(arguments.end(), {"-A", "scram-sha-256", "--pwfile", password_for_initdb()});
  }
  return arguments;
}

void LocalCluster::start() {
  for (auto& server : servers_) start_server(server);
}

void LocalCluster::stop(StopMode mode) {
  for (auto server = servers_.rbegin(); server != servers_.rend(); ++server) stop_server(*server, mode);
}

void LocalCluster::start_primary() {
  start_server(servers_.front());
}

void LocalCluster::stop_primary(StopMode mode) {
  stop_server(servers_.front(), mode);
}

void LocalCluster::restart_primary(StopMode mode) {
  stop_primary(mode);
  start_primary();
}

void LocalCluster::kill9() {
  auto& primary = servers_.front();
  if (!is_running(primary)) return;
  // Stopped first and killed last, so that no process hears of another's end and still says or writes something.
  kill(primary.pid, SIGSTOP);
  for (pid_t const pid : processes_in(primary.data_dir)) {
    if (pid != primary.pid) kill(pid, SIGKILL);
  }
  kill(primary.pid, SIGKILL);
  kill_processes_in(primary.data_dir);
  wait_until_ended(primary.pid, kStopTimeout);
  primary.pid = 0;
}

// Forgets a process that has ended by itself, whose number may already be somebody else's.
bool LocalCluster::is_running(Server& server) {
  if (server.pid != 0 && has_ended(server.pid)) server.pid = 0;
  return server.pid != 0;
}

void LocalCluster::start_replica(int replica) {
  start_server(replica_at(replica));
}

void LocalCluster::stop_replica(int replica, StopMode mode) {
  stop_server(replica_at(replica), mode);
}

void LocalCluster::promote_replica(int replica) {
  run_tool({options_.bin_dir / "pg_ctl", "promote", "-w", "-D", replica_data_dir(replica)});
}

void LocalCluster::start_server(Server& server) {
  if (is_running(server)) return;
  auto const log_begin = file_bytes(server.log_file);
  bool const is_port_free_to_change = server.port == 0;
  int attempts = 0;
  while (!try_start_server(server, is_port_free_to_change)) {
    if (++attempts >= kPortAttempts) {
      throw std::runtime_error(
          fmt::format("the {} found no free port\n{}", server.name, file_tail(server.log_file, kLogTailBytes)));
    }
  }
  if (fs::exists(server.data_dir / "standby.signal")) wait_until_streaming(server, log_begin);
}

// False when somebody else took the port meanwhile.
bool LocalCluster::try_start_server(Server& server, bool is_port_free_to_change) {
  if (is_port_free_to_change) server.port = free_loopback_port();
  write_settings(server);
  auto const log_begin = file_bytes(server.log_file);
  server.pid = spawn_server({options_.bin_dir / "postgres", "-D", server.data_dir}, server.log_file);
  auto const deadline = Clock::now() + kStartTimeout;
  while (!is_ready(server.data_dir, server.pid)) {
    bool const is_late = Clock::now() >= deadline;
    if (is_late) {
      kill(server.pid, SIGQUIT);
      wait_until_ended(server.pid, kStopTimeout);
    }
    if (is_late || !is_running(server)) {
      server.pid = 0;
      auto const log = text_since(server.log_file, log_begin);
      if (is_port_free_to_change && log.find("Address already in use") != std::string::npos) return false;
      throw std::runtime_error(fmt::format(
          "the {} {} (programs: {}; data: {}). Its log says why; settings and free disk and memory are the usual "
          "reasons.\n{}",
          server.name, is_late ? "did not get ready in time" : "did not start", options_.bin_dir.string(),
          server.data_dir.string(), file_tail(server.log_file, std::min(log.size(), kLogTailBytes))));
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

// A replica may be started while its primary is down, and then has nothing to stream.
void LocalCluster::wait_until_streaming(Server& server, std::size_t log_begin) {
  auto const deadline = Clock::now() + kStartTimeout;
  while (text_since(server.log_file, log_begin).find("started streaming WAL") == std::string::npos) {
    if (!is_running(servers_.front())) return;
    if (!is_running(server) || Clock::now() >= deadline) {
      throw std::runtime_error(fmt::format("the {} does not stream from its primary; its log says why.\n{}",
                                           server.name, file_tail(server.log_file, kLogTailBytes)));
    }
    std::this_thread::sleep_for(kPollInterval);
  }
}

void LocalCluster::stop_server(Server& server, StopMode mode) {
  if (!is_running(server)) return;
  kill(server.pid, stop_signal(mode));
  if (!wait_until_ended(server.pid, kStopTimeout)) {
    throw std::runtime_error(
        fmt::format("the {} does not stop; sessions may still be open: stop it with a harder "
                    "mode.\n{}",
                    server.name, file_tail(server.log_file, kLogTailBytes)));
  }
  server.pid = 0;
}

void LocalCluster::write_settings(Server const& server) const {
  auto const file = server.data_dir / "pgbackfill.conf";
  write_file(file, settings(server));
  give_to_server_user(file);
}

std::string LocalCluster::settings(Server const& server) const {
  auto const socket_dir = (dir_ / "socket").string();
  std::vector<std::string> lines = {
      "listen_addresses = '127.0.0.1'",
      fmt::format("port = {}", server.port),
      fmt::format("unix_socket_directories = {}",
                  setting_literal(socket_dir.size() <= kSocketDirLengthMax ? socket_dir : "")),
      fmt::format("cluster_name = '{}-{}'", options_.name, server.name),
      "shared_buffers = 128MB",
      "max_connections = 100",
      "max_prepared_transactions = 5",
      "max_wal_size = 2GB",
      "wal_keep_size = 1GB",  // a replica may be down for a while: there are no slots
      fmt::format("wal_level = {}", options_.wal_level),
      fmt::format("fsync = {}", options_.is_fsync_on ? "on" : "off"),
      "autovacuum = on",
      "wal_retrieve_retry_interval = 100ms",
      // Segments in the data folder go with it; those in /dev/shm would outlive a killed server.
      "dynamic_shared_memory_type = mmap",
      "log_line_prefix = '%m [%p] %q%u@%d '",
      "lc_messages = 'C'",
      "password_encryption = 'scram-sha-256'",
  };
  bool const is_replica = &server != &servers_.front();
  if (is_replica) {
    std::string const password = password_.empty() ? "" : " password=" + password_;
    lines.push_back(fmt::format("primary_conninfo = 'host=127.0.0.1 port={} user=postgres application_name={}{}'",
                                servers_.front().port, server.name, password));
  }
  lines.insert(lines.end(), options_.primary_settings.begin(), options_.primary_settings.end());
  if (is_replica) lines.insert(lines.end(), options_.replica_settings.begin(), options_.replica_settings.end());
  return fmt::format("{}\n", fmt::join(lines, "\n"));
}

// Runs a program as the servers' user to its end; returns what it printed.
std::string LocalCluster::run_tool(std::vector<std::string> const& arguments) {
  auto const log_file = dir_ / "tools.log";
  auto const log_begin = file_bytes(log_file);
  int status = 0;
  pid_t const pid = spawn_server(arguments, log_file);
  if (!wait_until_ended(pid, kToolTimeout, &status)) {
    kill(pid, SIGKILL);
    wait_until_ended(pid, kStopTimeout, &status);
  }
  auto output = text_since(log_file, log_begin);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return output;
  throw std::runtime_error(
      fmt::format("{} failed. The folders of the programs and of the data ({}) must be open to the user that runs "
                  "them.\n{}",
                  fmt::join(arguments, " "), options_.parent_dir.string(), output));
}

LocalCluster::Server& LocalCluster::replica_at(int replica) {
  return servers_.at(static_cast<std::size_t>(replica) + 1);
}

LocalCluster::Server const& LocalCluster::replica_at(int replica) const {
  return servers_.at(static_cast<std::size_t>(replica) + 1);
}

std::string LocalCluster::dsn() const {
  return dsn_of("127.0.0.1", std::to_string(port()));
}

std::string LocalCluster::replica_dsn(int replica) const {
  return dsn_of("127.0.0.1", std::to_string(replica_port(replica)));
}

std::string LocalCluster::dsn_of(std::string const& hosts, std::string const& ports) const {
  std::string const passfile_word = password_.empty() ? "" : " passfile=" + setting_literal(passfile().string());
  return fmt::format("host={} port={} user=postgres dbname=postgres{}", hosts, ports, passfile_word);
}

fs::path LocalCluster::passfile() const {
  return password_.empty() ? fs::path() : dir_ / kPassfile;
}

std::string LocalCluster::multi_host_dsn() const {
  std::vector<std::string> hosts;
  std::vector<int> ports;
  for (auto const& server : servers_) {
    hosts.emplace_back("127.0.0.1");
    ports.push_back(server.port);
  }
  return dsn_of(fmt::format("{}", fmt::join(hosts, ",")), fmt::format("{}", fmt::join(ports, ","))) +
         " target_session_attrs=read-write";
}

int LocalCluster::port() const {
  return servers_.front().port;
}

int LocalCluster::replica_port(int replica) const {
  return replica_at(replica).port;
}

pid_t LocalCluster::postmaster_pid() const {
  return servers_.front().pid;
}

pid_t LocalCluster::replica_postmaster_pid(int replica) const {
  return replica_at(replica).pid;
}

fs::path LocalCluster::data_dir() const {
  return servers_.front().data_dir;
}

fs::path LocalCluster::replica_data_dir(int replica) const {
  return replica_at(replica).data_dir;
}

std::string LocalCluster::log_text(std::size_t last_bytes) const {
  return file_tail(servers_.front().log_file, last_bytes);
}

std::string LocalCluster::replica_log_text(int replica, std::size_t last_bytes) const {
  return file_tail(replica_at(replica).log_file, last_bytes);
}

}  // namespace pgbackfill::engine
