// The recipes by kind of step, and the catalog questions that they are made of. For planner/steps/recipe.cpp,
// other_relations.cpp and the files of recipes alone; see planner/steps/recipe.h for what a recipe is.
//
// Pure text. Every name is quoted; catalog functions and tables are named with their schema, because search_path is the
// user's.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "planner/model/step_detail.h"
#include "planner/steps/recipe.h"

namespace pgbackfill::planner::recipes {

// From then on a NOT NULL is a constraint, with a name and of each table for itself.
inline constexpr int kVersionWithNotNullConstraints = 180000;

// --- questions to the catalog ---------------------------------------------------------------------------------------

// The table's oid or NULL, as an SQL expression.
std::string oid_of(TableName const& table);
// The oids of the table and of all that inherit from it, as a query: a change goes down to them.
std::string tree_of(std::string const& oid);
std::string quoted(TableName const& table);

std::string has_column(TableName const& table, std::string_view column);
// Whether the column is there and satisfies a condition over pg_attribute a.
std::string column_is(TableName const& table, std::string_view column, std::string_view condition);
// Whether the table has a constraint of the name that satisfies a condition over pg_constraint k.
std::string constraint_is(TableName const& table, std::string_view name, std::string_view condition);
// Whether an index of the name, in the schema of the table, satisfies a condition over pg_index i and pg_class c.
std::string index_is(TableName const& table, std::string_view name, std::string_view condition);
// Whether any relation of the name is in the schema of the table.
std::string has_relation(TableName const& table, std::string_view name);
// What is said of a column: type, collation, default; as a scalar subquery, NULL without the column.
std::string column_spelling(std::string const& oid, std::string_view column, bool with_not_null);
// Who else holds a lock on the table that two builders cannot hold at once; NULL: nobody. To be asked before a build as
// well: of two at once one waits for the lock, the other one for the snapshot of the one that waits.
std::string other_builder(TableName const& table);

// CASE WHEN condition THEN text ... END; texts are SQL expressions.
std::string first_of(std::vector<std::pair<std::string, std::string>> const& cases);
// The cases that nearly all recipes begin with: no such table, or not a table.
std::vector<std::pair<std::string, std::string>> table_refusals(TableName const& table);
// Whether column a is in the partition key of its table.
inline constexpr char kIsPartitionKey[] =
    "EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND "
    "d.objid = a.attrelid AND d.objsubid = a.attnum AND d.refclassid = d.classid AND d.refobjid = a.attrelid AND "
    "d.refobjsubid = 0 AND d.deptype = 'i')";
// The columns of a table OF a type are those of the type: the server changes none of them alone.
std::pair<std::string, std::string> typed_table_refusal(TableName const& table);

// The names of the columns of constraint k (conkey of conrelid, or confkey of confrelid) in its order, as text[].
std::string columns_of_key(std::string const& relation, std::string const& key);

// table_column_label, cut to 63 bytes as the server cuts it.
std::string object_name(std::string_view table, std::string_view column, std::string_view label);

// --- statements that many recipes are made of -----------------------------------------------------------------------

std::string column_list(std::vector<std::string> const& columns);
TableLock exclusive(TableName const& table);
// ALTER TABLE in a short transaction.
Action brief(TableName const& table, std::string const& change, std::string needed);
// Of a constraint that is there again.
Action comment_again(TableName const& table, std::string const& name, std::string const& comment);
Action validate(TableName const& table, std::string const& constraint, std::string needed);
// The same locks on tables that foreign keys refer to, first; then the table's own.
std::vector<TableLock> with_parents(std::vector<std::string> const& parents, LockMode mode, TableLock last);
// Query for an array of the tables that foreign keys k of the table refer to; a condition over pg_constraint k. Only
// those on which the role may take the lock, which the server takes anyway, later.
std::string parents_of(TableName const& table, std::string const& condition);
// ANALYZE of the whole table: a list of columns would leave out expressions of indexes and extended statistics.
Action analyze(TableName const& table, std::string needed);
// DROP INDEX CONCURRENTLY of an index in the schema of the table.
Action drop_index(TableName const& table, std::string const& name, std::string needed);

// What stands behind ADD COLUMN.
std::string column_definition(AddColumn const& step);
// `how`: "", "CONCURRENTLY " or the like; `table` is quoted.
std::string create_index_sql(CreateIndex const& step, std::string const& how, std::string const& table);

std::string facts_of_table(TableName const& table, std::string const& parents, std::string const& named,
                           std::string const& leaves = {}, std::string const& collation = {});
// Query for an array of the partitions that hold rows, as schema and name in turn; NULL: it is not partitioned.
std::string leaves_of(TableName const& table);
// The same of all tables below it, whether they inherit or are partitions.
std::string heirs_of(TableName const& table);

// A transaction on a copy without rows, named pg_temp.pgbackfill_probe; to be followed by what is to be tried.
// `with`: what of the table goes along, as LIKE takes it.
std::vector<std::string> probe_begin(StepFacts const& facts, std::string const& with = {});
inline constexpr char kProbe[] = "pg_temp.pgbackfill_probe";

// --- the steps ------------------------------------------------------------------------------------------------------

std::string facts_sql(RunSql const& step);
std::vector<std::string> spelling(RunSql const& step, StepFacts const& facts);
Recipe recipe(RunSql const& step, StepFacts const& facts);

std::string facts_sql(AddColumn const& step);
std::vector<std::string> spelling(AddColumn const& step, StepFacts const& facts);
Recipe recipe(AddColumn const& step, StepFacts const& facts);

std::string facts_sql(DropColumn const& step);
std::vector<std::string> spelling(DropColumn const& step, StepFacts const& facts);
Recipe recipe(DropColumn const& step, StepFacts const& facts);

std::string facts_sql(SetNotNull const& step);
std::vector<std::string> spelling(SetNotNull const& step, StepFacts const& facts);
Recipe recipe(SetNotNull const& step, StepFacts const& facts);

std::string facts_sql(CreateIndex const& step);
std::vector<std::string> spelling(CreateIndex const& step, StepFacts const& facts);
Recipe recipe(CreateIndex const& step, StepFacts const& facts);

std::string facts_sql(DropNotNull const& step);
std::vector<std::string> spelling(DropNotNull const& step, StepFacts const& facts);
Recipe recipe(DropNotNull const& step, StepFacts const& facts);

std::string facts_sql(SetDefault const& step);
std::vector<std::string> spelling(SetDefault const& step, StepFacts const& facts);
Recipe recipe(SetDefault const& step, StepFacts const& facts);

std::string facts_sql(ChangeType const& step);
std::vector<std::string> spelling(ChangeType const& step, StepFacts const& facts);
Recipe recipe(ChangeType const& step, StepFacts const& facts);

std::string facts_sql(RenameColumn const& step);
std::vector<std::string> spelling(RenameColumn const& step, StepFacts const& facts);
Recipe recipe(RenameColumn const& step, StepFacts const& facts);

std::string facts_sql(SwapColumn const& step);
std::vector<std::string> spelling(SwapColumn const& step, StepFacts const& facts);
Recipe recipe(SwapColumn const& step, StepFacts const& facts);

std::string facts_sql(AddCheck const& step);
std::vector<std::string> spelling(AddCheck const& step, StepFacts const& facts);
Recipe recipe(AddCheck const& step, StepFacts const& facts);

std::string facts_sql(AddForeignKey const& step);
std::vector<std::string> spelling(AddForeignKey const& step, StepFacts const& facts);
Recipe recipe(AddForeignKey const& step, StepFacts const& facts);

std::string facts_sql(AddKey const& step);
std::vector<std::string> spelling(AddKey const& step, StepFacts const& facts);
Recipe recipe(AddKey const& step, StepFacts const& facts);

std::string facts_sql(DropConstraint const& step);
std::vector<std::string> spelling(DropConstraint const& step, StepFacts const& facts);
Recipe recipe(DropConstraint const& step, StepFacts const& facts);

std::string facts_sql(DropIndex const& step);
std::vector<std::string> spelling(DropIndex const& step, StepFacts const& facts);
Recipe recipe(DropIndex const& step, StepFacts const& facts);

std::string facts_sql(Reindex const& step);
std::vector<std::string> spelling(Reindex const& step, StepFacts const& facts);
Recipe recipe(Reindex const& step, StepFacts const& facts);

std::string facts_sql(CreateTable const& step);
std::vector<std::string> spelling(CreateTable const& step, StepFacts const& facts);
Recipe recipe(CreateTable const& step, StepFacts const& facts);

std::string facts_sql(DropTable const& step);
std::vector<std::string> spelling(DropTable const& step, StepFacts const& facts);
Recipe recipe(DropTable const& step, StepFacts const& facts);

std::string facts_sql(RenameTable const& step);
std::vector<std::string> spelling(RenameTable const& step, StepFacts const& facts);
Recipe recipe(RenameTable const& step, StepFacts const& facts);

std::string facts_sql(AddEnumValue const& step);
std::vector<std::string> spelling(AddEnumValue const& step, StepFacts const& facts);
Recipe recipe(AddEnumValue const& step, StepFacts const& facts);

std::string facts_sql(DetachPartition const& step);
std::vector<std::string> spelling(DetachPartition const& step, StepFacts const& facts);
Recipe recipe(DetachPartition const& step, StepFacts const& facts);

std::string facts_sql(AttachPartition const& step);
std::vector<std::string> spelling(AttachPartition const& step, StepFacts const& facts);
Recipe recipe(AttachPartition const& step, StepFacts const& facts);

std::string facts_sql(Swap const& step);
std::vector<std::string> spelling(Swap const& step, StepFacts const& facts);
Recipe recipe(Swap const& step, StepFacts const& facts);

std::string facts_sql(InstallSync const& step);
// `additions` are statements for the probe.
std::vector<std::string> spelling_of_sync(InstallSync const& step, StepFacts const& facts,
                                          std::vector<std::string> const& additions);
std::vector<std::string> spelling(InstallSync const& step, StepFacts const& facts);
Recipe recipe(InstallSync const& step, StepFacts const& facts);

std::string facts_sql(InstallMirror const& step);
std::vector<std::string> spelling_of_mirror(InstallMirror const& step, StepFacts const& facts,
                                            std::vector<std::string> const& additions);
std::vector<std::string> spelling(InstallMirror const& step, StepFacts const& facts);
Recipe recipe(InstallMirror const& step, StepFacts const& facts);

std::string facts_sql(RemoveSync const& step);
std::vector<std::string> spelling(RemoveSync const& step, StepFacts const& facts);
Recipe recipe(RemoveSync const& step, StepFacts const& facts);

}  // namespace pgbackfill::planner::recipes
