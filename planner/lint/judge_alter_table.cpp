// ALTER TABLE, command by command.
#include <algorithm>
#include <array>

#include "planner/lint/type_change.h"
#include "planner/lint/verdict.h"
#include "planner/lint/volatility.h"

namespace pgbackfill::planner::lint {
namespace {

using std::string;

constexpr LockMode kAx = LockMode::kAccessExclusive;
constexpr LockMode kSre = LockMode::kShareRowExclusive;
constexpr LockMode kSue = LockMode::kShareUpdateExclusive;

string word(std::string_view text) {
  return string(text);
}

bool is_one_of(std::string_view subtype, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), subtype) != names.end();
}

class AlterTable {
 public:
  AlterTable(Scene const& scene, Verdict& verdict)
      : scene_(scene), facts_(scene.facts), verdict_(verdict), table_(relation_name(scene.statement.get("relation"))) {}

  void judge() {
    for (auto const& command : scene_.statement.list("cmds")) judge_command(command);
    judge_validation_beside_others();
  }

 private:
  void judge_command(SyntaxNode command) {
    auto const subtype = command.text("subtype");
    if (subtype == "AT_AddColumn") return add_column(command.get("def"));
    if (subtype == "AT_DropColumn") return drop_column(command);
    if (subtype == "AT_SetNotNull") return set_not_null(word(command.text("name")));
    if (subtype == "AT_AlterColumnType") return change_type(command);
    if (subtype == "AT_AddConstraint") return add_constraint(command.get("def"));
    if (subtype == "AT_DropConstraint") return drop_constraint(word(command.text("name")));
    if (subtype == "AT_ValidateConstraint") return validate(word(command.text("name")));
    if (subtype == "AT_AttachPartition") return attach(command.get("def"));
    if (subtype == "AT_DetachPartition") return detach(command.get("def"));
    judge_setting(subtype, command);
  }

  void judge_setting(std::string_view subtype, SyntaxNode command) {
    if (is_one_of(subtype, {"AT_SetStatistics", "AT_SetOptions", "AT_ResetOptions", "AT_SetRelOptions",
                            "AT_ResetRelOptions", "AT_ClusterOn", "AT_DropCluster", "AT_DetachPartitionFinalize"})) {
      return verdict_.touch(table_, kSue);
    }
    if (is_one_of(subtype, {"AT_DisableTrig", "AT_DisableTrigAll", "AT_DisableTrigUser"})) {
      return report({.rule = "disable-trigger",
                     .lock = kSre,
                     .why = "rows that change from here on are not checked or copied by it; switching it on again does "
                            "not go back over them"});
    }
    if (is_one_of(subtype, {"AT_EnableTrig", "AT_EnableTrigAll", "AT_EnableTrigUser", "AT_EnableAlwaysTrig",
                            "AT_EnableReplicaTrig"})) {
      return verdict_.touch(table_, kSre);
    }
    if (is_one_of(subtype, {"AT_SetLogged", "AT_SetUnLogged", "AT_SetTableSpace", "AT_SetAccessMethod"})) {
      return report({.rule = "rewrite-table", .lock = kAx, .work = Work::kRewrite, .why = "the table is copied whole"});
    }
    if (is_one_of(subtype,
                  {"AT_EnableRowSecurity", "AT_DisableRowSecurity", "AT_ForceRowSecurity", "AT_NoForceRowSecurity"})) {
      return report({.rule = "row-security", .lock = kAx, .why = "which rows clients see changes at once"});
    }
    if (subtype == "AT_ReplicaIdentity" && command.get("def").text("identity_type") == "f") {
      return report({.rule = "replica-identity-full",
                     .lock = kAx,
                     .why =
                         "each update and delete writes the whole old row to WAL, and a subscriber without a fitting "
                         "index looks for it by reading its table"});
    }
    if (subtype == "AT_SetCompression") need(14, "SET COMPRESSION");
    if (subtype == "AT_AddInherit") verdict_.touch(relation_name(command.get("def")), kSue);
    verdict_.touch(table_, kAx);
  }

