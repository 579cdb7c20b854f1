#include "planner/checks/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace pgbackfill::planner {
namespace {

using testing::HasSubstr;
using testing::SizeIs;
using Kind = AgreementWalk::Step::Kind;

LeafFacts leaf_with_key() {
  LeafFacts leaf;
  leaf.schema = "public";
  leaf.name = "t";
  leaf.columns = {{"id", "bigint", true, false, false, "bigint"},
                  {"price", "numeric", false, false, false, "numeric(10,2)"},
                  {"odd\"one", "text", false, false, false, "text"}};
  IndexFacts index;
  index.name = "t_pkey";
  index.primary = index.unique = index.valid = index.ordered = index.default_opclasses = true;
  index.columns = {{"id", "bigint", "", "", false, false}};
  leaf.indexes = {index};
  return leaf;
}

Check check_of(std::vector<Assignment> set, std::string where = "") {
  Check check;
  check.position = {"m.yaml", 4, 5};
  AgreesCheck agrees;
  agrees.table = {"public", "t"};
  agrees.set = std::move(set);
  agrees.where = std::move(where);
  agrees.where_position = {"m.yaml", 6, 7};
  check.kind = agrees;
  return check;
}

Assignment price_is(std::string expression) {
  return {{"m.yaml", 5, 9}, "price", std::move(expression)};
}

TableFacts table_of(LeafFacts const& leaf) {
  TableFacts table;
  table.schema = leaf.schema;
  table.name = leaf.name;
  table.server_version = 150000;
  table.leaves = {leaf};
  return table;
}

AgreementTarget target_of(Check const& check, LeafFacts const& leaf) {
  auto made = make_agreement_target(check, table_of(leaf), leaf);
  EXPECT_TRUE(std::holds_alternative<AgreementTarget>(made)) << to_string(std::get<AgreementRefusal>(made).problem);
  return std::get<AgreementTarget>(std::move(made));
}

// --- SQL -------------------------------------------------------------------------------------------------------------

TEST(Agreement, ComparesWithWhatAnAssignmentWouldHaveStored) {
  auto const target = target_of(check_of({price_is("net * 1.19 -- tax")}, "net > 0"), leaf_with_key());
  std::string const is = "ROW(\"t\".\"price\")::pg_catalog.record";
  std::string const should_be = "ROW(CAST((net * 1.19 -- tax\n) AS numeric(10,2)))::pg_catalog.record";
  EXPECT_EQ(compare_sql(target, {KeyValue{"5"}, KeyValue{"9"}}),
            "SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE CASE WHEN " + is +
                " OPERATOR(pg_catalog.*<>) " + should_be + " THEN " + is + " OPERATOR(pg_catalog.<>) " + should_be +
                " OR " + is + "::pg_catalog.text OPERATOR(pg_catalog.<>) " + should_be +
                "::pg_catalog.text ELSE false END) FROM ONLY \"public\".\"t\" AS \"t\" WHERE \"t\".\"id\" "
                "OPERATOR(pg_catalog.>) '5'::bigint AND \"t\".\"id\" OPERATOR(pg_catalog.<=) '9'::bigint AND (net > "
                "0\n)");
}

TEST(Agreement, ComparesATypeWithoutEqualityByItsTextAlone) {
  auto const leaf = leaf_with_key();
  auto const made = make_agreement_target(check_of({price_is("net")}), table_of(leaf), leaf, {"price"});
  EXPECT_THAT(compare_sql(std::get<AgreementTarget>(made), {}),
              HasSubstr(" THEN ROW(\"t\".\"price\")::pg_catalog.record::pg_catalog.text OPERATOR(pg_catalog.<>) "));
}

TEST(Agreement, ComparesByTheCollationOfTheColumn) {
  auto leaf = leaf_with_key();
  leaf.columns[2].collation = "pg_catalog.\"C\"";
  auto const target = target_of(check_of({{{}, "odd\"one", "upper(name)"}}), leaf);
  EXPECT_THAT(compare_sql(target, {}),
              HasSubstr("ROW(CAST((upper(name)\n) AS pg_catalog.text) COLLATE pg_catalog.\"C\")"));
}

TEST(Agreement, ShowsAFewRowsThatDiffer) {
  auto const target = target_of(check_of({price_is("1"), {{}, "odd\"one", "'x'"}}), leaf_with_key());
  EXPECT_THAT(differing_sql(target, {}, 3), HasSubstr("SELECT \"t\".\"id\"::pg_catalog.text, "
                                                      "pg_catalog.left((\"t\".\"price\")::pg_catalog.text, 60)"));
  EXPECT_THAT(differing_sql(target, {}, 3), HasSubstr(" ORDER BY \"t\".\"id\" LIMIT 3"));
  auto const row = differing_row(target, {"7", std::nullopt, "1.00", "t", "x", "x", "f"});
  EXPECT_THAT(row.values, SizeIs(1));
  EXPECT_EQ(to_string(row), "row 7 of \"public\".\"t\": price is NULL and should be '1.00'");
}

TEST(Agreement, ReadsATableWithoutAKeyByBlocks) {
  auto leaf = leaf_with_key();
  leaf.indexes.clear();
  auto const target = target_of(check_of({price_is("1")}), leaf);
  EXPECT_TRUE(target.work.key.is_by_block());
  EXPECT_THAT(compare_sql(target, {KeyValue{"4"}, KeyValue{"9"}}), HasSubstr("\"t\".ctid"));
  EXPECT_THAT(differing_sql(target, {}, 3), HasSubstr("SELECT \"t\".ctid::pg_catalog.text, "));
  EXPECT_EQ(to_string(differing_row(target, {"(0,1)", "2.00", "1.00", "t"})),
            "row (0,1) of \"public\".\"t\": price is '2.00' and should be '1.00'");
}

TEST(Agreement, AColumnThatIsNotThereIsToldWithItsPlace) {
  auto const leaf = leaf_with_key();
  auto const made = make_agreement_target(check_of({{{"m.yaml", 5, 9}, "prise", "1"}}), table_of(leaf), leaf);
  ASSERT_TRUE(std::holds_alternative<AgreementRefusal>(made));
  EXPECT_EQ(to_string(std::get<AgreementRefusal>(made).problem),
            "m.yaml:5:9: table \"public\".\"t\" has no column 'prise' (did you mean 'price'?)");
}

TEST(Agreement, ChecksEachPartInItsPlace) {
  auto const target = target_of(check_of({price_is("net")}, "net > 0"), leaf_with_key());
  auto const probes = agreement_probes(target);
  ASSERT_THAT(probes, SizeIs(7));
  EXPECT_EQ(probes[0].position.line, 6);
  EXPECT_THAT(probes[2].sql, HasSubstr("\"t\".\"id\" OPERATOR(pg_catalog.<=) \"t\".\"id\" AND"));
  EXPECT_EQ(probes[3].position.line, 5);
  EXPECT_EQ(probes[6].position.line, 4);
  EXPECT_THAT(probes[4].sql, HasSubstr("GROUP BY \"t\".\"price\""));
  EXPECT_THAT(probes[5].sql, HasSubstr("SELECT CASE WHEN true THEN net\nEND FROM"));
}

TEST(Agreement, IsDefinedByTableColumnsAndCondition) {
  auto const of = [](Check const& check) { return agreement_definition(std::get<AgreesCheck>(check.kind)); };
  EXPECT_EQ(of(check_of({price_is("net")})), of(check_of({price_is("net")})));
  EXPECT_NE(of(check_of({price_is("net")})), of(check_of({price_is("gross")})));
  EXPECT_NE(of(check_of({price_is("net")})), of(check_of({price_is("net")}, "id > 5")));
}

TEST(Agreement, IsMendedWhereItDiffersAndNowhereElse) {
  Backfill like;
  like.workers = 7;
  auto const target = target_of(check_of({price_is("net")}, "net > 0"), leaf_with_key());
  auto const backfill = repair_of(target, like);
  ASSERT_THAT(backfill.assignments, SizeIs(1));
  EXPECT_EQ(backfill.assignments[0].column, "price");
  EXPECT_EQ(backfill.assignments[0].expression, "net");
  EXPECT_THAT(backfill.where, testing::StartsWith("(net > 0\n) AND CASE WHEN ROW(\"t\".\"price\")"));
  EXPECT_EQ(backfill.workers, 7);
  EXPECT_EQ(repair_of(target, std::nullopt).workers, Backfill().workers);
}

// --- the walk --------------------------------------------------------------------------------------------------------

AgreementProgress up_to(std::string upper) {
  AgreementProgress progress;
  progress.upper = KeyValue{std::move(upper)};
  return progress;
}

Failure failure_of(Trouble trouble) {
  Failure failure;
  failure.trouble = trouble;
  failure.message = "so";
  return failure;
}

TEST(AgreementWalk, GoesPageByPageToTheEnd) {
  AgreementWalk walk(up_to("90"), std::nullopt);
  auto step = walk.next(40);
  EXPECT_EQ(step.kind, Kind::kFindPage);
  EXPECT_EQ(step.rows, 40);
  EXPECT_EQ(step.interval, (Interval{std::nullopt, KeyValue{"90"}}));
  walk.record_page({40, KeyValue{"40"}});
  step = walk.next(99);
  EXPECT_EQ(step.kind, Kind::kCompare);
  EXPECT_EQ(step.interval, (Interval{std::nullopt, KeyValue{"40"}}));
  walk.record_compared(38, 2);
  EXPECT_EQ(walk.progress().cursor, KeyValue{"40"});
  EXPECT_EQ(walk.next(99).rows, 99);
  walk.record_page({50, std::nullopt});
  step = walk.next(99);
  EXPECT_EQ(step.interval, (Interval{KeyValue{"40"}, KeyValue{"90"}}));
  walk.record_compared(50, 1);
  EXPECT_EQ(walk.next(99).kind, Kind::kFinished);
  EXPECT_TRUE(walk.progress().is_done);
  EXPECT_EQ(walk.progress().rows_compared, 88);
  EXPECT_EQ(walk.progress().rows_differing, 3);
}

TEST(AgreementWalk, GoesOnWhereItWas) {
  AgreementWalk first(up_to("90"), std::nullopt);
  first.next(40);
  first.record_page({40, KeyValue{"40"}});
  first.next(40);
  first.record_compared(40, 4);
  AgreementWalk second(first.progress(), std::nullopt);
  EXPECT_EQ(second.next(10).interval, (Interval{KeyValue{"40"}, KeyValue{"90"}}));
  second.record_page({10, std::nullopt});
  second.next(10);
  second.record_compared(10, 0);
  EXPECT_EQ(second.progress().rows_compared, 50);
  EXPECT_EQ(second.progress().rows_differing, 4);
  EXPECT_EQ(AgreementWalk(second.progress(), std::nullopt).next(10).kind, Kind::kFinished);
}

TEST(AgreementWalk, AnEmptyLeafIsFinished) {
  EXPECT_EQ(AgreementWalk(AgreementProgress(), std::nullopt).next(10).kind, Kind::kFinished);
}

TEST(AgreementWalk, CountsBlocksWhereThereIsNoKey) {
  AgreementWalk walk(up_to("9"), 10.0);
  auto step = walk.next(45);
  EXPECT_EQ(step.kind, Kind::kCompare);
  EXPECT_EQ(step.interval, (Interval{std::nullopt, KeyValue{"3"}}));
  walk.record_compared(40, 0);
  EXPECT_EQ(walk.next(1).interval, (Interval{KeyValue{"3"}, KeyValue{"4"}})) << "one block at least";
  walk.record_compared(10, 0);
  EXPECT_EQ(walk.next(1000).interval, (Interval{KeyValue{"4"}, KeyValue{"9"}}));
  walk.record_compared(50, 0);
  EXPECT_EQ(walk.next(1000).kind, Kind::kFinished);
}

TEST(AgreementWalk, TriesASmallerPageAfterATimeout) {
  AgreementWalk walk(up_to("90"), std::nullopt);
  walk.next(40);
  walk.record_page({40, KeyValue{"40"}});
  walk.next(40);
  walk.record(failure_of(Trouble::kStatementTimeout));
  auto const step = walk.next(20);
  EXPECT_EQ(step.kind, Kind::kFindPage);
  EXPECT_EQ(step.rows, 20);
  walk.record_page({1, KeyValue{"1"}});
}

TEST(AgreementWalk, GivesUpOnOneRowThatTakesTooLong) {
  AgreementWalk walk(up_to("90"), std::nullopt);
  walk.next(1);
  walk.record(failure_of(Trouble::kStatementTimeout));
  EXPECT_EQ(walk.next(1).kind, Kind::kFailed);
}

TEST(AgreementWalk, WaitsOutAConflictAndGivesUpInTheEnd) {
  AgreementWalk walk(up_to("90"), std::nullopt);
  for (int attempt = 1; attempt <= 20; ++attempt) {
    EXPECT_EQ(walk.next(9).kind, Kind::kFindPage);
    walk.record_page({9, KeyValue{"9"}});
    walk.next(9);
    walk.record(failure_of(Trouble::kConflict));
    auto const step = walk.next(9);
    EXPECT_EQ(step.kind, Kind::kWait);
    EXPECT_EQ(step.attempt, attempt);
  }
  walk.next(9);
  walk.record(failure_of(Trouble::kConflict));
  EXPECT_EQ(walk.next(9).kind, Kind::kFailed);
}

TEST(AgreementWalk, StopsAtAnErrorOfARow) {
  AgreementWalk walk(up_to("90"), std::nullopt);
  walk.next(9);
  walk.record(failure_of(Trouble::kRowData));
  auto const step = walk.next(9);
  EXPECT_EQ(step.kind, Kind::kFailed);
  EXPECT_EQ(step.failure.message, "so");
  EXPECT_EQ(walk.progress().cursor, std::nullopt);
}

}  // namespace
}  // namespace pgbackfill::planner
