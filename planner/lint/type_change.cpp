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
  static constexpr std::array<Pair, 6> kPairs{{{"varchar", "text"},
                                               {"text", "varchar"},
                                               {"cidr", "inet"},
                                               {"xml", "text"},
                                               {"xml", "varchar"},
                                               {"regclass", "oid"}}};
  bool const is_listed = std::find(kPairs.begin(), kPairs.end(), Pair(from.name, to.name)) != kPairs.end();
  return is_listed && to.modifiers.empty();
}

// Can be nothing but a new label, if the old type is a kin of it.
bool may_be_relabel(ColumnType const& to) {
  static constexpr std::array<std::string_view, 5> kNames{"text", "varchar", "inet", "numeric", "varbit"};
  return std::find(kNames.begin(), kNames.end(), to.name) != kNames.end() || is_temporal(to.name);
}

// Sorted.
constexpr std::array<std::string_view, 68> kBuiltIn{"bigserial",
                                                    "bit",
                                                    "bool",
                                                    "box",
                                                    "bpchar",
                                                    "bytea",
                                                    "char",
                                                    "cid",
                                                    "cidr",
                                                    "circle",
                                                    "date",
                                                    "datemultirange",
                                                    "daterange",
                                                    "float4",
                                                    "float8",
                                                    "inet",
                                                    "int2",
                                                    "int4",
                                                    "int4multirange",
                                                    "int4range",
                                                    "int8",
                                                    "int8multirange",
                                                    "int8range",
                                                    "interval",
                                                    "json",
                                                    "jsonb",
                                                    "jsonpath",
                                                    "line",
                                                    "lseg",
                                                    "macaddr",
                                                    "macaddr8",
                                                    "money",
                                                    "name",
                                                    "numeric",
                                                    "nummultirange",
                                                    "numrange",
                                                    "oid",
                                                    "path",
                                                    "pg_lsn",
                                                    "point",
                                                    "polygon",
                                                    "regclass",
                                                    "regproc",
                                                    "regrole",
                                                    "regtype",
                                                    "serial",
                                                    "serial2",
                                                    "serial4",
                                                    "serial8",
                                                    "smallserial",
                                                    "text",
                                                    "tid",
                                                    "time",
                                                    "timestamp",
                                                    "timestamptz",
                                                    "timetz",
                                                    "tsmultirange",
                                                    "tsquery",
                                                    "tsrange",
                                                    "tstzmultirange",
                                                    "tstzrange",
                                                    "tsvector",
                                                    "uuid",
                                                    "varbit",
                                                    "varchar",
                                                    "xid",
                                                    "xid8",
                                                    "xml"};

bool is_built_in(std::string_view name) {
  return std::binary_search(kBuiltIn.begin(), kBuiltIn.end(), name);
}

// 6 is all the precision that there is.
ColumnType without_full_precision(ColumnType type) {
  // Those of an interval begin with its fields.
  bool const is_full = !type.modifiers.empty() && type.modifiers.back() == 6;
  if (is_temporal(type.name) && is_full) type.modifiers.clear();
  return type;
}

}  // namespace

bool is_known_type(ColumnType const& type, SchemaFacts const& facts) {
  return is_built_in(type.name) || facts.types.contains(type.name) || facts.domains.contains(type.name);
}

TypeChange judge_type_change(ColumnType const& old_type, ColumnType const& new_type, SchemaFacts const& facts) {
  if (auto const domain = facts.domains.find(new_type.name); domain != facts.domains.end()) {
    if (domain->second.has_constraint) return TypeChange::kRewrite;
    return judge_type_change(old_type, domain->second.base, facts);
  }
  auto const domain = facts.domains.find(old_type.name);
  if (domain != facts.domains.end()) return judge_type_change(domain->second.base, new_type, facts);
  auto const from = without_full_precision(old_type);
  auto const to = without_full_precision(new_type);
  if (from.name.empty()) return may_be_relabel(to) ? TypeChange::kUnknown : TypeChange::kRewrite;
  if (from.is_array != to.is_array) return TypeChange::kRewrite;
  if (from.name == to.name) return judge_same_type(from, to);
  if (is_relabel(from, to)) return TypeChange::kCatalogOnly;
  bool const is_oid = (from.name == "int4" && to.name == "oid") || (from.name == "oid" && to.name == "int4");
  if (is_oid) return TypeChange::kIndexes;
  if (!is_built_in(from.name) && may_be_relabel(to)) return TypeChange::kUnknown;
  return TypeChange::kRewrite;
}

}  // namespace pgbackfill::planner::lint
