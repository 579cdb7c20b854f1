// A migration is rehearsed on a copy of what it is for: what the rehearsal tells, and what it leaves of itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/pg_dump.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

constexpr char kFile[] = R"yaml(name: users_display_name
table: public.users
expand:
  - add_column: {name: display_name, type: text}
sync:
  set: {display_name: "upper(name)"}
backfill:
  set: {display_name: "upper(name)"}
  where: "display_name IS NULL"
contract:
  - set_not_null: display_name
)yaml";

class RehearsalTest : public DatabaseTest {
 protected:
  void SetUp() override {
    if (!has_pg_dump_for(cluster_->major_version())) GTEST_SKIP() << "no pg_dump of the server's version";
    DatabaseTest::SetUp();
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL, about text NOT NULL); INSERT INTO users SELECT g, "
        "'name ' || g, repeat(md5(g::text), 3) FROM generate_series(1, 100000) g; ANALYZE users");
    write("users.yaml", kFile);
  }

  // As the docs say it; what each command says is kept.
  ProgramResult rehearse(std::string const& script) const {
    ProgramOptions options;
    options.working_dir = dir();
    options.environment = {{"PRODUCTION", dsn()}, {"pgbackfill", PGBACKFILL_PROGRAM}};
    return run_program({PGBACKFILL_PROGRAM, "sandbox", "--replicas", "0", "--", "sh", "-ec", script}, 120s, options);
  }
};

TEST_F(RehearsalTest, OnARestoredCopyTellsTimeWalGrowthAndLocksAndTouchesNothingElse) {
  auto const before = dump_of_schema(dsn());
  auto const result = rehearse(R"sh(
pg_dump --format=custom --no-owner --table=public.users "$PRODUCTION" > users.dump
pg_restore --no-owner --dbname "$DATABASE_URL" users.dump
psql -qXc 'ANALYZE' "$DATABASE_URL"
$pgbackfill doctor users.yaml > doctor.txt || true
$pgbackfill plan users.yaml --sample
$pgbackfill run users.yaml
$pgbackfill gate users.yaml
$pgbackfill complete users.yaml
$pgbackfill status users_display_name
psql -XAtc "SELECT count(*) FROM users WHERE display_name = upper(name)" "$DATABASE_URL"
)sh");
  ASSERT_EQ(result.exit_code, 0) << result.out << result.err;
  // Before: each step with its lock, the batch measured, and what all of it costs.
  EXPECT_THAT(result.out, AllOf(HasSubstr("ACCESS EXCLUSIVE on \"public\".\"users\", which stops"),
                                ContainsRegex("sample +1,000 rows in .* ms on a temporary copy"),
                                ContainsRegex("time +about .* at the sample's pace"), ContainsRegex("WAL +about "),
                                ContainsRegex("growth +heap ")));
  // At the end: what it did cost, beside that.
  std::string const costs =
      "estimated when it began: [^;]*, [0-9.]+ MB of WAL, a heap of [0-9.]+ MB; it took [^,]*, the server wrote "
      "[0-9.]+ MB of WAL meanwhile, the heap has [0-9.]+ MB";
  EXPECT_THAT(result.err, ContainsRegex(costs));
  EXPECT_THAT(result.out, HasSubstr("the gate of users_display_name is open"));
  EXPECT_TRUE(result.out.ends_with("\n100000\n")) << result.out;
  // What it was a copy of has neither the column nor a state.
  EXPECT_EQ(dump_of_schema(dsn()), before);
  EXPECT_EQ(client_->value("SELECT to_regnamespace('pgbackfill') IS NULL"), "t");
}

}  // namespace
}  // namespace pgbackfill::tests
