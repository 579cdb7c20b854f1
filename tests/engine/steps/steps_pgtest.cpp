// Typed steps on a real server: each does what it says, once; goes on after SIGKILL at any of its statements, whether
// the server finished that statement or not; and leaves the catalog as it was when it is rolled back.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/sandbox/local_cluster.h"
#include "tests/support/database_fixtures.h"
#include "tests/support/migration_run.h"
#include "tests/support/pg_client.h"
#include "tests/support/pg_dump.h"
#include "tests/support/poll_until.h"
#include "tests/support/statement_brake.h"

namespace pgbackfill::tests {
namespace {

using namespace std::chrono_literals;
using engine::LocalCluster;
using testing::HasSubstr;
using testing::Not;

// What steps can change, with what pg_dump leaves out: whether an index is valid. Serves alone where there is no
// pg_dump of the server's version.
constexpr char kCatalog[] = R"sql(
SELECT string_agg(line, E'\n' ORDER BY line) FROM (
  SELECT format('column %s.%s %s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attnotnull THEN 'not null' END, pg_get_expr(d.adbin, d.adrelid)) AS line
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum =
  a.attnum WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
  AND NOT a.attisdropped
  UNION ALL SELECT format('constraint %s.%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid),
                          convalidated) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT format('index %s %s', pg_get_indexdef(indexrelid), indisvalid) FROM pg_index JOIN pg_class c
  ON c.oid = indexrelid WHERE c.relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('part %s of %s', inhrelid::regclass, inhparent::regclass) FROM pg_inherits JOIN pg_class c
  ON c.oid = inhrelid WHERE c.relkind IN ('r', 'p')
  UNION ALL SELECT format('value %s %s', enumtypid::regtype, enumlabel) FROM pg_enum
  UNION ALL SELECT format('trigger %s %s %s', pg_get_triggerdef(g.oid), tgenabled, md5(prosrc)) FROM pg_trigger g
  JOIN pg_proc f ON f.oid = tgfoid JOIN pg_class c ON c.oid = tgrelid
  WHERE NOT tgisinternal AND c.relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('function %s', proname) FROM pg_proc WHERE proname LIKE 'sync\\_%'
) lines)sql";

struct StepCase {
  std::string name;
  std::string setup;
  std::string step;   // YAML
  std::string holds;  // SQL condition: the step did what it says
  bool has_way_back = true;
};

std::vector<StepCase> const& step_cases() {
  static std::vector<StepCase> const cases = {
      {"AddColumn", "", "add_column: {name: extra, type: \"varchar(20)\"}",
       "EXISTS (SELECT FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'extra' AND atttypmod = 24)"},
      {"AddColumnWithDefault", "", "add_column: {name: extra, type: int, default: 7, not_null: true}",
       "(SELECT count(*) FROM t WHERE extra = 7) = 100"},
      {"DropColumn", "", "drop_column: name",
       "NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'name')", false},
      {"DropColumnWithForeignKey", "ALTER TABLE t ADD COLUMN o int REFERENCES other", "drop_column: o",
       "NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'f')", false},
      {"SetNotNull", "", "set_not_null: n",
       "(SELECT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'n') AND NOT EXISTS (SELECT "
       "FROM pg_constraint WHERE conrelid = 't'::regclass AND contype = 'c')"},
      {"DropNotNull", "ALTER TABLE t ALTER COLUMN n SET NOT NULL", "drop_not_null: n",
       "(SELECT NOT attnotnull FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'n')"},
      {"SetDefault", "ALTER TABLE t ALTER COLUMN n SET DEFAULT 3", "set_default: {column: n, value: \"1 + 4\"}",
       "(SELECT pg_get_expr(adbin, adrelid) = '(1 + 4)' FROM pg_attrdef WHERE adrelid = 't'::regclass)"},
      {"DropDefault", "ALTER TABLE t ALTER COLUMN n SET DEFAULT 3", "drop_default: n",
       "NOT EXISTS (SELECT FROM pg_attrdef WHERE adrelid = 't'::regclass)"},
      {"ChangeType", "ALTER TABLE t ADD COLUMN v varchar(5); CREATE INDEX ON t (v)",
       "change_type: {column: v, type: text}",
       "EXISTS (SELECT FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'v' AND atttypid = 25)", false},
      {"RenameColumn", "", "rename_column: {name: name, to: \"full Name\"}",
       "EXISTS (SELECT FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'full Name')"},
      {"SwapColumn",
       "ALTER TABLE t ADD COLUMN \"id Big\" bigint; UPDATE t SET \"id Big\" = id; ALTER TABLE t ALTER COLUMN \"id "
       "Big\" SET "
       "NOT NULL; CREATE SEQUENCE t_ids OWNED BY t.id; ALTER TABLE t ALTER COLUMN id SET DEFAULT nextval('t_ids'); "
       "CREATE "
       "UNIQUE INDEX t_big ON t (\"id Big\")",
       "swap_column: {column: id, with: \"id Big\", keep_as: \"id 'int\"}",
       "(SELECT atttypid = 20 AND attnotnull AND atthasdef FROM pg_attribute WHERE attrelid = 't'::regclass AND "
       "attname = "
       "'id') AND (SELECT NOT attnotnull AND NOT atthasdef FROM pg_attribute WHERE attrelid = 't'::regclass AND "
       "attname = "
       "'id ''int') AND (SELECT conkey = ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = 't'::regclass AND "
       "attname = "
       "'id') FROM pg_constraint WHERE conname = 't_pkey') AND pg_get_serial_sequence('t', 'id') IS NOT NULL",
       false},
      {"SwapColumnOfIdentity",
       "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (START "
       "WITH "
       "500 INCREMENT BY 7); INSERT INTO t (name, n) VALUES ('a', 1), ('b', 2); ALTER TABLE t ADD COLUMN big bigint; "
       "UPDATE t "
       "SET big = id; ALTER TABLE t ALTER COLUMN big SET NOT NULL",
       "swap_column: {column: id, with: big}",
       "(SELECT attidentity = 'a' AND atttypid = 20 FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = "
       "'id') AND "
       "(SELECT last_value = 507 AND is_called FROM t_id_seq) AND (SELECT seqtypid = 20 AND seqincrement = 7 FROM "
       "pg_sequence "
       "WHERE seqrelid = pg_get_serial_sequence('t', 'id')::regclass)",
       false},
      {"AddCheck", "", "add_check: {name: t_n, check: \"n >= 0\"}",
       "(SELECT convalidated FROM pg_constraint WHERE conname = 't_n')"},
      {"AddForeignKey", "", "add_foreign_key: {name: t_o, columns: [n], references: other, on_delete: cascade}",
       "(SELECT convalidated AND confdeltype = 'c' FROM pg_constraint WHERE conname = 't_o')"},
      {"AddUnique", "", "add_unique: {name: t_name_key, columns: [name, n]}",
       "(SELECT contype = 'u' AND array_length(conkey, 1) = 2 FROM pg_constraint WHERE conname = 't_name_key')"},
      {"AddPrimaryKey", "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER COLUMN id DROP NOT NULL",
       "add_primary_key: {name: t_key, columns: [id, n]}",
       "(SELECT contype = 'p' FROM pg_constraint WHERE conname = 't_key')"},
      {"AddUniqueOverAnIndex", "CREATE UNIQUE INDEX t_name_key ON t (name) WITH (fillfactor = 70)",
       "add_unique: {name: t_name_key, columns: [name]}",
       "(SELECT contype = 'u' FROM pg_constraint WHERE conname = 't_name_key') AND (SELECT reloptions = "
       "'{fillfactor=70}' FROM pg_class WHERE relname = 't_name_key')"},
      {"SwapPrimaryKey", "", "swap_primary_key: {name: t_pkey, columns: [n, id]}",
       "(SELECT count(*) = 1 AND bool_and(array_length(conkey, 1) = 2) FROM pg_constraint WHERE contype = 'p' AND "
       "conrelid = 't'::regclass AND conname = 't_pkey')"},
      {"SwapPrimaryKeyByAnotherName", "ALTER TABLE t ALTER COLUMN n SET NOT NULL",
       "swap_primary_key: {name: t_key, columns: [n]}",
       "(SELECT count(*) = 1 AND bool_and(conname = 't_key') FROM pg_constraint WHERE contype = 'p' AND conrelid = "
       "'t'::regclass)"},
      {"DropCheck", "ALTER TABLE t ADD CONSTRAINT t_n CHECK (n >= 0)", "drop_constraint: t_n",
       "NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 't_n')"},
      {"DropForeignKey", "ALTER TABLE t ADD CONSTRAINT t_o FOREIGN KEY (n) REFERENCES other", "drop_constraint: t_o",
       "NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 't_o')"},
      {"CreateIndex", "", "create_index: {name: t_idx, columns: [name, n], include: [id], where: n > 3}",
       "(SELECT indisvalid AND indnatts = 3 AND indpred IS NOT NULL FROM pg_index WHERE indexrelid = "
       "'t_idx'::regclass)"},
      {"CreateUniqueIndexOnExpression", "",
       "create_index: {name: \"T idx\", keys: \"lower(name) DESC, n\", unique: true}",
       "(SELECT indisvalid AND indisunique FROM pg_index WHERE indexrelid = '\"T idx\"'::regclass)"},
      {"DropIndex", "CREATE INDEX t_n ON t (n DESC) WHERE n > 1", "drop_index: t_n", "to_regclass('t_n') IS NULL"},
      {"Reindex", "CREATE INDEX t_n ON t (n); CREATE TABLE old AS SELECT 't_n'::regclass::oid AS index", "reindex: t_n",
       "(SELECT indisvalid FROM pg_index WHERE indexrelid = 't_n'::regclass) AND 't_n'::regclass::oid <> (SELECT index "
       "FROM old)"},
      {"CreateTable", "", "create_table: {table: made, columns: \"id int PRIMARY KEY, o int REFERENCES other\"}",
       "to_regclass('made') IS NOT NULL"},
      {"CreateTableLike", "", "create_table: {table: made, like: t}", "to_regclass('made') IS NOT NULL"},
      {"DropTable", "ALTER TABLE t ADD COLUMN o int REFERENCES other", "drop_table: t", "to_regclass('t') IS NULL",
       false},
      {"RenameTable", "", "rename_table: {to: \"T 2\"}",
       "to_regclass('\"T 2\"') IS NOT NULL AND to_regclass('t') IS NULL"},
      {"AddEnumValue", "CREATE TYPE mood AS ENUM ('sad', 'happy')",
       "add_enum_value: {type: mood, value: so-so, before: happy}",
       "(SELECT string_agg(enumlabel, ',' ORDER BY enumsortorder) = 'sad,so-so,happy' FROM pg_enum)", false},
      {"Sync", "",
       "add_column: {name: extra, type: text}\nsync:\n  set: {extra: upper(name)}\n  reverse: {name: lower(extra)}",
       "(SELECT tgenabled = 'A' FROM pg_trigger WHERE tgname = '~pgbackfill_m')"},
      {"DetachPartition",
       "CREATE TABLE p (a int, b int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO "
       "(9)",
       "detach_partition: {table: p, partition: p1}",
       "(SELECT NOT relispartition FROM pg_class WHERE oid = 'p1'::regclass)"},
      {"DetachPartitionBesideADefault",
       "CREATE TABLE p (a int, b int) PARTITION BY RANGE (a); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (1) TO "
       "(9); "
       "CREATE TABLE pd PARTITION OF p DEFAULT",
       "detach_partition: {table: p, partition: p1}",
       "(SELECT NOT relispartition FROM pg_class WHERE oid = 'p1'::regclass)"},
      {"AttachPartition",
       "CREATE TABLE p (id int PRIMARY KEY, n int REFERENCES other, name text) PARTITION BY RANGE (id); CREATE INDEX "
       "ON p (lower(name)) WHERE n > 3; CREATE INDEX t_x ON t (lower(name)) WHERE n > 3; ALTER TABLE t ADD FOREIGN KEY "
       "(n) REFERENCES other",
       "attach_partition: {table: p, partition: t, for_values: FROM (1) TO (50 + 51)}",
       "(SELECT relispartition FROM pg_class WHERE oid = 't'::regclass) AND (SELECT count(*) FROM p) = 100"},
      {"AttachPartitionBesideADefault",
       "CREATE TABLE p (id int, n int, name text) PARTITION BY LIST (n); CREATE TABLE \"p D\" PARTITION OF p DEFAULT; "
       "INSERT INTO p SELECT g, g FROM generate_series(200, 300) g; UPDATE t SET n = id % 2; UPDATE t SET n = NULL "
       "WHERE id = 7",
       "attach_partition: {table: p, partition: t, for_values: \"IN (0, 1, NULL)\"}",
       "(SELECT count(*) FROM p) = 201 AND (SELECT relispartition FROM pg_class WHERE oid = 't'::regclass)"},
      {"AttachPartitionByHash", "CREATE TABLE p (id int, n int, name text) PARTITION BY HASH (id)",
       "attach_partition: {table: p, partition: t, for_values: \"WITH (MODULUS 1, REMAINDER 0)\"}",
       "(SELECT count(*) FROM p) = 100"},
  };
  return cases;
}

class StepsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    engine::LocalClusterOptions options;
    options.is_fsync_on = false;
    cluster_ = std::make_unique<LocalCluster>(options);
    cluster_->start();
    has_pg_dump_ = has_pg_dump_for(cluster_->major_version());
  }
  static void TearDownTestSuite() { cluster_.reset(); }

