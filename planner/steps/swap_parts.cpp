// The parts of a table that its copy has to have, and how they are compared. Definitions are compared in the server's
// spelling for the columns of the copy: CHECK (n >= 0) reads otherwise over numeric than over integer.
#include "planner/model/replace_all.h"
#include "planner/model/sql_text.h"
#include "planner/steps/recipes.h"
#include "planner/steps/recipes_sync.h"
#include "planner/steps/swap_sql.h"

namespace pgbackfill::planner::recipes {
namespace {

// Storage parameters are carried over, and do not tell one index from another.
constexpr char kWithoutParameters[] =
    R"sql(' WITH \([a-z_]+=''?[a-z0-9_.]*''?(, [a-z_]+=''?[a-z0-9_.]*''?)*\)', '')sql";

// @side@ is @old@ or @new@.
constexpr char kIndexes[] = R"sql(
SELECT 'index' AS kind, i.indexrelid AS id, x.relname::text AS title,
  CASE WHEN k.oid IS NOT NULL THEN k.contype::text || ' ' || pg_catalog.pg_get_constraintdef(k.oid)
  ELSE CASE WHEN i.indisunique THEN 'unique ' ELSE '' END || pg_catalog.regexp_replace(pg_catalog.substr(
    pg_catalog.pg_get_indexdef(i.indexrelid), 1 +
    pg_catalog.length(pg_catalog.format('CREATE %sINDEX %I ON %s%I.%I USING ',
      CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, x.relname, CASE WHEN x.relkind = 'I' THEN 'ONLY ' ELSE '' END,
      n.nspname, c.relname))), @without@) END AS definition,
  CASE WHEN k.oid IS NULL THEN 'pg_catalog.pg_class'::pg_catalog.regclass
    ELSE 'pg_catalog.pg_constraint'::pg_catalog.regclass END::pg_catalog.oid AS class, coalesce(k.oid, i.indexrelid) AS
    object
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
  JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
    AND k.contype IN ('p', 'u', 'x')
WHERE i.indisvalid AND i.indrelid = @side@)sql";

// A reference to either of the two tables is one to itself, in the end.
constexpr char kConstraints[] = R"sql(
SELECT 'constraint', k.oid, k.conname::text, k.contype::text || ' ' || CASE WHEN k.confrelid IN (@old@, @new@)
  THEN pg_catalog.replace(pg_catalog.pg_get_constraintdef(k.oid),
    ' REFERENCES ' || k.confrelid::pg_catalog.regclass::text || '(', ' REFERENCES (')
  ELSE pg_catalog.pg_get_constraintdef(k.oid) END, 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid,
  k.oid
FROM pg_catalog.pg_constraint k WHERE k.contype IN ('c', 'f', 'n') AND k.conparentid = 0 AND k.conrelid = @side@)sql";

constexpr char kStatistics[] = R"sql(
SELECT 'statistics', s.oid, s.stxname::text, pg_catalog.quote_ident(n.nspname) || pg_catalog.substr(t.text,
  1 + pg_catalog.length(pg_catalog.format('CREATE STATISTICS %I.%I', n.nspname, s.stxname)),
  pg_catalog.length(t.text) - pg_catalog.length(pg_catalog.format('CREATE STATISTICS %I.%I FROM %s', n.nspname,
  s.stxname,
    s.stxrelid::pg_catalog.regclass))), 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass::pg_catalog.oid, s.oid
FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace,
  pg_catalog.pg_get_statisticsobjdef(s.oid) AS t (text) WHERE s.stxrelid = @side@)sql";

// Of several alike the first corresponds to the first, those of the same name before all.
constexpr char kPairs[] = R"sql(
WITH wanted AS (SELECT w.kind, w.id, w.title, @loose_w@ AS definition FROM
  pg_catalog.jsonb_to_recordset((@wanted@)::pg_catalog.jsonb) AS w (kind text, id pg_catalog.oid, title text,
  definition text)),
