#include "planner/lint/effect_probe.h"

#include <gtest/gtest.h>

#include <string>

namespace pgbackfill::planner::lint {
namespace {

std::string probe_of(std::string const& statement) {
  auto const probe = effect_probe(statement);
  return probe ? probe->table.schema + "|" + probe->table.name + "|" + probe->statement : "none";
}

TEST(EffectProbe, PutsTheCopyInThePlaceOfTheTable) {
  EXPECT_EQ(probe_of("ALTER TABLE public.users ALTER COLUMN n TYPE bigint"),
            "public|users|ALTER TABLE pg_temp.pgbackfill_copy ALTER COLUMN n TYPE bigint");
  EXPECT_EQ(probe_of("alter table only Users add column users int default 1"),
            "|users|alter table only pg_temp.pgbackfill_copy add column users int default 1");
  EXPECT_EQ(probe_of("CREATE INDEX users_idx ON \"My \"\"S\"\"\".\"a.b\" (x) WHERE x > 1"),
            "My \"S\"|a.b|CREATE INDEX users_idx ON pg_temp.pgbackfill_copy (x) WHERE x > 1");
  EXPECT_EQ(probe_of("ALTER TABLE IF EXISTS größe* ADD CHECK (a > 0)"),
            "|größe|ALTER TABLE IF EXISTS pg_temp.pgbackfill_copy* ADD CHECK (a > 0)");
}

TEST(EffectProbe, LeavesAloneWhatIsNotForACopy) {
  for (char const* statement :
       {"CREATE INDEX CONCURRENTLY i ON t (a)", "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES o",
        "ALTER TABLE t ADD COLUMN a int REFERENCES o", "ALTER TABLE t ATTACH PARTITION p DEFAULT",
        "ALTER TABLE t OWNER TO me", "ALTER INDEX i SET (fillfactor = 50)", "ALTER TABLE t RENAME TO u",
        "UPDATE t SET a = 1", "DROP TABLE t", "ALTER TABLE t ADD a int; ALTER TABLE t ADD b int",
        "ALTER TABLE d.s.t ADD a int", "ALTER TABLE s . t ADD a int", "ALTER TABL", ""}) {
    EXPECT_EQ(probe_of(statement), "none") << statement;
  }
}

}  // namespace
}  // namespace pgbackfill::planner::lint
