#include "engine/probes/http_probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <vector>

#include "engine/base/percent_encoding.h"
#include "engine/probes/probe_rows.h"

namespace pgbackfill::engine {

namespace {

using throttle::Sight;
using throttle::TimePoint;

constexpr std::size_t kMostErrorText = 200;

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

std::string prometheus_query_url(std::string base, std::string const& expression) {
  while (base.ends_with('/')) base.pop_back();
  return base + "/api/v1/query?query=" + percent_encoded(expression, "-._~");
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