had AS (SELECT p.kind, p.id, p.title, @loose_p@ AS definition FROM (@parts@) p),
old_side AS (SELECT w.*, row_number() OVER (PARTITION BY w.kind, w.definition ORDER BY EXISTS (SELECT FROM had h WHERE
  h.kind = w.kind AND h.title = w.title AND h.definition = w.definition) DESC, w.title) AS place FROM wanted w),
new_side AS (SELECT h.*, row_number() OVER (PARTITION BY h.kind, h.definition ORDER BY EXISTS (SELECT FROM wanted w
  WHERE
  h.kind = w.kind AND h.title = w.title AND h.definition = w.definition) DESC, h.title) AS place FROM had h)
SELECT o.kind, o.id AS old_id, o.title AS old_title, n.id AS new_id, n.title AS new_title FROM old_side o JOIN new_side
  n
  ON n.kind = o.kind AND n.definition = o.definition AND n.place = o.place)sql";

// --- the probe ------------------------------------------------------------------------------------------------------

constexpr char kProbeBegin[] = R"sql(
DECLARE
  old_oid oid := @old@;
  new_oid oid := @new@;
  r record;
  parts jsonb := '[]';
  problems text[] := '{}';
  told text;
  spelled text;
  seen text;
  copy text;
  draws constant text := '^nextval\(''.*''::regclass\)$';
BEGIN
  PERFORM set_config('pgbackfill.swap_parts', '', true), set_config('pgbackfill.swap_problem', '', true);
  IF old_oid IS NULL OR new_oid IS NULL THEN
    RETURN;
  END IF;
  seen := @seen@;
  copy := (SELECT relname FROM pg_class WHERE oid = new_oid);
  EXECUTE format('CREATE TEMP TABLE pgbackfill_probe (LIKE %s)%s', new_oid::regclass,
    (SELECT ' PARTITION BY ' || pg_get_partkeydef(c.oid) FROM pg_class c WHERE c.oid = new_oid AND c.relkind = 'p'));
)sql";