  void SetUp() override { begin(name_of_test()); }
  void TearDown() override {
    std::error_code error;
    std::filesystem::remove_all(dir_, error);
    client_.reset();
    // Autovacuum goes round all databases.
    PgClient(cluster_->dsn()).exec("DROP DATABASE IF EXISTS " + database_ + " WITH (FORCE)");
  }

  // A database of its own with table t of 100 rows and the table other.
  void begin(std::string const& database) {
    client_.reset();
    database_ = database.substr(0, 63);
    PgClient admin(cluster_->dsn());
    admin.exec("DROP DATABASE IF EXISTS " + database_ + " WITH (FORCE)");
    admin.exec("CREATE DATABASE " + database_);
    client_ = std::make_unique<PgClient>(dsn());
    client_->exec(
        "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT generate_series(0, 200);"
        "CREATE TABLE t (id int PRIMARY KEY, n int, name text); INSERT INTO t SELECT g, g, 'name ' || g FROM "
        "generate_series(1, 100) g");
    if (dir_.empty()) {
      std::string dir = (std::filesystem::temp_directory_path() / "pgbackfill-test-XXXXXX").string();
      ASSERT_NE(mkdtemp(dir.data()), nullptr);
      dir_ = dir;
    }
  }

  std::string dsn() const { return cluster_->dsn() + " dbname=" + database_; }
  std::string catalog() const {
    auto const lines = client_->value(kCatalog);
    return has_pg_dump_ ? lines + '\n' + dump_of_schema(dsn()) : lines;
  }

