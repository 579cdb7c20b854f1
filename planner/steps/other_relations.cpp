#include "planner/steps/other_relations.h"

#include <type_traits>
#include <variant>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipes.h"
#include "planner/steps/recipes_swap_column.h"
#include "planner/steps/swap_sql.h"

namespace pgbackfill::planner {
namespace {

// What of a table a step changes.
struct Scope {
  bool is_whole = false;
  std::string column;      // else this one
  std::string constraint;  // or this one
  std::string index;       // or this one
};

// Whether rows of the table have other columns, or in another order, afterwards.
template <class Detail>
constexpr bool kChangesRow =
    std::is_same_v<Detail, AddColumn> || std::is_same_v<Detail, DropColumn> || std::is_same_v<Detail, RenameColumn> ||
    std::is_same_v<Detail, ChangeType> || std::is_same_v<Detail, SwapColumn>;

template <class Detail>
Scope scope_of(Detail const& /*step*/) {
  return {};
}
Scope scope_of(DropTable const& /*step*/) {
  return {true, {}, {}, {}};
}
Scope scope_of(RenameTable const& /*step*/) {
  return {true, {}, {}, {}};
}
Scope scope_of(Swap const& /*step*/) {
  return {true, {}, {}, {}};
}
Scope scope_of(DropColumn const& step) {
  return {false, step.column, {}, {}};
}
Scope scope_of(RenameColumn const& step) {
  return {false, step.column, {}, {}};
}
Scope scope_of(SwapColumn const& step) {
  return {false, step.column, {}, {}};
}
Scope scope_of(ChangeType const& step) {
  return {false, step.column, {}, {}};
}
Scope scope_of(DropConstraint const& step) {
  return {false, {}, step.name, {}};
}
Scope scope_of(DropIndex const& step) {
  return {false, {}, {}, step.name};
}

std::string quoted_name(std::string const& relation) {
  return "(SELECT pg_catalog.format('\"%s\".\"%s\"', replace(n.nspname, '\"', '\"\"'), replace(c.relname, '\"', "
         "'\"\"')) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = " +
         relation + ")";
}

std::string number_of(std::string const& oid, std::string const& column) {
  return "(SELECT a.attnum FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid +
         " AND a.attname = " + quote_literal(column) + " AND NOT a.attisdropped)";
}

std::string foreign_keys(std::string const& oid, Scope const& scope) {
  std::string here = "true";
  std::string there = "true";
  if (!scope.column.empty()) {
    here = number_of(oid, scope.column) + " = ANY (k.conkey)";
    there = number_of(oid, scope.column) + " = ANY (k.confkey)";
  } else if (!scope.constraint.empty()) {
    here = "k.conname = " + quote_literal(scope.constraint);
    there = "k.conindid = (SELECT o.conindid FROM pg_catalog.pg_constraint o WHERE o.conrelid = " + oid +
            " AND o.conname = " + quote_literal(scope.constraint) + ")";
  } else if (!scope.index.empty()) {
    here = "false";
    there =
        "k.conindid = (SELECT x.oid FROM pg_catalog.pg_class x JOIN pg_catalog.pg_index i ON i.indexrelid = x.oid "
        "WHERE i.indrelid = " +
        oid + " AND x.relname = " + quote_literal(scope.index) + ")";
  }
  std::string const kind = " FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conparentid = 0 AND ";
  return "SELECT 1, " + quoted_name("k.confrelid") + ", 'is referred to by foreign key ' || k.conname" + kind +
         "k.confrelid <> k.conrelid AND k.conrelid = " + oid + " AND " + here + " UNION ALL SELECT 2, " +
         quoted_name("k.conrelid") + ", 'refers to it by foreign key ' || k.conname" + kind +
         "k.confrelid <> k.conrelid AND k.confrelid = " + oid + " AND " + there;
}

std::string views(std::string const& oid, Scope const& scope) {
  std::string const part =
      scope.column.empty() ? "" : " AND d.refobjsubid = " + number_of(oid, scope.column) + "::integer";
  return "SELECT DISTINCT 3, " + quoted_name("v.oid") +
         ", CASE v.relkind WHEN 'm' THEN 'is a materialized view that uses it' ELSE 'is a view that uses it' END FROM "
         "pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid JOIN pg_catalog.pg_class v ON v.oid = "
         "r.ev_class WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = "
         "'pg_catalog.pg_class'::pg_catalog.regclass AND v.relkind IN ('v', 'm') AND d.refobjid = " +
         oid + part;
}

std::string indexes(std::string const& oid, std::string const& column) {
  std::string const number = number_of(oid, column);
  return "SELECT 4, " + quoted_name("i.indexrelid") +
         ", 'is an index that has it' FROM pg_catalog.pg_index i WHERE i.indrelid = " + oid + " AND (" + number +
         " = ANY (i.indkey::int2[]) OR EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = "
         "'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid AND d.refobjid = i.indrelid AND "
         "d.refobjsubid = " +
         number + "::integer))";
}

// ALTER TABLE goes down to partitions and to tables that inherit.
std::string children(std::string const& oid) {
  return "SELECT 5, " + quoted_name("h.inhrelid") +
         ", CASE WHEN p.relispartition THEN 'is a partition of it' ELSE 'inherits from it' END FROM "
         "pg_catalog.pg_inherits h JOIN pg_catalog.pg_class p ON p.oid = h.inhrelid WHERE h.inhparent = " +
         oid;
}

// Functions of triggers are texts to the server: nothing depends on what they name.
std::string trigger_functions(std::string const& oid, Scope const& scope) {
  constexpr char kTakesRow[] =
      R"((p.prosrc ~* '\m(new|old)\M\s*\)?\s*\.\s*\*' OR (g.tgnewtable IS NOT NULL OR g.tgoldtable IS NOT NULL) AND )"
      R"(p.prosrc ~ '\*'))";
  std::string const names =
      scope.column.empty() ? "false" : "strpos(lower(p.prosrc), lower(" + quote_literal(scope.column) + ")) > 0";
  return "SELECT 6, " + quoted_name("g.tgrelid") +
         ", pg_catalog.format('has trigger %I, whose function %s ', g.tgname, p.oid::pg_catalog.regprocedure) || CASE "
         "WHEN " +
         kTakesRow +
         " THEN 'takes rows as a whole (NEW.*, or * of a transition table): what it writes them to has to have the "
         "same columns, or each write fails' ELSE " +
         quote_literal("names column " + scope.column) +
         " END FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_proc p ON p.oid = g.tgfoid JOIN pg_catalog.pg_namespace "
         "n ON n.oid = p.pronamespace WHERE g.tgparentid = 0 AND NOT g.tgisinternal AND g.tgenabled <> 'D' AND "
         "n.nspname <> 'pgbackfill' AND g.tgrelid IN (SELECT " +
         oid + "::pg_catalog.oid UNION SELECT t.relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree(" + oid +
         ") t) AND (" + kTakesRow + " OR " + names + ")";
}

// What takes or holds rows of the table has been told their columns once.
std::string row_type_users(std::string const& oid) {
  std::string const types =
      "(SELECT x.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_type y ON y.oid = c.reltype CROSS JOIN LATERAL "
      "(VALUES (y.oid), (y.typarray)) x (oid) WHERE c.oid = " +
      oid + ")";
  // By the one index that leads from a type to its users: a large catalog is not gone through.
  auto const users = [&](std::string const& catalog) {
    return " IN (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.refclassid = 'pg_catalog.pg_type'::pg_catalog."
           "regclass AND d.refobjid IN " +
           types + " AND d.classid = 'pg_catalog." + catalog + "'::pg_catalog.regclass)";
  };
  return "SELECT 7, p.oid::pg_catalog.regprocedure::text, CASE WHEN p.prorettype IN " + types +
         " THEN 'is a function that returns rows of it: one that lists their columns fails once these have changed' "
         "ELSE 'is a function that takes rows of it' END FROM pg_catalog.pg_proc p WHERE p.oid" +
         users("pg_proc") + " AND (p.prorettype IN " + types +
         " OR EXISTS (SELECT FROM unnest(p.proargtypes::pg_catalog.oid[]) a (type) WHERE a.type IN " + types +
         ")) UNION ALL SELECT 8, " + quoted_name("a.attrelid") +
         ", pg_catalog.format('has a column %I of its row type', a.attname) FROM pg_catalog.pg_attribute a JOIN "
         "pg_catalog.pg_class c ON c.oid = a.attrelid WHERE c.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT "
         "a.attisdropped AND a.attrelid" +
         users("pg_class") + " AND a.atttypid IN " + types;
}

// What a partition has from its table and publications of it, and loses with it.
std::string lost_with_detach(std::string const& oid, TableName const& partition) {
  std::string const part = recipes::oid_of(partition);
  return "SELECT 6, " + quoted_name("g.tgrelid") +
         ", pg_catalog.format('loses trigger %I, which it has from the table', g.tgname) FROM "
         "pg_catalog.pg_partition_tree((" +
         part +
         ")::pg_catalog.oid::pg_catalog.regclass) t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.relid JOIN "
         "pg_catalog.pg_trigger o ON o.tgrelid = " +
         oid + " AND o.tgname = g.tgname AND NOT o.tgisinternal WHERE g.tgparentid <> 0 UNION ALL SELECT 6, " +
         quoted_name(part) +
         ", pg_catalog.format('is no longer published by %I, which has the table', p.pubname) FROM "
         "pg_catalog.pg_partition_ancestors((" +
         part +
         ")::pg_catalog.oid::pg_catalog.regclass) t JOIN pg_catalog.pg_publication_rel r ON r.prrelid = t.relid JOIN "
         "pg_catalog.pg_publication p ON p.oid = r.prpubid WHERE t.relid <> " +
         part;
}

}  // namespace

bool changes_row(SchemaStep const& step) {
  return std::visit([](auto const& detail) { return kChangesRow<std::decay_t<decltype(detail)>>; }, step.detail->kind);
}

std::string other_relations_sql(SchemaStep const& step, StepFacts const& facts) {
  if (facts.kind != 'r' && facts.kind != 'p') return {};
  std::string const oid = recipes::oid_of(facts.table);
  auto const scope = std::visit([](auto const& detail) { return scope_of(detail); }, step.detail->kind);
  std::vector<std::string> parts = {children(oid)};
  bool const is_part = !scope.column.empty() || !scope.constraint.empty() || !scope.index.empty();
  if (scope.is_whole || is_part) parts.push_back(foreign_keys(oid, scope));
  if (scope.is_whole || !scope.column.empty()) parts.push_back(views(oid, scope));
  if (!scope.column.empty()) parts.push_back(indexes(oid, scope.column));
  if (changes_row(step)) {
    parts.push_back(trigger_functions(oid, scope));
    parts.push_back(row_type_users(oid));
  }
  if (auto const* swap = std::get_if<Swap>(&step.detail->kind)) {
    parts.push_back("SELECT 6, w.relation, w.words FROM (" + recipes::swap_notes(*swap, facts.table) +
                    ") w WHERE w.words IS NOT NULL");
  }
  if (auto const* swap = std::get_if<SwapColumn>(&step.detail->kind)) {
    parts.push_back("SELECT 6, w.relation, w.words FROM (" + recipes::swap_column_notes(*swap, facts.table) +
                    ") w (relation, words)");
  }
  if (auto const* detach = std::get_if<DetachPartition>(&step.detail->kind)) {
    parts.push_back(lost_with_detach(oid, detach->partition));
  }
  return "SELECT o.relation, o.words FROM (" + join(parts, " UNION ALL ") +
         ") AS o (place, relation, words) WHERE o.relation IS NOT NULL ORDER BY o.place, o.relation, o.words LIMIT " +
         std::to_string(kMostOtherRelations);
}

}  // namespace pgbackfill::planner
