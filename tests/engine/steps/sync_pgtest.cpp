// The trigger of `sync:` on a real server: old and new versions of an application write at once, each its own column,
// and every row ends as a twin table says that it should.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/poll_until.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr char kOneWay[] = R"yaml(name: m
table: users
expand:
  - add_column: {name: display, type: text}
sync:
  set: {display: "upper(name)"}
)yaml";

constexpr char kBothWays[] = R"yaml(name: m
table: users
expand:
  - add_column: {name: display, type: text}
sync:
  set: {display: "upper(name)"}
  reverse: {name: "lower(display)"}
)yaml";

constexpr char kBackfill[] = R"yaml(backfill:
  set: {display: "upper(name)"}
  where: display IS NULL
  workers: 2
  batch: {min_rows: 1, max_rows: 200}
throttle: {mode: off}
)yaml";

class SyncTest : public DatabaseTest {
 protected:
  void make_users(int rows) const {
    client_->exec(
        fmt::format("CREATE TABLE users (id int PRIMARY KEY, name text, note text); INSERT INTO users SELECT g, 'name "
                    "' || g, 'note' FROM generate_series(1, {}) g",
                    rows));
  }
  void run_file(std::string const& text) const {
    write("m.yaml", text);
    auto const result = run({"run", "m.yaml"});
    ASSERT_EQ(result.exit_code, kDone) << result.err;
  }
  // name and display of a row: "a/A".
  std::string pair_of(int id) const {
    return client_->value(
        fmt::format("SELECT coalesce(name, '-') || '/' || coalesce(display, '-') FROM users WHERE id = {}", id));
  }
  std::string triggers() const {
    return client_->value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~pgbackfill%'");
  }
  std::string functions() const { return client_->value("SELECT count(*) FROM pg_proc WHERE proname LIKE 'sync\\_%'"); }
  void set_up_writer(std::string const& role) const {
    client_->exec(
        fmt::format("DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{0}') THEN CREATE ROLE "
                    "{0} LOGIN; END IF; END $$; GRANT SELECT, INSERT, UPDATE, DELETE ON users TO {0}",
                    role));
  }
};

// --- the twin -------------------------------------------------------------------------------------------------------

// Each write goes to the table and, as what it means, to the twin, in one transaction.
class Writer {
 public:
  Writer(std::string const& dsn, bool is_old, unsigned seed) : client_(dsn), is_old_(is_old), random_(seed) {}

  void write_once() {
    int const id = pick(1, 6000);
    std::string const text = fmt::format("{} {}", is_old_ ? "old" : "new", pick(1, 1'000'000));
    client_.exec("BEGIN");
    switch (pick(0, 6)) {
      case 0:
        client_.exec(fmt::format("DELETE FROM users WHERE id = {0}; DELETE FROM twin WHERE id = {0}", id));
        break;
      case 1:
        upsert(id, text);
        break;
      case 2:
        save_full_row(id, text);
        break;
      case 3:
        // A row that is not filled yet says NULL already: to a new version's NULL nothing changes there.
        client_.exec(
            fmt::format("WITH done AS (UPDATE users SET {0} = NULL WHERE id = {1} AND {0} IS NOT NULL RETURNING id) "
                        "UPDATE twin SET value = NULL FROM done WHERE twin.id = done.id",
                        column(), id));
        break;
      case 4:
        client_.exec(fmt::format("UPDATE users SET note = note || '.' WHERE id = {}", id));
        break;
      default:
        client_.exec(fmt::format("UPDATE users SET {} = {} WHERE id = {}; UPDATE twin SET value = '{}' WHERE id = {}",
                                 column(), own(text), id, text, id));
    }
    client_.exec("COMMIT");
    ++writes_;
  }
  int writes() const { return writes_; }

 private:
  int pick(int least, int most) { return std::uniform_int_distribution<int>(least, most)(random_); }
  std::string column() const { return is_old_ ? "name" : "display"; }
  std::string own(std::string const& text) const { return is_old_ ? "'" + text + "'" : "upper('" + text + "')"; }

  void upsert(int id, std::string const& text) {
    client_.exec(
        fmt::format("INSERT INTO users (id, {0}) VALUES ({1}, {2}) ON CONFLICT (id) DO UPDATE SET {0} = "
                    "excluded.{0}; INSERT INTO twin VALUES ({1}, '{3}') ON CONFLICT (id) DO UPDATE SET value "
                    "= excluded.value",
                    column(), id, own(text), text));
  }
  // As object mappers do: all columns that this version knows, changed or not.
  void save_full_row(int id, std::string const& text) {
    client_.exec(fmt::format("SELECT FROM users WHERE id = {} FOR UPDATE", id));
    client_.exec(is_old_ ? fmt::format("UPDATE users SET id = id, name = '{}', note = note WHERE id = {}", text, id)
                         : fmt::format("UPDATE users SET id = id, name = name, display = upper('{}'), note = note "
                                       "WHERE id = {}",
                                       text, id));
    client_.exec(fmt::format("UPDATE twin SET value = '{}' WHERE id = {}", text, id));
  }

  PgClient client_;
  bool is_old_;
  std::mt19937 random_;
  int writes_ = 0;
};

constexpr char kDifferences[] =
    "SELECT count(*) FROM users u FULL JOIN twin t USING (id) WHERE u.id IS NULL OR t.id IS NULL OR u.name IS "
    "DISTINCT "
    "FROM t.value OR u.display IS DISTINCT FROM upper(t.value)";