// What lies on columns alone that the copy lacks goes with them, as with DROP COLUMN.
constexpr char kProbeParts[] = R"sql(
  FOR r IN SELECT p.*, lacking.names AS lacks FROM (@parts_of_old@) p, LATERAL (SELECT string_agg(u.name, ', ') AS
  names,
      bool_and(NOT u.is_there) AS all_of_them FROM (@columns_of_part@) u (name, is_there)) AS used,
      LATERAL (SELECT string_agg(u.name, ', ') AS names FROM (@columns_of_part@) u (name, is_there) WHERE NOT
      u.is_there)
      AS lacking WHERE NOT coalesce(used.all_of_them, false) ORDER BY p.kind, p.title LOOP
    told := CASE r.kind WHEN 'index' THEN CASE left(r.definition, 2) WHEN 'p ' THEN 'primary key ' WHEN 'x ' THEN
      'exclusion constraint ' WHEN 'u ' THEN 'unique constraint ' ELSE 'index ' END WHEN 'statistics' THEN 'statistics '
      ELSE CASE left(r.definition, 2) WHEN 'f ' THEN 'foreign key ' ELSE 'check ' END END || quote_ident(r.title);
    IF r.lacks IS NOT NULL THEN
      problems := problems || (told || ' names what the copy has no column for: ' || r.lacks
        || '; drop it, or make it without them');
      CONTINUE;
    END IF;
    spelled := regexp_replace(r.definition, ' NOT VALID$', '');
    BEGIN
      IF r.kind = 'statistics' THEN
        EXECUTE 'CREATE STATISTICS pg_temp."~probe"' || substr(r.definition, 1 + length(quote_ident((SELECT n.nspname
        FROM
          pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.oid = r.id))))
          || ' FROM pg_temp.pgbackfill_probe';
        SELECT quote_ident(n.nspname) || regexp_replace(regexp_replace(pg_get_statisticsobjdef(t.oid),
          '^CREATE STATISTICS pg_temp(_[0-9]+)?\."~probe"', ''), ' FROM (pg_temp(_[0-9]+)?\.)?pgbackfill_probe$', '')
          INTO spelled FROM pg_statistic_ext t, pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace
          WHERE t.stxrelid = 'pg_temp.pgbackfill_probe'::regclass AND s.oid = r.id;
        DROP STATISTICS pg_temp."~probe";
      ELSIF r.kind = 'index' AND left(r.definition, 2) NOT IN ('p ', 'u ', 'x ') THEN
        EXECUTE 'CREATE ' || CASE WHEN r.definition LIKE 'unique %' THEN 'UNIQUE ' ELSE '' END
          || 'INDEX "~probe" ON pg_temp.pgbackfill_probe USING ' || regexp_replace(r.definition, '^unique ', '');
        spelled := CASE WHEN r.definition LIKE 'unique %' THEN 'unique ' ELSE '' END || regexp_replace(regexp_replace(
          pg_get_indexdef('pg_temp."~probe"'::regclass),
          '^CREATE (UNIQUE )?INDEX "~probe" ON (ONLY )?pg_temp(_[0-9]+)?\.pgbackfill_probe USING ', ''), @without@);
        DROP INDEX pg_temp."~probe";
      ELSIF left(r.definition, 2) NOT IN ('f ', 'n ') THEN
        EXECUTE 'ALTER TABLE pg_temp.pgbackfill_probe ADD CONSTRAINT "~probe" ' || substr(spelled, 3);
        SELECT k.contype::text || ' ' || pg_get_constraintdef(k.oid) INTO spelled FROM pg_constraint k
          WHERE k.conrelid = 'pg_temp.pgbackfill_probe'::regclass AND k.conname = '~probe';
        ALTER TABLE pg_temp.pgbackfill_probe DROP CONSTRAINT "~probe";
      END IF;
    EXCEPTION WHEN OTHERS THEN
      spelled := (@kept_by_partitions@);
      IF spelled IS NULL THEN
        problems := problems || (told || ' cannot be on the copy: ' || replace(SQLERRM, 'pgbackfill_probe', copy));
      END IF;
      CONTINUE WHEN coalesce(spelled NOT LIKE 'p %', true);
    END;
    parts := parts || jsonb_build_object('kind', r.kind, 'id', r.id, 'title', r.title, 'definition', spelled, 'told',
    told);
  END LOOP;
)sql";

// Uniqueness holds within each partition alone: a key of a partitioned table has to have the partition key in it. The
// primary key is then that of the copy.
constexpr char kKeptByPartitions[] = R"sql(
SELECT CASE WHEN r.definition LIKE 'p %' THEN p.definition ELSE r.definition END FROM (@parts_of_new@) p
  JOIN pg_index i ON i.indexrelid = p.id JOIN pg_index o ON o.indexrelid = r.id JOIN pg_class c ON c.oid = new_oid
  WHERE r.kind = 'index' AND c.relkind = 'p' AND o.indisunique AND i.indisunique AND i.indpred IS NULL
    AND o.indexprs IS NULL AND i.indexprs IS NULL AND (NOT o.indisprimary OR i.indisprimary)
    AND ARRAY(SELECT a.attname::text FROM unnest(o.indkey::int2[]) WITH ORDINALITY x (number, place) JOIN pg_attribute a
      ON a.attrelid = old_oid AND a.attnum = x.number WHERE x.place <= o.indnkeyatts)
      <@ ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY x (number, place) JOIN pg_attribute
      a
      ON a.attrelid = new_oid AND a.attnum = x.number WHERE x.place <= i.indnkeyatts) LIMIT 1)sql";

