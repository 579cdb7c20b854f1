#include "planner/work/work_sql.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <vector>

#include "planner/model/shown_query.h"
#include "planner/model/sql_facts.h"
#include "planner/model/sql_text.h"
#include "planner/model/value_text.h"
#include "planner/sql/batch_placeholder.h"
#include "planner/work/compute_sql.h"
#include "planner/work/dedupe_sql.h"
#include "planner/work/lock_watch.h"
#include "planner/work/work_parts.h"

namespace pgbackfill::planner {

namespace {

// Of somebody else's session.
constexpr int kMostQueryShown = 80;
constexpr int kMostMissingShown = 5;

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char character) { return static_cast<char>(std::tolower(character)); });
  return result;
}

// A word or a quoted identifier at the head of a statement; enough to find whom UPDATE or DELETE works on.
struct Word {
  std::string text;  // folded, without quotes
  bool quoted = false;
};

// Past white space and comments. Comments in SQL nest.
void skip_blanks(std::string_view sql, std::size_t& at) {
  int depth = 0;
  while (at < sql.size()) {
    std::string_view const rest = sql.substr(at);
    if (rest.starts_with("/*")) {
      ++depth;
      at += 2;
    } else if (depth > 0 && rest.starts_with("*/")) {
      --depth;
      at += 2;
    } else if (depth == 0 && rest.starts_with("--")) {
      at = std::min(sql.find('\n', at), sql.size());
    } else if (depth > 0 || std::isspace(static_cast<unsigned char>(sql[at])) != 0) {
      ++at;
    } else {
      return;
    }
  }
}

std::optional<Word> next_word(std::string_view sql, std::size_t& at) {
  skip_blanks(sql, at);
  if (at >= sql.size()) return std::nullopt;
  if (sql[at] == '"') {
    Word word{{}, true};
    for (++at; at < sql.size(); ++at) {
      if (sql[at] != '"') {
        word.text += sql[at];
      } else if (at + 1 < sql.size() && sql[at + 1] == '"') {
        word.text += '"';
        ++at;
      } else {
        ++at;
        return word;
      }
    }
    return std::nullopt;
  }
  std::size_t const begin = at;
  auto const is_word = [](unsigned char character) {
    return std::isalnum(character) != 0 || character == '_' || character == '$' || character >= 0x80;
  };
  while (at < sql.size() && is_word(static_cast<unsigned char>(sql[at]))) ++at;
  if (at == begin) return Word{std::string(1, sql[at++]), false};
  return Word{lower_case(sql.substr(begin, at - begin)), false};
}

bool is_keyword(std::optional<Word> const& word, std::string_view keyword) {
  return word && !word->quoted && word->text == keyword;
}

// The alias of the table that UPDATE or DELETE names, or its name when it has no alias; nothing when the statement
// starts otherwise.
std::optional<std::string> alias_of_statement(std::string_view sql) {
  std::size_t at = 0;
  auto word = next_word(sql, at);
  bool const is_update = is_keyword(word, "update");
  if (!is_update && !is_keyword(word, "delete")) return std::nullopt;
  word = next_word(sql, at);
  if (!is_update && is_keyword(word, "from")) word = next_word(sql, at);
  if (is_keyword(word, "only")) word = next_word(sql, at);
  bool const in_parentheses = is_keyword(word, "(");
  if (in_parentheses) word = next_word(sql, at);
  if (!word) return std::nullopt;
  std::string name = word->text;
  word = next_word(sql, at);
  while (word && !word->quoted && word->text == ".") {
    word = next_word(sql, at);
    if (!word) return std::nullopt;
    name = word->text;
    word = next_word(sql, at);
  }
  if (in_parentheses || is_keyword(word, "*")) word = next_word(sql, at);
  if (is_keyword(word, "as")) return (word = next_word(sql, at)) ? std::optional(word->text) : std::nullopt;
  bool const ends = !word || (!word->quoted && (word->text == "set" || word->text == "where" || word->text == "using" ||
                                                word->text == "returning"));
  return ends ? name : word->text;
}

struct Placeholder {
  std::size_t begin = 0;
  std::size_t length = 0;
  std::string alias;  // empty: not named
};

