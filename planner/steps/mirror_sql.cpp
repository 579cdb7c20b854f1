#include "planner/steps/mirror_sql.h"

#include <algorithm>
#include <utility>

#include "planner/model/sql_facts.h"
#include "planner/model/sql_text.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::planner {
namespace {

constexpr char kRow[] = "pgbackfill_row";
// The columns of `mirror:` are of types of PostgreSQL itself, or enums and domains.
constexpr char kEquals[] = " OPERATOR(pg_catalog.=) ";

std::string quoted(TableName const& table) {
  return quote_qualified(table.schema, table.name);
}

bool is_key(InstallMirror const& step, std::string const& column) {
  return std::find(step.key.begin(), step.key.end(), column) != step.key.end();
}

std::string key_list(InstallMirror const& step) {
  std::vector<std::string> columns;
  for (auto const& column : step.key) columns.push_back(quote_identifier(column));
  return join(columns, ", ");
}

// The row of the table that has the key of OLD or NEW now, whether `where` takes it or not.
std::string row_of_key(TableName const& table, SpelledMirror const& mirror, std::string const& record) {
  std::vector<std::string> conditions;
  for (auto const& column : mirror.key) {
    auto const name = quote_identifier(column);
    conditions.push_back(mirror.alias + "." + name + kEquals + record + "." + name);
  }
  return "FROM " + quoted(table) + " AS " + mirror.alias + " WHERE " + join(conditions, " AND ");
}

std::string source(TableName const& table, SpelledMirror const& mirror, std::string const& record) {
  return row_of_key(table, mirror, record) + (mirror.where.empty() ? "" : " AND (" + mirror.where + ")");
}

// An old snapshot still shows a row that somebody else deleted or moved away since, beside the row that this
// transaction gave the same key. Locking what it shows fails as a serialization failure then; a lock on the
// transaction's own row is in nobody's way.
std::string refusal_of_stale_rows(TableName const& table, SpelledMirror const& mirror) {
  std::string text =
      "  IF pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.<>) 'read committed' THEN\n";
  for (auto const& [operation, record] : {std::pair{"INSERT", "OLD"}, std::pair{"DELETE", "NEW"}}) {
    text += "    IF TG_OP OPERATOR(pg_catalog.<>) '" + std::string(operation) + "' THEN\n      PERFORM " +
            row_of_key(table, mirror, record) + " FOR SHARE;\n    END IF;\n";
  }
  return text + "  END IF;\n";
}

std::string removal(InstallMirror const& step, SpelledMirror const& mirror) {
  std::vector<std::string> conditions;
  for (std::size_t index = 0; index < step.key.size(); ++index) {
    conditions.push_back("pgbackfill_copy." + quote_identifier(step.key[index]) + kEquals + "OLD." +
                         quote_identifier(mirror.key[index]));
  }
  return "DELETE FROM " + quoted(mirror.to) + " AS pgbackfill_copy WHERE " + join(conditions, " AND ") + ";";
}

std::string insertion(InstallMirror const& step, SpelledMirror const& mirror, std::string const& on_conflict) {
  std::vector<std::string> columns;
  std::vector<std::string> values;
  for (auto const& one : step.columns) {
    columns.push_back(quote_identifier(one.column));
    values.push_back(std::string{kRow} + "." + quote_identifier(one.column));
  }
  return "INSERT INTO " + quoted(mirror.to) + " (" + join(columns, ", ") + ") OVERRIDING SYSTEM VALUE VALUES (" +
         join(values, ", ") + ") ON CONFLICT (" + key_list(step) + ") " + on_conflict + ";";
}

std::string replacement(InstallMirror const& step) {
  std::vector<std::string> changes;
  for (auto const& one : step.columns) {
    auto const name = quote_identifier(one.column);
    if (!is_key(step, one.column)) changes.push_back(name + " = excluded." + name);
  }
  return changes.empty() ? "DO NOTHING" : "DO UPDATE SET " + join(changes, ", ");
}

std::string computation(InstallMirror const& step, SpelledMirror const& mirror) {
  std::vector<std::string> targets;
  for (auto const& one : step.columns) targets.push_back(std::string{kRow} + "." + quote_identifier(one.column));
  return "SELECT " + join(mirror.expressions, ", ") + " INTO " + join(targets, ", ");
}

std::string has_moved(SpelledMirror const& mirror) {
  std::vector<std::string> old_key;
  std::vector<std::string> new_key;
  for (auto const& column : mirror.key) {
    old_key.push_back("OLD." + quote_identifier(column));
    new_key.push_back("NEW." + quote_identifier(column));
  }
  return "ROW(" + join(old_key, ", ") + ")::pg_catalog.record OPERATOR(pg_catalog.*<>) ROW(" + join(new_key, ", ") +
         ")::pg_catalog.record";
}

// Whether the row has the key that it had, written in another way: 1 and 1.00, 0 and -0. An upsert would leave the
// copy's.
std::string is_spelled_anew(SpelledMirror const& mirror) {
  std::vector<std::string> equal;
  for (auto const& column : mirror.key) {
    auto const name = quote_identifier(column);
    equal.push_back("OLD." + name + kEquals + "NEW." + name);
  }
  return join(equal, " AND ") + " AND " + has_moved(mirror);
}

std::string is_operation(std::string const& word) {
  return "TG_OP" + std::string(kEquals) + "'" + word + "'";
}

// By name, which a restored dump keeps, or as what is there under that name now; a partition by those above it.
std::string refusal_of_others(TableName const& table) {
  std::string const name = quote_literal(quoted(table));
  std::string const own = "pg_catalog.to_regclass(" + name + ")::pg_catalog.oid";
  return "  IF TG_RELID OPERATOR(pg_catalog.<>) " + own +
         " AND NOT EXISTS (SELECT FROM pg_catalog.pg_partition_ancestors(TG_RELID) a WHERE a.relid::pg_catalog.oid" +
         kEquals + own + ") THEN\n    RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege', MESSAGE = " +
         "pg_catalog.format('this trigger function belongs to %s and may be used by no other table', " + name +
         ");\n  END IF;\n";
}

}  // namespace