  // ---- columns

  void add_column(SyntaxNode column) {
    string const name = word(column.text("colname"));
    auto const at = column.number("location");
    verdict_.touch(table_, kAx);
    if (string const reason = rewrite_reason(column); !reason.empty()) {
      report({.rule = "add-column-rewrite",
              .lock = kAx,
              .work = Work::kRewrite,
              .why = reason + ": every row gets its own value, and so the whole table is written",
              .location = at});
    }
    auto const type = type_of(column.get("typeName"));
    if (!is_known_type(type, facts_)) {
      report({.rule = "add-column-rewrite",
              .lock = kAx,
              .work = Work::kRewrite,
              .why = "type " + type.name +
                     " is not known here; if it is a domain with a constraint, the whole table is "
                     "written (lint the files before it too, or give --schema)",
              .risk = Risk::kMedium,
              .location = at});
    }
    for (auto const& constraint : column.list("constraints")) add_column_constraint(column, constraint, name);
    if (is_not_null_without_value(column)) {
      report({.rule = "add-column-not-null",
              .lock = kAx,
              .why = "rows that are there would have no value for " + name + ": it fails unless the table is empty",
              .location = at});
    }
  }

  string rewrite_reason(SyntaxNode column) const {
    auto const type_names = column.get("typeName").list("names");
    auto const type = joined_name(type_names);
    if (type.find("serial") != string::npos) return "type " + type + " counts up";
    for (auto const& constraint : column.list("constraints")) {
      auto const kind = constraint.text("contype");
      if (kind == "CONSTR_IDENTITY") return "an identity counts up";
      if (kind == "CONSTR_GENERATED") return "a stored generated column is computed for each row";
      if (kind != "CONSTR_DEFAULT") continue;
      auto const function = volatile_function_in(constraint.get("raw_expr"), facts_);
      if (!function.empty()) return "the default calls " + function + "(), which is volatile or not known to be STABLE";
    }
    auto const domain = facts_.domains.find(type);
    if (domain != facts_.domains.end() && domain->second.has_constraint)
      return "domain " + type + " has a constraint to be checked";
    return {};
  }

  static bool has_value(SyntaxNode column) {
    for (auto const& constraint : column.list("constraints")) {
      auto const kind = constraint.text("contype");
      if (kind == "CONSTR_IDENTITY" || kind == "CONSTR_GENERATED") return true;
      if (kind == "CONSTR_DEFAULT" && !constraint.get("raw_expr").flag("isnull")) return true;
    }
    return joined_name(column.get("typeName").list("names")).find("serial") != string::npos;
  }

  static bool is_not_null_without_value(SyntaxNode column) {
    bool is_not_null = false;
    for (auto const& constraint : column.list("constraints")) {
      auto const kind = constraint.text("contype");
      is_not_null = is_not_null || kind == "CONSTR_NOTNULL" || kind == "CONSTR_PRIMARY";
    }
    return is_not_null && !has_value(column);
  }

  void add_column_constraint(SyntaxNode column, SyntaxNode constraint, string const& name) {
    auto const kind = constraint.text("contype");
    auto const at = constraint.number("location");
    if (kind == "CONSTR_CHECK") {
      report({.rule = "add-column-check",
              .lock = kAx,
              .work = Work::kScan,
              .why = "the check on " + name + " is made for each row while nobody can use the table",
              .location = at});
    } else if (kind == "CONSTR_UNIQUE" || kind == "CONSTR_PRIMARY") {
      report({.rule = "add-column-unique",
              .lock = kAx,
              .work = Work::kIndexBuild,
              .why = "the index on " + name + " is built while nobody can use the table",
              .location = at});
    } else if (kind == "CONSTR_FOREIGN") {
      add_column_reference(column, constraint, name);
    }
  }

