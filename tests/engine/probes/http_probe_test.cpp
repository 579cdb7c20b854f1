#include "engine/probes/http_probe.h"

#include <gtest/gtest.h>

#include <string>

namespace pgbackfill::engine {
namespace {

using throttle::Sight;

throttle::Sample<double> judged(std::string const& body, unsigned status = 200) {
  Url url;
  url.host = "prometheus";
  url.target = "/api/v1/query?query=up";
  HttpReply const answer{status, body, {}};
  return judge(url, answer, throttle::TimePoint());
}

std::string vector_of(std::string const& series) {
  return R"({"status":"success","data":{"resultType":"vector","result":[)" + series + "]}}";
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
