// An http:// or https:// URL, taken apart.
//
// Pure. What it does not understand in full it refuses, so that nobody is asked whom the text did not name.
#pragma once

#include <string>
#include <variant>

namespace pgbackfill::engine {

struct Url {
  bool is_https = false;
  std::string host;
  std::string port = "80";
  std::string target = "/";  // path and query

  // The whole, as it is asked for.
  std::string text() const;
  // What may be told of it: paths and queries of webhooks are secrets.
  std::string origin() const;
  // A Prometheus instant query: its answer's value counts, not only that it answers.
  bool is_prometheus_query() const;
};

// The URL, or what is wrong with it.
std::variant<Url, std::string> parse_url(std::string const& text);

// Whether a redirection may be followed: to the same host, and never from https to http.
bool stays_with_host(Url const& from, Url const& to);

}  // namespace pgbackfill::engine