TEST_F(SyncTest, OldAndNewWritersAgreeWhileTheBackfillRuns) {
  make_users(5000);
  client_->exec("CREATE TABLE twin (id int PRIMARY KEY, value text); INSERT INTO twin SELECT id, name FROM users");
  std::atomic<bool> is_over{false};
  std::atomic<int> writes{0};
  // New versions write only when there is a trigger that brings it to the old ones: rolled out after `run` began.
  auto const go = [&](bool is_old, unsigned seed) {
    Writer writer(dsn(), is_old, seed);
    while (!is_over) {
      writer.write_once();
      ++writes;
    }
  };
  auto const seed = static_cast<unsigned>(seed_of_tests());
  std::vector<std::thread> threads;
  threads.emplace_back(go, true, seed);
  threads.emplace_back(go, true, seed + 1);
  write("m.yaml", std::string(kBothWays) + "contract:\n  - set_not_null: id\n" + kBackfill);
  // First without the backfill, so that new writers are there before it.
  write("sync.yaml", kBothWays);
  auto const synced = run({"run", "sync.yaml"});
  EXPECT_EQ(synced.exit_code, kDone) << synced.err;
  threads.emplace_back(go, false, seed + 2);
  threads.emplace_back(go, false, seed + 3);
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_TRUE(poll_until([&] { return writes > 2000; }, 60s));
  is_over = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(client_->value(kDifferences), "0")
      << "seed " << seed << "\n"
      << client_->value(
             "SELECT string_agg(format('%s: %s %s, twin %s', id, u.name, u.display, t.value), E'\\n') FROM users u "
             "FULL JOIN "
             "twin t USING (id) WHERE u.name IS DISTINCT FROM t.value OR u.display IS DISTINCT FROM upper(t.value)");
  EXPECT_EQ(client_->value("SELECT sweeps FROM pgbackfill.jobs"), "f") << "the trigger spares the last pass";
}

// --- one statement at a time ----------------------------------------------------------------------------------------

struct WriteCase {
  std::string does;
  std::string sql;
  std::string pair;  // of row 1, which began as a/A
};

TEST_F(SyncTest, EachKindOfWriteEndsInStep) {
  make_users(1);
  run_file(kBothWays);
  std::vector<WriteCase> cases = {
      {"an old version writes", "UPDATE users SET name = 'b' WHERE id = 1", "b/B"},
      {"a new version writes", "UPDATE users SET display = 'B' WHERE id = 1", "b/B"},
      {"a full-row save of a new version", "UPDATE users SET id = 1, name = 'a', display = 'B' WHERE id = 1", "b/B"},
      {"a full-row save of an old version", "UPDATE users SET id = 1, name = 'b', note = '' WHERE id = 1", "b/B"},
      {"a save of nothing new", "UPDATE users SET id = 1, name = 'a', display = 'A' WHERE id = 1", "a/A"},
      {"both sides at once: the old one wins", "UPDATE users SET name = 'b', display = 'C' WHERE id = 1", "b/B"},
      {"NULL by an old version", "UPDATE users SET name = NULL WHERE id = 1", "-/-"},
      {"NULL by a new version", "UPDATE users SET display = NULL WHERE id = 1", "-/-"},
      {"another column", "UPDATE users SET note = 'x' WHERE id = 1", "a/A"},
      {"an INSERT of an old version", "DELETE FROM users; INSERT INTO users (id, name) VALUES (1, 'n')", "n/N"},
      {"an INSERT of a new version", "DELETE FROM users; INSERT INTO users (id, display) VALUES (1, 'N')", "n/N"},
      {"an INSERT of both", "DELETE FROM users; INSERT INTO users (id, name, display) VALUES (1, 'n', 'M')", "n/N"},
      {"an INSERT of neither", "DELETE FROM users; INSERT INTO users (id) VALUES (1)", "-/-"},
      {"ON CONFLICT of an old version",
       "INSERT INTO users (id, name) VALUES (1, 'c') ON CONFLICT (id) DO UPDATE SET name = excluded.name", "c/C"},
      {"ON CONFLICT of a new version",
       "INSERT INTO users (id, display) VALUES (1, 'C') ON CONFLICT (id) DO UPDATE SET display = excluded.display",
       "c/C"},
      {"ON CONFLICT DO NOTHING", "INSERT INTO users (id, name) VALUES (1, 'c') ON CONFLICT DO NOTHING", "a/A"},
      {"COPY by an old version", "DELETE FROM users; COPY users (id, name) FROM PROGRAM 'printf \"1\\tq\\n\"'", "q/Q"},
      {"COPY by a new version", "DELETE FROM users; COPY users (id, display) FROM PROGRAM 'printf \"1\\tQ\\n\"'",
       "q/Q"},
      {"replica role",
       "SET session_replication_role = replica; UPDATE users SET name = 'r' WHERE id = 1; RESET "
       "session_replication_role",
       "r/R"},
      {"a search path without anything",
       "SET search_path = ''; UPDATE public.users SET name = 's' WHERE id = 1; RESET "
       "search_path",
       "s/S"},
      {"a row that is not filled yet",
       "ALTER TABLE users DISABLE TRIGGER USER; UPDATE users SET display = NULL; ALTER TABLE users ENABLE ALWAYS "
       "TRIGGER "
       "\"~pgbackfill_m\"; UPDATE users SET note = 'y' WHERE id = 1",
       "a/A"}};
  if (cluster_->major_version() >= 15) {
    cases.push_back(
        {"MERGE of an old version",
         "MERGE INTO users USING (VALUES (1, 'm')) v (id, name) ON users.id = v.id WHEN MATCHED THEN UPDATE "
         "SET name = v.name",
         "m/M"});
    cases.push_back({"MERGE of a new version that inserts",
                     "DELETE FROM users; MERGE INTO users USING (VALUES (1, 'M')) v (id, display) ON users.id = v.id "
                     "WHEN NOT MATCHED THEN INSERT (id, display) VALUES (v.id, v.display)",
                     "m/M"});
  }
  for (auto const& write : cases) {
    client_->exec("DELETE FROM users; INSERT INTO users (id, name) VALUES (1, 'a')");
    ASSERT_EQ(pair_of(1), "a/A");
    client_->exec(write.sql);
    EXPECT_EQ(pair_of(1), write.pair) << write.does;
  }
}

