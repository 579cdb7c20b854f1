#include "planner/model/compute_pace.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

Compute of_file() {
  Compute compute;
  compute.processes = 2;
  compute.in_flight = 4;
  compute.per_second = 40;
  return compute;
}

TEST(ComputePace, IsWhatTheFileSaysUntilSomethingIsSet) {
  EXPECT_EQ(compute_pace(of_file(), {}), (ComputePace{2, 4, 40}));
  EXPECT_EQ(compute_pace(of_file(), {{"in_flight", "7"}, {"per_second", "5"}}), (ComputePace{2, 7, 5}));
  EXPECT_EQ(compute_pace(of_file(), {{"per_second", "none"}}), (ComputePace{2, 4, std::nullopt}));
}

TEST(ComputePace, RequestsInFlightFollowTheProcesses) {
  EXPECT_EQ(compute_pace(of_file(), {{"processes", "8"}}).in_flight, 16);
  EXPECT_EQ(compute_pace(of_file(), {{"processes", "1"}}).in_flight, 2);
  EXPECT_EQ(compute_pace(of_file(), {{"processes", "8"}, {"in_flight", "3"}}).in_flight, 3);
  EXPECT_EQ(compute_pace(of_file(), {{"processes", "64"}}).in_flight, 128);
}

TEST(ComputePace, WhatCannotBeReadIsAsIfItWereNotThere) {
  for (char const* text : {"", "0", "-1", "many", "1e3", "99999999999999999999", "3 "}) {
    EXPECT_EQ(compute_pace(of_file(), {{"processes", text}, {"in_flight", text}, {"per_second", text}}),
              (ComputePace{2, 4, 40}))
        << text;
  }
}

TEST(ComputePace, ValuesAreBounded) {
  auto const* processes = find_compute_setting("processes");
  ASSERT_NE(processes, nullptr);
  EXPECT_EQ(compute_setting_problem(*processes, "64"), "");
  EXPECT_EQ(compute_setting_problem(*processes, "65"), "a number from 1 to 64");
  EXPECT_NE(compute_setting_problem(*processes, "none"), "");
  EXPECT_EQ(compute_setting_problem(*find_compute_setting("per_second"), "none"), "");
  EXPECT_EQ(find_compute_setting("rows"), nullptr);
}

}  // namespace
}  // namespace pgbackfill::planner
