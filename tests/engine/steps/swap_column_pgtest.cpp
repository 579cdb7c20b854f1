// `swap_column` on a real server: all that belongs to the column is there afterwards, object by object, with the new
// column in the old one's place; what cannot go along is refused by name before a statement runs.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/pg_dump.h"

namespace pgbackfill::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

// Every object of the database that depends on the table or on one of its sequences (pg_depend), with all that is said
// of it; and all that is said of the columns.
constexpr char kObjects[] = R"sql(
SELECT string_agg(line, E'\n' ORDER BY line) FROM (
  SELECT format('column %s %s notnull %s identity %s default %s comment %s target %s options %s storage %s compression '
      '%s acl %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
      pg_get_expr(f.adbin, f.adrelid), col_description(a.attrelid, a.attnum), nullif(a.attstattarget, -1),
      a.attoptions, CASE WHEN a.attstorage <> y.typstorage THEN a.attstorage END,
      to_jsonb(a) ->> 'attcompression', (SELECT string_agg(x::text, ',' ORDER BY x::text)
      FROM unnest(a.attacl) x)) AS line
    FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid
    AND f.adnum = a.attnum WHERE a.attrelid = 't'::regclass AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL SELECT format('depends %s %s', d.deptype, pg_describe_object(d.classid, d.objid, d.objsubid))
    FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.classid <> 'pg_constraint'::regclass
    AND d.refobjid = 't'::regclass AND pg_describe_object(d.classid, d.objid, d.objsubid) NOT LIKE '%pgbackfill%'
  UNION ALL SELECT format('constraint %s of %s %s comment %s', k.conname, k.conrelid::regclass,
      pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint'))
    FROM pg_constraint k WHERE 't'::regclass IN (k.conrelid, k.confrelid)
  UNION ALL SELECT format('index %s valid %s clustered %s identity %s comment %s options %s extensions %s targets %s',
      pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisclustered, i.indisreplident,
      obj_description(i.indexrelid, 'pg_class'), c.reloptions, (SELECT string_agg(x.extname, ',' ORDER BY x.extname)
      FROM pg_depend d JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid WHERE
      d.classid = 'pg_class'::regclass AND d.objid = c.oid), (SELECT string_agg(a.attnum || ':' || a.attstattarget,
      ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 't'::regclass
  UNION ALL SELECT format('statistics %s target %s comment %s owner %s', pg_get_statisticsobjdef(e.oid),
      e.stxstattarget, obj_description(e.oid, 'pg_statistic_ext'), e.stxowner::regrole)
    FROM pg_statistic_ext e WHERE e.stxrelid = 't'::regclass
  UNION ALL SELECT format('sequence %s as %s start %s increment %s min %s max %s cache %s cycle %s of %s ' ||
      'acl %s comment %s',
      s.seqrelid::regclass, s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
      (SELECT a.attname FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.deptype IN ('a', 'i')),
      (SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(c.relacl) x),
      obj_description(s.seqrelid, 'pg_class'))
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE c.relnamespace = 'public'::regnamespace
  UNION ALL SELECT format('identity of rows %s', c.relreplident) FROM pg_class c WHERE c.oid = 't'::regclass
) lines)sql";

constexpr char kPublished[] =
    "SELECT string_agg(pubname || ' ' || attnames::text || coalesce(' ' || rowfilter, ''), ', ' ORDER BY pubname) FROM "
    "pg_publication_tables WHERE tablename = 't'";

class SwapColumnTest : public DatabaseTest {
 protected:
  void make(std::string const& sql) const {
    client_->exec(
        "SET client_min_messages = warning; DO $$ BEGIN CREATE ROLE swapper_reader; EXCEPTION WHEN duplicate_object "
        "THEN NULL; END $$; " +
        sql);
  }
  // The type is what is to be another one, and the place among the columns.
  static std::string without_types(std::string text) {
    for (auto const* pattern : {"bigint", "numeric", "9223372036854775807"}) {
      std::string const to = std::string(pattern) == "9223372036854775807" ? "2147483647" : "integer";
      text = std::regex_replace(text, std::regex(pattern), to);
    }
    return text;
  }
  std::string objects() const { return without_types(client_->value(kObjects)); }
  std::string dump() const {
    if (!has_pg_dump_for(cluster_->major_version())) return "";
    std::vector<std::string> lines;
    std::string const text = without_types(dump_of_schema(dsn()));
    for (std::size_t begin = 0; begin < text.size();) {
      auto const end = std::min(text.find('\n', begin), text.size());
      auto line = text.substr(begin, end - begin);
      // The last column has no comma behind it.
      if (line.ends_with(',')) line.pop_back();
      // bigint is not said of a sequence.
      if (line.find("AS integer") == std::string::npos) lines.push_back(line);
      begin = end + 1;
    }
    std::sort(lines.begin(), lines.end());
    std::string sorted;
    for (auto const& line : lines) sorted += line + "\n";
    return sorted;
  }
  void write_steps(std::string const& steps) const { write("m.yaml", "name: m\ntable: t\nexpand:\n" + steps); }
  // Nothing of it is missing, and nothing has come.
  void swaps_all(std::string const& steps) const {
    auto const before = objects();
    auto const dump_before = dump();
    write_steps(steps);
    auto const done = run({"run", "m.yaml"});
    ASSERT_EQ(done.exit_code, kDone) << done.err;
    EXPECT_EQ(objects(), before);
    EXPECT_EQ(dump(), dump_before);
    EXPECT_NE(client_->value("SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND atttypid IN (20, "
                             "1700, 3802)"),
              "0");
  }
  void refuses(std::string const& steps, std::string const& message) const {
    auto const before = client_->value(kObjects);
    write_steps(steps);
    auto const result = run({"run", "m.yaml"});
    EXPECT_EQ(result.exit_code, kUsage) << steps << result.out;
    EXPECT_THAT(result.err, HasSubstr(message)) << steps;
    EXPECT_EQ(client_->value(kObjects), before) << steps;
  }
};

TEST_F(SwapColumnTest, CarriesAKeyWithItsSequence) {
  make(
      "CREATE TABLE t (n int, id serial CONSTRAINT \"T key\" PRIMARY KEY DEFERRABLE INITIALLY DEFERRED); INSERT INTO t "
      "(n) SELECT generate_series(1, 50); COMMENT ON COLUMN t.id IS 'number on the ''invoice'''; COMMENT ON CONSTRAINT "
      "\"T key\" ON t IS 'the key'; COMMENT ON INDEX \"T key\" IS 'its index'; ALTER INDEX \"T key\" SET (fillfactor = "
      "70); ALTER TABLE t CLUSTER ON \"T key\", ALTER id SET STATISTICS 321, ALTER id SET (n_distinct = -1, "
      "n_distinct_inherited = -0.5); GRANT SELECT (id), UPDATE (id) ON t TO swapper_reader WITH GRANT OPTION; GRANT "
      "INSERT (id) ON t TO PUBLIC; GRANT USAGE ON SEQUENCE t_id_seq TO swapper_reader; COMMENT ON SEQUENCE t_id_seq IS "
      "'ids'; CREATE STATISTICS t_stats (dependencies) ON id, n FROM t; COMMENT ON STATISTICS t_stats IS 'of both'; "
      "ALTER "
      "STATISTICS t_stats SET STATISTICS 77; CREATE INDEX t_both ON t (n DESC, id) INCLUDE (n); CREATE TABLE other "
      "(id "
      "int PRIMARY KEY DEFAULT nextval('t_id_seq'))");
  client_->exec("ALTER TABLE t ADD COLUMN big bigint NOT NULL DEFAULT 0; UPDATE t SET big = id");
  auto const columns = client_->value(kObjects);
  client_->exec("ALTER TABLE t DROP COLUMN big");
  swaps_all(
      "  - add_column: {name: big, type: bigint, default: 0, not_null: true}\n"
      "  - sql: UPDATE t SET big = id\n"
      "  - create_index: {name: t_big, columns: [big], unique: true}\n"
      "  - create_index: {name: t_both_big, keys: 'n DESC, big', include: [n]}\n"
      "  - swap_column: {column: id, with: big}\n"
      "  - drop_column: id_old\n");
  EXPECT_EQ(client_->value("INSERT INTO t (n) VALUES (1) RETURNING id"), "51");
  EXPECT_EQ(client_->value("SELECT seqtypid::regtype || ' ' || seqmax FROM pg_sequence WHERE seqrelid = "
                           "'t_id_seq'::regclass"),
            "bigint 9223372036854775807");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_stats WHERE tablename = 't' AND attname = 'id'"), "1");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_stats_ext WHERE statistics_name = 't_stats' AND dependencies IS "
                           "NOT "
                           "NULL"),
            "1");
  EXPECT_THAT(columns, HasSubstr("big"));
}

TEST_F(SwapColumnTest, CarriesAnIdentityWithAllItsOptions) {
  make(
      "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME \"T ids\" START 500 INCREMENT -7 MINVALUE "
      "-9000 MAXVALUE 600 CACHE 3 CYCLE), n int); GRANT USAGE, SELECT ON SEQUENCE \"T ids\" TO swapper_reader; COMMENT "
      "ON SEQUENCE \"T ids\" IS 'going down'; INSERT INTO t (n) VALUES (1), (2); ALTER DEFAULT PRIVILEGES GRANT ALL ON "
      "SEQUENCES TO PUBLIC");
  swaps_all(
      "  - add_column: {name: big, type: bigint}\n  - sql: UPDATE t SET big = id\n  - set_not_null: big\n"
      "  - swap_column: {column: id, with: big}\n  - drop_column: id_old\n");
  EXPECT_EQ(client_->value("SELECT last_value FROM \"T ids\""), "486");
}

// Keys that begin at the lower end of integer, to have twice as many.
TEST_F(SwapColumnTest, KeepsWhoGrantedWhat) {
  make(
      "DO $$ BEGIN CREATE ROLE swapper_writer; EXCEPTION WHEN duplicate_object THEN NULL; END $$; CREATE TABLE t (id "
      "int "
      "PRIMARY KEY, a int, b bigint); INSERT INTO t VALUES (1, 1, 1); GRANT SELECT ON t TO swapper_writer WITH GRANT "
      "OPTION; GRANT UPDATE (a) ON t TO swapper_reader WITH GRANT OPTION; SET ROLE swapper_reader; GRANT UPDATE (a) ON "
      "t "
      "TO swapper_writer WITH GRANT OPTION; SET ROLE swapper_writer; GRANT UPDATE (a), SELECT (a) ON t TO PUBLIC; "
      "RESET "
      "ROLE; GRANT SELECT (b), UPDATE (b) ON t TO swapper_reader");
  std::string const rights =
      "SELECT string_agg(x::text, ' ' ORDER BY x::text) FROM pg_attribute, unnest(attacl) x WHERE attrelid = "
      "'t'::regclass AND attname = 'a'";
  auto const before = client_->value(rights);
  write("m.yaml", "name: m\ntable: t\ncontract:\n  - swap_column: {column: a, with: b}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const completed = run({"complete", "m", "--yes"});
  ASSERT_EQ(completed.exit_code, kDone) << completed.err;
  EXPECT_EQ(client_->value(rights), before);
  EXPECT_THAT(before, HasSubstr("swapper_writer=w*/swapper_reader"));
  EXPECT_THAT(before, HasSubstr("=rw/swapper_writer"));
}

TEST_F(SwapColumnTest, KeepsWhatDependsOnAnExtensionAndNotNullWithoutInheritance) {
  make(
      "CREATE EXTENSION citext; CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL, b bigint NOT NULL); INSERT INTO t "
      "VALUES (1, 1, 1); CREATE INDEX of_a ON t (a); CREATE INDEX of_b ON t (b); ALTER INDEX of_a DEPENDS ON EXTENSION "
      "citext");
  bool const has_constraints = cluster_->major_version() >= 18;
  if (has_constraints) client_->exec("ALTER TABLE t ALTER CONSTRAINT t_a_not_null NO INHERIT");
  write("m.yaml", "name: m\ntable: t\ncontract:\n  - swap_column: {column: a, with: b}\n");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  auto const completed = run({"complete", "m", "--yes"});
  ASSERT_EQ(completed.exit_code, kDone) << completed.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_depend WHERE deptype = 'x' AND objid = 'of_a'::regclass AND EXISTS "
                           "(SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = "
                           "i.indkey[0] WHERE i.indexrelid = 'of_a'::regclass AND a.attname = 'a')"),
            "1");
  if (!has_constraints) return;
  EXPECT_EQ(client_->value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 't_a_not_null'"),
            "NOT NULL a NO INHERIT");
}

