// Calls over plain HTTP and TLS, to servers of this machine that behave and that do not.
#include "engine/http/http_call.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <filesystem>

#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::HttpCall;
using engine::HttpReply;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Clock = std::chrono::steady_clock;

HttpCall call_to(std::string const& url) {
  HttpCall call;
  call.url = std::get<engine::Url>(engine::parse_url(url));
  call.timeout = 5s;
  return call;
}

engine::Result<HttpReply> made(HttpCall call) {
  boost::asio::io_context io{1};
  engine::Result<HttpReply> result = HttpReply();
  auto const run = [&]() -> boost::asio::awaitable<void> {
    auto answer = co_await engine::http_call(std::move(call));
    result = std::move(answer);
  };
  boost::asio::co_spawn(io, run, boost::asio::detached);
  io.run();
  return result;
}

std::string trouble_of(HttpCall call) {
  auto const result = made(std::move(call));
  return result ? "answered " + std::to_string(result->status) : result.error().message;
}

class HttpCallTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string pattern = (std::filesystem::temp_directory_path() / "pgbackfill-tls-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
    certificate_ = make_certificate(folder_);
  }
  static void TearDownTestSuite() { std::filesystem::remove_all(folder_); }

  static std::filesystem::path folder_;
  static Certificate certificate_;
};

std::filesystem::path HttpCallTest::folder_;
Certificate HttpCallTest::certificate_;

TEST_F(HttpCallTest, SendsWhatItIsGiven) {
  Receiver receiver("echo");
  auto call = call_to(receiver.url("/hook?a=b#c"));
  call.method = "PUT";
  call.body = R"({"text": "so"})";
  call.headers = {{"Content-Type", "application/json"}, {"X-Token", "t"}};
  auto const reply = made(std::move(call));
  ASSERT_TRUE(reply) << reply.error().message;
  EXPECT_EQ(reply->status, 200U);
  EXPECT_EQ(reply->body, R"({"text": "so"})");
  auto const request = receiver.requests().at(0);
  EXPECT_EQ(request.at("method"), "PUT");
  EXPECT_EQ(request.at("path"), "/hook?a=b");
  EXPECT_EQ(request.at("headers").at("X-Token"), "t");
  EXPECT_EQ(request.at("headers").at("User-Agent"), "pgbackfill");
}

TEST_F(HttpCallTest, TrustsNobodyWhoIsNotVouchedFor) {
  Receiver receiver("200", &certificate_);
  unsetenv("SSL_CERT_FILE");
  EXPECT_THAT(trouble_of(call_to(receiver.url())), AllOf(HasSubstr("is not trusted"), HasSubstr("SSL_CERT_FILE")));
  EXPECT_TRUE(receiver.requests().empty());
  auto by_file = call_to(receiver.url());
  by_file.ca_file = certificate_.file;
  EXPECT_EQ(trouble_of(std::move(by_file)), "answered 200");
  setenv("SSL_CERT_FILE", certificate_.file.c_str(), 1);
  EXPECT_EQ(trouble_of(call_to(receiver.url())), "answered 200");
  unsetenv("SSL_CERT_FILE");
  auto missing = call_to(receiver.url());
  missing.ca_file = (folder_ / "nothing.pem").string();
  EXPECT_THAT(trouble_of(std::move(missing)), HasSubstr("nothing.pem"));
}

TEST_F(HttpCallTest, TellsHowLongToWait) {
  Receiver receiver("429:7");
  auto const reply = made(call_to(receiver.url()));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 429U);
  EXPECT_EQ(reply->retry_after, 7s);
}

TEST_F(HttpCallTest, FollowsToItsOwnHostAlone) {
  Receiver other("200");
  Receiver receiver("302>/there,200,302>" + other.url() + ",302>/again");
  EXPECT_EQ(trouble_of(call_to(receiver.url())), "answered 200");
  EXPECT_EQ(receiver.requests().at(1).at("path"), "/there");
  EXPECT_EQ(trouble_of(call_to(receiver.url())), "answered 302");
  EXPECT_TRUE(other.requests().empty());
  EXPECT_EQ(trouble_of(call_to(receiver.url())), "answered 302") << "again and again";
}

TEST_F(HttpCallTest, AnswersThatAreNoneAreFailures) {
  for (std::string const kind : {"close", "half", "huge"}) {
    Receiver receiver(kind);
    auto const trouble = trouble_of(call_to(receiver.url("/secret")));
    EXPECT_THAT(trouble, AllOf(HasSubstr(std::to_string(receiver.port())), Not(HasSubstr("secret")))) << kind;
  }
  EXPECT_THAT(trouble_of(call_to("http://127.0.0.1:1/")), HasSubstr("127.0.0.1:1: "));
}

TEST_F(HttpCallTest, IsBoundedInTimeWhateverTheServerDoes) {
  Receiver receiver("hang");
  auto call = call_to(receiver.url());
  call.timeout = 300ms;
  auto const began = Clock::now();
  EXPECT_THAT(trouble_of(std::move(call)), HasSubstr("took too long"));
  EXPECT_LT(Clock::now() - began, 2s);
}

TEST_F(HttpCallTest, EndsSoonWhenItsAskerEnds) {
  Receiver receiver("hang");
  std::atomic<bool> is_stopping{false};
  auto call = call_to(receiver.url());
  call.timeout = 60s;
  call.is_stopping = [&] { return is_stopping || (is_stopping = !receiver.requests().empty()); };
  auto const began = Clock::now();
  EXPECT_EQ(trouble_of(std::move(call)), "it was interrupted");
  EXPECT_LT(Clock::now() - began, 5s);
}

TEST_F(HttpCallTest, ManyAtOnceWaitForNobodyElse) {
  Receiver slow("hang");
  Receiver quick("200");
  boost::asio::io_context io{1};
  std::string ends;
  auto const run = [&](std::string url) -> boost::asio::awaitable<void> {
    auto call = call_to(url);
    call.timeout = 3s;
    auto const result = co_await engine::http_call(std::move(call));
    ends += result ? 'a' : 'f';
  };
  for (int count = 0; count < 20; ++count) {
    boost::asio::co_spawn(io, run(slow.url()), boost::asio::detached);
    boost::asio::co_spawn(io, run(quick.url()), boost::asio::detached);
  }
  io.run();
  EXPECT_EQ(ends, std::string(20, 'a') + std::string(20, 'f')) << "those that are answered wait for none that hangs";
}

}  // namespace
}  // namespace pgbackfill::tests
