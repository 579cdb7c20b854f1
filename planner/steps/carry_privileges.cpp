#include "planner/steps/carry_privileges.h"

#include <string_view>

#include "planner/model/sql_text.h"

namespace pgbackfill::planner::recipes {
namespace {

// Membership lets somebody act as a role, until 16 made that an option of it.
constexpr int kVersionWithSetOption = 160000;

constexpr char kRows[] = R"sql(SELECT NULL::text AS col, a.grantee, CASE WHEN a.grantor = c.relowner THEN 0::oid ELSE
  a.grantor END AS grantor, a.privilege_type, a.is_grantable FROM pg_catalog.pg_class c,
  pg_catalog.aclexplode(coalesce(c.relacl, pg_catalog.acldefault(@kind@, c.relowner))) a WHERE c.oid = @oid@ UNION ALL
  SELECT t.attname::text, a.grantee, CASE WHEN a.grantor = c.relowner THEN 0::oid ELSE a.grantor END, a.privilege_type,
  a.is_grantable FROM pg_catalog.pg_attribute t JOIN pg_catalog.pg_class c ON c.oid = t.attrelid,
  pg_catalog.aclexplode(t.attacl) a WHERE NOT t.attisdropped AND t.attrelid = @oid@)sql";

constexpr char kRowsOfColumn[] = R"sql(SELECT n.attname::text AS col, a.grantee, CASE WHEN a.grantor = c.relowner THEN
  0::oid ELSE a.grantor END AS grantor, a.privilege_type, a.is_grantable FROM pg_catalog.pg_attribute t JOIN
  pg_catalog.pg_class c ON c.oid = t.attrelid JOIN pg_catalog.pg_attribute n ON n.attrelid = t.attrelid AND n.attnum =
  @named@, pg_catalog.aclexplode(t.attacl) a WHERE t.attnum = @number@ AND t.attrelid = @oid@)sql";

// A grant waits for the one that it stands on, so that a chain takes a round for each of its links.
constexpr char kBlock[] = R"sql(
  DECLARE
    prior constant text := current_setting('role');
    given record;
    is_given boolean;
  BEGIN
    FOR given IN (@of_new@) EXCEPT (@of_old@) ORDER BY 3 LOOP
      PERFORM set_config('role', CASE given.grantor WHEN 0 THEN prior ELSE pg_get_userbyid(given.grantor)::text END,
        true);
      EXECUTE format('REVOKE %s%s ON %s %s FROM %s CASCADE', given.privilege_type, '(' || quote_ident(given.col) || ')',
        '@what@', (@oid@)::regclass, CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
      PERFORM set_config('role', prior, true);
    END LOOP;
    FOR round IN 1..@rounds@ LOOP
      is_given := false;
      FOR given IN SELECT r.* FROM ((@of_old@) EXCEPT (@of_new@)) r WHERE @is_there@ AND (r.grantor = 0 OR EXISTS
          (SELECT FROM (@options@) g WHERE g.grantee = r.grantor AND g.is_grantable AND g.privilege_type =
          r.privilege_type AND (g.col IS NULL OR g.col = r.col))) LOOP
        PERFORM set_config('role', CASE given.grantor WHEN 0 THEN prior ELSE pg_get_userbyid(given.grantor)::text END,
          true);
        EXECUTE format('GRANT %s%s ON %s %s TO %s%s', given.privilege_type, '(' || quote_ident(given.col) || ')',
          '@what@', (@oid@)::regclass, CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END,
          CASE WHEN given.is_grantable THEN ' WITH GRANT OPTION' END);
        PERFORM set_config('role', prior, true);
        is_given := true;
      END LOOP;
      EXIT WHEN NOT is_given;
    END LOOP;
    IF EXISTS (SELECT FROM ((@of_old@) EXCEPT (@of_new@)) r WHERE @is_there@ AND r.grantor <> 0) THEN
      RAISE EXCEPTION 'a privilege could not be granted as its grantor has granted it; run it again';
    END IF;
  END;
)sql";

// Of grants that stand on one another.
constexpr char kMostRounds[] = "100";

constexpr char kIsThere[] =
    "(r.col IS NULL OR EXISTS (SELECT FROM pg_catalog.pg_attribute x WHERE x.attrelid = @oid@ AND x.attname = r.col "
    "AND "
    "NOT x.attisdropped))";

void put(std::string& text, std::string_view what, std::string const& by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
}

}  // namespace

std::string privileges_of(std::string const& kind, std::string const& oid) {
  std::string text = kRows;
  put(text, "@kind@", quote_literal(kind));
  put(text, "@oid@", oid);
  return text;
}

std::string privileges_of_column(std::string const& oid, std::string const& number, std::string const& named) {
  std::string text = kRowsOfColumn;
  put(text, "@oid@", oid);
  put(text, "@number@", number);
  put(text, "@named@", named);
  return text;
}

std::string carry_privileges(Privileges const& privileges, std::string const& what, std::string const& oid) {
  std::string text = kBlock;
  put(text, "@is_there@", kIsThere);
  put(text, "@of_old@", privileges.of_old);
  put(text, "@of_new@", privileges.of_new);
  put(text, "@options@", privileges.options);
  put(text, "@rounds@", kMostRounds);
  put(text, "@what@", what);
  put(text, "@oid@", oid);
  return text;
}

std::string unkept_grants(std::string const& rows, std::string const& oid, int server_version) {
  std::string const right = server_version < kVersionWithSetOption ? "'MEMBER'" : "'SET'";
  return "(SELECT string_agg(DISTINCT pg_catalog.format('%s%s to %s by %s', r.privilege_type, ' (' || "
         "pg_catalog.quote_ident(r.col) || ')', CASE r.grantee WHEN 0 THEN 'PUBLIC' ELSE "
         "r.grantee::pg_catalog.regrole::text END, r.grantor::pg_catalog.regrole), ', ') FROM (" +
         rows + ") r JOIN pg_catalog.pg_roles y ON y.oid = r.grantor JOIN pg_catalog.pg_class c ON c.oid = " + oid +
         " WHERE y.rolsuper OR NOT pg_catalog.pg_has_role(session_user, y.oid, " + right +
         ") OR NOT pg_catalog.has_schema_privilege(y.oid, c.relnamespace, 'USAGE'))";
}

}  // namespace pgbackfill::planner::recipes