TEST_F(SwapColumnTest, CarriesTheLowerEndOfAnIdentity) {
  for (auto const* options : {"START -2147483648 MINVALUE -2147483648 CYCLE",
                              "START 5 MINVALUE -2147483648 MAXVALUE 7 CYCLE", "START -5 INCREMENT -1 MINVALUE -900"}) {
    SCOPED_TRACE(options);
    make(fmt::format(
        "DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP TABLE IF EXISTS t; CREATE TABLE t (id int GENERATED ALWAYS AS "
        "IDENTITY ({}), n int); INSERT INTO t (n) VALUES (1), (2)",
        options));
    swaps_all(
        "  - add_column: {name: big, type: bigint}\n  - sql: UPDATE t SET big = id\n  - set_not_null: big\n"
        "  - swap_column: {column: id, with: big}\n  - drop_column: id_old\n");
  }
  make(
      "DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP TABLE t; CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY "
      "(START 2147483647 INCREMENT -1 MAXVALUE 2147483647), n int, big bigint NOT NULL)");
  write_steps("  - swap_column: {column: id, with: big}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("INSERT INTO t (n) VALUES (1) RETURNING id"), "2147483647");
}

TEST_F(SwapColumnTest, CarriesADefaultOfADomain) {
  make(
      "CREATE DOMAIN seven AS int DEFAULT 7 NOT NULL; CREATE TABLE t (id int PRIMARY KEY, a seven, b bigint, c seven); "
      "INSERT INTO t VALUES (1, 1, 1, 1)");
  refuses("  - swap_column: {column: a, with: b}\n", "column a is NOT NULL and b is not");
  write_steps(
      "  - set_not_null: b\n  - swap_column: {column: a, with: b}\n  - drop_column: a_old\n"
      "  - add_column: {name: d, type: bigint, default: 8}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("INSERT INTO t (id) VALUES (2) RETURNING a"), "7");
  client_->exec("DROP SCHEMA pgbackfill CASCADE; UPDATE t SET d = c; ALTER TABLE t ALTER d SET NOT NULL");
  refuses("  - swap_column: {column: c, with: d}\n", "the default of c is 7, and that of d is");
}

TEST_F(SwapColumnTest, RefusesWhatWouldMeanAnotherColumn) {
  make(
      "CREATE TABLE t (id int PRIMARY KEY, a int, b bigint); INSERT INTO t VALUES (1, 1, 2); CREATE STATISTICS both_of "
      "ON a, b FROM t");
  std::string const step = "  - swap_column: {column: a, with: b}\n";
  refuses(step, "these name both columns, and can mean the same with neither of them afterwards: statistics object");
  client_->exec("DROP STATISTICS both_of; CREATE TABLE kept (one t, more t[]); INSERT INTO kept SELECT t FROM t");
  refuses(step, "column more of table public.kept, column one of table public.kept");
  client_->exec("DROP TABLE kept; CREATE VIEW just_read AS SELECT t FROM t");
  if (cluster_->major_version() >= 15) {
    client_->exec("CREATE PUBLICATION less FOR TABLE t WHERE (a < b)");
    refuses(step, "publication of table public.t in publication less");
    client_->exec("DROP PUBLICATION less");
  }
  write_steps(step);
  EXPECT_THAT(run({"plan", "m.yaml"}).out,
              HasSubstr("just_read takes rows of it as a whole, in which a stays as a_old"));
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
}

TEST_F(SwapColumnTest, CarriesConstraintsAndIndexesOfAllSorts) {
  make(
      "CREATE TABLE people (code int PRIMARY KEY); INSERT INTO people SELECT generate_series(0, 60); CREATE TABLE t "
      "(id "
      "int PRIMARY KEY, code int NOT NULL CONSTRAINT code_key UNIQUE DEFERRABLE, n int, up int, state text DEFAULT "
      "'code'); INSERT INTO t (id, code, n) SELECT g, g, g FROM generate_series(1, 50) g; ALTER TABLE t ADD CONSTRAINT "
      "\"who (is)\" FOREIGN KEY (code) REFERENCES people ON DELETE CASCADE ON UPDATE SET NULL DEFERRABLE INITIALLY "
      "DEFERRED, ADD CONSTRAINT both_few CHECK (code < 1000 AND n < code + 1000 OR state = 'code'), ADD CONSTRAINT "
      "never_checked CHECK (code > 0) NOT VALID; CREATE UNIQUE INDEX t_pair ON t (code, id); ALTER TABLE t REPLICA "
      "IDENTITY USING INDEX t_pair; CREATE INDEX t_open ON t (code) WHERE state = 'open'; CREATE INDEX t_sum ON t "
      "((code "
      "+ n), lower(state) text_pattern_ops); ALTER INDEX t_sum ALTER COLUMN 1 SET STATISTICS 55; CREATE INDEX t_hash "
      "ON "
      "t USING hash (code); CREATE INDEX t_brin ON t USING brin (n, code) WITH (pages_per_range = 7); CREATE UNIQUE "
      "INDEX "
      "t_partial ON t (n) WHERE code > 5; COMMENT ON CONSTRAINT both_few ON t IS 'few'; COMMENT ON CONSTRAINT \"who "
      "(is)\" "
      "ON t IS 'who'; COMMENT ON INDEX t_open IS 'open ones'");
  swaps_all(
      "  - add_column: {name: big, type: bigint}\n  - sql: UPDATE t SET big = code\n  - set_not_null: big\n"
      "  - create_index: {name: b1, columns: [big], unique: true}\n"
      "  - create_index: {name: b2, columns: [big, id], unique: true}\n"
      "  - create_index: {name: b3, columns: [big], where: state = 'open'}\n"
      "  - create_index: {name: b4, keys: \"(big + n), lower(state) text_pattern_ops\"}\n"
      "  - create_index: {name: b5, columns: [big], method: hash}\n"
      "  - create_index: {name: b6, columns: [n, big], method: brin}\n"
      "  - create_index: {name: b7, columns: [n], unique: true, where: big > 5}\n"
      "  - add_foreign_key: {name: b8, columns: [big], references: people, on_delete: cascade, on_update: set null, "
      "deferrable: true, initially_deferred: true}\n"
      "  - add_check: {name: b9, check: \"big < 1000 AND n < big + 1000 OR state = 'code'\"}\n"
      "  - sql: ALTER TABLE t ADD CONSTRAINT b10 CHECK (big > 0) NOT VALID\n"
      "  - swap_column: {column: code, with: big}\n  - drop_column: code_old\n");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_constraint WHERE contype = 'u' AND conname = 'code_key'"), "1");
  // Without the old column's constraints nothing of what was kept stands in the way of new rows.
  EXPECT_EQ(client_->try_exec("BEGIN; INSERT INTO t (id, code) VALUES (101, 101); INSERT INTO people VALUES (101); "
                              "COMMIT"),
            "00000");
}

TEST_F(SwapColumnTest, NamesAForeignKeyOfTheTableToItself) {
  make(
      "CREATE TABLE t (id serial PRIMARY KEY, up int CONSTRAINT up REFERENCES t ON DELETE SET NULL); INSERT INTO t "
      "(up) "
      "SELECT nullif(g / 2, 0) FROM generate_series(1, 50) g; ALTER TABLE t ADD big bigint; UPDATE t SET big = id");
  refuses(
      "  - set_not_null: big\n"
      "  - create_index: {name: t_big, columns: [big], unique: true}\n  - swap_column: {column: id, with: big}\n",
      "constraint up on table public.t would stay with the old column");
}

TEST_F(SwapColumnTest, SwapsWithAForeignKeyToItselfThatIsThereForTheNewColumn) {
  make(
      "CREATE TABLE t (id serial PRIMARY KEY, up int CONSTRAINT up REFERENCES t ON DELETE SET NULL); INSERT INTO t "
      "(up) "
      "SELECT nullif(g / 2, 0) FROM generate_series(1, 50) g; ALTER TABLE t ADD COLUMN big bigint; UPDATE t SET big = "
      "id; "
      "ALTER TABLE t ALTER big SET NOT NULL; CREATE UNIQUE INDEX t_big ON t (big)");
  write_steps(
      "  - create_index: {name: t_big_too, columns: [big], unique: true}\n"
      "  - sql: ALTER TABLE t ADD CONSTRAINT up_big FOREIGN KEY (up) REFERENCES t (big) ON DELETE SET NULL\n"
      "  - swap_column: {column: id, with: big}\n  - drop_column: id_old\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), ', ' ORDER BY conname) FROM "
                           "pg_constraint WHERE conrelid = 't'::regclass AND contype IN ('p', 'f')"),
            "t_pkey PRIMARY KEY (id), up FOREIGN KEY (up) REFERENCES t(id) ON DELETE SET NULL");
  EXPECT_EQ(client_->try_exec("INSERT INTO t (id, up) VALUES (3000000000, 7)"), "00000");
}

TEST_F(SwapColumnTest, CarriesStorageAndCompressionOfText) {
  std::string const compression = cluster_->major_version() >= 14 ? ", ALTER body SET COMPRESSION pglz" : std::string();
  make(
      "CREATE TABLE t (id int PRIMARY KEY, body text DEFAULT '{}' NOT NULL); ALTER TABLE t ALTER body SET STORAGE "
      "EXTERNAL" +
      compression + "; INSERT INTO t SELECT g, '[1]' FROM generate_series(1, 9) g; CREATE INDEX t_body ON t (body)");
  write_steps(
      "  - add_column: {name: doc, type: jsonb}\n  - sql: UPDATE t SET doc = body::jsonb\n  - set_not_null: doc\n  - "
      "create_index: {name: t_doc, columns: [doc]}\n  - swap_column: {column: body, with: doc}\n  - drop_column: "
      "body_old\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT format_type(atttypid, -1) || ' ' || attstorage::text || ' ' || "
                           "coalesce(to_jsonb(a) ->> "
                           "'attcompression', 'p') FROM pg_attribute a WHERE attrelid = 't'::regclass AND attname = "
                           "'body'"),
            "jsonb e p");
  EXPECT_EQ(client_->value("INSERT INTO t (id) VALUES (10) RETURNING body"), "{}");
}