TEST_F(SyncTest, WithoutReverseTheNewColumnIsTheTriggers) {
  make_users(1);
  client_->exec("ALTER TABLE users ADD COLUMN token uuid");
  run_file(
      "name: m\ntable: users\nexpand:\n  - add_column: {name: display, type: text, default: \"''\", not_null: true}\n"
      "sync:\n  set: {display: \"coalesce(upper(name), '?')\", token: gen_random_uuid()}\n");
  client_->exec("INSERT INTO users (id, name) VALUES (2, 'b')");
  EXPECT_EQ(pair_of(2), "b/B") << "though the column has a default";
  client_->exec("UPDATE users SET display = 'mine' WHERE id = 2");
  EXPECT_EQ(pair_of(2), "b/B");
  auto const token = client_->value("SELECT token FROM users WHERE id = 2");
  EXPECT_NE(token, "NULL");
  client_->exec("UPDATE users SET name = 'c' WHERE id = 2");
  EXPECT_EQ(pair_of(2), "c/C");
  EXPECT_EQ(client_->value("SELECT token FROM users WHERE id = 2"), token) << "it is given once";
}

TEST_F(SyncTest, AConstantDefaultIsNoValueOfTheOtherVersion) {
  client_->exec(
      "CREATE TABLE users (id int PRIMARY KEY, name varchar(20) NOT NULL DEFAULT 'none', note text, cents "
      "numeric(10, "
      "2) NOT NULL DEFAULT 0)");
  run_file(
      "name: m\ntable: users\nexpand:\n  - add_column: {name: display, type: text}\n  - add_column: {name: euros, "
      "type: "
      "\"numeric\"}\nsync:\n  set: {display: \"upper(name)\", euros: cents / 100}\n"
      "  reverse: {name: \"lower(display)\", cents: euros * 100}\n");
  client_->exec("INSERT INTO users (id, display, euros) VALUES (1, 'X', 3)");
  EXPECT_EQ(pair_of(1), "x/X");
  EXPECT_EQ(client_->value("SELECT cents FROM users"), "300.00");
  client_->exec("INSERT INTO users (id, name) VALUES (2, 'none')");
  EXPECT_EQ(pair_of(2), "none/NONE");
}

TEST_F(SyncTest, PairsAreDecidedEachByItself) {
  client_->exec("CREATE TABLE t (id int PRIMARY KEY, a int, b int, j json, f text)");
  run_file(
      "name: m\ntable: t\nexpand:\n  - add_column: {name: c, type: bigint}\n  - add_column: {name: d, type: bigint}\n"
      "  - add_column: {name: k, type: jsonb}\n  - add_column: {name: first, type: text}\n  - add_column: {name: "
      "last, "
      "type: text}\nsync:\n  set:\n    c: a\n    d: b\n    k: j\n    first: split_part(f, ' ', 1)\n    last: "
      "split_part(f, ' ', 2)\n  reverse:\n    a: c\n    b: d\n    j: k\n    f: first || ' ' || last\n");
  client_->exec("INSERT INTO t (id, a, d, j, f) VALUES (1, 1, 2, '{\"x\": 1}', 'A B')");
  auto const row = [&] { return client_->value("SELECT concat_ws(' ', a, b, c, d, j, k, f, first, last) FROM t"); };
  EXPECT_EQ(row(), "1 2 1 2 {\"x\": 1} {\"x\": 1} A B A B");
  client_->exec("UPDATE t SET a = 3, d = 4, last = 'C', k = '{\"y\": 2}'");
  EXPECT_EQ(row(), "3 4 3 4 {\"y\": 2} {\"y\": 2} A C A C");
}

