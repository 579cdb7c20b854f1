// The work of a case, as a migration file and as the plain statement that it stands for, and the triggers that it
// meets.
#include <fmt/format.h>

#include "tests/twin/twin_generator.h"

namespace pgbackfill::tests {
namespace {

// Functions of triggers, as their bodies. They run in the session that changes the row, with its settings.
struct TriggerKind {
  char const* name;
  char const* when;  // {event} is UPDATE, DELETE or INSERT; {t} the first target
  char const* body;
  char const* events = "UPDATE DELETE INSERT";
  char const* more = "";  // after it was made
  bool needs_path = false;
};

constexpr char const* kTell =
    "INSERT INTO side.audit VALUES (coalesce(NEW.no, OLD.no), TG_OP || ' ' || '2024-02-03'::date::text || ' ' || "
    "'2024-03-31 01:30Z'::timestamptz::text || interval '-1 day 2 hours'::text || current_setting('DateStyle') || "
    "current_user || pg_trigger_depth()); RETURN NULL;";
constexpr char const* kHear =
    "INSERT INTO heard VALUES (coalesce(NEW.no, OLD.no), '2024-02-03'::date::text); RETURN NULL;";

constexpr TriggerKind kTriggers[] = {
    {"before", "BEFORE {event} ON {table} FOR EACH ROW", "NEW.touched := NEW.touched + 1; RETURN NEW;",
     "UPDATE INSERT"},
    {"before when", "BEFORE {event} ON {table} FOR EACH ROW WHEN (OLD.{t}::text IS DISTINCT FROM NEW.{t}::text)",
     "NEW.touched := NEW.touched + 10; RETURN NEW;", "UPDATE"},
    {"after", "AFTER {event} ON {table} FOR EACH ROW", kTell},
    {"after when",
     "AFTER {event} ON {table} FOR EACH ROW WHEN (pg_trigger_depth() = 0 AND '01/02/03'::date > '2002-01-01')", kTell},
    {"statement", "AFTER {event} ON {table} REFERENCING {rows} TABLE AS moved FOR EACH STATEMENT",
     "INSERT INTO side.audit SELECT no, 'statement' FROM moved; RETURN NULL;"},
    {"totals", "AFTER {event} ON {table} FOR EACH ROW",
     "UPDATE side.totals SET n = n + 1 WHERE bucket = coalesce(NEW.no, OLD.no) % 5; RETURN NULL;"},
    {"deferred", "AFTER {event} ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW", kTell},
    {"deferred path", "AFTER {event} ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW", kHear,
     "UPDATE DELETE INSERT", "", true},
    {"path", "AFTER {event} ON {table} FOR EACH ROW", kHear, "UPDATE DELETE INSERT", "", true},
    {"before path", "BEFORE {event} ON {table} FOR EACH ROW",
     "NEW.touched := length(label(NEW.no)) + 2 <+> 3; RETURN NEW;", "UPDATE INSERT", "", true},
    {"spares rows", "BEFORE {event} ON {table} FOR EACH ROW",
     "IF coalesce(NEW.no, OLD.no) % 11 = 0 THEN RETURN NULL; END IF; IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; "
     "RETURN NEW;"},
    {"of another column", "AFTER UPDATE OF day ON {table} FOR EACH ROW", kTell, "UPDATE"},
    {"of the column", "AFTER UPDATE OF {t} ON {table} FOR EACH ROW", kTell, "UPDATE"},
    {"always", "AFTER {event} ON {table} FOR EACH ROW", kTell, "UPDATE DELETE INSERT",
     "ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}"},
    {"replica", "AFTER {event} ON {table} FOR EACH ROW", kTell, "UPDATE DELETE INSERT",
     "ALTER TABLE {table} ENABLE REPLICA TRIGGER {trigger}"},
    {"disabled", "AFTER {event} ON {table} FOR EACH ROW", kTell, "UPDATE DELETE INSERT",
     "ALTER TABLE {table} DISABLE TRIGGER {trigger}"},
    {"again", "AFTER {event} ON {table} FOR EACH ROW WHEN (pg_trigger_depth() = 0)",
     "UPDATE {table} SET touched = touched + 100 WHERE no = NEW.no; RETURN NULL;", "UPDATE"},
};

constexpr char const* kUnpageable = "paging by blocks or without a way to tell done from undone";

}  // namespace

void TwinMaker::make_trigger(std::string const& table, std::string const& event, int number) {
  auto const* kind = &dice_.pick(kTriggers);
  while (std::string_view(kind->events).find(event) == std::string_view::npos) kind = &dice_.pick(kTriggers);
  note(std::string("trigger ") + kind->name);
  auto const fill = [&](std::string text) {
    text = replace_all(std::move(text), "{table}", table);
    text = replace_all(std::move(text), "{event}", event);
    text = replace_all(std::move(text), "{rows}", event == "INSERT" ? "NEW" : "OLD");
    text = replace_all(std::move(text), "{trigger}", fmt::format("trigger_{}", number));
    return replace_all(std::move(text), "{t}", quoted_name(pairs_[0].target));
  };
  auto const when = fill(kind->when);
  bool const is_deferred = when.find("DEFERRED") != std::string::npos;
  twin_.setup.push_back(fmt::format(
      "CREATE FUNCTION side.fire_{0}() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN {1} END $f$; CREATE {2}TRIGGER "
      "trigger_{0} {3} EXECUTE FUNCTION side.fire_{0}()",
      number, fill(kind->body), is_deferred ? "CONSTRAINT " : "", when));
  if (*kind->more != '\0') twin_.setup.push_back(fill(kind->more));
  if (kind->needs_path) mandatory_setting_ = "search_path";
  std::string_view const name = kind->name;
  if (name == "before path") does_order_matter_ = true;
  if (name == "spares rows") twin_.may_stay_closed = "a trigger spares rows";
  if (name == "spares rows" && !has_key_) twin_.may_refuse = "a trigger that spares rows of a table without a key";
  if (name == "statement" && (is_partitioned() || shape_ == TableShape::kParent)) {
    twin_.may_refuse = "a statement trigger of a table that is worked on leaf by leaf";
  }
}

void TwinMaker::make_triggers(std::string const& table, std::string const& event) {
  if (!dice_.chance(45)) return;
  has_triggers_ = true;
  for (int number = 1, most = dice_.number(1, 3); number <= most; ++number) make_trigger(table, event, number);
}

// --- the work --------------------------------------------------------------------------------------------------------

void TwinMaker::make_work() {
  std::string head = fmt::format("name: {{name}}\ntable: {}\n", yaml_text(table_));
  twin_.yaml = head;
  if (work_ == "set") make_set();
  if (work_ == "recount") make_recount();
  if (work_ == "sql") make_sql();
  if (work_ == "copy") make_copy(false);
  if (work_ == "mirror") make_copy(true);
  if (work_ == "delete") make_delete();
  if (work_ == "sync") make_sync();
  if (work_ == "changed") make_changed();
  if (work_ == "move") make_move(false);
  if (work_ == "archive") make_move(true);
  if (work_ == "dedupe") make_dedupe();
  if (work_ == "prepare") make_prepared();
  if (work_ == "compute") make_computed();
  twin_.yaml += fmt::format("  workers: {}\n", dice_.number(1, 4));
  // Small batches, so that a small table has many of them.
  int const least = dice_.number(1, 10);
  twin_.yaml += fmt::format("  batch: {{target: {}ms, min_rows: {}, max_rows: {}}}\n", dice_.number(5, 60), least,
                            least + dice_.number(0, is_long_ ? 20 : 100));
  if (dice_.chance(15)) twin_.yaml += "  commit: sync\n";
  twin_.yaml += "throttle:\n  mode: \"off\"\n";
  if (is_long_) twin_.yaml += fmt::format("  max_rows_per_second: {}\n", dice_.number(1'500, 6'000));
}

// Adds to `columns` what the condition needs to have set.
std::string TwinMaker::choose_where(bool must_tell_done) {
  auto const& first = pairs_[0];
  bool const is_null_first = std::string_view(first.derivation->target_value) == "NULL";
  tells_done_ = true;
  int const kind = dice_.number(1, 100);
  if (!must_tell_done && kind <= 30) {
    tells_done_ = false;
    return {};
  }
  if (!must_tell_done && kind <= 40) {
    tells_done_ = false;
    return dice_.pick(std::vector<std::string>{"no % 3 = 0", "no % 2 = 0 OR no % 5 = 1",
                                               "day > '2024-01-20' -- later ones", "no < 100", "true", "NULL::boolean",
                                               "no % 3 = 0 AND day::text < '15'"});
  }
  if (kind <= 60 && is_null_first && !must_tell_done) {
    auto const target = quoted_name(first.target);
    tells_done_ = false;  // where the expression gives NULL, nothing changes
    return dice_.chance(60) ? target + " IS NULL"
                            : fmt::format("{} IS NULL AND {} IS NOT NULL", target, quoted_name(first.source));
  }
  return dice_.pick(std::vector<std::string>{"NOT done", "done = false -- $x", "NOT done AND day::text < '2024-02'",
                                             "NOT done AND day::text < '15'", "NOT done AND no % 3 > 0",
                                             "done IS NOT TRUE AND (day > '2024-01-20' OR no < 20)",
                                             "NOT done AND EXISTS (SELECT FROM side.looked l WHERE l.id = no % 20)",
                                             "NOT done AND day <> '01/02/2024'::date"});
}

void TwinMaker::make_set() {
  if (dice_.chance(4) && shape_ == TableShape::kPlain) return make_moving_key();
  make_triggers(table_, "UPDATE");
  auto const where = choose_where(!has_key_ && dice_.chance(85));
  if (!has_key_ && !tells_done_) twin_.may_refuse = kUnpageable;
  std::string lines = "  set:\n";
  std::string statement;
  auto const assign = [&](std::string const& column, std::string const& expression) {
    lines += fmt::format("    {}: {}\n", yaml_text(column), yaml_text(expression));
    statement += fmt::format("{} {} = ({}\n)", statement.empty() ? "" : ",", quoted_name(column), expression);
  };
  for (auto const& pair : pairs_) assign(pair.target, pair.expression);
  if (where.find("done") != std::string::npos) assign("done", "true");
  if (is_partitioned() && dice_.chance(3)) {
    assign("part", "(part + 1) % 4");
    twin_.may_refuse = "assigns the partition key";
  }
  twin_.yaml += "backfill:\n" + lines;
  if (!where.empty()) twin_.yaml += fmt::format("  where: {}\n", yaml_text(where));
  twin_.statement = fmt::format("UPDATE {}{} SET{} WHERE ({}\n)", shape_ == TableShape::kParent ? "ONLY " : "", table_,
                                statement, where.empty() ? "true" : where);
  if (dice_.chance(12) && has_key_ && rows_ > 1) make_bad_rows(twin_.yaml, twin_.statement);
  if (has_triggers_ && twin_.role == TwinRole::kSuperuser && dice_.chance(12)) {
    note("triggers: skip");
    twin_.yaml += "  triggers: skip\n";
    twin_.statement = "SET session_replication_role = replica; " + twin_.statement;
  }
}

// A key that is derived from what the work sets.
void TwinMaker::make_moving_key() {
  note("moving key");
  bool const is_generated = dice_.chance(50);
  table_ = "app.moving";
  twin_.setup.push_back(
      is_generated
          ? "CREATE TABLE app.moving (no int, base int, k int GENERATED ALWAYS AS (base * 2) STORED PRIMARY KEY)"
          : "CREATE TABLE app.moving (no int, base int, k int PRIMARY KEY)");
  twin_.setup.push_back(
      fmt::format("INSERT INTO app.moving (no, base{}) SELECT g, g * 1000{} FROM generate_series(1, {}) g",
                  is_generated ? "" : ", k", is_generated ? "" : ", g * 2000", rows_));
  if (!is_generated) {
    twin_.setup.push_back(
        "CREATE FUNCTION side.derive() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN NEW.k := NEW.base * 2; RETURN "
        "NEW; END "
        "$f$; CREATE TRIGGER derive BEFORE UPDATE ON app.moving FOR EACH ROW EXECUTE FUNCTION side.derive()");
  }
  twin_.setup.push_back("ANALYZE app.moving");
  twin_.yaml = "name: {name}\ntable: app.moving\nbackfill:\n  set: {base: base + 7001}\n";
  twin_.statement = "UPDATE app.moving SET base = base + 7001";
  twin_.rows.push_back("SELECT * FROM app.moving");
  twin_.may_refuse = "changes its key";
  twin_.may_stop = "changes its key";
}

void TwinMaker::make_bad_rows(std::string& lines, std::string& statement) {
  constexpr char const* kBad = "no % 23 = 7";
  has_bad_rows_ = true;
  note("bad rows");
  auto const kind = dice_.number(1, 4);
  if (kind == 1) {
    twin_.setup.push_back(
        fmt::format("UPDATE {} SET hits = -1 WHERE {}; ALTER TABLE {} ADD CONSTRAINT sound CHECK "
                    "(hits >= 0) NOT VALID",
                    table_, kBad, table_));
  } else {
    constexpr char const* kCodes[] = {"ZX001", "23514", "P0001", "27000", "22012", "55000", "42501"};
    twin_.setup.push_back(
        fmt::format("CREATE FUNCTION side.refuse() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN IF OLD.{} THEN RAISE "
                    "EXCEPTION 'bad "
                    "row' USING ERRCODE = '{}'; END IF; RETURN NEW; END $f$; CREATE TRIGGER a_refuse BEFORE UPDATE ON "
                    "{} FOR EACH ROW "
                    "EXECUTE FUNCTION side.refuse(); ALTER TABLE {} ENABLE ALWAYS TRIGGER a_refuse",
                    kBad, dice_.pick(kCodes), table_, table_));
  }
  if (dice_.chance(75)) {
    lines += "  on_bad_row: {quarantine: 1000}\n";
    twin_.may_stay_closed = "rows that were set aside";
  } else {
    twin_.has_to_fail = "a bad row";
  }
  statement += fmt::format(" AND NOT ({})", kBad);
}

void TwinMaker::make_recount() {
  twin_.setup.push_back(
      fmt::format("CREATE TABLE side.call (no int); INSERT INTO side.call SELECT g % {0} + 1 FROM generate_series(1, "
                  "{0} * 3) g; CREATE INDEX ON side.call (no)",
                  rows_));
  auto const expression = dice_.pick(std::vector<std::string>{
      fmt::format("(SELECT count(*) FROM side.call c WHERE c.no = {}.no)", name_),
      fmt::format("coalesce((SELECT count(*) FROM side.call c WHERE c.no = {}.no), 0)", table_)});
  bool const is_sql = dice_.chance(30);
  if (is_sql) {
    twin_.statement = fmt::format(
        "UPDATE {0} SET hits = c.n FROM (SELECT no, count(*) AS n FROM side.call GROUP BY no) c WHERE c.no = {0}.no",
        table_);
    twin_.yaml += fmt::format("backfill:\n  sql: {}\n", yaml_text(twin_.statement + " AND {batch}"));
  } else {
    twin_.yaml += fmt::format("backfill:\n  set: {{hits: {}}}\n", yaml_text(expression));
    twin_.statement = fmt::format("UPDATE {} SET hits = {}", table_, expression);
  }
  if (!has_key_) twin_.may_refuse = kUnpageable;
  twin_.rows.push_back("SELECT * FROM side.call");
  note("writers");
  for (int write = dice_.number(30, 80); write > 0; --write) {
    int const no = dice_.number(1, rows_);
    twin_.writes.push_back(
        fmt::format("INSERT INTO side.call VALUES ({1}); UPDATE {0} SET hits = hits + 1 WHERE no = {1}; SELECT "
                    "pg_sleep({2})",
                    table_, no, dice_.chance(50) ? "0.02" : "0"));
  }
}

void TwinMaker::make_sql() {
  bool const is_delete = dice_.chance(25);
  make_triggers(table_, is_delete ? "DELETE" : "UPDATE");
  if (!has_key_) twin_.may_refuse = kUnpageable;
  bool const is_only = shape_ == TableShape::kParent && dice_.chance(50);
  if (shape_ == TableShape::kParent && !is_only) twin_.may_refuse = "SQL on a table from which others inherit";
  auto const only = is_only ? "ONLY " : "";
  auto const target = quoted_name(pairs_[0].target);
  std::string text;
  switch (dice_.number(1, 4)) {
    case 1:
      text = is_delete
                 ? fmt::format("DELETE FROM {}{} WHERE no % 3 = 0 AND {{batch}}", only, table_)
                 : fmt::format("UPDATE {}{} SET {} = {}\n WHERE {{batch}}", only, table_, target, pairs_[0].expression);
      break;
    case 2:
      text = is_delete ? fmt::format("DELETE FROM {}{} x USING side.looked l WHERE l.id = x.no % 20 AND {{batch:x}}",
                                     only, table_)
                       : fmt::format(
                             "UPDATE {}{} x SET hits = l.id + x.hits FROM side.looked l WHERE l.id = x.no % 20 AND "
                             "{{batch:x}}",
                             only, table_);
      break;
    case 3:
      text = is_delete ? fmt::format("DELETE FROM {}{} WHERE {{batch}} AND day::text < '15'", only, table_)
                       : fmt::format(
                             "UPDATE {}{} SET hits = hits + length(day::text), touched = touched + 1 WHERE "
                             "(day::text < '15' OR no % 2 = 0) AND {{batch}}",
                             only, table_);
      break;
    default:
      text = is_delete
                 ? fmt::format(
                       "WITH l AS (SELECT id FROM side.looked) DELETE FROM {}{} x WHERE EXISTS (SELECT FROM l "
                       "WHERE l.id = x.no % 20) AND {{batch:x}}",
                       only, table_)
                 : fmt::format(
                       "WITH l AS (SELECT id, v FROM side.looked) UPDATE {}{} AS x SET hits = (SELECT l.id FROM l "
                       "WHERE l.id = x.no % 10) + hits WHERE {{batch:x}}",
                       only, table_);
      if (text.starts_with("WITH")) twin_.may_refuse = "a statement that does not begin with UPDATE or DELETE";
  }
  twin_.yaml += fmt::format("backfill:\n  sql: {}\n", yaml_text(text));
  // The same letters in a string are no placeholder.
  for (char const* const before : {"WHERE ", "AND "}) {
    for (char const* const placeholder : {"{batch}", "{batch:x}"}) {
      text = replace_all(text, before + std::string(placeholder), before + std::string("true"));
    }
  }
  twin_.statement = std::move(text);
}

bool TwinMaker::make_copy_table(bool is_mirrored) {
  std::string columns = "no int NOT NULL";
  std::string keys;
  for (auto const& column : columns_) {
    auto const name = quoted_name(column.name);
    bool const is_key = std::find(key_.begin(), key_.end(), name) != key_.end() || column.name == "part";
    if (is_key) columns += fmt::format(", {} {} NOT NULL", name, column.type);
  }
  for (auto const& key : key_) keys += (keys.empty() ? "" : ", ") + key;
  for (auto const& pair : pairs_)
    columns += fmt::format(", {} {}", quoted_name(pair.target), pair.derivation->target_type);
  columns +=
      ", touched int NOT NULL DEFAULT 0, added text DEFAULT 'added', made int GENERATED ALWAYS AS (no * 3) STORED";
  bool const has_identity = !is_mirrored && dice_.chance(25);
  if (has_identity) {
    columns += ", number bigint GENERATED BY DEFAULT AS IDENTITY";
    note("identity in the copy");
  }
  twin_.setup.push_back(fmt::format("CREATE TABLE app.copy ({})", columns));
  int const kind = is_mirrored ? 1 : dice_.number(1, 10);
  if (kind <= 6) twin_.setup.push_back(fmt::format("ALTER TABLE app.copy ADD PRIMARY KEY ({})", keys));
  if (kind == 7) twin_.setup.push_back("ALTER TABLE app.copy ADD UNIQUE (no)");
  if (kind == 8) twin_.setup.push_back(fmt::format("CREATE UNIQUE INDEX ON app.copy ({}) INCLUDE (no)", keys));
  if (kind == 9 && !is_mirrored && rows_ > 50) {
    twin_.setup.push_back("CREATE UNIQUE INDEX ON app.copy ((no % 50))");
    twin_.has_to_tell = "rows that another unique index of the copy refuses";
    note("collisions in the copy");
  }
  return has_identity;
}

void TwinMaker::make_copy(bool is_mirrored) {
  bool const has_identity = make_copy_table(is_mirrored);
  if (!is_mirrored) make_triggers("app.copy", "INSERT");
  std::string lines;
  std::string names;
  std::string values;
  auto const add = [&](std::string const& column, std::string const& expression) {
    lines += fmt::format("    {}: {}\n", yaml_text(column), yaml_text(expression));
    names += (names.empty() ? "" : ", ") + quoted_name(column);
    values += (values.empty() ? "" : ", ") + ("(" + expression + "\n)");
  };
  add("no", "no");
  if (has_identity) add("number", "no");
  for (auto const& column : columns_) {
    auto const name = quoted_name(column.name);
    if (std::find(key_.begin(), key_.end(), name) != key_.end() || column.name == "part") add(column.name, name);
  }
  for (auto const& pair : pairs_) add(pair.target, pair.expression);
  std::string where;
  bool const copies_all = !twin_.has_to_tell.empty();
  if (!copies_all && dice_.chance(40))
    where = dice_.pick(std::vector<std::string>{"no % 3 = 0", "day::text < '15'", "NOT done OR no > 5"});
  if (is_mirrored) {
    bool const reads_writer = std::any_of(pairs_.begin(), pairs_.end(), [](auto const& pair) {
      std::string_view const name = pair.derivation->name;
      return name == "who" || name == "qualified";
    });
    if (reads_writer) twin_.may_refuse = "an expression that is another for each writer";
    std::string keys;
    for (auto const& key : key_) keys += (keys.empty() ? "" : ", ") + key;
    std::string list;
    for (auto const& column : columns_) {
      bool const is_key = std::find(key_.begin(), key_.end(), quoted_name(column.name)) != key_.end();
      if (is_key || column.name == "part") {
        list += (list.empty() ? "" : ", ") + yaml_text(column.name);
      }
    }
    twin_.yaml += fmt::format("sync:\n  mirror: [{}]\n", list);
  }
  twin_.yaml += "backfill:\n  copy_to: app.copy\n  columns:\n" + lines;
  if (!where.empty()) twin_.yaml += fmt::format("  where: {}\n", yaml_text(where));
  twin_.statement =
      fmt::format("INSERT INTO app.copy ({}) SELECT {} FROM {}{} WHERE ({}\n) ON CONFLICT DO NOTHING", names, values,
                  shape_ == TableShape::kParent ? "ONLY " : "", table_, where.empty() ? "true" : where);
  std::string compared = names + ", touched, added, made";
  twin_.rows.push_back(fmt::format("SELECT {} FROM app.copy", compared));
  if (has_identity) {
    twin_.probes.push_back(
        "SELECT nextval(pg_get_serial_sequence('app.copy', 'number')) > coalesce(max(number), 0) FROM app.copy");
  }
}

void TwinMaker::make_delete() {
  if (dice_.chance(25) && shape_ == TableShape::kPlain && has_key_) {
    note("cascade");
    twin_.setup.push_back(fmt::format(
        "ALTER TABLE {0} ADD UNIQUE (no); CREATE TABLE side.child (id int, of_no int REFERENCES {0} (no) ON DELETE "
        "CASCADE); INSERT INTO side.child SELECT no * 10, no FROM {0} WHERE no % 2 = 0",
        table_));
    twin_.rows.push_back("SELECT * FROM side.child");
  }
  make_triggers(table_, "DELETE");
  auto const where = dice_.pick(std::vector<std::string>{
      "no % 3 = 0", "day::text < '15'", "day < '01/02/2024'", "no % 2 = 0 OR no % 5 = 1 -- old", "true",
      "EXISTS (SELECT FROM side.looked l WHERE l.id = no % 20)",
      fmt::format("{} IS NOT NULL", quoted_name(pairs_[0].source)), "NULL"});
  tells_done_ = true;
  twin_.yaml += fmt::format("backfill:\n  delete: true\n  where: {}\n", yaml_text(where));
  twin_.statement =
      fmt::format("DELETE FROM {}{} WHERE ({}\n)", shape_ == TableShape::kParent ? "ONLY " : "", table_, where);
}

void TwinMaker::make_sync() {
  std::string lines;
  std::string statement;
  for (auto const& pair : pairs_) {
    std::string_view const name = pair.derivation->name;
    if (name == "whole_row" || name == "qualified" ||
        pair.expression.find(quoted_name(pair.target)) != std::string::npos || name == "who") {
      twin_.may_refuse = "an expression that a trigger cannot compute";
    }
    lines += fmt::format("    {}: {}\n", yaml_text(pair.target), yaml_text(pair.expression));
    statement += fmt::format("{} {} = ({}\n)", statement.empty() ? "" : ",", quoted_name(pair.target), pair.expression);
  }
  twin_.yaml += "sync:\n  set:\n" + lines + "backfill:\n  set:\n" + lines;
  twin_.statement = fmt::format("UPDATE {} SET{}", table_, statement);
}

}  // namespace pgbackfill::tests
