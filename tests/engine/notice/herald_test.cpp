// Whoever is to be told: in his order, from a queue with an end, and without holding anybody up.
#include "engine/notice/herald.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <string>
#include <vector>

#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::Event;
using engine::Herald;
using planner::DeliveryKind;
using planner::Occasion;
using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

// Keeps what it hears.
class Ear final : public engine::EventSink {
 public:
  void emit(Event event) override {
    if (auto const* line = std::get_if<engine::LogLine>(&event)) lines.push_back(line->text);
    ++events;
  }
  std::vector<std::string> lines;
  int events = 0;
};

class HeraldTest : public testing::Test {
 protected:
  static planner::OccasionRule rule(Occasion occasion, std::vector<std::string> const& urls) {
    planner::OccasionRule made;
    made.occasion = occasion;
    for (auto const& url : urls) {
      planner::Delivery delivery;
      delivery.position = {"m.yaml", 7, 5};
      delivery.kind = DeliveryKind::kWebhook;
      delivery.url.text = url;
      made.deliveries.push_back(std::move(delivery));
    }
    return made;
  }
  engine::HeraldTerms terms(std::vector<planner::OccasionRule> rules) {
    engine::HeraldTerms made;
    made.rules = std::move(rules);
    made.sender = {"m", "m.yaml", "run", "host", 1};
    made.executor = io_.get_executor();
    return made;
  }
  void finish(Herald& herald) {
    auto const run = [&]() -> boost::asio::awaitable<void> {
      co_await herald.finish();
      io_.stop();
    };
    boost::asio::co_spawn(io_, run, boost::asio::detached);
    io_.run();
    io_.restart();
  }

  boost::asio::io_context io_{1};
  Ear ear_;
};

TEST_F(HeraldTest, TellsEachReceiverInOrderAndHandsEverythingOn) {
  Receiver receiver("503,200");
  Herald herald(terms({rule(Occasion::kFailure, {receiver.url()}), rule(Occasion::kDone, {receiver.url()})}), ear_);
  herald.failed(1, "first");
  engine::Summary summary;
  summary.headline = "second";
  herald.emit(summary);
  finish(herald);
  ASSERT_EQ(receiver.documents().size(), 3U) << "the first one twice";
  EXPECT_EQ(receiver.documents()[0].at("text"), "first");
  EXPECT_EQ(receiver.documents()[1].at("text"), "first");
  EXPECT_EQ(receiver.documents()[2].at("text"), "second");
  EXPECT_EQ(ear_.events, 1);
}

boost::asio::awaitable<engine::Admission> answered(engine::Admission answer) {
  co_return answer;
}

boost::asio::awaitable<engine::Admission> answered_late() {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, 30s);
  co_await timer.async_wait(boost::asio::use_awaitable);
  co_return engine::Admission::kTold;
}

TEST_F(HeraldTest, WhatAnotherProcessHasToldIsLeftToItButHowThisOneFailsIsNot) {
  Receiver receiver("200");
  auto its = terms({rule(Occasion::kFailure, {receiver.url()}), rule(Occasion::kDone, {receiver.url()})});
  std::vector<Occasion> asked;
  its.admit = [&](engine::Notice notice) {
    asked.push_back(notice.occasion);
    return answered(asked.size() == 1 ? engine::Admission::kTold : engine::Admission::kGranted);
  };
  Herald herald(std::move(its), ear_);
  herald.done("first");
  herald.failed(1, "second");
  herald.done("third");
  finish(herald);
  EXPECT_EQ(asked, (std::vector{Occasion::kDone, Occasion::kDone}));
  ASSERT_EQ(receiver.documents().size(), 2U);
  EXPECT_EQ(receiver.documents()[0].at("text"), "second");
  EXPECT_EQ(receiver.documents()[1].at("text"), "third");
}

TEST_F(HeraldTest, WhereNobodyAnswersItIsTold) {
  Receiver receiver("200");
  auto its = terms({rule(Occasion::kDone, {receiver.url()})});
  its.admit = [](engine::Notice) { return answered_late(); };
  Herald herald(std::move(its), ear_);
  herald.done("so");
  finish(herald);
  EXPECT_EQ(receiver.documents().size(), 1U);
}

TEST_F(HeraldTest, ItsQueueHasAnEnd) {
  Receiver hanging("hang");
  Herald herald(terms({rule(Occasion::kFailure, {hanging.url()})}), ear_);
  for (int number = 0; number < 200; ++number) herald.failed(1, "again");
  auto const began = Clock::now();
  finish(herald);
  EXPECT_LT(Clock::now() - began, 10s);
  ASSERT_EQ(ear_.lines.size(), 2U);
  EXPECT_THAT(ear_.lines[0], HasSubstr("m.yaml:7:5: on failure: webhook to http://127.0.0.1"));
  EXPECT_THAT(ear_.lines[0], HasSubstr("left out, because 64 deliveries wait already"));
  EXPECT_THAT(ear_.lines[1], HasSubstr("64 message(s) could not be delivered"));
}

TEST_F(HeraldTest, SaysWhyNobodyWasReachedWhenItHasToLeave) {
  Herald herald(terms({rule(Occasion::kDone, {"http://127.0.0.1:1/hunter22"})}), ear_);
  herald.done("so");
  finish(herald);
  ASSERT_EQ(ear_.lines.size(), 1U);
  EXPECT_THAT(ear_.lines[0], HasSubstr("on done: webhook to http://127.0.0.1:1: 127.0.0.1:1: "));
  EXPECT_EQ(ear_.lines[0].find("hunter22"), std::string::npos);
}

TEST_F(HeraldTest, WhatIsLeftWhenItGoesIsCutOff) {
  Receiver hanging("hang");
  {
    Herald herald(terms({rule(Occasion::kFailure, {hanging.url()})}), ear_);
    herald.failed(1, "so");
    io_.run_for(500ms);
  }
  auto const began = Clock::now();
  io_.run_for(5s);
  EXPECT_LT(Clock::now() - began, 2s) << "its coroutines have ended";
  EXPECT_TRUE(ear_.lines.empty());
}

}  // namespace
}  // namespace pgbackfill::tests
