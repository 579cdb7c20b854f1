#include "planner/work_sql.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <vector>

#include "planner/sql_text.h"

namespace pgbackfill::planner {

namespace {

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
  std::size_t const begin = sql.find("{batch");
  if (begin == std::string::npos) return std::nullopt;
  std::size_t const end = sql.find('}', begin);
  if (end == std::string::npos) return std::nullopt;
  std::string const inner = sql.substr(begin + 6, end - begin - 6);
  return Placeholder{begin, end - begin + 1, inner.empty() ? "" : lower_case(inner.substr(1))};
}

std::string with_batch(std::string const& sql, std::string const& condition) {
  auto const placeholder = find_placeholder(sql);
  if (!placeholder) return sql;
  return sql.substr(0, placeholder->begin) + '(' + condition + ')' +
         sql.substr(placeholder->begin + placeholder->length);
}

std::string from_clause(WorkTarget const& target) {
  return "ONLY " + target.relation + " AS " + target.alias;
}

std::string condition_of(WorkTarget const& target, Interval const& interval) {
  if (target.key.is_by_block()) return block_condition(interval, target.alias, target.server_major);
  return interval_condition(target.key, interval, target.alias);
}

std::string and_where(WorkTarget const& target) {
  return target.backfill.where.empty() ? "" : " AND " + parenthesised(target.backfill.where);
}

bool is_mirrored(WorkTarget const& target) {
  return !target.backfill.mirror_key.empty();
}

bool changes_elsewhere(WorkTarget const& target) {
  return target.backfill.kind == WorkKind::kCopy && !is_mirrored(target);
}

// The lock that the work itself would take; `sql:` may delete, so it asks for the stronger one.
char const* row_lock(WorkTarget const& target) {
  if (is_mirrored(target)) return "FOR SHARE";
  return target.backfill.kind == WorkKind::kUpdate ? "FOR NO KEY UPDATE" : "FOR UPDATE";
}

std::string update_text(WorkTarget const& target, std::string const& condition) {
  std::vector<std::string> assignments;
  for (auto const& assignment : target.backfill.assignments) {
    assignments.push_back(quote_identifier(assignment.column) + " = " + parenthesised(assignment.expression));
  }
  std::string const returning =
      target.backfill.where.empty() ? "false AS again" : parenthesised(target.backfill.where) + " AS again";
  return "UPDATE " + from_clause(target) + " SET " + join(assignments, ", ") + " WHERE " + condition +
         and_where(target) + " RETURNING " + returning;
}

std::string delete_text(WorkTarget const& target, std::string const& condition) {
  return "DELETE FROM " + from_clause(target) + " WHERE " + condition + and_where(target) + " RETURNING false AS again";
}

// Who writes a row that is being copied waits until the copy is there for his trigger to find; and what somebody writes
// while the batch waits for him is read anew. See docs/sync.md.
std::string locked_source(WorkTarget const& target) {
  if (!is_mirrored(target)) return "";
  return " ORDER BY " + key_order(target.key, target.alias) + " " + row_lock(target) + " OF " + target.alias;
}

// Beside a mirror, another unique index of the target must not swallow a row.
std::string conflict_target(WorkTarget const& target) {
  if (!is_mirrored(target)) return "";
  std::vector<std::string> columns;
  for (auto const& column : target.backfill.mirror_key) columns.push_back(quote_identifier(column));
  return " (" + join(columns, ", ") + ")";
}

std::string copy_text(WorkTarget const& target, std::string const& condition) {
  std::vector<std::string> columns;
  std::vector<std::string> expressions;
  for (auto const& assignment : target.backfill.assignments) {
    columns.push_back(quote_identifier(assignment.column));
    expressions.push_back(parenthesised(assignment.expression));
  }
  return "INSERT INTO " + quote_qualified(target.backfill.copy_to.schema, target.backfill.copy_to.name) + " (" +
         join(columns, ", ") + ")" + (target.copy_overrides_identity ? " OVERRIDING SYSTEM VALUE" : "") + " SELECT " +
         join(expressions, ", ") + " FROM " + from_clause(target) + " WHERE " + condition + and_where(target) +
         locked_source(target) + " ON CONFLICT" + conflict_target(target) + " DO NOTHING RETURNING false AS again";
}

std::string sql_text(WorkTarget const& target, std::string const& condition) {
  std::string const only_leaf =
      target.is_partition ? " AND " + target.alias + ".tableoid = " + std::to_string(target.relation_oid) : "";
  return with_batch(target.backfill.sql, condition + only_leaf) + "\nRETURNING false AS again";
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
  }
  return {};
}

