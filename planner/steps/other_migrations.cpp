#include "planner/steps/other_migrations.h"

#include <algorithm>
#include <cctype>
#include <utility>
#include <variant>

#include "planner/model/check.h"
#include "planner/model/sql_facts.h"
#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/sql/batch_placeholder.h"
#include "planner/sql/sql_script.h"
#include "planner/sql/sql_syntax.h"
#include "planner/steps/sync_sql.h"

namespace pgbackfill::planner {
namespace {

bool contains(std::vector<std::string> const& names, std::string const& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// Adds what expressions name; true if they may read any column.
bool add_columns(SqlFacts const& facts, TableName const& table, std::vector<std::string>& columns) {
  bool is_of_all = !facts.is_read || facts.takes_all_columns;
  for (auto const& one : facts.columns) {
    is_of_all = is_of_all || (one.table.empty() && one.name == table.name);
    columns.push_back(one.name);
  }
  return is_of_all;
}

std::vector<std::string> expressions_of(std::vector<Assignment> const& assignments) {
  std::vector<std::string> expressions;
  for (auto const& one : assignments) expressions.push_back(one.expression);
  return expressions;
}

void add_written(std::vector<Assignment> const& assignments, std::vector<std::string>& columns) {
  for (auto const& one : assignments) columns.push_back(one.column);
}

Need need_of(std::string const& migration, std::string part, TableName table) {
  Need need;
  need.migration = migration;
  need.part = std::move(part);
  need.table = std::move(table);
  return need;
}

// --- what is needed

// Tables that a statement or a subquery names beside its own.
void add_other_tables(SqlFacts const& facts, Need const& own, std::vector<Need>& needs) {
  for (auto const& use : facts.relations) {
    if (use.relation.name == own.table.name) continue;
    auto need = need_of(own.migration, own.part, use.relation);
    add_columns(facts, use.relation, need.columns);
    needs.push_back(std::move(need));
  }
}

// The column that an expression is no more than; empty: it is more.
std::string column_alone(std::string const& expression) {
  auto const facts = facts_of_expressions({expression});
  return facts.is_one_column && facts.columns.size() == 1 ? facts.columns.front().name : "";
}

// The columns of the copy that hold those of the table; empty: not all of them.
std::vector<std::string> copied_as(std::vector<std::string> const& names, std::vector<Assignment> const& columns) {
  std::vector<std::string> copied;
  for (auto const& name : names) {
    for (auto const& one : columns) {
      if (column_alone(one.expression) == name) copied.push_back(one.column);
    }
  }
  return copied.size() == names.size() ? copied : std::vector<std::string>();
}

// What the expressions of these columns read.
std::vector<std::string> sources_of(std::vector<Assignment> const& assignments, std::vector<std::string> const& key) {
  std::vector<std::string> expressions;
  for (auto const& one : assignments) {
    if (contains(key, one.column)) expressions.push_back(one.expression);
  }
  std::vector<std::string> sources;
  for (auto const& one : facts_of_expressions(expressions).columns) sources.push_back(one.name);
  return sources;
}

void add_sync(Migration const& migration, std::vector<Need>& needs) {
  constexpr char kPart[] = "its sync trigger";
  auto const& kind = migration.sync->install.detail->kind;
  if (auto const* sync = std::get_if<InstallSync>(&kind)) {
    auto need = need_of(migration.name, kPart, sync->table);
    for (auto const* side : {&sync->set, &sync->reverse}) {
      auto const facts = facts_of_expressions(expressions_of(*side));
      bool const all = add_columns(facts, sync->table, need.columns);
      need.is_of_all = need.is_of_all || all;
      add_other_tables(facts, need, needs);
      add_written(*side, need.columns);
    }
    needs.push_back(std::move(need));
    return;
  }
  auto const& mirror = std::get<InstallMirror>(kind);
  auto expressions = expressions_of(mirror.columns);
  expressions.push_back(mirror.where);
  auto source = need_of(migration.name, kPart, mirror.table);
  source.is_of_all = add_columns(facts_of_expressions(expressions), mirror.table, source.columns);
  auto copy = need_of(migration.name, kPart, mirror.to);
  add_written(mirror.columns, copy.columns);
  // By the one it finds the row of the copy (ON CONFLICT); without the other two rows become one there.
  copy.key = mirror.key;
  source.key = sources_of(mirror.columns, mirror.key);
  for (auto* need : {&source, &copy}) need->is_key_unique = true;
  needs.push_back(std::move(source));
  needs.push_back(std::move(copy));
}

void add_job(Migration const& migration, OpenParts const& open, std::vector<Need>& needs) {
  constexpr char kPart[] = "its backfill";
  auto const& backfill = *migration.backfill;
  auto need = need_of(migration.name, kPart, backfill.table);
  auto expressions = expressions_of(backfill.assignments);
  expressions.push_back(backfill.where);
  bool const is_sql = backfill.kind == WorkKind::kSql;
  auto const facts =
      is_sql ? facts_of_statement(with_batch_as(backfill.sql, "true")) : facts_of_expressions(expressions);
  need.is_of_all = add_columns(facts, backfill.table, need.columns);
  for (auto const& one : facts.assigned) need.columns.push_back(one.column);
  add_other_tables(facts, need, needs);
  need.columns.insert(need.columns.end(), open.key.begin(), open.key.end());
  need.indexes = open.indexes;
  need.key = open.key;
  if (backfill.kind == WorkKind::kUpdate) add_written(backfill.assignments, need.columns);
  if (backfill.kind == WorkKind::kCopy) {
    auto copy = need_of(migration.name, kPart, backfill.copy_to);
    add_written(backfill.assignments, copy.columns);
    copy.key = copied_as(open.key, backfill.assignments);
    copy.is_key_unique = true;
    needs.push_back(std::move(copy));
  }
  if (backfill.move_to) {
    auto target = need_of(migration.name, kPart, *backfill.move_to);
    target.is_of_all = true;  // columns of the same names
    needs.push_back(std::move(target));
  }
  if (backfill.dedupe) {
    auto groups = need_of(migration.name, kPart, backfill.table);
    groups.columns = backfill.dedupe->by;
    groups.key = backfill.dedupe->by;
    groups.is_key_a_beginning = true;
    needs.push_back(std::move(groups));
  }
  needs.push_back(std::move(need));
}

// --- what checks ask

void add_columns_of(std::string const& where, TableName const& table, Need& need) {
  if (where.empty()) return;
  need.is_of_all = add_columns(facts_of_expressions({where}), table, need.columns);
}

void add_check(ZeroCheck const& check, Need const& own, std::vector<Need>& needs) {
  add_other_tables(facts_of_statement(check.sql), own, needs);
}
void add_check(RowCountCheck const& check, Need need, std::vector<Need>& needs) {
  need.table = check.same_as;
  needs.push_back(need);
  need.table = check.table;
  add_columns_of(check.where, check.table, need);
  needs.push_back(std::move(need));
}
void add_check(NoOrphansCheck const& check, Need need, std::vector<Need>& needs) {
  need.table = check.references;
  need.columns = check.to;
  needs.push_back(need);
  need.table = check.table;
  need.columns = check.columns;
  needs.push_back(std::move(need));
}
void add_check(NoDuplicatesCheck const& check, Need need, std::vector<Need>& needs) {
  need.table = check.table;
  need.columns = check.columns;
  add_columns_of(check.where, check.table, need);
  needs.push_back(std::move(need));
}
void add_check(ConstraintsValidCheck const& check, Need need, std::vector<Need>& needs) {
  need.table = check.table;
  needs.push_back(std::move(need));
}
void add_check(AgreesCheck const& check, Need need, std::vector<Need>& needs) {
  need.table = check.table;
  auto expressions = expressions_of(check.set);
  expressions.push_back(check.where);
  auto const facts = facts_of_expressions(expressions);
  need.is_of_all = add_columns(facts, check.table, need.columns);
  add_other_tables(facts, need, needs);
  add_written(check.set, need.columns);
  needs.push_back(std::move(need));
}

// While a job goes on, or contract steps are to come, its checks will be asked again.
void add_checks(Migration const& migration, OpenParts const& open, std::vector<Need>& needs) {
  if (!open.has_job && open.contract.empty()) return;
  for (auto const& check : migration.verify) {
    auto const own = need_of(migration.name, "its check " + check_text(check), {});
    std::visit([&](auto const& kind) { add_check(kind, own, needs); }, check.kind);
  }
}

struct Named {
  TableName table;
  std::vector<std::string> columns;
};

// What a step of contract has to find there. One that takes away itself needs nothing.
template <class Detail>
Named named_by(Detail const& /*step*/) {
  return {};
}
Named named_by(SetNotNull const& step) {
  return {step.table, {step.column}};
}
Named named_by(DropNotNull const& step) {
  return {step.table, {step.column}};
}
Named named_by(SetDefault const& step) {
  return {step.table, {step.column}};
}
Named named_by(ChangeType const& step) {
  return {step.table, {step.column}};
}
Named named_by(RenameColumn const& step) {
  return {step.table, {step.column}};
}
Named named_by(SwapColumn const& step) {
  return {step.table, {step.column, step.with}};
}
Named named_by(AddKey const& step) {
  return {step.table, step.columns};
}
Named named_by(AddForeignKey const& step) {
  return {step.table, step.columns};
}
Named named_by(CreateIndex const& step) {
  return {step.table, step.columns};
}
Named named_by(AddCheck const& step) {
  Named named{step.table, {}};
  add_columns(facts_of_expressions({step.condition}), step.table, named.columns);
  return named;
}
Named named_by(Swap const& step) {
  return {step.table, {}};
}

void add_contract(Migration const& migration, OpenParts const& open, std::vector<Need>& needs) {
  for (auto const& placed : open.contract) {
    auto named = std::visit([](auto const& detail) { return named_by(detail); }, placed.step.detail->kind);
    if (named.table.name.empty()) continue;
    auto need = need_of(migration.name,
                        "its contract step " + std::to_string(placed.position + 1) + " (" + placed.step.text + ")",
                        named.table);
    need.columns = std::move(named.columns);
    needs.push_back(std::move(need));
  }
}

// --- what is taken

struct Taken {
  TableName table;
  std::string column;
  std::string index;
  bool is_primary_key = false;
};
using AllTaken = std::vector<Taken>;

template <class Detail>
AllTaken taken_by(Detail const& /*step*/) {
  return {};
}
AllTaken taken_by(DropColumn const& step) {
  return {{step.table, step.column, {}}};
}
AllTaken taken_by(RenameColumn const& step) {
  return {{step.table, step.column, {}}};
}
AllTaken taken_by(ChangeType const& step) {
  return {{step.table, step.column, {}}};
}
AllTaken taken_by(SwapColumn const& step) {
  return {{step.table, step.column, {}}, {step.table, step.with, {}}};
}
AllTaken taken_by(AddKey const& step) {
  if (!step.is_replacing) return {};
  Taken taken{step.table, {}, {}};
  taken.is_primary_key = true;
  return {taken};
}
AllTaken taken_by(DropConstraint const& step) {
  return {{step.table, {}, step.name}};
}
AllTaken taken_by(DropIndex const& step) {
  return {{step.table, {}, step.name}};
}
AllTaken taken_by(DropTable const& step) {
  return {{step.table, {}, {}}};
}
AllTaken taken_by(RenameTable const& step) {
  return {{step.table, {}, {}}};
}
AllTaken taken_by(Swap const& step) {
  return {{step.table, {}, {}}, {step.with, {}, {}}};
}

TableName relation_of(lint::SyntaxNode range) {
  return {std::string(range.text("schemaname")), std::string(range.text("relname"))};
}

// DROP TABLE and DROP INDEX; the names of one statement are lists of schema and name.
void add_dropped(lint::SyntaxNode statement, AllTaken& taken) {
  auto const what = statement.text("removeType");
  if (what != "OBJECT_TABLE" && what != "OBJECT_INDEX") return;
  for (auto const& object : statement.list("objects")) {
    std::vector<std::string> parts;
    for (auto const& part : object.list("items")) parts.emplace_back(part.text("sval"));
    if (parts.empty() || parts.size() > 2) continue;
    TableName const name{parts.size() == 2 ? parts.front() : "", parts.back()};
    taken.push_back(what == "OBJECT_TABLE" ? Taken{name, {}, {}} : Taken{{}, {}, name.name});
  }
}

void add_taken(lint::SyntaxNode statement, AllTaken& taken) {
  if (statement.is("DropStmt")) return add_dropped(statement, taken);
  auto const table = relation_of(statement.get("relation"));
  if (statement.is("RenameStmt")) {
    bool const is_column = statement.text("renameType") == "OBJECT_COLUMN";
    if (is_column) taken.push_back({table, std::string(statement.text("subname")), {}});
    if (statement.text("renameType") == "OBJECT_TABLE") taken.push_back({table, {}, {}});
  }
  if (!statement.is("AlterTableStmt")) return;
  for (auto const& change : statement.list("cmds")) {
    auto const word = change.text("subtype");
    bool const is_column = word == "AT_DropColumn" || word == "AT_AlterColumnType";
    if (is_column) taken.push_back({table, std::string(change.text("name")), {}});
    if (word == "AT_DropConstraint") taken.push_back({table, {}, std::string(change.text("name"))});
  }
}

// Of ALTER TABLE; what the parser does not know says nothing.
AllTaken taken_by(RunSql const& step) {
  AllTaken taken;
  for (auto const& one : lint::split_script(step.sql).statements) {
    if (one.nesting > lint::kMaxNesting) continue;
    auto const syntax = lint::parse_sql(step.sql.substr(one.span.begin, one.span.end - one.span.begin));
    for (auto const& statement : syntax.statements) add_taken(statement, taken);
  }
  return taken;
}

template <class Detail>
AllTaken taken_by_undo(Detail const& /*step*/) {
  return {};
}
AllTaken taken_by_undo(RunSql const& step) {
  return step.down ? taken_by(RunSql{*step.down, std::nullopt}) : AllTaken();
}
AllTaken taken_by_undo(AddColumn const& step) {
  return {{step.table, step.column, {}}};
}
AllTaken taken_by_undo(RenameColumn const& step) {
  return {{step.table, step.to, {}}};
}
AllTaken taken_by_undo(ChangeType const& step) {
  return taken_by(step);
}
AllTaken taken_by_undo(CreateIndex const& step) {
  return {{step.table, {}, step.name}};
}
AllTaken taken_by_undo(AddKey const& step) {
  return {{step.table, {}, step.name}};
}
AllTaken taken_by_undo(CreateTable const& step) {
  return {{step.table, {}, {}}};
}
AllTaken taken_by_undo(RenameTable const& step) {
  return {{{step.table.schema, step.to}, {}, {}}};
}

void add_takings(PlacedStep const& placed, AllTaken taken, std::string const& how, std::vector<Taking>& takings) {
  for (auto& one : taken) {
    std::string words =
        placed.phase + " step " + std::to_string(placed.position + 1) + how + " (" + placed.step.text + ")";
    takings.push_back({placed.step.position, std::move(words), std::move(one.table), std::move(one.column),
                       std::move(one.index), one.is_primary_key});
  }
}

// Partitions' indexes have names of their own; their columns are those of the table's.
bool goes_by(Taking const& taking, Need const& need) {
  auto const& index_columns = taking.index_columns;
  if (need.key.empty() || index_columns.size() < need.key.size()) return false;
  if (need.is_key_unique && !taking.is_unique) return false;
  if (!need.is_key_a_beginning && index_columns.size() != need.key.size()) return false;
  return std::is_permutation(need.key.begin(), need.key.end(), index_columns.begin());
}

// What of it the other one needs; empty: nothing.
std::string needed_part(Taking const& taking, Need const& need) {
  if (!taking.column.empty()) {
    bool const is_needed = need.is_of_all || contains(need.columns, taking.column);
    return is_needed ? "column " + taking.column + " of " + shown(taking.table) : "";
  }
  if (!taking.index.empty() || taking.is_primary_key) {
    bool const is_needed = contains(need.indexes, taking.index) || goes_by(taking, need);
    if (!is_needed) return "";
    return taking.is_primary_key ? "the primary key of " + shown(taking.table) : "index " + taking.index;
  }
  return "table " + shown(taking.table);
}

bool reads_what(SyncColumns const& reader, SyncColumns const& writer) {
  return reader.reads_row || std::any_of(reader.reads.begin(), reader.reads.end(),
                                         [&](std::string const& column) { return contains(writer.writes, column); });
}

}  // namespace

std::vector<Need> needs_of(Migration const& migration, OpenParts const& open) {
  std::vector<Need> needs;
  if (open.has_sync && migration.sync) add_sync(migration, needs);
  if (open.has_job && migration.backfill) add_job(migration, open, needs);
  add_contract(migration, open, needs);
  add_checks(migration, open, needs);
  return needs;
}

bool moves_rows_into(Backfill const& backfill, TableName const& table) {
  if (backfill.move_to) {
    bool const is_schema_open = table.schema.empty() || backfill.move_to->schema.empty();
    return backfill.move_to->name == table.name && (is_schema_open || backfill.move_to->schema == table.schema);
  }
  auto const lower = [](std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
  };
  auto const sql = lower(backfill.sql);
  return sql.find("delete") != std::string::npos && sql.find(lower(table.name)) != std::string::npos;
}

std::vector<Taking> takings_of(std::vector<PlacedStep> const& steps) {
  std::vector<Taking> takings;
  for (auto const& placed : steps) {
    auto taken = std::visit([](auto const& detail) { return taken_by(detail); }, placed.step.detail->kind);
    add_takings(placed, std::move(taken), "", takings);
  }
  return takings;
}

std::vector<Taking> takings_of_undo(std::vector<PlacedStep> const& steps) {
  std::vector<Taking> takings;
  for (auto const& placed : steps) {
    auto taken = std::visit([](auto const& detail) { return taken_by_undo(detail); }, placed.step.detail->kind);
    add_takings(placed, std::move(taken), ", undone", takings);
  }
  return takings;
}

std::vector<std::string> conflicts(std::vector<Taking> const& takings, std::vector<Need> const& needs,
                                   SameTable const& is_same) {
  std::vector<std::string> texts;
  for (auto const& taking : takings) {
    bool const is_table = taking.column.empty() && taking.index.empty() && !taking.is_primary_key;
    for (auto const& need : needs) {
      if (!is_same(taking.table, need.table, is_table)) continue;
      auto const part = needed_part(taking, need);
      if (part.empty()) continue;
      Problem const problem{taking.position, taking.words + ": migration " + need.migration + " needs " + part +
                                                 " for " + need.part +
                                                 "; complete that migration or roll it back first"};
      std::string const text = to_string(problem);
      if (!contains(texts, text)) texts.push_back(text);
    }
  }
  return texts;
}

std::vector<RowChanges> row_changes_of(Migration const& migration) {
  std::vector<RowChanges> changes;
  if (!migration.backfill) return changes;
  auto const& backfill = *migration.backfill;
  auto const change = [&](TableName const& table, std::vector<std::string> columns) {
    changes.push_back({migration.name, backfill.position, table, std::move(columns)});
  };
  std::vector<std::string> assigned;
  add_written(backfill.assignments, assigned);
  if (backfill.kind == WorkKind::kUpdate) change(backfill.table, std::move(assigned));
  if (backfill.kind == WorkKind::kCopy) change(backfill.copy_to, {});
  if (backfill.kind == WorkKind::kDelete) change(backfill.table, {});
  if (backfill.move_to) change(*backfill.move_to, {});
  if (backfill.kind != WorkKind::kSql) return changes;
  for (auto const& one : facts_of_statement(with_batch_as(backfill.sql, "true")).assigned) {
    change(one.relation, {one.column});
  }
  if (moves_rows_into(backfill, backfill.table)) change(backfill.table, {});
  return changes;
}

std::optional<KeptCopy> kept_copy_of(Migration const& migration) {
  auto const* mirror = migration.sync ? std::get_if<InstallMirror>(&migration.sync->install.detail->kind) : nullptr;
  if (mirror == nullptr) return std::nullopt;
  KeptCopy copy{migration.name, migration.sync->install.position, mirror->to, {}};
  add_written(mirror->columns, copy.columns);
  return copy;
}

std::vector<std::string> copy_conflicts(std::vector<RowChanges> const& changes, std::vector<KeptCopy> const& copies,
                                        SameTable const& is_same) {
  std::vector<std::string> texts;
  for (auto const& change : changes) {
    for (auto const& copy : copies) {
      if (change.migration == copy.migration || !is_same(change.table, copy.table, false)) continue;
      bool const is_apart = !change.columns.empty() &&
                            std::none_of(change.columns.begin(), change.columns.end(),
                                         [&](std::string const& column) { return contains(copy.columns, column); });
      if (is_apart) continue;
      Problem const problem{change.position,
                            "backfill of migration " + change.migration + ": the sync trigger of migration " +
                                copy.migration + " keeps " + shown(copy.table) +
                                " as a copy, and nothing counts what another one changes there; complete one of the "
                                "two or roll it back first"};
      std::string const text = to_string(problem);
      if (!contains(texts, text)) texts.push_back(text);
    }
  }
  return texts;
}

SyncColumns sync_columns_of(Migration const& migration) {
  SyncColumns columns;
  columns.migration = migration.name;
  auto const* sync = migration.sync ? std::get_if<InstallSync>(&migration.sync->install.detail->kind) : nullptr;
  if (sync == nullptr) return columns;
  columns.table = sync->table;
  for (auto const* side : {&sync->set, &sync->reverse}) {
    bool const all = add_columns(facts_of_expressions(expressions_of(*side)), sync->table, columns.reads);
    columns.reads_row = columns.reads_row || all;
    add_written(*side, columns.writes);
  }
  return columns;
}

SyncPlace place_sync(SyncColumns const& sync, std::vector<SyncColumns> const& others) {
  std::vector<std::string> behind;
  std::vector<std::string> before;
  std::vector<std::string> names;
  for (auto const& other : others) {
    for (auto const& column : sync.writes) {
      if (!contains(other.writes, column)) continue;
      bool const is_mutual = reads_what(other, sync) || reads_what(sync, other);
      if (!is_mutual) {
        return {"", "the sync trigger of migration " + other.migration + " computes column " + column +
                        " as well; complete it or roll it back first"};
      }
    }
    bool const reads_its = reads_what(sync, other);
    bool const reads_ours = reads_what(other, sync);
    if (reads_its && reads_ours) {
      return {"", "the sync triggers of this migration and of migration " + other.migration +
                      " would each read what the other one computes; complete it or roll it back first"};
    }
    if (reads_its) behind.push_back(other.trigger);
    if (reads_ours) before.push_back(other.trigger);
    if (reads_its || reads_ours) names.push_back(other.migration);
  }
  auto trigger = sync_trigger_name_between(sync.migration, behind, before);
  if (!trigger.empty()) return {std::move(trigger), ""};
  return {"", "its trigger would have to fire between those of migrations " + join(names, ", ") +
                  ", where there is no place; complete one of them or roll it back first"};
}

}  // namespace pgbackfill::planner
