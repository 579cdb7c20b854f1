#include "engine/probes/http_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/parse.hpp>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <vector>

#include "engine/base/percent_encoding.h"
#include "engine/probes/probe_rows.h"

namespace pgbackfill::engine {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using throttle::Sight;
using throttle::TimePoint;

constexpr std::size_t kMostErrorText = 200;

Failure failed(boost::system::error_code error, std::string const& doing) {
  Failure failure;
  failure.trouble = planner::Trouble::kConnection;
  failure.message = error == beast::error::timeout ? doing + " took too long" : doing + ": " + error.message();
  return failure;
}

throttle::Sample<double> bad(TimePoint asked, std::string why) {
  return unseen<double>(Sight::kFailed, asked, std::move(why));
}

// ["<unix time>", "<value>"]; Prometheus writes numbers as text, for NaN and Inf.
std::optional<double> sample_value(boost::json::value const& pair) {
  auto const* const array = pair.if_array();
  if (array == nullptr || array->size() != 2) return std::nullopt;
  auto const* const text = (*array)[1].if_string();
  if (text == nullptr) return std::nullopt;
  std::string const number(*text);
  char* end = nullptr;
  double const value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0') return std::nullopt;
  return value;
}

boost::json::value const* member(boost::json::value const* of, char const* name) {
  auto const* const object = of == nullptr ? nullptr : of->if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

// A vector has a value for each of its series, a scalar one alone.
std::vector<std::optional<double>> values_of(boost::json::value const* data) {
  auto const* const type = member(data, "resultType");
  auto const* const result = member(data, "result");
  std::vector<std::optional<double>> values;
  if (type == nullptr || result == nullptr || !result->is_array()) return {std::nullopt};
  if (*type == "scalar") return {sample_value(*result)};
  if (*type != "vector") return {std::nullopt};
  for (auto const& series : result->get_array()) {
    auto const* const pair = member(&series, "value");
    values.push_back(pair == nullptr ? std::nullopt : sample_value(*pair));
  }
  return values;
}

throttle::Sample<double> judge_query(boost::json::value const& document, TimePoint asked) {
  auto const* const status = member(&document, "status");
  if (status == nullptr || *status != "success") {
    auto const* const error = member(&document, "error");
    std::string const text = error != nullptr && error->is_string() ? std::string(error->get_string()) : "no success";
    return bad(asked, "the query failed: " + text.substr(0, kMostErrorText));
  }
  auto const values = values_of(member(&document, "data"));
  if (values.empty()) return unseen<double>(Sight::kMissing, asked, "the query found no series");
  double worst = -std::numeric_limits<double>::infinity();
  for (auto const& value : values) {
    if (!value) return bad(asked, "the answer has no value to compare");
    if (std::isnan(*value)) return unseen<double>(Sight::kNull, asked, "the query gave NaN");
    worst = std::max(worst, *value);
  }
  return seen(worst, asked);
}

}  // namespace

bool Url::is_prometheus_query() const {
  return target.find("/api/v1/query?") != std::string::npos;
}

std::string prometheus_query_url(std::string base, std::string const& expression) {
  while (base.ends_with('/')) base.pop_back();
  return base + "/api/v1/query?query=" + percent_encoded(expression, "-._~");
}

std::variant<Url, std::string> parse_url(std::string const& text) {
  constexpr std::string_view kScheme = "http://";
  if (text.starts_with("https://")) {
    return "https is not supported: ask a proxy or exporter on this host, as in http://localhost:9090/...";
  }
  if (!text.starts_with(kScheme)) return "a URL begins with http://";
  bool const is_printable =
      std::all_of(text.begin(), text.end(), [](char letter) { return letter > ' ' && letter < 127; });
  if (!is_printable) return "a URL has no blanks and no letters beyond ASCII: write them as %20 and so on";
  std::string rest = text.substr(kScheme.size());
  rest = rest.substr(0, rest.find('#'));
  std::size_t const end = std::min(rest.find_first_of("/?"), rest.size());
  std::string authority = rest.substr(0, end);
  Url url;
  url.target = rest.substr(end);
  if (!url.target.starts_with('/')) url.target.insert(0, "/");
  if (authority.find('@') != std::string::npos) return "a user name in a URL is not supported";
  std::size_t const bracket = authority.starts_with('[') ? authority.find(']') : 0;
  if (bracket == std::string::npos) return "the address of the host has no end: ]";
  std::size_t const colon = authority.find(':', bracket);
  if (colon != std::string::npos) {
    url.port = authority.substr(colon + 1);
    authority.resize(colon);
    int port = 0;
    auto const [parsed_end, error] = std::from_chars(url.port.data(), url.port.data() + url.port.size(), port);
    bool const is_port =
        error == std::errc() && parsed_end == url.port.data() + url.port.size() && port > 0 && port < 65536;
    if (!is_port) return "'" + url.port + "' is no port";
  }
  url.host = bracket > 0 ? authority.substr(1, bracket - 1) : authority;
  if (url.host.empty()) return "the URL has no host";
  return url;
}

asio::awaitable<Result<HttpReply>> http_get(Url url, std::chrono::milliseconds timeout) {
  auto const executor = co_await asio::this_coro::executor;
  auto const deadline = std::chrono::steady_clock::now() + timeout;
  boost::system::error_code error;
  asio::ip::tcp::resolver resolver(executor);
  auto const found =
      co_await resolver.async_resolve(url.host, url.port, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return failed(error, "looking up " + url.host);
  beast::tcp_stream stream(executor);
  stream.expires_at(deadline);
  co_await stream.async_connect(found, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return failed(error, fmt::format("connecting to {}:{}", url.host, url.port));
  http::request<http::empty_body> request(http::verb::get, url.target, 11);
  bool const is_v6 = url.host.find(':') != std::string::npos;
  request.set(http::field::host, fmt::format(fmt::runtime(is_v6 ? "[{}]:{}" : "{}:{}"), url.host, url.port));
  request.set(http::field::user_agent, "pgbackfill");
  request.set(http::field::connection, "close");
  co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return failed(error, "asking");
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kMostAnswerBytes);
  co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return failed(error, "the answer");
  HttpReply answer;
  answer.status = parser.get().result_int();
  answer.body = std::move(parser.get().body());
  co_return answer;
}

throttle::Sample<double> judge(Url const& url, HttpReply const& answer, TimePoint asked) {
  bool const is_good = answer.status == 200;
  if (!url.is_prometheus_query()) {
    auto sample = seen(is_good ? 0.0 : 1.0, asked);
    if (!is_good) sample.why = fmt::format("it answered {}", answer.status);
    return sample;
  }
  boost::system::error_code error;
  auto const document = boost::json::parse(answer.body, error);
  if (!is_good && (error || !document.is_object())) return bad(asked, fmt::format("it answered {}", answer.status));
  if (error || !document.is_object()) return bad(asked, "its answer is no JSON object");
  return judge_query(document, asked);
}

}  // namespace pgbackfill::engine
