#include "planner/steps/step_objects.h"

#include <optional>
#include <variant>
#include <vector>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner {
namespace {

// Each a query for rows of class, number, and number of the column.
using Objects = std::vector<std::string>;

std::string catalog(std::string const& name) {
  return "'pg_catalog." + name + "'::pg_catalog.regclass::pg_catalog.oid";
}

std::string the_table(TableName const& table) {
  return "SELECT " + catalog("pg_class") +
         ", c.oid, 0 FROM pg_catalog.pg_class c WHERE c.oid = " + recipes::oid_of(table);
}

std::string the_column(TableName const& table, std::string const& column) {
  return "SELECT " + catalog("pg_class") +
         ", a.attrelid, a.attnum::pg_catalog.int4 FROM pg_catalog.pg_attribute a WHERE a.attrelid = " +
         recipes::oid_of(table) + " AND a.attname = " + quote_literal(column) +
         " AND a.attnum > 0 AND NOT "
         "a.attisdropped";
}

std::string the_default(TableName const& table, std::string const& column) {
  return "SELECT " + catalog("pg_attrdef") +
         ", d.oid, 0 FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND "
         "a.attnum = d.adnum WHERE d.adrelid = " +
         recipes::oid_of(table) + " AND a.attname = " + quote_literal(column);
}

std::string the_constraint(TableName const& table, std::string const& name) {
  return "SELECT " + catalog("pg_constraint") +
         ", k.oid, 0 FROM pg_catalog.pg_constraint k WHERE k.conrelid = " + recipes::oid_of(table) +
         " AND k.conname = " + quote_literal(name);
}

std::string the_index(TableName const& table, std::string const& name) {
  return "SELECT " + catalog("pg_class") +
         ", i.indexrelid, 0 FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE "
         "i.indrelid = " +
         recipes::oid_of(table) + " AND x.relname = " + quote_literal(name);
}

// What stands under the names of a step, once it is done and once it is taken back.
struct Left {
  TableName const& table;

  Objects operator()(AddColumn const& step) const { return {the_table(table), the_column(table, step.column)}; }
  Objects operator()(SetNotNull const& step) const { return {the_table(table), the_column(table, step.column)}; }
  Objects operator()(DropNotNull const& step) const { return {the_table(table), the_column(table, step.column)}; }
  Objects operator()(SetDefault const& step) const {
    return {the_table(table), the_column(table, step.column), the_default(table, step.column)};
  }
  Objects operator()(RenameColumn const& step) const {
    return {the_table(table), the_column(table, step.column), the_column(table, step.to)};
  }
  Objects operator()(CreateIndex const& step) const { return {the_table(table), the_index(table, step.name)}; }
  Objects operator()(AddCheck const& step) const { return {the_table(table), the_constraint(table, step.name)}; }
  Objects operator()(AddForeignKey const& step) const { return {the_table(table), the_constraint(table, step.name)}; }
  Objects operator()(AddKey const& step) const {
    // The old key and the new one take each other's name, on a way back that is cut short as well.
    if (step.is_replacing) return {the_table(table)};
    return {the_table(table), the_constraint(table, step.name), the_index(table, step.name)};
  }
  Objects operator()(DropConstraint const& /*step*/) const { return {the_table(table)}; }
  Objects operator()(DropIndex const& /*step*/) const { return {the_table(table)}; }
  Objects operator()(CreateTable const& /*step*/) const { return {the_table(table)}; }
  Objects operator()(RenameTable const& step) const { return {the_table(table), the_table({table.schema, step.to})}; }
  Objects operator()(DetachPartition const& step) const { return {the_table(table), the_table(step.partition)}; }
  Objects operator()(AttachPartition const& step) const { return {the_table(table), the_table(step.partition)}; }
  template <class Detail>
  Objects operator()(Detail const& /*step*/) const {
    return {};
  }
};

// What is not there any more, or not under this name, once the step is done.
struct Taken {
  TableName const& table;

  // Those that inherit the column lose theirs along; partitions are the table itself.
  std::string operator()(DropColumn const& step) const { return the_column(table, step.column) + heirs(step.column); }
  std::string operator()(RenameColumn const& step) const { return the_column(table, step.column); }
  std::string operator()(ChangeType const& step) const { return the_column(table, step.column); }
  std::string operator()(SwapColumn const& step) const { return the_column(table, step.column); }
  std::string operator()(DropConstraint const& step) const { return the_constraint(table, step.name); }
  std::string operator()(DropIndex const& step) const { return the_index(table, step.name); }
  std::string operator()(DropTable const& /*step*/) const { return the_table(table); }
  std::string operator()(RenameTable const& /*step*/) const { return the_table(table); }
  std::string operator()(Swap const& /*step*/) const { return the_table(table); }
  std::string operator()(DetachPartition const& step) const { return the_table(step.partition); }
  template <class Detail>
  std::string operator()(Detail const& /*step*/) const {
    return {};
  }

