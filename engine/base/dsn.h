// Connection URLs as applications have them, read as libpq wants them.
//
// A URL that is written for SQLAlchemy, asyncpg, Prisma, JDBC or Rails says more than where the database is: a driver
// behind the scheme, the size of a pool, the schema of a session. What means something to a session is translated, what
// is about the other tool alone is left out, and both are told. What is not known here is refused: it could be what
// keeps a connection safe. Key=value strings are left as they are. A value never reaches a note or an error, since a
// part of a password could be taken for one. Pure functions.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <variant>

namespace pgbackfill::engine {

struct Dsn {
  std::string conninfo;  // for libpq, which may still refuse it
  std::string note;      // what was translated or left out, on one line; empty: nothing
};

// The text is from `where` (DATABASE_URL, --dsn), which begins each note and error; libpq knows the keywords. The
// string is what is wrong.
std::variant<Dsn, std::string> read_dsn(std::string_view text, std::string_view where,
                                        std::set<std::string> const& keywords);

}  // namespace pgbackfill::engine
