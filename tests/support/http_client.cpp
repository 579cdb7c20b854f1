#include "tests/support/http_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

namespace pgbackfill::tests {

namespace {

constexpr int kPatienceSeconds = 30;

// The whole answer, to the end of the connection; empty if there was none.
std::string exchange(int fd, std::uint16_t port, std::string_view text) {
  timeval const patience{kPatienceSeconds, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  if (connect(fd, reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0) return "";
  while (!text.empty()) {
    auto const sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) break;  // it may have answered already
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
  std::string answer;
  char part[65536];
  for (ssize_t got = 0; (got = recv(fd, part, sizeof part, 0)) > 0;) answer.append(part, static_cast<std::size_t>(got));
  return answer;
}

}  // namespace

HttpReply http_request(std::uint16_t port, std::string const& text) {
  int const fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {};
  auto const answer = exchange(fd, port, text);
  close(fd);
  HttpReply reply;
  auto const blank = answer.find("\r\n\r\n");
  constexpr std::size_t kStatusAt = std::string_view("HTTP/1.1 ").size();
  if (blank == std::string::npos || blank < kStatusAt) return reply;
  reply.status = std::atoi(answer.c_str() + kStatusAt);
  reply.head = answer.substr(0, blank);
  reply.body = answer.substr(blank + 4);
  return reply;
}

HttpReply http_get(std::uint16_t port, std::string const& path) {
  return http_request(port, "GET " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
}

}  // namespace pgbackfill::tests
