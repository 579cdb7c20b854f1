// An HTTP server on the loopback interface that gives one answer to everybody, or none at all.
//
// Threads: serves in a thread of its own; every function may be called from any thread.
#pragma once

#include <memory>
#include <string>

namespace pgbackfill::tests {

class HttpServer {
 public:
  HttpServer();
  ~HttpServer();
  HttpServer(HttpServer const&) = delete;
  HttpServer& operator=(HttpServer const&) = delete;

  // From now on.
  void answer(unsigned status, std::string body);
  // Takes the request, and says nothing.
  void say_nothing();

  int port() const;
  std::string url(std::string const& target = "/") const;
  // The first line of the latest request: "GET /path HTTP/1.1".
  std::string request() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pgbackfill::tests