std::optional<Placeholder> find_placeholder(std::string const& sql) {
  auto const found = batch_placeholders(sql);
  if (found.empty()) return std::nullopt;
  auto const [begin, length] = found.front();
  std::string const inner = sql.substr(begin + 6, length - 7);  // between "{batch" and "}"
  return Placeholder{begin, length, inner.empty() ? "" : lower_case(inner.substr(1))};
}

std::string with_batch(std::string const& sql, std::string const& condition) {
  auto const placeholder = find_placeholder(sql);
  if (!placeholder) return sql;
  return sql.substr(0, placeholder->begin) + '(' + condition + ')' +
         sql.substr(placeholder->begin + placeholder->length);
}

bool changes_elsewhere(WorkTarget const& target) {
  return target.backfill.kind == WorkKind::kCopy && !is_mirrored(target);
}

// Whether a changed row is still to be done. Of a row that satisfies `where` a repeat is asked, and of no other: there
// the expressions may fail.
std::string again_text(WorkTarget const& target) {
  if (target.backfill.where.empty()) return "false";
  std::string const where = parenthesised(where_of(target));
  if (!target.traits.is_repeatable || target.backfill.where_is_changed) return where;
  return "CASE WHEN " + where + " THEN " + would_change(target) + " ELSE false END";
}

std::string and_would_change(WorkTarget const& target) {
  bool const is_asked = target.traits.is_repeatable && !target.backfill.where.empty();
  return is_asked && !target.backfill.where_is_changed ? " AND " + would_change(target) : "";
}

std::string update_text(WorkTarget const& target, std::string const& condition) {
  std::vector<std::string> assignments;
  for (auto const& assignment : target.backfill.assignments) {
    assignments.push_back(quote_identifier(assignment.column) + " = " + parenthesised(assignment.expression));
  }
  return "UPDATE " + changed_table(target) + " SET " + join(assignments, ", ") + " WHERE " + condition +
         and_where(target) + " RETURNING " + again_text(target) + " AS again";
}

std::string delete_text(WorkTarget const& target, std::string const& condition) {
  return "DELETE FROM " + changed_table(target) + " WHERE " + condition + and_where(target) +
         " RETURNING false AS again";
}

// Deletes the rows and inserts them into another table, as two queries of one WITH.
std::string move_ctes(WorkTarget const& target, std::string const& condition) {
  auto const& to = *target.backfill.move_to;
  std::vector<std::string> columns;
  std::vector<std::string> returned;
  for (auto const& name : target.traits.moved_columns) {
    columns.push_back(quote_identifier(name));
    returned.push_back(target.alias + '.' + columns.back());
  }
  return "pgbackfill_gone AS (DELETE FROM " + changed_table(target) + " WHERE " + condition + and_where(target) +
         " RETURNING " + join(returned, ", ") + "),\npgbackfill_work AS (INSERT INTO " +
         quote_qualified(to.schema, to.name) + " (" + join(columns, ", ") + ')' +
         (target.traits.copy_overrides_identity ? " OVERRIDING SYSTEM VALUE" : "") + " SELECT " + join(columns, ", ") +
         " FROM pgbackfill_gone RETURNING false AS again)";
}

// Who writes a row that is being copied waits until the copy is there for his trigger to find; and what somebody writes
// while the batch waits for him is read anew. See docs/sync.md.
std::string locked_source(WorkTarget const& target) {
  if (!is_mirrored(target)) return "";
  return " ORDER BY " + key_order(target.key, target.alias) + " " + row_lock(target) + " OF " + target.alias;
}

std::string copy_text(WorkTarget const& target, std::string const& condition) {
  std::vector<std::string> expressions;
  for (auto const& assignment : target.backfill.assignments) {
    expressions.push_back(parenthesised(assignment.expression));
  }
  return insert_into(target) + " SELECT " + join(expressions, ", ") + " FROM " + from_clause(target) + " WHERE " +
         condition + and_where(target) + locked_source(target) + on_conflict(target) + " RETURNING false AS again";
}

// The rows that a program is told of.
std::string ask_text(WorkTarget const& target, std::string const& condition) {
  return "SELECT false AS again FROM " + from_clause(target) + " WHERE " + condition + and_where(target);
}

// The statement of the file, for the rows of `condition`.
std::string bare_sql_text(WorkTarget const& target, std::string const& condition) {
  std::string const only_leaf = target.is_partition ? and_in_leaf(target) : "";
  return with_batch(target.backfill.sql, condition + only_leaf);
}

