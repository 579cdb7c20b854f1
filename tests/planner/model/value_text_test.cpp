#include "planner/model/value_text.h"

#include <gtest/gtest.h>

namespace pgbackfill::planner {
namespace {

TEST(ValueText, CastsTypesOfTheServer) {
  EXPECT_EQ(text_of_value("t.a", "bigint"), "t.a::pg_catalog.text");
  EXPECT_EQ(text_of_value("t.a", "uuid"), "t.a::pg_catalog.text");
  EXPECT_EQ(value_of_text("key[1]", "numeric(10,2)[]"), "(key[1])::numeric(10,2)[]");
  EXPECT_EQ(value_of_text("key[1]", "jsonb"), "(key[1])::pg_catalog.jsonb");
}

TEST(ValueText, CallsNoCastsOfOtherTypes) {
  EXPECT_EQ(text_of_value("t.a", "public.mood"),
            "CASE WHEN pg_catalog.num_nulls(t.a) OPERATOR(pg_catalog.=) 0 THEN pg_catalog.concat(t.a) END");
  EXPECT_EQ(value_of_text("key[1]", "\"My.S\".mood[]"),
            "(SELECT pgbackfill_one.v FROM pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object('v', key[1])) AS "
            "pgbackfill_one (v \"My.S\".mood[]))");
}

TEST(ValueText, MayBeThatOfAnotherValueInOtherTypesAlone) {
  EXPECT_EQ(has_other_text("t.a", "timestamp with time zone"), "");
  EXPECT_EQ(has_other_text("t.a", "public.seg"),
            "pg_catalog.record_ne(ROW((t.a)::public.seg), ROW((SELECT pgbackfill_one.v FROM "
            "pg_catalog.jsonb_to_record(pg_catalog.jsonb_build_object('v', pg_catalog.concat(t.a))) AS pgbackfill_one "
            "(v public.seg))))");
}

}  // namespace
}  // namespace pgbackfill::planner
