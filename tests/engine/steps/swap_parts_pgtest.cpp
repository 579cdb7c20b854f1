// What belongs to a table, before and after `swap`, object by object: nothing of it may disappear without a word. The
// oracles are pg_depend, which knows every object that hangs on a table, and the words of pg_dump.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"
#include "tests/support/pg_dump.h"
#include "tests/support/poll_until.h"
#include "tests/support/program.h"

namespace pgbackfill::tests {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr char kFile[] = R"yaml(name: m
table: orders
sync: {mirror: [id]}
backfill:
  copy_to: orders_new
  columns: {COLUMNS}
throttle: {mode: off}
contract:
  - swap: {with: orders_new, keep_as: orders_old}
)yaml";

class SwapPartsTest : public DatabaseTest {
 protected:
  void SetUp() override {
    DatabaseTest::SetUp();
    client_->exec(
        "SET client_min_messages = warning; DO $$ DECLARE r text; BEGIN FOREACH r IN ARRAY ARRAY['parts_owner', "
        "'parts_reader'] LOOP IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) THEN EXECUTE 'CREATE ROLE ' || r; "
        "END "
        "IF; END LOOP; END $$");
  }
  void write_file(std::string const& columns) const {
    std::string file = kFile;
    write("m.yaml", file.replace(file.find("COLUMNS"), 7, columns));
  }
  int version() const { return std::stoi(client_->value("SHOW server_version_num")) / 10000; }
  void swap() const {
    auto const ran = run({"run", "m.yaml"});
    ASSERT_EQ(ran.exit_code, kDone) << ran.err;
    auto const done = run({"complete", "m", "--yes"});
    ASSERT_EQ(done.exit_code, kDone) << done.err;
  }
  std::set<std::string> lines_of(std::string const& query) const {
    std::set<std::string> lines;
    std::istringstream text(client_->value("SELECT string_agg(one, E'\\n') FROM (" + query + ") q (one)"));
    for (std::string line; std::getline(text, line);) lines.insert(line);
    return lines;
  }
  // Every object that depends on the table or a column of it; numbers in names that the server makes say nothing.
  std::set<std::string> dependents() const {
    return lines_of(
        "SELECT DISTINCT regexp_replace(pg_describe_object(classid, objid, objsubid) || coalesce(' on ' || (SELECT "
        "attname "
        "FROM pg_attribute WHERE attrelid = refobjid AND attnum = refobjsubid AND attnum > 0), ''), '_[0-9]{4,}', "
        "'_N', 'g') "
        "FROM pg_depend WHERE refclassid = 'pg_class'::regclass AND refobjid = 'orders'::regclass");
  }
  std::set<std::string> dump() const {
    std::set<std::string> lines;
    std::istringstream text(dump_of_schema(dsn()));
    for (std::string line; std::getline(text, line);) {
      if (!line.empty() && line.back() == ',') line.pop_back();
      if (line.rfind("--", 0) != 0) lines.insert(line);
    }
    return lines;
  }
  static std::set<std::string> less(std::set<std::string> const& all, std::set<std::string> const& some) {
    std::set<std::string> rest;
    std::set_difference(all.begin(), all.end(), some.begin(), some.end(), std::inserter(rest, rest.end()));
    return rest;
  }
  // Where the server is as new as that.
  std::string filter() const { return version() >= 15 ? " (id, number, note, code) WHERE (number > 3)" : ""; }
  void make_full_table() const;
  void make_copy() const;
};

