#include "planner/work/compute_sql.h"

#include <utility>

#include "planner/model/sql_text.h"
#include "planner/model/value_text.h"
#include "planner/work/work_parts.h"

namespace pgbackfill::planner {

namespace {

// Of what stands beside the table in statements: names that no column of the file's has.
constexpr char kRows[] = "pgbackfill_rows";

// The server's encoder breaks lines.
std::string as_base64(std::string const& bytes) {
  return "pg_catalog.replace(pg_catalog.encode(" + bytes + ", 'base64'), pg_catalog.chr(10), '')";
}

std::string input_text(ComputeInput const& input, ValueForm form) {
  std::string const value = parenthesised(input.expression);
  switch (form) {
    case ValueForm::kText:
      return value + "::pg_catalog.text";
    case ValueForm::kTexts:
      return value + "::pg_catalog.text[]";
    case ValueForm::kBase64:
      return as_base64(value);
    case ValueForm::kJson:
      break;
  }
  return value;
}

ValueForm form_at(std::vector<ValueForm> const& forms, std::size_t index) {
  return index < forms.size() ? forms[index] : ValueForm::kJson;
}

std::string inputs_object(WorkTarget const& target) {
  auto const& read = target.backfill.compute->read;
  std::vector<std::string> members;
  for (std::size_t index = 0; index < read.size(); ++index) {
    members.push_back(quote_literal(read[index].name));
    members.push_back(input_text(read[index], form_at(target.traits.input_forms, index)));
  }
  return "pg_catalog.jsonb_build_object(" + join(members, ", ") + ")";
}

// Of the texts of the values, in the encoding of the database, where nothing is lost.
std::string digest(WorkTarget const& target) {
  std::vector<std::string> values;
  for (auto const& input : target.backfill.compute->read) {
    if (input.is_guarded) values.push_back(parenthesised(input.expression));
  }
  if (values.empty()) return "''::pg_catalog.text";
  return "pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(ROW(" + join(values, ", ") +
         ")::pg_catalog.text, pg_catalog.getdatabaseencoding())), 'hex')";
}

// `key`: SQL of a text[].
std::string read_sql(WorkTarget const& target, std::string const& key, std::string const& condition) {
  return "SELECT pg_catalog.to_jsonb(" + key + ")::pg_catalog.text, " + inputs_object(target) + "::pg_catalog.text, " +
         digest(target) + " FROM " + from_clause(target) + " WHERE " + condition + and_where(target) + " ORDER BY " +
         key_order(target.key, target.alias);
}

std::string and_not(std::string const& condition) {
  return " AND NOT " + parenthesised(condition);
}

// Hands the rows over.
std::string prepare(Computed const& computed) {
  std::string rows = "[";
  for (auto const& row : computed.rows) {
    if (rows.size() > 1) rows += ',';
    rows += "{\"key\":" + row.key + ",\"seen\":\"" + row.seen + "\",\"skips\":" + (row.skips ? "true" : "false") +
            ",\"answer\":" + (row.skips ? "null" : row.answer) + '}';
  }
  return "SELECT " + set_config("rows", quote_literal(rows + ']'));
}

std::string key_name(std::size_t index) {
  return "pgbackfill_k" + std::to_string(index);
}

// pgbackfill_rows: what was read, with the answers.
std::string rows_ctes(WorkTarget const& target) {
  std::vector<std::string> keys;
  for (std::size_t index = 0; index < target.key.columns.size(); ++index) {
    std::string const text = "d.key[" + std::to_string(index + 1) + "]";
    keys.push_back(value_of_text(text, qualified_type(target.key.columns[index].type)) + " AS " + key_name(index));
  }
  return std::string(kRows) + " AS MATERIALIZED (SELECT " + join(keys, ", ") +
         ", d.seen AS pgbackfill_seen, d.skips AS pgbackfill_skips, f.key IS NOT NULL AS pgbackfill_is_free, d.answer "
         "OPERATOR(pg_catalog.->) 'write'::pg_catalog.text AS pgbackfill_written FROM pg_catalog.jsonb_to_recordset(" +
         setting_as_json("rows") +
         ") AS d (key pg_catalog.text[], seen pg_catalog.text, skips pg_catalog.bool, answer pg_catalog.jsonb) LEFT "
         "JOIN pg_catalog.jsonb_to_recordset(" +
         setting_as_json("free") + ") AS f (key pg_catalog.text[]) ON f.key OPERATOR(pg_catalog.=) d.key)";
}

// Whether the row stands in pgbackfill_rows.
std::string is_row(WorkTarget const& target, std::string const& relation) {
  std::vector<std::string> values;
  for (std::size_t index = 0; index < target.key.columns.size(); ++index) {
    values.push_back(std::string(kRows) + '.' + key_name(index));
  }
  return same_key_as(target.key, relation, values);
}

// And whether it still is what was handed over.
std::string is_same_row(WorkTarget const& target) {
  return is_row(target, target.alias) + " AND " + kRows + ".pgbackfill_seen OPERATOR(pg_catalog.=) " + digest(target);
}

// The values by column, from the JSON of an answer: pgbackfill_new.
std::string new_values(WorkTarget const& target) {
  auto const& write = target.backfill.compute->write;
  std::vector<std::string> values;
  std::vector<std::string> columns;
  for (std::size_t index = 0; index < write.size(); ++index) {
    std::string const name = quote_identifier(write[index]);
    bool const is_bytes = form_at(target.traits.output_forms, index) == ValueForm::kBase64;
    std::string const value = "x." + name;
    values.push_back((is_bytes ? "pg_catalog.decode(" + value + ", 'base64')" : value) + " AS pgbackfill_v" +
                     std::to_string(index));
    columns.push_back(name + ' ' +
                      (is_bytes ? "pg_catalog.text" : qualified_type(target.traits.assigned_types[index])));
  }
  return "LATERAL (SELECT " + join(values, ", ") + " FROM pg_catalog.jsonb_to_record(" + kRows +
         ".pgbackfill_written) AS x (" + join(columns, ", ") + ")) AS pgbackfill_new";
}

std::string update_text(WorkTarget const& target, std::string const& condition, bool has_gaps,
                        std::string const& more) {
  auto const& write = target.backfill.compute->write;
  std::vector<std::string> assignments;
  for (std::size_t index = 0; index < write.size(); ++index) {
    std::string const name = quote_identifier(write[index]);
    std::string value = "pgbackfill_new.pgbackfill_v" + std::to_string(index);
    if (has_gaps) {
      value = std::string("CASE WHEN pg_catalog.jsonb_exists(") + kRows + ".pgbackfill_written, " +
              quote_literal(write[index]) + ") THEN " + value + " ELSE " + target.alias + '.' + name + " END";
    }
    assignments.push_back(name + " = " + value);
  }
  std::string const again = target.backfill.where.empty() ? "false" : parenthesised(target.backfill.where);
  return "UPDATE " + changed_table(target) + " SET " + join(assignments, ", ") + " FROM " + kRows + ", " +
         new_values(target) + " WHERE " + condition + and_where(target) + " AND " + is_same_row(target) + " AND " +
         kRows + ".pgbackfill_is_free AND NOT " + kRows + ".pgbackfill_skips RETURNING " + again + " AS again" + more;
}

// The table beside what was read of it. A join, for there are thousands of rows on both sides.
std::string beside_rows(WorkTarget const& target) {
  return from_clause(target) + " LEFT JOIN " + kRows + " ON " + is_row(target, target.alias);
}

// Something is still to be done for the row: it has come or changed since it was read, or somebody holds it.
std::string is_undone(WorkTarget const& target) {
  return std::string("((") + kRows + ".pgbackfill_skips OR " + kRows + ".pgbackfill_is_free) AND " + kRows +
         ".pgbackfill_seen OPERATOR(pg_catalog.=) " + digest(target) + ") IS NOT TRUE";
}

}  // namespace

std::string compute_read_sql(WorkTarget const& target, Interval const& interval, std::string const& is_passed_by) {
  return read_sql(target, key_array(target, target.alias), condition_of(target, interval) + and_not(is_passed_by));
}

std::string compute_shown_sql(WorkTarget const& target, Interval const& interval) {
  return read_sql(target, "ARRAY[" + key_texts(target.key, target.alias) + "]", condition_of(target, interval));
}

std::string compute_read_due_sql(WorkTarget const& target) {
  std::string const due = in_keys(target, target.alias, "pgbackfill_keys") + leaf_condition(target);
  return "WITH " + keys_cte(target, "pgbackfill_keys", "due", true) + "\n" +
         read_sql(target, key_array(target, target.alias), due);
}

BatchWork computed_work(WorkTarget const& target, Interval const& interval, Computed const& computed,
                        std::string const& is_passed_by) {
  std::string const condition = condition_of(target, interval);
  BatchWork batch;
  batch.has_work = true;
  batch.has_left = true;
  batch.knows_again = asks_again(target);
  batch.knows_moved = knows_moved(target);
  batch.prepare = prepare(computed);
  batch.lock = lock_free(target, condition, "");
  std::string const left = "pgbackfill_left AS (SELECT " + key_array(target, target.alias) + " AS key FROM " +
                           beside_rows(target) + " WHERE " + condition + and_where(target) + and_not(is_passed_by) +
                           " AND " + is_undone(target) + ")";
  batch.work = "WITH " + rows_ctes(target) + ",\npgbackfill_work AS (" +
               update_text(target, condition, computed.has_gaps, moved_text(target, interval)) + "),\n" + left +
               "\nSELECT " + counted_work(target, knows_moved(target)) + ", " + left_setting() +
               " FROM pgbackfill_work";
  return batch;
}

BatchWork computed_visit(WorkTarget const& target, Computed const& computed) {
  std::string const keys = keys_cte(target, "pgbackfill_keys", "due", true);
  std::string const due = in_keys(target, target.alias, "pgbackfill_keys") + leaf_condition(target);
  BatchWork batch;
  batch.has_work = true;
  batch.prepare = prepare(computed);
  batch.lock = lock_free(target, due, keys + ",\n");
  // A row that is not there, or that `where` does not pick, is settled: it was done by somebody else, or is gone.
  std::string const undone = "pgbackfill_undone AS MATERIALIZED (SELECT " + key_list(target.key, target.alias) +
                             " FROM " + beside_rows(target) + " WHERE " + due + and_where(target) + " AND " +
                             is_undone(target) + ")";
  std::string const settled = settled_cte("NOT " + in_keys(target, "pgbackfill_keys", "pgbackfill_undone"));
  batch.work = "WITH " + keys + ",\n" + rows_ctes(target) + ",\n" + undone + ",\npgbackfill_work AS (" +
               update_text(target, due, computed.has_gaps, "") + "),\n" + settled + "\nSELECT " +
               counted_work(target, false) + ", " + settled_setting() + " FROM pgbackfill_work";
  return batch;
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

std::string compute_types_sql(WorkTarget const& target) {
  auto const& compute = *target.backfill.compute;
  std::vector<std::string> values;
  std::vector<std::string> types;
  auto const add = [&](std::string const& value) {
    std::string const name = "v" + std::to_string(values.size());
    values.push_back(value + " AS " + name);
    types.push_back("(WITH RECURSIVE base (oid) AS (SELECT pg_catalog.pg_typeof(value." + name +
                    ")::pg_catalog.oid UNION ALL SELECT t.typbasetype FROM pg_catalog.pg_type t, base WHERE t.oid "
                    "OPERATOR(pg_catalog.=) base.oid AND t.typtype OPERATOR(pg_catalog.=) 'd') SELECT "
                    "pg_catalog.max(base.oid::pg_catalog.text) FILTER (WHERE NOT EXISTS (SELECT FROM "
                    "pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) base.oid AND t.typtype "
                    "OPERATOR(pg_catalog.=) 'd')) FROM base)");
  };
  for (auto const& input : compute.read) add(parenthesised(input.expression));
  for (auto const& column : compute.write) add(target.alias + '.' + quote_identifier(column));
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
  if (type_oid == kInt8 || type_oid == kNumeric || type_oid == kMoney) return ValueForm::kText;
  if (type_oid == kInt8Array || type_oid == kNumericArray) return ValueForm::kTexts;
  return type_oid == kBytea ? ValueForm::kBase64 : ValueForm::kJson;
}

}  // namespace pgbackfill::planner