TEST_F(SyncTest, PartitionsOfAllAgesHaveIt) {
  client_->exec(
      "CREATE TABLE users (id int, name text, note text, PRIMARY KEY (id)) PARTITION BY RANGE (id); CREATE TABLE u1 "
      "PARTITION OF users FOR VALUES FROM (0) TO (10); CREATE TABLE u3 (note text, id int NOT NULL, name text)");
  run_file(kBothWays);
  client_->exec("CREATE TABLE u2 PARTITION OF users FOR VALUES FROM (10) TO (20)");
  client_->exec(
      "ALTER TABLE u3 ADD COLUMN display text; ALTER TABLE users ATTACH PARTITION u3 FOR VALUES FROM (20) TO (30)");
  for (int const id : {1, 11, 21}) {
    client_->exec(fmt::format("INSERT INTO users (id, name) VALUES ({}, 'a')", id));
    EXPECT_EQ(pair_of(id), "a/A");
    client_->exec(fmt::format("UPDATE users SET display = 'B' WHERE id = {}", id));
    EXPECT_EQ(pair_of(id), "b/B");
    client_->exec(
        fmt::format("SET session_replication_role = replica; UPDATE users SET name = 'c' WHERE id = {}; RESET "
                    "session_replication_role",
                    id));
    EXPECT_EQ(pair_of(id), "c/C");
  }
  client_->exec("UPDATE users SET id = 12, display = 'MOVED' WHERE id = 1");
  EXPECT_EQ(pair_of(12), "moved/MOVED") << "into another partition";
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  client_->exec("ALTER TABLE u2 DISABLE TRIGGER USER");
  auto const gate = run({"gate", "m"});
  EXPECT_EQ(gate.exit_code, kGateClosed) << "a partition alone can be disabled";
  EXPECT_THAT(gate.out, HasSubstr("the sync trigger was dropped, disabled or replaced"));
}

// The server fires triggers in the order of the bytes of their names.
TEST_F(SyncTest, RefusesATriggerThatFiresAfterIt) {
  make_users(3);
  client_->exec(
      "CREATE FUNCTION trims() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := trim(NEW.name); RETURN NEW; "
      "END'");
  write("m.yaml", std::string(kOneWay) + kBackfill);
  for (char const* name : {"\u00fcberschreiben", "~~late", "~pgbackfillx"}) {
    client_->exec(
        fmt::format("CREATE TRIGGER \"{}\" BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION trims()", name));
    for (char const* command : {"plan", "run"}) {
      auto const refused = run({command, "m.yaml"});
      EXPECT_EQ(refused.exit_code, kUsage) << command << name << refused.err;
      EXPECT_THAT(refused.out + refused.err, AllOf(HasSubstr(name), HasSubstr("fires after the trigger of sync:")));
    }
    EXPECT_EQ(client_->value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '~pgbackfill\\_%'"), "0");
    // In nobody's way: it runs after the row is written, at another event, or not at all.
    client_->exec(fmt::format(
        "DROP TRIGGER \"{0}\" ON users; CREATE TRIGGER \"{0}\" AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION "
        "trims(); CREATE TRIGGER \"{0} 2\" BEFORE DELETE ON users FOR EACH ROW EXECUTE FUNCTION trims(); CREATE "
        "TRIGGER "
        "\"{0} 3\" BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION trims(); ALTER TABLE users DISABLE TRIGGER "
        "\"{0} 3\"",
        name));
  }
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  // One that comes later closes the gate.
  client_->exec("CREATE TRIGGER \"~~later\" BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION trims()");
  auto const gate = run({"gate", "m"});
  EXPECT_EQ(gate.exit_code, kGateClosed);
  EXPECT_THAT(gate.out, HasSubstr("or another BEFORE trigger fires after it"));
}

TEST_F(SyncTest, SeesWhatOtherTriggersMake) {
  make_users(0);
  client_->exec(
      "CREATE FUNCTION trimmed() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := trim(NEW.name); RETURN NEW; "
      "END'; CREATE TRIGGER zz_trim BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION trimmed()");
  run_file(kOneWay);
  client_->exec("INSERT INTO users (id, name) VALUES (1, '  a  ')");
  EXPECT_EQ(pair_of(1), "a/A");
  client_->exec("UPDATE users SET name = ' b'");
  EXPECT_EQ(pair_of(1), "b/B");
}

TEST_F(SyncTest, WritersNeedNoRightOnIt) {
  make_users(0);
  run_file(kBothWays);
  set_up_writer("plain_writer");
  PgClient writer(dsn("plain_writer"));
  writer.exec("INSERT INTO users (id, display) VALUES (1, 'A')");
  EXPECT_EQ(pair_of(1), "a/A");
}

TEST_F(SyncTest, OwnBatchesPassItBy) {
  make_users(1000);
  client_->exec("ALTER DATABASE " + database_ + " SET track_functions = 'pl'");
  run_file(std::string(kBothWays) + kBackfill);
  EXPECT_EQ(client_->value("SELECT count(*) FROM users WHERE display = upper(name)"), "1000");
  EXPECT_EQ(client_->value("SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'sync_m'"),
            "0");
  client_->exec("UPDATE users SET name = 'x' WHERE id = 1");
  EXPECT_EQ(pair_of(1), "x/X");
}

TEST_F(SyncTest, OwnBatchesPassItByInReplicaRoleToo) {
  make_users(1000);
  client_->exec("ALTER DATABASE " + database_ + " SET track_functions = 'pl'");
  std::string text = std::string(kOneWay) + kBackfill;
  text.insert(text.find("  workers:"), "  triggers: skip\n");
  run_file(text);
  EXPECT_EQ(client_->value("SELECT count(*) FROM users WHERE display = upper(name)"), "1000");
  EXPECT_EQ(client_->value("SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'sync_m'"),
            "0");
}

TEST_F(SyncTest, HostileNamesWork) {
  client_->exec(
      R"sql(CREATE SCHEMA "S.x"; CREATE TABLE "S.x"."new" (id int PRIMARY KEY, "found" text, "a\""'" text))sql");
  run_file(R"yaml(name: m-1.x
table: {schema: S.x, name: new}
expand:
  - add_column: {name: "it's \"a\" {b}; DROP TABLE t; -- ☃", type: text}
sync:
  set:
    "it's \"a\" {b}; DROP TABLE t; -- ☃": |
      upper(new.found) || "a\""'" -- done
)yaml");
  client_->exec("INSERT INTO \"S.x\".\"new\" VALUES (1, 'f', 'g')");
  EXPECT_EQ(client_->value("SELECT \"it's \"\"a\"\" {b}; DROP TABLE t; -- ☃\" FROM \"S.x\".\"new\""), "Fg");
}

// --- its life -------------------------------------------------------------------------------------------------------

TEST_F(SyncTest, CompleteSwitchesItOffBeforeItNeedsALock) {
  make_users(10);
  run_file(std::string(kBothWays) + kBackfill + "contract:\n  - set_not_null: display\n  - drop_column: name\n");
  EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
  PgClient reader(dsn());
  reader.exec("BEGIN; SELECT set_config('a.b', '', true)");
  // Reads hold up DROP TRIGGER. set_not_null comes first, and must not be held up.
  ProgramOptions options;
  options.working_dir = dir();
  client_->exec("ALTER TABLE users ALTER COLUMN display SET NOT NULL");
  reader.exec("SELECT count(*) FROM users");
  Program program({PGBACKFILL_PROGRAM, "complete", "m", "--yes", "--dsn", dsn()}, options);
  EXPECT_TRUE(poll_until([&] {
    return client_->value("SELECT prosrc NOT LIKE '%NEW.\"display\"%' FROM pg_proc WHERE proname = 'sync_m'") == "t";
  })) << program.err();
  EXPECT_EQ(triggers(), "1");
  client_->exec("SET lock_timeout = '5s'; UPDATE users SET display = 'OFF' WHERE id = 1");
  EXPECT_EQ(pair_of(1), "name 1/OFF") << "nothing is computed any more, and no lock was needed";
  reader.exec("COMMIT");
  auto const result = program.wait(60s);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(triggers() + functions(), "00");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'name'"),
            "0");
  auto const again = run({"run", "m.yaml"});
  EXPECT_EQ(triggers(), "0") << "run does not bring it back" << again.err;
}

TEST_F(SyncTest, RollbackTakesItAway) {
  make_users(10);
  run_file(std::string(kBothWays) + kBackfill);
  EXPECT_EQ(triggers() + functions(), "11");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(triggers() + functions(), "00");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.steps"), "0");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.claims"), "0");
  run_file(std::string(kBothWays) + kBackfill);
  EXPECT_EQ(client_->value("SELECT count(*) FROM users WHERE display = upper(name)"), "10");
}

