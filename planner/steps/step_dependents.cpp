#include "planner/steps/step_dependents.h"

#include <variant>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/heirs.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner {
namespace {

using recipes::tree_of;

// pg_class, as the number of a catalog.
std::string catalog(std::string const& name) {
  return "'pg_catalog." + name + "'::pg_catalog.regclass::pg_catalog.oid";
}

std::string column_root(std::string const& oid, std::string const& column) {
  return "SELECT " + catalog("pg_class") +
         ", a.attrelid, a.attnum::pg_catalog.int4 FROM pg_catalog.pg_attribute a WHERE a.attrelid IN " + tree_of(oid) +
         " AND a.attname = " + quote_literal(column) + " AND a.attnum > 0 AND NOT a.attisdropped";
}

std::string table_root(std::string const& oid) {
  return "SELECT " + catalog("pg_class") + ", c.oid, 0 FROM pg_catalog.pg_class c WHERE c.oid = " + oid;
}

std::string constraint_root(std::string const& oid, std::string const& name) {
  return "SELECT " + catalog("pg_constraint") + ", k.oid, 0 FROM pg_catalog.pg_constraint k WHERE k.conrelid IN " +
         tree_of(oid) + " AND k.conname = " + quote_literal(name);
}

std::string index_root(std::string const& oid, std::string const& name) {
  return "SELECT " + catalog("pg_class") +
         ", i.indexrelid, 0 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE "
         "i.indrelid = " +
         oid + " AND x.relname = " + quote_literal(name);
}

// --- which objects ---------------------------------------------------------------------------------------------------

// What is dropped along with the roots, and what forbids it.
std::string closure(std::string const& roots) {
  return "WITH RECURSIVE roots (classid, objid, objsubid) AS (" + roots +
         "), gone AS (SELECT * FROM roots UNION SELECT d.classid, d.objid, d.objsubid FROM gone g JOIN "
         "pg_catalog.pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid AND (g.objsubid = 0 OR "
         "d.refobjsubid = g.objsubid) WHERE d.deptype IN ('a', 'i', 'P', 'S')), tied (tie, classid, objid, objsubid) "
         "AS "
         "(SELECT 'goes', g.* FROM gone g WHERE NOT EXISTS (SELECT FROM roots r WHERE r.classid = g.classid AND "
         "r.objid "
         "= g.objid AND r.objsubid IN (0, g.objsubid)) UNION SELECT 'stops', d.classid, d.objid, d.objsubid FROM gone "
         "g "
         "JOIN pg_catalog.pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid AND (g.objsubid = 0 OR "
         "d.refobjsubid = g.objsubid) WHERE d.deptype = 'n' AND NOT EXISTS (SELECT FROM gone o WHERE o.classid = "
         "d.classid AND o.objid = d.objid AND o.objsubid IN (0, d.objsubid)))";
}

// Columns that keep values of these row types, a query's oids, directly or in arrays, domains, ranges and composite
// types of any depth: as find_composite_type_dependencies() looks for them. Two parts of a WITH, of which the other one
// has the columns as `keepers`.
std::string keepers_of_rows(std::string const& row_types) {
  return "row_types (oid) AS (" + row_types + " UNION SELECT CASE WHEN d.classid = " + catalog("pg_type") +
         " THEN d.objid ELSE c.reltype END FROM row_types r JOIN pg_catalog.pg_depend d ON d.refobjid = r.oid AND "
         "d.refclassid = " +
         catalog("pg_type") + " LEFT JOIN pg_catalog.pg_class c ON d.classid = " + catalog("pg_class") +
         " AND c.oid = d.objid AND d.objsubid > 0 AND c.relkind IN ('v', 'c', 'f') WHERE d.classid = " +
         catalog("pg_type") +
         " OR c.reltype <> 0), keepers (classid, objid, objsubid) AS (SELECT d.classid, d.objid, d.objsubid FROM "
         "row_types "
         "r JOIN pg_catalog.pg_depend d ON d.refobjid = r.oid AND d.refclassid = " +
         catalog("pg_type") + " AND d.classid = " + catalog("pg_class") +
         " AND d.objsubid > 0 JOIN pg_catalog.pg_class c ON c.oid = d.objid WHERE c.relkind IN ('r', 'm', 'p'))";
}

std::string row_types_of(std::string const& oid) {
  return "SELECT c.reltype FROM pg_catalog.pg_class c WHERE c.oid IN " + tree_of(oid) + " AND c.reltype <> 0";
}

// A column with a default: the server gives it to the rows that are there, and would have to do so within others. A
// partitioned table has no rows of its own.
std::string row_users(std::string const& oid) {
  return "WITH RECURSIVE " + keepers_of_rows(row_types_of(oid) + " AND c.relkind <> 'p'") +
         ", tied (tie, classid, objid, objsubid) AS (SELECT 'stops', k.* FROM keepers k)";
}

// A change of type: the server refuses what knows the type of the column, or of the row; indexes and constraints are
// the recipe's affair, the column's own default and sequence change along.
std::string type_users(std::string const& oid, std::string const& column) {
  return "WITH RECURSIVE roots (classid, objid, objsubid) AS (" + column_root(oid, column) + "), " +
         keepers_of_rows(row_types_of(oid)) +
         ", tied (tie, classid, objid, objsubid) AS "
         "(SELECT 'stops', d.classid, d.objid, d.objsubid FROM roots g "
         "JOIN pg_catalog.pg_depend d ON d.refclassid = g.classid AND d.refobjid = g.objid AND d.refobjsubid = "
         "g.objsubid WHERE d.deptype IN ('n', 'a') AND (d.classid IN (" +
         catalog("pg_rewrite") + ", " + catalog("pg_policy") + ", " + catalog("pg_trigger") + ", " +
         catalog("pg_proc") + ", " + catalog("pg_publication_rel") + ") OR (d.classid = " + catalog("pg_class") +
         " AND d.objsubid > 0 AND d.objid = g.objid)) UNION SELECT 'stops', k.* FROM keepers k)";
}

// Nothing is in the server's way.
std::string no_users() {
  return "WITH tied (tie, classid, objid, objsubid) AS (SELECT 'goes', 0::pg_catalog.oid, 0::pg_catalog.oid, 0 WHERE "
         "false)";
}

// --- what reads it ---------------------------------------------------------------------------------------------------

std::string pattern_of(std::string const& column) {
  std::string pattern;
  for (char const c : column) {
    bool const is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
                          static_cast<unsigned char>(c) >= 0x80;
    if (!is_plain) pattern += '\\';
    pattern += c;
  }
  return "\\m" + pattern + "\\M";
}

// Functions of triggers whose text names the column, or takes the whole row; functions of the row's type.
std::string readers(std::string const& oid, std::string const& column) {
  // NEW.*, f(NEW), (NEW)::text, USING NEW; but not RETURN NEW.
  std::string const row = "\\m(NEW|OLD)\\M\\s*(\\.\\s*\\*|[,)]|::)|\\mUSING\\M[^;]*\\m(NEW|OLD)\\M\\s*;";
  return " UNION SELECT 'reads', 'trigger', pg_catalog.quote_ident(g.tgname) || ' on ' || (SELECT i.identity FROM "
         "pg_catalog.pg_identify_object(" +
         catalog("pg_class") +
         ", g.tgrelid, 0) i) || ', by function ' || (SELECT i.identity FROM "
         "pg_catalog.pg_identify_object(" +
         catalog("pg_proc") +
         ", p.oid, 0) i), g.tgname::text FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid "
         "JOIN "
         "pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE g.tgrelid = " +
         oid + " AND NOT g.tgisinternal AND n.nspname <> 'pgbackfill' AND (p.prosrc ~* " + quote_literal(row) +
         " OR p.prosrc ~* " + quote_literal(pattern_of(column)) +
         ") UNION SELECT 'reads', 'function', (SELECT i.identity FROM pg_catalog.pg_identify_object(" +
         catalog("pg_proc") +
         ", p.oid, 0) i) || ', which has the row''s type', p.proname::text FROM pg_catalog.pg_class c JOIN "
         "pg_catalog.pg_type y ON y.oid = c.reltype JOIN pg_catalog.pg_depend d ON d.refclassid = " +
         catalog("pg_type") + " AND d.refobjid IN (y.oid, y.typarray) AND d.classid = " + catalog("pg_proc") +
         " JOIN pg_catalog.pg_proc p ON p.oid = d.objid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE "
         "c.oid = " +
         oid + " AND n.nspname <> 'pgbackfill'";
}

// --- as rows ---------------------------------------------------------------------------------------------------------

// What the rule of a view or a default is of, instead of it; without what nobody has made by name, and what is ours.
std::string rows_of(std::string const& tied, std::string const& readers) {
  std::string const is_shown = "(t.classid IN (" + catalog("pg_constraint") + ", " + catalog("pg_trigger") + ", " +
                               catalog("pg_policy") + ", " + catalog("pg_statistic_ext") + ", " +
                               catalog("pg_publication_rel") + ", " + catalog("pg_rewrite") + ", " +
                               catalog("pg_proc") + ", " + catalog("pg_class") + ") OR t.tie = 'stops')";
  return tied +
         ", shown (tie, classid, objid, objsubid, name) AS (SELECT t.tie, CASE WHEN x.oid IS NULL AND e.oid IS NULL "
         "THEN "
         "t.classid ELSE " +
         catalog("pg_class") +
         " END, coalesce(x.oid, e.adrelid, t.objid), coalesce(e.adnum, t.objsubid), coalesce(x.relname, "
         "c.relname, k.conname, g.tgname, "
         "p.polname, s.stxname, f.proname, r.rulename)::text FROM tied t LEFT JOIN pg_catalog.pg_attrdef e ON "
         "t.classid = " +
         catalog("pg_attrdef") +
         " AND e.oid = t.objid LEFT JOIN pg_catalog.pg_rewrite r ON t.classid = " + catalog("pg_rewrite") +
         " AND r.oid = t.objid LEFT JOIN pg_catalog.pg_class x ON x.oid = r.ev_class AND x.relkind IN ('v', 'm') LEFT "
         "JOIN "
         "pg_catalog.pg_class c ON t.classid = " +
         catalog("pg_class") +
         " AND c.oid = t.objid LEFT JOIN pg_catalog.pg_constraint k ON t.classid = " + catalog("pg_constraint") +
         " AND k.oid = t.objid LEFT JOIN pg_catalog.pg_trigger g ON t.classid = " + catalog("pg_trigger") +
         " AND g.oid = t.objid LEFT JOIN pg_catalog.pg_proc h ON h.oid = g.tgfoid LEFT JOIN "
         "pg_catalog.pg_policy p ON t.classid = " +
         catalog("pg_policy") +
         " AND p.oid = t.objid LEFT JOIN pg_catalog.pg_statistic_ext s ON t.classid = " + catalog("pg_statistic_ext") +
         " AND s.oid = t.objid LEFT JOIN pg_catalog.pg_proc f ON t.classid = " + catalog("pg_proc") +
         " AND f.oid = t.objid WHERE " + is_shown +
         " AND (c.oid IS NULL OR (c.relkind NOT IN ('t', 'c') AND c.relnamespace <> "
         "'pg_toast'::pg_catalog.regnamespace)) AND (k.oid IS NULL OR k.contype NOT IN ('n', 't')) AND "
         "(g.oid IS NULL OR NOT g.tgisinternal) AND NOT EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname "
         "= "
         "'pgbackfill' AND n.oid IN (h.pronamespace, f.pronamespace)) AND NOT (t.tie = 'goes' AND c.relkind IN ('i', "
         "'I') AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = t.classid AND d.objid = t.objid AND "
         "d.refclassid = " +
         catalog("pg_constraint") +
         " AND d.deptype = 'i'))) SELECT DISTINCT e.* FROM (SELECT s.tie, i.type, i.identity, coalesce(s.name, "
         "i.identity) FROM shown s CROSS JOIN LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) "
         "i" +
         readers + ") AS e (tie, type, identity, name) ORDER BY 1 DESC, 2, 3 LIMIT " + std::to_string(kMostDependents);
}

// A new default goes down to all tables below, whatever they have: rows as of rows_of().
std::string defaults_below(StepFacts const& facts, SetDefault const& step) {
  std::string const own = recipes::default_of("a.attrelid", step.column);
  std::string const of_table = recipes::default_of(recipes::oid_of(facts.table), step.column);
  return "SELECT 'goes', 'default', i.identity || ' (' || coalesce(nullif(" + own +
         ", ''), 'none') || ')', i.identity FROM " +
         "pg_catalog.pg_attribute a CROSS JOIN LATERAL pg_catalog.pg_identify_object(" + catalog("pg_class") +
         ", a.attrelid, a.attnum::pg_catalog.int4) i WHERE " + recipes::is_of_heir(facts.table, step.column) + " AND " +
         own + " NOT IN (" + of_table + ", " + quote_literal(facts.spelling) + ") ORDER BY i.identity LIMIT " +
         std::to_string(kMostDependents);
}

struct Asker {
  StepFacts const& facts;
  std::string oid() const { return recipes::oid_of(facts.table); }

