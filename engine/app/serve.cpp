#include "engine/app/serve.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/ip/address.hpp>
#include <boost/system/system_error.hpp>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "engine/app/state_watch.h"
#include "engine/base/text.h"
#include "engine/pg/stoppable_sleep.h"
#include "engine/tell/teller.h"
#include "engine/web/access.h"
#include "engine/web/signature.h"
#include "engine/web/site.h"

namespace pgbackfill::engine {

namespace {

using namespace std::chrono_literals;

constexpr char kProgram[] = "pgbackfill " PGBACKFILL_VERSION;
constexpr std::size_t kShortestToken = 16;
constexpr std::size_t kMostTokens = 1'000;
constexpr auto kGlance = 200ms;
// Forms are short; the longest text of one is a reason.
constexpr std::size_t kMostBody = 16 * 1024;
constexpr int kConnections = 256;
constexpr int kStreams = 200;

bool is_loopback(std::string const& host) {
  if (host == "localhost") return true;
  boost::system::error_code error;
  auto const address = boost::asio::ip::make_address(host, error);
  return !error && address.is_loopback();
}

CommandError usage(std::string text) {
  return CommandError{kExitUsage, std::move(text)};
}

// A line each: NAME TOKEN, or a token alone; '#' begins a comment.
std::vector<NamedToken> read_tokens(std::string const& file) {
  std::ifstream stream(file);
  if (!stream) throw usage(neutralised(file) + ": cannot be read; --token-file has a line NAME TOKEN for each person");
  struct stat found {};
  bool const is_open_to_all = stat(file.c_str(), &found) == 0 && (found.st_mode & S_IWOTH) != 0;
  if (is_open_to_all) throw usage(neutralised(file) + ": everybody may write to it; chmod o-w it first");
  std::vector<NamedToken> tokens;
  int number = 0;
  for (std::string line; std::getline(stream, line) && tokens.size() < kMostTokens;) {
    ++number;
    std::istringstream words(line);
    std::string first;
    std::string second;
    std::string more;
    words >> first >> second >> more;
    if (first.empty() || first.front() == '#') continue;
    auto const token = second.empty() ? NamedToken{"token", first} : NamedToken{first, second};
    auto const refuse = [&](char const* why) { throw usage(fmt::format("{}:{}: {}", neutralised(file), number, why)); };
    if (!more.empty()) refuse("a line is NAME TOKEN, both without blanks");
    if (token.token.size() < kShortestToken) {
      refuse("the token has less than 16 characters, which can be guessed; `openssl rand -hex 16` makes one");
    }
    tokens.push_back(token);
  }
  if (tokens.empty()) throw usage(neutralised(file) + ": has no token; a line is NAME TOKEN");
  return tokens;
}

std::string own_host() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::optional<TlsFiles> tls_of(ServeOptions const& options) {
  auto const& tls = options.tls;
  bool const has_some = !tls.certificate.empty() || !tls.key.empty() || !tls.client_ca.empty();
  if (!has_some) return std::nullopt;
  if (tls.certificate.empty() || tls.key.empty()) throw usage("TLS needs both --tls-cert and --tls-key");
  return tls;
}

void require_safety(ServeOptions const& options) {
  bool const has_tls = !options.tls.certificate.empty();
  bool const knows_people = !options.token_file.empty() || !options.tls.client_ca.empty();
  if (options.allow_control && !knows_people) {
    throw usage("--allow-control needs to know who asks: --token-file FILE, or --tls-client-ca FILE for certificates");
  }
  if (options.is_private && !knows_people) {
    throw usage("--private needs to know who asks: --token-file FILE, or --tls-client-ca FILE for certificates");
  }
  bool const is_safe = has_tls || options.is_behind_tls_proxy || is_loopback(options.listen.host);
  if (knows_people && !is_safe) {
    throw usage(
        fmt::format("tokens would be sent to {} as plain text: give --tls-cert and --tls-key, or "
                    "--behind-tls-proxy where TLS ends before it, or listen on 127.0.0.1",
                    options.listen.host));
  }
}

AccessTerms access_of(ServeOptions const& options) {
  AccessTerms access;
  access.allows_control = options.allow_control;
  access.is_private = options.is_private;
  access.is_https = !options.tls.certificate.empty() || options.is_behind_tls_proxy;
  access.hosts = options.hosts;
  access.hosts.push_back(options.listen.host);
  access.hosts.push_back(own_host());
  if (!options.token_file.empty()) access.tokens = read_tokens(options.token_file);
  access.secret = random_secret();
  return access;
}

std::vector<WatchedDatabase> databases_of(CommandContext& context, ServeOptions const& options) {
  std::vector<WatchedDatabase> databases;
  std::vector<std::string> labels;
  auto const add = [&](std::string conninfo) {
    WatchedDatabase one{label_of(conninfo, labels), context.options()};
    one.options.dsn = std::move(conninfo);
    labels.push_back(one.label);
    databases.push_back(std::move(one));
  };
  for (auto const& dsn : options.dsns) add(context.read_conninfo(dsn, "--dsn"));
  if (!databases.empty()) return databases;
  context.config();  // throws what is wrong with it
  auto const& usual = context.options().dsn;
  add(usual.empty() ? usual : context.read_conninfo(usual, "the connection string"));
  return databases;
}

class Server {
 public:
  Server(CommandContext& context, ServeOptions options)
      : context_(context), options_(std::move(options)), teller_(context.teller_options()) {}