bool asks_again(WorkTarget const& target) {
  return target.backfill.kind == WorkKind::kUpdate && !target.backfill.where.empty();
}

// Only the number of changed rows is asked of it. What the file says stays a part of our own statement, where it cannot
// be two.
std::string plain_statement(WorkTarget const& target, std::string const& condition) {
  if (target.key.is_by_block() || target.backfill.kind == WorkKind::kSql || asks_again(target)) return {};
  std::string const text = work_text(target, condition);
  return text.substr(0, text.rfind(" RETURNING "));
}

std::string key_array(WorkTarget const& target) {
  if (target.key.is_by_block()) return "ARRAY[" + target.alias + ".ctid::text]";
  return "ARRAY[" + key_texts(target.key, target.alias) + "]";
}

std::string keys_in(WorkTarget const& target, char const* cte, bool negated = false) {
  std::vector<std::string> columns;
  for (auto const& column : target.key.columns) columns.push_back(quote_identifier(column.name));
  if (columns.empty()) columns.emplace_back("ctid");
  return key_row(target.key, target.alias) + (negated ? " NOT IN" : " IN") + " (SELECT " + join(columns, ", ") +
         " FROM " + cte + ")";
}

// Holds for the row with this key.
std::string row_at(WorkTarget const& target, KeyValue const& value) {
  Key prefix = target.key;
  prefix.columns.resize(value.size());
  std::vector<std::string> values;
  for (std::size_t index = 0; index < value.size(); ++index) {
    values.push_back(quote_literal(value[index]) + "::" + prefix.columns[index].type);
  }
  return key_row(prefix, target.alias) + " = (" + join(values, ", ") + ")";
}

std::string left_cte(WorkTarget const& target, std::string const& condition) {
  return "pgbackfill_left AS (SELECT " + key_array(target) + " AS key FROM " + from_clause(target) + " WHERE " +
         condition + and_where(target) + ")";
}

std::string free_cte(WorkTarget const& target, std::string const& condition) {
  std::string const order = target.key.is_by_block() ? "" : " ORDER BY " + key_order(target.key, target.alias);
  return "pgbackfill_free AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) + " FROM " +
         from_clause(target) + " WHERE " + condition + and_where(target) + order + " " + row_lock(target) + " OF " +
         target.alias + " SKIP LOCKED)";
}

std::string work_cte(WorkTarget const& target, std::string const& condition) {
  return "pgbackfill_work AS (" + work_text(target, condition) + ")";
}

}  // namespace

