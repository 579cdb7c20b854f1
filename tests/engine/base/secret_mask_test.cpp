#include "engine/base/secret_mask.h"

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

TEST(SecretMask, TakesPasswordsOutOfUrlsThatDoNotWork) {
  EXPECT_EQ(masked("postgresql://u:p@ss/w0rd@h/db", {}), "postgresql://u:***@h/db");
  EXPECT_EQ(masked("postgresql://u:pa/ss@h/db", {}), "postgresql://u:***@h/db");
  EXPECT_EQ(masked("postgresql://h1:5432,h2:5433/db", {}), "postgresql://h1:5432,h2:5433/db");
  EXPECT_EQ(masked("postgresql://[::1]:5432/db", {}), "postgresql://[::1]:5432/db");
}

TEST(SecretMask, TakesPasswordsOutOfQueries) {
  EXPECT_EQ(masked("postgresql://h/d?user=u&password=a%20b&sslmode=require", {}),
            "postgresql://h/d?user=u&password=***&sslmode=require");
  EXPECT_EQ(masked("postgresql://h/d?%70assword=x", {}), "postgresql://h/d?%70assword=***");
  EXPECT_EQ(masked("http://h/x?access_token=abc#y", {}), "http://h/x?access_token=***");
}

TEST(SecretMask, TakesPasswordsOutOfConnectionStringsAndShells) {
  EXPECT_EQ(masked("psql 'host=h password=a' && PGPASSWORD=\"b c\" psql; x --password=d", {}),
            "psql 'host=h password=***' && PGPASSWORD=*** psql; x --password=***");
  EXPECT_EQ(masked("password = 'a \\' b' port=1", {}), "password = *** port=1");
  EXPECT_EQ(masked("PGPASSWORD=$SECRET psql; PGPASSWORD=\"$(cat f)\"", {}),
            "PGPASSWORD=$SECRET psql; PGPASSWORD=\"$(cat f)\"");
}

TEST(SecretMask, LeavesSqlAsItIsButForConnectionsAndRoles) {
  for (auto const* sql :
       {"UPDATE users SET password = lower(name) WHERE password = 'x'", "UPDATE t SET host=a, password=b",
        "password=crypt(name, 'x')", "SELECT 'a' || '://' || password"}) {
    EXPECT_EQ(without_passwords(sql), sql);
  }
  EXPECT_EQ(without_passwords("CREATE SUBSCRIPTION s CONNECTION 'host=h password=x dbname=d' PUBLICATION p"),
            "CREATE SUBSCRIPTION s CONNECTION 'host=h password=*** dbname=d' PUBLICATION p");
  EXPECT_EQ(without_passwords("dblink('password=x')"), "dblink('password=***')");
  EXPECT_EQ(without_passwords("ALTER ROLE a ENCRYPTED PASSWORD 'it''s'; x"), "ALTER ROLE a ENCRYPTED PASSWORD ***; x");
  EXPECT_EQ(without_passwords("OPTIONS (user 'u', password 'x')"), "OPTIONS (user 'u', password ***)");
  EXPECT_EQ(without_passwords("dblink('postgresql://u:p@h/d')"), "dblink('postgresql://u:***@h/d')");
}

TEST(SecretMask, FindsThemWithTheirSurroundings) {
  auto const found = find_secrets("echo postgresql://u:p@h/d; PGPASSWORD='x y' true");
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].surrounded, "u:p@");
  EXPECT_EQ(found[0].masked, "u:***@");
  EXPECT_EQ(found[1].bare, "x y");
  EXPECT_EQ(found[1].surrounded, "PGPASSWORD='x y' ");
  EXPECT_EQ(found[1].masked, "PGPASSWORD=*** ");
}

TEST(SecretMask, TakesThemOutWhereverTheyAre) {
  EXPECT_EQ(masked("key=abcd, abcdefgh, abcdabcd", {"abcdefgh", "abcd"}), "key=***, ***, ******");
  EXPECT_EQ(masked("", {"abcd"}), "");
}

}  // namespace
}  // namespace pgbackfill::engine