  void add_column_reference(SyntaxNode column, SyntaxNode constraint, string const& name) {
    auto const parent = relation_name(constraint.get("pktable"));
    if (!has_value(column)) return verdict_.touch(parent, kSre);
    report({.rule = "add-column-foreign-key",
            .lock = kAx,
            .work = Work::kScan,
            .why = "the value of " + name + " is looked up in " + parent + " for each row, and writes to " + parent +
                   " wait as well",
            .location = constraint.number("location")});
    verdict_.touch(parent, kSre, Work::kScan);
  }

  void drop_column(SyntaxNode command) {
    string const name = word(command.text("name"));
    report({.rule = "drop-column",
            .lock = kAx,
            .why = "column " + name + " and its values are gone, and clients that still name it fail"});
    lock_referenced([&](KnownConstraint const& each) { return each.columns.contains(name); });
    if (command.text("behavior") == "DROP_CASCADE") report_cascade();
  }

  void set_not_null(string const& column) {
    auto const* known = facts_.column(table_, column);
    if ((known != nullptr && known->is_not_null) || is_proven_not_null(column)) return verdict_.touch(table_, kAx);
    report({.rule = "set-not-null",
            .lock = kAx,
            .work = Work::kScan,
            .why = "every row is read to see that " + column + " is nowhere NULL, while nobody can use the table",
            .instead = "`- set_not_null: " + column + "`: a CHECK (" + column +
                       " IS NOT NULL) NOT VALID, validated while work goes on, spares the reading"});
  }

  // A check that the same ALTER drops is gone before NOT NULL is looked at.
  bool is_proven_not_null(string const& column) const {
    auto const* known = facts_.table(table_);
    if (known == nullptr) return false;
    return std::any_of(known->constraints.begin(), known->constraints.end(), [&](auto const& each) {
      return each.second.is_valid && each.second.proves_not_null.contains(column) && !is_dropped_here(each.first);
    });
  }

  bool is_dropped_here(string const& constraint) const {
    auto const commands = scene_.statement.list("cmds");
    return std::any_of(commands.begin(), commands.end(), [&](SyntaxNode command) {
      return command.text("subtype") == "AT_DropConstraint" && command.text("name") == constraint;
    });
  }

  void change_type(SyntaxNode command) {
    string const column = word(command.text("name"));
    auto const def = command.get("def");
    auto const to = type_of(def.get("typeName"));
    auto const* known = facts_.column(table_, column);
    auto const from = known == nullptr ? ColumnType{} : known->type;
    verdict_.touch(table_, kAx);
    bool const is_computed = has_other_using(def.get("raw_default"), column);
    auto const change = is_computed ? TypeChange::kRewrite : judge_type_change(from, to, facts_);
    string const what = column + (from.name.empty() ? "" : " from " + to_string(from)) + " to " + to_string(to);
    auto const report_as = [&](Work work, string const& why) {
      report({.rule = "change-type",
              .lock = kAx,
              .work = work,
              .why = why,
              .location = std::max<std::int64_t>(def.number("location"), 0)});
    };
    if (change == TypeChange::kRewrite) {
      report_as(Work::kRewrite, "changing " + what + " writes every row and every index anew");
      lock_joined(column, Work::kScan);
    } else if (change == TypeChange::kUnknown) {
      report_as(Work::kRewrite, "what " + what +
                                    " costs depends on a type that is not known here; it may write every "
                                    "row anew (lint the files before it too, or give --schema)");
    } else if (is_computed_on(column) ||
               ((change == TypeChange::kIndexes || def.get("collClause")) && is_indexed(column))) {
      report_as(Work::kIndexBuild, "changing " + what + " keeps the rows but builds indexes anew");
    } else if (is_checked(column)) {
      report_as(Work::kScan,
                "changing " + what + " keeps the rows, but a CHECK on the column is made for each of them");
    }
  }

  // USING the column itself, or a cast of it to the new type, says nothing new.
  static bool has_other_using(SyntaxNode expression, string const& column) {
    if (expression.is("TypeCast")) expression = expression.get("arg");
    if (!expression) return false;
    if (!expression.is("ColumnRef")) return true;
    auto const fields = expression.list("fields");
    return fields.empty() || fields.back().text("sval") != column;
  }

