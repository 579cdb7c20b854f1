#include "engine/tell/http_server.h"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <cctype>
#include <chrono>
#include <list>

namespace pgbackfill::engine {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;

constexpr std::uint32_t kHeaderBytesMax = 8 * 1024;
// From the beginning of a connection or of a request until it is there.
constexpr std::chrono::seconds kRequestMax{10};
// Between two requests of a connection. Prometheus asks every minute or more often.
constexpr std::chrono::seconds kIdleMax{120};
constexpr std::chrono::seconds kAnswerMax{10};
constexpr std::chrono::seconds kFarewellMax{1};
// After an error of accept, such as too many open files.
constexpr std::chrono::milliseconds kAcceptPause{200};
constexpr std::chrono::milliseconds kEventInterval{1'000};
// A client that is gone, and a proxy that ends silent connections, are found out by what is written.
constexpr std::chrono::seconds kHeartbeat{15};

using Request = http::request<http::string_body>;
using Response = http::response<http::string_body>;
using TlsStream = ssl::stream<beast::tcp_stream&>;

constexpr auto kAsValue = asio::as_tuple(asio::use_awaitable);

constexpr int kBadRequest = 400;
constexpr int kNotAllowed = 405;
constexpr int kTooLarge = 413;
constexpr int kHeaderTooLarge = 431;
constexpr int kFailed = 500;
constexpr int kUnavailable = 503;

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

std::optional<ssl::context> context_of(std::optional<TlsFiles> const& files) {
  if (!files) return std::nullopt;
  ssl::context context(ssl::context::tls_server);
  std::string file;
  try {
    SSL_CTX_set_min_proto_version(context.native_handle(), TLS1_2_VERSION);
    file = files->certificate;
    context.use_certificate_chain_file(file);
    file = files->key;
    context.use_private_key_file(file, ssl::context::pem);
    if (files->client_ca.empty()) return context;
    file = files->client_ca;
    context.load_verify_file(file);
    context.set_verify_mode(ssl::verify_peer);
    // A client that comes with a certificate may come back by its session, which belongs to a name.
    static constexpr unsigned char kSessions[] = "pgbackfill";
    SSL_CTX_set_session_id_context(context.native_handle(), kSessions, sizeof kSessions - 1);
  } catch (boost::system::system_error const& error) {
    throw TlsProblem{file + " cannot be used for TLS: " + error.code().message()};
  }
  return context;
}

std::string common_name(TlsStream& stream) {
  X509* const certificate = SSL_get1_peer_certificate(stream.native_handle());
  if (certificate == nullptr) return "";
  std::string name;
  if (SSL_get_verify_result(stream.native_handle()) == X509_V_OK) {
    auto* const subject = X509_get_subject_name(certificate);
    int const at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    auto* const entry = at < 0 ? nullptr : X509_NAME_get_entry(subject, at);
    unsigned char* text = nullptr;
    int const length = entry == nullptr ? -1 : ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry));
    if (length > 0) name.assign(reinterpret_cast<char*>(text), static_cast<std::size_t>(length));
    OPENSSL_free(text);
  }
  X509_free(certificate);
  return name;
}

HttpRequest request_of(Request const& given) {
  HttpRequest request;
  request.method.assign(given.method_string().data(), given.method_string().size());
  std::string_view const target(given.target().data(), given.target().size());
  auto const mark = target.find('?');
  request.path = target.substr(0, mark);
  if (mark != std::string_view::npos) request.query = target.substr(mark + 1);
  for (auto const& field : given) {
    std::string name(field.name_string().data(), field.name_string().size());
    for (char& letter : name) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    auto& value = request.fields[name];
    if (!value.empty()) value += ", ";
    value.append(field.value().data(), field.value().size());
  }
  request.body = given.body();
  return request;
}

}  // namespace

HttpHandler handler_of_pages(PageHandler pages) {
  return
      [pages = std::move(pages)](HttpRequest request) -> asio::awaitable<HttpAnswer> { co_return pages(request.path); };
}

struct HttpServer::Shop {
  struct Guest {
    explicit Guest(beast::tcp_stream its_stream) : stream(std::move(its_stream)) {}

    beast::tcp_stream stream;
    std::string address;
    std::string certificate;
    bool is_waiting = true;   // for a request that is not there yet
    bool is_leaving = false;  // had to make room
  };
  using Place = std::list<Guest>::iterator;