WorkTarget make_work_target(Backfill const& backfill, TableFacts const& table, LeafFacts const& leaf, Key const& key) {
  WorkTarget target;
  target.backfill = backfill;
  target.key = key;
  target.relation = quote_qualified(leaf.schema, leaf.name);
  target.relation_oid = leaf.oid;
  target.is_partition = table.kind == 'p';
  target.server_major = table.server_major();
  std::string alias = table.name;
  if (backfill.kind == WorkKind::kSql) {
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

WorkCtes work_ctes(WorkTarget const& target, Interval const& interval, BatchMode mode) {
  std::string const condition = condition_of(target, interval);
  bool const can_repeat = target.key.is_by_block() && target.backfill.kind == WorkKind::kUpdate;
  if (mode == BatchMode::kSetAside) return {"", left_cte(target, condition), false, true, false};
  if (mode == BatchMode::kPlain || changes_elsewhere(target)) {
    std::string statement = plain_statement(target, condition);
    std::string text = statement.empty() ? work_cte(target, condition) : "";
    return {std::move(statement), std::move(text), true, false, can_repeat, asks_again(target)};
  }
  std::string const free_only = condition + " AND " + keys_in(target, "pgbackfill_free");
  std::string const left_only = condition + " AND " + keys_in(target, "pgbackfill_free", true);
  std::string const text =
      free_cte(target, condition) + ",\n" + work_cte(target, free_only) + ",\n" + left_cte(target, left_only);
  return {"", text, true, true, can_repeat, asks_again(target)};
}

std::string work_alone(WorkCtes const& ctes) {
  if (!ctes.statement.empty()) return ctes.statement;
  return "WITH " + ctes.text + "\nSELECT count(*) FROM pgbackfill_work";
}

WorkCtes visit_ctes(WorkTarget const& target) {
  std::vector<std::string> columns;
  std::vector<std::string> names;
  for (std::size_t index = 0; index < target.key.columns.size(); ++index) {
    auto const& column = target.key.columns[index];
    names.push_back(quote_identifier(column.name));
    columns.push_back("(key[" + std::to_string(index + 1) + "])::" + column.type + " AS " + names.back());
  }
  std::string const row = key_row(target.key, "pgbackfill_keys");
  std::string const list = join(names, ", ");
  std::string const due = keys_in(target, "pgbackfill_keys");
  std::string const present = "pgbackfill_present AS (SELECT " + key_list(target.key, target.alias) + " FROM " +
                              from_clause(target) + " WHERE " + due + and_where(target) + ")";
  std::string const settled = "pgbackfill_settled AS (SELECT pgbackfill_id AS id FROM pgbackfill_keys WHERE " + row +
                              " IN (SELECT " + list + " FROM pgbackfill_free) OR " + row + " NOT IN (SELECT " + list +
                              " FROM pgbackfill_present))";
  std::string const text = "pgbackfill_keys AS (SELECT id AS pgbackfill_id, " + join(columns, ", ") +
                           " FROM pgbackfill_due),\n" + free_cte(target, due) + ",\n" + present + ",\n" +
                           work_cte(target, keys_in(target, "pgbackfill_free")) + ",\n" + settled;
  return {"", text, true, false, false};
}

std::string look_ahead_sql(WorkTarget const& target, Interval const& interval, std::int64_t rows) {
  std::string const order = " ORDER BY " + key_order(target.key, target.alias);
  std::string const count = std::to_string(rows);
  std::vector<std::string> pages;
  for (auto const& scan : interval_scans(target.key, {interval.lo, std::nullopt}, target.alias)) {
    pages.push_back("SELECT " + key_list(target.key, target.alias) + " FROM " + from_clause(target) + " WHERE " + scan +
                    order);
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

std::string last_key_sql(WorkTarget const& target) {
  return "SELECT " + key_texts(target.key, target.alias) + " FROM " + from_clause(target) + " ORDER BY " +
         reversed_key_order(target.key, target.alias) + " LIMIT 1";
}

std::string remaining_sql(WorkTarget const& target, Interval const& interval) {
  return "SELECT count(*) FROM " + from_clause(target) + " WHERE " + condition_of(target, interval) + and_where(target);
}

std::string sample_bounds_sql(WorkTarget const& target, double percent, std::int64_t wanted, KeyValue const& upper) {
  std::string const texts = key_texts(target.key, target.alias);
  // The row at `upper` may be in the sample; as a bound it would end a range with nothing after it.
  std::string const before = interval_condition(target.key, {std::nullopt, upper}, target.alias) + " AND NOT " +
                             parenthesised(row_at(target, upper));
  return "SELECT " + key_list(target.key, target.alias) +
         " FROM (SELECT *, row_number() OVER () AS pgbackfill_place, "
         "count(*) OVER () AS pgbackfill_all FROM (SELECT " +
         texts + " FROM " + from_clause(target) + " TABLESAMPLE SYSTEM (" + std::to_string(percent) + ") WHERE " +
         before + " ORDER BY " + key_order(target.key, target.alias) + ") AS " + target.alias + ") AS " + target.alias +
         " WHERE pgbackfill_place % greatest(pgbackfill_all / " + std::to_string(wanted) + ", 1) = 0";
}

std::string statistics_bounds_sql(WorkTarget const& target, LeafFacts const& leaf, KeyValue const& upper) {
  auto const& column = target.key.columns.front();
  std::string const collate = column.order_collation.empty() ? "" : " COLLATE " + column.order_collation;
  std::string const values = "SELECT unnest(histogram_bounds::text::" + column.type +
                             "[]) AS bound FROM facts UNION SELECT unnest(most_common_vals::text::" + column.type +
                             "[]) FROM facts";
  return "WITH facts AS (SELECT histogram_bounds, most_common_vals FROM pg_catalog.pg_stats WHERE schemaname = " +
         quote_literal(leaf.schema) + " AND tablename = " + quote_literal(leaf.name) +
         " AND attname = " + quote_literal(column.name) + " AND NOT inherited) SELECT bound::text FROM (" + values +
         ") bounds WHERE bound" + collate + (column.descending ? " > " : " < ") + quote_literal(upper.front()) +
         "::" + column.type + " ORDER BY bounds.bound" + collate + (column.descending ? " DESC" : "");
}

std::string holders_sql(WorkTarget const& target, std::vector<KeyValue> const& keys) {
  std::vector<std::string> rows;
  for (auto const& key : keys) {
    std::vector<std::string> values;
    for (std::size_t index = 0; index < key.size(); ++index) {
      values.push_back(quote_literal(key[index]) + "::" + target.key.columns[index].type);
    }
    rows.push_back('(' + join(values, ", ") + ')');
  }
  // xmax is a transaction, or a multixact when several hold the row; nothing in SQL says which. It is taken for the
  // first when such a transaction runs, else for the second when it is the number of one that the table may still have:
  // the server refuses to look into others. A KEY SHARE is in the way of a stronger lock than an update's only.
  char const* const harmless = is_mirrored(target)                         ? " WHERE m.mode NOT IN ('keysh', 'sh')"
                               : target.backfill.kind == WorkKind::kUpdate ? " WHERE m.mode <> 'keysh'"
                                                                           : "";
  return "WITH running AS MATERIALIZED (SELECT l.transactionid, l.pid FROM pg_catalog.pg_locks l WHERE l.locktype = "
         "'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'), held AS MATERIALIZED (SELECT " +
         target.alias + ".xmax AS holder FROM " + from_clause(target) + " WHERE " + key_row(target.key, target.alias) +
         " IN (" + join(rows, ", ") + ") AND " + target.alias +
         ".xmax <> '0'::xid), several AS (SELECT CASE WHEN mxid_age(holder) BETWEEN 1 AND (SELECT "
         "mxid_age(c.relminmxid) FROM pg_catalog.pg_class c WHERE c.oid = " +
         std::to_string(target.relation_oid) +
         ") THEN holder END AS holder FROM held WHERE holder NOT IN (SELECT transactionid FROM running)), holders AS "
         "(SELECT holder FROM held UNION ALL SELECT m.xid FROM several, LATERAL "
         "pg_catalog.pg_get_multixact_members(several.holder) AS m" +
         harmless +
         ") SELECT count(*), a.pid, a.application_name, a.usename, extract(epoch FROM clock_timestamp() - "
         "a.xact_start)::bigint, a.state || ': ' || left(a.query, 80) FROM holders JOIN running ON "
         "running.transactionid = holders.holder JOIN pg_catalog.pg_stat_activity a ON a.pid = running.pid GROUP BY 2, "
         "3, 4, 5, 6 ORDER BY 1 DESC LIMIT 5";
}

std::string table_holders_sql(std::vector<std::uint32_t> const& relation_oids) {
  std::vector<std::string> oids;
  for (auto const oid : relation_oids) oids.push_back(std::to_string(oid));
  return "SELECT DISTINCT a.pid, a.application_name, a.usename, extract(epoch FROM clock_timestamp() - "
         "a.xact_start)::bigint, a.state || ': ' || left(a.query, 80), l.relation::regclass::text || ' ' || l.mode "
         "FROM "
         "pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'relation' AND "
         "l.granted AND l.pid <> pg_backend_pid() AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE "
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
  if (target.backfill.kind != WorkKind::kSql) return std::nullopt;
  return Probe{target.backfill.sql_position,
               "WITH " + work_cte(target, "false") + " SELECT count(*) FROM pgbackfill_work WHERE again"};
}

std::vector<Probe> probes(WorkTarget const& target) {
  auto const& backfill = target.backfill;
  std::vector<Probe> result;
  std::string const from = " FROM " + from_clause(target);
  if (!backfill.where.empty()) {
    result.push_back({backfill.where_position, "SELECT 1" + from + " WHERE " + parenthesised(backfill.where)});
    result.push_back(one_expression(backfill.where_position, backfill.where, from));
  }
  for (auto const& assignment : backfill.assignments) {
    bool const is_update = backfill.kind == WorkKind::kUpdate;
    std::string const expression = parenthesised(assignment.expression);
    result.push_back({assignment.position, is_update ? "UPDATE " + from_clause(target) + " SET " +
                                                           quote_identifier(assignment.column) + " = " + expression
                                                     : "SELECT " + expression + from});
    result.push_back(one_expression(assignment.position, assignment.expression, from));
  }
  result.push_back({backfill.kind == WorkKind::kSql ? backfill.sql_position : backfill.position,
                    "WITH " + work_cte(target, any_row(target)) + " SELECT count(*) FROM pgbackfill_work WHERE again"});
  return result;
}

}  // namespace pgbackfill::planner