TEST_F(SwapColumnTest, CarriesListsAndFiltersOfPublications) {
  if (cluster_->major_version() < 15) GTEST_SKIP() << "publications have neither before PostgreSQL 15";
  make(
      "CREATE TABLE t (id int PRIMARY KEY, n int, m int); INSERT INTO t SELECT g, g, g FROM generate_series(1, 9) g; "
      "CREATE PUBLICATION few FOR TABLE t (id, n) WHERE (id > 3); CREATE PUBLICATION every FOR TABLE t; CREATE "
      "PUBLICATION other FOR TABLE t (id, m)");
  client_->exec(
      "ALTER TABLE t ADD big bigint; UPDATE t SET big = id; ALTER TABLE t ALTER big SET NOT NULL; CREATE "
      "UNIQUE INDEX t_big ON t (big)");
  write_steps("  - swap_column: {column: id, with: big}\n  - drop_column: id_old\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value(kPublished), "every {n,m,id}, few {n,id} (id > 3), other {m,id}");
  EXPECT_EQ(client_->try_exec("UPDATE t SET n = 1"), "00000");
}

TEST_F(SwapColumnTest, RefusesWhatItWouldLose) {
  make(
      "CREATE TABLE t (id int PRIMARY KEY, a int DEFAULT 5, name text COLLATE \"C\", twice int GENERATED ALWAYS AS "
      "(id * "
      "2) STORED, at timestamptz DEFAULT now()); INSERT INTO t (id) SELECT generate_series(1, 9); COMMENT ON COLUMN "
      "t.a "
      "IS 'a'; ALTER TABLE t ADD a_big bigint DEFAULT 6, ADD a_new bigint, ADD name_new text, ADD id_big bigint NOT "
      "NULL "
      "DEFAULT 0, ADD at_new jsonb, ADD u uuid; UPDATE t SET id_big = id; CREATE UNIQUE INDEX t_id ON t (id_big); "
      "COMMENT ON COLUMN t.a_new IS "
      "'new'; "
      "CREATE INDEX t_name ON t USING btree (name text_pattern_ops); CREATE INDEX t_name_new ON t (name_new COLLATE "
      "\"C\")");
  refuses("  - swap_column: {column: a, with: a_big}\n", "the default of a is 5, and that of a_big is");
  refuses("  - swap_column: {column: a, with: a_new}\n",
          "one would be lost; take it away from one of them, or give "
          "both the same: the comment");
  refuses("  - swap_column: {column: name, with: name_new}\n", "column name has a COLLATE of its own");
  refuses("  - swap_column: {column: id, with: id_big}\n", "the default of id is none, and that of id_big is");
  client_->exec("ALTER TABLE t ALTER id_big DROP DEFAULT");
  refuses("  - swap_column: {column: id, with: id_big}\n",
          "column twice of table public.t would stay with the old column");
  refuses("  - swap_column: {column: twice, with: a_new}\n", "column twice is generated, and cannot be swapped");
  refuses("  - swap_column: {column: a, with: u}\n", "the default of a, 5, is no value of the type of u");
  refuses("  - swap_column: {column: at, with: at_new}\n",
          "the default of at, now(), is no value of the type of "
          "at_new");
  client_->exec("ALTER TABLE t ADD name_c text COLLATE \"C\"; CREATE INDEX t_name_c ON t (name_c)");
  refuses("  - swap_column: {column: name, with: name_c}\n",
          "this index would stay with the old column: CREATE INDEX "
          "t_name ");
  // With the same operator class it is the same index.
  client_->exec("CREATE INDEX t_name_ops ON t (name_c text_pattern_ops)");
  write_steps("  - swap_column: {column: name, with: name_c}\n");
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
}

// The old column goes on in the row, and is NULL in each new one.
TEST_F(SwapColumnTest, RefusesWhatTakesTheRowAsAWhole) {
  char const* const users[] = {
      "ALTER TABLE t ADD CONSTRAINT whole CHECK (t IS NOT NULL)", "CREATE POLICY whole ON t USING (t IS NOT NULL)",
      "CREATE TRIGGER whole BEFORE UPDATE ON t FOR EACH ROW WHEN (NEW IS NOT NULL) EXECUTE FUNCTION f()",
      "CREATE INDEX whole ON t ((t IS NOT NULL))"};
  for (auto const* user : users) {
    make(std::string("DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (id int PRIMARY KEY, a int, b bigint); CREATE OR "
                     "REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; ") +
         user);
    write_steps("  - swap_column: {column: a, with: b}\n");
    auto const plan = run({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << user;
    EXPECT_THAT(plan.err,
                AllOf(HasSubstr("these take the row as a whole, in which a would stay as a_old"), HasSubstr("whole")))
        << user;
  }
  make(
      "DROP TABLE t CASCADE; CREATE TABLE t (id int PRIMARY KEY, a int, b bigint); CREATE TRIGGER whole BEFORE UPDATE "
      "ON t "
      "FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION f()");
  write_steps("  - swap_column: {column: a, with: b}\n");
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone) << "it tells what it told before: " << done.err;
}

TEST_F(SwapColumnTest, KeepsALongNameCut) {
  std::string const name(63, 'x');
  make("CREATE TABLE t (id int PRIMARY KEY, " + name + " int, b bigint)");
  write_steps("  - swap_column: {column: " + name + ", with: b}\n");
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attname LIKE '%old'"),
            std::string(59, 'x') + "_old");
}

TEST_F(SwapColumnTest, RightsOnWhatGoesWithTheColumnAreAskedAtTheStart) {
  std::string const role = "swapper_owner_" + std::to_string(cluster_->port());
  client_->exec("CREATE ROLE " + role + " LOGIN; GRANT CREATE ON DATABASE " + database_ + " TO " + role +
                "; GRANT CREATE ON SCHEMA public TO " + role);
  make("CREATE SEQUENCE s; GRANT USAGE ON SEQUENCE s TO " + role +
       "; CREATE TABLE t (id int PRIMARY KEY, a int DEFAULT nextval('s')); ALTER TABLE t OWNER TO " + role);
  write("m.yaml",
        "name: m\ntable: t\nexpand:\n  - add_column: {name: z, type: bigint}\nsync: {set: {z: a}}\nbackfill: {set: {z: "
        "a}, where: z IS NULL}\ncontract:\n  - swap_column: {column: a, with: z}\n");
  // The owner of the sequence may give it away until complete.
  auto const plan = run({"plan", "m.yaml", "--dsn", dsn(role)}, false);
  EXPECT_EQ(plan.exit_code, kUsage) << plan.out;
  EXPECT_THAT(plan.err, AllOf(HasSubstr("m.yaml:8:5: contract step 1"), HasSubstr("sequence"), HasSubstr("public.s")));
  auto const ran = run({"run", "m.yaml", "--dsn", dsn(role)}, false);
  EXPECT_EQ(ran.exit_code, kDone) << ran.err;
  EXPECT_THAT(ran.err, AllOf(HasSubstr("sequence"), HasSubstr("public.s")));
  EXPECT_NE(run({"complete", "m.yaml", "--yes", "--dsn", dsn(role)}, false).exit_code, kDone);
  client_->exec("ALTER SEQUENCE s OWNER TO " + role);
  EXPECT_EQ(run({"complete", "m.yaml", "--yes", "--dsn", dsn(role)}, false).exit_code, kDone);
}

TEST_F(SwapColumnTest, TheRightToGiveStatisticsBackIsAskedAtTheStart) {
  std::string const role = "swapper_of_statistics_" + std::to_string(cluster_->port());
  client_->exec("CREATE ROLE " + role + " LOGIN; GRANT CREATE ON DATABASE " + database_ + " TO " + role +
                "; GRANT CREATE ON SCHEMA public TO " + role);
  make("CREATE TABLE t (id int PRIMARY KEY, a int); CREATE STATISTICS s ON id, a FROM t; ALTER TABLE t OWNER TO " +
       role);
  write("m.yaml",
        "name: m\ntable: t\nexpand:\n  - add_column: {name: z, type: bigint}\nsync: {set: {z: a}}\nbackfill: {set: {z: "
        "a}, where: z IS NULL}\ncontract:\n  - swap_column: {column: a, with: z}\n");
  auto const plan = run({"plan", "m.yaml", "--dsn", dsn(role)}, false);
  EXPECT_EQ(plan.exit_code, kUsage) << plan.out;
  EXPECT_THAT(plan.err,
              AllOf(HasSubstr("m.yaml:8:5: contract step 1"), HasSubstr("statistics object public.s belongs to")));
}

// Also while the column that takes its place is still to be added.
TEST_F(SwapColumnTest, WhatNoStepCanChangeIsRefusedBeforeTheFirst) {
  struct Case {
    char const* sql;
    char const* message;
  };
  constexpr Case kCases[] = {
      {"CREATE VIEW v AS SELECT a FROM t", "rule _RETURN on view public.v would stay with the old column"},
      {"CREATE POLICY p ON t USING (a > 0)", "policy p on table public.t would stay"},
      {"ALTER TABLE t ADD g int GENERATED ALWAYS AS (a + 1) STORED", "column g of table public.t would stay"},
      {"CREATE INDEX i ON t (a)", "this index would stay with the old column: CREATE INDEX i"},
      {"ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)", "constraint c on table public.t would stay"},
      {"ALTER TABLE t ADD UNIQUE (a)", "this constraint would stay with the old column: t_a_key"},
      {"CREATE TABLE x (c t)", "these keep rows of the table's type"},
      {"ALTER TABLE t ADD UNIQUE (a, id)", "this constraint would stay with the old column: t_a_id_key"},
      {"ALTER TABLE t ADD a_old int", "column a_old is there already"}};
  for (auto const& one : kCases) {
    make(std::string("DROP TABLE IF EXISTS t, x CASCADE; CREATE TABLE t (id int PRIMARY KEY, a int); ") + one.sql);
    write("m.yaml",
          "name: m\ntable: t\nexpand:\n  - add_column: {name: z, type: bigint}\nsync: {set: {z: a}}\nbackfill: {set: "
          "{z: a}, where: z IS NULL}\ncontract:\n  - add_unique: {name: u, columns: [id, z]}\n  - swap_column: "
          "{column: a, with: z}\n");
    auto const plan = run({"plan", "m.yaml"});
    EXPECT_EQ(plan.exit_code, kUsage) << one.sql << plan.out;
    EXPECT_THAT(plan.err, AllOf(HasSubstr("m.yaml:9:5: contract step 2"), HasSubstr(one.message))) << one.sql;
  }
}

TEST_F(SwapColumnTest, IsRefusedBeforeWhatIsBuiltForIt) {
  make(
      "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g; CREATE "
      "TABLE "
      "child (t_id int CONSTRAINT child_t REFERENCES t); ALTER TABLE t ADD big bigint; UPDATE t SET big = id");
  refuses(
      "  - set_not_null: big\n  - create_index: {name: t_big, columns: [big], unique: true}\n"
      "  - swap_column: {column: id, with: big}\n",
      "constraint child_t on table public.child would stay with the old column");
  EXPECT_EQ(client_->value("SELECT to_regclass('t_big')"), "NULL");
  // What a step before it drops is no reason.
  write_steps(
      "  - set_not_null: big\n  - create_index: {name: t_big, columns: [big], unique: true}\n"
      "  - drop_constraint: {table: child, name: child_t}\n  - swap_column: {column: id, with: big}\n");
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
}

TEST_F(SwapColumnTest, WantsAConstraintForAConstraint) {
  make(
      "CREATE TABLE t (id int PRIMARY KEY, code int CONSTRAINT t_code_key UNIQUE, big bigint); INSERT INTO t SELECT g, "
      "g, g FROM generate_series(1, 9) g");
  std::string const index = "  - create_index: {name: t_big, columns: [big], unique: true}\n";
  std::string const swap = "  - swap_column: {column: code, with: big}\n";
  refuses(index + swap, "this constraint would stay with the old column: t_code_key UNIQUE (code); add_unique over");
  write_steps(index + "  - add_unique: {name: t_big, columns: [big]}\n" + swap);
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("INSERT INTO t (id, code) VALUES (1, 3) ON CONFLICT ON CONSTRAINT t_code_key DO UPDATE SET "
                           "code = 4000000000 RETURNING code"),
            "4000000000");
}

