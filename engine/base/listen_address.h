// Where to listen, as the command line has it: PORT, or HOST:PORT, or [IPV6]:PORT.
//
// Without a host it is the loopback of this machine; other machines are let in only by saying so. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace pgbackfill::engine {

struct ListenAddress {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;  // 0: any that is free
};

// The address, or what is wrong with the text and how to write it.
std::variant<ListenAddress, std::string> parse_listen_address(std::string_view text);

// As it stands in a URL: "127.0.0.1:9187", "[::1]:9187".
std::string to_string(ListenAddress const& address);

}  // namespace pgbackfill::engine