  void write(std::string const& text) const { std::ofstream(dir_ / "m.yaml") << "name: m\ntable: t\n" << text; }
  void write_step(std::string const& step) const { write("expand:\n  - " + step + "\n"); }

  std::vector<std::string> words(std::vector<std::string> command) const {
    command.insert(command.begin(), PGBACKFILL_PROGRAM);
    command.insert(command.end(), {"--dsn", dsn()});
    return command;
  }
  ProgramResult run(std::vector<std::string> command = {"run", "m.yaml"}) const {
    ProgramOptions options;
    options.working_dir = dir_;
    return run_program(words(std::move(command)), 90s, options);
  }
  std::unique_ptr<Program> start(std::vector<std::string> command = {"run", "m.yaml"}) const {
    ProgramOptions options;
    options.working_dir = dir_;
    return std::make_unique<Program>(words(std::move(command)), options);
  }

  // Runs until the statement of that number is about to begin, and kills the program there. False: it has fewer.
  bool kills_at(int statement, bool server_goes_on, std::vector<std::string> const& command);

  static std::unique_ptr<LocalCluster> cluster_;
  static bool has_pg_dump_;
  std::string database_;
  std::unique_ptr<PgClient> client_;
  std::filesystem::path dir_;
};

std::unique_ptr<LocalCluster> StepsTest::cluster_;
bool StepsTest::has_pg_dump_ = false;

bool StepsTest::kills_at(int statement, bool server_goes_on, std::vector<std::string> const& command) {
  set_brake(*client_, statement);
  PgClient holder(dsn());
  holder.exec("SELECT pg_advisory_lock(42)");
  auto const program = start(command);
  bool is_stopped = false;
  poll_until([&] {
    is_stopped = client_->value(
                     "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 43 AND "
                     "granted)") == "t";
    return is_stopped || !program->is_running();
  });
  program->signal(SIGKILL);
  program->wait(10s);
  if (!server_goes_on) {
    client_->exec(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbackfill' AND datname = "
        "current_database()");
    poll_until([&] {
      return client_->value(
                 "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbackfill' AND datname = "
                 "current_database()") == "0";
    });
  }
  holder.exec("SELECT pg_advisory_unlock(42)");
  return is_stopped;
}

void PrintTo(StepCase const& step_case, std::ostream* out) {
  *out << step_case.step;
}

class EveryStepTest : public StepsTest, public testing::WithParamInterface<StepCase> {
 protected:
  void SetUp() override { restart(); }
  void restart() {
    std::string name = "step_" + GetParam().name;
    for (auto& letter : name) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    begin(name);
    if (!GetParam().setup.empty()) client_->exec(GetParam().setup);
    write_step(GetParam().step);
  }
};

