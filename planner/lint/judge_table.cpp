// Whole tables: made, renamed, locked, emptied, rewritten.
#include <algorithm>
#include <array>

#include "planner/lint/verdict.h"

namespace pgbackfill::planner::lint {
namespace {

using std::string;

constexpr LockMode kAx = LockMode::kAccessExclusive;
constexpr LockMode kSre = LockMode::kShareRowExclusive;
constexpr LockMode kSue = LockMode::kShareUpdateExclusive;

void lock_default_partition(Scene const& scene, Verdict& verdict, string const& parent) {
  auto const* known = scene.facts.table(parent);
  if (known == nullptr) {
    return verdict.report({.rule = "create-partition",
                           .relation = "the default partition of " + parent,
                           .lock = kAx,
                           .work = Work::kScan,
                           .why = "if there is one, every row of it is read to see that none belongs to the new one"});
  }
  if (known == nullptr || known->default_partition.empty()) return;
  verdict.report({.rule = "create-partition",
                  .relation = known->default_partition,
                  .lock = kAx,
                  .work = Work::kScan,
                  .why = "every row of the default partition is read to see that none belongs to the new one",
                  .risk = Risk::kHigh});
}

void judge_create(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  for (auto const& parent : statement.list("inhRelations")) {
    auto const name = relation_name(parent);
    if (!statement.get("partbound")) {
      verdict.touch(name, kSue);
      continue;
    }
    verdict.report({.rule = "create-partition",
                    .relation = name,
                    .lock = kAx,
                    .why = "the parent is locked for a moment: it waits for every query of it, and all that come later "
                           "wait behind it"});
    lock_default_partition(scene, verdict, name);
  }
  auto const touch_parent = [&](SyntaxNode constraint) {
    if (constraint.text("contype") == "CONSTR_FOREIGN") verdict.touch(relation_name(constraint.get("pktable")), kSre);
  };
  for (auto const& element : statement.list("tableElts")) {
    if (element.is("Constraint")) touch_parent(element);
    for (auto const& constraint : element.list("constraints")) touch_parent(constraint);
  }
}

void judge_lock(Scene const& scene, Verdict& verdict) {
  auto const mode = static_cast<LockMode>(std::clamp<std::int64_t>(scene.statement.number("mode"), 1, 8));
  for (auto const& relation : scene.statement.list("relations")) {
    auto const name = relation_name(relation);
    if (mode < LockMode::kShare) {
      verdict.touch(name, mode);
      continue;
    }
    verdict.report({.rule = "lock-table",
                    .relation = name,
                    .lock = mode,
                    .why = string(lock_stops(mode)) + " wait until the transaction ends",
                    .risk = mode >= LockMode::kExclusive ? Risk::kHigh : Risk::kMedium});
  }
}

// Tables with a foreign key to it.
std::vector<string> referring_to(SchemaFacts const& facts, string const& table) {
  std::vector<string> found;
  for (auto const& [name, known] : facts.tables) {
    bool const refers = std::any_of(known.constraints.begin(), known.constraints.end(), [&](auto const& each) {
      return each.second.kind == ConstraintKind::kForeignKey && each.second.references == table;
    });
    if (refers && name != table) found.push_back(name);
  }
  return found;
}

void judge_truncate(Scene const& scene, Verdict& verdict) {
  for (auto const& relation : scene.statement.list("relations")) {
    verdict.report({.rule = "truncate",
                    .relation = relation_name(relation),
                    .lock = kAx,
                    .work = Work::kRewrite,
                    .why = "all rows are gone at once, and no reader sees the old ones either"});
  }
  if (scene.statement.text("behavior") != "DROP_CASCADE") return;
  for (auto const& relation : scene.statement.list("relations")) {
    for (auto const& other : referring_to(scene.facts, relation_name(relation))) {
      verdict.touch(other, kAx, Work::kRewrite);
    }
  }
  verdict.report({.rule = "cascade",
                  .relation = relation_name(scene.statement.list("relations").front()),
                  .lock = kAx,
                  .work = Work::kRewrite,
                  .why = "tables with foreign keys to it are emptied as well"});
}

// VACUUM without a table means all of them.
std::vector<string> vacuumed(SyntaxNode statement) {
  std::vector<string> names;
  for (auto const& each : statement.list("rels")) names.push_back(relation_name(each.get("relation")));
  if (names.empty()) names.emplace_back("every table");
  return names;
}

void judge_vacuum(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  bool const is_full = statement.flag("is_vacuumcmd") && has_option(statement, "options", "full");
  for (auto const& name : vacuumed(statement)) {
    if (!is_full) {
      verdict.touch(name, kSue);
      continue;
    }
    verdict.report({.rule = "vacuum-full",
                    .relation = name,
                    .lock = kAx,
                    .work = Work::kRewrite,
                    .why = "the table is written anew while nobody can use it"});
  }
  if (scene.is_in_transaction && statement.flag("is_vacuumcmd")) {
    verdict.report_always({.rule = "concurrently-in-transaction",
                           .why = "VACUUM cannot run inside a transaction block: the server refuses it"});
  }
}

void judge_cluster(Scene const& scene, Verdict& verdict) {
  auto const relation = scene.statement.get("relation");
  verdict.report({.rule = "cluster",
                  .relation = relation ? relation_name(relation) : "every clustered table",
                  .lock = kAx,
                  .work = Work::kRewrite,
                  .why = "the table is written anew while nobody can use it"});
}

void judge_refresh(Scene const& scene, Verdict& verdict) {
  auto const name = relation_name(scene.statement.get("relation"));
  if (scene.statement.flag("concurrent")) return verdict.touch(name, LockMode::kExclusive);
  verdict.report({.rule = "refresh-materialized-view",
                  .relation = name,
                  .lock = kAx,
                  .work = Work::kRewrite,
                  .why = "readers of the view wait while it is computed"});
}

void judge_drop_tables(Scene const& scene, Verdict& verdict) {
  bool const is_cascade = scene.statement.text("behavior") == "DROP_CASCADE";
  for (auto const& item : scene.statement.list("objects")) {
    auto const name = listed_name(item);
    verdict.report({.rule = "drop-table",
                    .relation = name,
                    .lock = kAx,
                    .why = "the table and its rows are gone; it waits for every query of it first"});
    if (is_cascade) {
      for (auto const& other : referring_to(scene.facts, name)) verdict.touch(other, kAx);
      verdict.report({.rule = "cascade",
                      .relation = name,
                      .lock = kAx,
                      .why = "foreign keys and views that use " + name + " go too"});
    }
    auto const* known = scene.facts.table(name);
    if (known == nullptr || known->is_new) continue;
    for (auto const& [constraint_name, constraint] : known->constraints) {
      if (constraint.kind == ConstraintKind::kForeignKey) verdict.touch(constraint.references, kAx);
    }
    if (!known->parent.empty()) verdict.touch(known->parent, kAx);
  }
}

struct Renamed {
  std::string_view type;
  std::string_view what;  // empty: nobody else goes by that name
  LockMode lock;
};

constexpr std::array<Renamed, 13> kRenamed{{{"OBJECT_TABLE", "table", kAx},
                                            {"OBJECT_COLUMN", "column", kAx},
                                            {"OBJECT_VIEW", "view", kAx},
                                            {"OBJECT_MATVIEW", "materialized view", kAx},
                                            {"OBJECT_FOREIGN_TABLE", "foreign table", kAx},
                                            {"OBJECT_SCHEMA", "schema", LockMode::kNone},
                                            {"OBJECT_TYPE", "type", LockMode::kNone},
                                            {"OBJECT_ATTRIBUTE", "attribute", LockMode::kNone},
                                            {"OBJECT_FUNCTION", "function", LockMode::kNone},
                                            {"OBJECT_SEQUENCE", "sequence", LockMode::kNone},
                                            {"OBJECT_TABCONSTRAINT", "", kAx},
                                            {"OBJECT_TRIGGER", "", kAx},
                                            {"OBJECT_POLICY", "", kAx}}};

void judge_rename(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  auto const type = statement.text("renameType");
  auto const relation = statement.get("relation") ? relation_name(statement.get("relation")) : string();
  for (auto const& each : kRenamed) {
    if (each.type != type) continue;
    if (each.what.empty()) return verdict.touch(relation, each.lock);
    string const name(type == "OBJECT_COLUMN" ? statement.text("subname") : std::string_view(relation));
    verdict.report({.rule = "rename",
                    .relation = each.lock == LockMode::kNone ? "" : relation,
                    .lock = each.lock,
                    .why = string(each.what) + (name.empty() ? "" : " " + name) + " is now called " +
                           string(statement.text("newname")) + ", and programs that still use the old name fail"});
    return;
  }
}

void judge_new_schema(Scene const& scene, Verdict& verdict) {
  auto const type = scene.statement.text("objectType");
  if (type != "OBJECT_TABLE" && type != "OBJECT_VIEW" && type != "OBJECT_MATVIEW") return;
  verdict.report({.rule = "rename",
                  .relation = relation_name(scene.statement.get("relation")),
                  .lock = kAx,
                  .why = "it moves to schema " + string(scene.statement.text("newschema")) +
                         "; programs that run now look for it where it was"});
}

}  // namespace

void judge_table(Scene const& scene, Verdict& verdict) {
  auto const kind = scene.statement.kind();
  if (kind == "CreateStmt") return judge_create(scene, verdict);
  if (kind == "LockStmt") return judge_lock(scene, verdict);
  if (kind == "TruncateStmt") return judge_truncate(scene, verdict);
  if (kind == "VacuumStmt") return judge_vacuum(scene, verdict);
  if (kind == "ClusterStmt") return judge_cluster(scene, verdict);
  if (kind == "RefreshMatViewStmt") return judge_refresh(scene, verdict);
  if (kind == "RenameStmt") return judge_rename(scene, verdict);
  if (kind == "AlterObjectSchemaStmt") return judge_new_schema(scene, verdict);
  if (kind == "DropStmt" && scene.statement.text("removeType") == "OBJECT_TABLE") judge_drop_tables(scene, verdict);
}

}  // namespace pgbackfill::planner::lint