std::string sql_text(WorkTarget const& target, std::string const& condition) {
  return bare_sql_text(target, condition) + "\nRETURNING false AS again";
}

std::string work_text(WorkTarget const& target, std::string const& condition) {
  switch (target.backfill.kind) {
    case WorkKind::kUpdate:
      return update_text(target, condition);
    case WorkKind::kDelete:
      return delete_text(target, condition);
    case WorkKind::kCopy:
      return copy_text(target, condition);
    case WorkKind::kSql:
      return sql_text(target, condition);
    case WorkKind::kAsk:
      return ask_text(target, condition);
  }
  return {};
}

// Whether nothing is asked of each changed row, so that the statement needs no RETURNING.
bool is_only_counted(WorkTarget const& target) {
  if (target.backfill.move_to || target.backfill.dedupe) return false;
  return !target.key.is_by_block() && target.backfill.kind != WorkKind::kSql && !asks_again(target);
}

std::string without_returning(WorkTarget const& target, std::string const& condition) {
  std::string const text = work_text(target, condition);
  return text.substr(0, text.rfind(" RETURNING "));
}

// `more`: further columns, of each changed row.
std::string work_cte(WorkTarget const& target, std::string const& condition, std::string const& more = "") {
  if (target.backfill.move_to) return move_ctes(target, condition);
  return "pgbackfill_work AS (" + work_text(target, condition) + more + ")";
}

// Runs the statement by itself, and counts what its last part returns or changes.
std::string counted_alone(std::string const& statement) {
  return set_config("changed", as_text("pgbackfill.work(" + quote_literal(statement) + ")")) + ", " +
         set_config("again", "'0'");
}

// Without anything to ask of each changed row the server counts them as it goes; a CTE has to keep what it returns to
// be counted. What the file says stays a literal, where it cannot be two statements.
std::string plain_counted(WorkTarget const& target, std::string const& condition, std::string const& moved) {
  if (!is_only_counted(target) || knows_moved(target)) {
    return "WITH " + work_cte(target, condition, moved) + " SELECT " + counted_work(target, knows_moved(target)) +
           " FROM pgbackfill_work";
  }
  return "SELECT " + counted_alone(without_returning(target, condition));
}

// The keys that lock_free() has locked, for the middle of a statement of the file's.
std::string is_free(WorkTarget const& target, std::string const& relation) {
  return "EXISTS (SELECT FROM (" + keys_select(target, "free", false) + ") AS pgbackfill_free WHERE " +
         same_key(target.key, relation, "pgbackfill_free") + ")";
}

BatchWork batch_alone(WorkTarget const& target, std::string const& condition, BatchMode mode) {
  BatchWork batch;
  batch.has_work = true;
  batch.may_fan_out = true;
  if (mode == BatchMode::kPlain) {
    if (target.traits.reads_elsewhere) batch.lock = lock_all(target, condition);
    batch.work = "SELECT " + counted_alone(bare_sql_text(target, condition));
    return batch;
  }
  batch.has_left = true;
  batch.lock = lock_free(target, condition, "");
  std::string const free = is_free(target, target.alias);
  batch.work = "WITH " + left_cte(target, condition + " AND NOT " + free) + "\nSELECT " +
               counted_alone(bare_sql_text(target, condition + " AND " + free)) + ", " + left_setting();
  return batch;
}

BatchWork visit_alone(WorkTarget const& target) {
  std::string const keys = keys_cte(target, "pgbackfill_keys", "due", true);
  std::string const due = in_keys(target, target.alias, "pgbackfill_keys") + leaf_condition(target);
  BatchWork batch;
  batch.has_work = true;
  batch.lock = lock_free(target, due, keys + ",\n");
  std::string const held = "pgbackfill_held AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) + " FROM " +
                           from_clause(target) + " WHERE " + due + " AND NOT " + is_free(target, target.alias) + ")";
  std::string const settled = settled_cte("NOT " + in_keys(target, "pgbackfill_keys", "pgbackfill_held"));
  batch.work = "WITH " + keys + ",\n" + held + ",\n" + settled + "\nSELECT " +
               counted_alone(bare_sql_text(target, is_free(target, target.alias) + leaf_condition(target))) + ", " +
               settled_setting();
  return batch;
}

}  // namespace