TEST_P(EveryStepTest, DoesItOnceAndTakesItBack) {
  auto const before = catalog();
  auto const plan = run({"plan", "m.yaml"});
  ASSERT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("risk "));
  EXPECT_EQ(catalog(), before);
  auto const first = run();
  ASSERT_EQ(first.exit_code, kDone) << first.err;
  auto const after = catalog();
  EXPECT_EQ(client_->value("SELECT " + GetParam().holds), "t") << after;
  auto const again = run();
  EXPECT_EQ(again.exit_code, kDone) << again.err;
  EXPECT_EQ(catalog(), after);
  auto const back = run({"rollback", "m", "--yes"});
  ASSERT_EQ(back.exit_code, kDone) << back.err;
  if (GetParam().has_way_back) {
    EXPECT_EQ(catalog(), before);
    EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.claims"), "0");
    EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.steps"), "0");
  } else {
    EXPECT_EQ(catalog(), after);
    EXPECT_THAT(back.err, HasSubstr("has no way back and stays"));
  }
}

TEST_P(EveryStepTest, GoesOnWhereItWasKilled) {
  auto const before = catalog();
  // The state is there, so that the statements that make it are not counted.
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  client_->exec(kStatementBrake);
  set_brake(*client_, 0);
  auto const whole = run();
  ASSERT_EQ(whole.exit_code, kDone) << whole.err;
  int const statements = statements_seen(*client_);
  auto const after = catalog();
  for (auto const& kill : kills(statements)) {
    SCOPED_TRACE(kill.text);
    restart();
    ASSERT_EQ(run({"init"}).exit_code, kDone);
    client_->exec(kStatementBrake);
    EXPECT_TRUE(kills_at(kill.statement, kill.server_goes_on, {"run", "m.yaml"}));
    auto const repeat = run();
    ASSERT_EQ(repeat.exit_code, kDone) << repeat.err;
    ASSERT_EQ(catalog(), after);
    EXPECT_EQ(client_->value("SELECT " + GetParam().holds), "t");
    if (!GetParam().has_way_back) continue;
    kills_at(1 + kill.statement % 3, kill.server_goes_on, {"rollback", "m", "--yes"});
    auto const back = run({"rollback", "m", "--yes"});
    ASSERT_EQ(back.exit_code, kDone) << back.err;
    ASSERT_EQ(catalog(), before);
  }
}

class StepBesideTrafficTest : public EveryStepTest {};

TEST_P(StepBesideTrafficTest, NeverHoldsUpTrafficForLong) {
  PgClient reader(dsn());
  reader.exec("BEGIN; SELECT count(*) FROM t");
  auto const program = start();
  // Longer than any lock the step may wait for, and shorter than the reader stays.
  PgClient traffic(dsn());
  traffic.exec("SET statement_timeout = '8s'");
  auto const until = std::chrono::steady_clock::now() + 12s;
  while (std::chrono::steady_clock::now() < until && program->is_running()) {
    ASSERT_EQ(traffic.try_exec("SELECT count(*) FROM t"), "00000");
    ASSERT_EQ(traffic.try_exec("UPDATE t SET id = id WHERE id = 7"), "00000");
    std::this_thread::sleep_for(1ms);
  }
  reader.exec("COMMIT");
  auto const result = program->wait(120s);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT " + GetParam().holds), "t");
}

