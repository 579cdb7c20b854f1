// Statements that change rows: how many, as far as their text tells.
#include <algorithm>
#include <array>
#include <set>

#include "planner/lint/verdict.h"

namespace pgbackfill::planner::lint {
namespace {

using std::string;

// How many rows a condition leaves.
enum class Reach { kFew, kUnknown, kMany };

bool has_column(SyntaxNode node) {
  std::set<string> columns;
  collect_columns(node, columns);
  return !columns.empty();
}

string operator_of(SyntaxNode expression) {
  return joined_name(expression.list("name"));
}

constexpr std::int64_t kFewRows = 10'000;

// What the statement that holds the condition is about.
struct Change {
  SchemaFacts const& facts;
  string table;
  std::set<string> assigned;  // columns
};

// A value that the statement replaces by another one: a state that many rows are in, and not a key.
bool is_state(SyntaxNode column, Change const& change) {
  std::set<string> names;
  collect_columns(column, names);
  if (!column.is("ColumnRef") || names.size() != 1 || !change.assigned.contains(*names.begin())) return false;
  auto const* known = change.facts.table(change.table);
  return known == nullptr || std::none_of(known->constraints.begin(), known->constraints.end(), [&](auto const& each) {
           return each.second.kind == ConstraintKind::kKey && each.second.columns == names;
         });
}

bool is_truth(SyntaxNode node) {
  return node.is("A_Const") && node.get("boolval");
}

// BETWEEN two numbers that are not far apart.
bool is_short_range(SyntaxNode bounds) {
  auto const items = bounds.list("items");
  if (items.size() != 2 || !items[0].get("ival") || !items[1].get("ival")) return false;
  return items[1].get("ival").number("ival") - items[0].get("ival").number("ival") <= kFewRows;
}

Reach reach_of(SyntaxNode condition, Change const& change);

Reach reach_of_operator(SyntaxNode expression, Change const& change) {
  auto const kind = expression.text("kind");
  auto const left = expression.get("lexpr");
  auto const right = expression.get("rexpr");
  auto const name = operator_of(expression);
  if (!has_column(left) && !has_column(right)) return Reach::kMany;
  bool const is_equality = name == "=" || kind == "AEXPR_IN" || kind == "AEXPR_OP_ANY" || kind == "AEXPR_NOT_DISTINCT";
  if (kind == "AEXPR_IN" && name == "<>") return Reach::kMany;
  if (is_equality) {
    if (is_truth(left) || is_truth(right)) return Reach::kMany;
    if (is_state(left, change) || is_state(right, change)) return Reach::kUnknown;
    // a = a, or a = another column of the row.
    bool const is_to_value = !has_column(right) || (left.is("ColumnRef") && !right.is("ColumnRef"));
    bool const is_from_value = !has_column(left) || (right.is("ColumnRef") && !left.is("ColumnRef"));
    return is_to_value || is_from_value || kind != "AEXPR_OP" ? Reach::kFew : Reach::kUnknown;
  }
  if (kind == "AEXPR_BETWEEN" && is_short_range(right)) return Reach::kFew;
  if (name == "<>" || name == "!=" || kind == "AEXPR_DISTINCT") return Reach::kMany;
  return Reach::kUnknown;
}

Reach reach_of_bool(SyntaxNode expression, Change const& change) {
  auto const op = expression.text("boolop");
  auto const args = expression.list("args");
  if (op == "NOT_EXPR") return Reach::kMany;
  auto reach = op == "AND_EXPR" ? Reach::kMany : Reach::kFew;
  for (auto const& arg : args) {
    reach = op == "AND_EXPR" ? std::min(reach, reach_of(arg, change)) : std::max(reach, reach_of(arg, change));
  }
  return reach;
}

Reach reach_of(SyntaxNode condition, Change const& change) {
  if (!condition) return Reach::kMany;
  if (condition.is("BoolExpr")) return reach_of_bool(condition, change);
  if (condition.is("A_Expr")) return reach_of_operator(condition, change);
  if (condition.is("SubLink") || condition.is("CurrentOfExpr")) {
    return condition.is("CurrentOfExpr") ? Reach::kFew : Reach::kUnknown;
  }
  // IS NULL, IS TRUE, a bare boolean column, a constant: nothing that names a row.
  return Reach::kMany;
}

void judge_update(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  auto const table = relation_name(statement.get("relation"));
  bool const is_delete = statement.is("DeleteStmt");
  auto const joined = statement.list(is_delete ? "usingClause" : "fromClause");
  Change change{scene.facts, table, {}};
  for (auto const& target : statement.list("targetList")) change.assigned.emplace(target.text("name"));
  auto reach = reach_of(statement.get("whereClause"), change);
  if (!joined.empty() && reach == Reach::kFew) reach = Reach::kUnknown;
  verdict.touch(table, LockMode::kRowExclusive);
  if (reach == Reach::kFew) return;
  if (reach == Reach::kUnknown) {
    return verdict.report({.rule = "bulk-write",
                           .relation = table,
                           .lock = LockMode::kRowExclusive,
                           .work = Work::kAllRows,
                           .why =
                               "how many rows its condition holds for is not to be seen here; they are changed in one "
                               "transaction, and stay locked until it ends"});
  }
  verdict.report(
      {.rule = is_delete ? "delete-all-rows" : "update-all-rows",
       .relation = table,
       .lock = LockMode::kRowExclusive,
       .work = Work::kAllRows,
       .why = statement.get("whereClause")
                  ? "its condition names no rows and may hold for all of them; each stays locked until the end, "
                    "and vacuum cannot clean up meanwhile"
                  : "every row is changed; each stays locked until the end, and vacuum cannot clean up meanwhile",
       .risk = is_delete && statement.get("whereClause")
                   ? Risk::kHigh
                   : find_rule_of_lint(is_delete ? "delete-all-rows" : "update-all-rows")->risk});
}

void judge_insert(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  auto const table = relation_name(statement.get("relation"));
  auto const source = statement.get("selectStmt");
  verdict.touch(table, LockMode::kRowExclusive);
  if (source.list("fromClause").empty()) return;
  for (auto const& from : source.list("fromClause")) {
    if (from.is("RangeVar") && scene.facts.is_new(relation_name(from))) return;
    if (from.is("RangeFunction")) return;
  }
  if (reach_of(source.get("whereClause"), {scene.facts, table, {}}) == Reach::kFew || source.get("limitCount")) return;
  verdict.report({.rule = "bulk-write",
                  .relation = table,
                  .lock = LockMode::kRowExclusive,
                  .why = "it copies rows in one transaction, and how many is not to be seen here",
                  .instead = "a backfill with `copy_to:`"});
}

void judge_merge(Scene const& scene, Verdict& verdict) {
  if (scene.pg_major < 15) {
    verdict.report_always({.rule = "not-in-version", .why = "MERGE is there from PostgreSQL 15 on"});
  }
  verdict.report({.rule = "bulk-write",
                  .relation = relation_name(scene.statement.get("relation")),
                  .lock = LockMode::kRowExclusive,
                  .why = "how many rows it changes is not to be seen here; it is one transaction"});
}

void judge_one(Scene const& scene, Verdict& verdict) {
  auto const kind = scene.statement.kind();
  if (kind == "UpdateStmt" || kind == "DeleteStmt") judge_update(scene, verdict);
  if (kind == "InsertStmt") judge_insert(scene, verdict);
  if (kind == "MergeStmt") judge_merge(scene, verdict);
}

}  // namespace

void judge_rows(Scene const& scene, Verdict& verdict) {
  static constexpr std::array<std::string_view, 5> kKinds{"SelectStmt", "UpdateStmt", "DeleteStmt", "InsertStmt",
                                                          "MergeStmt"};
  if (std::find(kKinds.begin(), kKinds.end(), scene.statement.kind()) == kKinds.end()) return;
  for (auto const& cte : scene.statement.get("withClause").list("ctes")) {
    judge_one({cte.get("ctequery"), scene.facts, scene.pg_major, scene.is_in_transaction}, verdict);
  }
  judge_one(scene, verdict);
}

}  // namespace pgbackfill::planner::lint
