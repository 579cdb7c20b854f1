#include "tests/support/http_server.h"

#include <fmt/format.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/streambuf.hpp>
#include <boost/asio/write.hpp>
#include <istream>
#include <mutex>
#include <thread>
#include <vector>

namespace pgbackfill::tests {

namespace asio = boost::asio;
using asio::ip::tcp;

class HttpServer::Impl {
 public:
  Impl() : acceptor_(io_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    accept();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Impl() {
    io_.stop();
    thread_.join();
  }

  void set(bool is_silent, unsigned status, std::string body) {
    std::lock_guard const guard(mutex_);
    is_silent_ = is_silent;
    answer_ =
        fmt::format("HTTP/1.1 {} Word\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", status, body.size(), body);
  }
  int port() const { return acceptor_.local_endpoint().port(); }
  std::string request() const {
    std::lock_guard const guard(mutex_);
    return request_;
  }

 private:
  struct Client {
    explicit Client(tcp::socket connected) : socket(std::move(connected)) {}
    tcp::socket socket;
    asio::streambuf received;
    std::string answer;
  };

  void accept() {
    acceptor_.async_accept([this](boost::system::error_code error, tcp::socket socket) {
      if (!error) read(std::make_shared<Client>(std::move(socket)));
      accept();
    });
  }
  void read(std::shared_ptr<Client> const& client) {
    asio::async_read_until(client->socket, client->received, "\r\n\r\n",
                           [this, client](boost::system::error_code error, std::size_t) {
                             if (!error) reply(client);
                           });
  }
  void reply(std::shared_ptr<Client> const& client) {
    std::lock_guard const guard(mutex_);
    std::istream stream(&client->received);
    std::getline(stream, request_, '\r');
    if (is_silent_) {
      silent_.push_back(client);  // kept open
      return;
    }
    client->answer = answer_;
    asio::async_write(client->socket, asio::buffer(client->answer),
                      [client](boost::system::error_code, std::size_t) {});
  }

  asio::io_context io_{1};
  tcp::acceptor acceptor_;
  mutable std::mutex mutex_;
  bool is_silent_ = true;
  std::string answer_;
  std::string request_;
  std::vector<std::shared_ptr<Client>> silent_;
  std::thread thread_;
};

HttpServer::HttpServer() : impl_(std::make_unique<Impl>()) {}
HttpServer::~HttpServer() = default;

void HttpServer::answer(unsigned status, std::string body) {
  impl_->set(false, status, std::move(body));
}

void HttpServer::say_nothing() {
  impl_->set(true, 0, "");
}

int HttpServer::port() const {
  return impl_->port();
}

std::string HttpServer::url(std::string const& target) const {
  return fmt::format("http://127.0.0.1:{}{}", port(), target);
}

std::string HttpServer::request() const {
  return impl_->request();
}

}  // namespace pgbackfill::tests
