#include "planner/steps/server_rules.h"

#include <variant>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner {
namespace {

using recipes::kVersionWithNotNullConstraints;
using recipes::oid_of;

constexpr int kMostColumns = 1600;
// Below are the objects that came with the server.
constexpr int kFirstOidOfUsers = 16384;
constexpr std::size_t kMostEnumLabelBytes = 63;

// The first name that a query finds, between two texts.
void refuse_found(ServerRules& rules, std::string const& before, std::string const& query, std::string const& after) {
  rules.emplace_back("(" + query + ") IS NOT NULL",
                     quote_literal(before) + " || (" + query + ") || " + quote_literal(after));
}

void refuse_if(ServerRules& rules, std::string const& condition, std::string const& text) {
  rules.emplace_back(condition, quote_literal(text));
}

std::string is_heir(TableName const& table, std::string const& oid) {
  return oid + " IN " + recipes::tree_of(oid_of(table)) + " AND " + oid + " <> " + oid_of(table);
}

// The first table below this one whose column of the name satisfies a condition over pg_attribute a.
std::string heir_with_column(TableName const& table, std::string const& column, std::string const& condition) {
  return "SELECT min(a.attrelid::pg_catalog.regclass::text) FROM pg_catalog.pg_attribute a WHERE " +
         is_heir(table, "a.attrelid") + " AND a.attname = " + quote_literal(column) +
         " AND a.attnum > 0 AND NOT a.attisdropped AND " + condition;
}

// The first one that has a constraint k of the name that satisfies a condition.
std::string heir_with_constraint(TableName const& table, std::string const& name, std::string const& condition) {
  return "SELECT min(k.conrelid::pg_catalog.regclass::text) FROM pg_catalog.pg_constraint k WHERE " +
         is_heir(table, "k.conrelid") + " AND k.conname = " + quote_literal(name) + " AND (" + condition + ")";
}

std::string definition_of_check() {
  return "regexp_replace(pg_catalog.pg_get_constraintdef(k.oid), ' NOT VALID$', '')";
}

void refuse_constraint_of_heir(ServerRules& rules, TableName const& table, std::string const& name,
                               std::string const& is_other) {
  refuse_found(rules, "a constraint " + name + " is on ", heir_with_constraint(table, name, is_other),
               " already, which inherits from " + shown(table) + ", with another definition; drop or rename it first");
}

// --- what is asked of every ALTER TABLE ------------------------------------------------------------------------------

void ask_of_table(ServerRules& rules, TableName const& table) {
  refuse_if(rules,
            "EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = " + oid_of(table) +
                " AND c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND c.oid < " +
                std::to_string(kFirstOidOfUsers) + ")",
            shown(table) + " is a system catalog, which the server lets nobody change");
  refuse_if(rules,
            "EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = " + oid_of(table) +
                " AND pg_catalog.to_jsonb(h) ->> 'inhdetachpending' = 'true')",
            shown(table) +
                " is a partition whose DETACH ... CONCURRENTLY was cut short; end it first, with ALTER TABLE "
                "... DETACH PARTITION ... FINALIZE");
}

// --- columns ---------------------------------------------------------------------------------------------------------

// The type of column a with its COLLATE, as column_spelling() begins.
std::string type_of_column() {
  return "pg_catalog.format_type(a.atttypid, a.atttypmod) || coalesce((SELECT ' COLLATE ' || "
         "pg_catalog.quote_ident(l.collname) FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_type y ON y.oid = "
         "a.atttypid WHERE l.oid = a.attcollation AND y.typcollation <> a.attcollation), '')";
}

// A child's column of the name and type becomes that of the table, but its rows get no default.
void ask_of_added_column(ServerRules& rules, AddColumn const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  bool const has_more = !step.default_value.empty() || step.is_not_null;
  std::string is_other = "NOT " + recipes::has_column(table, step.column);
  // Where it could not be tried, the server's word for its type is not known.
  if (facts.spelling.empty()) is_other += " AND false";
  if (!has_more) is_other += " AND " + type_of_column() + " <> " + quote_literal(facts.spelling);
  refuse_found(rules, "", heir_with_column(table, step.column, is_other),
               ", which inherits from " + shown(table) + ", has a column " + step.column + " of its own, " +
                   (has_more ? "whose rows would keep what they have; " : "of another type; ") +
                   "rename or drop that one first");
  refuse_found(rules, "",
               "SELECT min(c.oid::pg_catalog.regclass::text) FROM pg_catalog.pg_class c WHERE c.oid IN " +
                   recipes::tree_of(oid_of(table)) + " AND c.relnatts >= " + std::to_string(kMostColumns) +
                   " AND NOT " + recipes::has_column(table, step.column),
               " has " + std::to_string(kMostColumns) +
                   " columns, dropped ones included, and a table cannot have more; copy it into a new table first");
}

void ask_of_partition_keys(ServerRules& rules, TableName const& table, std::string const& column) {
  refuse_found(rules, "column " + column + " is in the partition key of ",
               heir_with_column(table, column, recipes::kIsPartitionKey), ", a partition of " + shown(table));
}

// A table below that has the column from somewhere else, too, cannot have another one.
void ask_of_other_parents(ServerRules& rules, TableName const& table, std::string const& column) {
  std::string const from_here =
      "a.attinhcount > (SELECT count(*) FROM pg_catalog.pg_inherits h WHERE h.inhrelid = a.attrelid AND h.inhparent "
      "IN " +
      recipes::tree_of(oid_of(table)) + ")";
  refuse_found(rules, "", heir_with_column(table, column, from_here),
               " inherits column " + column + " from another table as well as from " + shown(table) +
                   "; ALTER TABLE ... NO INHERIT one of them first");
}

void ask_of_new_name(ServerRules& rules, TableName const& table, std::string const& to) {
  refuse_if(rules,
            "EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) +
                " AND a.attnum < 0 AND a.attname = " + quote_literal(to) + ")",
            to + " is the name of a system column");
  refuse_found(rules, "", heir_with_column(table, to, "true"),
               ", which inherits from " + shown(table) + ", has a column " + to + " already");
}

void ask_of_default(ServerRules& rules, TableName const& table, std::string const& column) {
  refuse_found(rules, "column " + column + " of ",
               heir_with_column(table, column, "(a.attidentity <> '' OR a.attgenerated <> '')"),
               ", which inherits from " + shown(table) + ", is an identity or generated column, which has no default");
}

// Up to 17 a check proves it, from 18 on there is a constraint for it; both go down to the tables that inherit.
void ask_of_not_null(ServerRules& rules, StepFacts const& facts, std::string const& column) {
  auto const& table = facts.table;
  std::string const name = recipes::object_name(table.name, column, "not_null");
  if (facts.server_version < kVersionWithNotNullConstraints) {
    std::string const check = "'CHECK ((' || pg_catalog.quote_ident(" + quote_literal(column) + ") || ' IS NOT NULL))'";
    refuse_constraint_of_heir(rules, table, name, "k.contype <> 'c' OR " + definition_of_check() + " <> " + check);
    return;
  }
  std::string const own =
      "EXISTS (SELECT FROM pg_catalog.pg_constraint o JOIN pg_catalog.pg_attribute a ON a.attrelid = "
      "o.conrelid AND o.conkey = ARRAY[a.attnum] WHERE o.contype = 'n' AND o.conrelid = k.conrelid "
      "AND a.attname = " +
      quote_literal(column) + ")";
  refuse_constraint_of_heir(rules, table, facts.named.empty() ? name : facts.named, "NOT " + own);
  refuse_found(rules, "column " + column + " of ",
               heir_with_column(table, column,
                                "EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.contype = 'n' AND k.conrelid = "
                                "a.attrelid AND k.conkey = ARRAY[a.attnum] AND k.connoinherit)"),
               ", which inherits from " + shown(table) +
                   ", is NOT NULL with NO INHERIT; ALTER TABLE ... ALTER CONSTRAINT ... INHERIT it first");
}

// Up to 17 a NULL is let in below as well.
void ask_of_null(ServerRules& rules, StepFacts const& facts, std::string const& column) {
  if (facts.server_version >= kVersionWithNotNullConstraints) return;
  refuse_found(rules, "column " + column + " of ",
               heir_with_column(facts.table, column,
                                "(a.attidentity <> '' OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = "
                                "a.attrelid AND i.indisprimary AND a.attnum = ANY "
                                "((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1])))"),
               ", which inherits from " + shown(facts.table) +
                   ", is in its primary key or an identity column, which takes no NULL");
}

// --- constraints -----------------------------------------------------------------------------------------------------

std::string persistence_of(TableName const& table) {
  return "(SELECT c.relpersistence FROM pg_catalog.pg_class c WHERE c.oid = " + oid_of(table) + ")";
}

void ask_of_foreign_key(ServerRules& rules, AddForeignKey const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  auto const& other = step.references;
  refuse_if(rules,
            "(SELECT c.relkind FROM pg_catalog.pg_class c WHERE c.oid = " + oid_of(other) + ") NOT IN ('r', 'p')",
            shown(other) + " is not a table, and a foreign key refers to tables alone");
  refuse_found(
      rules, "",
      "SELECT min(c.oid::pg_catalog.regclass::text) FROM pg_catalog.pg_class c WHERE c.relkind = 'f' AND " +
          std::string(facts.kind == 'p' ? is_heir(table, "c.oid") : "false"),
      ", a partition of " + shown(table) + ", is a foreign table, which takes no foreign key; detach it first");
  for (auto const& column : step.columns) {
    refuse_if(rules, "NOT " + recipes::has_column(table, column),
              "there is no column " + column + " in " + shown(table));
  }
  for (auto const& column : step.to) {
    refuse_if(rules, oid_of(other) + " IS NOT NULL AND NOT " + recipes::has_column(other, column),
              "there is no column " + column + " in " + shown(other));
  }
  // What a crash of the server empties may be referred to only by what it empties as well.
  refuse_if(rules, persistence_of(table) + " = 'p' AND " + persistence_of(other) + " <> 'p'",
            shown(table) + " is LOGGED and " + shown(other) +
                " is not: a foreign key may not refer to what a crash empties; ALTER TABLE ... SET LOGGED that one, or "
                "SET UNLOGGED this one");
  refuse_if(rules, "(" + persistence_of(table) + " = 't') <> (" + persistence_of(other) + " = 't')",
            "a temporary table refers to temporary tables, and others to others");
  bool const writes = step.on_update == "cascade" || step.on_update == "set null" || step.on_update == "set default" ||
                      step.on_delete == "set null" || step.on_delete == "set default";
  for (auto const& column : step.columns) {
    std::string const of_table = "column " + column + " of " + shown(table);
    refuse_if(rules, recipes::column_is(table, column, "a.attgenerated = 'v'"),
              of_table + " is generated and not STORED, and such a column takes no foreign key");
    if (!writes) continue;
    refuse_if(rules, recipes::column_is(table, column, "a.attgenerated <> ''"),
              of_table + " is a generated column, which ON UPDATE " + (step.on_update.empty() ? "-" : step.on_update) +
                  " and ON DELETE " + (step.on_delete.empty() ? "-" : step.on_delete) +
                  " would write; of such a column ON UPDATE takes no action or restrict, ON DELETE also cascade");
  }
}

void ask_of_dropped_constraint(ServerRules& rules, DropConstraint const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  refuse_if(rules, recipes::constraint_is(table, step.name, "k.contype = 't'"),
            step.name + " of " + shown(table) + " is a constraint trigger; DROP TRIGGER, as sql:, drops it");
  refuse_if(
      rules,
      recipes::constraint_is(
          table, step.name,
          "k.contype = 'n' AND EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = k.conrelid AND "
          "k.conkey = ARRAY[a.attnum] AND (a.attidentity <> '' OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE "
          "i.indrelid = a.attrelid AND (i.indisprimary OR i.indisreplident) AND a.attnum = ANY "
          "((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]))))"),
      "the column of constraint " + step.name + " of " + shown(table) +
          " is an identity column, or in the primary key or the index of the replica identity, which take no NULL");
}

// --- tables ----------------------------------------------------------------------------------------------------------

// A table has a type of its name. Array types, whose names the server chooses, give way.
void ask_of_type_name(ServerRules& rules, std::string const& schema_oid, std::string const& name) {
  refuse_if(
      rules,
      "EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.typname = " + quote_literal(name) +
          " AND t.typnamespace = " + schema_oid +
          " AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid) AND NOT EXISTS (SELECT FROM "
          "pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c'))",
      "a type " + name + " is in the schema already, and a table has a type of its own name");
}

void ask_of_detached_partition(ServerRules& rules, DetachPartition const& step, StepFacts const& facts) {
  refuse_found(rules, "DETACH ... CONCURRENTLY of ",
               "SELECT min(h.inhrelid::pg_catalog.regclass::text) FROM pg_catalog.pg_inherits h WHERE h.inhparent = " +
                   oid_of(facts.table) + " AND h.inhrelid <> " + oid_of(step.partition) +
                   " AND pg_catalog.to_jsonb(h) ->> 'inhdetachpending' = 'true'",
               " was cut short, and a table detaches one partition at a time; end that first, with ALTER TABLE ... "
               "DETACH PARTITION ... FINALIZE");
}

void ask_of_attached_partition(ServerRules& rules, AttachPartition const& step, StepFacts const& facts) {
  auto const& parent = facts.table;
  auto const& partition = step.partition;
  std::string const is_other =
      "NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = " + oid_of(partition) +
      " AND h.inhparent = " + oid_of(parent) + ") AND ";
  std::string const of_class = "EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = " + oid_of(partition) + " AND ";
  refuse_if(rules, is_other + of_class + "c.reloftype <> 0)",
            shown(partition) + " has its columns by a type; ALTER TABLE ... NOT OF it first");
  refuse_if(rules,
            is_other + of_class +
                "c.relkind = 'r' AND EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid))",
            "other tables inherit from " + shown(partition) + ", which a partition has none of");
  refuse_if(rules,
            is_other + oid_of(partition) + " IN (SELECT t.relid FROM pg_catalog.pg_partition_ancestors(" +
                oid_of(parent) + ") t)",
            shown(parent) + " is a partition of " + shown(partition) + ", or that table itself");
  refuse_if(rules, "(" + persistence_of(parent) + " = 't') <> (" + persistence_of(partition) + " = 't')",
            "a temporary table has temporary partitions, and another one others");
  // The empty copies have both validated.
  refuse_found(
      rules, "NOT NULL of column ",
      "SELECT min(pg_catalog.quote_ident(a.attname)) FROM pg_catalog.pg_constraint k JOIN "
      "pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND k.conkey = ARRAY[a.attnum] JOIN "
      "pg_catalog.pg_attribute b ON b.attname = a.attname JOIN pg_catalog.pg_constraint p ON p.contype = 'n' AND "
      "p.convalidated AND p.conrelid = b.attrelid AND p.conkey = ARRAY[b.attnum] WHERE b.attrelid = " +
          oid_of(parent) + " AND k.contype = 'n' AND NOT k.convalidated AND k.conrelid = " + oid_of(partition),
      " of " + shown(partition) + " is NOT VALID, and that of " + shown(parent) +
          " is valid; VALIDATE it first, with set_not_null");
  refuse_found(
      rules, "check ",
      "SELECT min(pg_catalog.quote_ident(k.conname)) FROM pg_catalog.pg_constraint k JOIN "
      "pg_catalog.pg_constraint p ON p.contype = 'c' AND p.conname = k.conname AND p.convalidated AND p.conrelid "
      "= " +
          oid_of(parent) + " WHERE k.contype = 'c' AND NOT k.convalidated AND k.conrelid = " + oid_of(partition),
      " of " + shown(partition) + " is NOT VALID, and that of " + shown(parent) +
          " is valid; VALIDATE it first, with add_check");
}

// --- by kind ---------------------------------------------------------------------------------------------------------

struct Asker {
  StepFacts const& facts;
  ServerRules rules = {};

