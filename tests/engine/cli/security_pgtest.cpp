// What a lesser role can plant by every right that the owner of a database has, and that nothing of it is executed when
// a superuser runs pgbackfill there: names in the schemas that name resolution reaches, a state schema of its own,
// triggers on functions of ours. For rows of the state tables see tampered_state_pgtest.cpp.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/hostile_database.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/planted_names.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using testing::IsEmpty;

// What the user writes is qualified, so that nothing in it can be meant for somebody else's.
constexpr char const* kAccounts = R"yaml(name: accounts
table: app.accounts
expand:
  - add_column: {name: display_name, type: pg_catalog.text}
  - create_index: {name: accounts_owner, columns: [owner_id]}
  - add_check: {name: sound, check: "n OPERATOR(pg_catalog.>=) 0::pg_catalog.int4"}
  - create_table: {table: app.made, columns: id pg_catalog.int8}
sync:
  set: {display_name: "pg_catalog.upper(name)"}
backfill:
  set: {display_name: "pg_catalog.upper(name)"}
  where: display_name IS NULL
  batch: {target: 20ms, min_rows: 10, max_rows: 60}
verify:
  - zero: "SELECT pg_catalog.count(*) FROM app.accounts WHERE display_name IS NULL"
  - row_count: {same_as: app.twin}
  - no_orphans: {columns: [owner_id], references: app.owners, to: [id]}
  - no_duplicates: {columns: [email]}
  - constraints_valid: app.accounts
  - agrees: {set: {display_name: "pg_catalog.upper(name)"}}
writers_gone: [old-application]
probes:
  - {name: queue, sql: "SELECT pg_catalog.count(*) FROM app.owners", max: 1000}
contract:
  - set_not_null: display_name
  - add_unique: {name: accounts_email, columns: [email]}
  - set_default: {column: n, value: "1"}
  - drop_column: spare
)yaml";

constexpr char const* kMirror = R"yaml(name: codes
table: app.codes
sync:
  mirror: [tenant, code, day]
backfill:
  copy_to: app.copied
  columns: {tenant: tenant, code: code, day: day, n: n}
contract:
  - swap: {with: app.copied, keep_as: codes_old}
)yaml";

constexpr char const* kBadRows = R"yaml(name: bad
table: app.codes
backfill:
  set: {n: "100::pg_catalog.int4 OPERATOR(pg_catalog./) n"}
  on_bad_row: {quarantine: 50}
)yaml";

constexpr char const* kParts = R"yaml(name: parts
table: app.parts
backfill:
  set: {n: "n OPERATOR(pg_catalog.+) 1::pg_catalog.int4"}
)yaml";

constexpr char const* kKeyless = R"yaml(name: keyless
table: app.keyless
backfill:
  set: {done: "true"}
  where: NOT done
)yaml";

constexpr char const* kOld = R"yaml(name: old
table: app.old
backfill:
  delete: true
  where: "day OPERATOR(pg_catalog.<) '2024-03-01'::pg_catalog.date"
)yaml";

constexpr char const* kSql = R"yaml(name: joined
table: app.twin
backfill:
  sql: "UPDATE app.twin SET n = o.id FROM app.owners o WHERE o.id OPERATOR(pg_catalog.=) twin.owner_id AND {batch}"
  batch: {min_rows: 1, max_rows: 10}
throttle:
  max_rows_per_second: 10
)yaml";

constexpr char const* kCounted = R"yaml(name: counted
table: app.owners
backfill:
  delete: true
  where: "id OPERATOR(pg_catalog.<) 0::pg_catalog.int4"
)yaml";

class Security : public HostileDatabase {
 protected:
  void SetUp() override {
    HostileDatabase::SetUp();
    for (auto const& [name, text] : {std::pair{"accounts", kAccounts},
                                     {"codes", kMirror},
                                     {"bad", kBadRows},
                                     {"parts", kParts},
                                     {"keyless", kKeyless},
                                     {"old", kOld},
                                     {"counted", kCounted},
                                     {"joined", kSql}}) {
      write_file(name, text);
    }
  }

  void run_every_command();
  void command_a_job_under_way();
};