  bool is_computed_on(string const& column) const {
    return std::any_of(facts_.indexes.begin(), facts_.indexes.end(), [&](auto const& each) {
      return each.second.table == table_ && each.second.computed_columns.contains(column);
    });
  }

  // Also where too little is known to say no.
  bool is_indexed(string const& column) const {
    return facts_.column(table_, column) == nullptr ||
           std::any_of(facts_.indexes.begin(), facts_.indexes.end(), [&](auto const& each) {
             auto const& columns = each.second.columns;
             return each.second.table == table_ && std::find(columns.begin(), columns.end(), column) != columns.end();
           });
  }

  bool is_checked(string const& column) const {
    auto const* known = facts_.table(table_);
    return known != nullptr && std::any_of(known->constraints.begin(), known->constraints.end(), [&](auto const& each) {
             return each.second.kind == ConstraintKind::kCheck && each.second.is_valid &&
                    each.second.columns.contains(column);
           });
  }

  // ---- constraints

  void add_constraint(SyntaxNode constraint) {
    auto const kind = constraint.text("contype");
    auto const at = constraint.number("location");
    bool const is_not_valid = constraint.flag("skip_validation");
    if (kind == "CONSTR_FOREIGN") return add_foreign_key(constraint, is_not_valid);
    verdict_.touch(table_, kAx);
    if (kind == "CONSTR_CHECK" && !is_not_valid) {
      report({.rule = "add-check",
              .lock = kAx,
              .work = Work::kScan,
              .why = "every row is checked while nobody can use the table",
              .location = at});
    } else if (kind == "CONSTR_EXCLUSION") {
      report({.rule = "add-exclusion",
              .lock = kAx,
              .work = Work::kIndexBuild,
              .why = "its index is built while nobody can use the table",
              .location = at});
    } else if (kind == "CONSTR_UNIQUE" && constraint.text("indexname").empty()) {
      report({.rule = "add-unique",
              .lock = kAx,
              .work = Work::kIndexBuild,
              .why = "its index is built while nobody can use the table",
              .location = at});
    } else if (kind == "CONSTR_PRIMARY") {
      add_primary_key(constraint);
    }
    if (constraint.flag("nulls_not_distinct")) need(15, "NULLS NOT DISTINCT");
  }

  void add_primary_key(SyntaxNode constraint) {
    auto const index_name = word(constraint.text("indexname"));
    auto const at = constraint.number("location");
    if (index_name.empty()) {
      return report({.rule = "add-primary-key",
                     .lock = kAx,
                     .work = Work::kIndexBuild,
                     .why = "its index is built while nobody can use the table",
                     .location = at});
    }
    auto const* index = facts_.index(index_name);
    if (index == nullptr) {
      return report({.rule = "add-primary-key",
                     .lock = kAx,
                     .work = Work::kScan,
                     .why = "unless each column of " + index_name + " is NOT NULL already, every row is read",
                     .risk = Risk::kMedium,
                     .location = at});
    }
    for (auto const& column : index->columns) {
      auto const* known = facts_.column(table_, column);
      if ((known != nullptr && known->is_not_null) || is_proven_not_null(column)) continue;
      return report({.rule = "add-primary-key",
                     .lock = kAx,
                     .work = Work::kScan,
                     .why = column + " is not NOT NULL, and so every row is read to make it that",
                     .instead = "step `set_not_null` on " + column + " first",
                     .location = at});
    }
  }

  void add_foreign_key(SyntaxNode constraint, bool is_not_valid) {
    auto const parent = relation_name(constraint.get("pktable"));
    auto const* known = facts_.table(table_);
    bool const is_partitioned = known != nullptr && known->kind == RelationKind::kPartitioned;
    if (is_not_valid && is_partitioned) need(18, "a foreign key NOT VALID of a partitioned table");
    verdict_.touch(table_, kSre);
    verdict_.touch(parent, kSre, is_not_valid || facts_.is_new(table_) ? Work::kNone : Work::kScan);
    if (is_not_valid) return;
    report({.rule = "add-foreign-key",
            .lock = kSre,
            .work = Work::kScan,
            .why = "every row is looked up in " + parent + " while writes to both tables wait",
            .location = constraint.number("location")});
  }

