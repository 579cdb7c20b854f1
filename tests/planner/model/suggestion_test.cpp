#include "planner/model/suggestion.h"

#include <gtest/gtest.h>

#include <array>

namespace pgbackfill::planner {
namespace {

constexpr std::array<std::string_view, 6> kKnown{"workers", "where", "set", "sql", "batch", "replica_lag"};

TEST(Suggestion, FindsAWordWithALetterLeftOutAddedReplacedOrSwapped) {
  EXPECT_EQ(nearest_word("wokers", kKnown), "workers");
  EXPECT_EQ(nearest_word("workerss", kKnown), "workers");
  EXPECT_EQ(nearest_word("worcers", kKnown), "workers");
  EXPECT_EQ(nearest_word("wokrers", kKnown), "workers");
  EXPECT_EQ(nearest_word("whree", kKnown), "where");
  EXPECT_EQ(nearest_word("ste", kKnown), "set");
}

TEST(Suggestion, DoesNotCareAboutCaseOrTheKindOfDash) {
  EXPECT_EQ(nearest_word("Workers", kKnown), "workers");
  EXPECT_EQ(nearest_word("replica-lag", kKnown), "replica_lag");
  EXPECT_EQ(nearest_word("replicaLag", kKnown), "replica_lag");
}

TEST(Suggestion, IsEmptyWhenNothingIsNear) {
  EXPECT_EQ(nearest_word("", kKnown), "");
  EXPECT_EQ(nearest_word("x", kKnown), "");
  EXPECT_EQ(nearest_word("colour", kKnown), "");
  EXPECT_EQ(nearest_word("workers", {}), "");
  EXPECT_EQ(nearest_word(std::string(1'000'000, 'w'), kKnown), "");
}

TEST(Suggestion, TakesTheFirstOfSeveralEquallyNear) {
  constexpr std::array<std::string_view, 2> kTwins{"min_rows", "max_rows"};
  EXPECT_EQ(nearest_word("mix_rows", kTwins), "min_rows");
}

TEST(Suggestion, KnowsTheWordInAnotherSchema) {
  std::vector<std::string_view> const known = {"orders", "sales.order", "archive.t"};
  EXPECT_EQ(did_you_mean("order", known), " (did you mean 'sales.order'?)");
  EXPECT_EQ(did_you_mean("t", known), " (did you mean 'archive.t'?)");
}

TEST(Suggestion, EndsAMessage) {
  EXPECT_EQ(did_you_mean("wokers", kKnown), " (did you mean 'workers'?)");
  EXPECT_EQ(did_you_mean("colour", kKnown), "");
}

}  // namespace
}  // namespace pgbackfill::planner