// One for each lock and policy: the ladder is the same for all.
std::vector<StepCase> cases_with_traffic() {
  std::vector<StepCase> chosen;
  for (auto const& one : step_cases()) {
    for (char const* name : {"AddColumn", "SetNotNull", "AddForeignKey", "AddUnique", "CreateIndex", "RenameTable"}) {
      if (one.name == name) chosen.push_back(one);
    }
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Steps, EveryStepTest, testing::ValuesIn(step_cases()),
                         [](auto const& each) { return each.param.name; });

INSTANTIATE_TEST_SUITE_P(Steps, StepBesideTrafficTest, testing::ValuesIn(cases_with_traffic()),
                         [](auto const& each) { return each.param.name; });

// --- what must not happen -------------------------------------------------------------------------------------------

TEST_F(StepsTest, LeavesAloneWhatWasThereBefore) {
  client_->exec(
      "ALTER TABLE t ADD COLUMN extra int; CREATE INDEX t_n ON t (n); ALTER TABLE t ALTER COLUMN name SET NOT "
      "NULL; ALTER TABLE t ADD CONSTRAINT t_c CHECK (n > 0)");
  auto const before = catalog();
  write(
      "expand:\n  - add_column: {name: extra, type: int}\n  - create_index: {name: t_n, columns: [n]}\n"
      "  - set_not_null: name\n  - add_check: {name: t_c, check: n > 0}\n");
  auto const done = run();
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_THAT(done.err, HasSubstr("already in place; rollback will not touch it"));
  EXPECT_EQ(catalog(), before);
  EXPECT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  EXPECT_EQ(catalog(), before);
}

TEST_F(StepsTest, RefusesWhatSomebodyElseMadeOtherwise) {
  client_->exec(
      "ALTER TABLE t ADD COLUMN extra int; CREATE INDEX t_n ON t (n); ALTER TABLE t ADD CONSTRAINT t_c CHECK (n "
      "> 0); ALTER TABLE t ADD CONSTRAINT t_name_not_null CHECK (name <> 'x'); CREATE VIEW v AS SELECT 1");
  auto const before = catalog();
  std::pair<std::string, std::string> const cases[] = {
      {"add_column: {name: extra, type: bigint}", "column extra is there already, as integer; the step wants bigint"},
      {"create_index: {name: t_n, columns: [name]}", "an index t_n with another definition is there already"},
      {"create_index: {name: other, columns: [name]}", "taken by something that is not an index of public.t"},
      {"add_check: {name: t_c, check: n > 1}", "a constraint t_c is there already, with another definition"},
      {"create_table: {table: other, columns: id int}", "public.other is there already, and not from this step"},
      {"add_column: {table: nowhere, name: a, type: int}", "there is no table"},
      {"add_column: {table: v, name: a, type: int}", "public.v is not a table"},
      {"set_not_null: nothing", "there is no column nothing in public.t"},
      {"rename_column: {name: n, to: name}", "column name is there already"},
      {"add_primary_key: {name: k, columns: [n]}", "has another primary key already"},
      {"drop_index: t_pkey", "belongs to a constraint"},
      {"reindex: nothing", "there is no index nothing"},
      {"add_enum_value: {type: nothing, value: a}", "there is no type"},
      {"add_foreign_key: {name: f, columns: [n], references: nothing}", "there is no table nothing to refer to"}};
  for (auto const& [step, message] : cases) {
    write_step(step);
    auto const result = run();
    EXPECT_EQ(result.exit_code, kUsage) << step << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << step;
    EXPECT_THAT(result.err, HasSubstr("m.yaml:4:5: expand step 1: ")) << step;
    EXPECT_EQ(catalog(), before) << step;
  }
}

TEST_F(StepsTest, RefusesToSwapAColumnThatLacksSomething) {
  client_->exec(
      "ALTER TABLE t ADD COLUMN big bigint; CREATE TABLE child (t_id int REFERENCES t); CREATE INDEX t_n_name ON t (n "
      "DESC, "
      "name); ALTER TABLE t ALTER COLUMN n SET NOT NULL, ADD COLUMN m int, ADD CHECK (n > -1); CREATE VIEW v AS SELECT "
      "name "
      "FROM t; ALTER TABLE t ADD COLUMN title text; CREATE TABLE parted (a int, b int) PARTITION BY RANGE (a)");
  auto const refused = [&](std::string const& step, std::string const& message) {
    auto const before = catalog();
    write_step("swap_column: " + step);
    auto const result = run();
    EXPECT_EQ(result.exit_code, kUsage) << step << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << step;
    EXPECT_EQ(catalog(), before) << step;
  };
  refused("{column: id, with: big}", "column id is NOT NULL and big is not; set_not_null: big first");
  client_->exec("UPDATE t SET big = id; ALTER TABLE t ALTER COLUMN big SET NOT NULL");
  refused("{column: id, with: big}", "column id is in the primary key, and there is no index");
  client_->exec("CREATE UNIQUE INDEX t_big ON t (big)");
  refused("{column: id, with: big}", "constraint child_t_id_fkey on table public.child would stay with the old column");
  refused("{column: id, with: big, keep_as: n}", "column n is there already");
  refused("{column: name, with: title}", "rule _RETURN on view public.v would stay with the old column");
  client_->exec("DROP VIEW v");
  refused("{column: name, with: title}",
          "this index would stay with the old column: CREATE INDEX t_n_name ON public.t");
  client_->exec("CREATE INDEX other_options ON t (n, title)");
  refused("{column: name, with: title}", "this index would stay with the old column");
  refused("{column: n, with: m}", "column n is NOT NULL and m is not");
  client_->exec("ALTER TABLE t ALTER COLUMN n DROP NOT NULL");
  refused("{column: n, with: m}", "constraint t_n_check on table public.t would stay with the old column");
  refused("{column: nothing, with: m}", "there is no column nothing in public.t");
  refused("{table: parted, column: a, with: b}", "has partitions, is one, or inherits");
}

TEST_F(StepsTest, AttachesWithoutReadingRowsUnderALock) {
  // What the server reads under a lock that stops all others counts.
  client_->exec(
      "CREATE SEQUENCE read_locked; CREATE FUNCTION part_of(a int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN "
      "IF EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND mode = 'AccessExclusiveLock' AND relation IN "
      "('t'::regclass, 'rest'::regclass)) THEN PERFORM nextval('read_locked'); END IF; RETURN a; END $$;"
      "CREATE TABLE p (id int, n int, name text) PARTITION BY RANGE (part_of(id)); CREATE TABLE rest PARTITION OF p "
      "DEFAULT; INSERT INTO p SELECT g FROM generate_series(500, 700) g; SELECT setval('read_locked', 1, false)");
  write_step("attach_partition: {table: p, partition: t, for_values: FROM (1) TO (101)}");
  auto const done = run();
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT is_called FROM read_locked"), "f");
  EXPECT_EQ(client_->value("SELECT count(*) FROM p"), "301");
  // The probe tells: attached without a check, the rows are read.
  client_->exec("ALTER TABLE p DETACH PARTITION t; ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (1) TO (101)");
  EXPECT_EQ(client_->value("SELECT is_called FROM read_locked"), "t");
}

TEST_F(StepsTest, RefusesToAttachWhatTheServerWouldWorkOnUnderALock) {
  client_->exec(
      "CREATE TABLE p (id int PRIMARY KEY, n int, name text) PARTITION BY RANGE (id); CREATE UNIQUE INDEX ON p (id, "
      "n); "
      "CREATE TABLE rest PARTITION OF p DEFAULT; INSERT INTO p VALUES (60); CREATE TABLE q (LIKE p) PARTITION BY RANGE "
      "(id); ALTER TABLE q ADD CONSTRAINT q_o FOREIGN KEY (n) REFERENCES other; CREATE TABLE two (LIKE t) PARTITION BY "
      "RANGE (id, n); CREATE TABLE wide (id int, more int) PARTITION BY RANGE (id); ALTER TABLE other ADD n int, ADD "
      "name text; CREATE TABLE late (LIKE t INCLUDING ALL, UNIQUE (id, n))");
  auto const before = catalog();
  std::string const bounds = ", for_values: FROM (1) TO (101)}";
  std::pair<std::string, std::string> const cases[] = {
      {"{table: p, partition: t" + bounds, "public.p, which would be built under a lock"},
      {"{table: q, partition: t" + bounds, "q_o FOREIGN KEY (n) REFERENCES public.other(id)"},
      {"{table: other, partition: t" + bounds, "public.other is not partitioned"},
      {"{table: p, partition: rest" + bounds, "rest is a partition already, for other values"},
      {"{table: p, partition: nothing" + bounds, "does not exist"},
      {"{table: two, partition: t" + bounds, "FROM must specify exactly one value per partitioning column"},
      {"{table: wide, partition: t" + bounds, "contains column \"n\" not found in parent"},
      // The default partition has a row for it.
      {"{table: p, partition: late" + bounds, "is violated by some row"}};
  for (auto const& [step, message] : cases) {
    write_step("attach_partition: " + step);
    auto const result = run();
    bool const is_of_rows = message.find("some row") != std::string::npos;
    EXPECT_EQ(result.exit_code, is_of_rows ? kFailed : kUsage) << step << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << step;
    EXPECT_EQ(catalog(), before) << step;
  }
}

TEST_F(StepsTest, LeavesNoCheckBehindWhenARowIsOutOfTheBounds) {
  client_->exec("CREATE TABLE p (id int, n int, name text) PARTITION BY RANGE (id)");
  auto const before = catalog();
  write_step("attach_partition: {table: p, partition: t, for_values: FROM (1) TO (100)}");
  auto const failed = run();
  EXPECT_EQ(failed.exit_code, kFailed);
  EXPECT_THAT(failed.err, HasSubstr("(23514)"));
  EXPECT_EQ(catalog(), before);
  client_->exec("DELETE FROM t WHERE id = 100");
  EXPECT_EQ(run().exit_code, kDone);
}

TEST_F(StepsTest, RefusesWhatWouldRewriteTheTable) {
  client_->exec("CREATE DOMAIN positive AS int CHECK (value > 0)");
  auto const before = catalog();
  std::pair<std::string, std::string> const cases[] = {
      {"add_column: {name: u, type: uuid, default: gen_random_uuid()}", "this would write every row anew"},
      {"add_column: {name: u, type: timestamptz, default: clock_timestamp()}", "this would write every row anew"},
      {"add_column: {name: u, type: bigserial}", "this would write every row anew"},
      {"add_column: {name: u, type: positive}", "this would write every row anew"},
      {"add_column: {name: u, type: \"int CHECK (u > 0)\"}", "the type brings a constraint along"},
      {"change_type: {column: n, type: bigint}", "this would write every row or index entry anew"},
      {"change_type: {column: name, type: \"varchar(10)\"}", "this would write every row or index entry anew"}};
  for (auto const& [step, message] : cases) {
    if (step.find("gen_random_uuid") != std::string::npos && cluster_->major_version() < 13) continue;
    write_step(step);
    auto const result = run();
    EXPECT_EQ(result.exit_code, kUsage) << step << result.err;
    EXPECT_THAT(result.err, HasSubstr(message)) << step;
    EXPECT_EQ(catalog(), before) << step;
  }
  write_step("add_column: {name: at, type: timestamptz, default: now()}");
  EXPECT_EQ(run().exit_code, kDone);
}

TEST_F(StepsTest, ClearsAwayWhatABadRowStopped) {
  client_->exec("UPDATE t SET n = NULL WHERE id = 3; UPDATE t SET name = 'same' WHERE id IN (4, 5)");
  auto const before = catalog();
  std::pair<std::string, std::string> const cases[] = {
      {"set_not_null: n", ""},
      {"create_index: {name: t_u, columns: [name], unique: true}", "23505"},
      {"add_unique: {name: t_u, columns: [name]}", "23505"},
      {"add_check: {name: t_c, check: n IS NOT NULL}", "23514"},
      {"add_foreign_key: {name: t_f, columns: [id], references: other}", "23503"}};
  client_->exec("DELETE FROM other WHERE id = 7");
  for (auto const& [step, sqlstate] : cases) {
    write_step(step);
    auto const result = run();
    EXPECT_EQ(result.exit_code, kFailed) << step;
    EXPECT_THAT(result.err, HasSubstr(sqlstate)) << step;
    EXPECT_THAT(result.err, HasSubstr("its partial changes were removed")) << step;
    EXPECT_EQ(catalog(), before) << step << result.err;
    EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.claims"), "0") << step;
  }
}

TEST_F(StepsTest, BuildsAgainWhatWasCutShortInsideTheBuild) {
  std::pair<std::string, std::string> const cases[] = {{"create_index: {name: t_n, columns: [n]}", "t_n"},
                                                       {"add_unique: {name: t_u, columns: [n, id]}", "t_u"}};
  for (auto const& [step, index] : cases) {
    write_step(step);
    auto const name = index;
    PgClient writer(dsn());
    writer.exec("BEGIN; INSERT INTO t VALUES (1000)");
    auto const program = start();
    ASSERT_TRUE(poll_until([&] { return client_->value("SELECT to_regclass('" + name + "') IS NOT NULL") == "t"; }));
    EXPECT_TRUE(program->wait_for_output("it waits for pid")) << program->err();
    program->signal(SIGKILL);
    program->wait(10s);
    client_->exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgbackfill'");
    writer.exec("ROLLBACK");
    ASSERT_EQ(client_->value("SELECT indisvalid FROM pg_index WHERE indexrelid = '" + name + "'::regclass"), "f");
    auto const repeat = run();
    EXPECT_EQ(repeat.exit_code, kDone) << repeat.err;
    EXPECT_EQ(client_->value("SELECT indisvalid FROM pg_index WHERE indexrelid = '" + name + "'::regclass"), "t");
    EXPECT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  }
}

TEST_F(StepsTest, WaitsForItsOwnOrphanedBuildInsteadOfDroppingIt) {
  write_step("create_index: {name: t_n, columns: [n]}");
  PgClient writer(dsn());
  writer.exec("BEGIN; INSERT INTO t VALUES (1000)");
  auto const program = start();
  ASSERT_TRUE(poll_until([&] { return client_->value("SELECT to_regclass('t_n') IS NOT NULL") == "t"; }));
  program->signal(SIGKILL);
  program->wait(10s);
  auto const oid = client_->value("SELECT 't_n'::regclass::oid");
  auto const repeat = start();
  EXPECT_TRUE(repeat->wait_for_output("somebody is at work on the table")) << repeat->err();
  writer.exec("COMMIT");
  auto const result = repeat->wait(60s);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT 't_n'::regclass::oid"), oid) << "the build of the first process was good";
}

TEST_F(StepsTest, LeavesAnInvalidIndexOfSomebodyElseAlone) {
  client_->exec("INSERT INTO t VALUES (101, 100)");
  EXPECT_EQ(client_->try_exec("CREATE UNIQUE INDEX CONCURRENTLY t_n ON t (n)"), "23505");
  write_step("create_index: {name: t_n, columns: [n], unique: true}");
  auto const result = run();
  EXPECT_EQ(result.exit_code, kUsage);
  EXPECT_THAT(result.err, HasSubstr("INVALID, and not from this step"));
  EXPECT_NE(client_->value("SELECT to_regclass('t_n')"), "NULL");
}

TEST_F(StepsTest, BuildsAnIndexThoughTheRoleHasAShortLockTimeout) {
  client_->exec("CREATE ROLE hasty_" + std::to_string(cluster_->port()) + " SUPERUSER LOGIN");
  std::string const role = "hasty_" + std::to_string(cluster_->port());
  client_->exec("ALTER ROLE " + role + " SET lock_timeout = '500ms'; ALTER ROLE " + role +
                " SET statement_timeout = '2s'");
  write_step("create_index: {name: t_n, columns: [n]}");
  PgClient writer(dsn());
  writer.exec("BEGIN; INSERT INTO t VALUES (1000)");
  ProgramOptions options;
  options.working_dir = dir_;
  Program program({PGBACKFILL_PROGRAM, "run", "m.yaml", "--dsn", dsn() + " user=" + role}, options);
  EXPECT_TRUE(program.wait_for_output("it waits for pid")) << program.err();
  writer.exec("COMMIT");
  auto const result = program.wait(60s);
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(client_->value("SELECT indisvalid FROM pg_index WHERE indexrelid = 't_n'::regclass"), "t");
}

TEST_F(StepsTest, NamesWhoIsInTheWayAndGivesUpResumable) {
  write_step("add_column: {name: extra, type: int}");
  PgClient reader(dsn() + " application_name=slow_report");
  reader.exec("BEGIN; SELECT count(*) FROM t");
  auto const result = run({"run", "m.yaml", "--lock-patience", "1s"});
  EXPECT_EQ(result.exit_code, kResumable) << result.err;
  EXPECT_THAT(result.err, HasSubstr("no lock on \"public\".\"t\" within"));
  EXPECT_THAT(result.err, HasSubstr("slow_report, idle in transaction for"));
  EXPECT_THAT(result.err, HasSubstr("commit first"));
  reader.exec("COMMIT");
  EXPECT_EQ(run().exit_code, kDone);
}

TEST_F(StepsTest, EndsASessionOnlyWhenAsked) {
  write_step("add_column: {name: extra, type: int}");
  PgClient reader(dsn());
  reader.exec("BEGIN; SELECT count(*) FROM t");
  auto const result = run({"run", "m.yaml", "--terminate-idle-in-transaction", "1s"});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_THAT(result.err, HasSubstr("ending, as asked: pid"));
  EXPECT_EQ(reader.try_exec("SELECT 1"), "57P01");
}

TEST_F(StepsTest, EndsTheSessionThatIsNamedAndNoOther) {
  write_step("add_column: {name: extra, type: int}");
  PgClient reader(dsn());
  reader.exec("BEGIN; SELECT count(*) FROM t");
  PgClient bystander(dsn());
  bystander.exec("BEGIN; SELECT count(*) FROM other");
  auto const result = run({"run", "m.yaml", "--terminate-blocker", std::to_string(reader.pid()), "--terminate-blocker",
                           std::to_string(bystander.pid())});
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  EXPECT_EQ(reader.try_exec("SELECT 1"), "57P01");
  EXPECT_EQ(bystander.try_exec("SELECT 1"), "00000") << "it blocked nobody";
}

TEST_F(StepsTest, GetsPastARunningAutovacuum) {
  client_->exec("ALTER SYSTEM SET autovacuum_naptime = '1s'");
  client_->exec("SELECT pg_reload_conf()");
  client_->exec(
      "CREATE TABLE big (id int, filler text) WITH (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = "
      "1, "
      "autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0)");
  client_->exec("INSERT INTO big SELECT g, repeat('x', 500) FROM generate_series(1, 20000) g");
  client_->exec("DELETE FROM big WHERE id % 2 = 0");
  ASSERT_TRUE(poll_until(
      [&] {
        return client_->value("SELECT count(*) FROM pg_stat_progress_vacuum WHERE relid = 'big'::regclass") == "1";
      },
      150s, 50ms));
  write_step("add_column: {table: big, name: extra, type: int}");
  auto const result = run();
  EXPECT_EQ(result.exit_code, kDone) << result.err;
  client_->exec("ALTER SYSTEM RESET ALL");
  client_->exec("SELECT pg_reload_conf()");
}

TEST_F(StepsTest, TwoProcessesDoItOnce) {
  write(
      "expand:\n  - add_column: {name: extra, type: int}\n  - create_index: {name: t_n, columns: [n]}\n"
      "  - set_not_null: n\n  - add_check: {name: t_c, check: n > 0}\n");
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  for (int round = 0; round < 5; ++round) {
    auto const one = start();
    auto const two = start();
    auto const first = one->wait(60s);
    auto const second = two->wait(60s);
    EXPECT_EQ(first.exit_code, kDone) << first.err;
    EXPECT_EQ(second.exit_code, kDone) << second.err;
    EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.steps"), "4");
    ASSERT_EQ(run({"rollback", "m", "--yes"}).exit_code, kDone);
  }
}

TEST_F(StepsTest, HostileNamesWork) {
  std::string const odd = "it's \"a\" {b}; DROP TABLE t; -- ☃";
  std::string const name = "'it''s \"a\" {b}; DROP TABLE t; -- ☃'";
  client_->exec("CREATE SCHEMA \"S.x\"; CREATE TABLE \"S.x\".\"T\"\"'\" (id int PRIMARY KEY)");
  std::string const table = "table: {schema: S.x, name: 'T\"'''}";
  auto const before = client_->value("SELECT count(*) FROM pg_class");
  write("expand:\n  - add_column: {" + table + ", name: " + name + ", type: int}\n  - create_index: {" + table +
        ", name: 'i''\"x', columns: [" + name + "]}\n  - add_check: {" + table + ", name: 'c''\"x', check: id > 0}\n" +
        "  - set_not_null: {" + table + ", column: " + name + "}\n  - add_unique: {" + table +
        ", name: 'u''\"x', columns: [" + name + "]}\n");
  auto const done = run();
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT attnotnull FROM pg_attribute WHERE attname = '" +
                           std::string("it''s \"a\" {b}; DROP "
                                       "TABLE t; -- ☃") +
                           "' AND attrelid = '\"S.x\".\"T\"\"''\"'::regclass"),
            "t");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_NE(before, "0");
  EXPECT_EQ(
      client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = '\"S.x\".\"T\"\"''\"'::regclass AND attnum "
                     "> 0 AND NOT attisdropped"),
      "1");
}