void SwapPartsTest::make_full_table() const {
  client_->exec(
      "CREATE TABLE customers (id int PRIMARY KEY); INSERT INTO customers SELECT generate_series(0, 99); CREATE "
      "FUNCTION "
      "note_of() RETURNS text LANGUAGE sql AS $$ SELECT 'new' $$; CREATE FUNCTION fired() RETURNS trigger LANGUAGE "
      "plpgsql AS "
      "$$ BEGIN RETURN NULL; END $$;"
      "CREATE TABLE orders (id serial PRIMARY KEY, number int GENERATED ALWAYS AS IDENTITY (START WITH 7 INCREMENT BY "
      "3) NOT "
      "NULL, note text DEFAULT note_of(), amount int NOT NULL DEFAULT 0, made timestamptz DEFAULT now(), customer int "
      "CONSTRAINT \"Known\" REFERENCES customers ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED, area box, twice int "
      "GENERATED ALWAYS AS (amount * 2) STORED, code varchar(20) NOT NULL DEFAULT 'c', CONSTRAINT \"Code\" UNIQUE "
      "(code, id) "
      "DEFERRABLE, CONSTRAINT \"Short\" CHECK (code <> 'none' AND amount >= 0), CONSTRAINT apart EXCLUDE USING gist "
      "(area WITH "
      "&&)) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_vacuum_threshold = 77);"
      "INSERT INTO orders (note, amount, customer) SELECT 'n' || g, g, g % 100 FROM generate_series(1, 300) g");
  client_->exec(
      "ALTER TABLE orders ADD CONSTRAINT later CHECK (amount < 1000) NOT VALID; CREATE INDEX by_note ON orders "
      "(lower(note) "
      "text_pattern_ops DESC) WITH (fillfactor = 60) WHERE code <> 'x'; ALTER INDEX by_note ALTER COLUMN 1 SET "
      "STATISTICS 300;"
      "CREATE UNIQUE INDEX by_number ON orders (number) INCLUDE (note); ALTER TABLE orders REPLICA IDENTITY USING "
      "INDEX "
      "by_number; CREATE INDEX by_amount ON orders (amount); ALTER TABLE orders CLUSTER ON by_amount; CREATE "
      "STATISTICS of_orders (dependencies) ON amount, customer FROM "
      "orders; ALTER STATISTICS of_orders SET STATISTICS 44; ALTER TABLE orders ALTER note SET STORAGE EXTERNAL, ALTER "
      "note SET STATISTICS 500, ALTER customer SET "
      "(n_distinct = 90);"
      "CREATE TRIGGER changed AFTER UPDATE ON orders REFERENCING OLD TABLE AS a NEW TABLE AS b FOR EACH STATEMENT "
      "EXECUTE "
      "FUNCTION fired(); CREATE CONSTRAINT TRIGGER checked AFTER UPDATE OF amount ON orders DEFERRABLE FOR EACH ROW "
      "WHEN "
      "(NEW.amount > 5) EXECUTE FUNCTION fired(); CREATE TRIGGER quiet BEFORE INSERT ON orders FOR EACH ROW WHEN "
      "(NEW.note = "
      "'never') EXECUTE FUNCTION fired(); ALTER TABLE orders DISABLE TRIGGER quiet;"
      "CREATE TABLE items (id int PRIMARY KEY, order_id int CONSTRAINT \"Of order\" REFERENCES orders ON UPDATE "
      "CASCADE ON "
      "DELETE CASCADE DEFERRABLE);"
      "CREATE POLICY own ON orders FOR SELECT TO parts_reader USING (amount > 1);"
      "ALTER TABLE orders ENABLE ROW LEVEL SECURITY; ALTER TABLE orders OWNER TO parts_owner; GRANT SELECT, UPDATE "
      "(note) ON "
      "orders TO parts_reader; GRANT USAGE ON SEQUENCE orders_id_seq, orders_number_seq TO parts_reader;"
      "COMMENT ON TABLE orders IS 'the orders'; COMMENT ON COLUMN orders.note IS 'what it''s about'; COMMENT ON "
      "CONSTRAINT "
      "orders_pkey ON orders IS 'a key'; COMMENT ON INDEX orders_pkey IS 'an index'; COMMENT ON INDEX by_note IS 'by "
      "note'; "
      "COMMENT ON CONSTRAINT \"Short\" ON orders IS 'short'; COMMENT ON CONSTRAINT \"Known\" ON orders IS 'known'; "
      "COMMENT ON "
      "STATISTICS of_orders IS 'statistics'; COMMENT ON TRIGGER changed ON orders IS 'a trigger'; COMMENT ON POLICY "
      "own ON "
      "orders IS 'a policy'; COMMENT ON CONSTRAINT \"Of order\" ON items IS 'of items'; COMMENT ON SEQUENCE "
      "orders_id_seq IS "
      "'ids'; COMMENT ON SEQUENCE orders_number_seq IS 'numbers'");
  if (version() >= 14) client_->exec("ALTER TABLE orders ALTER note SET COMPRESSION pglz");
  client_->exec("CREATE PUBLICATION news FOR TABLE orders" + filter());
}

