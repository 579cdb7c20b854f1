#include "planner/steps/step_names.h"

#include <algorithm>
#include <cctype>
#include <regex>
#include <variant>

#include "planner/model/step_detail.h"

namespace pgbackfill::planner {
namespace {

struct Reader {
  StepNames operator()(RunSql const& /*step*/) const { return {{}, {}, true, true}; }
  StepNames operator()(AddColumn const& step) const { return {{step.table}, {step.column}, false, true}; }
  StepNames operator()(DropColumn const& step) const { return {{step.table}, {step.column}}; }
  StepNames operator()(SetNotNull const& step) const { return {{step.table}, {step.column}}; }
  StepNames operator()(CreateIndex const& step) const {
    auto names = step.columns;
    names.insert(names.end(), step.include.begin(), step.include.end());
    names.push_back(step.name);
    return {{step.table}, std::move(names), false, !step.keys.empty() || !step.where.empty()};
  }
  StepNames operator()(DropNotNull const& step) const { return {{step.table}, {step.column}}; }
  StepNames operator()(SetDefault const& step) const {
    return {{step.table}, {step.column}, false, !step.value.empty()};
  }
  StepNames operator()(ChangeType const& step) const { return {{step.table}, {step.column}, true, true}; }
  StepNames operator()(RenameColumn const& step) const { return {{step.table}, {step.column, step.to}}; }
  StepNames operator()(SwapColumn const& step) const {
    return {{step.table}, {step.column, step.with, step.keep_as}, true};
  }
  StepNames operator()(AddCheck const& step) const { return {{step.table}, {step.name}, false, true}; }
  StepNames operator()(AddForeignKey const& step) const {
    auto names = step.columns;
    names.insert(names.end(), step.to.begin(), step.to.end());
    names.push_back(step.name);
    return {{step.table, step.references}, std::move(names)};
  }
  StepNames operator()(AddKey const& step) const {
    auto names = step.columns;
    names.push_back(step.name);
    return {{step.table}, std::move(names), true};
  }
  StepNames operator()(DropConstraint const& step) const { return {{step.table}, {step.name}}; }
  StepNames operator()(DropIndex const& step) const { return {{step.table}, {step.name}}; }
  StepNames operator()(Reindex const& step) const { return {{step.table}, {step.name}}; }
  StepNames operator()(CreateTable const& step) const {
    return {{step.table, step.like}, {step.table.name}, true, !step.columns.empty()};
  }
  StepNames operator()(DropTable const& step) const { return {{step.table}, {step.table.name}, true}; }
  StepNames operator()(RenameTable const& step) const {
    return {{step.table, {step.table.schema, step.to}}, {step.table.name, step.to}, true};
  }
  StepNames operator()(AddEnumValue const& step) const {
    return {{step.type}, {step.value, step.before, step.after}, false, true};
  }
  StepNames operator()(DetachPartition const& step) const {
    return {{step.table, step.partition}, {step.partition.name}, true};
  }
  StepNames operator()(AttachPartition const& step) const {
    return {{step.table, step.partition}, {step.partition.name}, true, true};
  }
  StepNames operator()(Swap const& step) const {
    return {{step.table, step.with, {step.table.schema, step.keep_as}}, {step.with.name, step.keep_as}, true};
  }
  template <class Detail>
  StepNames operator()(Detail const& step) const {
    return {{step.table}, {}, true, true};
  }
};

bool is_same_table(TableName const& one, TableName const& other) {
  bool const is_schema_open = one.schema.empty() || other.schema.empty() || one.schema == other.schema;
  return !one.name.empty() && one.name == other.name && is_schema_open;
}

bool share_table(StepNames const& one, StepNames const& other) {
  return std::any_of(one.tables.begin(), one.tables.end(), [&](TableName const& table) {
    return std::any_of(other.tables.begin(), other.tables.end(),
                       [&](TableName const& each) { return is_same_table(table, each); });
  });
}

bool share_name(StepNames const& one, StepNames const& other) {
  return std::any_of(one.names.begin(), one.names.end(), [&](std::string const& name) {
    return !name.empty() && std::find(other.names.begin(), other.names.end(), name) != other.names.end();
  });
}

// Without a look at case and quotes: what only may be meant counts.
bool mentions(std::string const& sql, std::string const& name) {
  auto const same = [](unsigned char left, unsigned char right) { return std::tolower(left) == std::tolower(right); };
  return !name.empty() && std::search(sql.begin(), sql.end(), name.begin(), name.end(), same) != sql.end();
}

// What it does stands elsewhere, in a function or in text that it puts together.
bool is_opaque(std::string const& sql) {
  static std::regex const pattern(R"((^|;)\s*(DO|CALL|SELECT|WITH|EXECUTE)\b)", std::regex::icase);
  return std::regex_search(sql, pattern);
}

bool sql_may_matter(std::string const& sql, StepNames const& later) {
  if (later.has_sql || later.is_whole || is_opaque(sql)) return true;
  auto const is_mentioned = [&](std::string const& name) { return mentions(sql, name); };
  return std::any_of(later.names.begin(), later.names.end(), is_mentioned);
}

// What the way back of a step drops, makes or renames.
struct Mover {
  std::vector<std::string> operator()(AddColumn const& step) const { return {step.column}; }
  std::vector<std::string> operator()(CreateIndex const& step) const { return {step.name}; }
  std::vector<std::string> operator()(AddCheck const& step) const { return {step.name}; }
  std::vector<std::string> operator()(AddForeignKey const& step) const { return {step.name}; }
  std::vector<std::string> operator()(AddKey const& step) const { return {step.name}; }
  std::vector<std::string> operator()(DropConstraint const& step) const { return {step.name}; }
  std::vector<std::string> operator()(DropIndex const& step) const { return {step.name}; }
  std::vector<std::string> operator()(RenameColumn const& step) const { return {step.column, step.to}; }
  template <class Detail>
  std::vector<std::string> operator()(Detail const& /*step*/) const {
    return {};
  }
};

// The tables that it drops or renames.
std::vector<TableName> moved_tables(SchemaStep const& step) {
  if (auto const* create = std::get_if<CreateTable>(&step.detail->kind)) return {create->table};
  if (std::holds_alternative<RenameTable>(step.detail->kind)) return names_of(step).tables;
  return {};
}

bool sql_may_rename(std::string const& sql, StepNames const& names) {
  auto const is_mentioned = [&](std::string const& name) { return mentions(sql, name); };
  return is_opaque(sql) || mentions(sql, "rename") || std::any_of(names.names.begin(), names.names.end(), is_mentioned);
}

}  // namespace

StepNames names_of(SchemaStep const& step) {
  return std::visit(Reader(), step.detail->kind);
}

bool may_matter(SchemaStep const& earlier, SchemaStep const& later) {
  auto const of_later = names_of(later);
  if (auto const* run = std::get_if<RunSql>(&earlier.detail->kind)) return sql_may_matter(run->sql, of_later);
  if (std::holds_alternative<AddEnumValue>(earlier.detail->kind) && of_later.has_sql) return true;
  auto const of_earlier = names_of(earlier);
  if (!share_table(of_earlier, of_later)) return false;
  // A column that changes its type, or comes, can stand in any expression.
  return of_later.is_whole || of_later.has_sql || share_name(of_earlier, of_later) ||
         std::holds_alternative<CreateTable>(earlier.detail->kind) ||
         std::holds_alternative<RenameTable>(earlier.detail->kind) ||
         std::holds_alternative<Swap>(earlier.detail->kind);
}

bool may_take_away(SchemaStep const& earlier, std::string const& name) {
  auto const& kind = earlier.detail->kind;
  if (auto const* run = std::get_if<RunSql>(&kind)) return is_opaque(run->sql) || mentions(run->sql, name);
  if (auto const* drop = std::get_if<DropConstraint>(&kind)) return drop->name == name;
  if (auto const* drop = std::get_if<DropIndex>(&kind)) return drop->name == name;
  if (auto const* drop = std::get_if<DropColumn>(&kind)) return drop->column == name;
  if (auto const* drop = std::get_if<DropTable>(&kind)) return drop->table.name == name;
  return false;
}

bool may_rename_on_its_way_back(SchemaStep const& later, SchemaStep const& earlier) {
  auto const of_earlier = names_of(earlier);
  if (auto const* run = std::get_if<RunSql>(&later.detail->kind)) {
    return run->down.has_value() && sql_may_rename(*run->down, of_earlier);
  }
  StepNames moved;
  moved.tables = moved_tables(later);
  if (share_table(moved, of_earlier)) return true;
  if (!share_table(names_of(later), of_earlier)) return false;
  moved.names = std::visit(Mover(), later.detail->kind);
  // A default is under the name of its column.
  bool const are_defaults = std::holds_alternative<SetDefault>(later.detail->kind) &&
                            std::holds_alternative<SetDefault>(earlier.detail->kind);
  if (are_defaults) moved.names = names_of(later).names;
  return share_name(moved, of_earlier);
}

bool may_matter_on_its_way_back(SchemaStep const& later, SchemaStep const& earlier) {
  if (may_rename_on_its_way_back(later, earlier)) return true;
  auto const of_later = names_of(later);
  auto const of_earlier = names_of(earlier);
  return share_table(of_later, of_earlier) && share_name(of_later, of_earlier);
}

bool may_take_away(SchemaStep const& earlier) {
  auto const& kind = earlier.detail->kind;
  if (auto const* run = std::get_if<RunSql>(&kind)) {
    static std::regex const pattern(R"(\b(ALTER|DROP|REVOKE)\b)", std::regex::icase);
    return is_opaque(run->sql) || std::regex_search(run->sql, pattern);
  }
  return std::holds_alternative<DropConstraint>(kind) || std::holds_alternative<DropIndex>(kind) ||
         std::holds_alternative<DropColumn>(kind) || std::holds_alternative<DropTable>(kind);
}

}  // namespace pgbackfill::planner
