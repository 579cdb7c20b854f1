// swap_column: a column gets the place of another one, with all that belongs to it, in one short transaction. What
// would have to be built or read for it has to be there before; what cannot go along is refused by name.
//
// The questions are asked with search_path = pg_catalog, pg_temp.
#include "planner/steps/recipes_swap_column.h"

#include <algorithm>
#include <regex>
#include <variant>

#include "planner/model/sql_text.h"
#include "planner/steps/carry_privileges.h"
#include "planner/steps/column_settings.h"
#include "planner/steps/recipes.h"

namespace pgbackfill::planner::recipes {
namespace {

constexpr int kVersionWithFilters = 150000;

// The attribute's number, as an SQL expression; NULL without the column.
std::string number_of(TableName const& table, std::string const& column) {
  return "(SELECT a.attnum FROM pg_catalog.pg_attribute a WHERE a.attrelid = " + oid_of(table) +
         " AND a.attname = " + quote_literal(column) + " AND a.attnum > 0 AND NOT a.attisdropped)";
}

// Whether the tree of an expression has the table's row as a whole.
std::string holds_row(std::string const& tree, std::string const& table) {
  return "coalesce((" + tree +
         ")::pg_catalog.text ~ (SELECT ':varattno 0 :vartype ' || c.reltype || ' ' FROM pg_catalog.pg_class c WHERE "
         "c.oid = " +
         table + "), false)";
}

// Whether an object of a catalog has the table in it, whatever it is on.
std::string has_table(std::string const& alias, std::string const& catalog, std::string const& table) {
  return alias + ".oid IN (SELECT d.objid FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog." + catalog +
         "'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = " +
         table + ")";
}

using Refusals = std::vector<std::pair<std::string, std::string>>;

// `list` is an SQL text, NULL where there is nothing to refuse.
void refuse_list(Refusals& refusals, std::string const& before, std::string const& list, std::string const& after) {
  refusals.emplace_back(list + " IS NOT NULL", quote_literal(before) + " || " + list + " || " + quote_literal(after));
}

// What steps that come before may change of what is refused now.
struct Earlier {
  bool is_anything = false;          // SQL that creates, alters or drops
  std::vector<std::string> dropped;  // names of constraints and indexes
  // Columns of indexes, and of unique constraints among them, with the old column for the new one.
  std::vector<std::vector<std::string>> indexes;
  std::vector<std::vector<std::string>> uniques;
  bool makes_other_index = false;  // over expressions, or of some rows
  bool makes_key = false;          // a foreign key with it
  bool makes_check = false;
  bool makes_not_null = false;
  bool drops_default = false;
  bool sets_default = false;
  bool adds_column = false;  // the new one
  bool adds_filler = false;  // the new column, NOT NULL with a default that nobody but the rows of before needs
};

bool has(std::vector<std::string> const& columns, std::string const& column) {
  return std::find(columns.begin(), columns.end(), column) != columns.end();
}

bool may_change_schema(std::string const& sql) {
  static std::regex const pattern(R"(\b(ALTER|DROP|DO|COMMENT|GRANT|REVOKE|CREATE\s+(UNIQUE\s+)?INDEX)\b)",
                                  std::regex::icase);
  return std::regex_search(sql, pattern);
}

std::vector<std::string> with_old_column(std::vector<std::string> columns, SwapColumn const& step) {
  std::replace(columns.begin(), columns.end(), step.with, step.column);
  return columns;
}

void add_to(Earlier& earlier, SchemaStep const& one, SwapColumn const& step) {
  auto const& column = step.with;
  auto const& kind = one.detail->kind;
  if (auto const* run = std::get_if<RunSql>(&kind)) earlier.is_anything |= may_change_schema(run->sql);
  if (std::holds_alternative<DropTable>(kind) || std::holds_alternative<RenameTable>(kind)) earlier.is_anything = true;
  if (std::holds_alternative<SwapColumn>(kind) || std::holds_alternative<RenameColumn>(kind)) {
    earlier.is_anything = true;
  }
  if (std::holds_alternative<DropColumn>(kind)) earlier.is_anything = true;
  if (auto const* drop = std::get_if<DropConstraint>(&kind)) earlier.dropped.push_back(drop->name);
  if (auto const* drop = std::get_if<DropIndex>(&kind)) earlier.dropped.push_back(drop->name);
  if (auto const* index = std::get_if<CreateIndex>(&kind)) {
    earlier.indexes.push_back(with_old_column(index->columns, step));
    earlier.makes_other_index |= !index->keys.empty() || !index->where.empty();
  }
  if (auto const* key = std::get_if<AddKey>(&kind)) {
    earlier.indexes.push_back(with_old_column(key->columns, step));
    if (!key->is_primary) earlier.uniques.push_back(earlier.indexes.back());
    earlier.makes_not_null |= key->is_primary && has(key->columns, column);
  }
  if (auto const* key = std::get_if<AddForeignKey>(&kind)) {
    earlier.makes_key |= has(key->columns, column) || has(key->to, column);
  }
  earlier.makes_check |= std::holds_alternative<AddCheck>(kind);
  if (auto const* not_null = std::get_if<SetNotNull>(&kind)) earlier.makes_not_null |= not_null->column == column;
  if (auto const* standard = std::get_if<SetDefault>(&kind)) {
    earlier.sets_default |= standard->column == column && !standard->value.empty();
    earlier.drops_default |= standard->value.empty();
  }
  if (auto const* add = std::get_if<AddColumn>(&kind)) {
    if (add->column != column) return;
    earlier.adds_column = true;
    earlier.makes_not_null |= add->is_not_null;
    earlier.adds_filler |= add->is_not_null && !add->default_value.empty();
  }
}

Earlier earlier_of(SwapColumn const& step) {
  Earlier earlier;
  for (auto const& one : step.earlier) add_to(earlier, one, step);
  return earlier;
}

// All that is asked of one step: now, or before the first step of the file.
class Questions {
 public:
  Questions(SwapColumn const& step, StepFacts const& facts, bool is_early)
      : step_(step),
        table_(facts.table),
        version_(facts.server_version),
        columns_(columns_of(step, facts.table)),
        earlier_(earlier_of(step)),
        is_early_(is_early) {}