  // Under a name that the same statement gives to another one: it is changed, and keeps out what that one does.
  bool is_made_anew(string const& name) const {
    auto const commands = scene_.statement.list("cmds");
    return std::any_of(commands.begin(), commands.end(), [&](SyntaxNode command) {
      return command.text("subtype") == "AT_AddConstraint" && command.get("def").text("conname") == name;
    });
  }

  void drop_constraint(string const& name) {
    if (is_made_anew(name)) {
      verdict_.touch(table_, kAx);
    } else {
      report(
          {.rule = "drop-constraint", .lock = kAx, .why = "rows that " + name + " kept out can come in from here on"});
    }
    auto const* known = facts_.table(table_);
    if (known == nullptr) return;
    auto const constraint = known->constraints.find(name);
    if (constraint != known->constraints.end() && constraint->second.kind == ConstraintKind::kForeignKey) {
      verdict_.touch(constraint->second.references, kAx);
    }
  }

  void validate(string const& name) {
    verdict_.touch(table_, kSue, Work::kScan);
    auto const* known = facts_.table(table_);
    if (known == nullptr) return;
    auto const constraint = known->constraints.find(name);
    if (constraint != known->constraints.end() && constraint->second.kind == ConstraintKind::kForeignKey) {
      verdict_.touch(constraint->second.references, LockMode::kRowShare);
    }
  }

  // The strongest lock of an ALTER TABLE is taken for all of it.
  void judge_validation_beside_others() {
    auto const commands = scene_.statement.list("cmds");
    bool const validates = std::any_of(commands.begin(), commands.end(), [](SyntaxNode command) {
      return command.text("subtype") == "AT_ValidateConstraint";
    });
    if (!validates || commands.size() == 1) return;
    for (auto const& effect : verdict_.effects()) {
      if (effect.relation != table_ || effect.lock < LockMode::kShare) continue;
      return report({.rule = "work-under-lock",
                     .lock = effect.lock,
                     .work = Work::kScan,
                     .why = "VALIDATE beside other commands reads the table under the strongest lock of them all",
                     .instead = "VALIDATE CONSTRAINT in a statement and transaction of its own"});
    }
  }

  // ---- partitions

  void attach(SyntaxNode command) {
    auto const part = relation_name(command.get("name"));
    verdict_.touch(table_, kSue);
    verdict_.touch(part, kAx);
    if (!implies_bound(part)) {
      verdict_.report({.rule = "attach-partition",
                       .relation = part,
                       .lock = kAx,
                       .work = Work::kScan,
                       .why = "every row of " + part +
                              " is read to see that it belongs there, unless a valid CHECK says "
                              "the same as the bounds (NOT NULL included)"});
    }
    auto const* parent = facts_.table(table_);
    bool const is_default = command.get("bound").flag("is_default");
    if (parent == nullptr && !is_default) {
      verdict_.report({.rule = "attach-partition",
                       .relation = "the default partition of " + table_,
                       .lock = kAx,
                       .work = Work::kScan,
                       .why = "if there is one, every row of it is read to see that none belongs to the new one",
                       .risk = Risk::kMedium});
    }
    if (parent == nullptr || parent->default_partition.empty() || parent->default_partition == part) return;
    verdict_.report({.rule = "attach-partition",
                     .relation = parent->default_partition,
                     .lock = kAx,
                     .work = Work::kScan,
                     .why =
                         "every row of the default partition is read to see that none belongs to the new one, unless "
                         "a valid CHECK keeps them out"});
  }

  // What a check says is not computed here; that there is one, which also rules out NULLs, is taken for the intent.
  bool implies_bound(string const& part) const {
    auto const* known = facts_.table(part);
    return known != nullptr && std::any_of(known->constraints.begin(), known->constraints.end(), [&](auto const& each) {
             auto const& constraint = each.second;
             bool const rules_out_null =
                 !constraint.proves_not_null.empty() ||
                 std::any_of(constraint.columns.begin(), constraint.columns.end(), [&](auto const& column) {
                   auto const* named = facts_.column(part, column);
                   return named != nullptr && named->is_not_null;
                 });
             return constraint.kind == ConstraintKind::kCheck && constraint.is_valid && rules_out_null;
           });
  }

