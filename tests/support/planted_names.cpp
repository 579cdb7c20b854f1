#include "tests/support/planted_names.h"

#include <set>
#include <sstream>

namespace pgbackfill::tests {
namespace {

constexpr std::size_t kStatementBytes = 300;

// pg_temp.plant(schema, name, arguments, result, body): one function, if the server lets it be made.
constexpr char const* kTools = R"sql(
SET search_path = pg_catalog, pg_temp;
SET check_function_bodies = off;
CREATE FUNCTION pg_temp.plant(schema text, name text, arguments text, result text, body text) RETURNS int
LANGUAGE plpgsql AS $tool$
BEGIN
  EXECUTE format('CREATE FUNCTION %I.%I(%s) RETURNS %s LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS %L',
                 schema, name, arguments, result,
                 format('BEGIN IF current_user <> %L THEN RAISE LOG ''planted: %%'', %L; END IF; %s END',
                        current_user, format('%s.%s(%s)', schema, name, arguments), body));
  RETURN 1;
EXCEPTION WHEN OTHERS THEN RETURN 0;
END $tool$;
CREATE FUNCTION pg_temp.try(sql text) RETURNS void LANGUAGE plpgsql AS $tool$
BEGIN EXECUTE sql; EXCEPTION WHEN OTHERS THEN NULL; END $tool$;
CREATE FUNCTION pg_temp.numbered(arguments int) RETURNS text LANGUAGE sql AS $tool$
  SELECT string_agg('$' || i, ', ' ORDER BY i) FROM generate_series(1, arguments) i $tool$;
CREATE TEMPORARY TABLE often (type text, is_number boolean);
INSERT INTO often SELECT t, true FROM unnest(ARRAY['oid', 'int2', 'int4', 'int8', 'regclass', 'regtype']) t;
INSERT INTO often SELECT t, false FROM unnest(ARRAY['text', 'name', '"char"', 'bool', 'varchar', 'xid', 'timestamptz',
  'numeric', 'float8', 'text[]', 'name[]', 'int2vector', 'oid[]', 'uuid', 'jsonb', 'pg_lsn', 'interval']) t;
-- Types that a call may have where the catalog has another one.
CREATE TEMPORARY TABLE near (type regtype, better regtype);
INSERT INTO near VALUES
  ('oid', 'regclass'), ('oid', 'int4'), ('oid', 'int8'), ('regclass', 'oid'), ('regclass', 'text'), ('text', 'name'),
  ('text', '"char"'), ('text', 'varchar'), ('text', 'regclass'), ('name', 'text'), ('int4', 'int2'), ('int4', 'oid'),
  ('int8', 'int4'), ('int8', 'oid'), ('numeric', 'int8'), ('numeric', 'int4'), ('float8', 'int4'), ('float8', 'int8'),
  ('float8', 'numeric'), ('float8', 'float4'), ('timestamptz', 'timestamp'), ('timestamptz', 'date'),
  ('anyelement', 'int4'), ('anyelement', 'int8'), ('anyelement', 'text'), ('anyelement', 'name'), ('anyelement', 'oid'),
  ('anyelement', 'regclass'), ('anyelement', 'timestamptz'), ('anyelement', 'bool'), ('anyelement', 'jsonb'),
  ('anyarray', 'text[]'), ('anyarray', 'name[]'), ('anyarray', 'oid[]'), ('anyarray', 'int2[]'), ('anyarray', 'int4[]'),
  ('anyarray', 'int8[]'), ('anyarray', 'int2vector'), ('anyarray', 'bool[]');
DO $add$ BEGIN
  INSERT INTO near SELECT 'anycompatible'::regtype, better FROM near WHERE type = 'anyelement'::regtype;
  INSERT INTO near SELECT 'anycompatiblearray'::regtype, better FROM near WHERE type = 'anyarray'::regtype;
EXCEPTION WHEN undefined_object THEN NULL;
END $add$;
)sql";

// Functions that the catalog has, with the same arguments: called where the schema stands before pg_catalog.
constexpr char const* kFunctions = R"sql(
SELECT sum(pg_temp.plant('{schema}', proname, pg_get_function_arguments(oid), pg_get_function_result(oid),
  CASE WHEN proretset THEN 'RETURN QUERY SELECT * FROM '
       WHEN prorettype = 'void'::regtype THEN 'PERFORM '
       WHEN 'o' = ANY (proargmodes) THEN 'SELECT * INTO ' || (
         SELECT string_agg(quote_ident(n), ', ' ORDER BY i)
         FROM unnest(proargnames, proargmodes) WITH ORDINALITY AS a(n, m, i) WHERE m = 'o') || ' FROM '
       ELSE 'RETURN ' END
  || format('pg_catalog.%I(%s);', proname, pg_temp.numbered(pronargs))))
FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0
AND NOT EXISTS (SELECT FROM pg_operator WHERE oprcode = pg_proc.oid)
AND NOT EXISTS (SELECT FROM unnest(proargtypes || prorettype) t JOIN pg_type ON pg_type.oid = t
  WHERE typname IN ('internal', 'cstring', 'trigger', 'event_trigger', 'any') OR typname LIKE '%handler')
)sql";