  std::string sql();

 private:
  void refuse(std::string condition, std::string const& text) {
    refusals_.emplace_back(std::move(condition), quote_literal(text));
  }
  std::string column_is(std::string const& column, std::string const& condition) const {
    return recipes::column_is(table_, column, condition);
  }
  // Whether a step before it may still see to it.
  bool may_come(bool Earlier::*what) const { return is_early_ && (earlier_.is_anything || earlier_.*what); }
  // Of both columns, as alias o and n.
  std::string both_are(std::string const& condition) const {
    return "EXISTS (SELECT FROM pg_catalog.pg_attribute o JOIN pg_catalog.pg_attribute n ON n.attrelid = o.attrelid "
           "JOIN pg_catalog.pg_type ot ON ot.oid = o.atttypid JOIN pg_catalog.pg_type nt ON nt.oid = n.atttypid WHERE "
           "o.attrelid = " +
           columns_.table + " AND o.attnum = " + columns_.old_number + " AND n.attnum = " + columns_.new_number +
           " AND (" + condition + "))";
  }
  std::string name_is_taken() const {
    return "column " + step_.keep_as + " is there already; name another one in keep_as, or drop it first";
  }
  void ask_for_columns();
  void ask_for_kind();
  void ask_for_domain();
  void ask_for_default();
  void ask_for_settings();
  void ask_for_sequences();
  void ask_for_privileges();
  void ask_for_not_null();
  void ask_for_key();
  void ask_for_indexes();
  std::string indexes_without_counterpart() const;
  std::string comes(std::vector<std::vector<std::string>> const& made) const;
  void ask_for_triggers();
  void ask_for_dependents();
  void ask_for_whole_rows();
  std::string left_behind() const;