  asio::awaitable<int> go() {
    start();
    std::function<bool()> const is_over = [this] { return context_.interrupts().is_asked(); };
    while (!is_over()) co_await sleep_unless_stopped(kGlance, is_over);
    server_.reset();
    watch_->stop();
    co_return kExitDone;
  }

 private:
  void start() {
    require_safety(options_);
    auto const tls = tls_of(options_);
    Access access(access_of(options_));
    WatchTerms terms{kProgram, options_.show_values, options_.allow_control};
    watch_ = StateWatch::start(context_.io(), databases_of(context_, options_), std::move(terms));
    auto site = std::make_shared<Site>(watch_, std::move(access), SiteTerms{kProgram, options_.show_values});
    HttpTerms http;
    http.connections_max = kConnections;
    http.streams_max = kStreams;
    http.body_bytes_max = kMostBody;
    http.tls = tls;
    try {
      server_.emplace(context_.io(), options_.listen, handler_of_site(std::move(site)), std::move(http));
    } catch (boost::system::system_error const& error) {
      throw usage(fmt::format("cannot listen on {}: {}", to_string(options_.listen), error.code().message()));
    } catch (TlsProblem const& problem) {
      throw usage(problem.text);
    }
    ListenAddress const address{options_.listen.host, server_->port()};
    teller_.emit(log_line(Severity::kInfo, fmt::format("pages: {}://{}/{}", tls ? "https" : "http", to_string(address),
                                                       options_.allow_control ? "" : " (read-only)")));
  }

  CommandContext& context_;
  ServeOptions options_;
  Teller teller_;
  std::shared_ptr<StateWatch> watch_;
  std::optional<HttpServer> server_;
};

}  // namespace

asio::awaitable<int> serve(CommandContext& context, ServeOptions options) {
  Server server(context, std::move(options));
  co_return co_await server.go();
}

HttpHandler pages_of_run(asio::io_context& io, CommonOptions options, ListenAddress const& listen) {
  std::vector<WatchedDatabase> databases;
  std::string label = label_of(options.dsn, {});
  databases.push_back({std::move(label), std::move(options)});
  AccessTerms access;
  access.hosts = {listen.host, own_host()};
  access.secret = random_secret();
  auto watch = StateWatch::start(io, std::move(databases), WatchTerms{kProgram, false, false});
  return handler_of_site(
      std::make_shared<Site>(std::move(watch), Access(std::move(access)), SiteTerms{kProgram, false}));
}

}  // namespace pgbackfill::engine
