// One call to an HTTP server, by libcurl, which nothing else includes.
//
// A thread of this room makes all calls of the process at the same time; who waits is a coroutine, and holds nothing
// up. A call is bounded in time, from looking up the name to the last byte, and in the size of its answer; it ends
// within a moment when its asker is to end. Certificates are always checked. A redirection is followed to the same host
// alone. Proxies are those of the environment (https_proxy, http_proxy, no_proxy). Thread rule: any io_context's
// thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/result.h"
#include "engine/http/url.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

inline constexpr std::size_t kMostAnswerBytes = 1 << 20;
// At the same time; more fail at once.
inline constexpr std::size_t kMostHttpCalls = 256;

struct HttpCall {
  std::string method = "GET";
  Url url;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::string ca_file;  // whom to trust; empty: SSL_CERT_FILE, else what the system trusts
  std::chrono::milliseconds timeout{10'000};
  std::size_t most_bytes = kMostAnswerBytes;  // of the answer's body
  std::function<bool()> is_stopping;          // called by the asker's thread; empty: never
};

struct HttpReply {
  unsigned status = 0;
  std::string body;
  std::optional<std::chrono::seconds> retry_after;  // that the server asked for
};

// Failures are of the network, of a certificate, or a time that is over. Their words name host and port, and no path.
asio::awaitable<Result<HttpReply>> http_call(HttpCall call);

}  // namespace pgbackfill::engine