// The same with one argument, or all, of a nearer type: called although pg_catalog comes first.
constexpr char const* kBetterFunctions = R"sql(
SELECT coalesce(sum(pg_temp.plant('{schema}', proname, types, pg_get_function_result(oid), body)), 0) FROM (
  SELECT DISTINCT ON (proname, types) p.oid, proname, types,
    CASE WHEN proretset THEN 'RETURN QUERY SELECT * FROM '
         WHEN prorettype = 'void'::regtype THEN 'PERFORM '
         ELSE 'RETURN ' END
    || format('pg_catalog.%I(%s);', proname, passed) AS body
  FROM pg_proc p, LATERAL (SELECT DISTINCT t AS changed FROM unnest(proargtypes) t) c, near n, LATERAL (
    SELECT string_agg(CASE WHEN t = n.type THEN n.better ELSE t::regtype END::text, ', ' ORDER BY i) AS types,
      string_agg(CASE WHEN t = n.type AND t::regtype::text NOT LIKE 'any%' THEN format('$%s::text::%s', i, t::regtype)
                 ELSE '$' || i END, ', ' ORDER BY i) AS passed
    FROM unnest(proargtypes) WITH ORDINALITY AS a(t, i)) v
  WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f' AND provariadic = 0
  AND pronargs BETWEEN 1 AND 3 AND proallargtypes IS NULL
  AND n.type = changed AND pg_get_function_result(p.oid) NOT LIKE '%any%'
  AND NOT EXISTS (SELECT FROM pg_operator WHERE oprcode = p.oid)
  AND NOT EXISTS (SELECT FROM unnest(proargtypes || prorettype) t
                  WHERE t IN ('internal'::regtype, 'cstring'::regtype))
  AND NOT EXISTS (SELECT FROM pg_proc q WHERE q.pronamespace = p.pronamespace AND q.proname = p.proname
                  AND pg_get_function_identity_arguments(q.oid) = types)) better
)sql";

// Those with arguments of any type, which no function in SQL can have: with the types that they are called with.
constexpr char const* kVariadicFunctions = R"sql(
SELECT sum(pg_temp.plant('{schema}', f, types,
  CASE WHEN f LIKE 'jsonb%' THEN 'jsonb' WHEN f LIKE 'json%' THEN 'json' ELSE 'text' END,
  format('RETURN pg_catalog.%s(%s);', f, pg_temp.numbered(cardinality(string_to_array(types, ','))))))
FROM unnest(ARRAY['format', 'concat', 'concat_ws', 'jsonb_build_object', 'json_build_object', 'jsonb_build_array',
                  'json_build_array']) f,
  unnest(ARRAY['text', 'text, text', 'text, name', 'text, int4', 'text, int8', 'text, oid', 'text, regclass',
               'text, name, name', 'text, text, text', 'text, text, text, text', 'text, name, text',
               'text, int8, text, int8', 'text, bool']) types
)sql";

