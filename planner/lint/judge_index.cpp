// CREATE INDEX, DROP INDEX, REINDEX.
#include "planner/lint/verdict.h"

namespace pgbackfill::planner::lint {
namespace {

using std::string;

constexpr LockMode kAx = LockMode::kAccessExclusive;
constexpr LockMode kSue = LockMode::kShareUpdateExclusive;

void refuse_in_transaction(Scene const& scene, Verdict& verdict, string const& form) {
  if (!scene.is_in_transaction) return;
  verdict.report_always({.rule = "concurrently-in-transaction",
                         .why = form + " cannot run inside a transaction block: the server refuses it"});
}

bool is_partitioned(Scene const& scene, string const& table) {
  auto const* known = scene.facts.table(table);
  return known != nullptr && known->kind == RelationKind::kPartitioned;
}

void judge_create(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  auto const relation = statement.get("relation");
  auto const table = relation_name(relation);
  if (statement.flag("nulls_not_distinct") && scene.pg_major < 15) {
    verdict.report_always({.rule = "not-in-version", .why = "NULLS NOT DISTINCT is there from PostgreSQL 15 on"});
  }
  if (statement.flag("concurrent")) {
    refuse_in_transaction(scene, verdict, "CREATE INDEX CONCURRENTLY");
    verdict.touch(table, kSue);
    if (statement.flag("if_not_exists")) {
      verdict.report({.rule = "concurrent-if-not-exists",
                      .relation = table,
                      .lock = kSue,
                      .why = "a build that failed leaves an invalid index of that name; a repeat then says it is there "
                             "and succeeds, and no query ever uses it"});
    }
    return;
  }
  // ON ONLY is for partitioned tables, whose own index is empty.
  if (!relation.flag("inh")) return verdict.touch(table, LockMode::kShare);
  string const name(statement.text("idxname"));
  verdict.report({.rule = "create-index",
                  .relation = table,
                  .lock = LockMode::kShare,
                  .work = Work::kIndexBuild,
                  .why = "writes to " + table + " wait until the whole index is built",
                  .instead = is_partitioned(scene, table)
                                 ? "CREATE INDEX ON ONLY the parent, CREATE INDEX CONCURRENTLY on each partition, then "
                                   "ALTER INDEX ... ATTACH PARTITION"
                                 : "step `create_index`, or `CREATE INDEX CONCURRENTLY` outside a transaction"});
}

void judge_drop(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  bool const is_concurrent = statement.flag("concurrent");
  if (is_concurrent) refuse_in_transaction(scene, verdict, "DROP INDEX CONCURRENTLY");
  for (auto const& item : statement.list("objects")) {
    auto const name = listed_name(item);
    auto const* index = scene.facts.index(name);
    auto const table = index == nullptr ? "the table of " + name : index->table;
    if (is_concurrent) {
      verdict.touch(table, kSue);
      continue;
    }
    verdict.report({.rule = "drop-index",
                    .relation = table,
                    .lock = kAx,
                    .why = "it waits for every query of the table, and all that come later wait behind it"});
  }
}

void judge_reindex(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  auto const kind = statement.text("kind");
  auto const name = relation_name(statement.get("relation"));
  bool const is_concurrent = has_option(statement, "params", "concurrently");
  bool const is_of_index = kind == "REINDEX_OBJECT_INDEX";
  bool const is_of_table = kind == "REINDEX_OBJECT_TABLE";
  auto const* index = is_of_index ? scene.facts.index(name) : nullptr;
  auto const table = index != nullptr ? index->table : is_of_index ? "the table of " + name : name;
  if (has_option(statement, "params", "tablespace") && scene.pg_major < 14) {
    verdict.report_always({.rule = "not-in-version", .why = "REINDEX (TABLESPACE ...) is there from PostgreSQL 14 on"});
  }
  if (is_concurrent) {
    refuse_in_transaction(scene, verdict, "REINDEX CONCURRENTLY");
    return verdict.touch(table, kSue);
  }
  if (!is_of_index && !is_of_table) refuse_in_transaction(scene, verdict, "REINDEX of a schema or database");
  verdict.report({.rule = "reindex",
                  .relation = is_of_index || is_of_table ? table : "every table in it",
                  .lock = LockMode::kShare,
                  .work = Work::kIndexBuild,
                  .why = "writes wait while it builds, and reads too, because planning a query looks at all indexes of "
                         "a table, and these are locked"});
}

}  // namespace

void judge_index(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  if (statement.is("IndexStmt")) return judge_create(scene, verdict);
  if (statement.is("ReindexStmt")) return judge_reindex(scene, verdict);
  if (statement.is("DropStmt") && statement.text("removeType") == "OBJECT_INDEX") judge_drop(scene, verdict);
}

}  // namespace pgbackfill::planner::lint
