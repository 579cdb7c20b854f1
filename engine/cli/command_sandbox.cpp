// sandbox: a throwaway primary with replicas, until ^C or for the length of one command.
//
// Servers are tied to the thread that starts them, so everything here is on the main thread.

#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <iostream>
#include <thread>

#include "engine/base/command_error.h"
#include "engine/base/exec_pointers.h"
#include "engine/base/percent_encoding.h"
#include "engine/base/text.h"
#include "engine/cli/commands.h"
#include "engine/sandbox/local_cluster.h"
#include "engine/state/typed_rows.h"
#include "engine/view/console.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

constexpr std::int64_t kChunkRows = 50'000;
constexpr auto kBetweenLines = 5s;
constexpr auto kLookInterval = 100ms;
constexpr auto kReplayPatience = 60s;
constexpr Deadlines kPatient{600s, 600s};
constexpr int kNotFound = 127;
constexpr int kSignalBase = 128;

// A signal handler can reach nothing else.
std::atomic<int> caught_signal = 0;
std::atomic<pid_t> running_child = 0;

extern "C" void on_signal(int number, siginfo_t* info, void* /*context*/) {
  caught_signal = number;
  pid_t const child = running_child;
  // A terminal sends ^C to the command as well: passing it on would make it two.
  bool const is_of_terminal = info->si_code > 0;
  if (child > 0 && !is_of_terminal) kill(child, number);
}

sigset_t heeded_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int const number : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

void heed_signals() {
  struct sigaction action {};
  action.sa_sigaction = &on_signal;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  action.sa_mask = heeded_signals();
  for (int const number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
}

// With the file of its password and not the password: command lines are for everybody to read.
std::string url_of(LocalCluster const& cluster, int port) {
  return fmt::format("postgresql://postgres@127.0.0.1:{}/postgres?passfile={}", port,
                     percent_encoded(cluster.passfile().string(), "/-._~"));
}

milliseconds since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin);
}

// --- The table to play with ------------------------------------------------------------------------------------------

constexpr char kCreateTable[] =
    "CREATE TABLE public.users (id bigint PRIMARY KEY, name text NOT NULL, display_name text, created_at timestamptz "
    "NOT NULL DEFAULT now(), n int NOT NULL DEFAULT 0, about text NOT NULL)";

std::string insert_rows(std::int64_t first, std::int64_t last) {
  return fmt::format(
      "INSERT INTO public.users (id, name, created_at, about) SELECT id, 'user ' || id, now() - id * interval '1 "
      "second', repeat(md5(id::text), 4) FROM generate_series({}::bigint, {}::bigint) AS id",
      first, last);
}

class FillReport {
 public:
  FillReport(std::int64_t rows, bool is_shown) : rows_(rows), is_shown_(is_shown), is_terminal_(isatty(2) != 0) {}

  void tell(std::int64_t done) {
    auto const now = std::chrono::steady_clock::now();
    if (!is_shown_ || (!is_terminal_ && now - told_ < kBetweenLines)) return;
    told_ = now;
    double const seconds = std::chrono::duration<double>(now - began_).count();
    std::cerr << (is_terminal_ ? "\r" : "")
              << fmt::format("filling public.users: {} of {} rows, {}", human_count(done), human_count(rows_),
                             human_rate(static_cast<double>(done) / std::max(seconds, 1e-3)))
              << (is_terminal_ ? "\x1b[K" : "\n") << std::flush;
  }
  void end() const {
    if (is_shown_ && is_terminal_) std::cerr << "\r\x1b[K" << std::flush;
  }

 private:
  std::int64_t rows_;
  bool is_shown_;
  bool is_terminal_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point told_ = began_;
};

asio::awaitable<void> wait_for_replicas(PgConnection& connection) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  auto const began = std::chrono::steady_clock::now();
  while (caught_signal == 0 && since(began) < kReplayPatience) {
    std::string statement =
        "SELECT coalesce(bool_and(replay_lsn >= pg_current_wal_flush_lsn()), true) FROM pg_stat_replication";
    auto const behind = value_or_throw(co_await connection.query(std::move(statement), Deadlines()), "asking for lag");
    if (state::value_as<bool>(behind)) co_return;
    boost::system::error_code error;
    timer.expires_after(kLookInterval);
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  }
}

