#include "planner/file/migration_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <yaml-cpp/yaml.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "planner/file/check_schema.h"
#include "planner/file/migration_schema.h"
#include "planner/file/step_schema.h"
#include "planner/file/yaml_document.h"
#include "planner/model/step_detail.h"
#include "planner/model/table_name.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::planner {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::vector<std::string> problems_of(std::string_view text) {
  auto const parsed = parse_migration(text, "m.yaml");
  std::vector<std::string> texts;
  for (auto const& problem : parsed.problems) texts.push_back(to_string(problem));
  EXPECT_EQ(parsed.migration.has_value(), texts.empty());
  return texts;
}

Migration migration_of(std::string_view text) {
  auto parsed = parse_migration(text, "m.yaml");
  for (auto const& problem : parsed.problems) ADD_FAILURE() << to_string(problem);
  return parsed.migration.value_or(Migration{});
}

Backfill backfill_of(std::string const& body) {
  return migration_of("name: x\ntable: t\nbackfill: " + body + "\n").backfill.value_or(Backfill{});
}

std::vector<std::string> backfill_problems(std::string const& body) {
  return problems_of("name: x\ntable: t\nbackfill: " + body + "\n");
}

std::string at(SourcePosition const& position) {
  return std::to_string(position.line) + ":" + std::to_string(position.column);
}

std::string settings_of(Migration const& migration) {
  std::string text;
  for (auto const& setting : migration.throttle.settings) {
    text += (text.empty() ? "" : "; ") + setting.name + "=" + setting.text;
  }
  return text;
}

constexpr char const* kExample = R"yaml(name: users_display_name           # unique per database
table: public.users                # default for what follows

expand:
  - sql: ALTER TABLE users ADD COLUMN display_name text
    down: ALTER TABLE users DROP COLUMN display_name
backfill:
  set: {display_name: "upper(name)"}
  where: "display_name IS NULL"
  workers: 4
  batch: {target: 100ms, min_rows: 50, max_rows: 50000}
  commit: async                    # or sync
  on_bad_row: {quarantine: 0}
contract:                          # only behind the gate, only with `complete`
  - sql: |
      ALTER TABLE users
        DROP COLUMN name;
throttle:
  replica_lag: 1s
  lock_wait: 50ms
  mode: on
windows: ["Mon-Fri 22:00-06:00 Europe/Berlin", "Sat-Sun"]
)yaml";

RunSql sql_of(SchemaStep const& step) {
  return std::get<RunSql>(step.detail->kind);
}

TEST(MigrationFile, ReadsTheExampleOfTheDesign) {
  auto const migration = migration_of(kExample);
  EXPECT_EQ(migration.file, "m.yaml");
  EXPECT_EQ(migration.name, "users_display_name");
  ASSERT_TRUE(migration.table);
  EXPECT_EQ(migration.table->schema, "public");
  EXPECT_EQ(migration.table->name, "users");
  ASSERT_EQ(migration.expand.size(), 1U);
  EXPECT_EQ(sql_of(migration.expand[0]).sql, "ALTER TABLE users ADD COLUMN display_name text");
  EXPECT_EQ(sql_of(migration.expand[0]).down, "ALTER TABLE users DROP COLUMN display_name");
  EXPECT_EQ(at(migration.expand[0].position), "5:10");
  ASSERT_EQ(migration.contract.size(), 1U);
  EXPECT_EQ(sql_of(migration.contract[0]).sql, "ALTER TABLE users\n  DROP COLUMN name;\n");
  EXPECT_EQ(sql_of(migration.contract[0]).down, std::nullopt);
  EXPECT_EQ(settings_of(migration), "mode=on; replica_lag=1s; lock_wait=50ms");
  EXPECT_EQ(at(migration.throttle.settings[1].position), "19:16");
  ASSERT_EQ(migration.windows.size(), 2U);
  EXPECT_EQ(migration.windows[0].text, "Mon-Fri 22:00-06:00 Europe/Berlin");
  EXPECT_EQ(at(migration.windows[1].position), "22:48");
}