  std::string operator()(DropColumn const& step) const {
    return rows_of(closure(column_root(oid(), step.column)), readers(oid(), step.column));
  }
  std::string operator()(AddColumn const& step) const {
    return step.default_value.empty() ? std::string() : rows_of(row_users(oid()), "");
  }
  std::string operator()(DropTable const& /*step*/) const { return rows_of(closure(table_root(oid())), ""); }
  std::string operator()(DropConstraint const& step) const {
    return rows_of(closure(constraint_root(oid(), step.name)), "");
  }
  std::string operator()(DropIndex const& step) const { return rows_of(closure(index_root(oid(), step.name)), ""); }
  std::string operator()(ChangeType const& step) const {
    return rows_of(type_users(oid(), step.column), readers(oid(), step.column));
  }
  std::string operator()(SetDefault const& step) const { return defaults_below(facts, step); }
  std::string operator()(RenameColumn const& step) const { return rows_of(no_users(), readers(oid(), step.column)); }
  template <class Detail>
  std::string operator()(Detail const& /*step*/) const {
    return {};
  }
};

// What a step has made, for its rollback to drop.
struct Maker {
  StepFacts const& facts;
  std::string oid() const { return recipes::oid_of(facts.table); }

  std::string operator()(AddColumn const& step) const { return column_root(oid(), step.column); }
  std::string operator()(CreateIndex const& step) const { return index_root(oid(), step.name); }
  std::string operator()(AddCheck const& step) const { return constraint_root(oid(), step.name); }
  std::string operator()(AddForeignKey const& step) const { return constraint_root(oid(), step.name); }
  std::string operator()(AddKey const& step) const {
    return constraint_root(oid(), step.name) + " UNION " + index_root(oid(), step.name);
  }
  std::string operator()(CreateTable const& /*step*/) const { return table_root(oid()); }
  template <class Detail>
  std::string operator()(Detail const& /*step*/) const {
    return {};
  }
};

}  // namespace