asio::awaitable<int> fill(CommandContext& context, std::string dsn, std::int64_t rows) {
  ConnectTarget target;
  target.conninfo = std::move(dsn);
  auto opened = co_await PgConnection::open(std::move(target), context.blocking());
  auto const connection = value_or_throw(std::move(opened), "connecting to the sandbox");
  value_or_throw(co_await connection->script("SET synchronous_commit = off", Deadlines()), "filling the sandbox");
  value_or_throw(co_await connection->script(kCreateTable, Deadlines()), "making public.users");
  FillReport report(rows, context.options().show_progress);
  for (std::int64_t done = 0; done < rows && caught_signal == 0;) {
    std::int64_t const last = std::min(done + kChunkRows, rows);
    std::string statement = insert_rows(done + 1, last);
    value_or_throw(co_await connection->query(std::move(statement), kPatient),
                   "filling public.users (is there disk space left)");
    done = last;
    report.tell(done);
  }
  if (caught_signal == 0) {
    value_or_throw(co_await connection->script("VACUUM (ANALYZE) public.users", kPatient), "vacuuming public.users");
    co_await wait_for_replicas(*connection);
  }
  report.end();
  co_return kExitDone;
}

// --- What is said ----------------------------------------------------------------------------------------------------

struct Filled {
  std::int64_t rows = 0;
  milliseconds took{0};
};

std::string servers_text(LocalCluster const& cluster) {
  int const replicas = cluster.replicas();
  std::string const with = replicas == 0   ? ""
                           : replicas == 1 ? " and 1 replica"
                                           : fmt::format(" and {} replicas", replicas);
  return fmt::format("PostgreSQL {}: a primary{}", cluster.major_version(), with);
}

std::string try_text(bool has_rows) {
  std::string text = "Try it in another terminal, after the export line:\n\n";
  if (has_rows) {
    text +=
        "cat > users.yaml <<'END'\n"
        "name: users_display_name\n"
        "table: public.users\n"
        "backfill:\n"
        "  set: {display_name: \"upper(name)\"}\n"
        "  where: \"display_name IS NULL\"\n"
        "END\n"
        "pgbackfill plan users.yaml\n"
        "pgbackfill run users.yaml\n"
        "psql \"$DATABASE_URL\" -c 'SELECT id, name, display_name FROM users LIMIT 3'\n";
  }
  text += "pgbackfill status\npgbackfill doctor\n";
  if (!has_rows) text += "\n`pgbackfill sandbox --rows 1000000` comes with a table public.users to backfill.\n";
  return text;
}

std::string ready_text(LocalCluster const& cluster, Filled const& filled) {
  std::string text = servers_text(cluster) + ", for this machine and this user only.\n\n";
  text += fmt::format("export DATABASE_URL={}\n\n", url_of(cluster, cluster.port()));
  for (int replica = 0; replica < cluster.replicas(); ++replica) {
    text += fmt::format("  replica  {}\n", url_of(cluster, cluster.replica_port(replica)));
  }
  text += fmt::format("  folder   {}\n", cluster.dir().string());
  text += fmt::format("  password {}, for what does not know passfile=\n", cluster.passfile().string());
  if (filled.rows > 0) {
    text += fmt::format("  table    public.users: {} rows, filled in {}\n", human_count(filled.rows),
                        human_duration(filled.took));
  }
  return text + "\n" + try_text(filled.rows > 0) + "\n^C stops the servers and removes everything.\n";
}

boost::json::object ready_json(LocalCluster const& cluster, Filled const& filled) {
  boost::json::array replicas;
  for (int replica = 0; replica < cluster.replicas(); ++replica) {
    replicas.emplace_back(url_of(cluster, cluster.replica_port(replica)));
  }
  boost::json::object object;
  object["dsn"] = url_of(cluster, cluster.port());
  object["replica_dsns"] = std::move(replicas);
  object["dir"] = cluster.dir().string();
  object["passfile"] = cluster.passfile().string();
  object["pid"] = getpid();
  object["postmaster_pid"] = cluster.postmaster_pid();
  object["server_major"] = cluster.major_version();
  object["rows"] = filled.rows;
  object["fill_ms"] = filled.took.count();
  return object;
}

// --- The command -----------------------------------------------------------------------------------------------------

