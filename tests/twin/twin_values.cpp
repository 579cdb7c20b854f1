#include "tests/twin/twin_values.h"

namespace pgbackfill::tests {
namespace {

constexpr KeyType kKeyTypes[] = {
    {"int", "int", "g * 3 - 500", "g % 5"},
    {"bigint", "bigint", "g * 1152921504606846 - 1000000000000000", "(g % 5)::bigint * 4294967296"},
    {"smallint", "smallint", "(g - 300)::smallint", "(g % 5)::smallint"},
    {"numeric", "numeric(14,5)", "(g - 200) / 7.0", "(g % 5) / 3.0"},
    {"numeric_any", "numeric", "(g || '.' || repeat('0', g % 4 + 1))::numeric", "((g % 5) || '.0')::numeric"},
    {"text", "text", "'k' || g", "'group ' || g % 5"},
    {"text_c", "text COLLATE \"C\"", "CASE WHEN g % 2 = 0 THEN 'K' ELSE 'k' END || g", "'Group ' || g % 5"},
    {"text_icu", "text COLLATE \"und-x-icu\"", "CASE WHEN g % 2 = 0 THEN 'Ä' ELSE 'a-' END || g",
     "substr('aÄbBz', g % 5 + 1, 1)", "icu"},
    {"text_caseless", "text COLLATE side.caseless", "CASE WHEN g % 2 = 0 THEN 'K' ELSE 'k' END || g",
     "CASE WHEN g % 2 = 0 THEN 'Group' ELSE 'gROUP' END || g % 5", "icu"},
    {"text_odd", "text", "substr(E'''\"\\\\,{}% \\n', g % 10 + 1, 1) || g", "substr(E'''\"\\\\,{}', g % 5 + 1, 1)"},
    {"varchar", "varchar(20)", "'v' || g", "'v' || g % 5"},
    {"char", "char(9)", "'c' || g", "'c' || g % 5"},
    {"citext", "ext.citext", "CASE WHEN g % 2 = 0 THEN 'KEY' ELSE 'key' END || g",
     "CASE WHEN g % 2 = 0 THEN 'GROUP' ELSE 'group' END || g % 5", "citext"},
    {"uuid", "uuid", "md5(g::text)::uuid", "md5((g % 5)::text)::uuid"},
    {"timestamptz", "timestamptz", "'2023-10-28 22:00+00'::timestamptz + g * interval '97.001 s'",
     "'2024-03-30 00:00+00'::timestamptz + g % 5 * interval '1 day'"},
    {"timestamp", "timestamp", "'0004-03-01 BC'::timestamp + g * interval '3 days 0.000001 s'",
     "'2024-01-01'::timestamp + g % 5 * interval '1 month'"},
    {"date", "date", "'2003-04-05'::date + g", "'2024-01-01'::date + g % 5"},
    {"interval", "interval", "(g - 100) * interval '1 month 3 days -04:05:06.7'", "g % 5 * interval '-1 day 2 hours'"},
    {"bytea", "bytea", "decode(md5(g::text), 'hex')", "decode('0' || g % 5, 'hex')"},
    {"int_array", "int[]", "ARRAY[g % 7, g]", "ARRAY[g % 5, NULL]"},
    {"text_array", "text[]", "ARRAY['a,b', '\"', g::text]", "ARRAY['NULL', (g % 5)::text]"},
    {"enum_array", "side.mood[]",
     "ARRAY[(enum_range(NULL::side.mood))[g % 4 + 1]] || array_fill('b'::side.mood, ARRAY[g])",
     "ARRAY[(enum_range(NULL::side.mood))[g % 4 + 1]]"},
    {"float8", "float8", "(g - 100) / 3.0::float8", "(g % 5) / 3.0::float8"},
    {"float4", "float4", "(g / 8.0)::float4", "((g % 5) / 3.0)::float4"},
    {"inet", "inet", "'10.0.0.0'::inet + g", "'10.0.0.0'::inet + g % 5"},
    {"domain_int", "side.small", "g * 5", "g % 5"},
    {"domain_domain", "side.code2", "'d' || g", "'d' || g % 5"},
    {"domain_not_valid", "side.unchecked", "g * 2", "g % 5"},
    {"row", "side.pair", "ROW(g % 40, 'x ' || g)::side.pair", "ROW(g % 5, NULL)::side.pair"},
    {"range", "int4range", "int4range(g % 50, g + 50)", "int4range(g % 5, 10)"},
    {"oid", "oid", "(4294967295 - g)::bigint::oid", "(g % 5)::oid"},
};

constexpr char const* kInstant = "'2024-03-30 22:00+00'::timestamptz + g * interval '7 minutes'";
constexpr char const* kSlashes =
    "format('%s/%s/%s', lpad((g % 12 + 1)::text, 2, '0'), lpad((g % 11 + 1)::text, 2, '0'), lpad((g % 10 + 1)::text, "
    "2, '0'))";

constexpr Derivation kDerivations[] = {
    {"upper", "text", "'name ' || g", "text", "upper({s})"},
    {"plus", "int", "g", "int", "{s} * 2 + 1"},
    {"count_up", "int", "g", "int", "{t} + 1", "", "", "g % 10"},
    {"append", "int", "g", "text", "{t} || 'x' || {s}", "", "", "'t' || g % 10"},
    {"negate", "int", "g", "bigint", "-{t}", "", "", "g"},
    {"toggle", "int", "g", "boolean", "NOT {t}", "", "", "g % 2 = 0"},
    {"date_in", "text", kSlashes, "date", "{s}::date", "DateStyle"},
    {"date_cast", "text", kSlashes, "date", "CAST({s} AS date) + 1", "DateStyle"},
    {"date_out", "date", "'2024-01-01'::date + g", "text", "{s}::text", "DateStyle"},
    {"date_concat", "date", "'2024-01-01'::date + g", "text", "concat({s}, '!')", "DateStyle"},
    {"date_array", "date", "'2024-01-01'::date + g", "text", "array_to_string(ARRAY[{s}, NULL], ',')", "DateStyle"},
    {"row_out", "date", "'2024-01-01'::date + g", "text", "md5(ROW({s}, no)::text)", "DateStyle"},
    {"whole_row", "date", "'2024-01-01'::date + g", "text", "md5({bare}::text)", "DateStyle"},
    {"instant_out", "timestamptz", kInstant, "text", "{s}::text", "TimeZone"},
    {"instant_date", "timestamptz", kInstant, "date", "{s}::date", "TimeZone"},
    {"instant_json", "timestamptz", kInstant, "text", "to_jsonb({s})::text", "TimeZone"},
    {"instant_char", "timestamptz", kInstant, "text", "to_char({s}, 'YYYY-MM-DD HH24:MI TZ')", "TimeZone"},
    {"instant_trunc", "timestamptz", kInstant, "timestamptz", "date_trunc('day', {s})", "TimeZone"},
    {"instant_plus", "timestamptz", kInstant, "timestamptz", "{s} + interval '1 day'", "TimeZone"},
    {"instant_in", "text", "'2024-03-31 02:' || lpad((g % 60)::text, 2, '0')", "timestamptz", "{s}::timestamptz",
     "TimeZone"},
    {"instant_made", "int", "g", "timestamptz", "make_timestamptz(2024, 3, {s} % 28 + 1, 2, 30, 0)", "TimeZone"},
    {"local_time", "timestamp", "'2024-03-31 01:00'::timestamp + g * interval '1 min'", "timestamptz", "{s}",
     "TimeZone"},
    {"span_out", "interval", "(g - 50) * interval '1 mon 2 days -3:04'", "text", "{s}::text", "IntervalStyle"},
    {"span_in", "text", "'-' || g % 30 || ' 2:03:04'", "interval", "{s}::interval", "IntervalStyle"},
    {"bytes_out", "bytea", "decode(md5(g::text), 'hex')", "text", "{s}::text", "bytea_output"},
    {"float_out", "float8", "g / 3.0::float8", "text", "{s}::text", "extra_float_digits"},
    {"float4_out", "float4", "(g / 3.0)::float4", "text", "{s}::text || ''", "extra_float_digits"},
    {"backslash", "int", "g", "text", "'a\\tb' || {s}", "standard_conforming_strings"},
    {"pattern", "text", "'name ' || g", "boolean", "{s} ~ '^n.*\\d$'", "standard_conforming_strings"},
    {"escape", "int", "g", "text", "E'a\\tb\\'' || {s}"},
    {"dollar", "int", "g", "text", "$q$ it's {batch} -- $1 %s :x $q$ || {s} -- as it was"},
    {"letters", "int", "g", "text", "'é€ß' || {s}", "client_encoding"},
    {"zone_name", "int", "g", "text", "current_setting('TimeZone') || {s}", "TimeZone"},
    {"own_setting", "int", "g", "text", "current_setting('app.tenant', true) || {s}", "app.tenant"},
    {"who", "int", "g", "text", "current_user || '/' || session_user || {s}"},
    {"path_function", "int", "g", "text", "label({s})", "search_path"},
    {"path_operator", "int", "g", "int", "{s} <+> 2", "search_path"},
    {"path_table", "int", "g", "text", "(SELECT l.v FROM looked l WHERE l.id = {s} % 10)", "search_path"},
    {"path_type", "int", "g", "text", "({s} / 7.0)::small_number::text", "search_path"},
    {"path_name", "int", "g", "text", "'side.looked'::regclass::text || {s}", "search_path"},
    {"path_type_name", "side.mood", "(enum_range(NULL::side.mood))[g % 4 + 1]", "text", "pg_typeof({s})::text",
     "search_path"},
    {"path_schema", "int", "g", "text", "current_schema() || {s}", "search_path"},
    {"words", "text", "'the cats are ' || g", "text", "to_tsvector({s})::text", "default_text_search_config"},
    {"null_word", "text", "'{a,NULL,' || g || '}'", "text[]", "{s}::text[]", "array_nulls"},
    {"equals_null", "text", "CASE WHEN g % 3 > 0 THEN 'x' END", "int", "CASE WHEN {s} = NULL THEN 1 ELSE 2 END",
     "transform_null_equals"},
    {"quoted", "text", "'name' || g", "text", "quote_ident({s})", "quote_all_identifiers"},
    {"other_table", "int", "g", "text", "(SELECT l.v FROM side.looked l WHERE l.id = {s} % 10)"},
    {"other_sum", "int", "g % 10", "bigint", "(SELECT sum(l.id) FROM side.looked l WHERE l.id <= {s})"},
    {"qualified", "text", "'name ' || g", "text", "upper({table}.{s})"},
    {"table_qualified", "text", "'name ' || g", "text", "upper({bare}.{s})"},
    {"enum", "text", "(ARRAY['b', 'a', 'it''s'])[g % 3 + 1]", "side.mood", "{s}::side.mood"},
    {"domain", "text", "'c' || g", "side.code2", "lower({s})"},
    {"not_valid_domain", "int", "g", "side.unchecked", "{s} + 1000000"},
    {"caseless", "text", "CASE WHEN g % 2 = 0 THEN 'ABC' ELSE 'abc' END || g % 3", "boolean",
     "{s} COLLATE side.caseless = 'Abc1'", "", "icu"},
    {"citext", "text", "CASE WHEN g % 2 = 0 THEN 'ABC' ELSE 'abc' END || g % 3", "ext.citext", "{s}", "", "citext"},
    {"citext_path", "ext.citext", "CASE WHEN g % 2 = 0 THEN 'ABC' ELSE 'abc' END || g % 3", "boolean", "{s} = 'aBc1'",
     "search_path", "citext"},
    {"collated", "text", "substr('aÄbBzé', g % 6 + 1, 1)", "boolean", "{s} < 'b' COLLATE \"und-x-icu\"", "", "icu"},
    {"numeric", "int", "g", "numeric(12,3)", "{s} / 7.0"},
    {"rounded", "numeric", "g / 7.0", "int", "{s}"},
    {"cut", "text", "'name ' || g", "varchar(4)", "left({s}, 4)"},
    {"uuid", "text", "'name ' || g", "uuid", "md5({s})::uuid"},
    {"sorted_words", "text", "'z a ' || g || ' B'", "text",
     "(SELECT string_agg(x, ',' ORDER BY x) FROM unnest(string_to_array({s}, ' ')) x)"},
    {"array", "int[]", "ARRAY[g, NULL]", "int[]", "{s} || no"},
    {"json", "int", "g", "jsonb", "jsonb_build_object('no', no, 's', {s})"},
    {"json_text", "text", "'{\"a\": ' || g || '}'", "json", "{s}::json"},
    {"toast", "text", "md5(g::text)", "text", "(SELECT string_agg(md5({s} || i), '') FROM generate_series(1, 120) i)"},
    {"row", "int", "g", "side.pair", "ROW({s}, 'a ' || no)::side.pair"},
    {"range", "int", "g", "int4range", "int4range({s}, {s} + 5)"},
    {"null_sometimes", "int", "g", "int", "CASE WHEN {s} % 4 > 0 THEN {s} END"},
    {"same_again", "int", "g", "int", "{t}", "", "", "g % 4"},
};

constexpr char const* kDateStyles[] = {"ISO, DMY", "SQL, DMY", "German", "Postgres, MDY", "ISO, YMD"};
constexpr char const* kIntervalStyles[] = {"sql_standard", "iso_8601", "postgres_verbose"};
constexpr char const* kZones[] = {"Australia/Lord_Howe", "America/New_York", "Europe/Berlin", "Asia/Kathmandu",
                                  "-03:30"};
constexpr char const* kPaths[] = {"app2, app1", "app1", "\"$user\", app1, side", "pg_catalog, app2, public",
                                  "app2, pg_catalog"};
constexpr char const* kEscape[] = {"escape"};
constexpr char const* kDigits[] = {"0", "-5"};
constexpr char const* kOff[] = {"off"};
constexpr char const* kOn[] = {"on"};
constexpr char const* kLatin1[] = {"latin1", "win1252"};
constexpr char const* kTenants[] = {"seven", "acht"};
constexpr char const* kConfigs[] = {"pg_catalog.english", "pg_catalog.simple", "german"};
constexpr char const* kIsolations[] = {"repeatable read", "serializable"};
constexpr char const* kRoles[] = {"replica"};
constexpr char const* kMemory[] = {"64kB"};

constexpr SettingValues kSettings[] = {
    {"DateStyle", kDateStyles},
    {"IntervalStyle", kIntervalStyles},
    {"TimeZone", kZones},
    {"search_path", kPaths},
    {"bytea_output", kEscape},
    {"extra_float_digits", kDigits},
    {"standard_conforming_strings", kOff},
    {"client_encoding", kLatin1},
    {"app.tenant", kTenants},
    {"default_text_search_config", kConfigs},
    {"array_nulls", kOff},
    {"transform_null_equals", kOn},
    {"quote_all_identifiers", kOn},
    {"default_transaction_isolation", kIsolations},
    {"default_transaction_deferrable", kOn},
    {"enable_indexscan", kOff},
    {"work_mem", kMemory},
    {"row_security", kOff},
    {"session_replication_role", kRoles, true},
};

constexpr char const* kFurniture = R"(
CREATE SCHEMA side; CREATE SCHEMA app; CREATE SCHEMA app1; CREATE SCHEMA app2;
CREATE TYPE side.mood AS ENUM ('b', 'a', 'it''s', 'Z');
CREATE TYPE side.pair AS (a int, "b c" text);
CREATE DOMAIN side.small AS int CHECK (value > -100000);
CREATE DOMAIN side.code1 AS text CHECK (length(value) < 60);
CREATE DOMAIN side.code2 AS side.code1 CHECK (value <> '');
CREATE DOMAIN side.unchecked AS int;
CREATE TABLE side.looked (id int PRIMARY KEY, v text);
INSERT INTO side.looked SELECT i, 'side ' || i FROM generate_series(0, 9) i;
CREATE TABLE side.totals (bucket int PRIMARY KEY, n int NOT NULL);
INSERT INTO side.totals SELECT i, 0 FROM generate_series(0, 4) i;
CREATE TABLE side.audit (no int, what text);
CREATE TABLE app1.looked AS SELECT id, 'app1 ' || id AS v FROM side.looked;
CREATE TABLE app2.looked AS SELECT id, 'app2 ' || id AS v FROM side.looked;
CREATE TABLE app1.heard (no int, what text); CREATE TABLE app2.heard (no int, what text);
CREATE FUNCTION app1.label(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'one ' || $1 $$;
CREATE FUNCTION app2.label(int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'two ' || $1 $$;
CREATE OPERATOR app1.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl);
CREATE OPERATOR app2.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = int4mul);
CREATE DOMAIN app1.small_number AS numeric(9, 1); CREATE DOMAIN app2.small_number AS numeric(9, 4);
)";

}  // namespace

std::span<KeyType const> key_types() {
  return kKeyTypes;
}

std::span<Derivation const> derivations() {
  return kDerivations;
}

std::span<SettingValues const> settings() {
  return kSettings;
}

bool is_there(std::string_view needs, TwinServer const& server) {
  if (needs == "icu") return server.has_icu;
  if (needs == "citext") return server.has_citext;
  return true;
}

std::string furniture(TwinServer const& server) {
  std::string sql = kFurniture;
  if (server.has_icu) {
    sql += "CREATE COLLATION side.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false);\n";
  }
  if (server.has_citext) sql += "CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext;\n";
  return sql;
}

}  // namespace pgbackfill::tests