// With what a swap asks for, under the names that the server gives.
void SwapPartsTest::make_copy() const {
  client_->exec(
      "CREATE TABLE orders_new (id bigint PRIMARY KEY, number int NOT NULL, note text, amount int NOT NULL, made "
      "timestamptz, customer int REFERENCES customers ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED, area box, "
      "twice int "
      "GENERATED ALWAYS AS (amount * 2) STORED, code varchar(20) NOT NULL, UNIQUE (code, id) DEFERRABLE, CHECK (code "
      "<> "
      "'none' AND amount >= 0), CHECK (amount < 1000), EXCLUDE USING gist (area WITH &&)); CREATE INDEX ON orders_new "
      "(lower(note) text_pattern_ops DESC) WHERE code <> 'x'; CREATE UNIQUE INDEX ON orders_new (number) INCLUDE "
      "(note); CREATE INDEX ON "
      "orders_new (amount); "
      "CREATE STATISTICS of_copy (dependencies) ON amount, customer FROM orders_new; CREATE POLICY own ON orders_new "
      "FOR SELECT TO "
      "parts_reader USING (amount > 1); ALTER TABLE orders_new ENABLE ROW LEVEL SECURITY; ALTER PUBLICATION news ADD "
      "TABLE "
      "orders_new" +
      filter());
  write_file(
      "id: id, number: number, note: note, amount: amount, made: made, customer: customer, area: area, code: code");
}

TEST_F(SwapPartsTest, NothingThatHangsOnTheTableDisappears) {
  make_full_table();
  auto const depended = dependents();
  bool const has_dump = has_pg_dump_for(version());
  auto const dumped = has_dump ? dump() : std::set<std::string>();
  make_copy();
  swap();
  EXPECT_THAT(less(depended, dependents()), IsEmpty());
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_stats WHERE tablename = 'orders'"), "9");
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_statistic WHERE starelid = 'by_note'::regclass"), "1");
  EXPECT_EQ(client_->value("SELECT attstattarget FROM pg_attribute WHERE attrelid = 'by_note'::regclass"), "300");
  EXPECT_EQ(client_->value("SELECT stxstattarget FROM pg_statistic_ext WHERE stxname = 'of_orders'"), "44");
  EXPECT_EQ(client_->value("SELECT relowner::regrole FROM pg_class WHERE oid = 'orders'::regclass"), "parts_owner");
  EXPECT_EQ(client_->value("SELECT i.indexrelid::regclass FROM pg_index i WHERE indrelid = 'orders'::regclass AND "
                           "indisclustered"),
            "by_amount");
  client_->exec("DROP TABLE orders_old");
  if (has_dump) {
    // The type of the sequence, which follows that of the column, and what was not valid.
    EXPECT_THAT(less(dumped, dump()),
                UnorderedElementsAre("    AS integer", "ALTER TABLE public.orders",
                                     "    ADD CONSTRAINT later CHECK ((amount < 1000)) NOT VALID;"));
  }
  // Their own sequences go on, each with its options.
  EXPECT_EQ(client_->value("SELECT nextval('orders_id_seq')"), "301");
  EXPECT_EQ(client_->value("INSERT INTO orders DEFAULT VALUES RETURNING id || ' ' || note || ' ' || code"),
            "302 new c");
  EXPECT_EQ(client_->value("SELECT number > 904 AND number < 1100 AND (number - 7) % 3 = 0 FROM orders WHERE id = 302"),
            "t");
}

TEST_F(SwapPartsTest, DefaultAndNameDrawFromOneSequence) {
  struct Case {
    std::string of_table;
    std::string of_copy;
    std::string identity;
  };
  std::string const by_default = " GENERATED BY DEFAULT AS IDENTITY";
  std::vector<Case> const cases = {
      {"serial", "bigint", ""},
      {"serial", "bigserial", ""},
      {"serial", "bigint" + by_default, "d"},
      {"int" + by_default, "bigint", "d"},
      {"int" + by_default, "bigint" + by_default, "d"},
      {"int GENERATED ALWAYS AS IDENTITY", "bigint" + by_default, "a"},
      {"bigserial", "bigint GENERATED ALWAYS AS IDENTITY", "d"},
      {"int DEFAULT nextval('orders_id_seq')", "bigint", ""},
      {"int DEFAULT nextval('orders_id_seq')", "bigserial", ""},
  };
  write_file("id: id, note: note");
  for (auto const& one : cases) {
    SCOPED_TRACE(one.of_table + " to " + one.of_copy);
    client_->exec(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS pgbackfill, public CASCADE; CREATE SCHEMA public; "
        "GRANT "
        "ALL ON SCHEMA public TO PUBLIC");
    if (one.of_table.find("nextval") != std::string::npos) client_->exec("CREATE SEQUENCE orders_id_seq AS int");
    client_->exec(
        "CREATE TABLE orders (id " + one.of_table +
        " PRIMARY KEY, note text); INSERT INTO orders (note) SELECT "
        "'n' FROM generate_series(1, 300); ALTER SEQUENCE orders_id_seq CACHE 1 CYCLE; COMMENT ON SEQUENCE "
        "orders_id_seq IS 'ids'; GRANT USAGE ON SEQUENCE orders_id_seq TO parts_reader; ALTER TABLE orders OWNER "
        "TO parts_owner; CREATE TABLE orders_new (id " +
        one.of_copy + " PRIMARY KEY, note text)");
    swap();
    auto const drawn = [&] {
      auto const by_name = std::stoi(client_->value("SELECT nextval('orders_id_seq')"));
      auto const by_itself = std::stoi(client_->value("INSERT INTO orders (note) VALUES ('x') RETURNING id"));
      EXPECT_GT(by_name, 300);
      EXPECT_EQ(by_itself, by_name + 1);
    };
    drawn();
    client_->exec("DROP TABLE orders_old");
    drawn();
    EXPECT_EQ(
        client_->value("SELECT seqtypid::regtype || ' ' || seqmax || ' ' || seqcycle FROM pg_sequence WHERE seqrelid = "
                       "'orders_id_seq'::regclass"),
        "bigint 9223372036854775807 true");
    EXPECT_EQ(client_->value("SELECT obj_description('orders_id_seq'::regclass) || ' ' || "
                             "has_sequence_privilege('parts_reader', 'orders_id_seq', 'USAGE')"),
              "ids true");
    EXPECT_EQ(
        client_->value("SELECT attidentity FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'id'"),
        one.identity);
  }
}

