// Who may come in, and what he may do: hosts, origins, tokens, sessions.
//
// Decides and does nothing; the time is an argument. A browser is lured by other pages, so that a request is believed
// only if it names this server (against DNS rebinding), comes from a page of it (Origin), and, where the browser itself
// proves who its user is, has the secret that this server wrote into the form. Any thread.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tell/http_server.h"
#include "engine/web/form.h"

namespace pgbackfill::engine {

struct NamedToken {
  std::string name;  // who it is of, for the log
  std::string token;
};

struct AccessTerms {
  bool allows_control = false;
  bool is_private = false;         // who only reads has to be known, too
  bool is_https = false;           // as its viewers see it
  std::vector<std::string> hosts;  // names that it has, beside addresses and localhost
  std::vector<NamedToken> tokens;
  std::string secret;  // of this process
};

struct Visitor {
  std::string who;     // empty: not known
  std::string secret;  // that his forms bring back; empty where he needs none, since no browser sends what he sent
};

class Access {
 public:
  using Time = std::chrono::system_clock::time_point;

  explicit Access(AccessTerms terms) : terms_(std::move(terms)) {}

  AccessTerms const& terms() const { return terms_; }

  // Why the request is refused whoever sends it; empty: it is not. `is_change`: it is no mere reading.
  std::string refusal(HttpRequest const& request, bool is_change) const;

  Visitor visitor(HttpRequest const& request, Time now) const;
  // Whether the form came from a page that this server gave him.
  static bool has_secret(Visitor const& visitor, Fields const& form);

  // Whose token it is; empty: nobody's.
  std::string owner_of(std::string_view token) const;
  // The field Set-Cookie of a new session, and of one that is over.
  std::string new_session(std::string const& who, Time now) const;
  std::string ended_session() const;
  std::string cookie(std::string_view name, std::string_view value, std::chrono::seconds age) const;

 private:
  bool is_own_host(std::string_view host) const;
  std::string session_cookie() const;
  std::string session_owner(std::string_view session, Time now) const;

  AccessTerms terms_;
};

}  // namespace pgbackfill::engine