void Security::run_every_command() {
  expect(kDone, {"init"});
  expect(kDone, {"doctor"});
  expect(kDone, {"doctor", "accounts.yaml"});
  expect(kDone, {"doctor", "codes.yaml"});
  expect(kDone, {"plan", "accounts.yaml"});
  expect(kDone, {"plan", "parts.yaml", "--sample"});
  expect(kDone, {"plan", "."});
  expect(kDone, {"lint", "accounts.yaml", "--fail-on", "destructive"});
  expect(kDone, {"run", "accounts.yaml"});
  expect(kDone, {"plan", "accounts.yaml"});
  expect(kDone, {"status"});
  expect(kDone, {"status", "accounts"});
  expect(kDone, {"status", "."});
  expect(kDone, {"history"});
  expect(kDone, {"log", "accounts"});
  expect(kDone, {"locks"});
  expect(kDone, {"locks", "accounts"});
  expect(kDone, {"gate", "accounts.yaml"});
  expect(kDone, {"verify", "accounts.yaml"});
  PgClient(dsn()).exec(
      "SELECT pg_catalog.set_config('pgbackfill.migration', pg_catalog.concat('accounts:', "
      "pg_catalog.pg_backend_pid()), false); UPDATE app.accounts SET display_name = 'x' WHERE id "
      "OPERATOR(pg_catalog.=) 7");
  run({"verify", "accounts.yaml", "--repair"});
  expect(kDone, {"verify", "accounts.yaml"});
  expect(kDone, {"approve", "accounts.yaml"});
  expect(kDone, {"complete", "accounts.yaml"});
  expect(kDone, {"rollback", "parts.yaml", "--dry-run"});
  expect(kDone, {"run", "codes.yaml"});
  expect(kDone, {"gate", "codes.yaml"});
  expect(kDone, {"complete", "codes.yaml", "--yes"});
  expect(kDone, {"run", "bad.yaml"});
  expect(kGateClosed, {"gate", "bad.yaml"});
  expect(kDone, {"set", "bad", "workers=1"});
  expect(kDone, {"resume", "bad", "--retry-quarantine"});
  expect(kDone, {"run", "bad.yaml"});
  expect(kDone, {"run", "parts.yaml"});
  expect(kDone, {"run", "keyless.yaml"});
  expect(kDone, {"run", "old.yaml"});
  expect(kGateClosed, {"stamp", "counted.yaml", "--phase", "backfilled"});
  expect(kDone, {"stamp", "counted.yaml", "--phase", "backfilled", "--yes"});
  command_a_job_under_way();
  expect(kDone, {"set", "joined"});
  expect(kDone, {"rollback", "joined.yaml", "--yes"});
}

void Security::command_a_job_under_way() {
  auto const before = std::filesystem::file_size(log_file());
  Program process(command_of({"run", "joined.yaml"}), in_folder());
  poll_until([&] { return run({"status", "joined"}).exit_code == kDone; });
  expect(kDone, {"pause", "joined"});
  expect(kDone, {"resume", "joined"});
  expect(kDone, {"cancel", "joined"});
  EXPECT_EQ(process.wait().exit_code, kHalted);
  expect_nothing_called("pgbackfill run joined.yaml", before);
}