WorkTarget make_work_target(Backfill const& backfill, TableFacts const& table, LeafFacts const& leaf, Key const& key,
                            WorkTraits const& traits) {
  WorkTarget target;
  target.backfill = backfill;
  target.traits = traits;
  target.key = key;
  target.relation = quote_qualified(leaf.schema, leaf.name);
  target.relation_oid = leaf.oid;
  target.is_partition = table.kind == 'p';
  if (target.is_partition) target.parent = quote_qualified(table.schema, table.name);
  target.partition_condition = leaf.partition_condition;
  target.server_major = table.server_major();
  std::string alias = table.name;
  if (backfill.kind == WorkKind::kSql) {
    target.stands_alone = changes_in_with(with_batch(backfill.sql, "true"));
    auto const placeholder = find_placeholder(backfill.sql);
    auto const head = alias_of_statement(backfill.sql);
    if (placeholder && !placeholder->alias.empty()) {
      alias = placeholder->alias;
    } else if (head) {
      alias = *head;
    }
  }
  target.alias = quote_identifier(alias);
  return target;
}

BatchWork batch_work(WorkTarget const& target, Interval const& interval, BatchMode mode, bool is_repeat) {
  std::string const condition = condition_of(target, interval);
  BatchWork batch;
  if (mode == BatchMode::kSetAside) {
    // A row is set aside by its key alone: it may be `where` that fails on it.
    std::string const where = target.key.is_by_block() ? and_where(target) : "";
    batch.work = "WITH " + left_cte(target, condition + where) + " SELECT " + left_setting();
    batch.has_left = true;
    return batch;
  }
  if (target.stands_alone) return batch_alone(target, condition, mode);
  if (target.backfill.dedupe) return dedupe_batch(target, condition, mode);
  batch.has_work = true;
  batch.can_repeat = target.key.is_by_block() && target.backfill.kind == WorkKind::kUpdate;
  batch.knows_again = asks_again(target);
  batch.knows_moved = knows_moved(target);
  batch.may_fan_out = target.backfill.kind == WorkKind::kSql;
  std::string const moved = moved_text(target, interval);
  // By blocks, a row that was changed may be met again in the same pass.
  bool const may_meet_again = (is_repeat || target.key.is_by_block()) && asks_again(target);
  std::string const undone = may_meet_again ? and_would_change(target) : "";
  if (mode == BatchMode::kPlain || changes_elsewhere(target)) {
    bool const locks = target.traits.reads_elsewhere && !changes_elsewhere(target);
    if (locks) batch.lock = lock_all(target, condition);
    batch.work = plain_counted(target, condition + undone, moved);
    return batch;
  }
  batch.has_left = true;
  batch.lock = lock_free(target, condition, "");
  std::string const is_free = is_in_batch(target, "pgbackfill_free");
  batch.work = "WITH " + keys_cte(target, "pgbackfill_free", "free", false) + ",\n" +
               work_cte(target, condition + " AND " + is_free + undone, moved) + ",\n" +
               left_cte(target, condition + " AND NOT " + is_free + and_where(target)) + "\nSELECT " +
               counted_work(target, knows_moved(target)) + ", " + left_setting() + " FROM pgbackfill_work";
  return batch;
}

std::string plain_work(WorkTarget const& target, Interval const& interval) {
  std::string const condition = condition_of(target, interval);
  if (target.stands_alone) return bare_sql_text(target, condition);
  if (is_only_counted(target)) return without_returning(target, condition);
  return "WITH " + work_cte(target, condition) + "\nSELECT pg_catalog.count(*) FROM pgbackfill_work";
}

std::string copied_rows_sql(WorkTarget const& target, Interval const& interval, std::string const& into,
                            std::vector<std::string> const& columns) {
  std::vector<std::string> to;
  std::vector<std::string> from;
  for (auto const& column : columns) {
    to.push_back(quote_identifier(column));
    from.push_back(target.alias + "." + to.back());
  }
  return "INSERT INTO " + into + " (" + join(to, ", ") + ") SELECT " + join(from, ", ") + " FROM " +
         from_clause(target) + " WHERE " + condition_of(target, interval);
}