TEST_F(SwapColumnTest, SaysTheWayBackWhichIsAMigrationOfItsOwn) {
  make(
      "CREATE TABLE t (id int PRIMARY KEY, a int, b bigint); INSERT INTO t SELECT g, g, g FROM generate_series(1, 9) "
      "g");
  write("m.yaml", "name: m\ntable: t\ncontract:\n  - swap_column: {column: a, with: b}\n");
  auto const says = HasSubstr(
      "While a_old is there, a migration the other way brings it back: sync and backfill a_old "
      "from a, then swap_column with a_old");
  EXPECT_THAT(run({"plan", "m.yaml"}).out, says);
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  ASSERT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
  EXPECT_THAT(run({"rollback", "m", "--dry-run"}).out, says);
  auto const refused = run({"rollback", "m", "--yes"});
  EXPECT_EQ(refused.exit_code, kFailed);
  EXPECT_THAT(refused.out + refused.err, says);
  client_->exec("INSERT INTO t VALUES (100, NULL, 7)");
  write("back.yaml",
        "name: back\ntable: t\nsync: {set: {a_old: \"a::int\"}}\nbackfill: {set: {a_old: \"a::int\"}}\nthrottle: "
        "{mode: off}\ncontract:\n  - swap_column: {column: a, with: a_old, keep_as: a_wide}\n");
  ASSERT_EQ(run({"run", "back.yaml"}).exit_code, kDone);
  auto const back = run({"complete", "back", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(
      client_->value("SELECT count(*) || ' ' || min(pg_typeof(a)::text) FROM t WHERE a = coalesce(nullif(id, 100), "
                     "7)"),
      "10 integer");
}

TEST_F(SwapColumnTest, PlanSaysThatTheColumnMoves) {
  make("CREATE TABLE t (id int PRIMARY KEY, n int); ALTER TABLE t ADD m bigint");
  write_steps("  - swap_column: {column: n, with: m}\n");
  auto const plan = run({"plan", "m.yaml", "--format", "json"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("SELECT * by position"));
}

TEST_F(SwapColumnTest, AnalyzesWhatHasNoStatistics) {
  make(
      "CREATE TABLE t (id int PRIMARY KEY, kind varchar(10)) WITH (autovacuum_enabled = off); INSERT INTO t SELECT g, "
      "'x' FROM generate_series(1, 999) g; ANALYZE t");
  write_steps("  - change_type: {column: kind, type: text}\n  - create_index: {name: t_len, keys: length(kind)}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT string_agg(tablename || ' ' || attname, ', ' ORDER BY tablename, attname) FROM "
                           "pg_stats WHERE tablename IN ('t', 't_len') AND attname <> 'id'"),
            "t kind, t_len length");
}

TEST_F(SwapColumnTest, AnalyzesTablesThatInheritAsWell) {
  make(
      "CREATE TABLE t (id int, kind varchar(4)); CREATE TABLE ch (c int) INHERITS (t) WITH (autovacuum_enabled = off); "
      "CREATE STATISTICS ch_st ON c, kind FROM ch; INSERT INTO ch SELECT g, g % 10, g % 7 FROM generate_series(1, 999) "
      "g; ANALYZE t; ANALYZE ch");
  write_steps("  - change_type: {column: kind, type: varchar(8)}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT (SELECT count(*) FROM pg_stats WHERE tablename = 'ch' AND attname = 'kind' AND NOT "
                           "inherited) || ' ' || (SELECT count(*) FROM pg_statistic_ext_data)"),
            "1 1");
}

TEST_F(SwapColumnTest, AStepIsNotDoneBeforeItIsAnalyzed) {
  make(
      "CREATE TABLE t (id int PRIMARY KEY, kind varchar(10)) WITH (autovacuum_enabled = off); INSERT INTO t SELECT g, "
      "'x' FROM generate_series(1, 999) g");
  // An expression of an index that fails under ANALYZE stands for any reason.
  client_->exec(
      "CREATE TABLE fails (now bool); INSERT INTO fails VALUES (false); CREATE FUNCTION f(int) RETURNS int IMMUTABLE "
      "LANGUAGE plpgsql SET search_path = public AS $$ BEGIN IF (SELECT now FROM fails) THEN RAISE 'not now'; END IF; "
      "RETURN $1; END $$; CREATE INDEX t_f ON t (f(id)); UPDATE fails SET now = true");
  write_steps("  - change_type: {column: kind, type: text}\n");
  auto const failed = run({"run", "m.yaml"});
  EXPECT_EQ(failed.exit_code, kFailed);
  EXPECT_THAT(failed.err, HasSubstr("not now"));
  EXPECT_EQ(client_->value("SELECT count(*) FROM pgbackfill.steps"), "0");
  client_->exec("UPDATE fails SET now = false");
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_stats WHERE tablename = 't' AND attname = 'kind'"), "1");
}

// --- keys -----------------------------------------------------------------------------------------------------------

TEST_F(SwapColumnTest, MakesConstraintsOfUniqueIndexesThatAreThere) {
  make(
      "CREATE TABLE t (id int, n int NOT NULL); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g; CREATE UNIQUE "
      "INDEX t_n_key ON t (n) INCLUDE (id) WITH (fillfactor = 60)");
  auto const before = client_->value(kObjects);
  auto const index = client_->value("SELECT 't_n_key'::regclass::oid");
  write_steps(
      "  - add_unique: {name: t_n_key, columns: [n]}\n  - create_index: {name: t_key, columns: [id], unique: true}\n"
      "  - add_primary_key: {name: t_key, columns: [id]}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT 't_n_key'::regclass::oid"), index);
  EXPECT_EQ(client_->value("SELECT string_agg(conname || ' ' || contype::text, ', ' ORDER BY conname) FROM "
                           "pg_constraint WHERE "
                           "conrelid = 't'::regclass AND contype IN ('p', 'u')"),
            "t_key p, t_n_key u");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value(kObjects), before);
}

