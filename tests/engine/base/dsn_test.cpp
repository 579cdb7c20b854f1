#include "engine/base/dsn.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/pg/pg_connection.h"

namespace pgbackfill::engine {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Dsn read(std::string const& text) {
  auto const given = read_dsn(text, "DATABASE_URL", libpq_keywords());
  if (auto const* problem = std::get_if<std::string>(&given)) {
    ADD_FAILURE() << text << ": " << *problem;
    return {};
  }
  auto const dsn = std::get<Dsn>(given);
  EXPECT_FALSE(check_conninfo(dsn.conninfo)) << dsn.conninfo;
  return dsn;
}

std::string problem(std::string const& text) {
  auto const given = read_dsn(text, "DATABASE_URL", libpq_keywords());
  auto const* found = std::get_if<std::string>(&given);
  return found == nullptr ? "none: " + std::get<Dsn>(given).conninfo : *found;
}

struct Case {
  std::string text;
  std::string conninfo;
  std::string note;
};

void expect_read(std::vector<Case> const& cases) {
  for (auto const& [text, conninfo, note] : cases) {
    auto const dsn = read(text);
    EXPECT_EQ(dsn.conninfo, conninfo) << text;
    EXPECT_EQ(dsn.note, note.empty() ? "" : "DATABASE_URL: " + note) << text;
  }
}

TEST(Dsn, LeavesWhatLibpqKnowsAsItIs) {
  for (std::string const text :
       {"", "host=db dbname=app user=me password='a b\\'c'", "dbname=app options='-c a=b'", "service=app",
        "host = db  port =5432", "postgresql://", "postgresql:///app", "postgresql://me@db:5433/app",
        "postgresql://me:s%40c%2Fr%3Ft@db/app", "postgresql://me:a:b+c!$&'()*;=@db/app",
        "postgresql://[2001:db8::1]:5432/app", "postgresql://me@[::1],[::2]:5433/app",
        "postgresql://h1:5432,h2:5433/app?target_session_attrs=primary", "postgresql://%2Fvar%2Frun%2Fpostgresql/app",
        "postgresql:///app?host=/var/run/postgresql", "postgresql://db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgresql://db/app?application_name=a%20b&connect_timeout=5"}) {
    expect_read({{text, text, ""}});
  }
}

TEST(Dsn, ReadsSchemesOfDriversAndFrameworks) {
  expect_read(
      {{"postgres://me@db/app", "postgresql://me@db/app", ""},
       {"postgresql+psycopg2://me:x@db/app", "postgresql://me:x@db/app", "read postgresql+psycopg2 as postgresql"},
       {"postgresql+psycopg://db/app", "postgresql://db/app", "read postgresql+psycopg as postgresql"},
       {"postgresql+asyncpg://db/app", "postgresql://db/app", "read postgresql+asyncpg as postgresql"},
       {"postgres+pg8000://db/app", "postgresql://db/app", "read postgres+pg8000 as postgresql"},
       {"PostgreSQL://db/app", "postgresql://db/app", ""},
       {"postgis://db/app", "postgresql://db/app", "read postgis as postgresql"},
       {"jdbc:postgresql://db:1,[::1]:2/app", "postgresql://db:1,[::1]:2/app", "read jdbc:postgresql as postgresql"},
       {"jdbc:postgresql:app", "postgresql://localhost/app", "read jdbc:postgresql as postgresql"},
       {"jdbc:postgresql:/", "postgresql://localhost/", "read jdbc:postgresql as postgresql"},
       {" postgresql://db/app\n", "postgresql://db/app", ""}});
}

TEST(Dsn, TranslatesPrismasParameters) {
  expect_read(
      {{"postgresql://db/app?schema=public&connection_limit=5&pool_timeout=2",
        "postgresql://db/app?options=-c%20search_path%3Dpublic",
        "schema became search_path; left out connection_limit, pool_timeout"},
       {"postgresql://db/app?pgbouncer=true", "postgresql://db/app", "left out pgbouncer"},
       {"postgresql://db/app?schema=public&pgbouncer=true", "postgresql://db/app", "left out pgbouncer, schema"},
       {"postgresql://db/app?pgbouncer=true&schema=app", "postgresql://db/app?options=-c%20search_path%3Dapp",
        "schema became search_path; left out pgbouncer"},
       {"postgresql://db/app?schema=My%20App", "postgresql://db/app?options=-c%20search_path%3D%22My%5C%20App%22",
        "schema became search_path"},
       {"postgresql://db/app?options=-c%20lock_timeout%3D1s&schema=a",
        "postgresql://db/app?options=-c%20lock_timeout%3D1s%20-c%20search_path%3Da", "schema became search_path"},
       {"postgresql://db/app?sslmode=prefer&sslaccept=strict", "postgresql://db/app?sslmode=prefer&sslmode=verify-full",
        "sslaccept became sslmode"},
       {"postgresql://db/app?sslaccept=accept_invalid_certs", "postgresql://db/app", "left out sslaccept"}});
}

TEST(Dsn, TranslatesParametersOfSqlalchemyAndAsyncpg) {
  expect_read({{"postgresql+asyncpg://db/app?ssl=require&prepared_statement_cache_size=0&server_settings=x",
                "postgresql://db/app?sslmode=require",
                "read postgresql+asyncpg as postgresql; ssl became sslmode; left out prepared_statement_cache_size, "
                "server_settings"},
               {"postgresql+asyncpg://db/app?ssl=verify-full", "postgresql://db/app?sslmode=verify-full",
                "read postgresql+asyncpg as postgresql; ssl became sslmode"},
               {"postgresql://me@/app?host=a:5432&host=b:5433", "postgresql://me@/app?host=a,b&port=5432,5433", ""},
               {"postgresql://me@/app?host=::1", "postgresql://me@/app?host=::1", ""},
               {"postgresql://me@/app?unix_sock=/run/pg/.s.PGSQL.5432", "postgresql://me@/app?host=/run/pg",
                "unix_sock became host"}});
}

TEST(Dsn, TranslatesParametersOfJdbc) {
  expect_read({{"jdbc:postgresql://db/app?user=me&password=a%26b&ssl=true",
                "postgresql://db/app?user=me&password=a%26b&sslmode=require",
                "read jdbc:postgresql as postgresql; ssl became sslmode"},
               {"jdbc:postgresql://db/app?ssl", "postgresql://db/app?sslmode=require",
                "read jdbc:postgresql as postgresql; ssl became sslmode"},
               {"jdbc:postgresql://db/app?currentSchema=app,public&ApplicationName=web%20app",
                "postgresql://db/app?application_name=web%20app&options=-c%20search_path%3Dapp,public",
                "read jdbc:postgresql as postgresql; currentSchema became search_path; ApplicationName became "
                "application_name"},
               {"jdbc:postgresql://a,b/app?targetServerType=preferSecondary&prepareThreshold=0",
                "postgresql://a,b/app?target_session_attrs=prefer-standby",
                "read jdbc:postgresql as postgresql; targetServerType became target_session_attrs; left out "
                "prepareThreshold"},
               {"jdbc:postgresql://db/app?tcpKeepAlive=true&sslmode=verify-ca",
                "postgresql://db/app?keepalives=1&sslmode=verify-ca",
                "read jdbc:postgresql as postgresql; tcpKeepAlive became keepalives"}});
}

TEST(Dsn, TranslatesParametersOfOtherFrameworks) {
  expect_read({{"postgres://db/app?pool=5&statement_timeout=5000",
                "postgresql://db/app?options=-c%20statement_timeout%3D5000", "left out pool"},
               {"postgres://db/app?sslmode=no-verify&uselibpqcompat=true", "postgresql://db/app?sslmode=require",
                "sslmode=no-verify became sslmode; left out uselibpqcompat"},
               {"postgres://db/app?pool_max_conns=4&search_path=a", "postgresql://db/app?options=-c%20search_path%3Da",
                "left out pool_max_conns"}});
}

TEST(Dsn, EncodesAnAtSignOfThePassword) {
  expect_read({{"postgresql://me:s3c@r@t@db/app", "postgresql://me:s3c%40r%40t@db/app", ""},
               {"postgresql://me:a?b@db/app?sslmode=disable", "postgresql://me:a?b@db/app?sslmode=disable", ""},
               {"postgresql://me@server:x@db/app", "postgresql://me%40server:x@db/app", ""},
               {"postgresql://db?user=me@server", "postgresql://db?user=me@server", ""}});
}

TEST(Dsn, RefusesUnknownParametersByNameAndSource) {
  EXPECT_EQ(
      problem("postgresql://db/app?sslmod=require"),
      "DATABASE_URL: unknown parameter 'sslmod' (did you mean 'sslmode'?); take it out, or write what libpq calls "
      "it");
  EXPECT_THAT(problem("postgresql://db/app?zzz=1"), StartsWith("DATABASE_URL: unknown parameter 'zzz'; take it out"));
  EXPECT_THAT(problem("host=db sslmod=require"), StartsWith("DATABASE_URL: unknown parameter 'sslmod' (did you mean"));
  EXPECT_THAT(problem("jdbc:postgresql://db/app?socketFactory=x"), HasSubstr("unknown parameter 'socketFactory'"));
  EXPECT_THAT(problem("postgresql://db/app?sslmode"), HasSubstr("parameter 'sslmode' has no value"));
}

TEST(Dsn, RefusesOtherServers) {
  EXPECT_EQ(problem("mysql://db/app"),
            "DATABASE_URL: mysql is not a scheme of PostgreSQL; write postgresql://user@host:port/dbname");
  EXPECT_THAT(problem("prisma+postgres://accelerate/?api_key=hidden"), HasSubstr("prisma+postgres is not a scheme"));
  EXPECT_THAT(problem("jdbc:mysql://db/app"), HasSubstr("jdbc:mysql is not a scheme"));
}

TEST(Dsn, NeverShowsAPartOfAPassword) {
  for (std::string const text :
       {"postgresql://me:hid/den@db/app", "postgresql://me:hid@den/hid@db/app", "postgresql://db/app?hid=den@x",
        "postgresql://db/app?sslmode=%hidden", "postgresql://db/app?a hidden=1", "postgresql://me@b:hid?den=y@h/db",
        "postgresql://me:hid/den?hid=den@db/app"}) {
    auto const wrong = problem(text);
    EXPECT_THAT(wrong, StartsWith("DATABASE_URL: ")) << text;
    EXPECT_THAT(wrong, Not(HasSubstr("hid"))) << text;
    EXPECT_THAT(wrong, Not(HasSubstr("den"))) << text;
  }
  EXPECT_THAT(problem("password=my hidden=1"), Not(HasSubstr("unknown parameter")));
  EXPECT_THAT(problem("passwrd=hidden"), Not(HasSubstr("unknown parameter")));
  EXPECT_THAT(read("postgresql+asyncpg://me:hidden@db/app?pool_size=1").note, Not(HasSubstr("hidden")));
}

}  // namespace
}  // namespace pgbackfill::engine
