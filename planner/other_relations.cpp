#include "planner/other_relations.h"

#include <variant>

#include "planner/recipes.h"
#include "planner/sql_text.h"
#include "planner/step_detail.h"

namespace pgbackfill::planner {
namespace {

// What of a table a step changes.
struct Scope {
  bool is_whole = false;
  std::string column;      // else this one
  std::string constraint;  // or this one
  std::string index;       // or this one
};

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

}  // namespace

std::string other_relations_sql(SchemaStep const& step, StepFacts const& facts) {
  if (facts.kind != 'r' && facts.kind != 'p') return {};
  std::string const oid = recipes::oid_of(facts.table);
  auto const scope = std::visit([](auto const& detail) { return scope_of(detail); }, step.detail->kind);
  std::vector<std::string> parts = {children(oid)};
  bool const is_part = !scope.column.empty() || !scope.constraint.empty() || !scope.index.empty();
  if (scope.is_whole || is_part) parts.push_back(foreign_keys(oid, scope));
  if (scope.is_whole || !scope.column.empty()) parts.push_back(views(oid, scope));
  if (!scope.column.empty()) parts.push_back(indexes(oid, scope.column));
  return "SELECT o.relation, o.words FROM (" + join(parts, " UNION ALL ") +
         ") AS o (place, relation, words) WHERE o.relation IS NOT NULL ORDER BY o.place, o.relation, o.words LIMIT " +
         std::to_string(kMostOtherRelations);
}

}  // namespace pgbackfill::planner