std::string dependents_sql(SchemaStep const& step, StepFacts const& facts) {
  if (facts.kind == ' ') return {};
  return std::visit(Asker{facts}, step.detail->kind);
}

std::string dependents_of_undo_sql(std::vector<std::pair<SchemaStep, StepFacts>> const& steps) {
  std::vector<std::string> roots;
  for (auto const& [step, facts] : steps) {
    auto root = std::visit(Maker{facts}, step.detail->kind);
    if (!root.empty()) roots.push_back(std::move(root));
  }
  return roots.empty() ? std::string() : rows_of(closure(join(roots, " UNION ")), "");
}

std::string referring_rows_sql(StepFacts const& parent, TableName const& partition) {
  std::string const pairs =
      "(SELECT string_agg(pg_catalog.format('f.%I = p.%I', fa.attname, pa.attname), ' AND ' ORDER BY x.place) FROM "
      "unnest(k.conkey, k.confkey) WITH ORDINALITY x (own, other, place) JOIN pg_catalog.pg_attribute fa ON "
      "fa.attrelid "
      "= k.conrelid AND fa.attnum = x.own JOIN pg_catalog.pg_attribute pa ON pa.attrelid = k.confrelid AND pa.attnum = "
      "x.other)";
  return "SELECT pg_catalog.format('rows of %I.%I refer to rows of ' || " + quote_literal(shown(partition)) +
         " || ' by foreign key %I; the partition cannot be detached while they do', n.nspname, c.relname, k.conname), "
         "pg_catalog.format('SELECT EXISTS (SELECT FROM %I.%I f JOIN ' || " +
         quote_literal(recipes::quoted(partition)) + " || ' p ON %s)', n.nspname, c.relname, " + pairs +
         ") FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN "
         "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE k.contype = 'f' AND k.conparentid = 0 AND "
         "k.confrelid = " +
         recipes::oid_of(parent.table);
}

Dependent dependent_of(std::vector<std::optional<std::string>> const& row) {
  Dependent dependent;
  auto const tie = row.at(0).value_or("");
  dependent.tie = tie == "goes" ? Tie::kGoes : tie == "reads" ? Tie::kReads : Tie::kStops;
  dependent.type = row.at(1).value_or("");
  dependent.identity = row.at(2).value_or("");
  dependent.name = row.at(3).value_or("");
  return dependent;
}

std::string to_string(Dependent const& dependent) {
  return dependent.type + " " + dependent.identity;
}

}  // namespace pgbackfill::planner