TEST_F(SyncTest, TwoProcessesInstallItOnce) {
  make_users(2000);
  write("m.yaml", std::string(kBothWays) + kBackfill);
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  ProgramOptions options;
  options.working_dir = dir();
  std::vector<std::string> const words = {PGBACKFILL_PROGRAM, "run", "m.yaml", "--dsn", dsn()};
  for (int round = 0; round < 3; ++round) {
    Program one(words, options);
    Program two(words, options);
    auto const first = one.wait(60s);
    auto const second = two.wait(60s);
    EXPECT_EQ(first.exit_code, kDone) << first.err;
    EXPECT_EQ(second.exit_code, kDone) << second.err;
    EXPECT_EQ(triggers() + functions(), "11");
    EXPECT_EQ(client_->value("SELECT count(*) FROM users WHERE display = upper(name)"), "2000");
    EXPECT_EQ(run({"gate", "m"}).exit_code, kDone);
    ASSERT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  }
}

TEST_F(SyncTest, ARepeatWantsTheSameTrigger) {
  make_users(10);
  std::string const text = std::string(kBothWays) + kBackfill;
  std::pair<char const*, char const*> const cases[] = {
      {"disabled for a while",
       "ALTER TABLE users DISABLE TRIGGER \"~pgbackfill_m\"; ALTER TABLE users ENABLE ALWAYS TRIGGER "
       "\"~pgbackfill_m\""},
      {"made again",
       "DO $$ DECLARE definition text; BEGIN SELECT pg_get_triggerdef(oid) INTO definition FROM pg_trigger "
       "WHERE tgname = '~pgbackfill_m'; DROP TRIGGER \"~pgbackfill_m\" ON users; EXECUTE definition; ALTER "
       "TABLE users ENABLE ALWAYS TRIGGER \"~pgbackfill_m\"; END $$"},
      {"another body",
       "CREATE OR REPLACE FUNCTION pgbackfill.sync_m() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN "
       "NEW; END'"},
      {"gone", "DROP TRIGGER \"~pgbackfill_m\" ON users"}};
  for (auto const& [does, sql] : cases) {
    run_file(text);
    EXPECT_EQ(run({"run", "m.yaml"}).exit_code, kDone) << does;
    EXPECT_EQ(run({"gate", "m"}).exit_code, kDone) << does;
    client_->exec(sql);
    EXPECT_EQ(run({"gate", "m"}).exit_code, kGateClosed) << does;
    auto const again = run({"run", "m.yaml"});
    EXPECT_EQ(again.exit_code, kFailed) << does;
    EXPECT_THAT(again.err, HasSubstr("the sync trigger was dropped, disabled or replaced")) << does;
    EXPECT_EQ(run({"complete", "m", "--yes"}).exit_code, kGateClosed) << does;
    ASSERT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone) << does;
    EXPECT_EQ(triggers() + functions(), "00") << does;
  }
}