TEST_F(StepsTest, RollbackUndoesAContractThatWasCutShort) {
  client_->exec("UPDATE t SET n = NULL WHERE id = 3");
  auto const before = catalog();
  write("expand:\n  - add_column: {name: extra, type: int}\ncontract:\n  - set_not_null: n\n  - drop_column: name\n");
  ASSERT_EQ(run().exit_code, kDone);
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  client_->exec(kStatementBrake);
  // The second statement of set_not_null: its constraint is there, not validated.
  EXPECT_TRUE(kills_at(2, false, {"complete", "m", "--yes"}));
  EXPECT_NE(catalog(), before);
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(catalog(), before);
}

TEST_F(StepsTest, EndOfSyncGoesOnWhereItWasKilled) {
  std::string const text =
      "expand:\n  - add_column: {name: extra, type: text}\nsync:\n  set: {extra: upper(name)}\ncontract:\n"
      "  - set_not_null: id\n  - drop_column: name\n";
  write(text);
  ASSERT_EQ(run().exit_code, kDone);
  client_->exec(kStatementBrake);
  set_brake(*client_, 0);
  ASSERT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
  int const statements = statements_seen(*client_);
  auto const after = catalog();
  for (auto const& kill : kills(statements)) {
    SCOPED_TRACE(kill.text);
    begin(database_);
    write(text);
    ASSERT_EQ(run().exit_code, kDone);
    client_->exec(kStatementBrake);
    EXPECT_TRUE(kills_at(kill.statement, kill.server_goes_on, {"complete", "m", "--yes"}));
    auto const repeat = run({"complete", "m", "--yes"});
    ASSERT_EQ(repeat.exit_code, kDone) << repeat.err;
    ASSERT_EQ(catalog(), after);
    EXPECT_EQ(run().exit_code, kDone) << "which leaves it as it is";
    ASSERT_EQ(catalog(), after);
  }
}

