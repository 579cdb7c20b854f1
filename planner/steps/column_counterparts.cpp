#include "planner/steps/column_counterparts.h"

#include "planner/model/sql_text.h"

namespace pgbackfill::planner {
namespace {

constexpr char kName[] = R"((?:"(?:[^"]|"")*"|[A-Za-z_][A-Za-z0-9_$]*))";

// A regular expression for the pieces of what the server spells, so that a name of a column is told from one of a
// function, a type, a schema or a collation, and from text. The longest wins.
std::string pieces() {
  std::string const name = kName;
  std::string const more = "(?:[.]" + name + ")*";
  return "'(?:[^']|'')*'|::" + name + more + "|" + name + "[(]|COLLATE " + name + more + "|" + name + "[.]|[.]" + name +
         "|" + name + "|.";
}

// Of a cast, with the words that types have.
std::string cast_to_any() {
  std::string const name = kName;
  return "::" + name + "(?:[.]" + name +
         ")?(?: varying| precision)?(?:[(][0-9]+(?:,[0-9]+)?[)])?(?: with(?:out)? time zone)?(?:\\[\\])*";
}

std::string compared(std::string const& text, bool is_old, ColumnSwap const& columns) {
  return without_casts(is_old ? over_new_column(text, columns) : text);
}

// Of index i, key by key. An operator class counts where it is not the type's default, and then by its family: that of
// another type has another number.
std::string definition_of_index(bool is_old, ColumnSwap const& columns) {
  return "(SELECT x.relam::text || ' ' || i.indnkeyatts || coalesce(' ' || (to_jsonb(i) ->> 'indnullsnotdistinct'), "
         "'') || string_agg(' [' || " +
         compared("pg_get_indexdef(i.indexrelid, g.key, false)", is_old, columns) +
         " || CASE WHEN g.key > i.indnkeyatts THEN '' ELSE ' ' || i.indoption[g.key - 1] || ' ' || (SELECT CASE WHEN "
         "p.opcdefault THEN '-' ELSE p.opcfamily::text END FROM pg_opclass p WHERE p.oid = i.indclass[g.key - 1]) || "
         "' ' "
         "|| coalesce((SELECT CASE WHEN a.attcollation = i.indcollation[g.key - 1] THEN '-' END FROM pg_attribute a "
         "WHERE "
         "a.attrelid = i.indrelid AND a.attnum = i.indkey[g.key - 1]), i.indcollation[g.key - 1]::text) || "
         "coalesce((SELECT a.attoptions::text FROM pg_attribute a WHERE a.attrelid = i.indexrelid AND a.attnum = "
         "g.key), "
         "'') END || ']', '' ORDER BY g.key) || coalesce(' WHERE ' || " +
         compared("pg_get_expr(i.indpred, i.indrelid)", is_old, columns) + ", '') || CASE k.contype WHEN 'x' THEN " +
         compared("pg_get_constraintdef(k.oid)", is_old, columns) +
         " ELSE '' END FROM unnest(i.indkey::int2[]) WITH ORDINALITY q (number, place) CROSS JOIN LATERAL (SELECT "
         "q.place::int) g (key))";
}

std::string index_sides(ColumnSwap const& columns) {
  std::string const has_old = index_has_column(columns.old_number);
  return "SELECT i.indexrelid AS index, x.relname::text AS title, s.is_old, coalesce(k.contype::text, CASE WHEN "
         "i.indisunique THEN 'i' ELSE 'n' END) AS kind, coalesce(k.condeferrable, false) AS is_deferrable, "
         "coalesce(k.condeferred, false) AS is_deferred, i.indisreplident AS is_identity, i.indisclustered AS "
         "is_clustered, "
         "CASE WHEN s.is_old THEN " +
         definition_of_index(true, columns) + " ELSE " + definition_of_index(false, columns) +
         " END AS definition FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid LEFT JOIN pg_constraint k ON "
         "k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x') CROSS JOIN LATERAL "
         "(VALUES (true, " +
         has_old + "), (false, " + index_has_column(columns.new_number) + " AND NOT " + has_old +
         ")) s (is_old, is_it) WHERE s.is_it AND i.indisvalid AND i.indisready AND i.indrelid = " + columns.table;
}

// Checks and foreign keys of the table over either column. A foreign key of the table to itself may have the column on
// the other side.
std::string constraint_sides(ColumnSwap const& columns) {
  auto const has = [&](std::string const& number) {
    return "(" + number + " = ANY (k.conkey) OR k.confrelid = k.conrelid AND " + number + " = ANY (k.confkey))";
  };
  auto const definition = [&](bool is_old) {
    std::string const keys = is_old ? "CASE WHEN k.confrelid = k.conrelid THEN array_replace(k.confkey, " +
                                          columns.old_number + ", " + columns.new_number + ") ELSE k.confkey END"
                                    : "k.confkey";
    std::string const text =
        "regexp_replace(regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), CASE k.contype WHEN 'f' THEN ' "
        "REFERENCES [^)]*[)]' ELSE '^ $' END, '')";
    return "k.contype::text || ' ' || " + compared(text, is_old, columns) + " || ' ' || k.confrelid || coalesce(" +
           keys + "::text, '')";
  };
  std::string const has_old = has(columns.old_number);
  return "SELECT k.oid AS item, k.conname::text AS title, s.is_old, k.convalidated AS is_valid, CASE WHEN s.is_old "
         "THEN " +
         definition(true) + " ELSE " + definition(false) +
         " END AS definition FROM pg_constraint k CROSS JOIN LATERAL (VALUES (true, " + has_old + "), (false, " +
         has(columns.new_number) + " AND NOT coalesce(" + has_old +
         ", false))) s (is_old, is_it) WHERE s.is_it AND k.contype IN ('c', 'f') AND k.conrelid = " + columns.table;
}

}  // namespace

std::string index_has_column(std::string const& number) {
  return "coalesce(" + number +
         " = ANY (i.indkey::int2[]) OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND "
         "d.objid = i.indexrelid AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid "
         "= " +
         number + "), false)";
}

std::string indexes_of_old_column(ColumnSwap const& columns) {
  return "SELECT q.* FROM (" + index_sides(columns) + ") q WHERE q.is_old";
}

std::string index_pairs(ColumnSwap const& columns) {
  // Of several alike each gets its own: first what is of the same kind, and for a primary key a plain unique index.
  return "WITH sides AS (SELECT q.*, array_position(ARRAY['p', 'u', 'x', 'i', 'n'], q.kind) AS rank, "
         "array_agg(q.kind) FILTER (WHERE q.is_old) OVER (PARTITION BY q.definition) AS old_kinds FROM (" +
         index_sides(columns) +
         ") q), ranked AS (SELECT s.*, row_number() OVER (PARTITION BY s.definition, s.is_old ORDER BY CASE WHEN "
         "s.is_old "
         "THEN s.rank WHEN s.kind = 'i' AND 'p' = ANY (s.old_kinds) THEN 1 WHEN s.kind = ANY (s.old_kinds) THEN s.rank "
         "ELSE "
         "s.rank + 5 END, s.title) AS place FROM sides s) SELECT o.index AS old_index, o.title AS old_title, o.kind, "
         "o.is_deferrable, o.is_deferred, o.is_identity, o.is_clustered, n.index AS new_index, n.title AS new_title, "
         "n.kind "
         "AS new_kind FROM ranked o JOIN ranked n ON n.definition = o.definition AND n.place = o.place WHERE o.is_old "
         "AND "
         "NOT n.is_old AND CASE o.kind WHEN 'p' THEN n.kind = 'i' WHEN 'u' THEN n.kind = 'i' AND o.is_deferrable "
         "OR n.kind = 'u' AND n.is_deferrable = o.is_deferrable AND n.is_deferred = o.is_deferred WHEN 'x' THEN "
         "n.kind = "
         "'x' WHEN 'i' THEN "
         "n.kind IN ('i', 'u') ELSE n.kind IN ('n', 'i', 'u') END";
}

std::string constraint_pairs(ColumnSwap const& columns) {
  return "WITH ranked AS (SELECT q.*, row_number() OVER (PARTITION BY q.definition, q.is_old ORDER BY q.is_valid DESC, "
         "q.title) AS place FROM (" +
         constraint_sides(columns) +
         ") q) SELECT o.item AS old_constraint, n.item AS new_constraint, o.title AS old_title, n.title AS new_title "
         "FROM ranked o JOIN ranked n ON n.definition = o.definition AND n.place = o.place WHERE o.is_old AND NOT "
         "n.is_old "
         "AND n.is_valid >= o.is_valid";
}

std::string unmet_domain_checks(std::string const& old_type, std::string const& new_type, std::string const& relation,
                                std::string const& column) {
  auto const checks_of = [](std::string const& type) {
    return "(WITH RECURSIVE chain (oid) AS (SELECT y.oid FROM pg_type y WHERE y.typtype = 'd' AND y.oid = " + type +
           " UNION ALL SELECT y.typbasetype FROM chain JOIN pg_type y ON y.oid = chain.oid WHERE y.typtype = 'd') "
           "SELECT k.oid, pg_get_constraintdef(k.oid) AS text FROM chain JOIN pg_constraint k ON k.contypid = "
           "chain.oid AND k.contype = 'c')";
  };
  std::string const over_column = "regexp_replace(d.text, '\\mVALUE\\M', quote_ident(" + column + "), 'g')";
  return "SELECT string_agg(d.text, ' ' ORDER BY d.text) FROM " + checks_of(old_type) +
         " d WHERE NOT EXISTS (SELECT FROM " + checks_of(new_type) +
         " n WHERE n.text = d.text) AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'c' AND "
         "k.convalidated AND k.conrelid = " +
         relation + " AND " + without_casts("pg_get_constraintdef(k.oid)") + " = " + without_casts(over_column) + ")";
}

std::string over_new_column(std::string const& text, ColumnSwap const& columns) {
  // Arrays, because the planner takes a function that returns rows for a thousand of them, and then compiles all this.
  return "(SELECT string_agg(CASE WHEN w.piece = quote_ident(" + columns.old_name + ") THEN quote_ident(" +
         columns.new_name + ") ELSE w.piece END, '' ORDER BY w.place) FROM unnest(string_to_array(regexp_replace(" +
         text + ", " + quote_literal("(" + pieces() + ")") +
         ", '\\1' || chr(1), 'g'), chr(1))) WITH ORDINALITY w (piece, place))";
}

std::string without_casts(std::string const& text) {
  return "translate(regexp_replace(" + text + ", " + quote_literal(cast_to_any()) + ", '', 'g'), '()', '')";
}

}  // namespace pgbackfill::planner
