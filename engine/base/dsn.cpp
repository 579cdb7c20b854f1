#include "engine/base/dsn.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "engine/base/percent_encoding.h"
#include "planner/model/sql_text.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kMostNameBytes = 63;
constexpr std::string_view kBlanks = " \t\r\n";
constexpr char kHowToWrite[] = "write postgresql://user@host:port/dbname";
constexpr char kEncode[] =
    "user, password or database name has a character that means something else in a URL; write '@' as %40, '/' as "
    "%2F, '?' as %3F, '#' as %23 and '%' as %25";

struct Renamed {
  std::string_view name;
  std::string_view keyword;
};

constexpr std::array kPrefixes = {std::string_view("postgresql"), std::string_view("postgres"),
                                  std::string_view("postgis"), std::string_view("pgsql"), std::string_view("ecto")};

// Under another name at libpq.
constexpr Renamed kRenamed[] = {{"ApplicationName", "application_name"}, {"channelBinding", "channel_binding"},
                                {"connectTimeout", "connect_timeout"},   {"gssEncMode", "gssencmode"},
                                {"loginTimeout", "connect_timeout"},     {"username", "user"}};

// Settings of the session, which libpq takes in `options`.
constexpr Renamed kSettings[] = {
    {"currentSchema", "search_path"}, {"schema_search_path", "search_path"},
    {"search_path", "search_path"},   {"statement_timeout", "statement_timeout"},
    {"lock_timeout", "lock_timeout"}, {"idle_in_transaction_session_timeout", "idle_in_transaction_session_timeout"},
    {"timezone", "TimeZone"},         {"TimeZone", "TimeZone"},
    {"datestyle", "DateStyle"},       {"DateStyle", "DateStyle"}};

// About pools, caches, logs and types of the other tool: nothing of it decides where a session is or what it may do.
constexpr std::string_view kLeftOut[] = {
    // Prisma
    "connection_limit", "max_connection_lifetime", "max_idle_connection_lifetime", "pgbouncer", "pool_timeout",
    "single_use_connections", "socket_timeout", "statement_cache_size",
    // SQLAlchemy, asyncpg, psycopg, pg8000, Django
    "async_fallback", "autocommit", "command_timeout", "conn_health_checks", "conn_max_age",
    "executemany_batch_page_size", "executemany_mode", "executemany_values_page_size", "isolation_level",
    "max_cacheable_statement_size", "max_cached_statement_lifetime", "max_overflow", "pool_pre_ping", "pool_recycle",
    "pool_size", "prepare_threshold", "prepared_statement_cache_size", "prepared_statement_name_func",
    "server_settings", "tcp_keepalive", "timeout", "use_native_unicode",
    // JDBC and its pools
    "adaptiveFetch", "adaptiveFetchMaximum", "adaptiveFetchMinimum", "allowEncodingChanges", "assumeMinServerVersion",
    "autosave", "binaryTransfer", "binaryTransferDisable", "binaryTransferEnable", "cancelSignalTimeout", "charSet",
    "characterEncoding", "cleanupSavepoints", "databaseMetadataCacheFields", "databaseMetadataCacheFieldsMiB",
    "defaultRowFetchSize", "disableColumnSanitiser", "escapeSyntaxCallMode", "groupStartupParameters",
    "hideUnprivilegedObjects", "hostRecheckSeconds", "loadBalanceHosts", "logServerErrorDetail",
    "logUnclosedConnections", "loggerFile", "loggerLevel", "maxResultBuffer", "preferQueryMode", "prepareThreshold",
    "preparedStatementCacheQueries", "preparedStatementCacheSizeMiB", "protocolVersion", "quoteReturningIdentifiers",
    "reWriteBatchedInserts", "receiveBufferSize", "sendBufferSize", "socketTimeout", "stringtype", "unknownLength",
    "useUnicode", "xmlFactoryFactory",
    // Rails
    "advisory_locks", "checkout_timeout", "encoding", "idle_timeout", "max_threads", "pool", "prepared_statements",
    "reaping_frequency", "reconnect",
    // Go, Node.js, Rust
    "binary_parameters", "connectionTimeoutMillis", "default_query_exec_mode", "description_cache_capacity",
    "idleTimeoutMillis", "load_balance_hosts", "max", "pool_health_check_period", "pool_max_conn_idle_time",
    "pool_max_conn_lifetime", "pool_max_conn_lifetime_jitter", "pool_max_conns", "pool_min_conns",
    "statement-cache-capacity", "statement_cache_capacity", "statement_cache_mode", "uselibpqcompat"};

