#include "engine/base/listen_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgbackfill::engine {
namespace {

std::string parsed(std::string const& text) {
  auto const result = parse_listen_address(text);
  if (auto const* problem = std::get_if<std::string>(&result)) return *problem;
  return to_string(std::get<ListenAddress>(result));
}

TEST(ListenAddress, IsTheLoopbackUnlessAHostIsNamed) {
  EXPECT_EQ(parsed("9187"), "127.0.0.1:9187");
  EXPECT_EQ(parsed("0"), "127.0.0.1:0");
}

TEST(ListenAddress, TakesNamesAndAddresses) {
  EXPECT_EQ(parsed("0.0.0.0:9187"), "0.0.0.0:9187");
  EXPECT_EQ(parsed("localhost:65535"), "localhost:65535");
  EXPECT_EQ(parsed("[::1]:9187"), "[::1]:9187");
  EXPECT_EQ(parsed("[fe80::1%eth0]:9187"), "[fe80::1%eth0]:9187");
}

TEST(ListenAddress, RefusesTheRestAndNamesIt) {
  for (std::string const text : {"",
                                 ":",
                                 "port",
                                 "65536",
                                 "-1",
                                 "9187 ",
                                 " 9187",
                                 "9187x",
                                 "1.2.3.4",
                                 "1.2.3.4:",
                                 "localhost:http",
                                 ":9187",
                                 "::1:9187",
                                 "[::1]",
                                 "[]:9187",
                                 "[localhost]:9187",
                                 "[::1:9187",
                                 "a b:9187",
                                 "http://localhost:9187",
                                 "local\nhost:9187",
                                 "[::1%]:9187"}) {
    auto const result = parse_listen_address(text);
    ASSERT_TRUE(std::holds_alternative<std::string>(result)) << text;
    EXPECT_THAT(std::get<std::string>(result), testing::HasSubstr("'" + text + "' is no address to listen on: "));
  }
  EXPECT_THAT(parsed(":9187"), testing::HasSubstr("0.0.0.0"));
}

TEST(ListenAddress, RefusesAHostLongerThanNamesAre) {
  EXPECT_THAT(parsed(std::string(254, 'a') + ":1"), testing::HasSubstr("no address"));
}

}  // namespace
}  // namespace pgbackfill::engine
