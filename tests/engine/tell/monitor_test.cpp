// The monitor over real sockets of this machine; without a database.
#include "engine/tell/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/system/system_error.hpp>
#include <string>
#include <vector>

#include "tests/support/http_client.h"

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using tests::http_get;
using tests::http_request;

class Listener final : public EventSink {
 public:
  void emit(Event event) override { heard.push_back(std::move(event)); }
  std::vector<Event> heard;
};

class MonitorTest : public testing::Test {
 protected:
  std::uint16_t port() const { return monitor_.address().port; }

  static Progress progress(RunPhase phase = RunPhase::kBackfilling) {
    Progress told;
    told.table = "public.users";
    told.phase = phase;
    told.rows_done = 4711;
    told.may_start = true;
    return told;
  }

  Listener next_;
  Monitor monitor_{ListenAddress(), "users", next_};
};

TEST_F(MonitorTest, ChoosesAFreePortAndTellsIt) {
  EXPECT_NE(port(), 0);
  EXPECT_EQ(monitor_.address().host, "127.0.0.1");
}

TEST_F(MonitorTest, ServesMetricsOfAllThatWasToldBefore) {
  monitor_.emit(progress());
  auto const reply = http_get(port(), "/metrics");
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.head, HasSubstr("text/plain; version=0.0.4; charset=utf-8"));
  EXPECT_THAT(reply.body, HasSubstr("\npgbackfill_job_rows_done{migration=\"users\"} 4711\n"));
}

TEST_F(MonitorTest, HandsEveryEventOn) {
  monitor_.emit(LogLine{{}, Severity::kInfo, "hello", {}});
  monitor_.emit(progress());
  monitor_.emit(BatchTold{1, 1ms, std::nullopt, ""});
  monitor_.emit(Summary{});
  ASSERT_EQ(next_.heard.size(), 4U);
  EXPECT_EQ(std::get<LogLine>(next_.heard[0]).text, "hello");
  EXPECT_EQ(std::get<Progress>(next_.heard[1]).rows_done, 4711);
}

TEST_F(MonitorTest, SaysWhetherItIsAliveAndReady) {
  EXPECT_EQ(http_get(port(), "/healthz").status, 200);
  EXPECT_EQ(http_get(port(), "/readyz").status, 503);
  monitor_.emit(progress());
  EXPECT_EQ(http_get(port(), "/readyz").status, 200);
  auto paused = progress(RunPhase::kPaused);
  paused.may_start = false;
  paused.held_back = "paused: incident 4711";
  monitor_.emit(paused);
  auto const reply = http_get(port(), "/readyz");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.body, "paused: incident 4711\n");
  EXPECT_EQ(http_get(port(), "/healthz").status, 200);
}

TEST_F(MonitorTest, KnowsWhenTheEndWasSeen) {
  monitor_.emit(progress());
  http_get(port(), "/metrics");
  EXPECT_FALSE(monitor_.has_shown_end());
  Summary summary;
  summary.last = progress();
  monitor_.emit(summary);
  http_get(port(), "/readyz");
  http_request(port(), "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_FALSE(monitor_.has_shown_end());
  EXPECT_THAT(http_get(port(), "/metrics").body, HasSubstr("pgbackfill_run_exit_code{migration=\"users\"} 0\n"));
  EXPECT_TRUE(monitor_.has_shown_end());
}

TEST_F(MonitorTest, AnswersOnlyWhatItKnows) {
  EXPECT_EQ(http_get(port(), "/metrics?format=text").status, 200);
  EXPECT_EQ(http_get(port(), "/").status, 200);
  EXPECT_EQ(http_get(port(), "/etc/passwd").status, 404);
  EXPECT_EQ(http_get(port(), "/metrics/../healthz").status, 404);
  auto const deleted = http_request(port(), "DELETE /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(deleted.status, 405);
  EXPECT_THAT(deleted.head, HasSubstr("Allow: GET, HEAD"));
  auto const head = http_request(port(), "HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.body, "");
  EXPECT_THAT(head.head, HasSubstr("Content-Length: "));
}

TEST_F(MonitorTest, KeepsAConnectionForSeveralRequests) {
  auto const replies = http_request(port(),
                                    "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
                                    "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(replies.status, 200);
  EXPECT_THAT(replies.body, StartsWith("alive\n"));
  EXPECT_THAT(replies.body, HasSubstr("HTTP/1.1 503"));
}

TEST_F(MonitorTest, SurvivesRubbishAndEndlessRequests) {
  http_request(port(), "\x16\x03\x01 this is no HTTP\r\n\r\n");
  http_request(port(), "GET /" + std::string(100'000, 'a') + " HTTP/1.1\r\n\r\n");
  http_request(port(), "GET / HTTP/1.1\r\nX: " + std::string(100'000, 'a'));
  EXPECT_EQ(http_get(port(), "/healthz").status, 200);
}

TEST_F(MonitorTest, AnswersBesideConnectionsThatSayNothing) {
  boost::asio::io_context io;
  std::vector<boost::asio::ip::tcp::socket> silent;
  boost::asio::ip::tcp::endpoint const there(boost::asio::ip::make_address("127.0.0.1"), port());
  for (int number = 0; number < 900; ++number) {
    silent.emplace_back(io).connect(there);
    // Half of them begin and never end.
    if (number % 2 == 0) silent.back().send(boost::asio::buffer("GET /", 5));
    if (number % 100 == 99) {
      EXPECT_EQ(http_get(port(), "/healthz").status, 200) << number;
    }
  }
}

TEST_F(MonitorTest, RefusesAPortThatIsTaken) {
  Listener other;
  EXPECT_THROW(Monitor({"127.0.0.1", port()}, "users", other), boost::system::system_error);
}

TEST_F(MonitorTest, LosesNothingOfAnEndThatComesWithAFlood) {
  for (int i = 0; i < 2 * Monitor::kQueuedMax; ++i) monitor_.emit(BatchTold{1, 1ms, std::nullopt, ""});
  Summary summary;
  summary.last = progress();
  summary.exit_code = 3;
  monitor_.emit(summary);
  auto const body = http_get(port(), "/metrics").body;
  EXPECT_THAT(body, HasSubstr("pgbackfill_run_exit_code{migration=\"users\"} 3\n"));
  auto const number = [&body](std::string const& name) {
    std::string const series = "\n" + name + "{migration=\"users\"} ";
    auto const at = body.find(series);
    return at == std::string::npos ? -1 : std::stoll(body.substr(at + series.size()));
  };
  EXPECT_EQ(number("pgbackfill_batches_total") + number("pgbackfill_events_lost_total"), 2 * Monitor::kQueuedMax);
}

TEST(Monitor, StopsListeningWhenItGoes) {
  Listener next;
  std::uint16_t port = 0;
  {
    Monitor const monitor(ListenAddress(), "users", next);
    port = monitor.address().port;
    EXPECT_EQ(http_get(port, "/healthz").status, 200);
  }
  EXPECT_EQ(http_get(port, "/healthz").status, 0);
}

}  // namespace
}  // namespace pgbackfill::engine
