#include "planner/lint/schema_facts.h"

#include <algorithm>
#include <utility>

namespace pgbackfill::planner::lint {
namespace {

// Columns that are not NULL in every row for which the condition is true or unknown is not possible: the way
// PostgreSQL itself proves SET NOT NULL, by `c IS NOT NULL` alone or under AND.
void collect_proofs(SyntaxNode expression, std::set<std::string>& columns) {
  if (expression.is("NullTest") && expression.text("nulltesttype") == "IS_NOT_NULL") {
    auto const fields = expression.get("arg").list("fields");
    if (!fields.empty() && fields.back().is("String")) columns.emplace(fields.back().text("sval"));
  } else if (expression.is("BoolExpr") && expression.text("boolop") == "AND_EXPR") {
    for (auto const& part : expression.list("args")) collect_proofs(part, columns);
  }
}

std::string name_of_constraint(std::string const& table, SyntaxNode constraint, std::string const& columns) {
  if (!constraint.text("conname").empty()) return std::string(constraint.text("conname"));
  auto const kind = constraint.text("contype");
  auto const bare = table.substr(table.rfind('.') == std::string::npos ? 0 : table.rfind('.') + 1);
  if (kind == "CONSTR_PRIMARY") return bare + "_pkey";
  auto const middle = columns.empty() ? "" : "_" + columns;
  if (kind == "CONSTR_UNIQUE") return bare + middle + "_key";
  if (kind == "CONSTR_FOREIGN") return bare + middle + "_fkey";
  return bare + middle + "_check";
}

std::vector<std::string> names_in(SyntaxNode node, std::string_view field) {
  std::vector<std::string> names;
  for (auto const& item : node.list(field)) names.emplace_back(item.text("sval"));
  return names;
}

bool is_serial(std::string_view type) {
  return type == "serial" || type == "bigserial" || type == "smallserial" || type == "serial4" || type == "serial8" ||
         type == "serial2";
}

}  // namespace

std::string relation_name(SyntaxNode range_var) {
  auto const schema = range_var.text("schemaname");
  std::string const name(range_var.text("relname"));
  return schema.empty() || schema == "public" ? name : std::string(schema) + "." + name;
}

std::string joined_name(std::vector<SyntaxNode> const& names) {
  std::string joined;
  for (auto const& part : names) {
    auto const word = part.text("sval");
    if (joined.empty() && names.size() > 1 && (word == "public" || word == "pg_catalog")) continue;
    joined += (joined.empty() ? "" : ".") + std::string(word);
  }
  return joined;
}

std::string listed_name(SyntaxNode item) {
  if (item.is("List")) return joined_name(item.list("items"));
  if (item.is("TypeName")) return joined_name(item.list("names"));
  if (item.is("ObjectWithArgs")) return joined_name(item.list("objname"));
  return std::string(item.text("sval"));
}

void collect_columns(SyntaxNode node, std::set<std::string>& columns) {
  if (node.is("ColumnRef")) {
    auto const fields = node.list("fields");
    if (!fields.empty() && fields.back().is("String")) columns.emplace(fields.back().text("sval"));
  }
  for (auto const& child : node.children()) collect_columns(child, columns);
}

ColumnType type_of(SyntaxNode type_name) {
  ColumnType type;
  type.name = joined_name(type_name.list("names"));
  for (auto const& modifier : type_name.list("typmods")) {
    if (modifier.is("A_Const")) type.modifiers.push_back(static_cast<int>(modifier.get("ival").number("ival")));
  }
  type.is_array = !type_name.list("arrayBounds").empty();
  if (type.name == "serial" || type.name == "serial4") type.name = "int4";
  if (type.name == "bigserial" || type.name == "serial8") type.name = "int8";
  if (type.name == "smallserial" || type.name == "serial2") type.name = "int2";
  return type;
}

std::string to_string(ColumnType const& type) {
  std::string text = type.name;
  if (!type.modifiers.empty()) {
    std::string list;
    for (int const modifier : type.modifiers) list += (list.empty() ? "" : ",") + std::to_string(modifier);
    text += "(" + list + ")";
  }
  return text + (type.is_array ? "[]" : "");
}

KnownTable* SchemaFacts::table(std::string const& name) {
  auto const found = tables.find(name);
  return found == tables.end() ? nullptr : &found->second;
}

KnownTable const* SchemaFacts::table(std::string const& name) const {
  auto const found = tables.find(name);
  return found == tables.end() ? nullptr : &found->second;
}

KnownIndex const* SchemaFacts::index(std::string const& name) const {
  auto const found = indexes.find(name);
  return found == indexes.end() ? nullptr : &found->second;
}

KnownColumn const* SchemaFacts::column(std::string const& table_name, std::string const& column_name) const {
  auto const* known = table(table_name);
  if (known == nullptr) return nullptr;
  auto const found = known->columns.find(column_name);
  return found == known->columns.end() ? nullptr : &found->second;
}

bool SchemaFacts::is_new(std::string const& name) const {
  auto const* known = table(name);
  return known != nullptr && known->is_new;
}

void SchemaFacts::begin_file() {
  for (auto& [name, known] : tables) known.is_new = false;
  for (auto& [name, known] : functions) known.is_new = false;
  new_types.clear();
}

void SchemaFacts::apply(SyntaxNode statement) {
  auto const kind = statement.kind();
  if (kind == "CreateStmt") {
    create_table(statement);
  } else if (kind == "CreateForeignTableStmt") {
    create_other_relation(statement.get("base").get("relation"), RelationKind::kForeignTable);
  } else if (kind == "CreateTableAsStmt") {
    bool const is_view = statement.text("objtype") == "OBJECT_MATVIEW";
    create_other_relation(statement.get("into").get("rel"),
                          is_view ? RelationKind::kMaterializedView : RelationKind::kTable);
  } else if (kind == "ViewStmt") {
    create_other_relation(statement.get("view"), RelationKind::kView);
  } else if (kind == "AlterTableStmt") {
    alter_table(statement);
  } else if (kind == "IndexStmt") {
    create_index(statement);
  } else if (kind == "CreateDomainStmt") {
    create_domain(statement);
  } else if (kind == "AlterDomainStmt" && statement.text("subtype") == "C") {
    domains[joined_name(statement.list("typeName"))].has_constraint = true;
  } else if (kind == "CreateFunctionStmt") {
    create_function(statement);
  } else if (kind == "CreateEnumStmt" || kind == "CompositeTypeStmt") {
    auto const name =
        kind == "CreateEnumStmt" ? joined_name(statement.list("typeName")) : relation_name(statement.get("typevar"));
    types.insert(name);
    new_types.insert(name);
  } else if (kind == "DropStmt") {
    drop(statement);
  } else if (kind == "RenameStmt") {
    rename(statement);
  }
}

void SchemaFacts::create_table(SyntaxNode statement) {
  auto const relation = statement.get("relation");
  auto const name = relation_name(relation);
  // With IF NOT EXISTS, what is known to be there stays.
  if (statement.flag("if_not_exists") && table(name) != nullptr) return;
  forget_table(name);
  KnownTable created;
  created.is_new = true;
  if (statement.get("partspec")) created.kind = RelationKind::kPartitioned;
  for (auto const& parent : statement.list("inhRelations")) {
    auto const* known = table(relation_name(parent));
    if (known == nullptr) continue;
    created.columns.insert(known->columns.begin(), known->columns.end());
  }
  auto const bound = statement.get("partbound");
  auto const parents = statement.list("inhRelations");
  if (bound && !parents.empty()) {
    created.parent = relation_name(parents.front());
    if (auto* parent = table(created.parent); parent != nullptr && bound.flag("is_default")) {
      parent->has_default_partition = true;
      parent->default_partition = name;
    }
  }
  for (auto const& element : statement.list("tableElts")) {
    if (element.is("ColumnDef")) add_column(created, name, element);
    if (element.is("Constraint")) add_constraint(created, name, element, "");
  }
  tables[name] = std::move(created);
}

void SchemaFacts::add_column(KnownTable& known, std::string const& table_name, SyntaxNode column) {
  std::string const name(column.text("colname"));
  auto& added = known.columns[name];
  added.type = type_of(column.get("typeName"));
  added.is_not_null = is_serial(joined_name(column.get("typeName").list("names")));
  for (auto const& constraint : column.list("constraints")) {
    auto const kind = constraint.text("contype");
    if (kind == "CONSTR_NOTNULL" || kind == "CONSTR_PRIMARY" || kind == "CONSTR_IDENTITY") added.is_not_null = true;
    add_constraint(known, table_name, constraint, name);
  }
}

void SchemaFacts::add_constraint(KnownTable& known, std::string const& table_name, SyntaxNode constraint,
                                 std::string const& column) {
  auto const kind = constraint.text("contype");
  KnownConstraint added;
  added.is_valid = !constraint.flag("skip_validation");
  std::vector<std::string> columns = names_in(constraint, "keys");
  if (kind == "CONSTR_CHECK") {
    collect_columns(constraint.get("raw_expr"), added.columns);
    collect_proofs(constraint.get("raw_expr"), added.proves_not_null);
  } else if (kind == "CONSTR_FOREIGN") {
    added.kind = ConstraintKind::kForeignKey;
    added.references = relation_name(constraint.get("pktable"));
    columns = names_in(constraint, "fk_attrs");
  } else if (kind == "CONSTR_PRIMARY" || kind == "CONSTR_UNIQUE") {
    added.kind = ConstraintKind::kKey;
    if (auto const* built = index(std::string(constraint.text("indexname")))) columns = built->columns;
  } else if (kind == "CONSTR_EXCLUSION") {
    added.kind = ConstraintKind::kExclusion;
  } else {
    return;
  }
  if (columns.empty() && !column.empty()) columns.push_back(column);
  added.columns.insert(columns.begin(), columns.end());
  if (kind == "CONSTR_PRIMARY") {
    for (auto const& key : columns) known.columns[key].is_not_null = true;
  }
  std::string joined;
  for (auto const& each : columns) joined += (joined.empty() ? "" : "_") + each;
  auto const name = name_of_constraint(table_name, constraint, joined);
  if (added.kind == ConstraintKind::kKey) indexes[name] = {table_name, columns, {}};
  known.constraints[name] = std::move(added);
}

void SchemaFacts::alter_table(SyntaxNode statement) {
  auto const name = relation_name(statement.get("relation"));
  // Something can be said of a table that was not seen.
  if (statement.text("objtype") == "OBJECT_TABLE") tables.try_emplace(name);
  for (auto const& command : statement.list("cmds")) alter_table_command(name, command);
}

void SchemaFacts::alter_table_command(std::string const& name, SyntaxNode command) {
  auto* known = table(name);
  if (known == nullptr) return;
  auto const subtype = command.text("subtype");
  std::string const column(command.text("name"));
  auto const def = command.get("def");
  if (subtype == "AT_AddColumn") {
    add_column(*known, name, def);
  } else if (subtype == "AT_DropColumn") {
    known->columns.erase(column);
    std::erase_if(known->constraints, [&](auto const& each) { return each.second.columns.contains(column); });
  } else if (subtype == "AT_AddConstraint") {
    add_constraint(*known, name, def, "");
  } else if (subtype == "AT_ValidateConstraint") {
    known->constraints[column].is_valid = true;
  } else if (subtype == "AT_DropConstraint") {
    known->constraints.erase(column);
    indexes.erase(column);
  } else if (subtype == "AT_SetNotNull") {
    known->columns[column].is_not_null = true;
  } else if (subtype == "AT_DropNotNull") {
    known->columns[column].is_not_null = false;
  } else if (subtype == "AT_AlterColumnType") {
    known->columns[column].type = type_of(def.get("typeName"));
  } else if (subtype == "AT_AttachPartition" || subtype == "AT_DetachPartition") {
    bool const is_attached = subtype == "AT_AttachPartition";
    auto const part_name = relation_name(def.get("name"));
    if (auto* part = table(part_name)) part->parent = is_attached ? name : "";
    if (is_attached && def.get("bound").flag("is_default")) {
      known->has_default_partition = true;
      known->default_partition = part_name;
    }
  }
}

void SchemaFacts::create_index(SyntaxNode statement) {
  KnownIndex added;
  added.table = relation_name(statement.get("relation"));
  for (auto const& param : statement.list("indexParams")) {
    if (!param.text("name").empty()) {
      added.columns.emplace_back(param.text("name"));
    } else {
      collect_columns(param.get("expr"), added.computed_columns);
    }
  }
  collect_columns(statement.get("whereClause"), added.computed_columns);
  std::string name(statement.text("idxname"));
  if (name.empty()) name = added.table + "_idx";
  indexes[name] = std::move(added);
}

void SchemaFacts::create_domain(SyntaxNode statement) {
  auto const constraints = statement.list("constraints");
  auto& added = domains[joined_name(statement.list("domainname"))];
  added.base = type_of(statement.get("typeName"));
  added.has_constraint = std::any_of(constraints.begin(), constraints.end(), [](SyntaxNode constraint) {
    return constraint.text("contype") == "CONSTR_CHECK" || constraint.text("contype") == "CONSTR_NOTNULL";
  });
}

void SchemaFacts::create_function(SyntaxNode statement) {
  KnownFunction added;
  added.is_new = true;
  for (auto const& option : statement.list("options")) {
    if (option.text("defname") != "volatility") continue;
    auto const word = option.get("arg").text("sval");
    added.volatility = word == "immutable" ? 'i' : word == "stable" ? 's' : 'v';
  }
  functions[joined_name(statement.list("funcname"))] = added;
}

void SchemaFacts::create_other_relation(SyntaxNode relation, RelationKind kind) {
  auto& created = tables[relation_name(relation)];
  created = {};
  created.kind = kind;
  created.is_new = true;
}

void SchemaFacts::drop(SyntaxNode statement) {
  auto const type = statement.text("removeType");
  for (auto const& item : statement.list("objects")) {
    auto const name = listed_name(item);
    if (type == "OBJECT_TABLE" || type == "OBJECT_VIEW" || type == "OBJECT_MATVIEW" || type == "OBJECT_FOREIGN_TABLE") {
      forget_table(name);
    } else if (type == "OBJECT_INDEX") {
      indexes.erase(name);
    } else if (type == "OBJECT_DOMAIN") {
      domains.erase(name);
    } else if (type == "OBJECT_FUNCTION") {
      functions.erase(name);
    }
  }
}

void SchemaFacts::rename(SyntaxNode statement) {
  auto const relation = statement.get("relation");
  auto const name = relation_name(relation);
  std::string const to(statement.text("newname"));
  auto const type = statement.text("renameType");
  auto* known = table(name);
  if (type == "OBJECT_TABLE" && known != nullptr) {
    auto moved = std::move(*known);
    tables.erase(name);
    auto const dot = name.rfind('.');
    auto const renamed = dot == std::string::npos ? to : name.substr(0, dot + 1) + to;
    for (auto& [index_name, each] : indexes) {
      if (each.table == name) each.table = renamed;
    }
    tables[renamed] = std::move(moved);
  } else if (type == "OBJECT_COLUMN" && known != nullptr) {
    auto column = known->columns.extract(std::string(statement.text("subname")));
    if (column.empty()) return;
    column.key() = to;
    known->columns.insert(std::move(column));
  } else if (type == "OBJECT_INDEX") {
    auto node = indexes.extract(name);
    if (node.empty()) return;
    node.key() = to;
    indexes.insert(std::move(node));
  }
}

void SchemaFacts::forget_table(std::string const& name) {
  tables.erase(name);
  std::erase_if(indexes, [&](auto const& each) { return each.second.table == name; });
}

}  // namespace pgbackfill::planner::lint
