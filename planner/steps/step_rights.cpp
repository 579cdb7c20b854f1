#include "planner/steps/step_rights.h"

#include <variant>
#include <vector>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner {
namespace {

using recipes::oid_of;

constexpr int kVersionWithSetOption = 160000;

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

// A change that goes down to the tables that inherit.
std::string must_own_tree(TableName const& table) {
  return must_own("c.oid IN " + recipes::tree_of(oid_of(table)), "");
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
  Parts operator()(AddKey const& step) const {
    auto parts = makes_index();
    // NOT NULL goes down.
    if (step.is_primary) parts.front() = must_own_tree(facts.table);
    return parts;
  }
  Parts operator()(AddForeignKey const& step) const {
    // Of a partitioned table up to 17 each partition gets it by itself.
    return {must_own_tree_if(facts.kind == 'p'), must_refer_to(step.references, step.to)};
  }
  Parts operator()(AddColumn const& /*step*/) const { return {must_own_tree(facts.table)}; }
  Parts operator()(DropColumn const& /*step*/) const { return {must_own_tree(facts.table)}; }
  Parts operator()(RenameColumn const& /*step*/) const { return {must_own_tree(facts.table)}; }
  Parts operator()(ChangeType const& step) const {
    return {must_own_tree(facts.table), must_give_statistics_back(step.column)};
  }
  Parts operator()(SetDefault const& /*step*/) const { return {must_own_tree(facts.table)}; }
  Parts operator()(SetNotNull const& /*step*/) const { return {must_own_tree(facts.table)}; }
  Parts operator()(DropNotNull const& /*step*/) const { return {must_own_tree(facts.table)}; }
  Parts operator()(AddCheck const& /*step*/) const { return {must_own_tree(facts.table)}; }
  Parts operator()(DropConstraint const& step) const {
    return {must_own("c.oid = " + oid_of(facts.table) +
                         " OR c.oid IN (SELECT k.conrelid FROM pg_catalog.pg_constraint k "
                         "WHERE k.contype IN ('c', 'n') AND k.coninhcount > 0 AND k.conname = " +
                         quote_literal(step.name) + " AND k.conrelid IN " + recipes::tree_of(oid_of(facts.table)) + ")",
                     "")};
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
  Parts operator()(SwapColumn const& step) const {
    return {must_own_table(facts.table), must_give_statistics_back(step.column)};
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
  std::string must_own_tree_if(bool goes_down) const {
    return goes_down ? must_own_tree(facts.table) : must_own_table(facts.table);
  }
  // The server makes them anew, and they would be of this role.
  std::string must_give_statistics_back(std::string const& column) const {
    std::string const has_role = facts.server_version >= kVersionWithSetOption ? "'SET'" : "'MEMBER'";
    return "SELECT 'statistics object ' || pg_catalog.format('%I.%I', n.nspname, s.stxname) || ' belongs to ' || "
           "pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(s.stxowner)) || ' and would belong to ' || "
           "pg_catalog.quote_ident(current_user) || ' afterwards; run this as a role that may SET ROLE to its owner, "
           "and GRANT that one CREATE on the schema' FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n "
           "ON n.oid = s.stxnamespace JOIN pg_catalog.pg_attribute a ON a.attrelid = s.stxrelid AND a.attname = " +
           quote_literal(column) + " WHERE s.stxrelid IN " + recipes::tree_of(oid_of(facts.table)) +
           " AND (a.attnum = ANY (s.stxkeys::pg_catalog.int2[]) OR pg_catalog.to_jsonb(s) ->> 'stxexprs' IS NOT NULL) "
           "AND "
           "pg_catalog.pg_get_userbyid(s.stxowner) <> current_user AND NOT (SELECT r.rolsuper FROM pg_catalog.pg_roles "
           "r "
           "WHERE r.rolname = current_user) AND NOT (pg_catalog.pg_has_role(s.stxowner, " +
           has_role + ") AND pg_catalog.has_schema_privilege(s.stxowner, n.oid, 'CREATE'))";
  }
  Parts makes_index() const {
    return {must_own_table(facts.table), must_create_in(schema_of(facts.table), "an index")};
  }
};

// Of the way back alone: what the way there did not need.
struct UndoAsker {
  StepFacts const& facts;

  Parts operator()(DropIndex const& step) const {
    return {
        must_own_table(facts.table), must_create_in(schema_of(facts.table), "an index"),
        "SELECT 'permission denied for tablespace ' || pg_catalog.quote_ident(s.spcname) || ': an index there needs "
        "CREATE on it' FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN "
        "pg_catalog.pg_tablespace s ON s.oid = c.reltablespace WHERE NOT "
        "pg_catalog.has_tablespace_privilege(s.oid, 'CREATE') AND c.relname = " +
            quote_literal(step.name) + " AND i.indrelid = " + oid_of(facts.table)};
  }
  Parts operator()(DropConstraint const& step) const {
    std::string const of_key = " WHERE k.contype = 'f' AND k.conrelid = " + oid_of(facts.table) +
                               " AND k.conname = " + quote_literal(step.name);
    std::string const columns =
        "(SELECT bool_and(pg_catalog.has_column_privilege(k.confrelid, x.number, 'REFERENCES')) FROM unnest(k.confkey) "
        "x "
        "(number))";
    return {
        "SELECT 'permission denied for table ' || k.confrelid::pg_catalog.regclass::text || ': a foreign key to it "
        "needs REFERENCES on it' FROM pg_catalog.pg_constraint k" +
            of_key + " AND NOT pg_catalog.has_table_privilege(k.confrelid, 'REFERENCES') AND NOT coalesce(" + columns +
            ", false)",
        "SELECT 'permission denied for schema ' || pg_catalog.quote_ident(n.nspname) || ': a foreign key into it "
        "needs USAGE on it' FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid JOIN "
        "pg_catalog.pg_constraint k ON k.confrelid = c.oid" +
            of_key + " AND NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE')"};
  }
  Parts operator()(DetachPartition const& step) const { return {must_own_table(step.partition)}; }
  template <class Detail>
  Parts operator()(Detail const& /*step*/) const {
    return {};
  }
};

}  // namespace

std::string missing_rights_of_undo_sql(SchemaStep const& step, StepFacts const& facts) {
  return join(std::visit(UndoAsker{facts}, step.detail->kind), " UNION ALL ");
}

std::string missing_rights_sql(SchemaStep const& step, StepFacts const& facts) {
  auto const parts = std::visit(Asker{facts}, step.detail->kind);
  return join(parts, " UNION ALL ");
}

}  // namespace pgbackfill::planner
