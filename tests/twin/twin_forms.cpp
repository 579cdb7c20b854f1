// Work in its natural form: rows whose value would differ, moved rows, duplicates, prepared results, an archive as one
// statement, values that a program gives. Each beside the plain statement that it stands for.
#include <fmt/format.h>

#include "tests/twin/twin_generator.h"

namespace pgbackfill::tests {
namespace {

// Gives back what it gets, so that what is written has been a message twice.
constexpr char kEcho[] = R"py(import json, sys
for line in sys.stdin:
    request = json.loads(line)
    answers = [{"write": row["read"]} for row in request["rows"]]
    print(json.dumps({"id": request["id"], "rows": answers}), flush=True)
)py";

constexpr char const* kNoKey = "paging by blocks";

}  // namespace

void TwinMaker::make_changed() {
  make_triggers(table_, "UPDATE");
  if (!has_key_) twin_.may_refuse = kNoKey;
  std::string lines;
  std::string assignments;
  std::string found;
  std::string wanted;
  for (auto const& pair : pairs_) {
    auto const target = quoted_name(pair.target);
    lines += fmt::format("    {}: {}\n", yaml_text(pair.target), yaml_text(pair.expression));
    assignments += fmt::format("{} {} = ({}\n)", assignments.empty() ? "" : ",", target, pair.expression);
    found += (found.empty() ? "" : ", ") + table_ + "." + target;
    wanted +=
        fmt::format("{}CAST(({}\n) AS {})", wanted.empty() ? "" : ", ", pair.expression, pair.derivation->target_type);
  }
  twin_.yaml += "backfill:\n  set:\n" + lines + "  where: changed\n";
  twin_.statement = fmt::format("UPDATE {}{} SET{} WHERE ROW({})::record *<> ROW({})::record",
                                shape_ == TableShape::kParent ? "ONLY " : "", table_, assignments, found, wanted);
}

std::string TwinMaker::make_moved_table() {
  // Without what generates values: it gets those that were there.
  twin_.setup.push_back(fmt::format("CREATE TABLE app.moved (LIKE {}, moved_by text DEFAULT 'moved')", table_));
  twin_.rows.push_back("SELECT 'moved', * FROM app.moved");
  std::string names;
  for (auto const& column : columns_) names += (names.empty() ? "" : ", ") + quoted_name(column.name);
  return names;
}

void TwinMaker::make_move(bool is_statement) {
  make_triggers(table_, "DELETE");
  auto const names = make_moved_table();
  if (!has_key_) twin_.may_refuse = kNoKey;
  // A whole row is another one when its columns stand in another order.
  auto const where = dice_.pick(std::vector<std::string>{"no % 3 = 0", "day::text < '15'", "day < '01/02/2024'",
                                                         "no % 2 = 0 OR no % 5 = 1 -- old", "true",
                                                         "EXISTS (SELECT FROM side.looked l WHERE l.id = no % 20)"});
  tells_done_ = true;
  auto const only = shape_ == TableShape::kParent ? "ONLY " : "";
  auto const begin = fmt::format("WITH gone AS (DELETE FROM {}{} x WHERE (", only, table_);
  auto const end = fmt::format(" RETURNING *) INSERT INTO app.moved ({0}) SELECT {0} FROM gone", names);
  if (is_statement) {
    if (shape_ == TableShape::kParent) twin_.may_refuse = "SQL on a table from which others inherit";
    twin_.yaml += fmt::format("backfill:\n  sql: {}\n", yaml_text(begin + where + "\n) AND {batch:x}" + end));
  } else {
    twin_.yaml += fmt::format("backfill:\n  move_to: app.moved\n  where: {}\n", yaml_text(where));
  }
  twin_.statement = begin + where + "\n)" + end;
}

