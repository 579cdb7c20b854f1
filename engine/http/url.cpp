#include "engine/http/url.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace pgbackfill::engine {

namespace {

constexpr std::string_view kHttp = "http://";
constexpr std::string_view kHttps = "https://";

bool is_port(std::string const& text) {
  int port = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port > 0 && port < 65536;
}

}  // namespace

std::string Url::origin() const {
  bool const is_v6 = host.find(':') != std::string::npos;
  bool const is_usual = port == (is_https ? "443" : "80");
  std::string text(is_https ? kHttps : kHttp);
  if (is_v6) text += '[';
  text += host;
  if (is_v6) text += ']';
  if (is_usual) return text;
  text += ':';
  text += port;
  return text;
}

std::string Url::text() const {
  return origin() + target;
}

bool Url::is_prometheus_query() const {
  return target.find("/api/v1/query?") != std::string::npos;
}

std::variant<Url, std::string> parse_url(std::string const& text) {
  Url url;
  url.is_https = text.starts_with(kHttps);
  if (!url.is_https && !text.starts_with(kHttp)) return "a URL begins with http:// or https://";
  bool const is_printable =
      std::all_of(text.begin(), text.end(), [](char letter) { return letter > ' ' && letter < 127; });
  if (!is_printable) return "a URL has no blanks and no letters beyond ASCII: write them as %20 and so on";
  if (url.is_https) url.port = "443";
  std::string rest = text.substr(url.is_https ? kHttps.size() : kHttp.size());
  rest = rest.substr(0, rest.find('#'));
  std::size_t const end = std::min(rest.find_first_of("/?"), rest.size());
  std::string authority = rest.substr(0, end);
  url.target.clear();
  if (end == rest.size() || rest[end] != '/') url.target += '/';
  url.target += rest.substr(end);
  if (authority.find('@') != std::string::npos) return "a user name in a URL is not supported";
  if (authority.find('\\') != std::string::npos) return "a backslash in the host of a URL is not supported";
  std::size_t const bracket = authority.starts_with('[') ? authority.find(']') : 0;
  if (bracket == std::string::npos) return "the address of the host has no end: ]";
  std::size_t const colon = authority.find(':', bracket);
  if (colon != std::string::npos) {
    url.port = authority.substr(colon + 1);
    authority.resize(colon);
    // Not shown: a URL may be a secret in the wrong place.
    if (!is_port(url.port)) return "the port of the URL is no number from 1 to 65535";
  }
  url.host = bracket > 0 ? authority.substr(1, bracket - 1) : authority;
  if (url.host.empty()) return "the URL has no host";
  return url;
}

bool stays_with_host(Url const& from, Url const& to) {
  if (from.host != to.host || (from.is_https && !to.is_https)) return false;
  bool const is_same_port = from.is_https == to.is_https && from.port == to.port;
  bool const becomes_https = !from.is_https && from.port == "80" && to.is_https && to.port == "443";
  return is_same_port || becomes_https;
}

}  // namespace pgbackfill::engine