std::vector<std::string> environment_with(LocalCluster const& cluster) {
  std::vector<std::pair<std::string, std::string>> added = {{"DATABASE_URL", url_of(cluster, cluster.port())},
                                                            {"PGBACKFILL_SANDBOX_DIR", cluster.dir().string()}};
  if (cluster.replicas() > 0)
    added.emplace_back("PGBACKFILL_SANDBOX_REPLICA_URL", url_of(cluster, cluster.replica_port(0)));
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view const text(*entry);
    // The variable of our own would win over the one that is added.
    bool const is_replaced = text.starts_with("DATABASE_URL=") || text.starts_with("PGBACKFILL_DATABASE_URL=") ||
                             text.starts_with("PGBACKFILL_SANDBOX_");
    if (!is_replaced) environment.emplace_back(text);
  }
  for (auto const& [name, value] : added) environment.push_back(name + "=" + value);
  return environment;
}

[[noreturn]] void become(char** arguments, char** environment, sigset_t const& mask) {
  for (int const number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execvpe(arguments[0], arguments, environment);
  _exit(kNotFound);
}

int exit_code_of(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  running_child = 0;
  return WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
}

// In our own process group, so that the terminal's ^C and ^Z mean the command as they would without us.
int run_in_sandbox(LocalCluster const& cluster, std::vector<std::string> command) {
  auto environment = environment_with(cluster);
  auto const arguments = pointers_to(command);
  auto const variables = pointers_to(environment);
  std::cout << std::flush;
  sigset_t const heeded = heeded_signals();
  sigset_t before;
  // A signal between the fork and the note of the child's number would be lost to it.
  sigprocmask(SIG_BLOCK, &heeded, &before);
  pid_t const child = caught_signal != 0 ? 0 : fork();
  if (child == 0 && caught_signal == 0) {
    become(const_cast<char**>(arguments.data()), const_cast<char**>(variables.data()), before);
  }
  running_child = std::max(child, 0);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  if (child < 0) throw std::runtime_error(fmt::format("cannot start {}: {}", command.front(), strerror(errno)));
  if (child == 0) return kSignalBase + caught_signal;
  int const code = exit_code_of(child);
  if (code == kNotFound) std::cerr << command.front() << ": not found, or it ended with exit code 127\n";
  return code;
}

bool has_ended(pid_t pid) {
  siginfo_t info{};
  return waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

int wait_for_signal(LocalCluster const& cluster) {
  while (caught_signal == 0) {
    if (has_ended(cluster.postmaster_pid())) {
      std::cerr << "the primary ended by itself; the end of its log:\n" << cluster.log_text();
      return kExitFailed;
    }
    std::this_thread::sleep_for(kLookInterval);
  }
  return kExitDone;
}

void say_ready(CommandContext& context, LocalCluster const& cluster, Filled const& filled, bool has_command) {
  if (!has_command) {
    return context.is_json() ? context.print(ready_json(cluster, filled)) : context.print(ready_text(cluster, filled));
  }
  // Standard output belongs to the command.
  if (!context.options().show_progress) return;
  std::string const rows = filled.rows > 0 ? fmt::format(", public.users with {} rows filled in {}",
                                                         human_count(filled.rows), human_duration(filled.took))
                                           : "";
  std::cerr << servers_text(cluster) << " at " << url_of(cluster, cluster.port()) << rows << '\n';
}

int stay(CommandContext& context, SandboxOptions const& options) {
  LocalClusterOptions cluster_options;
  cluster_options.replicas = options.replicas;
  cluster_options.bin_dir = options.bin_dir;
  cluster_options.has_password = true;
  bool const is_told = context.options().show_progress && !context.is_json();
  if (is_told) std::cerr << "starting " << counted(options.replicas + 1, "server", "servers") << " ...\n";
  LocalCluster cluster(cluster_options);
  if (caught_signal == 0) cluster.start();
  Filled filled;
  if (options.rows > 0 && caught_signal == 0) {
    auto const began = std::chrono::steady_clock::now();
    int const code = context.run(fill(context, cluster.dsn(), options.rows));
    // The command that filled it had signals for itself.
    heed_signals();
    if (code != kExitDone) return code;
    filled = {options.rows, since(began)};
  }
  if (caught_signal != 0) return kSignalBase + caught_signal;
  say_ready(context, cluster, filled, !options.command.empty());
  if (!options.command.empty()) return run_in_sandbox(cluster, options.command);
  int const code = wait_for_signal(cluster);
  if (!context.is_json()) context.print("\nstopping the servers\n");
  return code;
}

}  // namespace

int sandbox_command(CommandContext& context, SandboxOptions const& options) {
  heed_signals();
  try {
    return stay(context, options);
  } catch (std::exception const& error) {
    std::cerr << "pgbackfill: the sandbox: " << error.what() << '\n';
    return kExitFailed;
  }
}

}  // namespace pgbackfill::engine
