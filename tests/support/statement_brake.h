// Stops pgbackfill's n-th DDL statement before it does anything, until the test lets it go: for killing it just there.
//
// SQL that makes schema `brake`: the number goes into brake.at; whoever holds advisory lock 42 keeps the statement,
// which shows by holding 43. A sequence counts, because it is not rolled back.
#pragma once

#include <string>
#include <vector>

#include "tests/support/pg_client.h"

namespace pgbackfill::tests {

inline constexpr char kStatementBrake[] = R"sql(
CREATE SCHEMA brake;
CREATE SEQUENCE brake.statements;
CREATE TABLE brake.at (statement int);
CREATE FUNCTION brake.pull() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  IF current_setting('application_name') <> 'pgbackfill' THEN RETURN; END IF;
  IF nextval('brake.statements') - 1 <> (SELECT statement FROM brake.at) THEN RETURN; END IF;
  PERFORM pg_advisory_xact_lock_shared(43);
  WHILE NOT pg_try_advisory_xact_lock(42) LOOP
    PERFORM pg_sleep(0.005);
  END LOOP;
END $$;
CREATE EVENT TRIGGER brake ON ddl_command_start EXECUTE FUNCTION brake.pull();
)sql";

// To be counted from here on, and the one of this number to be stopped; 0: none.
void set_brake(PgClient& client, int statement);
// DDL statements since set_brake().
int statements_seen(PgClient& client);

struct Kill {
  int statement = 0;            // before which the program is killed
  bool server_goes_on = false;  // with the statement; else its session ends as well
  std::string text;             // for people, with the seed
};

// With PGBACKFILL_KILLS=all (tests/run --all): at each of so many statements; else at the first, the last and two
// between them, by the seed of the tests. Each with the server going on and without.
std::vector<Kill> kills(int statements);

}  // namespace pgbackfill::tests
