#include "planner/steps/step_rights.h"

#include <variant>
#include <vector>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner {
namespace {

using recipes::oid_of;

// Parts of one UNION ALL.
using Parts = std::vector<std::string>;

// Of relations c that satisfy a condition.
std::string must_own(std::string const& condition, std::string const& what_for) {
  return "SELECT 'must be owner of ' || pg_catalog.format('%I.%I', n.nspname, c.relname) || ', which belongs to ' || "
         "pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)) || " +
         quote_literal(what_for.empty() ? "" : ", " + what_for) +
         " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE NOT "
         "pg_catalog.pg_has_role(c.relowner, 'USAGE') AND (" +
         condition + ")";
}

std::string must_own_table(TableName const& table, std::string const& what_for = {}) {
  return must_own("c.oid = " + oid_of(table), what_for);
}

// The owner of the schema may drop what is in it.
std::string must_own_or_have_schema(TableName const& table) {
  return must_own("NOT pg_catalog.pg_has_role(n.nspowner, 'USAGE') AND c.oid = " + oid_of(table), "");
}

// What the server makes, or renames, in a schema.
std::string must_create_in(std::string const& schema_oid, std::string const& what_for) {
  return "SELECT 'permission denied for schema ' || pg_catalog.quote_ident(n.nspname) || " +
         quote_literal(": " + what_for + " needs CREATE on it; GRANT CREATE ON SCHEMA ") +
         " || pg_catalog.quote_ident(n.nspname) || ' TO ' || pg_catalog.quote_ident(current_user) FROM "
         "pg_catalog.pg_namespace n WHERE NOT pg_catalog.has_schema_privilege(n.oid, 'CREATE') AND n.oid = " +
         schema_oid;
}

std::string schema_of(TableName const& table) {
  return "(SELECT r.relnamespace FROM pg_catalog.pg_class r WHERE r.oid = " + oid_of(table) + ")";
}

std::string must_refer_to(TableName const& table, std::vector<std::string> const& columns) {
  std::string on_columns = "false";
  if (!columns.empty()) {
    on_columns =
        "(SELECT bool_and(pg_catalog.has_column_privilege(c.oid, a.attnum, 'REFERENCES')) FROM pg_catalog.pg_attribute "
        "a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname::text = ANY (" +
        text_array(columns) + "))";
  }
  return "SELECT 'permission denied for table ' || pg_catalog.format('%I.%I', n.nspname, c.relname) || ': a foreign "
         "key to it needs REFERENCES on it' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
         "c.relnamespace WHERE c.oid = " +
         oid_of(table) + " AND NOT pg_catalog.has_table_privilege(c.oid, 'REFERENCES') AND NOT coalesce(" + on_columns +
         ", false)";
}

struct Asker {
  StepFacts const& facts;

  Parts operator()(RunSql const& /*step*/) const { return {}; }
  Parts operator()(CreateIndex const& /*step*/) const { return makes_index(); }
  Parts operator()(AddKey const& /*step*/) const { return makes_index(); }
  Parts operator()(AddForeignKey const& step) const {
    return {must_own_table(facts.table), must_refer_to(step.references, step.to)};
  }
  Parts operator()(DropTable const& /*step*/) const { return {must_own_or_have_schema(facts.table)}; }
  Parts operator()(DropIndex const& /*step*/) const { return {must_own_or_have_schema(facts.table)}; }
  Parts operator()(RenameTable const& /*step*/) const {
    return {must_own_table(facts.table), must_create_in(schema_of(facts.table), "a table's new name")};
  }
  Parts operator()(CreateTable const& step) const {
    Parts parts = {must_create_in(
        "pg_catalog.to_regnamespace(" + quote_literal(quote_identifier(facts.table.schema)) + ")", "a table")};
    if (step.like.name.empty()) return parts;
    parts.push_back(
        "SELECT 'permission denied for table ' || pg_catalog.format('%I.%I', n.nspname, c.relname) || ': LIKE needs "
        "SELECT on it' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE NOT "
        "pg_catalog.has_table_privilege(c.oid, 'SELECT') AND c.oid = " +
        oid_of(step.like));
    return parts;
  }
  Parts operator()(AddEnumValue const& step) const {
    return {
        "SELECT 'must be owner of type ' || pg_catalog.format('%I.%I', n.nspname, t.typname) || ', which belongs "
        "to ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(t.typowner)) FROM pg_catalog.pg_type t JOIN "
        "pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE NOT pg_catalog.pg_has_role(t.typowner, 'USAGE') "
        "AND t.oid = " +
        type_oid_of(step.type.schema, step.type.name)};
  }
  Parts operator()(AttachPartition const& step) const {
    return {must_own_table(facts.table), must_own_table(step.partition)};
  }
  Parts operator()(Swap const& step) const {
    return {must_own_table(facts.table), must_own_table(step.with),
            must_own("c.oid IN (SELECT k.conrelid FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND "
                     "k.confrelid "
                     "= " +
                         oid_of(facts.table) + ")",
                     "and has a foreign key that the swap has to point to the copy"),
            must_create_in(schema_of(facts.table), "a table's new name")};
  }
  // Triggers are a privilege of their own.
  Parts operator()(InstallSync const& /*step*/) const { return {}; }
  Parts operator()(InstallMirror const& /*step*/) const { return {}; }
  Parts operator()(RemoveSync const& /*step*/) const { return {}; }
  template <class Detail>
  Parts operator()(Detail const& /*step*/) const {
    return {must_own_table(facts.table)};
  }

 private:
  Parts makes_index() const {
    return {must_own_table(facts.table), must_create_in(schema_of(facts.table), "an index")};
  }
};

}  // namespace

std::string missing_rights_sql(SchemaStep const& step, StepFacts const& facts) {
  auto const parts = std::visit(Asker{facts}, step.detail->kind);
  return join(parts, " UNION ALL ");
}

}  // namespace pgbackfill::planner
