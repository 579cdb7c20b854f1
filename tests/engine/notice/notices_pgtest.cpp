// Who is told of real migrations: each event by a receiver of this machine, and what a receiver that misbehaves does to
// a run: nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/http_server.h"
#include "tests/support/poll_until.h"
#include "tests/support/receiver.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;
using Clock = std::chrono::steady_clock;

// A stall and a hold are told of after this time.
std::string all_after(std::string const& after) {
  std::string text = R"yaml(on:
  failure: &me [{webhook: {url: "${ALERTS}/hunter22"}}]
  pause: *me
  cancel: *me
  stall: {after: AFTER, deliver: *me}
  held_back: {after: AFTER, deliver: *me}
  quarantine: *me
  window_closed: *me
  done: *me
)yaml";
  for (auto at = text.find("AFTER"); at != std::string::npos; at = text.find("AFTER")) text.replace(at, 5, after);
  return text;
}

std::string const kAll = all_after("1h");

class NoticesTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, display text); INSERT INTO users SELECT g, 'name ' || g "
        "FROM generate_series(1, 2000) g");
  }

  void write_with(std::string const& on, std::string const& backfill = "", std::string const& more = "") const {
    write("m.yaml", "name: m\ntable: users\nbackfill:\n  set: {display: \"upper(name)\"}\n" + backfill + on + more);
  }
  // Slow enough to be met in the middle.
  static std::string slowly() { return "  workers: 1\n  batch: {min_rows: 1, max_rows: 10}\n"; }
  static std::string at_100_rows() { return "throttle: {max_rows_per_second: 100}\n"; }

  ProgramOptions with(std::vector<std::pair<std::string, std::string>> environment) const {
    ProgramOptions options;
    options.working_dir = dir();
    options.environment = std::move(environment);
    return options;
  }
  std::vector<std::string> arguments(std::vector<std::string> words) const {
    std::vector<std::string> all = {PGBACKFILL_PROGRAM, "--dsn", dsn()};
    all.insert(all.end(), words.begin(), words.end());
    return all;
  }
  ProgramResult run_with(std::vector<std::pair<std::string, std::string>> environment,
                         std::vector<std::string> words = {"run", "m.yaml"}) const {
    return run_program(arguments(std::move(words)), 60s, with(std::move(environment)));
  }
  static std::string base_of(Receiver const& receiver) { return receiver.url(""); }
  static std::vector<std::string> events(Receiver const& receiver) {
    std::vector<std::string> names;
    for (auto const& document : receiver.documents()) names.emplace_back(document.at("event").as_string());
    return names;
  }
  std::string file(std::string const& name) const {
    std::ifstream stream(dir() / name);
    std::stringstream text;
    text << stream.rdbuf();
    return text.str();
  }
  // Everything that the state keeps, as text.
  std::string whole_state() const {
    std::string all;
    std::istringstream tables(
        client_->value("SELECT string_agg(quote_ident(c.relname), ' ') FROM pg_class c WHERE c.relnamespace = "
                       "'pgbackfill'::regnamespace AND c.relkind = 'r'"));
    for (std::string table; tables >> table;) {
      all += client_->value("SELECT coalesce(string_agg(t::text, ' '), '') FROM pgbackfill." + table + " t");
    }
    return all;
  }
};

TEST_F(NoticesTest, TellsOfTheEndOnceAndNotOfRunsWithNothingToDo) {
  Receiver receiver("200");
  write_with(kAll);
  for (int time = 0; time < 2; ++time) {
    auto const result = run_with({{"ALERTS", base_of(receiver)}});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
    EXPECT_THAT(result.err, Not(HasSubstr("warning")));
  }
  ASSERT_THAT(events(receiver), ElementsAre("done"));
  auto const request = receiver.requests().front();
  EXPECT_EQ(request.at("method"), "POST");
  EXPECT_EQ(request.at("path"), "/hunter22");
  EXPECT_EQ(request.at("headers").at("Content-Type"), "application/json");
  auto const document = receiver.documents().front();
  EXPECT_EQ(document.at("migration"), "m");
  EXPECT_EQ(document.at("table"), "public.users");
  EXPECT_EQ(document.at("rows_done"), 2000);
  EXPECT_EQ(document.at("exit_code"), 0);
  EXPECT_THAT(std::string(document.at("text").as_string()), HasSubstr("m is complete: 2,000 rows changed"));
}