TEST_F(SyncTest, LeavesAloneWhatIsNotItsOwn) {
  make_users(1);
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  client_->exec(
      "CREATE FUNCTION pgbackfill.sync_m() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE "
      "TRIGGER "
      "\"~pgbackfill_m\" BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION pgbackfill.sync_m()");
  write("m.yaml", kOneWay);
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("m.yaml:5:1: sync: a function \"pgbackfill\".\"sync_m\" is there already"));
  EXPECT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(triggers() + functions(), "11");
}

TEST_F(SyncTest, TriggerAndBatchGiveTheSameWhateverTheSessionOfAWriter) {
  auto const database = client_->value("SELECT quote_ident(current_database())");
  client_->exec(
      "CREATE SCHEMA other; CREATE FUNCTION other.label(int) RETURNS text LANGUAGE sql AS $$ SELECT 'l' || $1 $$; "
      "CREATE TABLE public.users (id int PRIMARY KEY, a int, words text, b text, c text[], d text, e text); INSERT "
      "INTO public.users SELECT g, g, '{a,NULL}' FROM generate_series(1, 100) g; CREATE TABLE copy (id int PRIMARY "
      "KEY, b text, c text[], d text, e text); ALTER DATABASE " +
      database + " SET search_path = other, public; ALTER DATABASE " + database +
      " SET array_nulls = off; ALTER DATABASE " + database + " SET app.tenant = 'seven'; ALTER DATABASE " + database +
      " SET quote_all_identifiers = on");
  std::string const values =
      "{b: label(a), c: \"words::text[]\", d: \"current_setting('app.tenant') || a\", e: quote_ident('x' || a)}\n";
  write("m.yaml", "name: m\ntable: public.users\nsync:\n  set: " + values + "backfill:\n  set: " + values);
  write("c.yaml",
        "name: c\ntable: public.users\nsync: {mirror: [id]}\nbackfill:\n  copy_to: public.copy\n  columns: {id: id, " +
            values.substr(1));
  for (char const* file : {"m.yaml", "c.yaml"}) {
    auto const result = run({"run", file});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
  }
  PgClient writer(dsn());
  writer.exec(
      "SET search_path = public; SET array_nulls = on; SET app.tenant = 'eight'; SET quote_all_identifiers = off; "
      "UPDATE users SET words = words || '' WHERE id = 1; INSERT INTO users (id, a, words) VALUES (101, 101, "
      "'{a,NULL}')");
  for (char const* table : {"users", "copy"}) {
    EXPECT_EQ(client_->value(fmt::format("SELECT count(*) || ' ' || string_agg(DISTINCT concat_ws(' ', replace(b, "
                                         "id::text, '#'), c, replace(d, id::text, '#'), replace(e, id::text, '#')), "
                                         "', ') FROM public.{}",
                                         table)),
              "101 l# {a,\"NULL\"} seven# \"x#\"")
        << table;
  }
}

// The server calls the output of these types immutable, and it follows settings all the same.
TEST_F(SyncTest, TriggerAndBatchWriteBytesAndFloatsAlike) {
  auto const database = client_->value("SELECT quote_ident(current_database())");
  client_->exec(
      "CREATE TABLE users (id int PRIMARY KEY, a bytea, f float8, b text, c text); INSERT INTO users SELECT g, "
      "'\\x00ff', 1.0 / 3 FROM generate_series(1, 100) g; CREATE TABLE copy (id int PRIMARY KEY, b text, c text); "
      "ALTER DATABASE " +
      database + " SET bytea_output = escape; ALTER DATABASE " + database + " SET extra_float_digits = 0");
  std::string const values = "{b: \"a::text\", c: \"f::text\"}\n";
  write("m.yaml", "name: m\ntable: users\nsync:\n  set: " + values + "backfill:\n  set: " + values);
  write("c.yaml", "name: c\ntable: users\nsync: {mirror: [id]}\nbackfill:\n  copy_to: copy\n  columns: {id: id, " +
                      values.substr(1));
  for (char const* file : {"m.yaml", "c.yaml"}) {
    auto const result = run({"run", file});
    EXPECT_EQ(result.exit_code, kDone) << result.err;
  }
  PgClient writer(dsn());
  writer.exec(
      "SET bytea_output = hex; SET extra_float_digits = 3; UPDATE users SET a = '\\x00ff', f = 1.0 / 3 WHERE id = 1; "
      "INSERT INTO users (id, a, f) VALUES (101, '\\x00ff', 1.0 / 3)");
  for (char const* table : {"users", "copy"}) {
    EXPECT_EQ(client_->value(
                  fmt::format("SELECT count(*) || ' ' || string_agg(DISTINCT b || ' ' || c, ', ') FROM {}", table)),
              "101 \\000\\377 0.333333333333333")
        << table;
  }
}

TEST_F(SyncTest, WhatIsAnotherForEachWriterIsRefused) {
  make_users(10);
  for (char const* expression : {"session_user || note", "note || pg_backend_pid()", "CURRENT_USER || note"}) {
    write("m.yaml", fmt::format("name: m\ntable: users\nsync:\n  set: {{name: \"{}\"}}\n", expression));
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << expression;
    EXPECT_THAT(result.err, HasSubstr("m.yaml:4:3: column 'name' reads ")) << expression;
    EXPECT_THAT(result.err, HasSubstr("another for each session that writes")) << expression;
  }
  write("m.yaml", "name: m\ntable: users\nsync:\n  set: {name: \"upper(public.users.note)\"}\n");
  auto const result = run({"run", "m.yaml"});
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("m.yaml:4:3: column 'name' names a column as schema.table.column"));
  EXPECT_EQ(triggers() + functions(), "00");
}

