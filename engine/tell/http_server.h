// An HTTP server for pages that are made at once: metrics and health, and the site of engine/web.
//
// It answers GET and HEAD, and POST where its terms say so; keeps connections alive; streams server-sent events; and
// bounds what a client can cost: connections, size of a request, time. Nobody keeps others out: where there are too
// many, the one that has said nothing for longest goes. It speaks TLS where it is given a certificate, and knows no
// passwords. Thread rule: all of it on the thread that runs the io_context, except construction and port().
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/listen_address.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

struct HttpRequest {
  std::string method;  // "GET", "HEAD", "POST"
  std::string path;    // as it was sent, without its query
  std::string query;   // what follows the '?'
  // Names in lower case. Of a name that comes twice the values are joined by ", ", as the standard has it.
  std::map<std::string, std::string, std::less<>> fields;
  std::string body;
  std::string peer;         // address of the client
  std::string certificate;  // common name of the client's certificate, which a CA of the terms has signed; else empty

  std::string_view field(std::string_view name) const {
    auto const found = fields.find(name);
    return found == fields.end() ? std::string_view() : std::string_view(found->second);
  }
};

struct HttpAnswer {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::function<void()> sent = nullptr;  // called when the client has got it; may be empty
  std::vector<std::pair<std::string, std::string>> fields{};
  // A stream instead of a body, asked every kEventInterval for what to send next: empty is nothing, nullopt its end.
  std::function<std::optional<std::string>()> next_events = nullptr;
};

// Called for what the terms let through.
using HttpHandler = std::function<asio::awaitable<HttpAnswer>(HttpRequest request)>;
// The path comes without its query.
using PageHandler = std::function<HttpAnswer(std::string_view path)>;
HttpHandler handler_of_pages(PageHandler pages);

// Files in PEM.
struct TlsFiles {
  std::string certificate;  // with the chain up to its CA
  std::string key;
  std::string client_ca;  // those who come with a certificate of this CA are known by it; empty: nobody is asked
};

struct HttpTerms {
  int connections_max = 32;
  int streams_max = 0;
  std::size_t body_bytes_max = 0;  // 0: GET and HEAD alone are answered
  std::optional<TlsFiles> tls;
};

// A certificate or key that cannot be used: which file, and why.
struct TlsProblem {
  std::string text;
};

class HttpServer {
 public:
  // Listens at once, so that a refusal comes before anything else is done: throws boost::system::system_error, or
  // TlsProblem.
  HttpServer(asio::io_context& io, ListenAddress const& address, HttpHandler handler, HttpTerms terms);
  // With the usual terms, which are those of metrics and health.
  HttpServer(asio::io_context& io, ListenAddress const& address, PageHandler pages);
  ~HttpServer();

  // The one that the system chose, if it was asked for any.
  std::uint16_t port() const;

 private:
  struct Shop;
  std::shared_ptr<Shop> shop_;
};

}  // namespace pgbackfill::engine
