#include "engine/web/access.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <cctype>
#include <charconv>
#include <optional>
#include <utility>

#include "engine/base/percent_encoding.h"
#include "engine/web/signature.h"

namespace pgbackfill::engine {

namespace {

constexpr std::chrono::hours kSessionAge{12};
constexpr std::string_view kBearer = "bearer ";

std::string lowered(std::string_view text) {
  std::string result(text);
  for (char& letter : result) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return result;
}

// "db.example:8377" without its port, "[::1]:8377" without its brackets too.
std::string_view without_port(std::string_view host) {
  if (host.starts_with('[')) {
    auto const end = host.find(']');
    return end == std::string_view::npos ? std::string_view() : host.substr(1, end - 1);
  }
  return host.substr(0, host.find(':'));
}

bool is_address(std::string_view host) {
  boost::system::error_code error;
  boost::asio::ip::make_address(std::string(host), error);
  return !error;
}

std::string signed_part(std::string_view who, std::string_view expiry) {
  return percent_encoded(who, "-_") + "." + std::string(expiry);
}

}  // namespace

// No name can be made to mean an address, so that addresses need no list.
bool Access::is_own_host(std::string_view host) const {
  auto const name = lowered(without_port(host));
  if (name.empty()) return false;
  if (name == "localhost" || is_address(name)) return true;
  return std::any_of(terms_.hosts.begin(), terms_.hosts.end(),
                     [&](std::string const& one) { return lowered(one) == name; });
}

std::string Access::refusal(HttpRequest const& request, bool is_change) const {
  auto const host = request.field("host");
  if (!is_own_host(host)) {
    return fmt::format("this server does not go by the name '{}'; `--host NAME` adds one", without_port(host));
  }
  if (!is_change) return "";
  auto const site = request.field("sec-fetch-site");
  bool const is_foreign = !site.empty() && site != "same-origin" && site != "none";
  auto const origin = request.field("origin");
  std::string const own = (terms_.is_https ? "https://" : "http://") + lowered(host);
  bool const is_other = !origin.empty() && lowered(origin) != own;
  if (is_foreign || is_other) return "the request comes from a page of another origin; nothing was done";
  return "";
}

std::string Access::owner_of(std::string_view token) const {
  std::string owner;
  // All of them are compared, so that the time says nothing.
  for (auto const& known : terms_.tokens) {
    if (is_same_secret(known.token, token)) owner = known.name;
  }
  return owner;
}

std::string Access::session_cookie() const {
  return terms_.is_https ? "__Host-pgbackfill" : "pgbackfill";
}

std::string Access::session_owner(std::string_view session, Time now) const {
  auto const last = session.rfind('.');
  if (last == std::string_view::npos) return "";
  auto const part = session.substr(0, last);
  if (!is_same_secret(signature_of(terms_.secret, part), session.substr(last + 1))) return "";
  auto const dot = part.find('.');
  if (dot == std::string_view::npos) return "";
  auto const expiry = part.substr(dot + 1);
  std::int64_t seconds = 0;
  auto const parsed = std::from_chars(expiry.data(), expiry.data() + expiry.size(), seconds);
  bool const is_over = parsed.ec != std::errc() || now >= Time(std::chrono::seconds(seconds));
  return is_over ? "" : percent_decoded(part.substr(0, dot)).value_or("");
}

Visitor Access::visitor(HttpRequest const& request, Time now) const {
  Visitor visitor;
  auto const authorization = request.field("authorization");
  if (lowered(authorization.substr(0, kBearer.size())) == kBearer) {
    visitor.who = owner_of(authorization.substr(kBearer.size()));
    return visitor;
  }
  if (!request.certificate.empty()) {
    visitor.who = request.certificate;
    visitor.secret = signature_of(terms_.secret, "certificate " + request.certificate);
    return visitor;
  }
  auto const cookies = cookies_of(request.field("cookie"));
  auto const session = field_of(cookies, session_cookie());
  visitor.who = session_owner(session, now);
  if (!visitor.who.empty()) visitor.secret = signature_of(terms_.secret, "form " + std::string(session));
  return visitor;
}

bool Access::has_secret(Visitor const& visitor, Fields const& form) {
  return visitor.secret.empty() || is_same_secret(visitor.secret, field_of(form, "csrf"));
}

std::string Access::cookie(std::string_view name, std::string_view value, std::chrono::seconds age) const {
  return fmt::format("{}={}; Path=/; HttpOnly; SameSite=Strict; Max-Age={}{}", name, value, age.count(),
                     terms_.is_https ? "; Secure" : "");
}

std::string Access::new_session(std::string const& who, Time now) const {
  auto const expiry = std::chrono::duration_cast<std::chrono::seconds>((now + kSessionAge).time_since_epoch()).count();
  auto const part = signed_part(who, std::to_string(expiry));
  return cookie(session_cookie(), part + "." + signature_of(terms_.secret, part), kSessionAge);
}

std::string Access::ended_session() const {
  return cookie(session_cookie(), "", std::chrono::seconds(0));
}

}  // namespace pgbackfill::engine