  void detach(SyntaxNode command) {
    auto const part = relation_name(command.get("name"));
    if (command.flag("concurrent")) {
      need(14, "DETACH PARTITION ... CONCURRENTLY");
      verdict_.touch(table_, kSue);
      return verdict_.touch(part, kSue);
    }
    report({.rule = "detach-partition",
            .lock = kAx,
            .why = "it waits for every query of " + table_ + ", and all that come later wait behind it"});
    verdict_.touch(part, scene_.pg_major >= 14 ? kAx : kSue);
  }

  // ---- parts

  void report(Remark remark) {
    remark.relation = table_;
    verdict_.report(std::move(remark));
  }

  void report_cascade() {
    report({.rule = "cascade", .lock = kAx, .why = "views, constraints and whatever else uses it go too"});
  }

  void need(int major, string const& form) {
    if (scene_.pg_major >= major) return;
    verdict_.report_always(
        {.rule = "not-in-version", .why = form + " is there from PostgreSQL " + std::to_string(major) + " on"});
  }

  template <class Predicate>
  void lock_referenced(Predicate is_meant) {
    auto const* known = facts_.table(table_);
    if (known == nullptr) return;
    for (auto const& [name, constraint] : known->constraints) {
      bool const is_key = constraint.kind == ConstraintKind::kForeignKey;
      if (is_key && is_meant(constraint)) verdict_.touch(constraint.references, kAx);
    }
  }

  // A foreign key is checked anew when a column of either side is rewritten.
  void lock_joined(string const& column, Work work) {
    for (auto const& [other, known] : facts_.tables) {
      for (auto const& [name, constraint] : known.constraints) {
        if (constraint.kind != ConstraintKind::kForeignKey) continue;
        if (other == table_ && constraint.columns.contains(column)) verdict_.touch(constraint.references, kAx, work);
        auto const* index = facts_.index(constraint.references + "_pkey");
        bool const is_referenced =
            constraint.references == table_ && index != nullptr &&
            std::find(index->columns.begin(), index->columns.end(), column) != index->columns.end();
        if (is_referenced) verdict_.touch(other, kAx, work);
      }
    }
  }

  Scene const& scene_;
  SchemaFacts const& facts_;
  Verdict& verdict_;
  string table_;
};

void judge_alter_index(Scene const& scene, Verdict& verdict) {
  auto const name = relation_name(scene.statement.get("relation"));
  for (auto const& command : scene.statement.list("cmds")) {
    if (command.text("subtype") != "AT_SetTableSpace") continue;
    verdict.report({.rule = "rewrite-table",
                    .relation = name,
                    .lock = LockMode::kAccessExclusive,
                    .work = Work::kRewrite,
                    .why = "the index is copied whole, and queries of its table wait",
                    .instead = "`REINDEX INDEX CONCURRENTLY` with TABLESPACE (PostgreSQL 14 and later)"});
  }
}

}  // namespace

void judge_alter_table(Scene const& scene, Verdict& verdict) {
  if (scene.statement.is("AlterTableMoveAllStmt")) {
    verdict.report({.rule = "rewrite-table",
                    .lock = LockMode::kAccessExclusive,
                    .work = Work::kRewrite,
                    .why = "every table of the tablespace is copied whole"});
  }
  if (!scene.statement.is("AlterTableStmt")) return;
  auto const type = scene.statement.text("objtype");
  if (type == "OBJECT_INDEX") return judge_alter_index(scene, verdict);
  if (type == "OBJECT_TABLE" || type == "OBJECT_MATVIEW" || type == "OBJECT_FOREIGN_TABLE") {
    AlterTable(scene, verdict).judge();
  }
}

}  // namespace pgbackfill::planner::lint
