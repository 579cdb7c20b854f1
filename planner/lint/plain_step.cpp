#include "planner/lint/plain_step.h"

#include <variant>

#include "planner/model/sql_text.h"

namespace pgbackfill::planner::lint {
namespace {

using std::string;

string named(TableName const& table) {
  return quote_qualified(table.schema, table.name);
}

string altered(TableName const& table, string const& command) {
  return "ALTER TABLE " + named(table) + " " + command;
}

string listed(std::vector<string> const& columns) {
  std::vector<string> quoted;
  for (auto const& column : columns) quoted.push_back(quote_identifier(column));
  return "(" + join(quoted, ", ") + ")";
}

string sql_of(RunSql const&) {
  return {};
}

string sql_of(AddColumn const& step) {
  auto const value = step.default_value.empty() ? string() : " DEFAULT " + parenthesised(step.default_value);
  return altered(step.table, "ADD COLUMN " + quote_identifier(step.column) + " " + step.type + value +
                                 (step.is_not_null ? " NOT NULL" : ""));
}

string sql_of(DropColumn const& step) {
  return altered(step.table, "DROP COLUMN " + quote_identifier(step.column));
}

string sql_of(SetNotNull const& step) {
  return altered(step.table, "ALTER " + quote_identifier(step.column) + " SET NOT NULL");
}

string sql_of(CreateIndex const& step) {
  auto const keys = step.keys.empty() ? listed(step.columns) : "(" + step.keys + "\n)";
  return string("CREATE ") + (step.is_unique ? "UNIQUE " : "") + "INDEX " + quote_identifier(step.name) + " ON " +
         named(step.table) + (step.method.empty() ? "" : " USING " + quote_identifier(step.method)) + " " + keys +
         (step.where.empty() ? "" : " WHERE " + parenthesised(step.where));
}

string sql_of(DropNotNull const& step) {
  return altered(step.table, "ALTER " + quote_identifier(step.column) + " DROP NOT NULL");
}

string sql_of(SetDefault const& step) {
  return altered(step.table, "ALTER " + quote_identifier(step.column) +
                                 (step.value.empty() ? " DROP DEFAULT" : " SET DEFAULT " + parenthesised(step.value)));
}

string sql_of(ChangeType const& step) {
  return altered(step.table, "ALTER " + quote_identifier(step.column) + " TYPE " + step.type);
}

string sql_of(RenameColumn const& step) {
  return altered(step.table, "RENAME " + quote_identifier(step.column) + " TO " + quote_identifier(step.to));
}

string sql_of(SwapColumn const& step) {
  return altered(step.table, "RENAME " + quote_identifier(step.column) + " TO " + quote_identifier(step.keep_as)) +
         ";\n" + altered(step.table, "RENAME " + quote_identifier(step.with) + " TO " + quote_identifier(step.column));
}

string sql_of(AddCheck const& step) {
  return altered(step.table,
                 "ADD CONSTRAINT " + quote_identifier(step.name) + " CHECK " + parenthesised(step.condition));
}

string sql_of(AddForeignKey const& step) {
  return altered(step.table, "ADD CONSTRAINT " + quote_identifier(step.name) + " FOREIGN KEY " + listed(step.columns) +
                                 " REFERENCES " + named(step.references));
}

string sql_of(AddKey const& step) {
  // The name of the key that it takes the place of is not known.
  if (step.is_replacing) return {};
  return altered(step.table, "ADD CONSTRAINT " + quote_identifier(step.name) +
                                 (step.is_primary ? " PRIMARY KEY " : " UNIQUE ") + listed(step.columns));
}

string sql_of(DropConstraint const& step) {
  return altered(step.table, "DROP CONSTRAINT " + quote_identifier(step.name));
}

string sql_of(DropIndex const& step) {
  return "DROP INDEX " + quote_qualified(step.table.schema, step.name);
}

string sql_of(Reindex const&) {
  return {};
}

string sql_of(CreateTable const& step) {
  auto const columns = step.columns.empty() ? "LIKE " + named(step.like) : step.columns;
  return "CREATE TABLE " + named(step.table) + " (" + columns + "\n)";
}

string sql_of(DropTable const& step) {
  return "DROP TABLE " + named(step.table);
}

string sql_of(RenameTable const& step) {
  return altered(step.table, "RENAME TO " + quote_identifier(step.to));
}

string sql_of(AddEnumValue const&) {
  return {};
}

string sql_of(DetachPartition const& step) {
  return altered(step.table, "DETACH PARTITION " + named(step.partition));
}

string sql_of(AttachPartition const& step) {
  return altered(step.table, "ATTACH PARTITION " + named(step.partition) + " FOR VALUES " + step.for_values);
}

string sql_of(Swap const& step) {
  return altered(step.table, "RENAME TO " + quote_identifier(step.keep_as)) + ";\n" +
         altered(step.with, "RENAME TO " + quote_identifier(step.table.name));
}

// `sync:` changes no table.
string sql_of(InstallSync const&) {
  return {};
}

string sql_of(InstallMirror const&) {
  return {};
}

string sql_of(RemoveSync const&) {
  return {};
}

}  // namespace

string plain_sql(StepDetail const& detail) {
  return std::visit([](auto const& kind) { return sql_of(kind); }, detail.kind);
}

}  // namespace pgbackfill::planner::lint
