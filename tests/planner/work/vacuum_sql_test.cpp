#include "planner/work/vacuum_sql.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

TEST(VacuumSql, NeverWaitsForItsLockNorTakesAnExclusiveOne) {
  EXPECT_EQ(vacuum_sql("public.users", 130'023), "VACUUM (SKIP_LOCKED, TRUNCATE off, PARALLEL 0) public.users");
  EXPECT_EQ(vacuum_sql("public.users", 150'020), "VACUUM (SKIP_LOCKED, TRUNCATE off, PARALLEL 0) public.users");
}

TEST(VacuumSql, DoesNoMoreThanTheTableAsksFor) {
  EXPECT_EQ(vacuum_sql("public.users", 160'014),
            "VACUUM (SKIP_LOCKED, TRUNCATE off, PARALLEL 0, SKIP_DATABASE_STATS) public.users");
  EXPECT_EQ(vacuum_sql("\"a\"\"b\".users", 180'004),
            "VACUUM (SKIP_LOCKED, TRUNCATE off, PARALLEL 0, SKIP_DATABASE_STATS) ONLY \"a\"\"b\".users");
}

}  // namespace
}  // namespace pgbackfill::planner