TEST_F(SwapPartsTest, AnIdentityKeepsTheEndThatItComesFrom) {
  write_file("id: id, note: note");
  struct Case {
    std::string options;
    std::string ends;
  };
  std::vector<Case> const cases = {
      {"START -2147483648 MINVALUE -2147483648 CYCLE", "-2147483648 9223372036854775807"},
      {"START 5 MINVALUE -2147483648 MAXVALUE 2000", "-2147483648 2000"},
      {"START 2147483647 INCREMENT -1 MAXVALUE 2147483647", "-9223372036854775808 2147483647"},
      {"START 5 INCREMENT -1 MAXVALUE 900 MINVALUE -2000", "-2000 900"},
  };
  for (auto const& one : cases) {
    SCOPED_TRACE(one.options);
    client_->exec(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS pgbackfill, public CASCADE; CREATE SCHEMA public; "
        "CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY (" +
        one.options +
        ") PRIMARY KEY, note text); INSERT INTO orders (note) VALUES ('a'), ('b'); CREATE TABLE orders_new (id bigint "
        "PRIMARY KEY, note text)");
    swap();
    EXPECT_EQ(client_->value("SELECT seqmin || ' ' || seqmax FROM pg_sequence WHERE seqrelid = "
                             "pg_get_serial_sequence('orders', 'id')::regclass"),
              one.ends);
    EXPECT_EQ(client_->try_exec("INSERT INTO orders (note) VALUES ('c')"), "00000");
  }
}

TEST_F(SwapPartsTest, WhatADomainOrACollationGaveIsNotLostWithoutAWord) {
  client_->exec(
      "CREATE DOMAIN seven AS int DEFAULT 7 NOT NULL; CREATE TABLE orders (id int PRIMARY KEY, n seven, note text "
      "COLLATE \"C\"); INSERT INTO orders VALUES (1, 1, 'a'); CREATE TABLE orders_new (id bigint PRIMARY KEY, n "
      "bigint, note text)");
  write_file("id: id, n: n, note: note");
  auto const ran = run({"run", "m.yaml"});
  ASSERT_EQ(ran.exit_code, kDone) << ran.err;
  auto const refused = run({"complete", "m", "--yes"});
  EXPECT_EQ(refused.exit_code, kUsage);
  EXPECT_THAT(refused.err, HasSubstr("set_not_null on the copy first: n"));
  client_->exec("ALTER TABLE orders_new ALTER n SET NOT NULL");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_THAT(plan.out, HasSubstr("has columns with a COLLATE of their own, which of the copy have that of their type"))
      << plan.err;
  swap();
  EXPECT_EQ(client_->value("INSERT INTO orders (id) VALUES (2) RETURNING n"), "7");
}