constexpr char kProbeTriggers[] = R"sql(
  FOR r IN SELECT g.*, regexp_replace(pg_get_triggerdef(g.oid), ' ON ' || regexp_replace(old_oid::regclass::text,
      '([^[:alnum:]_])', '\\\1', 'g') || ' ', ' ON pg_temp.pgbackfill_probe ') AS definition FROM pg_trigger g
      WHERE g.tgrelid = old_oid AND NOT g.tgisinternal AND g.tgfoid <> coalesce(@mirror@, 0) LOOP
    BEGIN
      EXECUTE r.definition;
      SELECT pg_get_triggerdef(g.oid) INTO spelled FROM pg_trigger g WHERE g.tgname = r.tgname AND g.tgrelid =
        'pg_temp.pgbackfill_probe'::regclass;
      EXECUTE format('DROP TRIGGER %I ON pg_temp.pgbackfill_probe', r.tgname);
    EXCEPTION WHEN OTHERS THEN
      problems := problems || format('trigger %I cannot be on the copy: %s; drop it, or make it anew without that',
      r.tgname,
        replace(SQLERRM, 'pgbackfill_probe', copy));
      CONTINUE;
    END;
    SELECT regexp_replace(pg_get_triggerdef(g.oid), ' ON ' || regexp_replace(new_oid::regclass::text,
      '([^[:alnum:]_])', '\\\1', 'g') || ' ', ' ON  ') INTO told FROM pg_trigger g WHERE g.tgrelid = new_oid AND
      g.tgname = r.tgname;
    IF FOUND AND told <> regexp_replace(spelled, ' ON (pg_temp(_[0-9]+)?\.)?pgbackfill_probe ', ' ON  ') THEN
      problems := problems || format('the copy has another trigger %I; drop one of the two', r.tgname);
    END IF;
  END LOOP;
)sql";

// A default that draws from a sequence is no other one if that of the copy does too: the sequences are exchanged.
constexpr char kProbeDefaults[] = R"sql(
  FOR r IN SELECT o.attname, o.attnum, o.attidentity, n.attidentity AS new_identity, n.atttypid,
      @default@ AS expression, pg_get_expr(e.adbin, e.adrelid) AS new_expression
      FROM pg_attribute o JOIN pg_attribute n ON n.attrelid = new_oid AND n.attname = o.attname AND n.attnum > 0
      LEFT JOIN pg_attrdef d ON d.adrelid = old_oid AND d.adnum = o.attnum
      LEFT JOIN pg_attrdef e ON e.adrelid = new_oid AND e.adnum = n.attnum
      WHERE o.attrelid = old_oid AND o.attnum > 0 AND NOT o.attisdropped AND o.attgenerated = '' AND n.attgenerated = ''
      AND (@default@ IS NOT NULL OR o.attidentity <> '') LOOP
    IF r.attidentity <> '' THEN
      IF r.new_expression IS NOT NULL THEN
        problems := problems ||
        format('column %I is an identity, and of the copy it has the default %s; drop that, and it '
          'becomes the identity', r.attname, r.new_expression);
      ELSIF r.atttypid NOT IN (20, 21, 23) THEN
        problems := problems || format('column %I is an identity, which of the copy it cannot be: its type is %s; '
          'drop the identity first', r.attname, format_type(r.atttypid, NULL));
      END IF;
      CONTINUE;
    END IF;
    IF r.new_identity <> '' THEN
      IF r.expression !~ draws THEN
        problems := problems ||
        format('column %I has the default %s, and is an identity of the copy; drop one of the two',
          r.attname, r.expression);
      END IF;
      CONTINUE;
    END IF;
    CONTINUE WHEN r.expression ~ draws AND r.new_expression ~ draws;
    BEGIN
      EXECUTE format('ALTER TABLE pg_temp.pgbackfill_probe ALTER COLUMN %I SET DEFAULT %s', r.attname, r.expression);
      SELECT pg_get_expr(d.adbin, d.adrelid) INTO spelled FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid =
      d.adrelid
        AND a.attnum = d.adnum WHERE d.adrelid = 'pg_temp.pgbackfill_probe'::regclass AND a.attname = r.attname;
    EXCEPTION WHEN OTHERS THEN
      -- A default of its own that the type of the copy allows is what the column needs.
      IF r.new_expression IS NULL THEN
        problems := problems ||
        format('column %I: the copy cannot have its default %s: %s; give the copy one of its own',
          r.attname, r.expression, SQLERRM);
      END IF;
      CONTINUE;
    END;
    IF r.new_expression IS NOT NULL AND r.new_expression <> spelled THEN
      problems := problems ||
      format('column %I has the default %s, and of the copy %s; give both the same with set_default',
        r.attname, r.expression, r.new_expression);
    END IF;
  END LOOP;
)sql";

