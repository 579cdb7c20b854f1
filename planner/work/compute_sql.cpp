#include "planner/work/compute_sql.h"

#include <algorithm>
#include <array>

#include "planner/model/sql_text.h"
#include "planner/model/value_text.h"
#include "planner/work/work_parts.h"

namespace pgbackfill::planner {

namespace {

// Of what stands beside the table in statements: names that no column of the file's has.
constexpr char kRows[] = "pgbackfill_rows";
constexpr char kLocked[] = "pgbackfill_locked";
constexpr char kReady[] = "pgbackfill_ready";
constexpr char kWork[] = "pgbackfill_work";

// What a row takes beside its values.
constexpr int kBytesOfARow = 50;

ValueForm form_at(std::vector<ValueForm> const& forms, std::size_t index) {
  return index < forms.size() ? forms[index] : ValueForm::kJson;
}

// A text, or the bytes of a bytea.
std::string input_value(ComputeInput const& input, ValueForm form) {
  std::string const value = parenthesised(input.expression);
  switch (form) {
    case ValueForm::kPlain:
    case ValueForm::kText:
      return value + "::pg_catalog.text";
    case ValueForm::kTexts:
      return "pg_catalog.to_jsonb(" + value + "::pg_catalog.text[])::pg_catalog.text";
    case ValueForm::kBase64:
      return value;
    case ValueForm::kJson:
      break;
  }
  return "pg_catalog.to_jsonb(" + value + ")::pg_catalog.text";
}

std::string input_name(std::size_t index) {
  return "pgbackfill_i" + std::to_string(index);
}

std::string shown_value(std::string const& value, ValueForm form) {
  return form == ValueForm::kBase64 ? "pg_catalog.encode(" + value + ", 'base64')" : value;
}

// What must not change of a row: texts, as the program is given them, or digests of bytes.
std::vector<std::string> guarded_values(WorkTarget const& target, bool by_name) {
  auto const& read = target.backfill.compute->read;
  std::vector<std::string> values;
  for (std::size_t index = 0; index < read.size(); ++index) {
    if (!read[index].is_guarded) continue;
    auto const form = form_at(target.traits.input_forms, index);
    std::string const value = by_name ? input_name(index) : input_value(read[index], form);
    values.push_back(form == ValueForm::kBase64 ? "pg_catalog.encode(pg_catalog.sha256(" + value + "), 'hex')" : value);
  }
  return values;
}

// 128 bits of each value: far quicker than a cryptographic digest, of which nothing here has a use.
std::string digest_of(std::vector<std::string> const& values) {
  std::vector<std::string> parts;
  for (auto const& value : values) {
    auto const hash = [&](char const* seed) {
      return "pg_catalog.hashtextextended(" + value + " COLLATE pg_catalog.\"C\", " + seed + ")::pg_catalog.text";
    };
    parts.push_back("COALESCE(" + hash("0") + " OPERATOR(pg_catalog.||) '/' OPERATOR(pg_catalog.||) " + hash("1") +
                    ", '-')");
  }
  return parts.empty() ? "''::pg_catalog.text" : join(parts, " OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) ");
}

// Bytes of the values that may be long.
std::string size_of_inputs(WorkTarget const& target) {
  std::string size = std::to_string(kBytesOfARow);
  for (std::size_t index = 0; index < target.backfill.compute->read.size(); ++index) {
    auto const form = form_at(target.traits.input_forms, index);
    if (form == ValueForm::kPlain) continue;
    size += " OPERATOR(pg_catalog.+) COALESCE(pg_catalog.octet_length(" + input_name(index) + "), 0)";
  }
  return size;
}

// Each level is computed once: values, their sums, what of them is handed over. Long texts of columns are fetched
// by the last alone. OFFSET keeps the server from making one level of two; a window without an order takes the rows as
// they come. `keys`: SQL of texts.
std::string bounded_read_sql(WorkTarget const& target, std::vector<std::string> const& keys,
                             std::string const& condition, std::int64_t bytes) {
  auto const& read = target.backfill.compute->read;
  std::vector<std::string> made;
  std::vector<std::string> names;
  std::vector<std::string> shown;
  for (std::size_t index = 0; index < keys.size(); ++index) {
    std::string const name = "pgbackfill_k" + std::to_string(index);
    made.push_back(keys[index] + " AS " + name);
    names.push_back(name);
    shown.push_back(name);
  }
  for (std::size_t index = 0; index < read.size(); ++index) {
    auto const form = form_at(target.traits.input_forms, index);
    made.push_back(input_value(read[index], form) + " AS " + input_name(index));
    names.push_back(input_name(index));
    shown.push_back("CASE WHEN NOT pgbackfill_is_over THEN " + shown_value(input_name(index), form) + " END");
  }
  std::string const values = "SELECT " + join(made, ", ") + " FROM " + from_clause(target) + " WHERE " + condition +
                             and_where(target) + " ORDER BY " + key_order(target.key, target.alias) + " OFFSET 0";
  std::string const sizes = "SELECT " + join(names, ", ") +
                            ", pgbackfill_size, pg_catalog.sum(pgbackfill_size) OVER (ROWS UNBOUNDED "
                            "PRECEDING) AS pgbackfill_total FROM (SELECT " +
                            join(names, ", ") + ", (" + size_of_inputs(target) +
                            ")::pg_catalog.int8 AS pgbackfill_size FROM (" + values +
                            ") AS pgbackfill_values OFFSET 0) AS pgbackfill_sizes";
  std::string const most = std::to_string(bytes);
  std::string const chosen =
      "SELECT " + join(names, ", ") + ", pgbackfill_total OPERATOR(pg_catalog.>) " + most +
      " AND pgbackfill_total OPERATOR(pg_catalog.>) pgbackfill_size AS pgbackfill_is_over FROM (" + sizes +
      ") AS pgbackfill_sums WHERE pgbackfill_total OPERATOR(pg_catalog.-) pgbackfill_size OPERATOR(pg_catalog.<=) " +
      most;
  return "SELECT " + join(shown, ", ") + ", CASE WHEN NOT pgbackfill_is_over THEN " +
         digest_of(guarded_values(target, true)) + " END FROM (" + chosen + ") AS pgbackfill_chosen";
}

std::string and_not(std::string const& condition) {
  return " AND NOT " + parenthesised(condition);
}

std::string value_name(std::size_t index) {
  return "pgbackfill_v" + std::to_string(index);
}

// Hands the rows over: k, the key, s, what was seen, x, whether it stays as it is, v and g, the values and whether
// there is one.
std::string prepare(WorkTarget const& target, Computed const& computed) {
  bool const is_one = target.key.columns.size() == 1;
  std::string rows = "[";
  for (auto const& row : computed.rows) {
    if (rows.size() > 1) rows += ',';
    rows += "{\"k\":";
    rows += is_one ? row.key.substr(1, row.key.size() - 2) : row.key;
    rows += ",\"s\":\"";
    rows += row.seen;
    rows += row.skips ? "\",\"x\":true" : "\",\"x\":false";
    for (std::size_t index = 0; index < row.values.size(); ++index) {
      if (!row.values[index]) continue;
      std::string const number = std::to_string(index);
      rows += ",\"v" + number + "\":";
      rows += *row.values[index];
      if (computed.has_gaps) rows += ",\"g" + number + "\":true";
    }
    rows += '}';
  }
  // Not for us to get back.
  return "SELECT " + set_config("rows", quote_literal(rows + ']')) + " IS NULL";
}

// pgbackfill_rows: what was read, with the answers.
std::string rows_cte(WorkTarget const& target, bool has_gaps) {
  auto const& keys = target.key.columns;
  auto const& write = target.backfill.compute->write;
  std::vector<std::string> selected;
  std::vector<std::string> columns = {keys.size() == 1 ? "k pg_catalog.text" : "k pg_catalog.text[]",
                                      "s pg_catalog.text", "x pg_catalog.bool"};
  for (std::size_t index = 0; index < keys.size(); ++index) {
    std::string const text = keys.size() == 1 ? "d.k" : "d.k[" + std::to_string(index + 1) + "]";
    selected.push_back(value_of_text(text, qualified_type(keys[index].type)) + " AS " + key_name(index));
  }
  selected.emplace_back("d.s AS pgbackfill_seen");
  selected.emplace_back("d.x AS pgbackfill_skips");
  for (std::size_t index = 0; index < write.size(); ++index) {
    std::string const number = std::to_string(index);
    bool const is_bytes = form_at(target.traits.output_forms, index) == ValueForm::kBase64;
    std::string const value = "d.v" + number;
    selected.push_back((is_bytes ? "pg_catalog.decode(" + value + ", 'base64')" : value) + " AS " + value_name(index));
    columns.push_back("v" + number + ' ' +
                      (is_bytes ? "pg_catalog.text" : qualified_type(target.traits.assigned_types[index].declared)));
    if (!has_gaps) continue;
    selected.push_back("d.g" + number + " AS pgbackfill_g" + number);
    columns.push_back("g" + number + " pg_catalog.bool");
  }
  return std::string(kRows) + " AS MATERIALIZED (SELECT " + join(selected, ", ") +
         " FROM pg_catalog.jsonb_to_recordset(" + setting_as_json("rows") + ") AS d (" + join(columns, ", ") + "))";
}

// Of pgbackfill_rows or pgbackfill_ready.
std::string is_row_of(WorkTarget const& target, std::string const& relation, std::string const& rows) {
  return same_key_as(target.key, relation, keys_of(target, rows));
}

// The row of pgbackfill_rows has what `values` are now.
std::string is_as_seen(std::vector<std::string> const& values) {
  return std::string(kRows) + ".pgbackfill_seen OPERATOR(pg_catalog.=) " + parenthesised(digest_of(values));
}

bool changes_rows(WorkTarget const& target) {
  return target.backfill.kind == WorkKind::kUpdate;
}

// Rows that nobody holds are locked, and read as they are then, whatever the snapshot of the statement: what is still
// as it was handed over is ready to be written. One statement does it all, for it finds a locked row by its key however
// often that was changed since the snapshot. Where the rows themselves stay as they are, none is locked.
std::string ready_ctes(WorkTarget const& target, std::string const& condition) {
  std::string const lock = " ORDER BY " + key_order(target.key, target.alias) + " " + row_lock(target) + " OF " +
                           target.alias + " SKIP LOCKED";
  std::string guarded;
  std::vector<std::string> names;
  for (auto const& value : guarded_values(target, false)) {
    std::string const name = "pgbackfill_g" + std::to_string(names.size());
    guarded += ", " + value + " AS " + name;
    names.push_back(std::string(kLocked) + '.' + name);
  }
  std::string const locked = std::string(kLocked) + " AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) +
                             guarded + " FROM " + from_clause(target) + " WHERE " + condition + and_where(target) +
                             (changes_rows(target) ? lock : "") + ")";
  return locked + ",\n" + kReady + " AS MATERIALIZED (SELECT " + kRows + ".* FROM " + kRows + ", " + kLocked +
         " WHERE " + is_row_of(target, kLocked, kRows) + " AND " + is_as_seen(names) + ")";
}

// From `rows`, those of which are as they were handed over.
std::string update_text(WorkTarget const& target, std::string const& condition, std::string const& rows, bool has_gaps,
                        std::string const& more) {
  auto const& write = target.backfill.compute->write;
  std::vector<std::string> assignments;
  for (std::size_t index = 0; index < write.size(); ++index) {
    std::string const name = quote_identifier(write[index]);
    std::string value = rows + '.' + value_name(index);
    if (has_gaps) {
      value = "CASE WHEN " + rows + ".pgbackfill_g" + std::to_string(index) + " THEN " + value + " ELSE " +
              target.alias + '.' + name + " END";
    }
    assignments.push_back(name + " = " + value);
  }
  std::string const again = target.backfill.where.empty() ? "false" : parenthesised(target.backfill.where);
  return "UPDATE " + changed_table(target) + " SET " + join(assignments, ", ") + " FROM " + rows + " WHERE " +
         condition + and_where(target) + " AND " + is_row_of(target, target.alias, rows) + " AND NOT " + rows +
         ".pgbackfill_skips RETURNING " + again + " AS again" + more;
}

std::string insert_text(WorkTarget const& target, std::string const& condition) {
  auto const& write = target.backfill.compute->write;
  std::vector<std::string> values;
  for (auto const& assignment : target.backfill.assignments) {
    auto const computed = std::find(write.begin(), write.end(), assignment.column);
    values.push_back(computed == write.end()
                         ? parenthesised(assignment.expression)
                         : kReady + ('.' + value_name(static_cast<std::size_t>(computed - write.begin()))));
  }
  return insert_into(target) + " SELECT " + join(values, ", ") + " FROM " + from_clause(target) + ", " + kReady +
         " WHERE " + condition + and_where(target) + " AND " + is_row_of(target, target.alias, kReady) + " AND NOT " +
         kReady + ".pgbackfill_skips" + on_conflict(target) + " RETURNING false AS again";
}

std::string written_text(WorkTarget const& target, std::string const& condition, bool has_gaps,
                         std::string const& more) {
  if (changes_rows(target)) return update_text(target, condition, kReady, has_gaps, more);
  if (target.backfill.kind == WorkKind::kCopy) return insert_text(target, condition);
  return "SELECT false AS again FROM " + std::string(kReady) + " WHERE NOT " + kReady + ".pgbackfill_skips";
}

// Without locking them before: a row that somebody holds is waited for, as long as the lock timeout lets it, and is
// looked at again then, as in any UPDATE. What it changed is in pgbackfill_work, with its keys.
std::string update_at_once(WorkTarget const& target, std::string const& condition, bool has_gaps,
                           std::string const& moved) {
  return std::string(kWork) + " AS (" +
         update_text(target, condition + " AND " + is_as_seen(guarded_values(target, false)), kRows, has_gaps,
                     moved + ", " + join(keys_of(target, kRows), ", ")) +
         ")";
}

// Something is still to be done for the row: it has come or changed since it was read, or somebody holds it. One that
// stays as it is may be held. `done` is the relation of the rows for which nothing is.
std::string and_is_undone(WorkTarget const& target, Computed const& computed, char const* done) {
  std::string const text = " AND NOT (" + key_is_among(target.key, target.alias, keys_of(target, done), done) + ")";
  if (!computed.has_skips) return text;
  std::string const rows = kRows;
  return text + " AND NOT EXISTS (SELECT FROM " + rows + " WHERE " + is_row_of(target, target.alias, kRows) + " AND " +
         rows + ".pgbackfill_skips AND " + is_as_seen(guarded_values(target, false)) + ")";
}

}  // namespace

std::string compute_read_sql(WorkTarget const& target, Interval const& interval, std::int64_t bytes,
                             std::string const& is_passed_by) {
  return bounded_read_sql(target, key_value_texts(target, target.alias),
                          condition_of(target, interval) + and_not(is_passed_by), bytes);
}

std::string compute_shown_sql(WorkTarget const& target, Interval const& interval) {
  auto const& read = target.backfill.compute->read;
  std::string values;
  for (std::size_t index = 0; index < read.size(); ++index) {
    auto const form = form_at(target.traits.input_forms, index);
    values += ", " + shown_value(input_value(read[index], form), form);
  }
  return "SELECT " + key_texts(target.key, target.alias) + values + " FROM " + from_clause(target) + " WHERE " +
         condition_of(target, interval) + and_where(target) + " ORDER BY " + key_order(target.key, target.alias);
}

std::string compute_read_due_sql(WorkTarget const& target, std::int64_t bytes) {
  std::string const due = in_keys(target, target.alias, "pgbackfill_keys") + leaf_condition(target);
  return "WITH " + keys_cte(target, "pgbackfill_keys", "due", true) + "\n" +
         bounded_read_sql(target, key_value_texts(target, target.alias), due, bytes);
}

BatchWork computed_work(WorkTarget const& target, Interval const& interval, Computed const& computed,
                        std::string const& is_passed_by, BatchMode mode) {
  std::string const condition = condition_of(target, interval);
  // What a trigger skips is not in what an UPDATE returns, and would be taken for undone.
  bool const is_plain = mode == BatchMode::kPlain && changes_rows(target) && !target.traits.reads_elsewhere &&
                        !target.traits.may_move_keys;
  BatchWork batch;
  batch.has_work = true;
  batch.has_left = true;
  batch.knows_again = asks_again(target);
  batch.knows_moved = knows_moved(target);
  batch.prepare = prepare(target, computed);
  std::string const moved = moved_text(target, interval);
  std::string const left = "pgbackfill_left AS (SELECT " + key_array(target, target.alias) + " AS key FROM " +
                           from_clause(target) + " WHERE " + condition + and_where(target) + and_not(is_passed_by) +
                           and_is_undone(target, computed, is_plain ? kWork : kReady) + ")";
  std::string const work = is_plain ? update_at_once(target, condition, computed.has_gaps, moved)
                                    : ready_ctes(target, condition) + ",\npgbackfill_work AS (" +
                                          written_text(target, condition, computed.has_gaps, moved) + ")";
  batch.work = "WITH " + rows_cte(target, computed.has_gaps) + ",\n" + work + ",\n" + left + "\nSELECT " +
               counted_work(target, knows_moved(target)) + ", " + left_setting() + " FROM pgbackfill_work";
  return batch;
}

BatchWork computed_visit(WorkTarget const& target, Computed const& computed) {
  std::string const keys = keys_cte(target, "pgbackfill_keys", "due", true);
  std::string const due = in_keys(target, target.alias, "pgbackfill_keys") + leaf_condition(target);
  BatchWork batch;
  batch.has_work = true;
  batch.prepare = prepare(target, computed);
  // A row that is not there, or that `where` does not pick, is settled: it was done by somebody else, or is gone.
  std::string const undone = "pgbackfill_undone AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) +
                             " FROM " + from_clause(target) + " WHERE " + due + and_where(target) +
                             and_is_undone(target, computed, kReady) + ")";
  std::string const settled = settled_cte("NOT " + in_keys(target, "pgbackfill_keys", "pgbackfill_undone"));
  batch.work = "WITH " + keys + ",\n" + rows_cte(target, computed.has_gaps) + ",\n" + ready_ctes(target, due) + ",\n" +
               undone + ",\npgbackfill_work AS (" + written_text(target, due, computed.has_gaps, "") + "),\n" +
               settled + "\nSELECT " + counted_work(target, false) + ", " + settled_setting() + " FROM pgbackfill_work";
  return batch;
}

std::string compute_sample_sql(WorkTarget const& target, std::int64_t rows, double percent) {
  Interval const whole;
  std::string const chosen = "SELECT " + key_array(target, target.alias) + " AS key FROM " + from_clause(target) +
                             " TABLESAMPLE pg_catalog.system (" + std::to_string(std::clamp(percent, 0.0001, 100.0)) +
                             ") WHERE " + condition_of(target, whole) + and_where(target) +
                             " ORDER BY pg_catalog.random() LIMIT " + std::to_string(rows);
  return "SELECT " + set_config("due",
                                "(SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('id', number, "
                                "'key', key)), '[]'::pg_catalog.jsonb)::pg_catalog.text FROM (SELECT key, "
                                "pg_catalog.row_number() OVER () AS number FROM (" +
                                    chosen + ") AS pgbackfill_chosen) AS pgbackfill_numbered)");
}

AnswersSql answers_sql(WorkTarget const& target, Computed const& computed) {
  std::string const rows = kRows;
  AnswersSql sql;
  sql.prepare = prepare(target, computed);
  sql.with = rows_cte(target, computed.has_gaps);
  sql.from = rows;
  sql.condition = is_row_of(target, target.alias, kRows) + " AND NOT " + rows + ".pgbackfill_skips AND " +
                  is_as_seen(guarded_values(target, false));
  auto const& write = target.backfill.compute->write;
  for (std::size_t index = 0; index < write.size(); ++index) {
    std::string value = rows + '.' + value_name(index);
    if (computed.has_gaps) {
      value = "CASE WHEN " + rows + ".pgbackfill_g" + std::to_string(index) + " THEN " + value + " ELSE " +
              target.alias + '.' + quote_identifier(write[index]) + " END";
    }
    sql.values.push_back(std::move(value));
  }
  return sql;
}

std::vector<Probe> compute_probes(WorkTarget const& target) {
  std::vector<Probe> result;
  if (!target.backfill.compute) return result;
  std::string const from = " FROM " + from_clause(target);
  for (auto const& input : target.backfill.compute->read) {
    result.push_back({input.position, "SELECT " + parenthesised(input.expression) + from});
    // An aggregate, a window function or a set would not be of one row.
    result.push_back(
        {input.position, "SELECT 1" + from + " WHERE " + parenthesised(input.expression) + " IS NOT NULL"});
  }
  return result;
}

namespace {

// Of a type of an extension that has a cast to json, such as hstore, the server would make what that cast gives, which
// the type does not read again: as a text, and an array of them as texts (the array of bigint stands for these).
constexpr char kAsText[] =
    "SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_cast k WHERE k.castsource OPERATOR(pg_catalog.=) "
    "b.oid::pg_catalog.oid AND k.casttarget OPERATOR(pg_catalog.=) 'pg_catalog.json'::pg_catalog.regtype AND "
    "k.castsource "
    "OPERATOR(pg_catalog.>=) 16384) THEN '25' WHEN EXISTS (SELECT FROM pg_catalog.pg_cast k JOIN pg_catalog.pg_type t "
    "ON "
    "t.typelem OPERATOR(pg_catalog.=) k.castsource AND t.typarray OPERATOR(pg_catalog.=) 0 WHERE t.oid "
    "OPERATOR(pg_catalog.=) b.oid::pg_catalog.oid AND k.casttarget OPERATOR(pg_catalog.=) "
    "'pg_catalog.json'::pg_catalog.regtype AND k.castsource OPERATOR(pg_catalog.>=) 16384) THEN '1016' ELSE b.oid END "
    "FROM ";

}  // namespace

std::string compute_types_sql(WorkTarget const& target) {
  auto const& compute = *target.backfill.compute;
  std::vector<std::string> values;
  std::vector<std::string> types;
  auto const add = [&](std::string const& value) {
    std::string const name = "v" + std::to_string(values.size());
    values.push_back(value + " AS " + name);
    types.push_back("(" + std::string(kAsText) + "(WITH RECURSIVE base (oid) AS (SELECT pg_catalog.pg_typeof(value." +
                    name +
                    ")::pg_catalog.oid UNION ALL SELECT t.typbasetype FROM pg_catalog.pg_type t, base WHERE t.oid "
                    "OPERATOR(pg_catalog.=) base.oid AND t.typtype OPERATOR(pg_catalog.=) 'd') SELECT "
                    "pg_catalog.max(base.oid::pg_catalog.text) FILTER (WHERE NOT EXISTS (SELECT FROM "
                    "pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) base.oid AND t.typtype "
                    "OPERATOR(pg_catalog.=) 'd')) AS oid FROM base) b)");
  };
  for (auto const& input : compute.read) add(parenthesised(input.expression));
  bool const is_copy = target.backfill.kind == WorkKind::kCopy;
  auto const& copy = target.backfill.copy_to;
  for (auto const& column : compute.write) {
    std::string const name = quote_identifier(column);
    add(is_copy ? "(SELECT pgbackfill_copy." + name + " FROM " + quote_qualified(copy.schema, copy.name) +
                      " AS pgbackfill_copy LIMIT 0)"
                : target.alias + '.' + name);
  }
  return "SELECT " + join(types, ", ") + " FROM (SELECT 1) AS one (one) LEFT JOIN (SELECT " + join(values, ", ") +
         " FROM " + from_clause(target) + " LIMIT 0) AS value ON true";
}

// The OIDs of the server's own types are the same on all versions.
ValueForm value_form_of(std::string const& type_oid) {
  constexpr std::string_view kInt8 = "20";
  constexpr std::string_view kMoney = "790";
  constexpr std::string_view kNumeric = "1700";
  constexpr std::string_view kInt8Array = "1016";
  constexpr std::string_view kNumericArray = "1231";
  constexpr std::string_view kBytea = "17";
  // Types whose text is what the server makes of them in JSON.
  constexpr std::array<std::string_view, 3> kTexts = {"25", "1043", "2950"};  // text, varchar, uuid
  constexpr std::array<std::string_view, 3> kPlain = {"16", "21", "23"};      // boolean, smallint, integer
  auto const is_one_of = [&](auto const& types) {
    return std::find(types.begin(), types.end(), type_oid) != types.end();
  };
  if (is_one_of(kPlain)) return ValueForm::kPlain;
  if (is_one_of(kTexts)) return ValueForm::kText;
  if (type_oid == kInt8 || type_oid == kNumeric || type_oid == kMoney) return ValueForm::kText;
  if (type_oid == kInt8Array || type_oid == kNumericArray) return ValueForm::kTexts;
  return type_oid == kBytea ? ValueForm::kBase64 : ValueForm::kJson;
}

}  // namespace pgbackfill::planner