TEST_F(SyncTest, SaysWhatNoTriggerCanDo) {
  client_->exec(
      "CREATE TABLE users (id int, name text, n int, g int GENERATED ALWAYS AS (n * 2) STORED, display text, p int) "
      "PARTITION BY RANGE (p); CREATE TABLE u1 PARTITION OF users DEFAULT; CREATE TABLE parent (a int, b int); "
      "CREATE "
      "TABLE child () INHERITS (parent); CREATE VIEW v AS SELECT 1 AS a, 2 AS b");
  std::pair<std::string, std::string> const cases[] = {
      {"set: {display: uper(name)}", "function uper(text) does not exist"},
      {"set: {display: nam}", "column \"nam\" does not exist"},
      {"set: {n: name}", "column \"n\" is of type integer but expression is of type text"},
      {"set: {display: max(name)}", "aggregate functions are not allowed in UPDATE"},
      {"set: {display: g}", "column g is generated"},
      {"set: {g: n}", "g"},
      {"set: {p: n}", "column p is in the partition key"},
      {"set: {n: n + 1}", "set: n is computed from n"},
      {"set: {nothing: n}", "column \"nothing\" of relation \"pgbackfill_probe\" does not exist"},
      {"{table: parent, set: {a: b}}", "table child inherits from it"},
      {"{table: v, set: {a: b}}", "public.v is not a table"},
      {"{table: nowhere, set: {a: b}}", "there is no table"}};
  for (auto const& [sync, message] : cases) {
    write("m.yaml", "name: m\ntable: users\nsync:" + std::string(sync.front() == '{' ? " " : "\n  ") + sync + "\n");
    auto const result = run({"run", "m.yaml"});
    bool const is_found_late =
        message.find("not a table") != std::string::npos || message.find("no table") != std::string::npos;
    EXPECT_EQ(result.exit_code, is_found_late ? kFailed : kUsage) << sync << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << sync;
    EXPECT_THAT(result.err, HasSubstr("m.yaml:3:1: sync: ")) << sync;
    EXPECT_EQ(triggers() + functions(), "00") << sync;
  }
}

// --- what the old column's default, a move or the whole row make of it ----------------------------------------------

constexpr char kNoThrottle[] = "throttle: {mode: off}\n";

TEST_F(SyncTest, ADefaultThatVariesIsNotTakenForGiven) {
  client_->exec(
      "CREATE SEQUENCE numbers; CREATE DOMAIN stamp AS timestamptz DEFAULT now(); CREATE TABLE posts (id int GENERATED "
      "BY DEFAULT AS IDENTITY, "
      "created_at timestamptz NOT NULL DEFAULT now(), token uuid NOT NULL DEFAULT gen_random_uuid(), number bigint "
      "DEFAULT nextval('numbers'), seen stamp, tags text[] DEFAULT ARRAY[]::text[])");
  run_file(std::string("name: m\ntable: posts\nexpand:\n  - add_column: {name: c2, type: timestamptz}\n  - add_column: "
                       "{name: t2, type: uuid}\n  - add_column: {name: n2, type: bigint}\n  - add_column: {name: s2, "
                       "type: timestamptz}\n  - add_column: {name: g2, type: 'text[]'}\nsync:\n  set: {c2: created_at, "
                       "t2: token, n2: number, s2: seen, g2: tags}\n  reverse: {created_at: c2, token: t2, number: n2, "
                       "seen: s2, tags: g2}\n") +
           kNoThrottle);
  client_->exec(
      "INSERT INTO posts (id, c2, t2, n2, s2, g2) VALUES (1, '2001-02-03 00:00+00', "
      "'00000000-0000-0000-0000-000000000001', 77, '2002-02-03 00:00+00', '{x}'); INSERT INTO posts (id, created_at, "
      "token, number, seen, tags) VALUES (2, '2003-02-03 00:00+00', '00000000-0000-0000-0000-000000000002', 78, "
      "'2004-02-03 00:00+00', '{y}'); INSERT INTO posts (id) VALUES (3)");
  EXPECT_EQ(client_->value("SELECT string_agg(concat_ws(' ', extract(year FROM created_at), right(token::text, 1), "
                           "number, extract(year FROM seen), tags), ', ' ORDER BY id) FROM posts WHERE id < 3"),
            "2001 1 77 2002 {x}, 2003 2 78 2004 {y}");
  EXPECT_EQ(client_->value("SELECT bool_and((created_at, token, number, seen::timestamptz, tags) = (c2, t2, n2, s2, "
                           "g2)) FROM posts"),
            "t");
}

TEST_F(SyncTest, TwoDefaultsThatVaryAreRefusedUntilOneIsDropped) {
  client_->exec("CREATE TABLE posts (id int PRIMARY KEY, created_at timestamptz DEFAULT now())");
  std::string const steps =
      "name: m\ntable: posts\nexpand:\n  - add_column: {name: c2, type: timestamptz}\n  - "
      "set_default: {column: c2, value: now()}\n";
  std::string const sync = "sync: {set: {c2: created_at}, reverse: {created_at: c2}}\n";
  write("m.yaml", steps + sync);
  for (char const* command : {"plan", "run"}) {
    auto const refused = run({command, "m.yaml"});
    EXPECT_EQ(refused.exit_code, kUsage) << command << refused.err;
    EXPECT_THAT(refused.err, HasSubstr("columns c2 and created_at both have a default")) << command;
  }
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 'posts'::regclass AND attname = 'c2'"),
            "0");
  run_file(steps + "  - drop_default: created_at\n" + sync);
}

