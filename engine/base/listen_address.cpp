#include "engine/base/listen_address.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <system_error>

namespace pgbackfill::engine {

namespace {

constexpr std::size_t kLongestHost = 253;  // of a name in DNS

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  auto const* const end = text.data() + text.size();
  auto const parsed = std::from_chars(text.data(), end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return port;
}

bool is_host(std::string_view text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
  return !text.empty() && text.size() <= kLongestHost && text.find_first_not_of(kLetters) == std::string_view::npos;
}

bool is_ipv6(std::string_view text) {
  // With a zone, as in fe80::1%eth0.
  auto const zone = text.find('%');
  auto const address = text.substr(0, zone);
  bool const has_zone = zone == std::string_view::npos || is_host(text.substr(zone + 1));
  return has_zone && address.find(':') != std::string_view::npos &&
         address.find_first_not_of("0123456789abcdefABCDEF:.") == std::string_view::npos;
}

std::string problem_with(std::string_view text, std::string const& what) {
  return fmt::format("'{}' is no address to listen on: {}", text, what);
}

}  // namespace

std::variant<ListenAddress, std::string> parse_listen_address(std::string_view text) {
  ListenAddress address;
  auto const colon = text.rfind(':');
  auto const port = parse_port(colon == std::string_view::npos ? text : text.substr(colon + 1));
  if (!port) return problem_with(text, "it ends with a port, 0 to 65535, such as 9187 or 127.0.0.1:9187");
  address.port = *port;
  if (colon == std::string_view::npos) return address;
  auto const host = text.substr(0, colon);
  if (host.empty())
    return problem_with(text, "the host is missing; 0.0.0.0 stands for all of this machine's addresses");
  bool const has_brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  auto const bare = has_brackets ? host.substr(1, host.size() - 2) : host;
  if (has_brackets ? !is_ipv6(bare) : !is_host(bare)) {
    return problem_with(text, "a host is a name, an IPv4 address, or an IPv6 address in brackets, such as [::1]:9187");
  }
  address.host = bare;
  return address;
}

std::string to_string(ListenAddress const& address) {
  bool const is_ipv6_text = address.host.find(':') != std::string::npos;
  return (is_ipv6_text ? "[" + address.host + "]" : address.host) + ":" + std::to_string(address.port);
}

}  // namespace pgbackfill::engine