TEST_F(SwapColumnTest, MakesNoConstraintOfAnotherIndex) {
  make(
      "CREATE TABLE t (id int, n int); CREATE UNIQUE INDEX t_part ON t (n) WHERE n > 3; CREATE UNIQUE INDEX t_both ON "
      "t (n, id); CREATE INDEX t_plain ON t (n); CREATE UNIQUE INDEX t_down ON t (n DESC)");
  for (auto const* name : {"t_part", "t_both", "t_plain", "t_down"}) {
    refuses(fmt::format("  - add_unique: {{name: {}, columns: [n]}}\n", name),
            "is no valid unique index over just "
            "these "
            "columns");
  }
}

TEST_F(SwapColumnTest, SwapsThePrimaryKeyAndBack) {
  make(
      "CREATE TABLE t (id int CONSTRAINT t_pkey PRIMARY KEY, n int); INSERT INTO t SELECT g, 1 FROM "
      "generate_series(1, "
      "9) g; COMMENT ON CONSTRAINT t_pkey ON t IS 'key'; COMMENT ON INDEX t_pkey IS 'index'; ALTER TABLE t CLUSTER ON "
      "t_pkey, REPLICA IDENTITY USING "
      "INDEX "
      "t_pkey");
  auto const before = client_->value(kObjects);
  for (auto const* name : {"t_pkey", "t_key2"}) {
    SCOPED_TRACE(name);
    write("m.yaml", fmt::format("name: m_{0}\ntable: t\nexpand:\n  - swap_primary_key: {{name: {0}, columns: [n, "
                                "id]}}\n",
                                name));
    auto const done = run({"run", "m.yaml"});
    ASSERT_EQ(done.exit_code, kDone) << done.err;
    EXPECT_EQ(client_->value("SELECT conname || ' ' || pg_get_constraintdef(k.oid) || ' ' || obj_description(k.oid, "
                             "'pg_constraint') || ' ' || obj_description(conindid, 'pg_class') || ' ' || "
                             "indisclustered || indisreplident FROM pg_constraint k JOIN "
                             "pg_index ON indexrelid = conindid WHERE conrelid = 't'::regclass AND contype = 'p'"),
              std::string(name) + " PRIMARY KEY (n, id) key index truetrue");
    auto const back = run({"rollback", fmt::format("m_{}", name), "--yes"});
    EXPECT_EQ(back.exit_code, kDone) << back.err;
    EXPECT_EQ(client_->value(kObjects), before);
  }
  client_->exec("CREATE TABLE child (t_id int CONSTRAINT child_t REFERENCES t)");
  refuses("  - swap_primary_key: {name: t_key3, columns: [n, id]}\n", "need its index: child_t of public.child");
}

