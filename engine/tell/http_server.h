// A small HTTP server for a handful of pages that are made at once: metrics and health.
//
// It answers GET and HEAD, keeps connections alive, and bounds what a client can cost: connections, size of a request,
// time. Nobody keeps others out: where there are too many, the one that has said nothing for longest goes. It knows
// neither TLS nor passwords; who may come is decided by the address it listens on. Thread rule: all of it on the thread
// that runs the io_context, except construction and port().
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/base/listen_address.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

struct HttpAnswer {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::function<void()> sent;  // called when the client has got it; may be empty
};

// The path comes without its query. Called for GET and HEAD.
using HttpHandler = std::function<HttpAnswer(std::string_view path)>;

class HttpServer {
 public:
  // Listens at once, so that a refusal comes before anything else is done: throws boost::system::system_error.
  HttpServer(asio::io_context& io, ListenAddress const& address, HttpHandler handler);
  ~HttpServer();

  // The one that the system chose, if it was asked for any.
  std::uint16_t port() const;

  static constexpr int kConnectionsMax = 32;

 private:
  struct Shop;
  std::shared_ptr<Shop> shop_;
};

}  // namespace pgbackfill::engine