 private:
  std::string heirs(std::string const& column) const {
    return " UNION SELECT " + catalog("pg_class") +
           ", a.attrelid, a.attnum::pg_catalog.int4 FROM (WITH RECURSIVE heirs (oid) AS (SELECT " +
           recipes::oid_of(table) +
           "::pg_catalog.oid UNION SELECT h.inhrelid FROM pg_catalog.pg_inherits h JOIN heirs ON h.inhparent = "
           "heirs.oid JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid WHERE NOT c.relispartition) SELECT heirs.oid "
           "FROM heirs) s JOIN pg_catalog.pg_attribute a ON a.attrelid = s.oid AND a.attname = " +
           quote_literal(column) + " AND a.attnum > 0 AND NOT a.attisdropped";
  }
};

// The step that does what the undoing of another one does: what forbids the one forbids the other.
struct Reverse {
  using Detail = std::optional<StepDetail>;
  TableName const& table;

  Detail operator()(AddColumn const& step) const { return StepDetail{DropColumn{table, step.column}}; }
  Detail operator()(SetNotNull const& step) const { return StepDetail{DropNotNull{table, step.column}}; }
  Detail operator()(RenameColumn const& step) const { return StepDetail{RenameColumn{table, step.to, step.column}}; }
  Detail operator()(CreateIndex const& step) const { return StepDetail{DropIndex{table, step.name}}; }
  Detail operator()(AddCheck const& step) const { return StepDetail{DropConstraint{table, step.name}}; }
  Detail operator()(AddForeignKey const& step) const { return StepDetail{DropConstraint{table, step.name}}; }
  template <class Step>
  Detail operator()(Step const& /*step*/) const {
    return std::nullopt;
  }
};

// Of t (classid, objid, objsubid). REINDEX CONCURRENTLY and a change of type make what they find anew: another number,
// the same definition.
std::string definition() {
  return "pg_catalog.md5(coalesce(CASE t.classid WHEN " + catalog("pg_class") +
         " THEN (SELECT pg_catalog.pg_get_indexdef(x.oid) FROM pg_catalog.pg_class x WHERE x.oid = t.objid AND "
         "t.objsubid = 0 AND x.relkind IN ('i', 'I')) WHEN " +
         catalog("pg_constraint") +
         " THEN (SELECT k.contype::text || pg_catalog.regexp_replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT "
         "VALID$', '') FROM pg_catalog.pg_constraint k WHERE k.oid = t.objid) WHEN " +
         catalog("pg_attrdef") +
         " THEN (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.oid = "
         "t.objid) END, ''))";
}

std::string is_there() {
  return "(CASE WHEN t.classid = " + catalog("pg_constraint") +
         " THEN EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.oid = t.objid) WHEN t.classid = " +
         catalog("pg_attrdef") +
         " THEN EXISTS (SELECT FROM pg_catalog.pg_attrdef d WHERE d.oid = t.objid) WHEN t.objsubid = 0 THEN EXISTS "
         "(SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.objid) ELSE EXISTS (SELECT FROM pg_catalog.pg_attribute "
         "a WHERE a.attrelid = t.objid AND a.attnum = t.objsubid AND NOT a.attisdropped) END)";
}

std::string rows_of(Objects const& objects) {
  return "(" + join(objects, " UNION ") + ") AS t (classid, objid, objsubid)";
}

// Whoever may write the state may have written it: what does not look like an answer of objects_sql() is left out.
std::string rows_of_proof(std::string const& proof) {
  return "(SELECT pg_catalog.split_part(w, ':', 1)::pg_catalog.oid, pg_catalog.split_part(w, ':', "
         "2)::pg_catalog.oid, pg_catalog.split_part(w, ':', 3)::pg_catalog.int4, pg_catalog.split_part(w, ':', 4) "
         "FROM pg_catalog.unnest(pg_catalog.string_to_array(" +
         quote_literal(proof) +
         ", ' ')) w WHERE w ~ '^\\d{1,9}:\\d{1,10}:\\d{1,4}:[0-9a-f]{32}$') AS t (classid, "
         "objid, objsubid, definition)";
}

std::string identities_of(std::string const& rows) {
  return "(SELECT pg_catalog.string_agg(i.type || ' ' || i.identity, ', ' ORDER BY s.classid, s.objid, s.objsubid) "
         "FROM (" +
         rows + ") s CROSS JOIN LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) i)";
}

std::string any_needed(std::vector<Action> const& actions) {
  std::vector<std::string> needs;
  for (auto const& action : actions) needs.push_back("coalesce(" + action.needed + ", false)");
  return "(" + join(needs, " OR ") + ")";
}

// What the server, or the step that does the same, says against the way back; SQL text or NULL.
std::string refusal_of_way_back(SchemaStep const& step, StepFacts const& facts, Recipe const& recipe) {
  std::vector<std::pair<std::string, std::string>> cases;
  if (!recipe.undo_refusal.empty()) cases.emplace_back("true", "(" + recipe.undo_refusal + ")");
  auto const reverse = std::visit(Reverse{facts.table}, step.detail->kind);
  if (!reverse) return cases.empty() ? "NULL::pg_catalog.text" : cases.front().second;
  StepFacts of_reverse;
  of_reverse.server_version = facts.server_version;
  of_reverse.table = facts.table;
  of_reverse.kind = facts.kind;
  auto const recipe_back =
      std::visit([&](auto const& detail) { return recipes::recipe(detail, of_reverse); }, reverse->kind);
  std::string const of_server = "CASE WHEN " + any_needed(recipe.undo) + " THEN " + recipe_back.refusal + " END";
  return cases.empty() ? of_server : "coalesce(" + cases.front().second + ", " + of_server + ")";
}

}  // namespace