TEST_F(SwapColumnTest, TheOtherPrimaryKeyHasWhatTheFirstOneHad) {
  make(
      "CREATE EXTENSION citext; CREATE TABLE t (id int, n int, note text); INSERT INTO t SELECT g, 1 FROM "
      "generate_series(1, 9) g; CREATE UNIQUE INDEX t_pkey ON t (id) INCLUDE (note) WITH (fillfactor = 61); ALTER "
      "TABLE t ADD CONSTRAINT t_pkey PRIMARY KEY USING INDEX t_pkey; ALTER INDEX t_pkey DEPENDS ON EXTENSION citext");
  auto const before = client_->value(kObjects);
  write_steps("  - swap_primary_key: {name: t_pkey, columns: [n, id]}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_THAT(client_->value(kObjects),
              testing::AllOf(HasSubstr("index CREATE UNIQUE INDEX t_pkey ON public.t USING btree (n, id) INCLUDE "
                                       "(note) WITH (fillfactor='61') valid t"),
                             HasSubstr("extensions citext")));
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  EXPECT_EQ(client_->value(kObjects), before);
}

// Of another index that the key was made of, all that it had.
TEST_F(SwapColumnTest, RollbackGivesAnIndexThatAKeyTookBackWithItsMarks) {
  make(
      "CREATE EXTENSION citext; CREATE TABLE t (id int CONSTRAINT t_pkey PRIMARY KEY, n int NOT NULL, note text); "
      "INSERT INTO t SELECT g, g FROM generate_series(1, 9) g; COMMENT ON INDEX t_pkey IS 'the key''s'; CREATE UNIQUE "
      "INDEX other ON t (n) INCLUDE (note) WITH (fillfactor = 50); COMMENT ON INDEX other IS 'mine'; ALTER INDEX other "
      "DEPENDS ON EXTENSION citext; ALTER TABLE t CLUSTER ON other, REPLICA IDENTITY USING INDEX other");
  auto const before = client_->value(kObjects);
  for (auto const* step : {"swap_primary_key", "add_unique"}) {
    SCOPED_TRACE(step);
    write("m.yaml", fmt::format("name: {0}\ntable: t\nexpand:\n  - {0}: {{name: other, columns: [n]}}\n", step));
    auto const done = run({"run", "m.yaml"});
    ASSERT_EQ(done.exit_code, kDone) << done.err;
    EXPECT_EQ(client_->value("SELECT obj_description('other'::regclass, 'pg_class')"), "mine");
    EXPECT_NE(client_->value(kObjects), before);
    auto const back = run({"rollback", step, "--yes"});
    EXPECT_EQ(back.exit_code, kDone) << back.err;
    EXPECT_EQ(client_->value(kObjects), before);
  }
}

