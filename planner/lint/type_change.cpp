#include "planner/lint/type_change.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

namespace pgbackfill::planner::lint {
namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr int kNoLimit = 1 << 30;

int limit_of(ColumnType const& type) {
  return type.modifiers.empty() ? kNoLimit : type.modifiers.front();
}

bool is_temporal(std::string_view name) {
  static constexpr std::array<std::string_view, 5> kNames{"timestamp", "timestamptz", "time", "timetz", "interval"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

TypeChange judge_numeric(ColumnType const& from, ColumnType const& to) {
  if (to.modifiers.empty()) return TypeChange::kCatalogOnly;
  if (from.modifiers.empty()) return TypeChange::kRewrite;
  int const from_scale = from.modifiers.size() > 1 ? from.modifiers[1] : 0;
  int const to_scale = to.modifiers.size() > 1 ? to.modifiers[1] : 0;
  bool const is_wider = to.modifiers.front() >= from.modifiers.front();
  return is_wider && to_scale == from_scale ? TypeChange::kCatalogOnly : TypeChange::kRewrite;
}

TypeChange judge_same_type(ColumnType const& from, ColumnType const& to) {
  if (from.modifiers == to.modifiers) return TypeChange::kCatalogOnly;
  if (to.name == "numeric") return judge_numeric(from, to);
  if (to.name == "interval") return TypeChange::kRewrite;
  bool const is_growing = to.name == "varchar" || to.name == "varbit" || is_temporal(to.name);
  if (is_growing && limit_of(to) >= limit_of(from)) return TypeChange::kCatalogOnly;
  return TypeChange::kRewrite;
}

// Without a look at the rows.
bool is_relabel(ColumnType const& from, ColumnType const& to) {
  static constexpr std::array<Pair, 7> kPairs{{{"varchar", "text"},
                                               {"text", "varchar"},
                                               {"cidr", "inet"},
                                               {"xml", "text"},
                                               {"xml", "varchar"},
                                               {"oid", "int4"},
                                               {"regclass", "oid"}}};
  bool const is_listed = std::find(kPairs.begin(), kPairs.end(), Pair(from.name, to.name)) != kPairs.end();
  return is_listed && to.modifiers.empty();
}

// Can be nothing but a new label, if the old type is a kin of it.
bool may_be_relabel(ColumnType const& to) {
  static constexpr std::array<std::string_view, 5> kNames{"text", "varchar", "inet", "numeric", "varbit"};
  return std::find(kNames.begin(), kNames.end(), to.name) != kNames.end() || is_temporal(to.name);
}

bool is_built_in(std::string_view name) {
  static constexpr std::array<std::string_view, 37> kNames{
      "bit",         "bool",   "box",      "bpchar", "bytea",  "char",     "cidr",    "circle", "date", "float4",
      "float8",      "inet",   "int2",     "int4",   "int8",   "interval", "json",    "jsonb",  "line", "macaddr",
      "money",       "name",   "numeric",  "oid",    "path",   "point",    "polygon", "text",   "time", "timestamp",
      "timestamptz", "timetz", "tsvector", "uuid",   "varbit", "varchar",  "xml"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

}  // namespace

bool is_known_type(ColumnType const& type, SchemaFacts const& facts) {
  return is_built_in(type.name) || facts.types.contains(type.name) || facts.domains.contains(type.name);
}

TypeChange judge_type_change(ColumnType const& from, ColumnType const& to, SchemaFacts const& facts) {
  if (auto const domain = facts.domains.find(to.name); domain != facts.domains.end()) {
    if (domain->second.has_constraint) return TypeChange::kRewrite;
    return judge_type_change(from, domain->second.base, facts);
  }
  if (from.name.empty()) return may_be_relabel(to) ? TypeChange::kUnknown : TypeChange::kRewrite;
  if (from.is_array != to.is_array) return TypeChange::kRewrite;
  if (from.name == to.name) return judge_same_type(from, to);
  if (is_relabel(from, to)) return TypeChange::kCatalogOnly;
  if (from.name == "int4" && to.name == "oid") return TypeChange::kIndexes;
  if (!is_built_in(from.name) && may_be_relabel(to)) return TypeChange::kUnknown;
  return TypeChange::kRewrite;
}

}  // namespace pgbackfill::planner::lint
