#include "engine/secret_mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgbackfill::engine {
namespace {

using testing::ElementsAre;

TEST(SecretMask, TakesPasswordsOutOfUrls) {
  EXPECT_EQ(masked("to postgresql://app:s3c@r@t:x@db:5432/prod?a=b@c now", {}),
            "to postgresql://app:***@db:5432/prod?a=b@c now");
  EXPECT_EQ(masked("http://u:p@h/ and http://q:r@i", {}), "http://u:***@h/ and http://q:***@i");
  EXPECT_EQ(masked("http://h:80/a@b postgresql:///x mailto:a@b ://", {}),
            "http://h:80/a@b postgresql:///x mailto:a@b ://");
}

TEST(SecretMask, KnowsSecretsByTheNamesOfTheirVariables) {
  EXPECT_THAT(secrets_in({{"PGPASSWORD", "open sesame"},
                          {"API_TOKEN", "12345"},
                          {"client_secret", "abc"},
                          {"PGUSER", "postgres"},
                          {"HOME", "/root"}}),
              ElementsAre("open sesame", "12345"));
}

TEST(SecretMask, TakesThemOutWhereverTheyAre) {
  EXPECT_EQ(masked("key=abcd, abcdefgh, abcdabcd", {"abcdefgh", "abcd"}), "key=***, ***, ******");
  EXPECT_EQ(masked("", {"abcd"}), "");
}

}  // namespace
}  // namespace pgbackfill::engine
