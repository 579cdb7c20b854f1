#include "planner/steps/index_parts.h"

#include <charconv>

#include "planner/model/sql_text.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr char kFrom[] =
    " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON "
    "n.oid = c.relnamespace JOIN pg_catalog.pg_class r ON r.oid = i.indrelid JOIN pg_catalog.pg_namespace rn ON rn.oid "
    "= r.relnamespace WHERE i.indrelid ";

constexpr char kTablespace[] =
    "coalesce((SELECT ' TABLESPACE ' || pg_catalog.quote_ident(s.spcname) FROM pg_catalog.pg_tablespace s WHERE s.oid "
    "= c.reltablespace), '')";

constexpr char kIndex[] = "pg_catalog.format('%I.%I', n.nspname, c.relname)";
constexpr char kTable[] = "pg_catalog.format('%I.%I', rn.nspname, r.relname)";

}  // namespace

std::string index_named(TableName const& table, std::string const& name) {
  return kFrom + ("= " + oid_of(table)) + " AND c.relname = " + quote_literal(name);
}

std::string index_of_primary_key(TableName const& table) {
  return kFrom + ("= " + oid_of(table)) + " AND i.indisprimary";
}

std::string indexes_over(TableName const& table, std::string const& column) {
  return kFrom + ("IN " + tree_of(oid_of(table))) +
         " AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE "
         "a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::pg_catalog.int2[]) AND a.attname = " +
         quote_literal(column) + "))";
}

std::string index_definition() {
  std::string const definition = "pg_catalog.pg_get_indexdef(i.indexrelid)";
  std::string const predicate = "coalesce(' WHERE ' || pg_catalog.pg_get_expr(i.indpred, i.indrelid), '')";
  return "(pg_catalog.left(" + definition + ", pg_catalog.length(" + definition + ") - pg_catalog.length(" + predicate +
         ")) || " + kTablespace + " || " + predicate + ")";
}

std::string index_tail() {
  return "substr(" + index_definition() +
         ", length(pg_catalog.format('CREATE %sINDEX %I ON %s%I.%I', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' "
         "END, c.relname, CASE WHEN c.relkind = 'I' THEN 'ONLY ' ELSE '' END, rn.nspname, r.relname)) + 1)";
}

std::string index_storage(std::vector<std::string> const& columns) {
  return "(coalesce((SELECT ' INCLUDE (' || string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY x.place) || "
         "')' FROM unnest(i.indkey::int2[]) WITH ORDINALITY x (number, place) JOIN pg_catalog.pg_attribute a ON "
         "a.attrelid = i.indrelid AND a.attnum = x.number WHERE x.place > i.indnkeyatts AND a.attname::text <> ALL (" +
         text_array(columns) +
         ")), '') || coalesce((SELECT ' WITH (' || string_agg(pg_catalog.format('%I = %L', pg_catalog.split_part(o, "
         "'=', 1), substr(o, strpos(o, '=') + 1)), ', ') || ')' FROM unnest(c.reloptions) o), '') || " +
         kTablespace + ")";
}

std::string index_marks(std::string const& from) {
  std::string const index = kIndex;
  std::string const table = kTable;
  return "SELECT m.place, m.sql FROM (SELECT 2, 'COMMENT ON INDEX ' || " + index +
         " || ' IS ' || pg_catalog.quote_literal(pg_catalog.obj_description(i.indexrelid, 'pg_class'))" + from +
         " UNION ALL SELECT 3, 'ALTER INDEX ' || " + index +
         " || ' ' || (SELECT string_agg(pg_catalog.format('ALTER COLUMN %s SET STATISTICS %s', a.attnum, "
         "a.attstattarget), ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.indexrelid AND "
         "a.attstattarget >= 0)" +
         from + " UNION ALL SELECT 4, 'ALTER TABLE ' || " + table +
         " || ' CLUSTER ON ' || pg_catalog.quote_ident(c.relname)" + from + " AND i.indisclustered" +
         " UNION ALL SELECT 5, 'ALTER TABLE ' || " + table +
         " || ' REPLICA IDENTITY USING INDEX ' || pg_catalog.quote_ident(c.relname)" + from +
         " AND i.indisreplident UNION ALL SELECT 6, (SELECT string_agg('ALTER INDEX ' || " + index +
         " || ' DEPENDS ON EXTENSION ' || pg_catalog.quote_ident(e.extname), '; ' ORDER BY e.extname) FROM "
         "pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid WHERE d.classid = "
         "'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid AND d.refclassid = "
         "'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'x')" +
         from + ") AS m (place, sql) WHERE m.sql IS NOT NULL";
}

std::string index_marks_text(std::string const& from) {
  return "(SELECT string_agg(t.sql, '; ' ORDER BY t.place) FROM (" + index_marks(from) + ") t)";
}

std::string counted(std::string const& text) {
  return "(SELECT pg_catalog.octet_length(t.text) || ' ' || t.text FROM (SELECT coalesce(" + text + ", '')) t (text))";
}

std::vector<std::string> counted_texts(std::string const& before) {
  std::vector<std::string> texts;
  for (std::size_t begin = 0; begin < before.size();) {
    std::size_t length = 0;
    auto const [end, error] = std::from_chars(before.data() + begin, before.data() + before.size(), length);
    if (error != std::errc{}) return {before};
    begin = static_cast<std::size_t>(end - before.data()) + 1;
    texts.push_back(before.substr(begin, length));
    begin += length;
  }
  return texts;
}

}  // namespace pgbackfill::planner::recipes