std::string_view trimmed(std::string_view text) {
  auto const first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

std::string lower(std::string_view text) {
  std::string lowered(text);
  for (char& letter : lowered) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return lowered;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    auto const end = std::min(text.find(at, begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

int hex_digit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

// As libpq does it: '+' is no blank, and there is no NUL.
std::optional<std::string> percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '%') {
      decoded += text[at];
      continue;
    }
    if (at + 2 >= text.size()) return std::nullopt;
    int const high = hex_digit(text[at + 1]);
    int const low = hex_digit(text[at + 2]);
    if (high < 0 || low < 0 || high + low == 0) return std::nullopt;
    decoded += static_cast<char>(high * 16 + low);
    at += 2;
  }
  return decoded;
}

std::string encoded(std::string_view text) {
  return percent_encoded(text, "-_.~,:/");
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kMostNameBytes && std::all_of(text.begin(), text.end(), [](char letter) {
    return std::isalnum(static_cast<unsigned char>(letter)) != 0 || letter == '_' || letter == '-' || letter == '.';
  });
}

// "DATABASE_URL: unknown parameter 'sslmod' (did you mean 'sslmode'?)"
std::string unknown_parameter(std::string_view where, std::string_view name, std::set<std::string> const& keywords) {
  std::vector<std::string_view> const known(keywords.begin(), keywords.end());
  return fmt::format("{}: unknown parameter '{}'{}; take it out, or write what libpq calls it", where, name,
                     planner::did_you_mean(name, known));
}

// ---- key=value strings

// The first keyword that libpq does not know. Nothing after a password: what follows could be a part of it.
std::optional<std::string> unknown_keyword(std::string_view text, std::set<std::string> const& keywords) {
  std::size_t at = 0;
  while (true) {
    at = text.find_first_not_of(kBlanks, at);
    if (at == std::string_view::npos) return std::nullopt;
    auto const end = text.find('=', at);
    if (end == std::string_view::npos) return std::nullopt;
    auto const name = trimmed(text.substr(at, end - at));
    if (!is_name(name) || lower(name).starts_with("pass")) return std::nullopt;
    if (keywords.count(std::string(name)) == 0) return std::string(name);
    at = text.find_first_not_of(kBlanks, end + 1);
    if (at == std::string_view::npos) return std::nullopt;
    bool const is_quoted = text[at] == '\'';
    if (is_quoted) ++at;
    while (at < text.size()) {
      bool const ends = is_quoted ? text[at] == '\'' : kBlanks.find(text[at]) != std::string_view::npos;
      if (ends) break;
      at += text[at] == '\\' ? 2 : 1;
    }
    at = std::min(at + 1, text.size());
  }
}

// ---- URLs

struct Url {
  std::string scheme;  // as it was written, without "://"
  bool is_jdbc = false;
  std::string user;  // with the password, percent-encoded
  bool has_user = false;
  std::string hosts;
  std::string path;  // from '/'; or empty
  std::string_view query;
};

bool is_scheme(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char letter) {
    return std::isalnum(static_cast<unsigned char>(letter)) != 0 ||
           std::string_view("+-.:_").find(letter) != std::string_view::npos;
  });
}

bool is_postgresql(std::string_view scheme) {
  auto const family = scheme.substr(0, scheme.find('+'));
  auto const driver = scheme.substr(family.size());
  bool const is_known = std::find(kPrefixes.begin(), kPrefixes.end(), family) != kPrefixes.end();
  return is_known && driver != "+" && driver.find(':') == std::string_view::npos;
}