TEST_F(StepsTest, RollbackRefusesOnceAContractStepIsDone) {
  write("expand:\n  - add_column: {name: extra, type: int}\ncontract:\n  - drop_column: name\n  - set_not_null: id\n");
  ASSERT_EQ(run().exit_code, kDone);
  auto const complete = run({"complete", "m", "--yes"});
  EXPECT_EQ(complete.exit_code, kDone) << complete.err;
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kFailed);
  EXPECT_THAT(back.err, HasSubstr("m has begun `complete`"));
}

TEST_F(StepsTest, RefusesToGoOnWithAnotherText) {
  write_step("create_index: {name: t_n, columns: [n]}");
  ASSERT_EQ(run({"init"}).exit_code, kDone);
  client_->exec(kStatementBrake);
  // Statements 1 to 4 try the definition on an empty table, before all steps and before this one; the fifth one builds.
  EXPECT_TRUE(kills_at(5, false, {"run", "m.yaml"}));
  write_step("create_index: {name: t_n2, columns: [n]}");
  auto const result = run();
  EXPECT_EQ(result.exit_code, kFailed);
  EXPECT_THAT(result.err, HasSubstr("it began with another text: create_index: {columns: [n], name: t_n, table: t}"));
}

TEST_F(StepsTest, PlanSaysLocksScansAndRisk) {
  write(
      "expand:\n  - add_column: {name: extra, type: int}\n  - create_index: {name: t_n, columns: [n]}\ncontract:\n"
      "  - set_not_null: n\n  - drop_column: name\n");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  for (char const* text :
       {"1. add_column extra to public.t", "ALTER TABLE \"public\".\"t\" ADD COLUMN \"extra\" int",
        "ACCESS EXCLUSIVE on \"public\".\"t\", which stops reads and writes; changes the catalog only",
        "CREATE INDEX CONCURRENTLY \"t_n\"", "builds an index over the table", "outside a transaction",
        "reads the table", "risk destructive: all values of the column are lost", "no way back: the column's values"}) {
    EXPECT_THAT(plan.out, HasSubstr(text));
  }
  auto const json = run({"plan", "m.yaml", "--format", "json"});
  EXPECT_THAT(json.out, HasSubstr("\"risk\":\"destructive\""));
  EXPECT_THAT(json.out, HasSubstr("\"mode\":\"ACCESS EXCLUSIVE\""));
  EXPECT_THAT(json.out, HasSubstr("\"effort\":\"index build\""));
}

}  // namespace
}  // namespace pgbackfill::tests
