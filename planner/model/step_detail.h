// What a step of `expand:` or `contract:` shall bring about, by kind.
//
// Pure values. How it is done safely is a recipe (planner/steps/recipe.h). Names are data and kept unquoted; types, key
// texts, expressions and conditions are SQL and kept byte for byte.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "planner/model/assignment.h"
#include "planner/model/schema_step.h"
#include "planner/model/table_name.h"

namespace pgbackfill::planner {

struct RunSql {
  std::string sql;
  std::optional<std::string> down;
};

struct AddColumn {
  TableName table;
  std::string column;
  std::string type;           // SQL
  std::string default_value;  // SQL, empty: none
  bool is_not_null = false;
};

struct DropColumn {
  TableName table;
  std::string column;
};

struct SetNotNull {
  TableName table;
  std::string column;
};

struct CreateIndex {
  TableName table;
  std::string name;
  std::vector<std::string> columns;  // either these
  std::string keys;                  // or SQL: what stands between the parentheses
  std::vector<std::string> include;
  std::string method;
  std::string where;  // SQL
  bool is_unique = false;
  bool is_nulls_not_distinct = false;
};

struct DropNotNull {
  TableName table;
  std::string column;
};

struct SetDefault {
  TableName table;
  std::string column;
  std::string value;  // SQL, empty: no default any more
};

// In place, where that changes the catalog only.
struct ChangeType {
  TableName table;
  std::string column;
  std::string type;  // SQL
};

struct RenameColumn {
  TableName table;
  std::string column;
  std::string to;
};

// The column `with` takes the place of `column`, which is kept under another name.
struct SwapColumn {
  TableName table;
  std::string column;
  std::string with;
  std::string keep_as;
  std::string sync_of;                   // the migration whose trigger of `sync:` ends in the same moment; empty: none
  std::vector<SchemaStep> earlier = {};  // steps of the file that run before it
};

struct AddCheck {
  TableName table;
  std::string name;
  std::string condition;  // SQL
};

struct AddForeignKey {
  TableName table;
  std::string name;
  std::vector<std::string> columns;
  TableName references;
  std::vector<std::string> to;  // empty: the primary key
  std::string on_delete;        // as in SQL, lower case; empty: no action
  std::string on_update;
  bool is_deferrable = false;
  bool is_initially_deferred = false;
};

// UNIQUE, or PRIMARY KEY.
struct AddKey {
  TableName table;
  std::string name;
  std::vector<std::string> columns;
  bool is_primary = false;
  bool is_replacing = false;  // a primary key that takes the place of the one that is there
};

struct DropConstraint {
  TableName table;
  std::string name;
};

struct DropIndex {
  TableName table;
  std::string name;
};

struct Reindex {
  TableName table;
  std::string name;
};

struct CreateTable {
  TableName table;
  std::string columns;  // SQL: what stands between the parentheses
  TableName like;       // or a table to be like
};

struct DropTable {
  TableName table;
};

struct RenameTable {
  TableName table;
  std::string to;
};

struct AddEnumValue {
  TableName type;
  std::string value;
  std::string before;
  std::string after;
};

struct DetachPartition {
  TableName table;
  TableName partition;
};

struct AttachPartition {
  TableName table;
  TableName partition;
  std::string for_values;  // SQL: what stands behind FOR VALUES
};

// The copy that a mirror has kept equal takes the name of its table, which stays under another one.
struct Swap {
  TableName table;
  TableName with;
  std::string keep_as;
  std::string migration;
};

// Of `sync:`, not of a list of steps: the trigger that keeps columns in step, and its end.
struct InstallSync {
  TableName table;
  std::string migration;
  std::vector<Assignment> set;      // from what the old version of the application writes
  std::vector<Assignment> reverse;  // and back
  std::string trigger = {};  // its name, where other migrations' syncs ask for a place before or behind; or empty
};

// Of `sync: {mirror: ...}`: the trigger that carries writes on to the table of a `copy_to` backfill.
struct InstallMirror {
  TableName table;
  std::string migration;
  TableName to;
  std::vector<Assignment> columns;  // of the copy
  std::string where;                // SQL, empty: all rows
  std::vector<std::string> key;     // columns of the copy that say which row is which
};

struct RemoveSync {
  TableName table;
  std::string migration;
  bool is_mirror = false;
};

struct StepDetail {
  std::variant<RunSql, AddColumn, DropColumn, SetNotNull, CreateIndex, DropNotNull, SetDefault, ChangeType,
               RenameColumn, SwapColumn, AddCheck, AddForeignKey, AddKey, DropConstraint, DropIndex, Reindex,
               CreateTable, DropTable, RenameTable, AddEnumValue, DetachPartition, AttachPartition, Swap, InstallSync,
               InstallMirror, RemoveSync>
      kind;
};

}  // namespace pgbackfill::planner
