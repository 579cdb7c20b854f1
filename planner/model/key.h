// The key that a table is paged by, and positions in its order.
//
// Pure. "Key order" is the forward order of the chosen index, whatever mix of ASC, DESC and collations it has: a
// position is *after* another when the index lists it later. Nothing here compares values itself; the server does.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace pgbackfill::planner {

// How two values of a key column are compared: in the order in which an index counts its strategies.
enum class KeyComparison { kLess, kLessOrEqual, kEqual, kGreaterOrEqual, kGreater };
inline constexpr std::size_t kKeyComparisons = 5;

struct KeyColumn {
  std::string name;
  std::string type;             // SQL text of the type, or of a domain's base type, qualified, without modifier
  std::string collation;        // SQL text, only where the index's collation differs from the column's; else empty
  std::string order_collation;  // SQL text of the collation that the index sorts by; empty for types without one
  bool descending = false;
  bool nulls_first = false;
  // Of order_collation, where it has versions: the library's now, and the one that the index was built with.
  std::string collation_version{};
  std::string index_version{};
  // Those of the index, by KeyComparison, with their schema: extensions."<". A name alone would be looked up through
  // search_path, and may find another operator, or that of another type. Empty: those of pg_catalog.
  std::vector<std::string> operators{};

  // OPERATOR(pg_catalog.<)
  std::string comparison(KeyComparison comparison) const;

  bool operator==(KeyColumn const&) const = default;
};

// A key without columns stands for the physical order: the table is paged by blocks.
struct Key {
  std::string index;  // for people: which index gives the order
  std::vector<KeyColumn> columns;

  bool is_by_block() const { return columns.empty(); }
  // Some columns run up, some down.
  bool is_mixed() const;
  bool operator==(Key const&) const = default;
};

// Texts of the leading key columns, or of the block number when paging by block. Fewer texts than columns mean "the
// last position that starts with these": every key with that prefix is at or before it.
using KeyValue = std::vector<std::string>;

// Absent: no bound on that side.
using Bound = std::optional<KeyValue>;

// (lo, hi] in key order.
struct Interval {
  Bound lo;
  Bound hi;

  bool operator==(Interval const&) const = default;
};

// Condition that holds for exactly the rows of `interval`; "true" when it has no bounds. `alias` is the quoted name
// under which the table stands in the statement.
std::string interval_condition(Key const& key, Interval const& interval, std::string const& alias);

// The same rows as disjoint conditions, each of which is one index scan, in key order: one for most keys, several
// when the columns of the key run in different directions.
std::vector<std::string> interval_scans(Key const& key, Interval const& interval, std::string const& alias);

// The block form needs to know what the server can do: TID range scans exist from PostgreSQL 14 on.
std::string block_condition(Interval const& interval, std::string const& alias, int server_major);

// "alias"."a", "alias"."b" DESC NULLS LAST: exactly as the index has it, so that no sort is needed.
std::string key_order(Key const& key, std::string const& alias);
std::string reversed_key_order(Key const& key, std::string const& alias);

// Holds where the key of `alias` is that of `other`, a relation with columns of the same names and types.
std::string same_key(Key const& key, std::string const& alias, std::string const& other);

// The same with SQL of a value for each key column; not for paging by block.
std::string same_key_as(Key const& key, std::string const& alias, std::vector<std::string> const& values);

// Holds where `own`, SQL of values, is among the `values` of `rows`, a relation, by one operator: OPERATOR(schema.=).
// For a condition that finds its rows by other means: the server keeps the values in a hash table, where it can,
// whatever number of rows it expects. A join of its choice compares each row with each where statistics are wrong.
std::string is_among(std::vector<std::string> const& own, std::string const& equal,
                     std::vector<std::string> const& values, std::string const& rows);

// The same of the key of `alias`, with a value for each of its columns. By a join where columns have operators of their
// own. Not for paging by block.
std::string key_is_among(Key const& key, std::string const& alias, std::vector<std::string> const& values,
                         std::string const& rows);

// Holds for the rows whose leading key columns have these values.
std::string key_is(Key const& key, KeyValue const& value, std::string const& alias);

// Of one column: it, compared with itself in all ways that pages need. Shows whether the server knows which operators
// are meant, which casts of somebody's may leave open.
std::string column_comparisons(KeyColumn const& column, std::string const& alias);

// "alias"."a", "alias"."b"
std::string key_list(Key const& key, std::string const& alias);

// "alias"."a"::text, "alias"."b"::text
std::string key_texts(Key const& key, std::string const& alias);

// For people: (42, 'abc').
std::string to_string(KeyValue const& value);
std::string to_string(Bound const& bound, char const* unbounded);

}  // namespace pgbackfill::planner
