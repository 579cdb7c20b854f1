#include "engine/state/typed_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgbackfill::engine::state {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

struct Result {
  std::vector<Fields> rows;
};

struct Session {
  static constexpr char kFrom[] = "pg_stat_activity";

  int pid = 0;
  std::string user;
  std::optional<std::string> query;
  bool waits = false;
  std::chrono::milliseconds age{0};
  std::vector<std::string> behind;
  std::optional<std::uint64_t> xid;
  double share = 0;
};

Fields session_fields() {
  return {"42", "app", std::nullopt, "t", "1500", "{7,8}", "18446744073709551615", "0.25"};
}

TEST(TypedRows, EachColumnIsWhatItsMemberSays) {
  auto const all = rows_as<Session>(Result{{session_fields()}});
  ASSERT_EQ(all.size(), 1U);
  auto const& session = all.front();
  EXPECT_EQ(session.pid, 42);
  EXPECT_EQ(session.user, "app");
  EXPECT_EQ(session.query, std::nullopt);
  EXPECT_TRUE(session.waits);
  EXPECT_EQ(session.age, 1500ms);
  EXPECT_THAT(session.behind, ElementsAre("7", "8"));
  EXPECT_EQ(session.xid, std::uint64_t{18446744073709551615U});
  EXPECT_EQ(session.share, 0.25);
}

struct Wrong {
  std::size_t column;
  std::optional<std::string> field;
  std::string said;
};

TEST(TypedRows, AColumnThatIsNotWhatItsMemberSaysIsNamed) {
  for (auto const& wrong : {Wrong{0, "x", "column 1 of 8 of pg_stat_activity is 'x'"},
                            Wrong{0, "4000000000", "column 1 of 8 of pg_stat_activity is '4000000000'"},
                            Wrong{0, std::nullopt, "column 1 of 8 of pg_stat_activity is NULL"},
                            Wrong{1, std::nullopt, "column 2 of 8 of pg_stat_activity is NULL"},
                            Wrong{3, "yes", "column 4 of 8 of pg_stat_activity is 'yes'"},
                            Wrong{4, "1.5", "column 5 of 8 of pg_stat_activity is '1.5'"},
                            Wrong{5, "7,8", "not a list"}, Wrong{6, "-1", "column 7 of 8 of pg_stat_activity is '-1'"},
                            Wrong{7, "NaN", "column 8 of 8 of pg_stat_activity is 'NaN'"}}) {
    auto fields = session_fields();
    fields[wrong.column] = wrong.field;
    EXPECT_THAT([&] { row_as<Session>(fields); }, ThrowsMessage<BrokenState>(HasSubstr(wrong.said)));
  }
}

struct Pair {
  int one = 0;
  std::optional<int> two;
};

TEST(TypedRows, AColumnThatIsNotThereIsNull) {
  EXPECT_EQ(row_as<Pair>({"1"}).two, std::nullopt);
  EXPECT_THAT([] { row_as<Session>(Fields{"42"}); }, ThrowsMessage<BrokenState>(HasSubstr("column 2 of 1")));
}

TEST(TypedRows, ColumnsBehindThoseOfTheStructAreOfOneType) {
  EXPECT_THAT((rest_as<bool, Pair>({"1", "2", "f", "t"})), ElementsAre(false, true));
}

TEST(TypedRows, OneColumnOrOneValueNeedsNoStruct) {
  EXPECT_THAT(column_as<std::string>(Result{{{"a"}, {"b"}}}), ElementsAre("a", "b"));
  EXPECT_EQ(value_as<std::int64_t>(Result{{{"9"}}}), 9);
  EXPECT_FALSE(first_as<Pair>(Result{}).has_value());
  EXPECT_THAT([] { value_as<int>(Result{{{"1"}, {"2"}}}); }, ThrowsMessage<BrokenState>(HasSubstr("one row")));
}

TEST(TypedRows, APageEndsWithTheKeyOfItsLastRowUnlessItIsTheEnd) {
  auto const page = page_of({"1000", "7", "x"});
  EXPECT_EQ(page.rows, 1000);
  EXPECT_THAT(page.last.value(), ElementsAre("7", "x"));
  EXPECT_EQ(page_of({"3", std::nullopt, std::nullopt}).last, std::nullopt);
}

}  // namespace
}  // namespace pgbackfill::engine::state
