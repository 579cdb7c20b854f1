#include "planner/key_choice.h"

#include <algorithm>

#include "planner/sql_text.h"
#include "planner/suggestion.h"

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

std::string refusal_text(LeafFacts const& leaf, std::string const& why) {
  std::string const table = quote_qualified(leaf.schema, leaf.name);
  return "table " + table + " has no primary key and no unique index over NOT NULL columns to page by, and " + why +
         "; add one, for example: CREATE UNIQUE INDEX CONCURRENTLY ON " + table +
         " (...) over columns that are NOT NULL";
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
  for (auto const& index : leaf.indexes) {
    if (!is_usable(index, leaf)) continue;
    bool const better = best == nullptr || (index.primary && !best->primary) ||
                        (index.primary == best->primary && index.columns.size() < best->columns.size());
    if (better) best = &index;
  }
  if (best != nullptr) return Key{best->name, best->columns};
  if (leaf.kind != 'r') return Refusal{refusal_text(leaf, "it is not a plain table")};
  if (backfill.kind == WorkKind::kCopy) {
    return Refusal{refusal_text(leaf, "a copy paged by blocks could miss or repeat rows that move meanwhile")};
  }
  if (backfill.kind == WorkKind::kSql) {
    return Refusal{refusal_text(leaf, "with `sql:` pgbackfill cannot see whether a row that moved is done already")};
  }
  if (backfill.where.empty()) {
    return Refusal{
        refusal_text(leaf, "paging by blocks is safe only with a `where:` that a changed row no longer satisfies")};
  }
  return Key{};
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
    bool const in_key = std::any_of(leaf_keys.begin(), leaf_keys.end(), [&](Key const& key) {
      return std::any_of(key.columns.begin(), key.columns.end(),
                         [&](KeyColumn const& key_column) { return key_column.name == assignment.column; });
    });
    if (in_key) {
      refuse("column '" + assignment.column +
             "' is part of the key that the table is paged by; a changed key could be met again or missed. Page by "
             "another unique index, or fill a new column and swap");
    }
    if (std::find(table.partition_columns.begin(), table.partition_columns.end(), assignment.column) !=
        table.partition_columns.end()) {
      refuse("column '" + assignment.column + "' decides the partition of a row; changing it would move rows");
    }
  }
  return problems;
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