BatchWork visit_work(WorkTarget const& target) {
  if (target.stands_alone) return visit_alone(target);
  if (target.backfill.dedupe) return dedupe_visit(target);
  std::string const keys = keys_cte(target, "pgbackfill_keys", "due", true);
  std::string const due = in_keys(target, target.alias, "pgbackfill_keys") + leaf_condition(target);
  BatchWork batch;
  batch.has_work = true;
  batch.lock = lock_free(target, due, keys + ",\n");
  // Whoever is neither held nor there is settled: it was done by somebody else, or is gone.
  std::string const present = "pgbackfill_present AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) +
                              " FROM " + from_clause(target) + " WHERE " + due + and_where(target) + ")";
  std::string const settled = settled_cte(in_keys(target, "pgbackfill_keys", "pgbackfill_free") + " OR NOT " +
                                          in_keys(target, "pgbackfill_keys", "pgbackfill_present"));
  batch.work = "WITH " + keys + ",\n" + keys_cte(target, "pgbackfill_free", "free", false) + ",\n" + present + ",\n" +
               work_cte(target, in_keys(target, target.alias, "pgbackfill_free") + leaf_condition(target)) + ",\n" +
               settled + "\nSELECT " + counted_work(target, false) + ", " + settled_setting() + " FROM pgbackfill_work";
  return batch;
}

namespace {

// A join, where batches have EXISTS: each key is listed once, and the server can go through them in their order. Those
// that are done are left out here too, or each page would read them all again.
std::string joined_to_listed(WorkTarget const& target, Interval const& from_here) {
  auto const& listed = target.backfill.only_keys;
  if (listed.empty()) return "";
  return " JOIN " + listed + " AS " + kListed + " ON " + same_key(target.key, target.alias, kListed) + " AND " +
         interval_condition(target.key, from_here, kListed);
}

}  // namespace

std::string look_ahead_sql(WorkTarget const& target, Interval const& interval, std::int64_t rows) {
  std::string const order = " ORDER BY " + key_order(target.key, target.alias);
  std::string const count = std::to_string(rows);
  std::vector<std::string> pages;
  Interval const from_here{interval.lo, std::nullopt};
  std::string const listed = joined_to_listed(target, from_here);
  for (auto const& scan : interval_scans(target.key, from_here, target.alias)) {
    pages.push_back("SELECT " + key_list(target.key, target.alias) + " FROM " + from_clause(target) + listed +
                    " WHERE " + scan + read_condition(target) + order);
  }
  std::string source = pages.front();
  if (pages.size() > 1) {
    for (auto& page : pages) page = '(' + page + " LIMIT " + count + ")";
    source = "SELECT * FROM (" + join(pages, " UNION ALL ") + ") AS pages";
  }
  // The upper end is looked at after the rows are found. Were it a condition of the search, the server could take a
  // wrong guess at the rows between both ends for a reason to read and sort them all, and to do so for each batch.
  std::string const up_to_end =
      interval.hi ? " WHERE " + interval_condition(target.key, {std::nullopt, interval.hi}, target.alias) : "";
  std::string nulls;
  for (std::size_t index = 0; index < target.key.columns.size(); ++index) nulls += ", NULL";
  // The second half runs only when the first finds no row: fewer rows are left than were asked for.
  return "(SELECT " + count + "::bigint AS rows, " + key_texts(target.key, target.alias) + " FROM (" + source +
         " LIMIT 1 OFFSET " + std::to_string(rows - 1) + ") AS " + target.alias + up_to_end +
         ")\nUNION ALL\n(SELECT count(*)" + nulls + " FROM (" + source + " LIMIT " + count + ") AS " + target.alias +
         up_to_end + ")\nLIMIT 1";
}

std::string look_ahead_setting(WorkTarget const& target) {
  // Of `a = 1 AND b < 2`, which only columns of mixed directions need, the server believes without statistics that it
  // holds few rows: it would read all rows with that `a` and sort them, for each page.
  return target.key.is_mixed() ? "SELECT set_config('enable_sort', 'off', true)" : "";
}

std::string missing_keys_sql(WorkTarget const& target) {
  std::string const table = target.is_partition ? target.parent : "ONLY " + target.relation;
  return "SELECT pg_catalog.count(*) OVER (), " + key_texts(target.key, kListed) + " FROM " +
         target.backfill.only_keys + " AS " + kListed + " WHERE NOT EXISTS (SELECT FROM " + table + " AS " +
         target.alias + " WHERE " + same_key(target.key, target.alias, kListed) + ") ORDER BY " +
         key_order(target.key, kListed) + " LIMIT " + std::to_string(kMostMissingShown);
}

