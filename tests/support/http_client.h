// Asks a small HTTP server of this machine for a page, blocking, with its own few lines of HTTP.
#pragma once

#include <cstdint>
#include <string>

namespace pgbackfill::tests {

struct HttpReply {
  int status = 0;    // 0: nobody listens, or no answer came
  std::string head;  // status line and header fields
  std::string body;
};

HttpReply http_request(std::uint16_t port, std::string const& text);
HttpReply http_get(std::uint16_t port, std::string const& path);

}  // namespace pgbackfill::tests
