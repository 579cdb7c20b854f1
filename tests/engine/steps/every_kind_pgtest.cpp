// What becomes of objects of every catalog of the server that can depend on a table, its columns or its row type, by
// each form of swap: they are there afterwards as before, or the step is refused and names them. A catalog that is not
// in the table below, as of a newer server, fails the test until somebody has looked at it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/database_fixtures.h"

namespace pgbackfill::tests {
namespace {

using testing::HasSubstr;

enum class Fate { kCarried, kRefused };

// An object of a catalog on table t (id, a, b), of which column b takes the place of a, and of table t2.
struct Belonging {
  std::string catalog;
  std::string made_by;
  std::string name;  // as a message says it
  Fate by_column;
  Fate by_table;
  std::string counterpart = "";  // over column b, for it to be carried
  int since = 13;
};

std::vector<Belonging> const& belongings() {
  static std::vector<Belonging> const all = {
      {"pg_attrdef", "ALTER TABLE t ALTER a SET DEFAULT 5", "default", Fate::kCarried, Fate::kCarried},
      {"pg_attrdef", "ALTER TABLE t ADD twice int GENERATED ALWAYS AS (a * 2) STORED", "twice", Fate::kRefused,
       Fate::kCarried},
      {"pg_class", "CREATE INDEX by_a ON t (a)", "by_a", Fate::kCarried, Fate::kRefused, "CREATE INDEX by_b ON t (b)"},
      {"pg_class", "CREATE INDEX by_a ON t (a)", "by_a", Fate::kRefused, Fate::kRefused},
      {"pg_class", "CREATE SEQUENCE numbers OWNED BY t.a", "numbers", Fate::kCarried, Fate::kCarried},
      {"pg_class", "CREATE TABLE keeps (one t)", "column one of table", Fate::kRefused, Fate::kRefused},
      {"pg_class", "CREATE TABLE heir () INHERITS (t)", "inherits", Fate::kRefused, Fate::kRefused},
      {"pg_constraint", "ALTER TABLE t ADD CONSTRAINT few CHECK (a < 1000)", "few", Fate::kCarried, Fate::kRefused,
       "ALTER TABLE t ADD CHECK (b < 1000)"},
      {"pg_constraint", "ALTER TABLE t ADD CONSTRAINT few CHECK (a < 1000)", "few", Fate::kRefused, Fate::kRefused},
      {"pg_constraint", "ALTER TABLE t ADD CONSTRAINT one UNIQUE (a)", "one", Fate::kCarried, Fate::kRefused,
       "ALTER TABLE t ADD UNIQUE (b)"},
      {"pg_constraint", "ALTER TABLE t ADD UNIQUE (a); CREATE TABLE child (a int CONSTRAINT of_t REFERENCES t (a))",
       "of_t", Fate::kRefused, Fate::kCarried, "ALTER TABLE t ADD UNIQUE (b)"},
      {"pg_policy", "CREATE POLICY above ON t USING (a > 1)", "above", Fate::kRefused, Fate::kRefused},
      {"pg_proc", "CREATE FUNCTION parsed() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT a FROM t; END", "parsed",
       Fate::kRefused, Fate::kRefused, "", 14},
      {"pg_publication_rel", "CREATE PUBLICATION news FOR TABLE t (id, a)", "news", Fate::kCarried, Fate::kRefused, "",
       15},
      {"pg_rewrite", "CREATE VIEW shown WITH (security_barrier) AS SELECT a FROM t", "shown", Fate::kRefused,
       Fate::kRefused},
      {"pg_rewrite", "CREATE MATERIALIZED VIEW kept AS SELECT a FROM t", "kept", Fate::kRefused, Fate::kRefused},
      {"pg_rewrite", "CREATE RULE quiet AS ON UPDATE TO t WHERE NEW.a = 3 DO ALSO NOTHING", "quiet", Fate::kRefused,
       Fate::kRefused},
      {"pg_statistic_ext", "CREATE STATISTICS pairs ON a, id FROM t", "pairs", Fate::kCarried, Fate::kRefused},
      {"pg_trigger", "CREATE TRIGGER seen BEFORE UPDATE OF a ON t FOR EACH ROW EXECUTE FUNCTION idle()", "seen",
       Fate::kRefused, Fate::kCarried},
      {"pg_trigger", "CREATE TRIGGER seen BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION idle()", "seen",
       Fate::kCarried, Fate::kCarried},
      {"pg_type", "CREATE DOMAIN row_of_t AS t; CREATE TABLE keeps (one row_of_t)", "one", Fate::kRefused,
       Fate::kRefused},
      // Of the row's type: a column more or less is nothing to them, another table is.
      {"pg_proc", "CREATE FUNCTION of_row(t) RETURNS int LANGUAGE sql AS 'SELECT 1'", "of_row", Fate::kCarried,
       Fate::kRefused},
      {"pg_cast",
       "CREATE FUNCTION as_int(t) RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE CAST (t AS int) WITH "
       "FUNCTION as_int(t)",
       "cast from", Fate::kCarried, Fate::kRefused},
      {"pg_operator",
       "CREATE FUNCTION same(t, t) RETURNS bool LANGUAGE sql AS 'SELECT true'; CREATE OPERATOR === "
       "(LEFTARG = t, RIGHTARG = t, FUNCTION = same)",
       "operator", Fate::kCarried, Fate::kRefused},
      {"pg_opclass",
       "CREATE FUNCTION compare(t, t) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 0'; CREATE OPERATOR "
       "CLASS of_rows FOR TYPE t USING btree AS FUNCTION 1 compare(t, t)",
       "operator class", Fate::kCarried, Fate::kRefused},
  };
  return all;
}

// Catalogs whose objects depend on no table: what is in them is of the server, or of types and functions.
std::set<std::string> const& others() {
  static std::set<std::string> const names = {"pg_am",
                                              "pg_amop",
                                              "pg_amproc",
                                              "pg_authid",
                                              "pg_auth_members",
                                              "pg_collation",
                                              "pg_conversion",
                                              "pg_database",
                                              "pg_default_acl",
                                              "pg_enum",
                                              "pg_event_trigger",
                                              "pg_extension",
                                              "pg_foreign_data_wrapper",
                                              "pg_foreign_server",
                                              "pg_language",
                                              "pg_largeobject_metadata",
                                              "pg_namespace",
                                              "pg_opfamily",
                                              "pg_parameter_acl",
                                              "pg_publication",
                                              "pg_publication_namespace",
                                              "pg_subscription",
                                              "pg_tablespace",
                                              "pg_transform",
                                              "pg_ts_config",
                                              "pg_ts_dict",
                                              "pg_ts_parser",
                                              "pg_ts_template",
                                              "pg_user_mapping"};
  return names;
}

class EveryKindTest : public DatabaseTest {
 protected:
  void make(Belonging const& one) const {
    client_->exec(
        "SET client_min_messages = warning; DROP SCHEMA IF EXISTS pgbackfill CASCADE; DROP PUBLICATION IF EXISTS news; "
        "DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE FUNCTION idle() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RETURN NEW; END'; CREATE TABLE t (id int PRIMARY KEY, a int, b bigint); INSERT INTO t SELECT g, g, g "
        "FROM generate_series(1, 20) g; CREATE TABLE t2 (id bigint PRIMARY KEY, a bigint, b bigint)");
    if (one.made_by.find("twice") != std::string::npos) {
      client_->exec("ALTER TABLE t2 ADD twice int GENERATED ALWAYS AS (a * 2) STORED");
    }
    if (one.made_by.find("child") != std::string::npos) client_->exec("ALTER TABLE t2 ADD UNIQUE (a)");
    client_->exec(one.made_by);
  }
  // Of the table, its columns and its row type, in the words of the server.
  std::set<std::string> dependents() const {
    std::set<std::string> lines;
    std::istringstream text(client_->value(
        "SELECT string_agg(DISTINCT pg_describe_object(classid, objid, objsubid), E'\\n') FROM pg_depend WHERE "
        "refclassid = 'pg_class'::regclass AND refobjid = 't'::regclass OR refclassid = 'pg_type'::regclass AND "
        "refobjid IN (SELECT y.oid FROM pg_type y JOIN pg_class c ON c.oid = 't'::regclass AND c.reltype IN (y.oid, "
        "y.typelem))"));
    for (std::string line; std::getline(text, line);) lines.insert(line);
    return lines;
  }
  void expect_fate(Belonging const& one, Fate fate, ProgramResult const& result,
                   std::set<std::string> const& before) const {
    if (fate == Fate::kRefused) {
      EXPECT_EQ(result.exit_code, kUsage) << result.out << result.err;
      EXPECT_THAT(result.err, HasSubstr(one.name));
      return;
    }
    EXPECT_EQ(result.exit_code, kDone) << result.err;
    auto const after = dependents();
    for (auto const& line : before) EXPECT_TRUE(after.contains(line)) << "is gone: " << line;
  }
};

TEST_F(EveryKindTest, EveryCatalogOfTheServerIsKnown) {
  std::set<std::string> known = others();
  for (auto const& one : belongings()) known.insert(one.catalog);
  std::istringstream catalogs(client_->value(
      "SELECT string_agg(c.relname, ' ') FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = "
      "'oid' WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind = 'r'"));
  for (std::string name; catalogs >> name;) {
    EXPECT_TRUE(known.contains(name)) << name
                                      << ": what does a swap do with an object of it that depends on the table?";
  }
}

TEST_F(EveryKindTest, SwapColumnCarriesItOrNamesIt) {
  for (auto const& one : belongings()) {
    if (one.since > cluster_->major_version()) continue;
    SCOPED_TRACE(one.made_by);
    make(one);
    if (!one.counterpart.empty()) client_->exec(one.counterpart);
    auto const before = dependents();
    write("m.yaml", "name: m\ntable: t\nexpand:\n  - swap_column: {column: a, with: b, keep_as: a_old}\n");
    auto const result = run({"run", "m.yaml"});
    // What was over the new column has the name of what was over the old one now.
    std::set<std::string> of_old;
    for (auto const& line : before) {
      bool const is_counterpart = line.find("by_b") != std::string::npos || line.find("t_b_") != std::string::npos;
      if (!is_counterpart) of_old.insert(line);
    }
    expect_fate(one, one.by_column, result, of_old);
  }
}

TEST_F(EveryKindTest, SwapPrimaryKeyCarriesItOrNamesIt) {
  for (auto const& one : belongings()) {
    if (one.since > cluster_->major_version()) continue;
    SCOPED_TRACE(one.made_by);
    make(one);
    auto const before = dependents();
    write("m.yaml", "name: m\ntable: t\nexpand:\n  - swap_primary_key: {name: t_pkey, columns: [a, id]}\n");
    expect_fate(one, Fate::kCarried, run({"run", "m.yaml"}), before);
  }
}

TEST_F(EveryKindTest, SwapCarriesItOrNamesIt) {
  for (auto const& one : belongings()) {
    if (one.since > cluster_->major_version()) continue;
    SCOPED_TRACE(one.made_by);
    make(one);
    auto const before = dependents();
    write("m.yaml",
          "name: m\ntable: t\nsync: {mirror: [id]}\nbackfill:\n  copy_to: t2\n  columns: {id: id, a: a, b: b}\n"
          "throttle: {mode: off}\ncontract:\n  - swap: {with: t2, keep_as: t_old}\n");
    auto result = run({"run", "m.yaml"});
    if (result.exit_code == kDone) result = run({"complete", "m", "--yes"});
    std::set<std::string> of_table;
    for (auto const& line : before) {
      bool const is_its_type = line.starts_with("type t") || line.find("toast") != std::string::npos;
      if (!is_its_type) of_table.insert(line);
    }
    expect_fate(one, one.by_table, result, of_table);
  }
}

}  // namespace
}  // namespace pgbackfill::tests