TEST_F(SwapPartsTest, RefusesByNameWhatTheCopyLacks) {
  struct Case {
    std::string change;
    std::string message;
    std::string undo;
  };
  client_->exec(
      "CREATE TABLE parents (id int PRIMARY KEY); CREATE TABLE orders (id int PRIMARY KEY, note text, amount int, gone "
      "int); "
      "INSERT INTO orders SELECT g, 'n', g, g FROM generate_series(1, 100) g; CREATE TABLE orders_new (id bigint "
      "PRIMARY KEY, "
      "note text, amount numeric); CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; "
      "END $$; "
      "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$");
  write_file("id: id, note: note, amount: amount");
  auto const ran = run({"run", "m.yaml"});
  ASSERT_EQ(ran.exit_code, kDone) << ran.err;
  std::vector<Case> const cases = {
      {"ALTER TABLE orders ADD CONSTRAINT few CHECK (amount < 1000)", "check few CHECK ((amount < (1000)::numeric))",
       "ALTER TABLE orders DROP CONSTRAINT few"},
      {"ALTER TABLE orders ADD CONSTRAINT few CHECK (amount < 1000); ALTER TABLE orders_new ADD CONSTRAINT few CHECK "
       "(amount < "
       "1000) NOT VALID",
       "check few", "ALTER TABLE orders DROP CONSTRAINT few; ALTER TABLE orders_new DROP CONSTRAINT few"},
      {"ALTER TABLE orders ADD CONSTRAINT one UNIQUE (note, id)", "unique constraint one UNIQUE (note, id)",
       "ALTER TABLE orders DROP CONSTRAINT one"},
      {"ALTER TABLE orders ADD CONSTRAINT one UNIQUE (note, id); CREATE UNIQUE INDEX just_index ON orders_new (note, "
       "id)",
       "unique constraint one", "ALTER TABLE orders DROP CONSTRAINT one; DROP INDEX just_index"},
      {"CREATE INDEX by_note ON orders (note) WHERE amount > 3",
       "index by_note btree (note) WHERE (amount > (3)::numeric)", "DROP INDEX by_note"},
      {"CREATE INDEX by_both ON orders (amount, gone)", "index by_both names what the copy has no column for: gone",
       "DROP INDEX by_both"},
      {"CREATE INDEX by_hash ON orders USING hash (amount); CREATE INDEX by_amount ON orders_new (amount)",
       "index by_hash hash", "DROP INDEX by_hash, by_amount"},
      {"ALTER TABLE orders ALTER note SET NOT NULL",
       "these columns are NOT NULL, and of the copy they are not; set_not_null "
       "on the copy first: note",
       "ALTER TABLE orders ALTER note DROP NOT NULL"},
      {"ALTER TABLE orders ADD CONSTRAINT up FOREIGN KEY (id) REFERENCES parents DEFERRABLE NOT VALID; ALTER TABLE "
       "orders_new "
       "ADD FOREIGN KEY (id) REFERENCES parents NOT VALID",
       "foreign key up FOREIGN KEY (id) REFERENCES public.parents(id) DEFERRABLE",
       "ALTER TABLE orders DROP CONSTRAINT up; ALTER TABLE orders_new DROP CONSTRAINT orders_new_id_fkey"},
      {"CREATE STATISTICS pairs ON note, amount FROM orders", "statistics pairs", "DROP STATISTICS pairs"},
      {"ALTER TABLE orders ALTER amount SET DEFAULT 1; ALTER TABLE orders_new ALTER amount SET DEFAULT 2",
       "column amount has the default 1, and of the copy 2",
       "ALTER TABLE orders ALTER amount DROP DEFAULT; ALTER TABLE orders_new ALTER amount DROP DEFAULT"},
      {"CREATE TRIGGER on_gone AFTER UPDATE OF gone ON orders FOR EACH ROW EXECUTE FUNCTION fired()",
       "trigger on_gone cannot be on the copy: column \"gone\"", "DROP TRIGGER on_gone ON orders"},
      {"CREATE TRIGGER same AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION fired(); CREATE TRIGGER same AFTER "
       "UPDATE ON "
       "orders_new FOR EACH ROW EXECUTE FUNCTION other()",
       "the copy has another trigger same", "DROP TRIGGER same ON orders; DROP TRIGGER same ON orders_new"},
      {"ALTER TABLE orders_new SET UNLOGGED", "the copy is not logged as the table is",
       "ALTER TABLE orders_new SET LOGGED"},
      {"CREATE PUBLICATION news FOR TABLE orders",
       "publications that the copy is not in, or with other columns or rows", "DROP PUBLICATION news"},
      {"CREATE POLICY own ON orders USING (true)", "the same policies and switches first: own of public.orders",
       "DROP POLICY own ON orders"},
      {"CREATE TABLE elsewhere (o orders)", "column o of table", "DROP TABLE elsewhere"},
      {"CREATE DOMAIN positive AS int CHECK (VALUE > 0); ALTER TABLE orders ALTER gone TYPE positive; ALTER TABLE "
       "orders_new ADD gone bigint",
       "the domains of these columns check their values, and the copy does not; add_check the same there first: gone "
       "CHECK ((VALUE > 0))",
       "ALTER TABLE orders ALTER gone TYPE int; DROP DOMAIN positive; ALTER TABLE orders_new DROP gone"},
      {"INSERT INTO parents SELECT generate_series(1, 100); ALTER TABLE orders ADD CONSTRAINT up FOREIGN KEY (id) "
       "REFERENCES parents; ALTER TABLE orders_new ADD CONSTRAINT up FOREIGN KEY (id) REFERENCES parents; DO $$ "
       "DECLARE name text; BEGIN FOR name IN SELECT "
       "tgname FROM pg_trigger WHERE tgrelid = 'orders'::regclass AND tgisinternal LOOP EXECUTE format('ALTER TABLE "
       "orders DISABLE TRIGGER %I', name); END LOOP; END $$",
       "the server's triggers of these constraints are disabled",
       "ALTER TABLE orders DROP CONSTRAINT up; ALTER TABLE orders_new DROP CONSTRAINT up"},
  };
  for (auto const& one : cases) {
    client_->exec("SET client_min_messages = warning; " + one.change);
    auto const refused = run({"complete", "m", "--yes"});
    EXPECT_EQ(refused.exit_code, kUsage) << one.change << refused.err;
    EXPECT_THAT(refused.err, HasSubstr(one.message)) << one.change;
    client_->exec(one.undo);
  }
  // What lies on a column alone that the copy lacks stays with it, and `plan` says so.
  client_->exec("CREATE INDEX by_gone ON orders (gone); ALTER TABLE orders ADD CONSTRAINT seldom CHECK (gone > 0)");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_THAT(plan.out,
              HasSubstr("has columns that the copy lacks; they stay with the kept table, with what lies on them "
                        "alone: gone (constraint seldom, index by_gone)"))
      << plan.out << plan.err;
  auto const done = run({"complete", "m", "--yes"});
  ASSERT_EQ(done.exit_code, kDone) << done.err;
  EXPECT_EQ(client_->value("SELECT count(*) FROM pg_constraint WHERE conname = 'seldom' AND conrelid = "
                           "'orders_old'::regclass"),
            "1");
}