  SwapColumn const& step_;
  TableName const& table_;
  int version_;
  ColumnSwap columns_;
  Earlier earlier_;
  bool is_early_;
  Refusals refusals_;
};

void Questions::ask_for_columns() {
  refusals_.push_back(typed_table_refusal(table_));
  refuse(
      "(SELECT c.relkind = 'p' OR c.relispartition OR EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN "
      "(h.inhparent, h.inhrelid)) FROM pg_catalog.pg_class c WHERE c.oid = " +
          columns_.table + ")",
      shown(table_) +
          " has partitions, is one, or inherits: keys and columns of several tables cannot be swapped by "
          "this step");
  if (is_early_) return;
  for (auto const* column : {&step_.column, &step_.with}) {
    refuse("NOT " + has_column(table_, *column), "there is no column " + *column + " in " + shown(table_));
  }
  refuse(has_column(table_, step_.keep_as), name_is_taken());
}

void Questions::ask_for_kind() {
  refuse(column_is(step_.column, "a.attgenerated <> ''"),
         "column " + step_.column + " is generated, and cannot be swapped; the server computes it from others");
  refuse(column_is(step_.with, "(a.attgenerated <> '' OR a.attidentity <> '')"),
         "column " + step_.with +
             " is generated or an identity, and cannot take the place of another one; DROP "
             "EXPRESSION or DROP IDENTITY first");
  refuse(column_is(step_.column, "a.attidentity <> ''") + " AND " +
             column_is(step_.with, "a.atttypid NOT IN (20, 21, 23)"),
         "column " + step_.column + " is an identity, and " + step_.with +
             " cannot be one: its type is not smallint, integer or bigint; DROP IDENTITY of " + step_.column +
             " "
             "first");
  refuse(both_are("o.attcollation <> ot.typcollation AND o.attcollation <> n.attcollation AND n.attcollation = "
                  "nt.typcollation AND nt.typcollation <> 0"),
         "column " + step_.column + " has a COLLATE of its own and " + step_.with +
             " has not; add the column with the same COLLATE behind its type");
}

void Questions::ask_for_domain() {
  if (may_come(&Earlier::makes_check)) return;
  refuse_list(refusals_, "the domain of " + step_.column + " checks its values, and " + step_.with + " would not: ",
              "(SELECT l.checks FROM pg_attribute o JOIN pg_attribute n ON n.attrelid = o.attrelid, LATERAL (" +
                  unmet_domain_checks("o.atttypid", "n.atttypid", "n.attrelid", "n.attname") +
                  ") l (checks) WHERE o.attrelid = " + columns_.table + " AND o.attnum = " + columns_.old_number +
                  " AND n.attnum = " + columns_.new_number + " AND o.atttypid <> n.atttypid)",
              "; add_check the same over " + step_.with + " first");
}

void Questions::ask_for_default() {
  if (may_come(&Earlier::drops_default) || may_come(&Earlier::sets_default)) return;
  std::string const was = default_to_carry(columns_.table, columns_.old_number, columns_.new_number);
  std::string const has = default_of_column(columns_.table, columns_.new_number);
  std::string const is_identity = column_is(step_.column, "a.attidentity <> ''");
  // A value for the rows of before, and no more, gives way.
  std::string const is_filler = "(" + is_constant(has) + " AND (" + (earlier_.adds_filler ? "true" : "false") + " OR " +
                                is_identity + " OR coalesce(" + was + " LIKE '%nextval(%', false)))";
  std::string const differs = has + " IS NOT NULL AND NOT " + is_filler + " AND " + without_casts(has) +
                              " IS DISTINCT FROM " + without_casts(was);
  std::string const carried = both_are(is_carried_default(was));
  refusals_.emplace_back(
      differs + " AND (" + was + " IS NULL OR " + carried + ")",
      quote_literal("the default of " + step_.column + " is ") + " || coalesce(" + was + ", CASE WHEN " + is_identity +
          " THEN 'that of an identity' ELSE 'none' END) || " + quote_literal(", and that of " + step_.with + " is ") +
          " || " + has + " || " +
          quote_literal("; it can have one only: drop_default: " + step_.with + ", or set the same for both, first"));
  refusals_.emplace_back(
      was + " IS NOT NULL AND " + has + " IS NULL AND " + has_column(table_, step_.with) + " AND NOT " + carried,
      quote_literal("the default of " + step_.column + ", ") + " || " + was + " || " +
          quote_literal(", is no value of the type of " + step_.with + "; set_default: {column: " + step_.with +
                        ", value: ...} first"));
}

void Questions::ask_for_settings() {
  if (is_early_ && earlier_.is_anything) return;
  std::string sides;
  for (auto const& setting : column_settings(version_)) {
    auto const of = [&](std::string const& number) {
      return "(SELECT " + std::string(setting.value) +
             " FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = " + columns_.table +
             " AND a.attnum = " + number + ")";
    };
    sides += (sides.empty() ? "(" : ", (") + quote_literal(setting.words) + ", " + of(columns_.old_number) + ", " +
             of(columns_.new_number) + ")";
  }
  refuse_list(refusals_,
              "both columns have their own, and one would be lost; take it away from one of them, or give "
              "both the same: ",
              "(SELECT string_agg(s.words, ', ') FROM (VALUES " + sides +
                  ") s (words, old_value, new_value) WHERE s.old_value <> s.new_value)",
              "");
}

void Questions::ask_for_sequences() {
  std::string const of_column =
      "(SELECT d.objid FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.refclassid = "
      "'pg_class'::regclass AND d.refobjid = " +
      columns_.table + " AND d.refobjsubid = " + columns_.old_number +
      " AND d.deptype IN ('a', 'i') UNION SELECT d.refobjid FROM pg_attrdef f JOIN pg_depend d ON d.classid = "
      "'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass WHERE f.adrelid = " +
      columns_.table + " AND f.adnum = " + columns_.old_number + ")";
  refuse_list(refusals_,
              "the column's sequence belongs to another role, so that its type and owner cannot be "
              "changed: ",
              "(SELECT string_agg(s.seqrelid::regclass::text, ', ') FROM pg_sequence s JOIN pg_class c ON c.oid = "
              "s.seqrelid WHERE s.seqrelid IN " +
                  of_column + " AND NOT pg_has_role(c.relowner, 'USAGE'))",
              "; run this as that role, or change its owner first");
  // It is made anew with the identity.
  refuse_list(refusals_, "these use the sequence of the identity, and would lose it: ",
              "(SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid), ', ') FROM pg_depend i "
              "JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = i.objid AND d.deptype = 'n' "
              "WHERE i.classid = 'pg_class'::regclass AND i.refclassid = 'pg_class'::regclass AND i.deptype = 'i' AND "
              "i.objid IN (SELECT s.seqrelid FROM pg_sequence s) AND i.refobjid = " +
                  columns_.table + " AND i.refobjsubid = " + columns_.old_number + ")",
              "; drop them first, and make them again afterwards");
}

void Questions::ask_for_privileges() {
  if (is_early_ && earlier_.is_anything) return;
  auto const& table = columns_.table;
  std::string const rows = privileges_of_column(table, columns_.old_number, columns_.old_number) + " UNION " +
                           privileges_of_column(table, columns_.new_number, columns_.new_number);
  refuse_list(refusals_, kUnkeptGrants, unkept_grants(rows, table, version_), "");
  refuse_list(
      refusals_, "the sequence of the identity is made anew, and these privileges on it would come from its owner: ",
      "(SELECT string_agg(DISTINCT format('%s to %s by %s', p.privilege_type, CASE p.grantee WHEN 0 THEN 'PUBLIC' "
      "ELSE p.grantee::regrole::text END, p.grantor::regrole), ', ') FROM pg_depend d, LATERAL (" +
          privileges_of("s", "d.objid") +
          ") p WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'i' "
          "AND d.refobjid = " +
          table + " AND d.refobjsubid = " + columns_.old_number + " AND p.grantor <> 0)",
      "; let the owner grant them instead");
}

void Questions::ask_for_not_null() {
  if (may_come(&Earlier::makes_not_null)) return;
  // From 18 on the constraint may be NOT VALID.
  std::string const type_refuses = "EXISTS (SELECT FROM pg_type y WHERE y.oid = a.atttypid AND y.typnotnull)";
  std::string const is_open = "NOT " + type_refuses +
                              " AND (NOT a.attnotnull OR EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'n' AND "
                              "k.conrelid = a.attrelid AND "
                              "k.conkey = ARRAY[a.attnum] AND NOT k.convalidated))";
  refuse(column_is(step_.column, "(a.attnotnull OR " + type_refuses + ")") + " AND " + column_is(step_.with, is_open),
         "column " + step_.column + " is NOT NULL and " + step_.with + " is not; set_not_null: " + step_.with +
             " "
             "first");
}

std::string Questions::indexes_without_counterpart() const {
  return "(SELECT q.* FROM old_indexes q WHERE q.title <> ALL (" +
         text_array(is_early_ ? earlier_.dropped : std::vector<std::string>{}) +
         ") AND q.index NOT IN (SELECT p.old_index FROM index_pairs p)) q";
}

// Whether a step before it makes an index over the same columns as index q.
std::string Questions::comes(std::vector<std::vector<std::string>> const& made) const {
  std::string condition = "false";
  if (!is_early_) return condition;
  for (auto const& columns : made) {
    condition +=
        " OR ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY x (number, place) "
        "JOIN pg_attribute a ON a.attrelid = " +
        columns_.table +
        " AND a.attnum = x.number WHERE i.indexrelid = q.index AND x.place <= i.indnkeyatts ORDER BY x.place) = " +
        text_array(columns);
  }
  return "(" + condition + ")";
}

void Questions::ask_for_key() {
  if (may_come(&Earlier::makes_other_index)) return;
  refuse("EXISTS (SELECT FROM " + indexes_without_counterpart() + " WHERE q.kind = 'p' AND NOT " +
             comes(earlier_.indexes) + ")",
         "column " + step_.column + " is in the primary key, and there is no index that a key with " + step_.with +
             " in its place could be made of; create_index with unique: true first");
}

void Questions::ask_for_indexes() {
  if (is_early_ && earlier_.is_anything) return;
  std::string const alone = indexes_without_counterpart();
  refuse_list(refusals_, "this constraint would stay with the old column: ",
              "(SELECT string_agg(quote_ident(q.title) || ' ' || pg_get_constraintdef(k.oid), '; ') FROM " + alone +
                  " JOIN pg_constraint k ON k.conindid = q.index AND k.contype IN ('u', 'x') AND k.conrelid = " +
                  columns_.table + " WHERE q.kind IN ('u', 'x') AND NOT " + comes(earlier_.uniques) +
                  " AND NOT (q.is_deferrable AND " + comes(earlier_.indexes) + "))",
              "; add_unique over the same columns with " + step_.with +
                  " in its place first, which takes over a unique index of its name, or drop_constraint it");
  if (may_come(&Earlier::makes_other_index)) return;
  refuse_list(refusals_, "this index would stay with the old column: ",
              "(SELECT string_agg(pg_get_indexdef(q.index), '; ') FROM " + alone +
                  " WHERE q.kind IN ('i', 'n') AND NOT " + comes(earlier_.indexes) + ")",
              "; create_index the same over " + step_.with + " first, or drop_index it");
}

// Those by which the server holds foreign keys and deferrable keys. They are made with their constraints.
void Questions::ask_for_triggers() {
  auto const states = [](std::string const& constraint) {
    return "coalesce((SELECT string_agg(g.tgfoid || ' ' || g.tgenabled::text, ', ' ORDER BY g.tgfoid, g.tgrelid) FROM "
           "pg_trigger g WHERE g.tgconstraint = " +
           constraint + " AND g.tgenabled <> 'O'), '')";
  };
  refuse_list(refusals_, "the server's triggers of these are disabled, or enabled otherwise than by themselves: ",
              "(SELECT string_agg(DISTINCT quote_ident(k.conname), ', ') FROM (SELECT p.old_constraint, "
              "p.new_constraint FROM constraint_pairs p UNION ALL SELECT o.oid, n.oid FROM index_pairs p JOIN "
              "pg_constraint o ON o.conindid = p.old_index AND o.conrelid = " +
                  columns_.table +
                  " AND o.contype IN ('p', 'u', 'x') LEFT JOIN pg_constraint n ON n.conindid = p.new_index AND "
                  "n.conrelid = o.conrelid AND n.contype = o.contype) q (was, comes) JOIN pg_constraint k ON k.oid = "
                  "q.was WHERE " +
                  states("q.was") + " <> " + states("q.comes") + ")",
              ", and those of what comes in their place are not; ALTER TABLE ... ENABLE TRIGGER or DISABLE TRIGGER "
              "there, or drop_constraint them first");
}

// Names of what hangs on the old column and would stay with it; NULL: nothing.
std::string Questions::left_behind() const {
  std::string const own_drops = text_array(is_early_ ? earlier_.dropped : std::vector<std::string>{});
  // Of a constraint that a step drops, or makes over the new column, nothing is known before that.
  std::string may_come = "k.conname = ANY (" + own_drops + ")";
  if (is_early_ && earlier_.makes_key) may_come += " OR k.contype = 'f' AND k.conrelid = " + columns_.table;
  if (is_early_ && earlier_.makes_check) may_come += " OR k.contype = 'c'";
  std::string const referring =
      "SELECT 'pg_constraint'::regclass, k.oid, 0 FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = " +
      columns_.table + " AND k.conparentid = 0 AND NOT coalesce(" + columns_.old_number +
      " = ANY (k.confkey), false) AND k.conindid IN (SELECT q.index FROM old_indexes q WHERE q.kind <> 'n')";
  return "(SELECT string_agg(DISTINCT CASE WHEN d.classid = 'pg_attrdef'::regclass THEN 'generated column: ' ELSE '' "
         "END || "
         "pg_describe_object(d.classid, d.objid, d.objsubid), ', ') FROM (SELECT d.classid, d.objid, d.objsubid FROM "
         "pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = " +
         columns_.table + " AND d.refobjsubid = " + columns_.old_number + " UNION " + referring +
         ") d (classid, objid, objsubid) WHERE "
         // Its own default goes along, and so do sequences; indexes and the keys that they are of are asked for apart.
         "NOT (d.classid = 'pg_attrdef'::regclass AND EXISTS (SELECT FROM pg_attrdef f WHERE f.oid = d.objid AND "
         "f.adrelid = " +
         columns_.table + " AND f.adnum = " + columns_.old_number +
         ")) AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND "
         "c.relkind IN ('S', 'i'))) AND NOT (d.classid = 'pg_constraint'::regclass AND (EXISTS (SELECT FROM "
         "pg_constraint k WHERE k.oid = d.objid AND (k.contype IN ('p', 'u', 'x', 'n') OR " +
         may_come +
         ")) OR d.objid IN (SELECT p.old_constraint FROM constraint_pairs p))) AND d.classid NOT IN "
         "('pg_statistic_ext'::regclass, 'pg_publication_rel'::regclass))";
}

void Questions::ask_for_dependents() {
  if (is_early_ && earlier_.is_anything) return;
  refuse_list(refusals_, "", left_behind(),
              " would stay with the old column; make it anew over " + step_.with +
                  " (add_foreign_key, add_check, ...) and drop this one first");
  // They are made again, under the new names: what was the new column's name says nothing by then.
  std::string const is_filter = version_ < kVersionWithFilters
                                    ? "false"
                                    : "EXISTS (SELECT FROM pg_publication_rel r WHERE r.oid = d.objid AND "
                                      "strpos(pg_get_expr(r.prqual, r.prrelid), quote_ident(" +
                                          quote_literal(step_.with) + ")) > 0)";
  refuse_list(refusals_, "these name both columns, and can mean the same with neither of them afterwards: ",
              "(SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid), ', ') FROM pg_depend d "
              "JOIN pg_depend b ON b.classid = d.classid AND b.objid = d.objid AND b.refclassid = d.refclassid AND "
              "b.refobjid = d.refobjid AND b.refobjsubid = " +
                  columns_.new_number + " WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = " +
                  columns_.table + " AND d.refobjsubid = " + columns_.old_number +
                  " AND (d.classid = 'pg_statistic_ext'::regclass OR d.classid = 'pg_publication_rel'::regclass AND " +
                  is_filter + "))",
              "; drop them first, and make them again afterwards");
  // Their rows have the values by the column's place.
  refuse_list(
      refusals_,
      "these keep rows of the table's type, in which " + step_.column + " would be what " + step_.with +
          " was when they were written: ",
      "(WITH RECURSIVE types (oid) AS (SELECT c.reltype FROM pg_class c WHERE c.oid = " + columns_.table +
          " UNION SELECT d.objid FROM pg_depend d JOIN types t ON d.refclassid = 'pg_type'::regclass AND d.refobjid = "
          "t.oid AND d.classid = 'pg_type'::regclass) SELECT string_agg(DISTINCT pg_describe_object(d.classid, "
          "d.objid, d.objsubid), ', ') FROM types t JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND "
          "d.refclassid = 'pg_type'::regclass AND d.refobjid = t.oid AND d.objsubid <> 0 JOIN pg_class k ON k.oid = "
          "d.objid AND k.relkind <> 'v')",
      "; give them another type first");
  refuse_list(refusals_,
              "these publications name the column in their list of columns or their filter, and belong to "
              "another role: ",
              "(SELECT string_agg(DISTINCT quote_ident(p.pubname), ', ') FROM pg_depend d JOIN pg_publication_rel r ON "
              "r.oid = d.objid JOIN pg_publication p ON p.oid = r.prpubid WHERE d.classid = "
              "'pg_publication_rel'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = " +
                  columns_.table + " AND d.refobjsubid = " + columns_.old_number +
                  " AND NOT pg_has_role(p.pubowner, 'USAGE'))",
              "; run this as a role that may alter them");
}

// Whoever takes the row as a whole takes the old column along, which stays under another name and is filled no more: a
// check would refuse each new row, a policy hide it. No dependency tells; the tree of the expression does.
void Questions::ask_for_whole_rows() {
  if (is_early_ && earlier_.is_anything) return;
  auto const holds = [&](std::string const& tree) { return holds_row(tree, columns_.table); };
  std::string const& table = columns_.table;
  std::vector<std::string> const users = {
      "SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k WHERE k.conrelid = " + table +
          " AND k.conname <> ALL (" + text_array(is_early_ ? earlier_.dropped : std::vector<std::string>{}) + ") AND " +
          holds("k.conbin"),
      "SELECT 'pg_policy'::regclass, p.oid FROM pg_policy p WHERE (p.polrelid = " + table + " OR " +
          has_table("p", "pg_policy", table) + ") AND (" + holds("p.polqual") + " OR " + holds("p.polwithcheck") + ")",
      // Whether anything at all is another value it tells as before.
      "SELECT 'pg_trigger'::regclass, g.oid FROM pg_trigger g WHERE g.tgrelid = " + table + " AND " +
          holds("g.tgqual") + " AND pg_get_triggerdef(g.oid) !~* " +
          quote_literal(R"(WHEN \(\((old\.\* IS DISTINCT FROM new|new\.\* IS DISTINCT FROM old)\.\*\)\))"),
      "SELECT 'pg_publication_rel'::regclass, r.oid FROM pg_publication_rel r WHERE r.prrelid = " + table + " AND " +
          holds("to_jsonb(r) ->> 'prqual'"),
      "SELECT 'pg_statistic_ext'::regclass, e.oid FROM pg_statistic_ext e WHERE e.stxrelid = " + table + " AND " +
          holds("to_jsonb(e) ->> 'stxexprs'"),
      "SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE "
      "i.indrelid = " +
          table + " AND x.relname <> ALL (" + text_array(is_early_ ? earlier_.dropped : std::vector<std::string>{}) +
          ") AND (" + holds("i.indexprs") + " OR " + holds("i.indpred") + ")"};
  refuse_list(refusals_,
              "these take the row as a whole, in which " + step_.column + " would stay as " + step_.keep_as +
                  ", and be filled no more: ",
              "(SELECT string_agg(DISTINCT pg_describe_object(u.classid, u.objid, 0), ', ') FROM (" +
                  join(users, " UNION ALL ") + ") u (classid, objid))",
              "; drop them first, and make them again over the columns that they are about");
}

std::string Questions::sql() {
  if (!is_early_) refusals_ = table_refusals(table_);
  ask_for_columns();
  ask_for_kind();
  ask_for_not_null();
  ask_for_key();
  ask_for_domain();
  ask_for_default();
  ask_for_settings();
  ask_for_sequences();
  ask_for_privileges();
  ask_for_triggers();
  ask_for_dependents();
  ask_for_whole_rows();
  ask_for_indexes();
  std::string cases = first_of(refusals_);
  if (is_early_) {
    // Once it is swapped, the column of that name is another one.
    std::string const is_taken = has_column(table_, step_.keep_as);
    std::string const comes = earlier_.adds_column ? "true" : has_column(table_, step_.with);
    std::string const name = earlier_.is_anything ? "false" : is_taken + " AND " + comes;
    cases = "CASE WHEN " + name + " THEN " + quote_literal(name_is_taken()) + " WHEN " +
            has_column(table_, step_.column) + " AND " + comes + " AND NOT " + is_taken + " THEN " + cases + " END";
  }
  return "(WITH old_indexes AS MATERIALIZED (" + indexes_of_old_column(columns_) + "), index_pairs AS MATERIALIZED (" +
         index_pairs(columns_) + "), constraint_pairs AS MATERIALIZED (" + constraint_pairs(columns_) + ") SELECT " +
         cases + ")";
}

}  // namespace

ColumnSwap columns_of(SwapColumn const& step, TableName const& table) {
  return {oid_of(table), number_of(table, step.column), number_of(table, step.with), quote_literal(step.column),
          quote_literal(step.with)};
}

std::string default_of_column(std::string const& table, std::string const& number) {
  return "(SELECT pg_get_expr(f.adbin, f.adrelid) FROM pg_attrdef f WHERE f.adrelid = " + table +
         " AND f.adnum = " + number + ")";
}

std::string default_to_carry(std::string const& table, std::string const& old_number, std::string const& new_number) {
  return "coalesce(" + default_of_column(table, old_number) +
         ", (SELECT pg_get_expr(y.typdefaultbin, 0) FROM pg_attribute o JOIN pg_type y ON y.oid = o.atttypid JOIN "
         "pg_attribute n ON n.attrelid = o.attrelid AND n.atttypid <> o.atttypid WHERE o.attrelid = " +
         table + " AND o.attnum = " + old_number + " AND n.attnum = " + new_number +
         " AND o.attidentity = '' AND y.typtype = 'd'))";
}

std::string is_constant(std::string const& default_text) {
  return "coalesce(" + default_text + " ~ " +
         quote_literal("^[(]?(E?'([^']|'')*'|-?[0-9.]+|true|false|NULL)[)]?(::[^']*)?$") + ", false)";
}

std::string as_written(std::string const& default_text) {
  return "regexp_replace(" + default_text + ", " + quote_literal("^[(]?(E?'(?:[^']|'')*'|-?[0-9.]+)[)]?::[^']*$") +
         ", '\\1')";
}

std::string is_carried_default(std::string const& default_text) {
  auto const base = [](std::string const& attribute) {
    return "(SELECT CASE y.typtype WHEN 'd' THEN y.typbasetype ELSE y.oid END FROM pg_type y WHERE y.oid = "
           "" +
           attribute + ".atttypid)";
  };
  // A string is read as what the new type makes of it; a number is a number.
  return "(coalesce(" + default_text + " ~ '^E?''', false) AND " + is_constant(default_text) + " OR " + base("o") +
         " = " + base("n") + " OR EXISTS (SELECT FROM pg_cast c WHERE c.castsource = " + base("o") +
         " AND c.casttarget = " + base("n") +
         " AND c.castcontext IN ('a', 'i')) OR EXISTS (SELECT FROM pg_type y WHERE y.oid = n.atttypid AND "
         "y.typcategory = 'S'))";
}

std::string swap_column_notes(SwapColumn const& step, TableName const& table) {
  auto const place = [](std::string const& index) {
    return "coalesce((SELECT s.spcname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_tablespace s ON s.oid = "
           "c.reltablespace WHERE c.oid = " +
           index + "), 'the default one')";
  };
  std::string const was = place("p.old_index");
  std::string const comes = place("p.new_index");
  std::string const indexes =
      "SELECT " + quote_literal(quoted(table)) +
      ", pg_catalog.format('has index %I in tablespace %s, and what comes in its place is in %s', p.old_title, " + was +
      ", " + comes + ") FROM (" + index_pairs(columns_of(step, table)) + ") p WHERE " + was + " <> " + comes;
  std::string const oid = oid_of(table);
  std::string const words = quote_literal("takes rows of it as a whole, in which " + step.column + " stays as " +
                                          step.keep_as + ", and is filled no more");
  std::string const views = "SELECT r.ev_class::pg_catalog.regclass::text, " + words +
                            " FROM pg_catalog.pg_rewrite r WHERE " + has_table("r", "pg_rewrite", oid) + " AND " +
                            holds_row("r.ev_action", oid);
  std::string const functions = "SELECT f.oid::pg_catalog.regprocedure::text, " + words +
                                " FROM pg_catalog.pg_proc f WHERE " + has_table("f", "pg_proc", oid) + " AND " +
                                holds_row("pg_catalog.to_jsonb(f) ->> 'prosqlbody'", oid);
  return indexes + " UNION ALL " + views + " UNION ALL " + functions;
}

std::string facts_sql(SwapColumn const& step) {
  // Foreign keys of the old column go, which takes a lock on the tables that they refer to.
  return facts_of_table(step.table, parents_of(step.table, number_of(step.table, step.column) + " = ANY (k.conkey)"),
                        "");
}

std::vector<std::string> spelling(SwapColumn const& /*step*/, StepFacts const& /*facts*/) {
  return {};
}

Recipe recipe(SwapColumn const& step, StepFacts const& facts) {
  auto const& table = facts.table;
  Recipe recipe;
  recipe.title = "swap_column " + step.column + " of " + shown(table) + " with " + step.with;
  recipe.relation = quoted(table);
  recipe.risk = Risk::kHigh;
  recipe.reason =
      "from this moment on clients read and write the new column under the old name; the old one, kept "
      "as " +
      step.keep_as +
      ", is filled no more, and has no key and no foreign key. The column's place is "
      "another "
      "one: INSERT and COPY without a list of columns, and SELECT * by position, meet " +
      step.column + " where " + step.with + " stands now, at the end of the table if it was just added";
  recipe.no_way_back = "rows that were written since have no value in the old column. While " + step.keep_as +
                       " is there, a migration the other way brings it back: sync and backfill " + step.keep_as +
                       " from " + step.column + ", then swap_column with " + step.keep_as;
  recipe.done = has_column(table, step.keep_as) + " AND " + has_column(table, step.column) + " AND NOT " +
                has_column(table, step.with);
  recipe.refusal = Questions(step, facts, false).sql();
  recipe.early_refusal = Questions(step, facts, true).sql();
  // The values came after the column: what the planner knows may be that all are NULL.
  recipe.prepare = {analyze(table, "true")};
  Action action;
  // To compile its questions would take longer than to answer them.
  action.sql = "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL jit = off; DO " +
               dollar_quoted(swap_column_block(step, facts));
  action.locks = with_parents(facts.parents, LockMode::kAccessExclusive, exclusive(table));
  action.needed = has_column(table, step.with) + " AND NOT " + has_column(table, step.keep_as);
  recipe.actions = {std::move(action)};
  // Extended statistics are made anew.
  recipe.finish = {
      analyze(table, "EXISTS (SELECT FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = " + oid_of(table) + ")")};
  return recipe;
}

}  // namespace pgbackfill::planner::recipes