TEST_F(NoticesTest, TellsOfAFailureInTheMiddleAndOfOneBeforeItBegan) {
  Receiver receiver("200");
  client_->exec("ALTER TABLE users ADD CONSTRAINT no_17 CHECK (display <> 'NAME 17')");
  write_with(kAll);
  auto const result = run_with({{"ALERTS", base_of(receiver)}});
  EXPECT_EQ(result.exit_code, kFailed) << result.err;
  ASSERT_THAT(events(receiver), ElementsAre("failure"));
  EXPECT_EQ(receiver.documents()[0].at("exit_code"), 1);
  EXPECT_THAT(std::string(receiver.documents()[0].at("text").as_string()), HasSubstr("no_17"));
  client_->exec("DROP TABLE users");
  write("n.yaml", "name: n\ntable: users\nbackfill: {set: {display: \"upper(name)\"}}\n" + kAll);
  EXPECT_EQ(run_with({{"ALERTS", base_of(receiver)}}, {"run", "n.yaml"}).exit_code, kUsage);
  ASSERT_THAT(events(receiver), ElementsAre("failure", "failure"));
  EXPECT_EQ(receiver.documents()[1].at("exit_code"), kUsage);
}

TEST_F(NoticesTest, TellsOfAPauseAndOfACancel) {
  Receiver receiver("200");
  write_with(kAll, slowly(), at_100_rows());
  Program program(arguments({"run", "m.yaml"}), with({{"ALERTS", base_of(receiver)}}));
  ASSERT_TRUE(poll_until([&] { return run({"pause", "m", "--reason", "incident 4711"}).exit_code == kDone; }));
  ASSERT_TRUE(receiver.waits_for(1));
  EXPECT_THAT(std::string(receiver.documents()[0].at("text").as_string()), HasSubstr("incident 4711"));
  ASSERT_EQ(run({"cancel", "m", "--reason", "never mind"}).exit_code, kDone);
  EXPECT_EQ(program.wait().exit_code, kHalted);
  EXPECT_THAT(events(receiver), ElementsAre("pause", "cancel"));
  EXPECT_THAT(std::string(receiver.documents()[1].at("text").as_string()), HasSubstr("never mind"));
  EXPECT_EQ(run_with({{"ALERTS", base_of(receiver)}}).exit_code, kHalted);
  EXPECT_EQ(receiver.requests().size(), 2U) << "every start would tell of it again";
}

TEST_F(NoticesTest, TellsOfAStall) {
  Receiver receiver("200");
  write_with(all_after("1s"));
  PgClient holder(dsn());
  holder.exec("BEGIN; LOCK TABLE users IN SHARE MODE");
  Program program(arguments({"run", "m.yaml"}), with({{"ALERTS", base_of(receiver)}}));
  ASSERT_TRUE(poll_until([&] {
    auto const names = events(receiver);
    return std::find(names.begin(), names.end(), "stall") != names.end();
  })) << program.err();
  holder.exec("COMMIT");
  auto const result = program.wait();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  auto const names = events(receiver);
  EXPECT_EQ(std::count(names.begin(), names.end(), "stall"), 1);
  EXPECT_EQ(names.back(), "done");
}

TEST_F(NoticesTest, TellsThatItIsHeldBack) {
  Receiver receiver("200");
  Receiver health("503,503,503,503,503,503,503,503,503,503,503,503,503,503,503,503,503,503,503,503,200");
  write_with(all_after("1s"), "",
             "probes: [{name: app, url: '" + health.url("/healthz") + "', interval: 200ms, timeout: 200ms}]\n");
  auto const result = run_with({{"ALERTS", base_of(receiver)}});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  auto const names = events(receiver);
  EXPECT_EQ(std::count(names.begin(), names.end(), "held_back"), 1) << testing::PrintToString(names);
  for (auto const& document : receiver.documents()) {
    if (document.at("event") == "held_back") {
      EXPECT_THAT(std::string(document.at("held_back").as_string()), HasSubstr("app"));
    }
  }
}

