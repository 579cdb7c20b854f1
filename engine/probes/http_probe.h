// A user's signal by HTTP: any URL that answers 200 when all is well, or a Prometheus instant query, whose value
// counts.
//
// Plain HTTP only. parse_url() and judge() are pure; http_get() is bounded in time and size and follows no redirects.
// Whatever is not clearly good is a bad sample with a reason. Thread rule: the engine's io_context thread.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <string>
#include <variant>

#include "engine/base/result.h"
#include "throttle/reading.h"

namespace pgbackfill::engine {

namespace asio = boost::asio;

inline constexpr std::size_t kMostAnswerBytes = 1 << 20;

struct Url {
  std::string host;
  std::string port = "80";
  std::string target = "/";  // path and query

  // A Prometheus instant query: its answer's value counts, not only that it answers.
  bool is_prometheus_query() const;
};

// The URL, or what is wrong with it.
std::variant<Url, std::string> parse_url(std::string const& text);

// Of an instant query for this PromQL at the server with this base URL.
std::string prometheus_query_url(std::string base, std::string const& expression);

struct HttpReply {
  unsigned status = 0;
  std::string body;
};

// Failures are of the network, or a time that is over.
asio::awaitable<Result<HttpReply>> http_get(Url url, std::chrono::milliseconds timeout);

// 200 is 0 and any other status 1. Of a query the largest value of its series.
throttle::Sample<double> judge(Url const& url, HttpReply const& answer, throttle::TimePoint asked);

}  // namespace pgbackfill::engine
