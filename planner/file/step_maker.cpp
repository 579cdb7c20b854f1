#include "planner/file/step_maker.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner::file {
namespace {

using Kind = decltype(StepDetail::kind);

bool is_simple(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// A text as it could stand in the file; the same text always looks the same.
std::string as_text(std::string_view text) {
  if (is_simple(text)) return std::string{text};
  std::string quoted = "\"";
  for (char const c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c == '\n' ? ' ' : c;
  }
  return quoted + "\"";
}

std::string as_text(TableName const& table) {
  if (table.schema.empty()) return as_text(table.name);
  if (is_simple(table.schema) && is_simple(table.name)) return table.schema + "." + table.name;
  return "{schema: " + as_text(table.schema) + ", name: " + as_text(table.name) + "}";
}

class StepMaker {
 public:
  StepMaker(StepValues const& values, std::vector<Problem>& problems) : values_(values), problems_(problems) {}

  SchemaStep make();

 private:
  Kind kind();
  Kind kind_of_table();
  AddForeignKey add_foreign_key();
  AddColumn add_column();
  SwapColumn swap_column();
  CreateIndex create_index();

  std::string text(std::string_view key) const { return values_.text(key); }
  std::vector<std::string> items(std::string_view key) const { return values_.items(key); }
  bool flag(std::string_view key) const { return text(key) == "true"; }
  TableName table() { return values_.own_table(problems_); }
  TableName other(std::string_view key) const { return values_.table(key); }
  std::string written();

  StepValues const& values_;
  std::vector<Problem>& problems_;
};

AddColumn StepMaker::add_column() {
  return {table(), text("name"), text("type"), text("default"), flag("not_null")};
}

SwapColumn StepMaker::swap_column() {
  std::string const column = text("column");
  std::string const keep_as = text("keep_as");
  // The server would cut a long one at its end, perhaps to the column's own name.
  std::string const kept = keep_as.empty() ? recipes::object_name(column, "", "old") : keep_as;
  return {table(), column, text("with"), kept, "", {}};
}

CreateIndex StepMaker::create_index() {
  CreateIndex index;
  index.table = table();
  index.name = text("name");
  index.columns = items("columns");
  index.keys = text("keys");
  index.include = items("include");
  index.method = text("method");
  index.where = text("where");
  index.is_unique = flag("unique");
  index.is_nulls_not_distinct = flag("nulls_not_distinct");
  return index;
}

AddForeignKey StepMaker::add_foreign_key() {
  AddForeignKey key;
  key.table = table();
  key.name = text("name");
  key.columns = items("columns");
  key.references = other("references");
  key.to = items("to");
  key.on_delete = text("on_delete");
  key.on_update = text("on_update");
  key.is_deferrable = flag("deferrable");
  key.is_initially_deferred = flag("initially_deferred");
  values_.require_pairs(problems_);
  return key;
}

Kind StepMaker::kind() {
  auto const& word = values_.word;
  if (word == "add_column") return add_column();
  if (word == "drop_column") return DropColumn{table(), text("name")};
  if (word == "rename_column") return RenameColumn{table(), text("name"), text("to")};
  if (word == "swap_column") return swap_column();
  if (word == "change_type") return ChangeType{table(), text("column"), text("type")};
  if (word == "set_not_null") return SetNotNull{table(), text("column")};
  if (word == "drop_not_null") return DropNotNull{table(), text("column")};
  if (word == "set_default") return SetDefault{table(), text("column"), text("value")};
  if (word == "drop_default") return SetDefault{table(), text("column"), ""};
  return kind_of_table();
}

Kind StepMaker::kind_of_table() {
  auto const& word = values_.word;
  if (word == "add_check") return AddCheck{table(), text("name"), text("check")};
  if (word == "add_foreign_key") return add_foreign_key();
  if (word == "add_unique") return AddKey{table(), text("name"), items("columns"), false};
  if (word == "add_primary_key") return AddKey{table(), text("name"), items("columns"), true};
  if (word == "swap_primary_key") return AddKey{table(), text("name"), items("columns"), true, true};
  if (word == "drop_constraint") return DropConstraint{table(), text("name")};
  if (word == "create_index") return create_index();
  if (word == "drop_index") return DropIndex{table(), text("name")};
  if (word == "reindex") return Reindex{table(), text("name")};
  if (word == "create_table") return CreateTable{other("table"), text("columns"), other("like")};
  if (word == "drop_table") return DropTable{other("table")};
  if (word == "rename_table") return RenameTable{table(), text("to")};
  if (word == "add_enum_value") return AddEnumValue{other("type"), text("value"), text("before"), text("after")};
  if (word == "detach_partition") return DetachPartition{table(), other("partition")};
  if (word == "attach_partition") return AttachPartition{table(), other("partition"), text("for_values")};
  if (word == "swap") return Swap{table(), other("with"), text("keep_as"), values_.migration};
  RunSql run;
  run.sql = text("sql");
  if (auto const* down = values_.find("down")) run.down = down->text;
  return run;
}

// The keys in the order of the file would make two texts of one step.
std::string StepMaker::written() {
  if (values_.word == "sql") return text("sql");
  std::vector<std::pair<std::string, std::string>> parts;
  // These do not fall back on the table at the top of the file.
  bool const has_own =
      values_.word == "create_table" || values_.word == "drop_table" || values_.word == "add_enum_value";
  bool const needs_table = values_.find("table") == nullptr && values_.default_table.has_value() && !has_own;
  if (needs_table) parts.emplace_back("table", as_text(*values_.default_table));
  for (auto const& value : values_.values) {
    std::string shown = value.table.name.empty() ? as_text(value.text) : as_text(value.table);
    if (!value.items.empty()) {
      std::vector<std::string> items;
      for (auto const& item : value.items) items.push_back(as_text(item));
      shown = "[" + join(items, ", ") + "]";
    }
    parts.emplace_back(value.key, std::move(shown));
  }
  std::sort(parts.begin(), parts.end());
  std::string text;
  for (auto const& [key, value] : parts) text += (text.empty() ? "" : ", ") + key + ": " + value;
  return std::string{values_.word} + ": {" + text + "}";
}

SchemaStep StepMaker::make() {
  SchemaStep step;
  step.position = values_.position;
  step.detail = std::make_shared<StepDetail const>(StepDetail{kind()});
  step.text = written();
  return step;
}

std::string as_text(std::vector<Assignment> const& columns) {
  std::vector<std::string> parts;
  for (auto const& one : columns) parts.push_back(as_text(one.column) + ": " + as_text(one.expression));
  return "{" + join(parts, ", ") + "}";
}

template <typename Install>
Sync sync_of(Install const& install, std::string text, bool is_mirror, SourcePosition position) {
  Sync sync;
  sync.position = position;
  sync.install.position = position;
  sync.install.detail = std::make_shared<StepDetail const>(StepDetail{install});
  sync.install.text = "sync: {" + std::move(text) + "}";
  sync.remove.position = position;
  sync.remove.detail =
      std::make_shared<StepDetail const>(StepDetail{RemoveSync{install.table, install.migration, is_mirror}});
  sync.remove.text = "end of sync: {table: " + as_text(install.table) + "}";
  return sync;
}

}  // namespace

Sync make_sync(InstallSync const& install, SourcePosition position) {
  std::string text = "table: " + as_text(install.table);
  if (!install.set.empty()) text += ", set: " + as_text(install.set);
  if (!install.reverse.empty()) text += ", reverse: " + as_text(install.reverse);
  return sync_of(install, std::move(text), false, std::move(position));
}

Sync make_mirror(InstallMirror const& install, SourcePosition position) {
  std::vector<std::string> key;
  for (auto const& column : install.key) key.push_back(as_text(column));
  std::string text = "table: " + as_text(install.table) + ", mirror: [" + join(key, ", ") +
                     "], to: " + as_text(install.to) + ", columns: " + as_text(install.columns);
  if (!install.where.empty()) text += ", where: " + as_text(install.where);
  return sync_of(install, std::move(text), true, std::move(position));
}

SchemaStep make_step(StepValues const& values, std::vector<Problem>& problems) {
  return StepMaker{values, problems}.make();
}

}  // namespace pgbackfill::planner::file