constexpr char const* kAggregates = R"sql(
DO $plant$ DECLARE t text; a text; BEGIN
  PERFORM pg_temp.plant('{schema}', 'counted', 'int8', 'int8', 'RETURN $1 + 1;');
  PERFORM pg_temp.try('CREATE AGGREGATE {schema}.count(*) (SFUNC = {schema}.counted, STYPE = int8, INITCOND = 0)');
  FOR t IN SELECT type FROM often LOOP
    PERFORM pg_temp.plant('{schema}', 'counted', 'int8, ' || t, 'int8', 'RETURN $1 + ($2 IS NOT NULL)::int;');
    PERFORM pg_temp.plant('{schema}', 'gathered', t || '[], ' || t, t || '[]',
                          'RETURN pg_catalog.array_append($1, $2);');
    PERFORM pg_temp.plant('{schema}', 'kept', format('%s, %s', t, t), t, 'RETURN $2;');
    PERFORM pg_temp.plant('{schema}', 'joined', format('text, %s, text', t), 'text',
                          'RETURN coalesce($1 || $3, '''') || $2::text;');
    FOREACH a IN ARRAY ARRAY['count(%s) (SFUNC = {schema}.counted, STYPE = int8, INITCOND = 0)',
                             'array_agg(%s) (SFUNC = {schema}.gathered, STYPE = %1$s[])',
                             'string_agg(%s, text) (SFUNC = {schema}.joined, STYPE = text)',
                             'max(%s) (SFUNC = {schema}.kept, STYPE = %1$s)',
                             'min(%s) (SFUNC = {schema}.kept, STYPE = %1$s)',
                             'sum(%s) (SFUNC = {schema}.kept, STYPE = %1$s)',
                             'bool_or(%s) (SFUNC = {schema}.kept, STYPE = %1$s)'] LOOP
      PERFORM pg_temp.try('CREATE AGGREGATE {schema}.' || format(a, t));
    END LOOP;
  END LOOP;
END $plant$;
)sql";

// As the catalog has them, and between types for which it has none, so that these fit better.
constexpr char const* kOperators = R"sql(
DO $plant$ DECLARE o record; BEGIN
  FOR o IN
    SELECT oprname AS name, oprleft::regtype::text AS l, oprright::regtype::text AS r,
      oprresult::regtype::text AS result, '$1' AS first, '$2' AS second
    FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b'
    UNION ALL
    SELECT name, l.type, r.type, CASE name WHEN '||' THEN 'text' ELSE 'bool' END,
      CASE WHEN l.is_number AND r.is_number THEN '$1::oid::int8' ELSE '$1::text' END,
      CASE WHEN l.is_number AND r.is_number THEN '$2::oid::int8' ELSE '$2::text' END
    FROM unnest(ARRAY['=', '<>', '<', '>', '<=', '>=', '||']) name, often l, often r
    WHERE (name IN ('=', '<>', '||') OR (l.is_number AND r.is_number)) AND NOT EXISTS (
      SELECT FROM pg_operator WHERE oprname = name AND oprleft = l.type::regtype AND oprright = r.type::regtype)
  LOOP
    CONTINUE WHEN pg_temp.plant('{schema}', 'operator ' || o.name, o.l || ', ' || o.r, o.result,
                                format('RETURN %s OPERATOR(pg_catalog.%s) %s;', o.first, o.name, o.second)) = 0;
    PERFORM pg_temp.try(format('CREATE OPERATOR {schema}.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = {schema}.%I)',
                               o.name, o.l, o.r, 'operator ' || o.name));
  END LOOP;
END $plant$;
)sql";

// Types and relations: found first where the schema stands before pg_catalog.
constexpr char const* kTypesAndViews = R"sql(
DO $plant$ DECLARE t text; BEGIN
  FOR t IN SELECT typname FROM pg_type
           WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typname !~ '^_' LOOP
    PERFORM pg_temp.plant('{schema}', 'type ' || t, format('pg_catalog.%I', t), 'bool', 'RETURN true;');
    PERFORM pg_temp.try(format('CREATE DOMAIN {schema}.%I AS pg_catalog.%I CHECK ({schema}.%I(value))', t, t,
                               'type ' || t));
  END LOOP;
  FOR t IN SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') LOOP
    PERFORM pg_temp.plant('{schema}', 'view ' || t, '', 'bool', 'RETURN true;');
    PERFORM pg_temp.try(format('CREATE VIEW {schema}.%I AS SELECT * FROM pg_catalog.%I WHERE {schema}.%I(); GRANT '
                               'SELECT ON {schema}.%I TO PUBLIC', t, t, 'view ' || t, t));
  END LOOP;
END $plant$;
)sql";

std::string of_schema(std::string sql, std::string const& schema) {
  for (auto at = sql.find("{schema}"); at != std::string::npos; at = sql.find("{schema}")) sql.replace(at, 8, schema);
  return sql;
}

}  // namespace

int plant_names(PgClient& client, std::string const& schema) {
  client.exec(kTools);
  for (auto const* part : {kFunctions, kBetterFunctions, kVariadicFunctions, kAggregates, kOperators, kTypesAndViews}) {
    client.exec(of_schema(part, schema));
  }
  client.exec("DISCARD TEMP");
  client.exec("RESET search_path");
  return std::stoi(client.value(
      of_schema("SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace) + (SELECT "
                "count(*) FROM pg_operator "
                "WHERE oprnamespace = '{schema}'::regnamespace) + (SELECT count(*) FROM pg_class WHERE relnamespace = "
                "'{schema}'::regnamespace)",
                schema)));
}

std::vector<std::string> planted_calls(std::string const& log) {
  constexpr std::string_view kMark = "planted: ";
  constexpr std::string_view kStatement = "STATEMENT:  ";
  std::vector<std::string> calls;
  std::set<std::string> seen;
  std::istringstream lines(log);
  bool is_open = false;  // the lines of one call follow, with its context and at last its statement
  for (std::string line; std::getline(lines, line);) {
    if (auto const at = line.find(kMark); at != std::string::npos) {
      is_open = seen.insert(line.substr(at)).second;
      if (is_open) calls.push_back(line.substr(at + kMark.size()));
    } else if (auto const statement = line.find(kStatement); statement != std::string::npos) {
      if (is_open) calls.back() += "   by " + line.substr(statement + kStatement.size(), kStatementBytes);
      is_open = false;
    } else if (is_open) {
      calls.back() += "   in " + line.substr(0, kStatementBytes);
    }
  }
  return calls;
}

}  // namespace pgbackfill::tests
