// What a role that shares the state tables can write into them, and that nothing of it is executed when a superuser
// goes on with the job, or asks for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/hostile_database.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

// A domain whose check says who computes with it.
constexpr char const* kProbe = R"sql(
CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE FUNCTION evil.probe(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  IF current_user <> 'mallory' THEN RAISE LOG 'planted: probe'; END IF; RETURN true; END $$;
CREATE FUNCTION evil.call() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
  IF current_user <> 'mallory' THEN RAISE LOG 'planted: call'; END IF; RETURN 1; END $$;
CREATE DOMAIN evil.key AS text CHECK (evil.probe(value));
CREATE TABLE evil.accounts (id bigint PRIMARY KEY, name text, display_name text);
INSERT INTO evil.accounts SELECT g, 'x' FROM generate_series(1, 10) g;
CREATE FUNCTION evil.on_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF current_user <> 'mallory' THEN RAISE LOG 'planted: trigger'; END IF; RETURN NEW; END $$;
CREATE TRIGGER on_change BEFORE UPDATE OR DELETE ON evil.accounts FOR EACH ROW EXECUTE FUNCTION evil.on_change();
)sql";

// What a role that only shares the state tables can write into them, each against a job that is half done.
constexpr char const* kTampering[] = {
    "UPDATE pgbackfill.leaves SET key_types = '{evil.key}'",
    "UPDATE pgbackfill.leaves SET key_types = '{\"pg_catalog.int8) IN (SELECT evil.call()) OR ((1\"}'",
    "UPDATE pgbackfill.leaves SET key_columns = '{\"id\\\" + evil.call() AS \\\"id\"}'",
    "UPDATE pgbackfill.leaves SET key_collations = '{\"\\\"C\\\" OR evil.call() = 1\"}', key_order_collations = "
    "'{\"evil.call()\"}'",
    "UPDATE pgbackfill.leaves SET key_index = 'x\"; SELECT evil.call(); --'",
    "UPDATE pgbackfill.leaves SET table_schema = 'evil', relation = 'evil.accounts'::regclass",
    "UPDATE pgbackfill.jobs SET table_schema = 'evil'",
    "UPDATE pgbackfill.jobs SET definition = replace(definition, 'upper(name)', 'evil.call()::text')",
    "UPDATE pgbackfill.ranges SET cursor = '{\"1) OR evil.call() = ANY (ARRAY[1]\"}' WHERE NOT done",
    "UPDATE pgbackfill.ranges SET cursor = '{1,2,3}', hi = '{}'",
    "UPDATE pgbackfill.ranges SET owner = 'x''; SELECT evil.call(); --', lease_expires = 'infinity'",
    "UPDATE pgbackfill.migrations SET source = replace(source, 'upper(name)', 'evil.call()::text')",
    "UPDATE pgbackfill.migrations SET source = source || E'before:\\n  expand: [{command: \"touch "
    "hacked\"}]\\nafter:\\n  backfill: "
    "[{command: \"touch hacked\"}]\\n', file = 'accounts.yaml'",
    "UPDATE pgbackfill.migrations SET source = source || E'contract:\\n  - sql: \"SELECT evil.call()\"\\n'",
    "UPDATE pgbackfill.steps SET sql = 'SELECT evil.call()', proof = 'evil.call()'",
    "INSERT INTO pgbackfill.claims (migration, phase, position, step, before) SELECT 'accounts', 'expand', 0, 'SELECT "
    "evil.call()', "
    "'SELECT evil.call()' ON CONFLICT DO NOTHING",
    "UPDATE pgbackfill.facts SET definition = 'SELECT evil.call()', name = 'x\" + evil.call()' || name",
    "INSERT INTO pgbackfill.deferred (job_id, leaf, key) SELECT job_id, leaf, '{\"1) OR evil.call() = (1\"}' FROM "
    "pgbackfill.leaves",
    "INSERT INTO pgbackfill.quarantine (job_id, leaf, key, sqlstate, message) SELECT job_id, leaf, "
    "'{\"evil.call()\"}', '22000', "
    "E'\\x1b[2J' FROM pgbackfill.leaves",
};

// Steps that half a job needs, with rows that a typed step made.
constexpr char const* kHalfDone = R"yaml(name: accounts
table: app.accounts
expand:
  - add_column: {name: display_name, type: pg_catalog.text}
backfill:
  set: {display_name: "pg_catalog.upper(name)"}
  where: display_name IS NULL
  batch: {target: 5ms, min_rows: 1, max_rows: 2}
verify:
  - agrees: {set: {display_name: "pg_catalog.upper(name)"}}
throttle:
  mode: "off"
  max_rows_per_second: 100
)yaml";

class TamperedState : public HostileDatabase {
 protected:
  // A job that is half done, kept as a database to begin with again and again.
  void SetUp() override {
    HostileDatabase::SetUp();
    PgClient(dsn("mallory")).exec(kProbe);
    write_file("accounts", kHalfDone);
    PgClient(dsn()).exec("DELETE FROM app.accounts WHERE id > 40");
    ASSERT_EQ(run({"init"}).exit_code, kDone);
    PgClient(dsn()).exec(
        "GRANT USAGE ON SCHEMA pgbackfill TO mallory; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA "
        "pgbackfill TO mallory; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgbackfill TO mallory");
    Program half(command_of({"run", "accounts.yaml"}), in_folder());
    poll_until([&] { return rows_done() > 0; });
    half.signal(SIGKILL);
    half.wait();
    ASSERT_LT(rows_done(), 40);
    PgClient(cluster_->dsn()).exec("ALTER DATABASE shop RENAME TO half");
  }

  void begin_again() {
    PgClient admin(cluster_->dsn());
    admin.exec("DROP DATABASE IF EXISTS shop WITH (FORCE)");
    admin.exec("CREATE DATABASE shop TEMPLATE half OWNER mallory");
  }
  int rows_done() const {
    PgClient client(dsn());
    if (client.value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'app.accounts'::regclass AND attname = "
                     "'display_name'") == "0") {
      return 0;
    }
    return std::stoi(client.value("SELECT count(display_name) FROM app.accounts"));
  }

  void expect_harmless(std::vector<std::string> const& words) {
    auto const before = std::filesystem::file_size(log_file());
    auto const result = run(words);
    EXPECT_LT(result.exit_code, 128) << words[0] << ": it has to say what is wrong\n" << result.out << result.err;
    expect_nothing_called(words[0], before);
    EXPECT_FALSE(std::filesystem::exists(dir_ / "hacked")) << words[0];
    EXPECT_EQ((result.out + result.err).find('\x1b'), std::string::npos) << words[0];
    EXPECT_EQ(PgClient(dsn()).value("SELECT count(display_name) FROM evil.accounts"), "0") << words[0];
  }
};

TEST_F(TamperedState, RunsNothingThatAnotherRoleWroteIntoIt) {
  for (auto const* tampering : kTampering) {
    SCOPED_TRACE(tampering);
    begin_again();
    PgClient(dsn("mallory")).exec(tampering);
    expect_harmless({"status"});
    for (auto const* command : {"status", "log", "locks", "gate", "verify", "set"})
      expect_harmless({command, "accounts"});
    expect_harmless({"resume", "accounts", "--retry-quarantine"});
    expect_harmless({"complete", "accounts", "--yes"});
    expect_harmless({"rollback", "accounts", "--dry-run"});
    expect_harmless({"plan", "accounts.yaml"});
    expect_harmless({"run", "accounts.yaml", "--wait-for-rows", "1s"});
  }
}

}  // namespace
}  // namespace pgbackfill::tests
