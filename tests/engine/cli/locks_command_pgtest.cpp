// locks on a real server: who is named, whom it lets go, and that a process whose ranges are taken cannot commit to
// them any more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <boost/json/parse.hpp>
#include <chrono>
#include <string>
#include <thread>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

class LocksTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO users SELECT g FROM "
        "generate_series(1, 2000) g; CREATE TABLE other (id int); ANALYZE users");
    write("m.yaml",
          "name: m\ntable: users\nbackfill:\n  set: {n: \"n + 1\"}\ncontract:\n  - drop_column: {table: "
          "other, name: id}\n");
  }
  boost::json::object page() const {
    auto const result = run({"locks", "m", "--format", "json"});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    return boost::json::parse(result.out).as_object();
  }
  // The first lock of a session; none: null.
  boost::json::value lock_of(int pid) const {
    auto const document = page();
    for (auto const& lock : document.at("locks").as_array()) {
      if (lock.at("pid") == pid) return lock;
    }
    return nullptr;
  }
  std::string lock_of_prepared() const {
    auto const document = page();
    for (auto const& lock : document.at("locks").as_array()) {
      if (lock.at("pid").is_null()) return std::string(lock.at("prepared").as_string());
    }
    return "";
  }
  std::string events() const {
    return client_->value(
        "SELECT coalesce(string_agg(kind || ': ' || detail, '; ' ORDER BY id), '') FROM "
        "pgbackfill.events WHERE kind IN ('released', 'leases taken')");
  }
};

TEST_F(LocksTest, NamesWhoHoldsAndWhoWaits) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_THAT(run({"locks", "m"}).out, HasSubstr("nobody holds or waits for a lock on its tables"));
  PgClient holder(dsn() + " application_name='the|app'");
  holder.exec("BEGIN; LOCK TABLE users IN SHARE MODE");
  PgClient waiter(dsn());
  waiter.send("UPDATE users SET n = 5 WHERE id = 1");
  PgClient elsewhere(dsn());
  elsewhere.exec("BEGIN; SELECT * FROM other");
  ASSERT_TRUE(poll_until([&] { return !lock_of(waiter.pid()).is_null(); }));
  auto const waits = lock_of(waiter.pid()).as_object();
  EXPECT_FALSE(waits.at("granted").as_bool());
  EXPECT_EQ(waits.at("modes").as_string(), "RowExclusive");
  EXPECT_EQ(waits.at("behind").as_array().at(0), holder.pid());
  EXPECT_THAT(std::string(waits.at("query").as_string()), HasSubstr("UPDATE users"));
  auto const holds = lock_of(holder.pid()).as_object();
  EXPECT_TRUE(holds.at("granted").as_bool());
  EXPECT_EQ(holds.at("application").as_string(), "the|app");
  EXPECT_EQ(holds.at("state").as_string(), "idle in transaction");
  EXPECT_FALSE(holds.at("own").as_bool());
  EXPECT_EQ(lock_of(elsewhere.pid()).at("relation").as_string(), "public.other") << "a table of a step counts too";
  EXPECT_THAT(run({"locks"}).out, AllOf(HasSubstr("m\n"), HasSubstr(std::to_string(holder.pid()))));
  EXPECT_THAT(run({"locks", "nobody"}).err, HasSubstr("'nobody' is neither a file nor a migration"));
  holder.exec("ROLLBACK");
  waiter.receive();
}

TEST_F(LocksTest, CancelsFirstAndEndsOnlyWhenAsked) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  PgClient busy(dsn());
  busy.send("BEGIN; LOCK TABLE users; SELECT pg_sleep(60)");
  std::string const pid = std::to_string(busy.pid());
  ASSERT_TRUE(poll_until([&] { return !lock_of(busy.pid()).is_null(); }));
  auto const cancelled = run({"locks", "m", "--release", pid});
  EXPECT_EQ(cancelled.exit_code, kDone) << cancelled.err;
  EXPECT_THAT(cancelled.out, HasSubstr("was told to cancel"));
  EXPECT_THROW(busy.receive(), PgClientError);
  EXPECT_TRUE(busy.is_open()) << "the session itself stays";
  busy.exec("ROLLBACK; BEGIN; LOCK TABLE users");
  auto const idle = run({"locks", "m", "--release", pid});
  EXPECT_EQ(idle.exit_code, kGateClosed);
  EXPECT_THAT(idle.err, AllOf(HasSubstr("is idle in transaction and runs nothing"), HasSubstr("--terminate")));
  auto const ended = run({"locks", "m", "--release", pid, "--terminate"});
  EXPECT_EQ(ended.exit_code, kDone) << ended.err;
  EXPECT_TRUE(poll_until([&] { return busy.try_exec("SELECT 1") != "00000"; })) << "the session is there";
  EXPECT_THAT(events(), AllOf(HasSubstr("released: pid " + pid), HasSubstr("was told to cancel: AccessExclusive"),
                              HasSubstr("was ended: AccessExclusive on public.users")));
}