TEST_F(Security, CallsNothingThatWasPlantedBehindTheCatalog) {
  {
    PgClient mallory(dsn("mallory"));
    // The superuser's "$user", which the owner of the database may make.
    mallory.exec("CREATE SCHEMA postgres");
    if (cluster_->major_version() < 15) PgClient(dsn()).exec("GRANT CREATE ON SCHEMA public TO mallory");
    EXPECT_GT(plant_names(mallory, "postgres"), 2'000);
  }
  run_every_command();
}

TEST_F(Security, CallsNothingThatWasPlantedBeforeTheCatalog) {
  {
    PgClient mallory(dsn("mallory"));
    mallory.exec("CREATE SCHEMA evil");
    EXPECT_GT(plant_names(mallory, "evil"), 3'000);
    mallory.exec("ALTER DATABASE shop SET search_path = evil, pg_catalog, public");
  }
  run_every_command();
}

// Who owns a type says what a cast between it and text calls.
TEST_F(Security, CallsNoCastsOfTheOwnerOfAType) {
  PgClient mallory(dsn("mallory"));
  mallory.exec(
      "CREATE SCHEMA moods; CREATE TYPE moods.mood AS ENUM ('a', 'b', 'c'); CREATE TYPE moods.pair AS (a int, b "
      "moods.mood); CREATE TABLE moods.t (p moods.pair, m moods.mood, n int, done moods.pair, PRIMARY KEY (p, m)); "
      "INSERT INTO moods.t SELECT ('(' || g || ',b)')::moods.pair, m, g % 100 FROM generate_series(1, 1000) g, "
      "unnest(enum_range(NULL::moods.mood)) m; ANALYZE moods.t");
  for (std::string const type : {"moods.mood", "moods.pair", "moods.mood[]", "moods.pair[]"}) {
    std::string const name = "moods.f" + std::to_string(std::hash<std::string>()(type) % 100'000);
    for (auto const& [from, to] : {std::pair<std::string, std::string>{type, "text"}, {"text", type}, {type, "json"}}) {
      mallory.exec(fmt::format(
          "CREATE FUNCTION {2}_{3}({0}) RETURNS {1} LANGUAGE plpgsql AS $$ BEGIN IF current_user <> 'mallory' THEN "
          "RAISE "
          "LOG 'planted: cast of {0} to {1}'; END IF; RETURN NULL; END $$; CREATE CAST ({0} AS {1}) WITH FUNCTION "
          "{2}_{3}({0}) AS ASSIGNMENT",
          from, to, name,
          to == "json"     ? "json"
          : from == "text" ? "in"
                           : "out"));
    }
  }
  write_file("moods",
             "name: moods\ntable: moods.t\nbackfill:\n  set: {done: \"CASE WHEN 100::pg_catalog.int4 "
             "OPERATOR(pg_catalog./) n OPERATOR(pg_catalog.>) 0 THEN p END\"}\n  where: done IS NULL\n  on_bad_row: "
             "{quarantine: 50}\n  batch: {min_rows: 10, max_rows: 60}\nverify:\n  - agrees: {set: {done: "
             "\"'(7,a)'\"}}\n");
  expect(kDone, {"init"});
  expect(kDone, {"doctor", "moods.yaml"});
  expect(kDone, {"plan", "moods.yaml"});
  PgClient holder(dsn("mallory"));
  holder.exec("BEGIN; SELECT FROM moods.t WHERE (p).a = 500 FOR UPDATE");
  auto const before = std::filesystem::file_size(log_file());
  {
    Program process(command_of({"run", "moods.yaml"}), in_folder());
    poll_until([&] { return PgClient(dsn()).value("SELECT count(*) FROM pgbackfill.deferred") == "3"; });
    holder.exec("COMMIT");
    EXPECT_EQ(process.wait().exit_code, kDone);
  }
  expect_nothing_called("pgbackfill run moods.yaml", before);
  EXPECT_EQ(PgClient(dsn()).value("SELECT count(*) FROM moods.t WHERE done IS NOT NULL"), "2970");
  expect(kGateClosed, {"gate", "moods.yaml"});
  expect(kGateClosed, {"verify", "moods.yaml"});
  expect(kDone, {"status", "moods"});
}

TEST_F(Security, RefusesAStateSchemaOfALesserRole) {
  ASSERT_EQ(run({"init"}, "mallory").exit_code, kDone);
  PgClient(dsn("mallory"))
      .exec(
          "CREATE FUNCTION pgbackfill.call() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF current_user <> 'mallory' "
          "THEN RAISE "
          "LOG 'planted: trigger'; END IF; RETURN NEW; END $$; DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid "
          "FROM pg_class "
          "WHERE relnamespace = 'pgbackfill'::regnamespace AND relkind = 'r' LOOP EXECUTE format('CREATE TRIGGER call "
          "BEFORE "
          "INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION pgbackfill.call()', t); END LOOP; END $$");
  for (auto const* command : {"init", "doctor", "status", "history"}) expect_refused({command});
  for (auto const* command : {"plan", "run", "doctor"}) expect_refused({command, "accounts.yaml"});
  expect_refused({"stamp", "old.yaml", "--phase", "backfilled", "--yes"});
  for (auto const* command :
       {"gate", "verify", "complete", "approve", "log", "pause", "resume", "cancel", "set", "locks", "status"}) {
    expect_refused({command, "accounts"});
  }
  expect_refused({"rollback", "accounts", "--yes"});
}

TEST_F(Security, LetsNobodyElseCallItsFunctions) {
  auto const made = run({"run", "codes.yaml"});
  ASSERT_EQ(made.exit_code, kDone) << made.out << made.err;
  PgClient(dsn()).exec(
      "GRANT USAGE ON SCHEMA pgbackfill TO mallory; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "
      "pgbackfill TO mallory");
  PgClient mallory(dsn("mallory"));
  mallory.exec(
      "CREATE SCHEMA evil; CREATE TYPE evil.odd AS (x int); CREATE TABLE evil.codes (tenant int, code text, day "
      "timestamptz, "
      "n int)");
  auto const definers = mallory.exec(
      "SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'pgbackfill'::regnamespace AND prosecdef");
  EXPECT_FALSE(definers.empty()) << "the mirror's function works with its owner's rights";
  for (auto const& function : definers) {
    auto const name = function[0]->substr(0, function[0]->find('('));
    EXPECT_EQ(mallory.try_exec(
                  fmt::format("CREATE TRIGGER t AFTER INSERT OR UPDATE OR DELETE ON evil.codes FOR EACH ROW EXECUTE "
                              "FUNCTION {}()",
                              name)),
              "42501")
        << name;
  }
  // Those that run the file's SQL do it under the file's search_path, and call nothing without a schema themselves.
  auto const open = mallory.exec(
      "SELECT oid::regprocedure FROM pg_proc p WHERE pronamespace = 'pgbackfill'::regnamespace AND proname NOT IN "
      "('work', 'sync_codes') AND (proconfig IS NULL OR NOT 'search_path=pg_catalog, pg_temp' = ANY (proconfig))");
  std::vector<std::string> names;
  for (auto const& function : open) names.push_back(*function[0]);
  EXPECT_THAT(names, IsEmpty()) << "functions without a search_path of their own";
}

}  // namespace
}  // namespace pgbackfill::tests
