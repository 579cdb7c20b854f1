#include "engine/tell/http_server.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <list>
#include <utility>

namespace pgbackfill::engine {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;

constexpr std::uint32_t kHeaderBytesMax = 8 * 1024;
// From the beginning of a connection or of a request until it is there.
constexpr std::chrono::seconds kRequestMax{10};
// Between two requests of a connection. Prometheus asks every minute or more often.
constexpr std::chrono::seconds kIdleMax{120};
constexpr std::chrono::seconds kAnswerMax{10};
// After an error of accept, such as too many open files.
constexpr std::chrono::milliseconds kAcceptPause{200};

using Request = http::request<http::empty_body>;
using Response = http::response<http::string_body>;

constexpr auto kAsValue = asio::as_tuple(asio::use_awaitable);

tcp::acceptor listen_on(asio::io_context& io, ListenAddress const& address) {
  tcp::resolver resolver(io);
  auto const found = resolver.resolve(address.host, std::to_string(address.port),
                                      tcp::resolver::passive | tcp::resolver::numeric_service);
  tcp::endpoint const endpoint = *found.begin();
  tcp::acceptor acceptor(io, endpoint.protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  acceptor.bind(endpoint);
  acceptor.listen();
  return acceptor;
}

std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

}  // namespace

struct HttpServer::Shop {
  struct Guest {
    explicit Guest(beast::tcp_stream its_stream) : stream(std::move(its_stream)) {}

    beast::tcp_stream stream;
    bool is_waiting = true;   // for a request that is not there yet
    bool is_leaving = false;  // had to make room
  };
  using Place = std::list<Guest>::iterator;

  Shop(asio::io_context& io, ListenAddress const& address, HttpHandler answer_with)
      : acceptor(listen_on(io, address)), handler(std::move(answer_with)) {}

  // Coroutines hold the shop by a reference of their own: it outlives the server that closed.
  static asio::awaitable<void> accept(std::shared_ptr<Shop> shop) {
    asio::steady_timer pause(shop->acceptor.get_executor());
    while (shop->acceptor.is_open()) {
      auto [error, socket] = co_await shop->acceptor.async_accept(kAsValue);
      if (error) {
        if (!shop->acceptor.is_open()) co_return;
        pause.expires_after(kAcceptPause);
        co_await pause.async_wait(kAsValue);
        continue;
      }
      if (!shop->make_room()) continue;  // closes it
      auto const executor = shop->acceptor.get_executor();
      auto const guest = shop->guests.emplace(shop->guests.end(), beast::tcp_stream(std::move(socket)));
      asio::co_spawn(executor, serve(shop, guest), asio::detached);
    }
  }

  // Guests are in the order in which they began to wait; the first one that waits has waited longest.
  bool make_room() {
    if (staying() < kConnectionsMax) return true;
    auto const idle = std::find_if(guests.begin(), guests.end(), [](Guest const& guest) { return guest.is_waiting; });
    if (idle == guests.end()) return false;
    idle->is_waiting = false;
    idle->is_leaving = true;
    idle->stream.close();
    return true;
  }

  int staying() const {
    return static_cast<int>(
        std::count_if(guests.begin(), guests.end(), [](Guest const& guest) { return !guest.is_leaving; }));
  }

  void begin_to_wait(Place guest) {
    if (guest->is_leaving) return;
    guest->is_waiting = true;
    guests.splice(guests.end(), guests, guest);
  }

  static asio::awaitable<void> serve(std::shared_ptr<Shop> shop, Place guest) {
    auto& stream = guest->stream;
    beast::flat_buffer buffer(2 * kHeaderBytesMax);
    bool goes_on = true;
    for (auto patience = kRequestMax; goes_on && shop->acceptor.is_open(); patience = kIdleMax) {
      shop->begin_to_wait(guest);
      bool const begins = co_await await_request(stream, buffer, patience);
      if (!begins) break;
      http::request_parser<http::empty_body> parser;
      parser.header_limit(kHeaderBytesMax);
      stream.expires_after(kRequestMax);
      auto const [read_error, read_bytes] = co_await http::async_read(stream, buffer, parser, kAsValue);
      if (read_error || guest->is_leaving) break;
      guest->is_waiting = false;
      HttpAnswer answer = shop->answer_to(parser.get());
      Response response = response_to(parser.get(), answer);
      goes_on = response.keep_alive();
      http::response_serializer<http::string_body> serializer(response);
      stream.expires_after(kAnswerMax);
      auto const [write_error, written_bytes] = co_await http::async_write(stream, serializer, kAsValue);
      if (write_error) break;
      if (answer.sent) answer.sent();
    }
    boost::system::error_code ignored;
    stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
    shop->guests.erase(guest);
  }

  // Whether the first byte came in time.
  static asio::awaitable<bool> await_request(beast::tcp_stream& stream, beast::flat_buffer& buffer,
                                             std::chrono::seconds patience) {
    if (buffer.size() > 0) co_return true;
    stream.expires_after(patience);
    auto const [error, bytes] = co_await stream.async_read_some(buffer.prepare(kHeaderBytesMax), kAsValue);
    buffer.commit(bytes);
    co_return !error;
  }

  HttpAnswer answer_to(Request const& request) const {
    bool const is_read = request.method() == http::verb::get || request.method() == http::verb::head;
    if (!is_read) return {405, "text/plain; charset=utf-8", "only GET and HEAD are answered\n", {}};
    auto const target = request.target();
    auto answer = handler(path_of({target.data(), target.size()}));
    // Nobody has seen what a HEAD was about.
    if (request.method() == http::verb::head) answer.sent = nullptr;
    return answer;
  }

  static Response response_to(Request const& request, HttpAnswer& answer) {
    Response response(static_cast<http::status>(answer.status), request.version());
    response.set(http::field::content_type, answer.content_type);
    response.set(http::field::cache_control, "no-store");
    response.set("X-Content-Type-Options", "nosniff");
    if (answer.status == 405) response.set(http::field::allow, "GET, HEAD");
    response.keep_alive(request.keep_alive());
    auto const bytes = answer.body.size();
    if (request.method() != http::verb::head) response.body() = std::move(answer.body);
    response.content_length(bytes);
    return response;
  }

  tcp::acceptor acceptor;
  HttpHandler handler;
  std::list<Guest> guests;
};

HttpServer::HttpServer(asio::io_context& io, ListenAddress const& address, HttpHandler handler)
    : shop_(std::make_shared<Shop>(io, address, std::move(handler))) {
  asio::co_spawn(io, Shop::accept(shop_), asio::detached);
}

HttpServer::~HttpServer() {
  boost::system::error_code ignored;
  shop_->acceptor.close(ignored);
}

std::uint16_t HttpServer::port() const {
  return shop_->acceptor.local_endpoint().port();
}

}  // namespace pgbackfill::engine
