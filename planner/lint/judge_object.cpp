// Triggers, policies, types, views, schemas, settings.
#include <algorithm>
#include <array>

#include "planner/lint/verdict.h"

namespace pgbackfill::planner::lint {
namespace {

using std::string;

constexpr LockMode kAx = LockMode::kAccessExclusive;
constexpr LockMode kSre = LockMode::kShareRowExclusive;

void judge_create_trigger(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  if (statement.flag("replace") && scene.pg_major < 14) {
    verdict.report_always(
        {.rule = "not-in-version", .why = "CREATE OR REPLACE TRIGGER is there from PostgreSQL 14 on"});
  }
  verdict.report(
      {.rule = "create-trigger",
       .relation = relation_name(statement.get("relation")),
       .lock = kSre,
       .why = "it waits for every open transaction that wrote to the table, and later writers wait behind it"});
}

void judge_create_rule(Verdict& verdict, string const& table, string const& what) {
  verdict.report({.rule = "create-trigger",
                  .relation = table,
                  .lock = kAx,
                  .why = what + " waits for every query of the table, and all that come later wait behind it"});
}

struct Dropped {
  std::string_view type;
  std::string_view rule;
  std::string_view what;
};

constexpr std::array<Dropped, 14> kDropped{{{"OBJECT_VIEW", "drop-object", "view"},
                                            {"OBJECT_MATVIEW", "drop-object", "materialized view"},
                                            {"OBJECT_FOREIGN_TABLE", "drop-object", "foreign table"},
                                            {"OBJECT_FUNCTION", "drop-object", "function"},
                                            {"OBJECT_PROCEDURE", "drop-object", "procedure"},
                                            {"OBJECT_ROUTINE", "drop-object", "routine"},
                                            {"OBJECT_AGGREGATE", "drop-object", "aggregate"},
                                            {"OBJECT_TYPE", "drop-object", "type"},
                                            {"OBJECT_DOMAIN", "drop-object", "domain"},
                                            {"OBJECT_SEQUENCE", "drop-object", "sequence"},
                                            {"OBJECT_SCHEMA", "drop-schema", "schema"},
                                            {"OBJECT_EXTENSION", "drop-schema", "extension"},
                                            {"OBJECT_PUBLICATION", "drop-object", "publication"},
                                            {"OBJECT_COLLATION", "drop-object", "collation"}}};

bool is_view(std::string_view type) {
  return type == "OBJECT_VIEW" || type == "OBJECT_MATVIEW" || type == "OBJECT_FOREIGN_TABLE";
}

// Tables in a schema, and tables with a column of a type.
void touch_dependents(Scene const& scene, Verdict& verdict, std::string_view type, string const& name) {
  for (auto const& [table, known] : scene.facts.tables) {
    bool const is_in_schema = type == "OBJECT_SCHEMA" && table.starts_with(name + ".");
    bool const has_type = (type == "OBJECT_TYPE" || type == "OBJECT_DOMAIN") &&
                          std::any_of(known.columns.begin(), known.columns.end(),
                                      [&](auto const& column) { return column.second.type.name == name; });
    if (is_in_schema || has_type) verdict.touch(table, kAx);
  }
}

void judge_drop(Scene const& scene, Verdict& verdict) {
  auto const type = scene.statement.text("removeType");
  bool const is_cascade = scene.statement.text("behavior") == "DROP_CASCADE";
  for (auto const& each : kDropped) {
    if (each.type != type) continue;
    for (auto const& item : scene.statement.list("objects")) {
      auto const name = listed_name(item);
      // What this file has made itself may go as well.
      if (scene.facts.new_types.contains(name)) continue;
      auto const function = scene.facts.functions.find(name);
      if (type == "OBJECT_FUNCTION" && function != scene.facts.functions.end() && function->second.is_new) continue;
      string const relation = is_view(type) ? name : "";
      auto const lock = is_view(type) ? kAx : LockMode::kNone;
      verdict.report({.rule = each.rule,
                      .relation = relation,
                      .lock = lock,
                      .why = string(each.what) + " " + name + " is gone, and what still uses it fails"});
      if (!is_cascade) continue;
      touch_dependents(scene, verdict, type, name);
      verdict.report({.rule = "cascade",
                      .relation = relation,
                      .lock = lock,
                      .why = "everything that depends on " + string(each.what) + " " + name +
                             " goes too, columns and "
                             "tables among it"});
    }
  }
}

// DROP TRIGGER name ON table: the table's name, then its own.
void judge_drop_of_table(Scene const& scene, Verdict& verdict) {
  for (auto const& item : scene.statement.list("objects")) {
    auto names = item.list("items");
    if (names.size() < 2) continue;
    names.pop_back();
    verdict.report({.rule = "drop-object",
                    .relation = joined_name(names),
                    .lock = kAx,
                    .why =
                        "it waits for every query of the table, and all that come later wait behind it; what it did is "
                        "no longer done"});
  }
}

void judge_enum(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  auto const type = joined_name(statement.list("typeName"));
  if (scene.facts.new_types.contains(type)) return;
  if (!statement.text("oldVal").empty()) {
    return verdict.report(
        {.rule = "rename",
         .why = "programs that run now still send " + string(statement.text("oldVal")) + " and fail"});
  }
  verdict.report(
      {.rule = "enum-add-value",
       .why = "a value of an enum cannot be dropped again" +
              string(scene.is_in_transaction ? ", and this transaction cannot use it before it has ended" : "")});
}

void judge_domain(Scene const& scene, Verdict& verdict) {
  auto const subtype = scene.statement.text("subtype");
  bool const is_checked =
      (subtype == "C" && !scene.statement.get("def").flag("skip_validation")) || subtype == "O" || subtype == "V";
  if (!is_checked) return;
  auto const domain = joined_name(scene.statement.list("typeName"));
  bool is_used = false;
  auto const report = [&](string const& table) {
    is_used = true;
    verdict.report({.rule = "alter-domain",
                    .relation = table,
                    .lock = LockMode::kShare,
                    .work = Work::kScan,
                    .why = "every table with a column of domain " + domain + " is read while writes to it wait"});
  };
  for (auto const& [name, known] : scene.facts.tables) {
    for (auto const& [column, each] : known.columns) {
      if (each.type.name == domain) report(name);
    }
  }
  if (!is_used && !scene.facts.domains.contains(domain)) report("tables that use " + domain);
}

void judge_setting(Scene const& scene, Verdict& verdict) {
  auto const args = scene.statement.list("args");
  bool const is_off = scene.statement.text("name") == "session_replication_role" && !args.empty() &&
                      args.front().get("sval").text("sval") == "replica";
  if (!is_off) return;
  verdict.report(
      {.rule = "disable-trigger",
       .why = "triggers and foreign keys are off for all that this session does: rows that break them get in"});
}

void touch_commented(Scene const& scene, Verdict& verdict) {
  auto const type = scene.statement.text("objtype");
  auto names = scene.statement.get("object").list("items");
  if (type == "OBJECT_COLUMN" && !names.empty()) names.pop_back();
  if (type == "OBJECT_COLUMN" || type == "OBJECT_TABLE")
    verdict.touch(joined_name(names), LockMode::kShareUpdateExclusive);
}

void touch_listed(SyntaxNode statement, std::string_view field, Verdict& verdict) {
  for (auto const& each : statement.list(field)) {
    auto const published = each.get("pubtable").get("relation");
    auto const name = relation_name(published ? published : each);
    if (!name.empty()) verdict.touch(name, LockMode::kShareUpdateExclusive);
  }
}

}  // namespace

void judge_object(Scene const& scene, Verdict& verdict) {
  auto const statement = scene.statement;
  auto const kind = statement.kind();
  auto const removed = statement.text("removeType");
  if (kind == "CreateTrigStmt") return judge_create_trigger(scene, verdict);
  if (kind == "RuleStmt") return judge_create_rule(verdict, relation_name(statement.get("relation")), "a rule");
  if (kind == "CreatePolicyStmt" || kind == "AlterPolicyStmt") {
    return judge_create_rule(verdict, relation_name(statement.get("table")), "a policy");
  }
  if (kind == "AlterEnumStmt") return judge_enum(scene, verdict);
  if (kind == "AlterDomainStmt") return judge_domain(scene, verdict);
  if (kind == "VariableSetStmt") return judge_setting(scene, verdict);
  if (kind == "CommentStmt") return touch_commented(scene, verdict);
  if (kind == "CreateStatsStmt") return touch_listed(statement, "relations", verdict);
  if (kind == "CreatePublicationStmt" || kind == "AlterPublicationStmt") {
    return touch_listed(statement, "pubobjects", verdict);
  }
  if (kind == "DropStmt" && (removed == "OBJECT_TRIGGER" || removed == "OBJECT_RULE" || removed == "OBJECT_POLICY")) {
    return judge_drop_of_table(scene, verdict);
  }
  if (kind == "DropStmt") return judge_drop(scene, verdict);
  if (kind == "DropdbStmt" || kind == "DropOwnedStmt") {
    verdict.report({.rule = "drop-schema", .why = "everything in it is gone"});
  }
}

}  // namespace pgbackfill::planner::lint
