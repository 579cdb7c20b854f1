// Whose settings hold for what: the file's SQL runs as a plain statement would, on every host and in the trigger too;
// our own statements do not care.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

class SettingsTest : public DatabaseTest {
 protected:
  // Of the database of this test.
  void set(std::string const& setting) {
    client_->exec("ALTER DATABASE \"" + database_ + "\" SET " + setting);
    client_ = std::make_unique<PgClient>(dsn());
  }

  // What a plain statement would have made of each row, and the backfill has not.
  std::string rows_that_differ() { return client_->value("SELECT count(*) FROM (TABLE t EXCEPT TABLE twin) x"); }
};

TEST_F(SettingsTest, TextOfDatesIntervalsAndBytesIsWhatAPlainStatementGives) {
  set("DateStyle = 'German, DMY'");
  set("IntervalStyle = 'iso_8601'");
  set("bytea_output = 'escape'");
  set("extra_float_digits = 0");
  client_->exec(
      "CREATE TABLE t (day date, id int, text_of_day text, span interval, text_of_span text, raw bytea, text_of_raw "
      "text, "
      "f float8, text_of_f text, read_back date, PRIMARY KEY (day, id)); INSERT INTO t (day, id, span, raw, f) SELECT "
      "'2024-01-02'::date + g, g, make_interval(months => 1, days => g), E'\\\\x61ff', 0.1 + 0.2 FROM "
      "generate_series(1, "
      "500) g; CREATE TABLE twin AS TABLE t; UPDATE twin SET text_of_day = day::text, text_of_span = span::text, "
      "text_of_raw = raw::text, text_of_f = f::text, read_back = '03.04.2005'::date");
  write("m.yaml",
        "name: m\ntable: t\nbackfill:\n  set:\n    text_of_day: day::text\n    text_of_span: span::text\n    "
        "text_of_raw: "
        "raw::text\n    text_of_f: f::text\n    read_back: \"'03.04.2005'::date\"\n  batch: {min_rows: 10, max_rows: "
        "100}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(rows_that_differ(), "0");
}

// It would end the session with the first row that cannot be changed, and the next one with the same row.
TEST_F(SettingsTest, AnErrorEndsNoSessionWhereTheRoleWouldHaveItSo) {
  set("exit_on_error = on");
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, a text, n int); INSERT INTO t SELECT g, CASE g WHEN 70 THEN 'x' ELSE "
      "g::text END FROM generate_series(1, 500) g");
  write("m.yaml",
        "name: m\ntable: t\nexpand:\n  - create_index: {name: t_n, columns: [n]}\nbackfill:\n  set: {n: \"a::int\"}\n  "
        "on_bad_row: {quarantine: 1}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(client_->value("SELECT string_agg(id::text, ' ') FROM t WHERE n IS NULL"), "70") << result.err;
  EXPECT_THAT(result.err, Not(HasSubstr("connection")));
}

TEST_F(SettingsTest, APurgeComparesDatesAsThePlainStatementDoes) {
  set("DateStyle = 'ISO, DMY'");
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, day text); INSERT INTO t SELECT g, CASE WHEN g % 10 = 0 THEN '01/02/2024' "
      "ELSE "
      "'02/01/2024' END FROM generate_series(1, 1000) g; CREATE TABLE twin AS TABLE t; DELETE FROM twin WHERE "
      "day::date "
      "< '2024-01-15'");
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  delete: true\n  where: \"day::date < '2024-01-15'\"\n");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT count(*) FROM t"), client_->value("SELECT count(*) FROM twin"));
  EXPECT_EQ(rows_that_differ(), "0");
}

TEST_F(SettingsTest, DeferredTriggersFireUnderTheSettingsOfTheFile) {
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t SELECT g FROM generate_series(1, "
      "10) "
      "g; CREATE TABLE seen (path text, style text); CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN "
      "INSERT INTO seen VALUES (current_setting(''search_path''), current_setting(''DateStyle'')); RETURN NULL; END'; "
      "CREATE CONSTRAINT TRIGGER look AFTER UPDATE ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION "
      "look()");
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT string_agg(DISTINCT style, ' ') FROM seen"), client_->value("SHOW DateStyle"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM seen WHERE path LIKE '%public%'"), "10");
}

TEST_F(SettingsTest, TheTriggerGivesWhatTheBatchesGiveWhoeverWrites) {
  set("DateStyle = 'ISO, MDY'");
  set("TimeZone = 'America/New_York'");
  client_->exec(
      "CREATE TABLE t (id int PRIMARY KEY, day text, d date, at timestamptz); INSERT INTO t (id, day) SELECT g, "
      "'03/04/2005' FROM generate_series(1, 100) g");
  write("m.yaml",
        "name: m\ntable: t\nsync: {set: {d: \"day::date\", at: \"(day || ' 12:00')::timestamptz\"}}\nbackfill:\n  set: "
        "{d: "
        "\"day::date\", at: \"(day || ' 12:00')::timestamptz\"}\n  where: d IS NULL\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  client_->exec(
      "SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Tokyo'; INSERT INTO t (id, day) VALUES (1000, "
      "'03/04/2005')");
  EXPECT_EQ(client_->value("SELECT count(DISTINCT (d, at)) FROM t"), "1");
}