// "h1:5432,[::1]:5433" has numbers for ports, "user:secret" has not.
bool has_odd_port(std::string_view hosts) {
  for (auto const host : split(hosts, ',')) {
    auto const bracket = host.rfind(']');
    auto const colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
    if (colon == std::string_view::npos) continue;
    auto const port = host.substr(colon + 1);
    if (port.find_first_not_of("0123456789") != std::string_view::npos) return true;
  }
  return false;
}

// What follows "://". False: it cannot be told where the password ends.
bool split_url(std::string_view rest, Url& url) {
  auto const head = rest.substr(0, rest.find('/'));
  // As in libpq, the first '@' before a '/' ends a user; where more follow, the password was not encoded.
  if (auto const first = head.find('@'); first != std::string_view::npos) {
    auto const last = head.rfind('@', head.find('?', first));
    url.has_user = true;
    for (char const letter : rest.substr(0, last)) url.user += letter == '@' ? "%40" : std::string(1, letter);
    rest.remove_prefix(last + 1);
  }
  auto const end_of_hosts = std::min(rest.find_first_of("/?"), rest.size());
  url.hosts = rest.substr(0, end_of_hosts);
  rest.remove_prefix(end_of_hosts);
  auto const end_of_path = std::min(rest.find('?'), rest.size());
  url.path = rest.substr(0, end_of_path);
  rest.remove_prefix(end_of_path);
  if (!rest.empty()) url.query = rest.substr(1);
  if (url.path.find('@') != std::string::npos) return false;
  return url.has_user || !has_odd_port(url.hosts) || rest.find('@') == std::string_view::npos;
}

// An identifier as search_path reads it: Prisma means the name exactly as it is.
std::string quoted(std::string const& name) {
  bool const is_plain = !name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) == 0 &&
                        name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
  return is_plain ? name : planner::quote_identifier(name);
}

// Reads the parameters of one URL.
class Parameters {
 public:
  Parameters(std::string_view where, std::set<std::string> const& keywords) : where_(where), keywords_(keywords) {}

  // Empty, or what is wrong.
  std::string read(std::string_view query) {
    if (query.empty()) return "";
    for (auto const part : split(query, '&')) {
      if (part.empty()) continue;
      auto wrong = read_one(part);
      if (!wrong.empty()) return wrong;
    }
    finish_hosts();
    finish_settings();
    return "";
  }

  std::string const& query() const { return query_; }
  std::vector<std::string> const& translated() const { return translated_; }
  std::vector<std::string> const& left_out() const { return left_out_; }

 private:
  std::string read_one(std::string_view part) {
    auto const equals = part.find('=');
    auto const raw_name = part.substr(0, equals);
    auto raw = equals == std::string_view::npos ? std::string_view{} : part.substr(equals + 1);
    auto const name = percent_decoded(raw_name);
    auto const value = percent_decoded(raw);
    if (!name || !value) return fmt::format("{}: a '%' in the URL is not followed by two hexadecimal digits", where_);
    if (!is_name(*name)) {
      return fmt::format(
          "{}: a parameter of the URL has no proper name; parameters are ?name=value&name=value, and "
          "other characters are percent-encoded",
          where_);
    }
    if (is_translated(*name, *value)) return "";
    if (keywords_.count(*name) != 0) {
      if (equals == std::string_view::npos) return fmt::format("{}: parameter '{}' has no value", where_, *name);
      keep(*name, raw);
      return "";
    }
    if (translate_name(*name, *value, raw)) return "";
    // It may be the end of a password.
    if (raw.find('@') != std::string_view::npos) return fmt::format("{}: {}", where_, kEncode);
    return unknown_parameter(where_, *name, known_names());
  }

