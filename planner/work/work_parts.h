// The pieces that statements on one leaf are made of, shared by work_sql.cpp and compute_sql.cpp.
//
// Pure text. Settings of the transaction carry what one statement has to know of another, see planner/work/work_sql.h.
#pragma once

#include <string>
#include <vector>

#include "planner/model/key.h"
#include "planner/work/work_sql.h"

namespace pgbackfill::planner {

// The name of the listed keys in statements.
inline constexpr char kListed[] = "pgbackfill_listed";

// The leaf, or its parent where the work goes through it, with the alias of the file's SQL.
std::string with_alias(std::string const& relation, WorkTarget const& target);
std::string from_clause(WorkTarget const& target);
std::string changed_table(WorkTarget const& target);

// Conditions; those that begin with " AND " may be empty.
std::string and_in_leaf(WorkTarget const& target);
std::string leaf_condition(WorkTarget const& target);
std::string key_condition(WorkTarget const& target, Interval const& interval);
std::string condition_of(WorkTarget const& target, Interval const& interval);
// What stands for the file's `where` here; it may be empty.
std::string where_of(WorkTarget const& target);
std::string and_where(WorkTarget const& target);
// Of an update whose types are known: whether the row, as it is now, would get another value.
std::string would_change(WorkTarget const& target);
// Of a job of some keys: that the row is one of them; of another " AND ..." nothing.
std::string and_listed(WorkTarget const& target, Interval const& interval);
std::string read_condition(WorkTarget const& target);
// By a join: the keys may lead to the rows.
std::string in_keys(WorkTarget const& target, std::string const& relation, char const* keys);
// Of rows of the table that an interval leads to: see key_is_among().
std::string is_in_batch(WorkTarget const& target, std::string const& keys);

// What key columns are called in the relations of ours that stand beside the table: no column of the file's has such a
// name.
std::string key_name(std::size_t index);
// "rows"."pgbackfill_k0" and so on.
std::vector<std::string> keys_of(WorkTarget const& target, std::string const& rows);

bool is_mirrored(WorkTarget const& target);
std::string row_lock(WorkTarget const& target);
// Whether a changed row is asked if it still satisfies `where`.
bool asks_again(WorkTarget const& target);

std::string set_config(std::string const& name, std::string const& value);
std::string as_text(std::string const& value);
std::string json_array_of(std::string const& value);

// Texts of the key of a row, as SQL of each, as text[], and back: the columns of `key` text[].
std::vector<std::string> key_value_texts(WorkTarget const& target, std::string const& relation);
std::string key_array(WorkTarget const& target, std::string const& relation);
std::string key_columns_from_array(WorkTarget const& target);
// The rows of keys that a setting holds as JSON: as a query, and as a query of WITH.
std::string setting_as_json(std::string const& name);
std::string keys_select(WorkTarget const& target, std::string const& setting, bool with_id);
std::string keys_cte(WorkTarget const& target, std::string const& name, std::string const& setting, bool with_id);

// Statements that lock rows before the work. The first keeps their keys in pgbackfill.free.
std::string lock_free(WorkTarget const& target, std::string const& condition, std::string const& with);
std::string lock_all(WorkTarget const& target, std::string const& condition);

// Of a copy: INSERT with its columns, and what becomes of a row that is there.
std::string insert_into(WorkTarget const& target);
std::string on_conflict(WorkTarget const& target);

std::string left_cte(WorkTarget const& target, std::string const& condition);
std::string left_setting();
// Of a visit: which of pgbackfill_keys need no further one.
std::string settled_cte(std::string const& condition);
std::string settled_setting();
bool knows_moved(WorkTarget const& target);
std::string moved_text(WorkTarget const& target, Interval const& interval);
// Counts the rows of pgbackfill_work.
std::string counted_work(WorkTarget const& target, bool with_moved);

}  // namespace pgbackfill::planner
