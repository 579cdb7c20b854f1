#include "planner/steps/table_ahead.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <variant>

#include "planner/model/sql_text.h"
#include "planner/model/step_detail.h"
#include "planner/steps/recipes.h"
#include "planner/steps/step_names.h"

namespace pgbackfill::planner {
namespace {

std::string in_pg_temp(std::string const& copy) {
  return "pg_temp." + quote_identifier(copy);
}

// --- what a step does to the copy ------------------------------------------------------------------------------------

using Statements = std::optional<std::vector<std::string>>;

struct Changes {
  std::string copy;

  Statements operator()(AddColumn const& step) const {
    return alter("ADD COLUMN IF NOT EXISTS " + recipes::column_definition(step));
  }
  Statements operator()(DropColumn const& step) const { return alter("DROP COLUMN " + quote_identifier(step.column)); }
  Statements operator()(SetNotNull const& step) const { return alter_column(step.column, "SET NOT NULL"); }
  Statements operator()(DropNotNull const& step) const { return alter_column(step.column, "DROP NOT NULL"); }
  Statements operator()(SetDefault const& step) const {
    return alter_column(step.column, step.value.empty() ? "DROP DEFAULT" : "SET DEFAULT " + parenthesised(step.value));
  }
  Statements operator()(ChangeType const& step) const { return alter_column(step.column, "TYPE " + step.type); }
  Statements operator()(RenameColumn const& step) const { return alter(renamed(step.column, step.to)); }
  // What else changes places with the columns is not known here.
  Statements operator()(SwapColumn const& step) const {
    return {{alter_sql(renamed(step.column, step.keep_as)), alter_sql(renamed(step.with, step.column))}};
  }
  Statements operator()(CreateIndex const& step) const {
    return {{recipes::create_index_sql(step, "IF NOT EXISTS ", in_pg_temp(copy))}};
  }
  Statements operator()(AddCheck const& step) const {
    return add_constraint(step.name, "CHECK " + parenthesised(step.condition));
  }
  Statements operator()(AddForeignKey const& step) const {
    return add_constraint(step.name, "CHECK (ROW(" + recipes::column_list(step.columns) + ") IS NULL OR true)");
  }
  Statements operator()(AddKey const& step) const {
    if (step.is_replacing) return std::nullopt;
    std::string const add =
        "ADD CONSTRAINT " + quote_identifier(step.name) + (step.is_primary ? " PRIMARY KEY " : " UNIQUE ");
    std::string const index = quote_literal("pg_temp." + quote_identifier(step.name));
    return unless_there(step.name,
                        "IF pg_catalog.to_regclass(" + index + ") IS NULL THEN " +
                            execute(alter_sql(add + "(" + recipes::column_list(step.columns) + ")")) + " ELSE " +
                            execute(alter_sql(add + "USING INDEX " + quote_identifier(step.name))) + " END IF;");
  }
  Statements operator()(DropConstraint const& step) const {
    return alter("DROP CONSTRAINT " + quote_identifier(step.name));
  }
  Statements operator()(DropIndex const& step) const { return {{"DROP INDEX pg_temp." + quote_identifier(step.name)}}; }
  Statements operator()(Reindex const& /*step*/) const { return nothing(); }
  Statements operator()(RenameTable const& /*step*/) const { return nothing(); }
  Statements operator()(InstallSync const& /*step*/) const { return nothing(); }
  Statements operator()(InstallMirror const& /*step*/) const { return nothing(); }
  Statements operator()(RemoveSync const& /*step*/) const { return nothing(); }
  template <class Detail>
  Statements operator()(Detail const& /*step*/) const {
    return std::nullopt;
  }

