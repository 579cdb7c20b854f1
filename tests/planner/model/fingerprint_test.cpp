#include "planner/model/fingerprint.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

// Tables and triggers in databases have names that are made of these.
TEST(Fingerprint, StaysWhatItIs) {
  EXPECT_EQ(fingerprint(""), "cbf29ce484222325");
  EXPECT_EQ(fingerprint("a"), "af63dc4c8601ec8c");
  EXPECT_EQ(fingerprint("foobar"), "85944171f73967e8");
}

}  // namespace
}  // namespace pgbackfill::planner