// What no step can change, `plan` says before the first one; what SQL ahead of the swap may drop, it does not.
TEST_F(SwapPartsTest, PlanRefusesWhatTheTableAloneForbids) {
  client_->exec(
      "CREATE TABLE orders (id int PRIMARY KEY, note text); CREATE TABLE orders_new (id bigint PRIMARY KEY, note "
      "text); "
      "CREATE VIEW shown AS SELECT * FROM orders");
  write_file("id: id, note: note");
  std::string const message = "these views would go on reading the old table";
  for (auto const* command : {"plan", "run"}) {
    auto const refused = run({command, "m.yaml"});
    EXPECT_EQ(refused.exit_code, kUsage) << refused.out;
    EXPECT_THAT(refused.err, HasSubstr(message));
  }
  std::string file = kFile;
  file.replace(file.find("COLUMNS"), 7, "id: id, note: note");
  file.insert(file.find("  - swap"), "  - sql: DROP VIEW shown\n");
  write("m.yaml", file);
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
}

TEST_F(SwapPartsTest, TheKeptTableRefusesAndFollowsNoDelete) {
  client_->exec(
      "CREATE TABLE customers (id int PRIMARY KEY); INSERT INTO customers SELECT generate_series(1, 9); CREATE TABLE "
      "shops (id int PRIMARY KEY); INSERT INTO shops VALUES (1); CREATE TABLE orders (id int PRIMARY KEY, customer int "
      "CONSTRAINT of_customer REFERENCES customers, shop int CONSTRAINT of_shop REFERENCES shops ON DELETE CASCADE, "
      "parent int CONSTRAINT of_parent REFERENCES orders); INSERT INTO orders SELECT g, g, 1, g FROM "
      "generate_series(1, "
      "9) g; CREATE TABLE orders_new (id bigint PRIMARY KEY, customer int REFERENCES customers, shop int REFERENCES "
      "shops ON DELETE CASCADE, parent bigint REFERENCES orders_new)");
  write_file("id: id, customer: customer, shop: shop, parent: parent");
  auto const plan = run({"plan", "m.yaml"}).out;
  EXPECT_THAT(plan, HasSubstr("gives up its own foreign keys where it is kept"));
  EXPECT_THAT(plan, HasSubstr("of_customer to public.customers, of_shop to public.shops"));
  swap();
  client_->exec(
      "BEGIN; DELETE FROM orders WHERE id = 1; DELETE FROM customers WHERE id = 1; COMMIT; DELETE FROM shops");
  EXPECT_EQ(client_->value("SELECT count(*) FROM orders"), "0");
  EXPECT_EQ(client_->value("SELECT count(*) FROM orders_old"), "9");
  EXPECT_EQ(
      client_->value("SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE contype = 'f' AND "
                     "conrelid = 'orders'::regclass"),
      "of_customer of_parent of_shop");
}

