#include "engine/probes/http_probe.h"

#include <gtest/gtest.h>

#include <string>
#include <variant>

namespace pgbackfill::engine {
namespace {

using throttle::Sight;

Url url_of(std::string const& text) {
  auto const parsed = parse_url(text);
  auto const* const url = std::get_if<Url>(&parsed);
  EXPECT_NE(url, nullptr) << text << ": " << (url == nullptr ? std::get<std::string>(parsed) : "");
  return url == nullptr ? Url() : *url;
}

std::string mistake_of(std::string const& text) {
  auto const parsed = parse_url(text);
  auto const* const mistake = std::get_if<std::string>(&parsed);
  return mistake == nullptr ? "" : *mistake;
}

throttle::Sample<double> judged(std::string const& body, unsigned status = 200) {
  Url url;
  url.host = "prometheus";
  url.target = "/api/v1/query?query=up";
  HttpReply const answer{status, body};
  return judge(url, answer, throttle::TimePoint());
}

std::string vector_of(std::string const& series) {
  return R"({"status":"success","data":{"resultType":"vector","result":[)" + series + "]}}";
}

TEST(HttpProbe, TakesAUrlApart) {
  auto const full = url_of("http://metrics.example:9090/api/v1/query?query=sum(rate(x[5m]))#here");
  EXPECT_EQ(full.host, "metrics.example");
  EXPECT_EQ(full.port, "9090");
  EXPECT_EQ(full.target, "/api/v1/query?query=sum(rate(x[5m]))");
  EXPECT_TRUE(full.is_prometheus_query());
  auto const bare = url_of("http://ready");
  EXPECT_EQ(bare.host, "ready");
  EXPECT_EQ(bare.port, "80");
  EXPECT_EQ(bare.target, "/");
  EXPECT_FALSE(bare.is_prometheus_query());
  EXPECT_EQ(url_of("http://ready?deep=1").target, "/?deep=1");
  auto const v6 = url_of("http://[::1]:8080/x");
  EXPECT_EQ(v6.host, "::1");
  EXPECT_EQ(v6.port, "8080");
  EXPECT_EQ(url_of("http://[::1]/x").port, "80");
}

TEST(HttpProbe, SaysWhatIsWrongWithAUrl) {
  EXPECT_NE(mistake_of("https://x/").find("https"), std::string::npos);
  for (char const* text :
       {"", "x", "ftp://x", "http://", "http://:80/", "http://x:/", "http://x:0/", "http://x:70000", "http://x:8o/",
        "http://[::1", "http://user@x/", "http://x/a b", "http://x/\n", "http://x/\xC3\xA9"}) {
    EXPECT_NE(mistake_of(text), "") << text;
  }
}

TEST(HttpProbe, ComparesTheLargestValueOfAQuery) {
  auto const one = judged(vector_of(R"({"metric":{},"value":[1,"12.5"]})"));
  EXPECT_TRUE(one.is_seen());
  EXPECT_EQ(one.value, 12.5);
  EXPECT_EQ(judged(vector_of(R"({"metric":{},"value":[1,"-3"]},{"metric":{},"value":[1,"-2"]})")).value, -2);
  EXPECT_EQ(judged(R"({"status":"success","data":{"resultType":"scalar","result":[1,"7"]}})").value, 7);
  EXPECT_GT(judged(vector_of(R"({"metric":{},"value":[1,"+Inf"]})")).value, 1e300);
}

TEST(HttpProbe, TakesNoUnclearAnswerForAGoodOne) {
  EXPECT_EQ(judged(vector_of("")).sight, Sight::kMissing);
  EXPECT_EQ(judged(vector_of(R"({"metric":{},"value":[1,"NaN"]})")).sight, Sight::kNull);
  for (std::string const& body :
       {std::string("fine"), std::string("[]"), std::string("{}"), std::string(R"({"status":"error","error":"x"})"),
        std::string(R"({"status":"success"})"),
        std::string(R"({"status":"success","data":{"resultType":"matrix","result":[]}})"),
        std::string(R"({"status":"success","data":{"resultType":"scalar","result":[1]}})"), vector_of("{}"),
        vector_of("1"), vector_of(R"({"value":[1,2]})"), vector_of(R"({"value":[1,""]})"),
        vector_of(R"({"value":[1,"5 apples"]})")}) {
    EXPECT_EQ(judged(body).sight, Sight::kFailed) << body;
    EXPECT_FALSE(judged(body).why.empty()) << body;
  }
  EXPECT_EQ(judged("<html>", 502).sight, Sight::kFailed);
  EXPECT_NE(judged("<html>", 502).why.find("502"), std::string::npos);
}

}  // namespace
}  // namespace pgbackfill::engine
