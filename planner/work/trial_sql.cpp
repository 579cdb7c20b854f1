#include "planner/work/trial_sql.h"

#include <algorithm>
#include <vector>

#include "planner/model/sql_text.h"
#include "planner/work/work_parts.h"

namespace pgbackfill::planner {

namespace {

// A function takes 100 arguments, two for each column.
constexpr std::size_t kColumnsAtOnce = 50;

std::string key_as_array(WorkTarget const& target) {
  if (target.key.is_by_block()) return "ARRAY[(" + target.alias + ".ctid)::pg_catalog.text]";
  std::vector<std::string> texts;
  for (auto const& column : target.key.columns) {
    texts.push_back("(" + target.alias + '.' + quote_identifier(column.name) + ")::pg_catalog.text");
  }
  return "ARRAY[" + join(texts, ", ") + "]";
}

// Ours, also where it stands in the file's SQL: it names its schemas.
std::string object_of(std::vector<std::string> const& names, std::vector<std::string> const& values) {
  std::vector<std::string> objects;
  for (std::size_t begin = 0; begin < names.size(); begin += kColumnsAtOnce) {
    std::vector<std::string> pairs;
    for (std::size_t index = begin; index < std::min(begin + kColumnsAtOnce, names.size()); ++index) {
      pairs.push_back(quote_literal(names[index]) + ", " + values[index]);
    }
    objects.push_back("pg_catalog.jsonb_build_object(" + join(pairs, ", ") + ")");
  }
  return join(objects, " OPERATOR(pg_catalog.||) ");
}

// Of an update only what it sets; a row may be wide.
std::string row_as_json(WorkTarget const& target) {
  if (target.backfill.kind != WorkKind::kUpdate) return "pg_catalog.to_jsonb(" + target.alias + ".*)";
  std::vector<std::string> names;
  std::vector<std::string> values;
  for (auto const& assignment : target.backfill.assignments) {
    names.push_back(assignment.column);
    values.push_back(target.alias + '.' + quote_identifier(assignment.column));
  }
  return object_of(names, values);
}

std::string ordered(WorkTarget const& target, int most) {
  std::string const order = target.key.is_by_block() ? "" : " ORDER BY " + key_order(target.key, target.alias);
  return order + " LIMIT " + std::to_string(most);
}

}  // namespace

bool changes_its_rows(WorkTarget const& target) {
  return target.backfill.kind != WorkKind::kCopy;
}

std::string watch_rows_sql(WorkTarget const& target, Interval const& interval) {
  return "SELECT " +
         set_config("watched", json_array_of("pg_catalog.jsonb_build_object('key', pgbackfill_row.key, 'row', "
                                             "pgbackfill_row.before)")) +
         " FROM (SELECT " + key_as_array(target) + " AS key, " + row_as_json(target) + " AS before FROM " +
         from_clause(target) + " WHERE " + condition_of(target, interval) + and_where(target) +
         ordered(target, kMostRowsWatched) + ") AS pgbackfill_row";
}

namespace {

// The columns of one JSON object that another has otherwise, as an object.
std::string others_in(std::string const& object, std::string const& other) {
  return "(SELECT pg_catalog.jsonb_object_agg(e.key, e.value) FROM pg_catalog.jsonb_each(" + object +
         ") AS e WHERE e.value IS DISTINCT FROM (" + other + " OPERATOR(pg_catalog.->) e.key))";
}

}  // namespace

std::string changed_rows_sql(WorkTarget const& target, Interval const& interval, int most) {
  // By block a row that was changed is at another place, and cannot be known again.
  std::string const known = target.key.is_by_block() ? "behind.image IS NOT NULL AND " : "";
  return "WITH before AS (SELECT w.place, ARRAY(SELECT pg_catalog.jsonb_array_elements_text(w.one OPERATOR("
         "pg_catalog.->) 'key')) AS key, w.one OPERATOR(pg_catalog.->) 'row' AS image FROM "
         "pg_catalog.jsonb_array_elements(" +
         setting_as_json("watched") + ") WITH ORDINALITY AS w (one, place)), behind AS (SELECT " +
         key_as_array(target) + " AS key, " + row_as_json(target) + " AS image FROM " + from_clause(target) +
         " WHERE " + condition_of(target, interval) +
         ") SELECT pg_catalog.array_to_string(before.key, ', '), (CASE WHEN behind.image IS NULL THEN before.image "
         "ELSE " +
         others_in("before.image", "behind.image") +
         " END)::pg_catalog.text, (CASE WHEN behind.image IS NOT NULL THEN " +
         others_in("behind.image", "before.image") +
         " END)::pg_catalog.text FROM before LEFT JOIN behind ON behind.key OPERATOR(pg_catalog.=) before.key WHERE " +
         known + "behind.image IS DISTINCT FROM before.image ORDER BY before.place LIMIT " + std::to_string(most);
}

std::string copied_rows_sql(WorkTarget const& target, Interval const& interval, int most) {
  std::vector<std::string> names;
  std::vector<std::string> values;
  for (auto const& assignment : target.backfill.assignments) {
    names.push_back(assignment.column);
    values.push_back(parenthesised(assignment.expression));
  }
  return "SELECT pg_catalog.array_to_string(" + key_as_array(target) + ", ', '), NULL, (" + object_of(names, values) +
         ")::pg_catalog.text FROM " + from_clause(target) + " WHERE " + condition_of(target, interval) +
         and_where(target) + ordered(target, most);
}

std::string unless_too_many(std::int64_t rows, std::string const& sqlstate) {
  return "DO " +
         quote_literal("BEGIN IF current_setting('pgbackfill.changed')::bigint > " + std::to_string(rows) +
                       " THEN RAISE EXCEPTION USING ERRCODE = " + quote_literal(sqlstate) +
                       ", MESSAGE = 'the batch would change more rows than are left of the limit'; END IF; END");
}

}  // namespace pgbackfill::planner