 private:
  static Statements nothing() { return std::vector<std::string>(); }
  // The line break ends a comment of the file's SQL.
  static std::string execute(std::string const& sql) { return "EXECUTE " + quote_literal(sql + "\n") + ";"; }
  static std::string renamed(std::string const& from, std::string const& to) {
    return "RENAME COLUMN " + quote_identifier(from) + " TO " + quote_identifier(to);
  }
  std::string alter_sql(std::string const& change) const { return "ALTER TABLE " + in_pg_temp(copy) + " " + change; }
  Statements alter(std::string const& change) const { return {{alter_sql(change)}}; }
  Statements alter_column(std::string const& column, std::string const& change) const {
    return alter("ALTER COLUMN " + quote_identifier(column) + " " + change);
  }
  // A constraint of the name may be there, NOT VALID.
  Statements unless_there(std::string const& name, std::string const& body) const {
    return {{"DO " + quote_literal("BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid "
                                   "OPERATOR(pg_catalog.=) " +
                                   quote_literal(in_pg_temp(copy)) +
                                   "::pg_catalog.regclass::pg_catalog.oid AND k.conname OPERATOR(pg_catalog.=) " +
                                   quote_literal(name) + "::pg_catalog.name) THEN " + body + " END IF; END")}};
  }
  Statements add_constraint(std::string const& name, std::string const& definition) const {
    return unless_there(name, execute(alter_sql("ADD CONSTRAINT " + quote_identifier(name) + " " + definition)));
  }
};

// --- what becomes of columns -----------------------------------------------------------------------------------------

struct Fates {
  std::string place;  // "expand step 1"
  std::map<std::string, std::string>& fates;

  void operator()(AddColumn const& step) { fates.erase(step.column); }
  void operator()(DropColumn const& step) { fates[step.column] = place + " drops it"; }
  void operator()(RenameColumn const& step) { move(step.column, step.to); }
  void operator()(SwapColumn const& step) {
    move(step.column, step.keep_as);
    move(step.with, step.column);
  }
  template <class Detail>
  void operator()(Detail const& /*step*/) {}

 private:
  void move(std::string const& from, std::string const& to) {
    fates[from] = place + " renames it to " + to;
    fates.erase(to);
  }
};

std::string place_of(PlacedStep const& placed) {
  return placed.phase + " step " + std::to_string(placed.position + 1);
}

// --- the walk --------------------------------------------------------------------------------------------------------

// From the step back to what its table is today.
class WayBack {
 public:
  WayBack(SchemaStep const& step, TableName table) : step_(step), now_(std::move(table)) {}

  // Whether those before this one matter as well.
  bool pass(PlacedStep const& one);

  TableName const& table() const { return now_; }
  std::vector<PlacedStep const*> const& changing() const { return changing_; }
  TableAhead take() { return std::move(found_); }

 private:
  bool pass_change(PlacedStep const& one);
  bool stop() {
    found_.is_known = false;
    return false;
  }
  // Without its schema a name may mean the table or another one.
  bool may_be_meant(TableName const& table) const {
    return table.name == now_.name && table != now_ && (table.schema.empty() || now_.schema.empty());
  }

