#include "planner/model/duration.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>

namespace pgbackfill::planner {
namespace {

using std::chrono::milliseconds;

TEST(Duration, ReadsEveryUnit) {
  EXPECT_EQ(parse_duration("100ms"), milliseconds{100});
  EXPECT_EQ(parse_duration("1s"), milliseconds{1'000});
  EXPECT_EQ(parse_duration("2m"), milliseconds{120'000});
  EXPECT_EQ(parse_duration("1h"), milliseconds{3'600'000});
  EXPECT_EQ(parse_duration("0s"), milliseconds{0});
}

TEST(Duration, ReadsDecimalsExactly) {
  EXPECT_EQ(parse_duration("1.5s"), milliseconds{1'500});
  EXPECT_EQ(parse_duration("0.001s"), milliseconds{1});
  EXPECT_EQ(parse_duration("2.25m"), milliseconds{135'000});
  EXPECT_EQ(parse_duration("0.1h"), milliseconds{360'000});
}

TEST(Duration, RefusesWhatHasNoUnitOrNoNumber) {
  for (auto const* text : {"",    "100", "1.5", "ms", "s",    ".5s", "1.s",  "1.2.3s", "-1s",   "+1s",
                           " 1s", "1 s", "1s ", "1d", "1sec", "1S",  "1e3s", "0x1s",   "1h30m", "one s"}) {
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
  }
}

TEST(Duration, RefusesPartsOfMilliseconds) {
  EXPECT_EQ(parse_duration("0.5ms"), std::nullopt);
  EXPECT_EQ(parse_duration("1.0001s"), std::nullopt);
}

TEST(Duration, RefusesWhatIsTooLong) {
  EXPECT_EQ(parse_duration("8760h"), kMaxDuration);
  EXPECT_EQ(parse_duration("8760.1h"), std::nullopt);
  EXPECT_EQ(parse_duration("8761h"), std::nullopt);
  EXPECT_EQ(parse_duration("999999999999h"), std::nullopt);
  EXPECT_EQ(parse_duration("99999999999999999999999999ms"), std::nullopt);
  EXPECT_EQ(parse_duration("0.0000000000000000000000000s"), std::nullopt);
}

TEST(Duration, IsWrittenShortAndExact) {
  EXPECT_EQ(format_duration(milliseconds{0}), "0ms");
  EXPECT_EQ(format_duration(milliseconds{100}), "100ms");
  EXPECT_EQ(format_duration(milliseconds{1'000}), "1s");
  EXPECT_EQ(format_duration(milliseconds{1'500}), "1.5s");
  EXPECT_EQ(format_duration(milliseconds{1'050}), "1.05s");
  EXPECT_EQ(format_duration(milliseconds{90'000}), "90s");
  EXPECT_EQ(format_duration(milliseconds{120'000}), "2m");
  EXPECT_EQ(format_duration(milliseconds{3'600'000}), "1h");
  EXPECT_EQ(format_duration(milliseconds{-250}), "-250ms");
  EXPECT_EQ(format_duration(milliseconds{std::numeric_limits<std::int64_t>::min()}), "-9223372036854775.808s");
}

RC_GTEST_PROP(Duration, IsReadBackAsItWasWritten, ()) {
  milliseconds const duration{*rc::gen::inRange<std::int64_t>(0, kMaxDuration.count() + 1)};
  RC_ASSERT(parse_duration(format_duration(duration)) == duration);
}

}  // namespace
}  // namespace pgbackfill::planner