constexpr char kProbeEnd[] = R"sql(
  SELECT string_agg((f ->> 'told') || ' ' || substr(f ->> 'definition', CASE WHEN f ->> 'definition' ~ '^[puxcf] ' THEN
  3
    ELSE 1 END), '; ' ORDER BY f ->> 'told') INTO told FROM jsonb_array_elements(parts) f WHERE f ->> 'definition' !~
    '^n '
    AND (f ->> 'kind') || (f ->> 'id') NOT IN (SELECT p.kind || p.old_id FROM (@pairs@) p);
  IF told IS NOT NULL THEN
    problems := ('the copy lacks these of the table; give it the same before (create_index, add_unique, add_check, '
      'add_foreign_key, or sql), or drop them: ' || told) || problems;
  END IF;
  PERFORM set_config('pgbackfill.swap_parts', jsonb_build_object('seen', seen, 'parts', parts)::text, true),
    set_config('pgbackfill.swap_problem', array_to_string(problems, '; '), true);
END)sql";

// Names of the columns that a part p of the table lies on, and whether the copy has them.
constexpr char kColumnsOfPart[] = R"sql(SELECT a.attname::text, EXISTS (SELECT FROM pg_catalog.pg_attribute n WHERE
  n.attrelid = @new@ AND n.attname = a.attname AND n.attnum > 0 AND NOT n.attisdropped) FROM pg_catalog.pg_depend d JOIN
  pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE d.classid = p.class AND
  d.objid =
  p.object AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = @old@ AND d.refobjsubid >
  0)sql";

// What the refusals and the probe go by, in short: another look at all of it would take too long under the locks.
constexpr char kSeen[] =
    R"sql((SELECT md5(string_agg(x.one, ' ' ORDER BY x.one)) FROM (SELECT concat_ws('.', d.classid, d.objid,
  d.objsubid, d.refobjsubid, d.deptype) AS one FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND
  d.refobjid IN
  (@old@, @new@) OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (SELECT c.reltype FROM pg_class c WHERE c.oid
  IN (@old@,
  @new@)) UNION ALL SELECT concat_ws('.', 'v', k.oid, k.convalidated) FROM pg_constraint k WHERE k.conrelid IN (@old@,
  @new@)
  UNION ALL SELECT concat_ws('.', 'i', i.indexrelid, i.indisvalid) FROM pg_index i WHERE i.indrelid IN (@old@, @new@)
  UNION ALL
  SELECT concat_ws('.', 'a', a.attrelid, a.attname, a.attnotnull, a.attidentity) FROM pg_attribute a WHERE a.attrelid
  IN (@old@,
  @new@) AND a.attnum > 0 UNION ALL SELECT concat_ws('.', 'p', p.oid, p.xmin) FROM pg_policy p WHERE p.polrelid IN
  (@old@, @new@)
  UNION ALL SELECT concat_ws('.', 'r', l.oid, l.xmin) FROM pg_publication_rel l WHERE l.prrelid IN (@old@, @new@) UNION
  ALL SELECT
  concat_ws('.', 'c', c.oid, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence) FROM pg_class c WHERE c.oid IN
  (@old@,
  @new@)) x))sql";

// varchar and text are compared by the same operators, and spelled with casts that say nothing.
std::string loosened(std::string const& definition) {
  std::string text = "pg_catalog.regexp_replace(" + definition +
                     R"sql(, '::(text|character varying)(\([0-9]+\))?(\[\])?', '', 'g'))sql";
  text = "pg_catalog.regexp_replace(" + text + R"sql(, '\mvarchar(_pattern)?_ops\M', 'text\1_ops', 'g'))sql";
  text = "pg_catalog.regexp_replace(" + text + R"sql(, '\(([a-z_][a-z0-9_]*|"[^"]*"|''[^'']*'')\)', '\1', 'g'))sql";
  for (int depth = 0; depth < 2; ++depth) {
    text = "pg_catalog.regexp_replace(" + text + R"sql(, '\(\(([^()]*)\)\)', '(\1)', 'g'))sql";
  }
  // What of a NOT NULL is not its column is carried over, or asked for apart.
  return "CASE WHEN " + definition + " LIKE 'n %' THEN pg_catalog.regexp_replace(" + definition +
         ", '( NO INHERIT| NOT VALID)+$', '') ELSE " + text + " END";
}