TEST_F(SwapPartsTest, CarriesTheOwnerOfStatistics) {
  client_->exec(
      "CREATE TABLE orders (id int PRIMARY KEY, note text); CREATE TABLE orders_new (id bigint PRIMARY KEY, note "
      "text); "
      "CREATE STATISTICS of_orders ON id, note FROM orders; CREATE STATISTICS of_copy ON id, note FROM orders_new; "
      "ALTER STATISTICS of_orders OWNER TO parts_owner");
  write_file("id: id, note: note");
  swap();
  EXPECT_EQ(client_->value("SELECT stxowner::regrole FROM pg_statistic_ext WHERE stxrelid = 'orders'::regclass AND "
                           "stxname = 'of_orders'"),
            "parts_owner");
}

// Partitions stay with the kept table: what knows them is refused, what is theirs alone is said.
TEST_F(SwapPartsTest, NamesWhatHangsOnPartitions) {
  client_->exec(
      "CREATE TABLE orders (id int PRIMARY KEY, note text) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF "
      "orders FOR VALUES FROM (0) TO (1000) WITH (fillfactor = 55); ALTER TABLE part ADD CONSTRAINT own CHECK (note <> "
      "''); CREATE INDEX own_index ON part (note); COMMENT ON TABLE part IS 'a part'; CREATE POLICY own_policy ON part "
      "USING (true); CREATE TABLE orders_new (id bigint PRIMARY KEY, note text)");
  write_file("id: id, note: note");
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_EQ(plan.exit_code, kDone) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("has partitions, which stay with the kept table, with what is theirs alone: comment "
                                  "of public.part, constraint own of public.part, index own_index of public.part, "
                                  "policy own_policy of public.part, storage parameters of public.part"));
  struct Case {
    std::string change;
    std::string message;
    std::string undo;
  };
  std::vector<Case> const cases = {
      {"CREATE VIEW of_part AS SELECT * FROM part", "public.of_part", "DROP VIEW of_part"},
      {"CREATE TABLE child (id int CONSTRAINT to_part REFERENCES part)", "to_part of public.child to public.part",
       "DROP TABLE child"},
      {"CREATE PUBLICATION news FOR TABLE part", "these publications have partitions of the table",
       "DROP PUBLICATION "
       "news"},
      {"CREATE FUNCTION of_row(part) RETURNS int LANGUAGE sql AS 'SELECT 1'", "function public.of_row(public.part)",
       "DROP FUNCTION of_row"},
  };
  for (auto const& one : cases) {
    client_->exec(one.change);
    auto const refused = run({"plan", "m.yaml"});
    EXPECT_EQ(refused.exit_code, kUsage) << one.change;
    EXPECT_THAT(refused.err, HasSubstr(one.message));
    client_->exec(one.undo);
  }
}

TEST_F(SwapPartsTest, TakesTheSameOverAWiderTypeForTheSame) {
  client_->exec(
      "CREATE TABLE orders (id int PRIMARY KEY, kind varchar(10) NOT NULL, n int, CONSTRAINT kinds CHECK (kind IN "
      "('a', 'b')), "
      "CONSTRAINT kind_of_n UNIQUE (kind, n), CONSTRAINT few CHECK (n * 2 < 1000)); INSERT INTO orders SELECT g, 'a', "
      "g FROM "
      "generate_series(1, 50) g; CREATE INDEX by_kind ON orders (kind varchar_pattern_ops) WHERE kind <> 'b'; CREATE "
      "INDEX "
      "by_lower ON orders (lower(kind)); CREATE TABLE orders_new (id bigint PRIMARY KEY, kind text NOT NULL CHECK "
      "(kind IN "
      "('a', 'b')), n numeric CHECK (n * 2 < 1000), UNIQUE (kind, n)); CREATE INDEX ON orders_new (kind "
      "text_pattern_ops) "
      "WHERE kind <> 'b'; CREATE INDEX ON orders_new (lower(kind))");
  write_file("id: id, kind: kind, n: n");
  swap();
  EXPECT_EQ(client_->value(
                "SELECT string_agg(n, ' ' ORDER BY n) FROM (SELECT conname::text FROM pg_constraint WHERE conrelid = "
                "'orders'::regclass AND contype <> 'n' UNION SELECT indexrelid::regclass::text FROM pg_index WHERE "
                "indrelid = 'orders'::regclass) q (n)"),
            "by_kind by_lower few kind_of_n kinds orders_pkey");
}

