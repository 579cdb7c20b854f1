// What other migrations need of a table, and where a trigger of `sync:` stands among theirs: pure text of files.
#include "planner/steps/other_migrations.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "planner/file/migration_file.h"

namespace pgbackfill::planner {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Migration migration_of(std::string const& text) {
  auto parsed = parse_migration(text, "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  return parsed.migration.value_or(Migration());
}

bool by_name(TableName const& one, TableName const& other, bool /*exactly*/) {
  return one.name == other.name;
}

std::vector<std::string> conflicts_of(std::string const& step, std::string const& other, OpenParts open) {
  auto const mine = migration_of("name: mine\ntable: t\ncontract:\n  - " + step + "\n");
  auto const migration = migration_of("name: other\ntable: t\n" + other);
  if (open.contract.empty()) open.contract = contract_steps(migration);
  std::erase_if(open.contract, [](PlacedStep const& placed) { return placed.phase == kSyncPhase; });
  return conflicts(takings_of(contract_steps(mine)), needs_of(migration, open), by_name);
}

OpenParts with_sync() {
  OpenParts open;
  open.has_sync = true;
  return open;
}

OpenParts with_job() {
  OpenParts open;
  open.has_job = true;
  open.indexes = {"t_pkey"};
  open.key = {"id"};
  return open;
}

TEST(OtherMigrations, ASyncNeedsWhatItReadsAndWrites) {
  std::string const sync =
      "sync: {set: {b: \"upper(a)\"}, reverse: {a: b}}\nbackfill: {set: {b: a}, where: b IS NULL}\n";
  EXPECT_THAT(conflicts_of("drop_column: a", sync, with_sync()),
              ElementsAre(AllOf(HasSubstr("m.yaml:4:5: contract step 1 (drop_column"),
                                HasSubstr("migration other needs column a of t for its sync trigger"))));
  EXPECT_THAT(conflicts_of("drop_column: b", sync, with_sync()), testing::SizeIs(1));
  EXPECT_THAT(conflicts_of("drop_column: c", sync, with_sync()), IsEmpty());
  EXPECT_THAT(conflicts_of("drop_column: a", sync, OpenParts()), IsEmpty()) << "it is over";
  EXPECT_THAT(conflicts_of("drop_table: {table: t}", sync, with_sync()), testing::SizeIs(1));
  EXPECT_THAT(conflicts_of("sql: ALTER TABLE public.t RENAME COLUMN a TO x", sync, with_sync()), testing::SizeIs(1));
  EXPECT_THAT(conflicts_of("sql: ALTER TABLE public.t ALTER COLUMN a TYPE varchar(9)", sync, with_sync()),
              testing::SizeIs(1));
}

TEST(OtherMigrations, WhoReadsTheRowNeedsAllOfIt) {
  std::string const sync = "sync: {set: {b: \"to_jsonb(t)\"}}\n";
  EXPECT_THAT(conflicts_of("drop_column: whatever", sync, with_sync()), testing::SizeIs(1));
}

TEST(OtherMigrations, AMirrorNeedsTheKeysOfBothTables) {
  auto const other = migration_of(
      "name: other\ntable: t\nsync: {mirror: [id]}\nbackfill: {copy_to: c, columns: {id: number, a: a}}\n");
  auto const needs = needs_of(other, with_sync());
  auto const conflicts_with = [&](TableName const& table, std::vector<std::string> columns, bool is_unique) {
    Taking taking;
    taking.table = table;
    taking.index = "some";
    taking.index_columns = std::move(columns);
    taking.is_unique = is_unique;
    return conflicts({taking}, needs, by_name);
  };
  EXPECT_THAT(conflicts_with({"", "c"}, {"id"}, true),
              ElementsAre(HasSubstr("migration other needs index some for its sync trigger")));
  EXPECT_THAT(conflicts_with({"", "t"}, {"number"}, true), testing::SizeIs(1)) << "what the key is computed from";
  EXPECT_THAT(conflicts_with({"", "c"}, {"id"}, false), IsEmpty()) << "no ON CONFLICT goes by it";
  EXPECT_THAT(conflicts_with({"", "c"}, {"a"}, true), IsEmpty());
}

TEST(OtherMigrations, AJobNeedsItsColumnsItsKeyAndItsIndex) {
  std::string const job = "backfill: {set: {b: \"upper(a)\"}, where: \"c > 0\"}\n";
  for (char const* step : {"drop_column: a", "drop_column: b", "drop_column: c", "drop_column: id",
                           "drop_index: t_pkey", "drop_constraint: t_pkey", "rename_table: {to: x}"}) {
    EXPECT_THAT(conflicts_of(step, job, with_job()), ElementsAre(HasSubstr("for its backfill"))) << step;
  }
  EXPECT_THAT(conflicts_of("drop_index: t_other", job, with_job()), IsEmpty());
  std::string const sql = "backfill: {sql: \"UPDATE t SET b = s.x FROM s WHERE s.id = t.id AND {batch:t}\"}\n";
  EXPECT_THAT(conflicts_of("drop_column: b", sql, with_job()), testing::SizeIs(1));
  EXPECT_THAT(conflicts_of("drop_column: other", sql, with_job()), IsEmpty());
  EXPECT_THAT(conflicts_of("drop_table: {table: s}", sql, with_job()), testing::SizeIs(1));
}

TEST(OtherMigrations, OpenContractStepsNeedWhatTheyAreAbout) {
  EXPECT_THAT(conflicts_of("drop_column: a", "contract:\n  - set_not_null: a\n", OpenParts()),
              ElementsAre(HasSubstr("its contract step 1 (set_not_null")));
  EXPECT_THAT(conflicts_of("drop_column: a", "contract:\n  - drop_column: a\n", OpenParts()), IsEmpty());
}

TEST(OtherMigrations, UndoingTakesAwayWhatExpandMade) {
  auto const mine = migration_of("name: mine\ntable: t\nexpand:\n  - add_column: {name: b, type: text}\n");
  auto const other = migration_of("name: other\ntable: t\nsync: {set: {c: b}}\n");
  EXPECT_THAT(conflicts(takings_of_undo(expand_steps(mine)), needs_of(other, with_sync()), by_name),
              ElementsAre(HasSubstr("expand step 1, undone")));
}

SyncColumns sync_of(std::string const& name, std::string const& sync) {
  auto columns = sync_columns_of(migration_of("name: " + name + "\ntable: t\nsync: {" + sync + "}\n" +
                                              "backfill: {set: {z: \"1\"}, where: z IS NULL}\n"));
  columns.trigger = "~pgbackfill_" + name;
  return columns;
}

TEST(OtherMigrations, ATriggerFiresBehindWhatItReads) {
  auto const writer = sync_of("z", "set: {b: a}");
  EXPECT_GT(place_sync(sync_of("a", "set: {c: b}"), {writer}).trigger, writer.trigger);
  EXPECT_EQ(place_sync(sync_of("a", "set: {c: d}"), {writer}).trigger, "~pgbackfill_a");
  auto const reader = sync_of("a", "set: {c: b}");
  EXPECT_LT(place_sync(writer, {reader}).trigger, reader.trigger);
  auto const row_reader = sync_of("a", "set: {c: to_jsonb(t)}");
  EXPECT_GT(place_sync(row_reader, {writer}).trigger, writer.trigger);
}

TEST(OtherMigrations, TriggersWithoutAnOrderAreRefused) {
  auto const one = sync_of("one", "set: {b: c}");
  EXPECT_THAT(place_sync(sync_of("two", "set: {c: b}"), {one}).problem, HasSubstr("of migration one would each read"));
  EXPECT_THAT(place_sync(sync_of("two", "set: {b: d}"), {one}).problem, HasSubstr("computes column b as well"));
  EXPECT_THAT(place_sync(sync_of("m", "set: {c: b}, reverse: {a: c}"),
                         {sync_of("z", "set: {b: x}"), sync_of("a", "set: {e: a}")})
                  .problem,
              HasSubstr("between those of migrations z, a"));
}

}  // namespace
}  // namespace pgbackfill::planner
