// on:, who is told of what: how it is read, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/file/migration_file.h"
#include "planner/model/delivery.h"

namespace pgbackfill::planner {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

ParsedMigration parsed(std::string const& on) {
  return parse_migration("name: m\ntable: t\nbackfill: {set: {a: \"1\"}}\non:\n" + on, "m.yaml");
}

std::vector<OccasionRule> rules_of(std::string const& on) {
  auto const result = parsed(on);
  EXPECT_TRUE(result.problems.empty()) << to_lines(result.problems);
  return result.migration ? result.migration->on : std::vector<OccasionRule>();
}

std::vector<std::string> problems_of(std::string const& on) {
  std::vector<std::string> lines;
  for (auto const& problem : parsed(on).problems) lines.push_back(to_string(problem));
  return lines;
}

std::string problem_of_delivery(std::string const& delivery) {
  auto const lines = problems_of("  failure:\n    - " + delivery + "\n");
  EXPECT_EQ(lines.size(), 1U) << testing::PrintToString(lines);
  return lines.empty() ? "" : lines.front();
}

TEST(OnSection, ReadsEveryOccasionAndEveryKindOfDelivery) {
  auto const rules = rules_of(R"yaml(  failure:
    - command: ./notify.sh
      timeout: 3s
    - http:
        url: https://alerts.example/${ALERT_PATH}
        method: PUT
        headers: {Authorization: "Bearer ${ALERT_TOKEN}", X-Team: data, X-Api-Key: {file: /run/secrets/key}}
        body: '{"title": "{event}"}'
      ca_file: /etc/ssl/company.pem
    - slack: {url: "${SLACK_WEBHOOK}"}
    - pagerduty: {routing_key: {file: /run/secrets/pd}}
    - webhook: {url: {file: /run/secrets/url}}
  pause: [{command: "true"}]
  cancel: [{command: "true"}]
  stall: {after: 5m, deliver: [{command: "true"}]}
  held_back: {deliver: [{command: "true"}]}
  quarantine: [{command: "true"}]
  window_closed: [{command: "true"}]
  done: [{command: "true"}]
)yaml");
  ASSERT_EQ(rules.size(), kOccasionNames.size());
  for (std::size_t at = 0; at < rules.size(); ++at) EXPECT_EQ(rules[at].occasion, kOccasionNames[at].occasion);
  EXPECT_EQ(rules[3].after, 5min);
  EXPECT_EQ(rules[4].after, 30min);
  auto const& ways = rules.front().deliveries;
  ASSERT_EQ(ways.size(), 5U);
  EXPECT_EQ(ways[0].command, "./notify.sh");
  EXPECT_EQ(ways[0].timeout, 3s);
  EXPECT_EQ(ways[0].position.line, 6);
  EXPECT_EQ(ways[1].kind, DeliveryKind::kHttp);
  EXPECT_EQ(ways[1].method, "PUT");
  EXPECT_EQ(ways[1].headers.at(0).second.text, "Bearer ${ALERT_TOKEN}");
  EXPECT_EQ(ways[1].headers.at(2).second.file, "/run/secrets/key");
  EXPECT_EQ(ways[1].body.text, R"({"title": "{event}"})");
  EXPECT_EQ(ways[1].ca_file, "/etc/ssl/company.pem");
  EXPECT_EQ(ways[2].url.text, "${SLACK_WEBHOOK}");
  EXPECT_EQ(ways[3].routing_key.file, "/run/secrets/pd");
  EXPECT_EQ(ways[3].url.text, kPagerDutyUrl);
  EXPECT_EQ(ways[4].url.file, "/run/secrets/url");
}

TEST(OnSection, ASecretMustNotStandInTheFileAndIsNotShown) {
  for (char const* delivery :
       {"slack: {url: 'https://hooks.slack.com/services/T1/hunter2'}", "pagerduty: {routing_key: hunter2}",
        "http: {url: 'https://a/', headers: {Authorization: Bearer hunter2}}",
        "webhook: {url: 'https://a/', headers: {X-Auth-Token: hunter2}}"}) {
    EXPECT_THAT(problem_of_delivery(delivery), AllOf(HasSubstr("is a secret and must not stand in this file"),
                                                     HasSubstr("${NAME}"), Not(HasSubstr("hunter"))));
  }
  EXPECT_THAT(problem_of_delivery("webhook: {url: 'hooks.example/hunter2'}"),
              AllOf(HasSubstr("begins with http:// or https://"), Not(HasSubstr("hunter"))));
}

TEST(OnSection, SaysWhereAndWhatIsWrong) {
  EXPECT_THAT(problems_of("  failures: []\n"),
              ElementsAre("m.yaml:5:3: unknown key 'failures' (did you mean 'failure'?)"));
  EXPECT_THAT(problems_of("  failure: {command: x}\n"),
              ElementsAre(HasSubstr("m.yaml:5:12: 'failure' must be a list")));
  EXPECT_THAT(problems_of("  failure: []\n"), ElementsAre(HasSubstr("not an empty one")));
  EXPECT_THAT(problems_of("  failure: [x]\n"), ElementsAre(HasSubstr("a delivery must be a map")));
  EXPECT_THAT(problems_of("  stall: [{command: x}]\n"), ElementsAre(HasSubstr("'stall' must be a map")));
  EXPECT_THAT(problems_of("  stall: {after: 10m}\n"), ElementsAre(HasSubstr("'deliver' is missing in 'stall'")));
  EXPECT_THAT(problems_of("  stall: {after: 1ms, deliver: [{command: x}]}\n"), ElementsAre(HasSubstr("after: 1ms")));
  EXPECT_THAT(problem_of_delivery("{command: x, webhook: {url: '${U}'}}"), HasSubstr("exactly one of"));
  EXPECT_THAT(problem_of_delivery("{timeout: 1s}"), HasSubstr("exactly one of"));
  EXPECT_THAT(problem_of_delivery("{command: x, ca_file: y}"), HasSubstr("'ca_file' is for deliveries by HTTP"));
  EXPECT_THAT(problem_of_delivery("webhook: {url: '${A'}"), HasSubstr("write ${NAME}"));
  EXPECT_THAT(problem_of_delivery("webhook: {url: '${A B}'}"), HasSubstr("write ${NAME}"));
  EXPECT_THAT(problem_of_delivery("webhook: {url: [x]}"), HasSubstr("must be a text, or {file: PATH}, not a list"));
  EXPECT_THAT(problem_of_delivery("webhook: {url: {fil: x}}"), HasSubstr("did you mean 'file'?"));
  EXPECT_THAT(problem_of_delivery("http: {url: '${U}', method: GET}"), HasSubstr("is not one of 'POST'"));
  EXPECT_THAT(problem_of_delivery("http: {url: '${U}', headers: {'A B': x}}"), HasSubstr("no name of a header field"));
  EXPECT_THAT(problem_of_delivery("http: {url: '${U}', headers: x}"), HasSubstr("must be a map of header fields"));
  EXPECT_THAT(problem_of_delivery("slack: {}"), HasSubstr("'url' is missing in 'slack'"));
}

TEST(OnSection, ShowsAReceiverWithoutWhatLetsSomebodyIn) {
  Delivery delivery;
  delivery.kind = DeliveryKind::kWebhook;
  delivery.url.text = "https://alerts.example:8443/hunter2?key=hunter3";
  EXPECT_EQ(to_text(delivery), "webhook to https://alerts.example:8443");
  delivery.url.text = "https://alerts.example${P}/hunter2";
  EXPECT_EQ(to_text(delivery), "webhook to https://alerts.example");
  delivery.url.text = "${ALERTS}/hunter2";
  EXPECT_EQ(to_text(delivery), "webhook to ${ALERTS}");
}

}  // namespace
}  // namespace pgbackfill::planner