std::string last_key_sql(WorkTarget const& target) {
  auto const& listed = target.backfill.only_keys;
  if (!listed.empty()) {
    return "SELECT " + key_texts(target.key, kListed) + " FROM " + listed + " AS " + kListed + " ORDER BY " +
           reversed_key_order(target.key, kListed) + " LIMIT 1";
  }
  return "SELECT " + key_texts(target.key, target.alias) + " FROM " + from_clause(target) + " WHERE true" +
         read_condition(target) + " ORDER BY " + reversed_key_order(target.key, target.alias) + " LIMIT 1";
}

std::string remaining_sql(WorkTarget const& target, Interval const& interval) {
  return "SELECT pg_catalog.count(*) FROM " + from_clause(target) + " WHERE " + condition_of(target, interval) +
         and_where(target) + and_would_change(target);
}

std::string undone_keys_sql(WorkTarget const& target, Interval const& interval) {
  return "WITH " + left_cte(target, condition_of(target, interval) + and_where(target) + and_would_change(target)) +
         " SELECT " + left_setting();
}

std::string remaining_by_where_sql(WorkTarget const& target, Interval const& interval) {
  return "SELECT pg_catalog.count(*) FROM " + from_clause(target) + " WHERE " + condition_of(target, interval) +
         and_where(target);
}

std::string in_children_sql(WorkTarget const& target) {
  if (target.backfill.where.empty()) return "SELECT false";
  return "SELECT EXISTS (SELECT 1 FROM " + with_alias(target.relation, target) + " WHERE " + target.alias +
         ".tableoid OPERATOR(pg_catalog.<>) " + std::to_string(target.relation_oid) + "::pg_catalog.oid" +
         and_where(target) + ')';
}

namespace {

std::string has_key_of_copy(WorkTarget const& target) {
  auto const& traits = target.traits;
  std::vector<std::string> equal;
  for (std::size_t index = 0; index < traits.copy_key.size(); ++index) {
    equal.push_back("pgbackfill_copy." + quote_identifier(traits.copy_key[index]) + " OPERATOR(" +
                    traits.copy_key_operators[index] + ") CAST(" + target.alias + '.' +
                    quote_identifier(traits.copy_key_sources[index]) + " AS " +
                    qualified_type(traits.copy_key_types[index]) + ')');
  }
  return join(equal, " AND ");
}

std::string copy_of(WorkTarget const& target) {
  return quote_qualified(target.backfill.copy_to.schema, target.backfill.copy_to.name) + " AS pgbackfill_copy";
}

}  // namespace

std::string uncopied_sql(WorkTarget const& target, Interval const& interval) {
  return "SELECT pg_catalog.count(*) FROM " + from_clause(target) + " WHERE " + condition_of(target, interval) +
         and_where(target) + " AND NOT EXISTS (SELECT 1 FROM " + copy_of(target) + " WHERE " + has_key_of_copy(target) +
         ')';
}

std::string in_copy_alone_sql(WorkTarget const& target) {
  std::string const table = target.parent.empty() ? target.relation : target.parent;
  return "SELECT EXISTS (SELECT FROM " + copy_of(target) + " WHERE NOT EXISTS (SELECT FROM " + table + " AS " +
         target.alias + " WHERE " + has_key_of_copy(target) + and_where(target) + "))";
}

std::string sample_bounds_sql(WorkTarget const& target, double percent, std::int64_t wanted, KeyValue const& upper) {
  std::vector<std::string> texts;
  for (auto const& column : target.key.columns) {
    auto const name = quote_identifier(column.name);
    texts.push_back(text_of_value(target.alias + '.' + name, column.type) + " AS " + name);
  }
  // The row at `upper` may be in the sample; as a bound it would end a range with nothing after it.
  std::string const before = interval_condition(target.key, {std::nullopt, upper}, target.alias) + " AND NOT " +
                             parenthesised(key_is(target.key, upper, target.alias));
  return "SELECT " + key_list(target.key, target.alias) +
         " FROM (SELECT *, row_number() OVER () AS pgbackfill_place, "
         "count(*) OVER () AS pgbackfill_all FROM (SELECT " +
         join(texts, ", ") + " FROM " + from_clause(target) + " TABLESAMPLE SYSTEM (" + std::to_string(percent) +
         ") WHERE " + before + read_condition(target) + " ORDER BY " + key_order(target.key, target.alias) + ") AS " +
         target.alias + ") AS " + target.alias + " WHERE pgbackfill_place % greatest(pgbackfill_all / " +
         std::to_string(wanted) + ", 1) = 0";
}