void TwinMaker::make_dedupe() {
  make_triggers(table_, "DELETE");
  if (is_partitioned() || shape_ == TableShape::kParent) twin_.may_refuse = "a table with partitions or children";
  if (!has_key_) twin_.may_refuse = kNoKey;
  twin_.setup.push_back(fmt::format("CREATE INDEX ON {} (day{})", table_, dice_.chance(50) ? ", no" : ""));
  auto const where = dice_.pick(std::vector<std::string>{"", "", "no % 3 > 0", "day > '2024-01-20'", "NOT done"});
  auto const order = dice_.chance(50) ? "no" : "no DESC";
  twin_.yaml += fmt::format("backfill:\n  dedupe: {{by: [day], keep: \"ORDER BY {}\"}}\n", order);
  if (!where.empty()) twin_.yaml += fmt::format("  where: {}\n", yaml_text(where));
  twin_.statement = fmt::format(
      "DELETE FROM {0} WHERE no IN (SELECT no FROM (SELECT no, row_number() OVER (PARTITION BY day ORDER BY {1}) AS "
      "place FROM {0} WHERE ({2}\n)) p WHERE place > 1)",
      table_, order, where.empty() ? "true" : where);
}

void TwinMaker::make_prepared() {
  make_triggers(table_, "UPDATE");
  if (!has_key_) twin_.may_refuse = kNoKey;
  twin_.setup.push_back(
      fmt::format("CREATE TABLE side.call (no int); INSERT INTO side.call SELECT g % {0} + 1 FROM generate_series(1, "
                  "{0} * 2) g WHERE g % 5 > 0; GRANT CREATE ON SCHEMA pgbackfill TO {{role}}",
                  rows_ + 1));
  std::string const totals = "SELECT no, count(*) AS n FROM side.call GROUP BY no";
  bool const is_sql = dice_.chance(50) && shape_ != TableShape::kParent;
  twin_.yaml += fmt::format("backfill:\n  prepare:\n    totals: {{as: \"{}\", key: [no]}}\n", totals);
  if (is_sql) {
    twin_.yaml += fmt::format("  sql: {}\n", yaml_text(fmt::format("UPDATE {} x SET hits = p.n FROM {{prepare:totals}} "
                                                                   "p WHERE p.no = x.no AND {{batch:x}}",
                                                                   table_)));
    twin_.statement = fmt::format("UPDATE {} x SET hits = p.n FROM ({}) p WHERE p.no = x.no", table_, totals);
  } else {
    std::string const value = "coalesce((SELECT p.n FROM {} p WHERE p.no = " + name_ + ".no), -1)";
    twin_.yaml += fmt::format("  set: {{hits: {}}}\n", yaml_text(replace_all(value, "{}", "{prepare:totals}")));
    twin_.statement = fmt::format("UPDATE {}{} SET hits = {}", shape_ == TableShape::kParent ? "ONLY " : "", table_,
                                  replace_all(value, "{}", "(" + totals + ")"));
  }
  // Writers count up what it sets.
  does_order_matter_ = true;
}

void TwinMaker::make_computed() {
  make_triggers(table_, "UPDATE");
  if (!has_key_) twin_.may_refuse = "paging by blocks, which compute does not do";
  twin_.files["echo.py"] = kEcho;
  std::string read;
  std::string write;
  std::string statement;
  for (auto const& pair : pairs_) {
    auto const value = fmt::format("CAST(({}\n) AS {})", pair.expression, pair.derivation->target_type);
    read += fmt::format("      {}: {}\n", yaml_text(pair.target), yaml_text(value));
    write += (write.empty() ? "" : ", ") + yaml_text(pair.target);
    statement += fmt::format("{} {} = {}", statement.empty() ? "" : ",", quoted_name(pair.target), value);
  }
  auto const where = dice_.pick(std::vector<std::string>{"", "no % 3 = 0", "day::text < '15'", "no < 100"});
  twin_.yaml += fmt::format(
      "backfill:\n  compute:\n    read:\n{}    write: [{}]\n    command: [python3, echo.py]\n    rows: {}\n    "
      "processes: {}\n",
      read, write, dice_.number(1, 40), dice_.number(1, 2));
  if (!where.empty()) twin_.yaml += fmt::format("  where: {}\n", yaml_text(where));
  twin_.statement = fmt::format("UPDATE {}{} SET{} WHERE ({}\n)", shape_ == TableShape::kParent ? "ONLY " : "", table_,
                                statement, where.empty() ? "true" : where);
}

}  // namespace pgbackfill::tests
