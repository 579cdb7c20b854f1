#include "planner/keys/key_choice.h"

#include <algorithm>
#include <map>
#include <set>

#include "planner/model/sql_text.h"
#include "planner/model/suggestion.h"

namespace pgbackfill::planner {

namespace {

ColumnFacts const* find_column(std::vector<ColumnFacts> const& columns, std::string const& name) {
  auto const found =
      std::find_if(columns.begin(), columns.end(), [&](ColumnFacts const& column) { return column.name == name; });
  return found == columns.end() ? nullptr : &*found;
}

bool is_usable(IndexFacts const& index, LeafFacts const& leaf) {
  if (!index.unique || !index.valid || index.partial || index.has_expressions || !index.immediate) return false;
  if (!index.ordered || !index.default_opclasses || index.columns.empty()) return false;
  return std::all_of(index.columns.begin(), index.columns.end(), [&](KeyColumn const& key_column) {
    auto const* column = find_column(leaf.columns, key_column.name);
    return column != nullptr && column->not_null;
  });
}

std::string name_of(LeafFacts const& leaf) {
  return quote_qualified(leaf.schema, leaf.name);
}

// Whether values sort as they did, and are read from their old texts as the same values.
bool keeps_order(std::string const& from, std::string const& to) {
  static std::map<std::string, std::set<std::string>> const wider = {
      {"smallint", {"integer", "bigint", "numeric"}},
      {"integer", {"bigint", "numeric"}},
      {"bigint", {"numeric"}},
      {"character varying", {"text"}},
      {"text", {"character varying"}},
      {"date", {"timestamp without time zone"}},
  };
  auto const found = wider.find(from);
  return from == to || (found != wider.end() && found->second.count(to) != 0);
}

// The same columns, in the same directions; their types and collations are another question.
bool is_ordered_alike(std::vector<KeyColumn> const& left, std::vector<KeyColumn> const& right) {
  auto const is_alike = [](KeyColumn const& one, KeyColumn const& other) {
    return one.name == other.name && one.descending == other.descending && one.nulls_first == other.nulls_first;
  };
  return left.size() == right.size() && std::equal(left.begin(), left.end(), right.begin(), is_alike);
}

// Of a key column, what may have brought its values into another order; empty: nothing.
std::string change_of_order(KeyColumn const& was, KeyColumn const& is) {
  if (!keeps_order(was.type, is.type)) return is.type + " where it was " + was.type;
  if (was.order_collation != is.order_collation) {
    return "sorted by collation " + is.order_collation + " where it was by " + was.order_collation;
  }
  bool const is_sorted_anew =
      !was.collation_version.empty() && !is.collation_version.empty() && was.collation_version != is.collation_version;
  if (!is_sorted_anew) return {};
  return "sorted by version " + is.collation_version + " of collation " + was.order_collation +
         ", and was by version " + was.collation_version;
}

char const kWayOut[] =
    "; put it back, or give the migration another name and begin with the first row again, if its work may be done "
    "twice on a row";

std::string refusal_text(LeafFacts const& leaf, std::string const& why) {
  std::string const table = quote_qualified(leaf.schema, leaf.name);
  return "table " + table + " has no primary key and no unique index over NOT NULL columns to page by, and " + why +
         "; add one, for example: CREATE UNIQUE INDEX CONCURRENTLY ON " + table +
         " (...) over columns that are NOT NULL";
}

bool is_in_key(std::string const& column, std::vector<Key> const& leaf_keys) {
  return std::any_of(leaf_keys.begin(), leaf_keys.end(), [&](Key const& key) {
    return std::any_of(key.columns.begin(), key.columns.end(),
                       [&](KeyColumn const& key_column) { return key_column.name == column; });
  });
}

// The column, and those that the server computes from it.
std::vector<std::string> changed_with(std::string const& column, LeafFacts const& leaf) {
  std::vector<std::string> columns = {column};
  for (auto const& each : leaf.columns) {
    auto const& from = each.generated_from;
    if (std::find(from.begin(), from.end(), column) != from.end()) columns.push_back(each.name);
  }
  return columns;
}

// Why a column has to stay as it is; empty: it may change.
std::string why_fixed(std::string const& column, TableFacts const& table, std::vector<Key> const& leaf_keys) {
  for (auto const& each : changed_with(column, table.leaves.front())) {
    std::string const subject =
        each == column ? "column '" + column + "'" : "column '" + each + "', which is generated from '" + column + "',";
    if (is_in_key(each, leaf_keys)) {
      return subject +
             " is part of the key that the table is paged by; a changed key could be met again or missed. Page by "
             "another unique index, or fill a new column and swap";
    }
    if (std::find(table.partition_columns.begin(), table.partition_columns.end(), each) !=
        table.partition_columns.end()) {
      return subject + " decides the partition of a row; changing it would move rows";
    }
  }
  return "";
}

}  // namespace

std::string missing_column(std::string const& column, LeafFacts const& leaf) {
  std::vector<std::string_view> names;
  for (auto const& known : leaf.columns) names.emplace_back(known.name);
  return "table " + quote_qualified(leaf.schema, leaf.name) + " has no column '" + column + "'" +
         did_you_mean(column, names);
}

std::variant<Key, Refusal> choose_key(LeafFacts const& leaf, Backfill const& backfill) {
  IndexFacts const* best = nullptr;
  std::string doubt;
  for (auto const& index : leaf.indexes) {
    if (!is_usable(index, leaf)) continue;
    std::string const doubt_of_index = order_doubt({index.name, index.columns}, leaf);
    if (!doubt_of_index.empty()) {
      doubt = doubt_of_index;
      continue;
    }
    bool const better = best == nullptr || (index.primary && !best->primary) ||
                        (index.primary == best->primary && index.columns.size() < best->columns.size());
    if (better) best = &index;
  }
  if (best != nullptr) return Key{best->name, best->columns};
  if (!doubt.empty()) return Refusal{doubt};
  if (leaf.kind != 'r') return Refusal{refusal_text(leaf, "it is not a plain table")};
  if (backfill.kind == WorkKind::kCopy) {
    return Refusal{refusal_text(leaf, "a copy paged by blocks could miss or repeat rows that move meanwhile")};
  }
  if (backfill.kind == WorkKind::kSql) {
    return Refusal{refusal_text(leaf, "with `sql:` pgbackfill cannot see whether a row that moved is done already")};
  }
  if (backfill.compute) {
    return Refusal{refusal_text(leaf, "the answers of a program are written by the keys of the rows, which may move")};
  }
  if (backfill.where.empty()) {
    return Refusal{
        refusal_text(leaf, "paging by blocks is safe only with a `where:` that a changed row no longer satisfies")};
  }
  return Key{};
}

std::string order_doubt(Key const& key, LeafFacts const& leaf) {
  for (auto const& column : key.columns) {
    if (column.index_version.empty() || column.collation_version == column.index_version) continue;
    bool const is_of_database = column.order_collation == "pg_catalog.\"default\"";
    std::string const refresh = is_of_database ? "ALTER DATABASE ... REFRESH COLLATION VERSION"
                                               : "ALTER COLLATION " + column.order_collation + " REFRESH VERSION";
    return "index " + quote_qualified(leaf.schema, key.index) + " of table " + name_of(leaf) +
           " may be out of order: it was built with version " + column.index_version + " of collation " +
           (is_of_database ? "of the database" : column.order_collation) + ", and the library has version " +
           (column.collation_version.empty() ? "none" : column.collation_version) +
           " now; paging by it could miss rows. REINDEX what sorts by this collation, then " + refresh;
  }
  return {};
}

std::variant<Key, Refusal> key_now(Key const& stored, LeafFacts const& leaf) {
  if (stored.is_by_block()) return stored;
  IndexFacts const* found = nullptr;
  for (auto const& index : leaf.indexes) {
    if (!is_usable(index, leaf) || !is_ordered_alike(index.columns, stored.columns)) continue;
    if (found == nullptr || index.name == stored.index) found = &index;
  }
  std::string const table = "table " + name_of(leaf);
  if (found == nullptr) {
    std::vector<std::string> names;
    for (auto const& column : stored.columns) names.push_back(quote_identifier(column.name));
    return Refusal{table + " has no unique index over (" + join(names, ", ") +
                   ") any more by which the job began to page it (" + stored.index +
                   "), with the same order and columns that are NOT NULL; make it again"};
  }
  for (std::size_t number = 0; number < stored.columns.size(); ++number) {
    auto const change = change_of_order(stored.columns[number], found->columns[number]);
    if (change.empty()) continue;
    return Refusal{"key column " + quote_identifier(stored.columns[number].name) + " of " + table + " is " + change +
                   " when the job began: rows may stand in another order now, and some would be missed" + kWayOut};
  }
  Key key{found->name, found->columns};
  if (auto doubt = order_doubt(key, leaf); !doubt.empty()) return Refusal{std::move(doubt)};
  return key;
}

std::vector<Problem> check_against_table(Backfill const& backfill, TableFacts const& table,
                                         std::vector<Key> const& leaf_keys) {
  std::vector<Problem> problems;
  if (backfill.kind != WorkKind::kUpdate) return problems;
  for (auto const& assignment : backfill.assignments) {
    auto const refuse = [&](std::string text) { problems.push_back({assignment.position, std::move(text)}); };
    auto const& columns = table.leaves.empty() ? std::vector<ColumnFacts>() : table.leaves.front().columns;
    if (table.leaves.empty()) continue;
    auto const* column = find_column(columns, assignment.column);
    if (column == nullptr) {
      refuse(missing_column(assignment.column, table.leaves.front()));
      continue;
    }
    if (column->generated) refuse("column '" + assignment.column + "' is generated; the server computes it itself");
    if (column->identity_always) {
      refuse("column '" + assignment.column + "' is GENERATED ALWAYS AS IDENTITY and cannot be assigned");
    }
    auto const why = why_fixed(assignment.column, table, leaf_keys);
    if (!why.empty()) refuse(why);
  }
  return problems;
}

std::vector<Problem> check_assigned(Backfill const& backfill, TableFacts const& table,
                                    std::vector<Key> const& leaf_keys, std::vector<std::string> const& columns) {
  std::vector<Problem> problems;
  if (table.leaves.empty()) return problems;
  for (auto const& column : columns) {
    auto const why = why_fixed(column, table, leaf_keys);
    if (!why.empty()) problems.push_back({backfill.sql_position, why});
  }
  return problems;
}

bool reads_what_it_assigns(Backfill const& backfill, LeafFacts const& leaf,
                           std::vector<std::string> const& columns_read) {
  return std::any_of(backfill.assignments.begin(), backfill.assignments.end(), [&](Assignment const& assignment) {
    auto const changed = changed_with(assignment.column, leaf);
    return std::any_of(changed.begin(), changed.end(), [&](std::string const& column) {
      return std::find(columns_read.begin(), columns_read.end(), column) != columns_read.end();
    });
  });
}

std::vector<Problem> check_copy_target(Backfill const& backfill, LeafFacts const& target) {
  std::vector<Problem> problems;
  for (auto const& assignment : backfill.assignments) {
    auto const* column = find_column(target.columns, assignment.column);
    if (column == nullptr) problems.push_back({assignment.position, missing_column(assignment.column, target)});
    if (column != nullptr && column->generated) {
      problems.push_back({assignment.position,
                          "column '" + assignment.column + "' of the target is generated; leave it out of `columns:`"});
    }
  }
  return problems;
}

}  // namespace pgbackfill::planner