TEST_F(SettingsTest, AnotherHostObeysTheSettingsOfTheFirstRunAndIsToldSo) {
  client_->exec(
      "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, day text, d date); INSERT INTO app.t SELECT g, "
      "'03/04/2005' FROM generate_series(1, 2000) g; CREATE TABLE public.t (LIKE app.t INCLUDING ALL); INSERT INTO "
      "public.t TABLE app.t; CREATE ROLE first_host SUPERUSER LOGIN; ALTER ROLE first_host SET search_path = app; "
      "ALTER "
      "ROLE first_host SET DateStyle = 'ISO, DMY'");
  write("m.yaml",
        "name: m\ntable: t\nbackfill:\n  set: {d: day::date}\n  workers: 1\nthrottle: {max_rows_per_second: 1}\n");
  Program first({PGBACKFILL_PROGRAM, "run", (dir() / "m.yaml").string(), "--dsn", dsn("first_host"), "--no-progress"});
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT count(*) FROM app.t WHERE d IS NOT NULL") != "0"; }, 20s));
  first.signal(SIGTERM);
  first.wait(60s);
  run({"set", "m", "throttle.max_rows_per_second=none"});
  auto const second = run({"run", "m.yaml"});
  EXPECT_EQ(second.exit_code, kDone) << second.err;
  EXPECT_THAT(second.err, HasSubstr("DateStyle is 'ISO, MDY' here; 'ISO, DMY' is used"));
  EXPECT_THAT(second.err, HasSubstr("search_path is"));
  EXPECT_EQ(client_->value("SELECT string_agg(DISTINCT d::text, ' ') FROM app.t"), "2005-04-03");
  EXPECT_EQ(client_->value("SELECT count(*) FROM public.t WHERE d IS NOT NULL"), "0");
}

TEST_F(SettingsTest, KeysAreComparedByTheOperatorsOfTheirTypeWhereverItsExtensionIs) {
  if (client_->value("SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'") == "0") {
    GTEST_SKIP() << "this server has no citext";
  }
  client_->exec(
      "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TABLE t (tenant int, id ext.citext, n int NOT "
      "NULL "
      "DEFAULT 0, PRIMARY KEY (tenant, id)); INSERT INTO t SELECT g % 2, CASE g % 3 WHEN 0 THEN upper(md5(g::text)) "
      "ELSE "
      "md5(g::text) END FROM generate_series(1, 2000) g; ANALYZE t");
  write("m.yaml",
        "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n  batch: {target: 50ms, min_rows: 10, max_rows: 100}\n");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT min(n) || ' ' || max(n) FROM t"), "1 1");
}

// Rows that were there before the constraint do not satisfy it; a plain UPDATE does not ask.
TEST_F(SettingsTest, AKeyOfADomainIsComparedAsItsBaseType) {
  client_->exec(
      "CREATE DOMAIN code AS text; CREATE TABLE t (id code PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO t "
      "SELECT "
      "'K' || g FROM generate_series(1, 2000) g; ANALYZE t; ALTER DOMAIN code ADD CONSTRAINT low CHECK (value = "
      "lower(value)) NOT VALID");
  write("m.yaml", "name: m\ntable: t\nbackfill:\n  set: {n: n + 1}\n  batch: {min_rows: 10, max_rows: 100}\n");
  EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value("SELECT min(n) || ' ' || max(n) FROM t"), "1 1");
}

// Each of these fits the arguments better than the one that is meant.
TEST_F(SettingsTest, NothingThatIsPlantedInTheSearchPathIsRun) {
  client_->exec(
      "CREATE SCHEMA planted; CREATE TABLE public.was_run (what text); CREATE FUNCTION planted.note(what text) RETURNS "
      "void "
      "LANGUAGE sql AS 'INSERT INTO public.was_run VALUES (what)'; CREATE FUNCTION planted.pg_relation_size(oid) "
      "RETURNS "
      "bigint LANGUAGE sql AS 'SELECT planted.note(''size''); SELECT 1::bigint'; CREATE FUNCTION planted.equal(text, "
      "text) "
      "RETURNS boolean LANGUAGE sql AS 'SELECT planted.note(''text''); SELECT true'; CREATE OPERATOR planted.= "
      "(LEFTARG = "
      "text, RIGHTARG = text, FUNCTION = planted.equal); CREATE FUNCTION planted.less(varchar, varchar) RETURNS "
      "boolean "
      "LANGUAGE sql AS 'SELECT planted.note(''varchar''); SELECT true'; CREATE OPERATOR planted.> (LEFTARG = varchar, "
      "RIGHTARG = varchar, FUNCTION = planted.less); CREATE OPERATOR planted.<= (LEFTARG = varchar, RIGHTARG = "
      "varchar, "
      "FUNCTION = planted.less); CREATE TABLE public.t (id varchar PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO "
      "public.t SELECT 'k' || g FROM generate_series(1, 1000) g; ANALYZE public.t");
  set("search_path = planted, pg_catalog, public");
  write("m.yaml",
        "name: m\ntable: public.t\nbackfill:\n  set: {n: \"n + 1\"}\n  batch: {min_rows: 10, max_rows: 100}\nverify:\n "
        " - "
        "zero: \"SELECT count(*) FROM public.t WHERE n <> 1\"\n");
  for (char const* command : {"plan", "doctor", "run", "gate", "verify", "status"}) {
    auto const result = run({command, command == std::string("status") ? "m" : "m.yaml"});
    EXPECT_EQ(client_->value("SELECT coalesce(string_agg(DISTINCT what, ' '), '') FROM public.was_run"), "")
        << command << result.err;
  }
  EXPECT_EQ(client_->value("SELECT min(n)::pg_catalog.text FROM public.t"), "1");
}

}  // namespace
}  // namespace pgbackfill::tests