TEST_F(NoticesTest, TellsOfRowsThatWereSetAside) {
  Receiver receiver("200");
  client_->exec("ALTER TABLE users ADD CONSTRAINT no_17 CHECK (display <> 'NAME 17')");
  write_with(kAll, "  on_bad_row: {quarantine: 5}\n");
  auto const result = run_with({{"ALERTS", base_of(receiver)}});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(events(receiver), ElementsAre("quarantine", "done"));
  EXPECT_EQ(receiver.documents()[0].at("quarantined"), 1);
}

TEST_F(NoticesTest, TellsThatTheWindowHasClosed) {
  Receiver receiver("200");
  write_with(kAll, "", "blackout: [\"Mon-Sun 00:00-24:00 UTC\"]\n");
  Program program(arguments({"run", "m.yaml"}), with({{"ALERTS", base_of(receiver)}}));
  ASSERT_TRUE(receiver.waits_for(1)) << program.err();
  EXPECT_THAT(events(receiver), ElementsAre("window_closed"));
  program.signal(SIGINT);
  EXPECT_EQ(program.wait().exit_code, kResumable);
  EXPECT_EQ(run_with({{"ALERTS", base_of(receiver)}}, {"run", "m.yaml", "--exit-outside-window"}).exit_code,
            kResumable);
  EXPECT_THAT(events(receiver), ElementsAre("window_closed")) << "^C is no failure, and it is closed since then";
}