TEST(MigrationFile, ReadsTheBackfillOfTheExample) {
  auto const migration = migration_of(kExample);
  ASSERT_TRUE(migration.backfill);
  auto const& backfill = *migration.backfill;
  EXPECT_EQ(at(backfill.position), "7:1");
  EXPECT_EQ(backfill.table.name, "users");
  EXPECT_EQ(backfill.kind, WorkKind::kUpdate);
  ASSERT_EQ(backfill.assignments.size(), 1U);
  EXPECT_EQ(backfill.assignments[0].column, "display_name");
  EXPECT_EQ(backfill.assignments[0].expression, "upper(name)");
  EXPECT_EQ(at(backfill.assignments[0].position), "8:23");
  EXPECT_EQ(backfill.where, "display_name IS NULL");
  EXPECT_EQ(at(backfill.where_position), "9:10");
  EXPECT_EQ(backfill.workers, 4);
  EXPECT_EQ(backfill.batch.target, milliseconds{100});
  EXPECT_EQ(backfill.batch.min_rows, 50);
  EXPECT_EQ(backfill.batch.max_rows, 50'000);
  EXPECT_EQ(backfill.commit, CommitMode::kAsync);
  EXPECT_EQ(backfill.triggers, TriggerMode::kFire);
  EXPECT_EQ(backfill.quarantine_budget, 0);
}

TEST(MigrationFile, ReadsEveryKindOfWork) {
  auto const sql = backfill_of("{sql: \"UPDATE t SET a = 1 WHERE {batch}\"}");
  EXPECT_EQ(sql.kind, WorkKind::kSql);
  EXPECT_EQ(sql.sql, "UPDATE t SET a = 1 WHERE {batch}");
  EXPECT_EQ(at(sql.sql_position), "3:17");
  auto const copy = backfill_of("{copy_to: s.Target, columns: {id: id, \"Odd Col\": a || b}, where: a > 1}");
  EXPECT_EQ(copy.kind, WorkKind::kCopy);
  EXPECT_EQ(copy.copy_to.schema, "s");
  EXPECT_EQ(copy.copy_to.name, "target");
  ASSERT_EQ(copy.assignments.size(), 2U);
  EXPECT_EQ(copy.assignments[1].column, "Odd Col");
  EXPECT_EQ(copy.assignments[1].expression, "a || b");
  EXPECT_EQ(copy.where, "a > 1");
  auto const removal = backfill_of("{delete: true, where: created < now() - interval '1 year'}");
  EXPECT_EQ(removal.kind, WorkKind::kDelete);
  EXPECT_EQ(removal.where, "created < now() - interval '1 year'");
}

TEST(MigrationFile, ReadsOptionsThatDifferFromTheDefaults) {
  auto const backfill = backfill_of(
      "{set: {a: 1}, table: other, commit: sync, triggers: skip, on_bad_row: {quarantine: 7}, workers: 256}");
  EXPECT_EQ(backfill.table.name, "other");
  EXPECT_EQ(backfill.commit, CommitMode::kSync);
  EXPECT_EQ(backfill.triggers, TriggerMode::kSkip);
  EXPECT_EQ(backfill.quarantine_budget, 7);
  EXPECT_EQ(backfill.workers, kMaxWorkers);
  EXPECT_EQ(backfill_of("{set: {a: 1}, on_bad_row: stop}").quarantine_budget, 0);
}

TEST(MigrationFile, ReadsTheSettingsOfTheThrottleAsTheyStandThere) {
  EXPECT_EQ(settings_of(migration_of("name: x\nthrottle: {mode: off}")), "mode=off");
  auto const migration = migration_of(
      "name: x\nthrottle: {max_wal_per_second: 40MB/s, nice: -3, bloat: 12.5%, replicas: [db-2, \"db 3\"], "
      "ignore_replicas: 'a, b', max_rows_per_second: none, latency_ratio: 1.3}");
  EXPECT_EQ(settings_of(migration),
            "replicas=db-2, db 3; ignore_replicas=a, b; latency_ratio=1.3; bloat=12.5%; max_rows_per_second=none; "
            "max_wal_per_second=40MB/s; nice=-3");
  EXPECT_EQ(at(migration.throttle.position), "2:1");
}

TEST(MigrationFile, RefusesSettingsWithTheirPositionAndAHint) {
  EXPECT_THAT(problems_of("name: x\nthrottle:\n  replica_lga: 1s\n"),
              ElementsAre("m.yaml:3:3: unknown key 'replica_lga' (did you mean 'replica_lag'?)"));
  EXPECT_THAT(problems_of("name: x\nthrottle:\n  max_wal_per_second: 40MB\n  bloat: 0.2\n"),
              ElementsAre("m.yaml:3:23: 'max_wal_per_second: 40MB' has no '/s' (write 40MB/s); or none",
                          "m.yaml:4:10: 'bloat: 0.2' has no unit (write 0.2%)"));
  EXPECT_THAT(problems_of("name: x\nthrottle:\n  archive_stop: 64\n  archive_slow: 65\n"),
              ElementsAre(StartsWith("m.yaml:4:17: archive_slow is 65 and archive_stop is 64")));
  EXPECT_THAT(problems_of("name: x\nthrottle:\n  archive_stop: 20\n"),
              ElementsAre(StartsWith("m.yaml:3:17: archive_slow is 42 (the default) and archive_stop is 20")));
  EXPECT_THAT(problems_of("name: x\nthrottle: {missing_replica: wait}"),
              ElementsAre("m.yaml:2:29: 'missing_replica: wait' is not one of 'auto', 'pause', 'ignore', 'abort'"));
  EXPECT_THAT(problems_of("name: x\nthrottle: {replicas: ['a,b']}"), ElementsAre(HasSubstr("a text without a comma")));
  EXPECT_THAT(problems_of("name: x\nthrottle: {replicas: []}"), ElementsAre(HasSubstr("'replicas: ' has no value")));
  EXPECT_THAT(problems_of("name: x\nthrottle: {replicas: {a: b}}"), ElementsAre(HasSubstr("must be a single value")));
  EXPECT_THAT(problems_of("name: x\nthrottle: {bloat: [20%]}"), ElementsAre(HasSubstr("must be a single value")));
}

TEST(MigrationFile, ReadsProbes) {
  auto const probes = migration_of(R"yaml(name: x
probes:
  - {name: queue, sql: SELECT count(*) FROM jobs, max: 1000, interval: 10s, timeout: 500ms}
  - {name: errors, url: "http://prometheus:9090", query: "sum(rate(errors[1m]))", max: 0.5}
  - {name: app, url: "http://127.0.0.1/health"}
)yaml")
                          .probes;
  ASSERT_EQ(probes.size(), 3U);
  EXPECT_EQ(probes[0].name, "queue");
  EXPECT_EQ(probes[0].sql, "SELECT count(*) FROM jobs");
  EXPECT_EQ(at(probes[0].sql_position), "3:24");
  EXPECT_EQ(probes[0].max, 1000);
  EXPECT_EQ(probes[0].interval, milliseconds{10'000});
  EXPECT_EQ(probes[0].timeout, milliseconds{500});
  EXPECT_EQ(probes[1].query, "sum(rate(errors[1m]))");
  EXPECT_EQ(probes[1].max, 0.5);
  EXPECT_EQ(probes[1].interval, milliseconds{5'000});
  EXPECT_EQ(probes[1].timeout, milliseconds{1'000});
  EXPECT_EQ(probes[2].url, "http://127.0.0.1/health");
  EXPECT_EQ(probes[2].max, std::nullopt);
}

TEST(MigrationFile, RefusesProbesThatSayTooLittleOrTooMuch) {
  auto const problems_of_probe = [](std::string const& probe) {
    return problems_of("name: x\nprobes:\n  - " + probe + "\n");
  };
  EXPECT_THAT(problems_of_probe("{sql: SELECT 1, max: 1}"), ElementsAre(HasSubstr("'name' is missing in 'probes'")));
  EXPECT_THAT(problems_of_probe("{name: a}"), ElementsAre(HasSubstr("exactly one of 'sql', 'url' must be in")));
  EXPECT_THAT(problems_of_probe("{name: a, sql: SELECT 1}"), ElementsAre(HasSubstr("'sql' needs 'max' beside it")));
  EXPECT_THAT(problems_of_probe("{name: a, sql: SELECT 1;, max: 1}"), ElementsAre(HasSubstr("ends with a semicolon")));
  EXPECT_THAT(problems_of_probe("{name: a, url: 'http://h', query: up}"),
              ElementsAre(HasSubstr("'query' needs 'max' beside it")));
  EXPECT_THAT(problems_of_probe("{name: a, url: 'http://h', max: 1}"),
              ElementsAre(HasSubstr("'max' needs a number to compare")));
  EXPECT_THAT(problems_of_probe("{name: a, sql: SELECT 1, url: 'http://h', max: 1}"),
              ElementsAre(HasSubstr("'url' cannot stand beside 'sql'")));
  EXPECT_THAT(problems_of_probe("{name: a, sql: SELECT 1, query: up, max: 1}"),
              ElementsAre(HasSubstr("'query' is for a Prometheus server")));
  EXPECT_THAT(problems_of_probe("{name: a b, sql: SELECT 1, max: 1}"),
              ElementsAre(HasSubstr("'a b' cannot be the name of a probe")));
  EXPECT_THAT(problems_of_probe("{name: a, sql: SELECT 1, max: lots}"),
              ElementsAre(HasSubstr("'max: lots' is not a number")));
  EXPECT_THAT(problems_of_probe("{name: a, sql: SELECT 1, max: inf}"), ElementsAre(HasSubstr("is not a number")));
  EXPECT_THAT(problems_of_probe("{name: a, url: 'ftp://h'}"), ElementsAre(HasSubstr("http:// or https://")));
  EXPECT_THAT(problems_of_probe("{name: a, url: 'h:9090'}"), ElementsAre(HasSubstr("begins with http://")));
  EXPECT_THAT(problems_of_probe("{name: a, url: 'http://h h'}"), ElementsAre(HasSubstr("begins with http://")));
  EXPECT_THAT(problems_of_probe("{name: a, url: 'http://h', interval: 1s, timeout: 2s}"),
              ElementsAre("m.yaml:3:5: timeout 2s is more than interval 1s"));
  EXPECT_THAT(problems_of_probe("queue"), ElementsAre(HasSubstr("a probe must be a map")));
  EXPECT_THAT(problems_of("name: x\nprobes: {name: a}\n"), ElementsAre(HasSubstr("'probes' must be a list of maps")));
  EXPECT_THAT(problems_of("name: x\nprobes:\n  - {name: a, url: 'http://h'}\n  - {name: a, url: 'http://i'}\n"),
              ElementsAre("m.yaml:4:5: there is a probe 'a' already; give this one a name of its own"));
}

TEST(MigrationFile, ReadsBlackoutsAsItReadsWindows) {
  auto const migration = migration_of("name: x\nblackout: [\"Mon 01:00-02:00\"]\n");
  ASSERT_EQ(migration.blackout.size(), 1U);
  EXPECT_EQ(migration.blackout[0].text, "Mon 01:00-02:00");
  EXPECT_EQ(at(migration.blackout[0].position), "2:12");
  EXPECT_THAT(problems_of("name: x\nblackout: Sat\n"),
              ElementsAre(StartsWith("m.yaml:2:11: 'blackout' must be a list of texts")));
}

TEST(MigrationFile, MovesTheOtherDefaultWhenOneBoundOfABatchIsGiven) {
  EXPECT_EQ(backfill_of("{set: {a: 1}, batch: {max_rows: 10}}").batch.min_rows, 10);
  EXPECT_EQ(backfill_of("{set: {a: 1}, batch: {max_rows: 500}}").batch.min_rows, 50);
  EXPECT_EQ(backfill_of("{set: {a: 1}, batch: {min_rows: 100000}}").batch.max_rows, 100'000);
}

TEST(MigrationFile, KeepsScalarsInSqlPositionsAsWritten) {
  auto const backfill =
      backfill_of("{set: {a: n + 1, b: true, c: 1, d: null, e: ~, f: 0x1F, g: 1e3, h: NULL, i: yes}}");
  std::vector<std::string> expressions;
  for (auto const& assignment : backfill.assignments) expressions.push_back(assignment.expression);
  EXPECT_THAT(expressions, ElementsAre("n + 1", "true", "1", "null", "null", "0x1F", "1e3", "null", "yes"));
}

TEST(MigrationFile, TellsAColumnCalledNullFromAMissingExpression) {
  auto const backfill = backfill_of("{set: {null: 3}}");
  ASSERT_EQ(backfill.assignments.size(), 1U);
  EXPECT_EQ(backfill.assignments[0].column, "null");
  EXPECT_THAT(backfill_problems("\n  set:\n    a:\n    null: 3"),
              ElementsAre(StartsWith("m.yaml:5:5: 'a' has no SQL")));
}

TEST(MigrationFile, FollowsAliases) {
  auto const migration = migration_of("name: x\ntable: t\nexpand: &steps\n  - sql: A\ncontract: *steps\n");
  ASSERT_EQ(migration.contract.size(), 1U);
  EXPECT_EQ(sql_of(migration.contract[0]).sql, "A");
}

TEST(MigrationFile, AcceptsAByteOrderMarkAndWindowsLineEnds) {
  EXPECT_EQ(migration_of("\xEF\xBB\xBFname: x\r\ntable: t\r\n").table->name, "t");
  EXPECT_THAT(problems_of("\xEF\xBB\xBFname: x\r\ntabel: t\r\n"),
              ElementsAre("m.yaml:2:1: unknown key 'tabel' (did you mean 'table'?)"));
}

// Names.

TEST(MigrationFile, FoldsTableNamesAsSqlDoes) {
  auto const table = migration_of("name: x\ntable: Public.Users\n").table;
  EXPECT_EQ(table->schema, "public");
  EXPECT_EQ(table->name, "users");
  EXPECT_EQ(migration_of("name: x\ntable: \xC3\x84pfel_$1\n").table->name, "\xC3\x84pfel_$1");
}

TEST(MigrationFile, AcceptsHostileTableNames) {
  auto const quoted = migration_of("name: x\ntable: '\"My.Schema\".\"odd \"\"name\"\"; DROP\"'\n").table;
  EXPECT_EQ(quoted->schema, "My.Schema");
  EXPECT_EQ(quoted->name, "odd \"name\"; DROP");
  auto const literal = migration_of("name: x\ntable: {schema: My.Schema, name: \"a\\\"b.\xF0\x9F\x98\x80\"}\n").table;
  EXPECT_EQ(literal->schema, "My.Schema");
  EXPECT_EQ(literal->name, "a\"b.\xF0\x9F\x98\x80");
  EXPECT_EQ(migration_of("name: x\ntable: {name: Users}\n").table->schema, "");
  EXPECT_EQ(migration_of("name: x\ntable: '\"select\"'\n").table->name, "select");
  EXPECT_EQ(migration_of("name: x\ntable: " + std::string(63, 'a')).table->name.size(), 63U);
}

TEST(MigrationFile, RefusesTableNamesThatSqlWouldNotRead) {
  auto const problem_of_table = [](std::string const& yaml) {
    auto const problems = problems_of("name: x\ntable: " + yaml + "\n");
    EXPECT_EQ(problems.size(), 1U) << yaml;
    return problems.empty() ? std::string{} : problems[0];
  };
  EXPECT_THAT(problem_of_table("my-table"),
              StartsWith("m.yaml:2:8: 'table: my-table': a name with unusual characters"));
  EXPECT_THAT(problem_of_table("a.b.c"), HasSubstr("at most two parts"));
  EXPECT_THAT(problem_of_table("a."), HasSubstr("a part of the name is empty"));
  EXPECT_THAT(problem_of_table(".a"), HasSubstr("a part of the name is empty"));
  EXPECT_THAT(problem_of_table("'\"\"'"), HasSubstr("a part of the name is empty"));
  EXPECT_THAT(problem_of_table("'\"a'"), HasSubstr("a closing double quote is missing"));
  EXPECT_THAT(problem_of_table("'\"a\"b'"), HasSubstr("unusual characters"));
  EXPECT_THAT(problem_of_table("1st"), HasSubstr("begins like a number"));
  EXPECT_THAT(problem_of_table(std::string(64, 'a')), HasSubstr("at most 63 bytes"));
  EXPECT_THAT(problem_of_table("[a]"), StartsWith("m.yaml:2:8: 'table' must be a single value, not a list"));
  EXPECT_THAT(problem_of_table(""), StartsWith("m.yaml:2:1: 'table' must be a single value, not nothing"));
  EXPECT_THAT(problem_of_table("{schema: a}"), StartsWith("m.yaml:2:1: 'name' is missing in 'table'"));
  EXPECT_THAT(problem_of_table("{nmae: a}"), StartsWith("m.yaml:2:9: unknown key 'nmae' (did you mean 'name'?)"));
  EXPECT_THAT(problem_of_table("{name: " + std::string(64, 'a') + "}"), HasSubstr("too long"));
}

TEST(MigrationFile, WantsANameThatCanBeTypedInAShell) {
  EXPECT_EQ(migration_of("name: 2024-05.users_v2\n").name, "2024-05.users_v2");
  EXPECT_THAT(problems_of("table: t\n"), ElementsAre(StartsWith("m.yaml:1:1: 'name' is missing; for example name: ")));
  for (std::string const name : {"'a b'", "-rf", "a/b", "\"a'b\"", "$x", "\xC3\xA4", ".."}) {
    EXPECT_THAT(problems_of("name: " + name + "\n"), ElementsAre(HasSubstr("cannot be the name of a migration")))
        << name;
  }
  EXPECT_THAT(problems_of("name: " + std::string(64, 'a')), ElementsAre(StartsWith("m.yaml:1:7: ")));
  EXPECT_THAT(problems_of("name:\n"),
              ElementsAre(StartsWith("m.yaml:1:1: 'name' must be a single value, not nothing")));
  EXPECT_THAT(problems_of("name: [a]\n"), ElementsAre(StartsWith("m.yaml:1:7: 'name' must be a single value")));
}

// Keys.

TEST(MigrationFile, RefusesAnUnknownKeyWithASuggestion) {
  EXPECT_THAT(problems_of("name: x\ntable: t\nbackfill:\n  set: {a: 1}\n  wokers: 4\n"),
              ElementsAre("m.yaml:5:3: unknown key 'wokers' (did you mean 'workers'?)"));
  EXPECT_THAT(problems_of("name: x\ncolour: red\n"), ElementsAre("m.yaml:2:1: unknown key 'colour'"));
}

TEST(MigrationFile, SaysWhereAMisplacedKeyBelongs) {
  EXPECT_THAT(problems_of("name: x\nworkers: 4\n"),
              ElementsAre("m.yaml:2:1: unknown key 'workers' (it belongs under 'backfill')"));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, windows: [Sat]}"),
              ElementsAre("m.yaml:3:25: unknown key 'windows' (it belongs at the top of the file)"));
}

TEST(MigrationFile, DoesNotCallAMisspeltKeyMissing) {
  EXPECT_THAT(problems_of("nmae: x\n"), ElementsAre("m.yaml:1:1: unknown key 'nmae' (did you mean 'name'?)"));
  EXPECT_THAT(backfill_problems("{sett: {a: 1}}"), ElementsAre(HasSubstr("unknown key 'sett'")));
  EXPECT_THAT(problems_of("name: x\ntabel: t\nbackfill: {set: {a: 1}}\n"),
              ElementsAre(HasSubstr("unknown key 'tabel'")));
}

TEST(MigrationFile, RefusesDuplicateKeys) {
  EXPECT_THAT(problems_of("name: x\nname: y\n"),
              ElementsAre("m.yaml:2:1: duplicate key 'name', first given in line 1"));
  EXPECT_THAT(backfill_problems("{set: {a: 1, a: 2}}"),
              ElementsAre("m.yaml:3:24: duplicate key 'a', first given in line 3"));
  EXPECT_THAT(
      problems_of("name: x\ncolour: y\ncolour: z\n"),
      ElementsAre(HasSubstr("2:1: unknown key"), HasSubstr("3:1: duplicate key"), HasSubstr("3:1: unknown key")));
}

TEST(MigrationFile, RefusesKeysThatAreNotWords) {
  EXPECT_THAT(problems_of("name: x\n{a: b}: c\n"),
              ElementsAre(StartsWith("m.yaml:2:1: a key must be a word, not a map")));
  EXPECT_THAT(backfill_problems("{set: {[a]: 1}}"), ElementsAre(StartsWith("m.yaml:3:18: a column must be a name")));
}

TEST(MigrationFile, NamesWhatThisVersionDoesNotRunYet) {
  EXPECT_THAT(problems_of("name: x\ntable: t\nexpand:\n  - validate_constraint: q\n"),
              ElementsAre(StartsWith("m.yaml:4:5: `validate_constraint:` is not supported by this version; ")));
}

TEST(MigrationFile, ReadsAMirrorAndWhatItEndsWith) {
  std::string const head = "name: x\ntable: t\nsync: {mirror: [id]}\n";
  std::string const copy = "backfill: {copy_to: c, columns: {id: id}, where: id > 3}\n";
  auto const migration = migration_of(head + copy +
                                      "contract:\n  - set_not_null: id\n  - swap: {with: c, keep_as: o}\n"
                                      "  - drop_table: o\n");
  EXPECT_EQ(migration.sync->install.text,
            "sync: {table: t, mirror: [id], to: c, columns: {id: id}, where: \"id > 3\"}");
  EXPECT_THAT(migration.backfill->mirror_key, ElementsAre("id"));
  // The swap ends the mirror in its own transaction; the function goes after it.
  std::vector<std::string> order;
  for (auto const& step : contract_steps(migration)) order.push_back(step.step.text.substr(0, 11));
  EXPECT_THAT(order, ElementsAre("set_not_nul", "swap: {keep", "end of sync", "drop_table:"));
  EXPECT_THAT(problems_of(head + "backfill: {set: {id: 1}}\n"), ElementsAre(HasSubstr("it needs 'copy_to'")));
  EXPECT_THAT(problems_of(head + copy + "contract: [{swap: {with: d, keep_as: o}}]\n"),
              ElementsAre(HasSubstr("of just these two tables")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nsync: {mirror: [id], set: {a: b}}\n" + copy),
              ElementsAre(HasSubstr("exactly one of 'set', 'mirror'")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nexpand: [{swap: {with: d, keep_as: o}}]\n"),
              testing::Contains(HasSubstr("'swap' belongs to 'contract'")));
}

TEST(MigrationFile, ReadsHooks) {
  auto const migration = migration_of(
      "name: x\ntable: t\nbackfill: {set: {a: 1}}\nbefore:\n  backup: {pg_dump: /b.dump, tables: [S.T, '\"U\"']}\n"
      "  backfill:\n    - {command: begin, timeout: 5s}\n    - {http: 'http://h/ok', expect: fine, status: 204, "
      "repeat: "
      "true}\nafter:\n  rollback:\n    - command: undone\n");
  ASSERT_EQ(migration.hooks.size(), 4U);
  EXPECT_EQ(to_text(migration.hooks[0]), "pg_dump to /b.dump of s.t, U (timeout 6h)");
  EXPECT_EQ(to_text(migration.hooks[1]), "command: begin (timeout 5s)");
  EXPECT_EQ(to_text(migration.hooks[2]), "http: http://h/ok -> 204, expects 'fine' (timeout 1m)");
  EXPECT_FALSE(migration.hooks[1].repeats);
  EXPECT_TRUE(migration.hooks[2].repeats);
  EXPECT_EQ(name_of(migration.hooks[2].boundary), "before backfill");
  EXPECT_EQ(name_of(migration.hooks[3].boundary), "after rollback");
  EXPECT_EQ(migration.hooks[3].position.line, 11);
}

TEST(MigrationFile, RefusesHooksThatCouldNotRun) {
  EXPECT_THAT(problems_of("name: x\nbefore: {expand: [{command: a}]}\n"),
              ElementsAre(StartsWith("m.yaml:2:10: there is no 'expand' in this file for hooks before it")));
  EXPECT_THAT(problems_of("name: x\nafter: {rollback: {command: a}}\n"),
              ElementsAre(StartsWith("m.yaml:2:19: 'rollback' must be a list of hooks, not a map")));
  EXPECT_THAT(problems_of("name: x\nafter: {rollback: [a]}\n"),
              ElementsAre(StartsWith("m.yaml:2:20: a hook must be a map")));
  EXPECT_THAT(problems_of("name: x\nafter: {rollback: [{command: a, http: 'http://h/'}]}\n"),
              ElementsAre(HasSubstr("exactly one of 'command', 'http' must be in 'hook'")));
  EXPECT_THAT(problems_of("name: x\nafter: {rollback: [{command: a, status: 200}]}\n"),
              ElementsAre(HasSubstr("'status' needs 'http' beside it")));
  EXPECT_THAT(problems_of("name: x\nafter: {backup: {command: a}}\n"),
              ElementsAre(HasSubstr("unknown key 'backup' (it belongs under 'before')")));
  EXPECT_THAT(problems_of("name: x\nbefore: {backup: {pg_dump: f, tables: []}}\n"),
              ElementsAre(HasSubstr("'tables' must be a list of tables, not an empty one")));
  EXPECT_THAT(problems_of("name: x\nbefore: {backup: {pg_dump: f, tables: [a.b.c.d]}}\n"),
              ElementsAre(StartsWith("m.yaml:2:40: 'a.b.c.d': ")));
  EXPECT_THAT(problems_of("name: x\nbefore: {backup: {command: f, timeout: 30d}}\n"),
              ElementsAre(HasSubstr("'timeout: 30d'")));
}

TEST(MigrationFile, ReadsSync) {
  auto const migration =
      migration_of("name: x\ntable: t\nsync:\n  set: {b: upper(a), c: 1}\n  reverse: {a: lower(b)}\n");
  ASSERT_TRUE(migration.sync);
  auto const& sync = std::get<InstallSync>(migration.sync->install.detail->kind);
  EXPECT_EQ(sync.table.name, "t");
  EXPECT_EQ(sync.migration, "x");
  ASSERT_EQ(sync.set.size(), 2U);
  EXPECT_EQ(sync.set[0].column, "b");
  EXPECT_EQ(sync.set[0].expression, "upper(a)");
  ASSERT_EQ(sync.reverse.size(), 1U);
  EXPECT_EQ(migration.sync->install.text,
            R"yaml(sync: {table: t, set: {b: "upper(a)", c: 1}, reverse: {a: "lower(b)"}})yaml");
  EXPECT_EQ(migration.sync->install.position.line, 3);
}

TEST(MigrationFile, SaysWhatIsWrongWithSync) {
  EXPECT_THAT(problems_of("name: x\nsync:\n  set: {b: a}\n"),
              ElementsAre(StartsWith("m.yaml:2:1: 'sync' has no table; ")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nsync:\n  reverse: {b: a}\n"),
              ElementsAre(StartsWith("m.yaml:3:1: exactly one of 'set', 'mirror' must be in 'sync'"),
                          StartsWith("m.yaml:4:3: 'reverse' needs 'set' beside it; ")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nsync: {set: {b: a}, revers: {a: b}}\n"),
              ElementsAre(HasSubstr("did you mean 'reverse'?")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nsync:\n  set: {b: a}\n  reverse: {a: b}\nbackfill:\n  set: {b: a}\n"),
              ElementsAre(StartsWith("m.yaml:6:1: beside 'reverse' a backfill needs a 'where'")));
}

TEST(MigrationFile, CollectsAllProblemsInTheirOrder) {
  EXPECT_THAT(problems_of("tabel: t\nbackfill:\n  set: {a: 1}\n  workers: 0\n  wher: x\nthrottle: {lock_wait: 5}\n"),
              ElementsAre(StartsWith("m.yaml:1:1: unknown key 'tabel'"), StartsWith("m.yaml:1:1: 'name' is missing"),
                          StartsWith("m.yaml:4:12: 'workers: 0' is out of bounds"),
                          StartsWith("m.yaml:5:3: unknown key 'wher'"), StartsWith("m.yaml:6:23: 'lock_wait: 5'")));
}

TEST(MigrationFile, BoundsTheNumberOfProblems) {
  std::string text = "name: x\n";
  for (int index = 0; index < 1'000; ++index) text.append("k").append(std::to_string(index)).append(": 1\n");
  EXPECT_EQ(problems_of(text).size(), kMaxProblems);
}

// Steps.

TEST(MigrationFile, RefusesOtherStepsWithTheirSql) {
  EXPECT_THAT(problems_of("name: x\nexpand:\n  - validate_constraint: a\n"),
              ElementsAre("m.yaml:3:5: `validate_constraint:` is not supported by this version; write for example sql: "
                          "ALTER TABLE users VALIDATE CONSTRAINT age_check"));
  EXPECT_THAT(problems_of("name: x\nexpand: [{create_idnex: {}}]\n"),
              ElementsAre(HasSubstr("unknown key 'create_idnex' (did you mean 'create_index'?)")));
}

TEST(MigrationFile, ReadsTypedSteps) {
  auto const steps = migration_of(
                         "name: x\ntable: s.t\nexpand:\n  - add_column: {name: A b, type: 'varchar(3)', default: 1 + "
                         "1, not_null: true}\n"
                         "  - set_not_null: a\n  - set_not_null: {column: a, table: other}\n"
                         "  - create_index: {columns: [a, b], name: i, unique: true, where: a > 1}\n"
                         "  - add_foreign_key: {name: f, columns: [a], references: {schema: S, name: T}, to: [id], "
                         "on_delete: set null}\n"
                         "  - create_table: {table: n, like: s.t}\n")
                         .expand;
  ASSERT_EQ(steps.size(), 6U);
  auto const& add = std::get<AddColumn>(steps[0].detail->kind);
  EXPECT_EQ(add.table.schema, "s");
  EXPECT_EQ(add.column, "A b");
  EXPECT_EQ(add.type, "varchar(3)");
  EXPECT_EQ(add.default_value, "1 + 1");
  EXPECT_TRUE(add.is_not_null);
  EXPECT_EQ(at(steps[0].position), "4:5");
  EXPECT_EQ(steps[0].text,
            "add_column: {default: \"1 + 1\", name: \"A b\", not_null: true, table: s.t, type: \"varchar(3)\"}");
  EXPECT_EQ(steps[1].text, "set_not_null: {column: a, table: s.t}");
  EXPECT_EQ(std::get<SetNotNull>(steps[2].detail->kind).table.name, "other");
  auto const& index = std::get<CreateIndex>(steps[3].detail->kind);
  EXPECT_THAT(index.columns, ElementsAre("a", "b"));
  EXPECT_TRUE(index.is_unique);
  EXPECT_EQ(steps[3].text, "create_index: {columns: [a, b], name: i, table: s.t, unique: true, where: \"a > 1\"}");
  auto const& key = std::get<AddForeignKey>(steps[4].detail->kind);
  EXPECT_EQ(key.references.schema, "S");
  EXPECT_EQ(key.on_delete, "set null");
  EXPECT_EQ(steps[5].text, "create_table: {like: s.t, table: n}");
}

TEST(MigrationFile, RefusesTypedStepsWithMistakes) {
  EXPECT_THAT(problems_of("name: x\nexpand:\n  - set_not_null: a\n  - drop_column: {name: a, nmae: b}\n"),
              ElementsAre(StartsWith("m.yaml:3:5: 'set_not_null' has no table; write 'table:'"),
                          StartsWith("m.yaml:4:5: 'drop_column' has no table"),
                          StartsWith("m.yaml:4:28: unknown key 'nmae' (did you mean 'name'?)")));
  EXPECT_THAT(problems_of("name: x\nexpand: [{drop_column: {name: a, tabel: t}}]\n"),
              ElementsAre(HasSubstr("unknown key 'tabel' (did you mean 'table'?)")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nexpand: [{add_column: {name: a}}]\n"),
              ElementsAre(StartsWith("m.yaml:3:11: 'type' is missing in 'add_column'; for example type: text")));
  EXPECT_THAT(
      problems_of("name: x\ntable: t\nexpand: [{add_column: {name: a, type: int, not_null: yes}}]\n"),
      ElementsAre(HasSubstr("'not_null' needs 'default' beside it"), HasSubstr("'not_null: yes' must be true or")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nexpand: [{create_index: {name: i, columns: [a], keys: b}}]\n"),
              ElementsAre(HasSubstr("'keys' cannot stand beside 'columns'")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nexpand: [{create_index: {name: i, columns: a}}]\n"),
              ElementsAre(HasSubstr("'columns' must be a list of columns, not a single value")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nexpand: [{create_index: {name: i, columns: [a], method: bree}}]\n"),
              ElementsAre(HasSubstr("did you mean 'btree'?")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nexpand: [{drop_column: a, down: b}]\n"),
              ElementsAre(HasSubstr("'down' needs 'sql' beside it")));
  EXPECT_THAT(problems_of("name: x\ntable: t\nexpand: [{drop_column: a, set_not_null: b}]\n"),
              ElementsAre(HasSubstr("cannot stand beside")));
  EXPECT_THAT(problems_of("name: x\ntable: a b\nexpand: [{drop_column: a}]\n"),
              ElementsAre(HasSubstr("a name with unusual characters needs double quotes")));
  EXPECT_THAT(
      problems_of("name: x\ntable: t\nexpand: [{add_foreign_key: {name: f, columns: [a], references: b, to: [c, "
                  "d]}}]\n"),
      ElementsAre(HasSubstr("'to' has 2 columns and 'columns' 1")));
}

TEST(MigrationFile, RefusesStepsOfAWrongShape) {
  EXPECT_THAT(problems_of("name: x\nexpand:\n"),
              ElementsAre(StartsWith("m.yaml:2:1: 'expand' must be a list of steps, not nothing")));
  EXPECT_THAT(problems_of("name: x\nexpand: {sql: a}\n"),
              ElementsAre(StartsWith("m.yaml:2:9: 'expand' must be a list of steps, not a map")));
  EXPECT_THAT(problems_of("name: x\ncontract:\n  - ALTER TABLE a\n"),
              ElementsAre(StartsWith("m.yaml:3:5: a step must be a map, not a single value; for example - sql: ")));
  EXPECT_THAT(problems_of("name: x\nexpand:\n  - down: a\n"),
              ElementsAre(StartsWith("m.yaml:3:5: 'down' needs 'sql' beside it"),
                          StartsWith("m.yaml:3:5: exactly one of 'sql', 'add_column', ")));
  EXPECT_THAT(problems_of("name: x\nexpand:\n  - sql: '  '\n"),
              ElementsAre(StartsWith("m.yaml:3:10: 'sql' has no SQL")));
  EXPECT_THAT(problems_of("name: x\nexpand:\n  - sql:\n"), ElementsAre(StartsWith("m.yaml:3:5: 'sql' has no SQL")));
  EXPECT_THAT(problems_of("name: x\nexpand:\n  - {sql: a, down: [b]}\n"),
              ElementsAre(StartsWith("m.yaml:3:20: 'down' must be SQL text, not a list")));
}

// Work.

TEST(MigrationFile, WantsExactlyOneKindOfWork) {
  EXPECT_THAT(backfill_problems("{workers: 2}"),
              ElementsAre("m.yaml:3:1: exactly one of 'set', 'sql', 'copy_to', 'delete', 'dedupe', 'move_to', "
                          "'compute' must be in 'backfill'"));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, delete: true, where: b}"),
              ElementsAre(StartsWith("m.yaml:3:25: 'delete' cannot stand beside 'set'")));
  EXPECT_THAT(backfill_problems("{copy_to: b}"), ElementsAre(StartsWith("m.yaml:3:12: 'copy_to' needs 'columns'")));
  EXPECT_THAT(backfill_problems("{columns: {a: b}}"),
              ElementsAre(StartsWith("m.yaml:3:12: 'columns' needs 'copy_to'")));
  EXPECT_THAT(backfill_problems("{delete: true}"), ElementsAre(StartsWith("m.yaml:3:12: 'delete' needs 'where'")));
  EXPECT_THAT(backfill_problems("{delete: false, where: a}"),
              ElementsAre(StartsWith("m.yaml:3:20: 'delete' can only")));
  EXPECT_THAT(backfill_problems("{sql: \"a {batch}\", where: b}"),
              ElementsAre("m.yaml:3:30: 'where' cannot stand beside 'sql'; put the condition into the statement"));
}

TEST(MigrationFile, ACopyMayHaveComputedColumns) {
  std::string const compute = "compute: {read: {t: body}, write: [v], command: [x]}";
  auto const backfill =
      *migration_of("name: x\ntable: t\nbackfill: {copy_to: c, columns: {a: id}, " + compute + "}\n").backfill;
  EXPECT_EQ(backfill.kind, WorkKind::kCopy);
  ASSERT_EQ(backfill.assignments.size(), 2U);
  EXPECT_EQ(backfill.assignments[1].column, "v");
  EXPECT_EQ(migration_of("name: x\ntable: t\nbackfill: {compute: {read: {t: body}, command: [x]}}\n").backfill->kind,
            WorkKind::kAsk);
  EXPECT_THAT(backfill_problems("{set: {a: 1}, " + compute + "}"), ElementsAre(HasSubstr("cannot stand beside 'set'")));
  EXPECT_THAT(backfill_problems("{copy_to: c, columns: {v: id}, " + compute + "}"),
              ElementsAre(HasSubstr("column 'v' stands in 'columns' and in 'write'")));
}

TEST(MigrationFile, WantsATableForABackfill) {
  EXPECT_THAT(problems_of("name: x\nbackfill: {set: {a: 1}}\n"),
              ElementsAre(StartsWith("m.yaml:2:1: 'backfill' has no table")));
  EXPECT_EQ(migration_of("name: x\nbackfill: {table: t, set: {a: 1}}\n").backfill->table.name, "t");
  EXPECT_EQ(problems_of("name: x\ntable: a-b\nbackfill: {set: {a: 1}}\n").size(), 1U);
}

TEST(MigrationFile, WantsColumnsAndExpressions) {
  EXPECT_THAT(
      backfill_problems("{set: {}}"),
      ElementsAre(StartsWith("m.yaml:3:17: 'set' must be a map of columns and SQL expressions, not an empty one")));
  EXPECT_THAT(backfill_problems("{set: a}"), ElementsAre(HasSubstr("not a single value; for example set: ")));
  EXPECT_THAT(backfill_problems("\n  set:"), ElementsAre(StartsWith("m.yaml:4:3: 'set' must be a map")));
  EXPECT_THAT(backfill_problems("{set: {a: [1]}}"),
              ElementsAre(StartsWith("m.yaml:3:21: 'a' must be SQL text, not a list")));
  EXPECT_THAT(backfill_problems("{set: {a: ''}}"), ElementsAre(StartsWith("m.yaml:3:21: 'a' has no SQL")));
  EXPECT_THAT(backfill_problems("{set: {'': 1}}"), ElementsAre(StartsWith("m.yaml:3:18: a column must be a name")));
  EXPECT_THAT(backfill_problems("{set: {" + std::string(64, 'c') + ": 1}}"), ElementsAre(HasSubstr("1 to 63 bytes")));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, where: {a: b}}"),
              ElementsAre(StartsWith("m.yaml:3:32: 'where' must be SQL")));
}

TEST(MigrationFile, RefusesAnExpressionThatACommaOfYamlHasCut) {
  EXPECT_THAT(backfill_problems("{set: {a: coalesce(b, c)}}"), ElementsAre(StartsWith("m.yaml:3:33: 'c)' has no SQL")));
}

TEST(MigrationFile, RefusesAnExpressionThatACommentOfYamlHasCut) {
  EXPECT_THAT(backfill_problems("\n  set:\n    a: data #>> '{b}'"),
              ElementsAre(StartsWith("m.yaml:5:8: what follows ' #' is read as a comment")));
  EXPECT_THAT(backfill_problems("\n  set: {a: 1}\n  where: a\n    b  c #- 'd'"),
              ElementsAre(StartsWith("m.yaml:5:10: ")));
  EXPECT_THAT(backfill_problems("\n  set: {a: 1}\n  where: &w data #> b"), ElementsAre(StartsWith("m.yaml:5:10: ")));
  EXPECT_EQ(backfill_of("\n  set: {a: 1}\n  where: b > 1 # ->> here").where, "b > 1");
  EXPECT_EQ(backfill_of("\n  set: {a: 1}\n  where: \"d #>> e\" #> f").where, "d #>> e");
}

TEST(MigrationFile, RefusesASemicolonBehindAnExpression) {
  EXPECT_THAT(backfill_problems("{set: {a: b; }}"),
              ElementsAre(StartsWith("m.yaml:3:21: the expression ends with a semicolon")));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, where: b;}"),
              ElementsAre(StartsWith("m.yaml:3:32: the expression ends")));
  EXPECT_THAT(backfill_problems("{sql: 'a {batch};'}"), ElementsAre(StartsWith("m.yaml:3:17: the statement ends")));
  EXPECT_EQ(backfill_of("{set: {a: \"';'\"}}").assignments[0].expression, "';'");
}

TEST(MigrationFile, WantsTheBatchPlaceholderOnce) {
  EXPECT_EQ(backfill_of("{sql: 'a {batch:o}'}").sql, "a {batch:o}");
  EXPECT_EQ(backfill_of("{sql: \"a '{1,2}' {batch}\"}").sql, "a '{1,2}' {batch}");
  for (std::string const as_it_is :
       {"'{batch}'", "'{batches}'", "$q$ it''s {batch} $q$", "/* {batch:o} */", "\\\"{batch}\\\""}) {
    EXPECT_EQ(backfill_of("{sql: \"a " + as_it_is + " {batch}\"}").sql.ends_with(" {batch}"), true) << as_it_is;
    EXPECT_THAT(backfill_problems("{sql: \"a " + as_it_is + "\"}"), ElementsAre(HasSubstr("where it is no condition")))
        << as_it_is;
  }
  EXPECT_THAT(backfill_problems("{sql: \"a {batches} {batch}\"}"), ElementsAre(HasSubstr("can only begin {batch}")));
  EXPECT_THAT(backfill_problems("{sql: a}"), ElementsAre(StartsWith("m.yaml:3:17: the statement needs {batch}")));
  EXPECT_THAT(backfill_problems("{sql: '{batch} {batch:o}'}"), ElementsAre(HasSubstr("more than once")));
  for (std::string const alias : {"", " o", "a.b", "o;", "1"}) {
    EXPECT_THAT(backfill_problems("{sql: 'a {batch:" + alias + "}'}"), ElementsAre(HasSubstr("plain identifier")))
        << alias;
  }
  EXPECT_THAT(backfill_problems("{sql: 'a {batch:'}"), ElementsAre(HasSubstr("plain identifier")));
}

// Options.

TEST(MigrationFile, RefusesADurationWithoutUnit) {
  EXPECT_THAT(problems_of("name: x\nthrottle:\n  replica_lag: 500\n"),
              ElementsAre("m.yaml:3:16: 'replica_lag: 500' has no unit (write 500ms or 500s)"));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, batch: {target: 100}}"),
              ElementsAre("m.yaml:3:41: 'target: 100' has no unit (write 100ms or 100s)"));
}

TEST(MigrationFile, RefusesWhatIsNoDurationOrOutOfBounds) {
  auto const problem_of_target = [](std::string const& value) {
    return backfill_problems("{set: {a: 1}, batch: {target: " + value + "}}");
  };
  EXPECT_THAT(problem_of_target("soon"), ElementsAre(HasSubstr("'target: soon' is not a duration; write a number")));
  EXPECT_THAT(problem_of_target("4ms"), ElementsAre(HasSubstr("is out of bounds, which are 5ms and 1m")));
  EXPECT_THAT(problem_of_target("61s"), ElementsAre(HasSubstr("is out of bounds, which are 5ms and 1m")));
  EXPECT_THAT(problem_of_target("[1s]"), ElementsAre(HasSubstr("'target' must be a single value, not a list")));
  EXPECT_THAT(problem_of_target("''"), ElementsAre(HasSubstr("'target' must be a single value, not nothing")));
  EXPECT_THAT(problem_of_target("5ms"), IsEmpty());
  EXPECT_THAT(problem_of_target("1m"), IsEmpty());
  EXPECT_THAT(problems_of("name: x\nthrottle: {lock_wait: 0ms}"), ElementsAre(HasSubstr("out of bounds")));
}

TEST(MigrationFile, RefusesWhatIsNoWholeNumberOrOutOfBounds) {
  auto const problem_of_workers = [](std::string const& value) {
    return backfill_problems("{set: {a: 1}, workers: " + value + "}");
  };
  EXPECT_THAT(problem_of_workers("four"),
              ElementsAre("m.yaml:3:34: 'workers: four' is not a whole number; for example workers: 4"));
  EXPECT_THAT(problem_of_workers("1.5"), ElementsAre(HasSubstr("is not a whole number")));
  EXPECT_THAT(problem_of_workers("0x4"), ElementsAre(HasSubstr("is not a whole number")));
  EXPECT_THAT(problem_of_workers("0"), ElementsAre(HasSubstr("'workers: 0' is out of bounds, which are 1 and 256")));
  EXPECT_THAT(problem_of_workers("257"), ElementsAre(HasSubstr("out of bounds")));
  EXPECT_THAT(problem_of_workers("99999999999999999999"), ElementsAre(HasSubstr("out of bounds")));
  EXPECT_THAT(problem_of_workers("{a: b}"), ElementsAre(HasSubstr("must be a single value, not a map")));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, on_bad_row: {quarantine: -1}}"),
              ElementsAre(HasSubstr("out of bounds")));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, batch: {max_rows: 1000001}}"), ElementsAre(HasSubstr("out of bounds")));
  EXPECT_THAT(problems_of("name: x\nthrottle: {max_rows_per_second: 0}"), ElementsAre(HasSubstr("out of bounds")));
}

TEST(MigrationFile, RefusesBatchBoundsInTheWrongOrder) {
  EXPECT_THAT(backfill_problems("{set: {a: 1}, batch: {min_rows: 9, max_rows: 8}}"),
              ElementsAre("m.yaml:3:43: min_rows 9 is more than max_rows 8"));
}

TEST(MigrationFile, RefusesWordsThatAreNotOnTheList) {
  EXPECT_THAT(backfill_problems("{set: {a: 1}, commit: asnyc}"),
              ElementsAre("m.yaml:3:33: 'commit: asnyc' is not one of 'async', 'sync' (did you mean 'async'?)"));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, triggers: [fire]}"), ElementsAre(HasSubstr("must be a single value")));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, on_bad_row: skip}"),
              ElementsAre("m.yaml:3:37: 'on_bad_row: skip' is not one of 'stop' or a map, for example on_bad_row: "
                          "{\"quarantine\": 10}"));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, on_bad_row: {}}"), ElementsAre(HasSubstr("'quarantine' is missing")));
  EXPECT_THAT(problems_of("name: x\nthrottle: {mode: true}"), ElementsAre(HasSubstr("'on', 'observe', 'off'")));
}

TEST(MigrationFile, RefusesSectionsThatAreNotMaps) {
  EXPECT_THAT(problems_of("name: x\nbackfill:\n"),
              ElementsAre(StartsWith("m.yaml:2:1: 'backfill' must be a map, not nothing")));
  EXPECT_THAT(problems_of("name: x\nbackfill: [a]\n"),
              ElementsAre(StartsWith("m.yaml:2:11: 'backfill' must be a map")));
  EXPECT_THAT(problems_of("name: x\nthrottle: off\n"),
              ElementsAre(StartsWith("m.yaml:2:11: 'throttle' must be a map")));
  EXPECT_THAT(backfill_problems("{set: {a: 1}, batch: 100}"),
              ElementsAre(StartsWith("m.yaml:3:32: 'batch' must be a map")));
}

TEST(MigrationFile, RefusesWindowsThatAreNotTexts) {
  EXPECT_THAT(problems_of("name: x\nwindows: Sat\n"),
              ElementsAre(StartsWith("m.yaml:2:10: 'windows' must be a list of texts")));
  EXPECT_THAT(problems_of("name: x\nwindows:\n"),
              ElementsAre(StartsWith("m.yaml:2:1: 'windows' must be a list of texts")));
  EXPECT_THAT(problems_of("name: x\nwindows: []\n"), ElementsAre(StartsWith("m.yaml:2:10: 'windows' is empty")));
  EXPECT_THAT(problems_of("name: x\nwindows: [{a: b}, [c], '', null]\n"),
              ElementsAre(StartsWith("m.yaml:2:11: a window must be a text"), StartsWith("m.yaml:2:19: "),
                          StartsWith("m.yaml:2:24: "), StartsWith("m.yaml:2:28: ")));
}

// The text itself.

TEST(MigrationFile, RefusesWhatIsNotOneMap) {
  for (std::string const text : {"", "\n\n", "# only a comment\n", "---\n", "~\n"}) {
    EXPECT_THAT(problems_of(text), ElementsAre(StartsWith("m.yaml:1:1: the file is empty"))) << text;
  }
  EXPECT_THAT(problems_of("- name: x\n"), ElementsAre(StartsWith("m.yaml:1:1: a migration is a map of keys")));
  EXPECT_THAT(problems_of("name\n"), ElementsAre(HasSubstr("not a single value")));
  EXPECT_THAT(problems_of("name: x\n---\nname: y\n"),
              ElementsAre(StartsWith("m.yaml:2:1: a file holds one migration")));
}

TEST(MigrationFile, GivesThePositionOfASyntaxError) {
  EXPECT_THAT(problems_of("name: x\n\ttable: t\n"), ElementsAre(StartsWith("m.yaml:2:1: not valid YAML: illegal tab")));
  EXPECT_THAT(problems_of("name: x\nbackfill:\n\tset: {a: b}\n"), ElementsAre(HasSubstr("the line begins with a tab")));
  EXPECT_THAT(problems_of("name: x\ntable: \"a\".\"b\"\n"), ElementsAre(StartsWith("m.yaml:2:11: not valid YAML")));
  EXPECT_THAT(problems_of("name: *x\n"), ElementsAre(StartsWith("m.yaml:1:7: not valid YAML")));
  EXPECT_THAT(problems_of("name: x\nwindows: [a\n"), ElementsAre(HasSubstr("not valid YAML")));
}

TEST(MigrationFile, RefusesAQuoteThatIsNeverClosed) {
  EXPECT_THAT(problems_of("name: x\ntable: \"t\nwindows: [a]\n"),
              ElementsAre("m.yaml:2:8: the closing quote of this text is missing"));
  EXPECT_THAT(problems_of("name: x\ntable: &a # c\n  'it''s\n"), ElementsAre(HasSubstr("closing quote")));
  EXPECT_EQ(sql_of(migration_of("name: x\nexpand: [{sql: 'it''s'}, {sql: \"a\\\"b\"}]\n").expand[1]).sql, "a\"b");
}

TEST(MigrationFile, RefusesTags) {
  EXPECT_THAT(backfill_problems("{delete: true, where: !done}"),
              ElementsAre(StartsWith("m.yaml:3:33: a word that begins")));
  EXPECT_THAT(problems_of("!!map {name: x}\n"), ElementsAre(HasSubstr("is a YAML tag")));
}

TEST(MigrationFile, RefusesControlCharactersAndOtherEncodings) {
  EXPECT_THAT(problems_of("name: x\ntab\x04le: t\n"), ElementsAre(StartsWith("m.yaml:2:4: a control character")));
  EXPECT_THAT(problems_of(std::string_view{"name: x\0y\n", 10}),
              ElementsAre(StartsWith("m.yaml:1:8: a control character")));
  EXPECT_THAT(problems_of("name: x\n# \xFF\n"), ElementsAre("m.yaml:2:3: the file is not UTF-8 text"));
  for (std::string const bytes : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82", "\x80", "\xE0\x80\x80"}) {
    EXPECT_THAT(problems_of("# " + bytes + "\nname: x\n"), ElementsAre(HasSubstr("1:3: the file is not UTF-8")));
  }
  EXPECT_THAT(problems_of("name: x\nexpand: [{sql: \"a\\0b\"}]\n"),
              ElementsAre(StartsWith("m.yaml:2:16: a text must not contain a NUL")));
}

TEST(MigrationFile, BoundsSizeDepthAndAliases) {
  EXPECT_THAT(problems_of("name: x\n#" + std::string(kMaxFileBytes, 'x')),
              ElementsAre(StartsWith("m.yaml: the file is larger than")));
  EXPECT_THAT(problems_of("name: " + std::string(100'000, '[')),
              ElementsAre(HasSubstr("nested more than 32 levels deep")));
  EXPECT_THAT(problems_of(std::string(100'000, '{')), ElementsAre(HasSubstr("nested more than 32 levels deep")));
  EXPECT_THAT(problems_of("name: &a [*a]\n"), ElementsAre("m.yaml:1:11: this alias stands inside of what it names"));
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x]\n";
  for (int level = 1; level < 30; ++level) {
    auto const name = std::to_string(level);
    auto const alias = std::to_string(level - 1);
    bomb.append("a").append(name).append(": &a").append(name).append(" [x");
    for (int copy = 0; copy < 8; ++copy) bomb.append(", *a").append(alias);
    bomb.append("]\n");
  }
  EXPECT_THAT(problems_of(bomb), ElementsAre(HasSubstr("aliases make the file too large")));
  std::string many = "name: x\nwindows: [";
  for (std::size_t count = 0; count <= kMaxYamlNodes; ++count) many += "a,";
  EXPECT_THAT(problems_of(many + "]\n"), ElementsAre(HasSubstr("more than 100000 values")));
}

TEST(MigrationFile, WritesProblemsTheWayEditorsJumpTo) {
  Problem problem;
  problem.text = "wrong";
  EXPECT_EQ(to_string(problem), "wrong");
  problem.position.file = "a.yaml";
  EXPECT_EQ(to_string(problem), "a.yaml: wrong");
  problem.position.line = 12;
  EXPECT_EQ(to_string(problem), "a.yaml:12: wrong");
  problem.position.column = 5;
  EXPECT_EQ(to_string(problem), "a.yaml:12:5: wrong");
}

TEST(MigrationFile, KeepsMessagesToALineOfBoundedLength) {
  auto const problems = problems_of("name: x\n\"" + std::string(5'000, 'k') + "\\n\": 1\n");
  ASSERT_EQ(problems.size(), 1U);
  EXPECT_LT(problems[0].size(), 150U);
  EXPECT_THAT(problems_of("name: \"a\\nb\"\n"), ElementsAre(StartsWith("m.yaml:1:7: 'a b' cannot")));
}

// Properties.

void holds_migration_or_problems(std::string const& text) {
  auto const parsed = parse_migration(text, "m.yaml");
  RC_ASSERT(parsed.migration.has_value() == parsed.problems.empty());
  for (auto const& problem : parsed.problems) {
    RC_ASSERT(problem.position.line >= 0 && problem.position.column >= 0);
    RC_ASSERT(!problem.text.empty());
  }
}

RC_GTEST_PROP(MigrationFile, NeverCrashesOnRandomBytes, (std::string const& text)) {
  holds_migration_or_problems(text);
}

RC_GTEST_PROP(MigrationFile, NeverCrashesOnRandomYamlLikeText, ()) {
  static std::vector<std::string> const kPieces{
      "name",  "backfill", "set",   "sql",  "where", ": ",  ":",       "\n", "\n  ", "- ",  "[",     "]",   "{",  "}",
      ", ",    "\"",       "'",     "&a ",  "*a",    "!x ", "null",    "~",  "|\n",  ">\n", " #",    "#> ", "? ", "%",
      "---\n", "...\n",    "100ms", "true", "\\",    "\t",  "{batch}", "x",  "@",    "`",   "|2-\n", "<<"};
  auto const pieces = *rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(kPieces));
  std::string text;
  for (auto const& piece : pieces) text += piece;
  holds_migration_or_problems(text);
}

RC_GTEST_PROP(MigrationFile, NeverCrashesOnAMutatedFile, ()) {
  std::string text = kExample;
  auto const mutations = *rc::gen::inRange(1, 8);
  for (int mutation = 0; mutation < mutations && !text.empty(); ++mutation) {
    auto const position = *rc::gen::inRange<std::size_t>(0, text.size());
    auto const length = std::min<std::size_t>(*rc::gen::inRange<std::size_t>(0, 12), text.size() - position);
    switch (*rc::gen::inRange(0, 4)) {
      case 0:
        text.erase(position, length);
        break;
      case 1:
        text.insert(position, text.substr(*rc::gen::inRange<std::size_t>(0, text.size()), length));
        break;
      case 2:
        text[position] = *rc::gen::elementOf(std::string{"[]{}:,#&*!|>'\"%@`-? \n\t~"});
        break;
      default:
        text.resize(position);
        break;
    }
  }
  holds_migration_or_problems(text);
}

RC_GTEST_PROP(MigrationFile, ReadsBackAnyTableNameThatIsQuoted, ()) {
  auto const name =
      *rc::gen::nonEmpty(rc::gen::container<std::string>(rc::gen::elementOf(std::string{"aZ\".' $;\\{}"})));
  std::string quoted = "\"";
  for (char const c : name) quoted += c == '"' ? std::string{"\"\""} : std::string{c};
  auto const parsed = parse_table_name("S." + quoted + "\"");
  if (name.size() > kMaxIdentifierBytes) {
    RC_ASSERT(!parsed.problem.empty());
  } else {
    RC_ASSERT(parsed.problem.empty());
    RC_ASSERT(parsed.table.schema == "s");
    RC_ASSERT(parsed.table.name == name);
  }
}

// The JSON Schema. JSON is YAML, so yaml-cpp reads it here.

std::string source_folder() {
#ifdef PGBACKFILL_SOURCE_DIR
  return PGBACKFILL_SOURCE_DIR;
#else
  auto const* folder = std::getenv("PGBACKFILL_SOURCE_DIR");
  return folder == nullptr ? "." : folder;
#endif
}

// A whole file around one key of a section, with what the key needs beside it.
class SchemaFile {
 public:
  static std::string with(Section const& section, KeyRule const& rule, std::string_view value) {
    std::set<std::string> keys;
    std::string body = "{";
    add(body, keys, rule.key, rule.kind, value);
    if (!rule.needs.empty()) add_rule(body, keys, section, rule.needs);
    if (rule.key == "query") add_rule(body, keys, section, "url");
    if (rule.key == "ca_file" && section.name == "delivery") add_rule(body, keys, section, "webhook");
    for (auto const& other : section.keys) {
      if (other.is_required) add_rule(body, keys, section, other.key);
    }
    bool const is_alternative = std::any_of(section.one_of.begin(), section.one_of.end(),
                                            [&](std::string_view key) { return keys.count(std::string{key}) > 0; });
    if (!section.one_of.empty() && !is_alternative) add_rule(body, keys, section, section.one_of.front());
    return body + "}";
  }

  static std::string around(std::string_view section, std::string const& body) {
    if (section.empty()) return add_table(body);
    if (section == "table") return "{name: x, table: " + body + "}";
    if (section == "step") return "{name: x, table: t, expand: [" + body + "]}";
    if (is_step(section)) return "{name: x, table: t, expand: [{" + std::string{section} + ": " + body + "}]}";
    if (section == "verify") return "{name: x, table: t, verify: [" + body + "]}";
    if (is_check(section)) return "{name: x, table: t, verify: [{" + std::string{section} + ": " + body + "}]}";
    if (section == "backup") return "{name: x, before: {backup: " + body + "}}";
    if (section == "hook") return "{name: x, before: {rollback: [" + body + "]}}";
    if (section == "before" || section == "after") {
      return "{name: x, table: t, expand: [{sql: a}], backfill: {set: {a: 1}}, contract: [{sql: a}], " +
             std::string{section} + ": " + body + "}";
    }
    if (section == "on") return "{name: x, on: " + body + "}";
    if (section == "rehearse") return "{name: x, table: t, backfill: {set: {a: 1}}, rehearse: " + body + "}";
    if (section == "delivery") return "{name: x, on: {done: [" + body + "]}}";
    if (section == "a secret") return "{name: x, on: {done: [{webhook: {url: " + body + "}}]}}";
    if (section == "stall" || section == "held_back") {
      return "{name: x, on: {" + std::string{section} + ": " + body + "}}";
    }
    if (section == "http" || section == "slack" || section == "pagerduty" || section == "webhook") {
      return "{name: x, on: {done: [{" + std::string{section} + ": " + body + "}]}}";
    }
    if (section == "params") return "{name: x, table: t, params: {p: " + body + "}, backfill: {set: {a: 1}}}";
    if (section == "prepare") {
      return "{name: x, table: t, backfill: {set: {a: 1}, prepare: {p: " + body + "}}}";
    }
    if (section == "from") {
      return "{name: x, table: t, backfill: {set: {a: 1}, prepare: {p: {key: [project_id], from: " + body + "}}}}";
    }
    if (section == "dedupe") return "{name: x, table: t, backfill: {dedupe: " + body + "}}";
    if (section == "probes") return "{name: x, probes: [" + body + "]}";
    if (section == "compute") return "{name: x, table: t, backfill: {compute: " + body + "}}";
    if (section == "rows to ask about") {
      return "{name: x, table: t, backfill: {compute: {read: {email: email}, write: [b], command: [c]}}, verify: "
             "[{agrees: {compute: " +
             body + "}}]}";
    }
    if (section == "a service") {
      return "{name: x, table: t, backfill: {compute: {read: {email: email}, write: [b], http: " + body + "}}}";
    }
    if (section == "backfill" || section == "throttle" || section == "sync")
      return "{name: x, table: t, " + std::string{section} + ": " + body + "}";
    return "{name: x, table: t, backfill: {set: {a: 1}, " + std::string{section} + ": " + body + "}}";
  }

 private:
  static bool is_step(std::string_view section) {
    auto const& words = kStepSection.one_of;
    return std::find(words.begin(), words.end(), section) != words.end();
  }

  static bool is_check(std::string_view section) {
    auto const& words = kCheckSection.one_of;
    return std::find(words.begin(), words.end(), section) != words.end();
  }

  static std::string add_table(std::string const& body) {
    return body.find("{table:") == 0 ? body : "{table: t, " + body.substr(1);
  }

  static void add(std::string& body, std::set<std::string>& keys, std::string_view key, ValueKind kind,
                  std::string_view value) {
    if (!keys.insert(std::string{key}).second) return;
    bool const is_text = kind == ValueKind::kStatement || kind == ValueKind::kBatchStatement ||
                         kind == ValueKind::kExpression || kind == ValueKind::kSetting || kind == ValueKind::kText ||
                         kind == ValueKind::kUrl;
    body += (body.size() > 1 ? ", " : "") + std::string{key} + ": ";
    if (kind == ValueKind::kSecretText) {
      body += "'" + std::string{value} + "'";
    } else {
      body += is_text ? "\"" + std::string{value} + "\"" : std::string{value};
    }
  }

  static void add_rule(std::string& body, std::set<std::string>& keys, Section const& section, std::string_view key) {
    for (auto const& rule : section.keys) {
      if (rule.key != key || keys.count(std::string{key}) > 0) continue;
      add(body, keys, key, rule.kind, rule.example);
      if (!rule.needs.empty()) add_rule(body, keys, section, rule.needs);
    }
  }
};

void expect_schema_of(YAML::Node const& schema, Section const& section) {
  std::set<std::string> in_schema;
  auto const body = schema["properties"] ? schema : schema["oneOf"][1];
  for (auto const& property : body["properties"]) in_schema.insert(property.first.as<std::string>());
  EXPECT_FALSE(body["additionalProperties"].as<bool>());
  for (auto const& rule : section.keys) {
    std::string const key{rule.key};
    SCOPED_TRACE(std::string{section.name} + " " + key);
    if (rule.kind == ValueKind::kUnsupported) {
      EXPECT_EQ(in_schema.count(key), 0U);
      EXPECT_THAT(problems_of(SchemaFile::around(section.name, SchemaFile::with(section, rule, "{}"))),
                  ElementsAre(HasSubstr("is not supported by this version")));
      continue;
    }
    EXPECT_EQ(in_schema.erase(key), 1U);
    auto const text = SchemaFile::around(section.name, SchemaFile::with(section, rule, rule.example));
    auto problems = problems_of(text);
    // These need other sections beside them; ReadsAMirrorAndWhatItEndsWith has both.
    std::erase_if(problems, [](std::string const& problem) {
      return problem.find("'swap' belongs to 'contract'") != std::string::npos ||
             problem.find("'swap' needs 'sync: {mirror") != std::string::npos ||
             problem.find("'mirror' carries on what a backfill copies") != std::string::npos ||
             problem.find("asks the program of the backfill, and this file has none") != std::string::npos ||
             problem.find("'follow' needs 'where' beside it") != std::string::npos ||
             problem.find("has no value and no default") != std::string::npos;
    });
    EXPECT_THAT(problems, IsEmpty()) << text;
    auto const property = body["properties"][key];
    EXPECT_FALSE(property["description"].as<std::string>().empty());
    if (rule.kind == ValueKind::kSecretTexts || rule.kind == ValueKind::kParams || rule.kind == ValueKind::kPrepare) {
      expect_schema_of(property["additionalProperties"], *rule.section);
      continue;
    }
    if (rule.section != nullptr) expect_schema_of(property["items"] ? property["items"] : property, *rule.section);
  }
  EXPECT_THAT(in_schema, IsEmpty());
}

TEST(MigrationSchema, NamesExactlyTheKeysThatTheParserAccepts) {
  expect_schema_of(YAML::Load(migration_json_schema()), migration_section());
}

TEST(MigrationSchema, LeavesOutNoKeyThatTheParserAccepts) {
  std::vector<std::string_view> sections{"",           "table",    "step",   "backfill", "batch",
                                         "on_bad_row", "throttle", "probes", "verify"};
  for (auto const word : kStepSection.one_of) {
    if (word != "sql") sections.push_back(word);
  }
  for (auto const word : kCheckSection.one_of) {
    if (word != "zero") sections.push_back(word);
  }
  for (auto const section : sections) {
    auto const problems = problems_of(SchemaFile::around(section, "{xyzzy: 1}"));
    EXPECT_THAT(problems, testing::Contains(HasSubstr("unknown key 'xyzzy'"))) << section;
  }
}

TEST(MigrationSchema, IsPublishedAsGenerated) {
  std::ifstream file{source_folder() + "/docs/migration.schema.json", std::ios::binary};
  std::string const published{std::istreambuf_iterator<char>{file}, {}};
  EXPECT_TRUE(published == migration_json_schema())
      << "docs/migration.schema.json is not what migration_json_schema() gives; write this to it:\n"
      << migration_json_schema();
}

}  // namespace
}  // namespace pgbackfill::planner