  void operator()(AddColumn const& step) {
    ask_of_table(rules, facts.table);
    ask_of_added_column(rules, step, facts);
  }
  void operator()(DropColumn const& step) {
    ask_of_table(rules, facts.table);
    ask_of_partition_keys(rules, facts.table, step.column);
  }
  void operator()(RenameColumn const& step) {
    ask_of_table(rules, facts.table);
    ask_of_other_parents(rules, facts.table, step.column);
    ask_of_new_name(rules, facts.table, step.to);
  }
  void operator()(ChangeType const& step) {
    ask_of_table(rules, facts.table);
    ask_of_other_parents(rules, facts.table, step.column);
    ask_of_partition_keys(rules, facts.table, step.column);
  }
  void operator()(SetDefault const& step) {
    ask_of_table(rules, facts.table);
    ask_of_default(rules, facts.table, step.column);
  }
  void operator()(SetNotNull const& step) {
    ask_of_table(rules, facts.table);
    ask_of_not_null(rules, facts, step.column);
  }
  void operator()(DropNotNull const& step) {
    ask_of_table(rules, facts.table);
    ask_of_null(rules, facts, step.column);
  }
  void operator()(AddCheck const& step) {
    ask_of_table(rules, facts.table);
    if (facts.spelling.empty()) return;
    refuse_constraint_of_heir(rules, facts.table, step.name,
                              "k.contype <> 'c' OR " + definition_of_check() + " <> " + quote_literal(facts.spelling));
  }
  void operator()(AddForeignKey const& step) {
    ask_of_table(rules, facts.table);
    ask_of_foreign_key(rules, step, facts);
  }
  void operator()(AddKey const& step) {
    ask_of_table(rules, facts.table);
    if (!step.is_primary) return;
    StepFacts of_column = facts;
    of_column.named.clear();
    for (auto const& column : step.columns) ask_of_not_null(rules, of_column, column);
  }
  void operator()(DropConstraint const& step) {
    ask_of_table(rules, facts.table);
    ask_of_dropped_constraint(rules, step, facts);
  }
  void operator()(CreateTable const& /*step*/) {
    auto const& table = facts.table;
    std::string const schema =
        "pg_catalog.to_regnamespace(" + quote_literal(quote_identifier(table.schema)) + ")::pg_catalog.oid";
    refuse_if(rules, schema + " IS NULL", "there is no schema " + table.schema);
    if (!facts.is_claimed) ask_of_type_name(rules, schema, table.name);
  }
  void operator()(DropTable const& /*step*/) {
    ask_of_table(rules, facts.table);
    refuse_found(rules, shown(facts.table) + " is part of extension ",
                 "SELECT min(pg_catalog.quote_ident(e.extname)) FROM pg_catalog.pg_depend d JOIN "
                 "pg_catalog.pg_extension e ON e.oid = d.refobjid WHERE d.classid = "
                 "'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = "
                 "'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' AND d.objid = " +
                     oid_of(facts.table),
                 ", which needs it; ALTER EXTENSION ... DROP TABLE takes it out of that");
  }
  void operator()(RenameTable const& step) {
    ask_of_table(rules, facts.table);
    if (facts.is_claimed) return;
    ask_of_type_name(
        rules, "(SELECT r.relnamespace FROM pg_catalog.pg_class r WHERE r.oid = " + oid_of(facts.table) + ")", step.to);
  }
  void operator()(AddEnumValue const& step) {
    refuse_if(rules, step.value.size() > kMostEnumLabelBytes ? "true" : "false",
              "a value of an enum has " + std::to_string(kMostEnumLabelBytes) + " bytes at most");
  }
  void operator()(DetachPartition const& step) { ask_of_detached_partition(rules, step, facts); }
  void operator()(AttachPartition const& step) {
    ask_of_table(rules, facts.table);
    ask_of_attached_partition(rules, step, facts);
  }
  template <class Detail>
  void operator()(Detail const& /*step*/) {}
};

}  // namespace

ServerRules server_rules(SchemaStep const& step, StepFacts const& facts) {
  Asker asker{facts};
  std::visit(asker, step.detail->kind);
  return std::move(asker.rules);
}

}  // namespace pgbackfill::planner