std::string filled(std::string text, std::vector<std::pair<std::string, std::string>> const& values) {
  for (auto const& [name, value] : values) replace_all(text, "@" + name + "@", value);
  return text;
}

}  // namespace

SwapSides sides_by_name(Swap const& step, TableName const& table) {
  auto const oid = [](TableName const& name) { return "(" + oid_of(name) + ")::pg_catalog.oid"; };
  return {oid(table), oid({table.schema, step.with.name})};
}

std::string with_sides(std::string_view sql, SwapSides const& sides) {
  return filled(std::string{sql}, {{"old", sides.old_oid}, {"new", sides.new_oid}});
}

std::string swap_parts(std::string const& side, SwapSides const& sides) {
  auto const sql = std::string{kIndexes} + " UNION ALL " + kConstraints + " UNION ALL " + kStatistics;
  return with_sides(filled(sql, {{"side", side}, {"without", kWithoutParameters}}), sides);
}

std::string swap_columns_of_part(SwapSides const& sides) {
  return with_sides(kColumnsOfPart, sides);
}

// A domain may have a default, which a copy with another type would not.
std::string swap_default() {
  return "coalesce(pg_get_expr(d.adbin, d.adrelid), CASE WHEN o.atttypid <> n.atttypid AND d.oid IS NULL AND "
         "o.attidentity = '' THEN (SELECT pg_get_expr(y.typdefaultbin, 0) FROM pg_type y WHERE y.oid = o.atttypid AND "
         "y.typtype = 'd') END)";
}

std::string swap_seen(SwapSides const& sides) {
  return with_sides(kSeen, sides);
}

std::string swap_pairs(std::string const& wanted, SwapSides const& sides) {
  return filled(kPairs, {{"wanted", wanted},
                         {"parts", swap_parts(sides.new_oid, sides)},
                         {"loose_w", loosened("w.definition")},
                         {"loose_p", loosened("p.definition")}});
}

std::vector<std::string> swap_probe(Swap const& step, StepFacts const& facts) {
  // Done, but for what comes after it.
  if (facts.is_claimed) return {};
  SwapSides const sides{"old_oid", "new_oid"};
  auto const by_name = sides_by_name(step, facts.table);
  std::string const body = with_sides(kProbeBegin, by_name) + kProbeParts + kProbeTriggers + kProbeDefaults + kProbeEnd;
  auto const kept = filled(kKeptByPartitions, {{"parts_of_new", swap_parts(sides.new_oid, sides)}});
  auto const block = filled(body, {{"parts_of_old", swap_parts(sides.old_oid, sides)},
                                   {"columns_of_part", swap_columns_of_part(sides)},
                                   {"kept_by_partitions", kept},
                                   {"pairs", swap_pairs("parts", sides)},
                                   {"without", kWithoutParameters},
                                   {"default", swap_default()},
                                   {"seen", swap_seen(sides)},
                                   {"mirror", sync::function_oid(step.migration)}});
  return {
      "SELECT pg_catalog.set_config('lock_timeout', '2000', true), pg_catalog.set_config('statement_timeout', "
      "'30000', true), pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), "
      "pg_catalog.set_config('standard_conforming_strings', 'on', true)",
      "DO " + dollar_quoted(block),
      "SELECT pg_catalog.current_setting('pgbackfill.swap_parts', true), "
      "nullif(pg_catalog.current_setting('pgbackfill.swap_problem', true), '')"};
}

}  // namespace pgbackfill::planner::recipes