TEST_F(NoticesTest, RunsCommandsWithWhatHappenedInTheirEnvironment) {
  write_with(
      "on:\n  done: [{command: 'echo "
      "\"$PGBACKFILL_EVENT|$PGBACKFILL_MIGRATION|$PGBACKFILL_EXIT_CODE|$PGBACKFILL_TEXT\" "
      ">> said; psql -XAtc \"SELECT current_database()\" >> said'}]\n");
  auto const result = run({"run", "m.yaml"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(file("said"), AllOf(HasSubstr("done|m|0|m is complete"), HasSubstr(database_ + "\n")));
}

TEST_F(NoticesTest, KnowsTheFormsOfSlackAndPagerDutyAndABodyOfOnesOwn) {
  Receiver receiver("200");
  write("key", "routing-hunter22\n");
  write_with(R"yaml(on:
  done:
    - slack: {url: "${BASE}/slack"}
    - pagerduty: {routing_key: {file: key}, url: "${BASE}/pd"}
    - http:
        url: "${BASE}/own"
        method: PUT
        headers: {Authorization: "Bearer ${ALERT_KEY}"}
        body: '{"message": "{event} of {migration}"}'
)yaml");
  auto const result = run_with({{"BASE", base_of(receiver)}, {"ALERT_KEY", "bearer-hunter22"}});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  ASSERT_EQ(receiver.requests().size(), 3U);
  for (auto const& request : receiver.requests()) {
    auto const body = boost::json::parse(request.at("body").as_string());
    if (request.at("path") == "/slack") {
      EXPECT_THAT(std::string(body.at("text").as_string()), HasSubstr("*done* m is complete"));
    } else if (request.at("path") == "/pd") {
      EXPECT_EQ(body.at("routing_key"), "routing-hunter22");
      EXPECT_EQ(body.at("event_action"), "resolve");
    } else {
      EXPECT_EQ(request.at("path"), "/own");
      EXPECT_EQ(request.at("headers").at("Authorization"), "Bearer bearer-hunter22");
      EXPECT_EQ(body.at("message"), "done of m");
    }
  }
}

TEST_F(NoticesTest, AReceiverThatHangsNeitherSlowsNorFailsARun) {
  Receiver hanging("hang");
  Receiver receiver("200");
  write_with("on:\n  done: [{webhook: {url: '" + hanging.url() + "'}}, {webhook: {url: '" + receiver.url() + "'}}]\n");
  auto const began = Clock::now();
  auto const result = run({"run", "m.yaml"});
  EXPECT_LT(Clock::now() - began, 15s);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(events(receiver), ElementsAre("done"));
  EXPECT_THAT(result.err, AllOf(HasSubstr("1 message(s) could not be delivered"), HasSubstr("m.yaml:6:10: on done")));
}

TEST_F(NoticesTest, AnInterruptDoesNotWaitForAReceiver) {
  Receiver hanging("hang");
  write_with("on:\n  pause: [{webhook: {url: '" + hanging.url() + "'}}]\n", slowly(), at_100_rows());
  Program program(arguments({"run", "m.yaml"}), with({}));
  ASSERT_TRUE(poll_until([&] { return run({"pause", "m"}).exit_code == kDone; }));
  ASSERT_TRUE(hanging.waits_for(1));
  auto const began = Clock::now();
  program.signal(SIGINT);
  EXPECT_EQ(program.wait().exit_code, kResumable);
  EXPECT_LT(Clock::now() - began, 4s);
}

TEST_F(NoticesTest, TriesAgainWhenItIsAskedTo) {
  Receiver receiver("429:1,503,200");
  write_with("on:\n  done: [{webhook: {url: '" + receiver.url() + "'}}]\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(receiver.requests().size(), 3U);
  EXPECT_THAT(result.err, Not(HasSubstr("nobody was told")));
}

TEST_F(NoticesTest, OneThatRefusesIsOneWarning) {
  Receiver receiver("404");
  write_with("on:\n  done: [{webhook: {url: '" + receiver.url("/hunter22") + "'}}]\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(receiver.requests().size(), 1U);
  EXPECT_THAT(result.err, AllOf(HasSubstr("m.yaml:6:10: on done: webhook to http://127.0.0.1:"),
                                HasSubstr("nobody was told: it answered 404"), Not(HasSubstr("hunter22"))));
}

TEST_F(NoticesTest, SecretsAreNowhere) {
  auto const certificate = make_certificate(dir());
  Receiver receiver("echo", &certificate);
  Receiver refusing("403");
  write("secret", refusing.url("/file-hunter22") + "\n");
  write_with(R"yaml(on:
  done:
    - webhook: {url: "${ALERTS}/url-hunter22", headers: {Authorization: "Bearer ${ALERT_KEY}"}}
      ca_file: certificate.pem
    - webhook: {url: {file: secret}}
    - http: {url: "${REFUSING}", headers: {X-Key: "${ALERT_KEY}"}, body: "${ALERT_KEY}"}
    - command: "echo PASSWORD=cmd-hunter22; echo $ALERTS; exit 1"
)yaml",
             "", "before: {backfill: [{command: 'echo $REFUSING'}]}\n");
  std::vector<std::pair<std::string, std::string>> const environment = {
      {"ALERTS", base_of(receiver)}, {"ALERT_KEY", "key-hunter22"}, {"REFUSING", refusing.url("/var-hunter22")}};
  std::string all;
  for (auto const& words : std::vector<std::vector<std::string>>{{"plan", "m.yaml"},
                                                                 {"plan", "m.yaml", "--format", "json"},
                                                                 {"doctor", "m.yaml"},
                                                                 {"run", "m.yaml"},
                                                                 {"status", "m"},
                                                                 {"log", "m"},
                                                                 {"history"}}) {
    auto const result = run_with(environment, words);
    all += result.out + result.err;
  }
  ASSERT_EQ(receiver.requests().size(), 1U);
  EXPECT_EQ(receiver.requests()[0].at("headers").at("Authorization"), "Bearer key-hunter22");
  EXPECT_EQ(refusing.requests().size(), 2U);
  EXPECT_THAT(all, AllOf(HasSubstr("done: webhook to ${ALERTS}"), HasSubstr("it answered 403"),
                         HasSubstr("it exited with 1"), Not(HasSubstr("hunter22"))));
  EXPECT_THAT(whole_state(), AllOf(HasSubstr("upper(name)"), Not(HasSubstr("hunter22"))));
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone) << "what is kept can be read";
}

TEST_F(NoticesTest, AMissingSecretIsToldAtOnceAndStopsNothing) {
  write_with(kAll);
  auto const doctor = run({"doctor", "m.yaml"});
  EXPECT_THAT(doctor.out, HasSubstr("the variable ALERTS is not set"));
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, AllOf(HasSubstr("m.yaml:6:17: webhook to ${ALERTS} will not be told, because the variable "
                                          "ALERTS is not set, of failure, pause, cancel, stall"),
                                HasSubstr("on done: webhook to ${ALERTS}: nobody was told")));
}

TEST_F(NoticesTest, WhatTheDatabaseKeepsTellsNobody) {
  Receiver receiver("200");
  write("m.yaml",
        "name: m\ntable: users\nbackfill: {set: {display: \"upper(name)\"}}\ncontract: [{set_not_null: display}]\n" +
            kAll);
  ASSERT_EQ(run_with({{"ALERTS", base_of(receiver)}}).exit_code, kDone);
  auto const completed = run_with({{"ALERTS", base_of(receiver)}}, {"complete", "m"});
  ASSERT_EQ(completed.exit_code, kDone);
  EXPECT_THAT(events(receiver), ElementsAre("done")) << "what the database keeps tells nobody";
  EXPECT_THAT(completed.err,
              HasSubstr("nobody whom on: of m.yaml names is told, because the database does not keep that: `pgbackfill "
                        "complete m.yaml` tells them"));
}

TEST_F(NoticesTest, WhatTheProjectNamesIsToldByNameToo) {
  Receiver receiver("200");
  write("m.yaml",
        "name: m\ntable: users\nexpand: [{add_column: {name: d, type: text}}]\nbackfill: {set: {d: "
        "\"upper(name)\"}}\n");
  write("pgbackfill.yaml",
        "on:\n  failure: &me [{webhook: {url: \"${ALERTS}\"}}]\n  done: *me\nbefore:\n"
        "  rollback: [{command: 'echo of the project >> said'}]\n");
  std::vector<std::pair<std::string, std::string>> const environment = {{"ALERTS", base_of(receiver)}};
  ASSERT_EQ(run_with(environment).exit_code, kDone);
  auto const result = run_with(environment, {"rollback", "m", "--yes"});
  ASSERT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("nobody whom on:")));
  ASSERT_THAT(events(receiver), ElementsAre("done", "done"));
  EXPECT_EQ(receiver.documents()[1].at("command"), "rollback");
  EXPECT_EQ(file("said"), "of the project\n");
}