TEST_F(SyncTest, ARowThatMovesToAnotherPartitionKeepsWhatTheNewVersionWrote) {
  client_->exec(
      "CREATE TABLE users (id int, k int, name text, PRIMARY KEY (id, k)) PARTITION BY LIST (k); CREATE TABLE u1 "
      "PARTITION OF users FOR VALUES IN (1); CREATE TABLE u2 PARTITION OF users FOR VALUES IN (2); INSERT INTO users "
      "SELECT g, 1, 'n' || g FROM generate_series(1, 4) g");
  run_file(
      "name: m\ntable: users\nexpand:\n  - add_column: {name: display, type: text}\nsync: {set: {display: "
      "\"initcap(name)\"}, reverse: {name: \"lower(display)\"}}\nbackfill: {set: {display: \"initcap(name)\"}, "
      "where: display IS NULL}\nthrottle: {mode: off}\n");
  client_->exec(
      "UPDATE users SET display = 'McDONALD', k = 2 WHERE id = 1; UPDATE users SET name = 'o''NEILL', k = 2 WHERE id = "
      "2; UPDATE users SET k = 2 WHERE id = 3; UPDATE users SET k = 1 WHERE id = 1");
  EXPECT_EQ(pair_of(1), "mcdonald/McDONALD");
  EXPECT_EQ(pair_of(2), "o'NEILL/O'Neill");
  EXPECT_EQ(pair_of(3), "n3/N3");
}

TEST_F(SyncTest, AWholeRowIsReadWithTheColumnsThatComeLater) {
  make_users(2);
  run_file(
      "name: m\ntable: users\nexpand:\n  - add_column: {name: doc, type: jsonb}\nsync: {set: {doc: "
      "\"to_jsonb(users) - 'doc'\"}}\n");
  client_->exec("ALTER TABLE users ADD later int; UPDATE users SET note = 'x' WHERE id = 1");
  client_->exec("UPDATE users SET later = 5");
  EXPECT_EQ(client_->value("SELECT bool_and(doc = to_jsonb(users) - 'doc') FROM users"), "t");
}

TEST_F(SyncTest, AReverseOverTheRowSideDoesNotHideTheOldColumn) {
  make_users(1);
  run_file(
      "name: m\ntable: users\nexpand:\n  - add_column: {name: doc, type: jsonb}\nsync: {set: {doc: "
      "\"to_jsonb(users) - 'doc'\"}, reverse: {name: \"doc ->> 'name'\"}}\nbackfill: {set: {doc: "
      "\"to_jsonb(users) - 'doc'\"}, where: doc IS NULL}\nthrottle: {mode: off}\n");
  client_->exec("UPDATE users SET name = 'by old' WHERE id = 1");
  EXPECT_EQ(client_->value("SELECT doc ->> 'name' FROM users"), "by old");
  client_->exec("UPDATE users SET doc = jsonb_set(doc, '{name}', '\"by new\"') WHERE id = 1");
  EXPECT_EQ(client_->value("SELECT name FROM users"), "by new");
}

TEST_F(SyncTest, PlanNamesWhatItDependsOnAndTriggersThatItDoesNotFire) {
  client_->exec(
      "CREATE TABLE users (id int PRIMARY KEY, at timestamp, name text); CREATE FUNCTION f() RETURNS trigger LANGUAGE "
      "plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER on_name AFTER UPDATE OF name ON users FOR EACH ROW EXECUTE "
      "FUNCTION f(); CREATE TRIGGER on_at AFTER UPDATE OF at ON users FOR EACH ROW EXECUTE FUNCTION f()");
  write("m.yaml",
        "name: m\ntable: users\nexpand:\n  - add_column: {name: at2, type: timestamptz}\n  - add_column: {name: d, "
        "type: text}\nsync: {set: {at2: at, d: \"upper(name)\"}, reverse: {name: \"lower(d)\"}}\n");
  auto const plan = run({"plan", "m.yaml", "--format", "json"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out, testing::AllOf(HasSubstr("at2 depends on TimeZone"), HasSubstr("here TimeZone = '"),
                                       testing::Not(HasSubstr("d depends on"))));
  EXPECT_THAT(plan.out, testing::AllOf(HasSubstr("trigger on_name fires on UPDATE OF name alone"),
                                       testing::Not(HasSubstr("trigger on_at"))));
}

TEST_F(SyncTest, PlanShowsItWithItsLock) {
  make_users(1);
  write("m.yaml", std::string(kBothWays) + kBackfill + "contract:\n  - set_not_null: display\n  - drop_column: name\n");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  for (char const* text :
       {"sync       1. sync on public.users", "CREATE TRIGGER \"~pgbackfill_m\"",
        "SHARE ROW EXCLUSIVE on \"public\".\"users\", which stops writes", "end of sync on public.users"}) {
    EXPECT_THAT(plan.out, HasSubstr(text));
  }
  EXPECT_LT(plan.out.find("end of sync"), plan.out.find("drop_column name"));
  EXPECT_GT(plan.out.find("end of sync"), plan.out.find("set_not_null display"));
  EXPECT_EQ(triggers(), "0");
}

}  // namespace
}  // namespace pgbackfill::tests
