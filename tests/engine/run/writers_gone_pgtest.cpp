// `writers_gone:` on a real server: the gate stays closed while an old version of the application is connected.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <memory>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class WritersGoneTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec("CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a')");
    write("m.yaml",
          "name: m\ntable: users\nbackfill:\n  set: {name: upper(name)}\nwriters_gone: [billing-api, \"web-1.*\"]\n"
          "contract:\n  - set_not_null: name\n");
    ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  }

  std::unique_ptr<PgClient> session(std::string const& application, std::string const& user = "postgres") const {
    return std::make_unique<PgClient>(dsn(user) + " application_name='" + application + "'");
  }
};

TEST_F(WritersGoneTest, TheGateIsClosedWhileOneIsConnected) {
  ASSERT_EQ(run({"gate", "m"}).exit_code, kDone);
  auto writer = session("billing-api");
  writer->exec("BEGIN");
  auto const closed = run({"gate", "m"});
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_THAT(closed.out, AllOf(HasSubstr("pid " + std::to_string(writer->pid())),
                                HasSubstr("application 'billing-api', user postgres, from "),
                                HasSubstr("idle in transaction"), HasSubstr("connected since 20")));
  auto const refused = run({"complete", "m"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, HasSubstr("a writer is still connected: pid"));
  auto const document = boost::json::parse(run({"gate", "m", "--format", "json"}).out).as_object();
  EXPECT_EQ(document.at("writers").as_array().size(), 1U);
  writer.reset();
  EXPECT_TRUE(poll_until([&] { return run({"gate", "m"}).exit_code == kDone; }));
  EXPECT_EQ(run({"complete", "m"}).exit_code, kDone);
}

TEST_F(WritersGoneTest, AStarIsForHowANameBegins) {
  auto const other = session("web-2.0");
  auto const longer = session("billing-api-2");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone) << "neither is named";
  auto const writer = session("web-1.9.4");
  auto const closed = run({"gate", "m"});
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_THAT(closed.out, AllOf(HasSubstr("'web-1.9.4'"), Not(HasSubstr("web-2.0")), Not(HasSubstr("billing-api-2"))));
}

TEST_F(WritersGoneTest, SessionsOfOtherDatabasesDoNotCount) {
  PgClient const elsewhere(cluster_->dsn() + " application_name=billing-api");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
}

// Every role sees the name of a session's application; what else there is to say needs a right.
TEST_F(WritersGoneTest, ARoleWithoutRightsSeesThatAWriterIsThere) {
  client_->exec(
      "DROP ROLE IF EXISTS half_blind; CREATE ROLE half_blind LOGIN; GRANT USAGE ON SCHEMA pgbackfill TO half_blind; "
      "GRANT SELECT ON ALL TABLES IN SCHEMA pgbackfill TO half_blind; GRANT SELECT ON users TO half_blind");
  auto const gate = [&] { return run_program({PGBACKFILL_PROGRAM, "gate", "m", "--dsn", dsn("half_blind")}); };
  EXPECT_EQ(gate().exit_code, kDone);
  auto const writer = session("billing-api");
  auto const closed = gate();
  EXPECT_EQ(closed.exit_code, kGateClosed);
  EXPECT_THAT(closed.out, AllOf(HasSubstr("pid " + std::to_string(writer->pid())),
                                HasSubstr("'billing-api', user postgres; from where, its state and since when"),
                                HasSubstr("GRANT pg_read_all_stats")));
  client_->exec("GRANT pg_read_all_stats TO half_blind");
  EXPECT_THAT(gate().out, HasSubstr("idle, connected since"));
  client_->exec("DROP OWNED BY half_blind; DROP ROLE half_blind");
}

}  // namespace
}  // namespace pgbackfill::tests