  Shop(asio::io_context& io, ListenAddress const& address, HttpHandler answer_with, HttpTerms its_terms)
      : terms(std::move(its_terms)),
        tls(context_of(terms.tls)),
        acceptor(listen_on(io, address)),
        handler(std::move(answer_with)) {}

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
      boost::system::error_code unknown;
      auto const peer = socket.remote_endpoint(unknown);
      auto const guest = shop->guests.emplace(shop->guests.end(), beast::tcp_stream(std::move(socket)));
      if (!unknown) guest->address = peer.address().to_string();
      asio::co_spawn(executor, welcome(shop, guest), asio::detached);
    }
  }

  // Guests are in the order in which they began to wait; the first one that waits has waited longest.
  bool make_room() {
    if (staying() < terms.connections_max) return true;
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

  static asio::awaitable<void> welcome(std::shared_ptr<Shop> shop, Place guest) {
    if (!shop->tls) {
      co_await serve(shop, guest, guest->stream);
      boost::system::error_code ignored;
      guest->stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
    } else {
      TlsStream stream(guest->stream, *shop->tls);
      guest->stream.expires_after(kRequestMax);
      auto const [error] = co_await stream.async_handshake(ssl::stream_base::server, kAsValue);
      if (!error) {
        guest->certificate = common_name(stream);
        co_await serve(shop, guest, stream);
        guest->stream.expires_after(kFarewellMax);
        co_await stream.async_shutdown(kAsValue);
      }
    }
    shop->guests.erase(guest);
  }

  template <class Stream>
  static asio::awaitable<void> serve(std::shared_ptr<Shop> shop, Place guest, Stream& stream) {
    beast::flat_buffer buffer(2 * kHeaderBytesMax + shop->terms.body_bytes_max);
    bool goes_on = true;
    for (auto patience = kRequestMax; goes_on && shop->acceptor.is_open(); patience = kIdleMax) {
      shop->begin_to_wait(guest);
      bool const begins = co_await await_request(guest, stream, buffer, patience);
      if (!begins) break;
      http::request_parser<http::string_body> parser;
      parser.header_limit(kHeaderBytesMax);
      parser.body_limit(shop->terms.body_bytes_max);
      guest->stream.expires_after(kRequestMax);
      auto const [read_error, read_bytes] = co_await http::async_read(stream, buffer, parser, kAsValue);
      if (guest->is_leaving) break;
      guest->is_waiting = false;
      HttpAnswer answer = refusal_of(read_error);
      if (read_error && answer.body.empty()) break;  // the client is gone
      if (!read_error) answer = co_await shop->answer_to(*guest, parser.get());
      bool const is_whole = !read_error;
      if (answer.next_events && is_whole) {
        co_await stream_events(shop, guest, stream, std::move(answer));
        break;
      }
      Response response = response_to(parser.get(), answer);
      if (!is_whole) response.keep_alive(false);
      goes_on = response.keep_alive();
      http::response_serializer<http::string_body> serializer(response);
      guest->stream.expires_after(kAnswerMax);
      auto const [write_error, written_bytes] = co_await http::async_write(stream, serializer, kAsValue);
      if (write_error) break;
      if (answer.sent) answer.sent();
      if (!is_whole) co_await hear_out(guest, stream);
    }
  }

  // What a client still sends would make its system forget the answer, were the connection closed on it.
  template <class Stream>
  static asio::awaitable<void> hear_out(Place guest, Stream& stream) {
    boost::system::error_code ignored;
    guest->stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
    guest->stream.expires_after(kFarewellMax);
    std::array<char, kHeaderBytesMax> heard{};
    while (true) {
      auto const [error, bytes] = co_await stream.async_read_some(asio::buffer(heard), kAsValue);
      if (error) co_return;
    }
  }

  // Whether the first byte came in time.
  template <class Stream>
  static asio::awaitable<bool> await_request(Place guest, Stream& stream, beast::flat_buffer& buffer,
                                             std::chrono::seconds patience) {
    if (buffer.size() > 0) co_return true;
    guest->stream.expires_after(patience);
    auto const [error, bytes] = co_await stream.async_read_some(buffer.prepare(kHeaderBytesMax), kAsValue);
    buffer.commit(bytes);
    co_return !error;
  }

  // Of what was no request; empty where nobody is left to read it.
  static HttpAnswer refusal_of(boost::system::error_code error) {
    HttpAnswer answer;
    answer.status = kBadRequest;
    if (error == http::error::body_limit) {
      answer.status = kTooLarge;
      answer.body = "the body of the request is too large\n";
    } else if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      answer.status = kHeaderTooLarge;
      answer.body = "the header of the request is too large\n";
    } else if (error.category() == http::make_error_code(http::error::bad_method).category() &&
               error != http::error::end_of_stream && error != http::error::partial_message) {
      answer.body = "this is no request of HTTP/1.1\n";
    }
    return answer;
  }

  asio::awaitable<HttpAnswer> answer_to(Guest const& guest, Request const& given) {
    bool const is_read = given.method() == http::verb::get || given.method() == http::verb::head;
    bool const takes_posts = terms.body_bytes_max > 0;
    HttpAnswer answer;
    if (!is_read && !(takes_posts && given.method() == http::verb::post)) {
      answer.status = kNotAllowed;
      answer.body = takes_posts ? "only GET, HEAD and POST are answered\n" : "only GET and HEAD are answered\n";
      answer.fields.emplace_back("Allow", takes_posts ? "GET, HEAD, POST" : "GET, HEAD");
      co_return answer;
    }
    auto request = request_of(given);
    request.peer = guest.address;
    request.certificate = guest.certificate;
    try {
      answer = co_await handler(std::move(request));
    } catch (...) {
      answer = HttpAnswer();
      answer.status = kFailed;
      answer.body = "the request could not be answered\n";
    }
    if (given.method() == http::verb::head) {
      // Nobody has seen what a HEAD was about.
      answer.sent = nullptr;
      answer.next_events = nullptr;
    }
    if (answer.next_events && streams >= terms.streams_max) {
      answer = HttpAnswer();
      answer.status = kUnavailable;
      answer.body = "too many pages are open; load this one again to see what is new\n";
      answer.fields.emplace_back("Retry-After", "60");
    }
    co_return answer;
  }

  template <class Message>
  static void set_fields(Message& message, HttpAnswer const& answer) {
    message.set(http::field::content_type, answer.content_type);
    message.set(http::field::cache_control, "no-store");
    message.set("X-Content-Type-Options", "nosniff");
    for (auto const& [name, value] : answer.fields) {
      // Several cookies are several fields.
      if (name == "Set-Cookie") {
        message.insert(name, value);
      } else {
        message.set(name, value);
      }
    }
  }

  static Response response_to(Request const& request, HttpAnswer& answer) {
    Response response(static_cast<http::status>(answer.status), request.version());
    set_fields(response, answer);
    response.keep_alive(request.keep_alive());
    auto const bytes = answer.body.size();
    if (request.method() != http::verb::head) response.body() = std::move(answer.body);
    response.content_length(bytes);
    return response;
  }

  // Until the client goes, the stream ends, or the server closes. Its end is that of the connection.
  template <class Stream>
  static asio::awaitable<void> stream_events(std::shared_ptr<Shop> shop, Place guest, Stream& stream,
                                             HttpAnswer answer) {
    constexpr unsigned kHttp11 = 11;
    http::response<http::empty_body> head(static_cast<http::status>(answer.status), kHttp11);
    set_fields(head, answer);
    head.keep_alive(false);
    http::response_serializer<http::empty_body> serializer(head);
    guest->stream.expires_after(kAnswerMax);
    auto const [head_error, head_bytes] = co_await http::async_write_header(stream, serializer, kAsValue);
    if (head_error) co_return;
    ++shop->streams;
    asio::steady_timer timer(shop->acceptor.get_executor());
    auto silent_since = std::chrono::steady_clock::now();
    while (shop->acceptor.is_open()) {
      auto text = answer.next_events();
      if (!text) break;
      bool const beats = text->empty() && std::chrono::steady_clock::now() - silent_since >= kHeartbeat;
      if (beats) *text = ":\n\n";
      if (!text->empty()) {
        guest->stream.expires_after(kAnswerMax);
        auto const [error, bytes] = co_await asio::async_write(stream, asio::buffer(*text), kAsValue);
        if (error) break;
        silent_since = std::chrono::steady_clock::now();
      }
      timer.expires_after(kEventInterval);
      co_await timer.async_wait(kAsValue);
    }
    --shop->streams;
  }

  HttpTerms const terms;
  std::optional<ssl::context> tls;
  tcp::acceptor acceptor;
  HttpHandler handler;
  std::list<Guest> guests;
  int streams = 0;
};

HttpServer::HttpServer(asio::io_context& io, ListenAddress const& address, HttpHandler handler, HttpTerms terms)
    : shop_(std::make_shared<Shop>(io, address, std::move(handler), std::move(terms))) {
  asio::co_spawn(io, Shop::accept(shop_), asio::detached);
}

HttpServer::HttpServer(asio::io_context& io, ListenAddress const& address, PageHandler pages)
    : HttpServer(io, address, handler_of_pages(std::move(pages)), HttpTerms()) {}

HttpServer::~HttpServer() {
  boost::system::error_code ignored;
  shop_->acceptor.close(ignored);
}

std::uint16_t HttpServer::port() const {
  return shop_->acceptor.local_endpoint().port();
}

}  // namespace pgbackfill::engine