TEST_F(SwapColumnTest, NamesWhatAPrimaryKeyCannotLeaveBehind) {
  make(
      "CREATE TABLE t (id int CONSTRAINT t_pkey PRIMARY KEY DEFERRABLE, n int NOT NULL); CREATE TABLE parts (id int "
      "PRIMARY KEY, n int NOT NULL) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parts FOR VALUES FROM (1) "
      "TO (9)");
  std::string const step = "  - swap_primary_key: {name: other, columns: [n]}\n";
  client_->exec("ALTER TABLE t DISABLE TRIGGER ALL");
  refuses(step, "the trigger of the deferrable primary key is disabled");
  client_->exec(
      "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY (id); CREATE VIEW of_each AS SELECT id, "
      "n FROM t GROUP BY id");
  refuses(step, "these depend on the primary key, which the server does not drop then: rule _RETURN on view");
  write("m.yaml", "name: m\ntable: part\nexpand:\n" + step);
  EXPECT_THAT(run({"plan", "m.yaml"}).err, HasSubstr("is that of the table which it is a partition of"));
}

// Made anew, they would be enabled.
TEST_F(SwapColumnTest, NamesConstraintsWhoseTriggersAreDisabled) {
  make(
      "CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, a int CONSTRAINT known REFERENCES "
      "people, b bigint); ALTER TABLE t DISABLE TRIGGER ALL; ALTER TABLE t ADD CONSTRAINT other FOREIGN KEY (b) "
      "REFERENCES people");
  std::string const step = "  - swap_column: {column: a, with: b}\n";
  refuses(step, "the server's triggers of these are disabled, or enabled otherwise than by themselves: known");
  client_->exec("ALTER TABLE t DISABLE TRIGGER ALL");
  write_steps(step);
  auto const done = run({"run", "m.yaml"});
  EXPECT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(
      client_->value("SELECT string_agg(DISTINCT g.tgenabled::text, '') FROM pg_trigger g JOIN pg_constraint k ON "
                     "k.oid = g.tgconstraint WHERE k.conname = 'known' AND g.tgrelid = 't'::regclass"),
      "D");
}