// It has no session that could be looked up, and an id that somebody has to end it by.
TEST_F(LocksTest, APreparedTransactionIsNamed) {
  client_->exec("BEGIN; UPDATE users SET n = n WHERE id IN (5, 700); PREPARE TRANSACTION 'xa-left-over'");
  auto const held = run({"run", "m.yaml", "--wait-for-rows", "1s"});
  EXPECT_EQ(held.exit_code, kResumable) << held.err;
  EXPECT_THAT(held.err, HasSubstr("2 row(s) of \"public\".\"users\" are held by prepared transaction 'xa-left-over'"));
  EXPECT_THAT(run({"locks", "m"}).out, HasSubstr("prepared transaction 'xa-left-over'"));
  EXPECT_EQ(lock_of_prepared(), "xa-left-over");
  EXPECT_THAT(run({"status", "m"}).out, HasSubstr("'xa-left-over'"));
  client_->exec("ROLLBACK PREPARED 'xa-left-over'");
  client_->exec("BEGIN; LOCK TABLE users; PREPARE TRANSACTION 'xa-table'");
  auto const locked = run({"run", "m.yaml", "--lock-patience", "1s"});
  EXPECT_EQ(locked.exit_code, kResumable) << locked.err;
  EXPECT_THAT(locked.err, HasSubstr("prepared transaction 'xa-table' of role postgres"));
  client_->exec("ROLLBACK PREPARED 'xa-table'");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec("BEGIN; LOCK TABLE other; PREPARE TRANSACTION 'xa-step'");
  auto const step = run({"complete", "m.yaml", "--yes", "--lock-patience", "1s"});
  EXPECT_EQ(step.exit_code, kResumable) << step.err;
  EXPECT_THAT(step.err, HasSubstr("prepared transaction 'xa-step'"));
  client_->exec("ROLLBACK PREPARED 'xa-step'");
}

TEST_F(LocksTest, LeavesOthersAlone) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  PgClient bystander(dsn());
  bystander.exec("BEGIN; CREATE TABLE mine (id int)");
  auto const stranger = run({"locks", "m", "--release", std::to_string(bystander.pid()), "--terminate"});
  EXPECT_EQ(stranger.exit_code, kGateClosed);
  EXPECT_THAT(stranger.err, HasSubstr("neither holds nor waits for a lock on the tables of m"));
  PgClient own(dsn() + " application_name=pgbackfill");
  own.exec("BEGIN; LOCK TABLE users");
  auto const self = run({"locks", "m", "--release", std::to_string(own.pid()), "--terminate"});
  EXPECT_EQ(self.exit_code, kGateClosed);
  EXPECT_THAT(self.err, AllOf(HasSubstr("it is pgbackfill itself"), HasSubstr("`pgbackfill pause m`")));
  own.exec("ROLLBACK");
  bystander.exec("ROLLBACK");
  EXPECT_EQ(events(), "");
}

// As autovacuum says of itself; the words decide, because the server tells it in no other way.
TEST_F(LocksTest, NeverEndsAVacuumThatPreventsWraparound) {
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  PgClient vacuum(dsn());
  vacuum.send("BEGIN; LOCK TABLE users; SELECT pg_sleep(60) /* autovacuum: VACUUM users (to prevent wraparound) */");
  ASSERT_TRUE(poll_until([&] { return !lock_of(vacuum.pid()).is_null(); }));
  auto const refused = run({"locks", "m", "--release", std::to_string(vacuum.pid()), "--terminate"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, HasSubstr("a vacuum that prevents wraparound"));
  vacuum.cancel();
  EXPECT_THROW(vacuum.receive(), PgClientError);
}

TEST_F(LocksTest, NeedsAMigrationToReleaseAnything) {
  for (std::vector<std::string> const& words : {std::vector<std::string>{"locks", "--release", "1"},
                                                {"locks", "--release-leases", "x"},
                                                {"locks", "m", "--terminate"}}) {
    EXPECT_EQ(run(words).exit_code, kUsage) << words.back();
  }
}

TEST_F(LocksTest, TakesTheRangesOfAProcessThatHangsAndNoRowIsLost) {
  MigrationRun job("m", dsn(),
                   "table: users\nbackfill:\n  set: {n: \"n + 1\"}\n  batch: {max_rows: 50}\nthrottle: "
                   "{max_rows_per_second: 100}\n");
  auto& hanging = job.start();
  ASSERT_TRUE(job.waits_for_rows(50));
  hanging.signal(SIGSTOP);
  auto const leases = page().at("leases").as_array();
  ASSERT_EQ(leases.size(), 1U);
  std::string const process(leases[0].at("process").as_string());
  EXPECT_TRUE(leases[0].at("alive").as_bool());
  EXPECT_EQ(leases[0].at("pid"), static_cast<std::int64_t>(hanging.pid()));
  EXPECT_GT(leases[0].at("left_ms").as_int64(), 0);
  auto const refused = run({"locks", "m", "--release-leases", process});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("alive"), HasSubstr("--yes")));
  auto const wrong = run({"locks", "m", "--release-leases", "nobody"});
  EXPECT_EQ(wrong.exit_code, kGateClosed);
  auto const taken = run({"locks", "m", "--release-leases", process, "--yes"});
  EXPECT_EQ(taken.exit_code, kDone) << taken.err;
  EXPECT_THAT(taken.out, HasSubstr("free again"));
  EXPECT_EQ(page().at("leases").as_array().size(), 0U);
  EXPECT_THAT(events(), HasSubstr("leases taken: process " + process));
  // Both work on it from here; the one that hung finds its ranges taken, and claims like anybody else.
  client_->exec("UPDATE pgbackfill.jobs SET settings = '{\"throttle.max_rows_per_second\": \"none\"}'");
  hanging.signal(SIGCONT);
  EXPECT_TRUE(job.runs(kDone));
  EXPECT_TRUE(job.ends(hanging, kDone));
  EXPECT_EQ(counts(dsn(), "users"), "1: 2000");
}

}  // namespace
}  // namespace pgbackfill::tests