  // What needs its value to be understood.
  bool is_translated(std::string const& name, std::string const& value) {
    if (name == "ssl") return become("sslmode", ssl_mode(lower(value)), name);
    if (name == "sslmode" && value == "no-verify") return become("sslmode", "require", "sslmode=no-verify");
    if (name == "sslaccept" && value == "strict") return become("sslmode", "verify-full", name);
    if (name == "sslaccept" && value == "accept_invalid_certs") return leave_out(name);
    if (name == "tcpKeepAlive") return become("keepalives", lower(value) == "false" ? "0" : "1", name);
    if (name == "targetServerType") return become("target_session_attrs", target_of(value), name);
    if (name == "unix_sock") return become("host", value.substr(0, value.rfind("/.s.PGSQL.")), name);
    if (name == "schema") return read_schema(value);
    if (name == "pgbouncer") is_pooled_ = lower(value) == "true";
    if (name == "host") {
      hosts_.push_back(value);
      return true;
    }
    if (name == "options") {
      options_ += (options_.empty() ? "" : " ") + value;
      return true;
    }
    return false;
  }

  bool translate_name(std::string const& name, std::string const& value, std::string_view raw) {
    for (auto const& renamed : kRenamed) {
      if (renamed.name != name) continue;
      // An older libpq may not have it.
      if (keywords_.count(std::string(renamed.keyword)) == 0) return false;
      keep(renamed.keyword, raw);
      told(name, renamed.keyword);
      return true;
    }
    for (auto const& setting : kSettings) {
      if (setting.name != name) continue;
      add_setting(setting.keyword, value);
      told(name, setting.keyword);
      return true;
    }
    bool const is_foreign = std::find(std::begin(kLeftOut), std::end(kLeftOut), name) != std::end(kLeftOut);
    return is_foreign && leave_out(name);
  }

  static std::string ssl_mode(std::string const& value) {
    if (value.empty() || value == "true" || value == "1" || value == "yes" || value == "on" || value == "no-verify") {
      return "require";
    }
    bool const is_off = value == "false" || value == "0" || value == "no" || value == "off";
    return is_off ? "disable" : value;  // asyncpg takes modes here; libpq refuses what is none
  }

  static std::string target_of(std::string const& value) {
    if (value == "master") return "primary";
    if (value == "slave" || value == "secondary") return "standby";
    if (value == "preferSlave" || value == "preferSecondary") return "prefer-standby";
    if (value == "preferPrimary") return "primary";
    return value;
  }

  bool read_schema(std::string const& value) {
    schema_ = value;
    return true;
  }

  void told(std::string_view name, std::string_view keyword) {
    if (name != keyword) translated_.push_back(fmt::format("{} became {}", name, keyword));
  }

  bool become(std::string_view keyword, std::string const& value, std::string_view name) {
    keep(keyword, encoded(value));
    told(name, keyword);
    return true;
  }

  bool leave_out(std::string const& name) {
    if (std::find(left_out_.begin(), left_out_.end(), name) == left_out_.end()) left_out_.push_back(name);
    return true;
  }

  void keep(std::string_view name, std::string_view raw) {
    query_ += fmt::format("{}{}={}", query_.empty() ? "" : "&", name, raw);
  }

  void add_setting(std::string_view name, std::string const& value) {
    std::string escaped;
    for (char const letter : value) {
      if (letter == '\\' || std::isspace(static_cast<unsigned char>(letter)) != 0) escaped += '\\';
      escaped += letter;
    }
    settings_ += fmt::format("{}-c {}={}", settings_.empty() ? "" : " ", name, escaped);
  }

  // SQLAlchemy repeats `host`, and puts the port behind it.
  void finish_hosts() {
    if (hosts_.empty()) return;
    std::string hosts;
    std::string ports;
    bool has_port = false;
    for (auto const& host : hosts_) {
      auto const colon = host.find(':');
      bool const has_one = colon != std::string::npos && colon == host.rfind(':') && host.front() != '/' &&
                           host.find(',') == std::string::npos;
      if (&host != &hosts_.front()) {
        hosts += ',';
        ports += ',';
      }
      hosts += has_one ? host.substr(0, colon) : host;
      if (has_one) ports += host.substr(colon + 1);
      has_port = has_port || has_one;
    }
    keep("host", encoded(hosts));
    if (has_port) keep("port", encoded(ports));
  }

