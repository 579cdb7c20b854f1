// What is known of the schema from the statements seen so far: enough to tell a harmless change from a heavy one.
//
// A table that nothing was said about is unknown, and judged as if it were large and in use. A table that the file
// under the lint makes itself is new: nobody waits for it. Names without a schema mean `public`. Pure values.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "planner/sql/sql_syntax.h"

namespace pgbackfill::planner::lint {

struct ColumnType {
  std::string name;  // without pg_catalog; empty: unknown
  std::vector<int> modifiers;
  bool is_array = false;
};

ColumnType type_of(SyntaxNode type_name);
std::string to_string(ColumnType const& type);

struct KnownColumn {
  ColumnType type;
  bool is_not_null = false;
};

enum class ConstraintKind { kCheck, kForeignKey, kKey, kExclusion };

struct KnownConstraint {
  ConstraintKind kind = ConstraintKind::kCheck;
  bool is_valid = true;
  std::set<std::string> columns;          // that it mentions
  std::set<std::string> proves_not_null;  // of a check
  std::string references;                 // of a foreign key
};

struct KnownIndex {
  std::string table;
  std::vector<std::string> columns;        // plain key columns
  std::set<std::string> computed_columns;  // in an expression or the predicate
};

enum class RelationKind { kTable, kPartitioned, kForeignTable, kView, kMaterializedView, kSequence };

struct KnownTable {
  RelationKind kind = RelationKind::kTable;
  bool is_new = false;
  std::map<std::string, KnownColumn> columns;
  std::map<std::string, KnownConstraint> constraints;
  std::string parent;  // of a partition
  bool has_default_partition = false;
  std::string default_partition;
};

struct KnownDomain {
  bool has_constraint = false;
  ColumnType base;
};

struct KnownFunction {
  char volatility = 'v';
  bool is_new = false;
};

class SchemaFacts {
 public:
  KnownTable* table(std::string const& name);
  KnownTable const* table(std::string const& name) const;
  KnownIndex const* index(std::string const& name) const;
  KnownColumn const* column(std::string const& table, std::string const& column) const;
  bool is_new(std::string const& table) const;
  // From here on, what was made is no longer new.
  void begin_file();

  // Takes over what the statement does.
  void apply(SyntaxNode statement);

  std::map<std::string, KnownTable> tables;
  std::map<std::string, KnownIndex> indexes;
  std::map<std::string, KnownDomain> domains;
  std::set<std::string> types;  // enums and composites
  std::map<std::string, KnownFunction> functions;
  std::set<std::string> new_types;

 private:
  void create_table(SyntaxNode statement);
  void add_column(KnownTable& table, std::string const& table_name, SyntaxNode column);
  void add_constraint(KnownTable& table, std::string const& table_name, SyntaxNode constraint,
                      std::string const& column);
  void alter_table(SyntaxNode statement);
  void alter_table_command(std::string const& name, SyntaxNode command);
  void create_index(SyntaxNode statement);
  void create_domain(SyntaxNode statement);
  void create_function(SyntaxNode statement);
  void create_other_relation(SyntaxNode relation, RelationKind kind);
  void drop(SyntaxNode statement);
  void rename(SyntaxNode statement);
  void forget_table(std::string const& name);
};

// "public.users" as "users", "other.t" as "other.t".
std::string relation_name(SyntaxNode range_var);
// Of a list of names, as DROP has them.
std::string listed_name(SyntaxNode item);
std::string joined_name(std::vector<SyntaxNode> const& names);
// Every column that is named somewhere below.
void collect_columns(SyntaxNode node, std::set<std::string>& columns);

}  // namespace pgbackfill::planner::lint
