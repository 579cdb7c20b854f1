#include "planner/model/trouble.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace pgbackfill::planner {
namespace {

using namespace std::chrono_literals;

Trouble trouble_of(std::string const& sqlstate) {
  return classify(sqlstate, 10ms, 400ms);
}

TEST(Trouble, EachStateMeansWhatAnOperatorWouldDo) {
  std::vector<std::pair<std::string, Trouble>> const states = {
      {"22012", Trouble::kRowData},
      {"22P02", Trouble::kRowData},
      {"23505", Trouble::kRowData},
      {"23514", Trouble::kRowData},
      {"21000", Trouble::kRowData},
      {"44000", Trouble::kRowData},
      {"54000", Trouble::kRowData},
      {"P0001", Trouble::kRowData},
      {"38000", Trouble::kRowData},
      {"27000", Trouble::kRowData},
      {"XX000", Trouble::kRowData},
      {"XX001", Trouble::kRowData},
      {"0A000", Trouble::kRowData},
      {"55000", Trouble::kRowData},
      {"APP01", Trouble::kRowData},
      {"99999", Trouble::kRowData},
      {"55P03", Trouble::kLockTimeout},
      {"40P01", Trouble::kConflict},
      {"40001", Trouble::kConflict},
      {"25P04", Trouble::kConflict},
      {"08006", Trouble::kConnection},
      {"08P01", Trouble::kConnection},
      {"57P01", Trouble::kConnection},
      {"57P02", Trouble::kConnection},
      {"57P03", Trouble::kConnection},
      {"25P03", Trouble::kConnection},
      {"57P05", Trouble::kConnection},
      {"25006", Trouble::kNotWritable},
      {"53300", Trouble::kResources},
      {"53200", Trouble::kResources},
      {kFencedState, Trouble::kFenced},
      {kRepeatState, Trouble::kFatal},
      {kBudgetState, Trouble::kFatal},
      {"42703", Trouble::kFatal},
      {"42501", Trouble::kFatal},
      {"40003", Trouble::kConflict},
      {"3F000", Trouble::kFatal},
      {"58030", Trouble::kFatal},
      {"57P04", Trouble::kFatal},
      {kMovedState, Trouble::kFatal},
      {kLinkLostState, Trouble::kConnection},
  };
  for (auto const& [sqlstate, trouble] : states) EXPECT_EQ(trouble_of(sqlstate), trouble) << sqlstate;
  EXPECT_EQ(trouble_of("BF011"), Trouble::kFatal) << "its key could not be set aside either";
}

TEST(Trouble, AFullDiskIsNotTriedAgain) {
  EXPECT_EQ(trouble_of("53100"), Trouble::kFatal);
}

TEST(Trouble, AnErrorWithoutStateIsALostLink) {
  EXPECT_EQ(trouble_of(""), Trouble::kConnection);
  EXPECT_EQ(trouble_of("5"), Trouble::kConnection);
}

TEST(Trouble, ATimeoutIsToldFromACancelByTheTimeItTook) {
  EXPECT_EQ(classify("57014", 399ms, 400ms), Trouble::kCancelled);
  EXPECT_EQ(classify("57014", 400ms, 400ms), Trouble::kStatementTimeout);
}

TEST(Trouble, EveryTroubleHasANameOfItsOwn) {
  std::set<std::string> names;
  for (auto const trouble :
       {Trouble::kRowData, Trouble::kLockTimeout, Trouble::kStatementTimeout, Trouble::kCancelled, Trouble::kConflict,
        Trouble::kConnection, Trouble::kFenced, Trouble::kNotWritable, Trouble::kResources, Trouble::kFatal}) {
    EXPECT_TRUE(names.insert(describe(trouble)).second) << describe(trouble);
  }
}

}  // namespace
}  // namespace pgbackfill::planner