  void finish_settings() {
    // Every Prisma project has schema=public, and PgBouncer refuses a client that brings a search_path.
    if (schema_ == "public" && is_pooled_) {
      leave_out("schema");
    } else if (!schema_.empty()) {
      add_setting("search_path", quoted(schema_));
      told("schema", "search_path");
    }
    std::string const all = options_ + (options_.empty() || settings_.empty() ? "" : " ") + settings_;
    if (!all.empty()) keep("options", encoded(all));
  }

  std::set<std::string> known_names() const {
    std::set<std::string> names = keywords_;
    for (auto const& renamed : kRenamed) names.emplace(renamed.name);
    for (auto const& setting : kSettings) names.emplace(setting.name);
    for (auto const name : kLeftOut) names.emplace(name);
    names.insert({"schema", "ssl", "sslaccept", "targetServerType"});
    return names;
  }

  std::string_view where_;
  std::set<std::string> const& keywords_;
  bool is_pooled_ = false;
  std::string query_;
  std::string schema_;
  std::string options_;
  std::string settings_;
  std::vector<std::string> hosts_;
  std::vector<std::string> translated_;
  std::vector<std::string> left_out_;
};

std::string note_of(Url const& url, std::string_view where, Parameters const& parameters) {
  std::vector<std::string> told;
  bool const is_libpqs = url.scheme == "postgresql" || url.scheme == "postgres";
  if (!is_libpqs) told.push_back(fmt::format("read {} as postgresql", url.scheme));
  for (auto const& text : parameters.translated()) told.push_back(text);
  if (!parameters.left_out().empty()) {
    told.push_back(fmt::format("left out {}", fmt::join(parameters.left_out(), ", ")));
  }
  return told.empty() ? "" : fmt::format("{}: {}", where, fmt::join(told, "; "));
}

// Nothing: the text is no URL.
std::optional<std::string_view> read_scheme(std::string_view text, Url& url) {
  auto const end = text.find("://");
  if (end != std::string_view::npos && is_scheme(text.substr(0, end))) {
    url.scheme = lower(text.substr(0, end));
    url.is_jdbc = url.scheme.starts_with("jdbc:");
    return text.substr(end + 3);
  }
  constexpr std::string_view kJdbc = "jdbc:postgresql:";
  if (!lower(text.substr(0, kJdbc.size())).starts_with(kJdbc)) return std::nullopt;
  url.scheme = "jdbc:postgresql";
  url.is_jdbc = true;
  return text.substr(kJdbc.size());
}

}  // namespace

std::variant<Dsn, std::string> read_dsn(std::string_view given, std::string_view where,
                                        std::set<std::string> const& keywords) {
  auto const text = trimmed(given);
  Url url;
  auto rest = read_scheme(text, url);
  if (!rest) {
    if (auto const name = unknown_keyword(text, keywords)) return unknown_parameter(where, *name, keywords);
    return Dsn{std::string(given), ""};
  }
  bool const is_known = url.is_jdbc ? url.scheme == "jdbc:postgresql" : is_postgresql(url.scheme);
  if (!is_known) return fmt::format("{}: {} is not a scheme of PostgreSQL; {}", where, url.scheme, kHowToWrite);
  // "jdbc:postgresql:app" is a database of this host.
  bool const is_short = text.substr(url.scheme.size(), 3) != "://";
  std::string const full = fmt::format("localhost/{}", rest->substr(rest->starts_with('/') ? 1 : 0));
  if (is_short) rest = full;
  if (!split_url(*rest, url)) return fmt::format("{}: {}", where, kEncode);
  Parameters parameters(where, keywords);
  if (auto wrong = parameters.read(url.query); !wrong.empty()) return wrong;
  Dsn dsn;
  dsn.note = note_of(url, where, parameters);
  dsn.conninfo = fmt::format("postgresql://{}{}{}{}{}{}", url.user, url.has_user ? "@" : "", url.hosts, url.path,
                             parameters.query().empty() ? "" : "?", parameters.query());
  return dsn;
}

}  // namespace pgbackfill::engine
