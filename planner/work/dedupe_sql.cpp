#include "planner/work/dedupe_sql.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "planner/model/sql_text.h"
#include "planner/work/work_parts.h"

namespace pgbackfill::planner {

namespace {

// Names of what stands beside the table, which no column of the file's has.
constexpr char kRow[] = "pgbackfill_row";
constexpr char kFirst[] = "pgbackfill_first";
constexpr char kFirsts[] = "pgbackfill_firsts";
constexpr char kKept[] = "pgbackfill_kept";
// Columns with NULLs whose two cases are looked for apart, each by the index.
constexpr std::size_t kMostCasesApart = 3;

std::string group_name(std::size_t index) {
  return "pgbackfill_b" + std::to_string(index);
}

// "alias"."email" AS pgbackfill_b0
std::vector<std::string> group_columns(WorkTarget const& target) {
  std::vector<std::string> columns;
  for (std::size_t index = 0; index < target.traits.group.size(); ++index) {
    columns.push_back(target.alias + '.' + quote_identifier(target.traits.group[index].name) + " AS " +
                      group_name(index));
  }
  return columns;
}

std::vector<std::string> key_columns(WorkTarget const& target) {
  std::vector<std::string> columns;
  for (std::size_t index = 0; index < target.key.columns.size(); ++index) {
    columns.push_back(target.alias + '.' + quote_identifier(target.key.columns[index].name) + " AS " + key_name(index));
  }
  return columns;
}

std::string group_and_key(WorkTarget const& target) {
  auto columns = group_columns(target);
  for (auto& column : key_columns(target)) columns.push_back(std::move(column));
  return join(columns, ", ");
}

// The key of `relation`, under the names of the table, is that of `row`.
std::string has_key_of(WorkTarget const& target, std::string const& relation, std::string const& row) {
  return same_key_as(target.key, relation, keys_of(target, row));
}

std::string equal_values(WorkTarget const& target, std::size_t index, std::string const& row) {
  auto const& column = target.traits.group[index];
  return target.alias + '.' + quote_identifier(column.name) + ' ' + column.equals + ' ' + row + '.' + group_name(index);
}

std::string both_null(WorkTarget const& target, std::size_t index, std::string const& row) {
  return target.alias + '.' + quote_identifier(target.traits.group[index].name) + " IS NULL AND " + row + '.' +
         group_name(index) + " IS NULL";
}

// The row of the table is of the group of `row`.
std::string is_of_group(WorkTarget const& target, std::string const& row) {
  std::vector<std::string> terms;
  for (std::size_t index = 0; index < target.traits.group.size(); ++index) {
    std::string const equal = equal_values(target, index, row);
    bool const not_null = target.traits.group[index].not_null;
    terms.push_back(not_null ? equal : '(' + equal + " OR " + both_null(target, index, row) + ')');
  }
  return join(terms, " AND ");
}

// The same as conditions that exclude each other. In an OR the server would read all rows without a value for each
// group that has one.
std::vector<std::string> cases_of_group(WorkTarget const& target, std::string const& row) {
  std::vector<std::string> cases = {""};
  std::size_t apart = 0;
  for (std::size_t index = 0; index < target.traits.group.size(); ++index) {
    std::string const equal = equal_values(target, index, row);
    std::vector<std::string> terms = {equal};
    if (!target.traits.group[index].not_null) {
      std::string const null = both_null(target, index, row);
      terms = ++apart <= kMostCasesApart ? std::vector<std::string>{equal, null}
                                         : std::vector<std::string>{'(' + equal + " OR " + null + ')'};
    }
    std::vector<std::string> longer;
    for (auto const& begun : cases) {
      for (auto const& term : terms) longer.push_back(begun.empty() ? term : begun + " AND " + term);
    }
    cases = std::move(longer);
  }
  return cases;
}

std::string among_looked_at(WorkTarget const& target) {
  return " AND " + parenthesised(target.backfill.where);
}

// The key of the first row of the group of pgbackfill_row. The table has its own name there, for the file's SQL.
std::string first_of_group(WorkTarget const& target) {
  auto const cases = cases_of_group(target, kRow);
  std::string source = from_clause(target) + " WHERE " + cases.front();
  if (cases.size() > 1) {
    std::vector<std::string> parts;
    for (auto const& one : cases) {
      parts.push_back("SELECT " + target.alias + ".* FROM " + from_clause(target) + " WHERE " + one);
    }
    source = '(' + join(parts, " UNION ALL ") + ") AS " + target.alias + " WHERE true";
  }
  return "SELECT " + key_list(target.key, target.alias) + " FROM " + source + among_looked_at(target) +
         order_of_group(target) + " LIMIT 1";
}

// Locks the first row of each group of which rows of the condition are to go, and keeps their keys. `with`: queries
// that the condition reads.
std::string lock_firsts(WorkTarget const& target, std::string const& with, std::string const& condition,
                        bool skips_locked) {
  std::string const rows = "SELECT DISTINCT " + join(group_columns(target), ", ") + " FROM " + from_clause(target) +
                           " WHERE " + condition + and_where(target);
  std::string const firsts = std::string(kFirsts) + " AS MATERIALIZED (SELECT DISTINCT " +
                             key_list(target.key, kFirst) + " FROM (" + rows + ") AS " + kRow +
                             " CROSS JOIN LATERAL (" + first_of_group(target) + ") AS " + kFirst + ")";
  std::string const kept = std::string(kKept) + " AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) +
                           " FROM " + from_clause(target) + " WHERE " + in_keys(target, target.alias, kFirsts) +
                           " ORDER BY " + key_order(target.key, target.alias) + " FOR SHARE OF " + target.alias +
                           (skips_locked ? " SKIP LOCKED" : "") + ")";
  return "WITH " + with + firsts + ",\n" + kept + " SELECT " +
         set_config("kept", json_array_of("pg_catalog.jsonb_build_object('key', " + key_array(target, kKept) + ")")) +
         " FROM " + kKept;
}

// The rows that are locked to stay, as they are now.
std::string kept_cte(WorkTarget const& target) {
  return std::string(kKept) + " AS MATERIALIZED (SELECT " + group_and_key(target) + " FROM " + from_clause(target) +
         " WHERE EXISTS (SELECT FROM (" + keys_select(target, "kept", false) + ") AS pgbackfill_locked WHERE " +
         same_key(target.key, target.alias, "pgbackfill_locked") + ")" + among_looked_at(target) + ")";
}

// By a hash table, as key_is_among(), unless NULLs are a group or columns have operators of their own.
std::string is_of_kept_group(WorkTarget const& target) {
  auto const& group = target.traits.group;
  bool const is_hashed = std::all_of(group.begin(), group.end(), [&](GroupColumn const& column) {
    return column.not_null && column.equals == group.front().equals;
  });
  if (!is_hashed) return std::string("EXISTS (SELECT FROM ") + kKept + " WHERE " + is_of_group(target, kKept) + ")";
  std::vector<std::string> own;
  std::vector<std::string> kept;
  for (std::size_t index = 0; index < group.size(); ++index) {
    own.push_back(target.alias + '.' + quote_identifier(group[index].name));
    kept.push_back(std::string(kKept) + '.' + group_name(index));
  }
  return is_among(own, group.front().equals, kept, kKept);
}

// A row of its group is locked to stay, and it is none of those: what is locked for the sake of others never goes with
// them, even if a better row has come.
std::string has_kept(WorkTarget const& target) {
  return is_of_kept_group(target) + " AND NOT (" +
         key_is_among(target.key, target.alias, keys_of(target, kKept), kKept) + ")";
}

std::string work_text(WorkTarget const& target, std::string const& condition) {
  return "pgbackfill_work AS (DELETE FROM " + changed_table(target) + " WHERE " + condition + and_where(target) +
         " RETURNING false AS again)";
}

}  // namespace

std::string order_of_group(WorkTarget const& target) {
  // A LIMIT, or whatever else could stand behind the order of a query, is wrong before a comma. A comment ends.
  return " ORDER BY " + target.backfill.dedupe->keep + "\n, " + key_order(target.key, target.alias);
}

std::string is_duplicate(WorkTarget const& target) {
  return parenthesised(target.backfill.where) + " AND EXISTS (SELECT FROM (SELECT " + group_and_key(target) + ") AS " +
         kRow + " CROSS JOIN LATERAL (" + first_of_group(target) + ") AS " + kFirst + " WHERE NOT (" +
         has_key_of(target, kFirst, kRow) + "))";
}

BatchWork dedupe_batch(WorkTarget const& target, std::string const& condition, BatchMode mode) {
  BatchWork batch;
  batch.has_work = true;
  if (mode == BatchMode::kPlain) {
    batch.lock = lock_all(target, condition);
    batch.keep = lock_firsts(target, "", condition, false);
    batch.work = "WITH " + kept_cte(target) + ",\n" + work_text(target, condition + " AND " + has_kept(target)) +
                 "\nSELECT " + counted_work(target, false) + " FROM pgbackfill_work";
    return batch;
  }
  batch.has_left = true;
  std::string const free = keys_cte(target, "pgbackfill_free", "free", false);
  std::string const is_free = is_in_batch(target, "pgbackfill_free");
  batch.lock = lock_free(target, condition, "");
  batch.keep = lock_firsts(target, free + ",\n", condition + " AND " + is_free, true);
  std::string const may_go = is_free + " AND " + has_kept(target);
  batch.work = "WITH " + free + ",\n" + kept_cte(target) + ",\n" + work_text(target, condition + " AND " + may_go) +
               ",\n" + left_cte(target, condition + " AND NOT (" + may_go + ")" + and_where(target)) + "\nSELECT " +
               counted_work(target, false) + ", " + left_setting() + " FROM pgbackfill_work";
  return batch;
}

BatchWork dedupe_visit(WorkTarget const& target) {
  std::string const keys = keys_cte(target, "pgbackfill_keys", "due", true);
  std::string const free = keys_cte(target, "pgbackfill_free", "free", false);
  std::string const is_free = in_keys(target, target.alias, "pgbackfill_free");
  std::string const due = in_keys(target, target.alias, "pgbackfill_keys");
  std::string const may_go = is_free + " AND " + has_kept(target);
  BatchWork batch;
  batch.has_work = true;
  batch.lock = lock_free(target, due, keys + ",\n");
  batch.keep = lock_firsts(target, free + ",\n", is_free, true);
  // A row that stays a duplicate, since it or all others of its group are held, is visited again.
  std::string const held = "pgbackfill_held AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) + " FROM " +
                           from_clause(target) + " WHERE " + due + and_where(target) + " AND NOT (" + may_go + "))";
  std::string const settled = settled_cte("NOT " + in_keys(target, "pgbackfill_keys", "pgbackfill_held"));
  batch.work = "WITH " + keys + ",\n" + free + ",\n" + kept_cte(target) + ",\n" + held + ",\n" +
               work_text(target, may_go) + ",\n" + settled + "\nSELECT " + counted_work(target, false) + ", " +
               settled_setting() + " FROM pgbackfill_work";
  return batch;
}

}  // namespace pgbackfill::planner