// What is of the job, one of its processes tells.
class TwoProcessesTest : public NoticesTest {
 protected:
  static constexpr std::size_t kProcesses = 2;

  void start(Receiver const& receiver, std::vector<std::string> const& words = {"run", "m.yaml"}) {
    for (std::size_t number = 0; number < kProcesses; ++number) {
      programs_.push_back(std::make_unique<Program>(arguments(words), with({{"ALERTS", base_of(receiver)}})));
    }
    ASSERT_TRUE(poll_until([&] { return both_are_at_work(); })) << programs_[0]->err() << programs_[1]->err();
  }
  bool both_are_at_work() const {
    return client_->value("SELECT to_regclass('pgbackfill.runners') IS NOT NULL") == "t" &&
           client_->value("SELECT count(DISTINCT pid) FROM pgbackfill.runners") == std::to_string(kProcesses);
  }
  bool both_have_said(std::string const& words) const {
    return std::all_of(programs_.begin(), programs_.end(), [&](std::unique_ptr<Program> const& program) {
      return program->err().find(words) != std::string::npos;
    });
  }
  std::string teller_of(std::string const& event) const {
    return client_->value("SELECT count(*) || ' of pid ' || max(pid) FROM pgbackfill.notices WHERE event = '" + event +
                          "'");
  }

  std::vector<std::unique_ptr<Program>> programs_;
};

