// `verify: agrees` that asks the program of the backfill again, on a real server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/migration_run.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Says how many rows it was asked about.
constexpr char kProgram[] = R"py(import sys
sys.path.insert(0, ")py" PGBACKFILL_SOURCE_DIR R"py(/examples/compute")
from pgbackfill_compute import Refuse, SKIP, answer_requests

def row(read):
    with open("asked", "a") as asked: asked.write(read["name"] + "\n")
    number = int(read["name"][1:])
    if number == 7: return SKIP
    if number == 8: raise Refuse("no such user")
    return {"price": "%d.50" % number, "code": "n%d" % number, "raw": "qqus"}
answer_requests(row)
)py";

std::string file_with(std::string const& check) {
  return "name: m\ntable: users\nbackfill:\n  where: \"code IS NULL\"\n  compute: {read: {name: name}, write: [price, "
         "code, raw], command: [python3, program.py]}\n  on_bad_row: {quarantine: 5}\nverify:\n  - agrees: " +
         check + "\n";
}

class ProgramAnswersTest : public DatabaseTest {
 protected:
  // Filled as the program fills it.
  void make_users(int rows) {
    client_->exec(
        "CREATE TABLE users (id int PRIMARY KEY, name text, price numeric(10, 1), code char(8), raw bytea); INSERT "
        "INTO "
        "users SELECT g, 'u' || g, g + 0.5, 'n' || g, '\\xaaabac' FROM generate_series(10, " +
        std::to_string(rows + 9) + ") g; ANALYZE users");
    write("program.py", kProgram);
  }
  void run_with(std::string const& check) {
    write("m.yaml", file_with(check));
    auto const result = run({"run", "m.yaml"});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
    std::filesystem::remove(dir() / "asked");
  }
  int asked() const {
    std::ifstream stream(dir() / "asked");
    int count = 0;
    for (std::string line; std::getline(stream, line);) ++count;
    return count;
  }
};

TEST_F(ProgramAnswersTest, AsksAboutAllRowsAndNamesThoseThatDiffer) {
  make_users(1'000);
  run_with("{compute: all}");
  auto const good = run({"verify", "m.yaml"});
  EXPECT_EQ(good.exit_code, kDone) << good.out << good.err;
  EXPECT_THAT(good.out, HasSubstr("1000 row(s) have what the program says"));
  EXPECT_EQ(asked(), 1'000);
  client_->exec("UPDATE users SET price = 1 WHERE id = 500; UPDATE users SET raw = NULL WHERE id = 600");
  auto const bad = run({"verify", "m.yaml"});
  EXPECT_EQ(bad.exit_code, kGateClosed) << bad.err;
  EXPECT_THAT(bad.out, AllOf(HasSubstr("2 of 1000 row(s) do not have what the program says"),
                             HasSubstr("row 500 of \"public\".\"users\": price is '1.0' and should be '500.5'"),
                             HasSubstr("row 600 of \"public\".\"users\": raw is NULL and should be E'\\\\xaaabac'")));
  EXPECT_THAT(run({"gate", "m.yaml"}).out, HasSubstr("do not have what the program says"));
  EXPECT_THAT(run({"--format", "json", "verify", "m.yaml"}).out,
              AllOf(HasSubstr("\"rows_compared\":1000"), HasSubstr("\"expected\"")));
}

TEST_F(ProgramAnswersTest, AsksAboutASampleOfTheWholeTable) {
  make_users(5'000);
  run_with("{compute: {rows: 400}}");
  client_->exec("ANALYZE users");
  auto const good = run({"verify", "m.yaml"});
  EXPECT_EQ(good.exit_code, kDone) << good.out << good.err;
  EXPECT_EQ(asked(), 400);
  std::ifstream stream(dir() / "asked");
  int low = 0;
  int high = 0;
  for (std::string line; std::getline(stream, line);) ++(std::stoi(line.substr(1)) < 2'500 ? low : high);
  EXPECT_GT(low, 100);
  EXPECT_GT(high, 100);
}

TEST_F(ProgramAnswersTest, RowsThatTheProgramLeavesAreNotComparedAndARefusalDoesNotHold) {
  make_users(100);
  client_->exec("INSERT INTO users VALUES (7, 'u7', 0, 'other')");
  run_with("{compute: all}");
  auto const skipped = run({"verify", "m.yaml"});
  EXPECT_EQ(skipped.exit_code, kDone) << skipped.out << skipped.err;
  EXPECT_THAT(skipped.out, HasSubstr("100 row(s) have"));
  client_->exec("INSERT INTO users VALUES (8, 'u8', 0, 'other')");
  auto const refused = run({"verify", "m.yaml"});
  EXPECT_EQ(refused.exit_code, kGateClosed);
  EXPECT_THAT(refused.out,
              HasSubstr("the program refuses 1 row(s), for example row 8 of \"public\".\"users\": no such"));
  // The condition of the check, not that of the backfill, says which rows.
  write("m.yaml", file_with("{compute: all, where: \"id > 50\"}"));
  auto const some = run({"verify", "m.yaml"});
  EXPECT_EQ(some.exit_code, kDone) << some.out << some.err;
  EXPECT_THAT(some.out, HasSubstr("59 row(s) have"));
}

TEST_F(ProgramAnswersTest, StartsNoProgramFromTheStateNorWhereThatIsNotWanted) {
  make_users(100);
  run_with("{compute: all}");
  auto const unwanted = run({"verify", "m.yaml", "--no-exec"});
  EXPECT_EQ(unwanted.exit_code, kGateClosed);
  EXPECT_THAT(unwanted.out, HasSubstr("--no-exec starts no program"));
  auto const by_name = run({"gate", "m"});
  EXPECT_EQ(by_name.exit_code, kGateClosed);
  EXPECT_THAT(by_name.out, HasSubstr("give the file instead of the name (m.yaml)"));
  EXPECT_EQ(asked(), 0);
  EXPECT_EQ(run({"gate", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(asked(), 100);
}

TEST_F(ProgramAnswersTest, AProgramThatFailsIsACheckThatDoesNotHold) {
  make_users(100);
  run_with("{compute: all}");
  write("program.py", "import sys\nsys.exit('out of order')\n");
  auto const failed = run({"verify", "m.yaml"});
  EXPECT_EQ(failed.exit_code, kGateClosed) << failed.err;
  EXPECT_THAT(failed.out, HasSubstr("out of order"));
  std::filesystem::remove(dir() / "program.py");
}

TEST_F(ProgramAnswersTest, IsRefusedWithoutAProgramOrACondition) {
  make_users(10);
  write("m.yaml", "name: m\ntable: users\nbackfill:\n  set: {code: \"'x'\"}\nverify:\n  - agrees: {compute: all}\n");
  EXPECT_THAT(run({"plan", "m.yaml"}).err, HasSubstr("this file has none that writes columns of its table"));
  write("m.yaml", file_with("{compute: some}"));
  EXPECT_THAT(run({"plan", "m.yaml"}).err, HasSubstr("'all'"));
  write("m.yaml", file_with("{compute: all, set: {code: \"'x'\"}}"));
  EXPECT_THAT(run({"plan", "m.yaml"}).err, HasSubstr("cannot stand beside"));
  write("m.yaml", file_with("{compute: all, where: \"nothing > 5\"}"));
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("column \"nothing\" does not exist"));
}

}  // namespace
}  // namespace pgbackfill::tests