std::string statistics_bounds_sql(WorkTarget const& target, LeafFacts const& leaf, KeyValue const& upper) {
  auto const& column = target.key.columns.front();
  std::string const collate = column.order_collation.empty() ? "" : " COLLATE " + column.order_collation;
  std::string const array = qualified_type(column.type) + "[]";
  std::string const values = "SELECT unnest(" + value_of_text("histogram_bounds::text", array) +
                             ") AS bound FROM facts UNION SELECT unnest(" +
                             value_of_text("most_common_vals::text", array) + ") FROM facts";
  return "WITH facts AS (SELECT histogram_bounds, most_common_vals FROM pg_catalog.pg_stats WHERE schemaname = " +
         quote_literal(leaf.schema) + " AND tablename = " + quote_literal(leaf.name) +
         " AND attname = " + quote_literal(column.name) + " AND NOT inherited) SELECT " +
         text_of_value("bound", column.type) + " FROM (" + values + ") bounds WHERE bound" + collate + " " +
         column.comparison(column.descending ? KeyComparison::kGreater : KeyComparison::kLess) + " " +
         quote_literal(upper.front()) + "::" + qualified_type(column.type) + " ORDER BY bounds.bound" + collate +
         (column.descending ? " DESC" : "");
}

std::string holders_sql(WorkTarget const& target, std::vector<KeyValue> const& keys) {
  std::vector<std::string> rows;
  for (auto const& key : keys) rows.push_back(key_is(target.key, key, target.alias));
  // xmax is a transaction, or a multixact when several hold the row; nothing in SQL says which. It is taken for the
  // first when such a transaction runs, else for the second when it is the number of one that the table may still have:
  // the server refuses to look into others. A KEY SHARE is in the way of a stronger lock than an update's only.
  char const* const harmless = is_mirrored(target)                         ? " WHERE m.mode NOT IN ('keysh', 'sh')"
                               : target.backfill.kind == WorkKind::kUpdate ? " WHERE m.mode <> 'keysh'"
                                                                           : "";
  return "WITH running AS MATERIALIZED (SELECT l.transactionid, l.pid FROM pg_catalog.pg_locks l WHERE l.locktype = "
         "'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'), held AS MATERIALIZED (SELECT " +
         target.alias + ".xmax AS holder FROM " + from_clause(target) + " WHERE ((" + join(rows, ") OR (") + "))" +
         read_condition(target) + " AND " + target.alias +
         ".xmax <> '0'::xid), several AS (SELECT CASE WHEN mxid_age(holder) BETWEEN 1 AND (SELECT "
         "mxid_age(c.relminmxid) FROM pg_catalog.pg_class c WHERE c.oid = " +
         std::to_string(target.relation_oid) +
         ") THEN holder END AS holder FROM held WHERE holder NOT IN (SELECT transactionid FROM running)), holders AS "
         "(SELECT holder FROM held UNION ALL SELECT m.xid FROM several, LATERAL "
         "pg_catalog.pg_get_multixact_members(several.holder) AS m" +
         harmless +
         // A prepared transaction has no session.
         ") SELECT count(*), a.pid, coalesce(a.application_name, p.gid), coalesce(a.usename, p.owner), extract(epoch "
         "FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::bigint, a.state || ': ' || " +
         shown_query("a.query", kMostQueryShown) +
         " FROM holders JOIN running ON running.transactionid = holders.holder LEFT JOIN pg_catalog.pg_stat_activity a "
         "ON a.pid = running.pid LEFT JOIN pg_catalog.pg_prepared_xacts p ON running.pid IS NULL AND p.transaction = "
         "running.transactionid GROUP BY 2, 3, 4, 5, 6 ORDER BY 1 DESC LIMIT 5";
}