TEST_F(SwapPartsTest, SeesWhatWasChangedSinceItLooked) {
  client_->exec(
      "CREATE TABLE orders (id int PRIMARY KEY, note text); INSERT INTO orders SELECT generate_series(1, 50); CREATE "
      "TABLE orders_new (id bigint PRIMARY KEY, note text)");
  write_file("id: id, note: note");
  ASSERT_EQ(run({"run", "m.yaml"}).exit_code, kDone);
  PgClient holder(dsn());
  holder.exec("BEGIN; LOCK TABLE orders IN ACCESS SHARE MODE");
  ProgramOptions options;
  options.working_dir = dir();
  Program program({PGBACKFILL_PROGRAM, "complete", "m", "--yes", "--dsn", dsn()}, options);
  // It waits for its lock now, after it has looked.
  ASSERT_TRUE(poll_until([&] {
    return client_->value("SELECT count(*) FROM pg_stats WHERE tablename = 'orders_new'") != "0" &&
           client_->value(
               "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%ACCESS EXCLUSIVE%' AND pid <> "
               "pg_backend_pid()") != "0";
  }));
  holder.exec("CREATE INDEX late ON orders (note); COMMIT");
  auto const refused = program.wait();
  EXPECT_EQ(refused.exit_code, kFailed) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("was changed since it was looked at"));
  EXPECT_THAT(run({"complete", "m", "--yes"}).err, HasSubstr("index late"));
  client_->exec("DROP INDEX late");
  EXPECT_EQ(run({"complete", "m", "--yes"}).exit_code, kDone);
}

TEST_F(SwapPartsTest, APartitionedCopyTakesOverWhatItCan) {
  client_->exec(
      "CREATE TABLE orders (id bigserial PRIMARY KEY, at date NOT NULL DEFAULT current_date, note text) WITH "
      "(fillfactor = 80); "
      "INSERT INTO orders (at) SELECT '2024-01-01'::date + g FROM generate_series(1, 300) g; CREATE INDEX by_note ON "
      "orders "
      "(note); ALTER TABLE orders REPLICA IDENTITY FULL; ALTER TABLE orders OWNER TO parts_owner; CREATE TABLE "
      "orders_new (id "
      "bigint, at date, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); CREATE TABLE orders_2024 PARTITION "
      "OF "
      "orders_new FOR VALUES FROM ('2024-01-01') TO ('2025-01-01'); CREATE TABLE orders_rest PARTITION OF orders_new "
      "DEFAULT; "
      "CREATE INDEX ON orders_new (note)");
  std::string file = kFile;
  file.replace(file.find("[id]"), 4, "[id, at]");
  write("m.yaml", file.replace(file.find("COLUMNS"), 7, "id: id, at: at, note: note"));
  auto const plan = run({"plan", "m.yaml"});
  EXPECT_THAT(
      plan.out,
      HasSubstr("is unique by orders_pkey, and the copy, which is partitioned, only together with its partition key"))
      << plan.err;
  swap();
  EXPECT_EQ(client_->value("INSERT INTO orders (note) VALUES ('x') RETURNING id || ' ' || (at = current_date)"),
            "301 true");
  EXPECT_EQ(
      client_->value("SELECT string_agg(relname || ' ' || relreplident::text || ' ' || relowner::regrole || ' ' || "
                     "coalesce(reloptions::text, ''), ', ' ORDER BY relname) FROM pg_class WHERE relname IN ('orders', "
                     "'orders_2024', 'orders_rest')"),
      "orders f parts_owner , orders_2024 f parts_owner {fillfactor=80}, orders_rest f parts_owner {fillfactor=80}");
  EXPECT_EQ(client_->value("SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) "
                           "FROM pg_index WHERE indrelid = "
                           "'orders'::regclass"),
            "by_note orders_pkey");
}

}  // namespace
}  // namespace pgbackfill::tests
