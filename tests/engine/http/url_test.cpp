#include "engine/http/url.h"

#include <gtest/gtest.h>

#include <string>
#include <variant>

namespace pgbackfill::engine {
namespace {

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

TEST(Url, TakesAUrlApart) {
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

TEST(Url, SaysWhatIsWrongWithAUrl) {
  for (char const* text : {"", "x", "ftp://x", "http://", "http://:80/", "http://x:/", "http://x:0/", "http://x:70000",
                           "http://x:8o/", "http://[::1", "http://user@x/", "http://x/a b", "http://x/\n",
                           "http://x/\xC3\xA9", "https://", "https://a\\@b/"}) {
    EXPECT_NE(mistake_of(text), "") << text;
  }
}

TEST(Url, KnowsTheUsualPorts) {
  auto const secure = url_of("https://hooks.example/T1/B2?x=1");
  EXPECT_TRUE(secure.is_https);
  EXPECT_EQ(secure.port, "443");
  EXPECT_EQ(secure.text(), "https://hooks.example/T1/B2?x=1");
  EXPECT_EQ(secure.origin(), "https://hooks.example");
  EXPECT_EQ(url_of("https://hooks.example:8443/x").origin(), "https://hooks.example:8443");
  EXPECT_EQ(url_of("http://[::1]:8080/x").text(), "http://[::1]:8080/x");
}

TEST(Url, IsFollowedToItsOwnHostAlone) {
  auto const follows = [](std::string const& from, std::string const& to) {
    return stays_with_host(url_of(from), url_of(to));
  };
  EXPECT_TRUE(follows("http://a/x", "http://a/y"));
  EXPECT_TRUE(follows("http://a/x", "https://a/x"));
  EXPECT_FALSE(follows("https://a/x", "http://a/x"));
  EXPECT_FALSE(follows("http://a/x", "http://b/x"));
  EXPECT_FALSE(follows("http://a/x", "http://a:8080/x"));
  EXPECT_FALSE(follows("http://a:8080/x", "https://a/x"));
}

}  // namespace
}  // namespace pgbackfill::engine