  SchemaStep const& step_;
  TableName now_;  // its name before the steps that were passed
  std::vector<PlacedStep const*> changing_;
  TableAhead found_;
};

bool WayBack::pass_change(PlacedStep const& one) {
  auto const& kind = one.step.detail->kind;
  if (auto const* rename = std::get_if<RenameTable>(&kind)) {
    if (rename->table == now_) found_.gone = place_of(one) + " renames it to " + rename->to;
    now_ = rename->table;
    return found_.gone.empty();
  }
  if (std::holds_alternative<DropTable>(kind)) {
    found_.gone = place_of(one) + " drops it";
    return false;
  }
  if (auto const* create = std::get_if<CreateTable>(&kind)) {
    bool const is_like = !create->like.name.empty();
    found_.create = "CREATE TABLE " + recipes::quoted(create->table) + " (" +
                    (is_like ? "LIKE " + recipes::quoted(create->like) + " INCLUDING ALL" : create->columns + "\n") +
                    ")";
    return false;
  }
  changing_.push_back(&one);
  return true;
}

bool WayBack::pass(PlacedStep const& one) {
  auto const& kind = one.step.detail->kind;
  if (std::holds_alternative<RunSql>(kind)) {
    bool const may_be_about_it = may_matter(one.step, step_) || may_take_away(one.step, now_.name);
    return may_be_about_it ? stop() : true;
  }
  if (std::holds_alternative<AddEnumValue>(kind)) return may_matter(one.step, step_) ? stop() : true;
  auto tables = names_of(one.step).tables;
  // These only look at the other table.
  bool const looks = std::holds_alternative<AddForeignKey>(kind) || std::holds_alternative<CreateTable>(kind);
  if (looks) tables.resize(1);
  if (std::any_of(tables.begin(), tables.end(), [&](TableName const& each) { return may_be_meant(each); })) {
    return stop();
  }
  bool const is_about_it = std::find(tables.begin(), tables.end(), now_) != tables.end();
  return is_about_it ? pass_change(one) : true;
}

}  // namespace

std::optional<std::vector<std::string>> changes_of(SchemaStep const& step, std::string const& copy) {
  return std::visit(Changes{copy}, step.detail->kind);
}

TableAhead table_ahead(std::vector<PlacedStep> const& ahead, SchemaStep const& step, TableName const& table,
                       std::string const& copy) {
  WayBack way(step, table);
  auto one = ahead.rbegin();
  while (one != ahead.rend() && way.pass(*one)) ++one;
  auto found = way.take();
  found.origin = way.table();
  // What a new table is like may be changed before as well.
  auto const* create = one == ahead.rend() ? nullptr : std::get_if<CreateTable>(&one->step.detail->kind);
  bool const is_like = create != nullptr && !create->like.name.empty();
  if (is_like &&
      std::any_of(one + 1, ahead.rend(), [&](PlacedStep const& each) { return may_matter(each.step, one->step); })) {
    found.is_known = false;
  }
  for (auto change = way.changing().rbegin(); change != way.changing().rend(); ++change) {
    auto const& kind = (*change)->step.detail->kind;
    auto const statements = changes_of((*change)->step, copy);
    if (!statements) found.is_known = false;
    if (std::holds_alternative<SwapColumn>(kind)) found.is_alike = false;
    if (statements) found.changes.insert(found.changes.end(), statements->begin(), statements->end());
    std::visit(Fates{place_of(**change), found.fates}, kind);
  }
  return found;
}

std::string copy_sql(TableName const& origin, std::string const& copy) {
  return "CREATE TEMP TABLE " + quote_identifier(copy) + " (LIKE " + recipes::quoted(origin) +
         " INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING IDENTITY INCLUDING GENERATED INCLUDING INDEXES)";
}

std::string carry_names_sql(TableName const& origin, std::string const& copy) {
  std::string const of_copy = quote_literal(in_pg_temp(copy)) + "::pg_catalog.regclass";
  std::string const alter = "ALTER TABLE " + in_pg_temp(copy);
  // Of two indexes of the same shape either may have either's name.
  std::string const shapes =
      "WITH shapes AS (SELECT s.*, row_number() OVER (PARTITION BY s.indrelid, s.shape ORDER BY s.indexrelid) AS place "
      "FROM (SELECT i.indrelid, i.indexrelid, x.relname, i.indisreplident, concat_ws(' ', i.indisunique, "
      "i.indisprimary, i.indisexclusion, x.relam, i.indnkeyatts, i.indclass, i.indcollation, i.indoption, (SELECT "
      "string_agg(pg_catalog.pg_get_indexdef(i.indexrelid, n, false), ', ' ORDER BY n) FROM generate_series(1, "
      "i.indnatts::int) n), pg_catalog.pg_get_expr(i.indpred, i.indrelid)) AS shape FROM pg_catalog.pg_index i JOIN "
      "pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE i.indrelid IN (" +
      recipes::oid_of(origin) + ", " + of_copy + ")) s) ";
  std::string const indexes =
      "FOR r IN " + shapes +
      "SELECT o.relname AS name, o.indisreplident, c.relname AS made FROM shapes o LEFT JOIN "
      "shapes c ON c.indrelid = " +
      of_copy + " AND c.shape = o.shape AND c.place = o.place WHERE o.indrelid = " + recipes::oid_of(origin) +
      " LOOP IF r.made IS NULL THEN RAISE EXCEPTION 'index % is not on the copy', r.name; END "
      "IF; EXECUTE pg_catalog.format('ALTER INDEX pg_temp.%I RENAME TO %I', r.made, r.name); "
      "IF r.indisreplident THEN EXECUTE pg_catalog.format(" +
      quote_literal(alter + " REPLICA IDENTITY USING INDEX %I") + ", r.name); END IF; END LOOP; ";
  std::string const keys =
      "FOR r IN SELECT k.conname AS name, (SELECT string_agg(pg_catalog.quote_ident(a.attname), ', ') FROM "
      "pg_catalog.pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)) AS columns FROM "
      "pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.conrelid = " +
      recipes::oid_of(origin) + " LOOP EXECUTE pg_catalog.format(" +
      quote_literal(alter + " ADD CONSTRAINT %I CHECK (ROW(%s) IS NULL OR true)") + ", r.name, r.columns); END LOOP; ";
  return "DO " + quote_literal("DECLARE r record; BEGIN " + indexes + keys + "END");
}

SchemaStep of_copies(SchemaStep const& step, std::string const& copy, std::string const& other) {
  auto kind = step.detail->kind;
  std::visit(
      [&](auto& detail) {
        if constexpr (requires { detail.table; }) detail.table = {"pg_temp", copy};
        if constexpr (requires { detail.references; }) detail.references = {"pg_temp", other};
      },
      kind);
  SchemaStep moved = step;
  moved.detail = std::make_shared<StepDetail>(StepDetail{std::move(kind)});
  return moved;
}

std::string columns_of_copy_sql(std::string const& copy) {
  return "SELECT a.attname::text FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + quote_literal(in_pg_temp(copy)) +
         "::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped";
}

// --- what is asked of the copy ---------------------------------------------------------------------------------------

namespace {

struct Questions {
  CopyQuestions operator()(AddColumn const& /*step*/) const { return {true, true, false}; }
  CopyQuestions operator()(DropColumn const& /*step*/) const { return {true, true, true}; }
  CopyQuestions operator()(SetNotNull const& /*step*/) const { return {true, true, true}; }
  CopyQuestions operator()(DropNotNull const& /*step*/) const { return {true, true, true}; }
  CopyQuestions operator()(SetDefault const& /*step*/) const { return {true, true, true}; }
  CopyQuestions operator()(RenameColumn const& /*step*/) const { return {true, true, true}; }
  CopyQuestions operator()(ChangeType const& /*step*/) const { return {true, true, false}; }
  CopyQuestions operator()(AddCheck const& /*step*/) const { return {true, true, false}; }
  CopyQuestions operator()(AddKey const& /*step*/) const { return {true, true, false}; }
  CopyQuestions operator()(DropIndex const& /*step*/) const { return {true, true, false}; }
  // The server spells the definition of a temporary table's index in a way of its own.
  CopyQuestions operator()(CreateIndex const& /*step*/) const { return {true, false, false}; }
  CopyQuestions operator()(AddForeignKey const& /*step*/) const { return {true, false, false}; }
  template <class Detail>
  CopyQuestions operator()(Detail const& /*step*/) const {
    return {};
  }
};

struct Needs {
  NeededColumns operator()(DropColumn const& step) const { return {{step.column}, {}}; }
  NeededColumns operator()(SetNotNull const& step) const { return {{step.column}, {}}; }
  NeededColumns operator()(DropNotNull const& step) const { return {{step.column}, {}}; }
  NeededColumns operator()(SetDefault const& step) const { return {{step.column}, {}}; }
  NeededColumns operator()(ChangeType const& step) const { return {{step.column}, {}}; }
  NeededColumns operator()(RenameColumn const& step) const { return {{step.column}, {}}; }
  NeededColumns operator()(CreateIndex const& step) const {
    auto columns = step.columns;
    columns.insert(columns.end(), step.include.begin(), step.include.end());
    return {std::move(columns), {}};
  }
  NeededColumns operator()(AddForeignKey const& step) const { return {step.columns, step.to}; }
  NeededColumns operator()(AddKey const& step) const { return {step.columns, {}}; }
  template <class Detail>
  NeededColumns operator()(Detail const& /*step*/) const {
    return {};
  }
};

// --- what changes what -----------------------------------------------------------------------------------------------

// Parts of a table, as bits.
constexpr unsigned kColumns = 1;       // which there are, and their names
constexpr unsigned kTypes = 2;         // and the values that they take
constexpr unsigned kNulls = 4;         // NOT NULL
constexpr unsigned kDefaults = 8;      // and nothing else
constexpr unsigned kConstraints = 16;  // checks and foreign keys, and every constraint's name
constexpr unsigned kIndexes = 32;      // and the keys that are made of them
constexpr unsigned kAll = ~0U;

struct Changed {
  unsigned operator()(AddColumn const& /*step*/) const { return kColumns; }
  unsigned operator()(SetNotNull const& /*step*/) const { return kNulls | kConstraints; }
  unsigned operator()(DropNotNull const& /*step*/) const { return kNulls | kConstraints; }
  unsigned operator()(SetDefault const& /*step*/) const { return kDefaults; }
  unsigned operator()(ChangeType const& /*step*/) const { return kTypes; }
  unsigned operator()(RenameColumn const& /*step*/) const { return kColumns; }
  unsigned operator()(CreateIndex const& /*step*/) const { return kIndexes; }
  unsigned operator()(DropIndex const& /*step*/) const { return kIndexes; }
  unsigned operator()(Reindex const& /*step*/) const { return 0; }
  unsigned operator()(AddCheck const& /*step*/) const { return kConstraints; }
  unsigned operator()(AddForeignKey const& /*step*/) const { return kConstraints; }
  unsigned operator()(AddKey const& /*step*/) const { return kConstraints | kIndexes | kNulls; }
  // From 18 on a NOT NULL is one.
  unsigned operator()(DropConstraint const& /*step*/) const { return kConstraints | kIndexes | kNulls; }
  unsigned operator()(AddEnumValue const& /*step*/) const { return kTypes; }
  template <class Detail>
  unsigned operator()(Detail const& /*step*/) const {
    return kAll;
  }
};

// Of the recipe's questions, the rules of the server and the trial of the definition.
struct LookedAt {
  unsigned refusal = kAll;
  unsigned done = kAll;
};

struct Looks {
  LookedAt operator()(DropColumn const& /*step*/) const { return {kColumns | kIndexes, kColumns}; }
  LookedAt operator()(SetNotNull const& /*step*/) const { return {kColumns | kConstraints, kNulls}; }
  LookedAt operator()(DropNotNull const& /*step*/) const { return {kColumns | kIndexes, kNulls}; }
  LookedAt operator()(SetDefault const& /*step*/) const { return {kColumns | kTypes, kDefaults}; }
  LookedAt operator()(RenameColumn const& /*step*/) const { return {kColumns, kColumns}; }
  LookedAt operator()(ChangeType const& /*step*/) const {
    return {kColumns | kTypes | kDefaults | kConstraints | kIndexes, kTypes | kDefaults};
  }
  LookedAt operator()(AddCheck const& /*step*/) const { return {kColumns | kTypes | kConstraints, kConstraints}; }
  LookedAt operator()(CreateIndex const& /*step*/) const { return {kColumns | kTypes | kIndexes, kIndexes}; }
  LookedAt operator()(DropIndex const& /*step*/) const { return {kColumns | kConstraints | kIndexes, kIndexes}; }
  LookedAt operator()(Reindex const& /*step*/) const { return {kColumns | kConstraints | kIndexes, kIndexes}; }
  LookedAt operator()(DropConstraint const& /*step*/) const {
    return {kColumns | kNulls | kConstraints | kIndexes, kConstraints};
  }
  template <class Detail>
  LookedAt operator()(Detail const& /*step*/) const {
    return {};
  }
};

bool overlaps(SchemaStep const& earlier, unsigned looked_at) {
  return (std::visit(Changed(), earlier.detail->kind) & looked_at) != 0;
}

}  // namespace

CopyQuestions questions_of(SchemaStep const& step) {
  return std::visit(Questions(), step.detail->kind);
}

NeededColumns needed_columns(SchemaStep const& step) {
  return std::visit(Needs(), step.detail->kind);
}

bool may_change_refusal(SchemaStep const& earlier, SchemaStep const& later) {
  return may_matter(earlier, later) && overlaps(earlier, std::visit(Looks(), later.detail->kind).refusal);
}

// An index or a constraint goes with its columns, whatever its name.
bool may_lift_refusal(SchemaStep const& earlier, SchemaStep const& later) {
  if (!is_typed(earlier) || !may_take_away(earlier)) return false;
  auto const& table = names_of(earlier).tables.front().name;
  auto const tables = names_of(later).tables;
  bool const is_about_it =
      std::any_of(tables.begin(), tables.end(), [&](TableName const& each) { return each.name == table; });
  return is_about_it && overlaps(earlier, std::visit(Looks(), later.detail->kind).refusal);
}

bool may_change_done(SchemaStep const& earlier, SchemaStep const& later) {
  return may_matter(earlier, later) && overlaps(earlier, std::visit(Looks(), later.detail->kind).done);
}

}  // namespace pgbackfill::planner
