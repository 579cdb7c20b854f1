// where: changed, dedupe and move_to: in a file, and the SQL that becomes of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "planner/file/migration_file.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::planner {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

std::string file_with(std::string const& work) {
  return "name: m\ntable: t\nbackfill:\n  " + work + "\n";
}

std::vector<std::string> problems_of(std::string const& work) {
  std::vector<std::string> texts;
  for (auto const& problem : parse_migration(file_with(work), "m.yaml").problems) texts.push_back(to_string(problem));
  return texts;
}

WorkTarget target_of(std::string const& work, WorkTraits traits) {
  auto const parsed = parse_migration(file_with(work), "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  TableFacts table;
  table.schema = "public";
  table.name = "t";
  LeafFacts leaf;
  leaf.schema = "public";
  leaf.name = "t";
  Key key;
  key.columns = {{"id", "bigint", "", ""}};
  return make_work_target(*parsed.migration->backfill, table, leaf, key, traits);
}

Interval const kSome{KeyValue{"1"}, KeyValue{"9"}};

TEST(WhereChanged, ComparesWhatTheAssignmentWouldStore) {
  WorkTraits traits;
  traits.assigned_types = {{"numeric(10,2)"}};
  auto const target = target_of("set: {v: a / 3}\n  where: changed", traits);
  auto const batch = batch_work(target, kSome, BatchMode::kPlain);
  EXPECT_THAT(batch.work, HasSubstr("CAST((a / 3\n) AS numeric(10,2))"));
  EXPECT_TRUE(batch.knows_again);
  EXPECT_THAT(remaining_sql(target, kSome), HasSubstr("OPERATOR(pg_catalog.*<>)"));
}

TEST(WhereChanged, IsAWordBesideSet) {
  EXPECT_THAT(problems_of("set: {v: 1}\n  where: changed"), IsEmpty());
  EXPECT_THAT(problems_of("delete: true\n  where: changed"),
              ElementsAre(HasSubstr("m.yaml:5:10: 'where: changed' goes with 'set'")));
  auto const column = parse_migration(file_with("delete: true\n  where: (changed)"), "m.yaml");
  EXPECT_EQ(column.migration->backfill->where, "(changed)");
}

TEST(Dedupe, IsDeclaredByColumnsAndAnOrder) {
  EXPECT_THAT(problems_of("dedupe: {by: [email], keep: \"order  BY at DESC\"}"), IsEmpty());
  EXPECT_THAT(problems_of("dedupe: {by: [email]}"), ElementsAre(HasSubstr("'keep' is missing in 'dedupe'")));
  EXPECT_THAT(problems_of("dedupe: {by: [email], keep: at DESC}"),
              ElementsAre(HasSubstr("'keep' begins with ORDER BY")));
  EXPECT_THAT(problems_of("dedupe: {by: [email], keep: ORDER BY}"), ElementsAre(HasSubstr("ORDER BY")));
  EXPECT_THAT(problems_of("dedupe: {by: [email], keep: ORDER BY at}\n  delete: true\n  where: x"),
              ElementsAre(HasSubstr("cannot stand beside")));
}

TEST(Dedupe, LeavesARowOfEachGroupLocked) {
  WorkTraits traits;
  traits.group = {{"email", "OPERATOR(pg_catalog.=)", false}};
  auto const target = target_of("dedupe: {by: [email], keep: \"ORDER BY at DESC\"}", traits);
  auto const batch = batch_work(target, kSome, BatchMode::kPlain);
  EXPECT_THAT(batch.lock, HasSubstr("FOR UPDATE"));
  EXPECT_THAT(batch.keep,
              AllOf(HasSubstr("FOR SHARE"), Not(HasSubstr("SKIP LOCKED")), HasSubstr("ORDER BY at DESC\n, ")));
  EXPECT_THAT(batch.work, AllOf(HasSubstr("DELETE FROM"), HasSubstr("FROM pgbackfill_kept")));
  EXPECT_THAT(batch_work(target, kSome, BatchMode::kSkipLocked).keep, HasSubstr("FOR SHARE OF \"t\" SKIP LOCKED"));
  EXPECT_THAT(visit_work(target).keep, HasSubstr("SKIP LOCKED"));
  EXPECT_THAT(batch.work, HasSubstr(" UNION ALL ")) << "rows without a value are looked for by the index as well";
}

TEST(MoveTo, IsOneStatement) {
  WorkTraits traits;
  traits.moved_columns = {"id", "note"};
  auto const target = target_of("move_to: archive\n  where: is_old", traits);
  auto const work = batch_work(target, kSome, BatchMode::kPlain).work;
  EXPECT_THAT(work, AllOf(HasSubstr("RETURNING \"t\".\"id\", \"t\".\"note\""),
                          HasSubstr("INSERT INTO \"archive\" (\"id\", \"note\") SELECT \"id\", \"note\" FROM")));
  EXPECT_THAT(problems_of("move_to: archive"), ElementsAre(HasSubstr("'move_to' needs 'where' beside it")));
}

TEST(OnlyKeys, BoundPagesBatchesAndCounts) {
  auto target = target_of("set: {v: 1}", {});
  target.backfill.only_keys = "keys_table";
  for (auto const& sql : {batch_work(target, kSome, BatchMode::kPlain).work, remaining_sql(target, kSome),
                          batch_work(target, kSome, BatchMode::kSetAside).work, look_ahead_sql(target, kSome, 100),
                          last_key_sql(target), plain_work(target, kSome)}) {
    EXPECT_THAT(sql, HasSubstr("keys_table AS pgbackfill_listed"));
  }
  EXPECT_THAT(look_ahead_sql(target, kSome, 100), HasSubstr("pgbackfill_listed.\"id\" OPERATOR(pg_catalog.>) '1'"))
      << "or each page reads all keys before it again";
  EXPECT_THAT(last_key_sql(target), Not(HasSubstr("\"public\".\"t\""))) << "the table need not be searched for them";
}

}  // namespace
}  // namespace pgbackfill::planner
