// The trigger of `sync:` as text: which side a group of columns follows, and what no trigger can do.
#include "planner/steps/sync_sql.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "planner/file/migration_file.h"
#include "planner/steps/step_order.h"

namespace pgbackfill::planner {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

SpelledSync one_way() {
  return {{{"display_name", "upper(name)", {"name"}, ""}}, {}, "users"};
}

SpelledSync two_way() {
  return {{{"display_name", "upper(name)", {"name"}, ""}},
          {{"name", "lower(display_name)", {"display_name"}, ""}},
          "users"};
}

std::size_t count_of(std::string const& text, std::string const& part) {
  std::size_t count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(SyncBody, ComputesOnInsertAndWhereAnythingOfThePairChanged) {
  EXPECT_EQ(sync_body(one_way()), R"(
#variable_conflict use_column
BEGIN
  IF TG_OP OPERATOR(pg_catalog.=) 'INSERT' THEN
    SELECT upper(name)
      INTO NEW."display_name" FROM (SELECT NEW.*) AS users;
  ELSE
    IF ROW(OLD."name")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(NEW."name")::pg_catalog.record
        OR ROW(OLD."display_name")::pg_catalog.record OPERATOR(pg_catalog.*<>) )"
                                  R"(ROW(NEW."display_name")::pg_catalog.record
        OR NEW."display_name" IS NULL THEN
      SELECT upper(name)
        INTO NEW."display_name" FROM (SELECT NEW.*) AS users;
    END IF;
  END IF;
  RETURN NEW;
END
)");
}

TEST(SyncBody, FollowsTheSideThatWasWritten) {
  auto const body = sync_body(two_way());
  auto const update = body.substr(body.find("    IF ROW(OLD"));
  auto const old_side = update.find("ROW(OLD.\"name\")");
  auto const new_side = update.find("ELSIF ROW(OLD.\"display_name\")");
  auto const unfilled = update.find("ELSIF NEW.\"display_name\" IS NULL");
  EXPECT_LT(old_side, new_side) << "old wins where both changed";
  EXPECT_LT(new_side, unfilled);
  EXPECT_NE(unfilled, std::string::npos);
  EXPECT_THAT(
      body,
      HasSubstr("IF (NEW.\"display_name\" IS DISTINCT FROM NULL) AND NOT (NEW.\"name\" IS DISTINCT FROM NULL) THEN"));
}

TEST(SyncBody, TakesAConstantDefaultForNothing) {
  auto sync = two_way();
  sync.reverse[0].default_value = "('x'::text)::text";
  EXPECT_THAT(sync_body(sync),
              HasSubstr("NOT (NEW.\"name\" IS DISTINCT FROM NULL AND ROW(NEW.\"name\")::pg_catalog.record "
                        "OPERATOR(pg_catalog.*<>) ROW(('x'::text)::text)::pg_catalog.record) THEN"));
}

TEST(SyncBody, LeavesBothSidesOfAnInsertAloneThatAgree) {
  auto const body = sync_body(two_way());
  auto const insert = body.substr(0, body.find("  ELSE\n    IF ROW(OLD"));
  EXPECT_THAT(insert, HasSubstr("pgbackfill_given := NEW;\n      SELECT lower(display_name)\n"));
  EXPECT_THAT(insert,
              HasSubstr("IF ROW(pgbackfill_given.\"name\")::pg_catalog.record OPERATOR(pg_catalog.*<>) "
                        "ROW(NEW.\"name\")::pg_catalog.record THEN\n        NEW := pgbackfill_given;\n        SELECT "
                        "upper(name)\n"));
}

TEST(SyncBody, LetsTheNewSideWinOverADefaultThatVaries) {
  auto sync = two_way();
  sync.reverse[0].has_varying_default = true;
  auto const body = sync_body(sync);
  EXPECT_THAT(body, HasSubstr("NEW := pgbackfill_given;\n        SELECT lower(display_name)\n"));
  EXPECT_THAT(sync_problem(sync), IsEmpty());
  sync.set[0].has_varying_default = true;
  EXPECT_THAT(sync_problem(sync), HasSubstr("columns display_name and name both have a default that is no constant"));
  sync.reverse[0].has_varying_default = false;
  EXPECT_THAT(sync_problem(sync), IsEmpty());
}

TEST(SyncBody, ComparesWholeRowsButForWhatItComputes) {
  SpelledAssignment doc{"doc", "to_jsonb(users.*)", {}, ""};
  doc.reads_row = true;
  auto const body = sync_body({{doc}, {}, "users"});
  EXPECT_THAT(body, HasSubstr("DECLARE\n  pgbackfill_read record;\nBEGIN\n"));
  EXPECT_THAT(body, HasSubstr("pgbackfill_read := OLD;\n    pgbackfill_read.\"doc\" := NEW.\"doc\";\n"));
  EXPECT_THAT(body, HasSubstr("IF pgbackfill_read OPERATOR(pg_catalog.*<>) NEW\n"));
}

TEST(SyncBody, FillsARowThatReverseWouldEmpty) {
  SpelledSync const sync{{{"c", "f(a)", {"a"}, ""}}, {{"a", "g(c, note)", {"c", "note"}, ""}}, "t"};
  EXPECT_THAT(sync_body(sync), HasSubstr("ELSIF OLD.\"c\" IS NULL AND NEW.\"c\" IS NULL THEN"));
}

TEST(SyncBody, FillsOnceWhatFollowsFromNoColumn) {
  auto const body = sync_body({{{"token", "gen_random_uuid()", {}, ""}}, {}, "users"});
  EXPECT_EQ(count_of(body, "IF NEW.\"token\" IS NULL THEN"), 2U);
  EXPECT_THAT(body, Not(HasSubstr("OLD")));
}

TEST(SyncBody, DecidesForEachPairByItself) {
  SpelledSync const sync{{{"c", "f(a, lang)", {"a", "lang"}, ""}, {"d", "f(b, lang)", {"b", "lang"}, ""}},
                         {{"a", "g(c)", {"c"}, ""}, {"b", "g(d)", {"d"}, ""}}};
  auto const body = sync_body(sync);
  EXPECT_THAT(body, HasSubstr("IF ROW(OLD.\"a\", OLD.\"lang\")"));
  EXPECT_THAT(body, HasSubstr("IF ROW(OLD.\"b\", OLD.\"lang\")"));
  EXPECT_THAT(body, Not(HasSubstr("OLD.\"a\", OLD.\"b\"")));
}

TEST(SyncBody, DecidesTogetherForColumnsThatOneIsSplitInto) {
  SpelledSync const sync{{{"first", "split_part(full_name, ' ', 1)", {"full_name"}, ""},
                          {"last", "split_part(full_name, ' ', 2)", {"full_name"}, ""}},
                         {{"full_name", "first || ' ' || last", {"first", "last"}, ""}}};
  auto const body = sync_body(sync);
  EXPECT_EQ(count_of(body, "ELSIF ROW(OLD.\"first\", OLD.\"last\")"), 1U);
  EXPECT_THAT(body, HasSubstr("INTO NEW.\"first\", NEW.\"last\" FROM"));
}

TEST(SyncBody, QuotesEveryName) {
  auto const body = sync_body({{{"a\"b", "x", {"c'd"}, ""}}, {}, "\"t\"\"t\""});
  EXPECT_THAT(body, HasSubstr("NEW.\"a\"\"b\""));
  EXPECT_THAT(body, HasSubstr("OLD.\"c'd\""));
  EXPECT_THAT(body, HasSubstr("AS \"t\"\"t\""));
}

TEST(SyncProblem, NamesWhatNoTriggerCanDo) {
  EXPECT_THAT(sync_problem(one_way()), IsEmpty());
  EXPECT_THAT(sync_problem(two_way()), IsEmpty());
  EXPECT_THAT(sync_problem({{{"n", "n + 1", {"n"}, ""}}, {}}), HasSubstr("set: n is computed from n"));
  EXPECT_THAT(sync_problem({{{"c", "a", {"a"}, ""}, {"d", "c", {"c"}, ""}}, {}}),
              HasSubstr("set: d is computed from c"));
  EXPECT_THAT(sync_problem({{{"c", "a", {"a"}, ""}}, {{"a", "b", {"b"}, ""}}}),
              HasSubstr("reverse: a reads none of the columns that set: computes"));
  EXPECT_THAT(sync_problem({{{"c", "a", {"a"}, ""}}, {{"c", "b", {"b"}, ""}}}), HasSubstr("in set: and in reverse:"));
}

TEST(SyncSpelling, MeansTheSameUnderAnySearchPath) {
  InstallSync step;
  step.set = {{{}, "c", "?"}};
  auto const sync = read_sync_spelling(step, "(upper(a) || ext.f(b))\nt\n0\n('x'::text)::text");
  ASSERT_TRUE(sync);
  EXPECT_EQ(sync->set[0].expression, "(pg_catalog.upper(a) OPERATOR(pg_catalog.||) ext.f(b))");
  EXPECT_EQ(sync->set[0].default_value, "('x'::pg_catalog.text)::pg_catalog.text");
}

TEST(SyncSpelling, ReadsBackWhatTheServerSays) {
  InstallSync step;
  step.set = {{{}, "c", "?"}};
  step.reverse = {{{}, "a", "?"}};
  auto const sync = read_sync_spelling(step, "x\\ny \\\\\nt\n2\na\nb\\nb\n\nz\nt\n1\nc\n(0)::integer");
  ASSERT_TRUE(sync);
  EXPECT_EQ(sync->set[0].expression, "x\ny \\");
  EXPECT_EQ(sync->set[0].reads, (std::vector<std::string>{"a", "b\nb"}));
  EXPECT_EQ(sync->reverse[0].reads, (std::vector<std::string>{"c"}));
  EXPECT_EQ(sync->reverse[0].default_value, "(0)::integer");
  EXPECT_FALSE(read_sync_spelling(step, ""));
  EXPECT_EQ(sync->alias, "t");
  EXPECT_FALSE(read_sync_spelling(step, "x\nt\n0\n\nz\nt\n0\n\nmore"));
  EXPECT_FALSE(read_sync_spelling(step, "x\nt\n0\n\nz\nu\n0\n"));
  EXPECT_TRUE(read_sync_spelling(step, "x\nt\n0\n\nz\nt\n0\n"));
  auto const whole = read_sync_spelling(step, "x\nt\n*\n\nz\nt\n0\nvaries");
  ASSERT_TRUE(whole);
  EXPECT_TRUE(whole->set[0].reads_row);
  EXPECT_TRUE(whole->reverse[0].has_varying_default);
  EXPECT_EQ(whole->reverse[0].default_value, "");
}

TEST(SyncNames, AreShortEnoughAndDifferForLongMigrations) {
  std::string const stem(62, 'm');
  for (auto* name : {&sync_trigger_name, &sync_function_name}) {
    EXPECT_LE((*name)(stem + "a").size(), 63U);
    EXPECT_NE((*name)(stem + "a"), (*name)(stem + "b"));
  }
  EXPECT_EQ(sync_trigger_name("users"), "~pgbackfill_users");
}

TEST(SyncNames, LieBehindWhatTheyReadAndBeforeTheirReaders) {
  auto const usual = sync_trigger_name("m");
  EXPECT_EQ(sync_trigger_name_between("m", {}, {}), usual);
  EXPECT_EQ(sync_trigger_name_between("m", {"~pgbackfill_a"}, {"~pgbackfill_z"}), usual);
  auto const later = sync_trigger_name_between("a", {"~pgbackfill_z"}, {});
  EXPECT_GT(later, "~pgbackfill_z");
  EXPECT_TRUE(is_sync_trigger_name(later, "a"));
  EXPECT_FALSE(is_sync_trigger_name(later, "b"));
  auto const still_later = sync_trigger_name_between("a", {later, "~pgbackfillb_x"}, {});
  EXPECT_GT(still_later, "~pgbackfillb_x");
  auto const earlier = sync_trigger_name_between("z", {}, {"~pgbackfill_a"});
  EXPECT_LT(earlier, "~pgbackfill_a");
  EXPECT_GT(earlier, "zzz") << "behind the triggers of applications";
  EXPECT_EQ(sync_trigger_name_between("m", {"~pgbackfill_z"}, {"~pgbackfill_a"}), "");
  EXPECT_LE(sync_trigger_name_between(std::string(63, 'm'), {usual}, {}).size(), 63U);
}

// --- the order of steps

Migration migration_of(std::string const& text) {
  auto parsed = parse_migration("name: x\ntable: t\nsync: {set: {c: a}}\n" + text, "m.yaml");
  EXPECT_TRUE(parsed.migration) << to_lines(parsed.problems);
  return parsed.migration.value_or(Migration());
}

std::vector<std::string> contract_of(std::string const& text) {
  std::vector<std::string> order;
  for (auto const& step : contract_steps(migration_of(text))) order.push_back(step.step.text.substr(0, 11));
  return order;
}

TEST(StepOrder, EndsSyncBeforeTheFirstStepThatTakesAway) {
  using Order = std::vector<std::string>;
  EXPECT_EQ(contract_of(""), (Order{"end of sync"}));
  EXPECT_EQ(contract_of("contract:\n  - set_not_null: c\n"), (Order{"set_not_nul", "end of sync"}));
  EXPECT_EQ(contract_of("contract:\n  - set_not_null: c\n  - drop_column: a\n  - set_not_null: c\n"),
            (Order{"set_not_nul", "end of sync", "drop_column", "set_not_nul"}));
  EXPECT_EQ(contract_of("contract:\n  - sql: SELECT 1000000\n"), (Order{"end of sync", "SELECT 1000"}));
}

TEST(StepOrder, KnowsWhetherTheTriggerGuardsTheBackfill) {
  EXPECT_TRUE(sync_guards_backfill(migration_of("backfill: {set: {c: a}, where: c IS NULL}\n")));
  EXPECT_FALSE(sync_guards_backfill(migration_of("backfill: {set: {c: a, d: a}}\n")));
  EXPECT_FALSE(sync_guards_backfill(migration_of("backfill: {table: u, set: {c: a}}\n")));
  EXPECT_FALSE(sync_guards_backfill(migration_of("backfill: {delete: true, where: a > 1}\n")));
  EXPECT_FALSE(sync_guards_backfill(migration_of("")));
}

}  // namespace
}  // namespace pgbackfill::planner