TEST_F(SwapColumnTest, WhatADomainChecksIsNotLost) {
  make(
      "CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE DOMAIN small AS positive CONSTRAINT \"Small\" CHECK "
      "(VALUE < 100); CREATE TABLE t (id int PRIMARY KEY, a small, b bigint CHECK (b > 0)); INSERT INTO t SELECT g, g, "
      "g FROM generate_series(1, 9) g");
  std::string const step = "  - swap_column: {column: a, with: b}\n";
  refuses(step,
          "the domain of a checks its values, and b would not: CHECK (((VALUE)::integer < 100)); add_check the same "
          "over b");
  write_steps("  - add_check: {name: t_small, check: b < 100}\n" + step);
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->try_exec("INSERT INTO t (id, a) VALUES (10, 100)"), "23514");
  EXPECT_EQ(client_->try_exec("INSERT INTO t (id, a) VALUES (10, 0)"), "23514");
}

TEST_F(SwapColumnTest, SaysThatAnIndexIsInAnotherTablespace) {
  if (cluster_->major_version() < 15) GTEST_SKIP() << "no tablespace without a folder";
  client_->exec("SET allow_in_place_tablespaces = on");
  client_->exec("CREATE TABLESPACE fast LOCATION ''");
  make(
      "CREATE TABLE t (id int PRIMARY KEY, a int, b bigint); CREATE INDEX t_a ON t (a) TABLESPACE fast; CREATE INDEX "
      "t_b ON t (b)");
  write_steps("  - swap_column: {column: a, with: b}\n");
  EXPECT_THAT(run({"plan", "m.yaml"}).out,
              HasSubstr("has index t_a in tablespace fast, and what comes in its place is in the default one"));
  // Of a key, the new one's index is built where the old one's is.
  client_->exec("ALTER INDEX t_pkey SET TABLESPACE fast");
  write("key.yaml", "name: key\ntable: t\nexpand:\n  - swap_primary_key: {name: t_pkey, columns: [id, a]}\n");
  std::string const places =
      "SELECT string_agg(c.relname || ' ' || s.spcname, ' ') FROM pg_class c JOIN pg_tablespace s ON s.oid = "
      "c.reltablespace WHERE c.relname = 't_pkey'";
  client_->exec("UPDATE t SET a = 1");
  ASSERT_EQ(run({"run", "key.yaml"}).exit_code, kDone);
  EXPECT_EQ(client_->value(places), "t_pkey fast");
  ASSERT_EQ(run({"rollback", "key", "--yes"}).exit_code, kDone);
  EXPECT_EQ(client_->value(places), "t_pkey fast");
  client_->exec("DROP TABLE t");
  client_->exec("DROP TABLESPACE fast");
}

TEST_F(SwapColumnTest, TheOtherPrimaryKeyIsDeferrableAsTheFirstOneWas) {
  make(
      "CREATE TABLE t (id int CONSTRAINT t_pkey PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, n int); INSERT INTO t "
      "SELECT g, 1 FROM generate_series(1, 9) g");
  auto const before = client_->value(kObjects);
  write_steps("  - swap_primary_key: {name: t_pkey, columns: [n, id]}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 't_pkey'"),
            "PRIMARY KEY (n, id) DEFERRABLE INITIALLY DEFERRED");
  auto const back = run({"rollback", "m", "--yes"});
  EXPECT_EQ(back.exit_code, kDone) << back.err;
  auto const without_numbers = [](std::string const& text) {
    return std::regex_replace(text, std::regex("ConstraintTrigger_[0-9]+"), "");
  };
  EXPECT_EQ(without_numbers(client_->value(kObjects)), without_numbers(before));
}

TEST_F(SwapColumnTest, AddsADeferrableForeignKeyAndNoOther) {
  make("CREATE TABLE people (id int PRIMARY KEY); CREATE TABLE t (id int PRIMARY KEY, who int)");
  write_steps(
      "  - add_foreign_key: {name: t_who, columns: [who], references: people, deferrable: true, initially_deferred: "
      "true}\n");
  auto const done = run({"run", "m.yaml"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->try_exec("BEGIN; INSERT INTO t VALUES (1, 1); INSERT INTO people VALUES (1); COMMIT"), "00000");
  client_->exec("DROP SCHEMA pgbackfill CASCADE");
  refuses("  - add_foreign_key: {name: t_who, columns: [who], references: people}\n", "with another definition");
}

}  // namespace
}  // namespace pgbackfill::tests