TEST_F(TwoProcessesTest, OneTellsOfAPauseOfRowsThatWereSetAsideAndOfTheEnd) {
  Receiver receiver("200");
  client_->exec("ALTER TABLE users ADD CONSTRAINT no_1999 CHECK (display <> 'NAME 1999')");
  write_with(kAll, slowly() + "  on_bad_row: {quarantine: 5}\n", at_100_rows());
  start(receiver);
  ASSERT_EQ(run({"pause", "m", "--reason", "incident 4711"}).exit_code, kDone);
  ASSERT_TRUE(poll_until([&] { return both_have_said("incident 4711"); })) << programs_[0]->err();
  ASSERT_EQ(run({"resume", "m"}).exit_code, kDone);
  ASSERT_EQ(run({"set", "m", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  for (auto const& program : programs_) EXPECT_EQ(program->wait().exit_code, kDone) << program->err();
  EXPECT_THAT(events(receiver), UnorderedElementsAre("pause", "quarantine", "done"));
  EXPECT_THAT(teller_of("done"), HasSubstr("1 of pid "));
  // The same end is not told again, and another one is.
  client_->exec("ALTER TABLE users DROP CONSTRAINT no_1999");
  ASSERT_EQ(run({"resume", "m", "--retry-quarantine"}).exit_code, kDone);
  ASSERT_EQ(run_with({{"ALERTS", base_of(receiver)}}).exit_code, kDone);
  EXPECT_THAT(events(receiver), UnorderedElementsAre("pause", "quarantine", "done", "done"));
}

TEST_F(TwoProcessesTest, OneTellsOfACancel) {
  Receiver receiver("200");
  write_with(kAll, slowly(), at_100_rows());
  start(receiver);
  ASSERT_EQ(run({"cancel", "m", "--reason", "never mind"}).exit_code, kDone);
  for (auto const& program : programs_) EXPECT_EQ(program->wait().exit_code, kHalted) << program->err();
  EXPECT_THAT(events(receiver), ElementsAre("cancel"));
}

TEST_F(TwoProcessesTest, OneTellsOfARollback) {
  Receiver receiver("200");
  write("m.yaml",
        "name: m\ntable: users\nexpand: [{add_column: {name: d, type: text}}]\nbackfill:\n  set: {d: "
        "\"upper(name)\"}\n" +
            slowly() + at_100_rows() + kAll);
  start(receiver);
  ASSERT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  for (auto const& program : programs_) EXPECT_EQ(program->wait().exit_code, kResumable) << program->err();
  EXPECT_THAT(events(receiver), ElementsAre("cancel"));
}

TEST_F(TwoProcessesTest, OneTellsOfAStall) {
  Receiver receiver("200");
  HttpServer health;
  health.answer(200, "");
  // Each process hears of the other's rows about once a second: much less time would be a stall by itself.
  write_with(all_after("3s"), slowly(),
             at_100_rows() + "probes: [{name: app, url: '" + health.url() + "', interval: 200ms, timeout: 200ms}]\n");
  start(receiver);
  health.answer(503, "");
  auto const stalls = [&] {
    auto const names = events(receiver);
    return std::count(names.begin(), names.end(), "stall");
  };
  ASSERT_TRUE(poll_until([&] { return stalls() > 0; }));
  // Each of them would have told of it by now.
  std::this_thread::sleep_for(4s);
  EXPECT_EQ(stalls(), 1) << testing::PrintToString(events(receiver));
  for (auto const& program : programs_) program->signal(SIGINT);
  for (auto const& program : programs_) program->wait();
}

TEST_F(TwoProcessesTest, HowOneFailsIsItsOwn) {
  Receiver receiver("200");
  write_with(kAll, slowly(), at_100_rows());
  start(receiver);
  auto const failed =
      run_with({{"ALERTS", base_of(receiver)}}, {"run", "m.yaml", "--record-readings", "/nowhere/readings.jsonl"});
  EXPECT_EQ(failed.exit_code, kUsage) << failed.err;
  EXPECT_THAT(events(receiver), ElementsAre("failure"));
  ASSERT_EQ(run({"set", "m", "throttle.max_rows_per_second=none"}).exit_code, kDone);
  for (auto const& program : programs_) EXPECT_EQ(program->wait().exit_code, kDone) << program->err();
  EXPECT_THAT(events(receiver), ElementsAre("failure", "done"));
}

TEST_F(NoticesTest, TellsOfComplete) {
  Receiver receiver("200");
  write("m.yaml",
        "name: m\ntable: users\nbackfill: {set: {display: \"upper(name)\"}}\ncontract: [{set_not_null: display}]\n" +
            kAll);
  EXPECT_EQ(run_with({{"ALERTS", base_of(receiver)}}, {"complete", "m.yaml"}).exit_code, kFailed) << "it never ran";
  ASSERT_EQ(run_with({{"ALERTS", base_of(receiver)}}).exit_code, kDone);
  for (int time = 0; time < 2; ++time) {
    ASSERT_EQ(run_with({{"ALERTS", base_of(receiver)}}, {"complete", "m.yaml"}).exit_code, kDone);
  }
  ASSERT_THAT(events(receiver), ElementsAre("done", "done"));
  EXPECT_EQ(receiver.documents()[1].at("command"), "complete");
}

}  // namespace
}  // namespace pgbackfill::tests
