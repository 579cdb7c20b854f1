// What receivers get.
#include "engine/notice/notice_document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <string>

namespace pgbackfill::engine {
namespace {

using namespace std::chrono_literals;
using planner::Occasion;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

NoticeSender const kSender{"users", "users.yaml", "run", "db1", 17};

Notice failure() {
  Notice notice;
  notice.occasion = Occasion::kFailure;
  notice.text = "users failed: \"x\" <y> & postgresql://app:hunter2@db/shop\nsecond line";
  notice.last.table = "public.users";
  notice.last.rows_done = 7;
  notice.exit_code = 1;
  notice.notes = {"run again"};
  return notice;
}

boost::json::object document_of(Notice const& notice) {
  return notice_document(notice, kSender, std::chrono::system_clock::time_point(1'700'000'000s));
}

TEST(NoticeDocument, HasWhatAReceiverNeeds) {
  auto const document = document_of(failure());
  EXPECT_EQ(document.at("event"), "failure");
  EXPECT_EQ(document.at("migration"), "users");
  EXPECT_EQ(document.at("at"), "2023-11-14T22:13:20Z");
  EXPECT_EQ(document.at("command"), "run");
  EXPECT_EQ(document.at("rows_done"), 7);
  EXPECT_EQ(document.at("exit_code"), 1);
  EXPECT_EQ(document.at("resumable"), false);
  EXPECT_EQ(document.at("notes").as_array().size(), 1U);
  EXPECT_THAT(boost::json::serialize(document), Not(HasSubstr("hunter2")));
  Notice stall = failure();
  stall.exit_code.reset();
  EXPECT_TRUE(document_of(stall).at("exit_code").is_null());
}

TEST(NoticeDocument, IsAMessageOfSlackInOneLineAndItsNotes) {
  auto const body = boost::json::parse(slack_body(failure(), kSender));
  std::string const text(body.at("text").as_string());
  EXPECT_THAT(text, AllOf(HasSubstr("*failure* users failed: \"x\" &lt;y&gt; &amp; "),
                          HasSubstr("(run on db1, exit 1)"), HasSubstr("\nrun again"), Not(HasSubstr("hunter2"))));
}

TEST(NoticeDocument, IsAnIncidentOfPagerDutyThatDoneResolves) {
  auto const trigger = boost::json::parse(pagerduty_body(failure(), kSender, "key", document_of(failure())));
  EXPECT_EQ(trigger.at("routing_key"), "key");
  EXPECT_EQ(trigger.at("event_action"), "trigger");
  EXPECT_EQ(trigger.at("dedup_key"), "pgbackfill/users");
  EXPECT_EQ(trigger.at("payload").at("severity"), "error");
  EXPECT_EQ(trigger.at("payload").at("custom_details").at("event"), "failure");
  auto done = failure();
  done.occasion = Occasion::kDone;
  auto const resolve = boost::json::parse(pagerduty_body(done, kSender, "key", document_of(done)));
  EXPECT_EQ(resolve.at("event_action"), "resolve");
  EXPECT_EQ(resolve.at("dedup_key"), "pgbackfill/users");
}

TEST(NoticeDocument, FillsABodyWithWhatStandsInAJsonString) {
  auto const body = filled_in(R"({"t": "{event}: {text}", "x": {exit_code}, "o": "{other}", "d": {json}})", failure(),
                              kSender, document_of(failure()));
  auto const read = boost::json::parse(body);
  EXPECT_THAT(std::string(read.at("t").as_string()), HasSubstr("failure: users failed: \"x\" <y>"));
  EXPECT_EQ(read.at("x"), 1);
  EXPECT_EQ(read.at("o"), "{other}");
  EXPECT_EQ(read.at("d").at("event"), "failure");
}

}  // namespace
}  // namespace pgbackfill::engine