std::string mirror_truncate_trigger_name(std::string_view migration) {
  // No migration's name has a ~, so that this is no other's row trigger.
  return sync_object_name("~pgbackfill~truncate_", migration);
}

std::optional<SpelledMirror> read_mirror_spelling(InstallMirror const& step, std::string_view text) {
  auto const lines = sync_spelling_lines(text);
  std::size_t const count = step.columns.size() + (step.where.empty() ? 0 : 1);
  if (lines.size() != 2 + 3 * count) return std::nullopt;
  SpelledMirror mirror;
  mirror.to = {lines[0], lines[1]};
  std::vector<std::string> reads;
  for (std::size_t index = 0; index < count; ++index) {
    auto const* const line = &lines[2 + 3 * index];
    bool const is_where = index == step.columns.size();
    // The function runs under the file's search_path.
    std::string const spelled = with_catalog_schema(line[0]).value_or(line[0]);
    if (is_where) mirror.where = spelled;
    if (!is_where) mirror.expressions.push_back(spelled);
    // One SELECT computes them all.
    if (index > 0 && line[1] != mirror.alias) return std::nullopt;
    mirror.alias = line[1];
    reads.push_back(line[2]);
  }
  for (auto const& column : step.key) {
    auto const found = std::find_if(step.columns.begin(), step.columns.end(),
                                    [&](Assignment const& one) { return one.column == column; });
    if (found == step.columns.end()) return std::nullopt;
    mirror.key.push_back(reads[static_cast<std::size_t>(found - step.columns.begin())]);
  }
  return mirror;
}

std::string mirror_body(InstallMirror const& step, TableName const& table, SpelledMirror const& mirror) {
  std::string const gone = mirror.where.empty()
                               ? is_operation("DELETE") + " OR " + is_operation("UPDATE") + " AND " + has_moved(mirror)
                               : "NOT " + is_operation("INSERT");
  std::string const compute = computation(step, mirror);
  std::string body = "\n#variable_conflict use_column\nDECLARE\n  " + std::string{kRow} + " " + quoted(mirror.to) +
                     "%ROWTYPE;\nBEGIN\n";
  body += refusal_of_others(table);
  body += "  IF " + is_operation("TRUNCATE") + " THEN\n    TRUNCATE " + quoted(mirror.to) +
          ";\n    RETURN NULL;\n  END IF;\n";
  body += refusal_of_stale_rows(table, mirror);
  body += "  IF " + gone + " THEN\n    IF NOT EXISTS (SELECT " + source(table, mirror, "OLD") + ")";
  body += " OR " + is_operation("UPDATE") + " AND " + is_spelled_anew(mirror) + " THEN\n";
  body += "      " + removal(step, mirror) + "\n";
  // A snapshot that is older than the batch that copied the row does not show it. A unique index does: then this fails
  // as a serialization failure. What the copy refuses is not there.
  body +=
      "      IF NOT FOUND AND pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.<>) 'read "
      "committed' THEN\n"
      "        BEGIN\n";
  body += "          " + compute + "\n            FROM (SELECT OLD.*) AS " + mirror.alias + ";\n";
  body += "          " + insertion(step, mirror, "DO NOTHING") + "\n          " + removal(step, mirror) + "\n";
  body +=
      "        EXCEPTION WHEN integrity_constraint_violation OR data_exception THEN\n          NULL;\n"
      "        END;\n      END IF;\n    END IF;\n  END IF;\n";
  body += "  IF NOT " + is_operation("DELETE") + " THEN\n    " + compute + "\n      " + source(table, mirror, "NEW") +
          ";\n";
  body += "    IF FOUND THEN\n      " + insertion(step, mirror, replacement(step)) + "\n    END IF;\n  END IF;\n";
  return body + "  RETURN NULL;\nEND\n";
}

}  // namespace pgbackfill::planner