std::string objects_sql(SchemaStep const& step, StepFacts const& facts) {
  auto const objects = std::visit(Left{facts.table}, step.detail->kind);
  if (objects.empty()) return {};
  return "SELECT pg_catalog.string_agg(t.classid || ':' || t.objid || ':' || t.objsubid || ':' || " + definition() +
         ", ' ' ORDER BY t.classid, t.objid, t.objsubid) FROM " + rows_of(objects);
}

std::string undo_check_sql(SchemaStep const& step, StepFacts const& facts, std::string const& proof, bool asks_server) {
  auto const recipe = recipe_for(step, facts);
  if (recipe.undo.empty()) return "SELECT NULL::pg_catalog.text, false";
  std::string const of_server =
      asks_server ? refusal_of_way_back(step, facts, recipe) : std::string("NULL::pg_catalog.text");
  auto const objects = std::visit(Left{facts.table}, step.detail->kind);
  if (objects.empty() || proof.empty()) return "SELECT " + of_server + ", false";
  std::string const is_same =
      "k.classid = n.classid AND k.objsubid = n.objsubid AND (k.objid = n.objid OR (k.definition = n.definition AND "
      "k.definition <> pg_catalog.md5('')))";
  std::string const strangers = "SELECT n.* FROM named n WHERE NOT EXISTS (SELECT FROM known k WHERE " + is_same + ")";
  std::string const strays =
      "SELECT k.* FROM known k WHERE k.is_there AND NOT EXISTS (SELECT FROM named n WHERE " + is_same + ")";
  return "WITH known AS (SELECT t.*, " + is_there() + " AS is_there FROM " + rows_of_proof(proof) +
         "), named AS (SELECT t.*, " + definition() + " AS definition FROM " + rows_of(objects) +
         "), seen AS (SELECT " + identities_of(strangers) + " AS strangers, " + identities_of(strays) +
         " AS strays, (SELECT bool_or(k.is_there) FROM known k) AS is_there, EXISTS (SELECT FROM named) AS is_named) "
         "SELECT CASE WHEN s.strays IS NOT NULL THEN 'what the step left has another name now: ' || s.strays || '; "
         "rename it back' || coalesce(', and out of its way: ' || s.strangers, '') WHEN s.strangers IS NOT NULL AND " +
         any_needed(recipe.undo) + " THEN s.strangers || ' has the name, and is not what the step left' ELSE (" +
         of_server + ") END, coalesce(NOT s.is_there AND NOT s.is_named, false) FROM seen s";
}

std::string taken_sql(SchemaStep const& step, StepFacts const& facts) {
  auto const object = std::visit(Taken{facts.table}, step.detail->kind);
  if (object.empty()) return {};
  // A table goes with all that has come into it.
  std::string const columns =
      std::holds_alternative<DropTable>(step.detail->kind)
          ? " || coalesce(', with columns ' || (SELECT pg_catalog.string_agg(a.attnum || ' ' || a.attname, ', ' ORDER "
            "BY a.attnum) FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.objid AND a.attnum > 0 AND NOT "
            "a.attisdropped), '')"
          : "";
  return "SELECT i.type || ' ' || i.identity || ', number ' || t.objid || CASE WHEN t.objsubid > 0 THEN '.' || "
         "t.objsubid ELSE '' END" +
         columns + " FROM (" + object +
         ") AS t (classid, objid, objsubid) CROSS JOIN LATERAL pg_catalog.pg_identify_object(t.classid, t.objid, "
         "t.objsubid) i ORDER BY t.objid, t.objsubid";
}

}  // namespace pgbackfill::planner