std::string table_holders_sql(std::vector<std::uint32_t> const& relation_oids) {
  std::vector<std::string> oids;
  for (auto const oid : relation_oids) oids.push_back(std::to_string(oid));
  return "SELECT DISTINCT a.pid, coalesce(a.application_name, p.gid), coalesce(a.usename, p.owner), extract(epoch "
         "FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::bigint, a.state || ': ' || " +
         shown_query("a.query", kMostQueryShown) +
         ", l.relation::regclass::text || ' ' || l.mode FROM pg_catalog.pg_locks l LEFT JOIN "
         "pg_catalog.pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_catalog.pg_prepared_xacts p ON l.pid IS NULL AND "
         "p.transaction = " +
         prepared_transaction_of("l") +
         " WHERE l.locktype = 'relation' "
         "AND "
         "l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.database = (SELECT oid FROM "
         "pg_catalog.pg_database WHERE "
         "datname "
         "= current_database()) AND l.relation IN (" +
         join(oids, ", ") +
         ") AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') LIMIT 5";
}

namespace {

// Text that closes the parenthesis around it and opens another fits between parentheses, and would take the condition
// of the batch away. It does not fit between other words as well.
Probe one_expression(SourcePosition const& position, std::string const& text, std::string const& from) {
  return {position, "SELECT CASE WHEN true THEN " + text + "\nEND" + from};
}

// Names the alias that the statement has to have, and is otherwise true.
std::string any_row(WorkTarget const& target) {
  if (target.key.is_by_block()) return "true";
  return target.alias + '.' + quote_identifier(target.key.columns.front().name) + " IS NOT NULL";
}

}  // namespace

std::optional<Probe> empty_batch_probe(WorkTarget const& target) {
  // Of a statement with a WITH of its own the plan does not tell.
  if (target.backfill.kind != WorkKind::kSql || target.stands_alone) return std::nullopt;
  return Probe{target.backfill.sql_position,
               "WITH " + work_cte(target, "false") + " SELECT pg_catalog.count(*) FROM pgbackfill_work WHERE again"};
}

std::string statement_with(WorkTarget const& target, std::string const& condition) {
  return with_batch(target.backfill.sql, condition);
}

std::vector<Probe> probes(WorkTarget const& target) {
  auto const& backfill = target.backfill;
  std::vector<Probe> result;
  std::string const from = " FROM " + from_clause(target);
  if (backfill.dedupe) {
    result.push_back({backfill.dedupe->keep_position, "SELECT" + from + order_of_group(target)});
  }
  if (!backfill.where.empty()) {
    auto const where = where_of(target);
    result.push_back({backfill.where_position, "SELECT 1" + from + " WHERE " + parenthesised(where)});
    result.push_back(one_expression(backfill.where_position, where, from));
  }
  for (auto& probe : compute_probes(target)) result.push_back(std::move(probe));
  for (auto const& assignment : backfill.assignments) {
    bool const is_update = backfill.kind == WorkKind::kUpdate;
    std::string const expression = parenthesised(assignment.expression);
    result.push_back({assignment.position, is_update ? "UPDATE " + from_clause(target) + " SET " +
                                                           quote_identifier(assignment.column) + " = " + expression
                                                     : "SELECT " + expression + from});
    result.push_back(one_expression(assignment.position, assignment.expression, from));
    // A condition takes no aggregates and no window functions, which a SELECT does, and an UPDATE does not.
    if (!is_update) {
      result.push_back({assignment.position, "SELECT 1" + from + " WHERE " + expression + " IS NOT NULL"});
    }
  }
  // Rights on the columns of a parent are none on the system column that says where a row is.
  bool const names_leaf = target.traits.works_through_parent || target.traits.reads_through_parent;
  if (names_leaf) {
    result.push_back({backfill.position,
                      "SELECT 1 FROM " + with_alias(target.parent, target) + " WHERE true" + leaf_condition(target)});
  }
  if (target.stands_alone) {
    result.push_back({backfill.sql_position, bare_sql_text(target, any_row(target))});
    return result;
  }
  result.push_back(
      {backfill.kind == WorkKind::kSql ? backfill.sql_position : backfill.position,
       "WITH " + work_cte(target, any_row(target)) + " SELECT pg_catalog.count(*) FROM pgbackfill_work WHERE again"});
  return result;
}

}  // namespace pgbackfill::planner
